import type { Ms } from '../ports/clock.ts'
import type { Level, Membership } from './machine.ts'

/** What `status` shows of the membership. Plain data. */
export type MembershipView = {
  readonly voters: readonly string[]
  readonly majority: number
  /** Infinity for the only node of a cluster, 0 when not entitled. */
  readonly entitledForMs: Ms
  readonly standing: boolean
  readonly alone: boolean
  readonly round: number
  readonly peers: readonly {
    readonly node: string
    readonly level: Level
    readonly voter: boolean
    /** null: never, or not at all because neither of us is a voter. */
    readonly heardMsAgo: Ms | null
    readonly intervalMs: Ms
    readonly patienceMs: Ms
    readonly jitterMs: Ms
  }[]
}

export declare function membershipView(m: Membership, now: Ms): MembershipView
