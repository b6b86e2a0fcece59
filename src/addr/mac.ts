import assert from 'node:assert/strict'
import { type Ip, ipToBytes, isMulticastIp } from './ip.ts'

/** A 48-bit Ethernet address as lower-case colon-separated text, so that === compares it. */
export type Mac = string & { readonly __brand: 'Mac' }

export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff' as Mac
export const ZERO_MAC = '00:00:00:00:00:00' as Mac

const HEX_BYTE = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Six bytes of two hexadecimal digits, joined all by colons or all by hyphens. undefined for everything else. */
export function parseMac(text: string): Mac | undefined {
  if (!/^[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5})$/i.test(text)) return undefined
  return text.toLowerCase().replaceAll('-', ':') as Mac
}

/** Six bytes, in the order of transmission. */
export function macToBytes(mac: Mac): Uint8Array {
  const bytes = new Uint8Array(6)
  writeMac(mac, bytes, 0)
  return bytes
}

/** Puts the six bytes of the address into `bytes` from `at` on; room for them is the caller's to have. */
export function writeMac(mac: Mac, bytes: Uint8Array, at: number): void {
  if (mac.length !== 17) assert.fail(`not a MAC address: ${mac}`)
  for (let i = 0; i < 6; i++) {
    bytes[at + i] = (hexValue(mac.charCodeAt(3 * i)) << 4) | hexValue(mac.charCodeAt(3 * i + 1))
  }
}

/** Any length but 6 is a broken invariant. */
export function macFromBytes(bytes: Uint8Array): Mac {
  assert.equal(bytes.length, 6, 'a MAC address has 6 bytes')
  return macAt(bytes, 0)
}

/** The address in the six bytes from `at` on. */
export function macAt(bytes: Uint8Array, at: number): Mac {
  let text = HEX_BYTE[bytes[at] ?? 0] ?? ''
  for (let i = 1; i < 6; i++) text += `:${HEX_BYTE[bytes[at + i] ?? 0]}`
  return text as Mac
}

/** Broadcast counts as multicast: the group bit, the lowest of the first byte, is set. */
export function isMulticastMac(mac: Mac): boolean {
  return (hexValue(mac.charCodeAt(1)) & 1) === 1
}

/**
 * Where frames to an IP group are sent: 01:00:5e and the low 23 bits (RFC 1112 section 6.4), or 33:33 and the low 32 bits
 * (RFC 2464 section 7). A unicast address is a broken invariant.
 */
export function multicastMac(group: Ip): Mac {
  assert(isMulticastIp(group), `not a multicast address: ${group}`)
  const b = ipToBytes(group)
  return macFromBytes(
    b.length === 4
      ? Uint8Array.of(0x01, 0x00, 0x5e, (b[1] ?? 0) & 0x7f, b[2] ?? 0, b[3] ?? 0)
      : Uint8Array.of(0x33, 0x33, b[12] ?? 0, b[13] ?? 0, b[14] ?? 0, b[15] ?? 0),
  )
}

function hexValue(c: number): number {
  return c <= 0x39 ? c - 0x30 : (c | 0x20) - 0x57
}
