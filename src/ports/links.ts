import type { Ip } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'

/** One network interface of this host, as rtnetlink(7) describes it. */
export type Link = {
  readonly index: number
  readonly name: string
  /** undefined for interfaces without an Ethernet address (loopback counts as having 00:00:00:00:00:00). */
  readonly mac: Mac | undefined
  /** IFF_UP: the administrator wants it up. */
  readonly up: boolean
  /** IFF_LOWER_UP: there is a carrier. */
  readonly carrier: boolean
  readonly loopback: boolean
  readonly broadcast: boolean
  readonly noArp: boolean
  /** Index of the bond or bridge that it is enslaved to. */
  readonly master: number | undefined
  readonly addresses: readonly LinkAddress[]
}

export type LinkAddress = {
  readonly ip: Ip
  readonly prefixLength: number
  /** Still in duplicate address detection, or failed it: not usable (RFC 4862 section 5.4). */
  readonly tentative: boolean
}

/** A router that packets to everywhere else go through. */
export type Gateway = { readonly interfaceIndex: number; readonly ip: Ip }

/** The interfaces of this host and their changes. */
export interface Links {
  /** All interfaces by index, as last heard. */
  current(): ReadonlyMap<number, Link>
  /** Called after each change, bursts folded into one call. */
  onChange(listener: () => void): void
  /** The next hops of the default routes, read anew: IPv4 before IPv6, in the order of the table. */
  gateways(): readonly Gateway[]
  close(): void
}

/** Interfaces set by the test. */
export class FakeLinks implements Links {
  #links = new Map<number, Link>()
  #gateways: readonly Gateway[] = []
  readonly #listeners: (() => void)[] = []

  current(): ReadonlyMap<number, Link> {
    return this.#links
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  gateways(): readonly Gateway[] {
    return this.#gateways
  }

  setGateways(gateways: readonly Gateway[]): void {
    this.#gateways = gateways
  }

  set(links: readonly Link[]): void {
    this.#links = new Map(links.map(link => [link.index, link]))
    for (const listener of this.#listeners) listener()
  }

  close(): void {
    this.#listeners.length = 0
  }
}
