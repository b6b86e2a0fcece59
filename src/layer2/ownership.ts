import { type Ip, type Ipv6, isIpv4, isIpv6 } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import type { AddressTerm, Level } from '../membership/machine.ts'
import type { Ms } from '../ports/clock.ts'
import { Askers } from './askers.ts'
import { announcementFrames, repairFrame } from './frames.ts'
import { whoPrecedes } from './precedence.ts'
import { RepairQueue } from './repair-queue.ts'
import type { Shares } from './shards.ts'
import {
  type Introductions,
  introduceDue,
  introduceTo,
  isShared,
  newcomers,
  reshare,
  sharesNow,
  takesPart,
  tellDue,
  tellOwnAskers,
  withoutSelf,
} from './sharing.ts'
import type { Suspicion } from './suspicion.ts'
import { type Sleeper, Timers } from './timers.ts'

/**
 * Taking addresses, announcing them, giving them away: what the events of `machine.ts` come down to.
 *
 * An address is in one of these states at this node:
 *
 *   not owned ──nobody precedes us──► owned ──somebody precedes us──► giving away
 *       ▲                              │  ▲                               │    │
 *       └── a higher term, `lost` ─────┘  └──── nobody does any more ─────┘    │
 *       └──────────── the next owner claims or announces it ───────────────────┘
 *
 * It is answered for while it is owned or given away, so a move has no moment in which nobody answers.
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

/** What made the ownership of an address change. */
export type Cause =
  | { readonly type: 'plan' | 'interfaces' | 'drain' }
  /** Another node was lost, left, came back or began to stand. */
  | { readonly type: 'node'; readonly node: string; readonly level: Level }
  /** Another node claimed it by a higher term. */
  | { readonly type: 'claim'; readonly node: string }
  /** Somebody else was seen to have it. */
  | { readonly type: 'seen'; readonly mac: Mac }
  /** This node was voted down while it was away. */
  | { readonly type: 'lost' }
  /** This node became entitled, began to stand, or is alone. */
  | { readonly type: 'standing' }

export type Drop =
  | 'undecodable'
  | 'not-a-question'
  | 'not-our-address'
  | 'not-on-this-interface'
  | 'not-to-us'
  /** Shared, and the asker is another node's. */
  | 'not-our-share'
  /** Ours, but no majority of the voters has heard from us of late: another node may own it by now. */
  | 'not-entitled'
  /** A multicast solicitation that does not say where to answer, though its sender has an address (RFC 4861 section 4.3). */
  | 'asker-unknown'
  /** The asker claims a group's MAC or none: a reply to it would reach everybody, or nobody. */
  | 'asker-not-unicast'

export type Effect =
  | {
      readonly type: 'send'
      readonly interfaceIndex: number
      readonly frame: Uint8Array
      readonly ip: Ip
      /** `repair`: an announcement to one neighbour alone. */
      readonly kind: 'reply' | 'announcement' | 'repair'
    }
  /** Ask the wire who has the address, as an ordinary host. */
  | { readonly type: 'ask'; readonly interfaceIndex: number; readonly ip: Ip }
  | { readonly type: 'request'; readonly ip: Ip }
  | {
      readonly type: 'owned'
      readonly ip: Ip
      /** Those by which this node owns the address, or did until now. Told anew when they change. */
      readonly services: readonly string[]
      readonly owned: boolean
      /** With others: nothing is announced to everybody. Absent: it is not. */
      readonly shared?: true
      readonly cause: Cause
      readonly at: Ms
    }
  /** Tell the terms of our addresses to one node, or to all. */
  | { readonly type: 'claim'; readonly claims: readonly AddressTerm[]; readonly to: string | undefined }
  /** Tell a node who asked for addresses: see wire/askers.ts. */
  | { readonly type: 'introduce'; readonly to: string; readonly bodies: readonly Uint8Array[] }
  /** Somebody who is no speaker of this cluster has an address of ours (RFC 5227 section 2.4). */
  | {
      readonly type: 'conflict'
      readonly ip: Ip
      readonly mac: Mac
      readonly interfaceIndex: number
      readonly services: readonly string[]
      readonly action: 'defended' | 'yielded'
      readonly at: Ms
    }
  /** A node that was voted down still answers on the wire: its addresses are taken over later, `times` at most 3. */
  | { readonly type: 'takeover-waits'; readonly node: string; readonly times: number; readonly at: Ms }
  /** Since no majority hears us, nothing is answered; what was ours is remembered. */
  | { readonly type: 'suspended'; readonly suspended: boolean; readonly owned: number; readonly at: Ms }
  | { readonly type: 'join' | 'leave'; readonly interfaceIndex: number; readonly ip: Ipv6 }
  | { readonly type: 'drained'; readonly at: Ms }
  | { readonly type: 'dropped'; readonly why: Drop }

export type Layer2Options = {
  readonly self: string
  /** Owned addresses are announced anew at this interval; 0: only when something changed. */
  readonly announceIntervalMs: Ms
}

/** L-24: rounds at once and then every 1.1 s while less than 5 s have passed. */
export const ROUND_EVERY_MS = 1100
export const ROUNDS_FOR_MS = 5000
/**
 * Addresses announced in one step. A node that takes over ten thousand must not stop sending heartbeats meanwhile: the
 * others follow in steps of their own, which are due at once.
 */
const ROUNDS_PER_STEP = 256
/** Neighbours told one by one when an address moves, those that asked last. All others hear the broadcast. */
const REPAIRS_MAX = 256
/** Who yielded to a claim leaves it to the other for so long before it takes the address that is its own by rank. */
const YIELD_MS = 1000
/** How long an address that is no longer ours to have is answered for while its next owner does not show up. */
export const HAND_OVER_MS = 1000
/** While an address is given away its next owner is told the term so often. */
const REMIND_MS = 1000
/** A node that is alone asks the wire this often, and so many times before it takes an address. */
const ASK_EVERY_MS = 100
const ASK_TIMES = 3
/** The further behind, the later it begins, so that one that goes before is there by then. */
const ASK_LATER_MS = 500
/** And looks again so much later. */
const ASK_AGAIN_MS = 10_000

const NEVER = Number.POSITIVE_INFINITY

export type VipState = Sleeper & {
  vip: Vip
  /** The claims by which this node owns the address; none: it does not. */
  won: readonly Claim[]
  /** Who shares it, as seen last; undefined: it has one owner. */
  shares: Shares | undefined
  /** The highest term that was heard of or used. */
  term: number
  /** The term by which it is ours. */
  ownTerm: number
  /** Which other node claimed it last: see `setClaimer`. */
  claimer: string | undefined
  /** The other nodes are told with the next round. */
  claimDue: boolean
  /** Neighbours are told one by one with the next round. */
  repairDue: boolean
  /** No round after this. */
  roundsUntil: Ms
  roundAt: Ms
  /** Answered for until somebody else has it; `gone`: in any case no longer than this, it is not ours to have. */
  giving: { readonly until: Ms; readonly gone: boolean } | undefined
  /** To the claimer. */
  yieldedUntil: Ms
  /** Questions that are still to go unanswered before it is taken; only while alone or wary. */
  asksLeft: number
  /** Somebody has it who does not talk to us: the wire is asked before it is taken. */
  wary: boolean
  /** The next thing to do that is not a round. */
  actAt: Ms
  defendedAt: Ms
  remindedAt: Ms
}

/** One machine per node, changed in place. */
export type Layer2 = {
  readonly options: Layer2Options
  readonly vips: Map<Ip, VipState>
  /** Those of them that several nodes answer for. */
  readonly shared: Set<VipState>
  /** Those with a `roundAt` or an `actAt`. */
  readonly timers: Timers<VipState>
  readonly levels: Map<string, Level>
  /** By node, the addresses for which it goes ahead of this node. */
  readonly behind: Map<string, Set<Ip>>
  /** By node, the addresses that it claimed last. */
  readonly claimed: Map<string, Set<VipState>>
  readonly askers: Askers
  /** Askers of shared addresses that are to be told by themselves. */
  readonly repairs: RepairQueue
  /** By node that was not there to hear who asked. */
  readonly introductions: Map<string, Introductions>
  readonly suspicions: Map<string, Suspicion>
  readonly nics: Map<number, Nic>
  /** Of the other speakers. `complete`: of all of them, so that any other MAC is a stranger's. */
  macs: { readonly of: ReadonlyMap<Mac, string>; readonly complete: boolean }
  /** May answer and take: entitled by a majority, or alone. */
  entitled: boolean
  /** Entitled only because nobody is there. */
  alone: boolean
  probation: boolean
  /** Nothing is taken before: after a loss the others say first what they own. */
  holdUntil: Ms
  /** When rounds began for all owned addresses at once, because a node came back. */
  announcedAllAt: Ms | undefined
  draining: { readonly until: Ms; readonly left: Set<Ip>; done: boolean } | undefined
  /** Of the present step: */
  out: Effect[]
  cause: Cause
  /** Rounds that it may still send. */
  budget: number
  /** Claims by node that is to be told; undefined: all. */
  readonly claims: Map<string | undefined, Map<Ip, number>>
}

export function createLayer2(options: Layer2Options): Layer2 {
  return {
    options,
    vips: new Map(),
    shared: new Set(),
    timers: new Timers(),
    levels: new Map(),
    behind: new Map(),
    claimed: new Map(),
    askers: new Askers(),
    repairs: new RepairQueue(),
    introductions: new Map(),
    suspicions: new Map(),
    nics: new Map(),
    macs: { of: new Map(), complete: false },
    entitled: false,
    alone: false,
    probation: true,
    holdUntil: 0,
    announcedAllAt: undefined,
    draining: undefined,
    out: [],
    cause: { type: 'plan' },
    budget: 0,
    claims: new Map(),
  }
}

export function createVip(vip: Vip): VipState {
  return {
    vip,
    won: [],
    shares: undefined,
    term: 0,
    ownTerm: 0,
    claimer: undefined,
    claimDue: false,
    repairDue: false,
    roundsUntil: 0,
    roundAt: NEVER,
    giving: undefined,
    yieldedUntil: 0,
    asksLeft: 0,
    wary: false,
    actAt: NEVER,
    wakeAt: NEVER,
    defendedAt: Number.NEGATIVE_INFINITY,
    remindedAt: Number.NEGATIVE_INFINITY,
  }
}

export function beginStep(m: Layer2): void {
  m.out = []
  m.budget = ROUNDS_PER_STEP
}

/** The effects of the step, its claims gathered to one effect for each who is told. */
export function endStep(m: Layer2, now: Ms): Effect[] {
  tellDue(m, nicsOf, now)
  introduceDue(m, now)
  for (const [to, terms] of m.claims) {
    m.out.push({ type: 'claim', claims: [...terms].map(([ip, term]) => ({ ip, term })), to })
  }
  m.claims.clear()
  if (m.draining !== undefined && !m.draining.done && m.draining.left.size === 0) {
    m.draining.done = true
    m.out.push({ type: 'drained', at: now })
  }
  return m.out
}

export function owns(state: VipState): boolean {
  return state.won.length > 0
}

export function servicesOf(state: VipState): string[] {
  return state.won.map(claim => claim.service)
}

/** How far behind the first candidate this node is. */
export function rankOf(state: VipState): number {
  return Math.min(...state.vip.claims.map(({ ahead }) => ahead.length))
}

/** Makes the address owned, given away or not owned, as the claims and the levels of the other nodes say. */
export function decide(m: Layer2, state: VipState, now: Ms): void {
  if (state.giving?.gone === true) return
  if (isShared(state.vip)) return decideShared(m, state, now)
  const wasShared = state.shares !== undefined
  if (wasShared) {
    state.shares = undefined
    m.repairs.drop(state.vip.ip)
  }
  let preceding: string | undefined
  const field = { levels: m.levels, probation: m.probation, claimer: state.claimer }
  const won = state.vip.claims.filter(claim => {
    // Alone, nobody is known to be there: rank only says who asks the wire first.
    const node = m.alone ? undefined : whoPrecedes(claim, field)
    preceding ??= node
    return node === undefined
  })
  if (won.length === 0) {
    state.asksLeft = 0
    if (owns(state)) giveAway(m, state, preceding, now)
  } else if (owns(state)) {
    keep(m, state, won, now)
    if (wasShared) announceAlone(m, state, now)
  } else if (m.entitled && m.draining === undefined) {
    if (now < m.holdUntil || now < state.yieldedUntil) {
      actBy(m, state, Math.max(m.holdUntil, state.yieldedUntil))
    } else if (m.alone || state.wary) askFirst(m, state, now)
    else take(m, state, won, now)
  }
}

/** Everybody who takes part answers; who does is a matter of the levels alone, so nobody has to give anything away. */
function decideShared(m: Layer2, state: VipState, now: Ms): void {
  const before = state.shares
  const after = sharesNow(m, state.vip)
  state.shares = withoutSelf(m, after)
  // It had one owner until now, which may not be done announcing it.
  if (before === undefined) stopRounds(state)
  // While it leaves, a node goes on answering those whose entries name it.
  if (!takesPart(m, after)) return m.draining !== undefined ? undefined : release(m, state, now)
  if (owns(state)) {
    state.giving = undefined
    keep(m, state, state.vip.claims, now)
  } else if (!m.entitled || m.draining !== undefined) return
  else if (now < m.holdUntil) return actBy(m, state, m.holdUntil)
  else if (m.alone) return askFirst(m, state, now)
  else take(m, state, state.vip.claims, now)
  state.shares = after
  reshare(m, state, before, now)
  // By a new plan, too: nobody else would tell them.
  for (const node of newcomers(m, before, after)) introduceTo(m, node, [state.vip.ip], now)
}

/** It was shared and has one owner again: that one must say so to everybody. */
function announceAlone(m: Layer2, state: VipState, now: Ms): void {
  state.term++
  state.ownTerm = state.term
  state.claimDue = true
  startRounds(m, state, now)
}

/** The node whose address this is next must show itself before we stop. */
function giveAway(m: Layer2, state: VipState, to: string | undefined, now: Ms): void {
  // Who goes first may answer already, for all that we can hear.
  if (!m.entitled) return release(m, state, now)
  if (m.draining !== undefined) return
  state.giving ??= { until: NEVER, gone: false }
  stopRounds(state)
  if (to !== undefined && to !== '' && now - state.remindedAt >= REMIND_MS) {
    state.remindedAt = now
    claim(m, state, to)
  }
  actBy(m, state, now + REMIND_MS)
}

/** No longer ours to have, but still somebody's: answered for until that one shows itself. */
export function handOver(m: Layer2, state: VipState, now: Ms): void {
  if (!owns(state) || !m.entitled || m.draining !== undefined) return release(m, state, now)
  if (state.shares !== undefined) state.shares = withoutSelf(m, state.shares)
  state.giving = { until: now + HAND_OVER_MS, gone: true }
  stopRounds(state)
  actBy(m, state, state.giving.until)
}

/** Still ours, perhaps by other Services or on other interfaces. */
function keep(m: Layer2, state: VipState, won: readonly Claim[], now: Ms): void {
  if (m.draining === undefined) state.giving = undefined
  const [servicesBefore, nicsBefore] = [servicesOf(state).join(' '), nicsOf(m, state)]
  state.won = won
  if (servicesOf(state).join(' ') !== servicesBefore) tellOwned(m, state, true, now)
  const nics = nicsOf(m, state)
  for (const nic of nicsBefore) if (!nics.includes(nic)) leaveGroup(m, state, nic)
  const added = nics.filter(nic => !nicsBefore.includes(nic))
  for (const nic of added) joinGroup(m, state, nic)
  if (added.length > 0) startRounds(m, state, now)
  if (m.alone) actBy(m, state, now + ASK_AGAIN_MS)
}

function take(m: Layer2, state: VipState, won: readonly Claim[], now: Ms): void {
  state.won = won
  state.term++
  state.ownTerm = state.term
  setClaimer(m, state, undefined)
  state.asksLeft = 0
  state.wary = false
  state.claimDue = true
  state.repairDue = true
  tellOwned(m, state, true, now)
  for (const nic of nicsOf(m, state)) joinGroup(m, state, nic)
  if (!isShared(state.vip)) startRounds(m, state, now)
  else if (m.alone) {
    state.shares = sharesNow(m, state.vip)
    tellOwnAskers(m, state, now)
  }
  if (m.alone) actBy(m, state, now + ASK_AGAIN_MS)
}

/** L-27: losing an address sends nothing; the next owner's announcement is the signal. */
export function release(m: Layer2, state: VipState, now: Ms): void {
  const gone = state.giving?.gone === true
  if (owns(state)) {
    m.draining?.left.delete(state.vip.ip)
    tellOwned(m, state, false, now)
    for (const nic of nicsOf(m, state)) leaveGroup(m, state, nic)
  }
  state.won = []
  if (state.shares !== undefined) {
    state.shares = withoutSelf(m, state.shares)
    m.repairs.drop(state.vip.ip)
  }
  state.giving = undefined
  state.claimDue = state.repairDue = false
  state.actAt = NEVER
  stopRounds(state)
  if (gone) forget(m, state)
}

/** To a node that has it by a better right: not taken back before that one had the time to hear otherwise. */
export function yieldTo(m: Layer2, state: VipState, node: string, now: Ms): void {
  release(m, state, now)
  setClaimer(m, state, node)
  state.yieldedUntil = now + YIELD_MS
  decide(m, state, now)
}

export function forget(m: Layer2, state: VipState): void {
  m.vips.delete(state.vip.ip)
  m.shared.delete(state)
  setClaimer(m, state, undefined)
  state.actAt = NEVER
  stopRounds(state)
  m.askers.forget(state.vip.ip)
  m.repairs.drop(state.vip.ip)
  unlink(m, state.vip)
}

/** The nodes whose loss may make the address ours, or that share it. */
export function link(m: Layer2, { ip, claims }: Vip): void {
  for (const { ahead, behind, mode } of claims) {
    for (const node of mode === 'sharded' ? [...ahead, ...behind] : ahead) {
      const ips = m.behind.get(node)
      if (ips === undefined) m.behind.set(node, new Set([ip]))
      else ips.add(ip)
    }
  }
}

export function unlink(m: Layer2, { ip, claims }: Vip): void {
  for (const { ahead, behind } of claims) {
    for (const node of [...ahead, ...behind]) {
      const ips = m.behind.get(node)
      ips?.delete(ip)
      if (ips?.size === 0) m.behind.delete(node)
    }
  }
}

export function setClaimer(m: Layer2, state: VipState, node: string | undefined): void {
  const { claimer } = state
  if (claimer === node) return
  if (claimer !== undefined) {
    const states = m.claimed.get(claimer)
    states?.delete(state)
    if (states?.size === 0) m.claimed.delete(claimer)
  }
  state.claimer = node
  if (node === undefined) return
  const states = m.claimed.get(node)
  if (states === undefined) m.claimed.set(node, new Set([state]))
  else states.add(state)
}

function tellOwned(m: Layer2, state: VipState, owned: boolean, at: Ms): void {
  const { ip } = state.vip
  const shared = isShared(state.vip) && { shared: true as const }
  m.out.push({ type: 'owned', ip, services: servicesOf(state), owned, ...shared, cause: m.cause, at })
}

/** Tells our term of the address, with those of other addresses at the end of the step. */
export function claim(m: Layer2, state: VipState, to: string | undefined): void {
  let claims = m.claims.get(to)
  if (claims === undefined) m.claims.set(to, (claims = new Map()))
  claims.set(state.vip.ip, state.ownTerm)
}

/** Alone, or after it was seen at somebody who does not talk to us: takes the address when the wire has not answered three times. */
function askFirst(m: Layer2, state: VipState, now: Ms): void {
  if (state.asksLeft > 0 && state.actAt !== NEVER) return
  state.asksLeft = ASK_TIMES + 1
  actBy(m, state, Math.max(now + rankOf(state) * ASK_LATER_MS, state.yieldedUntil))
}

/** Somebody has it, so it is not taken; it may be gone the next time. */
export function answeredWhileAsking(m: Layer2, state: VipState, now: Ms): void {
  state.asksLeft = ASK_TIMES + 1
  state.actAt = NEVER
  actBy(m, state, now + ASK_AGAIN_MS)
}

/** What `actAt` was set for. */
export function act(m: Layer2, state: VipState, now: Ms): void {
  state.actAt = NEVER
  if (m.draining !== undefined && isShared(state.vip)) return release(m, state, now)
  if (state.giving?.gone === true) {
    if (now >= state.giving.until) release(m, state, now)
    else actBy(m, state, state.giving.until)
    return
  }
  if (m.alone && owns(state)) {
    // Another that is alone as well would answer: nobody tells us about it by other means.
    ask(m, state)
    actBy(m, state, now + ASK_AGAIN_MS)
    return
  }
  if ((m.alone || state.wary) && m.entitled && m.draining === undefined && state.asksLeft > 0) {
    state.asksLeft--
    if (state.asksLeft === 0) {
      take(m, state, state.vip.claims, now)
    } else {
      ask(m, state)
      actBy(m, state, now + ASK_EVERY_MS)
    }
    return
  }
  decide(m, state, now)
}

/** Who has the address? Wherever we would announce it. */
export function ask(m: Layer2, { vip }: VipState): void {
  for (const nic of m.nics.values()) {
    if (!permits(vip.claims, vip.ip, nic)) continue
    m.out.push({ type: 'ask', interfaceIndex: nic.index, ip: vip.ip })
  }
}

export function actBy(m: Layer2, state: VipState, at: Ms): void {
  state.actAt = Math.min(state.actAt, at)
  m.timers.wakeBy(state, at)
}

/** A node that gives addresses away announces nothing any more. */
export function startRounds(m: Layer2, state: VipState, now: Ms, forMs: Ms = ROUNDS_FOR_MS): void {
  if (m.draining !== undefined || state.giving !== undefined) return
  if (isShared(state.vip)) return tellOwnAskers(m, state, now)
  state.roundsUntil = Math.max(state.roundsUntil, now + forMs)
  state.roundAt = Math.min(state.roundAt, now)
  round(m, state, now)
  m.timers.wakeBy(state, state.roundAt)
}

export function roundBy(m: Layer2, state: VipState, at: Ms): void {
  state.roundAt = Math.min(state.roundAt, at)
  m.timers.wakeBy(state, at)
}

export function stopRounds(state: VipState): void {
  state.roundAt = NEVER
  state.roundsUntil = 0
}

/** Stays due where this step has sent enough, and while we may not speak. The caller sees to the next one. */
export function round(m: Layer2, state: VipState, now: Ms): void {
  if (m.budget <= 0 || !m.entitled || now < state.roundAt) return
  m.budget--
  const { announceIntervalMs } = m.options
  const next = now + ROUND_EVERY_MS
  state.roundAt = next < state.roundsUntil ? next : announceIntervalMs > 0 ? now + announceIntervalMs : NEVER
  const nics = nicsOf(m, state)
  const { ip } = state.vip
  for (const { index, mac } of nics) {
    for (const frame of announcementFrames(mac, ip))
      m.out.push({ type: 'send', interfaceIndex: index, frame, ip, kind: 'announcement' })
  }
  if (state.repairDue) repair(m, state, nics)
  if (state.claimDue) claim(m, state, undefined)
  state.repairDue = state.claimDue = false
}

/** Broadcasts get lost, and some hosts do not listen to them: those that asked before are told by themselves. */
function repair(m: Layer2, { vip: { ip } }: VipState, nics: readonly Nic[]): void {
  let left = REPAIRS_MAX
  for (const asker of m.askers.of(ip)) {
    if (left-- === 0) break
    m.budget -= 0.5
    for (const { index, mac } of nics) {
      if (asker.interfaceIndex !== undefined && asker.interfaceIndex !== index) continue
      const frame = repairFrame(mac, ip, asker)
      if (frame !== undefined) m.out.push({ type: 'send', interfaceIndex: index, frame, ip, kind: 'repair' })
    }
  }
}

/** Names of the interfaces on which an address would be answered and announced at this moment. */
export function interfacesOf(m: Layer2, ip: Ip): string[] {
  const state = m.vips.get(ip)
  return state === undefined ? [] : nicsOf(m, state).map(nic => nic.name)
}

export function permits(claims: readonly Claim[], ip: Ip, nic: Nic): boolean {
  if (isIpv4(ip) ? !nic.arp : nic.linkLocal === undefined) return false
  return claims.some(({ interfaces }) => interfaces === 'all' || interfaces.includes(nic.name))
}

function nicsOf(m: Layer2, { won, vip }: VipState): Nic[] {
  return [...m.nics.values()].filter(nic => permits(won, vip.ip, nic))
}

export function joinGroup(m: Layer2, { vip: { ip } }: VipState, nic: Nic): void {
  if (isIpv6(ip)) m.out.push({ type: 'join', interfaceIndex: nic.index, ip })
}

export function leaveGroup(m: Layer2, { vip: { ip } }: VipState, nic: Nic): void {
  if (isIpv6(ip)) m.out.push({ type: 'leave', interfaceIndex: nic.index, ip })
}
