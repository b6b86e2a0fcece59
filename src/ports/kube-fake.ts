import assert from 'node:assert/strict'
import type { Clock } from './clock.ts'
import {
  type Informer,
  type InformerChange,
  type InformerOptions,
  type Kube,
  KubeError,
  type KubeObject,
  type ListOptions,
  type ObjectName,
  objectKey,
  type PatchOptions,
  type Resource,
} from './kube.ts'

export type FakeVerb = 'get' | 'list' | 'create' | 'update' | 'patch' | 'delete'

/** One write that the fake was asked for and did; no-op updates are listed too. */
export type FakeWrite = {
  readonly verb: 'create' | 'update' | 'patch' | 'delete'
  readonly resource: Resource
  readonly key: string
  readonly subresource: 'status' | undefined
  /** What was sent: the object, the patch, or undefined for a delete. */
  readonly body: unknown
  /** The object afterwards; undefined when it is gone. */
  readonly after: KubeObject | undefined
}

/** One change of one object, whoever made it: what a watch would show. */
export type FakeCommit = {
  readonly resource: Resource
  readonly key: string
  readonly before: KubeObject | undefined
  readonly after: KubeObject | undefined
  /** The resourceVersion of the change, also of a deletion. */
  readonly version: number
}

type Json = Readonly<Record<string, unknown>>

type Failure = {
  readonly error: Error
  readonly verb: FakeVerb | undefined
  readonly plural: string | undefined
}

/** Kinds here whose /status is a subresource: everything else takes status through the main path. */
const WITHOUT_STATUS = new Set(['secrets', 'events', 'endpointslices', 'leases', 'configmaps'])

/**
 * An API server in memory with one client, for tests.
 *
 * It gives out uids and resourceVersions, refuses stale updates, keeps spec and status apart as the API server does, and
 * feeds informers in order through the microtask queue. Objects go in and out as copies.
 */
export class FakeKube implements Kube {
  /** Every write so far, in order. */
  readonly writes: FakeWrite[] = []
  #down: Error | undefined
  #paused = false
  #version = 0
  #uids = 0
  #names = 0
  #requests = 0
  readonly #clock: Clock | undefined
  readonly #stores = new Map<string, Map<string, KubeObject>>()
  readonly #applied = new Map<string, Json>()
  readonly #failures: Failure[] = []
  readonly #listeners: ((write: FakeWrite) => void)[] = []
  readonly #commitListeners: ((commit: FakeCommit) => void)[] = []
  readonly #informers = new Set<FakeInformer<unknown>>()

  /** The clock dates creationTimestamp and deletionTimestamp; without one they are the start of 2026. */
  constructor(options: { readonly clock?: Clock } = {}) {
    this.#clock = options.clock
  }

  // What tests turn.

  /** The next request (of that verb and kind, when given) fails with this error and does nothing. Failures queue up. */
  failNext(error: Error, only: { readonly verb?: FakeVerb; readonly resource?: Resource } = {}): void {
    this.#failures.push({ error, verb: only.verb, plural: only.resource?.plural })
  }

  /** Every request fails and informers hear nothing until `undefined` is set. */
  setDown(error: Error | undefined): void {
    this.#down = error
    if (error === undefined) this.#pump()
  }

  /** Informers hear nothing until `resume`; what happens meanwhile is kept for them in order. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#pump()
  }

  /** Called after each write, before informers hear of it. */
  onWrite(listener: (write: FakeWrite) => void): void {
    this.#listeners.push(listener)
  }

  /** Called at once for every change of any object, no-op writes left out. */
  onCommit(listener: (commit: FakeCommit) => void): void {
    this.#commitListeners.push(listener)
  }

  /** The resourceVersion of the latest change. */
  get version(): number {
    return this.#version
  }

  /** Puts an object there at once, status included, as if another client had written it; replaces the one with its name. */
  seed(resource: Resource, object: KubeObject): KubeObject {
    const key = this.#checkedKey(resource, object.metadata)
    const store = this.#store(resource)
    const before = store.get(key)
    return this.#commit(resource, key, this.#stamped(resource, structuredClone(object), before))
  }

  /** Takes an object away at once, whatever its finalizers say. */
  remove(resource: Resource, name: ObjectName): void {
    this.#drop(resource, objectKey(name))
  }

  /** The object as it is now, without a request; undefined when there is none. */
  peek(resource: Resource, name: ObjectName): KubeObject | undefined {
    return structuredClone(this.#store(resource).get(objectKey(name)))
  }

  /** All objects of a kind as they are now, by key. */
  objects(resource: Resource): KubeObject[] {
    return [...this.#store(resource)].sort(([a], [b]) => compareText(a, b)).map(([, o]) => structuredClone(o))
  }

  /** Resolves once every informer heard of everything so far, and whoever sends one request after the other has stopped. */
  async settle(): Promise<void> {
    for (let quiet = 0, seen = this.#requests; quiet < 20; quiet++) {
      await Promise.resolve()
      const idle = this.#blocked() || [...this.#informers].every(informer => informer.idle)
      if (!idle || seen !== this.#requests) quiet = 0
      seen = this.#requests
    }
  }

  // The port.

  async get(resource: Resource, name: ObjectName): Promise<KubeObject | undefined> {
    this.#enter('get', resource)
    return structuredClone(this.#store(resource).get(this.#checkedKey(resource, name)))
  }

  async list(resource: Resource, options: ListOptions = {}): Promise<KubeObject[]> {
    this.#enter('list', resource)
    const matches = selection(options)
    return this.objects(resource).filter(matches)
  }

  async create(resource: Resource, object: KubeObject): Promise<KubeObject> {
    this.#enter('create', resource)
    const copy = withoutStatusOnCreate(resource, structuredClone(object))
    let meta = copy.metadata
    if (meta.name === undefined || meta.name === '') {
      if (meta.generateName === undefined || meta.generateName === '')
        throw new KubeError(
          'invalid',
          `${resource.kind} without a name: set metadata.name or metadata.generateName`,
          {
            status: 422,
          },
        )
      meta = { ...meta, name: `${meta.generateName}${(this.#names++).toString(36).padStart(5, '0')}` }
    }
    const key = this.#checkedKey(resource, meta)
    if (meta.resourceVersion !== undefined && meta.resourceVersion !== '')
      throw new KubeError(
        'invalid',
        `create ${resource.kind} ${key}: metadata.resourceVersion must not be set`,
        {
          status: 400,
        },
      )
    if (this.#store(resource).has(key))
      throw new KubeError('already-exists', `create ${resource.kind} ${key}: already exists`, { status: 409 })
    const { uid: _, ...fresh } = meta
    const after = this.#commit(
      resource,
      key,
      this.#stamped(resource, { ...copy, metadata: fresh }, undefined),
    )
    this.#wrote({ verb: 'create', resource, key, subresource: undefined, body: object, after })
    return after
  }

  async update(
    resource: Resource,
    object: KubeObject,
    options: { readonly subresource?: 'status' } = {},
  ): Promise<KubeObject> {
    this.#enter('update', resource)
    const key = this.#checkedKey(resource, object.metadata)
    return this.#replace('update', resource, key, structuredClone(object), options.subresource, object)
  }

  async patch(
    resource: Resource,
    name: ObjectName,
    patch: unknown,
    options: PatchOptions,
  ): Promise<KubeObject> {
    this.#enter('patch', resource)
    const key = this.#checkedKey(resource, name)
    if (!isRecord(patch))
      throw new KubeError('invalid', `patch ${resource.kind} ${key}: the patch is no object`, { status: 400 })
    const before = this.#store(resource).get(key)
    if (options.type === 'merge') {
      if (before === undefined) throw notFound('patch', resource, key)
      const merged = mergePatch(before, structuredClone(patch)) as KubeObject
      return this.#replace('patch', resource, key, merged, options.subresource, patch)
    }
    if (options.fieldManager === undefined || options.fieldManager === '')
      throw new KubeError('invalid', `apply ${resource.kind} ${key}: fieldManager is required`, {
        status: 422,
      })
    const manager = `${storeKey(resource)} ${key} ${options.fieldManager} ${options.subresource ?? ''}`
    const given = structuredClone(patch)
    const previous = this.#applied.get(manager)
    let after: KubeObject
    if (before === undefined) {
      if (options.subresource !== undefined) throw notFound('apply', resource, key)
      const fresh = withoutStatusOnCreate(resource, {
        ...given,
        metadata: { ...(isRecord(given['metadata']) ? given['metadata'] : {}), ...bareName(resource, name) },
      })
      after = this.#commit(resource, key, this.#stamped(resource, fresh, undefined))
      this.#wrote({ verb: 'patch', resource, key, subresource: undefined, body: patch, after })
    } else {
      const kept = previous === undefined ? before : (withoutAbandoned(before, previous, given) as KubeObject)
      after = this.#replace(
        'patch',
        resource,
        key,
        applyOver(kept, given) as KubeObject,
        options.subresource,
        patch,
      )
    }
    this.#applied.set(manager, given)
    return after
  }

  async delete(resource: Resource, name: ObjectName): Promise<void> {
    this.#enter('delete', resource)
    const key = this.#checkedKey(resource, name)
    const before = this.#store(resource).get(key)
    if (before === undefined) return
    let after: KubeObject | undefined
    if (finalizersOf(before).length > 0) {
      after =
        before.metadata.deletionTimestamp === undefined
          ? this.#commit(resource, key, {
              ...before,
              metadata: { ...before.metadata, deletionTimestamp: this.#timestamp() },
            })
          : structuredClone(before)
    } else this.#drop(resource, key)
    this.#wrote({ verb: 'delete', resource, key, subresource: undefined, body: undefined, after })
  }

  informer<T>(resource: Resource, options: InformerOptions<T>): Informer<T> {
    return new FakeInformer(options, {
      list: () => this.#store(resource),
      blocked: () => this.#blocked(),
      join: informer => {
        informer.storeKey = storeKey(resource)
        this.#informers.add(informer)
      },
      leave: informer => this.#informers.delete(informer),
    })
  }

  // Inside.

  #blocked(): boolean {
    return this.#paused || this.#down !== undefined
  }

  #pump(): void {
    for (const informer of this.#informers) informer.pump()
  }

  #enter(verb: FakeVerb, resource: Resource): void {
    this.#requests++
    if (this.#down !== undefined) throw this.#down
    const at = this.#failures.findIndex(
      failure =>
        (failure.verb === undefined || failure.verb === verb) &&
        (failure.plural === undefined || failure.plural === resource.plural),
    )
    const failure = at < 0 ? undefined : this.#failures.splice(at, 1)[0]
    if (failure !== undefined) throw failure.error
  }

  #store(resource: Resource): Map<string, KubeObject> {
    const key = storeKey(resource)
    let store = this.#stores.get(key)
    if (store === undefined) {
      store = new Map()
      this.#stores.set(key, store)
    }
    return store
  }

  #checkedKey(resource: Resource, meta: { readonly namespace?: string; readonly name: string }): string {
    const namespaced = meta.namespace !== undefined && meta.namespace !== ''
    if (namespaced !== resource.namespaced || meta.name === '')
      throw new KubeError(
        'invalid',
        `${resource.kind} ${objectKey(meta)}: ${meta.name === '' ? 'a name is required' : resource.namespaced ? 'a namespace is required' : 'a namespace must not be set'}`,
        { status: 400 },
      )
    return objectKey(meta)
  }

  #timestamp(): string {
    const at = this.#clock?.wallNow() ?? Date.UTC(2026, 0, 1)
    return new Date(at).toISOString().replace(/\.\d+Z$/, 'Z')
  }

  /** The object with what the server alone decides: identity, times, type. */
  #stamped(resource: Resource, object: KubeObject, before: KubeObject | undefined): KubeObject {
    return {
      ...object,
      apiVersion: resource.group === '' ? resource.version : `${resource.group}/${resource.version}`,
      kind: resource.kind,
      metadata: {
        ...object.metadata,
        uid: before?.metadata.uid ?? object.metadata.uid ?? uidOf(++this.#uids),
        creationTimestamp:
          before?.metadata.creationTimestamp ?? object.metadata.creationTimestamp ?? this.#timestamp(),
        ...(isCustom(resource)
          ? { generation: before?.metadata.generation ?? object.metadata.generation ?? 1 }
          : {}),
      },
    }
  }

  #replace(
    verb: 'update' | 'patch',
    resource: Resource,
    key: string,
    wanted: KubeObject,
    subresource: 'status' | undefined,
    body: unknown,
  ): KubeObject {
    const before = this.#store(resource).get(key)
    if (before === undefined) throw notFound(verb, resource, key)
    const { resourceVersion, uid } = wanted.metadata
    if (
      resourceVersion !== undefined &&
      resourceVersion !== '' &&
      resourceVersion !== before.metadata.resourceVersion
    )
      throw new KubeError(
        'conflict',
        `${verb} ${resource.kind} ${key}: resourceVersion ${resourceVersion} is stale, the object is at ${before.metadata.resourceVersion}`,
        { status: 409 },
      )
    if (uid !== undefined && uid !== before.metadata.uid)
      throw new KubeError(
        'conflict',
        `${verb} ${resource.kind} ${key}: uid ${uid} is not ${before.metadata.uid}`,
        {
          status: 409,
        },
      )
    if (subresource === 'status' && WITHOUT_STATUS.has(resource.plural))
      throw notFound(verb, resource, `${key}/status`)
    const merged = this.#stamped(resource, keepOtherHalf(resource, wanted, before, subresource), before)
    // deletionTimestamp is the server's own.
    const { deletionTimestamp: _, ...meta } = merged.metadata
    let next: KubeObject = {
      ...merged,
      metadata: {
        ...meta,
        ...(before.metadata.deletionTimestamp === undefined
          ? {}
          : { deletionTimestamp: before.metadata.deletionTimestamp }),
        ...(before.metadata.resourceVersion === undefined
          ? {}
          : { resourceVersion: before.metadata.resourceVersion }),
      },
    }
    if (isCustom(resource) && !sameJson(bodyOf(next), bodyOf(before)))
      next = { ...next, metadata: { ...next.metadata, generation: (before.metadata.generation ?? 0) + 1 } }
    let after: KubeObject | undefined
    if (next.metadata.deletionTimestamp !== undefined && finalizersOf(next).length === 0) {
      this.#drop(resource, key)
    } else {
      // A write that changes nothing keeps its resourceVersion and nobody hears of it.
      after = sameJson(next, before) ? structuredClone(before) : this.#commit(resource, key, next)
    }
    this.#wrote({ verb, resource, key, subresource, body, after })
    return after ?? structuredClone(next)
  }

  #commit(resource: Resource, key: string, object: KubeObject): KubeObject {
    const stored = structuredClone({
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(++this.#version) },
    })
    const before = this.#store(resource).get(key)
    this.#store(resource).set(key, stored)
    this.#committed({ resource, key, before, after: stored, version: this.#version })
    for (const informer of this.#informers) informer.hear(storeKey(resource), key, stored)
    return structuredClone(stored)
  }

  #drop(resource: Resource, key: string): void {
    const before = this.#store(resource).get(key)
    if (before === undefined) return
    this.#store(resource).delete(key)
    this.#version++
    this.#committed({ resource, key, before, after: undefined, version: this.#version })
    for (const manager of this.#applied.keys())
      if (manager.startsWith(`${storeKey(resource)} ${key} `)) this.#applied.delete(manager)
    for (const informer of this.#informers) informer.hear(storeKey(resource), key, undefined)
  }

  #committed(commit: FakeCommit): void {
    for (const listener of this.#commitListeners) listener(commit)
  }

  #wrote(write: FakeWrite): void {
    const copy = { ...write, body: structuredClone(write.body) }
    this.writes.push(copy)
    for (const listener of this.#listeners) listener(copy)
  }
}

type InformerHost = {
  readonly list: () => ReadonlyMap<string, KubeObject>
  readonly blocked: () => boolean
  readonly join: (informer: FakeInformer<unknown>) => void
  readonly leave: (informer: FakeInformer<unknown>) => void
}

class FakeInformer<T> implements Informer<T> {
  readonly items = new Map<string, T>()
  storeKey = ''
  #synced = false
  #started = false
  #scheduled = false
  #onSynced: () => void = () => {}
  readonly #queue: (() => void)[] = []
  readonly #versions = new Map<string, string | undefined>()
  readonly #listeners: ((change: InformerChange<T>) => void)[] = []
  readonly #convert: (object: KubeObject) => T
  readonly #matches: (object: KubeObject) => boolean
  readonly #host: InformerHost

  constructor(options: InformerOptions<T>, host: InformerHost) {
    this.#convert = options.convert
    this.#matches = selection(options)
    this.#host = host
  }

  get synced(): boolean {
    return this.#synced
  }

  /** Nothing waits to be told. */
  get idle(): boolean {
    return this.#queue.length === 0
  }

  onChange(listener: (change: InformerChange<T>) => void): void {
    this.#listeners.push(listener)
  }

  async start(signal: AbortSignal): Promise<void> {
    assert(!this.#started, 'an informer is started once')
    this.#started = true
    signal.throwIfAborted()
    const self = this as unknown as FakeInformer<unknown>
    await new Promise<void>((resolve, reject) => {
      this.#onSynced = resolve
      signal.addEventListener('abort', () => {
        this.#host.leave(self)
        this.#queue.length = 0
        reject(signal.reason as Error)
      })
      this.#host.join(self)
      const listed = [...this.#host.list()]
      this.#queue.push(() => {
        // Everything is in `items` before the first listener hears of anything, as with a real list.
        const tell = listed
          .filter(([, object]) => this.#matches(object))
          .map(([key, object]) => this.#store(key, object))
        this.#synced = true
        for (const change of tell) this.#tell(change)
        this.#onSynced()
      })
      this.pump()
    })
  }

  hear(storeKey: string, key: string, object: KubeObject | undefined): void {
    if (storeKey !== this.storeKey) return
    this.#queue.push(() => {
      const after = object !== undefined && this.#matches(object) ? object : undefined
      if (after === undefined && !this.items.has(key)) return
      this.#tell(this.#store(key, after))
    })
    this.pump()
  }

  pump(): void {
    if (this.#scheduled || this.#queue.length === 0) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      if (this.#host.blocked()) return
      this.#queue.shift()?.()
      this.pump()
    })
  }

  #store(key: string, object: KubeObject | undefined): InformerChange<T> | undefined {
    const before = this.items.get(key)
    if (object === undefined) {
      this.items.delete(key)
      this.#versions.delete(key)
      return { key, before, after: undefined }
    }
    if (this.#versions.has(key) && this.#versions.get(key) === object.metadata.resourceVersion)
      return undefined
    const after = this.#convert(structuredClone(object))
    this.items.set(key, after)
    this.#versions.set(key, object.metadata.resourceVersion)
    return { key, before, after }
  }

  #tell(change: InformerChange<T> | undefined): void {
    if (change !== undefined) for (const listener of this.#listeners) listener(change)
  }
}

// Pure helpers.

function storeKey(resource: Resource): string {
  return `${resource.plural}.${resource.group}`
}

function isCustom(resource: Resource): boolean {
  return resource.group.includes('.') && !resource.group.endsWith('.k8s.io')
}

function bareName(resource: Resource, name: ObjectName): { name: string; namespace?: string } {
  return resource.namespaced ? { name: name.name, namespace: name.namespace } : { name: name.name }
}

function uidOf(n: number): string {
  return `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`
}

function notFound(verb: string, resource: Resource, key: string): KubeError {
  return new KubeError('not-found', `${verb} ${resource.kind} ${key}: not found`, { status: 404 })
}

function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function finalizersOf(object: KubeObject): readonly unknown[] {
  const finalizers = (object.metadata as Json)['finalizers']
  return Array.isArray(finalizers) ? finalizers : []
}

/** Status is not the creator's to set, but a kubelet registers its Node with one. */
function withoutStatusOnCreate(resource: Resource, object: KubeObject): KubeObject {
  if (WITHOUT_STATUS.has(resource.plural) || resource.plural === 'nodes') return object
  const { status: _, ...rest } = object
  return rest
}

/**
 * The main path leaves status alone and /status leaves the rest alone. Built-in kinds take metadata through /status too;
 * custom resources do not (k8s.io/apiextensions-apiserver, statusStrategy.PrepareForUpdate).
 */
function keepOtherHalf(
  resource: Resource,
  wanted: KubeObject,
  before: KubeObject,
  subresource: 'status' | undefined,
): KubeObject {
  if (WITHOUT_STATUS.has(resource.plural)) return wanted
  const { status: wantedStatus, ...wantedRest } = wanted
  const { status: beforeStatus, ...beforeRest } = before
  if (subresource === undefined)
    return beforeStatus === undefined ? wantedRest : { ...wantedRest, status: beforeStatus }
  const rest = isCustom(resource) ? beforeRest : { ...beforeRest, metadata: wanted.metadata }
  return wantedStatus === undefined ? rest : { ...rest, status: wantedStatus }
}

function bodyOf(object: KubeObject): Json {
  const { metadata: _, status: __, ...rest } = object
  return rest
}

/** JSON equality; the order of keys does not matter, and undefined is absent. */
function sameJson(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((value, i) => sameJson(value, b[i]))
  if (isRecord(a) && isRecord(b)) {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)]))
      if (!sameJson(a[key], b[key])) return false
    return true
  }
  return a === b
}

/** RFC 7386 section 2. */
function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = mergePatch(result[key], value)
  }
  return result
}

/** Server-side apply without schemas: maps merge, and so do conditions, by their types; other lists and scalars replace. */
function applyOver(target: unknown, given: unknown, name?: string): unknown {
  if (name === 'conditions' && Array.isArray(target) && Array.isArray(given))
    return conditionsOver(target, given)
  if (!isRecord(target) || !isRecord(given)) return given
  const result: Record<string, unknown> = { ...target }
  for (const [key, value] of Object.entries(given)) result[key] = applyOver(result[key], value, key)
  return result
}

function conditionsOver(target: readonly unknown[], given: readonly unknown[]): readonly unknown[] {
  const typeOf = (item: unknown) => (isRecord(item) ? item['type'] : undefined)
  const open = new Map(given.map(item => [typeOf(item), item]))
  const merged = target.map(item => {
    const over = open.get(typeOf(item))
    open.delete(typeOf(item))
    return over === undefined ? item : applyOver(item, over)
  })
  return [...merged, ...open.values()]
}

/** Fields that the manager once applied and now leaves out go away. */
function withoutAbandoned(target: unknown, previous: unknown, given: unknown): unknown {
  if (!isRecord(target) || !isRecord(previous) || !isRecord(given)) return target
  const result: Record<string, unknown> = { ...target }
  for (const key of Object.keys(previous)) {
    if (!(key in given)) delete result[key]
    else if (key in result) result[key] = withoutAbandoned(result[key], previous[key], given[key])
  }
  return result
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Whether an object is in the list that these options ask for. @throws KubeError for selectors beyond equality. */
export function selection(options: ListOptions): (object: KubeObject) => boolean {
  const labels = parseSelector('label selector', options.labelSelector)
  const fields = parseSelector('field selector', options.fieldSelector)
  return object =>
    (options.namespace === undefined ||
      options.namespace === '' ||
      object.metadata.namespace === options.namespace) &&
    labels.every(term => term(object.metadata.labels?.[term.key])) &&
    fields.every(term => term(fieldText(object, term.key)))
}

function fieldText(object: KubeObject, path: string): string {
  let value: unknown = object
  for (const part of path.split('.')) value = isRecord(value) ? value[part] : undefined
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : ''
}

type Term = ((value: string | undefined) => boolean) & { readonly key: string }

/** Terms `a=b`, `a==b`, `a!=b`, `a` and `!a`, joined by commas. */
function parseSelector(what: string, text: string | undefined): Term[] {
  if (text === undefined || text === '') return []
  return text.split(',').map(raw => {
    const term = raw.trim()
    const parts = /^(!?)([\w./-]+)\s*(?:(==|=|!=)\s*([\w./:-]*))?$/.exec(term)
    if (parts === null || (parts[1] === '!' && parts[3] !== undefined))
      throw new KubeError('invalid', `${what} "${text}": "${term}" is no equality the fake knows`, {
        status: 400,
      })
    const [, not, key = '', operator, wanted = ''] = parts
    const test = (value: string | undefined): boolean => {
      if (operator === undefined) return (value !== undefined) !== (not === '!')
      return operator === '!=' ? value !== wanted : value === wanted
    }
    return Object.assign(test, { key })
  })
}
