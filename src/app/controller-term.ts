import { Allocator } from '../allocator/allocator.ts'
import { type Decision, needsWrite } from '../allocator/decision.ts'
import type { PoolUsage } from '../allocator/pool-state.ts'
import type { Config, Problem } from '../config/model.ts'
import { EXCLUDE_LABEL } from '../config/nodes.ts'
import { sameConfig, samePools } from '../config/parse.ts'
import { POOL_ANNOTATION } from '../config/services.ts'
import { type AnnouncementCheck, checkAnnouncement } from '../layer2/announcement-check.ts'
import { SpeakerNetworks } from '../layer2/networks.ts'
import { electoralEndpoints } from '../layer2/steered.ts'
import type { EventType } from '../ports/events.ts'
import { KubeError, RESOURCES } from '../ports/kube.ts'
import { ConfigurationState } from './configuration-state.ts'
import {
  CONFIG_LOADED,
  CONFIG_STALE,
  LEADING,
  POOL_GAUGES,
  POOL_IN_USE,
  POOL_IN_USE_IPV4,
  POOL_IN_USE_IPV6,
  POOL_TOTAL,
  POOL_TOTAL_IPV4,
  POOL_TOTAL_IPV6,
  UPDATE_ERRORS,
  UPDATES,
} from './controller-metrics.ts'
import type { ControllerDeps, ControllerFlags } from './controller-options.ts'
import { type ControllerView, same, versionNumber, type WatchedService } from './controller-view.ts'
import { Handovers } from './handovers.ts'
import { keepMemberlistSecret } from './memberlist-secret.ts'
import {
  ALLOCATED,
  ANNOUNCED,
  type Condition,
  conditionOf,
  conditionsToWrite,
  type WantedCondition,
} from './service-conditions.ts'
import { StaleSpeakers } from './stale-speakers.ts'
import { WriteQueue } from './write-queue.ts'

/** A burst of changes is one pass. */
const GATHER_MS = 5
const SERVICE_WRITES_MAX = 32
const POOL_STATUS_DELAY_MS = 1000
/** A Service's conditions alone are written with those of others, and when they have settled for a moment. */
const CONDITIONS_DELAY_MS = 1000
/** Endpoints of a new Service take a moment: until then it is no news that nobody announces it. */
const UNANNOUNCED_GRACE_MS = 5000
/** Speakers that start together are looked at together. */
const NETWORKS_DELAY_MS = 500
/** How long a stop waits for writes that are on their way. */
const STOP_MS = 5000

/** For a Service that gives its address to one whose address it gets. */
const NOTHING = { ips: [], pool: null } as const

/**
 * The time in which a controller acts: from when it leads until it does not. Begins with nothing but what the cluster
 * says, plans, writes what differs, looks again; after its end it writes nothing more.
 *
 * Nothing is decided before every list was read whole, so an address in use is never given away. A broken configuration
 * keeps the last good one running (V-1).
 */
export class ControllerTerm {
  readonly #deps: ControllerDeps
  readonly #flags: ControllerFlags
  readonly #view: ControllerView
  readonly #allocator: Allocator
  readonly #writes: WriteQueue
  readonly #poolWrites: WriteQueue
  readonly #state: ConfigurationState
  readonly #stop = new AbortController()

  #config: Config | undefined
  #configChanged = true
  /** What all Services were reviewed by last. */
  #reviewedBy: { readonly config: Config; readonly nodes: string; readonly networks: string } | undefined
  readonly #changed = new Set<string>()
  /** Services whose announcement may be another. */
  readonly #toReview = new Set<string>()
  #cancelPass: (() => void) | undefined
  /** Versions that our own writes made and the informer has yet to show: older ones are out of date. */
  readonly #awaited = new Map<string, bigint>()
  readonly #handovers = new Handovers()
  /** For each Service the causes that people were told of and that still hold. */
  readonly #told = new Map<string, ReadonlySet<string>>()
  /** What is wrong with a Service that holds addresses all the same. */
  readonly #remarks = new Map<string, string>()
  /** Why a Service is announced by nobody. */
  readonly #unannounced = new Map<string, string>()
  /** Since when, for those of which people have yet to be told; the longest first. */
  readonly #untold = new Map<string, number>()
  #cancelUnannounced: (() => void) | undefined
  #staleSpeakers: StaleSpeakers | undefined
  /** What the registered speakers told of their interfaces; undefined: nothing. */
  #networks: SpeakerNetworks | undefined
  #networksText = ''
  #networksChanged = false
  #cancelNetworks: (() => void) | undefined
  /** Services of which only the conditions differ. */
  readonly #later = new Set<string>()
  #cancelLater: (() => void) | undefined
  #toldProblems: ReadonlySet<string> = new Set()
  #shownUsage = new Map<string, PoolUsage>()

  constructor(deps: ControllerDeps, flags: ControllerFlags, view: ControllerView) {
    this.#deps = deps
    this.#flags = flags
    this.#view = view
    this.#allocator = new Allocator({ loadBalancerClass: flags.loadBalancerClass })
    const { kube, clock, log, random } = deps
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
    const { namespace, podName } = flags
    this.#state = new ConfigurationState({ kube, clock, log, random, namespace, node: undefined, podName })
  }

  begin(): void {
    this.#gauge(LEADING, 1)
    void keepMemberlistSecret(this.#deps, this.#flags, this.#stop.signal)
    this.#staleSpeakers = new StaleSpeakers(this.#deps, this.#flags.namespace, () =>
      this.#readNetworksLater(),
    )
    for (const key of this.#view.services.keys()) this.#changed.add(key)
    this.#pass()
  }

  /** Starts no write from this call on; resolves when those on their way have ended, or after a while. */
  async end(): Promise<void> {
    const { clock, log, metrics } = this.#deps
    this.#stop.abort()
    this.#staleSpeakers?.close()
    for (const cancel of [this.#cancelPass, this.#cancelUnannounced, this.#cancelLater, this.#cancelNetworks])
      cancel?.()
    // Whoever leads next shows these numbers.
    for (const [pool] of this.#shownUsage) this.#removePoolMetrics(pool)
    for (const name of [CONFIG_LOADED, CONFIG_STALE]) metrics?.remove(name, {})
    this.#gauge(LEADING, 0)
    const unwritten = this.#writes.size
    let cancelTimeout = () => {}
    await Promise.race([
      Promise.all([this.#writes.stop(), this.#poolWrites.stop(), this.#state.close()]),
      new Promise<void>(resolve => {
        cancelTimeout = clock.after(STOP_MS, resolve)
      }),
    ])
    cancelTimeout()
    log.info('controller-stopped', { unwritten })
  }

  serviceChanged(key: string): void {
    this.#changed.add(key)
    this.#schedule()
  }

  configChanged(): void {
    this.#configChanged = true
    this.#schedule()
  }

  endpointsChanged(serviceKey: string): void {
    // Most Services of a cluster are none of ours.
    if (this.#allocator.get(serviceKey) === undefined) return
    this.#toReview.add(serviceKey)
    this.#schedule()
  }

  #readNetworksLater(): void {
    if (this.#stopped) return
    this.#cancelNetworks ??= this.#deps.clock.after(NETWORKS_DELAY_MS, () => {
      this.#cancelNetworks = undefined
      const speakers = this.#staleSpeakers?.speakers
      if (speakers === undefined) return this.#readNetworksLater()
      this.#networks = speakers.length === 0 ? undefined : new SpeakerNetworks(speakers)
      this.#networksText = JSON.stringify(speakers)
      this.#networksChanged = true
      this.#schedule()
    })
  }

  get #stopped(): boolean {
    return this.#stop.signal.aborted
  }

  #schedule(): void {
    if (this.#stopped || this.#cancelPass !== undefined) return
    this.#cancelPass = this.#deps.clock.after(GATHER_MS, () => this.#pass())
  }

  /** Gather, plan, apply. */
  #pass(): void {
    this.#cancelPass = undefined
    if (this.#stopped) return
    const reparsed = this.#configChanged
    const config = reparsed ? this.#readConfig() : undefined
    this.#configChanged = false
    const changed: WatchedService[] = []
    const removed: string[] = []
    for (const key of this.#changed) {
      const facts = this.#view.services.get(key)
      if (facts === undefined) {
        removed.push(key)
        this.#forget(key)
      } else if (this.#isCurrent(facts)) changed.push(facts)
    }
    this.#changed.clear()
    const decisions = this.#allocator.reconcile({ ...(config && { config }), changed, removed })
    this.#count(UPDATES, changed.length + removed.length)
    // All that is to leave is known before anything is written.
    const free = decisions.flatMap(({ service, ips }) =>
      this.#handovers.decided(service, this.#view.services.get(service)?.statusIps ?? [], ips),
    )
    // Those of another class are nobody's to wait for.
    for (const { key } of changed)
      if (this.#allocator.get(key) === undefined) free.push(...this.#handovers.removed(key))
    for (const decision of decisions) {
      this.#tell(decision)
      if (decision.write) this.#writes.add(decision.service)
      this.#toReview.add(decision.service)
    }
    this.#resume(free)
    const all = (reparsed || this.#networksChanged) && this.#announcesDifferently()
    this.#networksChanged = false
    for (const key of all ? this.#view.services.keys() : this.#toReview) this.#review(key)
    this.#toReview.clear()
    this.#showUsage()
  }

  /** They waited for an address that another Service still showed. */
  #resume(keys: readonly string[]): void {
    for (const key of keys) this.#writes.add(key)
  }

  #forget(key: string): void {
    this.#resume(this.#handovers.removed(key))
    this.#told.delete(key)
    this.#awaited.delete(key)
    this.#remarks.delete(key)
    this.#later.delete(key)
    this.#forgetUnannounced(key)
  }

  /** False while the informer has not caught up with our own write: what it shows is from before. */
  #isCurrent(facts: WatchedService): boolean {
    const awaited = this.#awaited.get(facts.key)
    if (awaited === undefined) return true
    const version = versionNumber(facts.resourceVersion)
    if (version !== undefined && version < awaited) return false
    this.#awaited.delete(facts.key)
    return true
  }

  /**
   * The new configuration, if there is one that is good and gives out other addresses than before. A mistake in what is
   * for BGP alone holds no address back: what BGP announces stays as it was.
   */
  #readConfig(): Config | undefined {
    const whole = this.#view.parse('whole')
    const problems = 'config' in whole ? [] : whole.problems
    this.#tellProblems('config' in whole ? whole.warnings : problems)
    this.#state.report(problems)
    this.#gauge(CONFIG_STALE, problems.length > 0 ? 1 : 0)
    if (problems.length > 0) this.#count(UPDATE_ERRORS, 1)
    const before = this.#config
    const parsed = 'config' in whole ? whole : this.#view.parse('without BGP')
    if (!('config' in parsed)) {
      if (before === undefined) this.#gauge(CONFIG_LOADED, 0)
      return undefined
    }
    const { bgpAdvertisements = [], peers = [] } = before ?? {}
    this.#config = 'config' in whole ? whole.config : { ...parsed.config, bgpAdvertisements, peers }
    this.#gauge(CONFIG_LOADED, 1)
    if (before !== undefined && samePools(before, this.#config)) return undefined
    this.#deps.log.info('config-loaded', { pools: this.#config.pools.length })
    return this.#config
  }

  /** C-15: addresses, annotation and conditions in one call; the version makes it fail when the Service changed meanwhile. */
  async #writeService(key: string): Promise<void> {
    const facts = this.#view.services.get(key)
    const decided = this.#allocator.get(key)
    if (facts === undefined || decided === undefined || this.#config === undefined) return
    if (this.#stopped || !this.#isCurrent(facts)) return
    const next = this.#handovers.next(key, decided.ips)
    if (next === 'wait') return
    const { ips, pool } = next === 'clear' ? NOTHING : decided
    const conditions =
      next === 'clear' ? undefined : this.#conditionsToWrite(facts, this.#announcement(facts))
    const allocation = needsWrite(facts, ips, pool)
    if (!allocation && conditions === undefined) return
    this.#later.delete(key)
    const { namespace, name, resourceVersion } = facts
    const written = await this.#deps.kube.patch(
      RESOURCES.services,
      { namespace, name },
      {
        metadata: {
          ...(resourceVersion === '' ? {} : { resourceVersion }),
          ...(allocation ? { annotations: { [POOL_ANNOTATION]: pool } } : {}),
        },
        status: {
          ...(allocation
            ? { loadBalancer: { ingress: ips.length === 0 ? null : ips.map(ip => ({ ip })) } }
            : {}),
          ...(conditions === undefined ? {} : { conditions }),
        },
      },
      { type: 'merge', subresource: 'status' },
    )
    const version = versionNumber(written.metadata.resourceVersion ?? '')
    const shown = versionNumber(this.#view.services.get(key)?.resourceVersion ?? '')
    if (version !== undefined && shown !== undefined && shown < version) this.#awaited.set(key, version)
    this.#resume(this.#handovers.left(key))
    if (allocation) this.#deps.log.info('service-written', { service: key, ips, pool })
    else this.#deps.log.debug('service-conditions-written', { service: key })
  }

  #writeFailed(event: string, key: string, error: unknown): 'retry' | 'drop' {
    this.#count(UPDATE_ERRORS, 1)
    const code = error instanceof KubeError ? error.code : undefined
    if (code === 'not-found') return 'drop'
    const level = code === 'conflict' ? 'debug' : 'warn'
    this.#deps.log[level](event, { object: key, error })
    return 'retry'
  }

  /** What the Service should say about itself; undefined when it says so already. */
  #conditionsToWrite(
    facts: WatchedService,
    { announced, reason, message }: AnnouncementCheck,
  ): readonly Condition[] | undefined {
    if (this.#flags.serviceConditions === false) return undefined
    const wanted: WantedCondition[] = []
    if (facts.type === 'LoadBalancer') {
      wanted.push(this.#allocatedCondition(facts.key))
      wanted.push({ type: ANNOUNCED, status: announced ? 'True' : 'False', reason, message })
    }
    const at = { generation: facts.generation, wallNow: this.#deps.clock.wallNow() }
    return conditionsToWrite(facts.conditions, wanted, at)
  }

  #allocatedCondition(key: string): WantedCondition {
    const decided = this.#allocator.get(key)
    if (decided?.pending) {
      const { code, message } = decided.pending
      return { type: ALLOCATED, status: 'False', reason: conditionReason(code), message }
    }
    const remark = this.#remarks.get(key)
    const message = `${decided?.ips.join(', ')} from pool ${decided?.pool}${remark === undefined ? '' : `; ${remark}`}`
    return { type: ALLOCATED, status: 'True', reason: 'Allocated', message }
  }

  #announcement(facts: WatchedService): AnnouncementCheck {
    const decided = this.#allocator.get(facts.key)
    const networks = this.#networks
    const { endpoints } = electoralEndpoints(
      facts,
      this.#view.endpoints(facts.key),
      this.#view.nodes,
      networks,
    )
    return checkAnnouncement({
      service: facts,
      ips: decided?.ips ?? [],
      pool: decided?.pool ?? null,
      config: this.#config as Config,
      nodes: this.#view.nodes,
      endpoints,
      ignoreExcludeLabel: this.#flags.ignoreExcludeLabel ?? false,
      ...(networks && { networks }),
    })
  }

  /** Whether anything is another that all Services are announced by, the nodes that may announce among it. */
  #announcesDifferently(): boolean {
    const config = this.#config
    if (config === undefined) return false
    const facts = [...this.#view.nodes].map(([name, { networkUnavailable, labels }]) => [
      name,
      networkUnavailable,
      Object.hasOwn(labels, EXCLUDE_LABEL),
    ])
    const nodes = JSON.stringify(facts)
    // Where no advertisement names interfaces and nobody steers, it is all the same on which networks speakers are.
    const counts =
      this.#networks?.steeringMode !== undefined ||
      config.l2Advertisements.some(({ interfaces }) => interfaces !== 'all')
    const networks = counts ? this.#networksText : ''
    const before = this.#reviewedBy
    if (before?.nodes === nodes && before.networks === networks && sameConfig(before.config, config))
      return false
    this.#reviewedBy = { config, nodes, networks }
    return true
  }

  /** Notices when what a Service says about itself is not so any more, and when nobody announces it. */
  #review(key: string): void {
    const facts = this.#view.services.get(key)
    const decided = this.#allocator.get(key)
    if (facts === undefined || decided === undefined || this.#config === undefined) return
    const check = this.#announcement(facts)
    // A write that waits for its turn writes them too.
    if (!this.#writes.isNext(key) && this.#conditionsToWrite(facts, check) !== undefined)
      this.#writeLater(key)
    const { announced, reason } = check
    if (announced || facts.type !== 'LoadBalancer' || decided.ips.length === 0) {
      this.#forgetUnannounced(key)
      return
    }
    if (this.#unannounced.get(key) === reason) return
    const condition = conditionOf(facts.conditions, ANNOUNCED)
    // Said so already when this term began: people were told.
    const known =
      !this.#unannounced.has(key) && condition?.['status'] === 'False' && condition['reason'] === reason
    this.#unannounced.set(key, reason)
    this.#untold.delete(key)
    if (known) return
    this.#untold.set(key, this.#deps.clock.now())
    this.#watchUnannounced(UNANNOUNCED_GRACE_MS)
  }

  #forgetUnannounced(key: string): void {
    this.#unannounced.delete(key)
    this.#untold.delete(key)
  }

  #watchUnannounced(delayMs: number): void {
    this.#cancelUnannounced ??= this.#deps.clock.after(delayMs, () => {
      this.#cancelUnannounced = undefined
      this.#tellUnannounced()
    })
  }

  /** Once for each cause that lasts. */
  #tellUnannounced(): void {
    const now = this.#deps.clock.now()
    for (const [key, since] of this.#untold) {
      const due = since + UNANNOUNCED_GRACE_MS
      if (due > now) {
        this.#watchUnannounced(due - now)
        return
      }
      this.#untold.delete(key)
      const facts = this.#view.services.get(key)
      if (facts === undefined) continue
      this.#emit(facts, 'Warning', 'NotAnnounced', this.#announcement(facts).message)
    }
  }

  #writeLater(key: string): void {
    this.#later.add(key)
    this.#cancelLater ??= this.#deps.clock.after(CONDITIONS_DELAY_MS, () => {
      this.#cancelLater = undefined
      for (const each of this.#later) this.#writes.add(each, { canWait: true })
      this.#later.clear()
    })
  }

  /** Once for each cause, not at every pass. */
  #tell(decision: Decision): void {
    const facts = this.#view.services.get(decision.service)
    if (facts === undefined) return
    const before = this.#told.get(decision.service)
    const causes = new Set<string>()
    const remarks: string[] = []
    for (const { type, reason, message } of decision.events) {
      if (reason === 'LoadBalancerFailed' || reason === 'AdditionalAssignFailed') remarks.push(message)
      // Numbers in the message change while the cause is the same.
      const cause =
        reason === 'AllocationFailed' ? `${reason} ${decision.pending?.code}` : `${reason} ${message}`
      const passing = reason === 'IPAllocated' || reason === 'ClearAssignment'
      if (!passing) causes.add(cause)
      if (before?.has(cause) === true) continue
      if (reason === 'AllocationFailed' && before === undefined && saysPending(facts, decision)) continue
      this.#emit(facts, type, reason, message)
    }
    if (causes.size > 0) this.#told.set(decision.service, causes)
    else this.#told.delete(decision.service)
    if (remarks.length > 0) this.#remarks.set(decision.service, remarks.join('; '))
    else this.#remarks.delete(decision.service)
  }

  #emit(facts: WatchedService, type: EventType, reason: string, message: string): void {
    const { namespace, name, uid, resourceVersion } = facts
    const about = { apiVersion: 'v1', kind: 'Service', namespace, name, uid, resourceVersion }
    this.#deps.events.emit(about, type, reason, message)
    // An allocation is logged when it is written, `service-written`: at ten thousand Services each line counts.
    if (reason !== 'IPAllocated')
      this.#deps.log.info('service-event', { service: facts.key, reason, message })
  }

  #tellProblems(problems: readonly Problem[]): void {
    const told = new Set<string>()
    for (const problem of problems) {
      const { object, code, field, message, severity } = problem
      const cause = JSON.stringify([object, code, field, message])
      told.add(cause)
      if (this.#toldProblems.has(cause)) continue
      const text = field === '' ? message : `${field}: ${message}`
      this.#deps.events.emit(this.#view.reference(object), 'Warning', 'ConfigurationError', text)
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
    for (const [pool] of this.#shownUsage) if (!shown.has(pool)) this.#removePoolMetrics(pool)
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

  #removePoolMetrics(pool: string): void {
    for (const [name] of POOL_GAUGES) this.#deps.metrics?.remove(name, { pool })
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

  #gauge(name: string, value: number): void {
    this.#deps.metrics?.set(name, {}, value)
  }

  #count(name: string, amount: number): void {
    if (amount > 0) this.#deps.metrics?.add(name, {}, amount)
  }
}

/** `poolExhausted` is `PoolExhausted`, as conditions are written. */
function conditionReason(code: string): string {
  return code.charAt(0).toUpperCase() + code.slice(1)
}

/** Somebody wrote this into the Service, and told people, before this term. */
function saysPending(facts: WatchedService, { pending }: Decision): boolean {
  const condition = conditionOf(facts.conditions, ALLOCATED)
  return (
    pending !== null &&
    condition?.['status'] === 'False' &&
    condition['reason'] === conditionReason(pending.code)
  )
}
