import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createKube, type KubeClient } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import type { ApiObject } from '../../src/lab/apiserver/objects.ts'
import { type ApiServer, startApiServer } from '../../src/lab/apiserver/server.ts'
import { ApiError } from '../../src/lab/apiserver/status.ts'
import { type KubeObject, RESOURCES } from '../../src/ports/kube.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { SeededRandom } from '../../src/ports/random.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { demandOf, holdsOf, ipsOf, mayShare, type Pools } from './controller-world-rules.ts'

const SRC = new URL('../../src/', import.meta.url)
const NAMESPACE = 'metallb-system'
/** What the store calls Services. */
const SERVICES = '/services'

/**
 * What bin/lodestone.js does, with this build, and in two steps: it loads the program and begins when it is told to. So one
 * process starts while another one works. It never outlives the test.
 */
const PROGRAM = `
const [main, command, ...argv] = process.argv.slice(1)
process.stdin.on('end', () => process.exit())
Promise.all([import(main), import(command)]).then(([{ main }]) => {
  process.stdin.once('data', () => main(['node', 'lodestone', ...argv]))
})`

/** What becomes of a write that a controller asks for: it takes effect or not, and who asked is killed at that moment, or not. */
export type Fate = { readonly lands: boolean; readonly kill: boolean }

/** The lab's API server in this process, the only one that sees every write at the moment it happens, and controllers as real processes. */
export class World {
  readonly server: ApiServer
  readonly kube: KubeClient
  readonly pools: Pools
  /** What is wrong with what was seen on the way: an address twice, or one that was taken away. */
  readonly wrong: string[] = []
  /** Services that were given an address, or another one, as often as that happened. */
  allocations = 0
  /** Asked about each write by a controller; the kind is the store's name for it. Without an answer it takes effect. */
  onWrite: ((kind: string, key: string) => Fate | undefined) | undefined
  readonly #folder: string
  readonly #running = new Set<Controller>()
  #leading: Controller | undefined
  #editing = 0

  private constructor(server: ApiServer, kube: KubeClient, folder: string, pools: Pools) {
    this.server = server
    this.kube = kube
    this.#folder = folder
    this.pools = pools
    this.#intercept()
    server.store.onChange((kind, { before, after }) => {
      if (kind === SERVICES) this.#saw(before?.object, after?.object)
    })
  }

  static async start(pools: Pools): Promise<World> {
    const clock = new SystemClock()
    const log = new FakeLog()
    const user = (name: string) => ({ user: name, groups: ['system:masters', 'system:authenticated'] })
    const server = await startApiServer({
      listen: [{ host: '127.0.0.1', port: 0 }],
      serverNames: ['127.0.0.1'],
      tokens: new Map([
        ['test', user('test')],
        ['controller', user('controller')],
      ]),
      clusterCidrs: { services: ['10.96.0.0/16', 'fd00:96::/112'] },
      crdDirectory: fileURLToPath(new URL('../../../deploy/crds', import.meta.url)),
      log,
      clock,
    })
    const folder = mkdtempSync(join(tmpdir(), 'lodestone-world-'))
    for (const name of ['test', 'controller'])
      writeFileSync(join(folder, name), server.kubeconfig(server.url, name), { mode: 0o600 })
    const kube = createKube({
      config: await loadKubeConfig({ clock, kubeconfig: join(folder, 'test') }),
      clock,
      random: new SeededRandom(1),
      log,
      userAgent: 'test',
    })
    const world = new World(server, kube, folder, pools)
    for (const name of ['team', NAMESPACE])
      await world.edit(() => kube.create(RESOURCES.namespaces, { metadata: { name } }))
    for (const name of pools.keys()) await world.writePool(name)
    return world
  }

  /** Writes of the test's own go through this: everything else is a controller's. */
  async edit<T>(write: () => Promise<T>): Promise<T> {
    this.#editing++
    try {
      return await write()
    } finally {
      this.#editing--
    }
  }

  /** Creates a pool as `pools` has it, or changes it to that. */
  async writePool(name: string): Promise<void> {
    const spec = this.pools.get(name)
    assert.ok(spec !== undefined)
    const object = { metadata: { name, namespace: NAMESPACE }, spec } as unknown as KubeObject
    await this.edit(async () => {
      if (this.server.store.collection('metallb.io/ipaddresspools').get(`${NAMESPACE}/${name}`) === undefined)
        await this.kube.create(RESOURCES.ipAddressPools, object)
      else
        await this.kube.patch(
          RESOURCES.ipAddressPools,
          { namespace: NAMESPACE, name },
          { spec },
          { type: 'merge' },
        )
    })
  }

  /** As the API server has them now, but its own. */
  get services(): readonly ApiObject[] {
    return this.server.store
      .collection(SERVICES)
      .all()
      .map(({ object }) => object)
      .filter(({ metadata }) => metadata.name !== 'kubernetes')
  }

  /** Services that a controller still has to do something about. */
  get open(): readonly ApiObject[] {
    const { services } = this
    return services.filter(object => demandOf(object, services, this.pools) !== undefined)
  }

  /** How many Services hold an address. */
  get held(): number {
    return this.services.filter(object => ipsOf(object).length > 0).length
  }

  /** Every address, by Service. */
  addresses(): Record<string, readonly string[]> {
    return Object.fromEntries(
      this.services.map(object => [`${object.metadata.namespace}/${object.metadata.name}`, ipsOf(object)]),
    )
  }

  holder(): string {
    const lease = this.server.store
      .collection('coordination.k8s.io/leases')
      .get(`${NAMESPACE}/lodestone-controller`)
    return (lease?.object['spec'] as { holderIdentity?: string } | undefined)?.holderIdentity ?? ''
  }

  /** A process that has loaded the program, or is at it, and waits for `go`. */
  controller(pod: string, ...flags: readonly string[]): Controller {
    const controller = new Controller([
      '--kubeconfig',
      join(this.#folder, 'controller'),
      '--webhook-mode',
      'disabled',
      '--health-probe-port',
      '0',
      '--pod-name',
      pod,
      ...flags,
    ])
    this.#running.add(controller)
    void controller.exited.then(() => this.#running.delete(controller))
    return controller
  }

  /** Lets it begin as the only one; `onWrite` decides when it is killed. */
  lead(controller: Controller): void {
    this.#leading = controller
    controller.go()
  }

  /** Resolves when all that a dead controller had sent has arrived and is dealt with. */
  async drained(): Promise<void> {
    await waitFor('the end of its connections', () => this.server.watches() === 0)
    // What the kernel still holds of it is read in the same turn of the loop, or in the next ones.
    for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
  }

  async end(): Promise<void> {
    this.onWrite = undefined
    for (const controller of this.#running) controller.kill('SIGKILL')
    await Promise.all([...this.#running].map(controller => controller.exited))
    this.kube.close()
    await this.server.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Between the last check of a write and its effect, and between its effect and the answer. */
  #intercept(): void {
    const { store } = this.server
    const put = store.put.bind(store)
    store.put = (kind, key, object) => {
      const fate = this.#editing > 0 ? undefined : this.onWrite?.(kind, key)
      if (fate?.kill === true && !fate.lands) this.#leading?.kill('SIGKILL')
      if (fate?.lands === false) throw new ApiError(503, 'ServiceUnavailable', 'nobody is there to hear this')
      const stored = put(kind, key, object)
      if (fate?.kill === true) this.#leading?.kill('SIGKILL')
      return stored
    }
  }

  /** No address twice, and nobody loses one without a cause of its own. */
  #saw(before: ApiObject | undefined, after: ApiObject | undefined): void {
    if (after === undefined) return
    const [had, has] = [before === undefined ? [] : ipsOf(before), ipsOf(after)]
    const added = has.filter(ip => !had.includes(ip))
    const { namespace, name } = after.metadata
    const who = `${namespace}/${name}`
    const { services } = this
    if (before !== undefined && had.some(ip => !has.includes(ip))) {
      if (demandOf({ ...after, status: before['status'] ?? {} }, services, this.pools) === undefined)
        this.wrong.push(`${who} had ${had.join()} and has "${has.join()}"`)
    }
    for (const other of services) {
      const twice = added.filter(ip => holdsOf(other).includes(ip))
      if (other.metadata.uid === after.metadata.uid || twice.length === 0 || mayShare(after, other)) continue
      this.wrong.push(`${who} and ${other.metadata.namespace}/${other.metadata.name} have ${twice.join()}`)
    }
    if (added.length > 0) this.allocations++
  }
}

/** A `lodestone controller` process. */
export class Controller {
  readonly exited: Promise<void>
  readonly #child: ChildProcess
  readonly #events = new Set<string>()
  #errors = ''

  constructor(argv: readonly string[]) {
    const files = [new URL('cli/main.js', SRC), new URL('app/controller-process.js', SRC)]
    this.#child = spawn(
      process.execPath,
      ['--eval', PROGRAM, ...files.map(file => file.href), 'controller', ...argv],
      { stdio: 'pipe' },
    )
    this.exited = once(this.#child, 'close').then(() => {})
    this.#child.stdin?.on('error', () => {}) // It was killed.
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2000)
    })
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout }).on('line', line => {
        const event = /"event":"([\w-]+)"/.exec(line)?.[1]
        if (event !== undefined) this.#events.add(event)
      })
  }

  go(): void {
    this.#child.stdin?.write('\n')
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Whether it logged such an event. */
  logged(event: string): boolean {
    return this.#events.has(event)
  }

  /** How it ended; what it wrote to standard error. */
  get ending(): { readonly code: number | null; readonly signal: string | null; readonly errors: string } {
    return { code: this.#child.exitCode, signal: this.#child.signalCode, errors: this.#errors }
  }

  /** At once: the kernel lets it run no further. */
  kill(signal: NodeJS.Signals): void {
    if (this.alive) this.#child.kill(signal)
  }
}

export async function waitFor(
  what: string,
  condition: () => boolean | Promise<boolean>,
  withinMs = 60_000,
): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `${what}: not within ${withinMs} ms`)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}
