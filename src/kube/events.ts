import type { Clock, Ms } from '../ports/clock.ts'
import type { EventReference, EventSink, EventType } from '../ports/events.ts'
import { type Kube, KubeError, type KubeObject, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'

export type EventRecorderOptions = {
  readonly kube: Kube
  readonly clock: Clock
  readonly log: Log
  /** What `kubectl describe` shows under "From", such as `lodestone-speaker`. */
  readonly component: string
  /** The node or pod that speaks. */
  readonly host: string
}

/** Equal events closer together than this are counted on one Event. API servers forget Events after an hour. */
const WINDOW_MS: Ms = 600_000
/** Per object, as Kubernetes' own components do it: a burst, then one event in five minutes. */
const BURST = 25
const REFILL_MS: Ms = 300_000
const OBJECTS_MAX = 2048
const KNOWN_MAX = 2048
const QUEUE_MAX = 1000
const TRIES = 4
const RETRY_MS: Ms = 5_000
const MESSAGE_MAX = 1024
/** Of the 253 characters of a name, what the object's own may take. */
const NAME_MAX = 230

type Pending = {
  readonly key: string
  readonly about: EventReference
  readonly type: EventType
  readonly reason: string
  readonly message: string
  readonly firstAt: number
  lastAt: number
  count: number
  tries: number
}

type Known = { readonly namespace: string; readonly name: string; count: number; lastAt: number }

/** Writes Events, one request at a time; what cannot be written in a few tries is dropped and counted. */
export class EventRecorder implements EventSink {
  /** Events that never reached the API server. */
  dropped = 0
  readonly #options: EventRecorderOptions
  readonly #queue = new Map<string, Pending>()
  /** The Event that counts a key, youngest last. */
  readonly #known = new Map<string, Known>()
  readonly #buckets = new Map<string, { tokens: number; at: Ms }>()
  /** On its way, or waiting for its next try. */
  #current: Pending | undefined
  #closed = false
  #sequence = 0
  #cancelRetry: () => void = () => {}
  #idle: (() => void)[] = []

  constructor(options: EventRecorderOptions) {
    this.#options = options
  }

  emit(about: EventReference, type: EventType, reason: string, message: string): void {
    if (this.#closed) return
    const text = truncated(message, MESSAGE_MAX)
    const object = [about.apiVersion, about.kind, about.namespace ?? '', about.name, about.uid ?? ''].join(
      '\n',
    )
    const key = [object, type, reason, text].join('\n')
    const now = this.#options.clock.wallNow()
    if (!this.#allowed(object)) {
      this.dropped++
      return
    }
    const waiting = this.#queue.get(key)
    if (waiting !== undefined) {
      waiting.count++
      waiting.lastAt = now
      return
    }
    if (this.#queue.size >= QUEUE_MAX) {
      this.dropped++
      return
    }
    this.#queue.set(key, {
      key,
      about,
      type,
      reason,
      message: text,
      firstAt: now,
      lastAt: now,
      count: 1,
      tries: 0,
    })
    this.#pump()
  }

  /** Resolves when all is written or given up, at the latest after `withinMs`; nothing is taken afterwards. */
  async close(withinMs: Ms): Promise<void> {
    this.#closed = true
    if (this.#current !== undefined)
      await new Promise<void>(resolve => {
        const cancel = this.#options.clock.after(withinMs, resolve)
        this.#idle.push(() => {
          cancel()
          resolve()
        })
      })
    this.#cancelRetry()
    for (const event of this.#queue.values()) this.dropped += event.count
    this.dropped += this.#current?.count ?? 0
    this.#queue.clear()
  }

  #allowed(object: string): boolean {
    const now = this.#options.clock.now()
    const bucket = this.#buckets.get(object) ?? { tokens: BURST, at: now }
    const tokens = Math.min(BURST, bucket.tokens + (now - bucket.at) / REFILL_MS)
    this.#buckets.delete(object)
    this.#buckets.set(object, { tokens: tokens >= 1 ? tokens - 1 : tokens, at: now })
    forgetOldest(this.#buckets, OBJECTS_MAX)
    return tokens >= 1
  }

  #pump(): void {
    if (this.#current !== undefined) return
    const next = this.#queue.values().next().value
    if (next === undefined) {
      for (const resolve of this.#idle.splice(0)) resolve()
      return
    }
    // From here on an equal one makes an entry of its own: this one's count may be on the wire.
    this.#queue.delete(next.key)
    this.#current = next
    this.#attempt(next)
  }

  #attempt(event: Pending): void {
    void this.#write(event).then(retry => {
      if (retry) {
        this.#cancelRetry = this.#options.clock.after(RETRY_MS * event.tries, () => this.#attempt(event))
        return
      }
      this.#current = undefined
      this.#pump()
    })
  }

  /** True when it is worth another try. */
  async #write(event: Pending): Promise<boolean> {
    try {
      const known = this.#known.get(event.key)
      if (
        known === undefined ||
        event.lastAt - known.lastAt > WINDOW_MS ||
        !(await this.#count(known, event))
      )
        await this.#create(event)
      return false
    } catch (error) {
      const transient = !(error instanceof KubeError) || error.transient
      if (transient && ++event.tries < TRIES) return true
      this.dropped += event.count
      this.#options.log.warn('event-not-written', { object: event.about, reason: event.reason, error })
      return false
    }
  }

  /** False when the Event is gone. */
  async #count(known: Known, event: Pending): Promise<boolean> {
    const count = known.count + event.count
    try {
      await this.#options.kube.patch(
        RESOURCES.events,
        known,
        { count, lastTimestamp: timestamp(event.lastAt) },
        { type: 'merge' },
      )
    } catch (error) {
      if (!(error instanceof KubeError) || error.code !== 'not-found') throw error
      this.#known.delete(event.key)
      return false
    }
    this.#remember(event.key, { ...known, count, lastAt: event.lastAt })
    return true
  }

  async #create(event: Pending): Promise<void> {
    const { about } = event
    const { component, host, clock } = this.#options
    const namespace = about.namespace === undefined || about.namespace === '' ? 'default' : about.namespace
    // Unlike any before: the wall clock and, within a millisecond, a number.
    const unique = `${Math.trunc(clock.wallNow()).toString(16)}${(this.#sequence++ & 0xfff).toString(16).padStart(3, '0')}`
    const object: KubeObject = {
      metadata: { name: `${about.name.slice(0, NAME_MAX).replace(/[^a-z0-9]+$/, '')}.${unique}`, namespace },
      involvedObject: {
        apiVersion: about.apiVersion,
        kind: about.kind,
        name: about.name,
        ...(about.namespace === undefined || about.namespace === '' ? {} : { namespace: about.namespace }),
        ...(about.uid === undefined ? {} : { uid: about.uid }),
        ...(about.resourceVersion === undefined ? {} : { resourceVersion: about.resourceVersion }),
      },
      type: event.type,
      reason: event.reason,
      message: event.message,
      source: { component, host },
      reportingComponent: component,
      reportingInstance: host,
      firstTimestamp: timestamp(event.firstAt),
      lastTimestamp: timestamp(event.lastAt),
      count: event.count,
    }
    const created = await this.#options.kube.create(RESOURCES.events, object)
    this.#remember(event.key, {
      namespace,
      name: created.metadata.name,
      count: event.count,
      lastAt: event.lastAt,
    })
  }

  #remember(key: string, known: Known): void {
    this.#known.delete(key)
    this.#known.set(key, known)
    forgetOldest(this.#known, KNOWN_MAX)
  }
}

function forgetOldest(map: Map<string, unknown>, max: number): void {
  if (map.size <= max) return
  const oldest = map.keys().next().value
  if (oldest !== undefined) map.delete(oldest)
}

/** metav1.Time: RFC 3339, whole seconds. */
function timestamp(wall: number): string {
  return new Date(wall).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** At most so many bytes of UTF-8, cut between characters. */
function truncated(text: string, bytesMax: number): string {
  if (Buffer.byteLength(text) <= bytesMax) return text
  return (
    new TextDecoder('utf-8').decode(Buffer.from(text).subarray(0, bytesMax - 3), { stream: true }) + '...'
  )
}
