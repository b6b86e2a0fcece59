import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { decodeProtobuf, encodeField } from './protobuf.ts'

// What kubectl 1.33 sends for `kubectl create configmap c --from-literal=a=b`, written out by the numbers of generated.proto.
const wrapped = (apiVersion: string, kind: string, raw: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from('k8s\0'),
    encodeField(1, Buffer.concat([encodeField(1, apiVersion), encodeField(2, kind)])),
    encodeField(2, raw),
    encodeField(3, ''),
    encodeField(4, ''),
  ])
const METADATA = Buffer.concat([
  encodeField(1, 'c'),
  encodeField(2, ''),
  Buffer.from([0x38, 0x00]),
  encodeField(8, ''),
])

test('a ConfigMap: empty fields are absent', () => {
  const entry = Buffer.concat([encodeField(1, 'a'), encodeField(2, 'b')])
  const raw = Buffer.concat([encodeField(1, METADATA), encodeField(2, entry)])
  assert.deepEqual(decodeProtobuf(wrapped('v1', 'ConfigMap', raw)), {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'c' },
    data: { a: 'b' },
  })
})

test('the bytes of a Secret become base64', () => {
  const entry = Buffer.concat([encodeField(1, 'a'), encodeField(2, Buffer.from([0xff, 0]))])
  const object = decodeProtobuf(wrapped('v1', 'Secret', encodeField(2, entry)))
  assert.deepEqual(object['data'], { a: '/wA=' })
})

test('refuses unknown kinds and fields rather than lose them', () => {
  assert.throws(() => decodeProtobuf(wrapped('v1', 'Pod', Buffer.alloc(0))), { code: 415 })
  assert.throws(() => decodeProtobuf(wrapped('v1', 'ConfigMap', encodeField(99, 'x'))), { code: 415 })
  assert.throws(() => decodeProtobuf(Buffer.from('{}')), { code: 415 })
  assert.throws(() => decodeProtobuf(Buffer.from('k8s\0\x0a\x7f')), { code: 400 })
})

test('whatever the bytes, an object or an ApiError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), bytes => {
      for (const body of [
        Buffer.concat([Buffer.from('k8s\0'), bytes]),
        wrapped('v1', 'Service', Buffer.from(bytes)),
      ]) {
        try {
          assert.equal(typeof decodeProtobuf(body)['kind'], 'string')
        } catch (error) {
          assert.equal((error as Error).name, 'ApiError')
        }
      }
    }),
  )
})
