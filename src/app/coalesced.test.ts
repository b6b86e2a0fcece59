import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../ports/clock.ts'
import { Coalesced } from './coalesced.ts'

/** Lets the promises of a pass settle. */
const settled = () => new Promise<void>(resolve => setImmediate(resolve))

function never(error: unknown): void {
  throw error
}

test('a burst of requests is one pass, and it runs later than the request', async () => {
  const clock = new FakeClock()
  let passes = 0
  const coalesced = new Coalesced(clock, () => void passes++, { onError: never })
  for (let i = 0; i < 5; i++) coalesced.request()
  assert.equal(passes, 0)
  clock.advance(1)
  await settled()
  assert.equal(passes, 1)
  clock.advance(10_000)
  assert.equal(passes, 1)
})

test('requests during a pass are one more pass after it, never beside it', async () => {
  const clock = new FakeClock()
  const ends: (() => void)[] = []
  let running = 0
  const pass = async () => {
    assert.equal(++running, 1)
    await new Promise<void>(resolve => ends.push(resolve))
    running--
  }
  const coalesced = new Coalesced(clock, pass, { onError: never })
  coalesced.request()
  clock.advance(1)
  coalesced.request()
  coalesced.request()
  clock.advance(1000)
  assert.equal(ends.length, 1)
  ends[0]?.()
  await settled()
  clock.advance(1)
  assert.equal(ends.length, 2)
  ends[1]?.()
  await settled()
  clock.advance(1000)
  assert.equal(ends.length, 2)
})

test('a pass that fails is told and run again, each time after twice as long, at most a minute', async () => {
  const clock = new FakeClock()
  const [at, errors]: [number[], unknown[]] = [[], []]
  let failing = true
  const pass = () => {
    at.push(clock.now())
    if (failing) throw new Error('no')
  }
  const coalesced = new Coalesced(clock, pass, { retryAfterMs: 2000, onError: error => errors.push(error) })
  coalesced.request()
  clock.advance(0)
  await settled()
  for (let i = 0; i < 200; i++) {
    clock.advance(1000)
    await settled()
  }
  assert.deepEqual(
    at.slice(1).map((time, i) => time - (at[i] ?? 0)),
    [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000],
  )
  assert.equal(errors.length, at.length)
  failing = false
  for (let i = 0; i < 100; i++) {
    clock.advance(1000)
    await settled()
  }
  const passes = at.length
  failing = true
  coalesced.request()
  clock.advance(1)
  await settled()
  clock.advance(2000)
  assert.equal(at.length, passes + 2, 'after a success the delays begin anew')
})

test('after close nothing runs any more', async () => {
  const clock = new FakeClock()
  let passes = 0
  const coalesced = new Coalesced(clock, () => void passes++, { onError: never })
  coalesced.request()
  coalesced.close()
  clock.advance(1000)
  coalesced.request()
  clock.advance(1000)
  await settled()
  assert.equal(passes, 0)
})
