import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { analyse, longestOutageMs, type Observation, outagesAfterMark, type Sample } from './analysis.ts'

const N1 = { pod: 'a', node: 'n1', client: '192.0.2.9' }
const N2 = { pod: 'b', node: 'n2', client: '192.0.2.9' }

/** One probe each millisecond; `fate` says for each: round trip in ms (by which answerer), or undefined when lost. */
function observe(
  count: number,
  fate: (i: number) => { tookMs: number; by: number } | undefined,
  rest: Partial<Observation> = {},
): Observation {
  const samples: Sample[] = []
  for (let i = 0; i < count; i++) {
    const f = fate(i)
    samples.push({
      plannedMs: i,
      sentMs: i,
      answeredMs: f === undefined ? undefined : i + f.tookMs,
      answerer: f?.by,
    })
  }
  return {
    intervalMs: 1,
    flows: 32,
    lateAfterMs: 100,
    answerers: [N1, N2],
    stalls: [],
    marks: [],
    ...rest,
    samples,
  }
}

const GOOD = { tookMs: 0.25, by: 0 }
const GOOD_2 = { tookMs: 0.25, by: 1 }

test('an outage lasts from the first lost probe to the first answer after it', () => {
  const found = analyse(
    observe(1000, i => (i < 300 ? GOOD : i < 450 ? undefined : GOOD_2), {
      marks: [
        { name: 'kill n1', atMs: 299 },
        { name: 'revive n1', atMs: 700 },
      ],
    }),
  )
  assert.deepEqual(found.outages, [
    { fromMs: 300, toMs: 450.25, durationMs: 150.25, lost: 150, late: 0, stalledMs: 0, firstAnswerBy: N2 },
  ])
  assert.equal(found.lost, 150)
  assert.equal(found.lostSingles, 0)
  assert.equal(outagesAfterMark(found, 'kill n1').length, 1)
  assert.equal(outagesAfterMark(found, 'revive n1').length, 0)
  assert.equal(outagesAfterMark(found, 'never').length, 0)
  assert.equal(longestOutageMs(found.outages), 150.25)
  assert.deepEqual(found.timeline, [
    { fromMs: 0, toMs: 300, sent: 300, lost: 0, nodes: { n1: 300 }, clients: { '192.0.2.9': 300 } },
    { fromMs: 300, toMs: 450, sent: 150, lost: 150, nodes: {}, clients: {} },
    { fromMs: 450, toMs: 1000, sent: 550, lost: 0, nodes: { n2: 550 }, clients: { '192.0.2.9': 550 } },
  ])
  assert.deepEqual(found.sections, [
    { mark: null, fromMs: 0, toMs: 299, sent: 299, lost: 0, late: 0 },
    { mark: 'kill n1', fromMs: 299, toMs: 700, sent: 401, lost: 150, late: 0 },
    { mark: 'revive n1', fromMs: 700, toMs: 999, sent: 300, lost: 0, late: 0 },
  ])
  assert.deepEqual(found.answerers, [
    { ...N1, answers: 300 },
    { ...N2, answers: 550 },
  ])
})

test('a single lost probe is no outage', () => {
  const found = analyse(observe(100, i => (i === 50 ? undefined : GOOD)))
  assert.deepEqual(found.outages, [])
  assert.equal(found.lostSingles, 1)
})

test('without any answer afterwards the outage stays open until the last probe', () => {
  const found = analyse(observe(100, i => (i < 40 ? GOOD : undefined)))
  assert.deepEqual(found.outages, [
    { fromMs: 40, toMs: 99, durationMs: 59, lost: 60, late: 0, stalledMs: 0, firstAnswerBy: null },
  ])
})

test('probes that waited in a buffer until the end of the outage count as late', () => {
  // The server slept from 200 to 700: its socket kept the first 277 probes, answered all at once at 700.
  const found = analyse(
    observe(1000, i => {
      if (i < 200 || i >= 700) return GOOD
      return i < 477 ? { tookMs: 700 - i, by: 0 } : undefined
    }),
  )
  assert.equal(found.outages.length, 1)
  assert.equal(found.outages[0]?.fromMs, 200)
  assert.equal(found.outages[0]?.toMs, 700)
  assert.equal(found.outages[0]?.lost, 223)
  assert.equal(found.outages[0]?.late, 277)
  assert.equal(found.late, 277)
})

test('what only the stalled probe itself held up is no outage', () => {
  // Not run from 100 to 300: the answers to 98 and 99 lay waiting, and 101..299 were all sent at 300.
  const found = analyse({
    ...observe(0, () => undefined),
    stalls: [{ fromMs: 100, toMs: 300 }],
    samples: Array.from({ length: 400 }, (_, i) => {
      const sentMs = i > 100 && i < 300 ? 300 : i
      const answeredMs = i >= 98 && i <= 100 ? 300.1 : sentMs + 0.25
      return { plannedMs: i, sentMs, answeredMs, answerer: 0 }
    }),
  })
  assert.deepEqual(found.outages, [])
  assert.equal(found.late, 0)
  assert.equal(found.maxSendLatenessMs, 199)
  assert.equal(found.stalledMs, 200)
  assert.ok(found.latencyMs.max < 3, `${found.latencyMs.max}`)
})

test('two probes lost around a stall of our own are single losses, and the stall is told where there was an outage', () => {
  const stalls = [{ fromMs: 100.5, toMs: 150 }]
  const samples = (lost: (i: number) => boolean): Sample[] =>
    Array.from({ length: 200 }, (_, i) => {
      const sentMs = i > 100 && i < 150 ? 150 : i
      return { plannedMs: i, sentMs, answeredMs: lost(i) ? undefined : sentMs + 0.25, answerer: 0 }
    })
  const short = analyse({
    ...observe(0, () => undefined),
    stalls,
    samples: samples(i => i === 100 || i === 101),
  })
  assert.deepEqual(short.outages, [])
  assert.equal(short.lostSingles, 2)
  const long = analyse({
    ...observe(0, () => undefined),
    stalls,
    samples: samples(i => i >= 80 && i <= 120),
  })
  assert.equal(long.outages.length, 1)
  assert.equal(long.outages[0]?.stalledMs, 49.5)
})

test('some dead flows among good ones are flow outages, not a time without answers', () => {
  // Flows 3 to 6 go to a dead node from 200 to 500; the others are answered.
  const found = analyse(
    observe(1000, i => (i >= 200 && i < 500 && i % 32 >= 3 && i % 32 <= 6 ? undefined : GOOD)),
  )
  assert.deepEqual(found.outages, [])
  assert.equal(found.flowOutages.flows, 4)
  assert.ok(found.flowOutages.longestMs >= 288, `${found.flowOutages.longestMs}`)
  assert.equal(found.lostSingles, found.lost)
})

test('dead flows that come back one after the other are no outage either', () => {
  const found = analyse(
    observe(1000, i => {
      const flow = i % 32
      const deadUntil = flow >= 3 && flow <= 6 ? 400 + 32 * (flow - 3) : 0
      return i >= 200 && i < deadUntil ? undefined : GOOD
    }),
  )
  assert.deepEqual(found.outages, [])
  assert.equal(found.flowOutages.flows, 4)
})

test('one answer in the middle of an outage leaves two', () => {
  const found = analyse(observe(1000, i => (i >= 200 && i < 271 && i !== 250 ? undefined : GOOD)))
  assert.deepEqual(
    found.outages.map(outage => [outage.fromMs, outage.toMs]),
    [
      [200, 250.25],
      [251, 271.25],
    ],
  )
})

test('a short outage of all flows is one', () => {
  const found = analyse(observe(1000, i => (i >= 200 && i < 205 ? undefined : GOOD)))
  assert.equal(found.outages.length, 1)
  assert.equal(found.outages[0]?.durationMs, 5.25)
})

test('nothing observed, nothing found', () => {
  const found = analyse(observe(0, () => undefined))
  assert.equal(found.sent, 0)
  assert.deepEqual(found.latencyMs, { p50: 0, p99: 0, max: 0 })
  assert.deepEqual(found.timeline, [])
})

test('every lost probe is accounted for once, outages are ordered and the timeline covers all probes', () => {
  const fates = fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constant(GOOD) },
      { weight: 2, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.record({ tookMs: fc.integer({ min: 1, max: 300 }), by: fc.constant(1) }) },
    ),
    { maxLength: 300 },
  )
  fc.assert(
    fc.property(fates, fc.integer({ min: 1, max: 40 }), (fates, flows) => {
      const found = analyse(observe(fates.length, i => fates[i], { flows }))
      const inOutages = found.outages.reduce((sum, outage) => sum + outage.lost, 0)
      assert.equal(found.lost, inOutages + found.lostSingles)
      assert.ok(found.lostSingles >= 0)
      for (const [i, outage] of found.outages.entries()) {
        assert.ok(outage.toMs >= outage.fromMs)
        assert.ok(i === 0 || outage.fromMs >= (found.outages[i - 1]?.toMs ?? 0))
        // No answer to a probe of that time arrived in it.
        for (const [sent, fate] of fates.entries()) {
          if (fate === undefined || sent < outage.fromMs) continue
          assert.ok(sent + fate.tookMs >= outage.toMs)
        }
      }
      assert.equal(
        found.timeline.reduce((sum, entry) => sum + entry.sent, 0),
        fates.length,
      )
      assert.equal(
        found.sections.reduce((sum, section) => sum + section.lost, 0),
        found.lost,
      )
    }),
  )
})
