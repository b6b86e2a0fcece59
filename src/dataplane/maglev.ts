import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'

/** Somebody who gets a share of the slots. */
export type Backend = {
  /** Unique; decides, alone, which slots the backend prefers. */
  readonly name: string
  /** Share in relation to the others: a positive integer, at most {@link WEIGHT_MAX}. */
  readonly weight: number
}

export const WEIGHT_MAX = 1_000_000

/**
 * Sizes of tables: primes, as in the paper. With at most `backendsMax` backends, no more than one slot in a hundred moves between those
 * that stay when one leaves.
 */
export const TABLE_SIZES = [
  { size: 1009, backendsMax: 2 },
  { size: 3001, backendsMax: 3 },
  { size: 10_007, backendsMax: 10 },
  { size: 30_011, backendsMax: 25 },
  { size: 65_537, backendsMax: 200 },
] as const
export type TableSize = (typeof TABLE_SIZES)[number]['size']

/**
 * Of a table whose owner names no size. It does not follow the number of backends by itself: a table of another size sends every flow
 * elsewhere, and a rolling update would go back and forth over any threshold.
 */
export const DEFAULT_TABLE_SIZE: TableSize = 10_007

/** The smallest size that moves at most one slot in a hundred without need, for so many backends; the largest there is beyond 200. */
export function recommendedTableSize(backends: number): TableSize {
  return TABLE_SIZES.find(({ backendsMax }) => backends <= backendsMax)?.size ?? 65_537
}

/** In the order whose indexes a table holds. */
export function sortedBackends(backends: readonly Backend[]): Backend[] {
  return [...backends].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

/**
 * A Maglev table (Eisenbud et al., "Maglev", NSDI 2016, section 3.4): for each slot the index of its backend in the order of
 * {@link sortedBackends}. Backends take turns, each takes the next free slot of a permutation of its own; one with half the weight of the
 * heaviest misses every second turn. The same for every order of `backends`; empty where there is none.
 *
 * The permutations are shuffles, not the paper's `offset + i * skip`: with few backends, two of those run alongside each other often
 * enough to move a quarter of a small table when a third backend leaves.
 */
export function maglevTable(backends: readonly Backend[], size: TableSize): Uint16Array {
  return new MaglevBuilder(backends, size).without()
}

/** Several tables from the same backends, for the price of one set of permutations. */
export class MaglevBuilder {
  readonly backends: readonly Backend[]
  readonly #size: TableSize
  readonly #permutations: readonly Uint32Array[]

  constructor(backends: readonly Backend[], size: TableSize) {
    this.backends = sortedBackends(backends)
    for (const [index, { name, weight }] of this.backends.entries()) {
      assert(Number.isInteger(weight) && weight > 0 && weight <= WEIGHT_MAX, `weight ${weight} of ${name}`)
      assert(name !== this.backends[index - 1]?.name, `${name} twice`)
    }
    assert(this.backends.length <= size, `${this.backends.length} backends for ${size} slots`)
    this.#size = size
    this.#permutations = this.backends.map(({ name }) => permutation(name, size))
  }

  /** The table as if the backends with these indexes were not there; the indexes of the others stay. Empty where nobody is left. */
  without(...left: readonly number[]): Uint16Array {
    const turns = this.backends
      .map(({ weight }, index) => ({ index, weight, credit: 0, at: 0 }))
      .filter(({ index }) => !left.includes(index))
    if (turns.length === 0) return new Uint16Array(0)
    const heaviest = Math.max(...turns.map(({ weight }) => weight))
    const table = new Uint16Array(this.#size).fill(FREE)
    for (let taken = 0; ; ) {
      for (const turn of turns) {
        turn.credit += turn.weight
        if (turn.credit < heaviest) continue
        turn.credit -= heaviest
        const preferred = this.#permutations[turn.index] ?? new Uint32Array()
        let slot = preferred[turn.at++] ?? 0
        while (table[slot] !== FREE) slot = preferred[turn.at++] ?? 0
        table[slot] = turn.index
        if (++taken === this.#size) return table
      }
    }
  }
}

const FREE = 0xffff

/** The slots in an order that follows from the name alone (Fisher-Yates). */
function permutation(name: string, size: number): Uint32Array {
  const random = generator(createHash('sha256').update(name).digest().readUInt32BE(0))
  const slots = new Uint32Array(size)
  for (let i = 1; i < size; i++) {
    const j = random() % (i + 1)
    slots[i] = slots[j] ?? 0
    slots[j] = i
  }
  return slots
}

/** Numbers of 32 bits: a Weyl sequence through the finalizer of MurmurHash3. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x9e3779b9) >>> 0
    let x = state
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
    return (x ^ (x >>> 16)) >>> 0
  }
}
