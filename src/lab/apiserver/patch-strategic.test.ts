import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEPLOYMENT } from './kinds/workloads.ts'
import { clone } from './objects.ts'
import { strategicMergePatch } from './patch-strategic.ts'

const pod = (containers: unknown[], extra: object = {}): object => ({
  spec: { template: { spec: { containers, ...extra } } },
})
const patched = (target: object, patch: object): unknown => {
  const before = clone(target)
  const result = strategicMergePatch(target, patch, DEPLOYMENT.schema)
  assert.deepEqual(target, before, 'the target is not changed')
  return result
}
const A = { name: 'a', image: 'a:1', env: [{ name: 'X', value: '1' }] }
const B = { name: 'b', image: 'b:1' }

test('a list with a merge key is merged by it', () => {
  assert.deepEqual(
    patched(pod([A, B]), pod([{ name: 'b', image: 'b:2' }])),
    pod([A, { name: 'b', image: 'b:2' }]),
  )
  assert.deepEqual(patched(pod([A]), pod([B])), pod([A, B]))
})

test('keys nest', () => {
  assert.deepEqual(
    patched(pod([A]), pod([{ name: 'a', env: [{ name: 'Y', value: '2' }] }])),
    pod([
      {
        ...A,
        env: [
          { name: 'X', value: '1' },
          { name: 'Y', value: '2' },
        ],
      },
    ]),
  )
})

test('null removes a field; a list without a key is replaced', () => {
  assert.deepEqual(patched(pod([A]), pod([{ name: 'a', env: null }])), pod([{ name: 'a', image: 'a:1' }]))
  assert.deepEqual(
    patched(pod([{ ...B, command: ['x', 'y'] }]), pod([{ name: 'b', command: ['z'] }])),
    pod([{ ...B, command: ['z'] }]),
  )
})

test('$patch: delete takes an element or a field out, replace takes the rest away', () => {
  assert.deepEqual(patched(pod([A, B]), pod([{ $patch: 'delete', name: 'a' }])), pod([B]))
  assert.deepEqual(
    patched(pod([A, B]), pod([{ $patch: 'replace' }, { name: 'c', image: 'c:1' }])),
    pod([{ name: 'c', image: 'c:1' }]),
  )
  assert.deepEqual(
    patched({ spec: { strategy: { type: 'x' }, replicas: 1 } }, { spec: { strategy: { $patch: 'delete' } } }),
    {
      spec: { replicas: 1 },
    },
  )
  assert.deepEqual(
    patched(
      { spec: { selector: { matchLabels: { a: 'b' } } } },
      { spec: { selector: { $patch: 'replace', matchLabels: { c: 'd' } } } },
    ),
    { spec: { selector: { matchLabels: { c: 'd' } } } },
  )
})

test('$setElementOrder puts elements in order, others after what they followed', () => {
  const patch = {
    spec: { template: { spec: { '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }] } } },
  }
  const c = { name: 'c', image: 'c:1' }
  assert.deepEqual(patched(pod([A, c, B]), patch), pod([B, A, c]))
})

test('$retainKeys clears the other members of a union', () => {
  const target = { spec: { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } } } }
  const patch = { spec: { strategy: { $retainKeys: ['type'], type: 'Recreate' } } }
  assert.deepEqual(patched(target, patch), { spec: { strategy: { type: 'Recreate' } } })
})

test('plain values are merged as a set, and taken out by $deleteFromPrimitiveList', () => {
  const target = { metadata: { finalizers: ['a/x', 'a/y'] } }
  assert.deepEqual(patched(target, { metadata: { finalizers: ['a/y', 'a/z'] } }), {
    metadata: { finalizers: ['a/x', 'a/y', 'a/z'] },
  })
  assert.deepEqual(patched(target, { metadata: { '$deleteFromPrimitiveList/finalizers': ['a/x'] } }), {
    metadata: { finalizers: ['a/y'] },
  })
})

test('refuses an unknown directive and an element without its key', () => {
  assert.throws(() => patched(pod([A]), { spec: { $patch: 'explode' } }), { code: 400 })
  assert.throws(() => patched(pod([A]), pod([{ image: 'x' }])), { code: 400 })
})
