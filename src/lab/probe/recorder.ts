import type { Ms } from '../../ports/clock.ts'
import type { Mark, Observation, Sample, Span } from './analysis.ts'
import { type Answerer, decodeAnswerer } from './datagram.ts'

/** Gathers what the probe sees. Cheap for each packet: nothing is judged before the end. */
export class Recorder {
  readonly #intervalMs: Ms
  #nextPlannedMs: Ms = 0
  readonly #plannedMs: Ms[] = []
  readonly #sentMs: Ms[] = []
  readonly #answeredMs: (Ms | undefined)[] = []
  readonly #answerer: (number | undefined)[] = []
  readonly #identities = new Map<string, number>()
  readonly #answerers: Answerer[] = []
  readonly #stalls: Span[] = []
  readonly #marks: Mark[] = []
  readonly #errors = new Map<string, number>()

  constructor(intervalMs: Ms) {
    this.#intervalMs = intervalMs
  }

  /** When the first probe is due. */
  begin(atMs: Ms): void {
    this.#nextPlannedMs = atMs
  }

  /** When the next probe is due by the absolute schedule. */
  get nextPlannedMs(): Ms {
    return this.#nextPlannedMs
  }

  /** Takes the next sequence number. */
  sent(atMs: Ms): number {
    this.#plannedMs.push(this.#nextPlannedMs)
    this.#nextPlannedMs += this.#intervalMs
    this.#answeredMs.push(undefined)
    this.#answerer.push(undefined)
    return this.#sentMs.push(atMs) - 1
  }

  /** The first answer counts; a number that was never sent is ignored. `identity`: see datagram.ts. */
  answered(sequence: number, atMs: Ms, identity: string): void {
    if (sequence >= this.#sentMs.length || this.#answeredMs[sequence] !== undefined) return
    let index = this.#identities.get(identity)
    if (index === undefined) {
      index = this.#answerers.push(decodeAnswerer(identity)) - 1
      this.#identities.set(identity, index)
    }
    this.#answeredMs[sequence] = atMs
    this.#answerer[sequence] = index
  }

  failed(code: string): void {
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1)
  }

  /**
   * The probe itself did not run then. What fell due meanwhile is never sent: all at once it would fill the server's queue, and
   * what is lost there says nothing about the way.
   */
  stalled(fromMs: Ms, toMs: Ms): void {
    this.#stalls.push({ fromMs, toMs })
    const missed = Math.floor((toMs - this.#nextPlannedMs) / this.#intervalMs)
    if (missed > 0) this.#nextPlannedMs += missed * this.#intervalMs
  }

  mark(name: string, atMs: Ms): void {
    this.#marks.push({ name, atMs })
  }

  /** Is a probe that was sent at or after that time still unanswered? */
  awaited(sinceMs: Ms): boolean {
    for (let i = this.#sentMs.length - 1; i >= 0 && (this.#sentMs[i] ?? 0) >= sinceMs; i--) {
      if (this.#answeredMs[i] === undefined) return true
    }
    return false
  }

  observation(options: { readonly flows: number; readonly lateAfterMs: Ms }): Observation {
    const samples: Sample[] = this.#sentMs.map((sentMs, i) => ({
      plannedMs: this.#plannedMs[i] ?? sentMs,
      sentMs,
      answeredMs: this.#answeredMs[i],
      answerer: this.#answerer[i],
    }))
    return {
      intervalMs: this.#intervalMs,
      ...options,
      samples,
      answerers: this.#answerers,
      stalls: this.#stalls,
      marks: this.#marks,
    }
  }

  errors(): Record<string, number> {
    return Object.fromEntries(this.#errors)
  }
}
