import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'

/**
 * Whether the host of a node whose speaker is gone still lives, by asking the wire for its address: its kernel answers as long as it
 * runs, and then its Pods can be reached. A speaker that was killed is no reason to take traffic away from them.
 */
export class Hosts {
  readonly #watched = new Map<string, Watch>()

  /** Some answer would be news. */
  get waiting(): boolean {
    return this.#watched.size > 0
  }

  /** The node is silent. Ask its address at once. */
  suspect(node: string, ip: Ip, now: Ms): void {
    const watch = this.#watched.get(node)
    if (watch !== undefined && watch.ip === ip) return
    this.#watched.set(node, { ip, answeredAt: undefined, askedAt: now, unanswered: 0, told: undefined })
  }

  /** Somebody answered for this address. True: it was the host of a node that counted as dead. */
  answered(ip: Ip, now: Ms): HostChange | undefined {
    for (const [node, watch] of this.#watched) {
      if (watch.ip !== ip) continue
      watch.answeredAt = now
      watch.unanswered = 0
      if (watch.told !== 'dead') return undefined
      watch.told = 'alive'
      return { node, alive: true }
    }
    return undefined
  }

  /** The node was voted down. Who did not answer since the suspicion is taken for dead with its speaker. */
  down(node: string): HostChange {
    const watch = this.#watched.get(node)
    const alive = watch?.answeredAt !== undefined
    if (watch !== undefined) watch.told = alive ? 'alive' : 'dead'
    return { node, alive }
  }

  /** The speaker is heard, or the node is none any more. */
  forget(node: string): void {
    this.#watched.delete(node)
  }

  /** Whom to ask again, and of whom nothing was heard for too long. */
  tick(now: Ms): { readonly ask: readonly Ip[]; readonly changes: readonly HostChange[] } {
    const ask: Ip[] = []
    const changes: HostChange[] = []
    for (const [node, watch] of this.#watched) {
      if (now - watch.askedAt < ASK_EVERY_MS) continue
      watch.unanswered++
      watch.askedAt = now
      ask.push(watch.ip)
      if (watch.told !== 'alive' || watch.unanswered <= UNANSWERED_MAX) continue
      watch.told = 'dead'
      changes.push({ node, alive: false })
    }
    return { ask, changes }
  }

  /** When the next tick is due. */
  nextDeadline(): Ms {
    let next = Number.POSITIVE_INFINITY
    for (const { askedAt } of this.#watched.values()) next = Math.min(next, askedAt + ASK_EVERY_MS)
    return next
  }
}

export type HostChange = { readonly node: string; readonly alive: boolean }

type Watch = {
  readonly ip: Ip
  /** Since the suspicion. */
  answeredAt: Ms | undefined
  askedAt: Ms
  /** Questions without an answer, one after the other. */
  unanswered: number
  /** What was said of it since it was voted down. */
  told: 'alive' | 'dead' | undefined
}

const ASK_EVERY_MS = 250
const UNANSWERED_MAX = 3
