import { hashKey, nodeHash } from '../wire/heartbeat.ts'

/**
 * The voters of a cluster: all nodes up to `max`, otherwise those whose names hash lowest. Ascending by hash, so that every node
 * that knows the same names gets the same list, and a node that comes or goes changes at most one place.
 */
export function chooseVoters(names: Iterable<string>, max: number): string[] {
  return [...names]
    .map(name => ({ name, key: hashKey(nodeHash(name)) }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .slice(0, max)
    .map(({ name }) => name)
}

/** Any two majorities of the same voters share one. */
export function majorityOf(voters: number): number {
  return Math.floor(voters / 2) + 1
}

/** The largest value that at least `rank` of the values reach: until when so many of them hold. -Infinity when there are fewer. */
export function reachedBy(values: readonly number[], rank: number): number {
  if (rank > values.length) return Number.NEGATIVE_INFINITY
  // Up to seven values, for each heartbeat: cheaper than sorting a copy.
  let best = Number.NEGATIVE_INFINITY
  for (const candidate of values) {
    if (candidate <= best) continue
    let reach = 0
    for (const value of values) if (value >= candidate) reach++
    if (reach >= rank) best = candidate
  }
  return best
}
