/** What a process of the benchmark runs, JSON in its first argument. */
export type MembershipTask = {
  readonly nodes: number
  /** The one that is measured, in a process of its own; the others share one. */
  readonly measured: number
  readonly role: 'measured' | 'crowd'
  /** Of the loopback: the measured one listens on this, the crowd on the next. */
  readonly port: number
}

/** What the measured one answers to each line; everything since its start. */
export type MembershipUsage = {
  readonly cpuMs: number
  readonly sent: number
  readonly received: number
  /** A majority of the voters lets it answer: the crowd keeps up. */
  readonly entitled: boolean
}
