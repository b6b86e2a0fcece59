import assert from 'node:assert/strict'
import { test } from 'node:test'
import { speakerLease, speakerLeaseName } from '../config/speakers.ts'
import { FakeClock } from '../ports/clock.ts'
import { RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLog } from '../ports/log.ts'
import { SeededRandom } from '../ports/random.ts'
import { SpeakerRegistration } from './speaker-registration.ts'
import { StaleSpeakers } from './stale-speakers.ts'

const NAMESPACE = 'metallb-system'

/** Speakers that renew their Leases, and the controller that watches over those. */
function cluster(nodes: readonly string[]) {
  const clock = new FakeClock()
  const kube = new FakeKube({ clock })
  const log = new FakeLog()
  const random = new SeededRandom(1)
  const speakers = new Map(
    nodes.map(node => [
      node,
      new SpeakerRegistration(
        { kube, clock, random, log, node, namespace: NAMESPACE, status: () => '{}', steers: undefined },
        [],
      ),
    ]),
  )
  const stale = new StaleSpeakers({ kube, clock, log }, NAMESPACE)
  return {
    clock,
    kube,
    log,
    speakers,
    pass: async (ms: number) => {
      for (let passed = 0; passed < ms; passed += 1000) {
        clock.advance(1000)
        await settled()
      }
    },
    registered: async () =>
      (await kube.list(RESOURCES.leases, { namespace: NAMESPACE })).map(lease => lease.metadata.name),
    close: () => {
      stale.close()
      for (const speaker of speakers.values()) speaker.close()
    },
  }
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
  await new Promise<void>(resolve => setImmediate(resolve))
}

test('speakers that renew stay registered; those that stopped are forgotten one after the other', async () => {
  const { pass, registered, speakers, close } = cluster(['a', 'b', 'c', 'd'])
  await pass(120_000)
  assert.equal((await registered()).length, 4)
  speakers.get('c')?.close()
  speakers.get('d')?.close()
  await pass(40_000)
  assert.equal((await registered()).length, 4)
  const counts = new Set<number>()
  for (let i = 0; i < 45; i++) {
    await pass(1000)
    counts.add((await registered()).length)
  }
  assert.deepEqual([...counts], [4, 3, 2])
  assert.deepEqual(await registered(), ['a', 'b'].map(speakerLeaseName))
  close()
})

test('when no Lease at all is renewed it is the API server that is away, and nobody is forgotten', async () => {
  const { pass, registered, speakers, close } = cluster(['a', 'b'])
  await pass(5000)
  for (const speaker of speakers.values()) speaker.close()
  await pass(600_000)
  assert.equal((await registered()).length, 2)
  close()
})

test('a Lease that somebody deleted or changed is written again at the next renewal', async () => {
  const { pass, kube, registered, close } = cluster(['a', 'b'])
  await pass(5000)
  await kube.delete(RESOURCES.leases, { namespace: NAMESPACE, name: speakerLeaseName('a') })
  await pass(15_000)
  assert.deepEqual(await registered(), ['a', 'b'].map(speakerLeaseName))
  close()
})

test('new links are told at once', async () => {
  const { pass, kube, speakers, close } = cluster(['a'])
  await pass(1000)
  const links = [{ name: 'eth1', mac: undefined, prefixes: [] }]
  speakers.get('a')?.setLinks(links)
  await pass(1000)
  const lease = kube.peek(RESOURCES.leases, { namespace: NAMESPACE, name: speakerLeaseName('a') })
  const expected = speakerLease({ node: 'a', links }, NAMESPACE, 0, '{}')
  assert.deepEqual(lease?.metadata.annotations, expected.metadata.annotations)
  close()
})

test('a status is written with each renewal, and when it changes at most every two seconds', async () => {
  const kube = new FakeKube()
  const clock = new FakeClock()
  let asked = 0
  const registration = new SpeakerRegistration(
    {
      kube,
      clock,
      random: { next: () => 0.5 },
      log: new FakeLog(),
      node: 'a',
      namespace: NAMESPACE,
      status: () => String(++asked),
      steers: undefined,
    },
    [],
  )
  const pass = async (ms: number) => {
    for (let i = 0; i < ms; i += 100) {
      clock.advance(100)
      await kube.settle()
    }
  }
  const written = () =>
    kube.peek(RESOURCES.leases, { namespace: NAMESPACE, name: speakerLeaseName('a') })?.metadata
      .annotations?.['lodestone.dev/status']
  await pass(100)
  assert.equal(written(), '1')
  for (let i = 0; i < 15; i++) {
    registration.statusChanged()
    await pass(100)
  }
  assert.equal(written(), '1')
  await pass(500)
  assert.equal(written(), '2', 'once for all of those changes')
  await pass(5000)
  registration.statusChanged()
  await pass(200)
  assert.equal(written(), '3', 'at once after a while of silence')
  await pass(10_000)
  assert.equal(written(), '4', 'a renewal')
  registration.close()
  registration.statusChanged()
  await pass(20_000)
  assert.equal(written(), '4')
})
