// The real controller as real processes against the lab's API server: killed at each of its writes, and two at a time.
// LODESTONE_CRASH_SEED, which each run prints, brings back the same edits and the same fates.
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { ApiObject } from '../../src/lab/apiserver/objects.ts'
import { type KubeObject, RESOURCES } from '../../src/ports/kube.ts'
import { type Random, SeededRandom } from '../../src/ports/random.ts'
import { type Controller, World, waitFor } from './controller-world.ts'
import { ipsOf, PIN, type Pools, REQUEST, SHARE, specOf } from './controller-world-rules.ts'

const { services: SERVICES } = RESOURCES

const makePools = (): Pools =>
  new Map([
    // It is full after a while, and those that come then go elsewhere.
    ['first', { addresses: ['198.51.100.0/27'], serviceAllocation: { priority: 1 } }],
    [
      'gold',
      {
        addresses: ['203.0.113.0/26', '2001:db8:2::/120'],
        serviceAllocation: { priority: 2, serviceSelectors: [{ matchLabels: { tier: 'gold' } }] },
      },
    ],
    [
      'team',
      {
        addresses: ['203.0.113.64/26', '2001:db8:3::/120'],
        serviceAllocation: { priority: 3, namespaces: ['team'] },
      },
    ],
    ['rest', { addresses: ['198.51.100.64/26', '198.51.100.128/25', '2001:db8:1::/120'] }],
    // Only for those that name it, or an address of its upper half.
    ['side', { addresses: ['192.0.2.0/24'], autoAssign: false }],
  ])

/** Edits of a cluster in which everybody finds an address, but those that ask for one that is taken. */
class Edits {
  readonly #world: World
  readonly #random: Random
  /** Services that were made. */
  created = 0

  constructor(world: World, random: Random) {
    this.#world = world
    this.#random = random
  }

  chance(share: number): boolean {
    return this.#random.next() < share
  }

  #upTo(limit: number): number {
    return Math.floor(this.#random.next() * limit)
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#upTo(items.length)] as T
  }

  #someAddress(): string {
    return `192.0.2.${192 + this.#upTo(48)}`
  }

  async create(): Promise<void> {
    const name = `s${this.created++}`
    const annotations: Record<string, string> = {}
    const families = this.#pick<Record<string, unknown>>([
      {},
      {},
      {},
      { ipFamilies: ['IPv6'] },
      { ipFamilyPolicy: 'PreferDualStack' },
      { ipFamilyPolicy: 'RequireDualStack' },
    ])
    if (this.chance(0.3)) annotations[SHARE] = `key-${this.#upTo(4)}`
    if (Object.keys(families).length === 0) {
      const wish = this.#random.next()
      if (wish < 0.15) annotations[REQUEST] = this.#someAddress()
      else if (wish < 0.3) annotations[PIN] = this.#pick(['rest', 'side'])
    }
    await this.#create({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: {
        name,
        namespace: this.chance(0.2) ? 'team' : 'default',
        annotations,
        labels: this.chance(0.2) ? { tier: 'gold' } : {},
      },
      spec: {
        ...families,
        type: 'LoadBalancer',
        allocateLoadBalancerNodePorts: false,
        externalTrafficPolicy: this.chance(0.2) ? 'Local' : 'Cluster',
        selector: { app: this.#pick(['a', 'b']) },
        ports: [{ port: this.#pick([53, 80, 443, 8080, 8443]), protocol: this.#pick(['TCP', 'UDP']) }],
      },
    })
  }

  async #create(service: KubeObject): Promise<void> {
    await this.#world.edit(() => this.#world.kube.create(SERVICES, service))
  }

  async #patch(object: ApiObject, patch: Record<string, unknown>): Promise<void> {
    const { namespace = '', name } = object.metadata
    await this.#world.edit(() =>
      this.#world.kube.patch(SERVICES, { namespace, name }, patch, { type: 'merge' }),
    )
  }

  /** Something happens to a Service that is there already. */
  async change(): Promise<void> {
    const { services } = this.#world
    if (services.length === 0) return
    const object = this.#pick(services)
    const { annotations = {}, namespace = '', name } = object.metadata
    const [ip = ''] = ipsOf(object)
    // One of two families may not ask for an address of one alone.
    const isV4 = ip.includes('.') && specOf(object).ipFamilyPolicy === 'SingleStack'
    switch (this.#upTo(7)) {
      case 0:
        await this.#world.edit(() => this.#world.kube.delete(SERVICES, { namespace, name }))
        break
      case 1:
      case 2:
        if (specOf(object).type === 'LoadBalancer')
          await this.#patch(object, {
            spec: {
              type: 'ClusterIP',
              externalTrafficPolicy: null,
              allocateLoadBalancerNodePorts: null,
            },
          })
        else await this.#patch(object, { spec: { type: 'LoadBalancer' } })
        break
      case 3:
        // No cause to lose anything.
        await this.#patch(object, { metadata: { labels: { turn: `${this.created}` } } })
        break
      case 4:
        if (isV4 && annotations[REQUEST] === undefined)
          await this.#patch(object, { metadata: { annotations: { [PIN]: this.#pick(['rest', 'side']) } } })
        break
      case 5:
        if (isV4)
          await this.#patch(object, {
            metadata: { annotations: { [PIN]: null, [REQUEST]: this.#someAddress() } },
          })
        break
      case 6:
        // Where it holds an address with others, one of them has to go.
        await this.#patch(object, {
          metadata: { annotations: { [SHARE]: this.chance(0.5) ? null : `key-${this.#upTo(4)}` } },
        })
        break
    }
  }

  /** A few edits, half of them new Services or more. */
  async some(): Promise<void> {
    const count = 1 + this.#upTo(5)
    for (let edit = 0; edit < count; edit++) await (this.chance(0.65) ? this.create() : this.change())
  }

  /** A part of the pool that most are in goes, and the one that is full grows. */
  async changePools(): Promise<void> {
    const { pools } = this.#world
    pools.set('rest', { ...pools.get('rest'), addresses: ['198.51.100.128/25', '2001:db8:1::/120'] })
    pools.set('first', { ...pools.get('first'), addresses: ['198.51.100.0/26'] })
    for (const name of ['rest', 'first']) await this.#world.writePool(name)
  }
}

/** Kills whoever writes, at each write of a Service, and at the first few of everything else. */
class Killer {
  readonly #random: Random
  /** Writes of Services that were asked for, those of them that took effect, and kills at them. */
  asked = 0
  landed = 0
  /** Kills, by what was written then. */
  readonly kills = new Map<string, number>()
  #alive = false

  constructor(random: Random) {
    this.#random = random
  }

  begin(): void {
    this.#alive = true
  }

  readonly decide = (kind: string): { lands: boolean; kill: boolean } | undefined => {
    const lands = this.#random.next() < 0.7
    if (kind === '/services') {
      this.asked++
      if (lands) this.landed++
    } else if (!this.#alive || this.#random.next() < 0.5 || (this.kills.get(kind) ?? 0) >= 3) {
      return undefined
    }
    const kill = this.#alive
    this.#alive = false
    if (kill) this.kills.set(kind, (this.kills.get(kind) ?? 0) + 1)
    return { lands, kill }
  }

  get total(): number {
    return [...this.kills.values()].reduce((sum, count) => sum + count, 0)
  }
}

const ALLOCATIONS = 200
/** Processes that start up while one works. */
const STANDBY = 2
const POD = 'controller-0'

test('R-2 a controller killed at every write of a Service: no address lost, none twice', async t => {
  const seed = Number(process.env['LODESTONE_CRASH_SEED'] ?? randomInt(2 ** 31))
  t.diagnostic(`LODESTONE_CRASH_SEED=${seed}`)
  const begin = { wall: performance.now(), ...cpuSeconds() }
  const world = await World.start(makePools())
  try {
    const edits = new Edits(world, new SeededRandom(seed))
    const killer = new Killer(new SeededRandom(seed + 1))
    world.onWrite = killer.decide
    const standby: Controller[] = []
    let poolsChanged = false
    while (world.allocations < ALLOCATIONS || world.open.length > 0) {
      if (world.allocations < ALLOCATIONS) await edits.some()
      if (world.allocations > ALLOCATIONS / 2 && !poolsChanged) {
        poolsChanged = true
        await edits.changePools()
      }
      if (world.open.length === 0) continue
      // The Pod's name is the same after each restart, as a kubelet's container has it: the Lease is still ours.
      while (standby.length <= STANDBY) standby.push(world.controller(POD))
      const life = standby.shift() as Controller
      killer.begin()
      world.lead(life)
      const open = JSON.stringify(world.open)
      await waitFor(`seed ${seed}: a write for ${open}`, () => !life.alive)
      await life.exited
      assert.equal(life.ending.signal, 'SIGKILL', `seed ${seed}: ${life.ending.errors}`)
      await world.drained()
      assert.deepEqual(world.wrong, [], `seed ${seed}, after kill ${killer.total}`)
    }
    const { allocations } = world
    const held = world.addresses()
    world.onWrite = undefined
    await undisturbed(world, standby.shift() ?? world.controller(POD))
    const { 'default/newcomer': newcomer, ...after } = world.addresses()
    assert.ok(newcomer?.length === 1)
    assert.deepEqual(after, held, `seed ${seed}: the last one changed what the others had given`)
    assert.deepEqual(world.wrong, [], `seed ${seed}`)

    const { asked, landed, kills, total } = killer
    const elsewhere = [...kills].filter(([kind]) => kind !== '/services')
    t.diagnostic(
      `${total} kills, ${kills.get('/services')} of them at writes of Services: ${asked} were asked for, ${landed} took effect, ` +
        `none was answered; ${allocations} allocations; the other kills: ${elsewhere.map(([kind, count]) => `${count} ${kind}`).join(', ')}`,
    )
  } finally {
    await world.end()
    const [wall, end] = [(performance.now() - begin.wall) / 1000, cpuSeconds()]
    const [own, children] = [end.own - begin.own, end.children - begin.children]
    t.diagnostic(
      `${wall.toFixed(1)} s; processor time: ${children.toFixed(1)} s for the controllers, ${own.toFixed(1)} s for the API server and the checks`,
    )
  }
})

/** Runs until it has given an address to one more Service, after all that it had to do before, and ends in order. */
async function undisturbed(world: World, controller: Controller): Promise<void> {
  controller.go()
  await waitFor('the last one to be ready', () => controller.logged('controller-ready'))
  await world.edit(() =>
    world.kube.create(SERVICES, {
      metadata: { name: 'newcomer', namespace: 'default' },
      spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
    }),
  )
  await waitFor('an address for the newcomer', () => (world.addresses()['default/newcomer']?.length ?? 0) > 0)
  controller.kill('SIGTERM')
  await controller.exited
  assert.equal(controller.ending.code, 0, controller.ending.errors)
}

/** Of this process, and of those that it waited for (cutime and cstime of proc(5), in ticks of 10 ms). */
function cpuSeconds(): { readonly own: number; readonly children: number } {
  const { user, system } = process.cpuUsage()
  const stat = readFileSync('/proc/self/stat', 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { own: (user + system) / 1e6, children: (Number(fields[13]) + Number(fields[14])) / 100 }
}

test('two controllers: one acts; killed or stopped, the other one goes on, and no address is given twice', async () => {
  const world = await World.start(new Map([['lan', { addresses: ['198.51.100.0/24'] }]]))
  try {
    const flags = ['--lease-duration', '2']
    const start = (pod: string): Controller => {
      const controller = world.controller(pod, ...flags)
      controller.go()
      return controller
    }
    const pods = new Map(['controller-a', 'controller-b'].map(pod => [pod, start(pod)]))
    let created = 0
    const create = (): Promise<unknown> =>
      world.edit(() =>
        world.kube.create(SERVICES, {
          metadata: { name: `s${created++}`, namespace: 'default' },
          spec: { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
        }),
      )
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
      for (let i = 0; i < 20; i++) await create()
      await waitFor('a leader', () => pods.has(world.holder()))
      const leader = world.holder()
      const { allocations } = world
      await waitFor('writes', () => world.allocations > allocations || world.held === created)
      const controller = pods.get(leader) as Controller
      controller.kill(signal)
      await controller.exited
      for (let i = 0; i < 10; i++) await create()
      await waitFor('the other one to lead', () => world.holder() !== leader && pods.has(world.holder()))
      await waitFor('the other one to go on', () => world.held === created)
      pods.set(leader, start(leader))
    }
    assert.deepEqual(world.wrong, [])
  } finally {
    await world.end()
  }
})
