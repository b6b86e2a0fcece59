import type { Ip } from '../addr/ip.ts'
import type { ConntrackFlow, FlowSelector } from '../ports/conntrack.ts'
import {
  flowKey,
  MASQUERADE_MARK,
  type ProxyState,
  packetKey,
  SET_NAMES,
  type SetName,
  TABLE_NAME,
  type TableFamily,
  type TableState,
} from './tables.ts'

export type Plan = {
  /** nft text to run as one transaction; empty: nothing to change. */
  readonly transaction: string
  /** To run afterwards: connections that conntrack would else keep sending to where they no longer belong. */
  readonly flushConntrack: readonly FlowSelector[]
}

/** Elements of one statement; more go into further ones of the same transaction. */
const ELEMENTS_PER_LINE = 1000
const FAMILIES = ['ip', 'ip6'] as const satisfies readonly TableFamily[]
/** Clients remembered by affinity, of all services of a family together. A full table means no affinity for new clients. */
const AFFINITY_ENTRIES_MAX = 262_144

/**
 * From what is known to be installed to what is wanted. With `observed` undefined (unknown) the tables are replaced as wholes, in the same
 * transaction that removes them; affinity is then forgotten, connections are not. Otherwise only the differences are written.
 * Applying the text of either form leaves the same tables behind.
 */
export function plan(wanted: ProxyState, observed: ProxyState | undefined): Plan {
  if (observed === undefined) return { transaction: replacement(wanted), flushConntrack: [] }
  const lines = FAMILIES.flatMap(family => tableDelta(family, wanted.tables[family], observed.tables[family]))
  return {
    transaction: lines.length === 0 ? '' : `${lines.join('\n')}\n`,
    flushConntrack: flowsToFlush(wanted, observed),
  }
}

/** Removes both tables, whether they exist or not. */
export function removal(): string {
  return FAMILIES.map(family => `${removeTable(family).join('\n')}\n`).join('')
}

/**
 * Which of these flows go elsewhere than the state says: for when it is not known what was installed before. One selector for each
 * pair of destination and endpoint.
 */
export function staleFlows(state: ProxyState, flows: readonly ConntrackFlow[]): FlowSelector[] {
  const stale = new Map<string, FlowSelector>()
  for (const { protocol, originalDestination, replySource } of flows) {
    const targets = state.flows.get(flowKey(protocol, originalDestination))
    if (targets === undefined || targets.endpoints.has(endpointKey(replySource))) continue
    const selector = { protocol, originalDestination, replySource }
    stale.set(`${flowKey(protocol, originalDestination)} ${endpointKey(replySource)}`, selector)
  }
  return [...stale.values()]
}

function flowsToFlush(wanted: ProxyState, observed: ProxyState): FlowSelector[] {
  const flush: FlowSelector[] = []
  for (const [key, before] of observed.flows) {
    const after = wanted.flows.get(key)
    for (const [name, endpoint] of before.endpoints) {
      if (after?.endpoints.has(name) === true) continue
      flush.push({
        protocol: before.protocol,
        originalDestination: before.destination,
        replySource: endpoint,
      })
    }
  }
  for (const [key, after] of wanted.flows) {
    // What was sent while nothing answered passed untranslated, and conntrack would let it go on to do so.
    if (after.endpoints.size === 0 || (observed.flows.get(key)?.endpoints.size ?? 0) > 0) continue
    flush.push({ protocol: after.protocol, originalDestination: after.destination })
  }
  return flush
}

function endpointKey(endpoint: { readonly ip: Ip; readonly port: number }): string {
  return `${endpoint.ip} ${endpoint.port}`
}

function tableDelta(family: TableFamily, wanted: TableState, observed: TableState): string[] {
  if (wanted === observed) return []
  const table = `${family} ${TABLE_NAME}`
  // Chains come before the elements that name them and go after those; rules only name chains that all exist by then.
  const created = [...wanted.chains].filter(([name]) => !observed.chains.has(name))
  const lines = created.map(([name]) => `add chain ${table} ${name}`)
  for (const [name, rules] of created)
    for (const rule of rules) lines.push(`add rule ${table} ${name} ${rule}`)

  const removed: string[] = []
  const added: string[] = []
  for (const set of SET_NAMES) {
    const before = observed.sets[set]
    const after = wanted.sets[set]
    const gone: string[] = []
    const come: string[] = []
    for (const [key, data] of before) if (after.get(key) !== data) gone.push(key)
    for (const [key, data] of after) if (before.get(key) !== data) come.push(element(key, data))
    removed.push(...elementLines('delete', table, set, gone))
    added.push(...elementLines('add', table, set, come))
  }
  lines.push(...removed, ...added)

  const leaving = [...observed.chains.keys()].filter(name => !wanted.chains.has(name))
  for (const name of leaving) lines.push(`flush chain ${table} ${name}`)
  for (const name of leaving) lines.push(`delete chain ${table} ${name}`)
  return lines
}

function replacement(state: ProxyState): string {
  const lines: string[] = []
  for (const family of FAMILIES) {
    const table = `${family} ${TABLE_NAME}`
    lines.push(...removeTable(family), ...declaration(family, state.tables[family]))
    for (const set of SET_NAMES) {
      const elements = [...state.tables[family].sets[set]].map(([key, data]) => element(key, data))
      lines.push(...elementLines('add', table, set, elements))
    }
  }
  return `${lines.join('\n')}\n`
}

/** `delete` alone fails where there is no table; `destroy` is younger than the nft we must work with. */
function removeTable(family: TableFamily): string[] {
  return [`add table ${family} ${TABLE_NAME}`, `delete table ${family} ${TABLE_NAME}`]
}

function element(key: string, data: string): string {
  return data === '' ? key : `${key} : ${data}`
}

function elementLines(
  verb: 'add' | 'delete',
  table: string,
  set: SetName,
  elements: readonly string[],
): string[] {
  const lines: string[] = []
  for (let i = 0; i < elements.length; i += ELEMENTS_PER_LINE) {
    lines.push(`${verb} element ${table} ${set} { ${elements.slice(i, i + ELEMENTS_PER_LINE).join(', ')} }`)
  }
  return lines
}

/**
 * The table with its maps, sets and chains, before any element.
 *
 * A slot number or an affinity name travels in `meta priority` from the rule that makes it to the one that looks it up: nft 1.0.6 has
 * no other type that both can use, except the packet mark, which routing rules read. The kernel sets the priority of a forwarded packet
 * anew after prerouting, and numbers below 0x10000 name no queueing class.
 */
function declaration(family: TableFamily, state: TableState): string[] {
  const address = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr'
  const icmp = family === 'ip' ? 'icmp' : 'icmpv6'
  const key = packetKey(family)
  const keyType = `${address} . inet_proto . inet_service`
  const mark = `0x${MASQUERADE_MARK.toString(16)}`
  const chain = (name: string, rules: readonly string[]) => [
    `  chain ${name} {`,
    ...rules.map(rule => `    ${rule}`),
    '  }',
  ]
  return [
    `table ${family} ${TABLE_NAME} {`,
    `  map services { type ${keyType} : verdict; }`,
    `  map external-local { type ${keyType} : verdict; }`,
    `  map endpoints { type ${keyType} . classid : ${address} . inet_service; }`,
    `  map local-endpoints { type ${keyType} . classid : ${address} . inet_service; }`,
    `  map sticky-ids { type ${keyType} . classid : classid; }`,
    `  map local-sticky-ids { type ${keyType} . classid : classid; }`,
    `  set affinity { type ${keyType} . ${address} . classid; flags dynamic,timeout; size ${AFFINITY_ENTRIES_MAX}; }`,
    `  set restricted { type ${keyType}; }`,
    `  set allowed-sources { type ${keyType} . ${address}; flags interval; }`,
    `  set pods { type ${address}; flags interval; }`,
    `  set addresses { type ${address}; }`,
    `  set hairpin { type ${address} . ${address}; }`,
    ...chain('refuse', ['meta l4proto tcp reject with tcp reset', `reject with ${icmp} port-unreachable`]),
    ...[...state.chains].flatMap(([name, rules]) => chain(name, rules)),
    ...chain('guard', [`${key} . ${family} saddr != @allowed-sources drop`]),
    ...chain('translate', [
      `${key} vmap @services`,
      // An address of ours on a port that is not: nobody has it on an interface, so forwarding it would only go round in circles.
      `${family} daddr @addresses fib daddr type != local meta l4proto { tcp, udp, sctp } goto refuse`,
      `${family} daddr @addresses fib daddr type != local drop`,
    ]),
    ...chain('prerouting', [
      'type nat hook prerouting priority dstnat; policy accept;',
      `${key} @restricted jump guard`,
      `${family} saddr != @pods fib saddr type != local ${key} vmap @external-local`,
      'goto translate',
    ]),
    ...chain('output', [
      'type nat hook output priority -100; policy accept;',
      `${key} @restricted jump guard`,
      'goto translate',
    ]),
    ...chain('postrouting', [
      'type nat hook postrouting priority srcnat; policy accept;',
      `ct status dnat ${family} saddr . ${family} daddr @hairpin masquerade fully-random`,
      `meta mark and ${mark} == 0 return`,
      `meta mark set meta mark xor ${mark}`,
      'masquerade fully-random',
    ]),
    '}',
  ]
}
