import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { BFD_PACKETS, BFD_SIGNED } from '../../test/golden/bfd.ts'
import {
  type BfdControl,
  type BfdKey,
  type BfdState,
  DIAGNOSTIC,
  decodeBfdControl,
  encodeBfdControl,
  signBfdControl,
} from '../wire/bfd.ts'
import { type Effect, type Event, NEXT, nextDeadline, step } from './machine.ts'
import { type BfdConfig, type BfdSession, createBfd, detectionTimeUs, transmitIntervalUs } from './session.ts'
import { bfdSessionKey, multihop, SINGLE_HOP } from './transport.ts'

const CONFIG: BfdConfig = {
  desiredMinTxUs: 50_000,
  requiredMinRxUs: 50_000,
  detectMultiplier: 3,
  requiredMinEchoRxUs: 0,
  echoIntervalUs: null,
  passive: false,
  key: null,
}
const OURS = 7
const THEIRS = 9
const STATES: readonly BfdState[] = ['AdminDown', 'Down', 'Init', 'Up']

function session(config: Partial<BfdConfig> = {}): BfdSession {
  return createBfd({ ...CONFIG, ...config }, { discriminator: OURS, sequence: 100 })
}

function packetOf(state: BfdState, changes: Partial<BfdControl> = {}): BfdControl {
  return {
    diagnostic: 0,
    state,
    poll: false,
    final: false,
    controlPlaneIndependent: false,
    demand: false,
    detectMultiplier: 3,
    myDiscriminator: THEIRS,
    yourDiscriminator: OURS,
    desiredMinTxUs: 50_000,
    requiredMinRxUs: 50_000,
    requiredMinEchoRxUs: 0,
    authentication: null,
    ...changes,
  }
}

function hear(s: BfdSession, packet: BfdControl, now: number): Effect[] {
  return step(s, { type: 'packet', packet, bytes: encodeBfdControl(packet), now, random: 0.5 })
}

function tick(s: BfdSession, now: number, random = 0.5): Effect[] {
  return step(s, { type: 'tick', now, random })
}

const sent = (effects: readonly Effect[]): BfdControl[] =>
  effects.flatMap(effect => (effect.type === 'send' ? [decodeBfdControl(effect.bytes)] : []))
const changes = (effects: readonly Effect[]) =>
  effects.flatMap(effect => (effect.type === 'state-changed' ? [effect] : []))
const drops = (effects: readonly Effect[]) =>
  effects.flatMap(effect => (effect.type === 'dropped' ? [effect.why] : []))

/** A session that a peer has brought up at 1000 ms, its poll answered. */
function upSession(config: Partial<BfdConfig> = {}, peer: Partial<BfdControl> = {}): BfdSession {
  const s = session(config)
  tick(s, 0)
  hear(s, packetOf('Down', { ...peer, yourDiscriminator: 0 }), 900)
  hear(s, packetOf('Init', peer), 990)
  hear(s, packetOf('Up', { ...peer, final: true }), 1000)
  assert.equal(s.state, 'Up')
  assert(!s.polling)
  return s
}

/** Section 6.8.6: for every state of ours and every state that the peer can be in. */
const TRANSITIONS: readonly (readonly [
  own: BfdState,
  heard: BfdState,
  next: BfdState,
  diagnostic: number | null,
])[] = [
  ['Down', 'AdminDown', 'Down', null],
  ['Down', 'Down', 'Init', DIAGNOSTIC.none],
  ['Down', 'Init', 'Up', DIAGNOSTIC.none],
  ['Down', 'Up', 'Down', null],
  ['Init', 'AdminDown', 'Down', DIAGNOSTIC.neighborDown],
  ['Init', 'Down', 'Init', null],
  ['Init', 'Init', 'Up', DIAGNOSTIC.none],
  ['Init', 'Up', 'Up', DIAGNOSTIC.none],
  ['Up', 'AdminDown', 'Down', DIAGNOSTIC.neighborDown],
  ['Up', 'Down', 'Down', DIAGNOSTIC.neighborDown],
  ['Up', 'Init', 'Up', null],
  ['Up', 'Up', 'Up', null],
  ['AdminDown', 'AdminDown', 'AdminDown', null],
  ['AdminDown', 'Down', 'AdminDown', null],
  ['AdminDown', 'Init', 'AdminDown', null],
  ['AdminDown', 'Up', 'AdminDown', null],
]

function inState(state: BfdState): BfdSession {
  const s = session()
  tick(s, 0)
  if (state === 'AdminDown') step(s, { type: 'disable', now: 1, random: 0 })
  if (state === 'Init' || state === 'Up') hear(s, packetOf('Down', { yourDiscriminator: 0 }), 1)
  if (state === 'Up') hear(s, packetOf('Init'), 2)
  assert.equal(s.state, state)
  return s
}

test('the table of the machine is that of the RFC, for every state', () => {
  assert.equal(TRANSITIONS.length, STATES.length * STATES.length)
  for (const own of ['Down', 'Init', 'Up'] as const) {
    for (const heard of STATES) {
      const row = TRANSITIONS.find(([from, on]) => from === own && on === heard)
      assert.equal(NEXT[own][heard], row?.[2])
    }
  }
})
for (const [own, heard, next, diagnostic] of TRANSITIONS) {
  test(`${own}, hears ${heard}: ${next}`, () => {
    const s = inState(own)
    const effects = hear(s, packetOf(heard), 10)
    assert.equal(s.state, next)
    const wanted = {
      type: 'state-changed',
      from: own,
      to: next,
      diagnostic,
      failure: own === 'Up' && heard === 'Down',
    }
    assert.deepEqual(changes(effects), diagnostic === null ? [] : [wanted])
    // Whatever changes is told at once, with the new state and why.
    const [first] = sent(effects)
    if (diagnostic !== null) assert.deepEqual([first?.state, first?.diagnostic], [next, diagnostic])
    assert.deepEqual(drops(effects), own === 'AdminDown' ? ['disabled'] : [])
  })
}

/** Each other event in each state: what becomes of the state. */
const OTHER_EVENTS: readonly (readonly [
  string,
  (s: BfdSession) => Effect[],
  Readonly<Record<BfdState, BfdState>>,
])[] = [
  [
    'disable',
    s => step(s, { type: 'disable', now: 10, random: 0 }),
    { AdminDown: 'AdminDown', Down: 'AdminDown', Init: 'AdminDown', Up: 'AdminDown' },
  ],
  [
    'enable',
    s => step(s, { type: 'enable', now: 10, random: 0 }),
    { AdminDown: 'Down', Down: 'Down', Init: 'Init', Up: 'Up' },
  ],
  [
    'configure',
    s => step(s, { type: 'configure', config: { ...CONFIG, desiredMinTxUs: 10_000 }, now: 10, random: 0 }),
    { AdminDown: 'AdminDown', Down: 'Down', Init: 'Init', Up: 'Up' },
  ],
  [
    'an echo that nobody sent',
    s => step(s, { type: 'echo', echo: { discriminator: OURS, sequence: 1 }, now: 10, random: 0 }),
    { AdminDown: 'AdminDown', Down: 'Down', Init: 'Init', Up: 'Up' },
  ],
  ['a tick', s => tick(s, 10), { AdminDown: 'AdminDown', Down: 'Down', Init: 'Init', Up: 'Up' }],
  [
    'a tick after the detection time',
    s => tick(s, 100_000),
    { AdminDown: 'AdminDown', Down: 'Down', Init: 'Down', Up: 'Down' },
  ],
]
for (const [name, run, wanted] of OTHER_EVENTS) {
  for (const own of STATES) {
    test(`${own}, ${name}: ${wanted[own]}`, () => {
      const s = inState(own)
      const effects = run(s)
      assert.equal(s.state, wanted[own])
      assert.equal(changes(effects).length, wanted[own] === own ? 0 : 1)
      const [first] = sent(effects)
      if (wanted[own] !== own) assert.equal(first?.state, wanted[own])
    })
  }
}

test('intervals: a second until it is up, then what both agree on (sections 6.8.2 and 6.8.3)', () => {
  const s = session()
  assert.deepEqual(
    sent(tick(s, 0)).map(each => [
      each.state,
      each.desiredMinTxUs,
      each.requiredMinRxUs,
      each.yourDiscriminator,
    ]),
    [['Down', 1_000_000, 50_000, 0]],
  )
  // FRR: 1 s each while it is not up.
  hear(
    s,
    packetOf('Down', { yourDiscriminator: 0, desiredMinTxUs: 1_000_000, requiredMinRxUs: 1_000_000 }),
    10,
  )
  const effects = hear(s, packetOf('Init', { desiredMinTxUs: 1_000_000, requiredMinRxUs: 1_000_000 }), 20)
  const [first] = sent(effects)
  assert.deepEqual([first?.state, first?.poll, first?.desiredMinTxUs], ['Up', true, 50_000])
  assert.equal(transmitIntervalUs(s), 1_000_000)
  // The peer is up as well and says what it really can: the timer runs anew from the last packet.
  assert.equal(nextDeadline(s), 20 + 875)
  hear(s, packetOf('Up', { poll: true }), 60)
  assert.equal(transmitIntervalUs(s), 50_000)
  assert.equal(nextDeadline(s), 20 + 43.75)
  assert.equal(detectionTimeUs(s), 150_000)
})

test('a poll is answered at once by a packet with F and without P (section 6.5), which does not move the timer', () => {
  const s = inState('Up')
  assert(s.polling, 'our own poll waits')
  const before = nextDeadline(s)
  const answer = sent(hear(s, packetOf('Up', { poll: true }), 20))
  assert.deepEqual(
    answer.map(each => [each.final, each.poll]),
    [[true, false]],
  )
  assert.equal(nextDeadline(s), before)
})

test('our poll goes on until the peer has answered it', () => {
  const s = inState('Up')
  assert.deepEqual(
    sent(tick(s, 100)).map(each => each.poll),
    [true],
  )
  hear(s, packetOf('Up'), 110)
  assert.deepEqual(
    sent(tick(s, 200)).map(each => each.poll),
    [true],
  )
  hear(s, packetOf('Up', { final: true }), 210)
  assert.deepEqual(
    sent(tick(s, 300)).map(each => each.poll),
    [false],
  )
})

test('a slower rate is used only once the peer has confirmed it (section 6.8.3)', () => {
  const s = upSession()
  step(s, {
    type: 'configure',
    config: { ...CONFIG, desiredMinTxUs: 200_000, requiredMinRxUs: 20_000 },
    now: 1001,
    random: 0,
  })
  assert.equal(transmitIntervalUs(s), 50_000)
  assert.equal(detectionTimeUs(s), 150_000, 'the peer may not have slowed down yet')
  const [first] = sent(tick(s, 1050))
  assert.deepEqual([first?.poll, first?.desiredMinTxUs, first?.requiredMinRxUs], [true, 200_000, 20_000])
  hear(s, packetOf('Up', { final: true, desiredMinTxUs: 20_000 }), 1060)
  assert.equal(transmitIntervalUs(s), 200_000)
  assert.equal(detectionTimeUs(s), 60_000)
})

test('a faster rate, and a longer wait, hold at once', () => {
  const s = upSession()
  step(s, {
    type: 'configure',
    config: { ...CONFIG, desiredMinTxUs: 50_000, requiredMinRxUs: 90_000 },
    now: 1001,
    random: 0,
  })
  assert.equal(detectionTimeUs(s), 270_000)
  step(s, {
    type: 'configure',
    config: { ...CONFIG, desiredMinTxUs: 10_000, requiredMinRxUs: 90_000 },
    now: 1002,
    random: 0,
  })
  assert.equal(s.activeTxUs, 10_000)
  assert(s.pollAgain, 'two changes, two polls')
  hear(s, packetOf('Up', { final: true }), 1003)
  assert(s.polling)
  hear(s, packetOf('Up', { final: true }), 1004)
  assert(!s.polling)
})

test('silence for the detection time is a failure (section 6.8.4), and the peer is listened to anew', () => {
  const s = upSession()
  assert.equal(detectionTimeUs(s), 150_000)
  for (let now = 1000; now < 1150; now += 10) assert.deepEqual(changes(tick(s, now)), [])
  assert.deepEqual(changes(tick(s, 1149.9)), [])
  const effects = tick(s, 1150)
  assert.deepEqual(changes(effects), [
    {
      type: 'state-changed',
      from: 'Up',
      to: 'Down',
      diagnostic: DIAGNOSTIC.detectionTimeExpired,
      failure: true,
    },
  ])
  const [first] = sent(effects)
  assert.deepEqual([first?.state, first?.diagnostic, first?.yourDiscriminator], ['Down', 1, 0])
  assert.equal(first?.desiredMinTxUs, 1_000_000)
  hear(s, packetOf('Down', { myDiscriminator: 77, yourDiscriminator: 0 }), 2000)
  assert.deepEqual([s.state, s.remoteDiscriminator], ['Init', 77])
})

test("the detection time is the peer's multiplier and the slower of its sending and our receiving", () => {
  assert.equal(detectionTimeUs(upSession({ requiredMinRxUs: 10_000 }, { detectMultiplier: 5 })), 250_000)
  assert.equal(detectionTimeUs(upSession({ requiredMinRxUs: 80_000 }, { detectMultiplier: 5 })), 400_000)
})

test('a packet that waited while this process was late still counts', () => {
  const s = upSession()
  assert.deepEqual(changes(hear(s, packetOf('Up'), 1400)), [])
  assert.equal(s.state, 'Up')
})

test('jitter is 75 to 100 % of the interval, with a multiplier of 1 at most 90 % (section 6.8.7)', () => {
  for (const [detectMultiplier, most] of [
    [3, 50],
    [1, 45],
  ] as const) {
    const s = upSession({ detectMultiplier })
    for (const random of [0, 0.25, 0.999999]) {
      const now = nextDeadline(s)
      hear(s, packetOf('Up'), now - 1)
      tick(s, now, random)
      const gap = nextDeadline(s) - s.sentAt
      assert(gap >= 37.5 && gap <= most, `${gap}`)
      if (random === 0) assert.equal(gap, 37.5)
    }
  }
})

test('passive: not a packet before the peer speaks, and none after it was lost (section 6.8.7)', () => {
  const s = session({ passive: true })
  assert.equal(nextDeadline(s), Number.POSITIVE_INFINITY)
  assert.deepEqual(tick(s, 5000), [])
  const effects = hear(s, packetOf('Down', { yourDiscriminator: 0 }), 6000)
  assert.deepEqual(
    sent(effects).map(each => [each.state, each.yourDiscriminator]),
    [['Init', THEIRS]],
  )
  assert.deepEqual(sent(tick(s, 60_000)), [])
  assert.equal(s.state, 'Down')
})

test('a peer that wants no packets gets none (section 6.8.7)', () => {
  const s = upSession()
  hear(s, packetOf('Up', { requiredMinRxUs: 0 }), 1010)
  assert.deepEqual(sent(tick(s, 1100)), [])
  assert.equal(transmitIntervalUs(s), Number.POSITIVE_INFINITY)
})

test('a peer in demand mode gets silence, and an answer to each poll (section 6.6)', () => {
  const s = upSession()
  hear(s, packetOf('Up', { demand: true }), 1001)
  assert.deepEqual(sent(tick(s, 1100)), [])
  const answer = sent(hear(s, packetOf('Up', { demand: true, poll: true }), 1120))
  assert.deepEqual(
    answer.map(each => each.final),
    [true],
  )
  // A poll of our own breaks the silence until it is answered.
  step(s, {
    type: 'configure',
    config: { ...CONFIG, detectMultiplier: 3, desiredMinTxUs: 60_000 },
    now: 1130,
    random: 0,
  })
  assert.deepEqual(
    sent(tick(s, 1180)).map(each => each.poll),
    [true],
  )
  assert(s.polling)
  hear(s, packetOf('Up', { demand: true, final: true }), 1190)
  assert(!s.polling)
  assert.deepEqual(sent(tick(s, 1300)), [])
  // Going down is told all the same.
  assert.deepEqual(
    sent(step(s, { type: 'disable', now: 1301, random: 0 })).map(each => each.state),
    ['AdminDown'],
  )
})

test('disabled: the peer is told for a detection time and on, it is no failure, and its packets change nothing', () => {
  const s = upSession()
  const effects = step(s, { type: 'disable', now: 1010, random: 0 })
  assert.deepEqual(
    changes(effects).map(each => [each.failure, each.diagnostic]),
    [[false, DIAGNOSTIC.administrativelyDown]],
  )
  assert.equal(s.finishAt, 1010 + 3000)
  assert.deepEqual(drops(hear(s, packetOf('Up', { poll: true }), 1020)), ['disabled'])
  assert.deepEqual(
    tick(s, 4009).filter(each => each.type === 'finished'),
    [],
  )
  assert(tick(s, 4010).some(each => each.type === 'finished'))
  assert(!tick(s, 9000).some(each => each.type === 'finished'), 'once')
  assert.deepEqual(
    sent(tick(s, 12_000)).map(each => each.state),
    ['AdminDown'],
  )
  step(s, { type: 'enable', now: 12_001, random: 0 })
  assert.equal(s.state, 'Down')
})

test('packets for another session are dropped and change nothing', () => {
  const s = upSession()
  const before = structuredClone(s)
  assert.deepEqual(drops(hear(s, packetOf('Down', { yourDiscriminator: 8 }), 1001)), [
    'not-our-discriminator',
  ])
  assert.deepEqual(s, before)
})

test('echo: only in Up, only with a peer that loops, never faster than it can, and the control packets slow down', () => {
  const s = upSession({ echoIntervalUs: 10_000 })
  assert.equal(s.echo, null)
  const effects = hear(s, packetOf('Up', { requiredMinEchoRxUs: 20_000 }), 1010)
  assert.deepEqual(
    effects.filter(each => each.type === 'send-echo'),
    [{ type: 'send-echo', echo: { discriminator: OURS, sequence: 1 } }],
  )
  assert.equal(s.requiredMinRxUs, 1_000_000, 'section 6.8.3')
  assert(s.polling)
  step(s, { type: 'echo', echo: { discriminator: OURS, sequence: 1 }, now: 1011, random: 0 })
  const next = tick(s, 1030).filter(each => each.type === 'send-echo')
  assert.deepEqual(next, [{ type: 'send-echo', echo: { discriminator: OURS, sequence: 2 } }])
  // The peer stops looping: so do we, and packets come fast again once it has confirmed.
  hear(s, packetOf('Up', { requiredMinEchoRxUs: 0, final: true }), 1035)
  assert.equal(s.echo, null)
  assert.equal(s.requiredMinRxUs, 50_000)
  assert.equal(s.activeRxUs, 1_000_000)
})

test('echo: packets that do not come back are a failure, and old or foreign ones do not count', () => {
  const s = upSession({ echoIntervalUs: 20_000 })
  hear(s, packetOf('Up', { requiredMinEchoRxUs: 20_000 }), 1010)
  const back = (sequence: number, now: number, discriminator = OURS) =>
    drops(step(s, { type: 'echo', echo: { discriminator, sequence }, now, random: 0.5 }))
  assert.deepEqual(back(1, 1015, THEIRS), ['unexpected-echo'])
  assert.deepEqual(back(2, 1015), ['unexpected-echo'], 'not sent yet')
  assert.deepEqual(back(1, 1015), [])
  assert.deepEqual(back(1, 1016), ['unexpected-echo'], 'came back already')
  tick(s, 1040)
  assert.deepEqual(changes(tick(s, 1074.9)), [])
  const effects = tick(s, 1075)
  assert.deepEqual(
    changes(effects).map(each => [each.to, each.diagnostic, each.failure]),
    [['Down', DIAGNOSTIC.echoFailed, true]],
  )
  assert.deepEqual(back(2, 1076), ['unexpected-echo'])
})

const SHA1: BfdKey = { id: 1, type: 'meticulous-keyed-sha1', secret: new TextEncoder().encode('lodestone') }

function hearSigned(
  s: BfdSession,
  sequence: number,
  now: number,
  key = SHA1,
  state: BfdState = 'Down',
): Effect[] {
  const bytes = signBfdControl(packetOf(state), key, sequence)
  return step(s, { type: 'packet', packet: decodeBfdControl(bytes), bytes, now, random: 0.5 })
}

test('authentication: what has none, or another key, is dropped; with it every packet of ours has a number of its own', () => {
  const s = session({ key: SHA1 })
  const ours = sent([...tick(s, 0), ...tick(s, 1000), ...tick(s, 2000)]).map(
    ({ authentication }) => authentication,
  )
  assert.deepEqual(
    ours.map(each => each !== null && each?.type === 'meticulous-keyed-sha1' && each.sequence),
    [100, 101, 102],
  )
  assert.deepEqual(drops(hear(s, packetOf('Down'), 10)), ['not-authentic'])
  assert.deepEqual(drops(hearSigned(s, 1, 10, { ...SHA1, id: 2 })), ['not-authentic'])
  assert.deepEqual(drops(hearSigned(s, 1, 10)), [])
  assert.deepEqual(drops(hearSigned(session(), 1, 10)), ['not-authentic'], 'signed, but none was agreed')
})

test('authentication: numbers go up, meticulous ones with every packet, and no further than three multipliers', () => {
  for (const [type, least] of [
    ['keyed-sha1', 0],
    ['keyed-md5', 0],
    ['meticulous-keyed-sha1', 1],
    ['meticulous-keyed-md5', 1],
  ] as const) {
    const key = { ...SHA1, type }
    const s = session({ key })
    // It wraps around.
    assert.deepEqual(drops(hearSigned(s, 0xffffffff, 10, key)), [])
    assert.deepEqual(drops(hearSigned(s, 0xffffffff, 11, key)), least === 1 ? ['replayed'] : [])
    assert.deepEqual(drops(hearSigned(s, 0xfffffffe, 12, key)), ['replayed'])
    assert.deepEqual(drops(hearSigned(s, 9, 13, key)), ['replayed'])
    assert.deepEqual(drops(hearSigned(s, 8, 14, key)), [], '9 ahead')
  }
})

test('authentication: after twice the detection time any number is good again (section 6.8.1)', () => {
  const s = session({ key: SHA1 })
  hearSigned(s, 500, 0, SHA1, 'Init')
  assert.equal(s.state, 'Up')
  const { detectMultiplier } = CONFIG
  tick(s, (detectionTimeUs(s) / 1000) * 2 - 1)
  assert.equal(s.state, 'Down')
  assert.deepEqual(drops(hearSigned(s, 500 + 3 * detectMultiplier + 1, 299)), ['replayed'])
  tick(s, 300)
  assert.deepEqual(drops(hearSigned(s, 3, 301)), [])
})

test('real packets: FRR brings the session up', () => {
  const s = createBfd(CONFIG, { discriminator: 0x23eaf945, sequence: 0 })
  tick(s, 0)
  for (const [name, wanted] of [
    ['frrInit', 'Up'],
    ['frrFinalUp', 'Up'],
    ['frrUp', 'Up'],
    ['frrAdminDown', 'Down'],
  ] as const) {
    const bytes = BFD_PACKETS[name]
    step(s, { type: 'packet', packet: decodeBfdControl(bytes), bytes, now: 10, random: 0 })
    assert.equal(s.state, wanted, name)
  }
})

test('real packets: BIRD is believed with its key', () => {
  const bytes = BFD_SIGNED['meticulous-keyed-sha1']
  const key: BfdKey = { id: 7, type: 'meticulous-keyed-sha1', secret: SHA1.secret }
  const s = createBfd({ ...CONFIG, key }, { discriminator: 0x57fc1d11, sequence: 0 })
  const event = { type: 'packet', packet: decodeBfdControl(bytes), bytes, now: 10, random: 0 } as const
  assert.deepEqual(drops(step(s, event)), [])
  assert.deepEqual(drops(step(s, event)), ['replayed'])
})

/** Two sessions and the way between them, in simulated time. */
function simulate(
  a: BfdSession,
  b: BfdSession,
  options: { readonly untilMs: number; readonly loses: (now: number, from: 'a' | 'b') => boolean },
): { readonly now: number; readonly who: 'a' | 'b'; readonly to: BfdState }[] {
  const log: { now: number; who: 'a' | 'b'; to: BfdState }[] = []
  const wire: { at: number; to: 'a' | 'b'; bytes: Uint8Array }[] = []
  let now = 0
  let seed = 1
  const random = () => {
    seed = (seed * 16807) % 2147483647
    return seed / 2147483647
  }
  const run = (who: 'a' | 'b', event: Event) => {
    const s = who === 'a' ? a : b
    for (const effect of step(s, event)) {
      if (effect.type === 'state-changed') log.push({ now, who, to: effect.to })
      if (effect.type === 'send' && !options.loses(now, who)) {
        wire.push({ at: now + 1, to: who === 'a' ? 'b' : 'a', bytes: effect.bytes })
      }
    }
  }
  while (now < options.untilMs) {
    const next = Math.min(nextDeadline(a), nextDeadline(b), ...wire.map(({ at }) => at))
    now = Math.max(now, next)
    const arrived = wire.findIndex(({ at }) => at <= now)
    if (arrived >= 0) {
      const [{ to, bytes }] = wire.splice(arrived, 1) as [(typeof wire)[0]]
      run(to, { type: 'packet', packet: decodeBfdControl(bytes), bytes, now, random: random() })
      continue
    }
    if (nextDeadline(a) <= now) run('a', { type: 'tick', now, random: random() })
    if (nextDeadline(b) <= now) run('b', { type: 'tick', now, random: random() })
  }
  return log
}

test('two sessions come up, stay up, and see a cut within the detection time', () => {
  const b = createBfd({ ...CONFIG, requiredMinRxUs: 30_000 }, { discriminator: THEIRS, sequence: 5 })
  const a = session()
  const log = simulate(a, b, { untilMs: 21_000, loses: now => now >= 20_000 })
  const downs = log.filter(({ to }) => to === 'Down')
  assert.deepEqual(
    log
      .slice(0, -2)
      .filter(({ to }) => to !== 'Init')
      .map(({ who, to }) => `${who} ${to}`)
      .sort(),
    ['a Up', 'b Up'],
  )
  assert.equal(downs.length, 2)
  for (const { now } of downs) assert(now >= 20_000 + 100 && now <= 20_000 + 151, `${now}`)
})

test('a one-way cut brings both down: the deaf side tells the other', () => {
  const a = session()
  const b = createBfd(CONFIG, { discriminator: THEIRS, sequence: 5 })
  simulate(a, b, { untilMs: 20_300, loses: (now, from) => now >= 20_000 && from === 'a' })
  assert.equal(b.localDiagnostic, DIAGNOSTIC.detectionTimeExpired)
  assert.notEqual(a.state, 'Up')
})

test('both signed, with demand: nothing is lost', () => {
  const a = session({ key: SHA1 })
  const b = createBfd(
    { ...CONFIG, key: SHA1, passive: true },
    { discriminator: THEIRS, sequence: 0xfffffff0 },
  )
  const log = simulate(a, b, { untilMs: 10_000, loses: () => false })
  assert.deepEqual([a.state, b.state], ['Up', 'Up'])
  assert(!log.some(({ to }) => to === 'Down'))
})

test('property: any events in any order keep the rules', () => {
  const packets = fc
    .record(
      {
        state: fc.constantFrom(...STATES),
        poll: fc.boolean(),
        final: fc.boolean(),
        demand: fc.boolean(),
        yourDiscriminator: fc.constantFrom(OURS, 3),
        requiredMinRxUs: fc.constantFrom(0, 1, 50_000, 0xffffffff),
        desiredMinTxUs: fc.constantFrom(0, 50_000, 0xffffffff),
        requiredMinEchoRxUs: fc.constantFrom(0, 10_000),
        detectMultiplier: fc.constantFrom(1, 3, 255),
      },
      { noNullPrototype: true },
    )
    .map(each => {
      const packet = packetOf(each.state, each)
      return { type: 'packet', packet, bytes: encodeBfdControl(packet) } as const
    })
  const events = fc.oneof(
    { weight: 6, arbitrary: packets },
    { weight: 4, arbitrary: fc.constant({ type: 'tick' } as const) },
    fc.constant({ type: 'disable' } as const),
    fc.constant({ type: 'enable' } as const),
    fc
      .constantFrom(
        CONFIG,
        { ...CONFIG, desiredMinTxUs: 10_000, echoIntervalUs: 10_000 },
        { ...CONFIG, requiredMinRxUs: 2_000_000, detectMultiplier: 1 },
      )
      .map(config => ({ type: 'configure', config }) as const),
    fc
      .integer({ min: 0, max: 5 })
      .map(sequence => ({ type: 'echo', echo: { discriminator: OURS, sequence } }) as const),
  )
  const steps = fc.array(
    fc.tuple(events, fc.constantFrom(0, 1, 40, 200, 2000), fc.double({ min: 0, max: 0.999, noNaN: true })),
    {
      maxLength: 60,
    },
  )
  fc.assert(
    fc.property(steps, fc.boolean(), (list, passive) => {
      const s = session({ passive, echoIntervalUs: 20_000 })
      let now = 0
      let lastState: BfdState = s.state
      for (const [event, wait, random] of list) {
        now += wait
        const effects = step(s, { ...event, now, random })
        for (const effect of effects) {
          if (effect.type === 'state-changed') {
            assert.equal(effect.from, lastState)
            assert.notEqual(effect.to, effect.from)
            if (effect.failure) assert.equal(effect.from, 'Up')
            lastState = effect.to
          }
          if (effect.type === 'send') {
            const packet = decodeBfdControl(effect.bytes)
            assert(!(packet.poll && packet.final))
            if (packet.state !== 'Up') assert(packet.desiredMinTxUs >= 1_000_000)
            assert.equal(packet.myDiscriminator, OURS)
          }
        }
        assert.equal(s.state, lastState)
        // At most: a change and its consequence, an answer, an echo, each with a packet.
        assert(effects.length <= 9, `${effects.length}`)
        // What is due was done: the next deadline lies ahead.
        assert(nextDeadline(s) > now, `${nextDeadline(s)} at ${now}`)
        if (s.echo !== null) assert.equal(s.state, 'Up')
      }
    }),
    { numRuns: 500 },
  )
})

test('the rules for addresses, TTL and ports are facts for the driver (RFC 5881, RFC 5883)', () => {
  assert.deepEqual(SINGLE_HOP, { port: 3784, sendTtl: 255, minimumTtl: 255, echo: true })
  assert.deepEqual(multihop(254), { port: 4784, sendTtl: 255, minimumTtl: 254, echo: false })
  assert.throws(() => multihop(255), { name: 'AssertionError' })
  const peer = { address: '192.0.2.1', localAddress: '192.0.2.2', interfaceName: 'eth0' }
  assert.notEqual(
    bfdSessionKey({ ...peer, transport: SINGLE_HOP }),
    bfdSessionKey({ ...peer, transport: SINGLE_HOP, interfaceName: 'eth1' }),
  )
  assert.equal(
    bfdSessionKey({ ...peer, transport: multihop(250) }),
    bfdSessionKey({ ...peer, transport: multihop(250), interfaceName: 'eth1' }),
  )
})
