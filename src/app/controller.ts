import { randomBytes } from 'node:crypto'
import { Allocator } from '../allocator/allocator.ts'
import { type Decision, needsWrite } from '../allocator/decision.ts'
import type { PoolUsage } from '../allocator/pool-state.ts'
import type { Config, Problem } from '../config/model.ts'
import { namespaceFromObject, nodeFromObject } from '../config/nodes.ts'
import { parseConfig, samePools } from '../config/parse.ts'
import { POOL_ANNOTATION, type ServiceFacts, serviceFromObject } from '../config/services.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventSink } from '../ports/events.ts'
import { type Informer, type Kube, KubeError, type KubeObject, objectKey, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Metrics } from '../ports/metrics.ts'
import type { Random } from '../ports/random.ts'
import { WriteQueue } from './write-queue.ts'

export type ControllerDeps = {
  readonly kube: Kube
  readonly clock: Clock
  readonly log: Log
  readonly random: Random
  readonly events: EventSink
  readonly metrics?: Metrics
  /** Called once everything was read and the first pass is done. */
  readonly onReady?: () => void
}

export type ControllerFlags = {
  /** Where the metallb.io objects are read from and the Secret is kept. */
  readonly namespace: string
  /** --lb-class; empty: Services without a class. */
  readonly loadBalancerClass: string
  /** --ml-secret-name; empty: no Secret is made. */
  readonly memberlistSecretName: string
}

/** A burst of changes is one pass. */
const GATHER_MS = 5
const SERVICE_WRITES_MAX = 32
const POOL_STATUS_DELAY_MS = 1000
/** How long a stop waits for writes that are on their way. */
const STOP_MS = 5000

/**
 * Gives Services of type LoadBalancer their addresses: reads everything, plans, writes what differs, looks again.
 *
 * Nothing is decided before every list was read whole, so an address in use is never given away. Keeps no state but in
 * Service status: killed at any moment, the next one goes on from what is written. A broken configuration keeps the last
 * good one running (V-1).
 * @returns when the signal aborted and the writes on their way ended
 */
export async function runController(
  deps: ControllerDeps,
  flags: ControllerFlags,
  signal: AbortSignal,
): Promise<void> {
  const controller = new Controller(deps, flags)
  await controller.run(signal)
}

/** A custom resource without what the server keeps for itself; status is left out, or our own writes would count as changes. */
type Custom = { readonly uid: string | undefined; readonly object: KubeObject }

class Controller {
  readonly #deps: ControllerDeps
  readonly #flags: ControllerFlags
  readonly #allocator: Allocator
  readonly #services
  readonly #pools
  readonly #advertisements
  readonly #nodes
  readonly #namespaces
  readonly #writes: WriteQueue
  readonly #poolWrites: WriteQueue

  #config: Config | undefined
  #configChanged = true
  readonly #changed = new Set<string>()
  #cancelPass: (() => void) | undefined
  #ready = false
  #stopped = false
  /** Versions that our own writes made and the informer has yet to show: older ones are out of date. */
  readonly #awaited = new Map<string, bigint>()
  /** For each Service the causes that people were told of and that still hold. */
  readonly #told = new Map<string, ReadonlySet<string>>()
  #toldProblems: ReadonlySet<string> = new Set()
  #shownUsage = new Map<string, PoolUsage>()

  constructor(deps: ControllerDeps, flags: ControllerFlags) {
    this.#deps = deps
    this.#flags = flags
    this.#allocator = new Allocator({ loadBalancerClass: flags.loadBalancerClass })
    const { kube, clock, random } = deps
    const { namespace } = flags
    this.#services = kube.informer(RESOURCES.services, { convert: serviceFromObject })
    this.#pools = kube.informer(RESOURCES.ipAddressPools, { namespace, convert: customFrom })
    this.#advertisements = kube.informer(RESOURCES.l2Advertisements, { namespace, convert: customFrom })
    this.#nodes = kube.informer(RESOURCES.nodes, { convert: nodeFromObject })
    this.#namespaces = kube.informer(RESOURCES.namespaces, { convert: namespaceFromObject })
    this.#writes = new WriteQueue({
      clock,
      random,
      concurrency: SERVICE_WRITES_MAX,
      write: key => this.#writeService(key),
      onFailure: (key, error) => this.#writeFailed('service-write-failed', key, error),
    })
    this.#poolWrites = new WriteQueue({
      clock,
      random,
      concurrency: 1,
      write: name => this.#writePoolStatus(name),
      onFailure: (name, error) => this.#writeFailed('pool-status-write-failed', name, error),
    })
  }

  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    this.#services.onChange(({ key }) => {
      this.#changed.add(key)
      this.#schedule()
    })
    this.#watchConfig(this.#pools, same)
    this.#watchConfig(this.#advertisements, same)
    this.#watchConfig(this.#nodes, (a, b) => same(a.labels, b.labels))
    this.#watchConfig(this.#namespaces, same)
    const informers = [this.#services, this.#pools, this.#advertisements, this.#nodes, this.#namespaces]
    try {
      await Promise.all(informers.map(informer => informer.start(signal)))
    } catch (error) {
      if (signal.aborted) return
      throw error
    }
    this.#deps.log.info('controller-synced', {
      services: this.#services.items.size,
      pools: this.#pools.items.size,
      nodes: this.#nodes.items.size,
    })
    const secret = this.#ensureSecret(signal)
    this.#ready = true
    for (const key of this.#services.items.keys()) this.#changed.add(key)
    this.#pass()
    this.#deps.onReady?.()
    await aborted(signal)
    this.#stopped = true
    this.#cancelPass?.()
    let cancelTimeout = () => {}
    await Promise.race([
      Promise.all([this.#writes.stop(), this.#poolWrites.stop(), secret]),
      new Promise<void>(resolve => {
        cancelTimeout = this.#deps.clock.after(STOP_MS, resolve)
      }),
    ])
    cancelTimeout()
    this.#deps.log.info('controller-stopped', { unwritten: this.#writes.size })
  }

  #watchConfig<T>(informer: Informer<T>, alike: (a: T, b: T) => boolean): void {
    informer.onChange(({ before, after }) => {
      if (before !== undefined && after !== undefined && alike(before, after)) return
      this.#configChanged = true
      this.#schedule()
    })
  }

  #schedule(): void {
    if (!this.#ready || this.#stopped || this.#cancelPass !== undefined) return
    this.#cancelPass = this.#deps.clock.after(GATHER_MS, () => this.#pass())
  }

  /** Gather, plan, apply. */
  #pass(): void {
    this.#cancelPass = undefined
    if (this.#stopped) return
    const config = this.#configChanged ? this.#readConfig() : undefined
    this.#configChanged = false
    const changed: ServiceFacts[] = []
    const removed: string[] = []
    for (const key of this.#changed) {
      const facts = this.#services.items.get(key)
      if (facts === undefined) {
        removed.push(key)
        this.#told.delete(key)
        this.#awaited.delete(key)
      } else if (this.#isCurrent(facts)) changed.push(facts)
    }
    this.#changed.clear()
    const decisions = this.#allocator.reconcile({ ...(config && { config }), changed, removed })
    this.#count(UPDATES, changed.length + removed.length)
    for (const decision of decisions) {
      this.#tell(decision)
      if (decision.write) this.#writes.add(decision.service)
    }
    this.#showUsage()
  }

  /** False while the informer has not caught up with our own write: what it shows is from before. */
  #isCurrent(facts: ServiceFacts): boolean {
    const awaited = this.#awaited.get(facts.key)
    if (awaited === undefined) return true
    const version = versionNumber(facts.resourceVersion)
    if (version !== undefined && version < awaited) return false
    this.#awaited.delete(facts.key)
    return true
  }

  /** The new configuration, if there is one that is good and gives out other addresses than before. */
  #readConfig(): Config | undefined {
    const parsed = parseConfig({
      pools: [...this.#pools.items.values()].map(({ object }) => object),
      l2Advertisements: [...this.#advertisements.items.values()].map(({ object }) => object),
      nodes: [...this.#nodes.items.values()],
      namespaces: [...this.#namespaces.items.values()],
    })
    if (!('config' in parsed)) {
      this.#tellProblems(parsed.problems)
      this.#gauge(CONFIG_STALE, 1)
      if (this.#config === undefined) this.#gauge(CONFIG_LOADED, 0)
      this.#count(UPDATE_ERRORS, 1)
      return undefined
    }
    this.#tellProblems(parsed.warnings)
    this.#gauge(CONFIG_LOADED, 1)
    this.#gauge(CONFIG_STALE, 0)
    const before = this.#config
    this.#config = parsed.config
    if (before !== undefined && samePools(before, parsed.config)) return undefined
    this.#deps.log.info('config-loaded', { pools: parsed.config.pools.length })
    return parsed.config
  }

  /** C-15: addresses and annotation in one call; the version makes it fail when the Service changed meanwhile. */
  async #writeService(key: string): Promise<void> {
    const facts = this.#services.items.get(key)
    const decided = this.#allocator.get(key)
    if (facts === undefined || decided === undefined || !this.#isCurrent(facts)) return
    const { ips, pool } = decided
    if (!needsWrite(facts, ips, pool)) return
    const { namespace, name, resourceVersion } = facts
    const written = await this.#deps.kube.patch(
      RESOURCES.services,
      { namespace, name },
      {
        metadata: {
          ...(resourceVersion === '' ? {} : { resourceVersion }),
          annotations: { [POOL_ANNOTATION]: pool },
        },
        status: { loadBalancer: { ingress: ips.length === 0 ? null : ips.map(ip => ({ ip })) } },
      },
      { type: 'merge', subresource: 'status' },
    )
    const version = versionNumber(written.metadata.resourceVersion ?? '')
    const shown = versionNumber(this.#services.items.get(key)?.resourceVersion ?? '')
    if (version !== undefined && shown !== undefined && shown < version) this.#awaited.set(key, version)
    this.#deps.log.info('service-written', { service: key, ips, pool })
  }

  #writeFailed(event: string, key: string, error: unknown): 'retry' | 'drop' {
    this.#count(UPDATE_ERRORS, 1)
    const code = error instanceof KubeError ? error.code : undefined
    if (code === 'not-found') return 'drop'
    const level = code === 'conflict' ? 'debug' : 'warn'
    this.#deps.log[level](event, { object: key, error })
    return 'retry'
  }

  /** Once for each cause, not at every pass. */
  #tell(decision: Decision): void {
    const facts = this.#services.items.get(decision.service)
    if (facts === undefined) return
    const before = this.#told.get(decision.service)
    const causes = new Set<string>()
    for (const { type, reason, message } of decision.events) {
      // Numbers in the message change while the cause is the same.
      const cause =
        reason === 'AllocationFailed' ? `${reason} ${decision.pending?.code}` : `${reason} ${message}`
      const passing = reason === 'IPAllocated' || reason === 'ClearAssignment'
      if (!passing) causes.add(cause)
      if (before?.has(cause) === true) continue
      const { namespace, name, uid, resourceVersion } = facts
      const about = { apiVersion: 'v1', kind: 'Service', namespace, name, uid, resourceVersion }
      this.#deps.events.emit(about, type, reason, message)
      this.#deps.log.info('service-event', { service: decision.service, reason, message })
    }
    if (causes.size > 0) this.#told.set(decision.service, causes)
    else this.#told.delete(decision.service)
  }

  #tellProblems(problems: readonly Problem[]): void {
    const told = new Set<string>()
    for (const problem of problems) {
      const { object, code, field, message, severity } = problem
      const cause = JSON.stringify([object, code, field, message])
      told.add(cause)
      if (this.#toldProblems.has(cause)) continue
      const store = object.kind === 'IPAddressPool' ? this.#pools : this.#advertisements
      const uid = store.items.get(objectKey(object))?.uid
      const about = { apiVersion: 'metallb.io/v1beta1', ...object, ...(uid === undefined ? {} : { uid }) }
      this.#deps.events.emit(about, 'Warning', 'ConfigurationError', message)
      const event = severity === 'warning' ? 'config-warning' : 'config-refused'
      this.#deps.log.warn(event, { ...object, code, field, message })
    }
    this.#toldProblems = told
  }

  #showUsage(): void {
    const shown = new Map<string, PoolUsage>()
    for (const usage of this.#allocator.usage()) {
      const before = this.#shownUsage.get(usage.pool)
      shown.set(usage.pool, usage)
      if (before !== undefined && same(before, usage)) continue
      this.#setPoolMetrics(usage)
      this.#deps.clock.after(POOL_STATUS_DELAY_MS, () => this.#poolWrites.add(usage.pool))
    }
    for (const [pool] of this.#shownUsage) {
      if (shown.has(pool)) continue
      for (const [name] of POOL_GAUGES) this.#deps.metrics?.remove(name, { pool })
    }
    this.#shownUsage = shown
  }

  #setPoolMetrics({ pool, capacity, inUse }: PoolUsage): void {
    const { metrics } = this.#deps
    metrics?.set(POOL_TOTAL, { pool }, capacity.IPv4 + capacity.IPv6)
    metrics?.set(POOL_TOTAL_IPV4, { pool }, capacity.IPv4)
    metrics?.set(POOL_TOTAL_IPV6, { pool }, capacity.IPv6)
    metrics?.set(POOL_IN_USE, { pool }, inUse.IPv4 + inUse.IPv6)
    metrics?.set(POOL_IN_USE_IPV4, { pool }, inUse.IPv4)
    metrics?.set(POOL_IN_USE_IPV6, { pool }, inUse.IPv6)
  }

  async #writePoolStatus(name: string): Promise<void> {
    const usage = this.#shownUsage.get(name)
    if (usage === undefined) return
    const { capacity, inUse } = usage
    const status = {
      assignedIPv4: inUse.IPv4,
      assignedIPv6: inUse.IPv6,
      availableIPv4: capacity.IPv4 - inUse.IPv4,
      availableIPv6: capacity.IPv6 - inUse.IPv6,
    }
    const { namespace } = this.#flags
    await this.#deps.kube.patch(
      RESOURCES.ipAddressPools,
      { namespace, name },
      { status },
      { type: 'merge', subresource: 'status' },
    )
  }

  /** The key that speakers share (1.0): 16 random bytes as unpadded base64 text. Never replaced. */
  async #ensureSecret(signal: AbortSignal): Promise<void> {
    const { namespace, memberlistSecretName: name } = this.#flags
    if (name === '') return
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        if ((await this.#deps.kube.get(RESOURCES.secrets, { namespace, name })) !== undefined) return
        const text = randomBytes(16).toString('base64').replace(/=+$/, '')
        await this.#deps.kube.create(RESOURCES.secrets, {
          apiVersion: 'v1',
          kind: 'Secret',
          metadata: { namespace, name },
          type: 'Opaque',
          data: { secretkey: Buffer.from(text).toString('base64') },
        })
        this.#deps.log.info('secret-created', { namespace, name })
        return
      } catch (error) {
        if (error instanceof KubeError && error.code === 'already-exists') return
        this.#deps.log.warn('secret-failed', { namespace, name, error })
      }
      const delay = Math.min(30_000, 500 * 2 ** attempt) * (0.5 + this.#deps.random.next())
      await Promise.race([
        new Promise<void>(resolve => this.#deps.clock.after(delay, resolve)),
        aborted(signal),
      ])
    }
  }

  #gauge(name: string, value: number): void {
    this.#deps.metrics?.set(name, {}, value)
  }

  #count(name: string, amount: number): void {
    if (amount > 0) this.#deps.metrics?.add(name, {}, amount)
  }
}

function customFrom(object: KubeObject): Custom {
  const { name, namespace, labels, uid } = object.metadata
  const metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(labels === undefined ? {} : { labels }),
  }
  return { uid, object: { metadata, spec: object['spec'] } }
}

/** Numbers are how API servers write versions; where one is none, our own writes are not waited for. */
function versionNumber(text: string): bigint | undefined {
  return /^\d+$/.test(text) ? BigInt(text) : undefined
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

const POOL_TOTAL = 'metallb_allocator_addresses_total'
const POOL_TOTAL_IPV4 = 'metallb_allocator_ipv4_addresses_total'
const POOL_TOTAL_IPV6 = 'metallb_allocator_ipv6_addresses_total'
const POOL_IN_USE = 'metallb_allocator_addresses_in_use_total'
const POOL_IN_USE_IPV4 = 'metallb_allocator_ipv4_addresses_in_use_total'
const POOL_IN_USE_IPV6 = 'metallb_allocator_ipv6_addresses_in_use_total'
const UPDATES = 'metallb_k8s_client_updates_total'
const UPDATE_ERRORS = 'metallb_k8s_client_update_errors_total'
const CONFIG_LOADED = 'metallb_k8s_client_config_loaded_bool'
const CONFIG_STALE = 'metallb_k8s_client_config_stale_bool'

const POOL_GAUGES = [
  [POOL_TOTAL, 'Addresses that the pool can give out'],
  [POOL_TOTAL_IPV4, 'IPv4 addresses that the pool can give out'],
  [POOL_TOTAL_IPV6, 'IPv6 addresses that the pool can give out'],
  [POOL_IN_USE, 'Addresses of the pool in use; a shared one counts once'],
  [POOL_IN_USE_IPV4, 'IPv4 addresses of the pool in use'],
  [POOL_IN_USE_IPV6, 'IPv6 addresses of the pool in use'],
] as const

/** What the controller reports, under MetalLB's names (1.9): to be declared where the process is wired. */
export const CONTROLLER_METRICS = [
  ...POOL_GAUGES.map(([name, help]) => ({ name, help, type: 'gauge' as const, labels: ['pool'] })),
  {
    name: UPDATES,
    help: 'Changes of Kubernetes objects that were processed',
    type: 'counter' as const,
    labels: [],
  },
  {
    name: UPDATE_ERRORS,
    help: 'Changes that could not be processed or written',
    type: 'counter' as const,
    labels: [],
  },
  { name: CONFIG_LOADED, help: '1 once a configuration was loaded', type: 'gauge' as const, labels: [] },
  {
    name: CONFIG_STALE,
    help: '1 while the last configuration is refused and the one before runs',
    type: 'gauge' as const,
    labels: [],
  },
]
