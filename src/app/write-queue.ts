import type { Clock } from '../ports/clock.ts'
import type { Random } from '../ports/random.ts'

const RETRY_FIRST_MS = 100
const RETRY_MAX_MS = 30_000

export type WriteQueueOptions = {
  readonly clock: Clock
  readonly random: Random
  /** Writes that run at the same time, at most. */
  readonly concurrency: number
  /** Writes what is wanted for the key now; it is asked when its turn comes, not when it was queued. */
  readonly write: (key: string) => Promise<void>
  /** Told of each failure; the key is tried again unless this answers 'drop'. */
  readonly onFailure: (key: string, error: unknown) => 'retry' | 'drop'
}

/**
 * Keys whose objects have to be written. Each key waits at most once and is never written twice at the same time; a
 * failure delays its own key only, longer each time and with jitter, while the others go on. What can wait is written
 * when nothing else is to be written.
 */
export class WriteQueue {
  readonly #options: WriteQueueOptions
  readonly #waiting = new Set<string>()
  /** Keys that can wait until `#waiting` is empty; in one of the two at a time. */
  readonly #canWait = new Set<string>()
  readonly #running = new Set<string>()
  /** Failed keys: how often in a row, and the way to cancel the next attempt. */
  readonly #failed = new Map<string, { attempts: number; cancel: () => void }>()
  readonly #idle: (() => void)[] = []
  #stopped = false

  constructor(options: WriteQueueOptions) {
    this.#options = options
  }

  /** Waiting, running and delayed keys together. */
  get size(): number {
    return new Set([...this.#waiting, ...this.#canWait, ...this.#running, ...this.#failed.keys()]).size
  }

  /** Whether it is to be written as soon as its turn comes. */
  isNext(key: string): boolean {
    return this.#waiting.has(key)
  }

  /** A delayed key keeps its delay: news about an object does not make its API server better. */
  add(key: string, { canWait = false } = {}): void {
    if (this.#stopped || (this.#failed.has(key) && !this.#running.has(key) && !this.#waiting.has(key))) return
    if (!canWait) {
      this.#canWait.delete(key)
      this.#waiting.add(key)
    } else if (!this.#waiting.has(key)) this.#canWait.add(key)
    this.#start()
  }

  /** Starts nothing new; resolves when what is running has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#waiting.clear()
    this.#canWait.clear()
    for (const { cancel } of this.#failed.values()) cancel()
    if (this.#running.size > 0) await new Promise<void>(resolve => this.#idle.push(resolve))
  }

  #start(): void {
    for (const keys of [this.#waiting, this.#canWait]) {
      for (const key of keys) {
        if (this.#stopped || this.#running.size >= this.#options.concurrency) return
        if (this.#running.has(key)) continue
        keys.delete(key)
        this.#running.add(key)
        void this.#run(key)
      }
    }
  }

  async #run(key: string): Promise<void> {
    try {
      await this.#options.write(key)
      this.#failed.delete(key)
    } catch (error) {
      if (this.#options.onFailure(key, error) === 'retry') this.#delay(key)
      else this.#failed.delete(key)
    }
    this.#running.delete(key)
    if (this.#running.size === 0) for (const resolve of this.#idle.splice(0)) resolve()
    this.#start()
  }

  #delay(key: string): void {
    if (this.#stopped) return
    const attempts = (this.#failed.get(key)?.attempts ?? 0) + 1
    const delay =
      Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** (attempts - 1)) * (0.5 + this.#options.random.next())
    this.#waiting.delete(key)
    this.#canWait.delete(key)
    const cancel = this.#options.clock.after(delay, () => {
      this.#waiting.add(key)
      this.#start()
    })
    this.#failed.set(key, { attempts, cancel })
  }
}
