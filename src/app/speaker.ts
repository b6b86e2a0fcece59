import { familyOf, type Ip } from '../addr/ip.ts'
import type { SpeakerMove, SpeakerStatus } from '../api/speaker.ts'
import { type EndpointFacts, type EndpointSliceFacts, endpointsFromSlice } from '../config/endpointslice.ts'
import type { Config, Problem } from '../config/model.ts'
import { EXCLUDE_LABEL, type NodeFacts, namespaceFromObject, nodeFromObject } from '../config/nodes.ts'
import { parseConfig } from '../config/parse.ts'
import { PoolIndex } from '../config/pool-index.ts'
import { serviceFromObject } from '../config/services.ts'
import { DigestOrder } from '../layer2/digest-order.ts'
import { Layer2Planner, sameForLayer2, VipTable } from '../layer2/plan.ts'
import type { Because, OwnedChange, ReflexCommand, ReflexReport } from '../layer2/reflex.ts'
import { l2StatusFromObject } from '../layer2/status.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventSink } from '../ports/events.ts'
import { type Informer, type Kube, type KubeObject, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Metrics } from '../ports/metrics.ts'
import { Coalesced } from './coalesced.ts'
import { same } from './speaker-same.ts'
import { SpeakerStatuses } from './speaker-statuses.ts'

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
  readonly log: Log
  readonly reflex: ReflexLink
  /** Told at each reading of the configuration what is wrong with it: nothing, when it is in use. */
  readonly onConfig?: (problems: readonly Problem[]) => void
}

const MOVES_MAX = 100
/** How long a pass plans before it lets others have the thread: thousands of addresses take seconds at first. */
const SLICE_MS = 20
/** Services planned between two looks at the clock. */
const SLICE_CHECK = 16
const COUNT_EVERY_MS = 5000
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
  readonly #peers = new Map<string, string>()
  readonly #moves: SpeakerMove[] = []
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
  /** Nodes came or went, or may announce or not as before they could not or could. */
  #nodesDirty = true
  /** The cluster key, and whether the reflex thread has it: it speaks to the others from then on. */
  #key: Uint8Array | undefined
  #keyTold = false
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
      services: kube.informer(RESOURCES.services, { convert: serviceFromObject }),
      slices: kube.informer(RESOURCES.endpointSlices, { convert: servingNodesOf }),
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
    this.#statuses = new SpeakerStatuses(options, kube, this.#informers.statuses)
    this.#pass = new Coalesced(ports.clock, () => this.#plan(), {
      // A pass only computes: what fails once fails again.
      onError: error => this.#failed(error instanceof Error ? error : new Error(String(error))),
    })
    this.#statusPass = new Coalesced(
      ports.clock,
      () => this.#statuses.write(service => this.#announcedOn(service)),
      {
        retryAfterMs: 2000,
        onError: error => ports.log.warn('status-write-failed', { error }),
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
      this.#pass.close()
      this.#statusPass.close()
    }
  }

  status(): SpeakerStatus {
    return {
      node: this.#options.node,
      ready: this.#ready,
      hasKey: this.#key !== undefined,
      peers: [...this.#peers].map(([node, status]) => ({ node, status })),
      services: [...this.#table.assignments()].map(({ service, ips, candidates, reason }) => ({
        service,
        ips,
        owned: ips.filter(ip => this.#owned.get(ip)?.includes(service) === true),
        candidates,
        reason,
      })),
      moves: this.#moves,
    }
  }

  get ready(): boolean {
    return this.#ready
  }

  #listen(): void {
    const { services, slices, nodes, namespaces, pools, advertisements, statuses, secret } = this.#informers
    services.onChange(({ key }) => this.#touch(key))
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
        if (same(before && electoral(before), after && electoral(after))) {
          if (!same(before?.labels, after?.labels)) this.#touchAll()
          return
        }
      } else this.#peersDirty = true
      this.#nodesDirty = true
      this.#touchAll()
    })
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

  #tellPeers(): void {
    this.#peersDirty = false
    const nodes = this.#informers.nodes.items
    const own = nodes.get(this.#options.node)?.internalIps ?? []
    const families = new Set(own.map(familyOf))
    const peers: { name: string; ip: Ip }[] = []
    const unreachable: string[] = []
    for (const { name, internalIps } of nodes.values()) {
      if (name === this.#options.node) continue
      // Of a node with both families, the one that we have too.
      const ip = internalIps.find(each => families.has(familyOf(each))) ?? internalIps[0]
      if (ip === undefined) unreachable.push(name)
      else peers.push({ name, ip })
    }
    const known = new Set(peers.map(peer => peer.name))
    for (const name of this.#peers.keys()) if (!known.has(name)) this.#peers.delete(name)
    for (const name of known) if (!this.#peers.has(name)) this.#peers.set(name, 'presumed')
    this.#ports.reflex.post({ type: 'peers', peers, unreachable, self: own[0] })
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
        const { node: self, loadBalancerClass, ignoreExcludeLabel } = this.#options
        const facts = {
          config: this.#config,
          nodes: nodes.items,
          self,
          loadBalancerClass,
          ignoreExcludeLabel,
        }
        this.#planner = new Layer2Planner(facts, this.#order)
      }
      if (news) for (const key of services.items.keys()) this.#dirty.add(key)
    }
    // Without a key nobody can be heard, and who hears nobody must not conclude that all others are gone.
    if (this.#planner === undefined || this.#key === undefined) return
    const touched = new Set<Ip>()
    const until = this.#ports.clock.now() + SLICE_MS
    let planned = 0
    for (const key of this.#dirty) {
      if (++planned % SLICE_CHECK === 0 && this.#ports.clock.now() > until) break
      this.#dirty.delete(key)
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
      if (changed.size > 0) this.#statuses.touch(key)
      for (const ip of changed) touched.add(ip)
    }
    if (touched.size > 0) {
      const { set, remove } = this.#table.difference(touched)
      this.#ports.reflex.post({ type: 'plan', set, remove })
      for (const ip of remove) this.#dropCounters(ip)
      this.#statusPass.request()
    }
    if (this.#dirty.size > 0) {
      this.#pass.request()
      return
    }
    if (this.#keyTold) return
    // Only now: the others give up what is ours when they hear us, so we must answer for it by then.
    this.#keyTold = true
    this.#ports.reflex.post({ type: 'key', key: this.#key })
  }

  /** Invalid configuration keeps the last good one running (V-1). */
  #parse(): void {
    const { pools, advertisements, nodes, namespaces } = this.#informers
    const { metrics, log } = this.#ports
    const parsed = parseConfig({
      pools: [...pools.items.values()],
      l2Advertisements: [...advertisements.items.values()],
      nodes: [...nodes.items.values()],
      namespaces: [...namespaces.items.values()],
    })
    const invalid = 'problems' in parsed
    metrics.set('metallb_k8s_client_config_stale_bool', {}, invalid ? 1 : 0)
    this.#ports.onConfig?.('problems' in parsed ? parsed.problems : [])
    if (invalid) {
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

  /** Addresses that this node announces and that no pool of the configuration holds: dropping them would be a gap. */
  #leftOut(config: Config): Ip[] {
    const pools = new PoolIndex(config)
    return [...this.#owned.keys()].filter(ip => pools.find(ip) === undefined)
  }

  #onReport(report: ReflexReport): void {
    const { log } = this.#ports
    switch (report.type) {
      case 'owned':
        for (const change of report.changes) this.#onOwned(change)
        this.#statusPass.request()
        break
      case 'peer': {
        const { node, from, to, silentMs } = report
        this.#peers.set(node, to)
        log.info('peer-changed', { node, from, to, silentMs: Math.round(silentMs) })
        break
      }
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

  #onOwned({ ip, services, owned, interfaces, atWallMs, because }: OwnedChange): void {
    const { node } = this.#options
    const { events, metrics, log } = this.#ports
    const before = this.#owned.get(ip) ?? []
    if (owned) this.#owned.set(ip, services)
    else {
      this.#owned.delete(ip)
      if (this.#configHeld) this.#touchAll()
    }
    const at = new Date(atWallMs).toISOString()
    const why = explainCause(because)
    log.info(owned ? 'address-announced' : 'address-released', { ip, services, at, because: why })
    if (because.type === 'peer') {
      this.#moves.unshift({ ip, services, owned, at, because: why })
      this.#moves.length = Math.min(this.#moves.length, MOVES_MAX)
    }
    for (const key of new Set([...before, ...services])) {
      const labels = { service: key, protocol: 'layer2', node, ip }
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
    if (!owned) return
    for (const key of services) {
      if (before.includes(key)) continue
      const service = this.#informers.services.items.get(key)
      // One Event for a Service, not one for each of its addresses.
      if (service === undefined || service.statusIps[0] !== ip) continue
      const { namespace, name, uid } = service
      const about = { apiVersion: 'v1', kind: 'Service', namespace, name, uid }
      if (interfaces.length > 0) {
        events.emit(about, 'Normal', 'nodeAssigned', `announcing from node "${node}" with protocol "layer2"`)
        continue
      }
      const wanted = this.#table.get(key)?.claim?.interfaces ?? 'all'
      const missing = wanted === 'all' ? 'no interface that may announce' : `none of ${wanted.join(', ')}`
      events.emit(about, 'Warning', 'announceFailed', `node "${node}" has ${missing} up with a carrier`)
    }
  }

  #onCounters({ counters }: ReflexReport & { type: 'counters' }): void {
    const { metrics } = this.#ports
    for (const { ip, requests, replies, announcements } of counters.addresses) {
      // Counted before the reflex thread heard that it is a candidate no longer.
      if (!this.#table.has(ip)) continue
      const values = [requests, replies, announcements]
      for (const [i, name] of ADDRESS_COUNTERS.entries()) metrics.set(name, { ip }, values[i] ?? 0)
    }
    for (const [reason, count] of Object.entries(counters.dropped)) {
      metrics.set('lodestone_reflex_dropped_total', { reason }, count)
    }
    metrics.set('lodestone_reflex_frames_lost_total', {}, counters.framesLost)
    metrics.set('lodestone_heartbeats_sent_total', {}, counters.heartbeatsSent)
    metrics.set('lodestone_heartbeats_received_total', {}, counters.heartbeatsReceived)
    metrics.set('lodestone_reflex_worst_lateness_seconds', {}, counters.worstLatenessMs / 1000)
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
function electoral(node: NodeFacts): unknown {
  return [node.networkUnavailable, Object.hasOwn(node.labels, EXCLUDE_LABEL)]
}

/** For people. */
function explainCause(because: Because): string {
  switch (because.type) {
    case 'plan':
      return 'the plan says so'
    case 'interfaces':
      return 'an interface changed'
    case 'drain':
      return 'this speaker stops'
    case 'peer':
      break
  }
  const { node, status, silentMs } = because
  const what = { presumed: 'is waited for', alive: 'is back', dead: 'is silent', left: 'leaves' }[status]
  return `node ${node} ${what}, last heard ${Math.round(silentMs)} ms before`
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

/** Of a slice only the nodes that can serve, each once: neither addresses nor ports matter to the election (2.6). */
function servingNodesOf(object: KubeObject): EndpointSliceFacts {
  const facts = endpointsFromSlice(object)
  const endpoints = new Map<string | undefined, EndpointFacts>()
  for (const { ready, nodeName } of facts.endpoints) {
    if (ready) endpoints.set(nodeName, { addresses: NONE, nodeName, ready })
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

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
