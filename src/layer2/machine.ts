import { type Ip, type Ipv6, isIpv4 } from '../addr/ip.ts'
import { isMulticastMac, type Mac, ZERO_MAC } from '../addr/mac.ts'
import type { Ms } from '../ports/clock.ts'
import { type Due, DueQueue } from './due-queue.ts'
import { announcementFrames, answerFrame, type Heard, hear } from './frames.ts'

/**
 * Answers ARP and NDP for the addresses that this node owns, and announces them when it takes them over.
 *
 * The main thread plans (who are the candidates, in which order); this machine only knows, for each address, who goes
 * ahead of this node. It owns an address when all of those are down, so a takeover needs neither the API server nor
 * the main thread. Rules L-20 to L-26 of MetalLB's layer-2 mode.
 */
export type Vip = {
  readonly ip: Ip
  /** One per Service that holds the address; this node owns the address if it owns any of them (L-26). */
  readonly claims: readonly Claim[]
}

export type Claim = {
  /** `namespace/name` */
  readonly service: string
  /** The candidates that go before this node, in the order of the election. Empty: this node is the first. */
  readonly ahead: readonly string[]
  /** The candidates that come after this node, best first, at most `BEHIND_MAX`: they count while this one is on probation. */
  readonly behind: readonly string[]
  /** More go before than are listed: this node takes over only by a new plan. */
  readonly truncated: boolean
  /** Names of the interfaces to answer and announce on (L-21). */
  readonly interfaces: 'all' | readonly string[]
  /** `sharded`: every candidate answers its own share of those who ask. */
  readonly mode: 'single' | 'sharded'
  /** Of the candidates, for `sharded`; those that are not named have weight 1. */
  readonly weights?: Readonly<Record<string, number>>
}

/** An interface with a carrier that may carry announcements. */
export type Nic = {
  readonly index: number
  readonly name: string
  readonly mac: Mac
  readonly arp: boolean
  /** Source of neighbour advertisements; undefined: no NDP on this interface (L-20). */
  readonly linkLocal: Ipv6 | undefined
}

export type Event =
  | { readonly type: 'plan'; readonly set: readonly Vip[]; readonly remove: readonly Ip[]; readonly now: Ms }
  | { readonly type: 'nics'; readonly nics: readonly Nic[]; readonly now: Ms }
  | { readonly type: 'peer'; readonly node: string; readonly down: boolean; readonly now: Ms }
  | { readonly type: 'frame'; readonly interfaceIndex: number; readonly frame: Uint8Array; readonly now: Ms }
  | { readonly type: 'tick'; readonly now: Ms }
  /** This node was away so long that others took over: says anew which addresses are its own. */
  | { readonly type: 'back'; readonly now: Ms }
  /** Gives everything up: keeps answering until the next owner has announced itself, or for `patienceMs`. */
  | { readonly type: 'drain'; readonly patienceMs: Ms; readonly now: Ms }

export type Drop =
  | 'undecodable'
  | 'not-a-question'
  | 'not-our-address'
  | 'not-on-this-interface'
  | 'not-to-us'
  | 'duplicate-address-probe'
  /** The asker claims a group's MAC or none: a reply to it would reach everybody, or nobody. */
  | 'asker-not-unicast'

export type Effect =
  | {
      readonly type: 'send'
      readonly interfaceIndex: number
      readonly frame: Uint8Array
      readonly ip: Ip
      readonly kind: 'reply' | 'announcement'
    }
  | { readonly type: 'request'; readonly ip: Ip }
  | {
      readonly type: 'owned'
      readonly ip: Ip
      /** Those by which this node owns the address, or did until now. Told anew when they change. */
      readonly services: readonly string[]
      readonly owned: boolean
      readonly at: Ms
    }
  | { readonly type: 'join' | 'leave'; readonly interfaceIndex: number; readonly ip: Ipv6 }
  | { readonly type: 'drained'; readonly at: Ms }
  | { readonly type: 'dropped'; readonly why: Drop }

/** L-24: rounds at once and then every 1.1 s while less than 5 s have passed. */
const ROUND_EVERY_MS = 1100
const ROUNDS_FOR_MS = 5000
/**
 * Addresses announced in one step. A node that takes over ten thousand must not stop sending heartbeats meanwhile: the
 * others follow in steps of their own, which are due at once.
 */
const ROUNDS_PER_STEP = 256

type VipState = {
  vip: Vip
  /** The claims by which this node owns the address; none: it does not. */
  won: readonly Claim[]
  /** No round after this. */
  roundsUntil: Ms
  /** The next round; undefined: none is to come. */
  next: Round | undefined
}

type Round = Due & { readonly state: VipState }

export type Layer2 = {
  readonly vips: Map<Ip, VipState>
  /** Rounds to come, all equally long after the one before, so in order. */
  readonly rounds: DueQueue<Round>
  /** Rounds for which a step had no room left: due at once, before the others. */
  readonly overdue: DueQueue<Round>
  readonly down: Set<string>
  /** By node, the addresses for which its state counts: it goes ahead of this node in one of their claims. */
  readonly behind: Map<string, Set<Ip>>
  /** When rounds began for all owned addresses at once, because a peer came back. */
  announcedAllAt: Ms | undefined
  readonly nics: Map<number, Nic>
  draining: { readonly until: Ms; readonly left: Set<Ip>; done: boolean } | undefined
  /** Rounds that the present step may still send. */
  budget: number
}

export function createLayer2(): Layer2 {
  return {
    vips: new Map(),
    rounds: new DueQueue(),
    overdue: new DueQueue(),
    down: new Set(),
    behind: new Map(),
    announcedAllAt: undefined,
    nics: new Map(),
    draining: undefined,
    budget: 0,
  }
}

/** Deterministic: the same machine and event give the same machine and effects. The machine is changed in place. */
export function step(m: Layer2, event: Event): Effect[] {
  m.budget = ROUNDS_PER_STEP
  const effects = perform(m, event)
  if (m.draining !== undefined && !m.draining.done && m.draining.left.size === 0) {
    m.draining.done = true
    effects.push({ type: 'drained', at: event.now })
  }
  return effects
}

function perform(m: Layer2, event: Event): Effect[] {
  switch (event.type) {
    case 'plan':
      return onPlan(m, event.set, event.remove, event.now)
    case 'nics':
      return onNics(m, event.nics, event.now)
    case 'peer':
      return onPeer(m, event.node, event.down, event.now)
    case 'frame':
      return onFrame(m, event.interfaceIndex, event.frame, event.now)
    case 'tick':
      return onTick(m, event.now)
    case 'back':
      return [...m.vips.values()].flatMap(state => (owns(state) ? startRounds(m, state, event.now) : []))
    case 'drain':
      break
  }
  const left = new Set([...m.vips.values()].filter(owns).map(state => state.vip.ip))
  m.draining = { until: event.now + event.patienceMs, left, done: false }
  m.rounds.clear()
  m.overdue.clear()
  return []
}

/** When the driver owes the next tick. Asked after every event: it costs the same however many addresses there are. */
export function nextDeadline(m: Layer2): Ms {
  let next =
    m.draining !== undefined && m.draining.left.size > 0 ? m.draining.until : Number.POSITIVE_INFINITY
  for (const queue of [m.overdue, m.rounds]) next = Math.min(next, queue.first()?.at ?? next)
  return next
}

function onPlan(m: Layer2, set: readonly Vip[], remove: readonly Ip[], now: Ms): Effect[] {
  const effects: Effect[] = []
  for (const ip of remove) {
    const state = m.vips.get(ip)
    if (state === undefined) continue
    effects.push(...release(m, state, now))
    m.vips.delete(ip)
    unlink(m, state.vip)
  }
  for (const vip of set) {
    const state = m.vips.get(vip.ip)
    if (state !== undefined) unlink(m, state.vip)
    link(m, vip)
    if (state === undefined) {
      const fresh: VipState = { vip, won: [], roundsUntil: 0, next: undefined }
      m.vips.set(vip.ip, fresh)
      effects.push(...decide(m, fresh, now))
      continue
    }
    state.vip = vip
    effects.push(...decide(m, state, now))
  }
  return effects
}

function onNics(m: Layer2, nics: readonly Nic[], now: Ms): Effect[] {
  const effects: Effect[] = []
  const changed = nics.filter(nic => {
    const known = m.nics.get(nic.index)
    return (
      known === undefined ||
      known.mac !== nic.mac ||
      known.name !== nic.name ||
      known.arp !== nic.arp ||
      known.linkLocal !== nic.linkLocal
    )
  })
  m.nics.clear()
  for (const nic of nics) m.nics.set(nic.index, nic)
  if (changed.length === 0) return effects
  for (const state of m.vips.values()) {
    if (!owns(state)) continue
    const concerned = changed.filter(nic => permits(state, nic))
    for (const nic of changed)
      effects.push(...(permits(state, nic) ? joinGroup(state, nic) : leaveGroup(state, nic)))
    if (concerned.length > 0) effects.push(...startRounds(m, state, now))
  }
  return effects
}

function onPeer(m: Layer2, node: string, down: boolean, now: Ms): Effect[] {
  if (m.down.has(node) === down) return []
  if (down) m.down.add(node)
  else m.down.delete(node)
  const effects: Effect[] = []
  for (const ip of m.behind.get(node) ?? []) {
    const state = m.vips.get(ip)
    if (state !== undefined) effects.push(...decide(m, state, now))
  }
  // Whoever was cut off may have announced our addresses while nobody heard it; say again whose they are. Once, when many come
  // back in the same moment, as after a loss of our own link.
  if (down || m.announcedAllAt === now) return effects
  m.announcedAllAt = now
  for (const state of m.vips.values()) if (owns(state)) effects.push(...startRounds(m, state, now))
  return effects
}

function link(m: Layer2, { ip, claims }: Vip): void {
  for (const { ahead, truncated } of claims) {
    if (truncated) continue // Whoever is down, only a new plan makes it ours.
    for (const node of ahead) {
      const ips = m.behind.get(node)
      if (ips === undefined) m.behind.set(node, new Set([ip]))
      else ips.add(ip)
    }
  }
}

function unlink(m: Layer2, { ip, claims }: Vip): void {
  for (const { ahead } of claims) {
    for (const node of ahead) {
      const ips = m.behind.get(node)
      ips?.delete(ip)
      if (ips?.size === 0) m.behind.delete(node)
    }
  }
}

/** Makes the address owned or not, as the claims and the nodes that are down say. */
function decide(m: Layer2, state: VipState, now: Ms): Effect[] {
  const won = state.vip.claims.filter(
    claim => !claim.truncated && claim.ahead.every(node => m.down.has(node)),
  )
  if (won.length === 0) return release(m, state, now)
  if (!owns(state)) {
    if (m.draining !== undefined) return []
    state.won = won
    return [
      owned(state, true, now),
      ...nicsOf(m, state).flatMap(nic => joinGroup(state, nic)),
      ...startRounds(m, state, now),
    ]
  }
  // Still ours, perhaps by other Services or on other interfaces.
  const [servicesBefore, nicsBefore] = [servicesOf(state), nicsOf(m, state)]
  state.won = won
  const effects: Effect[] = servicesOf(state) === servicesBefore ? [] : [owned(state, true, now)]
  const nics = nicsOf(m, state)
  for (const nic of nicsBefore) if (!nics.includes(nic)) effects.push(...leaveGroup(state, nic))
  const added = nics.filter(nic => !nicsBefore.includes(nic))
  for (const nic of added) effects.push(...joinGroup(state, nic))
  if (added.length > 0) effects.push(...startRounds(m, state, now))
  return effects
}

/** L-27: losing an address sends nothing; the next owner's announcement is the signal. */
function release(m: Layer2, state: VipState, now: Ms): Effect[] {
  if (!owns(state)) return []
  setRound(undefined, state, 0)
  m.draining?.left.delete(state.vip.ip)
  const effects = [owned(state, false, now), ...nicsOf(m, state).flatMap(nic => leaveGroup(state, nic))]
  state.won = []
  return effects
}

function owns(state: VipState): boolean {
  return state.won.length > 0
}

function servicesOf(state: VipState): string {
  return state.won.map(claim => claim.service).join(' ')
}

function owned(state: VipState, isOwned: boolean, at: Ms): Effect {
  return {
    type: 'owned',
    ip: state.vip.ip,
    services: state.won.map(claim => claim.service),
    owned: isOwned,
    at,
  }
}

/** Names of the interfaces on which an address would be answered and announced at this moment. */
export function interfacesOf(m: Layer2, ip: Ip): string[] {
  const state = m.vips.get(ip)
  return state === undefined ? [] : nicsOf(m, state).map(nic => nic.name)
}

function permits(state: VipState, nic: Nic): boolean {
  if (isIpv4(state.vip.ip) ? !nic.arp : nic.linkLocal === undefined) return false
  return state.won.some(claim => claim.interfaces === 'all' || claim.interfaces.includes(nic.name))
}

function nicsOf(m: Layer2, state: VipState): Nic[] {
  return [...m.nics.values()].filter(nic => permits(state, nic))
}

function joinGroup(state: VipState, nic: Nic): Effect[] {
  const { ip } = state.vip
  return isIpv4(ip) ? [] : [{ type: 'join', interfaceIndex: nic.index, ip }]
}

function leaveGroup(state: VipState, nic: Nic): Effect[] {
  const { ip } = state.vip
  return isIpv4(ip) ? [] : [{ type: 'leave', interfaceIndex: nic.index, ip }]
}

/** A draining node gives its addresses away and announces nothing any more. */
function startRounds(m: Layer2, state: VipState, now: Ms): Effect[] {
  if (m.draining !== undefined) return []
  state.roundsUntil = now + ROUNDS_FOR_MS
  return round(m, state, now)
}

/** Replaces the round that was to come; without a queue none is. */
function setRound(queue: DueQueue<Round> | undefined, state: VipState, at: Ms): void {
  if (state.next !== undefined) state.next.dropped = true
  state.next = queue === undefined ? undefined : { state, at, dropped: false }
  if (state.next !== undefined) queue?.push(state.next)
}

/** Stays due where this step has sent enough. */
function round(m: Layer2, state: VipState, now: Ms): Effect[] {
  if (m.budget === 0) {
    setRound(m.overdue, state, now)
    return []
  }
  m.budget--
  const nextAt = now + ROUND_EVERY_MS
  setRound(nextAt < state.roundsUntil ? m.rounds : undefined, state, nextAt)
  return nicsOf(m, state).flatMap(nic =>
    announcementFrames(nic, state.vip.ip).map(
      frame =>
        ({ type: 'send', interfaceIndex: nic.index, frame, ip: state.vip.ip, kind: 'announcement' }) as const,
    ),
  )
}

function onTick(m: Layer2, now: Ms): Effect[] {
  if (m.draining !== undefined) {
    if (now < m.draining.until) return []
    // Nobody announced these: stop anyway, the caller has waited long enough.
    return [...m.draining.left].flatMap(ip => giveUp(m, ip, now))
  }
  const effects: Effect[] = []
  for (const queue of [m.overdue, m.rounds]) {
    for (;;) {
      const next = queue.first()
      if (next === undefined || next.at > now || m.budget === 0) break
      effects.push(...round(m, next.state, now))
    }
  }
  return effects
}

function giveUp(m: Layer2, ip: Ip, now: Ms): Effect[] {
  const state = m.vips.get(ip)
  return state === undefined ? [] : release(m, state, now)
}

function onFrame(m: Layer2, interfaceIndex: number, frame: Uint8Array, now: Ms): Effect[] {
  const nic = m.nics.get(interfaceIndex)
  if (nic === undefined) return [{ type: 'dropped', why: 'not-on-this-interface' }]
  const heard: Heard = hear(frame)
  switch (heard.type) {
    case 'undecodable':
      return [{ type: 'dropped', why: 'undecodable' }]
    case 'other':
      return [{ type: 'dropped', why: 'not-a-question' }]
    case 'announcement':
      return onAnnouncement(m, heard.ip, heard.mac, now)
    case 'question':
      break
  }
  const { askerMac, target } = heard
  const state = m.vips.get(target)
  const claimed = heard.tells && askerMac !== undefined ? onClaim(m, target, askerMac, now) : []
  if (state === undefined || !owns(state)) return [...claimed, { type: 'dropped', why: 'not-our-address' }]
  if (!heard.toEverybody && heard.destination !== nic.mac) return [{ type: 'dropped', why: 'not-to-us' }]
  // L-23: without the asker's link-layer address there is nobody to answer to; such is a duplicate-address probe.
  if (askerMac === undefined) return [{ type: 'dropped', why: 'duplicate-address-probe' }]
  if (isMulticastMac(askerMac) || askerMac === ZERO_MAC)
    return [{ type: 'dropped', why: 'asker-not-unicast' }]
  if (!permits(state, nic)) return [{ type: 'dropped', why: 'not-on-this-interface' }]
  const reply = answerFrame(nic, heard)
  return [
    ...claimed,
    { type: 'request', ip: target },
    { type: 'send', interfaceIndex, frame: reply, ip: target, kind: 'reply' },
  ]
}

function onAnnouncement(m: Layer2, ip: Ip, mac: Mac, now: Ms): Effect[] {
  return [...onClaim(m, ip, mac, now), { type: 'dropped', why: 'not-a-question' }]
}

/**
 * Somebody else says that it has the address. While draining that is the next owner, and we are done with it. Otherwise, if no
 * node goes before this one, the other is wrong (it took us for dead, or is a stranger) and we say whose the address is: with
 * the rounds of L-24 but never more often than those, so that two that disagree do not flood the wire. A node that stands in
 * for others says nothing: they know better.
 */
function onClaim(m: Layer2, ip: Ip, mac: Mac, now: Ms): Effect[] {
  const state = m.vips.get(ip)
  if (state === undefined || !owns(state)) return []
  for (const nic of m.nics.values()) if (nic.mac === mac) return []
  if (m.draining !== undefined) return giveUp(m, ip, now)
  if (state.won.every(claim => claim.ahead.length > 0)) return []
  if (state.next === undefined) return startRounds(m, state, now)
  state.roundsUntil = now + ROUNDS_FOR_MS
  return []
}
