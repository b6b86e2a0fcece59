import type { Ip } from '../addr/ip.ts'
import type { Effect as MembershipEffect } from '../membership/machine.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import type { Effect } from './machine.ts'
import type { Because, FailoverPhases, OwnedChange } from './reflex.ts'

type NodeChange = MembershipEffect & { type: 'node' }

/** Gathers what the main thread is told of addresses that came and went, with the phases of a failover. */
export class OwnershipReports {
  readonly #clock: Clock
  /** The last change of each node: what takeovers come from. */
  readonly #nodes = new Map<string, NodeChange>()
  /** Taken over, but not announced yet: of a thousand the last ones wait for a few milliseconds. */
  readonly #waiting = new Map<
    Ip,
    { readonly change: OwnedChange; readonly because: NodeChange | undefined }
  >()
  #ready: OwnedChange[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  nodeChanged(change: NodeChange): void {
    this.#nodes.set(change.node, change)
  }

  owned(
    { ip, services, owned, shared, cause }: Effect & { type: 'owned' },
    interfaces: readonly string[],
  ): void {
    const now = this.#clock.now()
    // What was said of it before comes first.
    this.announced(ip)
    const node = cause.type === 'node' ? this.#nodes.get(cause.node) : undefined
    const change: OwnedChange = {
      ip,
      services,
      owned,
      interfaces,
      atWallMs: this.#clock.wallNow(),
      because: becauseOf(cause, node, now),
    }
    // What is shared is announced to nobody, or to some hosts one by one.
    if (owned && interfaces.length > 0 && shared !== true) this.#waiting.set(ip, { change, because: node })
    else this.#ready.push(change)
  }

  /** Its first announcement goes out in this step. */
  announced(ip: Ip): void {
    const waiting = this.#waiting.get(ip)
    if (waiting === undefined) return
    this.#waiting.delete(ip)
    this.#ready.push(this.#finish(waiting.change, waiting.because))
  }

  /** What can be told now. */
  take(): readonly OwnedChange[] {
    const ready = this.#ready
    if (ready.length > 0) this.#ready = []
    return ready
  }

  #finish(change: OwnedChange, node: NodeChange | undefined): OwnedChange {
    const atWallMs = this.#clock.wallNow()
    if (node === undefined || (node.to !== 'down' && node.to !== 'left')) return { ...change, atWallMs }
    const wall = (at: Ms) => atWallMs - (this.#clock.now() - at)
    const phases: FailoverPhases = {
      lastHeardAt: node.lastHeardAt === undefined ? null : wall(node.lastHeardAt),
      suspectedAt: node.suspectedAt === undefined ? null : wall(node.suspectedAt),
      confirmedAt: wall(node.at),
      announcedAt: atWallMs,
    }
    return { ...change, atWallMs, phases }
  }
}

function becauseOf(
  cause: (Effect & { type: 'owned' })['cause'],
  node: NodeChange | undefined,
  now: Ms,
): Because {
  if (cause.type !== 'node') return cause
  const heard = node?.lastHeardAt
  return { ...cause, silentMs: heard === undefined ? null : now - heard }
}
