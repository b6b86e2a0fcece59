import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseNodeRequest } from './lab.ts'

test('a request names a node, and may name a way', () => {
  assert.deepEqual(parseNodeRequest({ node: 'node1', how: 'drain', more: 1 }), {
    node: 'node1',
    how: 'drain',
  })
  assert.deepEqual(parseNodeRequest({ node: 'node1' }), { node: 'node1' })
})

for (const body of [undefined, null, 'node1', [], {}, { node: 1 }, { node: 'node1', how: 'fire' }]) {
  test(`${JSON.stringify(body)} is no request`, () => assert.equal(parseNodeRequest(body), undefined))
}

test('whatever the body, the answer is a request or nothing', () => {
  fc.assert(
    fc.property(fc.anything(), body => {
      const request = parseNodeRequest(body)
      assert.ok(request === undefined || typeof request.node === 'string')
    }),
  )
})
