import assert from 'node:assert/strict'
import { type Family, familyOf, type Ip } from '../addr/ip.ts'
import type { Config } from '../config/model.ts'
import { PoolIndex } from '../config/pool-index.ts'
import { compareText, matchesAny } from '../config/selectors.ts'
import type { ServiceFacts } from '../config/services.ts'
import type { Considered, Pending } from './decision.ts'
import { PoolState, type PoolUsage } from './pool-state.ts'
import { type FamilySet, familiesIn, familySetOf } from './request.ts'
import type { Claim } from './sharing.ts'

/** What a Service wants, and the list that collects which pools were looked at for it. */
export type Wish = {
  readonly facts: ServiceFacts
  readonly claim: Claim
  readonly families: FamilySet
  /** Addresses it asks for; empty: any. */
  readonly requested: readonly Ip[]
  readonly why: Considered[]
}

/** Addresses for a Service, all of one pool. */
export type Found = { readonly pool: PoolState; readonly ips: readonly Ip[] }

/** All pools of one configuration with what is held in them: finds addresses, and holds them. */
export class PoolSet {
  readonly #index: PoolIndex
  /** In name order. */
  readonly #pools = new Map<string, PoolState>()
  /** pinned pools by priority, 0 last, then by name. */
  readonly #pinned: readonly PoolState[]
  /** automatic pools for everybody, by name. */
  readonly #unpinned: readonly PoolState[]

  constructor(config: Pick<Config, 'pools'>) {
    this.#index = new PoolIndex(config)
    for (const pool of config.pools) this.#pools.set(pool.name, new PoolState(pool))
    const automatic = [...this.#pools.values()].filter(({ pool }) => pool.autoAssign)
    const priority = ({ pool }: PoolState) => pool.allocation?.priority || Infinity
    this.#unpinned = automatic.filter(({ pool }) => pool.allocation === undefined)
    this.#pinned = automatic
      .filter(({ pool }) => pool.allocation !== undefined)
      .sort((a, b) => {
        const [first, second] = [priority(a), priority(b)]
        return first === second ? compareText(a.pool.name, b.pool.name) : first - second
      })
  }

  get size(): number {
    return this.#pools.size
  }

  usage(): readonly PoolUsage[] {
    return [...this.#pools.values()].map(pool => pool.usage())
  }

  /** The one pool that holds all of them. */
  poolOf(ips: readonly Ip[]): PoolState | undefined {
    const pool = this.#index.poolOfAll(ips)
    return pool === undefined ? undefined : this.#pools.get(pool.name)
  }

  hold({ pool, ips }: Found, claim: Claim): void {
    for (const ip of ips) pool.hold(ip, this.#prefixIndexOf(ip), claim)
  }

  release({ pool, ips }: Found, claim: Claim): void {
    for (const ip of ips) pool.release(ip, this.#prefixIndexOf(ip), claim)
  }

  /** The Services that hold the address and cannot share it with this claim. */
  holdersInTheWay(ip: Ip, claim: Claim): readonly string[] {
    return this.poolOf([ip])?.holdersInTheWay(ip, claim) ?? []
  }

  #prefixIndexOf(ip: Ip): number {
    const found = this.#index.find(ip)
    assert(found !== undefined, `${ip} is in no pool`)
    return found.prefixIndex
  }

  /** */
  search(wish: Wish): Found | Pending {
    if (wish.requested.length > 0) return this.#searchRequested(wish)
    const { addressPool } = wish.facts.annotations
    return addressPool === undefined ? this.#searchAll(wish) : this.#searchNamed(wish, addressPool)
  }

  #searchRequested(wish: Wish): Found | Pending {
    const { requested } = wish
    const { addressPool } = wish.facts.annotations
    if (familySetOf(requested) !== wish.families) {
      const { clusterIps } = wish.facts
      return {
        code: 'requestFamily',
        message: `the requested ${requested.join(', ')} must be of the families of the cluster IPs ${clusterIps.join(', ')}`,
      }
    }
    // Reasons that last before those that pass: which one is told must not depend on who came first.
    const name = this.poolOf(requested)?.pool.name
    if (name !== undefined && addressPool !== undefined && addressPool !== name) {
      wish.why.push({ pool: name, result: 'refused' })
      return {
        code: 'poolMismatch',
        message: `the requested ${requested.join(', ')} is in pool ${name}, not in the named pool ${addressPool}`,
      }
    }
    const found = this.check(wish, requested)
    if ('pool' in found) wish.why.push({ pool: found.pool.pool.name, result: 'chosen' })
    return found
  }

  #searchNamed(wish: Wish, name: string): Found | Pending {
    const pool = this.#pools.get(name)
    if (pool === undefined)
      return { code: 'poolUnknown', message: `there is no pool named ${JSON.stringify(name)}` }
    const misfit = misfitOf(pool, wish.facts)
    if (misfit !== undefined) {
      wish.why.push({ pool: name, result: misfit })
      return { code: 'poolNotForService', message: `pool ${name} is not for this Service: ${MISFIT[misfit]}` }
    }
    const offer = offerOf(pool, wish)
    wish.why.push({ pool: name, result: offer.result })
    if (offer.ips.length > 0) {
      // Half an offer is enough only for those that prefer two.
      const enough = offer.result === 'chosen' || wish.facts.ipFamilyPolicy === 'PreferDualStack'
      if (enough) return { pool, ips: offer.ips }
    }
    return {
      code: 'poolExhausted',
      message: `nothing suitable is free in pool ${shownUsage(pool, wish)}, which the annotation metallb.io/address-pool asks for: extend it, give an address back, or ask for another pool`,
    }
  }

  /** pinned pools first, those for everybody only if they gave nothing. */
  #searchAll(wish: Wish): Found | Pending {
    const suitable: PoolState[] = []
    for (const tier of [this.#pinned, this.#unpinned]) {
      const found = this.#searchTier(wish, tier, suitable)
      if (found !== undefined) return found
    }
    for (const { pool } of this.#pools.values()) {
      if (!pool.autoAssign) wish.why.push({ pool: pool.name, result: 'autoAssignOff' })
    }
    const refused = wish.why.flatMap(({ pool, result }) => {
      const reason = REFUSED[result]
      return reason === undefined ? [] : [`${pool} (${reason})`]
    })
    if (suitable.length > 0) {
      const shown = listed(
        suitable.map(pool => shownUsage(pool, wish)),
        '; ',
      )
      const others = refused.length === 0 ? '' : `; not for it: ${listed(refused, ', ')}`
      return {
        code: 'exhausted',
        message: `nothing suitable is free: ${shown}${others}. Extend a pool, or give an address back`,
      }
    }
    return {
      code: 'noSuitablePool',
      message: `no pool may be used automatically: ${listed(refused, ', ')}. Name one with the annotation metallb.io/address-pool, or add one for this Service`,
    }
  }

  #searchTier(wish: Wish, tier: readonly PoolState[], suitable: PoolState[]): Found | undefined {
    const { facts } = wish
    const halves = new Map<Family, Found>()
    for (const [index, pool] of tier.entries()) {
      const { name } = pool.pool
      const misfit = misfitOf(pool, facts)
      if (misfit !== undefined) {
        wish.why.push({ pool: name, result: misfit })
        continue
      }
      suitable.push(pool)
      const offer = offerOf(pool, wish)
      const half = offer.ips[0]
      if (offer.result === 'chosen') {
        wish.why.push({ pool: name, result: 'chosen' })
        for (const later of tier.slice(index + 1))
          wish.why.push({ pool: later.pool.name, result: 'notNeeded' })
        return { pool, ips: offer.ips }
      }
      if (half === undefined || facts.ipFamilyPolicy !== 'PreferDualStack') {
        wish.why.push({ pool: name, result: offer.result })
        continue
      }
      wish.why.push({ pool: name, result: 'fallback' })
      if (!halves.has(familyOf(half))) halves.set(familyOf(half), { pool, ips: [half] })
    }
    const primary: Family = facts.ipFamilies[0] === 'IPv6' ? 'IPv6' : 'IPv4'
    const found = halves.get(primary) ?? halves.get(primary === 'IPv4' ? 'IPv6' : 'IPv4')
    if (found !== undefined) {
      const { name } = found.pool.pool
      wish.why[wish.why.findIndex(({ pool }) => pool === name)] = { pool: name, result: 'chosen' }
    }
    return found
  }

  /** Whether the Service may hold exactly these addresses: one pool, compatible, none left out, none in the way. */
  check(wish: Wish, ips: readonly Ip[]): Found | Pending {
    const pool = this.poolOf(ips)
    if (pool === undefined) {
      const message =
        ips.length > 1 ? `no pool holds all of ${ips.join(', ')}` : `${ips.join(', ')} is in no pool`
      return { code: 'requestNotInPool', message }
    }
    const { name } = pool.pool
    const leftOut = ips.find(ip => pool.leavesOut(ip))
    if (leftOut !== undefined) {
      wish.why.push({ pool: name, result: 'refused' })
      return { code: 'requestLeftOut', message: `${leftOut} is not allowed: pool ${name} has avoidBuggyIPs` }
    }
    const misfit = misfitOf(pool, wish.facts)
    if (misfit !== undefined) {
      wish.why.push({ pool: name, result: misfit })
      return { code: 'poolNotForService', message: `pool ${name} is not for this Service: ${MISFIT[misfit]}` }
    }
    for (const ip of ips) {
      const holder = pool.holderInTheWay(ip, wish.claim)
      if (holder === undefined) continue
      wish.why.push({ pool: name, result: 'refused' })
      return { code: 'requestInUse', message: `${ip} is in use by ${holder}` }
    }
    return { pool, ips }
  }
}

/** Pools named in one message: it goes into Events, which keep 1024 bytes. */
const LISTED_MAX = 8

const MISFIT = {
  namespaceNotListed: 'its serviceAllocation does not cover the namespace',
  serviceNotSelected: 'its serviceSelectors do not match the labels',
} as const

const REFUSED: Readonly<Partial<Record<Considered['result'], string>>> = {
  namespaceNotListed: 'not for this namespace',
  serviceNotSelected: 'its serviceSelectors do not match',
  autoAssignOff: 'autoAssign is off',
}

/** */
function misfitOf({ pool }: PoolState, facts: ServiceFacts): keyof typeof MISFIT | undefined {
  const { allocation } = pool
  if (allocation === undefined) return undefined
  if (allocation.namespaces !== 'any' && !allocation.namespaces.has(facts.namespace))
    return 'namespaceNotListed'
  return matchesAny(allocation.serviceSelectors, facts.labels) ? undefined : 'serviceNotSelected'
}

/** What a pool has for a Service: 'chosen' when all families are there. */
function offerOf(
  pool: PoolState,
  wish: Wish,
): { readonly ips: readonly Ip[]; readonly result: 'chosen' | 'full' | 'familyMissing' } {
  const families = familiesIn(wish.families)
  const ips: Ip[] = []
  for (const family of families) {
    const ip = pool.first(family, wish.claim)
    if (ip !== undefined) ips.push(ip)
  }
  if (ips.length === families.length) return { ips, result: 'chosen' }
  return { ips, result: families.every(family => pool.hasFamily(family)) ? 'full' : 'familyMissing' }
}

/** As many as a person reads; the rest as a number. */
function listed(items: readonly string[], separator: string): string {
  const rest = items.length - LISTED_MAX
  return rest <= 1
    ? items.join(separator)
    : `${items.slice(0, LISTED_MAX).join(separator)}${separator}and ${rest} more`
}

function shownUsage(pool: PoolState, wish: Wish): string {
  const { capacity, inUse } = pool.usage()
  const parts = familiesIn(wish.families).map(family =>
    pool.hasFamily(family)
      ? `${inUse[family]} of ${capacity[family]} ${family} addresses in use`
      : `no ${family} addresses`,
  )
  return `${pool.pool.name} (${parts.join(', ')})`
}
