import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SystemClock } from './clock.ts'

const clock = new SystemClock()

test('a callback never comes before its time', async () => {
  for (const delayMs of [0.3, 1, 4.7]) {
    const start = clock.now()
    await new Promise<void>(resolve => clock.after(delayMs, resolve))
    assert.ok(clock.now() - start >= delayMs, `${clock.now() - start} ms for ${delayMs}`)
  }
})

test('no delay, or a negative one, calls back after the caller has returned', async () => {
  const order: string[] = []
  const done = new Promise<void>(resolve => {
    clock.after(-5, () => {
      order.push('callback')
      resolve()
    })
  })
  order.push('caller')
  await done
  assert.deepEqual(order, ['caller', 'callback'])
})

test('what was cancelled is not called, and cancelling twice is harmless', async () => {
  const called: string[] = []
  for (const [name, delayMs] of [
    ['at once', 0],
    ['soon', 1],
    ['in 100 days', 100 * 86_400_000],
    ['never', Number.POSITIVE_INFINITY],
  ] as const) {
    const cancel = clock.after(delayMs, () => called.push(name))
    cancel()
    cancel()
  }
  await new Promise<void>(resolve => clock.after(5, resolve))
  assert.deepEqual(called, [])
})

test('a delay longer than setTimeout takes does not fire at once', async () => {
  let fired = false
  const cancel = clock.after(2 ** 31 + 1000, () => {
    fired = true
  })
  await new Promise<void>(resolve => clock.after(5, resolve))
  cancel()
  assert.equal(fired, false)
})

test('the wall clock is that of the system', () => {
  const before = Date.now()
  const now = clock.wallNow()
  assert.ok(now >= before && now <= Date.now())
})
