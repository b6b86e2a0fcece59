import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Recorder } from './recorder.ts'

test('the schedule is absolute: a late probe does not move the next one', () => {
  const recorder = new Recorder(1)
  recorder.begin(10)
  assert.equal(recorder.nextPlannedMs, 10)
  assert.equal(recorder.sent(14), 0)
  assert.equal(recorder.nextPlannedMs, 11)
})

test('after a stall the schedule goes on where it would be: there is no burst', () => {
  const recorder = new Recorder(1)
  recorder.begin(0)
  recorder.sent(0)
  recorder.stalled(0.5, 400.5)
  assert.equal(recorder.nextPlannedMs, 400)
  recorder.sent(401)
  assert.equal(recorder.nextPlannedMs, 401)
  const { samples, stalls } = recorder.observation({ flows: 1, lateAfterMs: 100 })
  assert.deepEqual(
    samples.map(({ plannedMs }) => plannedMs),
    [0, 400],
  )
  assert.deepEqual(stalls, [{ fromMs: 0.5, toMs: 400.5 }])
})

test('the first answer counts, unknown numbers are ignored', () => {
  const recorder = new Recorder(1)
  recorder.begin(0)
  recorder.sent(0)
  recorder.answered(0, 1, '{"pod":"a","node":"n1","client":"192.0.2.1"}')
  recorder.answered(0, 2, '{"pod":"b","node":"n2","client":"192.0.2.1"}')
  recorder.answered(9, 2, '')
  const seen = recorder.observation({ flows: 1, lateAfterMs: 100 })
  assert.deepEqual(seen.samples, [{ plannedMs: 0, sentMs: 0, answeredMs: 1, answerer: 0 }])
  assert.deepEqual(seen.answerers, [{ pod: 'a', node: 'n1', client: '192.0.2.1' }])
})

test('probes after a time are awaited until they are answered', () => {
  const recorder = new Recorder(1)
  recorder.sent(0)
  recorder.sent(5)
  assert.equal(recorder.awaited(3), true)
  recorder.answered(1, 6, '')
  assert.equal(recorder.awaited(3), false)
  assert.equal(recorder.awaited(0), true)
})
