/** Something that is due at `at` (milliseconds of the monotonic clock), until it is dropped. */
export type Due = { readonly at: number; dropped: boolean }

/** Taken entries that may stay in front before the others are moved up. */
const TAKEN_MAX = 1024

/**
 * What is due, first in, first out. Whoever pushes in the order of `at` has the earliest in front without a search. Dropping
 * an entry is setting its flag: it leaves when it comes to the front, so that no operation looks at all of them (a Set, of
 * which the first are taken and put behind again and again, does: it passes over the places of those that it had).
 */
export class DueQueue<T extends Due> {
  #entries: T[] = []
  #head = 0

  push(entry: T): void {
    this.#entries.push(entry)
  }

  /** The first that was not dropped; it stays. */
  first(): T | undefined {
    for (;;) {
      const entry = this.#entries[this.#head]
      if (entry === undefined || !entry.dropped) return entry
      this.#head++
      if (this.#head >= TAKEN_MAX && this.#head * 2 >= this.#entries.length) {
        this.#entries = this.#entries.slice(this.#head)
        this.#head = 0
      }
    }
  }

  clear(): void {
    this.#entries = []
    this.#head = 0
  }
}
