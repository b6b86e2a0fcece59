import type { Considered } from '../allocator/decision.ts'
import type { PlanChangeJson } from '../api/plan.ts'
import type { Demotion, Election, NotEligibleReason } from '../layer2/election.ts'
import type { NodeBgpReason } from './cluster-plan.ts'

/** The codes of a plan as sentences for people. Each says what is so; none names the Service or the node, which stand before it. */

export const POOL_REASONS: Readonly<Record<Considered['result'], string>> = {
  kept: 'the Service holds its addresses already, and they are still valid',
  chosen: 'has what the Service needs',
  namespaceNotListed: 'its serviceAllocation does not cover the namespace of the Service',
  serviceNotSelected: 'its serviceSelectors do not match the labels of the Service',
  autoAssignOff: 'autoAssign is off: only for Services that ask for it',
  familyMissing: 'has no addresses of a family that the Service needs',
  full: 'nothing in it is free, nor can be shared',
  fallback: 'has only one of the two families that the Service prefers',
  notNeeded: 'not looked at, a pool before it was chosen',
  refused: 'was asked for, and refused',
}

/** Why nobody answers for a Service at layer 2, or why a node is no candidate. */
export const ELECTION_REASONS: Readonly<Record<NotEligibleReason, string>> = {
  noIPAllocated: 'the Service has no address',
  noMatchingAdvertisement: 'no L2Advertisement of the pool matches the Service',
  sharedIPWithServiceSelector:
    'the Service may share its address, and an L2Advertisement that matches it selects Services: drop one of the two',
  noEndpoints: 'no endpoint of the Service can serve',
  noCandidates: 'every node is refused',
  notAlive: 'it is down',
  networkUnavailable: 'its condition NetworkUnavailable is true',
  excludedByLabel: 'it has the label node.kubernetes.io/exclude-from-external-load-balancers',
  noLocalEndpoints: 'externalTrafficPolicy is Local, and no endpoint there can serve',
  noInterface: 'it has none of the interfaces that the L2Advertisements name',
  notInSubnet: 'it has no interface in the subnet of the address, and others have',
}

/** Why a node that may answer goes behind those in good health. */
export const DEMOTIONS: Readonly<Record<Demotion, string>> = {
  outOfService: 'it has the taint node.kubernetes.io/out-of-service',
  notReady: 'it is not Ready',
  cordoned: 'it is cordoned',
}

/** Why this node is no candidate for this Service; null when it is one. */
export function candidateReason(election: Election, node: string): string | null {
  const reason = election.candidates.find(candidate => candidate.node === node)?.reason ?? null
  if (reason === null) return null
  return reason === 'noMatchingAdvertisement' && election.reason !== reason
    ? 'no L2Advertisement that matches the Service includes the node'
    : ELECTION_REASONS[reason]
}

/** Why a node tells no router of a Service. */
export const BGP_SENTENCES: Readonly<Record<NodeBgpReason, string>> = {
  notOwner: 'no BGPAdvertisement of the pool includes the node',
  noMatchingAdvertisement: 'no BGPAdvertisement that includes the node matches the labels of the Service',
  conflictingAdvertisements: 'two BGPAdvertisements that match want different values of localPref',
  nodeNetworkUnavailable: 'its condition NetworkUnavailable is true',
  nodeLabeledExcludeBalancers: 'it has the label node.kubernetes.io/exclude-from-external-load-balancers',
  noLocalEndpoints: 'externalTrafficPolicy is Local, and no endpoint there can serve',
  noEndpoints: 'no endpoint of the Service can serve',
  notAlive: 'it is down',
  noPeers: 'it has no session that takes any of the routes',
}

/** Why an owner changes: what became of the one before, or what made the next one better. */
export const MOVE_REASONS: Readonly<Record<string, string>> = {
  ...ELECTION_REASONS,
  ...DEMOTIONS,
  wellAgain: 'the next one is in good health again',
  serviceRemoved: 'the Service is gone',
  announced: 'nobody answered before',
  nodeRemoved: 'the Node is gone',
  higherScore: 'the next one is preferred',
  digestOrder: 'the next one comes first in the order of the digests',
  addressChanged: 'the address is another, and with it the order of the nodes',
  modeChanged:
    'it is shared among nodes now and was not before, or the other way round (lodestone.dev/layer2-mode)',
  sharesChanged:
    'other nodes share the address: each asker of one that is gone moves, the others stay where they are',
} satisfies Record<string, PlanChangeJson['layer2'][number]['reason']>
