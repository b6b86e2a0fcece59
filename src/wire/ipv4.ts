import assert from 'node:assert/strict'
import type { Ipv4 } from '../addr/ip.ts'
import { checksumHolds, internetChecksum } from './checksum.ts'
import { Reader, Writer } from './io.ts'

/** Upper-layer protocols by IANA number, the same for IPv4 and IPv6. */
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, vrrp: 112 } as const

/** An IPv4 packet (RFC 791). Lengths and checksum are computed. */
export type Ipv4Packet = {
  /** DSCP in the upper six bits, ECN in the lower two (RFC 2474, RFC 3168). */
  readonly trafficClass: number
  readonly identification: number
  readonly dontFragment: boolean
  readonly moreFragments: boolean
  /** In bytes, a multiple of 8. */
  readonly fragmentOffset: number
  readonly ttl: number
  readonly protocol: number
  readonly source: Ipv4
  readonly destination: Ipv4
  /** Uninterpreted, padded to a multiple of 4, at most 40 bytes. */
  readonly options: Uint8Array
  /** A view on the packet. Only a piece of it when this is a fragment. */
  readonly payload: Uint8Array
}

/**
 * Bytes past the total length are Ethernet padding and are ignored. The reserved flag is ignored too.
 * @throws DecodeError
 */
export function decodeIpv4(bytes: Uint8Array): Ipv4Packet {
  const r = new Reader(bytes, 'RFC 791')
  const first = r.u8('version')
  r.check(first >> 4, 'version', 4)
  const headerLength = (first & 0x0f) * 4
  if (headerLength < 20) throw r.error('bad-length', 'IHL', `${headerLength} bytes, the least is 20`)
  const trafficClass = r.u8('type of service')
  const totalLength = r.u16('total length')
  const identification = r.u16('identification')
  const fragment = r.u16('fragment offset')
  const ttl = r.u8('time to live')
  const protocol = r.u8('protocol')
  r.skip('header checksum', 2)
  const source = r.ipv4('source address')
  const destination = r.ipv4('destination address')
  const options = r.bytes('options', headerLength - 20)
  if (!checksumHolds(bytes.subarray(0, headerLength))) {
    throw r.error('bad-checksum', 'header checksum', 'does not match')
  }
  if (totalLength < headerLength) {
    throw r.error('bad-length', 'total length', `${totalLength} is less than the header's ${headerLength}`)
  }
  return {
    trafficClass,
    identification,
    dontFragment: (fragment & 0x4000) !== 0,
    moreFragments: (fragment & 0x2000) !== 0,
    fragmentOffset: (fragment & 0x1fff) * 8,
    ttl,
    protocol,
    source,
    destination,
    options,
    payload: r.view('data', totalLength - headerLength),
  }
}

export function encodeIpv4(packet: Ipv4Packet): Uint8Array {
  const { options, payload } = packet
  assert(options.length <= 40 && options.length % 4 === 0, 'options of 0 to 40 bytes')
  assert(packet.fragmentOffset % 8 === 0 && packet.fragmentOffset <= 0xfff8, 'fragment offset')
  const headerLength = 20 + options.length
  const w = new Writer(headerLength + payload.length)
  w.u8(0x40 | (headerLength / 4))
  w.u8(packet.trafficClass)
  w.u16(headerLength + payload.length)
  w.u16(packet.identification)
  w.u16(
    (packet.dontFragment ? 0x4000 : 0) | (packet.moreFragments ? 0x2000 : 0) | (packet.fragmentOffset / 8),
  )
  w.u8(packet.ttl).u8(packet.protocol).u16(0).ip(packet.source).ip(packet.destination).bytes(options)
  w.patchU16(10, internetChecksum(w.written()))
  return w.bytes(payload).finish()
}
