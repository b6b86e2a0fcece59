import type { ServerResponse } from 'node:http'
import type { ApiObject } from './objects.ts'
import type { Change, Collection, Stored } from './store.ts'

export type WatchEvent = 'ADDED' | 'MODIFIED' | 'DELETED'

/** How a watcher wants its objects written: the shared bytes, or a table or partial form of its own. */
export type WatchEncoder = (type: WatchEvent, stored: Stored) => Buffer

export type WatcherOptions = {
  readonly response: ServerResponse
  readonly collection: Collection
  readonly accepts: (object: ApiObject) => boolean
  readonly encode: WatchEncoder
  /** The line of a bookmark at a revision; absent when the client did not ask for them. */
  readonly bookmark: ((revision: number, initialEnd: boolean) => Buffer) | undefined
  readonly onClose: (why: WatchEnd) => void
}

export type WatchEnd = 'client' | 'slow' | 'ended'

/** More than this many events behind and a watcher is cut: it will come back and resume or list. */
const QUEUE_MAX = 20_000
/** In a burst a watcher is written to this often, so that one write (and one TLS record) carries many events. */
const BURST_MS = 4
/** Bytes joined into one write. */
const BATCH_BYTES = 128 * 1024

type Queued = { type: WatchEvent; stored: Stored } | { bytes: Buffer }

const PREFIX = {
  ADDED: Buffer.from('{"type":"ADDED","object":'),
  MODIFIED: Buffer.from('{"type":"MODIFIED","object":'),
  DELETED: Buffer.from('{"type":"DELETED","object":'),
} as const
const SUFFIX = Buffer.from('}\n')

/** One event from the object's shared bytes. */
export function eventLine(type: WatchEvent, object: Buffer): Buffer {
  return Buffer.concat([PREFIX[type], object, SUFFIX])
}

/**
 * One open watch. Events wait as references to shared objects, are joined into large writes
 * and stop while the client's socket is full.
 */
export class Watcher {
  readonly #options: WatcherOptions
  readonly #stop: () => void
  #queue: Queued[] = []
  /** What of the queue was there at the start does not count against the bound. */
  #allowance = 0
  #scheduled = false
  #blocked = false
  #paused = false
  #closed = false
  #revision: number
  #flushedAt = Number.NEGATIVE_INFINITY

  constructor(options: WatcherOptions, revision: number, initial: readonly Queued[]) {
    this.#options = options
    this.#revision = revision
    this.#queue = [...initial]
    this.#allowance = initial.length
    this.#stop = options.collection.listen(change => this.#offer(change))
    options.response.on('drain', () => {
      this.#blocked = false
      this.#schedule()
    })
    options.response.on('close', () => this.#end('client'))
    this.#schedule()
  }

  /** The event a change is for this watcher: one that enters or leaves its selection is an ADDED or DELETED. */
  static eventFor(change: Change, accepts: (object: ApiObject) => boolean): Queued | undefined {
    const had = change.before !== undefined && accepts(change.before.object)
    const has = change.after !== undefined && accepts(change.after.object)
    if (has) return { type: had ? 'MODIFIED' : 'ADDED', stored: change.last }
    if (!had) return undefined
    return { type: 'DELETED', stored: change.last }
  }

  #offer(change: Change): void {
    if (this.#closed) return
    this.#revision = change.revision
    const event = Watcher.eventFor(change, this.#options.accepts)
    if (event === undefined) return
    if (this.#queue.length >= QUEUE_MAX + this.#allowance) {
      this.#end('slow')
      this.#options.response.destroy()
      return
    }
    this.#queue.push(event)
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#blocked || this.#paused || this.#closed || this.#queue.length === 0) return
    this.#scheduled = true
    const flush = (): void => {
      this.#scheduled = false
      this.#flush()
    }
    // The first event after a silence goes at once.
    if (performance.now() - this.#flushedAt > BURST_MS) setImmediate(flush)
    else setTimeout(flush, BURST_MS)
  }

  #flush(): void {
    const { response, encode } = this.#options
    this.#flushedAt = performance.now()
    let next = 0
    while (next < this.#queue.length && !this.#blocked && !this.#paused && !this.#closed) {
      const parts: Buffer[] = []
      let size = 0
      while (next < this.#queue.length && size < BATCH_BYTES) {
        const event = this.#queue[next++]
        if (event === undefined) break
        const line = 'bytes' in event ? event.bytes : encode(event.type, event.stored)
        parts.push(line)
        size += line.length
      }
      if (!response.write(parts.length === 1 ? (parts[0] ?? '') : Buffer.concat(parts, size)))
        this.#blocked = true
    }
    if (next > 0) this.#queue = this.#queue.slice(next)
    if (this.#queue.length === 0) this.#allowance = 0
  }

  /** Sends a bookmark when there is nothing left to say. `revision` is the server's. */
  bookmark(revision: number): void {
    const line = this.#options.bookmark
    if (line === undefined || this.#closed || this.#queue.length > 0) return
    this.#revision = Math.max(this.#revision, revision)
    this.#queue.push({ bytes: line(this.#revision, false) })
    this.#schedule()
  }

  /** Holds events back (a fault), or lets them go. */
  pause(paused: boolean): void {
    this.#paused = paused
    this.#schedule()
  }

  /** A last line, whole or broken, and the end. */
  finish(last?: Buffer): void {
    if (this.#closed) return
    this.#end('ended')
    this.#options.response.end(last)
  }

  /** Breaks the connection. */
  abort(): void {
    if (this.#closed) return
    this.#end('ended')
    this.#options.response.destroy()
  }

  #end(why: WatchEnd): void {
    if (this.#closed) return
    this.#closed = true
    this.#stop()
    this.#queue = []
    this.#options.onClose(why)
  }
}
