import { type Ip, ipToBytes } from '../addr/ip.ts'
import type { ServiceTable } from './steering.ts'

/** Must be the same on every node, for ever: another seed sends every flow elsewhere. */
export const HASH_SEED = 0x10de5701

/**
 * The node that has the flow of this client, as the kernel's rules find it: for `explain`. `port` undefined: what has no port of its own
 * (fragments), or affinity 'client'. undefined where nobody has it.
 */
export function flowOwner(table: ServiceTable, client: Ip, port: number | undefined): string | undefined {
  const index = table.owners[flowSlot(table.size, client, port)]
  return index === undefined ? undefined : table.nodes[index]
}

/** `jhash ADDRESS . PORT mod SIZE` of nft, which scales the hash to the size instead of taking the rest (reciprocal_scale). */
export function flowSlot(size: number, client: Ip, port: number | undefined): number {
  const address = ipToBytes(client)
  // A port takes a register of four bytes, in network order and padded with zeros.
  const key = new Uint8Array(address.length + (port === undefined ? 0 : 4))
  key.set(address)
  if (port !== undefined) new DataView(key.buffer).setUint16(address.length, port)
  return Number((BigInt(jhash(key, HASH_SEED)) * BigInt(size)) >> 32n)
}

/**
 * Bob Jenkins' lookup3 (hashlittle) as the kernel has it (include/linux/jhash.h), on a little-endian machine. The result has 32 bits.
 */
export function jhash(key: Uint8Array, seed: number): number {
  const padded = new Uint8Array(Math.ceil(key.length / 12) * 12)
  padded.set(key)
  const view = new DataView(padded.buffer)
  const word = (at: number) => view.getUint32(at, true)
  let a = (0xdeadbeef + key.length + seed) | 0
  let b = a
  let c = a
  let at = 0
  for (; key.length - at > 12; at += 12) {
    a = (a + word(at)) | 0
    b = (b + word(at + 4)) | 0
    c = (c + word(at + 8)) | 0
    a = ((a - c) ^ rotate(c, 4)) | 0
    c = (c + b) | 0
    b = ((b - a) ^ rotate(a, 6)) | 0
    a = (a + c) | 0
    c = ((c - b) ^ rotate(b, 8)) | 0
    b = (b + a) | 0
    a = ((a - c) ^ rotate(c, 16)) | 0
    c = (c + b) | 0
    b = ((b - a) ^ rotate(a, 19)) | 0
    a = (a + c) | 0
    c = ((c - b) ^ rotate(b, 4)) | 0
    b = (b + a) | 0
  }
  if (key.length === at) return c >>> 0
  a = (a + word(at)) | 0
  b = (b + word(at + 4)) | 0
  c = (c + word(at + 8)) | 0
  c = ((c ^ b) - rotate(b, 14)) | 0
  a = ((a ^ c) - rotate(c, 11)) | 0
  b = ((b ^ a) - rotate(a, 25)) | 0
  c = ((c ^ b) - rotate(b, 16)) | 0
  a = ((a ^ c) - rotate(c, 4)) | 0
  b = ((b ^ a) - rotate(a, 14)) | 0
  c = ((c ^ b) - rotate(b, 24)) | 0
  return c >>> 0
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}
