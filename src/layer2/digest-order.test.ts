import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { DigestOrder, digestOrder, digestPrefix, nodeDigest } from './digest-order.ts'

/** Examples of FIPS 180-4's companion document, and the reference's check value. */
const KNOWN: readonly (readonly [string, string])[] = [
  ['', 'e3b0c44298'],
  ['abc', 'ba7816bf8f'],
  ['node1#192.168.1.240', 'bee60cd4c6'],
]
for (const [text, prefix] of KNOWN) {
  test(`SHA-256 of ${JSON.stringify(text)}`, () => {
    assert.equal(digestPrefix(text).toString(16).padStart(10, '0'), prefix)
  })
}

test('property: the first 40 bits are those of the library, for any text of any length', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.string({ unit: 'grapheme', maxLength: 70 }),
    fc.integer({ min: 50, max: 70 }).map(length => 'x'.repeat(length)),
  )
  fc.assert(
    fc.property(text, given => {
      const wanted = hash('sha256', given, 'hex').slice(0, 10)
      assert.equal(digestPrefix(given).toString(16).padStart(10, '0'), wanted)
    }),
    { numRuns: 500 },
  )
})

const byWholeDigest = (address: string, nodes: readonly string[]) =>
  [...nodes].sort((a, b) => (nodeDigest(a, address) < nodeDigest(b, address) ? -1 : 1))

test('L-7 hundreds of nodes are in the order of their whole digests, remembered or not', () => {
  const nodes = Array.from({ length: 500 }, (_, index) => `worker-${index}.example.com`)
  const order = new DigestOrder()
  for (const address of ['192.0.2.1', '2001:db8::1']) {
    const wanted = byWholeDigest(address, nodes)
    assert.deepEqual(digestOrder(address, nodes), wanted)
    for (let turn = 0; turn < 2; turn++) {
      assert.deepEqual(order.sort(address, new Set(nodes)), wanted)
      const some = new Set(nodes.filter((_, index) => index % 3 > 0))
      assert.deepEqual(
        order.sort(address, some),
        wanted.filter(node => some.has(node)),
      )
    }
  }
})

test('L-7 more nodes than are numbered are in order too', () => {
  const nodes = Array.from({ length: 8200 }, (_, index) => `n${index}`)
  assert.deepEqual(new DigestOrder().sort('192.0.2.1', new Set(nodes)), byWholeDigest('192.0.2.1', nodes))
})
