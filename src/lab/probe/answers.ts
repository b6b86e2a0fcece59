import type { Ms } from '../../ports/clock.ts'

/** Frames one after the other that say the same of one address. Times are CLOCK_MONOTONIC. */
export type Run = {
  readonly mac: string
  readonly fromMs: Ms
  readonly toMs: Ms
  readonly count: number
}

/** Time in which frames came from more than one host. */
export type Overlap = {
  readonly fromMs: Ms
  readonly toMs: Ms
  readonly macs: readonly string[]
}

/** Between two frames of a run lies at most this much; a longer silence begins another run, also of the same host. */
const RUN_GAP_MS: Ms = 20
/** Hosts that take turns with at most this much between two turns answer at the same time. */
const OVERLAP_GAP_MS: Ms = 20

/** Gathers who said that it has an address. */
export class Runs {
  #runs: { mac: string; fromMs: Ms; toMs: Ms; count: number }[] = []

  add(mac: string, atMs: Ms): void {
    const last = this.#runs.at(-1)
    if (last !== undefined && last.mac === mac && atMs - last.toMs <= RUN_GAP_MS) {
      last.toMs = atMs
      last.count++
    } else this.#runs.push({ mac, fromMs: atMs, toMs: atMs, count: 1 })
  }

  /** All since the last call. */
  take(): Run[] {
    return this.#runs.splice(0)
  }
}

/**
 * When more than one host answered, oldest first. An address that moves once is none: the new host's first answer comes after the
 * old one's last. From the first answer of the second host to the last turn of those that took turns.
 */
export function overlapsOf(runs: readonly Run[]): Overlap[] {
  const overlaps: Overlap[] = []
  let first: Run | undefined
  let last: Run | undefined
  let macs = new Set<string>()
  const end = (): void => {
    if (first !== undefined && last !== undefined && last !== first) {
      overlaps.push({ fromMs: first.fromMs, toMs: last.fromMs, macs: [...macs].sort() })
    }
    first = last = undefined
    macs = new Set()
  }
  for (const [i, run] of runs.entries()) {
    const before = runs[i - 1]
    if (before === undefined || before.mac === run.mac) continue
    if (last !== undefined && run.fromMs - last.fromMs > OVERLAP_GAP_MS) end()
    first ??= run
    last = run
    macs.add(before.mac).add(run.mac)
  }
  end()
  return overlaps
}

/** The longest time in which more than one host answered; 0: never. */
export function longestOverlapMs(runs: readonly Run[]): Ms {
  return Math.max(0, ...overlapsOf(runs).map(({ fromMs, toMs }) => toMs - fromMs))
}

export type Span = { readonly fromMs: Ms; readonly toMs: Ms }

/** A time in which nobody was heard, and how much of it somebody listened. */
export type Silence = Span & { readonly heardNothingMs: Ms }

/** Times between these two in which somebody listened for more than `overMs` and heard nothing. */
export function silencesOf(
  runs: readonly Run[],
  { fromMs, toMs, overMs, deaf = [] }: Span & { readonly overMs: Ms; readonly deaf?: readonly Span[] },
): Silence[] {
  const silences: Silence[] = []
  let since = fromMs
  const until = (at: Ms): void => {
    const missed = deaf.reduce(
      (sum, span) => sum + Math.max(0, Math.min(at, span.toMs) - Math.max(since, span.fromMs)),
      0,
    )
    const heardNothingMs = at - since - missed
    if (heardNothingMs > overMs) silences.push({ fromMs: since, toMs: at, heardNothingMs })
  }
  for (const run of runs) {
    if (run.toMs < since) continue
    if (run.fromMs >= toMs) break
    until(run.fromMs)
    since = run.toMs
  }
  if (since < toMs) until(toMs)
  return silences
}
