import type { Ip } from '../addr/ip.ts'
import type { SpeakerStatus } from '../api/speaker.ts'
import { encodeSummary } from '../api/speaker-summary.ts'
import { type EndpointFacts, type EndpointSliceFacts, endpointsFromSlice } from '../config/endpointslice.ts'
import type { Config, Problem } from '../config/model.ts'
import { EXCLUDE_LABEL, type NodeFacts, namespaceFromObject, nodeFromObject } from '../config/nodes.ts'
import { parseConfig } from '../config/parse.ts'
import { PoolIndex } from '../config/pool-index.ts'
import { type ServiceFacts, serviceFromObject } from '../config/services.ts'
import {
  SPEAKER_LABEL,
  type SpeakerFacts,
  type SpeakerLink,
  type SteeringMode,
  speakerFromLease,
  speakerLeaseName,
  speakerLinks,
} from '../config/speakers.ts'
import { DigestOrder } from '../layer2/digest-order.ts'
import { demotion, type ElectionRules } from '../layer2/election.ts'
import { SpeakerNetworks } from '../layer2/networks.ts'
import { announcingNics } from '../layer2/nics.ts'
import { Layer2Planner, sameForLayer2, VipTable } from '../layer2/plan.ts'
import type { OwnedChange, ReflexCommand, ReflexReport } from '../layer2/reflex.ts'
import type { SharedAddress } from '../layer2/sharing.ts'
import { l2StatusFromObject } from '../layer2/status.ts'
import type { Level } from '../membership/machine.ts'
import type { MembershipView } from '../membership/view.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventSink } from '../ports/events.ts'
import { type Informer, type Kube, type KubeObject, objectKey, RESOURCES } from '../ports/kube.ts'
import type { Links } from '../ports/links.ts'
import type { Log } from '../ports/log.ts'
import type { Metrics } from '../ports/metrics.ts'
import type { Random } from '../ports/random.ts'
import { aborted } from './aborted.ts'
import { AddressConflicts, type ShownConflict, shownConflict } from './address-conflicts.ts'
import { Coalesced } from './coalesced.ts'
import { UPDATE_ERRORS, UPDATES } from './speaker-metrics.ts'
import { type Peers, reachablePeers } from './speaker-peers.ts'
import { SpeakerRegistration } from './speaker-registration.ts'
import { type AboutService, announcedLabels, SpeakerReports } from './speaker-reports.ts'
import { same } from './speaker-same.ts'
import { SpeakerStatuses } from './speaker-statuses.ts'
import {
  type SpeakerSteering,
  steeredService,
  steeringInterfaces,
  steeringNodes,
  steeringSummary,
} from './speaker-steering.ts'

/** The reflex thread, seen from the main thread. */
export interface ReflexLink {
  post(command: ReflexCommand): void
  onReport(listener: (report: ReflexReport) => void): void
}

export type SpeakerOptions = {
  readonly node: string
  /** Where the metallb.io resources and the Secret are. */
  readonly namespace: string
  readonly loadBalancerClass: string | undefined
  readonly ignoreExcludeLabel: boolean
  readonly rules: ElectionRules
  /** Names of interfaces that never announce. */
  readonly excludedInterfaces: readonly RegExp[]
  readonly secretName: string
  /** This speaker's own Pod, which then owns the status objects; undefined outside of a Pod. */
  readonly podName: string | undefined
  /** How long an orderly stop waits for the next owners to announce themselves. */
  readonly drainMs: number
}

export type SpeakerPorts = {
  readonly kube: Kube
  readonly events: EventSink
  readonly metrics: Metrics
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly links: Links
  readonly reflex: ReflexLink
  /** Absent: this node steers nothing. */
  readonly steering?: { readonly mode: SteeringMode; readonly flows: SpeakerSteering }
  /** Told at each reading of the configuration what is wrong with it: nothing, when it is in use. */
  readonly onConfig?: (problems: readonly Problem[]) => void
}

/** How long a pass plans before it lets others have the thread: thousands of addresses take seconds at first. */
const SLICE_MS = 20
/** Services planned between two looks at the clock. */
const SLICE_CHECK = 16
const COUNT_EVERY_MS = 5000
/** In a larger cluster a change of another speaker's level is told with the next renewal. */
const TOLD_AT_ONCE_MAX = 20
/** Questions for an address, answers, announcements. */
const ADDRESS_COUNTERS = [
  'metallb_layer2_requests_received',
  'metallb_layer2_responses_sent',
  'metallb_layer2_gratuitous_sent',
] as const

/**
 * The main thread of a speaker: keeps the cluster's facts, plans, tells the reflex thread the difference, and tells the
 * cluster what the reflex thread did.
 */
export class Speaker {
  readonly #options: SpeakerOptions
  readonly #ports: SpeakerPorts
  readonly #table = new VipTable()
  readonly #order = new DigestOrder()
  readonly #owned = new Map<Ip, readonly string[]>()
  /** The same the other way round: by Service, the addresses that this node owns for it. */
  readonly #ownedOf = new Map<string, Set<Ip>>()
  /** Services that this node may announce beside others. */
  readonly #sharded = new Set<string>()
  /** Of the other speakers, those that lost their Lease and are still heard included. */
  readonly #levels = new Map<string, Level>()
  #peersTold: Peers | undefined
  #registeredPeers: ReadonlySet<string> = new Set()
  readonly #reports: SpeakerReports
  readonly #conflicts: AddressConflicts
  readonly #slicesOf = new Map<string, Map<string, EndpointSliceFacts>>()
  readonly #dirty = new Set<string>()
  readonly #pass: Coalesced
  readonly #statusPass: Coalesced
  readonly #statuses: SpeakerStatuses
  readonly #informers
  #config: Config | undefined
  #problems: readonly Problem[] = []
  #planner: Layer2Planner | undefined
  #configDirty = true
  /** A valid configuration waits until the controller has moved what this node announces from addresses that it leaves out. */
  #configHeld = false
  #peersDirty = true
  /** Nodes or speakers came or went, are on other networks, or may announce or not as before they could not or could. */
  #nodesDirty = true
  /** The cluster key, and whether the reflex thread has it: it speaks to the others from then on. */
  #key: Uint8Array | undefined
  #keyTold = false
  #ownLinks: readonly SpeakerLink[] = []
  #registration: SpeakerRegistration | undefined
  #standing: (ReflexReport & { type: 'standing' }) | undefined
  /** As of the last count. */
  #membership: MembershipView | undefined
  #latenessMs = 0
  #shared: readonly SharedAddress[] | undefined
  #realtime = true
  #ready = false
  #drained: (() => void) | undefined
  #cancelCount: () => void = () => {}
  #failed: (error: Error) => void = () => {}

  constructor(options: SpeakerOptions, ports: SpeakerPorts) {
    this.#options = options
    this.#ports = ports
    const { kube } = ports
    const { namespace } = options
    this.#informers = {
      services: kube.informer(RESOURCES.services, { convert: watchedService }),
      slices: kube.informer(RESOURCES.endpointSlices, { convert: servingNodesOf }),
      leases: kube.informer(RESOURCES.leases, {
        namespace,
        labelSelector: SPEAKER_LABEL,
        convert: speakerFromLease,
      }),
      nodes: kube.informer(RESOURCES.nodes, { convert: nodeFromObject }),
      namespaces: kube.informer(RESOURCES.namespaces, { convert: namespaceFromObject }),
      pools: kube.informer(RESOURCES.ipAddressPools, { namespace, convert: specOf }),
      advertisements: kube.informer(RESOURCES.l2Advertisements, { namespace, convert: specOf }),
      statuses: kube.informer(RESOURCES.serviceL2Statuses, { namespace, convert: l2StatusFromObject }),
      secret: kube.informer(RESOURCES.secrets, {
        namespace,
        fieldSelector: `metadata.name=${options.secretName}`,
        convert: clusterKeyOf,
      }),
    } as const
    this.#reports = new SpeakerReports(options.node, ports, key => this.#aboutService(key))
    this.#conflicts = new AddressConflicts(
      options.node,
      ports,
      key => this.#informers.services.items.get(key),
      key => this.#ownedOf.has(key),
    )
    this.#statuses = new SpeakerStatuses(options, kube, this.#informers.statuses)
    this.#pass = new Coalesced(ports.clock, () => this.#plan(), {
      // A pass only computes: what fails once fails again.
      onError: error => this.#failed(error instanceof Error ? error : new Error(String(error))),
    })
    this.#statusPass = new Coalesced(
      ports.clock,
      () =>
        this.#statuses.write(
          service => this.#announcedOn(service),
          (node, service) => this.#announcesToo(node, service),
        ),
      {
        retryAfterMs: 2000,
        onError: error => {
          ports.metrics.add(UPDATE_ERRORS, {}, 1)
          ports.log.warn('status-write-failed', { error })
        },
      },
    )
  }

  /**
   * Runs until the signal aborts, then gives everything up in an orderly way.
   * @throws when the reflex thread fails, or planning: then this process announces nothing and has to be started anew
   */
  async run(signal: AbortSignal): Promise<void> {
    const { log, reflex } = this.#ports
    const stop = new AbortController()
    const failed = new Promise<never>((_, reject) => {
      this.#failed = reject
    })
    reflex.onReport(report => this.#onReport(report))
    failed.catch(() => {})
    this.#listen()
    try {
      await Promise.race([this.#start(stop.signal, signal), failed])
      this.#ready = true
      log.info('speaker-ready', { node: this.#options.node, services: this.#informers.services.items.size })
      this.#pass.request()
      await Promise.race([aborted(signal), failed])
      await Promise.race([this.#drain(), failed])
    } finally {
      stop.abort()
      this.#ready = false
      this.#cancelCount()
      this.#registration?.close()
      this.#pass.close()
      this.#statusPass.close()
      this.#conflicts.close()
    }
  }

  status(): SpeakerStatus {
    return {
      ...this.#ownStatus(),
      services: [...this.#table.assignments()].map(({ service, ips, candidates, reason }) => ({
        service,
        ips,
        owned: ips.filter(ip => this.#owned.get(ip)?.includes(service) === true),
        candidates,
        reason,
      })),
      moves: this.#reports.moves,
      ...(this.#ports.steering && { steering: this.#ports.steering.flows.status() }),
      ...(this.#shared && {
        shared: this.#shared.map(({ advice, ...rest }) => ({ ...rest, advice: advice ?? null })),
      }),
    }
  }

  /** What does not grow with the number of Services. */
  #ownStatus(): Omit<SpeakerStatus, 'services' | 'moves' | 'shared' | 'steering'> {
    const { entitled = false, standing = false, alone = false } = this.#standing ?? {}
    const { round = 0, voters = [], majority = 0 } = this.#membership ?? {}
    return {
      node: this.#options.node,
      ready: this.#ready,
      hasKey: this.#key !== undefined,
      entitled,
      standing,
      alone,
      round,
      voters,
      majority,
      realtime: this.#realtime,
      worstLatenessMs: this.#latenessMs,
      peers: this.#peerStatuses(),
      failovers: this.#reports.groups,
    }
  }

  #peerStatuses(): SpeakerStatus['peers'] {
    const known = new Map(this.#membership?.peers.map(peer => [peer.node, peer]))
    return [...this.#levels].map(([node, status]) => {
      const {
        voter = false,
        heardMsAgo = null,
        intervalMs = 0,
        patienceMs = 0,
        jitterMs = 0,
      } = known.get(node) ?? {}
      return { node, status, voter, heardMsAgo, intervalMs, patienceMs, jitterMs }
    })
  }

  get ready(): boolean {
    return this.#ready
  }

  #listen(): void {
    const { services, slices, nodes, leases, namespaces, pools, advertisements, statuses, secret } =
      this.#informers
    services.onChange(({ key }) => {
      this.#conflicts.changed(key)
      this.#touch(key)
    })
    slices.onChange(({ key, before, after }) => {
      // Rolling updates change addresses far more often than which nodes can serve.
      if (same(before, after)) return
      for (const facts of [before, after]) {
        if (facts?.serviceKey !== undefined) this.#slicesOf.get(facts.serviceKey)?.delete(key)
      }
      if (after?.serviceKey !== undefined) {
        let known = this.#slicesOf.get(after.serviceKey)
        if (known === undefined) this.#slicesOf.set(after.serviceKey, (known = new Map()))
        known.set(key, after)
      }
      for (const facts of [before, after]) if (facts?.serviceKey !== undefined) this.#touch(facts.serviceKey)
    })
    nodes.onChange(({ before, after }) => {
      // The kubelet writes the Node every few seconds; only what peers and the election read counts.
      if (same(before && [before.internalIps], after && [after.internalIps])) {
        const { nodeHealth } = this.#options.rules
        if (same(before && electoral(before, nodeHealth), after && electoral(after, nodeHealth))) {
          if (!same(before?.labels, after?.labels)) this.#touchAll()
          return
        }
      } else this.#peersDirty = true
      this.#nodesDirty = true
      this.#touchAll()
    })
    leases.onChange(({ key, before, after }) => this.#onLease(key, before, after))
    this.#ownLinks = this.#announcingLinks()
    this.#ports.links.onChange(() => this.#onLinks())
    for (const informer of [namespaces, pools, advertisements] as Informer<unknown>[]) {
      informer.onChange(({ before, after }) => {
        if (!same(before, after)) this.#touchAll()
      })
    }
    statuses.onChange(() => this.#statusPass.request())
    secret.onChange(({ after }) => this.#onKey(after))
  }

  /** Nothing is announced before everything was seen once: who does not know the others takes what is theirs. */
  async #start(stop: AbortSignal, signal: AbortSignal): Promise<void> {
    const started = Object.values(this.#informers).map(informer => informer.start(stop))
    await Promise.race([Promise.all(started), aborted(signal)])
    // Those still waiting reject when the stop comes; nobody listens any more.
    for (const each of started) each.catch(() => {})
    if (this.#key === undefined && !signal.aborted) {
      this.#ports.log.warn('no-cluster-key', {
        secret: `${this.#options.namespace}/${this.#options.secretName}`,
        effect: 'no peer is heard and nothing is announced until the controller has made it',
      })
    }
    this.#count()
  }

  #touch(service: string): void {
    this.#dirty.add(service)
    if (this.#configHeld) this.#configDirty = true
    if (this.#ready) this.#pass.request()
  }

  #touchAll(): void {
    this.#configDirty = true
    if (this.#ready) this.#pass.request()
  }

  /** Speakers renew theirs every few seconds; only who is there, and on which networks, counts. */
  #onLease(key: string, before: SpeakerFacts | undefined, after: SpeakerFacts | undefined): void {
    if (key === this.#ownLease) {
      if (after === undefined) this.#registration?.renew()
      else if (!this.#keyTold && this.#ready) this.#pass.request()
      return
    }
    if (same(before, after)) return
    this.#peersDirty = true
    this.#nodesDirty = true
    this.#touchAll()
  }

  /** With every Pod an interface comes or goes; those that may announce seldom do. */
  #onLinks(): void {
    const links = this.#announcingLinks()
    // Cut off altogether: nobody could be told, and the reflex thread is silent by itself.
    if (links.length === 0 || same(links, this.#ownLinks)) return
    this.#ownLinks = links
    this.#registration?.setLinks(links)
    this.#nodesDirty = true
    this.#touchAll()
  }

  #announcingLinks(): SpeakerLink[] {
    const links = [...this.#ports.links.current().values()]
    const names = announcingNics(links, this.#options.excludedInterfaces).map(({ name }) => name)
    return speakerLinks(links, new Set(names))
  }

  get #ownLease(): string {
    const { node, namespace } = this.#options
    return objectKey({ namespace, name: speakerLeaseName(node) })
  }

  /** This one, and all others that have a Lease. */
  #speakers(): SpeakerFacts[] {
    const { node } = this.#options
    const steers = this.#ports.steering?.mode
    const speakers: SpeakerFacts[] = [{ node, links: this.#ownLinks, ...(steers && { steers }) }]
    for (const facts of this.#informers.leases.items.values()) {
      if (facts !== undefined && facts.node !== node) speakers.push(facts)
    }
    return speakers
  }

  #tellSteering(): void {
    const { steering, links } = this.#ports
    if (steering === undefined) return
    const announcing = new Map(this.#ownLinks.map(link => [link.name, link]))
    steering.flows.setTopology(
      steeringInterfaces(links.current().values(), announcing),
      steeringNodes(this.#informers.nodes.items, this.#speakers()),
    )
  }

  #tellPeers(): void {
    this.#peersDirty = false
    const told = reachablePeers(this.#options.node, this.#informers.nodes.items, this.#speakers())
    if (same(told, this.#peersTold)) return
    this.#peersTold = told
    const { self, peers } = told
    // As the membership takes them: all of the first list are there, those that join later are not before they are heard.
    const level = this.#registeredPeers.size === 0 && this.#levels.size === 0 ? 'up' : 'down'
    this.#registeredPeers = new Set(peers.map(peer => peer.name))
    for (const [name, is] of this.#levels) {
      // Whoever is still heard remains one of us though its Lease is gone.
      if (!this.#registeredPeers.has(name) && !isPresent(is)) this.#levels.delete(name)
    }
    for (const name of this.#registeredPeers) if (!this.#levels.has(name)) this.#levels.set(name, level)
    this.#reports.levels(this.#levels.values())
    this.#ports.reflex.post({ type: 'peers', peers, self })
  }

  /** A key that vanished is kept: losing a Secret must not make every node take every address. */
  #onKey(key: Uint8Array | undefined): void {
    if (key === undefined) {
      this.#ports.log.warn('cluster-key-missing', { effect: 'the one known before stays in use' })
      return
    }
    if (this.#key !== undefined && Buffer.compare(this.#key, key) === 0) return
    this.#key = key
    this.#keyTold = false
    if (this.#ready) this.#pass.request()
  }

  #plan(): void {
    const { services, nodes } = this.#informers
    if (this.#peersDirty) this.#tellPeers()
    if (this.#configDirty) {
      this.#configDirty = false
      const before = this.#config
      this.#parse()
      const news =
        this.#nodesDirty ||
        before === undefined ||
        this.#config === undefined ||
        !sameForLayer2(before, this.#config)
      // A label on one of hundreds of nodes is seldom any news.
      if (news && this.#config !== undefined) {
        this.#nodesDirty = false
        const { node: self, loadBalancerClass, ignoreExcludeLabel, rules } = this.#options
        const facts = {
          config: this.#config,
          nodes: nodes.items,
          self,
          loadBalancerClass,
          ignoreExcludeLabel,
          rules,
          networks: new SpeakerNetworks(this.#speakers()),
        }
        this.#planner = new Layer2Planner(facts, this.#order)
        this.#tellSteering()
      }
      if (news) for (const key of services.items.keys()) this.#dirty.add(key)
    }
    // Without a key nobody can be heard, and who hears nobody must not conclude that all others are gone.
    if (this.#planner === undefined || this.#key === undefined) return
    const touched = new Set<Ip>()
    /** Addresses that other nodes announce, whether or not this one may. */
    const moved = new Set<Ip>()
    const until = this.#ports.clock.now() + SLICE_MS
    let planned = 0
    for (const key of this.#dirty) {
      if (++planned % SLICE_CHECK === 0 && this.#ports.clock.now() > until) break
      this.#dirty.delete(key)
      this.#ports.metrics.add(UPDATES, {}, 1)
      const service = services.items.get(key)
      const slices = this.#slicesOf.get(key)
      if (service === undefined && slices?.size === 0) this.#slicesOf.delete(key)
      const assignment =
        service === undefined ? undefined : this.#planner.assign(service, slices?.values() ?? [])
      // Most Services of a cluster are of other types: nothing is kept of those.
      const kept = assignment?.reason === 'notLoadBalancer' ? undefined : assignment
      const before = this.#table.get(key)?.ips[0]
      if (before !== undefined && before !== kept?.ips[0]) this.#order.forget(before)
      const changed = this.#table.set(key, kept)
      if (kept?.claim?.mode === 'sharded') this.#sharded.add(key)
      else this.#sharded.delete(key)
      if (changed.size > 0) this.#statuses.touch(key)
      const steered = service !== undefined && kept?.steered === true
      this.#ports.steering?.flows.setService(
        key,
        steered ? steeredService(service, slices?.values() ?? []) : undefined,
      )
      for (const ip of changed) touched.add(ip)
      // Not ours any more, but still announced: by others.
      if (kept !== undefined && kept.candidates.length > 0) for (const ip of kept.ips) moved.add(ip)
    }
    if (touched.size > 0) {
      const { set, remove } = this.#table.difference(touched)
      this.#ports.reflex.post({ type: 'plan', set, remove, handOver: remove.filter(ip => moved.has(ip)) })
      for (const ip of remove) this.#dropCounters(ip)
      this.#statusPass.request()
    }
    if (this.#dirty.size > 0) {
      this.#pass.request()
      return
    }
    // What an earlier run left steers on until all is known.
    this.#ports.steering?.flows.apply()
    if (this.#keyTold || !this.#registered()) return
    // Only now: the others give up what is ours when they hear us, so we must answer for it by then.
    this.#keyTold = true
    this.#ports.reflex.post({ type: 'key', key: this.#key })
  }

  /**
   * Whether the others can know that this speaker is there, which it tells when its first plan is made: one that is registered
   * and silent counts for a majority. Whoever has seen its own Lease has seen all that were written before, so of speakers
   * that start at the same time at most one takes itself for the only one.
   */
  #registered(): boolean {
    const { kube, clock, random, log } = this.#ports
    const { node, namespace } = this.#options
    const status = () => {
      const hashes = this.#ports.steering?.flows.tableHashes()
      return encodeSummary(this.#ownStatus(), this.#owned.size, hashes && steeringSummary(hashes))
    }
    this.#registration ??= new SpeakerRegistration(
      { kube, clock, random, log, node, namespace, status, steers: this.#ports.steering?.mode },
      this.#ownLinks,
    )
    return this.#informers.leases.items.has(this.#ownLease)
  }

  /** Invalid configuration keeps the last good one running (V-1). */
  #parse(): void {
    const { pools, advertisements, nodes, namespaces } = this.#informers
    const { metrics, log } = this.#ports
    const speakers = this.#candidates()
    const parsed = parseConfig({
      pools: [...pools.items.values()],
      l2Advertisements: [...advertisements.items.values()],
      nodes: [...nodes.items.values()].filter(({ name }) => speakers.has(name)),
      namespaces: [...namespaces.items.values()],
    })
    const invalid = 'problems' in parsed
    metrics.set('metallb_k8s_client_config_stale_bool', {}, invalid ? 1 : 0)
    this.#ports.onConfig?.('problems' in parsed ? parsed.problems : [])
    metrics.add(UPDATES, {}, 1)
    if (invalid) {
      metrics.add(UPDATE_ERRORS, {}, 1)
      const news = JSON.stringify(parsed.problems) !== JSON.stringify(this.#problems)
      this.#problems = parsed.problems
      if (news) for (const problem of parsed.problems) log.error('config-invalid', { ...problem })
      return
    }
    this.#problems = []
    const left = this.#leftOut(parsed.config)
    if (left.length > 0) {
      if (!this.#configHeld) log.info('config-held', { announced: left.slice(0, 10), count: left.length })
      this.#configHeld = true
      metrics.set('metallb_k8s_client_config_stale_bool', {}, 1)
      return
    }
    this.#configHeld = false
    this.#config = parsed.config
    metrics.set('metallb_k8s_client_config_loaded_bool', {}, 1)
  }

  /** Nodes with a speaker: those that are registered, and those that are heard though somebody deleted their Lease. */
  #candidates(): ReadonlySet<string> {
    const names = new Set(this.#speakers().map(({ node }) => node))
    for (const [name, level] of this.#levels) if (isPresent(level)) names.add(name)
    return names
  }

  /** Addresses that this node announces and that no pool of the configuration holds: dropping them would be a gap. */
  #leftOut(config: Config): Ip[] {
    const pools = new PoolIndex(config)
    return [...this.#owned.keys()].filter(ip => pools.find(ip) === undefined)
  }

  #onReport(report: ReflexReport): void {
    const reports = this.#reports
    switch (report.type) {
      case 'owned':
        for (const change of report.changes) this.#onOwned(change)
        this.#statusPass.request()
        this.#registration?.statusChanged()
        break
      case 'node':
        this.#onLevel(report.node, report.to)
        reports.node(report)
        break
      case 'standing':
        this.#standing = report
        reports.standing(report, this.#owned.size)
        this.#registration?.statusChanged()
        break
      case 'lost':
        reports.lost(report)
        break
      case 'conflict':
        reports.conflict(report)
        this.#conflicts.heard(report)
        break
      case 'host':
        this.#ports.log.info('host-changed', { node: report.node, alive: report.alive })
        this.#ports.steering?.flows.setDead(report.node, !report.alive)
        if (this.#ready) this.#ports.steering?.flows.apply()
        break
      case 'takeover-waits':
        reports.takeoverWaits(report)
        break
      case 'adapted':
        reports.adapted(report)
        break
      case 'not-realtime':
        this.#realtime = false
        reports.notRealtime(report)
        break
      case 'drained':
        this.#drained?.()
        break
      case 'counters':
        this.#onCounters(report)
        break
      case 'failed':
        this.#failed(new Error(`the reflex thread failed: ${report.message}`))
        break
    }
  }

  #onCounters(report: ReflexReport & { type: 'counters' }): void {
    // What it knew before the first count says little.
    if (this.#membership === undefined) this.#registration?.statusChanged()
    this.#membership = report.membership
    this.#latenessMs = report.counters.worstLatenessMs
    this.#shared = report.counters.shared
    for (const { ip, requests, replies, announcements } of report.counters.addresses) {
      // Counted before the reflex thread heard that it is a candidate no longer.
      if (!this.#table.has(ip)) continue
      const values = [requests, replies, announcements]
      for (const [i, name] of ADDRESS_COUNTERS.entries()) {
        this.#ports.metrics.set(name, { ip }, values[i] ?? 0)
      }
    }
    this.#reports.counters(report)
  }

  #onLevel(node: string, level: Level): void {
    const registered = this.#registeredPeers.has(node)
    if (registered || isPresent(level)) this.#levels.set(node, level)
    else this.#levels.delete(node)
    this.#reports.levels(this.#levels.values())
    if (!isPresent(level) && this.#sharded.size > 0) {
      // The node cannot delete its status objects itself.
      for (const service of this.#sharded) this.#statuses.touch(service)
      this.#statusPass.request()
    }
    // All speakers read what each one writes: that must not grow with the square of many.
    if (this.#registeredPeers.size <= TOLD_AT_ONCE_MAX) this.#registration?.statusChanged()
    if (registered) return
    // Without a Lease it is a candidate for as long as it is heard.
    this.#nodesDirty = true
    this.#touchAll()
  }

  #onOwned(change: OwnedChange): void {
    const { ip, services, owned } = change
    const { metrics } = this.#ports
    const before = this.#owned.get(ip) ?? []
    if (owned) this.#owned.set(ip, services)
    else {
      this.#owned.delete(ip)
      if (this.#configHeld) this.#touchAll()
    }
    for (const key of new Set([...before, ...services])) {
      const labels = announcedLabels(key, this.#options.node, ip)
      this.#statuses.touch(key)
      if (owned && services.includes(key)) {
        metrics.set('metallb_speaker_announced', labels, 1)
        const ips = this.#ownedOf.get(key)
        if (ips === undefined) this.#ownedOf.set(key, new Set([ip]))
        else ips.add(ip)
      } else {
        metrics.remove('metallb_speaker_announced', labels)
        const ips = this.#ownedOf.get(key)
        if (ips?.delete(ip) === true && ips.size === 0) this.#ownedOf.delete(key)
      }
    }
    if (owned) for (const key of services) this.#conflicts.changed(key)
    this.#reports.owned(change, before)
  }

  #aboutService(key: string): AboutService | undefined {
    const facts = this.#informers.services.items.get(key)
    return facts && { facts, interfaces: this.#table.get(key)?.claim?.interfaces ?? 'all' }
  }

  #count(): void {
    this.#cancelCount = this.#ports.clock.after(COUNT_EVERY_MS, () => {
      this.#ports.reflex.post({ type: 'count' })
      this.#count()
    })
  }

  /** The series of an address end when this node is no candidate for it any more; were it again, they start anew. */
  #dropCounters(ip: Ip): void {
    for (const name of ADDRESS_COUNTERS) this.#ports.metrics.remove(name, { ip })
  }

  /** Where this node announces the Service, none for everywhere; undefined when it does not, or soon will not. */
  #announcedOn(service: string): readonly string[] | undefined {
    const interfaces = this.#ownedOf.has(service) ? this.#table.get(service)?.claim?.interfaces : undefined
    return interfaces === 'all' ? [] : interfaces
  }

  /** Of nodes that share an address each has its status object for as long as it is there. */
  #announcesToo(node: string, service: string): boolean {
    const level = this.#levels.get(node)
    return this.#sharded.has(service) && level !== undefined && isPresent(level)
  }

  /** SIGTERM hands over first and leaves after: peers learn it at once, and we answer until the next owner has announced itself. */
  async #drain(): Promise<void> {
    const { clock, log, reflex } = this.#ports
    const { drainMs } = this.#options
    this.#ready = false
    this.#pass.close()
    log.info('draining', { addresses: this.#owned.size })
    await new Promise<void>(done => {
      const cancel = clock.after(drainMs * 1.5, done)
      this.#drained = () => {
        cancel()
        done()
      }
      reflex.post({ type: 'drain', patienceMs: drainMs })
    })
    log.info('drained', {})
  }
}

/** What the election reads from a Node beside the labels that advertisements select by. */
function electoral(node: NodeFacts, withHealth: boolean): unknown {
  const { networkUnavailable, labels } = node
  return [networkUnavailable, Object.hasOwn(labels, EXCLUDE_LABEL), withHealth && demotion(node)]
}

function isPresent(level: Level): boolean {
  return level === 'up' || level === 'probation'
}

function watchedService(object: KubeObject): ServiceFacts & { readonly conflict?: ShownConflict } {
  const facts = serviceFromObject(object)
  const conflict = shownConflict(object)
  return conflict === undefined ? facts : { ...facts, conflict }
}

/** What parseConfig reads of a resource: its status changes with every allocation, and means nothing here. */
function specOf({ metadata, spec }: KubeObject): KubeObject {
  const { name, namespace, labels } = metadata
  return {
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(labels === undefined ? {} : { labels }),
    },
    spec,
  }
}

/** Of a slice only the nodes that can serve, each once with the number of its endpoints: neither addresses nor ports matter to the election (2.6). */
function servingNodesOf(object: KubeObject): EndpointSliceFacts {
  const facts = endpointsFromSlice(object)
  const endpoints = new Map<string | undefined, EndpointFacts>()
  for (const { ready, nodeName } of facts.endpoints) {
    if (!ready) continue
    const count = (endpoints.get(nodeName)?.count ?? 0) + 1
    endpoints.set(nodeName, { addresses: NONE, nodeName, ready, count })
  }
  return {
    serviceKey: facts.serviceKey,
    family: facts.family,
    endpoints: [...endpoints.values()],
    ports: NONE,
  }
}

const NONE: readonly never[] = []

/** The heartbeat key from the Secret that the controller makes; undefined when it holds none. */
function clusterKeyOf(object: KubeObject): Uint8Array | undefined {
  const data = object['data'] as Record<string, unknown> | undefined
  const encoded = data?.['secretkey']
  if (typeof encoded !== 'string' || encoded === '') return undefined
  return Buffer.from(encoded, 'base64')
}
