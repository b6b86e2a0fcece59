import { hash } from 'node:crypto'
import { compareText } from '../config/selectors.ts'

/** How many addresses keep their order; at 500 nodes each costs about 1 kB. */
const ADDRESSES_MAX = 65_536
/** Names that are numbered; beyond them, and below so few that hashing is cheap, nothing is remembered. */
const NAMES_MAX = 8192
const FEW = 32

/**
 * The order of nodes for an address: ascending SHA-256 of `<node>#<address>` as raw bytes (rule L-7).
 *
 * Remembers the order of every node it was asked about, so that the next question about the same address costs
 * no hash, and a new node costs one and a binary search. Nodes that went away stay in the order and are
 * passed over by the caller. The answers do not depend on what was remembered.
 */
export class DigestOrder {
  readonly #names: string[] = []
  readonly #indexes = new Map<string, number>()
  /** For each address the indexes of the first so many names, in order of their digests. */
  readonly #orders = new Map<string, Uint16Array>()
  readonly #addressesMax: number

  constructor(addressesMax: number = ADDRESSES_MAX) {
    this.#addressesMax = addressesMax
  }

  /** These nodes in order for the address. Names are taken once however often they are given. */
  sort(address: string, nodes: ReadonlySet<string>): string[] {
    if (nodes.size <= FEW || this.#names.length + nodes.size > NAMES_MAX) return digestOrder(address, nodes)
    for (const node of nodes) {
      if (!this.#indexes.has(node)) {
        this.#indexes.set(node, this.#names.length)
        this.#names.push(node)
      }
    }
    const result: string[] = []
    for (const index of this.#order(address)) {
      const name = this.#names[index]
      if (name !== undefined && nodes.has(name)) result.push(name)
    }
    return result
  }

  /** Drops what is remembered for an address that is announced no more. */
  forget(address: string): void {
    this.#orders.delete(address)
  }

  #order(address: string): Uint16Array {
    const known = this.#orders.get(address)
    const missing = this.#names.length - (known?.length ?? 0)
    if (known !== undefined && missing === 0) return known
    // Few newcomers: search their places. Many: one sort is cheaper than moving the tail each time.
    const order =
      known !== undefined && missing * 8 < known.length
        ? this.#insert(address, known)
        : this.#sortAll(address)
    if (known === undefined && this.#orders.size >= this.#addressesMax) {
      const oldest = this.#orders.keys().next()
      if (oldest.done !== true) this.#orders.delete(oldest.value)
    }
    this.#orders.set(address, order)
    return order
  }

  #sortAll(address: string): Uint16Array {
    return sortedIndexes(this.#names, address)
  }

  #insert(address: string, known: Uint16Array): Uint16Array {
    const order: number[] = [...known]
    for (let index = known.length; index < this.#names.length; index++) {
      const digest = nodeDigest(this.#names[index] as string, address)
      let low = 0
      let high = order.length
      while (low < high) {
        const middle = (low + high) >> 1
        const other = nodeDigest(this.#names[order[middle] as number] as string, address)
        if (other < digest) low = middle + 1
        else high = middle
      }
      order.splice(low, 0, index)
    }
    return Uint16Array.from(order)
  }
}

/**
 * SHA-256 of `<node>#<address>`, the address in canonical text (L-7), as lower-case hexadecimal: as text it sorts as the
 * bytes do.
 */
export function nodeDigest(node: string, address: string): string {
  return hash('sha256', `${node}#${address}`, 'hex')
}

/** The same order without memory: for one question, as the command line asks it. */
export function digestOrder(address: string, nodes: Iterable<string>): string[] {
  const names = [...new Set(nodes)]
  if (names.length <= NAMES_MAX)
    return [...sortedIndexes(names, address)].map(index => names[index] as string)
  return names
    .map(name => ({ name, digest: nodeDigest(name, address) }))
    .sort((a, b) => compareText(a.digest, b.digest) || compareText(a.name, b.name))
    .map(({ name }) => name)
}

/** Digest bits in a sort key: together with an index below NAMES_MAX they fill the 53 of a double. */
const INDEX_FACTOR = NAMES_MAX

/**
 * The indexes of these names in the order of their digests. Sorts numbers, which needs no call for each comparison: 40 bits of
 * the digest above the index. Names whose 40 bits are equal, one pair in a thousand billion, are compared whole.
 */
function sortedIndexes(names: readonly string[], address: string): Uint16Array {
  const suffix = `#${address}`
  const keys = new Float64Array(names.length)
  for (let index = 0; index < names.length; index++) {
    keys[index] = digestPrefix((names[index] as string) + suffix) * INDEX_FACTOR + index
  }
  keys.sort()
  const order = new Uint16Array(names.length)
  for (let at = 0; at < keys.length; at++) order[at] = (keys[at] as number) % INDEX_FACTOR
  for (let at = 1; at < keys.length; at++) {
    const prefix = Math.floor((keys[at] as number) / INDEX_FACTOR)
    if (prefix !== Math.floor((keys[at - 1] as number) / INDEX_FACTOR)) continue
    const whole = (index: number) => nodeDigest(names[index] as string, address)
    return order.sort(
      (a, b) => compareText(whole(a), whole(b)) || compareText(names[a] ?? '', names[b] ?? ''),
    )
  }
  return order
}

const ROUND_CONSTANTS = Int32Array.from(
  // The cube roots' fractions of the first 64 primes (FIPS 180-4, 4.2.2).
  primes(64).map(prime => fraction(Math.cbrt(prime), prime, 3)),
)
/** The square roots' fractions of the first 8 primes (FIPS 180-4, 5.3.3). */
const INITIAL = Int32Array.from(primes(8).map(prime => fraction(Math.sqrt(prime), prime, 2)))
const schedule = new Int32Array(64)
/** What fits into one block with its padding and length. */
const ONE_BLOCK_MAX = 55

/**
 * The first 40 bits of the SHA-256 of a text, as a number (FIPS 180-4). For texts that are ASCII and fit into one block this is
 * computed here: at 500 nodes and 10,000 addresses there are five million of them, and a call into the library costs
 * more than the hash.
 */
export function digestPrefix(text: string): number {
  const { length } = text
  if (length > ONE_BLOCK_MAX) return libraryPrefix(text)
  const w = schedule
  w.fill(0, 0, 16)
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i)
    if (code > 127) return libraryPrefix(text)
    w[i >> 2] = (w[i >> 2] as number) | (code << (24 - 8 * (i & 3)))
  }
  w[length >> 2] = (w[length >> 2] as number) | (0x80 << (24 - 8 * (length & 3)))
  w[15] = length * 8
  for (let t = 16; t < 64; t++) {
    const w15 = w[t - 15] as number
    const w2 = w[t - 2] as number
    const s0 = ((w15 >>> 7) | (w15 << 25)) ^ ((w15 >>> 18) | (w15 << 14)) ^ (w15 >>> 3)
    const s1 = ((w2 >>> 17) | (w2 << 15)) ^ ((w2 >>> 19) | (w2 << 13)) ^ (w2 >>> 10)
    w[t] = ((w[t - 16] as number) + s0 + (w[t - 7] as number) + s1) | 0
  }
  let a = INITIAL[0] as number
  let b = INITIAL[1] as number
  let c = INITIAL[2] as number
  let d = INITIAL[3] as number
  let e = INITIAL[4] as number
  let f = INITIAL[5] as number
  let g = INITIAL[6] as number
  let h = INITIAL[7] as number
  for (let t = 0; t < 64; t++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + (ROUND_CONSTANTS[t] as number) + (w[t] as number)) | 0
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  const first = ((INITIAL[0] as number) + a) >>> 0
  const second = ((INITIAL[1] as number) + b) >>> 0
  return first * 256 + (second >>> 24)
}

function libraryPrefix(text: string): number {
  return Number.parseInt(hash('sha256', text, 'hex').slice(0, 10), 16)
}

function primes(count: number): number[] {
  const found: number[] = []
  for (let n = 2; found.length < count; n++) if (found.every(prime => n % prime !== 0)) found.push(n)
  return found
}

/** The first 32 bits of a root's fraction: a double guesses them, whole numbers correct the guess. */
function fraction(root: number, of: number, power: number): number {
  const scale = 2n ** 32n
  const target = BigInt(of) * scale ** BigInt(power)
  let scaled = BigInt(Math.floor(root * 2 ** 32))
  while (scaled ** BigInt(power) > target) scaled--
  while ((scaled + 1n) ** BigInt(power) <= target) scaled++
  return Number(BigInt.asIntN(32, scaled))
}
