import type { Ipv6 } from '../addr/ip.ts'
import { checksumHolds, internetChecksum, pseudoHeaderSum } from './checksum.ts'
import { Reader, Writer } from './io.ts'
import { PROTOCOL } from './ipv4.ts'

/** An ICMPv6 message of any type (RFC 4443 section 2.1). The checksum is computed. */
export type Icmpv6 = {
  readonly type: number
  readonly code: number
  /** What follows the checksum. A view on the packet. */
  readonly body: Uint8Array
}

/** The addresses of the IPv6 packet around it: the checksum covers them. */
export type Ipv6Addresses = { readonly source: Ipv6; readonly destination: Ipv6 }

/** @throws DecodeError */
export function decodeIcmpv6(bytes: Uint8Array, ip: Ipv6Addresses): Icmpv6 {
  const r = new Reader(bytes, 'RFC 4443')
  const type = r.u8('type')
  const code = r.u8('code')
  r.skip('checksum', 2)
  const pseudo = pseudoHeaderSum(ip.source, ip.destination, PROTOCOL.icmpv6, bytes.length)
  if (!checksumHolds(bytes, pseudo)) throw r.error('bad-checksum', 'checksum', 'does not match')
  return { type, code, body: r.rest() }
}

export function encodeIcmpv6(message: Icmpv6, ip: Ipv6Addresses): Uint8Array {
  const w = new Writer(4 + message.body.length)
  w.u8(message.type).u8(message.code).u16(0).bytes(message.body)
  const pseudo = pseudoHeaderSum(ip.source, ip.destination, PROTOCOL.icmpv6, w.length)
  w.patchU16(2, internetChecksum(w.written(), pseudo))
  return w.finish()
}
