import type { Ip } from '../addr/ip.ts'
import { Allocator } from '../allocator/allocator.ts'
import type { Decision } from '../allocator/decision.ts'
import type { PoolUsage } from '../allocator/pool-state.ts'
import {
  type BgpDecision,
  bgpAdvertisementsOfPool,
  bgpEndpoints,
  decideBgp,
  notTold,
  type Offer,
  type Route,
  routesForPeer,
} from '../bgp/routes.ts'
import { type EndpointNodes, type EndpointSliceFacts, endpointNodes } from '../config/endpointslice.ts'
import type { Layer2Mode } from '../config/layer2-mode.ts'
import type { BgpPeer, Config, Pool, Problem } from '../config/model.ts'
import type { NodeFacts } from '../config/nodes.ts'
import { compareText } from '../config/selectors.ts'
import type { ServiceFacts } from '../config/services.ts'
import type { SteeringMode } from '../config/speakers.ts'
import { DigestOrder } from '../layer2/digest-order.ts'
import {
  advertisementsForService,
  advertisementsOfPool,
  type Election,
  type ElectionRules,
  elect,
  LODESTONE_RULES,
  METALLB_RULES,
} from '../layer2/election.ts'
import { layer2ModeOf, shareWeights } from '../layer2/mode.ts'
import { SpeakerNetworks } from '../layer2/networks.ts'
import { SHARD_NODES_MAX } from '../layer2/shards.ts'
import { electoralEndpoints } from '../layer2/steered.ts'
import { configOf } from './config-of.ts'
import type { Snapshot } from './snapshot.ts'

/** All that the running system decides about a snapshot, with the reasons. Everything is in order of names. */
export type ClusterPlan = {
  /** What the decisions were made under; undefined when the resources are refused and none was good before. */
  readonly config: Config | undefined
  /** The resources are refused as a whole (V-1): `config` is not made of them. */
  readonly refused: boolean
  /** Everything wrong with the resources, and warnings. */
  readonly problems: readonly Problem[]
  /** One for each Service that is ours to decide about, also those that have to give addresses back. */
  readonly allocations: readonly Decision[]
  /** The Services of type LoadBalancer among them. */
  readonly services: readonly ServicePlan[]
  /** Every BGP session that runs: one for each living node and peer that selects it. */
  readonly sessions: readonly Session[]
  readonly usage: readonly PoolUsage[]
  readonly nodes: ReadonlyMap<string, NodeFacts>
  /** Which Services the speakers steer; absent: none, or no speaker is known. */
  readonly steeringMode?: SteeringMode
}

export type ServicePlan = {
  /** With the addresses of this plan in its status. */
  readonly service: ServiceFacts
  readonly decision: Decision
  readonly pool: Pool | undefined
  readonly endpoints: EndpointNodes
  readonly election: Election
  readonly mode: Layer2Mode
  /** Of a sharded Service: the nodes that answer and which part of those who ask each of them has, adding up to 1. Otherwise empty. */
  readonly shares: readonly Share[]
  /** Its packets are handed to the nodes of its endpoints, whichever node receives them. */
  readonly steered: boolean
  /** Why that is not so though it should be. */
  readonly notSteered?: string
  /** For each node; empty when there is no address to announce. */
  readonly bgp: ReadonlyMap<string, NodeBgp>
}

export type Share = { readonly node: string; readonly part: number }

/** What one node does about a Service by BGP. */
export type NodeBgp = {
  /** null: it announces the offers, to at least one peer. */
  readonly reason: NodeBgpReason | null
  readonly offers: readonly Offer[]
  /** Names of the two advertisements, when they conflict. */
  readonly conflict?: readonly [string, string]
}

export type NodeBgpReason = NonNullable<BgpDecision['reason']> | 'notAlive' | 'noPeers' // it would announce, but has no session that takes any of it

export type Session = {
  readonly node: string
  readonly peer: BgpPeer
  readonly routes: readonly Route[]
}

/**
 * What a cluster in this state comes to: who gets which address (those that hold one in status first, then by age, then in the
 * order of the snapshot), who answers for it, what each router is told. Pure; the same functions run in the controller
 * and in the speakers.
 * @param before the configuration that goes on where the snapshot's is refused (V-1)
 */
export function planCluster(snapshot: Snapshot, before?: Config): ClusterPlan {
  const { config: parsed, problems } = configOf(snapshot)
  const config = parsed ?? before
  const nodes = new Map(byName(snapshot.nodes).map(node => [node.name, node]))
  const steeringMode = new SpeakerNetworks(snapshot.speakers).steeringMode
  const plan = {
    config,
    refused: parsed === undefined,
    problems,
    nodes,
    ...(steeringMode !== undefined && { steeringMode }),
  }
  if (config === undefined) return { ...plan, allocations: [], services: [], sessions: [], usage: [] }
  const allocator = new Allocator({ loadBalancerClass: snapshot.lbClass ?? '' })
  const allocations = [...allocator.reconcile({ config, changed: inOrder(snapshot.services) })].sort((a, b) =>
    compareText(a.service, b.service),
  )
  const services = new ServicePlanner(snapshot, config, nodes).all(allocations)
  return {
    ...plan,
    allocations,
    services,
    sessions: sessionsOf(snapshot, config, services),
    usage: allocator.usage(),
  }
}

/** The allocator settles equal ages by key; here the place in the snapshot counts, as it would if the objects were made in that order. */
function inOrder(services: readonly ServiceFacts[]): readonly ServiceFacts[] {
  return [...services]
    .sort((a, b) => (a.createdAtMs === b.createdAtMs ? 0 : a.createdAtMs < b.createdAtMs ? -1 : 1))
    .map((service, index) => ({ ...service, createdAtMs: index }))
}

class ServicePlanner {
  readonly #snapshot: Snapshot
  readonly #config: Config
  readonly #nodes: ReadonlyMap<string, NodeFacts>
  readonly #slices = new Map<string, EndpointSliceFacts[]>()
  readonly #pools: ReadonlyMap<string, Pool>
  readonly #order = new DigestOrder()
  readonly #alive: ReadonlySet<string> | 'all'
  readonly #rules: ElectionRules
  readonly #networks: SpeakerNetworks | undefined
  /** What every node does about a Service whose pool BGP does not announce: one for all of them, there may be many. */
  readonly #notOwners: ReadonlyMap<string, NodeBgp>

  constructor(snapshot: Snapshot, config: Config, nodes: ReadonlyMap<string, NodeFacts>) {
    this.#snapshot = snapshot
    this.#config = config
    this.#nodes = nodes
    this.#pools = new Map(config.pools.map(pool => [pool.name, pool]))
    const { down, speakers } = snapshot
    this.#rules = { ...(speakers.length > 0 ? LODESTONE_RULES : METALLB_RULES), ...snapshot.rules }
    this.#networks = speakers.length > 0 ? new SpeakerNetworks(speakers) : undefined
    this.#alive = down.size === 0 ? 'all' : new Set([...nodes.keys()].filter(name => !down.has(name)))
    this.#notOwners = new Map(
      [...nodes.keys()].map(name => [name, { reason: down.has(name) ? 'notAlive' : 'notOwner', offers: [] }]),
    )
    for (const slice of snapshot.slices) {
      if (slice.serviceKey === undefined) continue
      const known = this.#slices.get(slice.serviceKey)
      if (known === undefined) this.#slices.set(slice.serviceKey, [slice])
      else known.push(slice)
    }
  }

  all(allocations: readonly Decision[]): ServicePlan[] {
    const facts = new Map(this.#snapshot.services.map(service => [service.key, service]))
    const result: ServicePlan[] = []
    for (const decision of allocations) {
      const service = facts.get(decision.service)
      if (service?.type === 'LoadBalancer') result.push(this.#one(service, decision))
    }
    return result
  }

  #one(facts: ServiceFacts, decision: Decision): ServicePlan {
    const { ips } = decision
    const service = settledFacts(facts, decision)
    const slices = this.#slices.get(service.key) ?? []
    const pool = decision.pool === null ? undefined : this.#pools.get(decision.pool)
    const endpoints = endpointNodes(slices)
    const electoral = electoralEndpoints(service, endpoints, this.#nodes, this.#networks)
    const advertisements = pool === undefined ? [] : advertisementsOfPool(this.#config, pool.name)
    const mode = layer2ModeOf(service, advertisementsForService(advertisements, service))
    const election = elect(
      {
        service,
        ips,
        advertisements,
        nodes: this.#nodes,
        endpoints: electoral.endpoints,
        ignoreExcludeLabel: this.#snapshot.ignoreExcludeLabel,
        rules: this.#rules,
        ...(this.#networks && { networks: this.#networks }),
        alive: this.#alive,
      },
      this.#order,
    )
    const bgp = pool === undefined ? new Map<string, NodeBgp>() : this.#bgp(service, ips, pool, slices)
    const shares = mode === 'sharded' ? sharesOf(election, shareWeights(service, slices)) : []
    const { steered, why: notSteered } = electoral
    return {
      service,
      decision,
      pool,
      endpoints,
      election,
      mode,
      shares,
      steered,
      ...(notSteered !== undefined && { notSteered }),
      bgp,
    }
  }

  #bgp(
    service: ServiceFacts,
    ips: readonly Ip[],
    pool: Pool,
    slices: readonly EndpointSliceFacts[],
  ): ReadonlyMap<string, NodeBgp> {
    const advertisements = bgpAdvertisementsOfPool(this.#config, pool.name)
    const endpoints = bgpEndpoints(slices)
    const { ignoreExcludeLabel, down } = this.#snapshot
    if (advertisements.length === 0) return this.#notOwners
    const result = new Map<string, NodeBgp>()
    for (const [name, node] of this.#nodes) {
      const decision: NodeBgp = down.has(name)
        ? { reason: 'notAlive', offers: [] }
        : decideBgp({ service, ips, pool, advertisements, node, endpoints, ignoreExcludeLabel })
      const told = decision.reason === null && this.#isTold(name, decision.offers)
      result.set(name, decision.reason === null && !told ? { ...decision, reason: 'noPeers' } : decision)
    }
    return result
  }

  #isTold(node: string, offers: readonly Offer[]): boolean {
    return this.#config.peers.some(
      peer => peer.nodes.has(node) && offers.some(offer => notTold(offer, peer) === null),
    )
  }
}

function sharesOf({ candidates }: Election, weights: Readonly<Record<string, number>> = {}): Share[] {
  const sharing = candidates.filter(({ eligible }) => eligible).slice(0, SHARD_NODES_MAX)
  const weightOf = (node: string) => weights[node] ?? 1
  const sum = sharing.reduce((all, { node }) => all + weightOf(node), 0)
  return sharing.map(({ node }) => ({ node, part: weightOf(node) / sum }))
}

/** A Service as it is once the decision is written. */
export function settledFacts(service: ServiceFacts, decision: Decision): ServiceFacts {
  return {
    ...service,
    statusIps: decision.ips,
    statusHasOther: false,
    annotations: { ...service.annotations, allocatedFromPool: decision.pool ?? undefined },
  }
}

function sessionsOf(
  { nodes, down }: Snapshot,
  config: Config,
  services: readonly ServicePlan[],
): readonly Session[] {
  const sessions: Session[] = []
  for (const { name } of byName(nodes)) {
    const peers = config.peers.filter(peer => peer.nodes.has(name))
    if (down.has(name) || peers.length === 0) continue
    const offers = services.flatMap(({ service, bgp }) => {
      const decision = bgp.get(name)
      return decision?.reason === null ? [[service.key, decision.offers] as const] : []
    })
    for (const peer of peers) sessions.push({ node: name, peer, routes: routesForPeer(peer, offers) })
  }
  return sessions
}

function byName<T extends { readonly name: string }>(items: readonly T[]): readonly T[] {
  return [...items].sort((a, b) => compareText(a.name, b.name))
}
