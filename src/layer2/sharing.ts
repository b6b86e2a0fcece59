import type { Ip } from '../addr/ip.ts'
import type { Level } from '../membership/machine.ts'
import type { Ms } from '../ports/clock.ts'
import { decodeAskers, encodeAskers } from '../wire/askers.ts'
import type { Asker } from './askers.ts'
import { repairFrame } from './frames.ts'
import type { Layer2, Nic, Vip, VipState } from './ownership.ts'
import {
  createShares,
  ownerOf,
  presentNodes,
  type Shares,
  type SharesReport,
  SPREAD_MS,
  sharesReport,
  spreadOf,
  toIntroduce,
} from './shards.ts'

/**
 * Sharded addresses in the machine of layer 2: which nodes share one at this moment, who is answered, who is told by unicast that this
 * node answers from now on, and who is introduced to a node that was not there to hear the questions.
 *
 * Nothing is ever announced to everybody: that would bring all askers to one node.
 */

/** The address is shared among its candidates. A Service among those that hold it which does not want that decides for all. */
export function isShared({ claims }: Vip): boolean {
  return claims.length > 0 && claims.every(({ mode }) => mode === 'sharded')
}

/** Who shares the address as far as this node knows. Alone, or when nobody else is there, this node has all of it. */
export function sharesNow(m: Layer2, { ip, claims }: Vip): Shares {
  const { self } = m.options
  if (m.alone) return createShares(ip, [self])
  const candidates = new Set<string>()
  const weights: Record<string, number> = {}
  for (const { ahead, behind, truncated, weights: of } of claims) {
    for (const node of truncated ? [...ahead, ...behind] : [...ahead, self, ...behind]) {
      candidates.add(node)
      if (of !== undefined) weights[node] = (weights[node] ?? 0) + (of[node] ?? 1)
    }
  }
  const own: Level = m.draining !== undefined ? 'left' : m.probation ? 'probation' : 'up'
  const levelOf = (node: string) => (node === self ? own : (m.levels.get(node) ?? 'down'))
  return createShares(ip, presentNodes(candidates, levelOf), weights)
}

export function isEmpty(shares: Shares | undefined): boolean {
  return shares === undefined || shares.nodes.length === 0
}

/** The same nodes but for one, with the weights that they have. */
function without({ address, nodes, weights }: Shares, node: string): Shares {
  const rest = Object.fromEntries(nodes.map((each, i) => [each, weights[i] ?? 1]))
  return createShares(
    address,
    nodes.filter(each => each !== node),
    rest,
  )
}

export function withoutSelf(m: Layer2, shares: Shares): Shares {
  return shares.nodes.includes(m.options.self) ? without(shares, m.options.self) : shares
}

/** Nodes that take part now and did not before; who takes part from the beginning knows as much as we. */
export function newcomers(m: Layer2, before: Shares | undefined, after: Shares): string[] {
  if (before === undefined) return []
  return after.nodes.filter(node => node !== m.options.self && !before.nodes.includes(node))
}

/** Whether this node is among those that share the address. */
export function takesPart(m: Layer2, shares: Shares): boolean {
  return shares.nodes.includes(m.options.self)
}

/**
 * What the new nodes mean for those that asked. A node that had no part so far takes over from all others, little by little; from
 * nobody at once.
 */
export function reshare(
  m: Layer2,
  { shares, vip: { ip } }: VipState,
  before: Shares | undefined,
  now: Ms,
): void {
  if (shares === undefined) return
  const others = before ?? withoutSelf(m, shares)
  m.repairs.change(m.askers.of(ip), m.options.self, isEmpty(others) ? undefined : others, shares, now)
}

/** Whether this node answers a question for a shared address that it has a part of. */
export function answersAsker(m: Layer2, { shares }: VipState, asker: Ip, toEverybody: boolean): boolean {
  // Whose entry names us gets its answers from us until the node that it belongs to has told it otherwise.
  if (shares === undefined || !toEverybody) return true
  const owner = ownerOf(shares, asker)
  return owner === undefined || owner === m.options.self
}

/** An asker that came to us alone, though another node has it by now: that one must not have heard of it. */
export function handToOwner(m: Layer2, { shares, vip: { ip } }: VipState, asker: Ip): void {
  const owner = shares === undefined ? undefined : ownerOf(shares, asker)
  const known = m.askers.get(ip, asker)
  if (owner === undefined || owner === m.options.self || known === undefined) return
  m.out.push({ type: 'introduce', to: owner, bodies: encodeAskers(ip, [known], true) })
}

/** Tells all askers of ours anew, for instance from another MAC. */
export function tellOwnAskers(m: Layer2, { shares, vip: { ip } }: VipState, now: Ms): void {
  if (shares === undefined) return
  for (const asker of m.askers.of(ip)) {
    if (ownerOf(shares, asker.ip) === m.options.self) m.repairs.add(ip, asker.ip, 0, now)
  }
}

/** Those that are due, as far as this step may. What is left stays due. */
export function tellDue(m: Layer2, nicsOf: (m: Layer2, state: VipState) => readonly Nic[], now: Ms): void {
  if (!m.entitled) return
  for (const { address, asker: ip } of m.repairs.take(now, Math.max(0, Math.floor(m.budget)))) {
    const state = m.vips.get(address)
    const asker = m.askers.get(address, ip)
    if (state === undefined || state.won.length === 0 || asker === undefined) continue
    m.budget--
    tell(m, address, asker, nicsOf(m, state))
  }
}

function tell(m: Layer2, ip: Ip, asker: Asker, nics: readonly Nic[]): void {
  for (const { index, mac } of nics) {
    if (asker.interfaceIndex !== undefined && asker.interfaceIndex !== index) continue
    const frame = repairFrame(mac, ip, asker)
    if (frame !== undefined) m.out.push({ type: 'send', interfaceIndex: index, frame, ip, kind: 'repair' })
  }
}

/** Introductions to one node, which go out over several steps. */
export type Introductions = {
  /** Still to be told of; 'all': of every address that somebody asked for, listed when its turn comes. */
  addresses: Ip[] | 'all'
  /** Something was told in this pass. */
  told: boolean
  passesLeft: number
  dueAt: Ms
}

/** In one step: messages, and addresses looked at. What is left follows after the given time. */
const BODIES_PER_STEP = 16
const LOOKED_AT_PER_STEP = 1000
const NEXT_STEP_MS = 10
/** Everything is said twice: nobody acknowledges. */
const PASSES = 2
const NEXT_PASS_MS = 1000

/** A node is there again, or for the first time, or begins to take part: it must know who asked. */
export function introduceTo(m: Layer2, node: string, addresses: readonly Ip[] | 'all', now: Ms): void {
  if (m.askers.size === 0) return
  const before = m.introductions.get(node)?.addresses ?? []
  let waiting: Ip[] | 'all' = 'all'
  if (before !== 'all' && addresses !== 'all') {
    waiting = before
    // In place: a new plan may bring a node to thousands of addresses, one after the other.
    for (const ip of addresses) waiting.push(ip)
  }
  m.introductions.set(node, { addresses: waiting, told: false, passesLeft: PASSES, dueAt: now })
}

export function introduceDue(m: Layer2, now: Ms): void {
  let room = { bodies: BODIES_PER_STEP, looks: LOOKED_AT_PER_STEP }
  for (const [node, introductions] of m.introductions) {
    if (now < introductions.dueAt) continue
    if (room.bodies <= 0 || room.looks <= 0) {
      introductions.dueAt = now + NEXT_STEP_MS
      continue
    }
    if (introductions.addresses === 'all') introductions.addresses = [...m.askers.addresses()]
    room = introduceSome(m, node, introductions, introductions.addresses, room, now)
    introductions.dueAt = now + NEXT_STEP_MS
    if (introductions.addresses.length > 0) continue
    introductions.passesLeft--
    if (introductions.passesLeft === 0 || !introductions.told) {
      m.introductions.delete(node)
      continue
    }
    introductions.addresses = 'all'
    introductions.told = false
    introductions.dueAt = now + NEXT_PASS_MS
  }
}

type Room = { readonly bodies: number; readonly looks: number }

/** Takes from the end of `addresses` what there is room for; the answer is the room that is left. */
function introduceSome(
  m: Layer2,
  node: string,
  introductions: Introductions,
  addresses: Ip[],
  { bodies, looks }: Room,
  now: Ms,
): Room {
  const told: Uint8Array[] = []
  let looked = 0
  while (told.length < bodies && looked < looks) {
    const ip = addresses.pop()
    if (ip === undefined) break
    looked++
    const state = m.vips.get(ip)
    if (state === undefined || state.won.length === 0 || !isCandidate(state.vip, node)) continue
    told.push(...encodeAskers(ip, ownAskers(m, state, node, now)))
  }
  if (told.length > 0) {
    introductions.told = true
    m.out.push({ type: 'introduce', to: node, bodies: told })
  }
  return { bodies: bodies - told.length, looks: looks - looked }
}

function isCandidate({ claims }: Vip, node: string): boolean {
  return claims.some(({ ahead, behind }) => ahead.includes(node) || behind.includes(node))
}

/** Every node knows every asker, so each is introduced by one: its owner, or who would be without the node that comes. */
function ownAskers(m: Layer2, { shares, vip: { ip } }: VipState, node: string, now: Ms): readonly Asker[] {
  m.askers.expire(now)
  const all = m.askers.of(ip)
  if (shares === undefined) return [...all]
  return toIntroduce(all, m.options.self, without(shares, node))
}

/**
 * Another node says who asked. Remembered also for addresses that are in no plan of ours: a node that starts may hear of the askers
 * before it hears of the Service. Those of ours that we did not know, or that still go to the other node, have to be told; so long
 * that one answers them.
 * @throws DecodeError
 */
export function introduced(m: Layer2, body: Uint8Array, now: Ms): void {
  for (const { address, askers, astray } of decodeAskers(body)) {
    const state = m.vips.get(address)
    for (const { ip, mac } of askers) {
      const known = m.askers.get(address, ip) !== undefined
      m.askers.introduce(address, ip, mac, now)
      if (state?.shares === undefined || state.won.length === 0 || (known && !astray)) continue
      if (ownerOf(state.shares, ip) !== m.options.self || m.repairs.has(address, ip)) continue
      m.repairs.add(address, ip, spreadOf(address, ip, SPREAD_MS), now)
    }
  }
}

/** A shared address as this node sees it, for status and `explain`. */
export type SharedAddress = SharesReport & {
  readonly ip: Ip
  /** Askers of ours that are to be told that they are. */
  readonly waiting: number
}

/** Looked at for one view: who asked last is who counts, and the reflex thread has other things to do. */
const VIEWED_PER_ADDRESS = 500
const VIEWED_MAX = 5000

export function sharedAddresses(m: Layer2, now: Ms): SharedAddress[] {
  const view: SharedAddress[] = []
  let left = VIEWED_MAX
  for (const { shares, won, vip } of m.shared) {
    if (shares === undefined || won.length === 0) continue
    const askers: Asker[] = []
    for (const asker of m.askers.of(vip.ip)) {
      if (askers.length === Math.min(left, VIEWED_PER_ADDRESS)) break
      askers.push(asker)
    }
    left -= askers.length
    view.push({ ip: vip.ip, waiting: m.repairs.count(vip.ip), ...sharesReport(askers, shares, now) })
    if (left <= 0) break
  }
  return view
}
