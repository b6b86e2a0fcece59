import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createJitter, forgetArrival, observe } from './jitter.ts'

const INTERVAL = 20
const BASE = 80

/** Heartbeats that come so much later than their turn, one after the other; the patience at the end. */
function after(lateness: readonly number[], repeats = 1): number {
  const jitter = createJitter(BASE)
  let counter = 0
  for (let i = 0; i < repeats; i++) {
    for (const late of lateness) {
      counter++
      observe(jitter, counter, INTERVAL, BASE, counter * INTERVAL + late)
    }
  }
  return jitter.patienceMs
}

test('what timers and networks do usually changes nothing', () => {
  assert.equal(after([0, 1, 0.5, 3, 0, 0.2], 200), BASE)
  assert.equal(after([0, 14, 0, 0, 14, 2], 200), BASE)
})

test('what is late often or much raises the patience, never above ten times', () => {
  const raised = after([0, 40, 0, 0], 50)
  assert.ok(raised > BASE && raised < 250, String(raised))
  assert.ok(after([0, 100, 0, 0], 50) > raised)
  const jitter = createJitter(BASE)
  let now = 0
  for (let counter = 1; counter < 400; counter++) {
    // Each as late as is still no outage.
    now += INTERVAL + (counter % 2) * 1.7 * jitter.patienceMs
    observe(jitter, counter, INTERVAL, BASE, now)
  }
  assert.equal(jitter.patienceMs, 10 * BASE)
})

test('it comes down again, in steps', () => {
  const jitter = createJitter(BASE)
  let counter = 0
  const come = (late: number) => {
    counter++
    return observe(jitter, counter, INTERVAL, BASE, counter * INTERVAL + late)
  }
  come(0)
  assert.equal(come(70), true)
  const raised = jitter.patienceMs
  assert.ok(raised > BASE)
  let changes = 0
  for (let i = 0; i < 5000; i++) if (come(0)) changes++
  assert.equal(jitter.patienceMs, BASE)
  assert.ok(changes >= 1 && changes <= 5, `${changes} changes`)
})

test('lost heartbeats, an outage, and our own absence are no jitter', () => {
  const jitter = createJitter(BASE)
  observe(jitter, 1, INTERVAL, BASE, 20)
  observe(jitter, 4, INTERVAL, BASE, 80)
  observe(jitter, 5, INTERVAL, BASE, 5000)
  forgetArrival(jitter)
  observe(jitter, 6, INTERVAL, BASE, 5140)
  assert.equal(jitter.peakMs, 0)
  assert.equal(jitter.patienceMs, BASE)
})
