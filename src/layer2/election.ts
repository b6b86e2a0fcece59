import type { Ip } from '../addr/ip.ts'
import type { EndpointNodes } from '../config/endpointslice.ts'
import type { Config, L2Advertisement } from '../config/model.ts'
import { EXCLUDE_LABEL, type NodeFacts } from '../config/nodes.ts'
import { matchesAny } from '../config/selectors.ts'
import type { ServiceFacts } from '../config/services.ts'
import { DigestOrder, digestOrder } from './digest-order.ts'
import type { SpeakerNetworks } from './networks.ts'

/** Where the election goes beyond MetalLB's (docs/metallb-differences.md). All speakers of a cluster must have the same. */
export type ElectionRules = {
  /** Nodes that are NotReady, cordoned or out of service go behind all others (Q-9 without it). */
  readonly nodeHealth: boolean
  /** Where some candidates have an interface in the address's subnet, the others are none. */
  readonly subnets: boolean
}

export const METALLB_RULES: ElectionRules = { nodeHealth: false, subnets: false }
export const LODESTONE_RULES: ElectionRules = { nodeHealth: true, subnets: true }

/**
 * Who answers for the addresses of a Service at layer 2: MetalLB's election (rules L-1 to L-9), so that a
 * migration moves nothing, then our own rules. Every node works it out for itself from the same facts; nobody votes.
 */
export type ElectionInput = {
  readonly service: ServiceFacts
  /** The addresses to announce, in status order; the first one decides (L-7). */
  readonly ips: readonly Ip[]
  /** The L2 advertisements of the pool that the addresses are from: see {@link advertisementsOfPool}. */
  readonly advertisements: readonly L2Advertisement[]
  readonly nodes: ReadonlyMap<string, NodeFacts>
  /** Endpoints of the Service that can serve (2.6). */
  readonly endpoints: EndpointNodes
  /** Nodes with {@link EXCLUDE_LABEL} stay candidates. */
  readonly ignoreExcludeLabel?: boolean
  /** Absent: MetalLB's. */
  readonly rules?: ElectionRules
  /** Absent, or silent about a node: every interface and subnet is taken to be there. */
  readonly networks?: SpeakerNetworks
}

/** Why nobody announces a Service. */
export type NotAnnouncedReason =
  | 'noIPAllocated'
  | 'noMatchingAdvertisement' // no L2 advertisement of the pool matches the Service (L-2)
  | 'sharedIPWithServiceSelector' // it may share its address, and a matching advertisement selects Services (L-3, S-8)
  | 'noEndpoints' // nothing can serve, on any node (E-2)
  | 'noCandidates' // every node was refused, each for its own reason

/** Why a node is no candidate. */
export type NotEligibleReason =
  | 'noMatchingAdvertisement' // in the node set of no matching advertisement (L-4, L-5)
  | 'notAlive'
  | 'networkUnavailable'
  | 'excludedByLabel'
  | 'noLocalEndpoints' // externalTrafficPolicy Local without an endpoint there (L-6)
  | 'noInterface' // it has none of the interfaces that the advertisements name
  | 'notInSubnet' // others have an interface in the subnet of the address, this one has not
  | NotAnnouncedReason

export type Candidate = {
  readonly node: string
  readonly eligible: boolean
  /** 0 is the owner; null when not eligible. */
  readonly rank: number | null
  /** Sum of the preference weights (L-7); higher goes first. */
  readonly score: number
  readonly reason: NotEligibleReason | null
  /** It goes behind all that are in good health, whatever its score; only of those that are eligible. */
  readonly givesWay?: Demotion
  /** Where this node answers if it is the owner: no part of the election (L-11). */
  readonly interfaces: 'all' | readonly string[]
}

export type Election = {
  readonly owner: string | null
  /** null exactly when there is an owner. */
  readonly reason: NotAnnouncedReason | null
  /** Of the owner; empty without one. */
  readonly interfaces: 'all' | readonly string[]
  /** Every known node: the eligible ones by rank, then the others by name. */
  readonly candidates: readonly Candidate[]
}

/** The advertisements that cover a pool, in name order. */
export function advertisementsOfPool(config: Config, pool: string): readonly L2Advertisement[] {
  return config.l2Advertisements.filter(advertisement => advertisement.pools.has(pool))
}

/** The advertisements among these that match the Service's labels (L-2). */
export function advertisementsForService(
  advertisements: readonly L2Advertisement[],
  service: Pick<ServiceFacts, 'labels'>,
): readonly L2Advertisement[] {
  return advertisements.filter(advertisement => matchesAny(advertisement.serviceSelectors, service.labels))
}

/** The interfaces on which a node answers: those of the advertisements that include it, together. */
export function interfacesFor(matching: readonly L2Advertisement[], node: string): 'all' | readonly string[] {
  const names = new Set<string>()
  for (const advertisement of matching) {
    if (!advertisement.nodes.has(node)) continue
    if (advertisement.interfaces === 'all') return 'all'
    for (const name of advertisement.interfaces) names.add(name)
  }
  return [...names].sort()
}

/**
 * The nodes that would answer, best first, were all of them alive. The owner is the first of them that is alive,
 * so losing a node needs no new ranking: removing one never changes the order of the others (L-9).
 *
 * A reason when nobody may answer, whoever is alive.
 */
export type Ranking =
  | { readonly nodes: readonly string[]; readonly reason: null }
  | { readonly nodes: readonly []; readonly reason: NotAnnouncedReason }

/** `order` and `known` remember between calls: give the same ones for every Service of one configuration and its nodes. */
export function rankCandidates(
  input: ElectionInput,
  order?: DigestOrder,
  known: EligibleNodes = new EligibleNodes(),
): Ranking {
  const obstacle = serviceObstacle(input)
  if (obstacle !== null) return { nodes: [], reason: obstacle }
  const matching = advertisementsForService(input.advertisements, input.service)
  const eligible = inSubnet(input, known.get(input, matching))
  if (eligible.size === 0) return { nodes: [], reason: 'noCandidates' }
  return { nodes: rank(input, matching, eligible, order), reason: null }
}

/**
 * Nodes that may answer, remembered by the advertisements that include them: Services differ in little but their endpoints, and
 * at 500 nodes asking each node about each Service is most of a plan. Good for one configuration and its nodes.
 */
export class EligibleNodes {
  readonly #byAdvertisements = new Map<string, ReadonlySet<string>>()

  get(input: ElectionInput, matching: readonly L2Advertisement[]): ReadonlySet<string> {
    const key = matching.map(({ name }) => name).join('\n')
    let anywhere = this.#byAdvertisements.get(key)
    if (anywhere === undefined) {
      const nodes = new Set<string>()
      const { service } = input
      const cluster = { ...input, service: { ...service, externalTrafficPolicy: 'Cluster' as const } }
      for (const advertisement of matching) {
        for (const node of advertisement.nodes) {
          if (nodeObstacle(cluster, node, matching) === null) nodes.add(node)
        }
      }
      this.#byAdvertisements.set(key, (anywhere = nodes))
    }
    if (input.service.externalTrafficPolicy !== 'Local') return anywhere
    const local = new Set<string>()
    for (const node of input.endpoints.nodes) if (anywhere.has(node)) local.add(node)
    return local
  }
}

/** The whole election with its reasons. `alive` names the living nodes. */
export function elect(
  input: ElectionInput & { readonly alive: ReadonlySet<string> | 'all' },
  order?: DigestOrder,
): Election {
  const matching = advertisementsForService(input.advertisements, input.service)
  const obstacle = serviceObstacle(input)
  const eligible = new Set<string>()
  const others: Candidate[] = []
  const names = [...input.nodes.keys()].sort()
  const subnet = inSubnet(
    input,
    new Set(
      obstacle === null
        ? names.filter(node => covers(matching, node) && nodeObstacle(input, node, matching) === null)
        : [],
    ),
  )
  for (const node of names) {
    const reason: NotEligibleReason | null =
      obstacle ??
      (!covers(matching, node)
        ? 'noMatchingAdvertisement'
        : input.alive !== 'all' && !input.alive.has(node)
          ? 'notAlive'
          : (nodeObstacle(input, node, matching) ?? (subnet.has(node) ? null : 'notInSubnet')))
    if (reason === null) eligible.add(node)
    else {
      const [score, interfaces] = [scoreOf(matching, node), interfacesFor(matching, node)]
      others.push({ node, eligible: false, rank: null, score, reason, interfaces })
    }
  }
  const candidates = rank(input, matching, eligible, order).map((node, index): Candidate => {
    const givesWay = input.rules?.nodeHealth === true ? demotion(input.nodes.get(node)) : null
    return {
      node,
      eligible: true,
      rank: index,
      score: scoreOf(matching, node),
      reason: null,
      ...(givesWay !== null && { givesWay }),
      interfaces: interfacesFor(matching, node),
    }
  })
  const [owner] = candidates
  return {
    owner: owner?.node ?? null,
    reason: owner === undefined ? (obstacle ?? 'noCandidates') : null,
    interfaces: owner?.interfaces ?? [],
    candidates: [...candidates, ...others],
  }
}

/** What stops a Service on every node alike. */
export function serviceObstacle(input: ElectionInput): NotAnnouncedReason | null {
  if (input.ips.length === 0) return 'noIPAllocated'
  const matching = advertisementsForService(input.advertisements, input.service)
  if (matching.length === 0) return 'noMatchingAdvertisement'
  if (
    input.service.annotations.hasSharingKey &&
    matching.some(advertisement => advertisement.serviceSelectors.length > 0)
  ) {
    return 'sharedIPWithServiceSelector'
  }
  return input.endpoints.any ? null : 'noEndpoints'
}

/**
 * What stops a node that one of the `matching` advertisements includes (L-5, L-6); without those, interfaces do not matter.
 * A node without facts counts as available.
 */
export function nodeObstacle(
  input: Pick<ElectionInput, 'service' | 'nodes' | 'endpoints' | 'ignoreExcludeLabel' | 'networks'>,
  name: string,
  matching: readonly L2Advertisement[],
): NotEligibleReason | null {
  const node = input.nodes.get(name)
  if (node?.networkUnavailable === true) return 'networkUnavailable'
  if (node !== undefined && input.ignoreExcludeLabel !== true && Object.hasOwn(node.labels, EXCLUDE_LABEL)) {
    return 'excludedByLabel'
  }
  if (matching.length > 0 && input.networks?.mayHave(name, interfacesFor(matching, name)) === false) {
    return 'noInterface'
  }
  const needsLocal = input.service.externalTrafficPolicy === 'Local'
  return needsLocal && !input.endpoints.nodes.has(name) ? 'noLocalEndpoints' : null
}

function covers(matching: readonly L2Advertisement[], node: string): boolean {
  return matching.some(advertisement => advertisement.nodes.has(node))
}

/**
 * Of these nodes the ones that can be reached in the address's subnet, where there are any. An address that is in nobody's subnet
 * is routed to the segment: then all stay. So do nodes that told nothing. Of two addresses both count where they can.
 */
function inSubnet(
  { ips, rules = METALLB_RULES, networks }: ElectionInput,
  eligible: ReadonlySet<string>,
): ReadonlySet<string> {
  if (!rules.subnets || networks === undefined) return eligible
  let left = eligible
  for (const ip of ips) {
    const there = networks.inSubnetOf(ip)
    if (there.size === 0) continue
    const stay = [...left].filter(node => there.has(node) || !networks.knows(node))
    // Nobody of those who told: the few that are in the subnet may not announce it.
    if (stay.some(node => there.has(node)) && stay.length < left.size) left = new Set(stay)
  }
  return left
}

/** Why a node goes behind others though it may answer. */
export type Demotion = 'outOfService' | 'notReady' | 'cordoned'

/** null: it does not. */
export function demotion(node: NodeFacts | undefined): Demotion | null {
  if (node === undefined) return null
  if (node.outOfService) return 'outOfService'
  if (!node.ready) return 'notReady'
  return node.unschedulable ? 'cordoned' : null
}

/** Nodes in good health first where that counts, then score, then digest (L-7). */
function rank(
  input: ElectionInput,
  matching: readonly L2Advertisement[],
  eligible: ReadonlySet<string>,
  order: DigestOrder | undefined,
): readonly string[] {
  const address = input.ips[0]
  if (address === undefined || eligible.size === 0) return []
  let ranked = order === undefined ? digestOrder(address, eligible) : order.sort(address, eligible)
  if (matching.some(advertisement => advertisement.scores.size > 0)) {
    const scores = new Map(ranked.map(node => [node, scoreOf(matching, node)]))
    // Array sort is stable: equal scores keep the order of their digests.
    ranked = ranked.sort((a, b) => (scores.get(b) ?? 0) - (scores.get(a) ?? 0))
  }
  if (input.rules?.nodeHealth !== true) return ranked
  const givesWay = (node: string) => demotion(input.nodes.get(node)) !== null
  return ranked.some(givesWay)
    ? [...ranked.filter(node => !givesWay(node)), ...ranked.filter(givesWay)]
    : ranked
}

function scoreOf(matching: readonly L2Advertisement[], node: string): number {
  let score = 0
  for (const advertisement of matching) score += advertisement.scores.get(node) ?? 0
  return score
}
