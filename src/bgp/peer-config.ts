import { type Family, type Ip, type Ipv4, ipFromBytes, isIpv4 } from '../addr/ip.ts'
import type { BgpPeer } from '../config/model.ts'
import { carries } from './routes.ts'
import type { SessionConfig } from './session.ts'

/** What a node knows of itself that a BGPPeer leaves open. */
export type PeerSurroundings = {
  readonly nodeName: string
  /** From which the router ID is taken, the best first: that of the connection, then those of its interface. */
  readonly localAddresses: readonly Ip[]
}

/** What MetalLB's native mode takes where a BGPPeer says nothing (metallb.md 2.13). */
const HOLD_TIME_S = 90
/** Shorter than FRR's two minutes: a router that comes back is to be found soon, and an attempt costs a packet. */
const CONNECT_RETRY_MS = 10_000
/** FRR's. A speaker is back sooner. */
const RESTART_TIME_S = 120
const IDLE_HOLD = { firstMs: 1_000, maxMs: 60_000, forgetAfterMs: 60_000 } as const
/** RFC 9687 section 6: eight minutes, or twice the hold time if that is longer. */
const SEND_HOLD_MS = 480_000

/** The session that a BGPPeer asks for. */
export function sessionConfig(peer: BgpPeer, around: PeerSurroundings): SessionConfig {
  const families: readonly Family[] = ['IPv4', 'IPv6']
  const holdTimeS = peer.holdTimeMs === undefined ? HOLD_TIME_S : Math.floor(peer.holdTimeMs / 1000)
  return {
    localAs: peer.localAsn ?? peer.myAsn,
    localIdentifier: routerId(peer, around),
    peerAs: peer.peerAsn,
    families: families.filter(family => carries(peer, family)),
    holdTimeS,
    keepaliveMs: peer.keepaliveTimeMs ?? null,
    connectRetryMs: peer.connectTimeMs ?? CONNECT_RETRY_MS,
    delayOpenMs: 0,
    passive: false,
    idleHold: IDLE_HOLD,
    sendHoldMs: Math.max(SEND_HOLD_MS, 2000 * holdTimeS),
    gracefulRestart: peer.gracefulRestart ? { restartTimeS: RESTART_TIME_S } : null,
    // Unnumbered: both ends have nothing but link-local addresses.
    extendedNextHop: peer.target.type === 'interface',
    hostName: around.nodeName,
  }
}

/** The peer's own setting, else the first IPv4 address, else a number from the node's name, so that it is the same after a restart. */
export function routerId(peer: Pick<BgpPeer, 'routerId'>, around: PeerSurroundings): Ipv4 {
  const { routerId: set } = peer
  if (set !== undefined && isIpv4(set)) return set
  const local = around.localAddresses.find(address => isIpv4(address))
  if (local !== undefined && isIpv4(local)) return local
  const sum = crc32(new TextEncoder().encode(around.nodeName))
  const bytes = Uint8Array.of(sum, sum >>> 8, sum >>> 16, sum >>> 24)
  const address = ipFromBytes(bytes)
  // 0 is no identifier (RFC 6286). One name in four thousand million would have it.
  return (address === '0.0.0.0' ? '0.0.0.1' : address) as Ipv4
}

/** IEEE 802.3, as in Ethernet and gzip. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0xedb88320
  }
  return (crc ^ 0xffffffff) >>> 0
}
