import type { Family, Ip } from '../addr/ip.ts'
import { familyOf, ipFromBytes, ipToBytes } from '../addr/ip.ts'
import { LITTLE_ENDIAN } from './endian.ts'
import { AF_INET, AF_INET6, AF_NETLINK, AF_PACKET } from './native.ts'

/** What {@link decodeSockaddr} finds: the interface matters for link-local addresses only (0: none). */
export type SocketAddress = { readonly ip: Ip; readonly port: number; readonly interfaceIndex: number }

/** struct sockaddr_in6, the longest; sendBatch takes one of this size for each message. */
export const SOCKADDR_SIZE = 28

export function domainOf(family: Family): number {
  return family === 'IPv4' ? AF_INET : AF_INET6
}

/** ip(7), ipv6(7): the family in host order, port and address in network order. The same length for both families. */
export function encodeSockaddr(
  to: { readonly ip: Ip; readonly port: number },
  interfaceIndex = 0,
): Uint8Array {
  const bytes = new Uint8Array(SOCKADDR_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint16(2, to.port)
  if (familyOf(to.ip) === 'IPv4') {
    view.setUint16(0, AF_INET, LITTLE_ENDIAN)
    bytes.set(ipToBytes(to.ip), 4)
  } else {
    view.setUint16(0, AF_INET6, LITTLE_ENDIAN)
    bytes.set(ipToBytes(to.ip), 8)
    view.setUint32(24, interfaceIndex, LITTLE_ENDIAN)
  }
  return bytes
}

/** undefined for other families than the two of IP. */
export function decodeSockaddr(bytes: Uint8Array): SocketAddress | undefined {
  if (bytes.length < 16) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const family = view.getUint16(0, LITTLE_ENDIAN)
  const port = view.getUint16(2)
  if (family === AF_INET) return { ip: ipFromBytes(bytes.subarray(4, 8)), port, interfaceIndex: 0 }
  if (family !== AF_INET6 || bytes.length < SOCKADDR_SIZE) return undefined
  return {
    ip: ipFromBytes(bytes.subarray(8, 24)),
    port,
    interfaceIndex: view.getUint32(24, LITTLE_ENDIAN),
  }
}

/** packet(7): frames of one EtherType on one interface. */
export function encodeSockaddrPacket(etherType: number, interfaceIndex: number): Uint8Array {
  const bytes = new Uint8Array(20)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, AF_PACKET, LITTLE_ENDIAN)
  view.setUint16(2, etherType)
  view.setInt32(4, interfaceIndex, LITTLE_ENDIAN)
  return bytes
}

/** netlink(7): the kernel chooses the port; `groups` is the bit mask of the first 32 multicast groups. */
export function encodeSockaddrNetlink(groups: number): Uint8Array {
  const bytes = new Uint8Array(12)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, AF_NETLINK, LITTLE_ENDIAN)
  view.setUint32(8, groups, LITTLE_ENDIAN)
  return bytes
}
