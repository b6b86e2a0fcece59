import assert from 'node:assert/strict'
import { test } from 'node:test'
import { longestOverlapMs, overlapsOf, type Run, Runs, silencesOf } from './answers.ts'

const [A, B] = ['00:00:5e:00:53:01', '00:00:5e:00:53:02'] as const

/** One answer each millisecond and letter; `.` is a millisecond without any. */
function heard(text: string): Run[] {
  const runs = new Runs()
  for (const [i, letter] of text.split('').entries()) {
    if (letter !== '.') runs.add(letter === 'A' ? A : B, i)
  }
  return runs.take()
}

test('answers of one host are one run until it is silent', () => {
  assert.deepEqual(heard(`AAA${'.'.repeat(30)}A`), [
    { mac: A, fromMs: 0, toMs: 2, count: 3 },
    { mac: A, fromMs: 33, toMs: 33, count: 1 },
  ])
})

test('what was taken does not come again', () => {
  const runs = new Runs()
  runs.add(A, 1)
  assert.equal(runs.take().length, 1)
  assert.deepEqual(runs.take(), [])
})

test('an address that moves, and comes back later, has one answerer at every time', () => {
  assert.deepEqual(overlapsOf(heard(`AAA...BBB${'B'.repeat(30)}AAA`)), [])
})

test('hosts that take turns answer at the same time, as long as they do', () => {
  const runs = heard(`AAAA${'BA'.repeat(20)}BBBB`)
  assert.deepEqual(overlapsOf(runs), [{ fromMs: 4, toMs: 44, macs: [A, B] }])
  assert.equal(longestOverlapMs(runs), 40)
})

test('one answer of another host is short, and two such times are two', () => {
  const runs = heard(`AABAA${'A'.repeat(50)}BA`)
  assert.deepEqual(
    overlapsOf(runs).map(({ fromMs, toMs }) => toMs - fromMs),
    [1, 1],
  )
})

test('silence counts within the limits, at both ends too, and not while nobody listened', () => {
  const runs = heard(`${'.'.repeat(10)}AAA${'.'.repeat(30)}BBB`)
  const over = (overMs: number) => silencesOf(runs, { fromMs: 0, toMs: 100, overMs })
  assert.deepEqual(over(5), [
    { fromMs: 0, toMs: 10, heardNothingMs: 10 },
    { fromMs: 12, toMs: 43, heardNothingMs: 31 },
    { fromMs: 45, toMs: 100, heardNothingMs: 55 },
  ])
  assert.deepEqual(over(40), over(5).slice(2))
  const deaf = [{ fromMs: 20, toMs: 40 }]
  const beside = (overMs: number) => silencesOf(runs, { fromMs: 12, toMs: 45, overMs, deaf })
  assert.deepEqual(beside(10), [{ fromMs: 12, toMs: 43, heardNothingMs: 11 }])
  assert.deepEqual(beside(15), [])
  assert.deepEqual(silencesOf([], { fromMs: 0, toMs: 9, overMs: 5 }), [
    { fromMs: 0, toMs: 9, heardNothingMs: 9 },
  ])
})
