import assert from 'node:assert/strict'
import type { Clock, Ms } from '../ports/clock.ts'
import {
  type Informer,
  type InformerChange,
  type InformerOptions,
  KubeError,
  type ListOptions,
  type Resource,
} from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Random } from '../ports/random.ts'
import type { Page, WatchEvent } from './answers.ts'
import { INITIAL, type ReflectorEffect, type ReflectorEvent, type ReflectorState, step } from './machine.ts'
import { Store } from './store.ts'

/** The two requests that a reflector makes. */
export type ListWatch = {
  /** @throws KubeError */
  readonly page: (
    query: { readonly limit: number; readonly continue: string | undefined },
    signal: AbortSignal,
  ) => Promise<Page>
  /** Resolves when the watch ended in an orderly way. @throws KubeError, also what `onEvent` throws */
  readonly watch: (
    query: { readonly resourceVersion: string; readonly timeoutSeconds: number },
    signal: AbortSignal,
    onEvent: (event: WatchEvent) => void,
  ) => Promise<void>
}

/** An informer over the network: performs what machine.ts decides. */
export class Reflector<T> implements Informer<T> {
  #synced = false
  #started = false
  #state: ReflectorState = INITIAL
  #announceSynced: () => void = () => {}
  readonly #store: Store<T>
  readonly #listeners: ((change: InformerChange<T>) => void)[] = []
  readonly #resource: Resource
  readonly #options: ListOptions
  readonly #requests: ListWatch
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  readonly #pageLimit: number

  constructor(
    resource: Resource,
    options: InformerOptions<T>,
    world: {
      readonly requests: ListWatch
      readonly clock: Clock
      readonly random: Random
      readonly log: Log
      readonly pageLimit: number
    },
  ) {
    this.#resource = resource
    this.#options = options
    this.#requests = world.requests
    this.#clock = world.clock
    this.#random = world.random
    this.#log = world.log
    this.#pageLimit = world.pageLimit
    this.#store = new Store(options.convert, (key, error) =>
      world.log.warn('kube-object-not-understood', { kind: resource.kind, object: key, error }),
    )
  }

  get items(): ReadonlyMap<string, T> {
    return this.#store.items
  }

  get synced(): boolean {
    return this.#synced
  }

  onChange(listener: (change: InformerChange<T>) => void): void {
    this.#listeners.push(listener)
  }

  async start(signal: AbortSignal): Promise<void> {
    assert(!this.#started, 'an informer is started once')
    this.#started = true
    signal.throwIfAborted()
    const synced = new Promise<void>(resolve => {
      this.#announceSynced = resolve
    })
    const running = this.#run(signal)
    running.catch((error: unknown) => {
      // What ends the loop other than the signal is our own mistake: a crash, not an informer that silently stands still.
      if (!signal.aborted)
        queueMicrotask(() => {
          throw error
        })
    })
    await Promise.race([synced, running])
  }

  /** Ends only by abort, with the signal's reason. */
  async #run(signal: AbortSignal): Promise<never> {
    let event: ReflectorEvent = { type: 'start' }
    for (;;) {
      const effects = this.#step(event)
      let next: ReflectorEvent | undefined
      for (const effect of effects) {
        if (effect.type === 'discard') this.#store.discardPages()
        else if (effect.type === 'replace') this.#replace()
        else next = await this.#perform(effect, signal)
      }
      signal.throwIfAborted()
      assert(next !== undefined, 'every step ends with something to wait for')
      event = next
    }
  }

  #step(event: ReflectorEvent): readonly ReflectorEffect[] {
    const { state, effects } = step(this.#state, event, {
      now: this.#clock.now(),
      random: this.#random.next(),
      pageLimit: this.#pageLimit,
    })
    this.#state = state
    return effects
  }

  async #perform(
    effect: Exclude<ReflectorEffect, { type: 'discard' | 'replace' }>,
    signal: AbortSignal,
  ): Promise<ReflectorEvent> {
    if (effect.type === 'list') return this.#list(effect, signal)
    if (effect.type === 'watch') return this.#watch(effect, signal)
    await delay(this.#clock, effect.ms, signal)
    return { type: 'waited' }
  }

  #replace(): void {
    const changes = this.#store.commitPages()
    // All of it is visible before anyone hears of a part.
    this.#synced = true
    for (const change of changes) this.#tell(change)
    this.#announceSynced()
  }

  async #list(
    effect: Extract<ReflectorEffect, { type: 'list' }>,
    signal: AbortSignal,
  ): Promise<ReflectorEvent> {
    try {
      const page = await this.#requests.page(effect, signal)
      this.#store.addPage(page.objects)
      return { type: 'page', resourceVersion: page.resourceVersion, continue: page.continue }
    } catch (error) {
      return this.#failed('kube-list-failed', error, signal)
    }
  }

  async #watch(
    effect: Extract<ReflectorEffect, { type: 'watch' }>,
    signal: AbortSignal,
  ): Promise<ReflectorEvent> {
    try {
      await this.#requests.watch(effect, signal, event => {
        if (event.type === 'error') throw event.error
        if (event.type !== 'bookmark') {
          const change = event.type === 'put' ? this.#store.put(event.object) : this.#store.drop(event.object)
          if (change !== undefined) this.#tell(change)
        }
        this.#step({ type: 'watched', resourceVersion: event.resourceVersion })
      })
      return { type: 'closed' }
    } catch (error) {
      return this.#failed('kube-watch-failed', error, signal)
    }
  }

  #failed(name: string, error: unknown, signal: AbortSignal): ReflectorEvent {
    signal.throwIfAborted()
    if (!(error instanceof KubeError)) throw error
    const { code, retryAfterSeconds } = error
    const fields = { kind: this.#resource.kind, namespace: this.#options.namespace, code, error }
    // A watch that is too old is everyday life.
    if (code === 'gone') this.#log.debug(name, fields)
    else this.#log.warn(name, fields)
    return {
      type: 'failed',
      code,
      retryAfterMs: retryAfterSeconds === undefined ? undefined : retryAfterSeconds * 1000,
    }
  }

  #tell(change: InformerChange<T>): void {
    for (const listener of this.#listeners) listener(change)
  }
}

/** Resolves after `ms`; rejects with the signal's reason when that aborts first. */
export function delay(clock: Clock, ms: Ms, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const aborted = (): void => {
      cancel()
      reject(signal.reason as Error)
    }
    const cancel = clock.after(ms, () => {
      signal.removeEventListener('abort', aborted)
      resolve()
    })
    signal.addEventListener('abort', aborted, { once: true })
  })
}
