import type { ProbeSpec } from './resources.ts'

/** What a container's probe found so far. */
export type Health = {
  /** undefined until a threshold was reached for the first time. */
  readonly healthy: boolean | undefined
  /** Equal results in a row, and which. */
  readonly run: number
  readonly last: boolean | undefined
}

export const UNKNOWN: Health = { healthy: undefined, run: 0, last: undefined }

/** One more result. A change needs successThreshold good (default 1) or failureThreshold bad (default 3) ones in a row. */
export function afterCheck(health: Health, ok: boolean, spec: ProbeSpec): Health {
  const run = health.last === ok ? health.run + 1 : 1
  const threshold = ok ? (spec.successThreshold ?? 1) : (spec.failureThreshold ?? 3)
  return { healthy: run >= threshold ? ok : health.healthy, run, last: ok }
}

/** Seconds until the next restart after `restarts` restarts: at once, then 10, 20, 40 ... 300 (the kubelet's CrashLoopBackOff). */
export function backOffSeconds(restarts: number): number {
  return restarts === 0 ? 0 : Math.min(300, 10 * 2 ** Math.min(restarts - 1, 10))
}
