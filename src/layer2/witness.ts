import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'
import type { Gateway } from '../ports/links.ts'

const NEEDED_MS = 1000
const ANSWER_WITHIN_MS = 200
const OTHERS_MAX = 3

/**
 * Of two speakers, the one that cannot hear the other asks the wire whether it is itself the one that is cut off: the gateway, which
 * answers ARP and NDP whatever else it does. Any frame of somebody who is no speaker says the same.
 */
export class Witness {
  #gateway: Gateway | undefined
  /** A gateway that never answered is none. */
  #answers = false
  /** Hosts of the segment, those heard last at the end. */
  readonly #others = new Map<Ip, Ms>()
  #askedAt: Ms | undefined
  #neededUntil: Ms = Number.NEGATIVE_INFINITY

  setGateway(gateway: Gateway | undefined): void {
    if (gateway?.ip === this.#gateway?.ip && gateway?.interfaceIndex === this.#gateway?.interfaceIndex) return
    this.#gateway = gateway
    this.#answers = false
    this.#askedAt = undefined
  }

  get gateway(): Gateway | undefined {
    return this.#gateway
  }

  /**
   * The membership wants a witness; it says so again as long as it does. 'nobody': this node knows of nobody who could be one, now or
   * ever before, and goes on without.
   */
  need(now: Ms): 'asked' | 'nobody' {
    this.#neededUntil = now + NEEDED_MS
    this.asked(now)
    return this.#answers || this.#others.size > 0 ? 'asked' : 'nobody'
  }

  /** The gateway is asked now, also to learn whether it is one that answers. */
  asked(now: Ms): void {
    // An answer may be to the first of several questions, but not to one of long ago.
    if (this.#askedAt === undefined || now - this.#askedAt > ANSWER_WITHIN_MS) this.#askedAt = now
  }

  /** Hosts that may be asked beside the gateway: on a quiet segment nobody speaks unasked. */
  get others(): readonly Ip[] {
    return [...this.#others.keys()].filter(ip => ip !== this.#gateway?.ip)
  }

  /** The gateway answered at least once. */
  get answers(): boolean {
    return this.#answers
  }

  /** Whether the next frame may tell something: most of the time there is nothing to learn. */
  curious(now: Ms): boolean {
    return this.#others.size < OTHERS_MAX || now < this.#neededUntil || !this.#answers
  }

  /**
   * The host with this address said or asked something. Returns since when that proves that the wire reaches further than the other speaker,
   * when somebody wants to know.
   */
  heard(ip: Ip, stranger: boolean, now: Ms): Ms | undefined {
    const isGateway = ip === this.#gateway?.ip
    if (isGateway && this.#askedAt !== undefined) {
      this.#answers = true
      const askedAt = this.#askedAt
      this.#askedAt = undefined
      return now < this.#neededUntil ? askedAt : undefined
    }
    if (!stranger) return undefined
    if (ip !== '0.0.0.0' && ip !== '::') {
      this.#others.delete(ip)
      this.#others.set(ip, now)
      for (const oldest of this.#others.keys()) {
        if (this.#others.size <= OTHERS_MAX) break
        this.#others.delete(oldest)
      }
    }
    return now < this.#neededUntil ? now : undefined
  }
}
