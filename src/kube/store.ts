import { type InformerChange, type KubeObject, objectKey } from '../ports/kube.ts'

type Entry<T> = {
  readonly item: T
  readonly uid: string | undefined
  readonly resourceVersion: string | undefined
}

/** What an informer holds: the converted objects and, beside them, which version of each was converted. */
export class Store<T> {
  /** By key, as the world sees it. */
  readonly items = new Map<string, T>()
  #entries = new Map<string, Entry<T>>()
  /** The list being gathered, page by page; undefined between lists. */
  #gathered: Map<string, Entry<T>> | undefined
  readonly #convert: (object: KubeObject) => T
  readonly #convertFailed: (key: string, error: unknown) => void

  /** An object that `convert` throws at is reported and treated as unchanged: one bad object must not stop the others. */
  constructor(convert: (object: KubeObject) => T, convertFailed: (key: string, error: unknown) => void) {
    this.#convert = convert
    this.#convertFailed = convertFailed
  }

  /** Takes in one page at once, so that its JSON need not outlive the call. Objects whose version is known are not converted again. */
  addPage(objects: readonly KubeObject[]): void {
    this.#gathered ??= new Map()
    for (const object of objects) {
      const key = objectKey(object.metadata)
      const entry = this.#entryFor(key, object)
      if (entry !== undefined) this.#gathered.set(key, entry)
    }
  }

  discardPages(): void {
    this.#gathered = undefined
  }

  /** The gathered list becomes the store; says what differs, deletions last. */
  commitPages(): InformerChange<T>[] {
    const next = this.#gathered ?? new Map<string, Entry<T>>()
    this.#gathered = undefined
    const changes: InformerChange<T>[] = []
    for (const [key, entry] of next) {
      const before = this.#entries.get(key)
      if (entry === before) continue
      this.items.set(key, entry.item)
      changes.push({ key, before: before?.item, after: entry.item })
    }
    for (const [key, { item }] of this.#entries) {
      if (next.has(key)) continue
      this.items.delete(key)
      changes.push({ key, before: item, after: undefined })
    }
    this.#entries = next
    return changes
  }

  /** An ADDED or MODIFIED event; undefined when this version is known already. */
  put(object: KubeObject): InformerChange<T> | undefined {
    const key = objectKey(object.metadata)
    const before = this.#entries.get(key)
    const entry = this.#entryFor(key, object)
    if (entry === undefined || entry === before) return undefined
    this.#entries.set(key, entry)
    this.items.set(key, entry.item)
    return { key, before: before?.item, after: entry.item }
  }

  /** A DELETED event; undefined when it was not there. */
  drop(object: KubeObject): InformerChange<T> | undefined {
    const key = objectKey(object.metadata)
    const before = this.#entries.get(key)
    if (before === undefined) return undefined
    this.#entries.delete(key)
    this.items.delete(key)
    return { key, before: before.item, after: undefined }
  }

  /** The known entry when the version is the same (a restored server may reuse versions, hence the uid), else a new one. */
  #entryFor(key: string, object: KubeObject): Entry<T> | undefined {
    const { uid, resourceVersion } = object.metadata
    const known = this.#entries.get(key)
    if (known !== undefined && known.uid === uid && known.resourceVersion === resourceVersion) return known
    try {
      return { item: this.#convert(object), uid, resourceVersion }
    } catch (error) {
      this.#convertFailed(key, error)
      return known
    }
  }
}
