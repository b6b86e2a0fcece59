/** What a speaker says of itself at `GET /status`. */
export type SpeakerStatus = {
  readonly node: string
  /** Everything it needs from the API server was seen once, and its reflex thread is armed. */
  readonly ready: boolean
  /** The cluster key is known: without it no peer is heard. */
  readonly hasKey: boolean
  /** It may answer: a majority of the voters lets it, or it is `alone`. */
  readonly entitled: boolean
  /** It has proved stable since it started or came back. */
  readonly standing: boolean
  /** No other speaker was heard in this run, though some are registered. */
  readonly alone: boolean
  /** Rises each time that voters took it for gone. */
  readonly round: number
  readonly voters: readonly string[]
  /** How many of the voters decide. */
  readonly majority: number
  /** Its reflex thread goes before ordinary processes (SCHED_FIFO). */
  readonly realtime: boolean
  /** Of a timer of the reflex thread, within five seconds. */
  readonly worstLatenessMs: number
  readonly peers: readonly SpeakerPeer[]
  readonly services: readonly SpeakerService[]
  /** Addresses that this node shares with others, at most five seconds ago; absent: there are none. */
  readonly shared?: readonly SpeakerShared[]
  /** Absent: this node hands no packets over to others. */
  readonly steering?: SpeakerSteered
  /** Takeovers and releases that a peer's loss or return caused, newest first, at most 100. */
  readonly moves: readonly SpeakerMove[]
  /** The same by their causes, at most 20. */
  readonly failovers: readonly SpeakerMoves[]
}

/** Another speaker; all numbers but the status are at most five seconds old. */
export type SpeakerPeer = {
  readonly node: string
  /** `up`, `probation`, `down` or `left`, as the majority of the voters holds. */
  readonly status: string
  readonly voter: boolean
  /** null: never, or not at all because neither of the two is a voter. */
  readonly heardMsAgo: number | null
  readonly intervalMs: number
  /** Silence that is no suspicion yet. */
  readonly patienceMs: number
  readonly jitterMs: number
}

export type SpeakerService = {
  /** `namespace/name` */
  readonly service: string
  readonly ips: readonly string[]
  /** Addresses that this node answers for. */
  readonly owned: readonly string[]
  /** Best first. */
  readonly candidates: readonly string[]
  /** Why nobody announces it; null when somebody may. */
  readonly reason: string | null
}

/** An address in mode `sharded`: what the askers that were heard come to. */
export type SpeakerShared = {
  readonly ip: string
  /** Hosts that asked, by MAC; of very many those that asked last. */
  readonly askers: number
  /** Who answers. `weight` is relative, `askers` the addresses whose share is this node's. */
  readonly nodes: readonly { readonly node: string; readonly weight: number; readonly askers: number }[]
  /** Askers that this node has still to tell that it answers them from now on. */
  readonly waiting: number
  /** One host at most asks, so that one node carries everything. */
  readonly single: boolean
  readonly advice: string | null
}

/** What this node hands over to the nodes of the endpoints (docs/steering.md). */
export type SpeakerSteered = {
  /** Over all tables, equal on all nodes that steer alike. */
  readonly hash: string
  /** Whether the kernel has what is wanted; `error` says why not, where an attempt failed. */
  readonly installed: boolean
  readonly error?: string
  readonly services: readonly {
    readonly service: string
    readonly vips: readonly string[]
    /** Slots of the table; 0 where there is nobody to steer to. */
    readonly size: number
    readonly tableHash: string
    /** `share` is a part of 1. */
    readonly nodes: readonly { readonly node: string; readonly slots: number; readonly share: number }[]
    readonly problems: readonly string[]
  }[]
  readonly nodes: readonly {
    readonly node: string
    readonly dead: boolean
    /** By family: through which interface packets are handed to the node, or why they are not. */
    readonly reach: readonly {
      readonly family: 'IPv4' | 'IPv6'
      readonly interface?: string
      readonly why?: string
    }[]
  }[]
  readonly interfaces: readonly { readonly name: string; readonly problem?: string }[]
}

export type SpeakerMove = {
  readonly ip: string
  readonly services: readonly string[]
  /** true: taken over; false: given up. */
  readonly owned: boolean
  /** RFC 3339, with milliseconds. */
  readonly at: string
  /** For people: which peer, and how long it had been silent. */
  readonly because: string
  readonly phases: SpeakerPhases | null
}

/** Addresses that moved for one cause. */
export type SpeakerMoves = {
  readonly owned: boolean
  readonly count: number
  /** The first of them, at most 3. */
  readonly ips: readonly string[]
  /** RFC 3339, of the first and of the last address. */
  readonly at: string
  readonly until: string
  readonly because: string
  /** The node that was lost, left or came back. */
  readonly node: string | null
  /** Of the first address. */
  readonly phases: SpeakerPhases | null
}

/** Milliseconds since 1970. */
export type SpeakerPhases = {
  /** The last proof of life; null: heard only by others. */
  readonly lastHeardAt: number | null
  /** null: it said itself that it leaves, or the majority was faster. */
  readonly suspectedAt: number | null
  readonly confirmedAt: number
  readonly announcedAt: number
}
