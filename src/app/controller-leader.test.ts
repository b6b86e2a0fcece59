import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Clock } from '../ports/clock.ts'
import {
  type Informer,
  type InformerChange,
  type InformerOptions,
  type Kube,
  KubeError,
  type KubeObject,
  type ListOptions,
  type ObjectName,
  type PatchOptions,
  RESOURCES,
  type Resource,
} from '../ports/kube.ts'
import { type Random, SeededRandom } from '../ports/random.ts'
import { Cluster, NAMESPACE } from './controller-cluster.ts'

const { services: SERVICES, leases: LEASES } = RESOURCES
const LEASE = { namespace: NAMESPACE, name: 'lodestone-controller' }
const elect = (identity: string) => ({
  leaderElection: { name: LEASE.name, identity, leaseDurationMs: 15_000 },
})
const LARGE = { lan: { addresses: ['192.0.2.0/24'] } }

function holder(cluster: Cluster): unknown {
  const spec = cluster.kube.peek(LEASES, LEASE)?.['spec'] as { holderIdentity?: string } | undefined
  return spec?.holderIdentity
}

/** The API server as one of several controllers reaches it: late with news, or not at all. */
class OwnKube implements Kube {
  #cut = false
  readonly #kube: Kube
  readonly #clock: Clock
  readonly #random: Random
  readonly #lagMs: number
  /** Called before a write of this one is sent. */
  onWrite: () => void = () => {}

  constructor(cluster: Cluster, lagMs = 0, seed = 1) {
    this.#kube = cluster.kube
    this.#clock = cluster.clock
    this.#random = new SeededRandom(seed)
    this.#lagMs = lagMs
  }

  /** From now on nothing of what it asks for arrives: for the world it was killed. */
  cut(): void {
    this.#cut = true
  }

  async #reach<T>(request: () => Promise<T>): Promise<T> {
    if (this.#cut) throw new KubeError('unreachable', 'cut off')
    return await request()
  }

  #write<T>(request: () => Promise<T>): Promise<T> {
    this.onWrite()
    return this.#reach(request)
  }

  get(resource: Resource, name: ObjectName) {
    return this.#reach(() => this.#kube.get(resource, name))
  }
  list(resource: Resource, options?: ListOptions) {
    return this.#reach(() => this.#kube.list(resource, options))
  }
  create(resource: Resource, object: KubeObject) {
    return this.#reach(() => this.#kube.create(resource, object))
  }
  update(resource: Resource, object: KubeObject, options?: { readonly subresource?: 'status' }) {
    return this.#reach(() => this.#kube.update(resource, object, options))
  }
  patch(resource: Resource, name: ObjectName, patch: unknown, options: PatchOptions) {
    const isService = resource.plural === SERVICES.plural
    return (isService ? this.#write.bind(this) : this.#reach.bind(this))(() =>
      this.#kube.patch(resource, name, patch, options),
    )
  }
  delete(resource: Resource, name: ObjectName) {
    return this.#reach(() => this.#kube.delete(resource, name))
  }
  informer<T>(resource: Resource, options: InformerOptions<T>): Informer<T> {
    const inner = this.#kube.informer(resource, options)
    if (this.#lagMs === 0) return inner
    return new LateInformer(inner, change => this.#clock.after(this.#random.next() * this.#lagMs, change))
  }
}

/** Hears of each change a while later than it happened, in order. */
class LateInformer<T> implements Informer<T> {
  readonly items = new Map<string, T>()
  readonly #inner: Informer<T>
  readonly #listeners: ((change: InformerChange<T>) => void)[] = []
  readonly #waiting: InformerChange<T>[] = []

  constructor(inner: Informer<T>, later: (tell: () => void) => void) {
    this.#inner = inner
    inner.onChange(change => {
      this.#waiting.push(change)
      if (!inner.synced) this.#tell()
      else later(() => this.#tell())
    })
  }

  get synced(): boolean {
    return this.#inner.synced
  }

  onChange(listener: (change: InformerChange<T>) => void): void {
    this.#listeners.push(listener)
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#inner.start(signal)
    while (this.#waiting.length > 0) this.#tell()
  }

  #tell(): void {
    const change = this.#waiting.shift()
    if (change === undefined) return
    if (change.after === undefined) this.items.delete(change.key)
    else this.items.set(change.key, change.after)
    for (const listener of this.#listeners) listener(change)
  }
}

function hasDouble(cluster: Cluster): boolean {
  const ips = cluster.kube.objects(SERVICES).flatMap(({ metadata }) => cluster.ips(metadata.name))
  return new Set(ips).size < ips.length
}

function assertNoneTwice(cluster: Cluster, names: readonly string[]): void {
  const ips = names.flatMap(name => cluster.ips(name))
  assert.equal(new Set(ips).size, ips.length, `an address twice: ${ips.join(', ')}`)
}

test('a single controller takes the Lease and acts at once', async () => {
  const cluster = new Cluster(LARGE)
  cluster.seed('web')
  await cluster.start(elect('one'))
  assert.equal(cluster.clock.now() <= 20, true, 'no waiting')
  assert.deepEqual(cluster.ips('web'), ['192.0.2.0'])
  assert.equal(holder(cluster), 'one')
  assert.equal(cluster.metrics.values.get('lodestone_controller_leading'), 1)
  await cluster.stop()
  assert.equal(holder(cluster), '', 'given back')
})

test('R-1 one that stands by becomes ready, and writes nothing', async () => {
  const cluster = new Cluster(LARGE)
  const [first, second] = [new OwnKube(cluster), new OwnKube(cluster)]
  await cluster.start(elect('one'), first)
  second.onWrite = () => assert.fail('it does not lead')
  await cluster.start({ ...elect('two'), memberlistSecretName: 'memberlist' }, second)
  assert.ok(cluster.log.lines.some(({ event }) => event === 'controller-stands-by'))
  cluster.seed('web')
  await cluster.settle()
  assert.deepEqual(cluster.ips('web'), ['192.0.2.0'])
  assert.equal(cluster.kube.objects(RESOURCES.secrets).length, 0)
  await cluster.stop()
  assert.equal(holder(cluster), 'one')
  await cluster.stop()
})

test('the other one takes over when the leader stops in an orderly way, and when it is killed', async () => {
  for (const killed of [false, true]) {
    const cluster = new Cluster(LARGE)
    const first = new OwnKube(cluster)
    await cluster.start(elect('leader'), first)
    await cluster.start(elect('other'))
    cluster.seed('a')
    await cluster.settle()
    if (killed) first.cut()
    else await cluster.stopFirst()
    cluster.seed('b')
    // Released: as soon as it looks again. Killed: when the Lease ran out.
    await cluster.pass(killed ? 12_000 : 5_000)
    assert.deepEqual(cluster.ips('b'), killed ? [] : ['192.0.2.1'])
    await cluster.pass(8_000)
    assert.deepEqual([cluster.ips('a'), cluster.ips('b')], [['192.0.2.0'], ['192.0.2.1']])
    assert.equal(holder(cluster), 'other')
    await cluster.stopAll()
  }
})

test('one that lost its Lease writes nothing any more, and acts again when it is its turn', async () => {
  const cluster = new Cluster(LARGE)
  const kube = new OwnKube(cluster)
  await cluster.start(elect('one'), kube)
  // Somebody else takes the Lease by force; ours is noticed lost at the next renewal.
  const lease = cluster.kube.peek(LEASES, LEASE) as KubeObject
  const spec = lease['spec'] as Record<string, unknown>
  cluster.kube.seed(LEASES, { ...lease, spec: { ...spec, holderIdentity: 'thief' } })
  await cluster.pass(3000)
  kube.onWrite = () => assert.fail('it does not lead')
  cluster.seed('web')
  await cluster.pass(5000)
  assert.deepEqual(cluster.ips('web'), [])
  assert.equal(cluster.metrics.values.get('lodestone_controller_leading'), 0)
  kube.onWrite = () => {}
  await cluster.pass(15_000)
  assert.deepEqual(cluster.ips('web'), ['192.0.2.0'])
  await cluster.stop()
})

test('R-2 who takes over first waits until it has seen all that the one before wrote', async () => {
  const cluster = new Cluster({ lan: { addresses: ['192.0.2.10-192.0.2.11'] } })
  const first = new OwnKube(cluster)
  await cluster.start(elect('leader'), first)
  // What happens reaches the other one up to a second late.
  await cluster.start(elect('late'), new OwnKube(cluster, 1000, 7))
  cluster.seed('a', { created: 2 })
  await cluster.settle()
  assert.deepEqual(cluster.ips('a'), ['192.0.2.10'])
  cluster.seed('b', { created: 1 })
  await cluster.stopFirst()
  await cluster.pass(8000)
  assert.deepEqual([cluster.ips('a'), cluster.ips('b')], [['192.0.2.10'], ['192.0.2.11']])
  await cluster.stopAll()
})

test('killed at any write, with another one standing by: no address lost, none twice', async () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  for (let fatal = 1; fatal <= names.length; fatal++) {
    const cluster = new Cluster(LARGE)
    const kube = new OwnKube(cluster)
    let writes = 0
    kube.onWrite = () => {
      if (++writes === fatal) kube.cut()
    }
    await cluster.start(elect('leader'), kube)
    await cluster.start(elect('other'))
    for (const name of names) cluster.seed(name)
    await cluster.settle()
    const before = new Map(names.map(name => [name, cluster.ips(name)]))
    assert.equal([...before.values()].flat().length, fatal - 1)
    await cluster.pass(20_000, 250)
    for (const name of names) assert.equal(cluster.ips(name).length, 1, name)
    assertNoneTwice(cluster, names)
    for (const [name, ips] of before) if (ips.length > 0) assert.deepEqual(cluster.ips(name), ips)
    await cluster.stopAll()
  }
})

test('R-2 a controller that sees an address twice heals it: the older Service keeps it', async () => {
  const cluster = new Cluster(LARGE)
  cluster.seed('younger', { created: 2 })
  await cluster.start()
  assert.deepEqual(cluster.ips('younger'), ['192.0.2.0'])
  cluster.seed('older', { created: 1, status: ['192.0.2.0'], pool: 'lan' })
  await cluster.settle()
  assert.deepEqual([cluster.ips('older'), cluster.ips('younger')], [['192.0.2.0'], ['192.0.2.1']])
  assert.deepEqual(cluster.reasons('younger'), ['IPAllocated', 'ClearAssignment', 'IPAllocated'])
  await cluster.stop()
})

test('property: even two controllers without an election end with every address given once, and rest', async () => {
  let doubles = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ service: fc.nat(9), remove: fc.boolean() }, { noNullPrototype: true }), {
        minLength: 3,
        maxLength: 14,
      }),
      fc.integer({ min: 1, max: 1_000_000 }),
      async (steps, seed) => {
        const cluster = new Cluster(LARGE)
        await cluster.start({}, new OwnKube(cluster, 60, seed))
        await cluster.start({}, new OwnKube(cluster, 60, seed + 1))
        let created = 0
        cluster.kube.onCommit(({ resource }) => {
          if (resource.plural === SERVICES.plural && hasDouble(cluster)) doubles++
        })
        for (const { service, remove } of steps) {
          const name = { namespace: 'default', name: `s${service}` }
          const exists = cluster.kube.peek(SERVICES, name) !== undefined
          if (exists && remove) cluster.kube.remove(SERVICES, name)
          // Two at once, which the controllers hear of in different order.
          if (!exists) {
            cluster.seed(name.name, { created: created++ })
            cluster.seed(`${name.name}-too`, { created: created++ })
          }
          await cluster.settle(8)
        }
        const names = cluster.kube.objects(SERVICES).map(({ metadata }) => metadata.name)
        await cluster.pass(4000, 40)
        for (const name of names) assert.equal(cluster.ips(name).length, 1, `${name} has none`)
        assertNoneTwice(cluster, names)
        const { serviceWrites } = cluster
        await cluster.pass(2000)
        assert.equal(cluster.serviceWrites, serviceWrites, 'they write against each other')
        await cluster.stopAll()
      },
    ),
    { numRuns: 25, seed: 20261121 },
  )
  assert.ok(doubles > 0, 'the test is no test: an address was never given twice on the way')
})

test('a leader whose writes fail tries again until they do not, and gives nothing away meanwhile', async () => {
  const cluster = new Cluster({ lan: { addresses: ['192.0.2.10-192.0.2.11'] } })
  await cluster.start(elect('one'))
  for (let i = 0; i < 3; i++) {
    const sick = new KubeError('server-error', 'sick', { status: 500 })
    cluster.kube.failNext(sick, { verb: 'patch', resource: SERVICES })
  }
  cluster.seed('a', { created: 1 })
  await cluster.settle()
  cluster.seed('b', { created: 2 })
  await cluster.pass(3000)
  assert.deepEqual([cluster.ips('a'), cluster.ips('b')], [['192.0.2.10'], ['192.0.2.11']])
  await cluster.stop()
})
