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
import { type Fields, fieldsOf, integerOf } from './fields.ts'
import type {
  Config,
  L2Advertisement,
  ObjectRef,
  Pool,
  PoolAllocation,
  Problem,
  ProblemCode,
} from './model.ts'
import type { NamespaceFacts, NodeFacts } from './nodes.ts'
import type { SecretFacts } from './secrets.ts'
import {
  compareText,
  type LabelSelector,
  type Labels,
  matchesAny,
  matchesSelector,
  parseLabelSelector,
} from './selectors.ts'

export type ConfigResources = {
  readonly pools: readonly KubeObject[]
  readonly l2Advertisements: readonly KubeObject[]
  readonly bgpAdvertisements?: readonly KubeObject[]
  /** Of either version. */
  readonly bgpPeers?: readonly KubeObject[]
  readonly bfdProfiles?: readonly KubeObject[]
  readonly communities?: readonly KubeObject[]
  /** Absent: Secrets are not read, so what peers say about them is not checked (V-34). */
  readonly secrets?: readonly SecretFacts[]
  readonly nodes: readonly NodeFacts[]
  readonly namespaces: readonly NamespaceFacts[]
}

/** Either a configuration, perhaps with warnings, or everything that is wrong: then the whole is refused (V-1). */
export type ParsedConfig =
  | { readonly config: Config; readonly warnings: readonly Problem[] }
  | { readonly problems: readonly Problem[] }

/**
 * Custom resources to one configuration. Total: whatever the objects hold, the answer is a value. The order of
 * the resources changes nothing.
 */
export function parseConfig(resources: ConfigResources): ParsedConfig {
  const report = new Report()
  const pools = sortedByName(resources.pools).map(object => parsePool(object, resources.namespaces, report))
  reportDuplicateNames('IPAddressPool', resources.pools, report)
  reportOverlaps(pools, report)
  const advertisements = sortedByName(resources.l2Advertisements).map(object =>
    parseL2Advertisement(object, pools, resources.nodes, report),
  )
  reportDuplicateNames('L2Advertisement', resources.l2Advertisements, report)
  const fatal = report.problems.some(problem => problem.severity !== 'warning')
  if (fatal) return { problems: report.problems }
  return {
    config: {
      pools: pools.map(({ pool }) => pool),
      l2Advertisements: advertisements,
      bgpAdvertisements: [],
      peers: [],
      bfdProfiles: [],
      communities: new Map(),
    },
    warnings: report.problems,
  }
}

/** Collects problems; a Field names the place that they are about. */
class Report {
  readonly problems: Problem[] = []

  at(object: ObjectRef): Place {
    return (field, code, message, severity = 'error') =>
      this.problems.push({ code, severity, object, field, message })
  }
}

type Place = (field: string, code: ProblemCode, message: string, severity?: Problem['severity']) => void

type ParsedPool = { readonly pool: Pool; readonly object: ObjectRef; readonly labels: Labels }

function parsePool(object: KubeObject, namespaces: readonly NamespaceFacts[], report: Report): ParsedPool {
  const ref = refTo('IPAddressPool', object)
  const place = report.at(ref)
  if (ref.name === '') place('metadata.name', 'name-missing', 'the pool has no name')
  const spec = specOf(object, place)
  const prefixes = parseAddresses(spec['addresses'], place)
  const pool = {
    name: ref.name,
    prefixes,
    autoAssign: booleanOf(spec, 'autoAssign', true, place),
    avoidBuggyIps: booleanOf(spec, 'avoidBuggyIPs', false, place),
  }
  const raw = spec['serviceAllocation'] ?? undefined
  const labels = fieldsOf(object.metadata.labels) as Labels
  if (raw === undefined) return { pool, object: ref, labels }
  return { pool: { ...pool, allocation: parseAllocation(raw, namespaces, place) }, object: ref, labels }
}

function parseAllocation(raw: unknown, known: readonly NamespaceFacts[], place: Place): PoolAllocation {
  const path = 'spec.serviceAllocation'
  if (typeof raw !== 'object' || Array.isArray(raw)) place(path, 'field-type', `${path} must be an object`)
  const fields = fieldsOf(raw)
  const names = parseNames(fields['namespaces'], `${path}.namespaces`, place)
  const selectors = parseSelectors(fields['namespaceSelectors'], `${path}.namespaceSelectors`, place)
  const serviceSelectors = parseSelectors(fields['serviceSelectors'], `${path}.serviceSelectors`, place)
  const priority = fields['priority'] ?? 0
  if (integerOf(priority) === undefined) {
    place(`${path}.priority`, 'field-type', `${path}.priority must be a whole number, not ${shown(priority)}`)
  }
  const restricted = names.length > 0 || selectors.length > 0
  const selected = known.filter(({ labels }) => selectors.some(selector => matchesSelector(selector, labels)))
  const namespaces = restricted ? new Set([...names, ...selected.map(({ name }) => name)]) : 'any'
  if (namespaces !== 'any' && namespaces.size === 0) {
    place(
      `${path}.namespaceSelectors`,
      'namespaces-none',
      'no namespace matches the namespaceSelectors, so no Service can use this pool; label a namespace to match',
      'warning',
    )
  }
  return { priority: integerOf(priority) ?? 0, namespaces, serviceSelectors }
}

function parseAddresses(raw: unknown, place: Place): Prefix[] {
  const path = 'spec.addresses'
  if (raw !== undefined && raw !== null && !Array.isArray(raw)) {
    place(path, 'field-type', `${path} must be a list of CIDRs and ranges`)
    return []
  }
  const entries = (raw ?? []) as readonly unknown[]
  if (entries.length === 0) {
    place(path, 'addresses-empty', 'the pool has no addresses; give at least one CIDR or range')
  }
  return entries.flatMap((entry, index) => parseAddressEntry(entry, `${path}[${index}]`, place))
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
function reportOverlaps(pools: readonly ParsedPool[], report: Report): void {
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

function parseL2Advertisement(
  object: KubeObject,
  pools: readonly ParsedPool[],
  nodes: readonly NodeFacts[],
  report: Report,
): L2Advertisement {
  const ref = refTo('L2Advertisement', object)
  const place = report.at(ref)
  if (ref.name === '') place('metadata.name', 'name-missing', 'the advertisement has no name')
  const spec = object['spec'] === undefined || object['spec'] === null ? {} : specOf(object, place)
  const names = parseNames(spec['ipAddressPools'], 'spec.ipAddressPools', place)
  const poolSelectors = parseSelectors(spec['ipAddressPoolSelectors'], 'spec.ipAddressPoolSelectors', place)
  const nodeSelectors = parseSelectors(spec['nodeSelectors'], 'spec.nodeSelectors', place)
  const interfaces = parseNames(spec['interfaces'], 'spec.interfaces', place, { allowRepeated: true })
  const serviceSelectors = parseSelectors(spec['serviceSelectors'], 'spec.serviceSelectors', place)

  const unknown = names.filter(name => !pools.some(({ pool }) => pool.name === name))
  for (const name of unknown) {
    place('spec.ipAddressPools', 'pool-unknown', `there is no pool named ${shown(name)}`, 'warning')
  }
  const all = names.length === 0 && poolSelectors.length === 0
  const selectedPools = pools.filter(
    ({ pool, labels }) =>
      all || names.includes(pool.name) || poolSelectors.some(selector => matchesSelector(selector, labels)),
  )
  const selectedNodes = nodes.filter(({ labels }) => matchesAny(nodeSelectors, labels))
  if (selectedNodes.length === 0 && nodes.length > 0) {
    place(
      'spec.nodeSelectors',
      'nodes-none',
      'no node matches the nodeSelectors, so nothing is announced',
      'warning',
    )
  }
  return {
    name: ref.name,
    pools: new Set(selectedPools.map(({ pool }) => pool.name)),
    nodes: new Set(selectedNodes.map(({ name }) => name)),
    interfaces: interfaces.length === 0 ? 'all' : [...new Set(interfaces)].sort(),
    serviceSelectors,
    scores: scoresOf(parsePreferences(spec['preferredNodeSelectors'], place), selectedNodes),
  }
}

type Preference = { readonly weight: number; readonly selector: LabelSelector }

function parsePreferences(raw: unknown, place: Place): Preference[] {
  const path = 'spec.preferredNodeSelectors'
  return listOf(raw, path, place).flatMap((item, index) => {
    const { weight, preference } = fieldsOf(item)
    const number = integerOf(weight)
    const at = `${path}[${index}]`
    if (number === undefined || number < 1 || number > 100) {
      place(
        `${at}.weight`,
        'weight-invalid',
        `${at}.weight must be a whole number from 1 to 100, not ${shown(weight)}`,
      )
    }
    const selector = parseLabelSelector(preference)
    if (typeof selector === 'string') {
      place(`${at}.preference`, 'selector-invalid', `${at}.preference ${selector}`)
      return []
    }
    return number === undefined ? [] : [{ weight: number, selector }]
  })
}

function scoresOf(
  preferences: readonly Preference[],
  nodes: readonly NodeFacts[],
): ReadonlyMap<string, number> {
  const scores = new Map<string, number>()
  if (preferences.length === 0) return scores
  for (const { name, labels } of nodes) {
    let score = 0
    for (const { weight, selector } of preferences) if (matchesSelector(selector, labels)) score += weight
    if (score > 0) scores.set(name, score)
  }
  return scores
}

function parseSelectors(raw: unknown, path: string, place: Place): LabelSelector[] {
  const seen = new Set<string>()
  return listOf(raw, path, place).flatMap((item, index) => {
    const at = `${path}[${index}]`
    const selector = parseLabelSelector(item)
    if (typeof selector === 'string') {
      place(at, 'selector-invalid', `${at} ${selector}`)
      return []
    }
    if (seen.has(selector.text))
      place(at, 'selector-duplicate', `${at} repeats an earlier selector of the list`)
    seen.add(selector.text)
    return [selector]
  })
}

/** A list of names without repeated entries (V-5). */
function parseNames(
  raw: unknown,
  path: string,
  place: Place,
  options: { allowRepeated?: boolean } = {},
): string[] {
  const seen = new Set<string>()
  return listOf(raw, path, place).flatMap((item, index) => {
    const at = `${path}[${index}]`
    if (typeof item !== 'string') {
      place(at, 'field-type', `${at} must be text, not ${shown(item)}`)
      return []
    }
    if (seen.has(item) && options.allowRepeated !== true) {
      place(at, 'entry-duplicate', `${at} repeats ${shown(item)}`)
    }
    seen.add(item)
    return [item]
  })
}

function listOf(raw: unknown, path: string, place: Place): readonly unknown[] {
  if (raw === undefined || raw === null) return []
  if (Array.isArray(raw)) return raw as unknown[]
  place(path, 'field-type', `${path} must be a list`)
  return []
}

function booleanOf(fields: Fields, name: string, otherwise: boolean, place: Place): boolean {
  const value = fields[name] ?? otherwise
  if (typeof value === 'boolean') return value
  place(`spec.${name}`, 'field-type', `spec.${name} must be true or false, not ${shown(value)}`)
  return otherwise
}

function specOf(object: KubeObject, place: Place): Fields {
  const spec = object['spec']
  if (typeof spec !== 'object' || spec === null || Array.isArray(spec)) {
    place('spec', 'field-type', 'spec must be an object')
  }
  return fieldsOf(spec)
}

function reportDuplicateNames(kind: string, objects: readonly KubeObject[], report: Report): void {
  const seen = new Set<string>()
  for (const object of sortedByName(objects)) {
    const ref = refTo(kind, object)
    if (ref.name !== '' && seen.has(ref.name)) {
      report.at(ref)(
        'metadata.name',
        'name-duplicate',
        `there are two objects of kind ${kind} named ${shown(ref.name)}`,
      )
    }
    seen.add(ref.name)
  }
}

/** By name, then by content, so that the order of the input changes nothing even where names repeat. */
function sortedByName(objects: readonly KubeObject[]): KubeObject[] {
  return [...objects].sort((a, b) => {
    const [refA, refB] = [refTo('', a), refTo('', b)]
    return (
      compareText(refA.name, refB.name) ||
      compareText(refA.namespace, refB.namespace) ||
      (refA.name === refB.name ? compareText(JSON.stringify(a), JSON.stringify(b)) : 0)
    )
  })
}

function refTo(kind: string, object: KubeObject): ObjectRef {
  const { name, namespace } = fieldsOf(object.metadata)
  return {
    kind,
    namespace: typeof namespace === 'string' ? namespace : '',
    name: typeof name === 'string' ? name : '',
  }
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing'
}

/** The same pools with the same rules: what decides whether allocations must be looked at again. */
export function samePools(a: Config, b: Config): boolean {
  return canonical(a.pools) === canonical(b.pools)
}

/** Deep equality; sets and maps compare by content in order, which parsing makes canonical. */
export function sameConfig(a: Config, b: Config): boolean {
  return canonical(a) === canonical(b)
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    item instanceof Set
      ? ['set', ...(item as Set<unknown>)]
      : item instanceof Map
        ? ['map', ...(item as Map<unknown, unknown>)]
        : item,
  )
}
