import type { ApiObject } from './objects.ts'
import type { Schema } from './schema.ts'
import type { Cause } from './status.ts'

export type Verb = 'create' | 'delete' | 'deletecollection' | 'get' | 'list' | 'patch' | 'update' | 'watch'

/** A column of `kubectl get`; priority above zero is shown with -o wide only. */
export type Column = {
  readonly name: string
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date'
  readonly format?: string
  readonly description?: string
  readonly priority?: number
  /** `now` is wall clock milliseconds. */
  readonly value: (object: ApiObject, now: number) => string | number | boolean | null
}

/** What hooks may see of the rest of the server. */
export type HookContext = {
  /** Wall clock milliseconds. */
  readonly now: number
  readonly dryRun: boolean
  readonly user: string
}

/** What a kind does beside its schema. All work on a draft that nobody else has seen. */
export type Hooks = {
  /** Computed defaults (after the schema's own), and what a client may not choose. `before` is undefined on create. */
  readonly prepare?: (draft: ApiObject, before: ApiObject | undefined, context: HookContext) => void
  readonly validate?: (draft: ApiObject, before: ApiObject | undefined, causes: Cause[]) => void
  /**
   * Where it is there it takes the place of both for writes of the status subresource. Such a draft shares all but `metadata` and
   * `status` with the stored object, so only `status` may be changed.
   */
  readonly finishStatus?: (draft: ApiObject, causes: Cause[]) => void
  /** Takes from pools what the object needs (cluster IPs, node ports). The last step before storing; skipped for dry runs. */
  readonly reserve?: (draft: ApiObject, before: ApiObject | undefined) => void
  /** Gives it back: the object is gone, or (with `after`) no longer needs all of it. */
  readonly release?: (before: ApiObject, after: ApiObject | undefined) => void
}

/** What a write of the status subresource may change beside `status`. */
export type StatusMetadata = 'as-sent' | 'annotations' | 'kept'

/** One kind in one version as it is served. Versions of one kind share `storageKey`. */
export type ResourceType = {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly singular: string
  readonly kind: string
  readonly listKind: string
  readonly shortNames: readonly string[]
  readonly categories: readonly string[]
  readonly namespaced: boolean
  readonly verbs: readonly Verb[]
  /** `group/plural` of the collection that holds the objects. */
  readonly storageKey: string
  readonly schema: Schema
  readonly subresources: ReadonlySet<'status' | 'scale'>
  /** Absent: names are DNS subdomains. */
  readonly nameRule?: 'dns-label' | 'dns-1035'
  /** metadata.generation counts changes of the desired state. */
  readonly hasGeneration: boolean
  readonly statusMetadata: StatusMetadata
  readonly columns: readonly Column[]
  readonly hooks: Hooks
  /** Beside metadata.name and metadata.namespace. */
  readonly fieldSelectors: Readonly<Record<string, (object: ApiObject) => string>>
  /** Served from a CustomResourceDefinition: no strategic merge patch. */
  readonly custom: boolean
  readonly scale?: ScalePaths
  /** The stored object in this version, and back. Absent: only apiVersion differs. */
  readonly fromStored?: (object: ApiObject) => ApiObject
  readonly toStored?: (object: ApiObject) => ApiObject
  /** A webhook converts between the versions; what `fromStored` and `toStored` then need has to be prepared. */
  readonly conversion?: { readonly clientConfig: unknown }
}

export type ScalePaths = {
  readonly specReplicas: readonly string[]
  readonly statusReplicas: readonly string[]
  readonly selector?: (object: ApiObject) => string
}

export const ALL_VERBS: readonly Verb[] = [
  'create',
  'delete',
  'deletecollection',
  'get',
  'list',
  'patch',
  'update',
  'watch',
]

/** `v1` or `apps/v1`. */
export function apiVersionOf(type: { readonly group: string; readonly version: string }): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`
}
