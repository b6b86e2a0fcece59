import type { KubeObject } from '../ports/kube.ts'
import { parseBfdProfile } from './bfd-profiles.ts'
import {
  parseBgpAdvertisement,
  reportAdvertisementConflicts,
  reportEchoConflicts,
} from './bgp-advertisements.ts'
import { parseAliases } from './communities.ts'
import { fieldsOf } from './fields.ts'
import { parseL2Advertisement } from './l2-advertisements.ts'
import type { BgpCommunity, BgpPeer, Config, Problem } from './model.ts'
import type { NamespaceFacts, NodeFacts } from './nodes.ts'
import { parsePeer, reportPeerConflicts } from './peers.ts'
import { parsePool, reportOverlaps } from './pools.ts'
import { Report, reportNames, sortedByName } from './report.ts'
import type { SecretFacts } from './secrets.ts'
import { type LabelSelector, matchesAny, parseLabelSelector } from './selectors.ts'

export type ConfigResources = {
  readonly pools: readonly KubeObject[]
  readonly l2Advertisements: readonly KubeObject[]
  readonly bgpAdvertisements?: readonly KubeObject[]
  /** Of either version. Absent: they are not read, so nobody misses one. */
  readonly bgpPeers?: readonly KubeObject[]
  readonly bfdProfiles?: readonly KubeObject[]
  readonly communities?: readonly KubeObject[]
  /** Absent: Secrets are not read, so what peers say about them is not checked (V-34). */
  readonly secrets?: readonly SecretFacts[]
  readonly nodes: readonly NodeFacts[]
  readonly namespaces: readonly NamespaceFacts[]
}

/** Either a configuration, perhaps with warnings, or everything that is wrong: then the whole is refused (V-1). */
export type ParsedConfig =
  | { readonly config: Config; readonly warnings: readonly Problem[] }
  | { readonly problems: readonly Problem[] }

/**
 * Custom resources to one configuration. Total: whatever the objects hold, the answer is a value. The order of
 * the resources changes nothing.
 */
export function parseConfig(resources: ConfigResources): ParsedConfig {
  const report = new Report()
  for (const [kind, objects] of kindsOf(resources)) reportNames(kind, objects, report)
  const { nodes, namespaces, secrets } = resources
  const pools = sortedByName(resources.pools).map(object => parsePool(object, namespaces, report))
  reportOverlaps(pools, report)
  const l2Advertisements = sortedByName(resources.l2Advertisements).map(object =>
    parseL2Advertisement(object, pools, nodes, report),
  )
  const bfdProfiles = sortedByName(resources.bfdProfiles ?? []).map(object => parseBfdProfile(object, report))
  const aliases = parseAliases(sortedByName(resources.communities ?? []), report)
  const peers = sortedByName(resources.bgpPeers ?? []).map(object =>
    parsePeer(object, { nodes, bfdProfiles, secrets }, report),
  )
  reportPeerConflicts(peers, nodes, report)
  const peerNames = resources.bgpPeers && new Set(peers.map(({ object }) => object.name))
  const bgpAdvertisements = sortedByName(resources.bgpAdvertisements ?? []).map(object =>
    parseBgpAdvertisement(object, { pools, nodes, aliases, peers: peerNames }, report),
  )
  const plainPools = pools.map(({ pool }) => pool)
  reportAdvertisementConflicts(bgpAdvertisements, plainPools, nodes.length > 0, report)
  reportEchoConflicts(peers, bfdProfiles, bgpAdvertisements, plainPools, report)
  const fatal = report.problems.some(problem => problem.severity !== 'warning')
  if (fatal) return { problems: report.problems }
  return {
    config: {
      pools: plainPools,
      l2Advertisements,
      bgpAdvertisements: bgpAdvertisements.map(({ advertisement }) => advertisement),
      peers: peers.map(({ peer }) => peer).filter((peer): peer is BgpPeer => peer !== undefined),
      bfdProfiles,
      communities: new Map(
        [...aliases].filter((entry): entry is [string, BgpCommunity] => entry[1] !== undefined),
      ),
    },
    warnings: report.problems,
  }
}

function kindsOf(resources: ConfigResources): [kind: string, objects: readonly KubeObject[]][] {
  return [
    ['IPAddressPool', resources.pools],
    ['L2Advertisement', resources.l2Advertisements],
    ['BGPAdvertisement', resources.bgpAdvertisements ?? []],
    ['BGPPeer', resources.bgpPeers ?? []],
    ['BFDProfile', resources.bfdProfiles ?? []],
    ['Community', resources.communities ?? []],
  ]
}

/**
 * What one node has to look at (V-3): without the peers and BGP advertisements that are for other nodes, so that what is
 * wrong with those does not stop this one. A node that is not known yet gets everything.
 */
export function resourcesForNode(resources: ConfigResources, nodeName: string): ConfigResources {
  const node = resources.nodes.find(({ name }) => name === nodeName)
  if (node === undefined) return resources
  const isForNode = (object: KubeObject) => {
    const raw = fieldsOf(object['spec'])['nodeSelectors'] ?? []
    if (!Array.isArray(raw)) return true
    const parsed = raw.map(parseLabelSelector)
    const selectors = parsed.filter((item): item is LabelSelector => typeof item !== 'string')
    // A selector that cannot be read is everybody's problem.
    return selectors.length < parsed.length || matchesAny(selectors, node.labels)
  }
  return {
    ...resources,
    ...(resources.bgpPeers && { bgpPeers: resources.bgpPeers.filter(isForNode) }),
    ...(resources.bgpAdvertisements && { bgpAdvertisements: resources.bgpAdvertisements.filter(isForNode) }),
  }
}

/** The same pools with the same rules: what decides whether allocations must be looked at again. */
export function samePools(a: Config, b: Config): boolean {
  return canonical(a.pools) === canonical(b.pools)
}

/** Deep equality; sets and maps compare by content in order, which parsing makes canonical. */
export function sameConfig(a: Config, b: Config): boolean {
  return canonical(a) === canonical(b)
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    item instanceof Set
      ? ['set', ...(item as Set<unknown>)]
      : item instanceof Map
        ? ['map', ...(item as Map<unknown, unknown>)]
        : item,
  )
}
