import type { Family } from '../addr/ip.ts'
import type { BgpAdvertisement } from '../config/model.ts'

/**
 * Whether two advertisements would tell the same router two values of LOCAL_PREF for one prefix of a pool that has these
 * families (rules V-23 and B-12). Said of advertisements that both cover the pool and the Service.
 */
export function localPrefsConflict(
  a: BgpAdvertisement,
  b: BgpAdvertisement,
  families: ReadonlySet<Family>,
): boolean {
  if (a.localPref === b.localPref) return false
  if (![...families].some(family => lengthFor(a, family) === lengthFor(b, family))) return false
  return samePeers(a, b) && intersects(a.nodes, b.nodes)
}

/** The first pair that conflicts, in the order given. */
export function conflictAmong(
  advertisements: readonly BgpAdvertisement[],
  families: ReadonlySet<Family>,
): readonly [BgpAdvertisement, BgpAdvertisement] | undefined {
  for (const [index, a] of advertisements.entries()) {
    for (const b of advertisements.slice(index + 1)) {
      if (localPrefsConflict(a, b, families)) return [a, b]
    }
  }
  return undefined
}

/** The length of the prefix that is announced for an address of the family (B-1). */
export function lengthFor(advertisement: BgpAdvertisement, family: Family): number {
  return family === 'IPv4' ? advertisement.aggregationLength : advertisement.aggregationLengthV6
}

/** Both may reach one router. Who names no peers reaches all. */
function samePeers({ peers: a }: BgpAdvertisement, { peers: b }: BgpAdvertisement): boolean {
  return a === 'all' || b === 'all' || intersects(a, b)
}

function intersects(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  for (const item of a) if (b.has(item)) return true
  return false
}
