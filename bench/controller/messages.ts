/** What the process with the API server is told, one JSON object a line. It answers each with one line, in order. */
export type Command =
  /** Makes the first objects: a pool, an advertisement, nodes, Services with their EndpointSlices. */
  | { readonly do: 'create'; readonly services: number }
  /** No Service has an address, no speaker has said anything. Nobody may be watching. */
  | { readonly do: 'reset' }
  /** Answers once every Service has an address. */
  | { readonly do: 'await-allocated' }
  /** Answers once that many Services are announced. */
  | { readonly do: 'await-announced'; readonly services: number }
  /** Creates Services one after the other, each when the one before has its address, and removes them again. */
  | { readonly do: 'one-by-one'; readonly services: number }

/** A line on its standard output; failing, the process ends with a sentence on standard error. */
export type Answer = {
  /** CLOCK_MONOTONIC in milliseconds, when it was done. */
  readonly atMs: number
  /** For `one-by-one`: milliseconds from the request to create the Service until its address was written. */
  readonly latenciesMs?: readonly number[]
}
