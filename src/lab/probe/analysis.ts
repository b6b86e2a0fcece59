import type { Ms } from '../../ports/clock.ts'
import type { Answerer } from './datagram.ts'

/** One probe. Times are milliseconds since the start of the probing, with fraction. */
export type Sample = {
  readonly plannedMs: Ms
  readonly sentMs: Ms
  /** Arrival of the first answer; undefined when none came. */
  readonly answeredMs: Ms | undefined
  /** Index in `answerers` of who sent that answer. */
  readonly answerer: number | undefined
}

export type Span = { readonly fromMs: Ms; readonly toMs: Ms }

export type Mark = { readonly name: string; readonly atMs: Ms }

/** What the probe saw, before any judgement. */
export type Observation = {
  readonly intervalMs: Ms
  /** Probe `i` used source port `i % flows`; 1 where each probe is a connection of its own. */
  readonly flows: number
  /** An answer that took longer is as bad as none. */
  readonly lateAfterMs: Ms
  /** By sequence number. */
  readonly samples: readonly Sample[]
  readonly answerers: readonly Answerer[]
  /** When the probe itself did not run: nothing was sent then, and what arrived was stamped only at the end. Ascending, disjoint. */
  readonly stalls: readonly Span[]
  readonly marks: readonly Mark[]
}

/** A time without any answer: from the sending of the first probe that was lost to the arrival of the first answer after it. */
export type Outage = Span & {
  readonly durationMs: Ms
  /** Probes sent meanwhile that were never answered. */
  readonly lost: number
  /** Probes sent meanwhile that were answered, but too late. */
  readonly late: number
  /** The part of `durationMs` in which the probe itself did not run: how far the duration may be too long. */
  readonly stalledMs: Ms
  /** null: no answer came any more; `toMs` is then when the last probe was sent. */
  readonly firstAnswerBy: Answerer | null
}

/** A stretch of 10 ms buckets in which the same nodes answered the same clients and the same share was lost. */
export type TimelineEntry = Span & {
  readonly sent: number
  readonly lost: number
  /** Timely answers by node name. */
  readonly nodes: Readonly<Record<string, number>>
  /** Timely answers by the client address that the pods saw: under externalTrafficPolicy Cluster that of the node they came in by. */
  readonly clients: Readonly<Record<string, number>>
}

/** What was sent from a mark (null: from the start) until the next one, or until the end. */
export type Section = Span & {
  readonly mark: string | null
  readonly sent: number
  readonly lost: number
  readonly late: number
}

export type Findings = {
  readonly sent: number
  readonly answered: number
  readonly lost: number
  /** Answered, but later than `lateAfterMs`. */
  readonly late: number
  readonly outages: readonly Outage[]
  /** Lost outside of every outage: single packets, or some flows while others went on. */
  readonly lostSingles: number
  /** Flows that lost two or more probes in a row while other flows were answered. */
  readonly flowOutages: { readonly flows: number; readonly longestMs: Ms }
  /** Round trips, without the time in which the probe itself did not run. Zero when nothing was answered. */
  readonly latencyMs: { readonly p50: Ms; readonly p99: Ms; readonly max: Ms }
  readonly maxSendLatenessMs: Ms
  /** Sum over the stalls. */
  readonly stalledMs: Ms
  readonly answerers: readonly (Answerer & { readonly answers: number })[]
  readonly timeline: readonly TimelineEntry[]
  readonly marks: readonly Mark[]
  /** Ascending: the time before the first mark, then one for each mark. */
  readonly sections: readonly Section[]
}

const BUCKET_MS = 10

/** What a client would say of these probes. Pure. */
export function analyse(observation: Observation): Findings {
  const { samples } = observation
  const stalled = stallMeter(observation.stalls)
  const latencies: number[] = []
  const bad: boolean[] = []
  const answers = observation.answerers.map(() => 0)
  let lost = 0
  let late = 0
  let maxSendLatenessMs = 0
  for (const sample of samples) {
    maxSendLatenessMs = Math.max(maxSendLatenessMs, sample.sentMs - sample.plannedMs)
    if (sample.answeredMs === undefined) {
      lost++
      bad.push(true)
      continue
    }
    const latency = sample.answeredMs - sample.sentMs - stalled(sample.sentMs, sample.answeredMs)
    latencies.push(latency)
    const isLate = latency > observation.lateAfterMs
    if (isLate) late++
    bad.push(isLate)
    if (sample.answerer !== undefined) answers[sample.answerer] = (answers[sample.answerer] ?? 0) + 1
  }
  latencies.sort((a, b) => a - b)
  const outages = findOutages(observation, bad, stalled)
  return {
    sent: samples.length,
    answered: samples.length - lost,
    lost,
    late,
    outages,
    lostSingles: lost - outages.reduce((sum, outage) => sum + outage.lost, 0),
    flowOutages: findFlowOutages(observation, bad, outages),
    latencyMs: {
      p50: round(percentile(latencies, 0.5)),
      p99: round(percentile(latencies, 0.99)),
      max: round(latencies.at(-1) ?? 0),
    },
    maxSendLatenessMs: round(maxSendLatenessMs),
    stalledMs: round(observation.stalls.reduce((sum, stall) => sum + stall.toMs - stall.fromMs, 0)),
    answerers: observation.answerers.map((answerer, i) => ({ ...answerer, answers: answers[i] ?? 0 })),
    timeline: timelineOf(observation, bad),
    marks: observation.marks.map(mark => ({ name: mark.name, atMs: round(mark.atMs) })),
    sections: sectionsOf(observation, bad),
  }
}

/** The outages between a mark and the next one (or the end): what happened because of what the driver did there. */
export function outagesAfterMark(
  findings: Pick<Findings, 'outages' | 'marks'>,
  name: string,
): readonly Outage[] {
  const mark = findings.marks.find(mark => mark.name === name)
  if (mark === undefined) return []
  const next = Math.min(...findings.marks.map(other => other.atMs).filter(atMs => atMs > mark.atMs))
  return findings.outages.filter(outage => outage.toMs > mark.atMs && outage.fromMs < next)
}

/** Milliseconds of the longest outage, zero without any. */
export function longestOutageMs(outages: readonly Outage[]): Ms {
  return Math.max(0, ...outages.map(outage => outage.durationMs))
}

type StallMeter = (fromMs: Ms, toMs: Ms) => Ms

function stallMeter(stalls: readonly Span[]): StallMeter {
  // Stalled time up to the start of each stall, so that one look-up answers for any span.
  const before: number[] = [0]
  for (const stall of stalls) before.push((before.at(-1) ?? 0) + stall.toMs - stall.fromMs)
  const until = (ms: Ms): Ms => {
    let low = 0
    let high = stalls.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((stalls[middle]?.fromMs ?? 0) < ms) low = middle + 1
      else high = middle
    }
    const last = stalls[low - 1]
    return (before[low] ?? 0) - (last === undefined ? 0 : Math.max(0, last.toMs - ms))
  }
  return (fromMs, toMs) => until(toMs) - until(fromMs)
}

function findOutages(observation: Observation, bad: readonly boolean[], stalled: StallMeter): Outage[] {
  const { samples, intervalMs, flows } = observation
  // Of all probes from this one on, which answer arrived first: that is the end of an outage that began here.
  const firstAnswer: (number | undefined)[] = []
  for (let i = samples.length - 1; i >= 0; i--) {
    const best = firstAnswer[i + 1]
    const own = samples[i]?.answeredMs
    const bestMs = best === undefined ? undefined : samples[best]?.answeredMs
    firstAnswer[i] = own !== undefined && (bestMs === undefined || own <= bestMs) ? i : best
  }
  const lastSentMs = samples.at(-1)?.sentMs ?? 0
  const outages: Outage[] = []
  for (let start = 0; start < samples.length; start++) {
    if (bad[start] !== true) continue
    const ender = firstAnswer[start]
    const fromMs = samples[start]?.sentMs ?? 0
    const toMs = ender === undefined ? lastSentMs : (samples[ender]?.answeredMs ?? lastSentMs)
    let lost = 0
    let late = 0
    let next = start
    // Everything sent before that answer came belongs to this outage; the good ones among it are what ends it.
    for (; next < samples.length; next++) {
      const sample = samples[next]
      if (sample === undefined || (ender !== undefined && next > start && sample.sentMs >= toMs)) break
      if (bad[next] !== true) continue
      if (sample.answeredMs === undefined) lost++
      else late++
    }
    const count = lost + late
    const stalledMs = stalled(fromMs, toMs)
    // Where some flows are dead and others are not, runs shorter than a rotation are the dead flows' turn, seen again one
    // rotation before or after beside a good neighbour (some may just have died or come back): not a time in which nobody
    // was answered.
    let runEnd = start
    while (bad[runEnd] === true) runEnd++
    const repeats = (by: number): boolean =>
      bad.slice(Math.max(0, start + by), runEnd + by).every(each => each) &&
      start + by >= 0 &&
      runEnd + by <= bad.length &&
      (bad[start - 1 + by] === false || bad[runEnd + by] === false)
    const repeated = flows > 1 && runEnd - start < flows && (repeats(-flows) || repeats(flows))
    if (count >= 2 && toMs - fromMs - stalledMs >= intervalMs && !repeated) {
      const by = ender === undefined ? undefined : samples[ender]?.answerer
      outages.push({
        fromMs: round(fromMs),
        toMs: round(toMs),
        durationMs: round(toMs - fromMs),
        lost,
        late,
        stalledMs: round(stalledMs),
        firstAnswerBy: by === undefined ? null : (observation.answerers[by] ?? null),
      })
    }
    start = next - 1
  }
  return outages
}

function findFlowOutages(
  observation: Observation,
  bad: readonly boolean[],
  outages: readonly Outage[],
): { flows: number; longestMs: Ms } {
  const { samples, flows } = observation
  if (flows <= 1) return { flows: 0, longestMs: 0 }
  let affected = 0
  let longestMs = 0
  for (let flow = 0; flow < flows; flow++) {
    let run = 0
    let fromMs = 0
    let hit = false
    const end = (toMs: Ms): void => {
      if (run >= 2) {
        hit = true
        longestMs = Math.max(longestMs, toMs - fromMs)
      }
      run = 0
    }
    for (let i = flow; i < samples.length; i += flows) {
      const sample = samples[i]
      if (sample === undefined) break
      const covered = outages.some(outage => sample.sentMs >= outage.fromMs && sample.sentMs < outage.toMs)
      if (bad[i] === true && !covered) {
        if (run === 0) fromMs = sample.sentMs
        run++
      } else end(sample.answeredMs ?? sample.sentMs)
    }
    end(samples.at(-1)?.sentMs ?? 0)
    if (hit) affected++
  }
  return { flows: affected, longestMs: round(longestMs) }
}

function sectionsOf({ marks, samples }: Observation, bad: readonly boolean[]): Section[] {
  const starts = [{ name: null, atMs: 0 }, ...[...marks].sort((a, b) => a.atMs - b.atMs)]
  const endMs = samples.at(-1)?.sentMs ?? 0
  const sections = starts.map(({ name, atMs }, i) => ({
    mark: name,
    fromMs: round(atMs),
    toMs: round(starts[i + 1]?.atMs ?? Math.max(atMs, endMs)),
    sent: 0,
    lost: 0,
    late: 0,
  }))
  let at = 0
  samples.forEach((sample, i) => {
    while (at + 1 < starts.length && sample.sentMs >= (starts[at + 1]?.atMs ?? 0)) at++
    const section = sections[at]
    if (section === undefined) return
    section.sent++
    if (bad[i] !== true) return
    if (sample.answeredMs === undefined) section.lost++
    else section.late++
  })
  return sections
}

type Bucket = { sent: number; lost: number; nodes: Map<string, number>; clients: Map<string, number> }

function timelineOf(observation: Observation, bad: readonly boolean[]): TimelineEntry[] {
  const buckets = new Map<number, Bucket>()
  observation.samples.forEach((sample, i) => {
    const at = Math.floor(sample.sentMs / BUCKET_MS)
    let bucket = buckets.get(at)
    if (bucket === undefined) {
      bucket = { sent: 0, lost: 0, nodes: new Map(), clients: new Map() }
      buckets.set(at, bucket)
    }
    bucket.sent++
    if (bad[i] === true) bucket.lost++
    else if (sample.answerer !== undefined) {
      const { node, client } = observation.answerers[sample.answerer] ?? { node: '', client: '' }
      bucket.nodes.set(node, (bucket.nodes.get(node) ?? 0) + 1)
      bucket.clients.set(client, (bucket.clients.get(client) ?? 0) + 1)
    }
  })
  const entries: (Bucket & { like: string; fromMs: Ms; toMs: Ms })[] = []
  for (const [at, bucket] of [...buckets].sort(([a], [b]) => a - b)) {
    const share = bucket.lost === 0 ? 0 : Math.ceil((bucket.lost / bucket.sent) * 10)
    const like = `${share} ${[...bucket.nodes.keys()].sort().join(' ')} ${[...bucket.clients.keys()].sort().join(' ')}`
    const last = entries.at(-1)
    if (last !== undefined && last.like === like && last.toMs === at * BUCKET_MS) {
      last.toMs += BUCKET_MS
      last.sent += bucket.sent
      last.lost += bucket.lost
      for (const [node, n] of bucket.nodes) last.nodes.set(node, (last.nodes.get(node) ?? 0) + n)
      for (const [client, n] of bucket.clients) last.clients.set(client, (last.clients.get(client) ?? 0) + n)
    } else {
      entries.push({ like, fromMs: at * BUCKET_MS, toMs: (at + 1) * BUCKET_MS, ...bucket })
    }
  }
  return entries.map(({ fromMs, toMs, sent, lost, nodes, clients }) => ({
    fromMs,
    toMs,
    sent,
    lost,
    nodes: sortedRecord(nodes),
    clients: sortedRecord(clients),
  }))
}

function sortedRecord(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

/** To the microsecond: more digits are noise. */
function round(ms: Ms): Ms {
  return Math.round(ms * 1000) / 1000
}
