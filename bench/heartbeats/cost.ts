/** Of one speaker, in a second. */
export type Cost = {
  readonly sent: number
  readonly received: number
  /** Processor time of the thread that detects and answers. */
  readonly cpuMs: number
}

export const MEASURE_MS = 10_000
