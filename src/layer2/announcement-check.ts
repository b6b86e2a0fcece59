import type { Ip } from '../addr/ip.ts'
import type { EndpointNodes } from '../config/endpointslice.ts'
import type { BgpAdvertisement, BgpPeer, Config } from '../config/model.ts'
import { EXCLUDE_LABEL, type NodeFacts } from '../config/nodes.ts'
import { matchesAny } from '../config/selectors.ts'
import type { ServiceFacts } from '../config/services.ts'
import { advertisementsForService, advertisementsOfPool, nodeObstacle, serviceObstacle } from './election.ts'
import type { SpeakerNetworks } from './networks.ts'

/**
 * Whether anybody would announce the addresses of a Service, were every node alive, and otherwise what stands in the way
 * and what to do about it. For who does not know which nodes live: the owner is not named here, since it changes while
 * nothing about the Service does.
 */
export type AnnouncementCheck = {
  readonly announced: boolean
  readonly reason: AnnouncementReason
  /** For people; holds nothing that changes while the reason stays, as far as that can be. */
  readonly message: string
}

export type AnnouncementReason =
  | 'Layer2'
  | 'BGP'
  | 'Layer2AndBGP'
  | 'NoIPAllocated'
  | 'NoMatchingAdvertisement' // L-2
  | 'SharedIPWithServiceSelector' // L-3, S-8
  | 'NoEndpoints' // E-2, E-3
  | 'NoNodes' // the advertisements include no node (V-20)
  | 'BGPNotSpoken' // only a BGPAdvertisement is about it, and the speakers have no BGP sessions
  | 'NoPeers' // BGP: none of the named peers has a session on those nodes
  | 'ExcludedByLabel' // every node carries EXCLUDE_LABEL (1.5)
  | 'NetworkUnavailable' // every node has that condition (1.5)
  | 'NoLocalEndpoints' // Local, and no node that may announce has an endpoint (L-6)
  | 'NoInterface' // no node that may announce has one of the interfaces that the advertisements name
  | 'NoCandidates' // every node was refused, not all for one reason

export type AnnouncementInput = {
  readonly service: ServiceFacts
  /** The addresses it holds or is about to. */
  readonly ips: readonly Ip[]
  /** Name of the pool that they are from. */
  readonly pool: string | null
  readonly config: Config
  readonly nodes: ReadonlyMap<string, NodeFacts>
  readonly endpoints: EndpointNodes
  /** The speakers run with --ignore-exclude-lb. */
  readonly ignoreExcludeLabel?: boolean
  /** What the speakers told of their interfaces. */
  readonly networks?: SpeakerNetworks
  /** The speakers have BGP sessions. Absent: they have none, so a BGPAdvertisement announces nothing. */
  readonly speaksBgp?: boolean
}

export function checkAnnouncement(input: AnnouncementInput): AnnouncementCheck {
  const { service, ips, pool, config } = input
  if (ips.length === 0 || pool === null) {
    return no(
      'NoIPAllocated',
      'it has no address to announce: see the condition lodestone.dev/AddressAllocated',
    )
  }
  const layer2 = advertisementsOfPool(config, pool)
  const bgp = config.bgpAdvertisements.filter(advertisement => advertisement.pools.has(pool))
  const matchingBgp = bgp.filter(({ serviceSelectors }) => matchesAny(serviceSelectors, service.labels))
  const byLayer2 = checkLayer2(input, layer2)
  const byBgp = input.speaksBgp === true ? checkBgp(input, matchingBgp) : unspoken(matchingBgp)
  if (byLayer2 === undefined && byBgp === undefined) return noAdvertisement(pool, [...layer2, ...bgp])
  if (byLayer2?.announced === true && byBgp?.announced === true) {
    return { announced: true, reason: 'Layer2AndBGP', message: `${byLayer2.message}; ${byBgp.message}` }
  }
  // Announced one way is announced; otherwise what stands in the way of both.
  const announced = [byLayer2, byBgp].find(each => each?.announced === true)
  if (announced !== undefined) return announced
  if (byLayer2 === undefined) return byBgp as AnnouncementCheck
  if (byBgp === undefined || byBgp.reason === byLayer2.reason) return byLayer2
  return no(byLayer2.reason, `layer 2: ${byLayer2.message}; BGP: ${byBgp.message}`)
}

/** undefined: no L2Advertisement is about this Service. */
function checkLayer2(
  input: AnnouncementInput,
  advertisements: Config['l2Advertisements'],
): AnnouncementCheck | undefined {
  const { service } = input
  const matching = advertisementsForService(advertisements, service)
  switch (serviceObstacle({ ...input, advertisements })) {
    case 'noIPAllocated':
    case 'noMatchingAdvertisement':
      return undefined
    case 'sharedIPWithServiceSelector': {
      const [culprit] = matching.filter(({ serviceSelectors }) => serviceSelectors.length > 0)
      return no(
        'SharedIPWithServiceSelector',
        `it may share its address (metallb.io/allow-shared-ip), but the L2Advertisement ${culprit?.name} selects Services: take the annotation or the serviceSelectors away`,
      )
    }
    case 'noEndpoints':
      return noEndpoints(service)
    case 'noCandidates':
    case null:
      break
  }
  const names = matching.map(({ name }) => name)
  const refused = refusals(
    input,
    matching.map(({ nodes }) => nodes),
    matching,
  )
  return refused === null
    ? yes('Layer2', `would be announced at layer 2, by L2Advertisement ${named(names)}`)
    : noCandidates(`L2Advertisement ${named(names)}`, refused)
}

/** undefined: no BGPAdvertisement is about this Service. */
function unspoken(matching: readonly BgpAdvertisement[]): AnnouncementCheck | undefined {
  if (matching.length === 0) return undefined
  const names = named(matching.map(({ name }) => name))
  return no(
    'BGPNotSpoken',
    `BGPAdvertisement ${names} is for it, but the speakers have no BGP sessions: create an L2Advertisement`,
  )
}

/** undefined: no BGPAdvertisement is about this Service. */
function checkBgp(
  input: AnnouncementInput,
  matching: readonly BgpAdvertisement[],
): AnnouncementCheck | undefined {
  if (matching.length === 0) return undefined
  const { service, config, endpoints } = input
  if (!endpoints.any) return noEndpoints(service)
  const names = named(matching.map(({ name }) => name))
  const refused = refusals(
    input,
    matching.map(({ nodes }) => nodes),
  )
  if (refused !== null) return noCandidates(`BGPAdvertisement ${names}`, refused)
  const withPeer = matching.flatMap(advertisement =>
    config.peers
      .filter(peer => isFor(advertisement, peer))
      .map(peer => intersection(advertisement.nodes, peer.nodes)),
  )
  return refusals(input, withPeer) === null
    ? yes('BGP', `would be announced by BGP, by BGPAdvertisement ${names}`)
    : no(
        'NoPeers',
        `no BGPPeer that the BGPAdvertisement ${names} is for has a session on a node that may announce: check its peers and the nodeSelectors of both`,
      )
}

function isFor({ peers }: BgpAdvertisement, peer: BgpPeer): boolean {
  return peers === 'all' || peers.has(peer.name)
}

function intersection(a: ReadonlySet<string>, b: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...a].filter(item => b.has(item)))
}

type Refusals = ReadonlyMap<NonNullable<ReturnType<typeof nodeObstacle>>, number>

/** Why each node of these sets may not announce, counted; null as soon as one may. */
function refusals(
  input: AnnouncementInput,
  sets: readonly ReadonlySet<string>[],
  layer2: Config['l2Advertisements'] = [],
): Refusals | null {
  const looked = new Set<string>()
  const refused = new Map<NonNullable<ReturnType<typeof nodeObstacle>>, number>()
  for (const nodes of sets) {
    for (const node of nodes) {
      if (looked.has(node)) continue
      looked.add(node)
      const obstacle = nodeObstacle(input, node, layer2)
      if (obstacle === null) return null
      refused.set(obstacle, (refused.get(obstacle) ?? 0) + 1)
    }
  }
  return refused
}

function noCandidates(advertisements: string, refused: Refusals): AnnouncementCheck {
  if (refused.size === 0) {
    return no('NoNodes', `${advertisements} includes no node: its nodeSelectors match none`)
  }
  const [only] = refused.size === 1 ? refused.keys() : []
  const alike = only === undefined ? undefined : ALIKE[only]
  if (alike !== undefined) return no(alike[0], alike[1](advertisements))
  const counts = [...refused].map(([reason, count]) => `${count} ${REFUSED[reason] ?? reason}`)
  return no('NoCandidates', `no node of ${advertisements} may announce: ${counts.join(', ')}`)
}

/** What to say when every node is refused for one reason. */
const ALIKE: Readonly<Record<string, readonly [AnnouncementReason, (advertisements: string) => string]>> = {
  excludedByLabel: [
    'ExcludedByLabel',
    advertisements =>
      `every node of ${advertisements} carries the label ${EXCLUDE_LABEL}: remove it from one that should announce, or run the speakers and the controller with --ignore-exclude-lb`,
  ],
  networkUnavailable: [
    'NetworkUnavailable',
    advertisements =>
      `every node of ${advertisements} has the condition NetworkUnavailable: see to the nodes' network plugin`,
  ],
  noInterface: [
    'NoInterface',
    advertisements =>
      `no node of ${advertisements} has one of the interfaces that it names, up and with a carrier: correct its interfaces`,
  ],
  noLocalEndpoints: [
    'NoLocalEndpoints',
    advertisements =>
      `externalTrafficPolicy is Local, and no node of ${advertisements} has a ready endpoint: run a Pod there, or use Cluster`,
  ],
}

const REFUSED: Readonly<Record<string, string>> = {
  excludedByLabel: `with the label ${EXCLUDE_LABEL}`,
  networkUnavailable: 'with the condition NetworkUnavailable',
  noInterface: 'without any of the interfaces that are named',
  noLocalEndpoints: 'without a ready endpoint (externalTrafficPolicy is Local)',
}

function noEndpoints(service: ServiceFacts): AnnouncementCheck {
  const selector = Object.entries(service.selector)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
  const what =
    selector === ''
      ? 'it has no selector, and no EndpointSlice of it names a ready endpoint'
      : `none of the Pods with ${selector} is ready, or there is none`
  return no('NoEndpoints', `no endpoint is ready: ${what}`)
}

function noAdvertisement(
  pool: string,
  ofPool: readonly { readonly name: string; readonly serviceSelectors: readonly unknown[] }[],
): AnnouncementCheck {
  const message =
    ofPool.length === 0
      ? `no advertisement is for pool ${pool}: create an L2Advertisement or a BGPAdvertisement that names it`
      : `the advertisements of pool ${pool} (${named(ofPool.map(({ name }) => name))}) select other Services: check their serviceSelectors against its labels`
  return no('NoMatchingAdvertisement', message)
}

/** Names listed in one message. */
const NAMED_MAX = 5

function named(names: readonly string[]): string {
  const rest = names.length - NAMED_MAX
  return rest <= 1 ? names.join(', ') : `${names.slice(0, NAMED_MAX).join(', ')} and ${rest} more`
}

function yes(reason: AnnouncementReason, message: string): AnnouncementCheck {
  return { announced: true, reason, message }
}

function no(reason: AnnouncementReason, message: string): AnnouncementCheck {
  return { announced: false, reason, message }
}
