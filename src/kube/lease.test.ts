import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../ports/clock.ts'
import { KubeError, type KubeObject, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLog } from '../ports/log.ts'
import { SeededRandom } from '../ports/random.ts'
import { DEFAULT_TIMING, decide, type LeaseInput, NOT_LEADING, runLeaderElection } from './lease.ts'

const NAME = { namespace: 'lodestone-system', name: 'controller' }
const INPUT: LeaseInput = {
  ...NAME,
  identity: 'us',
  timing: DEFAULT_TIMING,
  now: 1000,
  wallNow: Date.UTC(2026, 0, 1, 12),
}

function lease(spec: Record<string, unknown>, resourceVersion = '7'): KubeObject {
  return { metadata: { ...NAME, resourceVersion }, spec }
}

test('no Lease is created as ours', () => {
  const { action } = decide(NOT_LEADING, undefined, INPUT)
  assert.deepEqual(action, {
    write: 'create',
    lease: {
      metadata: { name: 'controller', namespace: 'lodestone-system' },
      spec: {
        holderIdentity: 'us',
        leaseDurationSeconds: 15,
        acquireTime: '2026-01-01T12:00:00.000000Z',
        renewTime: '2026-01-01T12:00:00.000000Z',
        leaseTransitions: 0,
      },
    },
  })
})

test('a Lease of another is left alone from the moment we saw it change, whatever its times say', () => {
  const held = lease({
    holderIdentity: 'them',
    leaseDurationSeconds: 15,
    renewTime: '1999-01-01T00:00:00.000000Z',
  })
  const first = decide(NOT_LEADING, held, INPUT)
  assert.deepEqual(first.action, { write: 'nothing', holder: 'them' })
  const later = decide(first.state, held, { ...INPUT, now: INPUT.now + 14_999 })
  assert.equal(later.action.write, 'nothing')
  const renewed = decide(
    later.state,
    { ...held, metadata: { ...held.metadata, resourceVersion: '8' } },
    {
      ...INPUT,
      now: INPUT.now + 15_001,
    },
  )
  assert.equal(renewed.action.write, 'nothing', 'a change starts the wait anew')
  const expired = decide(later.state, held, { ...INPUT, now: INPUT.now + 15_000 })
  assert.equal(expired.action.write, 'update')
})

const TAKEN: readonly (readonly [string, Record<string, unknown>, Record<string, unknown>])[] = [
  [
    'released',
    { holderIdentity: '', leaseTransitions: 3 },
    { leaseTransitions: 4, acquireTime: '2026-01-01T12:00:00.000000Z' },
  ],
  ['without spec fields', {}, { leaseTransitions: 1, acquireTime: '2026-01-01T12:00:00.000000Z' }],
  [
    'ours, from before a restart',
    { holderIdentity: 'us', leaseTransitions: 3, acquireTime: 'then' },
    { leaseTransitions: 3, acquireTime: 'then' },
  ],
]
for (const [name, spec, expected] of TAKEN)
  test(`a Lease that is ${name} is taken at once, on the version that was read`, () => {
    const { action } = decide(NOT_LEADING, lease(spec), INPUT)
    assert.ok(action.write === 'update')
    assert.equal(action.lease.metadata.resourceVersion, '7')
    assert.deepEqual(action.lease['spec'], {
      holderIdentity: 'us',
      leaseDurationSeconds: 15,
      renewTime: '2026-01-01T12:00:00.000000Z',
      ...expected,
    })
  })

test('the holder says how long its silence lasts', () => {
  const held = lease({ holderIdentity: 'them', leaseDurationSeconds: 60 })
  const first = decide(NOT_LEADING, held, INPUT)
  assert.equal(decide(first.state, held, { ...INPUT, now: INPUT.now + 59_000 }).action.write, 'nothing')
  assert.equal(decide(first.state, held, { ...INPUT, now: INPUT.now + 60_000 }).action.write, 'update')
})

/** Candidates over one fake API server and clock, and what they said. */
class Race {
  readonly clock = new FakeClock()
  readonly kube = new FakeKube({ clock: this.clock })
  readonly said: string[] = []
  readonly leaders = new Set<string>()

  enter(identity: string, kube = this.kube): { stop: () => void; ended: Promise<void> } {
    const stop = new AbortController()
    const ended = runLeaderElection(
      {
        kube,
        clock: this.clock,
        random: new SeededRandom(identity.length),
        log: new FakeLog(),
        lease: NAME,
        identity,
        onStarted: leading => {
          this.said.push(`${identity} leads`)
          this.leaders.add(identity)
          leading.addEventListener('abort', () => this.leaders.delete(identity))
        },
        onStopped: () => {
          this.said.push(`${identity} stops`)
        },
      },
      stop.signal,
    )
    return { stop: () => stop.abort(), ended }
  }

  /** Lets time pass in steps, and never sees two leaders. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 100) {
      this.clock.advance(100)
      await this.kube.settle()
      assert.ok(this.leaders.size <= 1, `two leaders: ${[...this.leaders].join(', ')}`)
    }
  }

  holder(): unknown {
    return holderIn(this.kube)
  }
}

function holderIn(kube: FakeKube): unknown {
  const spec = kube.peek(RESOURCES.leases, NAME)?.['spec'] as Record<string, unknown> | undefined
  return spec?.['holderIdentity']
}

test('one of two leads; when it stops in order the other follows without waiting for the Lease to run out', async () => {
  const race = new Race()
  const a = race.enter('a')
  await race.pass(100)
  const bb = race.enter('bb')
  await race.pass(60_000)
  assert.deepEqual(race.said, ['a leads'])
  a.stop()
  await a.ended
  assert.equal(race.holder(), '')
  await race.pass(4_100)
  assert.deepEqual(race.said, ['a leads', 'a stops', 'bb leads'])
  assert.equal(race.holder(), 'bb')
  bb.stop()
  await bb.ended
})

test('the Lease is released only after what the leader did has ended', async () => {
  const clock = new FakeClock()
  const kube = new FakeKube({ clock })
  const stop = new AbortController()
  let finish: () => void = () => {}
  const ended = runLeaderElection(
    {
      kube,
      clock,
      random: new SeededRandom(1),
      log: new FakeLog(),
      lease: NAME,
      identity: 'a',
      onStarted: () => {},
      onStopped: () =>
        new Promise(resolve => {
          finish = resolve
        }),
    },
    stop.signal,
  )
  await kube.settle()
  const holder = (): unknown => holderIn(kube)
  stop.abort()
  await kube.settle()
  assert.equal(holder(), 'a')
  finish()
  await ended
  assert.equal(holder(), '')
})

test('a leader cut off stops before another starts, and takes part again', async () => {
  const race = new Race()
  // Its own way to the same server, which breaks.
  const cut = new CutKube(race.kube)
  const a = race.enter('a', cut as unknown as FakeKube)
  await race.pass(100)
  const bb = race.enter('bb')
  await race.pass(5_000)
  assert.deepEqual(race.said, ['a leads'])
  cut.broken = true
  await race.pass(40_000)
  assert.deepEqual(race.said, ['a leads', 'a stops', 'bb leads'])
  cut.broken = false
  bb.stop()
  await bb.ended
  await race.pass(5_000)
  assert.deepEqual(race.said.slice(3), ['bb stops', 'a leads'])
  a.stop()
  await a.ended
})

test('a server that never answers ends leadership by the deadline', async () => {
  const race = new Race()
  const cut = new CutKube(race.kube)
  const a = race.enter('a', cut as unknown as FakeKube)
  await race.pass(100)
  cut.hangs = true
  await race.pass(9_800)
  assert.deepEqual(race.said, ['a leads'])
  await race.pass(2_300)
  assert.deepEqual(race.said, ['a leads', 'a stops'])
  cut.hangs = false
  a.stop()
  await a.ended
})

test('a Lease taken by force ends leadership at the next look', async () => {
  const race = new Race()
  const a = race.enter('a')
  await race.pass(100)
  const held = race.kube.peek(RESOURCES.leases, NAME)
  assert.ok(held)
  race.kube.seed(RESOURCES.leases, { ...held, spec: { holderIdentity: 'usurper', leaseDurationSeconds: 15 } })
  await race.pass(2_000)
  assert.deepEqual(race.said, ['a leads', 'a stops'])
  assert.equal(race.holder(), 'usurper')
  a.stop()
  await a.ended
})

test('timing that lets two lead is refused', async () => {
  const race = new Race()
  const options = {
    kube: race.kube,
    clock: race.clock,
    random: new SeededRandom(1),
    log: new FakeLog(),
    lease: NAME,
  }
  await assert.rejects(
    runLeaderElection(
      { ...options, identity: 'a', renewDeadlineMs: 15_000, onStarted: () => {}, onStopped: () => {} },
      new AbortController().signal,
    ),
    RangeError,
  )
})

/** One candidate's way to the API server. */
class CutKube {
  broken = false
  hangs = false
  readonly #kube: FakeKube
  constructor(kube: FakeKube) {
    this.#kube = kube
  }

  async #pass<R>(request: () => Promise<R>): Promise<R> {
    if (this.broken) throw new KubeError('unreachable', 'the wire is cut')
    if (this.hangs) await new Promise(() => {})
    return request()
  }

  get: FakeKube['get'] = (...args) => this.#pass(() => this.#kube.get(...args))
  create: FakeKube['create'] = (...args) => this.#pass(() => this.#kube.create(...args))
  update: FakeKube['update'] = (...args) => this.#pass(() => this.#kube.update(...args))
}
