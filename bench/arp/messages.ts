/** What the requester is told, one JSON object a line; it answers each with one line. */
export type Task = {
  /** IPv4: asked by ARP; IPv6: by neighbour discovery. */
  readonly target: string
  readonly requests: number
  /** How many questions may be open at a time. */
  readonly outstanding: number
}

export type Outcome = {
  /** From the first question to the last answer. */
  readonly elapsedMs: number
  /** Microseconds from a question to its answer; only with one question at a time, else answers cannot be told apart. */
  readonly latenciesUs: readonly number[]
  /** Questions without an answer within a second. */
  readonly lost: number
}
