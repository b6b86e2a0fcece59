import { KubeError } from '../ports/kube.ts'

/** At most so many at once; the others wait in line, and beyond `waitingMax` are refused. */
export class Slots {
  #free: number
  readonly #waiting: (() => void)[] = []
  readonly #waitingMax: number

  constructor(count: number, waitingMax: number) {
    this.#free = count
    this.#waitingMax = waitingMax
  }

  /** @throws KubeError 'throttled' when the line is full; what `work` throws */
  async run<R>(work: () => Promise<R>): Promise<R> {
    if (this.#free > 0) this.#free--
    else {
      if (this.#waiting.length >= this.#waitingMax)
        throw new KubeError('throttled', `${this.#waiting.length} requests to the API server wait already`)
      // Whoever leaves hands its slot on, so `free` stays as it is.
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
