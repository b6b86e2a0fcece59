import { compareIps, type Family, familyOf, type Ip } from '../addr/ip.ts'
import {
  type Prefix,
  prefixAddress,
  prefixContains,
  prefixFamily,
  prefixLength,
  prefixOf,
} from '../addr/prefix.ts'
import { poolFamilies } from '../config/bgp-advertisements.ts'
import { compareCommunities } from '../config/communities.ts'
import type { EndpointSliceFacts } from '../config/endpointslice.ts'
import type { BgpAdvertisement, BgpCommunity, BgpPeer, Config, Pool } from '../config/model.ts'
import { EXCLUDE_LABEL, type NodeFacts } from '../config/nodes.ts'
import { matchesAny } from '../config/selectors.ts'
import type { ServiceFacts } from '../config/services.ts'
import { conflictAmong } from './conflicts.ts'

/**
 * What a node tells its routers about a Service, and why not (metallb.md 2.10 and 2.11, rules B-1 to B-12). Every node works
 * it out for itself; unlike at layer 2 all eligible nodes announce, whoever else is alive.
 */
export type BgpInput = {
  readonly service: Pick<ServiceFacts, 'key' | 'labels' | 'externalTrafficPolicy'>
  /** The addresses of the Service, all from `pool`. */
  readonly ips: readonly Ip[]
  readonly pool: Pool
  /** The BGP advertisements of that pool: see {@link bgpAdvertisementsOfPool}. */
  readonly advertisements: readonly BgpAdvertisement[]
  readonly node: NodeFacts
  readonly endpoints: BgpEndpoints
  /** Nodes with {@link EXCLUDE_LABEL} announce as well. */
  readonly ignoreExcludeLabel?: boolean
}

/** MetalLB's reasons, in the order in which they are looked at (2.10). */
export const BGP_REASONS = [
  'notOwner', // no advertisement of the pool includes this node
  'noMatchingAdvertisement', // none of those that do matches the Service
  'conflictingAdvertisements', // two that match want different LOCAL_PREFs (B-12)
  'nodeNetworkUnavailable',
  'nodeLabeledExcludeBalancers',
  'noLocalEndpoints', // externalTrafficPolicy Local, and nothing here can serve
  'noEndpoints', // nothing can serve anywhere
] as const
export type BgpReason = (typeof BGP_REASONS)[number]

export type BgpDecision =
  | {
      readonly reason: null
      /** One for each address and advertisement, before equal prefixes are put together. */
      readonly offers: readonly Offer[]
    }
  | {
      readonly reason: BgpReason
      readonly offers: readonly []
      /** Names of the two advertisements, when they conflict. */
      readonly conflict?: readonly [string, string]
    }

/** A prefix for those peers that it is for. */
export type Offer = {
  readonly prefix: Prefix
  readonly advertisement: BgpAdvertisement
}

/** A prefix as one router is told it, on behalf of one or more Services (B-5). */
export type Route = {
  readonly prefix: Prefix
  /** United and sorted (B-3, B-5). */
  readonly communities: readonly BgpCommunity[]
  /** null: not sent, because none is set or the router is in another AS (B-9). */
  readonly localPref: number | null
  /** `namespace/name`, sorted. The route stays until the last of them goes. */
  readonly services: readonly string[]
}

/** Where the endpoints are that BGP counts: those that can serve and have an address (E-3). */
export type BgpEndpoints = { readonly any: boolean; readonly nodes: ReadonlySet<string> }

/** Folds the slices of one Service together. */
export function bgpEndpoints(slices: Iterable<EndpointSliceFacts>): BgpEndpoints {
  let any = false
  const nodes = new Set<string>()
  for (const { endpoints } of slices) {
    for (const { ready, addresses, nodeName } of endpoints) {
      if (!ready || addresses.length === 0) continue
      any = true
      if (nodeName !== undefined) nodes.add(nodeName)
    }
  }
  return { any, nodes }
}

/** The advertisements that cover a pool, in name order. */
export function bgpAdvertisementsOfPool(
  config: Pick<Config, 'bgpAdvertisements'>,
  pool: string,
): readonly BgpAdvertisement[] {
  return config.bgpAdvertisements.filter(({ pools }) => pools.has(pool))
}

/** Whether this node announces the Service, and what (2.10, B-1, B-4). */
export function decideBgp(input: BgpInput): BgpDecision {
  const { service, ips, pool, node, endpoints } = input
  const here = input.advertisements.filter(({ nodes }) => nodes.has(node.name))
  if (here.length === 0) return withheld('notOwner')
  const matching = here.filter(({ serviceSelectors }) => matchesAny(serviceSelectors, service.labels))
  if (matching.length === 0) return withheld('noMatchingAdvertisement')
  const conflict = conflictAmong(matching, poolFamilies(pool))
  if (conflict !== undefined) {
    const [a, b] = conflict
    return { reason: 'conflictingAdvertisements', offers: [], conflict: [a.name, b.name] }
  }
  if (node.networkUnavailable) return withheld('nodeNetworkUnavailable')
  if (input.ignoreExcludeLabel !== true && Object.hasOwn(node.labels, EXCLUDE_LABEL))
    return withheld('nodeLabeledExcludeBalancers')
  if (service.externalTrafficPolicy === 'Local' && !endpoints.nodes.has(node.name))
    return withheld('noLocalEndpoints')
  if (!endpoints.any) return withheld('noEndpoints')
  return {
    reason: null,
    offers: ips.flatMap(ip =>
      matching.map(advertisement => ({
        prefix: prefixOf(ip, lengthFor(advertisement, familyOf(ip))),
        advertisement,
      })),
    ),
  }
}

function withheld(reason: BgpReason): BgpDecision {
  return { reason, offers: [] }
}

/** The length of the prefix that is announced for an address of the family (B-1). */
function lengthFor(advertisement: BgpAdvertisement, family: Family): number {
  return family === 'IPv4' ? advertisement.aggregationLength : advertisement.aggregationLengthV6
}

/** Why one peer is not told an offer; null when it is. */
export type NotToldReason =
  | 'peerNotNamed' // the advertisement names other peers (B-2)
  | 'familyNotCarried' // the session is of the other family (B-7)

export function notTold(offer: Offer, peer: BgpPeer): NotToldReason | null {
  const { peers } = offer.advertisement
  if (peers !== 'all' && !peers.has(peer.name)) return 'peerNotNamed'
  return carries(peer, prefixFamily(offer.prefix)) ? null : 'familyNotCarried'
}

/** B-7: a session carries the family that it runs over, unless it is asked for both or has no address at all. */
export function carries(peer: Pick<BgpPeer, 'dualStack' | 'target'>, family: Family): boolean {
  return peer.dualStack || peer.target.type === 'interface' || familyOf(peer.target.address) === family
}

/** The router is in our own AS, as it sees us: LOCAL_PREF is sent (B-9, RFC 4271 section 5.1.5). */
export function isInternal({
  myAsn,
  localAsn,
  peerAsn,
}: Pick<BgpPeer, 'myAsn' | 'localAsn' | 'peerAsn'>): boolean {
  return peerAsn === 'internal' || peerAsn === (localAsn ?? myAsn)
}

/**
 * The routes of one session: those offers that are for this peer, equal prefixes put together over the advertisements and
 * Services (B-5). In order of the prefixes.
 * @param offers for each Service, `namespace/name`, what its node announces
 */
export function routesForPeer(
  peer: BgpPeer,
  offers: Iterable<readonly [service: string, offers: readonly Offer[]]>,
): readonly Route[] {
  const drafts = new Map<Prefix, Draft>()
  // B-5 lets the first LOCAL_PREF win: which one is first must not depend on the order of arrival.
  for (const [service, each] of [...offers].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) {
    for (const offer of each) {
      if (notTold(offer, peer) !== null) continue
      let draft = drafts.get(offer.prefix)
      if (draft === undefined) {
        draft = { communities: new Map(), localPref: undefined, services: new Set() }
        drafts.set(offer.prefix, draft)
      }
      const { communities, localPref } = offer.advertisement
      for (const community of communities) draft.communities.set(community.text, community)
      draft.localPref ??= localPref
      draft.services.add(service)
    }
  }
  const internal = isInternal(peer)
  return [...drafts]
    .sort(([a], [b]) => comparePrefixes(a, b))
    .map(([prefix, { communities, localPref, services }]) => ({
      prefix,
      communities: [...communities.values()].sort(compareCommunities),
      localPref: internal ? (localPref ?? null) : null,
      services: [...services],
    }))
}

type Draft = {
  readonly communities: Map<string, BgpCommunity>
  localPref: number | undefined
  readonly services: Set<string>
}

/** Names of the peers that a Service's status shows: whoever is told a prefix of it, be it for another Service (B-11). */
export function statusPeers(
  offers: readonly Offer[],
  sessions: Iterable<{ readonly peer: string; readonly routes: readonly Route[] }>,
): readonly string[] {
  const prefixes = new Set(offers.map(({ prefix }) => prefix))
  const peers = new Set<string>()
  for (const { peer, routes } of sessions) {
    if (routes.some(({ prefix }) => prefixes.has(prefix))) peers.add(peer)
  }
  return [...peers].sort()
}

/** Whether a router that has this route sends traffic for the address to us (B-6). */
export function attracts(route: Pick<Route, 'prefix'>, ip: Ip): boolean {
  return prefixFamily(route.prefix) === familyOf(ip) && prefixContains(route.prefix, ip)
}

function comparePrefixes(a: Prefix, b: Prefix): number {
  return compareIps(prefixAddress(a), prefixAddress(b)) || prefixLength(a) - prefixLength(b)
}
