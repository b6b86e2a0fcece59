import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, ipFromBigint } from '../addr/ip.ts'
import { type Prefix, parsePrefix } from '../addr/prefix.ts'
import type { BgpAdvertisement, BgpCommunity, BgpPeer } from '../config/model.ts'
import { attracts, isInternal, type Offer, routesForPeer, statusPeers } from './routes.ts'

function community(text: string): BgpCommunity {
  const [a = 0, b = 0, c = 0] = text.replace('large:', '').split(':').map(Number)
  return text.startsWith('large:')
    ? { kind: 'large', text, parts: [a, b, c] }
    : { kind: 'standard', text, parts: [a, b] }
}

function peer(rest: Partial<BgpPeer> = {}): BgpPeer {
  return {
    name: 'router',
    nodes: new Set(['node1']),
    myAsn: 64500,
    peerAsn: 64500,
    localAsn: undefined,
    target: { type: 'address', address: '192.0.2.1' as Ip },
    sourceAddress: undefined,
    port: 179,
    holdTimeMs: undefined,
    keepaliveTimeMs: undefined,
    connectTimeMs: undefined,
    routerId: undefined,
    password: undefined,
    bfdProfile: undefined,
    gracefulRestart: false,
    ebgpMultiHop: false,
    vrf: undefined,
    dualStack: false,
    ...rest,
  }
}

function offer(prefix: string, rest: Partial<BgpAdvertisement> = {}): Offer {
  return {
    prefix: parsePrefix(prefix) as Prefix,
    advertisement: {
      name: 'ad',
      pools: new Set(['lan']),
      nodes: new Set(['node1']),
      peers: 'all',
      aggregationLength: 32,
      aggregationLengthV6: 128,
      localPref: undefined,
      communities: [],
      serviceSelectors: [],
      ...rest,
    },
  }
}

for (const [name, asns, internal] of [
  ['of our AS', {}, true],
  ['of another AS', { peerAsn: 64501 }, false],
  ['that may be any of ours', { peerAsn: 'internal' }, true],
  ['that may be any other', { peerAsn: 'external' }, false],
  ['of our AS, to which we show another', { localAsn: 64999 }, false],
  ['of the AS that we show to it', { localAsn: 64999, peerAsn: 64999 }, true],
] as const) {
  test(`B-9 a router ${name} is told ${internal ? 'the LOCAL_PREF' : 'no LOCAL_PREF'}`, () => {
    const router = peer(asns)
    assert.equal(isInternal(router), internal)
    const [route] = routesForPeer(router, [['default/web', [offer('192.0.2.80/32', { localPref: 50 })]]])
    assert.equal(route?.localPref, internal ? 50 : null)
  })
}

test('B-5 the first LOCAL_PREF is that of the first Service by name, whoever comes first', () => {
  const offers = [
    ['b/web', [offer('192.0.2.0/24', { localPref: 200 })]],
    ['a/web', [offer('192.0.2.0/24', { localPref: 100 })]],
  ] as const
  for (const each of [offers, offers.toReversed()]) {
    assert.deepEqual(
      routesForPeer(peer(), each).map(({ localPref, services }) => [localPref, services]),
      [[100, ['a/web', 'b/web']]],
    )
  }
})

test('B-6 an aggregate attracts traffic for the whole block', () => {
  const [route] = routesForPeer(peer(), [['default/web', [offer('192.0.2.0/24')]]])
  assert.ok(route !== undefined)
  assert.equal(attracts(route, '192.0.2.200' as Ip), true)
  assert.equal(attracts(route, '198.51.100.1' as Ip), false)
  assert.equal(attracts(route, '2001:db8::1' as Ip), false)
})

test('B-11 the peers of a Service are all that are told one of its prefixes, for whomever', () => {
  const mine = offer('192.0.2.0/24', { peers: new Set(['a']) })
  const theirs = offer('192.0.2.0/24', { peers: new Set(['b']) })
  const other = offer('198.51.100.0/24', { peers: new Set(['c']) })
  const sessions = ['c', 'b', 'a'].map(name => ({
    peer: name,
    routes: routesForPeer(peer({ name }), [
      ['default/mine', [mine]],
      ['default/theirs', [theirs]],
      ['default/other', [other]],
    ]),
  }))
  assert.deepEqual(statusPeers([mine], sessions), ['a', 'b'])
  assert.deepEqual(statusPeers([other], sessions), ['c'])
  assert.deepEqual(statusPeers([], sessions), [])
})

const anyOffer = fc
  .record(
    {
      ip: fc.bigInt({ min: 0xc0000200n, max: 0xc0000207n }),
      length: fc.constantFrom(29, 31, 32),
      peers: fc.constantFrom<'all' | ReadonlySet<string>>('all', new Set(['router']), new Set(['other'])),
      communities: fc.subarray(['64500:1', '64500:2', 'large:1:2:3']).map(texts => texts.map(community)),
      localPref: fc.constantFrom(undefined, 100, 200),
    },
    { noNullPrototype: true },
  )
  .map(({ ip, length, ...rest }) => offer(`${ipFromBigint('IPv4', ip)}/${length}`, rest))

test('property: each prefix that is offered to a peer is one route, whose parts are those of its offers, in any order', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(fc.constantFrom('a/a', 'a/b', 'b/a'), fc.array(anyOffer, { maxLength: 4 })), {
        selector: ([service]) => service,
      }),
      offers => {
        const routes = routesForPeer(peer(), offers)
        const wanted = offers.flatMap(([service, each]) =>
          each
            .filter(({ advertisement: { peers } }) => peers === 'all' || peers.has('router'))
            .map(one => ({ service, ...one })),
        )
        assert.deepEqual(
          new Set(routes.map(({ prefix }) => prefix)),
          new Set(wanted.map(({ prefix }) => prefix)),
        )
        assert.equal(new Set(routes.map(({ prefix }) => prefix)).size, routes.length)
        for (const { prefix, communities, services, localPref } of routes) {
          const mine = wanted.filter(one => one.prefix === prefix)
          assert.deepEqual(services, [...new Set(mine.map(({ service }) => service))].sort())
          assert.deepEqual(
            new Set(communities.map(({ text }) => text)),
            new Set(mine.flatMap(({ advertisement }) => advertisement.communities.map(({ text }) => text))),
          )
          const prefs = mine.map(({ advertisement }) => advertisement.localPref)
          assert.ok(localPref === null ? prefs.every(pref => pref === undefined) : prefs.includes(localPref))
        }
        assert.deepEqual(routesForPeer(peer(), offers.toReversed()), routes)
      },
    ),
  )
})
