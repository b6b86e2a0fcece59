import type { Family } from '../addr/ip.ts'
import { type Prefix, prefixFamily, prefixLength } from '../addr/prefix.ts'
import type { KubeObject } from '../ports/kube.ts'
import { type Aliases, compareCommunities, parseCommunity } from './communities.ts'
import type { BfdProfile, BgpAdvertisement, BgpCommunity, BgpPeer, ObjectRef, Pool } from './model.ts'
import type { NodeFacts } from './nodes.ts'
import type { ParsedPool } from './pools.ts'
import { type Reader, specReader } from './reader.ts'
import { canonicalText, type Report, refTo, shown } from './report.ts'
import { selectNodes, selectPools } from './selection.ts'

export type AdvertisementSurroundings = {
  readonly pools: readonly ParsedPool[]
  readonly nodes: readonly NodeFacts[]
  readonly aliases: Aliases
  /** Names of the peers; undefined: peers are not read. */
  readonly peers: ReadonlySet<string> | undefined
}

export type ParsedAdvertisement = {
  readonly object: ObjectRef
  readonly advertisement: BgpAdvertisement
  /** Equal for advertisements whose specs say the same. */
  readonly specText: string
}

/** Rules V-20 to V-22, V-26 and V-27. */
export function parseBgpAdvertisement(
  object: KubeObject,
  around: AdvertisementSurroundings,
  report: Report,
): ParsedAdvertisement {
  const ref = refTo('BGPAdvertisement', object)
  const spec = specReader(object, report.at(ref), { required: false })
  const pools = selectPools(spec, around.pools)
  const nodes = selectNodes(spec, around.nodes)
  const peers = parsePeerNames(spec, around.peers)
  const advertisement = {
    name: ref.name,
    pools: new Set(pools.map(({ pool }) => pool.name)),
    nodes: new Set(nodes.map(({ name }) => name)),
    peers,
    aggregationLength: parseLength(spec, 'aggregationLength', 1, 32),
    aggregationLengthV6: parseLength(spec, 'aggregationLengthV6', 0, 128),
    localPref: spec.integer('localPref', 0, 0xffff_ffff) || undefined,
    communities: parseCommunities(spec, around.aliases),
    serviceSelectors: spec.selectors('serviceSelectors'),
  }
  spec.done()
  for (const parsed of pools) reportTooWide(spec, advertisement, parsed)
  if (advertisement.serviceSelectors.length > 0) {
    for (const [name, whole] of [
      ['aggregationLength', 32],
      ['aggregationLengthV6', 128],
    ] as const) {
      if (advertisement[name] === whole) continue
      spec.place(
        spec.at(name),
        'aggregation-with-services',
        `${name} is ${advertisement[name]}, and with serviceSelectors only ${whole} works, since an aggregate ` +
          'also attracts the traffic of Services that are not selected; leave one of them out',
      )
    }
  }
  return { object: ref, advertisement, specText: canonicalText(object['spec'] ?? {}) }
}

/** V-21. */
function parseLength(
  spec: Reader,
  name: 'aggregationLength' | 'aggregationLengthV6',
  min: number,
  max: number,
): number {
  const length = spec.integer(name)
  if (length === undefined || (length >= min && length <= max)) return length ?? max
  spec.place(
    spec.at(name),
    'aggregation-invalid',
    `${name} is ${length}; the length of a prefix must be from ${min} to ${max}`,
  )
  return max
}

function parsePeerNames(spec: Reader, known: ReadonlySet<string> | undefined): 'all' | ReadonlySet<string> {
  const names = spec.names('peers')
  for (const name of known === undefined ? [] : names.filter(name => !known.has(name))) {
    spec.place(
      spec.at('peers'),
      'peer-unknown',
      `there is no BGPPeer named ${shown(name)}; correct the name or create the peer`,
      'warning',
    )
  }
  return names.length === 0 ? 'all' : new Set(names)
}

/** Aliases first, then the text itself (V-27). */
function parseCommunities(spec: Reader, aliases: Aliases): BgpCommunity[] {
  const found = new Map<string, BgpCommunity>()
  for (const [index, text] of spec.names('communities').entries()) {
    const at = `${spec.at('communities')}[${index}]`
    const community = aliases.has(text) ? aliases.get(text) : parseCommunity(text)
    if (community === undefined) continue
    if (!('wrong' in community)) found.set(community.text, community)
    else if (community.wrong === 'value') spec.place(at, 'community-invalid', `${at}: ${community.why}`)
    else {
      spec.place(
        at,
        text.includes(':') ? 'community-invalid' : 'community-unknown',
        `${at}: ${community.why}, and no Community defines an alias of that name`,
        'transient',
      )
    }
  }
  return [...found.values()].sort(compareCommunities)
}

/** V-22: an aggregate must not reach beyond the widest block of any entry of the pool. */
function reportTooWide(spec: Reader, advertisement: BgpAdvertisement, { pool, entries }: ParsedPool): void {
  for (const prefixes of entries) {
    const [first] = prefixes
    if (first === undefined) continue
    const name = prefixFamily(first) === 'IPv4' ? 'aggregationLength' : 'aggregationLengthV6'
    const widest = prefixes.reduce((a, b) => (prefixLength(b) < prefixLength(a) ? b : a))
    if (advertisement[name] >= prefixLength(widest)) continue
    spec.place(
      spec.at(name),
      'aggregation-wider-than-pool',
      `${name} ${advertisement[name]} would announce more than the pool ${pool.name} has: its block ${widest} is ` +
        `smaller; use ${prefixLength(widest)} or more`,
    )
  }
}

/** V-25 (two that are identical also by name are refused for their name), and V-23 for advertisements without serviceSelectors; with them it depends on the Service (V-24, B-12). */
export function reportAdvertisementConflicts(
  advertisements: readonly ParsedAdvertisement[],
  pools: readonly Pool[],
  nodesKnown: boolean,
  report: Report,
): void {
  const families = new Map(pools.map(pool => [pool.name, poolFamilies(pool)]))
  const bySpec = new Map<string, string>()
  for (const { object, specText } of advertisements) {
    const other = bySpec.get(specText)
    if (other !== undefined && other !== object.name) {
      report.at(object)(
        'spec',
        'advertisement-duplicate',
        `this says the same as the BGPAdvertisement ${shown(other)}; one of them is enough`,
        'warning',
      )
    }
    bySpec.set(specText, object.name)
  }
  for (const [index, { object, advertisement: b }] of advertisements.entries()) {
    for (const { advertisement: a } of advertisements.slice(0, index)) {
      if (a.serviceSelectors.length > 0 || b.serviceSelectors.length > 0) continue
      const pool = [...b.pools].find(
        name =>
          a.pools.has(name) && localPrefConflict(a, b, families.get(name) ?? [], { anyNode: !nodesKnown }),
      )
      if (pool === undefined) continue
      report.at(object)(
        'spec.localPref',
        'local-pref-conflict',
        `localPref ${b.localPref ?? 0} contradicts the ${a.localPref ?? 0} of the BGPAdvertisement ${shown(a.name)} for the pool ` +
          `${pool}: both announce the same prefixes from the same nodes to the same peers; use one localPref, or different ` +
          'aggregation lengths, peers or nodeSelectors',
      )
    }
  }
}

/**
 * Rules V-23 and B-12: whether two advertisements of one pool would give the same prefixes two values of LOCAL_PREF on a session.
 * `families` are those of the pool. `anyNode`: take them to share a node, because nodes are not known.
 */
export function localPrefConflict(
  a: BgpAdvertisement,
  b: BgpAdvertisement,
  families: readonly Family[],
  { anyNode = false }: { readonly anyNode?: boolean } = {},
): boolean {
  if (a.localPref === b.localPref) return false
  const lengths = { IPv4: 'aggregationLength', IPv6: 'aggregationLengthV6' } as const
  if (families.length > 0 && families.every(family => a[lengths[family]] !== b[lengths[family]])) return false
  if (a.peers !== 'all' && b.peers !== 'all' && disjoint(a.peers, b.peers)) return false
  return anyNode || !disjoint(a.nodes, b.nodes)
}

function disjoint(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return ![...a].some(item => b.has(item))
}

export function poolFamilies({ prefixes }: Pick<Pool, 'prefixes'>): Family[] {
  const has = (family: Family) => prefixes.some((prefix: Prefix) => prefixFamily(prefix) === family)
  return (['IPv4', 'IPv6'] as const).filter(has)
}

/** V-50: BFD's echo mode is for IPv4; no peer that has it may be told of a pool with IPv6. */
export function reportEchoConflicts(
  peers: readonly { readonly object: ObjectRef; readonly peer: BgpPeer | undefined }[],
  profiles: readonly BfdProfile[],
  advertisements: readonly ParsedAdvertisement[],
  pools: readonly Pool[],
  report: Report,
): void {
  const echoing = new Set(profiles.filter(({ echoMode }) => echoMode).map(({ name }) => name))
  const withIpv6 = pools.filter(pool => poolFamilies(pool).includes('IPv6'))
  for (const { object, peer } of peers) {
    if (peer?.bfdProfile === undefined || !echoing.has(peer.bfdProfile)) continue
    for (const { advertisement } of advertisements) {
      if (advertisement.peers !== 'all' && !advertisement.peers.has(peer.name)) continue
      const pool = withIpv6.find(({ name }) => advertisement.pools.has(name))
      if (pool === undefined) continue
      report.at(object)(
        'spec.bfdProfile',
        'bfd-echo-ipv6',
        `the BFDProfile ${shown(peer.bfdProfile)} has echoMode, and the BGPAdvertisement ${shown(advertisement.name)} announces ` +
          `IPv6 addresses of the pool ${pool.name} to this peer; use a profile without echoMode`,
      )
      break
    }
  }
}
