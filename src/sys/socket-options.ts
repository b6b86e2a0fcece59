import type { Family, Ip } from '../addr/ip.ts'
import { familyOf, ipToBytes } from '../addr/ip.ts'
import { LITTLE_ENDIAN } from './endian.ts'
import { addon, hasCode, type NativeSocket } from './native.ts'
import { encodeSockaddr } from './sockaddr.ts'

/** A socket of the addon, or the number of a descriptor that Node owns (a TCP connection or server). */
export type OptionTarget = NativeSocket | number

const SOL_SOCKET = 1
const IPPROTO_IP = 0
const IPPROTO_TCP = 6
const IPPROTO_IPV6 = 41

const SO_RCVBUF = 8
const SO_BINDTODEVICE = 25
const SO_REUSEADDR = 2
const SO_RCVBUFFORCE = 33
const SO_RXQ_OVFL = 40

const IP_TTL = 2
const IP_PKTINFO = 8
const IP_RECVTTL = 12
const IP_MINTTL = 21
const IP_MULTICAST_IF = 32
const IP_MULTICAST_TTL = 33
const IP_MULTICAST_LOOP = 34
const IP_ADD_MEMBERSHIP = 35
const IP_DROP_MEMBERSHIP = 36

const IPV6_UNICAST_HOPS = 16
const IPV6_MULTICAST_IF = 17
const IPV6_MULTICAST_HOPS = 18
const IPV6_MULTICAST_LOOP = 19
const IPV6_JOIN_GROUP = 20
const IPV6_LEAVE_GROUP = 21
const IPV6_V6ONLY = 26
const IPV6_RECVPKTINFO = 49
const IPV6_RECVHOPLIMIT = 51
const IPV6_MINHOPCOUNT = 73

const TCP_MD5SIG = 14
/** TCP_MD5SIG_MAXKEYLEN. */
export const TCP_MD5_KEY_MAX = 80

/** SO_BINDTODEVICE: only packets of this interface, in and out. Empty: any again. */
export function bindToDevice(target: OptionTarget, name: string): void {
  addon().setOption(target, SOL_SOCKET, SO_BINDTODEVICE, new TextEncoder().encode(name))
}

export function setReuseAddress(target: OptionTarget): void {
  addon().setOption(target, SOL_SOCKET, SO_REUSEADDR, 1)
}

/** Asks for a receive queue of this size, past net.core.rmem_max where CAP_NET_ADMIN allows. */
export function setReceiveBuffer(target: OptionTarget, bytes: number): void {
  try {
    addon().setOption(target, SOL_SOCKET, SO_RCVBUFFORCE, bytes)
  } catch (error) {
    if (!hasCode(error, 'EPERM')) throw error
    addon().setOption(target, SOL_SOCKET, SO_RCVBUF, bytes)
  }
}

/** SO_RXQ_OVFL: each message tells how many were dropped before it for want of room. */
export function countDrops(target: OptionTarget): void {
  addon().setOption(target, SOL_SOCKET, SO_RXQ_OVFL, 1)
}

/** TTL or hop limit of what is sent to single hosts, 1 to 255. */
export function setTtl(target: OptionTarget, family: Family, ttl: number): void {
  if (family === 'IPv4') addon().setOption(target, IPPROTO_IP, IP_TTL, ttl)
  else addon().setOption(target, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl)
}

/**
 * GTSM (RFC 5082) on a TCP socket: segments with a lower TTL or hop limit are dropped. The kernel takes the option on UDP sockets and ignores
 * it there: look at the `ttl` of each datagram instead.
 */
export function setMinimumTtl(target: OptionTarget, family: Family, ttl: number): void {
  if (family === 'IPv4') addon().setOption(target, IPPROTO_IP, IP_MINTTL, ttl)
  else addon().setOption(target, IPPROTO_IPV6, IPV6_MINHOPCOUNT, ttl)
}

/** Received messages tell TTL or hop limit, interface and destination. */
export function receiveDetails(target: OptionTarget, family: Family): void {
  if (family === 'IPv4') {
    addon().setOption(target, IPPROTO_IP, IP_RECVTTL, 1)
    addon().setOption(target, IPPROTO_IP, IP_PKTINFO, 1)
  } else {
    addon().setOption(target, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)
    addon().setOption(target, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
  }
}

export function setIpv6Only(target: OptionTarget): void {
  addon().setOption(target, IPPROTO_IPV6, IPV6_V6ONLY, 1)
}

/**
 * TCP-MD5 (RFC 2385) for segments from and to this peer; set before connecting, or on the listening socket. An empty key removes it.
 * @param key at most {@link TCP_MD5_KEY_MAX} bytes in UTF-8
 * @throws RangeError for a longer key
 */
export function setTcpMd5(target: OptionTarget, peer: Ip, key: string): void {
  const keyBytes = new TextEncoder().encode(key)
  if (keyBytes.length > TCP_MD5_KEY_MAX) {
    throw new RangeError(`a TCP-MD5 key has at most ${TCP_MD5_KEY_MAX} bytes, this one ${keyBytes.length}`)
  }
  // struct tcp_md5sig: sockaddr_storage (128), flags, prefix length, u16 key length, int interface index, key (80).
  const bytes = new Uint8Array(128 + 8 + TCP_MD5_KEY_MAX)
  bytes.set(encodeSockaddr({ ip: peer, port: 0 }))
  new DataView(bytes.buffer).setUint16(130, keyBytes.length, LITTLE_ENDIAN)
  bytes.set(keyBytes, 136)
  addon().setOption(target, IPPROTO_TCP, TCP_MD5SIG, bytes)
}

/** Where multicast goes out, with which TTL; our own is not looped back. */
export function setMulticastOut(
  target: OptionTarget,
  family: Family,
  interfaceIndex: number,
  ttl: number,
): void {
  if (family === 'IPv4') {
    addon().setOption(target, IPPROTO_IP, IP_MULTICAST_IF, ipMreqn(new Uint8Array(4), interfaceIndex))
    addon().setOption(target, IPPROTO_IP, IP_MULTICAST_TTL, ttl)
    addon().setOption(target, IPPROTO_IP, IP_MULTICAST_LOOP, 0)
  } else {
    addon().setOption(target, IPPROTO_IPV6, IPV6_MULTICAST_IF, interfaceIndex)
    addon().setOption(target, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, ttl)
    addon().setOption(target, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0)
  }
}

export function joinMulticast(target: OptionTarget, group: Ip, interfaceIndex: number): void {
  membership(target, group, interfaceIndex, IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP)
}

export function leaveMulticast(target: OptionTarget, group: Ip, interfaceIndex: number): void {
  membership(target, group, interfaceIndex, IP_DROP_MEMBERSHIP, IPV6_LEAVE_GROUP)
}

function membership(
  target: OptionTarget,
  group: Ip,
  interfaceIndex: number,
  ipv4Option: number,
  ipv6Option: number,
): void {
  if (familyOf(group) === 'IPv4') {
    addon().setOption(target, IPPROTO_IP, ipv4Option, ipMreqn(ipToBytes(group), interfaceIndex))
    return
  }
  // struct ipv6_mreq: group, int interface index.
  const bytes = new Uint8Array(20)
  bytes.set(ipToBytes(group))
  new DataView(bytes.buffer).setInt32(16, interfaceIndex, LITTLE_ENDIAN)
  addon().setOption(target, IPPROTO_IPV6, ipv6Option, bytes)
}

/** struct ip_mreqn: group, local address (any), int interface index. */
function ipMreqn(group: Uint8Array, interfaceIndex: number): Uint8Array {
  const bytes = new Uint8Array(12)
  bytes.set(group)
  new DataView(bytes.buffer).setInt32(8, interfaceIndex, LITTLE_ENDIAN)
  return bytes
}
