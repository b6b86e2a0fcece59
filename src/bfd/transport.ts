import assert from 'node:assert/strict'
import { BFD_PORT } from '../wire/bfd.ts'

/** The rules of RFC 5881 and RFC 5883 for what carries the packets: what a driver has to set and to check. */
export type BfdTransport = {
  /** UDP port that packets go to, and come in at. */
  readonly port: number
  /** TTL or hop limit that packets leave with. */
  readonly sendTtl: number
  /** Packets that come in with less are dropped unread: who is further away than the peer cannot forge more. 1 to 255. */
  readonly minimumTtl: number
  /** Echo packets may be used. */
  readonly echo: boolean
}

/** Source ports of a session, one for as long as it lives and no two sessions with the same (RFC 5881 section 4). */
export const BFD_SOURCE_PORTS = { first: 49152, last: 65535 } as const

/** Neighbours on one link: everything but 255 came through a router (RFC 5881 section 5). */
export const SINGLE_HOP: BfdTransport = { port: BFD_PORT.control, sendTtl: 255, minimumTtl: 255, echo: true }

/** Over several hops (RFC 5883 sections 3 to 5). @param minimumTtl 1 to 254: 255 less the hops between */
export function multihop(minimumTtl: number): BfdTransport {
  assert(minimumTtl >= 1 && minimumTtl <= 254, `a minimum TTL of ${minimumTtl}`)
  return { port: BFD_PORT.multihop, sendTtl: 255, minimumTtl, echo: false }
}

/** What identifies a session for a packet that does not know our discriminator yet (RFC 5880 section 6.3, RFC 5881 section 3). */
export function bfdSessionKey(peer: {
  readonly transport: BfdTransport
  readonly address: string
  /** Our own address over several hops, where one peer may be reached by several. */
  readonly localAddress: string
  /** The interface that a single hop goes through. */
  readonly interfaceName: string
}): string {
  return peer.transport.port === BFD_PORT.control
    ? `single|${peer.address}|${peer.interfaceName}`
    : `multi|${peer.address}|${peer.localAddress}`
}
