import assert from 'node:assert/strict'
import { test } from 'node:test'
import { afterCheck, backOffSeconds, type Health, UNKNOWN } from './health.ts'
import type { ProbeSpec } from './resources.ts'

function run(results: string, spec: ProbeSpec): (boolean | undefined)[] {
  const seen: (boolean | undefined)[] = []
  let health: Health = UNKNOWN
  for (const result of results) {
    health = afterCheck(health, result === '+', spec)
    seen.push(health.healthy)
  }
  return seen
}

test('by default one success makes healthy and three failures in a row make unhealthy', () => {
  assert.deepEqual(run('-+--+---', {}), [undefined, true, true, true, true, true, true, false])
})

test('thresholds are counted in a row', () => {
  assert.deepEqual(run('+-++-', { successThreshold: 2, failureThreshold: 1 }), [
    undefined,
    false,
    false,
    true,
    false,
  ])
})

test('the first restart is at once, then the pause doubles up to five minutes', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 60].map(backOffSeconds), [0, 10, 20, 40, 80, 160, 300, 300])
})
