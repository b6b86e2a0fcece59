import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatTable, quantile } from './frame.ts'

test('quantile is the nearest rank', () => {
  const values = [5, 1, 4, 2, 3]
  assert.equal(quantile(values, 0.5), 3)
  assert.equal(quantile(values, 0.99), 5)
  assert.equal(quantile(values, 1), 5)
  assert.equal(quantile([], 0.5), null)
})

test('the table names what is missing and gives ratios against lodestone', () => {
  const base = { case: 'link cut', unit: 'ms', n: 1, p99: 1, max: 1, values: [1] }
  const text = formatTable([
    { ...base, subject: 'lodestone', median: 100 },
    { ...base, subject: 'keepalived', median: 300 },
    { ...base, subject: 'frr', median: null, n: 0, values: [], missing: 'vtysh is not installed' },
  ])
  assert.match(text, /keepalived.*3\.00/)
  assert.match(text, /frr.*missing: vtysh is not installed/)
})
