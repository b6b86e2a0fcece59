/** Milliseconds. As a point in time: since an arbitrary start, never running backwards. */
export type Ms = number

/** Time as the protocol drivers see it. */
export interface Clock {
  /** Monotonic milliseconds with fraction; differences mean something, the value does not. */
  now(): Ms
  /** Wall clock, for people and for the API server only: milliseconds since 1970-01-01T00:00:00Z. */
  wallNow(): number
  /** Calls back once, `delayMs` from now (at once when not positive). Returns the way to cancel it; cancelling twice is harmless. */
  after(delayMs: Ms, callback: () => void): () => void
}

/** A clock that moves only when told to. Callbacks run in the order of their time, then of their arming. */
export class FakeClock implements Clock {
  #now: Ms = 0
  #sequence = 0
  readonly #timers = new Map<number, { at: Ms; callback: () => void }>()

  now(): Ms {
    return this.#now
  }

  wallNow(): number {
    return Date.UTC(2026, 0, 1) + this.#now
  }

  after(delayMs: Ms, callback: () => void): () => void {
    const id = this.#sequence++
    this.#timers.set(id, { at: this.#now + Math.max(0, delayMs), callback })
    return () => this.#timers.delete(id)
  }

  /** Moves time on by `ms`, running on the way what falls due, also what those callbacks arm. */
  advance(ms: Ms): void {
    const until = this.#now + ms
    for (;;) {
      let next: { id: number; at: Ms; callback: () => void } | undefined
      for (const [id, timer] of this.#timers) {
        if (timer.at <= until && (next === undefined || timer.at < next.at)) next = { id, ...timer }
      }
      if (next === undefined) break
      this.#timers.delete(next.id)
      this.#now = Math.max(this.#now, next.at)
      next.callback()
    }
    this.#now = until
  }
}
