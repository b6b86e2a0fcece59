import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'

/**
 * A node that is silent, or was voted down by a first voter. Before its addresses are taken over the wire is asked who has some of
 * them: when somebody answers, the takeover waits another patience, and asks again, at most three times.
 */
export type Suspicion = {
  readonly patienceMs: Ms
  /** Addresses that the wire was asked for. */
  readonly asked: ReadonlySet<Ip>
  /** Somebody else said, after it was asked, that it has one of them. */
  answered: boolean
  /** How often the takeover was put off. */
  waits: number
  /** The node was voted down; what follows from that waits until then. */
  downAt: Ms | undefined
}

/** Addresses asked for when a node is suspected: enough to see whether it answers at all. */
export const ASKED_MAX = 4
const WAITS_MAX = 3

export function createSuspicion(asked: Iterable<Ip>, patienceMs: Ms): Suspicion {
  return { patienceMs, asked: new Set(asked), answered: false, waits: 0, downAt: undefined }
}

/** The node is down as far as the voters know. True: wait and ask again. */
export function putOff(suspicion: Suspicion, now: Ms): boolean {
  if (!suspicion.answered || suspicion.waits === WAITS_MAX) return false
  suspicion.answered = false
  suspicion.waits++
  suspicion.downAt = now + suspicion.patienceMs
  return true
}
