import type { Ms } from '../ports/clock.ts'

/** What is to be looked at again at `wakeAt`; Infinity: not. Written by `Timers` alone. */
export type Sleeper = { wakeAt: Ms }

type Entry<T> = { readonly at: Ms; readonly sleeper: T }

/**
 * Who is to be woken next, of tens of thousands: a binary heap. An entry that no longer says what its sleeper does is dropped when it
 * comes to the front, so that changing one's mind costs nothing.
 */
export class Timers<T extends Sleeper> {
  readonly #heap: Entry<T>[] = []

  /** Wakes it at that time, or earlier where it is to be woken earlier already. */
  wakeBy(sleeper: T, at: Ms): void {
    if (at >= sleeper.wakeAt) return
    sleeper.wakeAt = at
    this.#push({ at, sleeper })
  }

  /** When somebody is to be woken; Infinity: never. */
  get due(): Ms {
    for (;;) {
      const first = this.#heap[0]
      if (first === undefined) return Number.POSITIVE_INFINITY
      if (first.at === first.sleeper.wakeAt) return first.at
      this.#removeFirst()
    }
  }

  /** The next one that is due, which then sleeps for ever; undefined: nobody. */
  take(now: Ms): T | undefined {
    if (this.due > now) return undefined
    const sleeper = this.#heap[0]?.sleeper
    if (sleeper === undefined) return undefined
    sleeper.wakeAt = Number.POSITIVE_INFINITY
    this.#removeFirst()
    return sleeper
  }

  #push(entry: Entry<T>): void {
    const heap = this.#heap
    let at = heap.length
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || parent.at <= entry.at) break
      heap[at] = parent
      at = above
    }
    heap[at] = entry
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      const left = heap[below]
      const right = heap[below + 1]
      if (left === undefined) break
      const least = right !== undefined && right.at < left.at ? right : left
      if (least !== left) below++
      if (least.at >= last.at) break
      heap[at] = least
      at = below
    }
    heap[at] = last
  }
}
