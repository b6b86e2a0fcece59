import type { Ip } from '../../src/addr/ip.ts'
import type { Lab } from '../../src/lab/lab.ts'
import { longestOutageMs, outagesAfterMark } from '../../src/lab/probe/analysis.ts'
import { longestOverlapMs } from '../../src/lab/probe/answers.ts'
import { type ProbeReport, startProbe } from '../../src/lab/probe/probe.ts'
import { startWatch, type Watch } from '../../src/lab/probe/watch.ts'
import { CLIENTS } from './rig.ts'

/** What a client saw of one failure. */
export type Outage = {
  /** The longest time without an answer; 0 when every probe was answered. */
  readonly ms: number
  /** All probes after the deed that were never answered. */
  readonly lost: number
  /** The longest time in which more than one node said that it has the address. */
  readonly overlapMs: number
}

export type Failure = {
  readonly lab: Pick<Lab, 'spawn'>
  readonly target: Ip
  readonly port: number
  /** Added before the deed, so that it meets every phase of a periodic protocol. */
  readonly delayMs: number
  /** Resolves when it was done, not when somebody noticed. */
  readonly deed: () => Promise<void>
  /** Resolves when another node has taken over, or whatever else the client is to live through is over. */
  readonly takenOver: () => Promise<void>
  /** Asks who has the address all the while, every millisecond. Without it, nobody asks but the client when it has to. */
  readonly watched?: boolean
}

/** Between the first answer and the deed: the client knows its neighbours, the echo has its caches. */
const SETTLE_MS = 200
/** After the takeover: an outage that begins late, or begins again, is seen too. */
const WATCH_MS = 300

/** A client probes every millisecond, the deed is done, somebody takes over. */
export async function measureOutage(failure: Failure): Promise<Outage> {
  const { lab, target, port } = failure
  const probe = startProbe(argv => lab.spawn(CLIENTS.probes, argv, { stdio: 'pipe', detached: true }), {
    target,
    port,
  })
  let watch: Watch | undefined
  try {
    if (failure.watched === true)
      watch = await startWatch(lab, CLIENTS.watches, { ips: [target], everyMs: 1 })
    await probe.answered
    await sleep(SETTLE_MS + failure.delayMs)
    await watch?.take()
    probe.mark('deed')
    await failure.deed()
    await failure.takenOver()
    await sleep(WATCH_MS)
    const runs = (await watch?.take())?.heard[target] ?? []
    return { ...outageOf(await probe.stop()), overlapMs: longestOverlapMs(runs) }
  } catch (error) {
    // The probe must not go on; what it would report no longer matters.
    probe.stop().catch(() => {})
    throw error
  } finally {
    watch?.close()
  }
}

/** @throws Error when the outage had not ended, so that nobody takes its length for a measurement */
export function outageOf(
  report: Pick<ProbeReport, 'outages' | 'marks' | 'lostSingles'>,
): Omit<Outage, 'overlapMs'> {
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
