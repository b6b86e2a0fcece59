import type { Ip } from '../addr/ip.ts'
import { ipFromBytes } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import { macFromBytes } from '../addr/mac.ts'
import { LITTLE_ENDIAN } from './endian.ts'

/** The messages of rtnetlink(7) about interfaces and their addresses, as the kernel sends them. */
export type NetlinkMessage = { readonly sequence: number; readonly flags: number } & (
  | { readonly type: 'new-link'; readonly link: NetlinkLink }
  | { readonly type: 'deleted-link'; readonly index: number }
  | { readonly type: 'new-address' | 'deleted-address'; readonly address: NetlinkAddress }
  | { readonly type: 'done' }
  | { readonly type: 'overrun' }
  /** `errno` is 0 for an acknowledgement, else positive. */
  | { readonly type: 'error'; readonly errno: number }
  | { readonly type: 'other'; readonly code: number }
)

export type NetlinkLink = {
  readonly index: number
  readonly name: string
  /** undefined unless the interface is Ethernet or loopback. */
  readonly mac: Mac | undefined
  /** IFF_* of netdevice(7). */
  readonly flags: number
  /** Index of the bridge or bond, or undefined. */
  readonly master: number | undefined
}

export type NetlinkAddress = {
  readonly interfaceIndex: number
  readonly ip: Ip
  readonly prefixLength: number
  /** IFA_F_TENTATIVE or IFA_F_DADFAILED. */
  readonly tentative: boolean
}

export const RTM_GETLINK = 18
export const RTM_GETADDR = 22
const RTM_NEWLINK = 16
const RTM_DELLINK = 17
const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const NLMSG_OVERRUN = 4

/** What was dumped changed meanwhile: ask again. */
export const NLM_F_DUMP_INTR = 0x10
const NLM_F_REQUEST = 0x1
const NLM_F_DUMP = 0x300

/** Bit masks for the bind address: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR. */
export const LINK_AND_ADDRESS_GROUPS = 0x1 | 0x10 | 0x100

export const IFF_UP = 0x1
export const IFF_BROADCAST = 0x2
export const IFF_LOOPBACK = 0x8
export const IFF_NOARP = 0x80
export const IFF_LOWER_UP = 0x10000

const AF_INET = 2
const AF_INET6 = 10
const ARPHRD_ETHER = 1
const ARPHRD_LOOPBACK = 772

const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MASTER = 10
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_FLAGS = 8
const IFA_F_DADFAILED = 0x08
const IFA_F_TENTATIVE = 0x40

/** Asks for everything of a kind: `type` is RTM_GETLINK or RTM_GETADDR. */
export function encodeDumpRequest(type: number, sequence: number): Uint8Array {
  // nlmsghdr (16 bytes), then struct ifinfomsg (16) or ifaddrmsg (8): all zero asks for every family and interface.
  const length = 16 + (type === RTM_GETLINK ? 16 : 8)
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, length, LITTLE_ENDIAN)
  view.setUint16(4, type, LITTLE_ENDIAN)
  view.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, LITTLE_ENDIAN)
  view.setUint32(8, sequence, LITTLE_ENDIAN)
  return bytes
}

/**
 * The messages of one datagram, in order. Total: what is cut off or makes no sense ends the list and sets `malformed`; link messages
 * of other families (a bridge tells of its ports with AF_BRIDGE, where "deleted" means only that the port left) come as 'other'.
 */
export function decodeNetlink(bytes: Uint8Array): {
  readonly messages: readonly NetlinkMessage[]
  readonly malformed: boolean
} {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const messages: NetlinkMessage[] = []
  let at = 0
  while (at < bytes.length) {
    if (bytes.length - at < 16) return { messages, malformed: true }
    const length = view.getUint32(at, LITTLE_ENDIAN)
    if (length < 16 || length > bytes.length - at) return { messages, malformed: true }
    const message = decodeMessage(bytes.subarray(at, at + length))
    if (message === undefined) return { messages, malformed: true }
    messages.push(message)
    at += align(length)
  }
  return { messages, malformed: false }
}

function decodeMessage(bytes: Uint8Array): NetlinkMessage | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const code = view.getUint16(4, LITTLE_ENDIAN)
  const head = { sequence: view.getUint32(8, LITTLE_ENDIAN), flags: view.getUint16(6, LITTLE_ENDIAN) }
  switch (code) {
    case NLMSG_DONE:
      return { ...head, type: 'done' }
    case NLMSG_OVERRUN:
      return { ...head, type: 'overrun' }
    case NLMSG_ERROR:
      if (bytes.length < 20) return undefined
      return { ...head, type: 'error', errno: Math.abs(view.getInt32(16, LITTLE_ENDIAN)) }
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      if (bytes.length < 32) return undefined
      if (bytes[16] !== 0) return { ...head, type: 'other', code }
      if (code === RTM_DELLINK) {
        return { ...head, type: 'deleted-link', index: view.getInt32(20, LITTLE_ENDIAN) }
      }
      const link = decodeLink(bytes, view)
      return link && { ...head, type: 'new-link', link }
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      if (bytes.length < 24) return undefined
      if (bytes[16] !== AF_INET && bytes[16] !== AF_INET6) return { ...head, type: 'other', code }
      const address = decodeAddress(bytes, view)
      return address && { ...head, type: code === RTM_NEWADDR ? 'new-address' : 'deleted-address', address }
    }
    default:
      return { ...head, type: 'other', code }
  }
}

function decodeLink(bytes: Uint8Array, view: DataView): NetlinkLink | undefined {
  const attributes = decodeAttributes(bytes, 32)
  const name = attributes?.get(IFLA_IFNAME)
  if (attributes === undefined || name === undefined) return undefined
  const end = name.indexOf(0)
  const hardware = view.getUint16(18, LITTLE_ENDIAN)
  const mac = attributes.get(IFLA_ADDRESS)
  const hasMac = mac?.length === 6 && (hardware === ARPHRD_ETHER || hardware === ARPHRD_LOOPBACK)
  return {
    index: view.getInt32(20, LITTLE_ENDIAN),
    name: new TextDecoder().decode(end < 0 ? name : name.subarray(0, end)),
    mac: hasMac ? macFromBytes(mac) : undefined,
    flags: view.getUint32(24, LITTLE_ENDIAN),
    master: u32(attributes.get(IFLA_MASTER)) || undefined,
  }
}

function decodeAddress(bytes: Uint8Array, view: DataView): NetlinkAddress | undefined {
  const attributes = decodeAttributes(bytes, 24)
  if (attributes === undefined) return undefined
  // On a point-to-point interface IFA_ADDRESS is the other end and IFA_LOCAL ours; IPv6 has IFA_LOCAL only there.
  const raw = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS)
  const size = bytes[16] === AF_INET ? 4 : 16
  const prefixLength = bytes[17] ?? 0
  if (raw?.length !== size || prefixLength > size * 8) return undefined
  const flags = u32(attributes.get(IFA_FLAGS)) ?? bytes[18] ?? 0
  return {
    interfaceIndex: view.getUint32(20, LITTLE_ENDIAN),
    ip: ipFromBytes(raw),
    prefixLength,
    tentative: (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) !== 0,
  }
}

/** struct rtattr: u16 length (with these four bytes), u16 type, value, padded to four bytes. undefined when they do not add up. */
function decodeAttributes(bytes: Uint8Array, start: number): Map<number, Uint8Array> | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const attributes = new Map<number, Uint8Array>()
  let at = start
  while (bytes.length - at >= 4) {
    const length = view.getUint16(at, LITTLE_ENDIAN)
    if (length < 4 || length > bytes.length - at) return undefined
    // The two high bits are flags (nested, network byte order).
    attributes.set(view.getUint16(at + 2, LITTLE_ENDIAN) & 0x3fff, bytes.subarray(at + 4, at + length))
    at += align(length)
  }
  return attributes
}

function u32(bytes: Uint8Array | undefined): number | undefined {
  if (bytes?.length !== 4) return undefined
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, LITTLE_ENDIAN)
}

function align(length: number): number {
  return (length + 3) & ~3
}
