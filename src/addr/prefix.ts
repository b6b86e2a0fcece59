import assert from 'node:assert/strict'
import {
  type Family,
  familyOf,
  type Ip,
  ipFromBigint,
  ipFromBytes,
  ipToBigint,
  ipToBytes,
  parseIp,
} from './ip.ts'

/** A CIDR block as canonical text `ip/length` without host bits, so that === compares it. */
export type Prefix = string & { readonly __brand: 'Prefix' }

/**
 * `ip/length` as Go's ParseCIDR reads it (rules V-11, V-14): a bare address and blanks are refused, host bits are masked off
 * (`10.20.30.40/24` is `10.20.30.0/24`), zeros before the length are tolerated. A prefix of 96 or more bits of an IPv4-mapped
 * address is the IPv4 prefix; a shorter one, which would reach out of IPv4, is refused.
 * @returns canonical text, or undefined for everything else
 */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/')
  if (slash < 0) return undefined
  const written = text.slice(0, slash)
  const ip = parseIp(written)
  if (ip === undefined || !/^\d+$/.test(text.slice(slash + 1))) return undefined
  const mappedBits = written.includes(':') && familyOf(ip) === 'IPv4' ? 96 : 0
  const length = Number(text.slice(slash + 1)) - mappedBits
  if (length < 0 || length > bitsOf(familyOf(ip))) return undefined
  return prefixOf(ip, length)
}

/** The block of `length` bits that holds `ip`. A length outside 0..32 or 0..128 is a broken invariant. */
export function prefixOf(ip: Ip, length: number): Prefix {
  const bytes = ipToBytes(ip)
  if (!(Number.isInteger(length) && length >= 0 && length <= bytes.length * 8)) {
    assert.fail(`prefix length ${length} of ${ip}`)
  }
  for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) & maskByte(length, i)
  return `${ipFromBytes(bytes)}/${length}` as Prefix
}

/** The first address of the block, the part before the slash. */
export function prefixAddress(prefix: Prefix): Ip {
  return prefix.slice(0, prefix.indexOf('/')) as Ip
}

export function prefixLength(prefix: Prefix): number {
  return Number(prefix.slice(prefix.indexOf('/') + 1))
}

export function prefixFamily(prefix: Prefix): Family {
  return prefix.includes(':') ? 'IPv6' : 'IPv4'
}

/** False across families. */
export function prefixContains(prefix: Prefix, ip: Ip): boolean {
  return sameBits(ipToBytes(prefixAddress(prefix)), ipToBytes(ip), prefixLength(prefix))
}

/** Whether one block contains the other or both are equal: blocks cannot overlap in part. False across families. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  const shorter = Math.min(prefixLength(a), prefixLength(b))
  return sameBits(ipToBytes(prefixAddress(a)), ipToBytes(prefixAddress(b)), shorter)
}

/** How many addresses, network and broadcast address counted. */
export function prefixSize(prefix: Prefix): bigint {
  return 1n << BigInt(bitsOf(prefixFamily(prefix)) - prefixLength(prefix))
}

export function prefixFirst(prefix: Prefix): Ip {
  return prefixAddress(prefix)
}

export function prefixLast(prefix: Prefix): Ip {
  const bytes = ipToBytes(prefixAddress(prefix))
  const length = prefixLength(prefix)
  for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) | (~maskByte(length, i) & 0xff)
  return ipFromBytes(bytes)
}

/**
 * The shortest list of blocks that together are exactly `start` to `end`, both included, ascending (rule V-13). At most 62 blocks
 * for IPv4 and 254 for IPv6. Different families, or start after end, are broken invariants.
 */
export function rangeToPrefixes(start: Ip, end: Ip): Prefix[] {
  const family = familyOf(start)
  assert.equal(familyOf(end), family, `a range of two families: ${start}-${end}`)
  const bits = bitsOf(family)
  const last = ipToBigint(end)
  let next = ipToBigint(start)
  assert(next <= last, `a range that starts after its end: ${start}-${end}`)
  const prefixes: Prefix[] = []
  while (next <= last) {
    // As large as its alignment allows, and not past the end.
    let hostBits = 0
    while (
      hostBits < bits &&
      (next & (1n << BigInt(hostBits))) === 0n &&
      next + (1n << BigInt(hostBits + 1)) - 1n <= last
    ) {
      hostBits++
    }
    prefixes.push(prefixOf(ipFromBigint(family, next), bits - hostBits))
    next += 1n << BigInt(hostBits)
  }
  return prefixes
}

function bitsOf(family: Family): number {
  return family === 'IPv4' ? 32 : 128
}

/** Byte `index` of the mask of a prefix of `length` bits. */
function maskByte(length: number, index: number): number {
  const bits = Math.min(8, Math.max(0, length - 8 * index))
  return (0xff00 >> bits) & 0xff
}

function sameBits(a: Uint8Array, b: Uint8Array, length: number): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; 8 * i < length; i++) {
    if ((((a[i] ?? 0) ^ (b[i] ?? 0)) & maskByte(length, i)) !== 0) return false
  }
  return true
}
