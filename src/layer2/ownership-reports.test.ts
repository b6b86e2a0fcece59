import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../addr/ip.ts'
import { FakeClock } from '../ports/clock.ts'
import type { Cause, Effect } from './ownership.ts'
import { OwnershipReports } from './ownership-reports.ts'

const VIP = '192.0.2.100' as Ip
const owned = (isOwned: boolean, cause: Cause = { type: 'plan' }): Effect & { type: 'owned' } => ({
  type: 'owned',
  ip: VIP,
  services: ['default/web'],
  owned: isOwned,
  cause,
  at: 0,
})

test('a takeover is told when its first announcement goes out, with the time of each phase', () => {
  const clock = new FakeClock()
  const reports = new OwnershipReports(clock)
  clock.advance(1000)
  const at = clock.now()
  reports.nodeChanged({
    type: 'node',
    node: 'b',
    from: 'up',
    to: 'down',
    lastHeardAt: at - 80,
    suspectedAt: at - 40,
    at,
  })
  reports.owned(owned(true, { type: 'node', node: 'b', level: 'down' }), ['eth0'])
  assert.deepEqual(reports.take(), [])
  clock.advance(7)
  reports.announced(VIP)
  const [change, ...more] = reports.take()
  assert.ok(change !== undefined && more.length === 0)
  const now = clock.wallNow()
  assert.deepEqual(change.phases, {
    lastHeardAt: now - 87,
    suspectedAt: now - 47,
    confirmedAt: now - 7,
    announcedAt: now,
  })
  assert.deepEqual(change.because, { type: 'node', node: 'b', level: 'down', silentMs: 80 })
  assert.deepEqual(reports.take(), [], 'told once')
})

test('what is on no interface is told at once, and so is a release, after what was said before', () => {
  const reports = new OwnershipReports(new FakeClock())
  reports.owned(owned(true), [])
  assert.deepEqual(
    reports.take().map(change => change.interfaces),
    [[]],
  )
  reports.owned(owned(true), ['eth0'])
  reports.owned(owned(false), [])
  assert.deepEqual(
    reports.take().map(change => [change.owned, change.phases]),
    [
      [true, undefined],
      [false, undefined],
    ],
  )
})
