import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { clone } from './objects.ts'
import { jsonPatch, mergePatch } from './patch.ts'

// RFC 7386 appendix A: original, patch, result.
const MERGE_CASES: readonly (readonly [unknown, unknown, unknown])[] = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [
    ['a', 'b'],
    ['c', 'd'],
    ['c', 'd'],
  ],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ a: 'foo' }, 'bar', 'bar'],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
]
test('merge patch, RFC 7386 appendix A', () => {
  for (const [original, patch, result] of MERGE_CASES) {
    assert.deepEqual(mergePatch(original, patch), result, JSON.stringify(patch))
  }
})

test('a merge patch leaves its target as it was', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (target, patch) => {
      const before = clone(target)
      mergePatch(target, patch)
      assert.deepEqual(target, before)
    }),
  )
})

test('a field named __proto__ is a field like any other', () => {
  const target: unknown = JSON.parse('{"__proto__": null, "a": {"__proto__": 1}}')
  const patch: unknown = JSON.parse('{"a": {"__proto__": {"b": 2}}}')
  assert.deepEqual(clone(target), target)
  assert.equal(JSON.stringify(mergePatch(target, patch)), '{"__proto__":null,"a":{"__proto__":{"b":2}}}')
})

// RFC 6902 appendix A: section, document, patch, result.
const JSON_CASES: readonly (readonly [string, unknown, unknown, unknown])[] = [
  ['A.1', { foo: 'bar' }, [{ op: 'add', path: '/baz', value: 'qux' }], { baz: 'qux', foo: 'bar' }],
  [
    'A.2',
    { foo: ['bar', 'baz'] },
    [{ op: 'add', path: '/foo/1', value: 'qux' }],
    { foo: ['bar', 'qux', 'baz'] },
  ],
  ['A.3', { baz: 'qux', foo: 'bar' }, [{ op: 'remove', path: '/baz' }], { foo: 'bar' }],
  ['A.4', { foo: ['bar', 'qux', 'baz'] }, [{ op: 'remove', path: '/foo/1' }], { foo: ['bar', 'baz'] }],
  ['A.5', { baz: 'qux' }, [{ op: 'replace', path: '/baz', value: 'boo' }], { baz: 'boo' }],
  [
    'A.6',
    { foo: { bar: 'baz', waldo: 'fred' }, qux: { corge: 'grault' } },
    [{ op: 'move', from: '/foo/waldo', path: '/qux/thud' }],
    { foo: { bar: 'baz' }, qux: { corge: 'grault', thud: 'fred' } },
  ],
  [
    'A.7',
    { foo: ['all', 'grass', 'cows', 'eat'] },
    [{ op: 'move', from: '/foo/1', path: '/foo/3' }],
    { foo: ['all', 'cows', 'eat', 'grass'] },
  ],
  [
    'A.8',
    { baz: 'qux', foo: ['a', 2, 'c'] },
    [
      { op: 'test', path: '/baz', value: 'qux' },
      { op: 'test', path: '/foo/1', value: 2 },
    ],
    { baz: 'qux', foo: ['a', 2, 'c'] },
  ],
  ['A.14', { '/': 9, '~1': 10 }, [{ op: 'test', path: '/~01', value: 10 }], { '/': 9, '~1': 10 }],
  [
    'A.16',
    { foo: ['bar'] },
    [{ op: 'add', path: '/foo/-', value: ['abc', 'def'] }],
    { foo: ['bar', ['abc', 'def']] },
  ],
]
test('JSON patch, RFC 6902 appendix A', () => {
  for (const [section, document, patch, result] of JSON_CASES) {
    assert.deepEqual(jsonPatch(document, patch), result, section)
  }
})

// The last two: A.12 (no parent) and A.9 (a test that fails).
for (const [why, patch, code] of [
  ['what is not an array', { op: 'add' }, 400],
  ['an unknown operation', [{ op: 'spam', path: '/a' }], 400],
  ['a path without a slash', [{ op: 'add', path: 'a', value: 1 }], 400],
  ['an index past the end', [{ op: 'add', path: '/l/5', value: 1 }], 422],
  ['removing what is not there', [{ op: 'remove', path: '/none' }], 422],
  ['adding below what is not there', [{ op: 'add', path: '/none/x', value: 1 }], 422],
  ['a test that fails', [{ op: 'test', path: '/a', value: 2 }], 422],
] as const) {
  test(`JSON patch refuses ${why}`, () => {
    assert.throws(() => jsonPatch({ a: 1, l: [] }, patch), { name: 'ApiError', code })
  })
}
