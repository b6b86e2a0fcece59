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
  readonly #waiting = new KeyLine()
  /** Keys that can wait until `#waiting` is empty; in one of the two at a time. */
  readonly #canWait = new KeyLine()
  readonly #running = new Set<string>()
  /** Running keys that are to be written once more, and whether that can wait. */
  readonly #again = new Map<string, boolean>()
  /** Failed keys: how often in a row, and the way to cancel the next attempt. */
  readonly #failed = new Map<string, { attempts: number; cancel: () => void }>()
  readonly #idle: (() => void)[] = []
  #stopped = false

  constructor(options: WriteQueueOptions) {
    this.#options = options
  }

  /** Waiting, running and delayed keys together. */
  get size(): number {
    return new Set([...this.#waiting.keys, ...this.#canWait.keys, ...this.#running, ...this.#failed.keys()])
      .size
  }

  /** Whether it is to be written as soon as its turn comes. */
  isNext(key: string): boolean {
    return this.#waiting.keys.has(key) || this.#again.get(key) === false
  }

  /** A delayed key keeps its delay: news about an object does not make its API server better. */
  add(key: string, { canWait = false } = {}): void {
    if (this.#stopped) return
    if (this.#running.has(key)) {
      this.#again.set(key, canWait && this.#again.get(key) !== false)
      return
    }
    if (this.#failed.has(key) && !this.#waiting.keys.has(key)) return
    if (!canWait) {
      this.#canWait.delete(key)
      this.#waiting.add(key)
    } else if (!this.#waiting.keys.has(key)) this.#canWait.add(key)
    this.#start()
  }

  /** Starts nothing new; resolves when what is running has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#waiting.clear()
    this.#canWait.clear()
    this.#again.clear()
    for (const { cancel } of this.#failed.values()) cancel()
    if (this.#running.size > 0) await new Promise<void>(resolve => this.#idle.push(resolve))
  }

  #start(): void {
    while (!this.#stopped && this.#running.size < this.#options.concurrency) {
      const key = this.#waiting.take() ?? this.#canWait.take()
      if (key === undefined) return
      this.#running.add(key)
      void this.#run(key)
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
    const canWait = this.#again.get(key)
    this.#again.delete(key)
    if (canWait !== undefined) this.add(key, { canWait })
    if (this.#running.size === 0) for (const resolve of this.#idle.splice(0)) resolve()
    this.#start()
  }

  #delay(key: string): void {
    if (this.#stopped) return
    const attempts = (this.#failed.get(key)?.attempts ?? 0) + 1
    const delay =
      Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** (attempts - 1)) * (0.5 + this.#options.random.next())
    this.#again.delete(key)
    const cancel = this.#options.clock.after(delay, () => {
      this.#waiting.add(key)
      this.#start()
    })
    this.#failed.set(key, { attempts, cancel })
  }
}

/** Keys in the order in which they came, each once. Taking one costs the same however many have been taken before. */
class KeyLine {
  readonly #keys = new Set<string>()
  /** Stands at the first key that is left: a Set walked from its beginning passes every place that was deleted there. */
  #front = this.#keys.values()

  get keys(): ReadonlySet<string> {
    return this.#keys
  }

  add(key: string): void {
    this.#keys.add(key)
  }

  delete(key: string): void {
    this.#keys.delete(key)
  }

  clear(): void {
    this.#keys.clear()
  }

  take(): string | undefined {
    if (this.#keys.size === 0) return undefined
    let next = this.#front.next()
    if (next.done === true) {
      // It has seen the end of the line once, and does not go on after that.
      this.#front = this.#keys.values()
      next = this.#front.next()
    }
    this.#keys.delete(next.value as string)
    return next.value
  }
}
