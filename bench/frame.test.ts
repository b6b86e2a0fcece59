import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Bench, formatTable, quantile, runBench, type Subject } from './frame.ts'

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

function benchOf(subjects: readonly Subject[], more: Partial<Bench> = {}): Bench {
  return { title: 'test', runs: 2, warmUp: 1, open: () => Promise.resolve(subjects), ...more }
}

test('subjects take turns, the warm-up does not count, what is missing does not run', async () => {
  const turns: string[] = []
  const subject = (name: string, more: Partial<Subject> = {}): Subject => ({
    subject: name,
    cases: { latency: 'ms', lost: 'count' },
    run: round => {
      turns.push(`${name}${round}`)
      return Promise.resolve({ latency: [round, round + 10], lost: round })
    },
    ...more,
  })
  const report = await runBench(
    'test',
    benchOf([subject('a'), subject('b'), subject('c', { missing: 'why' })]),
  )
  assert.deepEqual(turns, ['a-1', 'b-1', 'a0', 'b0', 'a1', 'b1'])
  assert.deepEqual(
    report.results.map(({ case: name, subject: who, unit, values, missing }) => [
      name,
      who,
      unit,
      values,
      missing,
    ]),
    [
      ['latency', 'a', 'ms', [0, 10, 1, 11], undefined],
      ['latency', 'b', 'ms', [0, 10, 1, 11], undefined],
      ['latency', 'c', 'ms', [], 'why'],
      ['lost', 'a', 'count', [0, 1], undefined],
      ['lost', 'b', 'count', [0, 1], undefined],
      ['lost', 'c', 'count', [], 'why'],
    ],
  )
})

test('a case that a subject did not name is refused', async () => {
  const subject: Subject = {
    subject: 'a',
    cases: { known: 'ms' },
    run: () => Promise.resolve({ unknown: 1 }),
  }
  await assert.rejects(runBench('test', benchOf([subject])), /a measured "unknown"/)
})

test('what was opened is closed, the last first, when opening or a run fails', async () => {
  const failing: Subject = { subject: 'a', cases: { x: 'ms' }, run: () => Promise.reject(new Error('broke')) }
  for (const open of ['rejects', 'resolves'] as const) {
    const closed: string[] = []
    const bench = benchOf([], {
      open(scope) {
        scope.defer(() => {
          closed.push('first')
        })
        scope.defer(() => {
          closed.push('second')
        })
        return open === 'rejects' ? Promise.reject(new Error('broke')) : Promise.resolve([failing])
      },
    })
    await assert.rejects(runBench('test', bench), /broke/)
    assert.deepEqual(closed, ['second', 'first'])
  }
})

test('an abort does not wait for the run that is under way, and closes what was opened', async () => {
  const stop = new AbortController()
  let closed = false
  const endless: Subject = {
    subject: 'a',
    cases: { x: 'ms' },
    run: () => {
      stop.abort(new Error('enough'))
      return new Promise(() => {})
    },
  }
  const bench = benchOf([], {
    open(scope) {
      scope.defer(() => {
        closed = true
      })
      return Promise.resolve([endless])
    },
  })
  await assert.rejects(runBench('test', bench, { signal: stop.signal }), /enough/)
  assert.equal(closed, true)
})
