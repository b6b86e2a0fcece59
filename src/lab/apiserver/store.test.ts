import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ApiObject } from './objects.ts'
import { Store } from './store.ts'

const object = (name: string, value: number): ApiObject => ({
  apiVersion: 'v1',
  kind: 'Thing',
  metadata: { name, uid: name },
  spec: { value },
})
const names = (items: readonly { key: string }[]): string[] => items.map(item => item.key)

test('one counter for all kinds; the object carries its revision', () => {
  const store = new Store(100, 10)
  assert.equal(store.put('/a', 'x', object('x', 1)).revision, 101)
  const second = store.put('/b', 'y', object('y', 1))
  assert.equal(second.object.metadata.resourceVersion, '102')
  assert.equal(store.revision, 102)
})

test('a list as of a past revision', () => {
  const store = new Store(0, 10)
  store.put('/a', 'b', object('b', 1))
  store.put('/a', 'a', object('a', 1))
  store.put('/a', 'b', object('b', 2))
  store.remove('/a', 'a')
  store.put('/a', 'c', object('c', 1))
  const collection = store.collection('/a')
  assert.deepEqual(names(collection.all()), ['b', 'c'])
  assert.deepEqual(names(collection.allAt(2)), ['a', 'b'])
  assert.deepEqual(
    collection.allAt(2).map(stored => stored.object.spec?.['value']),
    [1, 1],
  )
  assert.deepEqual(names(collection.allAt(0)), [])
  assert.deepEqual(names(collection.allAt(3)), ['a', 'b'])
})

test('what is older than the window is 410, and the window is bounded', () => {
  const store = new Store(0, 10)
  for (let i = 1; i <= 200; i++) store.put('/a', 'x', object('x', i))
  const collection = store.collection('/a')
  assert.throws(() => collection.changesSince(1), { code: 410, reason: 'Expired' })
  assert.throws(() => collection.allAt(1), { code: 410 })
  assert.equal(collection.changesSince(195).length, 5)
  assert.deepEqual(
    collection.changesSince(198).map(change => change.revision),
    [199, 200],
  )
  collection.compact()
  assert.throws(() => collection.changesSince(199), { code: 410 })
  assert.deepEqual(collection.changesSince(200), [])
})

test('a removal is a change with a revision of its own', () => {
  const store = new Store(0, 10)
  store.put('/a', 'x', object('x', 1))
  const gone = store.remove('/a', 'x')
  assert.equal(gone?.object.metadata.resourceVersion, '2')
  assert.equal(store.remove('/a', 'x'), undefined)
  const [change] = store.collection('/a').changesSince(1)
  assert.equal(change?.after, undefined)
  assert.equal(change?.before?.revision, 1)
})

test('bytes are made once and shared', () => {
  const store = new Store(0, 10)
  const stored = store.put('/a', 'x', object('x', 1))
  let made = 0
  const convert = (o: ApiObject): ApiObject => {
    made++
    return o
  }
  assert.equal(stored.bytes('v1', convert), stored.bytes('v1', convert))
  assert.equal(made, 1)
  stored.bytes('v2', convert)
  assert.equal(made, 2)
})
