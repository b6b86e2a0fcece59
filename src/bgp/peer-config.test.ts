import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../addr/ip.ts'
import type { BgpPeer } from '../config/model.ts'
import { negotiate, ourOpen } from './negotiation.ts'
import { type PeerSurroundings, routerId, sessionConfig } from './peer-config.ts'

const AROUND: PeerSurroundings = {
  nodeName: 'node-1',
  localAddresses: ['2001:db8::1' as Ip, '192.0.2.1' as Ip],
}

function peer(rest: Partial<BgpPeer> = {}): BgpPeer {
  return {
    name: 'router',
    nodes: new Set(['node-1']),
    myAsn: 64500,
    peerAsn: 64501,
    localAsn: undefined,
    target: { type: 'address', address: '192.0.2.2' as Ip },
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

test('a peer that says only where it is', () => {
  assert.deepEqual(sessionConfig(peer(), AROUND), {
    localAs: 64500,
    localIdentifier: '192.0.2.1',
    peerAs: 64501,
    families: ['IPv4'],
    holdTimeS: 90,
    keepaliveMs: null,
    connectRetryMs: 10_000,
    delayOpenMs: 0,
    passive: false,
    idleHold: { firstMs: 1_000, maxMs: 60_000, forgetAfterMs: 60_000 },
    sendHoldMs: 480_000,
    gracefulRestart: null,
    extendedNextHop: false,
    hostName: 'node-1',
  })
})

test('a peer that says all', () => {
  const config = sessionConfig(
    peer({
      localAsn: 64511,
      peerAsn: 'external',
      target: { type: 'interface', interface: 'eth0' },
      holdTimeMs: 600_000,
      keepaliveTimeMs: 60_000,
      connectTimeMs: 5_000,
      routerId: '203.0.113.1' as Ip,
      gracefulRestart: true,
    }),
    AROUND,
  )
  assert.deepEqual(
    [config.localAs, config.peerAs, config.localIdentifier, config.families, config.extendedNextHop],
    [64511, 'external', '203.0.113.1', ['IPv4', 'IPv6'], true],
  )
  assert.deepEqual(
    [config.holdTimeS, config.keepaliveMs, config.connectRetryMs, config.sendHoldMs, config.gracefulRestart],
    [600, 60_000, 5_000, 1_200_000, { restartTimeS: 120 }],
  )
})

test('a session carries the family that it runs over, or both (B-7)', () => {
  const over6 = { target: { type: 'address', address: '2001:db8::2' as Ip } } as const
  assert.deepEqual(sessionConfig(peer(over6), AROUND).families, ['IPv6'])
  assert.deepEqual(sessionConfig(peer({ ...over6, dualStack: true }), AROUND).families, ['IPv4', 'IPv6'])
})

test('a hold time of 0 turns the timers off', () => {
  const config = sessionConfig(peer({ holdTimeMs: 0, keepaliveTimeMs: 0 }), AROUND)
  assert.deepEqual([config.holdTimeS, config.sendHoldMs], [0, 480_000])
  const other = { ...config, localAs: 64501, peerAs: 64500, localIdentifier: '192.0.2.2' as never }
  const settled = negotiate(config, ourOpen({ ...other, holdTimeS: 90 }, false))
  assert(!('type' in settled))
  assert.equal(settled.holdTimeS, 0)
})

test('the router ID: what is set, an IPv4 address, or the CRC-32 of the name as MetalLB has it', () => {
  const without = (nodeName: string) =>
    routerId({ routerId: undefined }, { nodeName, localAddresses: ['fe80::1' as Ip] })
  // The check value of CRC-32 is cbf43926, its lowest byte first.
  assert.equal(without('123456789'), '38.57.244.203')
  assert.notEqual(without('node-1'), without('node-2'))
  assert.equal(routerId({ routerId: undefined }, AROUND), '192.0.2.1')
})
