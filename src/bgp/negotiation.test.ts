import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BGP_OPENS } from '../../test/golden/bgp.ts'
import { hex } from '../../test/golden/frames.ts'
import type { Ipv4 } from '../addr/ip.ts'
import { decodeMessage, encodeMessage } from '../wire/bgp/message.ts'
import { capability, type Open } from '../wire/bgp/open.ts'
import { negotiate, type OpenConfig, ourOpen } from './negotiation.ts'

const CONFIG: OpenConfig = {
  localAs: 64500,
  localIdentifier: '192.0.2.1' as Ipv4,
  peerAs: 64501,
  families: ['IPv4', 'IPv6'],
  holdTimeS: 90,
  gracefulRestart: { restartTimeS: 120 },
  extendedNextHop: true,
  hostName: 'node-1',
}
const PEER: OpenConfig = { ...CONFIG, localAs: 64501, localIdentifier: '192.0.2.2' as Ipv4 }

function captured(name: keyof typeof BGP_OPENS): Open {
  const open = decodeMessage(BGP_OPENS[name], { fourOctetAs: true, internal: false })
  assert(open.type === 'open')
  return open
}

test('our OPEN, written and read', () => {
  const open = ourOpen(CONFIG, true)
  assert.deepEqual(decodeMessage(encodeMessage(open), { fourOctetAs: true, internal: false }), open)
  assert.deepEqual(
    open.capabilities.map(({ type }) => type),
    [
      'multiprotocol',
      'multiprotocol',
      'route-refresh',
      'extended-next-hop',
      'extended-messages',
      'graceful-restart',
      'four-octet-as',
      'enhanced-route-refresh',
      'fqdn',
    ],
  )
  const restart = capability(open, 'graceful-restart')
  assert(restart?.restarting && restart.notifications)
  assert(restart.families.every(({ forwardingPreserved }) => forwardingPreserved))
  assert.equal(ourOpen({ ...CONFIG, localAs: 4200000002 }, false).myAs, 23456)
})

test('what two of ours agree on', () => {
  assert.deepEqual(negotiate(CONFIG, ourOpen({ ...PEER, holdTimeS: 30 }, false)), {
    peerAs: 64501,
    peerIdentifier: '192.0.2.2',
    internal: false,
    families: ['IPv4', 'IPv6'],
    holdTimeS: 30,
    fourOctetAs: true,
    routeRefresh: true,
    enhancedRouteRefresh: true,
    messageMax: 65535,
    extendedNextHop: true,
    gracefulRestart: capability(ourOpen(PEER, false), 'graceful-restart'),
    notificationsKeepRoutes: true,
    peerHostName: 'node-1',
  })
})

test('what we agree on with FRR, BIRD and GoBGP', () => {
  const agreed = (['frr', 'bird', 'gobgp', 'birdTwoOctetAs'] as const).map(name => {
    const settled = negotiate({ ...CONFIG, localAs: 64511, peerAs: 'external' }, captured(name))
    assert(!('type' in settled))
    const { peerAs, messageMax, extendedNextHop, notificationsKeepRoutes, fourOctetAs, families } = settled
    return [name, peerAs, messageMax, extendedNextHop, notificationsKeepRoutes, fourOctetAs, families.length]
  })
  assert.deepEqual(agreed, [
    ['frr', 64500, 65535, false, true, true, 2],
    ['bird', 4200000002, 65535, true, false, true, 2],
    ['gobgp', 64502, 4096, true, true, true, 2],
    ['birdTwoOctetAs', 64502, 4096, false, false, false, 1],
  ])
})

/** Who is accepted, by his AS: ours is 64500. */
const ACCEPTED: readonly (readonly [wanted: OpenConfig['peerAs'], as: number, accepted: boolean])[] = [
  [64501, 64501, true],
  [64501, 64502, false],
  [4200000002, 4200000002, true],
  [23456, 4200000002, false],
  ['internal', 64500, true],
  ['internal', 64501, false],
  ['external', 64500, false],
  ['external', 64501, true],
]
for (const [wanted, as, accepted] of ACCEPTED) {
  test(`wants ${wanted}, meets AS ${as}: ${accepted ? 'agreed' : 'refused'}`, () => {
    const settled = negotiate({ ...CONFIG, peerAs: wanted }, ourOpen({ ...PEER, localAs: as }, false))
    if (accepted) {
      assert(!('type' in settled))
      assert.equal(settled.internal, as === 64500)
    } else assert.deepEqual(settled, { type: 'notification', code: 2, subcode: 2, data: hex('') })
  })
}

test('our own identifier within our AS is refused, from another AS not (RFC 6286 section 2.2)', () => {
  const twin = { ...CONFIG, peerAs: 'internal' as const }
  assert.deepEqual(negotiate(twin, ourOpen(twin, false)), {
    type: 'notification',
    code: 2,
    subcode: 3,
    data: hex(''),
  })
  const same = negotiate(CONFIG, ourOpen({ ...PEER, localIdentifier: CONFIG.localIdentifier }, false))
  assert(!('type' in same))
})

test('no family in common is refused with what we miss (RFC 5492 section 3)', () => {
  const settled = negotiate(
    { ...CONFIG, families: ['IPv6'] },
    ourOpen({ ...PEER, families: ['IPv4'] }, false),
  )
  assert.deepEqual(settled, { type: 'notification', code: 2, subcode: 7, data: hex('0104 0002 0001') })
})

test('one family of two is enough, and a peer without capabilities carries IPv4', () => {
  const one = negotiate(CONFIG, ourOpen({ ...PEER, families: ['IPv6'] }, false))
  assert(!('type' in one))
  assert.deepEqual(one.families, ['IPv6'])
  const plain = negotiate(CONFIG, { ...ourOpen(PEER, false), capabilities: [] })
  assert(!('type' in plain))
  assert.deepEqual(
    [plain.families, plain.fourOctetAs, plain.routeRefresh, plain.messageMax, plain.gracefulRestart],
    [['IPv4'], false, false, 4096, null],
  )
})
