import type { Clock, Ms } from '../ports/clock.ts'

/** The longest delay that setTimeout takes; a longer one is waited for in pieces. */
const TIMEOUT_MAX = 0x7fffffff

export class SystemClock implements Clock {
  /** CLOCK_MONOTONIC: steps of the wall clock do not move it; the same in every thread and process of this host. */
  now(): Ms {
    const [seconds, nanoseconds] = process.hrtime()
    return seconds * 1000 + nanoseconds / 1e6
  }

  wallNow(): number {
    return Date.now()
  }

  after(delayMs: Ms, callback: () => void): () => void {
    if (delayMs === Number.POSITIVE_INFINITY) return () => {}
    if (!(delayMs > 0)) {
      const immediate = setImmediate(callback)
      return () => clearImmediate(immediate)
    }
    const due = this.now() + delayMs
    let timer: NodeJS.Timeout
    const arm = (left: Ms): void => {
      timer = setTimeout(
        () => {
          // A timer may fire up to a millisecond early: never tell a driver that time has come when it has not.
          const rest = due - this.now()
          if (rest > 0) arm(rest)
          else callback()
        },
        Math.min(Math.ceil(left), TIMEOUT_MAX),
      )
    }
    arm(delayMs)
    return () => clearTimeout(timer)
  }
}
