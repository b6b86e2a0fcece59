import { type Ip, isIpv6 } from '../addr/ip.ts'
import { checksumHolds, internetChecksum, pseudoHeaderSum } from './checksum.ts'
import { Reader, Writer } from './io.ts'
import { PROTOCOL } from './ipv4.ts'

/** A UDP datagram (RFC 768). Length and checksum are computed. */
export type Udp = {
  /** 0: no answer is wanted. */
  readonly sourcePort: number
  readonly destinationPort: number
  /** A view on the packet. */
  readonly payload: Uint8Array
}

/** The addresses of the IP packet around it: the checksum covers them. */
export type IpAddresses = { readonly source: Ip; readonly destination: Ip }

/**
 * Bytes past the length are ignored. A checksum of zero says that there is none: accepted over IPv4 (RFC 768), refused over IPv6
 * (RFC 8200 section 8.1). On virtual links the kernel may hand out datagrams of the same host whose checksum it has not yet filled in;
 * those are refused as well.
 * @throws DecodeError
 */
export function decodeUdp(bytes: Uint8Array, ip: IpAddresses): Udp {
  const r = new Reader(bytes, 'RFC 768')
  const sourcePort = r.u16('source port')
  const destinationPort = r.u16('destination port')
  const length = r.u16('length')
  const checksum = r.u16('checksum')
  if (length < 8) throw r.error('bad-length', 'length', `${length} is less than the header's 8`)
  const payload = r.view('data', length - 8)
  if (checksum === 0) {
    if (isIpv6(ip.source)) throw r.error('bad-checksum', 'checksum', 'none, which IPv6 does not allow')
  } else {
    const pseudo = pseudoHeaderSum(ip.source, ip.destination, PROTOCOL.udp, length)
    if (!checksumHolds(bytes.subarray(0, length), pseudo)) {
      throw r.error('bad-checksum', 'checksum', 'does not match')
    }
  }
  return { sourcePort, destinationPort, payload }
}

/** Always with a checksum; one that comes out as zero is sent as 0xffff, its other form (RFC 768). */
export function encodeUdp(udp: Udp, ip: IpAddresses): Uint8Array {
  const w = new Writer(8 + udp.payload.length)
  w.u16(udp.sourcePort)
    .u16(udp.destinationPort)
    .u16(8 + udp.payload.length)
    .u16(0)
    .bytes(udp.payload)
  const pseudo = pseudoHeaderSum(ip.source, ip.destination, PROTOCOL.udp, w.length)
  const checksum = internetChecksum(w.written(), pseudo)
  w.patchU16(6, checksum === 0 ? 0xffff : checksum)
  return w.finish()
}
