import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Sleeper, Timers } from './timers.ts'

test('everybody is woken once, at the earliest of its times, in order', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(20), fc.nat(1000))), wishes => {
      const timers = new Timers<Sleeper & { readonly name: number }>()
      const sleepers = Array.from({ length: 21 }, (_, name) => ({ name, wakeAt: Number.POSITIVE_INFINITY }))
      const wanted = new Map<number, number>()
      for (const [name, at] of wishes) {
        const sleeper = sleepers[name]
        assert.ok(sleeper !== undefined)
        timers.wakeBy(sleeper, at)
        wanted.set(name, Math.min(at, wanted.get(name) ?? at))
      }
      const woken: [number, number][] = []
      while (timers.due < Number.POSITIVE_INFINITY) {
        const at = timers.due
        assert.equal(timers.take(at - 1), undefined, 'nobody too early')
        const sleeper = timers.take(at)
        assert.ok(sleeper !== undefined)
        woken.push([sleeper.name, at])
      }
      assert.deepEqual(
        woken.map(([, at]) => at),
        woken.map(([, at]) => at).sort((a, b) => a - b),
      )
      assert.deepEqual(new Map(woken), wanted)
      assert.equal(woken.length, wanted.size)
    }),
  )
})

test('one that is woken may be told to wake again', () => {
  const timers = new Timers()
  const sleeper = { wakeAt: Number.POSITIVE_INFINITY }
  timers.wakeBy(sleeper, 5)
  assert.equal(timers.take(5), sleeper)
  timers.wakeBy(sleeper, 9)
  assert.equal(timers.due, 9)
})
