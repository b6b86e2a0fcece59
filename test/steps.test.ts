import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countSteps } from './steps.ts'

const COUNT = 1000
const list = Array.from({ length: COUNT }, (_, i) => i)
const set = new Set(list)
const map = new Map(list.map(i => [String(i), i]))
const record = Object.fromEntries(map)

/** Every way to walk through all of something that is likely to be written. */
const WAYS: readonly (readonly [string, () => unknown])[] = [
  [
    'for of a Map',
    () => {
      for (const _ of map) void 0
    },
  ],
  [
    'for of the keys of a Map',
    () => {
      for (const _ of map.keys()) void 0
    },
  ],
  ['a copied Map', () => new Map(map)],
  ['a copied Set', () => new Set(set)],
  ['a spread Map', () => [...map]],
  ['a spread Set', () => [...set]],
  ['a spread array', () => [...list]],
  ['spread arguments', () => Math.max(...list)],
  ['Array.from', () => Array.from(set)],
  ['forEach of a Set', () => set.forEach(() => {})],
  ['map', () => list.map(i => i)],
  ['a sort that is given sorted numbers', () => list.sort((a, b) => a - b)],
  ['indexOf', () => list.indexOf(-1)],
  ['Object.entries', () => Object.entries(record)],
  ['JSON.stringify', () => JSON.stringify(list)],
]

for (const [name, walk] of WAYS) {
  test(`steps are counted: ${name}`, async () => {
    const steps = await countSteps(walk)
    assert.ok(steps >= COUNT, `${steps}`)
  })
}

test('asking for one of many is no walk, and after the count the built-ins are as before', async () => {
  const { next } = Object.getPrototypeOf(new Map().values()) as { next: unknown }
  const steps = await countSteps(() => {
    map.get('7')
    set.has(7)
    const [first] = set
    set.delete(first ?? 0)
    set.add(first ?? 0)
  })
  assert.ok(steps > 0 && steps < 5, `${steps}`)
  assert.equal((Object.getPrototypeOf(new Map().values()) as { next: unknown }).next, next)
  await assert.rejects(
    countSteps(() => Promise.reject(new Error('no'))),
    /no/,
  )
  assert.equal((Object.getPrototypeOf(new Map().values()) as { next: unknown }).next, next)
})
