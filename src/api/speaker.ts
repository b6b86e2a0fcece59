/** What a speaker says of itself at `GET /status`. */
export type SpeakerStatus = {
  readonly node: string
  /** Everything it needs from the API server was seen once, and its reflex thread is armed. */
  readonly ready: boolean
  /** The cluster key is known: without it no peer is heard. */
  readonly hasKey: boolean
  readonly peers: readonly { readonly node: string; readonly status: string }[]
  readonly services: readonly SpeakerService[]
  /** Takeovers and releases that a peer's loss or return caused, newest first, at most 100. */
  readonly moves: readonly SpeakerMove[]
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

export type SpeakerMove = {
  readonly ip: string
  readonly services: readonly string[]
  /** true: taken over; false: given up. */
  readonly owned: boolean
  /** RFC 3339, with milliseconds. */
  readonly at: string
  /** For people: which peer, and how long it had been silent. */
  readonly because: string
}
