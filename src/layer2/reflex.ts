import type { Ip } from '../addr/ip.ts'
import type { PeerStatus } from '../membership/machine.ts'
import type { Ms } from '../ports/clock.ts'
import type { Vip } from './machine.ts'

/** What the main thread and the reflex thread say to each other. Plain data: it is copied between threads. */
export type ReflexCommand =
  | {
      readonly type: 'peers'
      readonly peers: readonly { name: string; ip: Ip }[]
      /** Nodes without an address that could be reached: as good as dead. */
      readonly unreachable: readonly string[]
      readonly self: Ip | undefined
    }
  /** undefined: no key is known, so nobody is heard and nothing is taken over. */
  | { readonly type: 'key'; readonly key: Uint8Array | undefined }
  /** A difference to the plan before. */
  | { readonly type: 'plan'; readonly set: readonly Vip[]; readonly remove: readonly Ip[] }
  | { readonly type: 'drain'; readonly patienceMs: Ms }
  /** Asks for one `counters` report. */
  | { readonly type: 'count' }

export type ReflexReport =
  | { readonly type: 'owned'; readonly changes: readonly OwnedChange[] }
  | {
      readonly type: 'peer'
      readonly node: string
      readonly from: PeerStatus
      readonly to: PeerStatus
      /** Milliseconds of silence when this was concluded. */
      readonly silentMs: Ms
    }
  | { readonly type: 'drained' }
  | { readonly type: 'counters'; readonly counters: ReflexCounters }
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
}

export type Because =
  | { readonly type: 'plan' | 'interfaces' | 'drain' }
  /** A peer was found dead, left, or came back. `silentMs`: since its last heartbeat. */
  | { readonly type: 'peer'; readonly node: string; readonly status: PeerStatus; readonly silentMs: Ms }

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
}
