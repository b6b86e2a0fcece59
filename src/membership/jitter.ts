import type { Ms } from '../ports/clock.ts'

/**
 * How late the heartbeats of one peer are, and which patience that asks for. A slow mean and a peak that decays: the mean for a
 * path that always wavers, the peak for one that stalls now and then.
 */
export type Jitter = {
  meanMs: Ms
  peakMs: Ms
  /** The patience in use; whole milliseconds. */
  patienceMs: Ms
  lastAt: Ms | undefined
  lastCounter: number
}

/** The patience never exceeds this many times what the interval alone asks for. */
export const PATIENCE_FACTOR_MAX = 10
/** The peak halves in about 500 heartbeats: ten seconds at 20 ms. */
const PEAK_DECAY = 0.9986
const MEAN_WEIGHT = 1 / 32
/** A peak below this share of the interval is what every timer does. */
const IGNORED_SHARE = 0.1

export function createJitter(basePatienceMs: Ms): Jitter {
  return { meanMs: 0, peakMs: 0, patienceMs: basePatienceMs, lastAt: undefined, lastCounter: 0 }
}

/** The next gap measures nothing: we were away, or the peer began anew. */
export function forgetArrival(jitter: Jitter): void {
  jitter.lastAt = undefined
}

/**
 * A message came; says whether the patience changed. Lost messages are counted by the counter and are no jitter. A gap of more
 * than twice the patience is an outage and none either: its end must not make the next one harder to see.
 * @param baseMs the patience that the interval alone asks for
 */
export function observe(jitter: Jitter, counter: number, intervalMs: Ms, baseMs: Ms, now: Ms): boolean {
  const { lastAt, lastCounter } = jitter
  jitter.lastAt = now
  jitter.lastCounter = counter
  if (lastAt !== undefined) {
    const gap = now - lastAt
    if (gap <= 2 * jitter.patienceMs) {
      const late = Math.max(0, gap - (counter - lastCounter) * intervalMs)
      jitter.meanMs += (late - jitter.meanMs) * MEAN_WEIGHT
      jitter.peakMs = Math.max(late, jitter.peakMs * PEAK_DECAY)
    }
  }
  const peak = jitter.peakMs > IGNORED_SHARE * intervalMs ? jitter.peakMs : 0
  // One message lost and the next one late, with half as much again as the latest that was seen.
  const needed = 2 * intervalMs + 1.5 * peak + 2 * jitter.meanMs
  const wanted = Math.min(PATIENCE_FACTOR_MAX * baseMs, Math.max(baseMs, needed))
  // Steps, so that it does not change with every heartbeat: up with a tenth to spare, down when a third is too much.
  const tooLong = wanted <= 0.67 * jitter.patienceMs || needed <= 0.8 * baseMs
  if (wanted <= jitter.patienceMs && !tooLong) return false
  const next = wanted <= baseMs ? baseMs : Math.min(PATIENCE_FACTOR_MAX * baseMs, Math.ceil(1.1 * wanted))
  if (next === jitter.patienceMs) return false
  jitter.patienceMs = next
  return true
}
