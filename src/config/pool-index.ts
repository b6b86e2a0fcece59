import { familyOf, type Ip, ipToBigint } from '../addr/ip.ts'
import { prefixFamily, prefixFirst, prefixLast } from '../addr/prefix.ts'
import type { Config, Pool } from './model.ts'

type Span = {
  readonly first: bigint
  readonly last: bigint
  readonly pool: Pool
  readonly prefixIndex: number
}

/** Which pool an address is in. Prefixes never overlap (V-16), so each question is one binary search. */
export class PoolIndex {
  readonly #spans: { readonly IPv4: Span[]; readonly IPv6: Span[] } = { IPv4: [], IPv6: [] }

  constructor(config: Pick<Config, 'pools'>) {
    for (const pool of config.pools) {
      for (const [prefixIndex, prefix] of pool.prefixes.entries()) {
        const first = ipToBigint(prefixFirst(prefix))
        const last = ipToBigint(prefixLast(prefix))
        this.#spans[prefixFamily(prefix)].push({ first, last, pool, prefixIndex })
      }
    }
    for (const spans of Object.values(this.#spans)) spans.sort((a, b) => (a.first < b.first ? -1 : 1))
  }

  /** The pool, and which of its prefixes. */
  find(ip: Ip): { readonly pool: Pool; readonly prefixIndex: number } | undefined {
    const spans = this.#spans[familyOf(ip)]
    const value = ipToBigint(ip)
    let low = 0
    let high = spans.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((spans[middle] as Span).first <= value) low = middle + 1
      else high = middle
    }
    const span = spans[low - 1]
    return span !== undefined && value <= span.last ? span : undefined
  }

  /** The one pool that holds all of them (P-2), or undefined. */
  poolOfAll(ips: readonly Ip[]): Pool | undefined {
    const [first, ...others] = ips
    const pool = first === undefined ? undefined : this.find(first)?.pool
    return others.every(ip => this.find(ip)?.pool === pool) ? pool : undefined
  }
}
