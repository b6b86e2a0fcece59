import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { type Mac, parseMac } from '../addr/mac.ts'
import type { Because, FailoverPhases, OwnedChange } from '../layer2/reflex.ts'
import { FakeClock } from '../ports/clock.ts'
import { FakeEventSink } from '../ports/events.ts'
import { FakeLog } from '../ports/log.ts'
import { FakeMetrics } from '../ports/metrics.ts'
import { CONFLICT_OVER_MS } from './address-conflicts.ts'
import { type AboutService, explainCause, phasesText, SpeakerReports } from './speaker-reports.ts'

const T = Date.UTC(2026, 0, 1)
const STRANGER = mac('00:00:5e:00:53:66')
const LOST: Because = { type: 'node', node: 'a', level: 'down', silentMs: 84 }
const PHASES: FailoverPhases = {
  lastHeardAt: T - 84,
  suspectedAt: T - 43,
  confirmedAt: T - 2,
  announcedAt: T,
}

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function mac(text: string): Mac {
  const parsed = parseMac(text)
  assert.ok(parsed !== undefined)
  return parsed
}

/** Of node b; the Services `default/1` and so on have the addresses 192.0.2.1 and so on, and one each in IPv6. */
function rig() {
  const events = new FakeEventSink()
  const metrics = new FakeMetrics()
  const clock = new FakeClock()
  const log = new FakeLog()
  const about = (key: string): AboutService => {
    const name = key.slice('default/'.length)
    const statusIps = [ip(`192.0.2.${name}`), ip(`2001:db8::${name}`)]
    return { facts: { namespace: 'default', name, uid: `uid-${name}`, statusIps }, interfaces: 'all' }
  }
  const reports = new SpeakerReports('b', { events, metrics, clock, log }, about)
  const take = (i: number, change: Partial<OwnedChange> = {}) =>
    reports.owned(
      {
        ip: ip(`192.0.2.${i}`),
        services: [`default/${i}`],
        owned: true,
        interfaces: ['eth0'],
        atWallMs: T,
        because: LOST,
        phases: PHASES,
        ...change,
      },
      [],
    )
  const told = () => events.events.map(({ type, reason, message }) => `${type} ${reason} ${message}`)
  return { events, metrics, clock, log, reports, take, told }
}

test('a takeover from a lost node: one Event with its phases for a Service, however many addresses it has', () => {
  const { take, told } = rig()
  take(1)
  take(1, { ip: ip('2001:db8::1') })
  assert.deepEqual(told(), [
    'Normal nodeAssigned announcing from node "b" with protocol "layer2": node a is silent, last heard 84 ms before (last heard 84 ms before the first announcement, suspected 43 ms, confirmed 2 ms)',
  ])
})

test("a first announcement and a new plan tell what MetalLB's Event says, and are no moves", () => {
  const { take, told, reports } = rig()
  reports.owned(
    {
      ip: ip('192.0.2.1'),
      services: ['default/1'],
      owned: true,
      interfaces: ['eth0'],
      atWallMs: T,
      because: { type: 'plan' },
    },
    [],
  )
  assert.deepEqual(told(), ['Normal nodeAssigned announcing from node "b" with protocol "layer2"'])
  take(2, { because: { type: 'interfaces' } })
  assert.deepEqual([reports.moves.length, reports.groups.length], [0, 0])
})

test('a thousand addresses of one loss: one move of many, the loss measured once, each announcement', () => {
  const { take, reports, metrics } = rig()
  for (let i = 0; i < 200; i++) {
    take(i, { phases: { ...PHASES, announcedAt: T + i }, atWallMs: T + i })
  }
  const [group, ...others] = reports.groups
  assert.deepEqual(others, [])
  assert.deepEqual(group, {
    owned: true,
    count: 200,
    ips: ['192.0.2.0', '192.0.2.1', '192.0.2.2'],
    at: '2026-01-01T00:00:00.000Z',
    until: '2026-01-01T00:00:00.199Z',
    because: 'node a is silent, last heard 84 ms before',
    node: 'a',
    phases: PHASES,
  })
  assert.equal(reports.moves.length, 100)
  const observed = (phase: string) =>
    metrics.observed.get(`lodestone_failover_phase_seconds{phase="${phase}"}`)
  assert.deepEqual(observed('detection'), [0.041])
  assert.deepEqual(observed('confirmation'), [0.041])
  assert.equal(observed('announcement')?.length, 200)
  take(1, { phases: { ...PHASES, confirmedAt: T + 60_000, announcedAt: T + 60_001 }, atWallMs: T + 60_001 })
  assert.equal(reports.groups.length, 2, 'the next loss is another move')
  assert.equal(observed('detection')?.length, 2)
})

test('who only comes to hold an address for another Service has not taken it', () => {
  const { reports } = rig()
  const change = { ip: ip('192.0.2.1'), owned: true, interfaces: ['eth0'], atWallMs: T, because: LOST }
  reports.owned({ ...change, services: ['default/1'] }, [])
  reports.owned({ ...change, services: ['default/1', 'default/2'] }, ['default/1'])
  assert.equal(reports.moves.length, 1)
})

test('phases in words: who was never heard here, and who said that it leaves', () => {
  assert.equal(
    phasesText({ ...PHASES, lastHeardAt: null, suspectedAt: null }),
    'confirmed 2 ms before the first announcement',
  )
  assert.equal(
    phasesText({ ...PHASES, suspectedAt: null }),
    'last heard 84 ms before the first announcement, confirmed 2 ms',
  )
  assert.equal(explainCause({ type: 'node', node: 'a', level: 'left', silentMs: null }), 'node a leaves')
})

test('a conflict is a Warning on each Service of the address, told once, counted each time', () => {
  const { reports, told, metrics, clock, log } = rig()
  const conflict = (action: 'defended' | 'yielded') =>
    reports.conflict({
      type: 'conflict',
      ip: ip('192.0.2.1'),
      services: ['default/1', 'default/2'],
      mac: STRANGER,
      interfaceName: 'eth0',
      action,
      atWallMs: T,
    })
  for (let i = 0; i < 50; i++) conflict('defended')
  const message = (what: string) =>
    `Warning addressConflict node "b": 00:00:5e:00:53:66 on eth0 has 192.0.2.1 as well; ${what}`
  const defended = message('it is announced again')
  assert.deepEqual(told(), [defended, defended])
  assert.equal(metrics.values.get('lodestone_address_conflicts_total{action="defended"}'), 50)
  conflict('yielded')
  assert.equal(told().at(-1), message('it is left to that host'))
  // For as long as it lasts it is no news.
  for (let i = 0; i < 10; i++) {
    clock.advance(60_000)
    conflict('defended')
  }
  assert.equal(told().length, 4)
  clock.advance(CONFLICT_OVER_MS)
  conflict('defended')
  assert.equal(told().length, 6)
  assert.equal(log.lines.filter(({ event }) => event === 'address-conflict').length, 3)
})

test('standing: suspended and alone are warnings, and numbers', () => {
  const { reports, metrics, log } = rig()
  const state = () => ['entitled', 'standing', 'alone'].map(name => metrics.values.get(`lodestone_${name}`))
  reports.standing({ type: 'standing', entitled: false, standing: true, alone: false }, 7)
  assert.deepEqual(state(), [0, 1, 0])
  reports.standing({ type: 'standing', entitled: true, standing: false, alone: true }, 0)
  assert.deepEqual(state(), [1, 0, 1])
  reports.standing({ type: 'standing', entitled: true, standing: true, alone: false }, 0)
  reports.standing({ type: 'standing', entitled: false, standing: true, alone: false }, 0)
  assert.deepEqual(
    log.lines.map(({ level, event }) => `${level} ${event}`),
    ['warn suspended', 'warn alone', 'info entitled', 'info suspended'],
  )
})

test('the patience follows the network many times a minute, and says so once', () => {
  const { reports, clock, log } = rig()
  const adapted = (node: string) =>
    reports.adapted({ type: 'adapted', node, patienceMs: 120.4, jitterMs: 33.3 })
  for (let i = 0; i < 10; i++) for (const node of ['a', 'c']) adapted(node)
  const said = () => log.lines.flatMap(({ level, fields }) => (level === 'info' ? [fields] : []))
  assert.deepEqual(
    said(),
    ['a', 'c'].map(peer => ({ peer, patienceMs: 120, jitterMs: 33 })),
  )
  clock.advance(60_000)
  adapted('a')
  assert.equal(said().length, 3)
})

test('a reflex thread that is late is a warning with the lateness, at most once a minute', () => {
  const { reports, clock, log } = rig()
  const count = (worstLatenessMs: number) =>
    reports.counters({
      type: 'counters',
      counters: {
        addresses: [],
        dropped: {},
        heartbeatsSent: 0,
        heartbeatsReceived: 0,
        framesLost: 0,
        worstLatenessMs,
        questionsAsked: 0,
        takeoversDelayed: 0,
        askers: 0,
      },
      membership: {
        voters: ['b'],
        majority: 1,
        entitledForMs: Number.POSITIVE_INFINITY,
        standing: true,
        alone: false,
        round: 0,
        peers: [],
      },
    })
  const warnings = () => log.lines.filter(({ event }) => event === 'reflex-late')
  count(3)
  assert.equal(warnings().length, 0)
  count(31.26)
  count(40)
  assert.deepEqual(
    warnings().map(({ fields }) => fields?.['worstMs']),
    [31.3],
  )
  clock.advance(60_000)
  count(40)
  assert.equal(warnings().length, 2)
  reports.notRealtime({ type: 'not-realtime', reason: 'SCHED_FIFO was refused' })
  for (let i = 0; i < 3; i++) count(2.51)
  assert.deepEqual(
    log.lines.filter(({ event }) => event === 'no-realtime-scheduling').map(({ fields }) => fields),
    [{ reason: 'SCHED_FIFO was refused', worstMs: 2.5 }],
    'once, with what it means',
  )
})
