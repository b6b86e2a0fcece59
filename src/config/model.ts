import type { Prefix } from '../addr/prefix.ts'
import type { LabelSelector } from './selectors.ts'

/**
 * What the metallb.io resources say, resolved against the cluster's nodes and namespaces. Immutable: a change
 * of any resource makes a new one. Pools and advertisements are in the order of their names.
 */
export type Config = {
  readonly pools: readonly Pool[]
  readonly l2Advertisements: readonly L2Advertisement[]
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
  | 'pool-unknown'
  | 'namespaces-none'
  | 'nodes-none'
