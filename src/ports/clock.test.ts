import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from './clock.ts'

test('the fake clock runs callbacks in the order of their time', () => {
  const clock = new FakeClock()
  const seen: string[] = []
  clock.after(20, () => seen.push(`b at ${clock.now()}`))
  clock.after(10, () => {
    seen.push(`a at ${clock.now()}`)
    clock.after(5, () => seen.push(`nested at ${clock.now()}`))
  })
  const cancel = clock.after(12, () => seen.push('cancelled'))
  cancel()
  clock.advance(30)
  assert.deepEqual(seen, ['a at 10', 'nested at 15', 'b at 20'])
  assert.equal(clock.now(), 30)
})
