import assert from 'node:assert/strict'
import { type Ip, isIpv4, writeIp } from '../addr/ip.ts'

/**
 * The ones' complement sum of 16-bit big-endian words, folded to 0..65535, not inverted (RFC 1071). An odd last byte counts as if a
 * zero followed, so only the last part of a sum in parts may be odd.
 */
export function onesComplementSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial
  const even = bytes.length & ~1
  for (let i = 0; i < even; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0)
  if (even !== bytes.length) sum += (bytes[even] ?? 0) << 8
  return fold(sum)
}

/**
 * The Internet checksum to put into a header whose checksum field is zero (RFC 1071).
 * @param initial a sum from {@link pseudoHeaderSum} or {@link onesComplementSum}
 */
export function internetChecksum(bytes: Uint8Array, initial = 0): number {
  return ~onesComplementSum(bytes, initial) & 0xffff
}

/** Whether bytes that contain their checksum are as they were sent. */
export function checksumHolds(bytes: Uint8Array, initial = 0): boolean {
  return onesComplementSum(bytes, initial) === 0xffff
}

/**
 * The checksum after one 16-bit word of what it covers has changed (RFC 1624 equation 3). Same as computing it anew, also where the
 * older equation of RFC 1141 ends with the other form of zero.
 */
export function updateChecksum(checksum: number, oldWord: number, newWord: number): number {
  return ~fold((~checksum & 0xffff) + (~oldWord & 0xffff) + newWord) & 0xffff
}

/**
 * The sum of the pseudo header under UDP, TCP and ICMPv6 checksums: RFC 768 and RFC 9293 for IPv4, RFC 8200 section 8.1 for IPv6.
 * @param protocol of the upper layer, not that of an extension header
 * @param length of the upper-layer header and data in bytes
 */
export function pseudoHeaderSum(source: Ip, destination: Ip, protocol: number, length: number): number {
  const size = isIpv4(source) ? 4 : 16
  if (isIpv4(destination) !== (size === 4)) {
    assert.fail(`a packet of two families: ${source} to ${destination}`)
  }
  writeIp(source, ADDRESSES, 0)
  writeIp(destination, ADDRESSES, size)
  const sum = onesComplementSum(ADDRESSES.subarray(0, 2 * size))
  return fold(sum + Math.floor(length / 0x10000) + (length % 0x10000) + protocol)
}

/** Source and destination while they are being summed. */
const ADDRESSES = new Uint8Array(32)

function fold(sum: number): number {
  let folded = sum
  while (folded > 0xffff) folded = Math.floor(folded / 0x10000) + (folded % 0x10000)
  return folded
}
