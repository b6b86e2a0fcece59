import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import {
  type Backend,
  MaglevBuilder,
  maglevTable,
  recommendedTableSize,
  sortedBackends,
  TABLE_SIZES,
  type TableSize,
} from './maglev.ts'

const equal = (count: number, cluster = ''): Backend[] =>
  Array.from({ length: count }, (_, i) => ({ name: `${cluster}node-${i}`, weight: 1 }))

/** Slots of each backend, in the order of names. */
function counts(table: Uint16Array, backends: number): number[] {
  const slots: number[] = Array.from({ length: backends }, () => 0)
  for (const index of table) slots[index] = (slots[index] ?? 0) + 1
  return slots
}

/** Of the slots of those that stay, the share of all slots that moved when the backend with this index left. */
function movedBeyondNeed(backends: readonly Backend[], size: TableSize, left: number): number {
  const names = sortedBackends(backends).map(({ name }) => name)
  const before = maglevTable(backends, size)
  const rest = names.filter((_, index) => index !== left)
  const after = maglevTable(
    backends.filter(({ name }) => name !== names[left]),
    size,
  )
  let moved = 0
  for (const [slot, index] of before.entries()) {
    if (index !== left && rest[after[slot] ?? 0] !== names[index]) moved++
  }
  return moved / size
}

test('the recommended size follows the number of backends', () => {
  assert.deepEqual(
    [0, 1, 2, 3, 4, 10, 11, 25, 26, 20_000].map(recommendedTableSize),
    [1009, 1009, 1009, 3001, 10_007, 10_007, 30_011, 30_011, 65_537, 65_537],
  )
  for (const { size } of TABLE_SIZES) {
    for (let divisor = 2; divisor * divisor <= size; divisor++) assert.notEqual(size % divisor, 0)
  }
})

test('nobody gets an empty table, one gets all', () => {
  assert.equal(maglevTable([], 1009).length, 0)
  assert.deepEqual(counts(maglevTable(equal(1), 1009), 1), [1009])
})

test('refuses what would not end or not be fair', () => {
  for (const weight of [0, -1, 1.5, Number.NaN, 1_000_001]) {
    assert.throws(() => maglevTable([{ name: 'a', weight }], 1009), /weight/)
  }
  assert.throws(() => maglevTable([...equal(2), ...equal(1)], 1009), /twice/)
})

// What a table holds must not change from one release to the next: nodes of both run side by side during an upgrade.
test('the table of three nodes, written down', () => {
  const table = maglevTable(equal(3), 3001)
  assert.equal(Array.from(table.subarray(0, 40)).join(''), '0002201112120222211110202001002220100012')
  assert.deepEqual(counts(table, 3), [1001, 1000, 1000])
})

// [backends, clusters tried]: the largest number of each size is the hardest for it.
for (const [backends, clusters] of [
  [2, 20],
  [3, 30],
  [4, 6],
  [5, 6],
  [10, 4],
  [11, 2],
  [25, 1],
  [50, 1],
] as const) {
  const size = recommendedTableSize(backends)
  test(`at most one slot in a hundred moves beyond need: ${backends} backends, ${size} slots`, () => {
    for (let cluster = 0; cluster < clusters; cluster++) {
      const names = equal(backends, `c${cluster}-`)
      const uneven = names.map((backend, i) => ({ ...backend, weight: 1 + ((i * 7 + cluster) % 5) }))
      for (const set of [names, uneven]) {
        for (let left = 0; left < Math.min(backends, 3); left++) {
          const moved = movedBeyondNeed(set, size, left)
          assert.ok(moved <= 0.01, `cluster ${cluster}, ${left} left: ${(moved * 100).toFixed(2)} % moved`)
        }
      }
    }
  })
}

const arbitraryBackends = fc.uniqueArray(
  fc.record(
    { name: fc.string({ minLength: 1, maxLength: 12 }), weight: fc.integer({ min: 1, max: 50 }) },
    { noNullPrototype: true },
  ),
  { selector: ({ name }) => name, minLength: 1, maxLength: 10 },
)

test('the order of the backends does not matter', () => {
  fc.assert(
    fc.property(arbitraryBackends, fc.nat(), (backends, turn) => {
      const at = turn % backends.length
      const turned = [...backends.slice(at), ...backends.slice(0, at)].toReversed()
      assert.deepEqual(maglevTable(turned, 1009), maglevTable(backends, 1009))
    }),
    { numRuns: 30 },
  )
})

test('every backend has its share of the slots, within one turn', () => {
  fc.assert(
    fc.property(arbitraryBackends, backends => {
      const total = backends.reduce((sum, { weight }) => sum + weight, 0)
      const slots = counts(maglevTable(backends, 10_007), backends.length)
      for (const [index, { name, weight }] of sortedBackends(backends).entries()) {
        const share = (slots[index] ?? 0) / 10_007
        assert.ok(Math.abs(share - weight / total) < 0.001, `${name}: ${share}, not ${weight / total}`)
      }
    }),
    { numRuns: 30 },
  )
})

test('the table without one is the table of the others', () => {
  fc.assert(
    fc.property(arbitraryBackends, fc.nat(), (backends, number) => {
      const builder = new MaglevBuilder(backends, 1009)
      const left = number % backends.length
      const names = builder.backends.map(({ name }) => name)
      const rest = names.filter((_, index) => index !== left)
      const alone = maglevTable(
        backends.filter(({ name }) => name !== names[left]),
        1009,
      )
      assert.deepEqual(
        Array.from(builder.without(left), index => names[index]),
        Array.from(alone, index => rest[index]),
      )
    }),
    { numRuns: 30 },
  )
})
