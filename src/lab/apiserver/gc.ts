import type { Log } from '../../ports/log.ts'
import type { ApiObject } from './objects.ts'
import type { Registry } from './registry.ts'
import type { ResourceType } from './resource-type.ts'
import { ApiError } from './status.ts'
import type { Change, Store, Stored } from './store.ts'
import { FOREGROUND_FINALIZER, keyOf, type Owners, type Writer } from './writer.ts'

type Place = { readonly storageKey: string; readonly key: string }

/**
 * What goes when something else goes: dependents of a deleted owner, and what a deleted namespace holds. Works off a queue, one
 * turn of the event loop after the change, so that no request waits for it.
 */
export class GarbageCollector implements Owners {
  readonly #registry: Registry
  readonly #store: Store
  readonly #writer: Writer
  readonly #log: Log
  /** uid -> where the object is. */
  readonly #objects = new Map<string, Place>()
  /** uid of an owner -> its dependents, by place. */
  readonly #dependents = new Map<string, Map<string, Place>>()
  #queue: (() => void)[] = []
  #scheduled = false

  constructor(registry: Registry, store: Store, writer: Writer, log: Log) {
    this.#registry = registry
    this.#store = store
    this.#writer = writer
    this.#log = log
  }

  /** To be called for every change of every collection. */
  observe(storageKey: string, change: Change): void {
    const { before, after, last } = change
    const place = { storageKey, key: last.key }
    const uid = last.object.metadata.uid ?? ''
    const had = before?.object.metadata.ownerReferences
    const has = after?.object.metadata.ownerReferences
    if (had !== has) {
      for (const owner of had ?? []) this.#unlink(owner.uid, place)
      for (const owner of has ?? []) this.#link(owner.uid, place)
      if (has !== undefined && has.length > 0) this.#later(() => this.#checkOwners(place))
    }
    if (after === undefined) {
      this.#objects.delete(uid)
      if (this.#dependents.has(uid)) this.#later(() => this.#ownerGone(uid))
      for (const owner of had ?? []) this.#later(() => this.#checkForeground(owner.uid))
      this.#later(() => this.#checkNamespace(last.object.metadata.namespace ?? ''))
    } else {
      if (before === undefined) this.#objects.set(uid, place)
      if (after.object.metadata.deletionTimestamp !== undefined) {
        if (storageKey === '/namespaces') this.#later(() => this.#emptyNamespace(last.object.metadata.name))
        if (after.object.metadata.finalizers?.includes(FOREGROUND_FINALIZER) === true) {
          this.#later(() => this.#deleteDependents(uid))
        }
      }
    }
  }

  hasDependents(uid: string): boolean {
    return (this.#dependents.get(uid)?.size ?? 0) > 0
  }

  orphanDependents(uid: string): void {
    for (const place of this.#dependents.get(uid)?.values() ?? []) {
      const found = this.#find(place)
      if (found !== undefined) this.#dropReference(place, found, reference => reference.uid === uid)
    }
  }

  #link(uid: string, place: Place): void {
    const known = this.#dependents.get(uid) ?? new Map<string, Place>()
    known.set(`${place.storageKey} ${place.key}`, place)
    this.#dependents.set(uid, known)
  }

  #unlink(uid: string, place: Place): void {
    const known = this.#dependents.get(uid)
    known?.delete(`${place.storageKey} ${place.key}`)
    if (known?.size === 0) this.#dependents.delete(uid)
  }

  #find(place: Place): Stored | undefined {
    return this.#store.collection(place.storageKey).get(place.key)
  }

  #later(work: () => void): void {
    this.#queue.push(work)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      const batch = this.#queue
      this.#queue = []
      for (const work of batch) {
        try {
          work()
        } catch (error) {
          this.#log.error('garbage-collection-failed', { error })
        }
      }
    })
  }

  #ownerGone(uid: string): void {
    for (const place of Array.from(this.#dependents.get(uid)?.values() ?? [])) this.#checkOwners(place)
  }

  /** Deletes what has no living owner left; takes the dead ones off what still has one. */
  #checkOwners(place: Place): void {
    const found = this.#find(place)
    if (found === undefined) return
    const references = found.object.metadata.ownerReferences ?? []
    if (references.length === 0) return
    const dead = references.filter(reference => !this.#objects.has(reference.uid))
    if (dead.length === 0) return
    if (dead.length === references.length) this.#delete(place, found.object, 'Background')
    else this.#dropReference(place, found, reference => dead.includes(reference))
  }

  #dropReference(
    place: Place,
    found: Stored,
    drops: (reference: NonNullable<ApiObject['metadata']['ownerReferences']>[number]) => boolean,
  ): void {
    const { ownerReferences = [], ...meta } = found.object.metadata
    const rest = ownerReferences.filter(reference => !drops(reference))
    this.#store.put(place.storageKey, place.key, {
      ...found.object,
      metadata: rest.length === 0 ? meta : { ...meta, ownerReferences: rest },
    })
  }

  #deleteDependents(uid: string): void {
    for (const place of Array.from(this.#dependents.get(uid)?.values() ?? [])) {
      const found = this.#find(place)
      if (found !== undefined && found.object.metadata.deletionTimestamp === undefined) {
        this.#delete(place, found.object, 'Foreground')
      }
    }
    this.#checkForeground(uid)
  }

  /** An owner that waits for its dependents goes when none is left that blocks it. */
  #checkForeground(uid: string): void {
    const place = this.#objects.get(uid)
    const owner = place === undefined ? undefined : this.#find(place)
    if (place === undefined || owner?.object.metadata.finalizers?.includes(FOREGROUND_FINALIZER) !== true)
      return
    for (const dependent of this.#dependents.get(uid)?.values() ?? []) {
      const references = this.#find(dependent)?.object.metadata.ownerReferences ?? []
      if (references.some(r => r.uid === uid && r.blockOwnerDeletion === true)) return
    }
    const finalizers = owner.object.metadata.finalizers.filter(name => name !== FOREGROUND_FINALIZER)
    const { finalizers: _finalizers, ...meta } = owner.object.metadata
    this.#store.put(place.storageKey, place.key, {
      ...owner.object,
      metadata: finalizers.length === 0 ? meta : { ...meta, finalizers },
    })
    const type = this.#registry.stored(place.storageKey)
    if (finalizers.length === 0 && type !== undefined) this.#writer.purge(type, place.key)
  }

  #delete(place: Place, object: ApiObject, propagationPolicy: 'Background' | 'Foreground'): void {
    const type = this.#registry.stored(place.storageKey)
    if (type === undefined) return
    try {
      this.#writer.delete(type, object.metadata.namespace ?? '', object.metadata.name, {
        propagationPolicy,
        gracePeriodSeconds: undefined,
        preconditions: {},
        dryRun: false,
      })
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 404)) throw error
    }
  }

  #emptyNamespace(namespace: string): void {
    for (const [storageKey, collection] of this.#store.collections) {
      if (collection.countIn(namespace) === 0) continue
      const type: ResourceType | undefined = this.#registry.stored(storageKey)
      if (type?.namespaced !== true) continue
      for (const stored of collection.all()) {
        if (stored.object.metadata.namespace === namespace) {
          this.#delete({ storageKey, key: stored.key }, stored.object, 'Background')
        }
      }
    }
    this.#checkNamespace(namespace)
  }

  #checkNamespace(namespace: string): void {
    if (namespace === '') return
    const found = this.#store.collection('/namespaces').get(namespace)
    if (found?.object.metadata.deletionTimestamp === undefined) return
    if ((found.object.metadata.finalizers ?? []).length > 0) return
    for (const collection of this.#store.collections.values()) if (collection.countIn(namespace) > 0) return
    const type = this.#registry.stored('/namespaces')
    if (type !== undefined) this.#writer.purge(type, keyOf(type, '', namespace))
  }
}
