import { type Family, ipv4At, ipv6At, writeIp } from '../../addr/ip.ts'
import { type Prefix, prefixAddress, prefixLength } from '../../addr/prefix.ts'
import type { Reader, Writer } from '../io.ts'

/**
 * All that remains, as prefixes of one family (RFC 4271 section 4.3): a length in bits, then as many bytes as it needs. Bits past the
 * length mean nothing and are cleared.
 * @throws DecodeError for a length that the family does not have, or bytes that end before it is reached (RFC 7606 section 5.3)
 */
export function readPrefixes(r: Reader, family: Family): Prefix[] {
  const bits = family === 'IPv4' ? 32 : 128
  const address = new Uint8Array(bits / 8)
  const prefixes: Prefix[] = []
  while (r.remaining > 0) {
    const length = r.u8('prefix length')
    if (length > bits) throw r.error('bad-value', 'prefix length', `${length} bits in ${family}`)
    const count = (length + 7) >> 3
    const view = r.view('prefix', count)
    address.fill(0)
    for (let i = 0; i < count; i++) address[i] = view[i] ?? 0
    if (length % 8 !== 0) address[count - 1] = (address[count - 1] ?? 0) & (0xff00 >> (length % 8))
    const ip = family === 'IPv4' ? ipv4At(address, 0) : ipv6At(address, 0)
    prefixes.push(`${ip}/${length}` as Prefix)
  }
  return prefixes
}

const scratch = new Uint8Array(16)

export function writePrefix(w: Writer, prefix: Prefix): void {
  const length = prefixLength(prefix)
  writeIp(prefixAddress(prefix), scratch, 0)
  w.u8(length)
  w.bytes(scratch.subarray(0, (length + 7) >> 3))
}

/** How many bytes {@link writePrefix} writes. */
export function prefixBytes(prefix: Prefix): number {
  return 1 + ((prefixLength(prefix) + 7) >> 3)
}
