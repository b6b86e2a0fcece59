import type { ApiObject } from './objects.ts'
import { expired } from './status.ts'

/** One object as it was at one revision. Never changed; its bytes are made once per served version and shared by all readers. */
export class Stored {
  readonly key: string
  readonly object: ApiObject
  readonly revision: number
  #encoded: { apiVersion: string; bytes: Buffer }[] | undefined

  constructor(key: string, object: ApiObject, revision: number) {
    this.key = key
    this.object = object
    this.revision = revision
  }

  /** The JSON of the object as `convert` shows it. */
  bytes(apiVersion: string, convert: (object: ApiObject) => ApiObject): Buffer {
    const known = this.#encoded?.find(e => e.apiVersion === apiVersion)
    if (known !== undefined) return known.bytes
    const bytes = Buffer.from(JSON.stringify(convert(this.object)))
    this.#encoded ??= []
    this.#encoded.push({ apiVersion, bytes })
    return bytes
  }

  /** Lets go of the bytes of an object that has been replaced. */
  forgetBytes(): void {
    this.#encoded = undefined
  }
}

/** A change: `before` is absent for a creation, `after` for a deletion; `last` is what a watcher is shown. */
export type Change = {
  readonly revision: number
  readonly before: Stored | undefined
  readonly after: Stored | undefined
  readonly last: Stored
}

export type Listener = (change: Change) => void

export type Snapshot = { readonly revision: number; readonly items: readonly Stored[] }

/** All objects of one kind, in memory, with the last changes for those who want to resume. */
export class Collection {
  readonly #items = new Map<string, Stored>()
  readonly #perNamespace = new Map<string, number>()
  readonly #window: number
  readonly #listeners = new Set<Listener>()
  #sorted: Stored[] | undefined
  #changes: Change[] = []
  /** Changes up to and including this revision are forgotten. */
  #forgotten: number
  /** The revision of the last change. */
  #revision: number

  constructor(window: number, revision: number) {
    this.#window = window
    this.#forgotten = revision
    this.#revision = revision
  }

  get size(): number {
    return this.#items.size
  }

  get(key: string): Stored | undefined {
    return this.#items.get(key)
  }

  countIn(namespace: string): number {
    return this.#perNamespace.get(namespace) ?? 0
  }

  /** All objects in the order of their keys. The array is shared: do not change it. */
  all(): readonly Stored[] {
    this.#sorted ??= [...this.#items.values()].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    return this.#sorted
  }

  /**
   * All objects as they were at a revision.
   * @throws ApiError 410 when that is too long ago
   */
  allAt(revision: number): readonly Stored[] {
    if (revision >= this.#revision) return this.all()
    if (revision < this.#forgotten) throw tooOld(revision, this.#forgotten)
    const items = new Map(this.#items)
    for (let i = this.#changes.length - 1; i >= 0; i--) {
      const change = this.#changes[i]
      if (change === undefined || change.revision <= revision) break
      if (change.before === undefined) items.delete(change.last.key)
      else items.set(change.before.key, change.before)
    }
    return [...items.values()].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
  }

  /**
   * What happened after a revision.
   * @throws ApiError 410 when that is too long ago
   */
  changesSince(revision: number): readonly Change[] {
    if (revision < this.#forgotten) throw tooOld(revision, this.#forgotten)
    if (revision >= this.#revision) return []
    let low = 0
    let high = this.#changes.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#changes[middle]?.revision ?? 0) <= revision) low = middle + 1
      else high = middle
    }
    return this.#changes.slice(low)
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Called by Store only. */
  record(change: Change): void {
    const { before, after, last } = change
    const namespace = last.object.metadata.namespace ?? ''
    if (after === undefined) {
      this.#items.delete(last.key)
      this.#perNamespace.set(namespace, (this.#perNamespace.get(namespace) ?? 1) - 1)
      this.#sorted = undefined
    } else {
      this.#items.set(after.key, after)
      if (before === undefined) {
        this.#perNamespace.set(namespace, (this.#perNamespace.get(namespace) ?? 0) + 1)
      }
      this.#sorted = undefined
    }
    before?.forgetBytes()
    this.#revision = change.revision
    this.#changes.push(change)
    // Cut in blocks, so that a change costs the same however large the window is.
    if (this.#changes.length > this.#window + Math.max(64, this.#window >> 2)) {
      const cut = this.#changes.length - this.#window
      this.#forgotten = this.#changes[cut - 1]?.revision ?? this.#forgotten
      this.#changes = this.#changes.slice(cut)
    }
    for (const listener of this.#listeners) listener(change)
  }

  /** Forgets every past change, as compaction does: whoever wants to resume gets 410. */
  compact(): void {
    this.#forgotten = this.#revision
    this.#changes = []
  }
}

function tooOld(asked: number, oldest: number): Error {
  return expired(`too old resource version: ${asked} (${oldest + 1})`)
}

/** Every object of the cluster, under one revision counter. */
export class Store {
  readonly #collections = new Map<string, Collection>()
  readonly #window: number
  readonly #listeners: ((storageKey: string, change: Change) => void)[] = []
  #revision: number

  /**
   * @param revision where the counter starts: later in a later run, so that a client of an earlier run is told to list again
   * @param window how many past changes of each kind can be resumed from
   */
  constructor(revision: number, window: number) {
    this.#revision = revision
    this.#window = window
  }

  get revision(): number {
    return this.#revision
  }

  get collections(): ReadonlyMap<string, Collection> {
    return this.#collections
  }

  collection(storageKey: string): Collection {
    let found = this.#collections.get(storageKey)
    if (found === undefined) {
      found = new Collection(this.#window, this.#revision)
      this.#collections.set(storageKey, found)
    }
    return found
  }

  /** Called for every change of every collection, after the collection's own listeners. */
  onChange(listener: (storageKey: string, change: Change) => void): void {
    this.#listeners.push(listener)
  }

  #record(storageKey: string, collection: Collection, change: Change): void {
    collection.record(change)
    for (const listener of this.#listeners) listener(storageKey, change)
  }

  /** Creates or replaces. The object's resourceVersion is set here; the object belongs to the store from now on. */
  put(storageKey: string, key: string, object: ApiObject): Stored {
    const collection = this.collection(storageKey)
    const revision = ++this.#revision
    object.metadata.resourceVersion = String(revision)
    const after = new Stored(key, object, revision)
    this.#record(storageKey, collection, { revision, before: collection.get(key), after, last: after })
    return after
  }

  /** Removes; what watchers see carries the revision of the removal. */
  remove(storageKey: string, key: string): Stored | undefined {
    const collection = this.collection(storageKey)
    const before = collection.get(key)
    if (before === undefined) return undefined
    const revision = ++this.#revision
    const object = {
      ...before.object,
      metadata: { ...before.object.metadata, resourceVersion: String(revision) },
    }
    const last = new Stored(key, object, revision)
    this.#record(storageKey, collection, { revision, before, after: undefined, last })
    return last
  }
}
