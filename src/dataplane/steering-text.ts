import { createHash } from 'node:crypto'
import { HASH_SEED } from './flow-hash.ts'
import { TABLE_SIZES } from './maglev.ts'
import {
  CLIENT_MARK,
  emptyMaps,
  hex,
  isDeath,
  MAP_NAMES,
  type MapName,
  SIZE_SHIFT,
  type SteeringState,
  VERDICT_MAPS,
} from './steering.ts'
import { classId } from './tables.ts'

export const STEERING_TABLE = 'lodestone_steering'
const TABLE = `netdev ${STEERING_TABLE}`
/** A transaction of so many elements is over in some milliseconds; the kernel lets nobody else change rules meanwhile. */
const ELEMENTS_PER_TRANSACTION = 4000
const ELEMENTS_PER_LINE = 500

/** The table as it stands after {@link createTable}. */
export const EMPTY_STATE: SteeringState = {
  interfaces: new Map(),
  handovers: new Map(),
  maps: emptyMaps(),
  slots: new Map(),
}

/** Sizes by their index in a mark. */
const sizes = TABLE_SIZES.map(({ size }, index) => ({ size, mark: (index << SIZE_SHIFT) >>> 0 }))

/**
 * All that never changes: maps and the chains that are shared. The mark names the table of a Service and then the node, the priority
 * carries the slot; both are zeroed before a packet goes anywhere, since kube-proxy reads bits of the mark.
 */
function declaration(): string[] {
  return [
    ...([4, 6] as const).flatMap(f => {
      const address = f === 4 ? 'ipv4_addr' : 'ipv6_addr'
      const ip = f === 4 ? 'ip' : 'ip6'
      const { protocol, port } = EMBEDDED[f]
      return [
        `set vips${f} { type ${address}; }`,
        `map services${f} { type ${address} . inet_proto . inet_service : mark; }`,
        `map errors${f} { typeof ${ip} daddr . ${protocol} . ${port} : meta mark; }`,
        `map fragments${f} { type ${address} . inet_proto : mark; }`,
        `map nodes${f} { type mark : verdict; }`,
        `map seconds${f} { type mark : verdict; }`,
      ]
    }),
    'map slots { type mark . classid : mark; }',
    ...chain('here', ['meta mark set 0 meta priority set none accept']),
    ...([4, 6] as const).flatMap(sharedChains),
    ...chain('start', [
      // A switch that does not know where an address is sends a copy to every node.
      'meta pkttype != host accept',
      // A frame of a VLAN comes again, without its tag, on the interface of that VLAN. Number 0 is none: such a tag is a priority only.
      'ether type 8021q vlan id != 0 accept',
      'ether type 8021ad accept',
      'meta protocol vmap { ip : goto start4, ip6 : goto start6 }',
    ]),
  ]
}

/**
 * Where the packet that an ICMP error is about has its fields, in bits from the start of the ICMP header: 8 bytes of ICMP, then an IP
 * header without options (RFC 792) or extension headers (RFC 4443 section 3).
 */
const EMBEDDED = {
  4: { protocol: '@th,136,8', port: '@th,224,16', client: '@th,192,32', clientPort: '@th,240,16' },
  6: { protocol: '@th,112,8', port: '@th,384,16', client: '@th,256,128', clientPort: '@th,400,16' },
} as const

function sharedChains(f: 4 | 6): string[] {
  const ip = f === 4 ? 'ip' : 'ip6'
  const { protocol, port, client, clientPort } = EMBEDDED[f]
  const service = `meta mark set ${ip} daddr . meta l4proto . th dport map @services${f}`
  const fragment = `meta mark set ${ip} daddr . meta l4proto map @fragments${f}`
  const error = `meta mark set ${ip} daddr . ${protocol} . ${port} map @errors${f}`
  const pick = (name: string, bySize: (size: number) => string) =>
    sizes.flatMap(({ size }) => chain(`${name}${f}-${size}`, [`${bySize(size)} goto node${f}`]))
  const choose = (name: string, flow: string, perClient: string) => {
    const verdicts = sizes.flatMap(({ size, mark }) => [
      `${hex(mark)} : goto ${flow}${f}-${size}`,
      `${hex(mark | CLIENT_MARK)} : goto ${perClient}${f}-${size}`,
    ])
    // 0x78000000: affinity and size.
    return chain(`${name}${f}`, [`meta mark & 0x78000000 vmap { ${verdicts.join(', ')} }`, 'goto here'])
  }
  const hash = (what: string) => (size: number) =>
    `meta priority set jhash ${what} mod ${size} seed 0x${HASH_SEED.toString(16)}`
  return [
    ...chain(`second${f}`, [`meta mark & 0x0000ffff vmap @seconds${f}`, 'goto here']),
    ...chain(`node${f}`, [
      `meta mark set meta mark . meta priority map @slots meta mark & 0xffff0000 vmap @nodes${f}`,
      'goto here',
    ]),
    ...pick('flow', hash(`${ip} saddr . th sport`)),
    ...pick('client', hash(`${ip} saddr`)),
    ...pick('error-flow', hash(`${client} . ${clientPort}`)),
    ...pick('error-client', hash(client)),
    ...choose('service', 'flow', 'client'),
    // Later fragments have no ports: all of them, and the first too, go by the client's address.
    ...choose('fragment', 'client', 'client'),
    ...choose('error', 'error-flow', 'error-client'),
    ...chain(`about${f}`, [
      ...(f === 4
        ? [
            'icmp type != { destination-unreachable, time-exceeded, parameter-problem } accept',
            // Options, or a later fragment: the ports are not where we look.
            '@th,64,8 != 0x45 accept',
            '@th,112,16 & 0x1fff != 0 accept',
          ]
        : [
            'icmpv6 type != { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept',
          ]),
      `${error} goto error${f}`,
    ]),
    ...chain(`start${f}`, [
      `${ip} daddr != @vips${f} accept`,
      ...(f === 4
        ? [`ip frag-off & 0x3fff != 0 ${fragment} goto fragment4`, 'ip frag-off & 0x3fff != 0 accept']
        : ['frag frag-off != 0', 'frag more-fragments 1'].flatMap(match => [
            `${match} ${fragment} goto fragment6`,
            `${match} accept`,
          ])),
      f === 4 ? 'meta l4proto icmp goto about4' : 'meta l4proto ipv6-icmp goto about6',
      `${service} goto service${f}`,
    ]),
  ]
}

function chain(name: string, rules: readonly string[]): string[] {
  return [`chain ${name} {`, ...rules.map(rule => `  ${rule}`), '}']
}

/** An empty chain whose name says which release of the shared rules this is. */
export const LAYOUT_CHAIN = `layout-${createHash('sha256').update(declaration().join('\n')).digest('hex').slice(0, 16)}`

/** The table without any element, in one transaction with the removal of what was there. */
export function createTable(): string {
  const lines = [...declaration(), `chain ${LAYOUT_CHAIN} { }`].map(line => `  ${line}`)
  return [...removal(), `table ${TABLE} {`, ...lines, '}', ''].join('\n')
}

/** Removes all, whether it is there or not (`destroy` is younger than the nft we must work with). */
export function removeSteering(): string {
  return `${removal().join('\n')}\n`
}

function removal(): string[] {
  return [`add table ${TABLE}`, `delete table ${TABLE}`]
}

/**
 * The whole state in one transaction, whatever stood there before: for when that cannot be changed step by step.
 */
export function replaceSteering(wanted: SteeringState): string {
  return [createTable(), ...planSteering(wanted, EMPTY_STATE).map(({ text }) => text)].join('')
}

/**
 * From what is installed to what is wanted, as transactions to run in this order. No packet goes wrong between two of them: slots of a
 * Service come before what leads to them and go after it, and each slot has its old or its new node.
 */
export function planSteering(wanted: SteeringState, observed: SteeringState): SteeringTransaction[] {
  const before: string[] = []
  const switching: string[] = []
  const after: string[] = []
  const come = [...wanted.handovers].filter(([name]) => !observed.handovers.has(name))
  for (const [name, rules] of come) {
    before.push(`add chain ${TABLE} ${name}`, ...rules.map(rule => `add rule ${TABLE} ${name} ${rule}`))
  }
  for (const name of MAP_NAMES) {
    const gone: string[] = []
    const replaced: string[] = []
    const added: string[] = []
    for (const [key, data] of observed.maps[name]) {
      const next = wanted.maps[name].get(key)
      if (next === undefined) gone.push(key)
      else if (next !== data) replaced.push(key)
    }
    for (const [key, data] of wanted.maps[name]) {
      if (observed.maps[name].get(key) !== data) added.push(data === '' ? key : `${key} : ${data}`)
    }
    // Nodes are known before a slot names them, and forgotten when none does.
    const ofNodes = name.startsWith('nodes') || name.startsWith('seconds')
    const [first, last] = ofNodes ? [before, after] : [switching, switching]
    first.push(...elementLines('delete', name, replaced), ...elementLines('add', name, added))
    last.push(...elementLines('delete', name, gone))
  }
  for (const [name] of observed.handovers) {
    if (!wanted.handovers.has(name))
      after.push(`flush chain ${TABLE} ${name}`, `delete chain ${TABLE} ${name}`)
  }
  for (const [name, device] of observed.interfaces) {
    if (wanted.interfaces.get(name) === device) continue
    // The kernel took it away already if the interface is gone: `add` makes that no error.
    switching.push(
      `add chain ${TABLE} ${name}`,
      `flush chain ${TABLE} ${name}`,
      `delete chain ${TABLE} ${name}`,
    )
  }

  const transactions = [
    transaction(before),
    ...slotTransactions(wanted.slots, observed.slots, 'come'),
    transaction(switching),
    ...slotTransactions(wanted.slots, observed.slots, 'go'),
    transaction(after),
  ].map((text): SteeringTransaction => ({ text }))
  // One by one: an interface that went away this moment spoils its own transaction only.
  for (const [chain, device] of wanted.interfaces) {
    if (observed.interfaces.get(chain) === device) continue
    transactions.push({ text: transaction(interfaceLines(chain, device)), interface: { chain, device } })
  }
  return transactions.filter(({ text }) => text !== '')
}

export type SteeringTransaction = {
  readonly text: string
  /** Where this one does nothing but hook the table to an interface. */
  readonly interface?: { readonly chain: string; readonly device: string }
}

function interfaceLines(name: string, device: string): string[] {
  // After our address answers and heartbeats are none of its business: it looks at packets for Service addresses only.
  return [
    `add chain ${TABLE} ${name} { type filter hook ingress device "${device}" priority 0; policy accept; }`,
    `add rule ${TABLE} ${name} goto start`,
  ]
}

/**
 * The quick part when nodes die: what leads to them, in one transaction of a few elements, however many Services there are. Their slots
 * go to the second choice, which is where {@link planSteering} puts them for good a moment later. Empty when nobody died. Keys are changed,
 * never added or removed, so it may run between the transactions of a plan.
 */
export function planDeaths(
  verdicts: SteeringState['maps'],
  observed: SteeringState,
): { readonly text: string; readonly state: SteeringState } {
  const lines: string[] = []
  const maps: Record<MapName, ReadonlyMap<string, string>> = { ...observed.maps }
  for (const name of VERDICT_MAPS) {
    const died = [...observed.maps[name]].flatMap(([key, before]): [string, string][] => {
      const verdict = verdicts[name].get(key)
      return verdict !== undefined && verdict !== before && isDeath(verdict) ? [[key, verdict]] : []
    })
    maps[name] = new Map([...observed.maps[name], ...died])
    lines.push(
      ...elementLines(
        'delete',
        name,
        died.map(([key]) => key),
      ),
      ...elementLines(
        'add',
        name,
        died.map(([key, verdict]) => `${key} : ${verdict}`),
      ),
    )
  }
  return { text: transaction(lines), state: lines.length === 0 ? observed : { ...observed, maps } }
}

/** 'come': slots that are new or have another node; 'go': those of tables that nobody wants any more. */
function slotTransactions(
  wanted: ReadonlyMap<number, Uint32Array>,
  observed: ReadonlyMap<number, Uint32Array>,
  which: 'come' | 'go',
): string[] {
  const transactions: string[] = []
  let removed: string[] = []
  let added: string[] = []
  const flush = () => {
    transactions.push(
      transaction([...elementLines('delete', 'slots', removed), ...elementLines('add', 'slots', added)]),
    )
    removed = []
    added = []
  }
  for (const [mark, slots] of which === 'come' ? wanted : observed) {
    const before = which === 'come' ? observed.get(mark) : slots
    const next = which === 'come' ? slots : wanted.get(mark)
    if (which === 'go' && next !== undefined) continue
    for (let slot = 0; slot < slots.length; slot++) {
      const from = before?.[slot] ?? 0
      const to = next?.[slot] ?? 0
      if (from === to) continue
      const key = `${hex(mark)} . ${classId(slot)}`
      if (from !== 0) removed.push(key)
      if (to !== 0) added.push(`${key} : ${hex(to)}`)
      if (removed.length + added.length >= ELEMENTS_PER_TRANSACTION) flush()
    }
  }
  flush()
  return transactions.filter(text => text !== '')
}

function elementLines(
  verb: 'add' | 'delete',
  name: MapName | 'slots',
  elements: readonly string[],
): string[] {
  const lines: string[] = []
  for (let i = 0; i < elements.length; i += ELEMENTS_PER_LINE) {
    lines.push(`${verb} element ${TABLE} ${name} { ${elements.slice(i, i + ELEMENTS_PER_LINE).join(', ')} }`)
  }
  return lines
}

function transaction(lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}
