import assert from 'node:assert/strict'
import { test } from 'node:test'
import { duration } from './flags.ts'

test('durations in seconds, minutes and hours, not below the smallest', () => {
  const parse = duration(10_000)
  assert.equal(parse('10s'), 10_000)
  assert.equal(parse('15m'), 900_000)
  assert.equal(parse('2160h'), 90 * 86_400_000)
  for (const text of ['', '9s', '0h', '10', '1d', '-1h', '1.5h', '1h30m', ' 1h', '9999999999h']) {
    assert.throws(() => parse(text), /duration such as/, text)
  }
})

test('where nothing is allowed, nonsense still is not', () => {
  assert.equal(duration(0)('0s'), 0)
  assert.throws(() => duration(0)('never'), /duration such as/)
})
