import assert from 'node:assert/strict'

/** IPv4 address as dotted decimal text without leading zeros, so that === compares it. */
export type Ipv4 = string & { readonly __brand: 'Ipv4' }
/** IPv6 address as canonical text (RFC 5952), so that === compares it. */
export type Ipv6 = string & { readonly __brand: 'Ipv6' }
export type Ip = Ipv4 | Ipv6
/** Kubernetes' own words for the two families. */
export type Family = 'IPv4' | 'IPv6'

const DOT = 0x2e
const COLON = 0x3a
const ZERO = 0x30
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16))
const HEX_PAIR = HEX.map(text => text.padStart(2, '0'))

/**
 * An address of either family as people write it: Go's ParseIP (rule V-14). Octets with leading zeros, zone identifiers and
 * blanks are refused, `::ffff:a.b.c.d` in any spelling is the IPv4 address a.b.c.d.
 * @returns canonical text, or undefined for everything else
 */
export function parseIp(text: string): Ip | undefined {
  if (!text.includes(':')) return parseIpv4(text)
  const bytes = new Uint8Array(16)
  if (!readIpv6(text, bytes)) return undefined
  return isMapped(bytes, 0) ? ipv4At(bytes, 12) : ipv6At(bytes, 0)
}

/** As {@link parseIp}, dotted decimal only. */
export function parseIpv4(text: string): Ipv4 | undefined {
  // Without leading zeros there is only one way to write an address, so what parses is canonical.
  return readIpv4(text, 0, SCRATCH, 0) ? (text as Ipv4) : undefined
}

/** As {@link parseIp}, IPv6 only: refuses IPv4, also in the form `::ffff:a.b.c.d`. */
export function parseIpv6(text: string): Ipv6 | undefined {
  const bytes = new Uint8Array(16)
  if (!readIpv6(text, bytes) || isMapped(bytes, 0)) return undefined
  return ipv6At(bytes, 0)
}

export function isIpv4(ip: Ip): ip is Ipv4 {
  return !ip.includes(':')
}

export function isIpv6(ip: Ip): ip is Ipv6 {
  return ip.includes(':')
}

export function familyOf(ip: Ip): Family {
  return ip.includes(':') ? 'IPv6' : 'IPv4'
}

/** Network byte order: 4 bytes for IPv4, 16 for IPv6. */
export function ipToBytes(ip: Ip): Uint8Array {
  const bytes = new Uint8Array(isIpv4(ip) ? 4 : 16)
  writeIp(ip, bytes, 0)
  return bytes
}

/** Puts the 4 or 16 bytes of the address into `bytes` from `at` on; room for them is the caller's to have. */
export function writeIp(ip: Ip, bytes: Uint8Array, at: number): void {
  if (isIpv4(ip)) {
    if (!readIpv4(ip, 0, bytes, at)) assert.fail(`not an IPv4 address: ${ip}`)
    return
  }
  SCRATCH.fill(0)
  if (!readIpv6(ip, SCRATCH)) assert.fail(`not an IPv6 address: ${ip}`)
  bytes.set(SCRATCH, at)
}

/**
 * The address in 4 or 16 bytes, network byte order; any other length is a broken invariant. The family is that of the length: the
 * 16 bytes of an IPv4-mapped address stay the IPv6 address `::ffff:a.b.c.d` (RFC 5952 section 5), so that bytes from the wire
 * survive a round trip; only {@link parseIp}, which reads what people wrote, turns that into IPv4.
 */
export function ipFromBytes(bytes: Uint8Array): Ip {
  if (bytes.length === 4) return ipv4At(bytes, 0)
  assert.equal(bytes.length, 16, 'an IP address has 4 or 16 bytes')
  return ipv6At(bytes, 0)
}

/** The address in the four bytes from `at` on. */
export function ipv4At(bytes: Uint8Array, at: number): Ipv4 {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}` as Ipv4
}

/**
 * The address in the sixteen bytes from `at` on. RFC 5952 section 4: lower case, no leading zeros, `::` for the first of the longest
 * runs of two or more zero groups.
 */
export function ipv6At(bytes: Uint8Array, at: number): Ipv6 {
  if (isMapped(bytes, at)) return `::ffff:${ipv4At(bytes, at + 12)}` as Ipv6
  let gap = -1
  let gapLength = 1
  for (let i = 0; i < 8; ) {
    let end = i
    while (end < 8 && bytes[at + 2 * end] === 0 && bytes[at + 2 * end + 1] === 0) end++
    if (end - i > gapLength) {
      gap = i
      gapLength = end - i
    }
    i = end + 1
  }
  let text = ''
  for (let i = 0; i < 8; i++) {
    if (i === gap) {
      text += '::'
      i += gapLength - 1
      continue
    }
    if (i > 0 && (gap < 0 || i !== gap + gapLength)) text += ':'
    const high = bytes[at + 2 * i] ?? 0
    const low = bytes[at + 2 * i + 1] ?? 0
    text += high === 0 ? HEX[low] : `${HEX[high]}${HEX_PAIR[low]}`
  }
  return text as Ipv6
}

/** The address as an unsigned number of 32 or 128 bits. */
export function ipToBigint(ip: Ip): bigint {
  let value = 0n
  const bytes = ipToBytes(ip)
  for (let i = 0; i < bytes.length; i += 4) value = (value << 32n) | BigInt(u32At(bytes, i))
  return value
}

/** Inverse of {@link ipToBigint}; a value outside the family's range is a broken invariant. */
export function ipFromBigint(family: Family, value: bigint): Ip {
  const bytes = new Uint8Array(family === 'IPv4' ? 4 : 16)
  if (value < 0n || value >= 1n << BigInt(bytes.length * 8)) assert.fail(`outside of ${family}: ${value}`)
  let rest = value
  for (let i = bytes.length - 4; i >= 0; i -= 4) {
    const word = Number(rest & 0xffffffffn)
    bytes[i] = word >>> 24
    bytes[i + 1] = word >>> 16
    bytes[i + 2] = word >>> 8
    bytes[i + 3] = word
    rest >>= 32n
  }
  return ipFromBytes(bytes)
}

/** For sorting: IPv4 before IPv6, then by number. Negative, zero or positive. */
export function compareIps(a: Ip, b: Ip): number {
  if (a === b) return 0
  const left = ipToBytes(a)
  const right = ipToBytes(b)
  if (left.length !== right.length) return left.length - right.length
  for (let i = 0; i < left.length; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** Where the solicitations for `ip` are sent: ff02::1:ffXX:XXXX with its last 24 bits (RFC 4291 section 2.7.1). */
export function solicitedNodeGroup(ip: Ipv6): Ipv6 {
  const bytes = ipToBytes(ip)
  bytes.fill(0, 0, 13)
  bytes[0] = 0xff
  bytes[1] = 0x02
  bytes[11] = 0x01
  bytes[12] = 0xff
  return ipv6At(bytes, 0)
}

/** 224.0.0.0/4 (RFC 1112) or ff00::/8 (RFC 4291 section 2.7). */
export function isMulticastIp(ip: Ip): boolean {
  if (isIpv6(ip)) return ip.startsWith('ff') && ip.indexOf(':') === 4
  const first = Number(ip.slice(0, ip.indexOf('.')))
  return first >= 224 && first <= 239
}

const SCRATCH = new Uint8Array(16)

function u32At(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) |
      ((bytes[at + 1] ?? 0) << 16) |
      ((bytes[at + 2] ?? 0) << 8) |
      (bytes[at + 3] ?? 0)) >>>
    0
  )
}

function isMapped(bytes: Uint8Array, at: number): boolean {
  if (u32At(bytes, at) !== 0) return false
  return u32At(bytes, at + 4) === 0 && u32At(bytes, at + 8) === 0x0000ffff
}

/** Reads dotted decimal from `start` to the end of the text into four bytes. By hand: this runs for every packet. */
function readIpv4(text: string, start: number, bytes: Uint8Array, at: number): boolean {
  let octet = 0
  let digits = 0
  let dots = 0
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === DOT) {
      if (digits === 0 || dots === 3) return false
      bytes[at + dots] = octet
      dots++
      octet = 0
      digits = 0
      continue
    }
    const digit = c - ZERO
    if (digit < 0 || digit > 9 || (digits > 0 && octet === 0)) return false
    octet = octet * 10 + digit
    if (octet > 255) return false
    digits++
  }
  if (digits === 0 || dots !== 3) return false
  bytes[at + 3] = octet
  return true
}

/** RFC 4291 section 2.2, all three forms; `bytes` must be 16 zeros. */
function readIpv6(text: string, bytes: Uint8Array): boolean {
  const length = text.length
  if (length < 2 || length > 45) return false
  let i = 0
  let at = 0
  let gap = -1
  if (text.charCodeAt(0) === COLON) {
    if (text.charCodeAt(1) !== COLON) return false
    gap = 0
    i = 2
  }
  while (i < length) {
    if (at === 16) return false
    const start = i
    let group = 0
    for (; i < length; i++) {
      const digit = hexDigit(text.charCodeAt(i))
      if (digit < 0) break
      if (i - start === 4) return false
      group = group * 16 + digit
    }
    if (i === start) return false
    if (i < length && text.charCodeAt(i) === DOT) {
      if (at > 12 || (gap < 0 && at !== 12) || !readIpv4(text, start, bytes, at)) return false
      at += 4
      break
    }
    bytes[at] = group >>> 8
    bytes[at + 1] = group
    at += 2
    if (i === length) break
    if (text.charCodeAt(i) !== COLON || ++i === length) return false
    if (text.charCodeAt(i) === COLON) {
      if (gap >= 0) return false
      gap = at
      i++
    }
  }
  if (gap < 0) return at === 16
  // `::` stands for at least one group of zeros.
  if (at === 16) return false
  bytes.copyWithin(16 - (at - gap), gap, at)
  bytes.fill(0, gap, 16 - (at - gap))
  return true
}

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30
  const lower = c | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
