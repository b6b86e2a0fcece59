import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { applyDefaults, prune, type Schema, validate } from './schema.ts'

const SCHEMA: Schema = {
  type: 'object',
  required: ['spec'],
  properties: {
    spec: {
      type: 'object',
      required: ['size'],
      properties: {
        size: { type: 'integer', minimum: 1, maximum: 10 },
        ratio: { type: 'number', minimum: 0, exclusiveMinimum: true },
        color: { type: 'string', enum: ['red', 'blue'], default: 'red' },
        name: { type: 'string', pattern: '^[a-z]+$', maxLength: 5 },
        port: { 'x-kubernetes-int-or-string': true, anyOf: [{ type: 'integer' }, { type: 'string' }] },
        maybe: { type: 'string', nullable: true },
        since: { type: 'string', format: 'date-time' },
        tags: { type: 'array', items: { type: 'string' }, 'x-kubernetes-list-type': 'set', maxItems: 3 },
        items: {
          type: 'array',
          items: {
            type: 'object',
            properties: { key: { type: 'string' }, n: { type: 'integer', default: 5 } },
          },
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['key'],
        },
        labels: { type: 'object', additionalProperties: { type: 'string' } },
        free: {
          type: 'object',
          'x-kubernetes-preserve-unknown-fields': true,
          properties: { known: { type: 'integer' } },
        },
        nested: { type: 'object', default: {}, properties: { deep: { type: 'integer', default: 3 } } },
      },
    },
  },
}

for (const [name, spec, fields] of [
  ['a good one', { size: 3, color: 'blue', port: 'http', maybe: null, since: '2026-01-01T00:00:00.5Z' }, []],
  ['a missing field', {}, ['spec.size']],
  ['a wrong type', { size: 'x' }, ['spec.size']],
  ['a fraction for an integer', { size: 1.5 }, ['spec.size']],
  ['too small', { size: 0 }, ['spec.size']],
  ['an exclusive bound', { size: 1, ratio: 0 }, ['spec.ratio']],
  ['not of the enum', { size: 1, color: 'green' }, ['spec.color']],
  ['a pattern and a length', { size: 1, name: 'ABCDEFG' }, ['spec.name', 'spec.name']],
  ['null where it is not allowed', { size: 1, name: null }, ['spec.name']],
  ['neither integer nor string', { size: 1, port: true }, ['spec.port']],
  ['no time', { size: 1, since: 'today' }, ['spec.since']],
  ['a duplicate in a set', { size: 1, tags: ['a', 'a'] }, ['spec.tags[1]']],
  ['too many', { size: 1, tags: ['a', 'b', 'c', 'd'] }, ['spec.tags']],
  ['a duplicate key', { size: 1, items: [{ key: 'a' }, { key: 'a' }] }, ['spec.items[1]']],
  ['a wrong value of a map', { size: 1, labels: { a: 1 } }, ['spec.labels.a']],
  ['a known field of a free object', { size: 1, free: { known: 'x', other: 'y' } }, ['spec.free.known']],
] as const) {
  test(`schema: ${name}`, () => {
    assert.deepEqual(
      validate({ spec }, SCHEMA, '').map(cause => cause.field),
      fields,
    )
  })
}

test('oneOf, anyOf, allOf, not', () => {
  const one: Schema = { oneOf: [{ required: ['a'] }, { required: ['b'] }] }
  assert.equal(validate({ a: 1 }, one, 'x').length, 0)
  assert.equal(validate({ a: 1, b: 1 }, one, 'x').length, 1)
  assert.equal(validate({}, { anyOf: [{ required: ['a'] }, { required: ['b'] }] }, 'x').length, 1)
  assert.equal(validate({ a: 1 }, { allOf: [{ required: ['a'] }, { required: ['b'] }] }, 'x').length, 1)
  assert.equal(validate({ a: 1 }, { not: { required: ['a'] } }, 'x').length, 1)
})

test('pruning takes out what the schema does not know and says where', () => {
  const object = {
    apiVersion: 'v1',
    kind: 'K',
    spec: { size: 1, bogus: 1, labels: { any: 'x' }, free: { other: 1 }, items: [{ key: 'a', extra: 2 }] },
    extra: true,
  }
  const unknown: string[] = []
  prune(object, SCHEMA, '', path => unknown.push(path))
  assert.deepEqual(unknown.sort(), ['extra', 'spec.bogus', 'spec.items[0].extra'])
  assert.deepEqual(object, {
    apiVersion: 'v1',
    kind: 'K',
    spec: { size: 1, labels: { any: 'x' }, free: { other: 1 }, items: [{ key: 'a' }] },
  })
})

test('defaults fill what is absent, in depth, and are not shared between objects', () => {
  const first = { spec: { size: 1, color: null, items: [{ key: 'a' }] } }
  applyDefaults(first, SCHEMA)
  assert.deepEqual(first, {
    spec: { size: 1, color: 'red', items: [{ key: 'a', n: 5 }], nested: { deep: 3 } },
  })
  const second = { spec: { size: 2 } } as { spec: { size: number; nested?: { deep: number } } }
  applyDefaults(second, SCHEMA)
  assert.notEqual(second.spec.nested, (first.spec as { nested?: object }).nested)
})

test('whatever comes, validation, pruning and defaults do not throw, and pruning leaves nothing to prune', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (spec, extra) => {
      const object = { spec, extra }
      validate(object, SCHEMA, '')
      applyDefaults(object, SCHEMA)
      prune(object, SCHEMA, '', () => undefined)
      prune(object, SCHEMA, '', path => assert.fail(path))
    }),
  )
})
