import type { NodeFacts } from './nodes.ts'
import type { ParsedPool } from './pools.ts'
import type { Reader } from './reader.ts'
import { shown } from './report.ts'
import { matchesAny, matchesSelector } from './selectors.ts'

/** The pools that an advertisement applies to: those it names and those it selects; without either, all. */
export function selectPools(spec: Reader, pools: readonly ParsedPool[]): ParsedPool[] {
  const names = spec.names('ipAddressPools')
  const selectors = spec.selectors('ipAddressPoolSelectors')
  for (const name of names.filter(name => !pools.some(({ pool }) => pool.name === name))) {
    spec.place(
      spec.at('ipAddressPools'),
      'pool-unknown',
      `there is no pool named ${shown(name)}; correct the name or create the pool`,
      'warning',
    )
  }
  const all = names.length === 0 && selectors.length === 0
  return pools.filter(
    ({ pool, labels }) =>
      all || names.includes(pool.name) || selectors.some(selector => matchesSelector(selector, labels)),
  )
}

/** The nodes that the nodeSelectors match; without any, all. A warning when nodes are known but none matches. */
export function selectNodes(spec: Reader, nodes: readonly NodeFacts[]): NodeFacts[] {
  const selectors = spec.selectors('nodeSelectors')
  const selected = nodes.filter(({ labels }) => matchesAny(selectors, labels))
  if (selected.length === 0 && nodes.length > 0) {
    spec.place(
      spec.at('nodeSelectors'),
      'nodes-none',
      'no node matches the nodeSelectors, so this has no effect; label a node to match',
      'warning',
    )
  }
  return selected
}
