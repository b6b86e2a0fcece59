import type { Ip } from '../addr/ip.ts'
import type { ServiceFacts } from '../config/services.ts'
import type { EventType } from '../ports/events.ts'

/** What one Service gets, and why. */
export type Decision = {
  /** `namespace/name`. */
  readonly service: string
  /** At most one of each family, in the order they are written to the status. */
  readonly ips: readonly Ip[]
  /** The pool they are all from. */
  readonly pool: string | null
  /** Why it has no address though it wants one. */
  readonly pending: Pending | null
  /** Addresses that it held until now and holds no more. */
  readonly cleared: readonly Ip[]
  /** What to tell people, in order. Repeated at every pass that finds the same: whoever tells it, tells it once. */
  readonly events: readonly DecisionEvent[]
  /** The pools that were looked at, in order. */
  readonly why: readonly Considered[]
  /** The Service's status or annotation says something else: it has to be written. */
  readonly write: boolean
}

export type Pending = { readonly code: PendingCode; readonly message: string }

export type PendingCode =
  | 'noPools' // C-4
  | 'noClusterIPs' // C-5
  | 'notEnoughClusterIPs' // C-6
  | 'clusterIPFamilies' // the cluster IPs are of no known combination
  | 'requestInvalid' // the requested addresses cannot be read, or are asked for in two places
  | 'requestFamily' // the families are not those of the cluster IPs
  | 'requestNotInPool' // no pool holds them all
  | 'requestLeftOut' // avoidBuggyIPs
  | 'requestInUse' // held by another Service, and sharing is not possible
  | 'poolUnknown'
  | 'poolMismatch' // the named pool is not the one of the requested addresses
  | 'poolNotForService'
  | 'poolExhausted' // the named pool has nothing suitable left
  | 'noSuitablePool' // every automatic pool was refused for a reason of its own
  | 'exhausted' // suitable pools exist, but nothing is free in them

export type DecisionEvent = {
  readonly type: EventType
  /** MetalLB's reasons (1.8), and those of Lodestone's own annotations. */
  readonly reason:
    | 'IPAllocated'
    | 'ClearAssignment'
    | 'AdditionalAssignFailed'
    | 'AllocationFailed'
    | 'LoadBalancerFailed'
    | 'not enough clusterips'
    | 'nolbIPsIPFamily'
    | 'noclusterIPsIPFamily'
    | 'deprecatedAnnotation'
    | 'unknownLayer2Mode'
  readonly message: string
}

export type Considered = {
  readonly pool: string
  readonly result:
    | 'kept' // the addresses that the Service held are from here and still valid
    | 'chosen'
    | 'namespaceNotListed'
    | 'serviceNotSelected'
    | 'autoAssignOff'
    | 'familyMissing' // has no addresses of a family that is needed
    | 'full' // has them, but none is free or shareable
    | 'fallback' // would do for one family, kept in case no pool has both
    | 'notNeeded' // a pool before it was chosen
    | 'refused' // asked for by name or address, and refused: see `pending`
}

/** Whether the object as we know it differs from the decision. */
export function needsWrite(service: ServiceFacts, ips: readonly Ip[], pool: string | null): boolean {
  return (
    service.statusHasOther ||
    service.annotations.allocatedFromPool !== (pool ?? undefined) ||
    service.statusIps.length !== ips.length ||
    ips.some((ip, index) => ip !== service.statusIps[index])
  )
}
