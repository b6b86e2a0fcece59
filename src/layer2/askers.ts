import type { Ip } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import type { Ms } from '../ports/clock.ts'

/**
 * Who asked for an address by ARP or NDP: the hosts and routers that hold a neighbour entry for it, and that must be told when it moves.
 */
export type Asker = {
  /** Sender protocol address of an ARP request, source address of a neighbour solicitation. */
  readonly ip: Ip
  readonly mac: Mac
  /** Where the question was heard; undefined: another node heard it and told us, so it may be on any of our interfaces. */
  readonly interfaceIndex: number | undefined
  readonly lastAskedAt: Ms
}

export type AskersLimits = {
  /** Askers remembered for one address. */
  readonly perAddress: number
  /** Askers remembered for all addresses together; an asker of two addresses counts twice. */
  readonly total: number
  /** An asker that was not heard for so long is forgotten. */
  readonly forgetAfterMs: Ms
}

/**
 * A day. Hosts ask everybody only once: as long as an entry is in use, Linux refreshes it by asking its owner alone (RFC 1122 section
 * 2.3.2.1 (2), RFC 4861 section 7.3.3) or not at all while TCP confirms it, so the other nodes hear nothing for as long as all goes
 * well. Forgetting within minutes would forget just those that are in the middle of their work; telling one that is gone costs one frame.
 */
const FORGET_AFTER_MS = 24 * 3600 * 1000

export const ASKERS_LIMITS: AskersLimits = {
  perAddress: 4096,
  total: 131_072,
  forgetAfterMs: FORGET_AFTER_MS,
}

/**
 * What one asker costs at most, in bytes: the entry, its place in the table, and its texts of 17 and up to 39 characters. Measured by
 * filling the table: see the test.
 */
export const ASKER_BYTES_MAX = 400

type Entry = {
  readonly address: Ip
  readonly ip: Ip
  mac: Mac
  interfaceIndex: number | undefined
  lastAskedAt: Ms
  /** Neighbours in the order of all askers, and in that of the address; undefined at the ends. */
  older: Entry | undefined
  newer: Entry | undefined
  olderHere: Entry | undefined
  newerHere: Entry | undefined
}

type OfAddress = {
  readonly byIp: Map<Ip, Entry>
  oldest: Entry | undefined
  newest: Entry | undefined
}

/**
 * A bounded memory of askers. Each call that notes one costs the same however many there are; when there is no room the one that was
 * silent for longest is dropped, of the same address first.
 */
export class Askers {
  readonly #limits: AskersLimits
  readonly #addresses = new Map<Ip, OfAddress>()
  #size = 0
  #oldest: Entry | undefined
  #newest: Entry | undefined
  #evicted = 0

  constructor(limits: Partial<AskersLimits> = {}) {
    this.#limits = { ...ASKERS_LIMITS, ...limits }
  }

  /** Askers of all addresses. */
  get size(): number {
    return this.#size
  }

  /** Upper estimate of the memory in use. */
  get bytes(): number {
    return this.#size * ASKER_BYTES_MAX
  }

  /** Dropped because there was no room, since the start: those will not be told when an address moves. */
  get evicted(): number {
    return this.#evicted
  }

  /**
   * Somebody asked, whether everybody or us alone. One without an address of its own (a probe: 0.0.0.0, ::) or that asks for its own
   * address keeps no entry of what it hears (RFC 5227 section 1.1) and is not noted.
   */
  note(address: Ip, ip: Ip, mac: Mac, interfaceIndex: number, now: Ms): void {
    if (ip === address || isUnspecified(ip)) return
    this.#forgetSome(now)
    const known = this.#addresses.get(address)?.byIp.get(ip)
    if (known === undefined) {
      this.#add(address, ip, mac, interfaceIndex, now)
      return
    }
    known.mac = mac
    known.interfaceIndex = interfaceIndex
    known.lastAskedAt = now
    this.#unlink(known)
    this.#link(known)
  }

  /**
   * Another node says that this one asked. What we heard ourselves counts more: only one that is not known is
   * added, as if it had asked now, so that it is not the next to be dropped.
   */
  introduce(address: Ip, ip: Ip, mac: Mac, now: Ms): void {
    if (ip === address || isUnspecified(ip)) return
    if (this.#addresses.get(address)?.byIp.has(ip) === true) return
    this.#forgetSome(now)
    this.#add(address, ip, mac, undefined, now)
  }

  get(address: Ip, ip: Ip): Asker | undefined {
    return this.#addresses.get(address)?.byIp.get(ip)
  }

  /** Those of one address, the most recent first. The table must not be changed meanwhile. */
  *of(address: Ip): IterableIterator<Asker> {
    for (let entry = this.#addresses.get(address)?.newest; entry !== undefined; entry = entry.olderHere)
      yield entry
  }

  count(address: Ip): number {
    return this.#addresses.get(address)?.byIp.size ?? 0
  }

  /** Addresses that somebody asked for. */
  addresses(): IterableIterator<Ip> {
    return this.#addresses.keys()
  }

  /** The address is of no interest any more. */
  forget(address: Ip): void {
    const known = this.#addresses.get(address)
    if (known === undefined) return
    for (const entry of known.byIp.values()) this.#remove(entry)
  }

  /** Drops those that were not heard for too long. */
  expire(now: Ms): void {
    while (this.#oldest !== undefined && this.#isOld(this.#oldest, now)) this.#remove(this.#oldest)
  }

  /** Two for each one that comes: the table shrinks without ever taking long. */
  #forgetSome(now: Ms): void {
    for (let i = 0; i < 2 && this.#oldest !== undefined && this.#isOld(this.#oldest, now); i++)
      this.#remove(this.#oldest)
  }

  #isOld(entry: Entry, now: Ms): boolean {
    return now - entry.lastAskedAt >= this.#limits.forgetAfterMs
  }

  #add(address: Ip, ip: Ip, mac: Mac, interfaceIndex: number | undefined, now: Ms): void {
    const here = this.#addresses.get(address)
    const victim =
      here !== undefined && here.byIp.size >= this.#limits.perAddress
        ? here.oldest
        : this.#size >= this.#limits.total
          ? this.#oldest
          : undefined
    if (victim !== undefined) {
      this.#remove(victim)
      this.#evicted++
    }
    this.#link({
      address,
      ip,
      mac,
      interfaceIndex,
      lastAskedAt: now,
      older: undefined,
      newer: undefined,
      olderHere: undefined,
      newerHere: undefined,
    })
  }

  #remove(entry: Entry): void {
    this.#unlink(entry)
    const here = this.#addresses.get(entry.address)
    here?.byIp.delete(entry.ip)
    if (here?.byIp.size === 0) this.#addresses.delete(entry.address)
  }

  #link(entry: Entry): void {
    let here = this.#addresses.get(entry.address)
    if (here === undefined) {
      here = { byIp: new Map(), oldest: undefined, newest: undefined }
      this.#addresses.set(entry.address, here)
    }
    here.byIp.set(entry.ip, entry)
    entry.older = this.#newest
    entry.olderHere = here.newest
    if (this.#newest !== undefined) this.#newest.newer = entry
    if (here.newest !== undefined) here.newest.newerHere = entry
    this.#newest = entry
    here.newest = entry
    this.#oldest ??= entry
    here.oldest ??= entry
    this.#size++
  }

  #unlink(entry: Entry): void {
    const here = this.#addresses.get(entry.address)
    if (entry.older !== undefined) entry.older.newer = entry.newer
    else this.#oldest = entry.newer
    if (entry.newer !== undefined) entry.newer.older = entry.older
    else this.#newest = entry.older
    if (entry.olderHere !== undefined) entry.olderHere.newerHere = entry.newerHere
    else if (here !== undefined) here.oldest = entry.newerHere
    if (entry.newerHere !== undefined) entry.newerHere.olderHere = entry.olderHere
    else if (here !== undefined) here.newest = entry.olderHere
    entry.older = entry.newer = entry.olderHere = entry.newerHere = undefined
    this.#size--
  }
}

function isUnspecified(ip: Ip): boolean {
  return ip === '0.0.0.0' || ip === '::'
}
