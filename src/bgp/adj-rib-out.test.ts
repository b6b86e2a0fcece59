import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Ip, Ipv4, Ipv6 } from '../addr/ip.ts'
import { type Prefix, prefixFamily } from '../addr/prefix.ts'
import type { BgpCommunity } from '../config/model.ts'
import { COMMUNITY, standardCommunity } from '../wire/bgp/communities.ts'
import type { AfiSafi } from '../wire/bgp/family.ts'
import { decodeMessage, type ReceivedMessage } from '../wire/bgp/message.ts'
import { routeChanges } from '../wire/bgp/update.ts'
import {
  type AdjRibOut,
  announce,
  complete,
  createAdjRibOut,
  nextMessage,
  owesMessages,
  refresh,
  replaceAll,
  withdraw,
} from './adj-rib-out.ts'
import { type Negotiated, updateContext } from './negotiation.ts'
import { type Emphasis, NO_EMPHASIS, type OutRoute, type OutSession, outRoutes } from './out-attributes.ts'
import type { Route } from './routes.ts'

const NEGOTIATED: Negotiated = {
  peerAs: 64501,
  peerIdentifier: '192.0.2.2' as Ipv4,
  internal: false,
  families: ['IPv4', 'IPv6'],
  holdTimeS: 90,
  fourOctetAs: true,
  routeRefresh: true,
  enhancedRouteRefresh: false,
  messageMax: 4096,
  extendedNextHop: false,
  gracefulRestart: null,
  notificationsKeepRoutes: false,
  peerHostName: null,
}
const SESSION: OutSession = {
  negotiated: NEGOTIATED,
  localAs: 64500,
  nextHops: { IPv4: { address: '192.0.2.1' as Ip }, IPv6: { address: '2001:db8::1' as Ip } },
}
const STANDARD: BgpCommunity = { kind: 'standard', text: '64500:100', parts: [64500, 100] }
const LARGE: BgpCommunity = { kind: 'large', text: 'large:64500:1:2', parts: [64500, 1, 2] }

function route(
  prefix: string,
  communities: readonly BgpCommunity[] = [],
  localPref: number | null = null,
): Route {
  return { prefix: prefix as Prefix, communities, localPref, services: ['default/web'] }
}

function out(
  prefix: string,
  communities: readonly BgpCommunity[] = [],
  session = SESSION,
  emphasis: Emphasis = NO_EMPHASIS,
): OutRoute {
  const made = outRoutes(session)(route(prefix, communities), emphasis)
  assert(made !== undefined)
  return made
}

function decoded(bytes: Uint8Array, negotiated = NEGOTIATED): ReceivedMessage {
  return decodeMessage(bytes, updateContext(negotiated), negotiated.messageMax)
}

/** A peer that keeps what it is told. */
class Peer {
  readonly routes = new Map<Prefix, string>()
  readonly ends: AfiSafi[] = []
  readonly messages: ReceivedMessage[] = []

  /** Reads up to `limit` messages. */
  read(rib: AdjRibOut, limit = Number.POSITIVE_INFINITY): this {
    while (this.messages.length < limit || limit === Number.POSITIVE_INFINITY) {
      assert.equal(nextMessageIsThere(rib), owesMessages(rib))
      const bytes = nextMessage(rib)
      if (bytes === undefined) break
      assert(bytes.length <= rib.negotiated.messageMax)
      const message = decoded(bytes, rib.negotiated)
      this.messages.push(message)
      if (message.type !== 'update') continue
      assert.deepEqual(message.problems, [])
      const { announced, withdrawn, endOfRib } = routeChanges(message)
      const { mpReach, mpUnreach: _, ...attributes } = message.attributes
      const text = JSON.stringify({ ...attributes, reach: { ...mpReach, prefixes: [] } })
      for (const prefix of announced) this.routes.set(prefix, text)
      for (const prefix of withdrawn) assert(this.routes.delete(prefix), `${prefix} was never told`)
      if (endOfRib !== null) this.ends.push(endOfRib)
    }
    return this
  }

  /** Prefixes that the messages since `from` spoke of. */
  touched(from = 0): Prefix[] {
    return this.messages.slice(from).flatMap(message => {
      if (message.type !== 'update') return []
      const { announced, withdrawn } = routeChanges(message)
      return [...announced, ...withdrawn]
    })
  }
}

/** Whether there is a message, by a look at what it is made from. */
function nextMessageIsThere(rib: AdjRibOut): boolean {
  const marks = Object.values(rib.marks).some(({ begin, end, endOfRib }) => begin || end || endOfRib)
  const withdrawals = Object.values(rib.withdrawals).some(({ size }) => size > 0)
  return marks || withdrawals || [...rib.groups.values()].some(({ pending }) => pending.size > 0)
}

const manyV4 = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}/32`)

test('one route, as a router gets it', () => {
  const rib = createAdjRibOut(NEGOTIATED)
  assert(announce(rib, out('198.51.100.7/32', [LARGE, STANDARD])))
  assert(announce(rib, out('2001:db8:1::7/128')))
  const messages = new Peer().read(rib).messages
  const [v4, v6] = messages
  assert(messages.length === 2 && v4?.type === 'update' && v6?.type === 'update')
  assert.deepEqual(v4.attributes, {
    origin: 'igp',
    asPath: [{ type: 'sequence', asns: [64500] }],
    nextHop: '192.0.2.1',
    communities: [standardCommunity(64500, 100)],
    largeCommunities: [[64500, 1, 2]],
  })
  assert.deepEqual(v4.announced, ['198.51.100.7/32'])
  assert.deepEqual(v6.attributes, {
    origin: 'igp',
    asPath: [{ type: 'sequence', asns: [64500] }],
    mpReach: { type: 'unicast', family: 'IPv6', nextHop: '2001:db8::1', prefixes: ['2001:db8:1::7/128'] },
  })
})

test('within our AS: no AS in the path, and always a LOCAL_PREF', () => {
  const session = { ...SESSION, negotiated: { ...NEGOTIATED, internal: true } }
  const attributes = (localPref: number | null, emphasis = NO_EMPHASIS) =>
    outRoutes(session)(route('198.51.100.7/32', [], localPref), emphasis)?.attributes()
  assert.deepEqual(attributes(null), { origin: 'igp', asPath: [], localPref: 100 })
  assert.equal(attributes(7)?.localPref, 7)
  assert.equal(attributes(7, { ...NO_EMPHASIS, gracefulShutdown: true })?.localPref, 0)
  const external = outRoutes(SESSION)(route('198.51.100.7/32', [], 7), NO_EMPHASIS)
  assert.equal(external?.attributes().localPref, undefined)
})

test('a drained node says so (RFC 8326), and a weight is told in bytes per second', () => {
  const drained = out('198.51.100.7/32', [STANDARD], SESSION, { linkBandwidth: 3e6, gracefulShutdown: true })
  assert.deepEqual(drained.attributes().communities, [
    standardCommunity(64500, 100),
    COMMUNITY.gracefulShutdown,
  ])
  const weight = { type: 'link-bandwidth', as: 64500, bytesPerSecond: 3e6 } as const
  assert.deepEqual(drained.attributes().extendedCommunities, [{ ...weight, transitive: true }])
  const large = { ...SESSION, localAs: 4200000001, negotiated: { ...NEGOTIATED, internal: true } }
  const [internal] =
    out('198.51.100.7/32', [], large, { ...NO_EMPHASIS, linkBandwidth: 3e6 }).attributes()
      .extendedCommunities ?? []
  assert.deepEqual(internal, { ...weight, as: 23456, transitive: false })
  assert.notEqual(drained.key, out('198.51.100.7/32', [STANDARD]).key)
})

test('no route without a next hop that the peer takes, or of a family that the session does not carry', () => {
  const made = (prefix: string, session: OutSession) => outRoutes(session)(route(prefix), NO_EMPHASIS)
  assert.equal(made('198.51.100.7/32', { ...SESSION, nextHops: {} }), undefined)
  const v6only = { ...SESSION, negotiated: { ...NEGOTIATED, families: ['IPv6'] } } as const
  assert.equal(made('198.51.100.7/32', v6only), undefined)
  assert.notEqual(made('2001:db8:1::/64', v6only), undefined)
  const linkLocal = { address: 'fe80::1' as Ip }
  const unnumbered = { ...SESSION, nextHops: { IPv4: linkLocal, IPv6: linkLocal } }
  assert.equal(made('198.51.100.7/32', unnumbered), undefined)
  const agreed = { ...unnumbered, negotiated: { ...NEGOTIATED, extendedNextHop: true } }
  assert.equal(made('198.51.100.7/32', agreed)?.nextHop.address, 'fe80::1')
})

test('IPv4 over an IPv6 next hop goes and is withdrawn in the attributes of RFC 4760 (RFC 8950)', () => {
  const negotiated = { ...NEGOTIATED, extendedNextHop: true }
  const nextHop = { address: '2001:db8::1' as Ip, linkLocal: 'fe80::1' as Ipv6 }
  const session = { ...SESSION, negotiated, nextHops: { IPv4: nextHop } }
  const rib = createAdjRibOut(negotiated)
  announce(rib, out('198.51.100.7/32', [], session))
  const peer = new Peer().read(rib)
  withdraw(rib, '198.51.100.7/32' as Prefix)
  const [first, second] = peer.read(rib).messages
  assert(first?.type === 'update' && second?.type === 'update')
  assert.deepEqual(first.attributes.mpReach, {
    type: 'unicast',
    family: 'IPv4',
    nextHop: '2001:db8::1',
    linkLocal: 'fe80::1',
    prefixes: ['198.51.100.7/32'],
  })
  assert.deepEqual(second.attributes, {
    mpUnreach: { type: 'unicast', family: 'IPv4', prefixes: ['198.51.100.7/32'] },
  })
  assert.equal(peer.routes.size, 0)
})

for (const [messageMax, count] of [
  [4096, 13],
  [65535, 1],
] as const) {
  test(`10,000 prefixes with the same attributes fill ${count} messages of ${messageMax} bytes`, () => {
    const rib = createAdjRibOut({ ...NEGOTIATED, messageMax })
    for (const prefix of manyV4(10_000)) announce(rib, out(prefix, [STANDARD]))
    const peer = new Peer().read(rib)
    assert.equal(peer.messages.length, count)
    assert.equal(peer.routes.size, 10_000)
    for (const prefix of manyV4(10_000)) withdraw(rib, prefix as Prefix)
    peer.read(rib)
    assert.equal(peer.messages.length, 2 * count)
    assert.equal(peer.routes.size, 0)
    assert.equal(rib.groups.size, 0)
  })
}

test('a change tells only what has changed', () => {
  const rib = createAdjRibOut(NEGOTIATED)
  const all = manyV4(1000).map(prefix => out(prefix, [STANDARD]))
  replaceAll(rib, all)
  const peer = new Peer().read(rib)
  const before = peer.messages.length
  replaceAll(rib, all)
  assert(!owesMessages(rib))
  replaceAll(rib, [...all.slice(2), out('10.0.0.1/32', [LARGE]), out('2001:db8:1::/64')])
  peer.read(rib)
  assert.deepEqual(peer.touched(before).sort(), ['10.0.0.0/32', '10.0.0.1/32', '2001:db8:1::/64'])
  assert.equal(peer.messages.length, before + 3)
})

test('what is new goes before what is withdrawn: an aggregate takes the place of its parts without a gap', () => {
  const rib = createAdjRibOut(NEGOTIATED)
  replaceAll(rib, [out('10.0.0.1/32'), out('10.0.0.2/32')])
  const peer = new Peer().read(rib)
  replaceAll(rib, [out('10.0.0.0/24')])
  const before = peer.messages.length
  peer.read(rib)
  const kinds = peer.messages
    .slice(before)
    .map(message => message.type === 'update' && message.announced.length)
  assert.deepEqual(kinds, [1, 0])
})

test('a peer that reads nothing costs one entry for each prefix, and gets the latest state', () => {
  const rib = createAdjRibOut(NEGOTIATED)
  announce(rib, out('10.0.0.1/32'))
  const peer = new Peer().read(rib)
  for (let i = 0; i < 1000; i++) {
    announce(rib, out('10.0.0.1/32', [i % 2 === 0 ? STANDARD : LARGE]))
    if (i % 3 === 0) withdraw(rib, '10.0.0.1/32' as Prefix)
  }
  assert.equal(rib.groups.size, 0, 'the last was a withdrawal')
  assert.equal(peer.read(rib).messages.length, 2)
  announce(rib, out('10.0.0.2/32'))
  withdraw(rib, '10.0.0.2/32' as Prefix)
  assert(!owesMessages(rib), 'never told, so nothing to take back')
  announce(rib, out('10.0.0.3/32'))
  peer.read(rib)
  withdraw(rib, '10.0.0.3/32' as Prefix)
  announce(rib, out('10.0.0.3/32'))
  assert(!owesMessages(rib), 'it has that already')
})

test('prefixes that are gone leave nothing behind for long', () => {
  const rib = createAdjRibOut(NEGOTIATED)
  const peer = new Peer()
  for (let i = 0; i < 10; i++) {
    replaceAll(
      rib,
      manyV4(1000).map(prefix => out(prefix.replace('10.', `${i + 10}.`))),
    )
    if (i % 2 === 0) peer.read(rib)
  }
  replaceAll(rib, [])
  peer.read(rib)
  assert.equal(peer.routes.size, 0)
  assert.deepEqual([rib.groups.size, rib.pending.size], [0, 0])
  assert(rib.routes.size < 1024, `${rib.routes.size}`)
})

test('End-of-RIB comes behind all, once, for each family (RFC 4724 section 2)', () => {
  const rib = createAdjRibOut(NEGOTIATED)
  replaceAll(
    rib,
    manyV4(2000).map(prefix => out(prefix)),
  )
  const peer = new Peer()
  complete(rib)
  peer.read(rib, 1)
  announce(rib, out('2001:db8:1::/64'))
  peer.read(rib)
  assert.deepEqual(
    peer.messages.slice(-2).map(message => message.type === 'update' && routeChanges(message).endOfRib?.afi),
    [1, 2],
  )
  assert.equal(peer.ends.length, 2)
  assert.equal(peer.routes.size, 2001)
  const one = createAdjRibOut({ ...NEGOTIATED, families: ['IPv6'] })
  complete(one)
  assert.deepEqual(
    new Peer().read(one).ends.map(({ afi }) => afi),
    [2],
  )
})

test('a refresh tells all of a family again, and of no other (RFC 2918)', () => {
  const rib = createAdjRibOut(NEGOTIATED)
  replaceAll(rib, [out('10.0.0.1/32'), out('10.0.0.2/32', [STANDARD]), out('2001:db8:1::/64')])
  const peer = new Peer().read(rib)
  const before = peer.messages.length
  withdraw(rib, '10.0.0.1/32' as Prefix)
  refresh(rib, 'IPv4')
  peer.read(rib)
  assert.deepEqual(peer.touched(before).sort(), ['10.0.0.1/32', '10.0.0.2/32'])
  assert.deepEqual([...peer.routes.keys()].sort(), ['10.0.0.2/32', '2001:db8:1::/64'])
})

test('with marks around it where both know them (RFC 7313 section 4)', () => {
  const rib = createAdjRibOut({ ...NEGOTIATED, enhancedRouteRefresh: true })
  replaceAll(rib, [out('10.0.0.1/32'), out('2001:db8:1::/64')])
  const peer = new Peer().read(rib)
  const before = peer.messages.length
  refresh(rib, 'IPv6')
  peer.read(rib)
  assert.deepEqual(
    peer.messages
      .slice(before)
      .map(message => (message.type === 'route-refresh' ? message.subtype : message.type)),
    [1, 'update', 2],
  )
})

test('attributes that leave no room are no route', () => {
  const rib = createAdjRibOut(NEGOTIATED)
  const communities = Array.from(
    { length: 1100 },
    (_, i): BgpCommunity => ({ kind: 'standard', text: `64500:${i}`, parts: [64500, i] }),
  )
  announce(rib, out('10.0.0.1/32'))
  const peer = new Peer().read(rib)
  assert(!announce(rib, out('10.0.0.1/32', communities)))
  assert.equal(peer.read(rib).routes.size, 0, 'nor does the old one stay')
  assert(announce(rib, out('10.0.0.1/32', communities.slice(0, 900))))
  assert.equal(peer.read(rib).routes.size, 1)
})

const PREFIXES = ['10.0.0.1/32', '10.0.0.0/24', '0.0.0.0/0', '2001:db8:1::1/128', '2001:db8::/32', '::/0']
const operation = fc.oneof(
  fc.tuple(fc.constant('announce' as const), fc.constantFrom(...PREFIXES), fc.subarray([STANDARD, LARGE])),
  fc.tuple(fc.constant('withdraw' as const), fc.constantFrom(...PREFIXES)),
  fc.tuple(fc.constant('refresh' as const), fc.constantFrom('IPv4' as const, 'IPv6' as const)),
  fc.tuple(fc.constant('read' as const), fc.nat(3)),
  fc.tuple(fc.constant('replace' as const), fc.subarray(PREFIXES)),
  fc.tuple(fc.constant('complete' as const)),
)

test('property: whatever happens and however slowly the peer reads, in the end it has what it is to have', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 40 }), fc.boolean(), (operations, enhancedRouteRefresh) => {
      const rib = createAdjRibOut({ ...NEGOTIATED, enhancedRouteRefresh })
      const peer = new Peer()
      const wanted = new Map<string, string>()
      const put = (prefix: string, communities: readonly BgpCommunity[]) => {
        announce(rib, out(prefix, communities))
        wanted.set(prefix, communities.map(({ text }) => text).join())
      }
      for (const each of operations) {
        switch (each[0]) {
          case 'announce':
            put(each[1], each[2])
            break
          case 'withdraw':
            withdraw(rib, each[1] as Prefix)
            wanted.delete(each[1])
            break
          case 'refresh':
            refresh(rib, each[1])
            break
          case 'read':
            peer.read(rib, peer.messages.length + each[1])
            break
          case 'replace':
            replaceAll(
              rib,
              each[1].map(prefix => out(prefix)),
            )
            wanted.clear()
            for (const prefix of each[1]) wanted.set(prefix, '')
            break
          case 'complete':
            complete(rib)
            break
        }
      }
      peer.read(rib)
      assert.deepEqual([...peer.routes.keys()].sort(), [...wanted.keys()].sort())
      for (const [prefix, text] of peer.routes) {
        const { communities, largeCommunities } = JSON.parse(text) as Record<string, unknown>
        const kept = wanted.get(prefix) ?? ''
        assert.equal(communities !== undefined, kept.includes('64500:100'), prefix)
        assert.equal(largeCommunities !== undefined, kept.includes('large'), prefix)
      }
      const told = [...rib.routes.values()].filter(entry => entry.told !== null)
      assert.equal(told.length, wanted.size)
      assert.equal(rib.routes.size, wanted.size + rib.idle)
      assert(rib.groups.size <= wanted.size)
      // Nothing is owed, so nothing more is said.
      assert.equal(nextMessage(rib), undefined)
      for (const prefix of wanted.keys())
        assert(rib.negotiated.families.includes(prefixFamily(prefix as Prefix)))
    }),
    { numRuns: 300 },
  )
})
