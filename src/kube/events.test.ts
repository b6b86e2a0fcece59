import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../ports/clock.ts'
import { type EventReference, referenceTo } from '../ports/events.ts'
import { KubeError, type KubeObject, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLog } from '../ports/log.ts'
import { EventRecorder } from './events.ts'

const WEB: EventReference = referenceTo(RESOURCES.services, {
  name: 'web',
  namespace: 'default',
  uid: 'u-1',
  resourceVersion: '5',
})

function setUp(): {
  clock: FakeClock
  kube: FakeKube
  log: FakeLog
  recorder: EventRecorder
  events: () => KubeObject[]
} {
  const clock = new FakeClock()
  const kube = new FakeKube({ clock })
  const log = new FakeLog()
  const recorder = new EventRecorder({ kube, clock, log, component: 'lodestone-controller', host: 'node-a' })
  return { clock, kube, log, recorder, events: () => kube.objects(RESOURCES.events) }
}

test('an Event as kubectl describe shows it', async () => {
  const { kube, recorder, events } = setUp()
  recorder.emit(WEB, 'Normal', 'IPAllocated', 'Assigned IP ["192.0.2.1"]')
  await kube.settle()
  const [event] = events()
  assert.ok(event)
  const { metadata, ...rest } = event
  assert.match(metadata.name, /^web\.[0-9a-f]+$/)
  assert.equal(metadata.namespace, 'default')
  assert.deepEqual(rest, {
    apiVersion: 'v1',
    kind: 'Event',
    involvedObject: {
      apiVersion: 'v1',
      kind: 'Service',
      name: 'web',
      namespace: 'default',
      uid: 'u-1',
      resourceVersion: '5',
    },
    type: 'Normal',
    reason: 'IPAllocated',
    message: 'Assigned IP ["192.0.2.1"]',
    source: { component: 'lodestone-controller', host: 'node-a' },
    reportingComponent: 'lodestone-controller',
    reportingInstance: 'node-a',
    firstTimestamp: '2026-01-01T00:00:00Z',
    lastTimestamp: '2026-01-01T00:00:00Z',
    count: 1,
  })
})

test('equal events are counted on one, until the window is over', async () => {
  const { clock, kube, recorder, events } = setUp()
  for (let i = 0; i < 3; i++) {
    recorder.emit(WEB, 'Warning', 'AllocationFailed', 'no address is free')
    await kube.settle()
    clock.advance(60_000)
  }
  recorder.emit(WEB, 'Warning', 'AllocationFailed', 'another reason')
  await kube.settle()
  assert.deepEqual(
    events().map(event => [event['message'], event['count'], event['lastTimestamp']]),
    [
      ['no address is free', 3, '2026-01-01T00:02:00Z'],
      ['another reason', 1, '2026-01-01T00:03:00Z'],
    ],
  )
  clock.advance(600_000)
  recorder.emit(WEB, 'Warning', 'AllocationFailed', 'no address is free')
  await kube.settle()
  assert.equal(events().length, 3)
})

test('an Event that the server forgot is written anew', async () => {
  const { kube, recorder, events } = setUp()
  recorder.emit(WEB, 'Normal', 'A', 'b')
  await kube.settle()
  const first = events()[0]?.metadata
  kube.remove(RESOURCES.events, { namespace: 'default', name: first?.name ?? '' })
  recorder.emit(WEB, 'Normal', 'A', 'b')
  await kube.settle()
  assert.equal(events().length, 1)
  assert.notEqual(events()[0]?.metadata.name, first?.name)
})

test('one object cannot flood, another is not held back by it', async () => {
  const { clock, kube, recorder, events } = setUp()
  for (let i = 0; i < 100; i++) recorder.emit(WEB, 'Normal', 'Flap', `number ${i}`)
  recorder.emit({ ...WEB, name: 'other', uid: 'u-2' }, 'Normal', 'Quiet', 'x')
  await kube.settle()
  assert.equal(events().length, 26)
  assert.equal(recorder.dropped, 75)
  clock.advance(300_000)
  recorder.emit(WEB, 'Normal', 'Flap', 'later')
  recorder.emit(WEB, 'Normal', 'Flap', 'too soon')
  await kube.settle()
  assert.equal(events().length, 27)
})

test('cluster-scoped objects have their events in default; long texts and names are cut', async () => {
  const { kube, recorder, events } = setUp()
  recorder.emit(
    { apiVersion: 'v1', kind: 'Node', name: `n${'-x'.repeat(126)}` },
    'Normal',
    'Long',
    'ü'.repeat(2000),
  )
  await kube.settle()
  const [event] = events()
  assert.equal(event?.metadata.namespace, 'default')
  assert.ok((event?.metadata.name.length ?? 999) <= 253)
  const message = String(event?.['message'])
  assert.ok(Buffer.byteLength(message) <= 1024)
  assert.match(message, /^ü+\.\.\.$/)
})

test('a server that is away for a moment gets the events in the end, with equal ones counted', async () => {
  const { clock, kube, recorder, events } = setUp()
  kube.setDown(new KubeError('unreachable', 'away'))
  recorder.emit(WEB, 'Normal', 'A', 'b')
  await kube.settle()
  recorder.emit(WEB, 'Normal', 'A', 'b')
  recorder.emit(WEB, 'Normal', 'C', 'd')
  clock.advance(1000)
  await kube.settle()
  kube.setDown(undefined)
  for (let i = 0; i < 4; i++) {
    clock.advance(5_000)
    await kube.settle()
  }
  assert.deepEqual(
    new Map(events().map(event => [event['reason'], event['count']])),
    new Map([
      ['A', 2],
      ['C', 1],
    ]),
  )
  assert.equal(recorder.dropped, 0)
})

test('what is forbidden is dropped with a word, and the caller never hears of it', async () => {
  const { kube, log, recorder } = setUp()
  kube.failNext(new KubeError('forbidden', 'no', { status: 403 }))
  recorder.emit(WEB, 'Normal', 'A', 'b')
  await kube.settle()
  assert.equal(recorder.dropped, 1)
  assert.deepEqual(
    log.lines.map(line => line.event),
    ['event-not-written'],
  )
})

test('close waits for what is under way, but not for ever', async () => {
  const { clock, kube, recorder, events } = setUp()
  recorder.emit(WEB, 'Normal', 'A', 'b')
  recorder.emit(WEB, 'Normal', 'C', 'd')
  await recorder.close(1000)
  assert.equal(events().length, 2)

  const away = new EventRecorder({ kube, clock, log: new FakeLog(), component: 'c', host: 'h' })
  kube.setDown(new KubeError('unreachable', 'away'))
  away.emit(WEB, 'Normal', 'E', 'f')
  const closing = away.close(1000)
  await kube.settle()
  clock.advance(1000)
  await closing
  assert.equal(away.dropped, 1)
})
