/** What the process with the API server is told, one JSON object a line. It answers each with one line, in order. */
export type Command =
  /** Makes the first objects: a pool, an advertisement, nodes, Services with their EndpointSlices spread over the nodes. */
  | { readonly do: 'create'; readonly services: number; readonly nodes: number }
  /** No Service has an address, no speaker has said anything. Nobody may be watching. */
  | { readonly do: 'reset' }
  /** Answers once every Service has an address. */
  | { readonly do: 'await-allocated' }
  /** Answers once that many Services are announced. */
  | { readonly do: 'await-announced'; readonly services: number }
  /** Creates Services one after the other, each when the one before has its address, and removes them again. */
  | { readonly do: 'one-by-one'; readonly services: number }
  /**
   * Moves one endpoint off the measured node or onto it, again and again, each time of another Service with externalTrafficPolicy
   * Local, which that node then stops or starts to announce; each when the ServiceL2Status of the one before says so.
   */
  | { readonly do: 'move-endpoints'; readonly moves: number }

/** A line on its standard output; failing, the process ends with a sentence on standard error. */
export type Answer = {
  /** CLOCK_MONOTONIC in milliseconds, when it was done. */
  readonly atMs: number
  /** For `one-by-one`: milliseconds from the request to create the Service until its address was written. */
  readonly latenciesMs?: readonly number[]
  /** For `move-endpoints`, in the order in which they were made. */
  readonly moves?: readonly EndpointMove[]
}

export type EndpointMove = {
  /** `namespace/name` */
  readonly service: string
  /** Onto the measured node, or off it. */
  readonly onto: boolean
  /** Milliseconds since 1970, before the request that changes the EndpointSlice. */
  readonly startWallMs: number
  /** Milliseconds from there until the API server had, or had no more, a ServiceL2Status for the Service. */
  readonly statusMs: number
}
