import assert from 'node:assert/strict'
import { type Ip, ipFromBytes, ipToBytes } from '../addr/ip.ts'
import { type Prefix, prefixAddress, prefixFamily, prefixLength } from '../addr/prefix.ts'

/** Bits of an address that one level of the tree decides; 32 is what fits the bit operations of a number. */
const DIGIT_BITS = 5
const ALL = 0xffffffff

/**
 * A bit of `full` is set when nothing below it can be handed out. Only parts that are neither wholly free nor
 * wholly full have a node: a full /8 and an empty /64 both cost nothing.
 */
type Node = { full: number; children: (Node | undefined)[] | undefined }

/**
 * Which addresses of one prefix are free, lowest first. Every operation takes one step per five host bits
 * (4 for a /16, 13 for a /64), however many addresses are in use.
 */
export class FreeSpace {
  readonly #first: Uint8Array
  readonly #hostBits: number
  readonly #levels: number
  /** Leaves out the last octets 0 and 255: no client of a /24-minded network can use them. */
  readonly #avoidBuggy: boolean
  #root: Node | 'full' | undefined

  constructor(prefix: Prefix, options: { readonly avoidBuggyIps: boolean }) {
    this.#first = ipToBytes(prefixAddress(prefix))
    this.#hostBits = this.#first.length * 8 - prefixLength(prefix)
    this.#levels = Math.max(1, Math.ceil(this.#hostBits / DIGIT_BITS))
    this.#avoidBuggy = options.avoidBuggyIps && prefixFamily(prefix) === 'IPv4'
    if (this.#fresh(this.#levels - 1, this.#first).full === ALL) this.#root = 'full'
  }

  /** The lowest free address, or undefined when there is none. */
  lowest(): Ip | undefined {
    if (this.#root === 'full') return undefined
    const bytes = this.#first.slice()
    let node = this.#root
    for (let level = this.#levels - 1; level >= 0; level--) {
      const full = node?.full ?? this.#fresh(level, bytes).full
      const digit = lowestZero(full)
      assert(digit < 32, 'a node that is full has no place in the tree')
      setDigit(bytes, level, digit)
      node = node?.children?.[digit]
    }
    return ipFromBytes(bytes)
  }

  /** True when the address is neither taken nor left out. */
  has(ip: Ip): boolean {
    if (this.#root === 'full') return false
    const bytes = ipToBytes(ip)
    let node = this.#root
    for (let level = this.#levels - 1; level >= 0; level--) {
      const full = node?.full ?? this.#fresh(level, bytes).full
      const digit = this.#digit(bytes, level)
      if ((full & bit(digit)) !== 0) return false
      node = node?.children?.[digit]
    }
    return true
  }

  /** Takes a free address. */
  take(ip: Ip): void {
    assert(this.has(ip), `${ip} is not free`)
    const bytes = ipToBytes(ip)
    const path = this.#path(bytes)
    for (let level = 0; level < this.#levels; level++) {
      const node = path[level] as Node
      const digit = this.#digit(bytes, level)
      node.full = (node.full | bit(digit)) >>> 0
      // What became full needs no node, and is a full bit one level up.
      if (node.children !== undefined) node.children[digit] = undefined
      if (node.full !== ALL) return
    }
    this.#root = 'full'
  }

  /** Gives back an address that was taken. */
  release(ip: Ip): void {
    const bytes = ipToBytes(ip)
    const path = this.#path(bytes)
    const leaf = path[0] as Node
    const digit = this.#digit(bytes, 0)
    assert((leaf.full & bit(digit)) !== 0, `${ip} is free already`)
    for (let level = 0; level < this.#levels; level++) {
      const node = path[level] as Node
      node.full = (node.full & ~bit(this.#digit(bytes, level))) >>> 0
    }
    // What became wholly free needs no node either.
    for (let level = 0; level < this.#levels; level++) {
      const node = path[level] as Node
      const fresh = this.#fresh(level, bytes).full
      if (node.full !== fresh || node.children?.some(child => child !== undefined) === true) return
      const parent = path[level + 1]
      if (parent === undefined) this.#root = undefined
      else if (parent.children !== undefined) parent.children[this.#digit(bytes, level + 1)] = undefined
    }
  }

  /** The nodes from the leaf (index 0) up, made where they are missing. */
  #path(bytes: Uint8Array): Node[] {
    const path: Node[] = []
    const top = this.#levels - 1
    if (this.#root === 'full') this.#root = { full: ALL, children: undefined }
    this.#root ??= this.#fresh(top, bytes)
    let node = this.#root
    path[top] = node
    for (let level = top - 1; level >= 0; level--) {
      const digit = this.#digit(bytes, level + 1)
      node.children ??= []
      let child = node.children[digit]
      if (child === undefined) {
        const full = (node.full & bit(digit)) !== 0
        child = full ? { full: ALL, children: undefined } : this.#fresh(level, bytes)
        node.children[digit] = child
      }
      path[level] = child
      node = child
    }
    return path
  }

  /** A node with nothing taken: only what lies outside of the prefix, or is left out, counts as full. */
  #fresh(level: number, bytes: Uint8Array): Node {
    const bits = Math.min(DIGIT_BITS, this.#hostBits - level * DIGIT_BITS)
    let full = bits === DIGIT_BITS ? 0 : (ALL << (1 << bits)) >>> 0
    if (level === 0 && this.#avoidBuggy) {
      const base = (bytes.at(-1) ?? 0) & (ALL << bits)
      for (let i = 0; i < 1 << bits; i++) if (isBuggyOctet((base + i) & 0xff)) full = (full | bit(i)) >>> 0
    }
    return { full, children: undefined }
  }

  #digit(bytes: Uint8Array, level: number): number {
    const bits = Math.min(DIGIT_BITS, this.#hostBits - level * DIGIT_BITS)
    return readBits(bytes, level * DIGIT_BITS) & ((1 << bits) - 1)
  }
}

/** avoidBuggyIPs: some old equipment drops packets to addresses that end like a /24's network or broadcast address. */
export function isBuggyOctet(octet: number): boolean {
  return octet === 0 || octet === 255
}

function bit(digit: number): number {
  return (1 << digit) >>> 0
}

function lowestZero(mask: number): number {
  const inverted = ~mask >>> 0
  return inverted === 0 ? 32 : 31 - Math.clz32(inverted & -inverted)
}

/** The 5 to 16 bits from `position` (0: the lowest of the address) up. */
function readBits(bytes: Uint8Array, position: number): number {
  const index = bytes.length - 1 - (position >> 3)
  return (((bytes[index - 1] ?? 0) << 8) | (bytes[index] ?? 0)) >> (position & 7)
}

/** Writes a digit into bits that are zero. */
function setDigit(bytes: Uint8Array, level: number, digit: number): void {
  const position = level * DIGIT_BITS
  const index = bytes.length - 1 - (position >> 3)
  const value = digit << (position & 7)
  bytes[index] = (bytes[index] ?? 0) | (value & 0xff)
  if (value > 0xff && index > 0) bytes[index - 1] = (bytes[index - 1] ?? 0) | (value >> 8)
}
