import { type Ip, ipFromBigint, ipToBigint } from '../../addr/ip.ts'
import { type Prefix, prefixFamily, prefixFirst, prefixSize } from '../../addr/prefix.ts'

/** The network's own address and the node's gateway address come first in each pod CIDR. */
const RESERVED = 2n
/** Further back than this nothing is looked for: an IPv6 pod CIDR is larger than any lab. */
const SEARCH_MAX = 65_536n

/**
 * One free address of each prefix, or undefined when one of them is full. The search starts behind `after`, so that an address
 * given back is not used again at once: a late packet must not reach the wrong pod.
 */
export function allocatePodIps(
  prefixes: readonly Prefix[],
  used: ReadonlySet<Ip>,
  after: ReadonlyMap<Prefix, bigint>,
): { readonly ips: readonly Ip[]; readonly last: ReadonlyMap<Prefix, bigint> } | undefined {
  const ips: Ip[] = []
  const last = new Map(after)
  for (const prefix of prefixes) {
    const family = prefixFamily(prefix)
    // An IPv4 prefix ends with its broadcast address.
    const end = prefixSize(prefix) - (family === 'IPv4' ? 1n : 0n)
    const count = end - RESERVED < SEARCH_MAX ? end - RESERVED : SEARCH_MAX
    if (count <= 0n) return undefined
    const first = ipToBigint(prefixFirst(prefix))
    const start = (after.get(prefix) ?? RESERVED - 1n) - RESERVED + 1n
    let found: Ip | undefined
    for (let i = 0n; i < count; i++) {
      const offset = RESERVED + ((start + i) % count)
      const ip = ipFromBigint(family, first + offset)
      if (used.has(ip)) continue
      found = ip
      last.set(prefix, offset)
      break
    }
    if (found === undefined) return undefined
    ips.push(found)
  }
  return { ips, last }
}
