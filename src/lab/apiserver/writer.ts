import { randomInt, randomUUID } from 'node:crypto'
import { afterUpdate, applyConfiguration } from './apply.ts'
import { validateMetadata } from './metadata.ts'
import {
  type ApiObject,
  clone,
  display,
  equal,
  isRecord,
  type ManagedFields,
  record,
  timestamp,
} from './objects.ts'
import { PoolError } from './pools.ts'
import type { Registry } from './registry.ts'
import { apiVersionOf, type HookContext, type ResourceType } from './resource-type.ts'
import { applyDefaults, dropNulls, prune, validate } from './schema.ts'
import {
  ApiError,
  alreadyExists,
  badRequest,
  type Cause,
  conflict,
  invalid,
  invalidValue,
  notFound,
  STALE,
} from './status.ts'
import type { Store, Stored } from './store.ts'

export type Subresource = '' | 'status' | 'scale'

export type WriteOptions = {
  readonly dryRun: boolean
  readonly fieldManager: string
  readonly fieldValidation: 'Ignore' | 'Warn' | 'Strict'
  readonly user: string
  /** Filled with what the client should be told beside the answer. */
  readonly warnings: string[]
}

/** `stored` is absent after a dry run. The object is as it is stored, not yet in the version of the request. */
export type Written = {
  readonly object: ApiObject
  readonly stored: Stored | undefined
  readonly created: boolean
}

export type DeleteOptions = {
  readonly propagationPolicy: 'Background' | 'Foreground' | 'Orphan'
  readonly gracePeriodSeconds: number | undefined
  readonly preconditions: { readonly uid?: string; readonly resourceVersion?: string }
  readonly dryRun: boolean
}

/** `gone`: removed now; otherwise marked, and finalizers, dependents or a kubelet must still agree. */
export type Deleted = { readonly object: ApiObject; readonly gone: boolean }

export const FOREGROUND_FINALIZER = 'foregroundDeletion'

export type Owners = {
  /** Whether something names this uid as its owner. */
  hasDependents(uid: string): boolean
  /** Takes the reference to this owner out of everything that has it. */
  orphanDependents(uid: string): void
}

/** `namespace/name`, or `name` for cluster-scoped kinds. */
export function keyOf(type: { readonly namespaced: boolean }, namespace: string, name: string): string {
  return type.namespaced ? `${namespace}/${name}` : name
}

/** Every change of the store goes through here: decoding, defaults, validation, ownership of fields, allocation. */
export class Writer {
  readonly #registry: Registry
  readonly #store: Store
  readonly #wallNow: () => number
  owners: Owners = { hasDependents: () => false, orphanDependents: () => undefined }

  constructor(registry: Registry, store: Store, wallNow: () => number) {
    this.#registry = registry
    this.#store = store
    this.#wallNow = wallNow
  }

  /** @throws ApiError 400, 403, 404 (no such namespace), 409, 422 */
  create(type: ResourceType, namespace: string, body: unknown, options: WriteOptions): Written {
    const draft = this.#decode(type, namespace, body, options)
    const meta = draft.metadata
    if (meta.resourceVersion !== undefined && meta.resourceVersion !== '') {
      throw badRequest('resourceVersion should not be set on objects to be created')
    }
    if ((meta.name ?? '') === '' && meta.generateName !== undefined && meta.generateName !== '') {
      do meta.name = meta.generateName + randomSuffix()
      while (this.#store.collection(type.storageKey).get(keyOf(type, namespace, meta.name)) !== undefined)
    }
    return this.#insert(type, namespace, draft, meta.managedFields ?? [], options, 'Update')
  }

  #insert(
    type: ResourceType,
    namespace: string,
    draft: ApiObject,
    managed: readonly ManagedFields[],
    options: WriteOptions,
    operation: 'Apply' | 'Update',
  ): Written {
    const meta = draft.metadata
    const key = keyOf(type, namespace, meta.name)
    const collection = this.#store.collection(type.storageKey)
    if ((meta.name ?? '') !== '' && collection.get(key) !== undefined) throw alreadyExists(type, meta.name)
    if (type.namespaced) this.#checkNamespace(type, namespace, meta.name)
    delete meta.resourceVersion
    delete meta.selfLink
    delete meta.deletionTimestamp
    delete meta.deletionGracePeriodSeconds
    delete meta.generation
    meta.uid = randomUUID()
    meta.creationTimestamp = timestamp(this.#wallNow())
    if (type.hasGeneration) meta.generation = 1
    // A kubelet registers its node with its status; everybody else's starts empty.
    if (type.subresources.has('status') && type.storageKey !== '/nodes') delete draft.status
    this.#finish(type, draft, undefined, options)
    const time = timestamp(this.#wallNow())
    if (operation === 'Apply') meta.managedFields = [...managed]
    else {
      delete meta.managedFields
      meta.managedFields = afterUpdate(
        undefined,
        draft,
        [],
        { name: options.fieldManager, subresource: '', time },
        type,
      )
    }
    if (options.dryRun) return { object: draft, stored: undefined, created: true }
    this.#reserve(type, draft, undefined)
    const stored = this.#store.put(type.storageKey, key, draft)
    return { object: draft, stored, created: true }
  }

  /**
   * PUT, and what a patch made of the live object.
   * @throws ApiError 400, 404, 409 (stale resourceVersion), 422
   */
  update(
    type: ResourceType,
    namespace: string,
    name: string,
    body: unknown,
    subresource: Subresource,
    options: WriteOptions,
  ): Written {
    const draft = this.#decode(type, namespace, body, options)
    if ((draft.metadata.name ?? '') === '') draft.metadata.name = name
    if (draft.metadata.name !== name) {
      throw badRequest(
        `the name of the object (${draft.metadata.name}) does not match the name on the URL (${name})`,
      )
    }
    const before = this.live(type, namespace, name)
    const sent = draft.metadata.managedFields
    const reset = sent?.length === 1 && isRecord(sent[0]) && Object.keys(sent[0]).length === 0
    const managed = reset
      ? []
      : sent === undefined || sent.length === 0
        ? (before.object.metadata.managedFields ?? [])
        : sent
    return this.#replace(type, namespace, before, draft, managed, subresource, options, 'Update')
  }

  /**
   * Server-side apply.
   * @throws ApiError 400, 409 (another manager owns a field), 422
   */
  apply(
    type: ResourceType,
    namespace: string,
    name: string,
    body: unknown,
    subresource: Subresource,
    force: boolean,
    options: WriteOptions,
  ): Written {
    if (options.fieldManager === '') {
      throw invalid(type, name, [
        {
          reason: 'FieldValueRequired',
          message: 'Required value: is required for apply patch',
          field: 'fieldManager',
        },
      ])
    }
    if (isRecord(body) && list(record(body['metadata'])['managedFields']).length > 0) {
      throw badRequest('metadata.managedFields must be nil')
    }
    const draft = this.#decode(type, namespace, body, options)
    draft.metadata.name =
      draft.metadata.name === '' || draft.metadata.name === undefined ? name : draft.metadata.name
    if (draft.metadata.name !== name) {
      throw badRequest(
        `the name of the object (${draft.metadata.name}) does not match the name on the URL (${name})`,
      )
    }
    const before = this.#store.collection(type.storageKey).get(keyOf(type, namespace, name))
    if (before === undefined && subresource !== '') throw notFound(type, name)
    const { resourceVersion, uid } = draft.metadata
    if (before !== undefined) {
      if (resourceVersion !== undefined && resourceVersion !== before.object.metadata.resourceVersion) {
        throw conflict(type, name, STALE)
      }
      if (uid !== undefined && uid !== before.object.metadata.uid) {
        throw conflict(
          type,
          name,
          `uid mismatch: the provided object specified uid ${uid}, and no existing object was found`,
        )
      }
    }
    for (const field of [
      'resourceVersion',
      'uid',
      'creationTimestamp',
      'generation',
      'deletionTimestamp',
    ] as const) {
      delete draft.metadata[field]
    }
    if (subresource === 'status') {
      for (const field of Object.keys(draft)) {
        if (!['apiVersion', 'kind', 'metadata', 'status'].includes(field)) delete draft[field]
      }
      draft.metadata = { name: draft.metadata.name, ...(type.namespaced ? { namespace } : {}) }
    } else if (type.subresources.has('status')) delete draft.status
    const manager = { name: options.fieldManager, subresource, time: timestamp(this.#wallNow()) }
    const live = before === undefined ? undefined : this.#inVersion(type, clone(before.object))
    const merged = applyConfiguration(live, draft, manager, type, force)
    const managed = merged.metadata.managedFields ?? []
    if (before === undefined) return this.#insert(type, namespace, clone(merged), managed, options, 'Apply')
    return this.#replace(type, namespace, before, merged, managed, subresource, options, 'Apply')
  }

  #replace(
    type: ResourceType,
    namespace: string,
    before: Stored,
    incoming: ApiObject,
    managed: readonly ManagedFields[],
    subresource: Subresource,
    options: WriteOptions,
    operation: 'Apply' | 'Update',
  ): Written {
    const old = this.#inVersion(type, before.object)
    const name = old.metadata.name
    const { resourceVersion, uid } = incoming.metadata
    if (
      resourceVersion !== undefined &&
      resourceVersion !== '' &&
      resourceVersion !== old.metadata.resourceVersion
    ) {
      throw conflict(type, name, STALE)
    }
    if (uid !== undefined && uid !== '' && uid !== old.metadata.uid) {
      throw conflict(
        type,
        name,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid ?? ''}`,
      )
    }
    const shares = subresource === 'status' && mayShare(type)
    const draft =
      subresource === 'status' ? statusDraft(type, old, incoming, shares) : mainDraft(type, old, incoming)
    keepServerFields(draft, old)
    this.#finish(type, draft, old, options, shares)
    const bumped = type.hasGeneration && !equal(desired(type, draft), desired(type, old))
    if (bumped) draft.metadata.generation = (old.metadata.generation ?? 0) + 1
    const withoutManagers = (object: ApiObject): unknown => ({
      ...object,
      metadata: { ...object.metadata, managedFields: undefined },
    })
    delete draft.metadata.managedFields
    const unchanged = equal(withoutManagers(draft), withoutManagers(old))
    const oldManagers = old.metadata.managedFields ?? []
    const time = timestamp(this.#wallNow())
    const managers =
      operation === 'Apply'
        ? [...managed]
        : unchanged
          ? [...managed]
          : afterUpdate(old, draft, managed, { name: options.fieldManager, subresource, time }, type)
    if (managers.length > 0) draft.metadata.managedFields = managers
    if (unchanged && equal(withoutTimes(managers), withoutTimes(oldManagers))) {
      return { object: before.object, stored: before, created: false }
    }
    const key = keyOf(type, namespace, name)
    const done =
      draft.metadata.deletionTimestamp !== undefined && (draft.metadata.finalizers ?? []).length === 0
    if (options.dryRun) return { object: draft, stored: undefined, created: false }
    if (!shares) {
      this.#reserve(type, draft, old)
      type.hooks.release?.(old, draft)
    }
    const stored = this.#store.put(type.storageKey, key, draft)
    if (done && old.metadata.finalizers !== undefined && old.metadata.finalizers.length > 0) {
      this.purge(type, key)
    }
    return { object: draft, stored, created: false }
  }

  /** @throws ApiError 404, 409 (preconditions) */
  delete(type: ResourceType, namespace: string, name: string, options: DeleteOptions): Deleted {
    const key = keyOf(type, namespace, name)
    const before = this.live(type, namespace, name)
    const meta = before.object.metadata
    const { uid, resourceVersion } = options.preconditions
    if (uid !== undefined && uid !== meta.uid) {
      throw conflict(
        type,
        name,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${meta.uid ?? ''}`,
      )
    }
    if (resourceVersion !== undefined && resourceVersion !== meta.resourceVersion) {
      throw conflict(
        type,
        name,
        `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${meta.resourceVersion ?? ''}`,
      )
    }
    if (type.storageKey === '/namespaces' && ['default', 'kube-system', 'kube-public'].includes(name)) {
      throw new ApiError(
        403,
        'Forbidden',
        `namespaces "${name}" is forbidden: this namespace may not be deleted`,
        {
          name,
          kind: 'namespaces',
        },
      )
    }
    if (options.dryRun) return { object: before.object, gone: true }
    if (options.propagationPolicy === 'Orphan' && meta.uid !== undefined)
      this.owners.orphanDependents(meta.uid)
    const finalizers = [...(meta.finalizers ?? [])]
    if (
      options.propagationPolicy === 'Foreground' &&
      meta.uid !== undefined &&
      this.owners.hasDependents(meta.uid) &&
      !finalizers.includes(FOREGROUND_FINALIZER)
    ) {
      finalizers.push(FOREGROUND_FINALIZER)
    }
    const graceSeconds = this.#graceSeconds(type, before.object, options.gracePeriodSeconds)
    const contents = type.storageKey === '/namespaces'
    if (finalizers.length === 0 && graceSeconds === 0 && !contents) {
      return { object: this.purge(type, key)?.object ?? before.object, gone: true }
    }
    const sooner = graceSeconds < (meta.deletionGracePeriodSeconds ?? Number.POSITIVE_INFINITY)
    if (meta.deletionTimestamp !== undefined && !sooner && equal(finalizers, meta.finalizers ?? [])) {
      return { object: before.object, gone: false }
    }
    const marked: ApiObject = {
      ...before.object,
      metadata: {
        ...meta,
        ...(finalizers.length === 0 ? {} : { finalizers }),
        deletionTimestamp: timestamp(this.#wallNow() + graceSeconds * 1000),
        deletionGracePeriodSeconds: graceSeconds,
        ...(type.hasGeneration ? { generation: (meta.generation ?? 0) + 1 } : {}),
      },
    }
    if (contents) marked.status = { ...marked.status, phase: 'Terminating' }
    return { object: this.#store.put(type.storageKey, key, marked).object, gone: false }
  }

  /** A pod on a node that exists is ended by that node's kubelet, which then deletes it with a grace of zero. */
  #graceSeconds(type: ResourceType, object: ApiObject, asked: number | undefined): number {
    if (type.storageKey !== '/pods') return 0
    const node = object.spec?.['nodeName']
    const phase = object.status?.['phase']
    if (typeof node !== 'string' || node === '' || phase === 'Succeeded' || phase === 'Failed') return 0
    if (this.#store.collection('/nodes').get(node) === undefined) return 0
    const own = object.spec?.['terminationGracePeriodSeconds']
    return Math.max(0, asked ?? (typeof own === 'number' ? own : 30))
  }

  /** Takes an object out, whatever its finalizers say. */
  purge(type: ResourceType, key: string): Stored | undefined {
    const gone = this.#store.remove(type.storageKey, key)
    if (gone !== undefined) type.hooks.release?.(gone.object, undefined)
    return gone
  }

  /** @throws ApiError 404 */
  live(type: ResourceType, namespace: string, name: string): Stored {
    const found = this.#store.collection(type.storageKey).get(keyOf(type, namespace, name))
    if (found === undefined) throw notFound(type, name)
    return found
  }

  /** A stored object as another version (or another group's name for it) sees it, still to be changed by nobody. */
  #inVersion(type: ResourceType, object: ApiObject): ApiObject {
    const apiVersion = apiVersionOf(type)
    return type.toStored !== undefined || object.apiVersion === apiVersion
      ? object
      : { ...object, apiVersion }
  }

  /** From JSON to a draft in the stored form, without unknown fields. */
  #decode(type: ResourceType, namespace: string, body: unknown, options: WriteOptions): ApiObject {
    if (!isRecord(body)) throw badRequest('the body is not an object')
    const apiVersion = apiVersionOf(type)
    if (body['kind'] !== undefined && body['kind'] !== type.kind) {
      throw badRequest(
        `${display(body['kind'])} in version ${JSON.stringify(body['apiVersion'] ?? '')} cannot be handled as a ${type.kind}`,
      )
    }
    if (body['apiVersion'] !== undefined && body['apiVersion'] !== apiVersion) {
      throw badRequest(
        `the API version in the data (${display(body['apiVersion'])}) does not match the expected API version (${apiVersion})`,
      )
    }
    body['apiVersion'] = apiVersion
    body['kind'] = type.kind
    if (!isRecord(body['metadata'])) {
      if (body['metadata'] !== undefined && body['metadata'] !== null)
        throw badRequest('metadata is not an object')
      body['metadata'] = {}
    }
    const unknown: string[] = []
    prune(body, type.schema, '', path => unknown.push(path))
    if (unknown.length > 0 && options.fieldValidation !== 'Ignore') {
      if (options.fieldValidation === 'Strict') {
        const all = unknown.map(path => `unknown field ${JSON.stringify(path)}`).join(', ')
        throw badRequest(
          `${type.kind} in version ${JSON.stringify(type.version)} cannot be handled as a ${type.kind}: strict decoding error: ${all}`,
        )
      }
      for (const path of unknown) options.warnings.push(`unknown field ${JSON.stringify(path)}`)
    }
    dropNulls(body['metadata'], type.schema.properties?.['metadata'])
    if (!type.custom) dropNulls(body, type.schema)
    const bad = validate(body['metadata'], type.schema.properties?.['metadata'] ?? {}, 'metadata')
    const first = bad.find(cause => cause.reason === 'FieldValueTypeInvalid')
    if (first !== undefined)
      throw badRequest(
        `${type.kind} in version ${JSON.stringify(type.version)} cannot be handled as a ${type.kind}: ${first.message}`,
      )
    const draft = (type.toStored?.(body as ApiObject) ?? body) as ApiObject
    if (draft.metadata.creationTimestamp === null) delete draft.metadata.creationTimestamp
    if (type.namespaced) {
      if (
        draft.metadata.namespace !== undefined &&
        draft.metadata.namespace !== '' &&
        draft.metadata.namespace !== namespace
      ) {
        throw badRequest(
          'the namespace of the provided object does not match the namespace sent on the request',
        )
      }
      draft.metadata.namespace = namespace
    } else delete draft.metadata.namespace
    return draft
  }

  /**
   * Defaults, then every rule. With `shares`, what the draft has in common with the object before is taken as it is: it went through
   * this when it was written.
   * @throws ApiError 400, 422
   */
  #finish(
    type: ResourceType,
    draft: ApiObject,
    before: ApiObject | undefined,
    options: WriteOptions,
    shares = false,
  ): void {
    const context: HookContext = { now: this.#wallNow(), dryRun: options.dryRun, user: options.user }
    const schema = type.toStored === undefined ? type.schema : this.#registry.stored(type.storageKey)?.schema
    const causes: Cause[] = validateMetadata(draft.metadata, type)
    if (schema !== undefined) {
      if (!shares) applyDefaults(draft, schema)
      for (const field in draft) {
        const child = field === 'metadata' ? undefined : schema.properties?.[field]
        if (child === undefined || (shares && draft[field] === before?.[field])) continue
        if (shares) applyDefaults(draft[field], child)
        validate(draft[field], child, field, causes)
      }
      for (const field of schema.required ?? []) {
        if (draft[field] === undefined) {
          causes.push({ reason: 'FieldValueRequired', message: 'Required value', field })
        }
      }
      const wrong = type.custom ? undefined : causes.find(cause => cause.reason === 'FieldValueTypeInvalid')
      if (wrong !== undefined) {
        throw badRequest(
          `${type.kind} in version ${JSON.stringify(type.version)} cannot be handled as a ${type.kind}: ${wrong.message}`,
        )
      }
    }
    if (causes.length === 0 && shares) type.hooks.finishStatus?.(draft, causes)
    else if (causes.length === 0) {
      type.hooks.prepare?.(draft, before, context)
      type.hooks.validate?.(draft, before, causes)
    }
    if (before?.metadata.deletionTimestamp !== undefined) {
      const had = new Set(before.metadata.finalizers)
      for (const finalizer of draft.metadata.finalizers ?? []) {
        if (!had.has(finalizer)) {
          causes.push(
            invalidValue(
              'metadata.finalizers',
              finalizer,
              'no new finalizers can be added if the object is being deleted',
            ),
          )
        }
      }
    }
    if (causes.length > 0) throw invalid(type, draft.metadata.name ?? '', causes)
  }

  #reserve(type: ResourceType, draft: ApiObject, before: ApiObject | undefined): void {
    try {
      type.hooks.reserve?.(draft, before)
    } catch (error) {
      if (error instanceof PoolError) throw invalid(type, draft.metadata.name, [error.field])
      throw error
    }
  }

  #checkNamespace(type: ResourceType, namespace: string, name: string): void {
    const found = this.#store.collection('/namespaces').get(namespace)
    if (found === undefined) {
      throw notFound({ group: '', plural: 'namespaces', kind: 'Namespace' }, namespace)
    }
    if (found.object.metadata.deletionTimestamp === undefined) return
    const why = `unable to create new content in namespace ${namespace} because it is being terminated`
    throw new ApiError(403, 'Forbidden', `${type.plural} ${JSON.stringify(name)} is forbidden: ${why}`, {
      name,
      kind: type.plural,
      causes: [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${namespace} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    })
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** Five characters that spell no word. */
function randomSuffix(): string {
  const letters = 'bcdfghjklmnpqrstvwxz2456789'
  let out = ''
  for (let i = 0; i < 5; i++) out += letters[randomInt(letters.length)] ?? ''
  return out
}

/** What the user asks for: all but metadata and, where it is apart, status. */
function desired(type: ResourceType, object: ApiObject): unknown {
  const { metadata: _metadata, apiVersion: _apiVersion, ...rest } = object
  if (type.subresources.has('status')) delete rest.status
  return rest
}

function mainDraft(type: ResourceType, old: ApiObject, incoming: ApiObject): ApiObject {
  const draft: ApiObject = { ...incoming, metadata: { ...incoming.metadata } }
  if (type.subresources.has('status')) {
    delete draft.status
    if (old.status !== undefined) draft.status = clone(old.status)
  }
  return draft
}

/** Custom kinds may get other defaults and rules than those that a stored object went through. */
function mayShare({ custom, hooks }: ResourceType): boolean {
  return !custom && (hooks.finishStatus !== undefined || (hooks.prepare ?? hooks.validate) === undefined)
}

/** The stored object with another status; with `shares`, all that is not replaced is the stored object's own. */
function statusDraft(type: ResourceType, old: ApiObject, incoming: ApiObject, shares: boolean): ApiObject {
  const meta = shares ? { ...old.metadata } : clone(old.metadata)
  if (type.statusMetadata === 'as-sent')
    Object.assign(meta, replaced(incoming, ['labels', 'annotations', 'finalizers']))
  else if (type.statusMetadata === 'annotations')
    Object.assign(meta, replaced(incoming, ['annotations', 'finalizers']))
  for (const [field, value] of Object.entries(meta)) if (value === undefined) delete record(meta)[field]
  const draft: ApiObject = { ...(shares ? old : clone(old)), metadata: meta }
  if (incoming.status === undefined) delete draft.status
  else draft.status = incoming.status
  return draft
}

function replaced(incoming: ApiObject, fields: readonly ('labels' | 'annotations' | 'finalizers')[]): object {
  return Object.fromEntries(fields.map(field => [field, incoming.metadata[field]]))
}

function keepServerFields(draft: ApiObject, old: ApiObject): void {
  const meta = draft.metadata
  for (const field of [
    'uid',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generation',
    'generateName',
    'resourceVersion',
  ] as const) {
    if (old.metadata[field] === undefined) delete meta[field]
    else Object.assign(meta, { [field]: old.metadata[field] })
  }
  delete meta.selfLink
  for (const field of ['labels', 'annotations'] as const) {
    if (meta[field] !== undefined && Object.keys(meta[field]).length === 0) delete meta[field]
  }
}

function withoutTimes(managed: readonly ManagedFields[]): unknown {
  return managed.map(({ time: _time, ...rest }) => rest)
}
