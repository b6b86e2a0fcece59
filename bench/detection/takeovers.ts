import type { Run } from '../../src/lab/probe/answers.ts'

/** Of a host that takes an address and is silent for so long after, the next time is another takeover. */
const EPISODE_MS = 500

/** How often a host other than the first said that it has the address. */
export function takeoversOf(runs: readonly Run[]): number {
  const owner = runs[0]?.mac
  const lastAt = new Map<string, number>()
  let takeovers = 0
  for (const { mac, fromMs, toMs } of runs) {
    if (mac === owner) continue
    if (fromMs - (lastAt.get(mac) ?? Number.NEGATIVE_INFINITY) > EPISODE_MS) takeovers++
    lastAt.set(mac, toMs)
  }
  return takeovers
}
