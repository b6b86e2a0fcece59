import type { Ip } from '../addr/ip.ts'
import type { Prefix } from '../addr/prefix.ts'
import type { Layer2Mode } from './layer2-mode.ts'
import type { LabelSelector } from './selectors.ts'

/**
 * What the metallb.io resources say, resolved against the cluster's nodes and namespaces. Immutable: a change
 * of any resource makes a new one. Pools and advertisements are in the order of their names.
 */
export type Config = {
  readonly pools: readonly Pool[]
  readonly l2Advertisements: readonly L2Advertisement[]
  readonly bgpAdvertisements: readonly BgpAdvertisement[]
  readonly peers: readonly BgpPeer[]
  readonly bfdProfiles: readonly BfdProfile[]
  /** Alias to value, in the order of the aliases. */
  readonly communities: ReadonlyMap<string, BgpCommunity>
}

export type Pool = {
  readonly name: string
  /** In the order they were written, ranges expanded ascending (rule A-9); no two overlap, in no pool (V-16). */
  readonly prefixes: readonly Prefix[]
  /** false: only for Services that ask for this pool or for one of its addresses. */
  readonly autoAssign: boolean
  /** Leaves out IPv4 addresses that end in .0 or .255. */
  readonly avoidBuggyIps: boolean
  /** Present, even when it restricts nothing: the pool is pinned. */
  readonly allocation?: PoolAllocation
}

export type PoolAllocation = {
  /** Smaller wins; 0 comes last. */
  readonly priority: number
  /** 'any': no restriction was written. An empty set: a restriction that no namespace meets, so no Service either. */
  readonly namespaces: ReadonlySet<string> | 'any'
  /** One of them must match the Service's labels; empty: every Service. */
  readonly serviceSelectors: readonly LabelSelector[]
}

export type L2Advertisement = {
  readonly name: string
  /** Names of existing pools, from names and selectors together; both absent: all pools. */
  readonly pools: ReadonlySet<string>
  /** Names of the nodes that may answer, from the Node list (V-20). */
  readonly nodes: ReadonlySet<string>
  /** Where to answer. No part of the election (L-11). */
  readonly interfaces: 'all' | readonly string[]
  /** One of them must match the Service's labels; empty: every Service. */
  readonly serviceSelectors: readonly LabelSelector[]
  /** Node name to the sum of the weights whose preference it meets; only nodes in `nodes`, only sums above zero (L-7). */
  readonly scores: ReadonlyMap<string, number>
  /** Absent: not written. */
  readonly mode?: Layer2Mode
}

export type BgpAdvertisement = {
  readonly name: string
  /** Names of existing pools, from names and selectors together; both absent: all pools. */
  readonly pools: ReadonlySet<string>
  /** Names of the nodes that announce, from the Node list (V-20). */
  readonly nodes: ReadonlySet<string>
  /** Names of BgpPeers; they need not exist. 'all': none was named (B-2). */
  readonly peers: 'all' | ReadonlySet<string>
  /** Length of the IPv4 prefix to announce, 1 to 32 (B-1). */
  readonly aggregationLength: number
  /** The same for IPv6, 0 to 128. */
  readonly aggregationLengthV6: number
  /** 1 to 4294967295; undefined: not set, which is what 0 means (B-9). */
  readonly localPref: number | undefined
  /** Aliases resolved, sorted (V-27), without repetition. */
  readonly communities: readonly BgpCommunity[]
  /** One of them must match the Service's labels; empty: every Service. */
  readonly serviceSelectors: readonly LabelSelector[]
}

/** A community with the text that plans and logs show. Equal communities have equal text. */
export type BgpCommunity =
  /** RFC 1997: two halves of 16 bit each; text `64496:100`. */
  | { readonly kind: 'standard'; readonly text: string; readonly parts: readonly [number, number] }
  /** RFC 8092: three of 32 bit each; text `large:64496:1:2`. */
  | { readonly kind: 'large'; readonly text: string; readonly parts: readonly [number, number, number] }

/** A BGPPeer of either version. Where its password comes from is here, the password never is (bgpPasswords). */
export type BgpPeer = {
  readonly name: string
  /** Names of the nodes that have this session, from the Node list (B-20). */
  readonly nodes: ReadonlySet<string>
  readonly myAsn: number
  /** 'internal': the same as ours; 'external': any other (dynamicASN). */
  readonly peerAsn: number | 'internal' | 'external'
  /** What to show to this peer in place of myAsn: no-prepend, replace-as. */
  readonly localAsn: number | undefined
  /** Whom to call: an address, or whoever is on that interface (unnumbered, by IPv6 link-local address). */
  readonly target:
    | { readonly type: 'address'; readonly address: Ip }
    | { readonly type: 'interface'; readonly interface: string }
  readonly sourceAddress: Ip | undefined
  readonly port: number
  /** Whole seconds: 0 or at least 3000. undefined: not set, as is then the keepalive time (V-33). */
  readonly holdTimeMs: number | undefined
  /** At most the hold time; 0 only when that is 0. */
  readonly keepaliveTimeMs: number | undefined
  /** Pause between attempts to connect; 1000 to 65535000 in whole seconds. */
  readonly connectTimeMs: number | undefined
  readonly routerId: Ip | undefined
  /** Where the password for TCP MD5 is; undefined: there is none. */
  readonly password:
    | undefined
    | { readonly from: 'spec' }
    | { readonly from: 'secret'; readonly namespace: string; readonly name: string }
  /** Name of a profile in Config.bfdProfiles. */
  readonly bfdProfile: string | undefined
  readonly gracefulRestart: boolean
  readonly ebgpMultiHop: boolean
  /** Device of the VRF; undefined: the default one. */
  readonly vrf: string | undefined
  /** Both families on this session. A session with an interface carries both anyway (B-7). */
  readonly dualStack: boolean
}

/** Times in milliseconds; what a BFDProfile leaves out has its default here. */
export type BfdProfile = {
  readonly name: string
  /** 10 to 60000. */
  readonly receiveIntervalMs: number
  /** 10 to 60000. */
  readonly transmitIntervalMs: number
  /** 2 to 255. */
  readonly detectMultiplier: number
  /** 10 to 60000. */
  readonly echoIntervalMs: number
  readonly echoMode: boolean
  readonly passiveMode: boolean
  /** 1 to 254; only for multihop sessions. */
  readonly minimumTtl: number
}

/** Which object a problem or an Event is about. The namespace is empty for cluster-scoped kinds. */
export type ObjectRef = { readonly kind: string; readonly namespace: string; readonly name: string }

/**
 * What is wrong with a resource. 'error' holds until somebody changes a resource; 'transient' may pass when
 * another resource arrives (V-2); 'warning' does not stop the configuration from being used.
 */
export type Problem = {
  /** Stable, kebab-case. */
  readonly code: ProblemCode
  readonly severity: 'error' | 'transient' | 'warning'
  readonly object: ObjectRef
  /** Path of the field, such as `spec.addresses[2]`. */
  readonly field: string
  /** A sentence with the values, and what would be accepted. */
  readonly message: string
}

export type ProblemCode =
  | 'name-missing'
  | 'name-duplicate'
  | 'field-type'
  | 'addresses-empty'
  | 'address-invalid'
  | 'range-reversed'
  | 'range-mixed-families'
  | 'pool-overlap'
  | 'entry-duplicate'
  | 'selector-invalid'
  | 'selector-duplicate'
  | 'weight-invalid'
  | 'layer2-mode-unknown'
  | 'pool-unknown'
  | 'peer-unknown'
  | 'field-unknown'
  | 'field-range'
  | 'field-missing'
  | 'fields-exclusive'
  | 'field-ignored'
  | 'address-unparsable'
  | 'asn-invalid'
  | 'multihop-internal'
  | 'timers-invalid'
  | 'secret-missing'
  | 'secret-invalid'
  | 'bfd-profile-missing'
  | 'bfd-echo-ipv6'
  | 'peer-duplicate'
  | 'peer-conflict'
  | 'aggregation-invalid'
  | 'aggregation-wider-than-pool'
  | 'aggregation-with-services'
  | 'local-pref-conflict'
  | 'advertisement-duplicate'
  | 'community-invalid'
  | 'community-unknown'
  | 'alias-duplicate'
  | 'namespace-other'
  | 'namespaces-none'
  | 'nodes-none'
