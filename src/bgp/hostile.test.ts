// A peer that is broken or means harm: bytes through framer, decoder, machine and count, as a driver would pass them on.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import {
  BGP_KEEPALIVE,
  BGP_NOTIFICATIONS,
  BGP_OPENS,
  BGP_REFRESHES,
  BGP_UPDATES,
} from '../../test/golden/bgp.ts'
import type { Ipv4 } from '../addr/ip.ts'
import { BgpError } from '../wire/bgp/error.ts'
import { Framer } from '../wire/bgp/framer.ts'
import { decodeMessage, MESSAGE_MAX } from '../wire/bgp/message.ts'
import type { Effect, Event } from './events.ts'
import { nextDeadline, step } from './machine.ts'
import { updateContext } from './negotiation.ts'
import { createReceived, type Received, receive } from './received.ts'
import { createSession, type Session, type SessionConfig, stateOf } from './session.ts'

const CONFIG: SessionConfig = {
  localAs: 64511,
  localIdentifier: '192.0.2.99' as Ipv4,
  peerAs: 'external',
  families: ['IPv4', 'IPv6'],
  holdTimeS: 90,
  gracefulRestart: { restartTimeS: 120 },
  extendedNextHop: true,
  hostName: 'node-1',
  keepaliveMs: null,
  connectRetryMs: 1_000,
  delayOpenMs: 0,
  passive: false,
  idleHold: { firstMs: 100, maxMs: 1_000, forgetAfterMs: 60_000 },
  sendHoldMs: 10_000,
}
const LIMIT = 50
const ZEROS = new Uint8Array(0x10000)

/** One session whose peer is what the test writes. */
class Victim {
  readonly session: Session = createSession(CONFIG, false)
  readonly sent: string[] = []
  received: Received = createReceived(LIMIT)
  now = 0
  #framer = new Framer()
  #connection = 0

  /** A new connection of ours, our OPEN sent. */
  connect(): this {
    if (!this.session.running) this.run({ type: 'start' })
    while (!this.session.dialing) this.run({ type: 'tick' }, nextDeadline(this.session))
    this.#framer = new Framer()
    this.run({ type: 'connected', connection: ++this.#connection })
    return this
  }

  get open(): boolean {
    return this.session.connections.length > 0
  }

  run(
    event: Event extends infer E ? (E extends unknown ? Omit<E, 'now' | 'random'> : never) : never,
    at = this.now,
  ): void {
    this.now = at
    for (const effect of step(this.session, { ...event, now: at, random: 0.5 })) this.#perform(effect)
  }

  #perform(effect: Effect): void {
    if (effect.type === 'send') {
      const message = decodeMessage(effect.bytes, { fourOctetAs: true, internal: false })
      this.sent.push(message.type === 'notification' ? `${message.code}/${message.subcode}` : message.type)
    }
    if (effect.type === 'up') this.received = createReceived(LIMIT)
    if (effect.type === 'routes') {
      const cease = receive(this.received, effect.changes)
      if (cease !== null) this.run({ type: 'reset', notification: cease })
    }
  }

  /** What the peer writes, as one chunk. */
  read(bytes: Uint8Array): void {
    const id = this.#connection
    if (!this.open) return
    this.#framer.push(bytes)
    try {
      for (;;) {
        const connection = this.session.connections.find(each => each.id === id)
        if (connection === undefined) return
        const settled = connection.negotiated
        const lengthMax = settled?.messageMax ?? MESSAGE_MAX
        const next = this.#framer.next(lengthMax)
        if (next === undefined) return
        const context = settled === null ? { fourOctetAs: true, internal: false } : updateContext(settled)
        this.run({ type: 'message', connection: id, message: decodeMessage(next, context, lengthMax) })
      }
    } catch (error) {
      if (!(error instanceof BgpError)) throw error
      this.run({ type: 'malformed', connection: id, error })
      assert(!this.open, 'an error that is thrown ends the connection')
    }
  }

  check(): void {
    const { IPv4, IPv6 } = this.received.prefixes
    assert(IPv4.size <= LIMIT + 1 && IPv6.size <= LIMIT + 1)
    assert(this.session.connections.length <= 1)
    assert(Number.isFinite(nextDeadline(this.session)), stateOf(this.session))
  }
}

const STAGES = {
  OpenSent: () => new Victim().connect(),
  OpenConfirm: () => {
    const victim = new Victim().connect()
    victim.read(BGP_OPENS.bird)
    return victim
  },
  Established: () => {
    const victim = new Victim().connect()
    victim.read(Buffer.concat([BGP_OPENS.bird, BGP_KEEPALIVE]))
    return victim
  },
} as const

const SAMPLES = [
  BGP_KEEPALIVE,
  BGP_OPENS.bird,
  BGP_OPENS.frr,
  BGP_UPDATES.gobgpRoute,
  BGP_UPDATES.birdIpv6Routes,
  BGP_UPDATES.frrIpv6Withdrawal,
  BGP_NOTIFICATIONS.frrShutdown,
  BGP_REFRESHES.frrBeginIpv6,
]

for (const [stage, reach] of Object.entries(STAGES)) {
  test(`${stage}: every message with every byte changed; the session goes on or ends, and can be had again`, () => {
    let ended = 0
    let victim = reach()
    assert.equal(stateOf(victim.session), stage)
    for (const sample of SAMPLES) {
      for (let i = 0; i < sample.length; i++) {
        for (const change of [1, 2, 8, 0x40, 0x80, 0xff]) {
          if (stateOf(victim.session) !== stage) victim = reach()
          const bytes = Uint8Array.from(sample)
          bytes[i] = (bytes[i] ?? 0) ^ change
          // A length that is too long waits for more: this is more than it can wait for.
          victim.read(bytes)
          victim.read(ZEROS)
          victim.check()
          assert(!victim.open, 'sixty-four thousand zeros are no message')
          ended++
        }
      }
    }
    assert(ended > 3000)
  })
}

test('a flood of UPDATEs and OPENs, in any order and split', () => {
  const pieces = fc.array(fc.constantFrom(...SAMPLES, ...SAMPLES.slice(3, 6), ...SAMPLES.slice(3, 6)), {
    maxLength: 30,
  })
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 500 }), (messages, size) => {
      const victim = STAGES.Established()
      const stream = Buffer.concat(messages)
      for (let at = 0; at < stream.length && victim.open; at += size)
        victim.read(stream.subarray(at, at + size))
      victim.check()
    }),
    { numRuns: 200 },
  )
})

test('more prefixes than the limit end the session with Cease / Maximum Number of Prefixes', () => {
  const victim = STAGES.Established()
  const head = BGP_UPDATES.birdPlainRoute.slice(0, -5)
  const routes = Buffer.alloc(4 * 60)
  for (let i = 0; i < 60; i++) routes.set([24, 10, 0, i], 4 * i)
  const bytes = Buffer.concat([head, routes])
  bytes.writeUInt16BE(bytes.length, 16)
  victim.read(bytes)
  assert.equal(victim.sent.at(-1), '6/1')
  assert(!victim.open)
})

test('ten thousand flaps leave nothing behind', () => {
  const victim = new Victim()
  const size = () => JSON.stringify(victim.session).length
  let first = 0
  for (let i = 0; i < 10_000; i++) {
    victim.connect()
    victim.read(Buffer.concat([BGP_OPENS.bird, BGP_KEEPALIVE, BGP_UPDATES.birdRoute]))
    victim.read(BGP_NOTIFICATIONS.birdShutdown)
    assert(!victim.open)
    victim.sent.length = 0
    if (i === 10) first = size()
  }
  assert(size() < first + 100, `${first} bytes, then ${size()}`)
  assert.equal(victim.session.connectRetryCounter, 10_000)
})
