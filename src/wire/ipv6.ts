import assert from 'node:assert/strict'
import type { Ipv6 } from '../addr/ip.ts'
import { Reader, Writer } from './io.ts'

/** Extension headers that are walked over; AH, ESP and all others count as the upper layer. */
const EXTENSIONS = { 'hop-by-hop': 0, routing: 43, fragment: 44, destination: 60 } as const

/** Enough for all that RFC 8200 section 4.1 recommends, with room; more is an attempt to keep us busy. */
const EXTENSIONS_MAX = 8

export type Ipv6Extension =
  | {
      readonly type: 'hop-by-hop' | 'routing' | 'destination'
      /** What follows the length: 6 bytes more than a multiple of 8. Uninterpreted. */
      readonly bytes: Uint8Array
    }
  | {
      readonly type: 'fragment'
      /** In bytes, a multiple of 8. */
      readonly offset: number
      readonly more: boolean
      readonly identification: number
    }

export type Ipv6Header = {
  /** DSCP in the upper six bits, ECN in the lower two. */
  readonly trafficClass: number
  /** 20 bits. */
  readonly flowLabel: number
  readonly hopLimit: number
  readonly source: Ipv6
  readonly destination: Ipv6
  readonly extensions: readonly Ipv6Extension[]
}

/** An IPv6 packet (RFC 8200). Lengths and the chain of next headers are computed. */
export type Ipv6Packet = Ipv6Header & {
  /** That of the upper layer, behind all extension headers. */
  readonly protocol: number
  /** A view on the packet. Only a piece of it when a fragment header is among the extensions. */
  readonly payload: Uint8Array
}

/**
 * Bytes past the payload length are Ethernet padding and are ignored. More than eight extension headers are 'too-many', a hop-by-hop
 * header that is not the first is a 'bad-value' (RFC 8200 section 4.1). Jumbograms are not understood.
 * @throws DecodeError
 */
export function decodeIpv6(bytes: Uint8Array): Ipv6Packet {
  const header = new Reader(bytes, 'RFC 8200')
  const first = header.u32('version')
  header.check(first >>> 28, 'version', 6)
  const payloadLength = header.u16('payload length')
  let protocol = header.u8('next header')
  const hopLimit = header.u8('hop limit')
  const source = header.ipv6('source address')
  const destination = header.ipv6('destination address')

  const r = new Reader(header.view('payload', payloadLength), 'RFC 8200')
  const extensions: Ipv6Extension[] = []
  for (;;) {
    const type = extensionType(protocol)
    if (type === undefined) break
    if (extensions.length === EXTENSIONS_MAX) {
      throw r.error('too-many', 'next header', `more than ${EXTENSIONS_MAX} extension headers`)
    }
    if (type === 'hop-by-hop' && extensions.length > 0) {
      throw r.error('bad-value', 'next header', 'hop-by-hop options are not the first')
    }
    protocol = r.u8('next header')
    if (type === 'fragment') {
      r.skip('reserved', 1)
      const offset = r.u16('fragment offset')
      extensions.push({
        type,
        offset: offset & 0xfff8,
        more: (offset & 1) === 1,
        identification: r.u32('identification'),
      })
      // What follows in a later fragment is data, whatever the next header says.
      if ((offset & 0xfff8) !== 0) break
    } else {
      const length = r.u8('header extension length') * 8 + 6
      extensions.push({ type, bytes: r.bytes(`${type} header`, length) })
    }
  }
  return {
    trafficClass: (first >>> 20) & 0xff,
    flowLabel: first & 0xfffff,
    hopLimit,
    source,
    destination,
    extensions,
    protocol,
    payload: r.rest(),
  }
}

export function encodeIpv6(packet: Ipv6Packet): Uint8Array {
  const { trafficClass, flowLabel, extensions } = packet
  assert(trafficClass >= 0 && trafficClass <= 0xff && flowLabel >= 0 && flowLabel <= 0xfffff, 'out of range')
  assert(extensions.length <= EXTENSIONS_MAX, 'too many extension headers')
  const chain = [...extensions.map(each => EXTENSIONS[each.type]), packet.protocol]
  assert(chain.indexOf(0, 1) < 0, 'hop-by-hop options come first')
  const w = new Writer(40 + packet.payload.length)
  w.u32(((6 << 28) | (trafficClass << 20) | flowLabel) >>> 0)
  w.u16(0)
    .u8(chain[0] ?? 0)
    .u8(packet.hopLimit)
    .ip(packet.source)
    .ip(packet.destination)
  for (const [i, each] of extensions.entries()) {
    w.u8(chain[i + 1] ?? 0)
    if (each.type === 'fragment') {
      assert(each.offset % 8 === 0 && each.offset <= 0xfff8, `fragment offset ${each.offset}`)
      w.u8(0)
        .u16(each.offset | (each.more ? 1 : 0))
        .u32(each.identification)
    } else {
      assert(each.bytes.length % 8 === 6, `${each.bytes.length} bytes of ${each.type} header`)
      w.u8((each.bytes.length - 6) / 8).bytes(each.bytes)
    }
  }
  w.bytes(packet.payload)
  w.patchU16(4, w.length - 40)
  return w.finish()
}

function extensionType(protocol: number): Ipv6Extension['type'] | undefined {
  switch (protocol) {
    case EXTENSIONS['hop-by-hop']:
      return 'hop-by-hop'
    case EXTENSIONS.routing:
      return 'routing'
    case EXTENSIONS.fragment:
      return 'fragment'
    case EXTENSIONS.destination:
      return 'destination'
    default:
      return undefined
  }
}
