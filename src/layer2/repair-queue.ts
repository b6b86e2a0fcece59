import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'
import type { Asker } from './askers.ts'
import { repairs, type Shares, SPREAD_MS } from './shards.ts'

/** Everybody that must be told by unicast that this node answers for an address from now on, and when. */
export type Telling = { readonly address: Ip; readonly asker: Ip }

type Pending = Telling & { slot: number; told: number }

/** What is due within such a time goes together. */
const SLOT_MS = 100
/** Nobody acknowledges: one lost frame must not leave an asker with a node that is gone. */
const AGAIN_AFTER_MS: readonly Ms[] = [1000, 3000]

/**
 * Askers that wait to be told, in the order of their time. Holds at most one entry for each asker of an address, so it is bounded by
 * the table of askers.
 */
export class RepairQueue {
  readonly #addresses = new Map<Ip, Map<Ip, Pending>>()
  readonly #slots = new Map<number, Set<Pending>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Waiting for one address. */
  count(address: Ip): number {
    return this.#addresses.get(address)?.size ?? 0
  }

  /** The first time is after `afterMs`; takes the place of what was known of this asker. */
  add(address: Ip, asker: Ip, afterMs: Ms, now: Ms): void {
    this.delete(address, asker)
    let here = this.#addresses.get(address)
    if (here === undefined) this.#addresses.set(address, (here = new Map()))
    const pending: Pending = { address, asker, slot: slotAfter(now, afterMs), told: 0 }
    here.set(asker, pending)
    this.#put(pending)
    this.#size++
  }

  has(address: Ip, asker: Ip): boolean {
    return this.#addresses.get(address)?.has(asker) === true
  }

  delete(address: Ip, asker: Ip): void {
    const here = this.#addresses.get(address)
    const pending = here?.get(asker)
    if (here === undefined || pending === undefined) return
    this.#pull(pending)
    here.delete(asker)
    if (here.size === 0) this.#addresses.delete(address)
    this.#size--
  }

  /** The address is no more ours to speak for. */
  drop(address: Ip): void {
    for (const { asker } of this.#addresses.get(address)?.values() ?? []) this.delete(address, asker)
  }

  /**
   * Everything follows from the change of the nodes that share an address: who is not ours any more waits no longer, who becomes ours
   * waits to be told. When a node is lost all that wait are told at once: an asker may have been with the lost one all the time, because
   * the node that won it had not come to tell it.
   */
  change(
    askers: Iterable<Asker>,
    self: string,
    before: Shares | undefined,
    after: Shares,
    now: Ms,
    spreadMs: Ms = SPREAD_MS,
  ): void {
    const { address } = after
    const waiting = this.#addresses.get(address)
    const lost = before === undefined || before.nodes.some(node => !after.nodes.includes(node))
    const all = [...askers]
    if (waiting !== undefined) {
      const ours = new Set(repairs(all, self, undefined, after).map(({ asker }) => asker.ip))
      for (const pending of waiting.values()) {
        if (!ours.has(pending.asker)) this.delete(address, pending.asker)
        else if (lost && pending.told === 0) this.#move(pending, slotAfter(now, 0))
      }
    }
    for (const { asker, afterMs } of repairs(all, self, before, after, spreadMs)) {
      if (!this.has(address, asker.ip) || afterMs === 0) this.add(address, asker.ip, afterMs, now)
    }
  }

  /** When the next is due; Infinity: nobody waits. */
  nextDeadline(): Ms {
    let first = Number.POSITIVE_INFINITY
    for (const slot of this.#slots.keys()) first = Math.min(first, slot)
    return first * SLOT_MS
  }

  /** Up to `max` that are due, to be told now. Those left over stay due. */
  take(now: Ms, max: number): Telling[] {
    const taken: Telling[] = []
    const due = [...this.#slots.keys()].filter(slot => slot * SLOT_MS <= now).sort((a, b) => a - b)
    for (const slot of due) {
      for (const pending of this.#slots.get(slot) ?? []) {
        if (taken.length >= max) return taken
        taken.push({ address: pending.address, asker: pending.asker })
        const againAfterMs = AGAIN_AFTER_MS[pending.told++]
        if (againAfterMs === undefined) this.delete(pending.address, pending.asker)
        else this.#move(pending, slotAfter(now, againAfterMs))
      }
    }
    return taken
  }

  #move(pending: Pending, slot: number): void {
    this.#pull(pending)
    pending.slot = slot
    this.#put(pending)
  }

  #put(pending: Pending): void {
    const slot = this.#slots.get(pending.slot)
    if (slot === undefined) this.#slots.set(pending.slot, new Set([pending]))
    else slot.add(pending)
  }

  #pull(pending: Pending): void {
    const slot = this.#slots.get(pending.slot)
    slot?.delete(pending)
    if (slot?.size === 0) this.#slots.delete(pending.slot)
  }
}

/** Rounded so that what is due at once is due now, and nothing else before its time. */
function slotAfter(now: Ms, afterMs: Ms): number {
  return afterMs <= 0 ? Math.floor(now / SLOT_MS) : Math.ceil((now + afterMs) / SLOT_MS)
}
