import {
  SPEAKER_LABEL,
  SPEAKER_STALE_MS,
  type SpeakerFacts,
  speakerFromLease,
  speakerLeaseName,
} from '../config/speakers.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import { type Informer, type Kube, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import { same } from './speaker-same.ts'

const LOOK_EVERY_MS = 5000
/** Some Lease changes at least so often while the API server hears the speakers and we hear the API server. */
const QUIET_MS = 20_000

/**
 * Deletes the Leases of speakers that are gone for good, so that they no longer count for a majority: one at a time, since each is
 * a change of who decides. Run by the controller that leads.
 *
 * Age is judged by our own clock, from when we last saw the Lease change, and only while others change: when nobody renews, it
 * is the API server that is away and not the speakers.
 */
export class StaleSpeakers {
  readonly #kube: Kube
  readonly #clock: Clock
  readonly #log: Log
  readonly #namespace: string
  readonly #leases: Informer<SpeakerFacts | undefined>
  /** By name of the Lease: since when it has not changed. */
  readonly #since = new Map<string, Ms>()
  readonly #stop = new AbortController()
  #changedAt: Ms
  #cancelLook: () => void = () => {}

  /** `onFacts`: which speakers are registered, or what they tell of themselves, is another; a renewal is none of that. */
  constructor(
    ports: { readonly kube: Kube; readonly clock: Clock; readonly log: Log },
    namespace: string,
    onFacts: () => void = () => {},
  ) {
    this.#kube = ports.kube
    this.#clock = ports.clock
    this.#log = ports.log
    this.#namespace = namespace
    this.#changedAt = ports.clock.now()
    this.#leases = ports.kube.informer(RESOURCES.leases, {
      namespace,
      labelSelector: SPEAKER_LABEL,
      convert: speakerFromLease,
    })
    this.#leases.onChange(({ before, after }) => {
      const now = this.#clock.now()
      this.#changedAt = now
      if (after !== undefined) this.#since.set(speakerLeaseName(after.node), now)
      else if (before !== undefined) this.#since.delete(speakerLeaseName(before.node))
      if (!same(before, after)) onFacts()
    })
    // Rejects only when closed before it has seen the list.
    this.#leases.start(this.#stop.signal).catch(() => {})
    this.#next()
  }

  /** Those that are registered; undefined: the list was not read yet. */
  get speakers(): readonly SpeakerFacts[] | undefined {
    if (!this.#leases.synced) return undefined
    return [...this.#leases.items.values()].flatMap(facts => facts ?? [])
  }

  close(): void {
    this.#stop.abort()
    this.#cancelLook()
  }

  #next(): void {
    if (this.#stop.signal.aborted) return
    this.#cancelLook = this.#clock.after(LOOK_EVERY_MS, () => {
      void this.#look().finally(() => this.#next())
    })
  }

  async #look(): Promise<void> {
    const now = this.#clock.now()
    if (now - this.#changedAt > QUIET_MS) {
      for (const name of this.#since.keys()) this.#since.set(name, now)
      return
    }
    for (const [name, since] of this.#since) {
      if (now - since < SPEAKER_STALE_MS) continue
      try {
        await this.#kube.delete(RESOURCES.leases, { namespace: this.#namespace, name })
        this.#since.delete(name)
        this.#log.info('speaker-forgotten', { lease: name, silentMs: Math.round(now - since) })
      } catch (error) {
        this.#log.warn('speaker-forget-failed', { lease: name, error })
      }
      return
    }
  }
}
