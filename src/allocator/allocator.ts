import assert from 'node:assert/strict'
import { type Family, familyOf, type Ip } from '../addr/ip.ts'
import { parseLayer2Mode, unknownLayer2Mode } from '../config/layer2-mode.ts'
import type { Config } from '../config/model.ts'
import { compareText } from '../config/selectors.ts'
import { ANNOTATION_PREFIX, LEGACY_ANNOTATION_PREFIX, type ServiceFacts } from '../config/services.ts'
import { type Considered, type Decision, type DecisionEvent, needsWrite, type Pending } from './decision.ts'
import { type Found, PoolSet, type Wish } from './pool-set.ts'
import type { PoolState, PoolUsage } from './pool-state.ts'
import { type FamilySet, familiesIn, familySetOf, requestedIps } from './request.ts'
import { type Claim, claimOf, sameClaim } from './sharing.ts'

export type AllocatorOptions = {
  /** Empty: Services without a class. Otherwise: exactly the Services of this class. */
  readonly loadBalancerClass?: string
}

/** What happened since the last pass. */
export type Changes = {
  readonly config?: Config
  readonly changed?: Iterable<ServiceFacts>
  /** Keys of Services that are gone. */
  readonly removed?: Iterable<string>
}

/** One Service and what it holds. */
type Entry = {
  facts: ServiceFacts
  /** Replaced, never changed: the pools know claims by identity. */
  claim: Claim
  ips: readonly Ip[]
  pool: PoolState | undefined
  pending: Pending | null
}

/** What one pass finds out about one Service. */
type Pass = {
  readonly entry: Entry
  readonly before: {
    readonly ips: readonly Ip[]
    readonly claim: Claim
    readonly pool: PoolState | undefined
  }
  /** Addresses to keep if they are still valid: our own record, else the status. */
  readonly held: readonly Ip[]
  readonly families: FamilySet | undefined
  readonly requested: readonly Ip[] | string
  /** Nothing more to decide. */
  settled: boolean
  /** Not touched itself: looked at because something was given back. */
  readonly woken: boolean
  /** The status names addresses that we did not give: another one wrote it, or nobody knew this Service before. */
  readonly statusIsNews: boolean
  /** Somebody else's status names an address that this Service holds, or the other way round: age decides, not who was first seen. */
  contested: boolean
  readonly events: DecisionEvent[]
  why: Considered[]
}

/**
 * Who holds which address. Feed it what changed; it answers with decisions for the Services that this touches, and
 * remembers them until the API shows them. The cost of a pass is in proportion to the changes, not to the cluster,
 * but for a change of the pools, which looks at every Service again.
 *
 * Each pass keeps first and gives afterwards: every address that is held and still valid is recorded before any
 * free one is looked for, so nobody loses an address because somebody else arrived. Among those that keep, and then among
 * those that get, Services with addresses come first, then the older ones, then by key.
 *
 * Two Services whose statuses name one address, which two controllers at once may bring about, are told apart as a
 * controller that starts would: the older one keeps it, also when it is seen later.
 */
export class Allocator {
  readonly #class: string
  #config: Config | undefined
  #pools = new PoolSet({ pools: [] })
  readonly #entries = new Map<string, Entry>()
  /** Services that would take more than they have, were something freed. */
  readonly #wanting = new Set<Entry>()

  constructor(options: AllocatorOptions = {}) {
    this.#class = options.loadBalancerClass ?? ''
  }

  /** The addresses and pool that a Service holds, and why it has none. */
  get(key: string): Pick<Decision, 'ips' | 'pool' | 'pending'> | undefined {
    const entry = this.#entries.get(key)
    return entry && { ips: entry.ips, pool: entry.pool?.pool.name ?? null, pending: entry.pending }
  }

  /** Pools in name order. */
  usage(): readonly PoolUsage[] {
    return this.#pools.usage()
  }

  /**
   * One pass. Without a configuration so far, Services are remembered and nothing is decided (C-2).
   * Decisions come in the order they were made: same input, same decisions, same order.
   */
  reconcile(changes: Changes): readonly Decision[] {
    const room = new Set<PoolState>()
    for (const key of changes.removed ?? []) this.#forget(key, room)
    const touched = new Map<Entry, ServiceFacts | undefined>()
    for (const facts of changes.changed ?? []) {
      const entry = this.#entries.get(facts.key)
      if (!this.#isOurs(facts, entry)) {
        this.#forget(facts.key, room)
        continue
      }
      if (entry === undefined) {
        const added: Entry = { facts, claim: claimOf(facts), ips: [], pool: undefined, pending: null }
        this.#entries.set(facts.key, added)
        touched.set(added, undefined)
      } else {
        if (!touched.has(entry)) touched.set(entry, entry.facts)
        entry.facts = facts
      }
    }
    if (changes.config !== undefined) this.#config = changes.config
    if (this.#config === undefined) return []
    const passes: Pass[] = []
    if (changes.config !== undefined) {
      for (const entry of this.#entries.values()) passes.push(this.#begin(entry, touched.get(entry)))
      this.#rebuild(changes.config)
      room.clear() // everybody is looked at anyway
    } else {
      for (const [entry, previous] of touched) passes.push(this.#begin(entry, previous))
      this.#contest(passes)
      for (const { entry } of passes) this.#release(entry)
    }
    for (const pass of passes.sort(comparePasses)) {
      this.#keep(pass)
      const pool = changes.config === undefined ? leavesRoomIn(pass) : undefined
      if (pool !== undefined) room.add(pool)
    }
    if (room.size > 0) this.#wake(passes)
    return this.#giveAll(passes.sort(comparePasses), room)
  }

  /** Those whose addresses turn up in somebody else's status are looked at together with it. */
  #contest(passes: Pass[]): void {
    const looked = new Map(passes.map(pass => [pass.entry.facts.key, pass]))
    for (const pass of passes) {
      if (!pass.statusIsNews) continue
      const claim = claimOf(pass.entry.facts)
      for (const ip of pass.held) {
        if (pass.before.ips.includes(ip)) continue
        for (const key of this.#pools.holdersInTheWay(ip, claim)) {
          let other = looked.get(key)
          if (other === undefined) {
            const entry = this.#entries.get(key)
            assert(entry !== undefined, `${ip} is held by ${key}, which nobody knows`)
            other = this.#begin(entry, entry.facts)
            looked.set(key, other)
            passes.push(other)
          }
          other.contested = true
          pass.contested = true
        }
      }
    }
  }

  /** Services that want more get another chance where there is room now. */
  #wake(passes: Pass[]): void {
    const looked = new Set(passes.map(({ entry }) => entry))
    for (const entry of this.#wanting) {
      if (!looked.has(entry)) passes.push(this.#begin(entry, undefined, { woken: true }))
    }
  }

  #giveAll(passes: readonly Pass[], room: ReadonlySet<PoolState>): Decision[] {
    const decisions: Decision[] = []
    for (const pass of passes) {
      if (pass.woken && !this.#mayFit(pass, room)) continue
      if (!pass.settled) this.#give(pass)
      decisions.push(this.#finish(pass))
    }
    return decisions
  }

  /** A quick look whether what was given back is of use at all, so that a thousand waiting Services cost little. */
  #mayFit({ entry, requested, families }: Pass, room: ReadonlySet<PoolState>): boolean {
    if (typeof requested === 'string') return false
    if (requested.length > 0) {
      const pool = this.#pools.poolOf(requested)
      return pool !== undefined && room.has(pool)
    }
    for (const pool of room) {
      if (familiesIn(families ?? 'IPv4').some(family => pool.first(family, entry.claim) !== undefined))
        return true
    }
    return false
  }

  /** 1.4: a Service of another class is not touched; one of ours that changes its type is still ours to clear. */
  #isOurs(facts: ServiceFacts, entry: Entry | undefined): boolean {
    const classFits = (facts.loadBalancerClass ?? '') === this.#class
    if (facts.type === 'LoadBalancer') return classFits
    if (entry !== undefined) return true
    return classFits && (facts.statusIps.length > 0 || facts.annotations.allocatedFromPool !== undefined)
  }

  #forget(key: string, room: Set<PoolState>): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    if (entry.pool !== undefined) room.add(entry.pool)
    this.#release(entry)
    this.#wanting.delete(entry)
    this.#entries.delete(key)
  }

  #rebuild(config: Config): void {
    this.#pools = new PoolSet(config)
    for (const entry of this.#entries.values()) {
      entry.ips = []
      entry.pool = undefined
    }
  }

  /** `previous`: the facts before this change, to see whether the status is news or just has not caught up with us. */
  #begin(entry: Entry, previous: ServiceFacts | undefined, { woken = false } = {}): Pass {
    const { facts } = entry
    const statusChanged = previous !== undefined && !sameIps(previous.statusIps, facts.statusIps)
    const held =
      entry.ips.length > 0 && !(statusChanged && facts.statusIps.length > 0) ? entry.ips : facts.statusIps
    return {
      entry,
      before: { ips: entry.ips, claim: entry.claim, pool: entry.pool },
      held,
      families: familySetOf(facts.clusterIps),
      requested: requestedIps(facts),
      settled: false,
      woken,
      statusIsNews: !woken && (previous === undefined || statusChanged),
      contested: false,
      events: [],
      // A woken pass is not asked whether it keeps what it has: nothing about it changed.
      why: woken && entry.pool !== undefined ? [{ pool: entry.pool.pool.name, result: 'kept' }] : [],
    }
  }

  /** C-3 to C-12: what the Service holds is kept or cleared; nothing new is given. */
  #keep(pass: Pass): void {
    const { entry, held } = pass
    const { facts } = entry
    const claim = claimOf(facts)
    if (!sameClaim(claim, entry.claim)) entry.claim = claim
    entry.pending = this.#hopeless(pass)
    if (entry.pending !== null || facts.type !== 'LoadBalancer') {
      pass.settled = true
      return
    }
    if (held.length === 0) return
    const heldFamilies = familySetOf(held)
    if (heldFamilies === undefined) {
      warn(
        pass,
        'nolbIPsIPFamily',
        `the status holds ${held.join(', ')}: neither one address nor one of each family`,
      )
      return
    }
    const halfIsEnough = pass.families === 'dual' && facts.ipFamilyPolicy === 'PreferDualStack'
    if (heldFamilies !== pass.families && !halfIsEnough) return // C-8
    const found = this.#pools.check(wishOf(pass), held)
    if (!('pool' in found)) {
      pass.why = []
      note(pass, 'ClearAssignment', `${held.join(', ')} cannot be kept: ${found.message}`)
      return
    }
    const { addressPool } = facts.annotations
    if (addressPool !== undefined && addressPool !== found.pool.pool.name) return // C-10
    if (typeof pass.requested === 'string') {
      warn(pass, 'LoadBalancerFailed', `${pass.requested}; ${held.join(', ')} is kept`) // C-11
      pass.settled = true
    } else if (pass.requested.length > 0 && !sameSet(pass.requested, held)) return // C-12
    pass.why = [{ pool: found.pool.pool.name, result: 'kept' }]
    this.#hold(entry, found)
  }

  /** C-4 to C-6: reasons that have nothing to do with what is free. */
  #hopeless(pass: Pass): Pending | null {
    const { facts } = pass.entry
    if (facts.type !== 'LoadBalancer') return null
    if (this.#pools.size === 0) {
      return { code: 'noPools', message: 'there is no IPAddressPool; create one' }
    }
    if (facts.clusterIps.length === 0) {
      return {
        code: 'noClusterIPs',
        message: 'the Service has no cluster IP, which decides the address family',
      }
    }
    if (facts.ipFamilyPolicy === 'RequireDualStack' && facts.clusterIps.length < 2) {
      const message = `ipFamilyPolicy is RequireDualStack, but the only cluster IP is ${facts.clusterIps.join(', ')}`
      warn(pass, 'not enough clusterips', message)
      return { code: 'notEnoughClusterIPs', message }
    }
    if (pass.families === undefined) {
      const message = `the cluster IPs ${facts.clusterIps.join(', ')} are neither one address nor one of each family`
      warn(pass, 'noclusterIPsIPFamily', message)
      return { code: 'clusterIPFamilies', message }
    }
    return null
  }

  /** C-13, C-14: what the Service still lacks. */
  #give(pass: Pass): void {
    const { entry } = pass
    if (entry.ips.length > 0) {
      this.#giveSecondFamily(pass)
      return
    }
    const { requested } = pass
    const attempt: Found | Pending =
      typeof requested === 'string'
        ? { code: 'requestInvalid', message: requested }
        : this.#pools.search(wishOf(pass))
    if ('pool' in attempt) {
      entry.pending = null
      this.#hold(entry, attempt)
      const { name } = attempt.pool.pool
      note(pass, 'IPAllocated', `${attempt.ips.join(', ')} assigned from pool ${name}`)
    } else {
      entry.pending = attempt
      warn(pass, 'AllocationFailed', `no address for ${entry.facts.key}: ${attempt.message}`)
    }
  }

  /** C-13. Only with two cluster IPs: with one, the next pass would take the address back. */
  #giveSecondFamily(pass: Pass): void {
    const { entry } = pass
    if (!wantsSecondFamily(entry, pass)) return
    const [first] = entry.ips
    const { pool } = entry
    assert(first !== undefined && pool !== undefined)
    const family: Family = familyOf(first) === 'IPv4' ? 'IPv6' : 'IPv4'
    const second = pool.first(family, entry.claim)
    if (second !== undefined) {
      this.#release(entry)
      this.#hold(entry, { pool, ips: [first, second] })
      note(pass, 'IPAllocated', `${second} assigned from pool ${pool.pool.name}, beside ${first}`)
    } else if (pool.hasFamily(family)) {
      note(
        pass,
        'AdditionalAssignFailed',
        `no ${family} address is free in pool ${pool.pool.name}, beside ${first}`,
      )
    } else {
      note(
        pass,
        'AdditionalAssignFailed',
        `pool ${pool.pool.name} has no ${family} addresses, beside ${first}`,
      )
    }
  }

  #hold(entry: Entry, found: Found): void {
    this.#pools.hold(found, entry.claim)
    entry.pool = found.pool
    entry.ips = found.ips
  }

  #release(entry: Entry): void {
    const { pool, ips } = entry
    if (pool !== undefined) this.#pools.release({ pool, ips }, entry.claim)
    entry.pool = undefined
    entry.ips = []
  }

  #finish(pass: Pass): Decision {
    const { entry, held } = pass
    const { facts, ips, pending } = entry
    const pool = entry.pool?.pool.name ?? null
    const write = needsWrite(facts, ips, pool)
    if (write) {
      for (const key of facts.annotations.deprecated) {
        const name = key.slice(LEGACY_ANNOTATION_PREFIX.length)
        warn(pass, 'deprecatedAnnotation', `${key} is deprecated; use ${ANNOTATION_PREFIX}${name}`)
      }
    }
    const { layer2Mode } = facts.annotations
    if (layer2Mode !== undefined && parseLayer2Mode(layer2Mode) === undefined)
      warn(pass, 'unknownLayer2Mode', unknownLayer2Mode(layer2Mode))
    if ((pending !== null && CAN_PASS.has(pending.code)) || wantsSecondFamily(entry, pass))
      this.#wanting.add(entry)
    else this.#wanting.delete(entry)
    return {
      service: facts.key,
      ips,
      pool,
      pending,
      cleared: held.filter(ip => !ips.includes(ip)),
      events: pass.events,
      why: pass.why,
      write,
    }
  }
}

/** Pending for these reasons may end because another Service gave something back. */
const CAN_PASS: ReadonlySet<Pending['code']> = new Set(['requestInUse', 'poolExhausted', 'exhausted'])

/** Only for passes that #hopeless let through. */
function wishOf({ entry, families, requested, why }: Pass): Wish {
  assert(families !== undefined)
  const ips = typeof requested === 'string' ? [] : requested
  return { facts: entry.facts, claim: entry.claim, families, requested: ips, why }
}

/** C-13, where it applies. */
function wantsSecondFamily(entry: Entry, pass: Pass): boolean {
  return (
    entry.ips.length === 1 &&
    pass.families === 'dual' &&
    entry.facts.ipFamilyPolicy === 'PreferDualStack' &&
    pass.requested.length === 0
  )
}

/** Where somebody else may fit now: something was given back, or a shared address looks different. */
function leavesRoomIn({ entry, before }: Pass): PoolState | undefined {
  const gone = before.ips.some(ip => !entry.ips.includes(ip))
  return gone || (before.ips.length > 0 && !sameClaim(before.claim, entry.claim)) ? before.pool : undefined
}

/** Those that hold something first, those by our own record before those by their status, then the oldest, then by key. */
function comparePasses(a: Pass, b: Pass): number {
  return (
    Number(b.entry.ips.length > 0) - Number(a.entry.ips.length > 0) ||
    Number(isRecorded(b)) - Number(isRecorded(a)) ||
    Number(b.held.length > 0) - Number(a.held.length > 0) ||
    compareNumbers(a.entry.facts.createdAtMs, b.entry.facts.createdAtMs) ||
    compareText(a.entry.facts.key, b.entry.facts.key)
  )
}

function isRecorded({ before, contested }: Pass): boolean {
  return before.ips.length > 0 && !contested
}

function compareNumbers(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function sameIps(a: readonly Ip[], b: readonly Ip[]): boolean {
  return a.length === b.length && a.every((ip, index) => ip === b[index])
}

function sameSet(a: readonly Ip[], b: readonly Ip[]): boolean {
  return a.length === b.length && a.every(ip => b.includes(ip))
}

function note(pass: Pass, reason: DecisionEvent['reason'], message: string): void {
  pass.events.push({ type: 'Normal', reason, message })
}

function warn(pass: Pass, reason: DecisionEvent['reason'], message: string): void {
  pass.events.push({ type: 'Warning', reason, message })
}

/**
 * The same from nothing: every Service of the cluster against one configuration. Pure. Same input, same decisions, same
 * order, whatever the order of the Services. Keeps every address that is still valid; the oldest claim wins.
 */
export function plan(
  config: Config,
  services: Iterable<ServiceFacts>,
  options: AllocatorOptions = {},
): readonly Decision[] {
  return new Allocator(options).reconcile({ config, changed: services })
}
