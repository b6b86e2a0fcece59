import type { Family } from '../addr/ip.ts'
import { localPrefConflict } from '../config/bgp-advertisements.ts'
import type { BgpAdvertisement } from '../config/model.ts'

/**
 * The first pair, in the order given, that would give one prefix two values of LOCAL_PREF on one session (B-12). Advertisements that
 * select Services cannot be held against each other before it is known which of them match one (V-24).
 * @param advertisements those that match one Service and one node
 * @param families of the pool that its addresses are from
 */
export function conflictAmong(
  advertisements: readonly BgpAdvertisement[],
  families: readonly Family[],
): readonly [BgpAdvertisement, BgpAdvertisement] | undefined {
  for (const [index, a] of advertisements.entries()) {
    for (const b of advertisements.slice(index + 1)) {
      if (localPrefConflict(a, b, families)) return [a, b]
    }
  }
  return undefined
}
