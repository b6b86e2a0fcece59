import type { Ip } from '../addr/ip.ts'
import { isMulticastMac, type Mac, ZERO_MAC } from '../addr/mac.ts'
import type { AddressTerm, Level } from '../membership/machine.ts'
import type { Ms } from '../ports/clock.ts'
import { DecodeError } from '../wire/io.ts'
import { answerFrame, type Heard, hear } from './frames.ts'
import {
  act,
  actBy,
  answeredWhileAsking,
  ask,
  beginStep,
  claim,
  createVip,
  type Drop,
  decide,
  type Effect,
  endStep,
  forget,
  HAND_OVER_MS,
  handOver,
  joinGroup,
  type Layer2,
  leaveGroup,
  link,
  type Nic,
  owns,
  permits,
  ROUND_EVERY_MS,
  ROUNDS_FOR_MS,
  rankOf,
  release,
  round,
  roundBy,
  servicesOf,
  setClaimer,
  startRounds,
  stopRounds,
  unlink,
  type Vip,
  type VipState,
  yieldTo,
} from './ownership.ts'
import { ranksBefore, whoPrecedes } from './precedence.ts'
import { answersAsker, handToOwner, introduced, introduceTo, isEmpty, isShared } from './sharing.ts'
import { ASKED_MAX, createSuspicion, putOff } from './suspicion.ts'

export type { Claim, Effect, Layer2, Nic, Vip } from './ownership.ts'
export { createLayer2, interfacesOf } from './ownership.ts'

/**
 * Answers ARP and NDP for the addresses that this node owns, and announces them when it takes them over.
 *
 * The main thread plans (who are the candidates, in which order); this machine only knows, for each address, who goes ahead of
 * this node and who comes after it. It owns an address when it is entitled and nobody precedes it, so a takeover needs neither
 * the API server nor the main thread. Rules L-20 to L-27 of MetalLB's layer-2 mode.
 */
export type Event =
  | {
      readonly type: 'plan'
      readonly set: readonly Vip[]
      readonly remove: readonly Ip[]
      /** Those of `remove` that other nodes announce from now on: given up when they do. */
      readonly handOver?: readonly Ip[]
      readonly now: Ms
    }
  | { readonly type: 'nics'; readonly nics: readonly Nic[]; readonly now: Ms }
  /** The MACs of the other speakers. `complete`: whatever else is heard is no speaker. */
  | {
      readonly type: 'macs'
      readonly of: ReadonlyMap<Mac, string>
      readonly complete: boolean
      readonly now: Ms
    }
  | { readonly type: 'node'; readonly node: string; readonly level: Level; readonly now: Ms }
  /** `patienceMs`: what a takeover waits when the wire says that the node still answers. */
  | { readonly type: 'suspect'; readonly node: string; readonly patienceMs: Ms; readonly now: Ms }
  | { readonly type: 'unsuspect'; readonly node: string; readonly now: Ms }
  | {
      readonly type: 'claimed'
      readonly node: string
      readonly claims: readonly AddressTerm[]
      readonly now: Ms
    }
  /** Another node says who asked it: see wire/askers.ts. */
  | { readonly type: 'askers'; readonly node: string; readonly body: Uint8Array; readonly now: Ms }
  | { readonly type: 'frame'; readonly interfaceIndex: number; readonly frame: Uint8Array; readonly now: Ms }
  | { readonly type: 'tick'; readonly now: Ms }
  /** This node was voted down while it was away: others own what it owned. */
  | { readonly type: 'lost'; readonly now: Ms }
  /** Gives everything up: keeps answering until the next owner has announced itself, or for `patienceMs`. */
  | { readonly type: 'drain'; readonly patienceMs: Ms; readonly now: Ms }

/** What the membership says of this node at the time of the event. */
export type Standing = {
  /** Nothing is answered from then on. */
  readonly entitledUntil: Ms
  readonly probation: boolean
  readonly alone: boolean
}

/** After others took over: until their claims have come. */
const LOST_HOLD_MS = 500
/** RFC 5227 section 2.4, DEFEND_INTERVAL: a conflict that goes on is reported so often. */
const CONFLICT_TOLD_EVERY_MS = 10_000
/** Two speakers announce one address: what their terms decide takes no longer, then the one that stays says so. */
const CONTEST_MS = 200

/**
 * Deterministic: the same machine, event and standing give the same machine and effects. The machine is changed in place. What is
 * due before the event, a node that is no longer entitled above all, comes before it.
 */
export function step(m: Layer2, event: Event, standing: Standing): Effect[] {
  beginStep(m)
  onStanding(m, standing, event.now)
  perform(m, event)
  return endStep(m, event.now)
}

function perform(m: Layer2, event: Event): void {
  const { now } = event
  switch (event.type) {
    case 'plan':
      return onPlan(m, event)
    case 'nics':
      return onNics(m, event.nics, now)
    case 'macs':
      m.macs = event
      return
    case 'node':
      return onNode(m, event.node, event.level, now)
    case 'suspect':
      return onSuspect(m, event.node, event.patienceMs)
    case 'unsuspect':
      // One that is down already is decided: only its level changes that.
      if (m.suspicions.get(event.node)?.downAt === undefined) m.suspicions.delete(event.node)
      return
    case 'claimed':
      for (const each of event.claims) onClaim(m, event.node, each, now)
      return
    case 'askers':
      return onAskers(m, event.body, now)
    case 'frame':
      return onFrame(m, event.interfaceIndex, event.frame, now)
    case 'tick':
      return onTick(m, now)
    case 'lost':
      m.cause = { type: 'lost' }
      m.holdUntil = now + LOST_HOLD_MS
      for (const state of m.vips.values()) {
        release(m, state, now)
        decide(m, state, now)
      }
      return
    case 'drain':
      return onDrain(m, now + event.patienceMs, now)
  }
}

/** When the driver owes the next tick. Asked after every event: it costs the same however many addresses there are. */
export function nextDeadline(m: Layer2): Ms {
  let next = m.timers.due
  if (m.draining !== undefined && !m.draining.done) next = Math.min(next, m.draining.until)
  for (const { downAt } of m.suspicions.values()) if (downAt !== undefined) next = Math.min(next, downAt)
  for (const { dueAt } of m.introductions.values()) next = Math.min(next, dueAt)
  return m.entitled ? Math.min(next, m.repairs.nextDeadline()) : next
}

function onStanding(m: Layer2, standing: Standing, now: Ms): void {
  const byMajority = now < standing.entitledUntil
  const entitled = byMajority || standing.alone
  const alone = entitled && !byMajority
  if (m.entitled === entitled && m.alone === alone && m.probation === standing.probation) return
  const changed = m.entitled !== entitled
  m.entitled = entitled
  m.alone = alone
  m.probation = standing.probation
  m.cause = { type: 'standing' }
  if (changed) {
    let owned = 0
    for (const state of m.vips.values()) if (owns(state)) owned++
    m.out.push({ type: 'suspended', suspended: !entitled, owned, at: now })
  }
  if (!entitled) {
    for (const ip of m.draining?.left ?? []) releaseIp(m, ip, now)
    return
  }
  for (const state of m.vips.values()) {
    const owned = owns(state)
    decide(m, state, now)
    if (state.roundAt !== Number.POSITIVE_INFINITY) roundBy(m, state, state.roundAt)
    // Nobody took it meanwhile; somebody may have tried to tell otherwise.
    if (changed && owned && owns(state)) startRounds(m, state, now, 0)
  }
}

function onPlan(m: Layer2, { set, remove, handOver: moved = [], now }: Event & { type: 'plan' }): void {
  m.cause = { type: 'plan' }
  const toOthers = new Set(moved)
  for (const ip of remove) {
    const state = m.vips.get(ip)
    if (state === undefined) continue
    if (toOthers.has(ip)) handOver(m, state, now)
    else release(m, state, now)
    if (!owns(state)) forget(m, state)
  }
  for (const vip of set) {
    let state = m.vips.get(vip.ip)
    if (state === undefined) {
      state = createVip(vip)
      m.vips.set(vip.ip, state)
    } else {
      unlink(m, state.vip)
      state.vip = vip
      if (state.giving?.gone === true) state.giving = undefined
    }
    if (isShared(vip)) m.shared.add(state)
    else m.shared.delete(state)
    link(m, vip)
    decide(m, state, now)
  }
}

function onNics(m: Layer2, nics: readonly Nic[], now: Ms): void {
  m.cause = { type: 'interfaces' }
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
  if (changed.length === 0) return
  for (const state of m.vips.values()) {
    if (!owns(state)) continue
    const concerned = changed.filter(nic => permits(state.won, state.vip.ip, nic))
    for (const nic of changed) {
      if (concerned.includes(nic)) joinGroup(m, state, nic)
      else leaveGroup(m, state, nic)
    }
    if (concerned.length > 0) startRounds(m, state, now)
  }
}

function onNode(m: Layer2, node: string, level: Level, now: Ms): void {
  if (level === 'down') {
    if (m.suspicions.get(node)?.downAt === undefined) confirmDown(m, node, now)
    return
  }
  m.suspicions.delete(node)
  setLevel(m, node, level, now)
}

/** The voters hold a node for dead. Where something answers for it all the same, waits and asks once more. */
function confirmDown(m: Layer2, node: string, now: Ms): void {
  const suspicion = m.suspicions.get(node)
  if (suspicion === undefined || !putOff(suspicion, now)) {
    m.suspicions.delete(node)
    return setLevel(m, node, 'down', now)
  }
  m.out.push({ type: 'takeover-waits', node, times: suspicion.waits, at: now })
  for (const ip of suspicion.asked) {
    const state = m.vips.get(ip)
    if (state !== undefined) ask(m, state)
  }
}

function setLevel(m: Layer2, node: string, level: Level, now: Ms): void {
  const before = m.levels.get(node) ?? 'down'
  if (before === level) return
  m.levels.set(node, level)
  m.cause = { type: 'node', node, level }
  const present = isPresent(level)
  // While we are on probation those behind us count, too.
  const concerned = new Set(m.probation ? m.vips.keys() : m.behind.get(node))
  for (const state of present ? [] : (m.claimed.get(node) ?? [])) {
    // What it claimed is nobody's any more.
    setClaimer(m, state, undefined)
    state.yieldedUntil = 0
    concerned.add(state.vip.ip)
  }
  for (const ip of concerned) {
    const state = m.vips.get(ip)
    if (state !== undefined) decide(m, state, now)
  }
  if (present && !isPresent(before)) sayAgain(m, node, now)
  // On probation it hears no solicitations for what it may not answer, so it is told again when it stands.
  if (level === 'up' || (present && !isPresent(before))) introduceTo(m, node, 'all', now)
}

function isPresent(level: Level): boolean {
  return level === 'up' || level === 'probation'
}

/**
 * Whoever was cut off may have announced our addresses while nobody heard it; say again whose they are. Once, when many come
 * back in the same moment.
 */
function sayAgain(m: Layer2, node: string, now: Ms): void {
  const first = m.announcedAllAt !== now
  m.announcedAllAt = now
  for (const state of m.vips.values()) {
    if (!owns(state) || isShared(state.vip)) continue
    claim(m, state, node)
    if (first && state.roundsUntil <= now) startRounds(m, state, now)
  }
}

function onSuspect(m: Layer2, node: string, patienceMs: Ms): void {
  if (m.suspicions.has(node) || !m.entitled) return
  const levels = new Map(m.levels).set(node, 'down')
  const asked: Ip[] = []
  for (const ip of m.behind.get(node) ?? []) {
    const state = m.vips.get(ip)
    if (state === undefined || owns(state) || isShared(state.vip)) continue
    const field = { levels, probation: m.probation, claimer: state.claimer }
    if (!state.vip.claims.some(each => whoPrecedes(each, field) === undefined)) continue
    ask(m, state)
    asked.push(ip)
    if (asked.length === ASKED_MAX) break
  }
  m.suspicions.set(node, createSuspicion(asked, patienceMs))
}

/** Another speaker owns the address, by its own account. */
function onClaim(m: Layer2, node: string, { ip, term }: AddressTerm, now: Ms): void {
  const state = m.vips.get(ip)
  if (state === undefined || node === m.options.self || isShared(state.vip)) return
  const highest = state.term
  if (term >= highest) {
    state.term = term
    setClaimer(m, state, node)
  }
  if (!owns(state)) return
  m.cause = { type: 'claim', node }
  const { claims } = state.vip
  const places = { levels: m.levels, probation: m.probation }
  const before = ranksBefore(node, m.options.self, claims, places)
  const givenAway = m.draining !== undefined || state.giving?.gone === true
  // The next owner may not have heard our term.
  if (givenAway || (state.giving !== undefined && before)) release(m, state, now)
  else if (term > state.ownTerm || (term === state.ownTerm && before)) yieldTo(m, state, node, now)
  else {
    if (state.claimer === node) setClaimer(m, state, undefined)
    claim(m, state, node)
  }
}

function onAskers(m: Layer2, body: Uint8Array, now: Ms): void {
  try {
    introduced(m, body, now)
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error
    drop(m, 'undecodable')
  }
}

function onDrain(m: Layer2, until: Ms, now: Ms): void {
  m.cause = { type: 'drain' }
  const left = new Set<Ip>()
  for (const state of m.vips.values()) {
    if (!owns(state)) continue
    left.add(state.vip.ip)
    stopRounds(state)
  }
  m.draining = { until, left, done: false }
  for (const ip of left) {
    const state = m.vips.get(ip)
    if (state === undefined || !isShared(state.vip)) continue
    decide(m, state, now)
    // The others tell its askers as soon as they hear that it leaves, and they alone.
    if (!isEmpty(state.shares)) actBy(m, state, Math.min(until, now + HAND_OVER_MS))
  }
  if (!m.entitled) for (const ip of left) releaseIp(m, ip, until)
}

function releaseIp(m: Layer2, ip: Ip, now: Ms): void {
  const state = m.vips.get(ip)
  if (state !== undefined) release(m, state, now)
}

function onTick(m: Layer2, now: Ms): void {
  if (m.draining !== undefined && now >= m.draining.until) {
    // Nobody announced these: stop anyway, the caller has waited long enough.
    m.cause = { type: 'drain' }
    for (const ip of m.draining.left) releaseIp(m, ip, now)
  }
  for (const [node, { downAt }] of m.suspicions) {
    if (downAt !== undefined && now >= downAt) confirmDown(m, node, now)
  }
  m.cause = { type: 'standing' }
  // What this step has no room for is due at once, in the next.
  while (m.budget > 0) {
    const state = m.timers.take(now)
    if (state === undefined) break
    if (now >= state.actAt) act(m, state, now)
    if (now >= state.roundAt) round(m, state, now)
    // Rounds wait for the entitlement: that comes with an event of its own.
    const due = m.entitled ? Math.min(state.actAt, state.roundAt) : state.actAt
    if (due !== Number.POSITIVE_INFINITY) m.timers.wakeBy(state, due)
  }
}

function onFrame(m: Layer2, interfaceIndex: number, frame: Uint8Array, now: Ms): void {
  const nic = m.nics.get(interfaceIndex)
  if (nic === undefined) return drop(m, 'not-on-this-interface')
  const heard: Heard = hear(frame)
  switch (heard.type) {
    case 'undecodable':
      return drop(m, 'undecodable')
    case 'other':
      return drop(m, 'not-a-question')
    case 'answer':
      seen(m, heard.ip, heard.mac, nic, now)
      return drop(m, 'not-a-question')
    case 'question':
      return onQuestion(m, nic, heard, now)
  }
}

function onQuestion(m: Layer2, nic: Nic, heard: Heard & { type: 'question' }, now: Ms): void {
  const { asker, target } = heard
  const { mac } = asker
  const unicast = mac !== undefined && !isMulticastMac(mac) && mac !== ZERO_MAC
  if (unicast) {
    if (heard.tells) seen(m, target, mac, nic, now)
    else if (!m.macs.of.has(mac)) {
      // RFC 5227 section 2.4: any packet with the address as its sender. Speakers may send such, where a kernel has the address.
      if (heard.frame.protocol === 'arp' && m.macs.complete) seen(m, asker.ip, mac, nic, now)
      if (m.vips.has(target)) m.askers.note(target, asker.ip, mac, nic.index, now)
    }
  }
  const state = m.vips.get(target)
  if (state === undefined || !owns(state)) return drop(m, 'not-our-address')
  if (!m.entitled) return drop(m, 'not-entitled')
  if (!heard.toEverybody && heard.destination !== nic.mac) return drop(m, 'not-to-us')
  if (mac === undefined && !heard.probes) return drop(m, 'asker-unknown')
  if (mac !== undefined && !unicast) return drop(m, 'asker-not-unicast')
  if (!permits(state.won, target, nic)) return drop(m, 'not-on-this-interface')
  if (isShared(state.vip)) {
    if (!answersAsker(m, state, asker.ip, heard.toEverybody)) return drop(m, 'not-our-share')
    if (!heard.toEverybody) handToOwner(m, state, asker.ip)
  }
  m.out.push({ type: 'request', ip: target })
  const frame = answerFrame(nic.mac, heard)
  m.out.push({ type: 'send', interfaceIndex: nic.index, frame, ip: target, kind: 'reply' })
}

function drop(m: Layer2, why: Drop): void {
  m.out.push({ type: 'dropped', why })
}

/**
 * `mac` has the address, by its own account or that of the wire.
 *
 * Another speaker: the terms decide. A stranger: it is wrong, since the address was given to a Service, and we say whose it is (RFC
 * 5227 section 2.4 (c)). Who is alone knows least of all and goes by what the wire says, unless it is the first candidate. Who gives
 * the address away anyway, or may not answer for it, is done with it.
 */
function seen(m: Layer2, ip: Ip, mac: Mac, nic: Nic, now: Ms): void {
  for (const own of m.nics.values()) if (own.mac === mac) return
  for (const suspicion of m.suspicions.values()) if (suspicion.asked.has(ip)) suspicion.answered = true
  const state = m.vips.get(ip)
  if (state === undefined) return
  // The others that share it are right to answer.
  if (isShared(state.vip) && m.macs.of.has(mac) && !m.alone) return
  if (!owns(state)) {
    if (state.asksLeft > 0) answeredWhileAsking(m, state, now)
    return
  }
  m.cause = { type: 'seen', mac }
  const node = m.macs.of.get(mac)
  if (!m.entitled || m.draining !== undefined || state.giving?.gone === true) release(m, state, now)
  else if (node !== undefined && talks(m, node)) {
    if (state.giving !== undefined) return release(m, state, now)
    claim(m, state, node)
    roundBy(m, state, now + CONTEST_MS)
  } else if (node === undefined ? m.alone && rankOf(state) > 0 : goesBefore(m, state, node)) {
    if (node === undefined) conflict(m, state, mac, nic, 'yielded', now)
    release(m, state, now)
    state.wary = true
    answeredWhileAsking(m, state, now)
  } else defend(m, state, mac, nic, now)
}

/** Terms can be compared with it: of two speakers that do not hear each other, each may have a witness that it is not cut off. */
function talks(m: Layer2, node: string): boolean {
  if (m.alone) return false
  const pair = m.macs.complete && new Set(m.macs.of.values()).size === 1
  return !pair || isPresent(m.levels.get(node) ?? 'down')
}

/** What remains when nobody can be asked: the order of the election. */
function goesBefore(m: Layer2, state: VipState, node: string): boolean {
  if (m.alone) return rankOf(state) > 0
  return state.vip.claims.every(({ ahead }) => ahead.includes(node))
}

/**
 * Says whose the address is, and goes on as long as the other does, never more often than the rounds of L-24. RFC 5227 section 2.4 (c)
 * would have one announcement in ten seconds: whoever repeats its claim would have the traffic for as long.
 */
function defend(m: Layer2, state: VipState, mac: Mac, nic: Nic, now: Ms): void {
  const told = now < state.defendedAt + CONFLICT_TOLD_EVERY_MS
  if (!isShared(state.vip) && state.roundAt <= now + ROUND_EVERY_MS) state.roundsUntil = now + ROUNDS_FOR_MS
  // Of a shared address each asker is told by itself, which is not to be had for one frame each.
  else if (!told || !isShared(state.vip)) startRounds(m, state, now)
  if (told) return
  state.defendedAt = now
  // It may be a speaker that we do not know by its MAC yet.
  if (m.macs.of.has(mac)) return
  if (m.macs.complete) conflict(m, state, mac, nic, 'defended', now)
  else claim(m, state, undefined)
}

function conflict(
  m: Layer2,
  state: VipState,
  mac: Mac,
  nic: Nic,
  action: 'defended' | 'yielded',
  at: Ms,
): void {
  const { ip } = state.vip
  const services = servicesOf(state)
  m.out.push({ type: 'conflict', ip, mac, interfaceIndex: nic.index, services, action, at })
}
