import type { Clock, Ms } from '../ports/clock.ts'

const RETRY_MAX_MS = 60_000

/**
 * Runs a pass some time soon after it was asked for, never two at once: a burst of requests is one pass, and a request during
 * a pass is another pass after it. A pass that fails is run again, each time after twice as long, up to a minute.
 */
export class Coalesced {
  readonly #clock: Clock
  readonly #pass: () => void | Promise<void>
  readonly #retryAfterMs: Ms
  readonly #onError: (error: unknown) => void
  #cancel: (() => void) | undefined
  #running = false
  #failures = 0
  #again = false
  #closed = false

  constructor(
    clock: Clock,
    pass: () => void | Promise<void>,
    /** `onError` hears of every failed pass. */
    options: { readonly retryAfterMs?: Ms; readonly onError: (error: unknown) => void },
  ) {
    this.#clock = clock
    this.#pass = pass
    this.#retryAfterMs = options.retryAfterMs ?? 1000
    this.#onError = options.onError
  }

  request(): void {
    if (this.#closed) return
    if (this.#running) this.#again = true
    else this.#cancel ??= this.#clock.after(0, () => this.#run())
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
  }

  #run(): void {
    this.#cancel = undefined
    this.#running = true
    this.#again = false
    void this.#once().then(failed => {
      this.#running = false
      if (this.#closed) return
      this.#failures = failed ? this.#failures + 1 : 0
      if (failed) {
        const delay = Math.min(this.#retryAfterMs * 2 ** (this.#failures - 1), RETRY_MAX_MS)
        this.#cancel = this.#clock.after(delay, () => this.#run())
      } else if (this.#again) this.request()
    })
  }

  async #once(): Promise<boolean> {
    try {
      await this.#pass()
      return false
    } catch (error) {
      this.#onError(error)
      return true
    }
  }
}
