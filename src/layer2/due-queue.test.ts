import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Due, DueQueue } from './due-queue.ts'

test('the first that was not dropped is in front, as in an array that is searched', () => {
  const actions = fc.array(fc.oneof(fc.constant('push'), fc.constant('take'), fc.nat({ max: 3000 })), {
    maxLength: 200,
  })
  fc.assert(
    fc.property(fc.nat({ max: 3000 }), actions, (count, each) => {
      const queue = new DueQueue<Due>()
      const model: Due[] = []
      const push = () => {
        const entry = { at: model.length, dropped: false }
        model.push(entry)
        queue.push(entry)
      }
      for (let i = 0; i < count; i++) push()
      for (const action of each) {
        const target = action === 'take' ? queue.first() : action === 'push' ? undefined : model[action]
        if (action === 'push') push()
        else if (target !== undefined) target.dropped = true
        assert.equal(
          queue.first(),
          model.find(entry => !entry.dropped),
        )
      }
      queue.clear()
      assert.equal(queue.first(), undefined)
    }),
    { numRuns: 50 },
  )
})

test('what was taken does not stay in memory', () => {
  const queue = new DueQueue<Due & { readonly ref: object }>()
  let taken = 0
  for (let i = 0; i < 10_000; i++) {
    queue.push({ at: i, dropped: false, ref: {} })
    const first = queue.first()
    assert.ok(first !== undefined)
    assert.equal(first.at, i)
    first.dropped = true
    taken++
  }
  assert.equal(taken, 10_000)
  assert.equal(queue.first(), undefined)
})
