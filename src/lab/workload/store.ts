import type { Clock } from '../../ports/clock.ts'
import { type Informer, type Kube, type KubeObject, objectKey, type Resource } from '../../ports/kube.ts'
import type { Meta } from './resources.ts'

/** What no list has shown for so long after we wrote it is gone again. */
const UNSEEN_MAX_MS = 10_000

type Entry = { readonly object: KubeObject; readonly storedAt: number }

/**
 * The objects of one kind as lately as we can know them: what the watch said, and what our own writes answered before the
 * watch shows them. So a pass that follows a write never plans the same write again.
 */
export class Store {
  readonly resource: Resource
  readonly #clock: Clock
  readonly #informer: Informer<KubeObject>
  readonly #entries = new Map<string, Entry>()
  /** Deleted by us; the watch has yet to say so. */
  readonly #deleted = new Set<string>()

  constructor(kube: Kube, resource: Resource, clock: Clock, onChange: () => void) {
    this.resource = resource
    this.#clock = clock
    this.#informer = kube.informer(resource, { convert: object => object })
    this.#informer.onChange(({ key, before, after }) => {
      if (after === undefined) {
        this.#entries.delete(key)
        if (before?.metadata.uid !== undefined) this.#deleted.delete(before.metadata.uid)
      } else this.put(after)
      onChange()
    })
  }

  start(signal: AbortSignal): Promise<void> {
    return this.#informer.start(signal)
  }

  /** Without what we know to be going although the watch has not said so yet. */
  all<T extends KubeObject>(): T[] {
    const objects: T[] = []
    for (const { object } of this.#entries.values()) {
      const going =
        this.#deleted.has(object.metadata.uid ?? '') && object.metadata.deletionTimestamp === undefined
      objects.push((going ? asDeleted(object, this.#clock) : object) as T)
    }
    return objects
  }

  /** Keeps the newer one of this and what is there. */
  put(object: KubeObject): void {
    const key = objectKey(object.metadata)
    const before = this.#entries.get(key)?.object
    if (
      before !== undefined &&
      before.metadata.uid === object.metadata.uid &&
      versionOf(before) >= versionOf(object)
    ) {
      return
    }
    this.#entries.set(key, { object, storedAt: this.#clock.now() })
  }

  /** What a patch answered: an object that had nothing left but a finalizer is gone with it. */
  patched(object: KubeObject): void {
    const key = objectKey(object.metadata)
    const before = this.#entries.get(key)?.object
    // The watch may have been faster and have said that it is gone.
    if (before === undefined || before.metadata.uid !== object.metadata.uid) return
    const { deletionTimestamp, finalizers } = object.metadata as Meta
    if (deletionTimestamp !== undefined && (finalizers ?? []).length === 0) this.#entries.delete(key)
    else this.put(object)
  }

  deleted(uid: string | undefined): void {
    if (uid !== undefined) this.#deleted.add(uid)
  }

  /** Forgets what we wrote and nobody else ever showed: it was deleted before the watch saw it. */
  prune(): void {
    const now = this.#clock.now()
    for (const [key, { storedAt, object }] of this.#entries) {
      if (this.#informer.items.has(key) || now - storedAt < UNSEEN_MAX_MS) continue
      this.#entries.delete(key)
      this.#deleted.delete(object.metadata.uid ?? '')
    }
  }
}

/** A number, as those of etcd: that they can be compared is what Kubernetes promises since 1.35 and always kept. */
function versionOf(object: KubeObject): number {
  return Number(object.metadata.resourceVersion ?? 0)
}

function asDeleted(object: KubeObject, clock: Clock): KubeObject {
  return {
    ...object,
    metadata: { ...object.metadata, deletionTimestamp: new Date(clock.wallNow()).toISOString() },
  }
}
