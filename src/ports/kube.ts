/** A kind as the API server serves it. */
export type Resource = {
  /** Empty for the core group. */
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly kind: string
  readonly namespaced: boolean
}

export const RESOURCES = {
  services: { group: '', version: 'v1', plural: 'services', kind: 'Service', namespaced: true },
  nodes: { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false },
  namespaces: { group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false },
  secrets: { group: '', version: 'v1', plural: 'secrets', kind: 'Secret', namespaced: true },
  events: { group: '', version: 'v1', plural: 'events', kind: 'Event', namespaced: true },
  pods: { group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true },
  endpointSlices: {
    group: 'discovery.k8s.io',
    version: 'v1',
    plural: 'endpointslices',
    kind: 'EndpointSlice',
    namespaced: true,
  },
  leases: { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease', namespaced: true },
  ipAddressPools: {
    group: 'metallb.io',
    version: 'v1beta1',
    plural: 'ipaddresspools',
    kind: 'IPAddressPool',
    namespaced: true,
  },
  l2Advertisements: {
    group: 'metallb.io',
    version: 'v1beta1',
    plural: 'l2advertisements',
    kind: 'L2Advertisement',
    namespaced: true,
  },
  serviceL2Statuses: {
    group: 'metallb.io',
    version: 'v1beta1',
    plural: 'servicel2statuses',
    kind: 'ServiceL2Status',
    namespaced: true,
  },
} as const satisfies Record<string, Resource>

/** Which object: its namespace is empty for cluster-scoped kinds. */
export type ObjectName = { readonly namespace: string; readonly name: string }

/** Any API object, with only the envelope known. */
export type KubeObject = {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata: ObjectMeta
  readonly [field: string]: unknown
}

export type ObjectMeta = {
  readonly name: string
  readonly namespace?: string
  readonly generateName?: string
  readonly uid?: string
  readonly resourceVersion?: string
  readonly generation?: number
  /** RFC 3339. */
  readonly creationTimestamp?: string
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly ownerReferences?: readonly Readonly<Record<string, unknown>>[]
}

export type ListOptions = {
  /** Absent: all namespaces. */
  readonly namespace?: string
  readonly labelSelector?: string
  readonly fieldSelector?: string
}

/** The store keeps what `convert` makes of an object, so that memory holds only what is needed. */
export type InformerOptions<T> = ListOptions & { readonly convert: (object: KubeObject) => T }

export type InformerChange<T> = {
  readonly key: string
  readonly before: T | undefined
  readonly after: T | undefined
}

/** A local copy of a list, kept in step by list and watch. Keys are `namespace/name`, or `name` for cluster-scoped kinds. */
export interface Informer<T> {
  readonly items: ReadonlyMap<string, T>
  /** True once a whole list has been seen; stays true while the server is away. */
  readonly synced: boolean
  /** Called after the change is visible in `items`; not called for objects whose resourceVersion is unchanged. */
  onChange(listener: (change: InformerChange<T>) => void): void
  /** Resolves when synced; keeps running until the signal aborts. Rejects only on abort before that. */
  start(signal: AbortSignal): Promise<void>
}

export interface Kube {
  get(resource: Resource, name: ObjectName): Promise<KubeObject | undefined>
  list(resource: Resource, options?: ListOptions): Promise<KubeObject[]>
  create(resource: Resource, object: KubeObject): Promise<KubeObject>
  /** PUT; conflicts when `metadata.resourceVersion` is set and stale. */
  update(
    resource: Resource,
    object: KubeObject,
    options?: { readonly subresource?: 'status' },
  ): Promise<KubeObject>
  patch(resource: Resource, name: ObjectName, patch: unknown, options: PatchOptions): Promise<KubeObject>
  /** Deleting what is not there is no error. */
  delete(resource: Resource, name: ObjectName): Promise<void>
  informer<T>(resource: Resource, options: InformerOptions<T>): Informer<T>
}

export type PatchOptions = {
  /** 'merge': RFC 7386. 'apply': server-side apply, needs `fieldManager`. */
  readonly type: 'merge' | 'apply'
  readonly subresource?: 'status'
  readonly fieldManager?: string
}

export type KubeErrorCode =
  | 'unreachable' // no connection, or it broke
  | 'unauthorized' // 401
  | 'forbidden' // 403
  | 'not-found' // 404
  | 'conflict' // 409, stale resourceVersion
  | 'already-exists' // 409 on create
  | 'gone' // 410, resourceVersion too old
  | 'invalid' // 400, 422
  | 'throttled' // 429
  | 'server-error' // 5xx
  | 'bad-answer' // not JSON, not what was asked for, too large

export class KubeError extends Error {
  override readonly name = 'KubeError'
  readonly code: KubeErrorCode
  /** HTTP status, when there was one. */
  readonly status: number | undefined
  /** Seconds from Retry-After. */
  readonly retryAfterSeconds: number | undefined

  constructor(
    code: KubeErrorCode,
    message: string,
    options: { cause?: unknown; status?: number; retryAfterSeconds?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = options.status
    this.retryAfterSeconds = options.retryAfterSeconds
  }

  /** Worth the same request again later. */
  get transient(): boolean {
    return (
      this.code === 'unreachable' ||
      this.code === 'throttled' ||
      this.code === 'server-error' ||
      this.code === 'bad-answer' ||
      this.code === 'conflict'
    )
  }
}

/** `namespace/name`, or `name` for cluster-scoped kinds. */
export function objectKey(meta: { readonly namespace?: string; readonly name: string }): string {
  return meta.namespace === undefined || meta.namespace === '' ? meta.name : `${meta.namespace}/${meta.name}`
}
