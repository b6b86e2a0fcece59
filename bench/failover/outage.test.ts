import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Outage as ProbeOutage } from '../../src/lab/probe/analysis.ts'
import { outageOf } from './outage.ts'

const NODE2 = { pod: 'echo-node2', node: 'node2', client: '192.0.2.201' }
const outage = (
  fromMs: number,
  toMs: number,
  lost: number,
  more: Partial<ProbeOutage> = {},
): ProbeOutage => ({
  fromMs,
  toMs,
  durationMs: toMs - fromMs,
  lost,
  late: 0,
  stalledMs: 0,
  firstAnswerBy: NODE2,
  ...more,
})
const marks = [{ name: 'deed', atMs: 500 }]

test('the longest outage after the deed counts, and every lost probe', () => {
  const outages = [outage(100, 150, 50), outage(500, 800, 299), outage(900, 920, 19)]
  assert.deepEqual(outageOf({ outages, marks, lostSingles: 2 }), { ms: 300, lost: 320 })
})

test('nothing lost is an outage of zero', () => {
  assert.deepEqual(outageOf({ outages: [], marks, lostSingles: 0 }), { ms: 0, lost: 0 })
})

test('an outage that did not end is no measurement', () => {
  const outages = [outage(500, 800, 299, { firstAnswerBy: null })]
  assert.throws(() => outageOf({ outages, marks, lostSingles: 0 }), /no answer any more/)
})
