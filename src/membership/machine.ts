import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'

/**
 * What the cluster holds of a node, worst last: `up` it may own, `probation` it speaks but has not proven stable yet, `down`
 * a majority of the voters has not heard it for their patience, `left` it said so itself.
 */
export type Level = 'up' | 'probation' | 'down' | 'left'

export type MembershipOptions = {
  readonly self: string
  /** Of this run of this node: wall-clock milliseconds at start. Raised when a peer remembers a higher one. */
  readonly epoch: number
  /** Between two heartbeats to one peer; longer in clusters of more than 2.5 nodes a millisecond of it. Default flag: 20. */
  readonly intervalMs: Ms
  /** Intervals of silence after which a voter votes a node down, where its jitter does not ask for more. Default flag: 4. */
  readonly misses: number
  /** Uninterrupted entitlement after which a node that came back is `up` again. */
  readonly returnAfterMs: Ms
  /** 7 unless given. Odd numbers make sense. */
  readonly votersMax?: number
}

/** A term of an address, as its owner claims it. */
export type AddressTerm = { readonly ip: Ip; readonly term: number }

export type Drop =
  | 'undecodable'
  | 'not-authentic'
  | 'unknown-sender'
  | 'not-for-us'
  | 'old'
  | 'not-fresh'
  | 'no-key'

export type Effect =
  | { readonly type: 'send'; readonly to: Ip; readonly payload: Uint8Array }
  /** Another node changed its level. All nodes of the first list start as `up`, those that join later as `down`. */
  | {
      readonly type: 'node'
      readonly node: string
      readonly from: Level
      readonly to: Level
      /** By ourselves; undefined when we never heard it (two nodes that are no voters do not talk). */
      readonly lastHeardAt: Ms | undefined
      /** When the suspicion began that this confirms; undefined when there was none. */
      readonly suspectedAt: Ms | undefined
      readonly at: Ms
    }
  /** Silent towards us for more than half our patience, or a first voter voted it down. Nothing is decided yet. */
  | {
      readonly type: 'suspect'
      readonly node: string
      readonly lastHeardAt: Ms | undefined
      readonly at: Ms
    }
  | { readonly type: 'unsuspect'; readonly node: string; readonly at: Ms }
  /** A majority voted us down while we were away: others own what we owned. Release all; we are on probation. */
  | { readonly type: 'lost'; readonly at: Ms }
  | { readonly type: 'standing'; readonly standing: boolean; readonly at: Ms }
  /**
   * We ourselves were away (paused, starved) for this long: nothing was concluded from that silence. `missed`: long enough for
   * the others to take us for dead.
   */
  | { readonly type: 'was-away'; readonly forMs: Ms; readonly missed: boolean; readonly at: Ms }
  /** The patience with a node was raised or lowered by the jitter of its heartbeats. */
  | { readonly type: 'adapted'; readonly node: string; readonly patienceMs: Ms; readonly jitterMs: Ms }
  /**
   * Two voters, and the other is silent: ask the gateway (ARP or NS) and tell the answer as `witness` with the time of the
   * question; a frame of somebody else than the other voter, heard after this, counts as well, with the time it was heard.
   * With no gateway known and nobody ever heard on the wire: tell `witness` at once. Comes again as long as it matters.
   */
  | { readonly type: 'ask-witness'; readonly at: Ms }
  | { readonly type: 'claimed'; readonly node: string; readonly claims: readonly AddressTerm[] }
  | { readonly type: 'dropped'; readonly why: Drop }
  /** Changed, as seen at an event. Frames must not wait for it: they ask `standing` with their own time. */
  | { readonly type: 'entitlement'; readonly entitled: boolean; readonly alone: boolean; readonly at: Ms }

export type Event =
  /** The registered speakers; this node may be among them. */
  | { readonly type: 'peers'; readonly peers: readonly { name: string; ip: Ip }[]; readonly now: Ms }
  | { readonly type: 'key'; readonly key: Uint8Array | undefined; readonly now: Ms }
  | { readonly type: 'datagram'; readonly payload: Uint8Array; readonly now: Ms }
  | { readonly type: 'tick'; readonly now: Ms }
  /** Whether the interface towards the peers has a carrier. Without one, their silence says nothing about them. */
  | { readonly type: 'link'; readonly usable: boolean; readonly now: Ms }
  /** Tells all peers that this node gives up what it owns. It speaks and votes on until the process ends. */
  | { readonly type: 'leave'; readonly now: Ms }
  /** Somebody outside proved that we are connected: see `ask-witness`. */
  | { readonly type: 'witness'; readonly sentAt: Ms; readonly now: Ms }
  /** Tells our terms to one node or to all registered ones, three times at the interval. */
  | {
      readonly type: 'claims'
      readonly claims: readonly AddressTerm[]
      readonly to?: string
      readonly now: Ms
    }

export type Standing = {
  /** May own. Exactly `now < entitledUntil`. */
  readonly entitled: boolean
  /** Infinity for the only node of a cluster. */
  readonly entitledUntil: Ms
  readonly probation: boolean
  /** Nobody was heard in this run: may own after having asked the wire. */
  readonly alone: boolean
}

export type Membership = { readonly options: MembershipOptions; epoch: number }

export declare function createMembership(options: MembershipOptions): Membership
/** Deterministic: the same machine and event give the same machine and effects. */
export declare function step(m: Membership, event: Event): Effect[]
/** When the driver owes the next tick. */
export declare function nextDeadline(m: Membership): Ms
/** O(1): asked for every frame. */
export declare function standing(m: Membership, now: Ms): Standing
/** `down` for a node that is not registered; our own is never `down`. */
export declare function levelOf(m: Membership, node: string): Level
