/** What a process took from its start on. */
export type Cost = {
  readonly cpuSeconds: number
  /** Resident memory with everything loaded, before the first request. */
  readonly loadedMb: number
  /** Resident memory after the last. */
  readonly residentMb: number
}
