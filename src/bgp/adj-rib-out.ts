import type { Family } from '../addr/ip.ts'
import { type Prefix, prefixFamily } from '../addr/prefix.ts'
import { unicast } from '../wire/bgp/family.ts'
import { encodeMessage } from '../wire/bgp/message.ts'
import {
  type AnnouncementTemplate,
  announcementTemplate,
  packAnnouncement,
  packWithdrawal,
} from '../wire/bgp/pack.ts'
import { REFRESH } from '../wire/bgp/route-refresh.ts'
import { endOfRib } from '../wire/bgp/update.ts'
import { type Negotiated, updateContext } from './negotiation.ts'
import type { OutRoute } from './out-attributes.ts'

/**
 * What one peer has been told, what it is to be told, and so what it has yet to be told (RFC 4271 section 3.2, Adj-RIB-Out). Messages
 * are made only when there is room for them on the connection: a peer that reads slowly gets the latest state, not its history, and
 * holds no memory here but for each prefix.
 *
 * Lives from 'up' to 'down' of a session. Changed in place.
 */
export type AdjRibOut = {
  readonly negotiated: Negotiated
  readonly groups: Map<string, Group>
  readonly routes: Map<Prefix, Entry>
  /** How many entries say nothing any more. */
  idle: number
  /** What the peer has and is not to have any more. */
  readonly withdrawals: Readonly<Record<Family, Map<Prefix, Entry>>>
  /** Groups with prefixes to be told, in the order in which they came to have them. */
  readonly pending: Set<Group>
  /** Per family: what stands before the routes, and what behind them. */
  readonly marks: Readonly<Record<Family, Marks>>
}

/**
 * One prefix. One that is neither wanted nor told stays for a while: a Map whose key comes and goes over and over walks past all that was
 * deleted there.
 */
type Entry = { wanted: Group | null; told: Group | null }

/** Prefixes with the same attributes. */
type Group = {
  readonly key: string
  readonly template: AnnouncementTemplate
  readonly pending: Map<Prefix, Entry>
  /** How many want it. */
  members: number
}

type Marks = {
  begin: boolean
  /** RFC 7313: the answer to a request is whole. */
  end: boolean
  /** RFC 4724: all has been told. */
  endOfRib: boolean
}

const FAMILIES = ['IPv4', 'IPv6'] as const
/** Entries that say nothing are kept up to so many, and up to half of all. */
const IDLE_MIN = 1024

export function createAdjRibOut(negotiated: Negotiated): AdjRibOut {
  const marks = (): Marks => ({ begin: false, end: false, endOfRib: false })
  return {
    negotiated,
    groups: new Map(),
    routes: new Map(),
    idle: 0,
    withdrawals: { IPv4: new Map(), IPv6: new Map() },
    pending: new Set(),
    marks: { IPv4: marks(), IPv6: marks() },
  }
}

/**
 * The peer is to have this route, instead of another for the same prefix if there is one. Costs nothing if it has it already.
 * @returns false if the attributes leave no room for a prefix in a message: then it is to have none
 */
export function announce(rib: AdjRibOut, route: OutRoute): boolean {
  const group = rib.groups.get(route.key) ?? createGroup(rib, route)
  if (group === undefined) {
    withdraw(rib, route.prefix)
    return false
  }
  const { prefix } = route
  const entry = entryOf(rib, prefix)
  const before = entry.wanted
  if (before === group) return true
  if (before !== null) leave(rib, before, prefix)
  group.members++
  entry.wanted = group
  rib.withdrawals[group.template.family].delete(prefix)
  // By key: the group that it was told with may be gone, and another have come that says the same.
  if (entry.told?.key !== group.key) owe(rib, group, prefix, entry)
  return true
}

/** The peer is to have no route for the prefix. */
export function withdraw(rib: AdjRibOut, prefix: Prefix): void {
  const entry = rib.routes.get(prefix)
  if (entry === undefined || entry.wanted === null) return
  const { family } = entry.wanted.template
  leave(rib, entry.wanted, prefix)
  entry.wanted = null
  if (entry.told !== null) rib.withdrawals[family].set(prefix, entry)
  else retire(rib)
}

/** The peer is to have these routes and no others. */
export function replaceAll(rib: AdjRibOut, routes: Iterable<OutRoute>): void {
  const kept = new Set<Prefix>()
  for (const route of routes) {
    if (announce(rib, route)) kept.add(route.prefix)
  }
  for (const prefix of rib.routes.keys()) {
    if (!kept.has(prefix)) withdraw(rib, prefix)
  }
}

/**
 * All that the node has to say is in the view: the peer is told so behind it (RFC 4724 section 2). After a restart it drops what it had
 * kept and was not told again, so this waits until the node knows. Once for each session.
 */
export function complete(rib: AdjRibOut): void {
  for (const family of rib.negotiated.families) rib.marks[family].endOfRib = true
}

/** The peer asks for all of a family once more (RFC 2918), between marks if both know them (RFC 7313). */
export function refresh(rib: AdjRibOut, family: Family): void {
  const { enhancedRouteRefresh } = rib.negotiated
  const marks = rib.marks[family]
  marks.begin = enhancedRouteRefresh
  marks.end = enhancedRouteRefresh
  for (const [prefix, entry] of rib.routes) {
    if (entry.wanted?.template.family === family) owe(rib, entry.wanted, prefix, entry)
  }
}

/** Whether {@link nextMessage} would give one. */
export function owesMessages(rib: AdjRibOut): boolean {
  if (rib.pending.size > 0) return true
  return FAMILIES.some(family => {
    const { begin, end, endOfRib } = rib.marks[family]
    return begin || end || endOfRib || rib.withdrawals[family].size > 0
  })
}

/**
 * The next message for the peer, which counts as told from then on; undefined when it has all. What is new goes before what is
 * withdrawn: where an aggregate takes the place of its parts, there is a route at every moment.
 */
export function nextMessage(rib: AdjRibOut): Uint8Array | undefined {
  const { messageMax } = rib.negotiated
  for (const family of FAMILIES) {
    if (rib.marks[family].begin) {
      rib.marks[family].begin = false
      return mark(family, REFRESH.begin)
    }
  }
  for (const group of rib.pending) {
    const { bytes, prefixes } = packAnnouncement(group.pending.keys(), group.template, messageMax)
    for (const prefix of prefixes) {
      const entry = group.pending.get(prefix)
      if (entry !== undefined) entry.told = group
      group.pending.delete(prefix)
    }
    if (group.pending.size === 0) rib.pending.delete(group)
    return bytes
  }
  for (const family of FAMILIES) {
    const prefixes = rib.withdrawals[family]
    if (prefixes.size > 0) return nextWithdrawal(rib, family, prefixes)
  }
  for (const family of FAMILIES) {
    const marks = rib.marks[family]
    if (marks.end) {
      marks.end = false
      return mark(family, REFRESH.end)
    }
    if (marks.endOfRib) {
      marks.endOfRib = false
      return encodeMessage(endOfRib(unicast(family)))
    }
  }
  return undefined
}

function nextWithdrawal(rib: AdjRibOut, family: Family, entries: Map<Prefix, Entry>): Uint8Array {
  // As the first of them was announced, and so were all: the next hop of a family is one for a whole session.
  const [first] = entries.values()
  const multiprotocol = first?.told?.template.multiprotocol === true
  const packed = packWithdrawal(entries.keys(), family, multiprotocol, rib.negotiated.messageMax)
  for (const prefix of packed.prefixes) {
    const entry = entries.get(prefix)
    if (entry !== undefined) entry.told = null
    entries.delete(prefix)
    retire(rib)
  }
  return packed.bytes
}

/** The entry of a prefix that is about to be wanted. */
function entryOf(rib: AdjRibOut, prefix: Prefix): Entry {
  const known = rib.routes.get(prefix)
  if (known === undefined) {
    const entry = { wanted: null, told: null }
    rib.routes.set(prefix, entry)
    return entry
  }
  if (known.wanted === null && known.told === null) rib.idle--
  return known
}

/** An entry says nothing any more. Now and then all of them go. */
function retire(rib: AdjRibOut): void {
  rib.idle++
  if (rib.idle < IDLE_MIN || 2 * rib.idle < rib.routes.size) return
  for (const [prefix, { wanted, told }] of rib.routes) {
    if (wanted === null && told === null) rib.routes.delete(prefix)
  }
  rib.idle = 0
}

function mark(family: Family, subtype: number): Uint8Array {
  return encodeMessage({
    type: 'route-refresh',
    family: unicast(family),
    subtype,
    filters: new Uint8Array(0),
  })
}

function createGroup(rib: AdjRibOut, route: OutRoute): Group | undefined {
  const { address, linkLocal } = route.nextHop
  const template = announcementTemplate(
    {
      family: prefixFamily(route.prefix),
      nextHop: address,
      ...(linkLocal === undefined ? {} : { linkLocal }),
      attributes: route.attributes(),
    },
    updateContext(rib.negotiated),
    rib.negotiated.messageMax,
  )
  if (template === undefined) return undefined
  const group = { key: route.key, template, pending: new Map<Prefix, Entry>(), members: 0 }
  rib.groups.set(route.key, group)
  return group
}

function owe(rib: AdjRibOut, group: Group, prefix: Prefix, entry: Entry): void {
  group.pending.set(prefix, entry)
  rib.pending.add(group)
}

/** The prefix does not want this group any more. */
function leave(rib: AdjRibOut, group: Group, prefix: Prefix): void {
  group.pending.delete(prefix)
  if (group.pending.size === 0) rib.pending.delete(group)
  group.members--
  if (group.members === 0) rib.groups.delete(group.key)
}
