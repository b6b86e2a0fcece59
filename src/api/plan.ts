/** What `lodestone plan -o json` prints. Every list is in order of its keys, so that equal plans are equal text. */
export type PlanJson = {
  readonly allocations: readonly AllocationJson[]
  readonly layer2: readonly Layer2Json[]
  readonly bgp: readonly SessionJson[]
  /** Services that have addresses and nodes that do not announce them by BGP. */
  readonly bgpNotAnnounced: readonly {
    readonly service: string
    readonly node: string
    readonly reason: string
  }[]
  /** What is wrong with the configuration, or worth a warning; absent when there is nothing. */
  readonly problems?: readonly ProblemJson[]
}

export type ProblemJson = {
  readonly code: string
  /** 'error' and 'transient': the configuration is refused as a whole, and nothing else is in the plan. */
  readonly severity: 'error' | 'transient' | 'warning'
  readonly object: { readonly kind: string; readonly namespace: string; readonly name: string }
  readonly message: string
}

export type AllocationJson = {
  /** `namespace/name` */
  readonly service: string
  readonly ips: readonly string[]
  readonly pool: string | null
  /** Why it has no address though it wants one. */
  readonly pending: { readonly code: string; readonly message: string } | null
  /** Addresses in its status that it loses. */
  readonly cleared: readonly string[]
}

export type Layer2Json = {
  readonly service: string
  readonly ips: readonly string[]
  /** The node that answers. */
  readonly owner: string | null
  /** Where the owner answers. */
  readonly interfaces: 'all' | readonly string[]
  /** Why nobody answers; null exactly when there is an owner. */
  readonly reason: string | null
  /** Every node: the eligible ones by rank, then the others by name. */
  readonly candidates: readonly CandidateJson[]
  /** Only of a sharded Service: every node here answers its part of those who ask, and `owner` is the first of them. The parts add up to 1. */
  readonly shares?: readonly { readonly node: string; readonly part: number }[]
  /** Its packets are handed to the nodes of its endpoints; absent: they are not. */
  readonly steered?: true
  /** Why that is not so though the speakers are to steer it. */
  readonly notSteered?: string
}

export type CandidateJson = {
  readonly node: string
  readonly eligible: boolean
  /** 0 is the owner, 1 who follows it; null when not eligible. */
  readonly rank: number | null
  /** Sum of the weights of the preferences that the node meets. */
  readonly score: number
  readonly reason: string | null
  /** Why it goes behind all others that are eligible: `notReady`, `cordoned` or `outOfService`. */
  readonly givesWay?: string
}

/** One BGP session and everything that its router is told. */
export type SessionJson = {
  readonly node: string
  /** Name of the BGPPeer. */
  readonly peer: string
  readonly routes: readonly RouteJson[]
}

export type RouteJson = {
  readonly prefix: string
  /** Sorted as MetalLB does; a large one as `large:a:b:c`. */
  readonly communities: readonly string[]
  /** null: not sent. */
  readonly localPref: number | null
  /** `namespace/name`; the route stays until the last of them goes. */
  readonly services: readonly string[]
}

/** What `lodestone plan --change FILE -o json` prints: only what differs. */
export type PlanChangeJson = {
  readonly allocations: readonly {
    readonly service: string
    readonly before: readonly string[]
    readonly after: readonly string[]
    readonly reason: { readonly code: string; readonly message: string }
  }[]
  /** Addresses of a Service that another node answers for, or none any more. */
  readonly layer2: readonly {
    readonly service: string
    readonly before: string | null
    readonly after: string | null
    readonly reason: string
  }[]
  readonly bgp: readonly {
    readonly node: string
    readonly peer: string
    readonly added: readonly string[]
    readonly removed: readonly string[]
    /** Prefixes that stay, with other communities or another LOCAL_PREF. */
    readonly changed: readonly string[]
  }[]
  /** Of the configuration after the change; when it is refused, the one before goes on. */
  readonly problems?: readonly ProblemJson[]
}
