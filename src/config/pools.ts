import { type Ip, ipToBigint, isIpv4, parseIp } from '../addr/ip.ts'
import {
  type Prefix,
  parsePrefix,
  prefixFamily,
  prefixFirst,
  prefixLast,
  rangeToPrefixes,
} from '../addr/prefix.ts'
import type { KubeObject } from '../ports/kube.ts'
import { fieldsOf } from './fields.ts'
import type { ObjectRef, Pool, PoolAllocation } from './model.ts'
import type { NamespaceFacts } from './nodes.ts'
import { Reader, specReader } from './reader.ts'
import { type Place, type Report, refTo, shown } from './report.ts'
import { compareText, type Labels, matchesSelector } from './selectors.ts'

export type ParsedPool = {
  readonly pool: Pool
  readonly object: ObjectRef
  readonly labels: Labels
  /** The prefixes of each entry of spec.addresses apart (V-22). */
  readonly entries: readonly (readonly Prefix[])[]
}

export function parsePool(
  object: KubeObject,
  namespaces: readonly NamespaceFacts[],
  report: Report,
): ParsedPool {
  const ref = refTo('IPAddressPool', object)
  const spec = specReader(object, report.at(ref), { required: true })
  const entries = parseAddresses(spec)
  const pool = {
    name: ref.name,
    prefixes: entries.flat(),
    autoAssign: spec.boolean('autoAssign', true),
    avoidBuggyIps: spec.boolean('avoidBuggyIPs', false),
  }
  const allocation = spec.has('serviceAllocation') ? parseAllocation(spec, namespaces) : undefined
  spec.done()
  const labels = fieldsOf(object.metadata.labels) as Labels
  return { pool: allocation === undefined ? pool : { ...pool, allocation }, object: ref, labels, entries }
}

/** Its presence, even when empty, makes the pool a pinned one; then it is for every Service (V-17). */
function parseAllocation(pool: Reader, known: readonly NamespaceFacts[]): PoolAllocation {
  const spec = new Reader(pool.raw('serviceAllocation'), pool.at('serviceAllocation'), pool.place)
  const names = spec.names('namespaces')
  const selectors = spec.selectors('namespaceSelectors')
  const serviceSelectors = spec.selectors('serviceSelectors')
  const priority = spec.integer('priority') ?? 0
  spec.done()
  const restricted = names.length > 0 || selectors.length > 0
  const selected = known.filter(({ labels }) => selectors.some(selector => matchesSelector(selector, labels)))
  const namespaces = restricted ? new Set([...names, ...selected.map(({ name }) => name)]) : 'any'
  if (namespaces !== 'any' && namespaces.size === 0) {
    spec.place(
      spec.at('namespaceSelectors'),
      'namespaces-none',
      'no namespace matches the namespaceSelectors, so no Service can use this pool; label a namespace to match',
      'warning',
    )
  }
  return { priority, namespaces, serviceSelectors }
}

function parseAddresses(spec: Reader): Prefix[][] {
  const given = spec.has('addresses')
  const entries = spec.list('addresses')
  if (entries.length === 0 && (!given || Array.isArray(spec.raw('addresses')))) {
    spec.place(
      spec.at('addresses'),
      'addresses-empty',
      'the pool has no addresses; give at least one CIDR or range',
    )
  }
  return entries.map((entry, index) =>
    parseAddressEntry(entry, `${spec.at('addresses')}[${index}]`, spec.place),
  )
}

/** A CIDR (V-11) or a range (V-12, V-13). */
function parseAddressEntry(entry: unknown, path: string, place: Place): Prefix[] {
  if (typeof entry !== 'string') {
    place(path, 'field-type', `${path} must be text, not ${shown(entry)}`)
    return []
  }
  const dash = entry.indexOf('-')
  if (dash < 0) {
    const prefix = parsePrefix(entry)
    if (prefix !== undefined) return [prefix]
    const hint =
      parseIp(entry) === undefined ? '' : `; for one address write ${entry}/${isIpv4(entry as Ip) ? 32 : 128}`
    place(path, 'address-invalid', `${shown(entry)} is neither a CIDR nor a range of addresses${hint}`)
    return []
  }
  const [start, end] = [entry.slice(0, dash), entry.slice(dash + 1)].map(half => parseIp(half.trim()))
  if (start === undefined || end === undefined) {
    const half = (start === undefined ? entry.slice(0, dash) : entry.slice(dash + 1)).trim()
    place(path, 'address-invalid', `${shown(entry)} is no range: ${shown(half)} is no IP address`)
    return []
  }
  if (isIpv4(start) !== isIpv4(end)) {
    place(
      path,
      'range-mixed-families',
      `${shown(entry)} goes from one address family to the other; write a range for each`,
    )
    return []
  }
  if (ipToBigint(start) > ipToBigint(end)) {
    place(path, 'range-reversed', `${shown(entry)} ends before it starts; write ${end}-${start}`)
    return []
  }
  return rangeToPrefixes(start, end)
}

/**
 * Two prefixes overlap exactly when one contains the other, so in order of their first address (wider first) each
 * needs a look only at the widest one still open (V-16).
 */
export function reportOverlaps(pools: readonly ParsedPool[], report: Report): void {
  const all = pools
    .flatMap(({ pool, object }) => pool.prefixes.map(prefix => ({ object, prefix })))
    .map(item => ({
      ...item,
      family: prefixFamily(item.prefix),
      first: ipToBigint(prefixFirst(item.prefix)),
      last: ipToBigint(prefixLast(item.prefix)),
    }))
    .sort(
      (a, b) =>
        compareText(a.family, b.family) ||
        (a.first < b.first ? -1 : a.first > b.first ? 1 : a.last > b.last ? -1 : a.last < b.last ? 1 : 0),
    )
  let open: (typeof all)[number] | undefined
  for (const item of all) {
    if (open !== undefined && open.family === item.family && item.first <= open.last) {
      const same = open.object.name === item.object.name
      const other = same ? `${open.prefix} of the same pool` : `${open.prefix} of pool ${open.object.name}`
      report.at(item.object)(
        'spec.addresses',
        'pool-overlap',
        `${item.prefix} overlaps ${other}; every address can be in one pool once`,
      )
    } else open = item
  }
}
