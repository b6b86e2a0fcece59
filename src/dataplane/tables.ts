import { type Family, familyOf, type Ip } from '../addr/ip.ts'
import { type Prefix, prefixAddress, prefixContains, prefixFamily, prefixLength } from '../addr/prefix.ts'
import { type Protocol, type ProxyEndpoint, type ProxyInput, usableEndpoints } from './service.ts'

export const TABLE_NAME = 'lodestone-proxy'
/** The packet mark bit that asks for masquerading, the one kube-proxy uses too. */
export const MASQUERADE_MARK = 0x4000

/** nft's names of the two address families. */
export type TableFamily = 'ip' | 'ip6'

/** Maps and sets whose elements come from the input. */
export const SET_NAMES = [
  'services',
  'external-local',
  'endpoints',
  'local-endpoints',
  'sticky-ids',
  'local-sticky-ids',
  'restricted',
  'allowed-sources',
  'pods',
  'addresses',
  'hairpin',
] as const
export type SetName = (typeof SET_NAMES)[number]

/** One table: what stands in it besides the parts that never change. */
export type TableState = {
  /** Rules by chain name: the shared chains that this input needs, for example `pick-3`. */
  readonly chains: ReadonlyMap<string, readonly string[]>
  /** Elements as nft text: key to data; the data is empty in sets. */
  readonly sets: Readonly<Record<SetName, ReadonlyMap<string, string>>>
}

/** Where the datagrams of one UDP or SCTP service port may go. */
export type FlowTargets = {
  readonly protocol: 'UDP' | 'SCTP'
  readonly destination: { readonly ip: Ip; readonly port: number }
  /** Endpoints of every view by `ip port`. */
  readonly endpoints: ReadonlyMap<string, { readonly ip: Ip; readonly port: number }>
}

/** All that one node wants installed: two tables, and what conntrack may remember without a connection to say that it ended. */
export type ProxyState = {
  readonly tables: Readonly<Record<TableFamily, TableState>>
  readonly flows: ReadonlyMap<string, FlowTargets>
}

/** More endpoints than this of one port are left out: slots and affinity identifiers are 16 bits. */
const ENDPOINTS_MAX = 32_768

/** Name of a {@link FlowTargets} in a {@link ProxyState}. */
export function flowKey(
  protocol: 'UDP' | 'SCTP',
  destination: { readonly ip: Ip; readonly port: number },
): string {
  return `${protocol} ${destination.ip} ${destination.port}`
}

/** What the tables of this node shall hold. Same input in any order of services, same state. */
export function wantedState(input: ProxyInput): ProxyState {
  const tables = { ip: new TableBuilder('ip', input), ip6: new TableBuilder('ip6', input) }
  const flows = new Map<string, FlowTargets>()
  const nodeAddresses = new Set(input.nodeAddresses)
  const services = [...input.services].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))

  for (const service of services) {
    const external = [...service.externalIps, ...(service.extraIps ?? [])]
    for (const ip of [...service.clusterIps, ...external]) {
      if (!nodeAddresses.has(ip)) tables[tableFamily(ip)].add('addresses', ip, '')
    }
    const guarded = new Set(service.externalIps)
    const timeout = service.sessionAffinityTimeoutSeconds
    for (const port of service.ports) {
      for (const family of ['ip', 'ip6'] as const) {
        const table = tables[family]
        const candidates = port.endpoints.filter(endpoint => tableFamily(endpoint.ip) === family)
        const all = ordered(usableEndpoints(candidates))
        const local = ordered(usableEndpoints(candidates.filter(endpoint => endpoint.node === input.node)))
        for (const endpoint of local) table.add('hairpin', `${endpoint.ip} . ${endpoint.ip}`, '')

        const serve = (ip: Ip, number: number, kind: 'internal' | 'external'): boolean => {
          if (tableFamily(ip) !== family) return false
          const key = serviceKey(ip, port.protocol, number)
          if (table.has('services', key)) return false
          const reached = new Map<string, { ip: Ip; port: number }>()
          const reach = (endpoints: readonly ProxyEndpoint[]) => {
            for (const { ip, port } of endpoints) reached.set(`${ip} ${port}`, { ip, port })
            return endpoints
          }
          if (all.length === 0) table.add('services', key, 'goto refuse')
          else if (kind === 'internal' && service.internalTrafficPolicy === 'Local') {
            table.addView('', key, reach(local), timeout)
          } else {
            table.addView('', key, reach(all), timeout)
            if (kind === 'external' && service.externalTrafficPolicy === 'Local') {
              table.addView('local-', key, reach(local), timeout)
            }
          }
          if (port.protocol !== 'TCP') {
            const destination = { ip, port: number }
            flows.set(flowKey(port.protocol, destination), {
              protocol: port.protocol,
              destination,
              endpoints: reached,
            })
          }
          return true
        }

        for (const ip of service.clusterIps) serve(ip, port.port, 'internal')
        for (const ip of external) {
          if (serve(ip, port.port, 'external') && guarded.has(ip)) {
            table.restrict(serviceKey(ip, port.protocol, port.port), service.sourceRanges ?? [])
          }
        }
        if (port.nodePort === undefined) continue
        for (const ip of nodeAddresses) serve(ip, port.nodePort, 'external')
      }
    }
  }
  return { tables: { ip: tables.ip.state(), ip6: tables.ip6.state() }, flows }
}

/** `address . protocol . port`: how nft spells the destination of a packet in a concatenation. */
function serviceKey(ip: Ip, protocol: Protocol, port: number): string {
  return `${ip} . ${protocol.toLowerCase()} . ${port}`
}

function tableFamily(ip: Ip): TableFamily {
  return familyOf(ip) === 'IPv4' ? 'ip' : 'ip6'
}

/** Endpoints once each, in an order that does not depend on that of the slices. */
function ordered(endpoints: readonly ProxyEndpoint[]): readonly ProxyEndpoint[] {
  if (endpoints.length < 2) return endpoints
  const unique = new Map(endpoints.map(endpoint => [`${endpoint.ip} ${endpoint.port}`, endpoint]))
  return [...unique.entries()]
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .slice(0, ENDPOINTS_MAX)
    .map(([, endpoint]) => endpoint)
}

/** A number in the type that nft 1.0.6 lets us both compute (`meta priority`) and look up: `major:minor`, hexadecimal. */
export function classId(value: number): string {
  return `${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`
}

/**
 * A name for each endpoint by which affinity remembers it: made from address and port, so that it stays when other endpoints come and
 * go. 1 to 65535; where two names collide (sorted order decides) the later takes the next free one.
 */
export function affinityIds(endpoints: readonly { readonly ip: Ip; readonly port: number }[]): number[] {
  const taken = new Set<number>()
  return endpoints.map(({ ip, port }) => {
    // FNV-1a, 32 bits folded to 16.
    let hash = 0x811c9dc5
    const name = `${ip} ${port}`
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0
    let id = (hash ^ (hash >>> 16)) & 0xffff
    while (id === 0 || taken.has(id)) id = (id + 1) & 0xffff
    taken.add(id)
    return id
  })
}

class TableBuilder {
  readonly #family: TableFamily
  readonly #chains = new Map<string, readonly string[]>()
  readonly #sets: Record<SetName, Map<string, string>>

  constructor(family: TableFamily, input: ProxyInput) {
    this.#family = family
    this.#sets = Object.fromEntries(SET_NAMES.map(name => [name, new Map<string, string>()])) as Record<
      SetName,
      Map<string, string>
    >
    const own = this.#prefixes(input.podPrefixes)
    for (const prefix of own.length > 0 ? own : this.#prefixes(input.clusterPrefixes)) {
      this.add('pods', elementOf(prefix), '')
    }
  }

  /** Those of this family, without those that lie inside another: an interval set refuses overlaps. */
  #prefixes(prefixes: readonly Prefix[]): Prefix[] {
    const family: Family = this.#family === 'ip' ? 'IPv4' : 'IPv6'
    const kept: Prefix[] = []
    const byLength = [...new Set(prefixes)].sort((a, b) => prefixLength(a) - prefixLength(b))
    for (const prefix of byLength) {
      if (prefixFamily(prefix) !== family) continue
      if (!kept.some(outer => prefixContains(outer, prefixAddress(prefix)))) kept.push(prefix)
    }
    return kept
  }

  has(set: SetName, key: string): boolean {
    return this.#sets[set].has(key)
  }

  add(set: SetName, key: string, data: string): void {
    this.#sets[set].set(key, data)
  }

  restrict(key: string, ranges: readonly Prefix[]): void {
    const prefixes = this.#prefixes(ranges)
    if (prefixes.length === 0) return
    this.add('restricted', key, '')
    for (const prefix of prefixes) this.add('allowed-sources', `${key} . ${elementOf(prefix)}`, '')
  }

  /** How `key` is served: in the view of everybody (''), or in that of senders outside of this node ('local-'). */
  addView(
    view: '' | 'local-',
    key: string,
    endpoints: readonly ProxyEndpoint[],
    timeout: number | undefined,
  ): void {
    const verdicts = view === '' ? 'services' : 'external-local'
    if (endpoints.length === 0) {
      this.add(verdicts, key, 'drop')
      return
    }
    if (timeout === undefined) {
      for (const [slot, { ip, port }] of endpoints.entries()) {
        this.add(`${view}endpoints`, `${key} . ${classId(slot)}`, `${ip} . ${port}`)
      }
      this.add(verdicts, key, `goto ${this.#pickChain(view, endpoints.length)}`)
      return
    }
    const ids = affinityIds(endpoints)
    for (const [slot, { ip, port }] of endpoints.entries()) {
      const id = classId(ids[slot] ?? 0)
      this.add(`${view}sticky-ids`, `${key} . ${classId(slot)}`, id)
      this.add(`${view}endpoints`, `${key} . ${id}`, `${ip} . ${port}`)
    }
    this.add(verdicts, key, `goto ${this.#stickyChain(view, endpoints.length, timeout)}`)
  }

  #pickChain(view: '' | 'local-', slots: number): string {
    const name = `${view}pick-${slots}`
    if (!this.#chains.has(name)) {
      this.#chains.set(name, [
        ...this.#masquerade(view),
        `meta priority set numgen random mod ${slots}`,
        this.#translate(view),
      ])
    }
    return name
  }

  #stickyChain(view: '' | 'local-', slots: number, timeout: number): string {
    const remember = `${view}remember-${timeout}`
    const affinity = `${this.#key()} . ${this.#family} saddr . meta priority`
    if (!this.#chains.has(remember)) {
      this.#chains.set(remember, [
        `update @affinity { ${affinity} timeout ${timeout}s }`,
        this.#translate(view),
      ])
    }
    const name = `${view}sticky-${slots}-${timeout}`
    if (this.#chains.has(name)) return name
    const toId = `meta priority set ${this.#key()} . meta priority map @${view}sticky-ids`
    const rules = [...this.#masquerade(view)]
    for (let slot = 0; slot < slots; slot++) {
      rules.push(`meta priority set ${classId(slot)}`, toId, `${affinity} @affinity goto ${remember}`)
    }
    rules.push(`meta priority set numgen random mod ${slots}`, toId, `goto ${remember}`)
    this.#chains.set(name, rules)
    return name
  }

  /** Outsiders are masqueraded, but not in the local view: that one exists to keep their address. */
  #masquerade(view: '' | 'local-'): string[] {
    if (view !== '') return []
    return [`${this.#family} saddr != @pods meta mark set meta mark or 0x${MASQUERADE_MARK.toString(16)}`]
  }

  #translate(view: '' | 'local-'): string {
    return `meta l4proto { tcp, udp, sctp } dnat to ${this.#key()} . meta priority map @${view}endpoints`
  }

  #key(): string {
    return packetKey(this.#family)
  }

  state(): TableState {
    return { chains: this.#chains, sets: this.#sets }
  }
}

/** The destination of a packet as an nft expression, in step with the keys of `services`. */
export function packetKey(family: TableFamily): string {
  return `${family} daddr . meta l4proto . th dport`
}

/** A prefix of one address is written without its length, as nft lists it. */
function elementOf(prefix: Prefix): string {
  const whole = prefixFamily(prefix) === 'IPv4' ? 32 : 128
  return prefixLength(prefix) === whole ? prefixAddress(prefix) : prefix
}
