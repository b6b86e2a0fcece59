import type { Ip } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import type { Level } from '../membership/machine.ts'
import type { MembershipView } from '../membership/view.ts'
import type { Ms } from '../ports/clock.ts'
import type { Vip } from './machine.ts'
import type { SharedAddress } from './sharing.ts'

/** What the main thread and the reflex thread say to each other. Plain data: it is copied between threads. */
export type ReflexCommand =
  | {
      readonly type: 'peers'
      /** The registered speakers; this node may be among them. */
      readonly peers: readonly {
        readonly name: string
        readonly ip: Ip
        /** Of its interfaces that announce; absent: learned from what it sends. */
        readonly macs?: readonly Mac[]
      }[]
      readonly self: Ip | undefined
    }
  /** undefined: no key is known, so nobody is heard and nothing is taken over. */
  | { readonly type: 'key'; readonly key: Uint8Array | undefined }
  /** A difference to the plan before. `handOver`: those of `remove` that other nodes announce from now on. */
  | {
      readonly type: 'plan'
      readonly set: readonly Vip[]
      readonly remove: readonly Ip[]
      readonly handOver?: readonly Ip[]
    }
  | { readonly type: 'drain'; readonly patienceMs: Ms }
  /** Asks for one `counters` report. */
  | { readonly type: 'count' }

export type ReflexReport =
  | { readonly type: 'owned'; readonly changes: readonly OwnedChange[] }
  | {
      readonly type: 'node'
      readonly node: string
      readonly from: Level
      readonly to: Level
      /** Milliseconds since it was heard last; null: never, or only by others. */
      readonly silentMs: Ms | null
    }
  /** Of a node whose speaker is down: whether its host answers on the wire. `alive` also when the speaker is back. */
  | { readonly type: 'host'; readonly node: string; readonly alive: boolean }
  /** What this node may do, when that changed. */
  | {
      readonly type: 'standing'
      readonly entitled: boolean
      readonly standing: boolean
      readonly alone: boolean
    }
  /** A majority voted this node down while it was away; it has given everything up. */
  | { readonly type: 'lost'; readonly atWallMs: number }
  | {
      readonly type: 'conflict'
      readonly ip: Ip
      readonly services: readonly string[]
      readonly mac: Mac
      readonly interfaceName: string
      readonly action: 'defended' | 'yielded'
      readonly atWallMs: number
    }
  /** A node that was voted down answers on the wire, so its addresses are taken over later. */
  | { readonly type: 'takeover-waits'; readonly node: string; readonly times: number }
  /** The patience with a node follows the jitter of what is heard from it. */
  | { readonly type: 'adapted'; readonly node: string; readonly patienceMs: Ms; readonly jitterMs: Ms }
  /** The kernel lets other processes go first: timers come late on a busy node. */
  | { readonly type: 'not-realtime'; readonly reason: string }
  | { readonly type: 'drained' }
  | { readonly type: 'counters'; readonly counters: ReflexCounters; readonly membership: MembershipView }
  | { readonly type: 'failed'; readonly message: string }

export type OwnedChange = {
  readonly ip: Ip
  readonly services: readonly string[]
  readonly owned: boolean
  /** Where it is announced; empty when not owned, or when none of the interfaces that the plan names is there. */
  readonly interfaces: readonly string[]
  /** Wall clock, milliseconds since 1970: when the first announcement went out, or when we stopped. */
  readonly atWallMs: number
  /** What made it change. */
  readonly because: Because
  /** Of a takeover from a node that was lost or left. */
  readonly phases?: FailoverPhases
}

/** Wall clock of the node that took over, milliseconds since 1970. */
export type FailoverPhases = {
  /** The last proof of life; null: this node heard it only by others. */
  readonly lastHeardAt: number | null
  /** Silent for so long that the wire was asked; null: it said itself that it leaves, or a majority was faster. */
  readonly suspectedAt: number | null
  /** A majority had voted. */
  readonly confirmedAt: number
  /** The first announcement was sent. */
  readonly announcedAt: number
}

export type Because =
  /** `standing`: this node became entitled, proved stable, or is alone. `lost`: it was voted down while it was away. */
  | { readonly type: 'plan' | 'interfaces' | 'drain' | 'standing' | 'lost' }
  /** Another node claimed it by a higher term. */
  | { readonly type: 'claim'; readonly node: string }
  /** Somebody else announced it or answered for it. */
  | { readonly type: 'seen'; readonly mac: Mac }
  /** Another node was lost, left, or came back. `silentMs`: since its last heartbeat; null: not heard by us. */
  | { readonly type: 'node'; readonly node: string; readonly level: Level; readonly silentMs: Ms | null }

export type ReflexCounters = {
  /** By address, those that changed since the last count: questions for it while we own it, answers, announcements in frames. */
  readonly addresses: readonly {
    readonly ip: Ip
    readonly requests: number
    readonly replies: number
    readonly announcements: number
  }[]
  /** Frames and datagrams dropped on purpose, by reason. */
  readonly dropped: Readonly<Record<string, number>>
  readonly heartbeatsSent: number
  readonly heartbeatsReceived: number
  /** By the kernel or the bounded receive queue. */
  readonly framesLost: number
  /** The worst lateness of a timer since the last count. */
  readonly worstLatenessMs: Ms
  /** Questions to the wire before a takeover, and takeovers that waited because of an answer. */
  readonly questionsAsked: number
  readonly takeoversDelayed: number
  /** Hosts of which we know that they have an entry for an address; see Askers. */
  readonly askers: number
  /** Addresses that this node shares with others; absent: none. */
  readonly shared?: readonly SharedAddress[]
}
