/**
 * Addresses on their way from one Service to another. The one that gets an address is written only after the one that loses it,
 * so that no two Services ever show it: not to the speakers meanwhile, and not to the controller that starts after this one died
 * between the two writes.
 */
export class Handovers {
  /** Who still shows an address that was taken from it. */
  readonly #leaving = new Map<string, Set<string>>()
  /** The same by Service. */
  readonly #leavers = new Map<string, readonly string[]>()
  /** By Service: who waits for its write, and for whose writes it waits. */
  readonly #waiting = new Map<string, Set<string>>()
  readonly #waitsFor = new Map<string, ReadonlySet<string>>()

  /** What the API shows of a Service, and what it shall have. Returns those that need wait for it no more. */
  decided(key: string, shown: readonly string[], ips: readonly string[]): readonly string[] {
    const leaving = shown.filter(ip => !ips.includes(ip))
    const freed = (this.#leavers.get(key) ?? []).some(ip => !leaving.includes(ip))
    this.#forget(key)
    if (leaving.length > 0) {
      this.#leavers.set(key, leaving)
      for (const ip of leaving) {
        const keys = this.#leaving.get(ip)
        if (keys === undefined) this.#leaving.set(ip, new Set([key]))
        else keys.add(key)
      }
    }
    return freed ? this.#woken(key) : []
  }

  /** It was written: it shows nothing that is another's. Returns those that waited for it. */
  left(key: string): readonly string[] {
    this.#forget(key)
    return this.#woken(key)
  }

  /** It is gone altogether. */
  removed(key: string): readonly string[] {
    this.#stopWaiting(key)
    return this.left(key)
  }

  /**
   * How to go on with a Service that shall have these addresses: write them; wait, and be told by `decided` or `left`; or give up
   * first what it shows, because those that it would wait for wait for it.
   */
  next(key: string, ips: readonly string[]): 'write' | 'wait' | 'clear' {
    this.#stopWaiting(key)
    const before = new Set(ips.flatMap(ip => [...(this.#leaving.get(ip) ?? [])]))
    before.delete(key)
    if (before.size === 0) return 'write'
    if (this.#leavers.has(key) && this.#reaches(before, key)) return 'clear'
    this.#waitsFor.set(key, before)
    for (const leaver of before) {
      const waiting = this.#waiting.get(leaver)
      if (waiting === undefined) this.#waiting.set(leaver, new Set([key]))
      else waiting.add(key)
    }
    return 'wait'
  }

  /** Does one of these wait, directly or not, for that Service? */
  #reaches(from: ReadonlySet<string>, key: string): boolean {
    const seen = new Set<string>()
    const queue = [...(this.#waiting.get(key) ?? [])]
    for (let waiter = queue.pop(); waiter !== undefined; waiter = queue.pop()) {
      if (from.has(waiter)) return true
      if (seen.has(waiter)) continue
      seen.add(waiter)
      queue.push(...(this.#waiting.get(waiter) ?? []))
    }
    return false
  }

  #stopWaiting(key: string): void {
    for (const leaver of this.#waitsFor.get(key) ?? []) {
      const waiting = this.#waiting.get(leaver)
      waiting?.delete(key)
      if (waiting?.size === 0) this.#waiting.delete(leaver)
    }
    this.#waitsFor.delete(key)
  }

  #woken(key: string): readonly string[] {
    const waiting = [...(this.#waiting.get(key) ?? [])]
    this.#waiting.delete(key)
    return waiting
  }

  #forget(key: string): void {
    for (const ip of this.#leavers.get(key) ?? []) {
      const keys = this.#leaving.get(ip)
      keys?.delete(key)
      if (keys?.size === 0) this.#leaving.delete(ip)
    }
    this.#leavers.delete(key)
  }
}
