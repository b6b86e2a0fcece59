import assert from 'node:assert/strict'
import { type Family, familyOf, type Ip, ipToBigint, ipToBytes } from '../addr/ip.ts'
import { prefixFamily, prefixFirst, prefixLast, prefixLength, prefixSize } from '../addr/prefix.ts'
import type { Pool } from '../config/model.ts'
import { FreeSpace, isBuggyOctet } from './free-space.ts'
import { type Claim, canShare, type Held, SharingGroup } from './sharing.ts'

/** Numbers of one pool, for metrics, status and messages. A shared address counts once (S-10). */
export type PoolUsage = {
  readonly pool: string
  /** Blocks of 2^62 addresses and more count as the largest 64-bit number (1.9); sums stay below it. */
  readonly capacity: Readonly<Record<Family, number>>
  readonly inUse: Readonly<Record<Family, number>>
}

/** The largest double that a signed 64-bit field can hold. */
const COUNT_MAX = 9223372036854774784

type Block = { readonly space: FreeSpace; readonly first: bigint; readonly start: bigint }

/** Which addresses of one pool are held, and by whom. */
export class PoolState {
  readonly pool: Pool
  readonly capacity: Readonly<Record<Family, number>>
  readonly #blocks: readonly Block[]
  readonly #blocksOf: Record<Family, number[]> = { IPv4: [], IPv6: [] }
  /** For each family: the blocks before this index of `#blocksOf` are full. */
  readonly #firstOpen: Record<Family, number> = { IPv4: 0, IPv6: 0 }
  readonly #held = new Map<Ip, Held>()
  readonly #inUse: Record<Family, number> = { IPv4: 0, IPv6: 0 }
  readonly #groups: Record<Family, Map<string, SharingGroup>> = { IPv4: new Map(), IPv6: new Map() }

  constructor(pool: Pool) {
    this.pool = pool
    let start = 0n
    this.#blocks = pool.prefixes.map((prefix, index) => {
      this.#blocksOf[prefixFamily(prefix)].push(index)
      const block = { space: new FreeSpace(prefix, pool), first: ipToBigint(prefixFirst(prefix)), start }
      start += prefixSize(prefix)
      return block
    })
    this.capacity = { IPv4: capacityOf(pool, 'IPv4'), IPv6: capacityOf(pool, 'IPv6') }
  }

  hasFamily(family: Family): boolean {
    return this.#blocksOf[family].length > 0
  }

  usage(): PoolUsage {
    return { pool: this.pool.name, capacity: this.capacity, inUse: { ...this.#inUse } }
  }

  /** The first address that is free or shareable with this claim. */
  first(family: Family, claim: Claim): Ip | undefined {
    const free = this.#firstFree(family)
    const group = claim.group === undefined ? undefined : this.#groups[family].get(claim.group)
    const shared = group?.firstFor(claim)
    if (shared === undefined) return free?.ip
    return free === undefined || shared.position < this.#position(free.ip, free.index) ? shared.ip : free.ip
  }

  #firstFree(family: Family): { ip: Ip; index: number } | undefined {
    const indexes = this.#blocksOf[family]
    for (let at = this.#firstOpen[family]; at < indexes.length; at++) {
      const index = indexes[at] as number
      const ip = (this.#blocks[index] as Block).space.lowest()
      if (ip !== undefined) {
        this.#firstOpen[family] = at
        return { ip, index }
      }
    }
    this.#firstOpen[family] = indexes.length
    return undefined
  }

  /** Who stands in the way of this claim on an address of the pool; undefined: nobody. */
  holderInTheWay(ip: Ip, claim: Claim): string | undefined {
    return this.#held.get(ip)?.claims.find(other => other.key !== claim.key && !canShare(claim, other))?.key
  }

  /** All of them. */
  holdersInTheWay(ip: Ip, claim: Claim): readonly string[] {
    const claims = this.#held.get(ip)?.claims ?? []
    return claims.filter(other => other.key !== claim.key && !canShare(claim, other)).map(({ key }) => key)
  }

  /** The pool leaves this address out. */
  leavesOut(ip: Ip): boolean {
    return this.pool.avoidBuggyIps && familyOf(ip) === 'IPv4' && isBuggyOctet(ipToBytes(ip)[3] as number)
  }

  /** Records a claim that nothing stands in the way of. `prefixIndex` says where the address is. */
  hold(ip: Ip, prefixIndex: number, claim: Claim): void {
    assert.equal(this.holderInTheWay(ip, claim), undefined, `${ip} is held already`)
    const family = familyOf(ip)
    let held = this.#held.get(ip)
    if (held === undefined) {
      ;(this.#blocks[prefixIndex] as Block).space.take(ip)
      held = { ip, position: this.#position(ip, prefixIndex), claims: [] }
      this.#held.set(ip, held)
      this.#inUse[family]++
      if (claim.group !== undefined) this.#group(family, claim.group).add(held)
    }
    held.claims.push(claim)
  }

  /** Ends a claim; the very object that was held. */
  release(ip: Ip, prefixIndex: number, claim: Claim): void {
    const family = familyOf(ip)
    const held = this.#held.get(ip)
    const index = held?.claims.indexOf(claim) ?? -1
    assert(held !== undefined && index >= 0, `${ip} is not held by ${claim.key}`)
    held.claims.splice(index, 1)
    const group = claim.group === undefined ? undefined : this.#groups[family].get(claim.group)
    if (held.claims.length > 0) {
      group?.roomAt(held)
      return
    }
    group?.remove(held)
    if (group?.size === 0) this.#groups[family].delete(claim.group as string)
    this.#held.delete(ip)
    this.#inUse[family]--
    ;(this.#blocks[prefixIndex] as Block).space.release(ip)
    const at = this.#blocksOf[family].indexOf(prefixIndex)
    this.#firstOpen[family] = Math.min(this.#firstOpen[family], at)
  }

  #position(ip: Ip, prefixIndex: number): bigint {
    const block = this.#blocks[prefixIndex] as Block
    return block.start + ipToBigint(ip) - block.first
  }

  #group(family: Family, key: string): SharingGroup {
    let group = this.#groups[family].get(key)
    if (group === undefined) {
      group = new SharingGroup()
      this.#groups[family].set(key, group)
    }
    return group
  }
}

function capacityOf(pool: Pool, family: Family): number {
  let total = 0n
  for (const prefix of pool.prefixes) {
    if (prefixFamily(prefix) !== family) continue
    total += prefixSize(prefix)
    if (!pool.avoidBuggyIps || family !== 'IPv4') continue
    if (prefixLength(prefix) <= 24) total -= 2n << BigInt(24 - prefixLength(prefix))
    else {
      if (ipToBytes(prefixFirst(prefix))[3] === 0) total -= 1n
      if (ipToBytes(prefixLast(prefix))[3] === 255) total -= 1n
    }
  }
  return Math.min(Number(total), COUNT_MAX)
}
