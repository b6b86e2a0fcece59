import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { parseFaultRequest, parseNodeRequest } from './lab.ts'

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

test('a fault has a name or a status, and may be for one user; none ends them', () => {
  assert.deepEqual(parseFaultRequest({ fault: 'hang', user: 'a' }), { fault: 'hang', user: 'a' })
  assert.deepEqual(parseFaultRequest({ fault: { status: 410, x: 1 } }), { fault: { status: 410 } })
  assert.deepEqual(parseFaultRequest({}), {})
})

for (const body of [
  null,
  'hang',
  { fault: 'fire' },
  { fault: { status: 200 } },
  { fault: null },
  { user: 1 },
]) {
  test(`${JSON.stringify(body)} is no fault`, () => assert.equal(parseFaultRequest(body), undefined))
}

test('whatever the body, the answer is a request or nothing', () => {
  fc.assert(
    fc.property(fc.anything(), body => {
      const request = parseNodeRequest(body)
      assert.ok(request === undefined || typeof request.node === 'string')
      parseFaultRequest(body)
    }),
  )
})
