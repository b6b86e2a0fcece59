import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { BGP_OPENS, BGP_UPDATES } from '../../test/golden/bgp.ts'
import type { Ipv4 } from '../addr/ip.ts'
import { BgpError } from '../wire/bgp/error.ts'
import { IPV4_UNICAST, IPV6_UNICAST } from '../wire/bgp/family.ts'
import { decodeMessage, type ReceivedMessage } from '../wire/bgp/message.ts'
import { ceaseWithText, notification } from '../wire/bgp/notification.ts'
import { capability, type Open } from '../wire/bgp/open.ts'
import type { Effect, Event } from './events.ts'
import { nextDeadline, OPEN_HOLD_MS, step } from './machine.ts'
import { ourOpen } from './negotiation.ts'
import { createSession, established, type Session, type SessionConfig, stateOf } from './session.ts'

const CONFIG: SessionConfig = {
  localAs: 64500,
  localIdentifier: '192.0.2.1' as Ipv4,
  peerAs: 64501,
  families: ['IPv4', 'IPv6'],
  holdTimeS: 90,
  gracefulRestart: null,
  extendedNextHop: false,
  hostName: null,
  keepaliveMs: null,
  connectRetryMs: 8_000,
  delayOpenMs: 0,
  passive: false,
  idleHold: { firstMs: 1_000, maxMs: 8_000, forgetAfterMs: 60_000 },
  sendHoldMs: 10_000,
}

/** The peer's side of the same: higher identifier unless said. */
const PEER: SessionConfig = {
  ...CONFIG,
  localAs: 64501,
  localIdentifier: '192.0.2.2' as Ipv4,
  peerAs: 64500,
}
const OPEN = ourOpen(PEER, false)
const CONTEXT = { fourOctetAs: true, internal: false }
const KEEPALIVE = { type: 'keepalive' } as const
const UPDATE = decodeMessage(BGP_UPDATES.frrRoute, CONTEXT)
const REFRESH = {
  type: 'route-refresh',
  family: IPV4_UNICAST,
  subtype: 0,
  filters: new Uint8Array(0),
} as const

/** Runs events at their times; the jitter is always the full interval. */
class Harness {
  now = 0
  readonly session: Session
  readonly log: Effect[] = []

  constructor(config: Partial<SessionConfig> = {}, restarting = false) {
    this.session = createSession({ ...CONFIG, ...config }, restarting)
  }

  get state() {
    return stateOf(this.session)
  }

  run(event: Parameters<typeof withTime>[0], atMs = this.now): Effect[] {
    this.now = atMs
    const effects = step(this.session, withTime(event, atMs))
    this.log.push(...effects)
    return effects
  }

  hear(message: ReceivedMessage, connection = 1, atMs = this.now): Effect[] {
    return this.run({ type: 'message', connection, message }, atMs)
  }

  /** Up over an outgoing connection 1. */
  establish(open: Open = OPEN): this {
    this.run({ type: 'start' })
    this.run({ type: 'connected', connection: 1 })
    this.hear(open)
    this.hear(KEEPALIVE)
    assert.equal(this.state, 'Established')
    return this
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never
function withTime(event: DistributiveOmit<Event, 'now' | 'random'>, now: number): Event {
  return { ...event, now, random: 1 }
}

/** An effect in a word; sent messages by their type, NOTIFICATIONs by their code. */
function word(effect: Effect): string {
  if (effect.type === 'down') return `down ${effect.routes}`
  if (effect.type !== 'send') return effect.type
  const message = decodeMessage(effect.bytes, CONTEXT)
  return message.type === 'notification' ? `${message.code}/${message.subcode}` : message.type.toUpperCase()
}
const words = (effects: readonly Effect[]): string =>
  effects
    .filter(({ type }) => type !== 'state')
    .map(word)
    .join(', ')

const opensSent = (effects: readonly Effect[]): Open[] =>
  effects.flatMap(effect => {
    if (effect.type !== 'send') return []
    const message = decodeMessage(effect.bytes, CONTEXT)
    return message.type === 'open' ? [message] : []
  })

/** How to get there. The states with a delay wait for the peer's OPEN. Connection 1 is there from Connect with delay on. */
const STATES = {
  Idle: () => new Harness(),
  Pause: () => {
    const h = new Harness()
    h.run({ type: 'start' })
    h.run({ type: 'reset', notification: notification(6, 6) })
    return h
  },
  Connect: () => {
    const h = new Harness()
    h.run({ type: 'start' })
    return h
  },
  ConnectDelay: () => {
    const h = new Harness({ delayOpenMs: 5_000 })
    h.run({ type: 'start' })
    h.run({ type: 'connected', connection: 1 })
    return h
  },
  Active: () => {
    const h = new Harness()
    h.run({ type: 'start' })
    h.run({ type: 'connect-failed', why: 'refused' })
    return h
  },
  ActiveDelay: () => {
    const h = new Harness({ delayOpenMs: 5_000 })
    h.run({ type: 'start' })
    h.run({ type: 'connect-failed', why: 'refused' })
    h.run({ type: 'accepted', connection: 1 })
    return h
  },
  OpenSent: () => {
    const h = new Harness()
    h.run({ type: 'start' })
    h.run({ type: 'connected', connection: 1 })
    return h
  },
  OpenConfirm: () => {
    const h = new Harness()
    h.run({ type: 'start' })
    h.run({ type: 'connected', connection: 1 })
    h.hear(OPEN)
    return h
  },
  Established: () => new Harness().establish(),
} as const
type StateName = keyof typeof STATES
const STATE_NAMES = Object.keys(STATES) as StateName[]

/** Moves on to the moment of a timer; undefined: it does not run. */
function expire(h: Harness, at: (session: Session) => number): Effect[] | undefined {
  const when = at(h.session)
  return Number.isFinite(when) ? h.run({ type: 'tick' }, when) : undefined
}

const EVENTS = {
  start: (h: Harness) => h.run({ type: 'start' }),
  stop: (h: Harness) => h.run({ type: 'stop', how: 'shutdown' }),
  'stop for a restart': (h: Harness) => h.run({ type: 'stop', how: 'restart' }),
  reset: (h: Harness) => h.run({ type: 'reset', notification: notification(6, 6) }),
  connected: (h: Harness) => h.run({ type: 'connected', connection: 2 }),
  'connect failed': (h: Harness) => h.run({ type: 'connect-failed', why: 'refused' }),
  accepted: (h: Harness) => h.run({ type: 'accepted', connection: 3 }),
  closed: (h: Harness) => h.run({ type: 'closed', connection: 1, why: 'reset by peer' }),
  OPEN: (h: Harness) => h.hear(OPEN),
  'OPEN of another AS': (h: Harness) => h.hear(ourOpen({ ...PEER, localAs: 64511 }, false)),
  KEEPALIVE: (h: Harness) => h.hear(KEEPALIVE),
  UPDATE: (h: Harness) => h.hear(UPDATE),
  'ROUTE-REFRESH': (h: Harness) => h.hear(REFRESH),
  NOTIFICATION: (h: Harness) => h.hear(notification(6, 2)),
  'a malformed message': (h: Harness) =>
    h.run({
      type: 'malformed',
      connection: 1,
      error: new BgpError('bad-length', 'length', 'RFC 4271', '7', notification(1, 2)),
    }),
  'update sent': (h: Harness) => h.run({ type: 'update-sent', connection: 1 }),
  'backlog gone': (h: Harness) => h.run({ type: 'backlog', connection: 1, waiting: false }),
  'idle hold timer': (h: Harness) => expire(h, s => s.idleHoldAt),
  'connect retry timer': (h: Harness) => expire(h, s => s.connectRetryAt),
  'delay open timer': (h: Harness) => expire(h, s => s.connections[0]?.delayOpenAt ?? Infinity),
  'hold timer': (h: Harness) => expire(h, s => s.connections[0]?.holdAt ?? Infinity),
  'keepalive timer': (h: Harness) => expire(h, s => s.connections[0]?.keepaliveAt ?? Infinity),
} as const
type EventName = keyof typeof EVENTS

/**
 * Section 8.2.2. '=': nothing happens; '=: x': the state stays, and x is done; '-': the timer does not run. Not listed is '=' for events and
 * '-' for timers. The pause is Idle to the outside.
 */
const TABLE: Readonly<Record<EventName, Partial<Record<StateName, string>>>> = {
  start: { Idle: 'Connect: connect' },
  stop: {
    Connect: 'Idle: stop-connecting',
    ConnectDelay: 'Idle: close',
    Active: 'Idle',
    ActiveDelay: 'Idle: close',
    OpenSent: 'Idle: 6/2, close',
    OpenConfirm: 'Idle: 6/2, close',
    Established: 'Idle: 6/2, close, down dropped',
  },
  'stop for a restart': {
    Connect: 'Idle: stop-connecting',
    ConnectDelay: 'Idle: close',
    Active: 'Idle',
    ActiveDelay: 'Idle: close',
    OpenSent: 'Idle: close',
    OpenConfirm: 'Idle: close',
    Established: 'Idle: close, down dropped',
  },
  reset: {
    Connect: 'Idle: stop-connecting',
    ConnectDelay: 'Idle: close',
    Active: 'Idle',
    ActiveDelay: 'Idle: close',
    OpenSent: 'Idle: 6/6, close',
    OpenConfirm: 'Idle: 6/6, close',
    Established: 'Idle: 6/6, close, down dropped',
  },
  connected: {
    Idle: '=: close',
    Pause: '=: close',
    Connect: 'OpenSent: OPEN',
    ConnectDelay: '=: close',
    Active: '=: close',
    ActiveDelay: '=: close',
    OpenSent: '=: close',
    OpenConfirm: '=: close',
    Established: '=: close',
  },
  'connect failed': { Connect: 'Active' },
  accepted: {
    Idle: '=: close',
    Pause: '=: close',
    Connect: 'OpenSent: OPEN',
    Active: 'OpenSent: OPEN',
    ActiveDelay: '=: close',
    OpenSent: '=: OPEN',
    OpenConfirm: '=: OPEN',
    Established: '=: OPEN',
  },
  closed: {
    ConnectDelay: 'Active',
    ActiveDelay: 'Idle',
    OpenSent: 'Active',
    OpenConfirm: 'Idle',
    Established: 'Idle: down dropped',
  },
  OPEN: {
    ConnectDelay: 'OpenConfirm: OPEN, KEEPALIVE',
    ActiveDelay: 'OpenConfirm: OPEN, KEEPALIVE',
    OpenSent: 'OpenConfirm: KEEPALIVE',
    OpenConfirm: 'Idle: 5/2, close',
    Established: 'Idle: 5/3, close, down dropped',
  },
  'OPEN of another AS': {
    ConnectDelay: 'Idle: OPEN, 2/2, close',
    ActiveDelay: 'Idle: OPEN, 2/2, close',
    OpenSent: 'Idle: 2/2, close',
    OpenConfirm: 'Idle: 5/2, close',
    Established: 'Idle: 5/3, close, down dropped',
  },
  KEEPALIVE: {
    ConnectDelay: 'Idle: close',
    ActiveDelay: 'Idle: close',
    OpenSent: 'Idle: 5/1, close',
    OpenConfirm: 'Established: up',
  },
  UPDATE: {
    ConnectDelay: 'Idle: close',
    ActiveDelay: 'Idle: close',
    OpenSent: 'Idle: 5/1, close',
    OpenConfirm: 'Idle: 5/2, close',
    Established: '=: routes',
  },
  'ROUTE-REFRESH': {
    ConnectDelay: 'Idle: close',
    ActiveDelay: 'Idle: close',
    OpenSent: 'Idle: 5/1, close',
    OpenConfirm: 'Idle: 5/2, close',
    Established: '=: refresh',
  },
  NOTIFICATION: {
    ConnectDelay: 'Idle: close',
    ActiveDelay: 'Idle: close',
    OpenSent: 'Idle: close',
    OpenConfirm: 'Idle: close',
    Established: 'Idle: close, down dropped',
  },
  'a malformed message': {
    ConnectDelay: 'Idle: close',
    ActiveDelay: 'Idle: close',
    OpenSent: 'Idle: 1/2, close',
    OpenConfirm: 'Idle: 1/2, close',
    Established: 'Idle: 1/2, close, down dropped',
  },
  'update sent': {},
  'backlog gone': {},
  'idle hold timer': { Pause: 'Connect: connect' },
  'connect retry timer': { Connect: '=: stop-connecting, connect', Active: 'Connect: connect' },
  'delay open timer': { ConnectDelay: 'OpenSent: OPEN', ActiveDelay: 'OpenSent: OPEN' },
  'hold timer': {
    OpenSent: 'Idle: 4/0, close',
    OpenConfirm: 'Idle: 4/0, close',
    Established: 'Idle: 4/0, close, down dropped',
  },
  'keepalive timer': { OpenConfirm: '=: KEEPALIVE', Established: '=: KEEPALIVE' },
}

for (const name of Object.keys(EVENTS) as EventName[]) {
  for (const state of STATE_NAMES) {
    const wanted = TABLE[name][state] ?? (name.endsWith('timer') ? '-' : '=')
    test(`${state}, ${name}: ${wanted}`, () => {
      const h = STATES[state]()
      const before = h.state
      const effects = EVENTS[name](h)
      if (effects === undefined) {
        assert.equal('-', wanted)
        return
      }
      const done = words(effects)
      const next = h.state === before ? '=' : h.state
      assert.equal(done === '' ? next : `${next}: ${done}`, wanted)
      const told = effects.flatMap(effect => (effect.type === 'state' ? [[effect.from, effect.to]] : []))
      assert.deepEqual(told, next === '=' ? [] : [[before, h.state]])
    })
  }
}

test('the OPEN waits four minutes for its answer, which then settles the hold time', () => {
  const h = STATES.OpenSent()
  assert.equal(h.session.connections[0]?.holdAt, OPEN_HOLD_MS)
  h.hear({ ...OPEN, holdTimeS: 9 }, 1, 1_000)
  assert.equal(h.session.connections[0]?.holdAt, 1_000 + 9_000)
  assert.equal(h.session.connections[0]?.keepaliveAt, 1_000 + 3_000)
})

test('a hold time of 0 on either side: no keepalives and no hold timer (section 4.2)', () => {
  const h = new Harness().establish({ ...OPEN, holdTimeS: 0 })
  assert.equal(nextDeadline(h.session), Number.POSITIVE_INFINITY)
})

test('KEEPALIVE and UPDATE restart the hold timer, nothing else does (section 8.2.2)', () => {
  const h = new Harness().establish()
  h.hear(KEEPALIVE, 1, 10_000)
  assert.equal(established(h.session)?.holdAt, 100_000)
  h.hear(UPDATE, 1, 20_000)
  assert.equal(established(h.session)?.holdAt, 110_000)
  h.hear(REFRESH, 1, 30_000)
  assert.equal(established(h.session)?.holdAt, 110_000)
})

test('a keepalive is sent every third of the hold time or as configured, less jitter, and not where an UPDATE was', () => {
  const h = new Harness({ keepaliveMs: 7_000 }).establish()
  assert.equal(established(h.session)?.keepaliveAt, 7_000)
  step(h.session, { type: 'update-sent', connection: 1, now: 1_000, random: 0 })
  assert.equal(established(h.session)?.keepaliveAt, 1_000 + 5_250)
  const slow = new Harness({ keepaliveMs: 80_000 }).establish()
  assert.equal(established(slow.session)?.keepaliveAt, 30_000)
})

test('messages that waited while this process was late count before the hold timer', () => {
  const h = new Harness().establish()
  assert.deepEqual(words(h.hear(KEEPALIVE, 1, 95_000)), 'KEEPALIVE')
  assert.equal(h.state, 'Established')
})

test('pauses double from failure to failure up to the longest, and are short again after a session that held', () => {
  const h = new Harness()
  h.run({ type: 'start' })
  const pauses: number[] = []
  for (let i = 0; i < 6; i++) {
    h.run({ type: 'connected', connection: 10 + i })
    h.hear(notification(6, 5), 10 + i)
    pauses.push(h.session.idleHoldAt - h.now)
    h.run({ type: 'tick' }, h.session.idleHoldAt)
  }
  assert.deepEqual(pauses, [1_000, 2_000, 4_000, 8_000, 8_000, 8_000])
  assert.equal(h.session.connectRetryCounter, 6)
  h.run({ type: 'connected', connection: 1 })
  h.hear(OPEN)
  h.hear(KEEPALIVE)
  h.hear(KEEPALIVE, 1, h.now + 60_000)
  h.hear(notification(6, 4))
  assert.equal(h.session.idleHoldAt - h.now, 1_000)
  h.run({ type: 'stop', how: 'shutdown' })
  assert.equal(h.session.connectRetryCounter, 0)
})

test('timers are jittered by up to a quarter (section 10)', () => {
  for (const [random, wanted] of [
    [0, 6_000],
    [0.5, 7_000],
  ] as const) {
    const session = createSession(CONFIG, false)
    step(session, { type: 'start', now: 0, random })
    assert.equal(session.connectRetryAt, wanted)
  }
})

test('passive: listens, never connects, and needs no timer', () => {
  const h = new Harness({ passive: true })
  assert.deepEqual(words(h.run({ type: 'start' })), '')
  assert.equal(h.state, 'Active')
  assert.equal(nextDeadline(h.session), Number.POSITIVE_INFINITY)
  assert.deepEqual(words(h.run({ type: 'accepted', connection: 5 })), 'OPEN')
  h.hear(notification(6, 5), 5)
  assert.equal(h.state, 'Idle')
  h.run({ type: 'tick' }, h.session.idleHoldAt)
  assert.equal(h.state, 'Active')
})

/** Section 6.8, RFC 6286 section 2.3: whose connection stays. */
const COLLISIONS: readonly (readonly [
  ours: string,
  ourAs: number,
  theirs: string,
  theirAs: number,
  kept: number,
])[] = [
  ['192.0.2.1', 64500, '192.0.2.2', 64501, 2],
  ['192.0.2.2', 64500, '192.0.2.1', 64501, 1],
  // As unsigned numbers of four octets, not as texts.
  ['192.0.2.10', 64500, '192.0.2.9', 64501, 1],
  ['224.0.0.1', 64500, '10.0.0.1', 64501, 1],
  ['192.0.2.1', 64500, '192.0.2.1', 64501, 2],
  ['192.0.2.1', 64502, '192.0.2.1', 64501, 1],
]
for (const [ours, ourAs, theirs, theirAs, kept] of COLLISIONS) {
  for (const first of [1, 2]) {
    test(`collision: ${ours} of ${ourAs} with ${theirs} of ${theirAs}, OPEN on ${first === 1 ? 'our' : 'its'} connection first: ${kept === 1 ? 'ours' : "the peer's"} stays`, () => {
      const h = new Harness({ localIdentifier: ours as Ipv4, localAs: ourAs, peerAs: theirAs })
      const open = ourOpen({ ...PEER, localIdentifier: theirs as Ipv4, localAs: theirAs }, false)
      h.run({ type: 'start' })
      h.run({ type: 'accepted', connection: 2 })
      h.run({ type: 'connected', connection: 1 })
      assert.equal(h.session.connections.length, 2)
      h.hear(open, first)
      assert.equal(h.state, 'OpenConfirm')
      const effects = h.hear(open, 3 - first)
      assert(words(effects).includes('6/7, close'), words(effects))
      assert.deepEqual(
        h.session.connections.map(({ id }) => id),
        [kept],
      )
      assert.equal(h.state, 'OpenConfirm')
      h.hear(KEEPALIVE, kept)
      assert.equal(h.state, 'Established')
    })
  }
}

test('an established connection wins over a new one (section 6.8)', () => {
  const h = new Harness().establish()
  h.run({ type: 'accepted', connection: 2 })
  assert.deepEqual(words(h.hear(OPEN, 2)), '6/7, close')
  assert.equal(established(h.session)?.id, 1)
})

const GRACEFUL = { gracefulRestart: { restartTimeS: 120 } } as const
const GRACEFUL_OPEN = ourOpen({ ...PEER, ...GRACEFUL }, false)

test('but a peer with graceful restart that comes anew has lost the old one (RFC 4724 section 5)', () => {
  const h = new Harness(GRACEFUL).establish(GRACEFUL_OPEN)
  h.run({ type: 'accepted', connection: 2 })
  const effects = h.hear(ourOpen({ ...PEER, ...GRACEFUL }, true), 2)
  assert.equal(words(effects), 'close, down kept, KEEPALIVE')
  h.hear(KEEPALIVE, 2)
  assert.equal(established(h.session)?.id, 2)
})

test('of two connections that the peer opened the later one counts', () => {
  const h = new Harness({ passive: true })
  h.run({ type: 'start' })
  h.run({ type: 'accepted', connection: 1 })
  assert.equal(words(h.run({ type: 'accepted', connection: 2 })), '6/7, close, OPEN')
  assert.deepEqual(
    h.session.connections.map(({ id }) => id),
    [2],
  )
  h.hear(OPEN, 2)
  h.hear(KEEPALIVE, 2)
  // Beside an established one there may be another, and a third takes its place.
  h.run({ type: 'accepted', connection: 3 })
  assert.equal(words(h.run({ type: 'accepted', connection: 4 })), '6/7, close, OPEN')
  assert.equal(h.session.connections.length, 2)
})

test('a connection that fails leaves the other alone', () => {
  const h = new Harness()
  h.run({ type: 'start' })
  h.run({ type: 'accepted', connection: 2 })
  h.run({ type: 'connected', connection: 1 })
  h.hear(notification(6, 5), 2)
  assert.equal(h.state, 'OpenSent')
  h.hear(OPEN)
  h.hear(KEEPALIVE)
  assert.equal(h.state, 'Established')
})

test('the R bit is in every OPEN until the session has been up once, and only with graceful restart (RFC 4724 section 4.1)', () => {
  const restarting = (open: Open | undefined) => open && capability(open, 'graceful-restart')?.restarting
  const h = new Harness(GRACEFUL, true)
  h.run({ type: 'start' })
  assert.equal(restarting(opensSent(h.run({ type: 'connected', connection: 7 }))[0]), true)
  h.run({ type: 'closed', connection: 7, why: 'reset' })
  h.run({ type: 'tick' }, h.session.connectRetryAt)
  assert.equal(restarting(opensSent(h.run({ type: 'connected', connection: 1 }))[0]), true)
  h.hear(GRACEFUL_OPEN)
  h.hear(KEEPALIVE)
  h.hear(notification(6, 4))
  h.run({ type: 'tick' }, h.session.idleHoldAt)
  assert.equal(restarting(opensSent(h.run({ type: 'connected', connection: 9 }))[0]), false)
  const without = new Harness({}, true)
  without.run({ type: 'start' })
  assert.equal(restarting(opensSent(without.run({ type: 'connected', connection: 1 }))[0]), undefined)
})

/** RFC 4724 section 4.2 and RFC 8538 section 4: what the peer does with our routes. */
const ENDS: readonly (readonly [string, (h: Harness) => Effect[], withN: string, withoutN: string])[] = [
  [
    'the connection breaks',
    h => h.run({ type: 'closed', connection: 1, why: 'reset' }),
    'down kept',
    'down kept',
  ],
  ['a restart', h => h.run({ type: 'stop', how: 'restart' }), 'close, down kept', 'close, down kept'],
  [
    'a shutdown',
    h => h.run({ type: 'stop', how: 'shutdown' }),
    '6/9, close, down dropped',
    '6/2, close, down dropped',
  ],
  [
    'the hold timer',
    h => h.run({ type: 'tick' }, 90_000),
    '4/0, close, down kept',
    '4/0, close, down dropped',
  ],
  ['its NOTIFICATION', h => h.hear(notification(6, 4)), 'close, down kept', 'close, down dropped'],
  ['its Hard Reset', h => h.hear(notification(6, 9)), 'close, down dropped', 'close, down dropped'],
]
for (const [name, run, withN, withoutN] of ENDS) {
  test(`our routes after ${name}`, () => {
    assert.equal(words(run(new Harness(GRACEFUL).establish(GRACEFUL_OPEN))), withN)
    const old = {
      ...GRACEFUL_OPEN,
      capabilities: GRACEFUL_OPEN.capabilities.map(each =>
        each.type === 'graceful-restart' ? { ...each, notifications: false } : each,
      ),
    }
    assert.equal(words(run(new Harness(GRACEFUL).establish(old))), withoutN)
  })
}

test('a shutdown says why (RFC 9003), within a Hard Reset too', () => {
  const sent = (h: Harness) =>
    h.run({ type: 'stop', how: 'shutdown', text: 'node drained' }).flatMap(effect => {
      if (effect.type !== 'down') return []
      return [effect.sent]
    })
  assert.deepEqual(sent(new Harness().establish()), [ceaseWithText(2, 'node drained')])
  const [hard] = sent(new Harness(GRACEFUL).establish(GRACEFUL_OPEN))
  assert.deepEqual([hard?.subcode, hard?.data.slice(0, 2)], [9, Uint8Array.of(6, 2)])
})

test('the error that ended it is kept in words', () => {
  const h = new Harness().establish()
  h.hear(ceaseWithText(2, 'maintenance tonight'))
  assert.equal(h.session.lastError, 'received Cease / Administrative Shutdown: "maintenance tonight"')
  const other = STATES.OpenSent()
  other.hear(ourOpen({ ...PEER, localAs: 64511 }, false))
  assert.match(other.session.lastError ?? '', /Bad Peer AS.*AS 64511/)
})

test('a peer that does not read is cut off after the send hold time (RFC 9687), progress puts it off', () => {
  const h = new Harness().establish()
  h.run({ type: 'backlog', connection: 1, waiting: true }, 1_000)
  h.run({ type: 'backlog', connection: 1, waiting: true }, 9_000)
  assert.equal(established(h.session)?.sendHoldAt, 19_000)
  h.run({ type: 'backlog', connection: 1, waiting: false }, 10_000)
  assert.equal(words(h.run({ type: 'tick' }, 20_000)), '')
  h.run({ type: 'backlog', connection: 1, waiting: true }, 20_000)
  assert.equal(words(h.run({ type: 'tick' }, 30_000)), '8/0, close, down dropped')
  const never = new Harness({ sendHoldMs: 0 }).establish()
  never.run({ type: 'backlog', connection: 1, waiting: true })
  assert.equal(established(never.session)?.sendHoldAt, Number.POSITIVE_INFINITY)
})

test('routes of families that are not carried, or that were disabled, do not count', () => {
  const h = new Harness({ families: ['IPv6'] }).establish()
  const [first] = h.hear(UPDATE)
  assert(first?.type === 'routes')
  assert.deepEqual(first.changes, { announced: [], withdrawn: [], disabled: [], endOfRib: null })
  assert.equal(words(h.hear(REFRESH)), '', 'nor are they asked for')

  const both = new Harness().establish()
  const v6 = decodeMessage(BGP_UPDATES.frrIpv6Routes, CONTEXT)
  assert(v6.type === 'update')
  const routes = (message: ReceivedMessage) =>
    both.hear(message).flatMap(effect => (effect.type === 'routes' ? [effect.changes] : []))
  assert.equal(routes(v6)[0]?.announced.length, 2)
  const broken = {
    ...v6,
    problems: [{ handling: 'disable-family', attribute: 14, what: 'x', family: IPV6_UNICAST }],
  } as const
  assert.deepEqual(routes({ ...broken, attributes: {} })[0]?.disabled, [IPV6_UNICAST])
  assert.equal(routes(v6)[0]?.announced.length, 0)
  assert.equal(routes(UPDATE)[0]?.announced.length, 1)
})

test('End-of-RIB is passed on', () => {
  const h = new Harness().establish()
  const [effect] = h.hear(decodeMessage(BGP_UPDATES.frrEndOfRibIpv6, CONTEXT))
  assert(effect?.type === 'routes')
  assert.deepEqual(effect.changes.endOfRib, IPV6_UNICAST)
})

test('marks of an enhanced refresh, and requests of who never said that it asks, are ignored', () => {
  const h = new Harness().establish()
  assert.equal(words(h.hear({ ...REFRESH, subtype: 1 })), '')
  assert.equal(words(h.hear({ ...REFRESH, subtype: 99 })), '')
  const plain = { ...OPEN, capabilities: OPEN.capabilities.filter(({ type }) => type !== 'route-refresh') }
  assert.equal(words(new Harness().establish(plain).hear(REFRESH)), '')
})

test('real peers: the OPENs of FRR, BIRD and GoBGP are agreed to', () => {
  for (const [bytes, peerAs] of [
    [BGP_OPENS.frr, 64500],
    [BGP_OPENS.bird, 4200000002],
    [BGP_OPENS.gobgp, 64502],
  ] as const) {
    const open = decodeMessage(bytes, CONTEXT)
    assert(open.type === 'open')
    const h = new Harness({
      localAs: 64511,
      peerAs: 'external',
      ...GRACEFUL,
      localIdentifier: '192.0.2.99' as Ipv4,
    })
    h.establish(open)
    assert.equal(established(h.session)?.negotiated.peerAs, peerAs)
    assert.deepEqual(established(h.session)?.negotiated.families, ['IPv4', 'IPv6'])
    assert.equal(established(h.session)?.negotiated.holdTimeS, 9)
  }
})

const anyEvent: fc.Arbitrary<Parameters<typeof withTime>[0]> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ type: 'start' } as const) },
  fc.constantFrom('shutdown', 'restart').map(how => ({ type: 'stop', how }) as const),
  fc.constant({ type: 'reset', notification: notification(6, 10) } as const),
  { weight: 4, arbitrary: fc.constant({ type: 'connected', connection: -1 } as const) },
  fc.constant({ type: 'connect-failed', why: 'refused' } as const),
  { weight: 4, arbitrary: fc.constant({ type: 'accepted', connection: -1 } as const) },
  fc.nat(6).map(connection => ({ type: 'closed', connection, why: 'reset' }) as const),
  {
    weight: 20,
    arbitrary: fc
      .tuple(
        fc.nat(6),
        fc.constantFrom<ReceivedMessage>(
          OPEN,
          OPEN,
          OPEN,
          KEEPALIVE,
          KEEPALIVE,
          KEEPALIVE,
          GRACEFUL_OPEN,
          UPDATE,
          REFRESH,
          notification(6, 2),
          ourOpen({ ...PEER, localAs: 64511 }, false),
        ),
      )
      .map(([connection, message]) => ({ type: 'message', connection, message }) as const),
  },
  fc.nat(6).map(
    connection =>
      ({
        type: 'malformed',
        connection,
        error: new BgpError('bad-value', 'x', 'RFC 4271', 'y', notification(3, 1)),
      }) as const,
  ),
  fc
    .tuple(fc.nat(6), fc.boolean())
    .map(([connection, waiting]) => ({ type: 'backlog', connection, waiting }) as const),
  { weight: 4, arbitrary: fc.constant({ type: 'tick' } as const) },
)

/** What a peer that means well would say next: a session that only hears nonsense is never up. */
function sensible(session: Session, pick: number): Parameters<typeof withTime>[0] {
  const { connections } = session
  const connection = connections[pick % Math.max(1, connections.length)]
  if (connection !== undefined && pick % 5 !== 0) {
    const { id, phase } = connection
    const waits = phase === 'OpenSent' || phase === 'DelayOpen'
    return {
      type: 'message',
      connection: id,
      message: waits ? (pick % 2 === 0 ? OPEN : GRACEFUL_OPEN) : KEEPALIVE,
    }
  }
  if (!session.running) return { type: 'start' }
  return session.dialing && pick % 2 === 0
    ? { type: 'connected', connection: -1 }
    : { type: 'accepted', connection: -1 }
}

test('property: any events in any order keep the rules', () => {
  let ups = 0
  let collisions = 0
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.oneof({ weight: 3, arbitrary: fc.nat(1000) }, anyEvent),
          fc.constantFrom(0, 0, 0, 0, 10, 10, 1_000, 2_000, 40_000, 300_000),
        ),
        { maxLength: 80 },
      ),
      fc.record(
        {
          passive: fc.boolean(),
          delayOpenMs: fc.constantFrom(0, 5_000),
          gracefulRestart: fc.constantFrom(null, { restartTimeS: 60 }),
        },
        { noNullPrototype: true },
      ),
      (events, config) => {
        const session = createSession({ ...CONFIG, ...config }, false)
        /** Open connections by id, and whether the session is up on them. */
        const open = new Set<number>()
        let up: number | undefined
        let dialing = false
        let state = stateOf(session)
        let now = 0
        let ids = 0
        for (const [each, wait] of events) {
          now += wait
          let event = withTime(typeof each === 'number' ? sensible(session, each) : each, now)
          if (event.type === 'connected' || event.type === 'accepted') {
            if (event.type === 'connected') dialing = false
            event = { ...event, connection: ids++ % 7 }
            if (open.has(event.connection)) continue
            open.add(event.connection)
          }
          if (event.type === 'connect-failed') dialing = false
          if (event.type === 'closed') open.delete(event.connection)
          for (const effect of step(session, event)) {
            switch (effect.type) {
              case 'connect':
                assert(!dialing && !config.passive)
                dialing = true
                break
              case 'stop-connecting':
                assert(dialing)
                dialing = false
                break
              case 'send':
                assert(open.has(effect.connection), 'sent to a connection that is there')
                break
              case 'close':
                assert(open.delete(effect.connection), 'closed once')
                break
              case 'up':
                ups++
                assert.equal(up, undefined)
                up = effect.connection
                break
              case 'down':
                assert.equal(up, effect.connection)
                up = undefined
                break
              case 'routes':
              case 'refresh':
                assert.equal(up, effect.connection)
                break
              case 'state':
                assert.equal(effect.from, state)
                assert.notEqual(effect.to, state)
                state = effect.to
                break
            }
          }
          assert.equal(stateOf(session), state)
          assert.equal(established(session)?.id, up)
          assert(session.connections.length <= 2)
          if (session.connections.length === 2) collisions++
          assert(session.connections.filter(({ negotiated }) => negotiated !== null).length <= 1)
          assert.deepEqual(new Set(session.connections.map(({ id }) => id)), open)
          assert.equal(session.dialing, dialing)
          assert(nextDeadline(session) > now, 'what was due was done')
          if (!session.running) assert.deepEqual([state, open.size, dialing], ['Idle', 0, false])
          // Who wants a session and has no connection waits for something.
          else if (open.size === 0 && !dialing && !config.passive) {
            assert(Number.isFinite(nextDeadline(session)), state)
          }
        }
      },
    ),
    { numRuns: 500 },
  )
  assert(ups >= 100, `up only ${ups} times`)
  assert(collisions >= 100, `two connections only ${collisions} times`)
})
