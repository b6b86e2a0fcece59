import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { chooseVoters, majorityOf, reachedBy } from './voters.ts'

const NODES = ['node1', 'node2', 'node3', 'node4', 'node5']

test('voters in the order of sha256sum, whatever the order of the names', () => {
  // for n in 1 2 3 4 5; do printf node$n | sha256sum; done | sort
  const byHash = ['node2', 'node5', 'node3', 'node1', 'node4']
  assert.deepEqual(chooseVoters(NODES, 7), byHash)
  assert.deepEqual(chooseVoters(NODES.toReversed(), 3), byHash.slice(0, 3))
})

test('a node that comes or goes changes at most one voter', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 20 }), names => {
      const all = chooseVoters(names, 7)
      const fewer = chooseVoters(names.slice(1), 7)
      assert.ok(all.filter(name => !fewer.includes(name)).length <= 1)
      assert.ok(fewer.filter(name => !all.includes(name)).length <= 1)
    }),
  )
})

test('two majorities of the same voters, and of the voters with one less, share a voter', () => {
  for (let n = 1; n <= 9; n++) {
    assert.ok(2 * majorityOf(n) > n)
    assert.ok(majorityOf(n) + majorityOf(n + 1) > n + 1)
  }
})

test('the value that so many reach is that of a sorted list', () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { maxLength: 9 }), fc.integer({ min: 1, max: 9 }), (values, rank) => {
      const sorted = [...values].sort((a, b) => b - a)
      assert.equal(reachedBy(values, rank), sorted[rank - 1] ?? Number.NEGATIVE_INFINITY)
    }),
  )
  assert.equal(reachedBy([Number.POSITIVE_INFINITY, 3], 1), Number.POSITIVE_INFINITY)
})
