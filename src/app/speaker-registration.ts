import {
  SPEAKER_RENEW_MS,
  type SpeakerLink,
  type SteeringMode,
  speakerLease,
  speakerLeaseName,
} from '../config/speakers.ts'
import type { Clock } from '../ports/clock.ts'
import { type Kube, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Random } from '../ports/random.ts'
import { Coalesced } from './coalesced.ts'

export type SpeakerRegistrationOptions = {
  readonly kube: Kube
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly node: string
  readonly namespace: string
  /** What the Lease says of this speaker beside its links, asked for at each renewal. */
  readonly status: () => string
  /** Of which Services it hands packets over to other nodes; undefined: of none. */
  readonly steers: SteeringMode | undefined
}

/** A status that changes is written at once, and then no more often than this. */
const STATUS_EVERY_MS = 2000
const FIELD_MANAGER = 'lodestone-speaker'

/**
 * Keeps this speaker's Lease: made at the start, renewed, applied at once when the links change, made again when somebody
 * deleted it. It stays when the speaker ends: one that is only restarted is still one of those that decide.
 */
export class SpeakerRegistration {
  readonly #options: SpeakerRegistrationOptions
  readonly #write: Coalesced
  #links: readonly SpeakerLink[]
  #cancelRenewal: () => void = () => {}
  #appliedAt = Number.NEGATIVE_INFINITY
  #cancelStatus: (() => void) | undefined
  #closed = false

  constructor(options: SpeakerRegistrationOptions, links: readonly SpeakerLink[]) {
    const { clock, log, node } = options
    this.#options = options
    this.#links = links
    this.#write = new Coalesced(clock, () => this.#apply(), {
      onError: error => log.warn('speaker-registration-failed', { lease: speakerLeaseName(node), error }),
    })
    this.#write.request()
  }

  setLinks(links: readonly SpeakerLink[]): void {
    if (JSON.stringify(links) === JSON.stringify(this.#links)) return
    this.#links = links
    this.#write.request()
  }

  /** Something of the status changed that is worth a write before the next renewal. */
  statusChanged(): void {
    if (this.#closed) return
    const { clock } = this.#options
    this.#cancelStatus ??= clock.after(Math.max(0, this.#appliedAt + STATUS_EVERY_MS - clock.now()), () => {
      this.#cancelStatus = undefined
      this.#write.request()
    })
  }

  /** At once, and not only when it is time. */
  renew(): void {
    this.#write.request()
  }

  close(): void {
    this.#closed = true
    this.#cancelRenewal()
    this.#cancelStatus?.()
    this.#write.close()
  }

  async #apply(): Promise<void> {
    const { kube, clock, random, node, namespace, status, steers } = this.#options
    this.#cancelRenewal()
    this.#cancelStatus?.()
    this.#cancelStatus = undefined
    this.#appliedAt = clock.now()
    const facts = { node, links: this.#links, ...(steers && { steers }) }
    const lease = speakerLease(facts, namespace, clock.wallNow(), status())
    await kube.patch(RESOURCES.leases, { namespace, name: speakerLeaseName(node) }, lease, {
      type: 'apply',
      fieldManager: FIELD_MANAGER,
    })
    if (this.#closed) return
    // Not all speakers of a cluster in the same moment.
    const delay = SPEAKER_RENEW_MS * (0.8 + 0.4 * random.next())
    this.#cancelRenewal = clock.after(delay, () => this.#write.request())
  }
}
