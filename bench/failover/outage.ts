import type { Lab } from '../../src/lab/lab.ts'
import { longestOutageMs, outagesAfterMark } from '../../src/lab/probe/analysis.ts'
import { type ProbeReport, startProbe } from '../../src/lab/probe/probe.ts'

/** What a client saw of one failure. */
export type Outage = {
  /** The longest time without an answer; 0 when every probe was answered. */
  readonly ms: number
  /** All probes after the deed that were never answered. */
  readonly lost: number
}

export type Failure = {
  readonly lab: Pick<Lab, 'spawn'>
  readonly target: string
  readonly port: number
  /** Added before the deed, so that it meets every phase of a periodic protocol. */
  readonly delayMs: number
  /** Resolves when it was done, not when somebody noticed. */
  readonly deed: () => Promise<void>
  /** Resolves when another node has taken over. */
  readonly takenOver: () => Promise<void>
}

/** Between the first answer and the deed: the client knows its neighbours, the echo has its caches. */
const SETTLE_MS = 200
/** After the takeover: an outage that begins late, or begins again, is seen too. */
const WATCH_MS = 300

/** A client probes every millisecond, the deed is done, somebody takes over. */
export async function measureOutage(failure: Failure): Promise<Outage> {
  const { lab, target, port } = failure
  const probe = startProbe(argv => lab.spawn('client1', argv, { stdio: 'pipe', detached: true }), {
    target,
    port,
  })
  try {
    await probe.answered
    await sleep(SETTLE_MS + failure.delayMs)
    probe.mark('deed')
    await failure.deed()
    await failure.takenOver()
    await sleep(WATCH_MS)
    return outageOf(await probe.stop())
  } catch (error) {
    // The probe must not go on; what it would report no longer matters.
    probe.stop().catch(() => {})
    throw error
  }
}

/** @throws Error when the outage had not ended, so that nobody takes its length for a measurement */
export function outageOf(report: Pick<ProbeReport, 'outages' | 'marks' | 'lostSingles'>): Outage {
  const outages = outagesAfterMark(report, 'deed')
  if (outages.some(outage => outage.firstAnswerBy === null)) {
    throw new Error('the client got no answer any more, although another node had taken over')
  }
  return {
    ms: longestOutageMs(outages),
    lost: outages.reduce((sum, outage) => sum + outage.lost, 0) + report.lostSingles,
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
