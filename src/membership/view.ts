import type { Ms } from '../ports/clock.ts'
import { type Level, type Membership, patienceWith } from './state.ts'

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
    /** null: never in this run. */
    readonly heardMsAgo: Ms | null
    readonly intervalMs: Ms
    readonly patienceMs: Ms
    readonly jitterMs: Ms
  }[]
}

export function membershipView(m: Membership, now: Ms): MembershipView {
  const voters = m.voters[0]
  return {
    voters: voters?.names ?? [],
    majority: voters?.majority ?? 0,
    entitledForMs: Math.max(0, m.entitledUntil - now),
    standing: m.standing,
    alone: m.alone,
    round: m.round,
    peers: [...m.peers.values()].map(peer => ({
      node: peer.name,
      level: peer.level,
      voter: voters?.names.includes(peer.name) ?? false,
      heardMsAgo: peer.heardAt === undefined ? null : now - peer.heardAt,
      intervalMs: peer.intervalMs,
      patienceMs: patienceWith(m, peer),
      jitterMs: peer.jitter.peakMs,
    })),
  }
}
