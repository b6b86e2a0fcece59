import type { Ip } from '../addr/ip.ts'
import type { ServiceFacts } from '../config/services.ts'

/** What decides whether a Service may hold an address together with others (S-1 to S-3). */
export type Claim = {
  /** Of the Service. */
  readonly key: string
  /** Sharing key and backend key as one text; undefined: never shares. */
  readonly group: string | undefined
  /** `TCP/80`; empty unless it shares: nothing else asks for them. */
  readonly ports: readonly string[]
}

const NO_PORTS: readonly string[] = Object.freeze([])

/** S-1, S-2: under Local the pods must be the same ones, so their selector is part of the key. */
export function claimOf(service: ServiceFacts): Claim {
  const { sharingKey } = service.annotations
  if (sharingKey === undefined) return { key: service.key, group: undefined, ports: NO_PORTS }
  const backend =
    service.externalTrafficPolicy === 'Local'
      ? Object.entries(service.selector)
          .map(([name, value]) => `${name}=${value}`)
          .sort()
          .join(',')
      : ''
  const ports = service.ports.map(({ protocol, port }) => `${protocol}/${port}`)
  return { key: service.key, group: JSON.stringify([sharingKey, backend]), ports }
}

/** S-3: both want to share with the same key and the same backends, and no protocol and port is in both. */
export function canShare(a: Claim, b: Claim): boolean {
  return a.group !== undefined && a.group === b.group && !a.ports.some(port => b.ports.includes(port))
}

export function sameClaim(a: Claim, b: Claim): boolean {
  return (
    a.group === b.group &&
    a.ports.length === b.ports.length &&
    a.ports.every((port, index) => port === b.ports[index])
  )
}

/** An address that Services hold. */
export type Held = {
  readonly ip: Ip
  /** Where it comes in the order of its pool. */
  readonly position: bigint
  readonly claims: Claim[]
}

/**
 * The addresses of one pool, family and sharing group, in the order of the pool.
 *
 * For each set of ports it remembers below which position no address has room, since claims only fill addresses
 * up; giving one back lowers the marks. So filling a pool with sharing Services does not walk over all of it each time.
 */
export class SharingGroup {
  readonly #held: Held[] = []
  readonly #marks = new Map<string, bigint>()

  get size(): number {
    return this.#held.length
  }

  /** The first address on which the claim has room. */
  firstFor(claim: Claim): Held | undefined {
    const ports = claim.ports.join(' ')
    let index = this.#indexOf(this.#marks.get(ports) ?? 0n)
    while (index < this.#held.length) {
      const held = this.#held[index] as Held
      if (held.claims.every(other => canShare(claim, other))) {
        this.#marks.set(ports, held.position)
        return held
      }
      index++
    }
    const last = this.#held.at(-1)
    if (last !== undefined) this.#marks.set(ports, last.position + 1n)
    return undefined
  }

  add(held: Held): void {
    this.#held.splice(this.#indexOf(held.position), 0, held)
    this.roomAt(held)
  }

  remove(held: Held): void {
    this.#held.splice(this.#indexOf(held.position), 1)
  }

  /** A claim left this address. */
  roomAt(held: Held): void {
    for (const [ports, mark] of this.#marks) if (mark > held.position) this.#marks.set(ports, held.position)
  }

  /** Index of the first address at or after a position. */
  #indexOf(position: bigint): number {
    let low = 0
    let high = this.#held.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#held[middle] as Held).position < position) low = middle + 1
      else high = middle
    }
    return low
  }
}
