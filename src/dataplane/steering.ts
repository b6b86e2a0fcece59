import { createHash } from 'node:crypto'
import { familyOf, type Ip, type Ipv4, type Ipv6 } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import { type Prefix, prefixContains, prefixFamily, prefixLength } from '../addr/prefix.ts'
import { DEFAULT_TABLE_SIZE, MaglevBuilder, TABLE_SIZES, type TableSize, WEIGHT_MAX } from './maglev.ts'
import type { Protocol } from './service.ts'

/** Everything that decides how one node steers. */
export type SteeringInput = {
  /** Name of this node. */
  readonly self: string
  /** Where packets for Service addresses come in, and where the other nodes are. Only interfaces that exist. */
  readonly interfaces: readonly SteeringInterface[]
  readonly nodes: ReadonlyMap<string, SteeringNode>
  readonly services: readonly SteeredService[]
  /** Nodes that the failure detector declared dead. This node, if named, is not. */
  readonly dead: ReadonlySet<string>
}

export type SteeringInterface = {
  readonly name: string
  /** The kernel's number: an interface that was made anew has another, and the rules of the old one went with it. */
  readonly index: number
  /** Subnets of its addresses. */
  readonly prefixes: readonly Prefix[]
}

/** How to reach a node on the segment. */
export type SteeringNode = {
  readonly ip?: Ipv4
  readonly ip6?: Ipv6
  /** Those of its interfaces, where known: a packet is then never sent back to the node that it came from. */
  readonly macs?: readonly Mac[]
}

/** One Service whose packets may come in anywhere and shall leave for the node of their endpoint. */
export type SteeredService = {
  /** `namespace/name`. Where two Services claim the same address, protocol and port, the lower key wins. */
  readonly service: string
  readonly vips: readonly Ip[]
  readonly ports: readonly { readonly protocol: Protocol; readonly port: number }[]
  /** What keeps to one node: each flow (address and port of the client), or each client. */
  readonly affinity: 'flow' | 'client'
  /** Ready endpoints by node. Must be the same on every node: the tables are made of it. */
  readonly weights: ReadonlyMap<string, number>
  /** Another size sends every flow elsewhere, so it must be one that stays; absent: 10,007. */
  readonly slots?: TableSize
}

/** The slots of one Service, the same on every node that has the same input. */
export type ServiceTable = {
  readonly size: TableSize
  /** Names of all nodes with a ready endpoint, dead ones too; slots hold indexes of it. */
  readonly nodes: readonly string[]
  /** Who has each slot. Empty: nobody who is alive has a ready endpoint. */
  readonly owners: Uint16Array
  /** Who gets the slot when its owner dies; undefined where nobody can, and in tables too large to compute it for. */
  readonly seconds: Uint16Array | undefined
  /** Of size and slots, by name: equal if and only if two nodes steer this Service alike. */
  readonly hash: string
}

/** In larger tables a lost node has so few slots that writing them is as fast as another look at a second choice. */
const SECOND_CHOICE_SIZE_MAX = 10_007

/**
 * The table of a Service: a function of these and nothing else. Weights of 0 take no part. The slots of a dead node go to whom they
 * belong in the table without the dead; no other slot moves, and all go back when it returns.
 */
export function serviceTable(
  weights: ReadonlyMap<string, number>,
  dead: ReadonlySet<string>,
  size: TableSize = DEFAULT_TABLE_SIZE,
): ServiceTable {
  const backends = [...weights]
    .filter(([, weight]) => weight > 0)
    .map(([name, weight]) => ({ name, weight: Math.min(Math.ceil(weight), WEIGHT_MAX) }))
  const builder = new MaglevBuilder(backends, size)
  const nodes = builder.backends.map(({ name }) => name)
  const gone = [...nodes.keys()].filter(index => dead.has(nodes[index] ?? ''))
  const owners = builder.without(...gone)
  if (owners.length > 0 && gone.length > 0) {
    for (const [slot, index] of builder.without().entries()) if (!gone.includes(index)) owners[slot] = index
  }
  let seconds: Uint16Array | undefined
  if (size <= SECOND_CHOICE_SIZE_MAX && nodes.length - gone.length > 1) {
    seconds = new Uint16Array(size)
    for (const index of nodes.keys()) {
      if (gone.includes(index)) continue
      const rest = builder.without(...gone, index)
      for (let slot = 0; slot < size; slot++) if (owners[slot] === index) seconds[slot] = rest[slot] ?? 0
    }
  }
  const hash = createHash('sha256').update(`${size}\n${nodes.join('\n')}\n`)
  const indexes = new DataView(new ArrayBuffer(owners.length * 2))
  for (const [slot, index] of owners.entries()) indexes.setUint16(slot * 2, index)
  hash.update(new Uint8Array(indexes.buffer))
  return { size, nodes, owners, seconds, hash: hash.digest('hex').slice(0, 16) }
}

/** Keeps the tables of the last pass, since most Services have not changed since. */
export class ServiceTables {
  #last = new Map<string, ServiceTable>()

  /** One table for each Service, in their order. */
  of(services: readonly SteeredService[], dead: ReadonlySet<string>): ServiceTable[] {
    const next = new Map<string, ServiceTable>()
    const tables = services.map(({ weights, slots = DEFAULT_TABLE_SIZE }) => {
      const parts = [...weights].filter(([, weight]) => weight > 0).sort(([a], [b]) => (a < b ? -1 : 1))
      const key = JSON.stringify([slots, ...parts.map(([name, weight]) => [name, weight, dead.has(name)])])
      const table = next.get(key) ?? this.#last.get(key) ?? serviceTable(weights, dead, slots)
      next.set(key, table)
      return table
    })
    this.#last = next
    return tables
  }
}

export type OnLink =
  | { readonly onLink: true; readonly interface: SteeringInterface }
  | { readonly onLink: false; readonly why: string }

/**
 * Whether a frame can be handed to this node without a router between, and over which interface: its address lies in a subnet of that
 * interface. The most specific subnet wins, then the lower name.
 */
export function onLink(address: Ip | undefined, interfaces: readonly SteeringInterface[]): OnLink {
  if (address === undefined) return { onLink: false, why: 'the node has no address of this family' }
  let best: { interface: SteeringInterface; length: number } | undefined
  for (const candidate of [...interfaces].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    for (const prefix of candidate.prefixes) {
      // A subnet of one address holds no neighbour.
      if (!prefixContains(prefix, address) || prefixLength(prefix) === bitsOf(address)) continue
      const length = prefixLength(prefix)
      if (best === undefined || length > best.length) best = { interface: candidate, length }
    }
  }
  if (best !== undefined) return { onLink: true, interface: best.interface }
  const family = familyOf(address)
  const subnets = interfaces.flatMap(({ name, prefixes }) =>
    prefixes
      .filter(prefix => familyOf(address) === prefixFamily(prefix))
      .map(prefix => `${prefix} (${name})`),
  )
  const known = subnets.length === 0 ? `no interface has an ${family} subnet` : `not in ${subnets.join(', ')}`
  return { onLink: false, why: `${address} is not on a segment of this node: ${known}` }
}

function bitsOf(address: Ip): number {
  return familyOf(address) === 'IPv4' ? 32 : 128
}

/** Maps and sets of the table, but for `slots`. */
export const MAP_NAMES = [
  'vips4',
  'vips6',
  'services4',
  'services6',
  'errors4',
  'errors6',
  'fragments4',
  'fragments6',
  'nodes4',
  'nodes6',
  'seconds4',
  'seconds6',
] as const
export type MapName = (typeof MAP_NAMES)[number]

export function emptyMaps(): Record<MapName, Map<string, string>> {
  return Object.fromEntries(MAP_NAMES.map(name => [name, new Map()])) as Record<MapName, Map<string, string>>
}

/** What stands in the kernel, or shall stand there. */
export type SteeringState = {
  /** Base chains by name: the interface. */
  readonly interfaces: ReadonlyMap<string, string>
  /** Chains that hand a packet to a node, by name; the name tells of what they do, so equal names mean equal rules. */
  readonly handovers: ReadonlyMap<string, readonly string[]>
  /** Elements as nft text: key to data; the data is empty in sets. */
  readonly maps: Readonly<Record<MapName, ReadonlyMap<string, string>>>
  /** By mark of the Service: for each slot the identifiers of its two nodes, `owner << 16 | second`. */
  readonly slots: ReadonlyMap<number, Uint32Array>
}

/** What one Service got, and what is not as it should be. */
export type ServiceSteering = {
  readonly service: string
  readonly vips: readonly Ip[]
  readonly table: ServiceTable
  readonly problems: readonly string[]
}

export type SteeringPlan = {
  readonly state: SteeringState
  readonly services: readonly ServiceSteering[]
}

/** Bits of a mark: 31 clear, 30 for affinity 'client', 27 to 29 index of the size, below a name of the Service. */
export const CLIENT_MARK = 0x4000_0000
export const SIZE_SHIFT = 27
const NAME_MASK = 0x07ff_ffff

/** What this node shall install. The same for the same input in any order. */
export function steeringState(
  input: SteeringInput,
  tables: ServiceTables = new ServiceTables(),
): SteeringPlan {
  const dead = new Set([...input.dead].filter(name => name !== input.self))
  const services = [...input.services].sort((a, b) => (a.service < b.service ? -1 : 1))
  const maps = emptyMaps()
  const slots = new Map<number, Uint32Array>()
  const ids = nodeIds(input)
  const names = serviceNames(services.map(({ service }) => service))
  const found = tables.of(services, dead)
  const unreachable = unreachableNodes(input)

  const steering = services.map((service, position): ServiceSteering => {
    const table = found[position] ?? serviceTable(service.weights, dead, service.slots)
    const size = TABLE_SIZES.findIndex(candidate => candidate.size === table.size)
    const affinity = service.affinity === 'client' ? CLIENT_MARK : 0
    const mark = affinity | (size << SIZE_SHIFT) | (names.get(service.service) ?? 0)
    const problems: string[] = []
    if (table.nodes.length === 0)
      problems.push('no ready endpoint on a node that is alive: nothing is steered')
    let used = false
    for (const vip of service.vips) {
      const f = familyOf(vip) === 'IPv4' ? 4 : 6
      const text = hex(mark)
      maps[`vips${f}`].set(vip, '')
      for (const { protocol, port } of service.ports) {
        const name = protocol.toLowerCase()
        const key = `${vip} . ${name} . ${port}`
        if (maps[`services${f}`].has(key)) {
          problems.push(`${vip} port ${port}/${protocol} belongs to another Service`)
          continue
        }
        used = true
        maps[`services${f}`].set(key, text)
        const number = PROTOCOL_NUMBERS[protocol].toString(16)
        maps[`errors${f}`].set(`${vip} . 0x${number} . 0x${port.toString(16)}`, text)
        const fragments = maps[`fragments${f}`].get(`${vip} . ${name}`)
        if (fragments === undefined) maps[`fragments${f}`].set(`${vip} . ${name}`, text)
        else if (fragments !== text) {
          const problem = `fragments of ${protocol} to ${vip} go where those of another Service go that shares the address`
          if (!problems.includes(problem)) problems.push(problem)
        }
      }
      for (const node of table.nodes) {
        const why = unreachable[f].get(node)
        if (why !== undefined) problems.push(`cannot steer to ${node}: ${why}`)
      }
    }
    if (used && table.owners.length > 0) slots.set(mark, slotsOf(table, ids))
    return { service: service.service, vips: service.vips, table, problems: [...new Set(problems)] }
  })

  const verdicts = steeringVerdicts(input)
  for (const name of VERDICT_MAPS) maps[name] = verdicts.maps[name]
  const interfaces = new Map(
    input.interfaces.map(({ name, index }) => [
      `in-${name.replaceAll(/[^A-Za-z0-9_.-]/g, '_')}-${index}`,
      name,
    ]),
  )
  return { state: { interfaces, handovers: verdicts.handovers, maps, slots }, services: steering }
}

const PROTOCOL_NUMBERS = { TCP: 6, UDP: 17, SCTP: 132 } as const satisfies Record<Protocol, number>

/** Maps from nodes to what is done with their packets: as the first and as the second choice for a slot. */
export const VERDICT_MAPS = ['nodes4', 'nodes6', 'seconds4', 'seconds6'] as const satisfies readonly MapName[]

/** Whether a verdict says that the node is dead: look at the second choice, or leave the packet to this node. */
export function isDeath(verdict: string): boolean {
  return !verdict.startsWith('goto to-')
}

/**
 * The part of the state that depends on nodes only: cheap, for when one dies. Nodes without an element (this one, and those that cannot
 * be reached) leave their packets to this node.
 */
export function steeringVerdicts(input: SteeringInput): {
  readonly maps: Record<MapName, Map<string, string>>
  readonly handovers: ReadonlyMap<string, readonly string[]>
} {
  const maps = emptyMaps()
  const handovers = new Map<string, readonly string[]>()
  for (const [name, id] of nodeIds(input)) {
    if (name === input.self) continue
    for (const f of [4, 6] as const) {
      const chain = handover(input, name, f, handovers)
      if (chain === undefined) continue
      const isDead = input.dead.has(name)
      maps[`nodes${f}`].set(hex(id << 16), isDead ? `goto second${f}` : `goto ${chain}`)
      maps[`seconds${f}`].set(hex(id), isDead ? 'goto here' : `goto ${chain}`)
    }
  }
  return { maps, handovers }
}

/** The chain that hands packets to a node; undefined where it cannot be reached. */
function handover(
  input: SteeringInput,
  name: string,
  f: 4 | 6,
  handovers: Map<string, readonly string[]>,
): string | undefined {
  const node = input.nodes.get(name)
  const address = f === 4 ? node?.ip : node?.ip6
  const link = onLink(address, input.interfaces)
  if (!link.onLink || address === undefined) return undefined
  const macs = [...new Set(node?.macs ?? [])].sort()
  const rules = [
    // Two nodes of different opinion would play ball with it until its hop limit ends.
    ...(macs.length === 0 ? [] : [`ether saddr { ${macs.join(', ')} } goto here`]),
    `meta mark set 0 meta priority set none fwd ${f === 4 ? 'ip' : 'ip6'} to ${address} device "${link.interface.name}"`,
  ]
  const digest = createHash('sha256')
    .update(JSON.stringify([rules, link.interface.index]))
    .digest('hex')
  const chain = `to-${digest.slice(0, 16)}`
  handovers.set(chain, rules)
  return chain
}

/** Why a node cannot be steered to, for those that cannot. */
function unreachableNodes(input: SteeringInput): Record<4 | 6, Map<string, string>> {
  const result = { 4: new Map<string, string>(), 6: new Map<string, string>() }
  const names = new Set([
    ...input.nodes.keys(),
    ...input.services.flatMap(({ weights }) => [...weights.keys()]),
  ])
  for (const name of names) {
    if (name === input.self) continue
    const node = input.nodes.get(name)
    for (const f of [4, 6] as const) {
      const link = onLink(f === 4 ? node?.ip : node?.ip6, input.interfaces)
      if (!link.onLink) result[f].set(name, node === undefined ? 'the node is not known' : link.why)
    }
  }
  return result
}

function slotsOf(table: ServiceTable, ids: ReadonlyMap<string, number>): Uint32Array {
  const byIndex = table.nodes.map(name => ids.get(name) ?? 0)
  return Uint32Array.from(table.owners, (index, slot) => {
    const second = table.seconds?.[slot]
    return (((byIndex[index] ?? 0) << 16) | (second === undefined ? 0 : (byIndex[second] ?? 0))) >>> 0
  })
}

/** A number of 16 bits for each node, not 0, that stays when others come and go but for collisions. */
function nodeIds(input: SteeringInput): Map<string, number> {
  const names = [...input.nodes.keys(), ...input.services.flatMap(({ weights }) => [...weights.keys()])]
  return numbers([...names, input.self], 0xffff)
}

function serviceNames(keys: readonly string[]): Map<string, number> {
  return numbers(keys, NAME_MASK)
}

/** Made from the name; where two collide, the later in order takes the next free one. 1 to `max`, a power of two less one. */
function numbers(names: readonly string[], max: number): Map<string, number> {
  const taken = new Set<number>()
  const result = new Map<string, number>()
  for (const name of [...new Set(names)].sort()) {
    let number = (createHash('sha256').update(name).digest().readUInt32BE(8) & max) >>> 0
    while (number === 0 || taken.has(number)) number = (number + 1) & max
    taken.add(number)
    result.set(name, number)
  }
  return result
}

/** As nft lists a packet mark. */
export function hex(value: number): string {
  return `0x${(value >>> 0).toString(16).padStart(8, '0')}`
}
