import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { TimelineEntry } from '../probe/analysis.ts'
import { LINK_TIMELINE } from './fixtures.ts'
import type { Style } from './style.ts'
import { cellsOf, type Group, type Row, renderTimeline, scaleFor } from './timeline.ts'

const PLAIN: Style = { colour: false, unicode: false, columns: 60 }
const NODES = ['node1', 'node2', 'node3']
const NODE_OF = new Map([
  ['192.0.2.11', 'node1'],
  ['192.0.2.12', 'node2'],
  ['192.0.2.13', 'node3'],
])

const ROW: Row = {
  label: 'web-local IPv4',
  timeline: LINK_TIMELINE,
  killAtMs: 300,
  interestingMs: 260,
  tail: '250 ms',
}

/** All pods answer, by way of node2, but a third is lost. */
const CLUSTER: readonly TimelineEntry[] = [
  {
    fromMs: 0,
    toMs: 2000,
    sent: 2000,
    lost: 600,
    nodes: { node1: 700, node3: 700 },
    clients: { '192.0.2.12': 1400 },
  },
]

function render(groups: readonly Group[], style: Style): string[] {
  return renderTimeline(groups, { style, nodes: NODES, nodeOf: NODE_OF })
}

// 34 slices of 20 ms, five of them before the kill; the outage of 250 ms ends in the middle of one.
test('without a terminal: digits, letters and dots', () => {
  const lines = render(
    [{ title: 'link cut', rows: [ROW, { ...ROW, label: 'web IPv6', timeline: CLUSTER, tail: '0 ms' }] }],
    PLAIN,
  )
  assert.deepEqual(lines, [
    '  link cut              v kill                +580 ms',
    '    web-local IPv4 11111............c3333333333333333 250 ms',
    '    web IPv6       bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 0 ms',
    '',
    '  one character is 20 ms',
    '    1 answered by way of node1',
    '    2 answered by way of node2',
    '    3 answered by way of node3',
    '    b node2, but some probes lost',
    '    c node3, but some probes lost',
    '    . no answer',
  ])
})

test('on a terminal with colours: blocks, one escape sequence for a run', () => {
  const style: Style = { colour: true, unicode: true, columns: 60 }
  const [axis, row] = render([{ title: 'link cut', rows: [ROW] }], style)
  assert.equal(axis, '  link cut              ▼ kill                +580 ms')
  assert.equal(
    row,
    `    web-local IPv4 \u001b[32m${'█'.repeat(5)}\u001b[0m\u001b[31m${'░'.repeat(12)}\u001b[0m\u001b[35m▓${'█'.repeat(16)}\u001b[0m 250 ms`,
  )
})

test('on a terminal without colours: digits, since blocks could not tell nodes apart', () => {
  const [, row] = render([{ title: 'link cut', rows: [ROW] }], { colour: false, unicode: true, columns: 60 })
  assert.equal(row, `    web-local IPv4 11111${'░'.repeat(12)}c3333333333333333 250 ms`)
})

test('the scale covers what is interesting and a quarter more, in steps of 10 ms', () => {
  assert.deepEqual(scaleFor([], 60), { cellMs: 10, before: 9, after: 51 })
  assert.deepEqual(scaleFor([100, 900], 60), { cellMs: 30, before: 9, after: 51 })
  assert.deepEqual(scaleFor([10_000], 20), { cellMs: 740, before: 3, after: 17 })
})

test('a time in which nothing was sent stays blank', () => {
  const cells = cellsOf({ ...ROW, timeline: [] }, scaleFor([], 20), NODE_OF)
  assert.deepEqual(new Set(cells.map(({ kind }) => kind)), new Set(['none']))
})

test('a slice that loses one probe does not look whole, whatever the stretches', () => {
  const stretches = fc.array(
    fc.record(
      {
        buckets: fc.integer({ min: 1, max: 20 }),
        lost: fc.integer({ min: 0, max: 10 }),
        node: fc.constantFrom(...NODES),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 12 },
  )
  fc.assert(
    fc.property(stretches, fc.integer({ min: 0, max: 500 }), (parts, killAtMs) => {
      let atMs = 0
      const timeline = parts.map(({ buckets, lost, node }): TimelineEntry => {
        const fromMs = atMs
        atMs += buckets * 10
        const good = (10 - lost) * buckets
        const answers = good > 0 ? { [node]: good } : {}
        return { fromMs, toMs: atMs, sent: 10 * buckets, lost: lost * buckets, nodes: answers, clients: {} }
      })
      const scale = scaleFor([], 40)
      const cells = cellsOf({ ...ROW, timeline, killAtMs }, scale, NODE_OF)
      assert.equal(cells.length, 40)
      for (const [i, cell] of cells.entries()) {
        const fromMs = killAtMs + (i - scale.before) * scale.cellMs
        const here = timeline.filter(entry => entry.fromMs < fromMs + scale.cellMs && entry.toMs > fromMs)
        assert.equal(cell.kind === 'none', here.length === 0)
        if (cell.kind === 'answered')
          assert.equal(
            cell.someLost,
            here.some(entry => entry.lost > 0),
          )
        if (cell.kind === 'lost') assert.ok(here.every(entry => entry.lost === entry.sent))
      }
      const text = render([{ title: 'a', rows: [{ ...ROW, timeline, killAtMs }] }], PLAIN).join('\n')
      assert.match(text, /^[\n\x20-\x7e]*$/)
    }),
  )
})
