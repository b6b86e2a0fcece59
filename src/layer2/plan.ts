import type { Ip } from '../addr/ip.ts'
import { isIpv4 } from '../addr/ip.ts'
import { type EndpointNodes, type EndpointSliceFacts, endpointNodes } from '../config/endpointslice.ts'
import type { Config } from '../config/model.ts'
import type { NodeFacts } from '../config/nodes.ts'
import { PoolIndex } from '../config/pool-index.ts'
import type { ServiceFacts } from '../config/services.ts'
import { DigestOrder } from './digest-order.ts'
import {
  advertisementsForService,
  advertisementsOfPool,
  type ElectionRules,
  EligibleNodes,
  interfacesFor,
  type NotAnnouncedReason,
  rankCandidates,
} from './election.ts'
import type { Claim, Vip } from './machine.ts'
import { layer2ModeOf, shareWeights } from './mode.ts'
import type { SpeakerNetworks } from './networks.ts'
import { SHARD_NODES_MAX } from './shards.ts'
import { electoralEndpoints } from './steered.ts'

/**
 * How many candidates ahead of this node its reflex thread is told. All of them would have to be gone at once for this
 * node to follow, so more need not be known within milliseconds: what is further away waits for a new plan.
 */
export const AHEAD_MAX = 16
/** How many after this node it is told, to which it gives way while it is on probation and they are not. */
export const BEHIND_MAX = 16

/** Why a Service with or without addresses is not announced at layer 2 by anybody. */
export type WithheldReason =
  | NotAnnouncedReason
  | 'notLoadBalancer' // another type, or of another load-balancer class (P-1, P-5)
  | 'invalidIP' // an entry of its status is no address (P-1)
  | 'ipNotAllowed' // its addresses are not all in one pool (P-1, P-2)

/** Who announces a Service, as far as one node needs to know. */
export type Assignment = {
  readonly service: string
  readonly ips: readonly Ip[]
  /**
   * The first AHEAD_MAX + 1 nodes that would answer, best first, whoever is alive; empty exactly when there is a reason. Of a sharded
   * Service all that share it.
   */
  readonly candidates: readonly string[]
  readonly reason: WithheldReason | null
  /** What this node must know: undefined when it is no candidate. */
  readonly claim: Claim | undefined
  /** Its packets are handed to the nodes of its endpoints. */
  readonly steered?: boolean
  /** Why that is not so though it should be. */
  readonly notSteered?: string
}

export type Facts = {
  readonly config: Config
  readonly nodes: ReadonlyMap<string, NodeFacts>
  readonly self: string
  /** `--lb-class`; undefined: only Services without a class. */
  readonly loadBalancerClass: string | undefined
  readonly ignoreExcludeLabel: boolean
  /** Absent: MetalLB's. */
  readonly rules?: ElectionRules
  readonly networks?: SpeakerNetworks
}

/** Both configurations give every Service the same candidates on the same interfaces. */
export function sameForLayer2(a: Config, b: Config): boolean {
  const shown = ({ pools, l2Advertisements }: Config) =>
    JSON.stringify([
      pools.map(({ name, prefixes }) => [name, prefixes]),
      l2Advertisements.map(({ pools: ofPools, nodes, scores, ...rest }) => [
        rest,
        [...ofPools].sort(),
        [...nodes].sort(),
        [...scores].sort(([one], [other]) => (one < other ? -1 : 1)),
      ]),
    ])
  return shown(a) === shown(b)
}

/** Plans one Service at a time over the same facts, remembering what those have in common. */
export class Layer2Planner {
  readonly #facts: Facts
  readonly #pools: PoolIndex
  readonly #order: DigestOrder
  readonly #eligible = new EligibleNodes()

  constructor(facts: Facts, order: DigestOrder = new DigestOrder()) {
    this.#facts = facts
    this.#pools = new PoolIndex(facts.config)
    this.#order = order
  }

  assign(service: ServiceFacts, slices: Iterable<EndpointSliceFacts>): Assignment {
    const { config, nodes, self, loadBalancerClass, ignoreExcludeLabel, rules, networks } = this.#facts
    const withheld = (reason: WithheldReason): Assignment => ({
      service: service.key,
      ips: service.statusIps,
      candidates: [],
      reason,
      claim: undefined,
    })
    if (service.type !== 'LoadBalancer' || service.loadBalancerClass !== loadBalancerClass)
      return withheld('notLoadBalancer')
    if (service.statusIps.length === 0) return withheld('noIPAllocated')
    if (service.statusHasOther) return withheld('invalidIP')
    const pool = this.#pools.poolOfAll(service.statusIps)
    if (pool === undefined) return withheld('ipNotAllowed')
    const advertisements = advertisementsOfPool(config, pool.name)
    // Read twice, and an iterator can be read once.
    const endpointSlices = [...slices]
    const endpoints: EndpointNodes = endpointNodes(endpointSlices)
    const electoral = electoralEndpoints(service, endpoints, nodes, networks)
    const input = {
      service,
      ips: service.statusIps,
      advertisements,
      nodes,
      endpoints: electoral.endpoints,
      ignoreExcludeLabel,
      ...(rules && { rules }),
      ...(networks && { networks }),
    }
    const ranking = rankCandidates(input, this.#order, this.#eligible)
    if (ranking.reason !== null) return withheld(ranking.reason)
    const matching = advertisementsForService(advertisements, service)
    const mode = layer2ModeOf(service, matching)
    // Those that share an address have to know all others that do, and be the same for all of them.
    const candidates = mode === 'sharded' ? ranking.nodes.slice(0, SHARD_NODES_MAX) : ranking.nodes
    const [aheadMax, behindMax] =
      mode === 'sharded' ? [SHARD_NODES_MAX, SHARD_NODES_MAX] : [AHEAD_MAX, BEHIND_MAX]
    const place = ranking.nodes.indexOf(self)
    const weights = mode === 'sharded' ? shareWeights(service, endpointSlices) : undefined
    return {
      service: service.key,
      ips: service.statusIps,
      candidates: mode === 'sharded' ? candidates : candidates.slice(0, AHEAD_MAX + 1),
      reason: null,
      steered: electoral.steered,
      ...(electoral.why !== undefined && { notSteered: electoral.why }),
      claim:
        place < 0
          ? undefined
          : {
              service: service.key,
              ahead: candidates.slice(0, Math.min(place, aheadMax)),
              behind: candidates.slice(place + 1, place + 1 + behindMax),
              truncated: mode === 'sharded' ? place >= SHARD_NODES_MAX : place > AHEAD_MAX,
              interfaces: interfacesFor(matching, self),
              mode,
              ...(weights && { weights }),
            },
    }
  }
}

/** The plan for the reflex thread, kept as a difference to what it was told before. */
export class VipTable {
  readonly #byService = new Map<string, Assignment>()
  readonly #claims = new Map<Ip, Map<string, Claim>>()

  /** Takes the place of what was known of this Service; undefined: it is gone. */
  set(service: string, assignment: Assignment | undefined): ReadonlySet<Ip> {
    const touched = new Set<Ip>()
    const before = this.#byService.get(service)
    if (before?.claim !== undefined) {
      for (const ip of before.ips) {
        const claims = this.#claims.get(ip)
        claims?.delete(service)
        if (claims?.size === 0) this.#claims.delete(ip)
        touched.add(ip)
      }
    }
    if (assignment === undefined) this.#byService.delete(service)
    else this.#byService.set(service, assignment)
    if (assignment?.claim !== undefined) {
      for (const ip of assignment.ips) {
        let claims = this.#claims.get(ip)
        if (claims === undefined) this.#claims.set(ip, (claims = new Map()))
        claims.set(service, assignment.claim)
        touched.add(ip)
      }
    }
    if (before !== undefined && assignment !== undefined && sameClaims(before, assignment)) return NOTHING
    return touched
  }

  get(service: string): Assignment | undefined {
    return this.#byService.get(service)
  }

  /** Whether this node is a candidate for the address. */
  has(ip: Ip): boolean {
    return this.#claims.has(ip)
  }

  assignments(): IterableIterator<Assignment> {
    return this.#byService.values()
  }

  /** undefined: this node is no candidate for the address. */
  vip(ip: Ip): Vip | undefined {
    const claims = this.#claims.get(ip)
    if (claims === undefined) return undefined
    return { ip, claims: [...claims.values()].sort((a, b) => (a.service < b.service ? -1 : 1)) }
  }

  /** What to tell about these addresses. */
  difference(touched: Iterable<Ip>): { set: Vip[]; remove: Ip[] } {
    const set: Vip[] = []
    const remove: Ip[] = []
    for (const ip of touched) {
      const vip = this.vip(ip)
      if (vip === undefined) remove.push(ip)
      else set.push(vip)
    }
    return { set, remove }
  }

  /** Addresses for which this node is a candidate, IPv4 first. */
  addresses(): Ip[] {
    return [...this.#claims.keys()].sort(
      (a, b) => Number(!isIpv4(a)) - Number(!isIpv4(b)) || (a < b ? -1 : 1),
    )
  }
}

const NOTHING: ReadonlySet<Ip> = new Set()

function sameClaims(a: Assignment, b: Assignment): boolean {
  return JSON.stringify([a.ips, a.claim]) === JSON.stringify([b.ips, b.claim])
}
