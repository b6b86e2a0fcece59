import { hash } from 'node:crypto'
import { compareText } from '../config/selectors.ts'

/** How many addresses keep their order; at 500 nodes each costs about 1 kB. */
const ADDRESSES_MAX = 65_536

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
  readonly #orders = new Map<string, Uint32Array>()
  readonly #addressesMax: number

  constructor(addressesMax: number = ADDRESSES_MAX) {
    this.#addressesMax = addressesMax
  }

  /** These nodes in order for the address. Names are taken once however often they are given. */
  sort(address: string, nodes: ReadonlySet<string>): string[] {
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

  #order(address: string): Uint32Array {
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

  #sortAll(address: string): Uint32Array {
    const digests = this.#names.map(name => nodeDigest(name, address))
    const indexes = Uint32Array.from(this.#names.keys())
    return indexes.sort((a, b) => compareText(digests[a] ?? '', digests[b] ?? ''))
  }

  #insert(address: string, known: Uint32Array): Uint32Array {
    const order = [...known]
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
    return Uint32Array.from(order)
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
  return [...new Set(nodes)]
    .map(name => ({ name, digest: nodeDigest(name, address) }))
    .sort((a, b) => compareText(a.digest, b.digest) || compareText(a.name, b.name))
    .map(({ name }) => name)
}
