import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decisionTimes } from './decisions.ts'

const AT = Date.parse('2026-01-02T03:04:05.000Z')
const line = (event: string, service: string, at: string) =>
  `{"ts":"${at}","level":"info","node":"node1","event":"${event}","ip":"192.0.2.100","services":["${service}"],"at":"${at}","because":"the plan says so"}\n`
const LOG = [
  '{"ts":"2026-01-02T03:04:00.000Z","level":"info","event":"speaker-ready"}\n',
  line('address-announced', 'default/web', '2026-01-02T03:04:01.000Z'),
  line('address-released', 'default/web', '2026-01-02T03:04:05.007Z'),
  line('address-announced', 'default/other', '2026-01-02T03:04:06.001Z'),
  line('address-announced', 'default/web', '2026-01-02T03:04:06.012Z'),
].join('')

test('the decision after a move counts, not one of the same kind before it or of another Service', () => {
  const moves = [
    { service: 'default/web', onto: false, startWallMs: AT, statusMs: 20 },
    { service: 'default/web', onto: true, startWallMs: AT + 1000, statusMs: 20 },
  ]
  assert.deepEqual(decisionTimes(moves, LOG), [7, 12])
})

test('a move without a decision is an error that names it', () => {
  const move = { service: 'default/web', onto: true, startWallMs: AT + 2000, statusMs: 20 }
  assert.throws(() => decisionTimes([move], LOG), /no announcement of default\/web/)
})
