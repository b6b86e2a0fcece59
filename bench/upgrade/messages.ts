/** What the program with the connections is told, JSON in its first argument. */
export type StreamsTask = { readonly target: string; readonly port: number; readonly count: number }

/** What it says when all connections are open, and again at each line that it reads. */
export type StreamsReport = {
  /** Connections that were reset or ended; none is opened anew. */
  readonly cut: number
  /** Answers that were not what was sent. */
  readonly corrupt: number
  readonly answers: number
}
