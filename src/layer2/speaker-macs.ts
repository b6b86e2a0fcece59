import { type Ip, ipToBytes, isIpv4 } from '../addr/ip.ts'
import { type Mac, macFromBytes } from '../addr/mac.ts'

/**
 * Which MACs are those of the other speakers: as they registered them or, of one that has not told any, as its ARP frames say. What is
 * learned from frames can be forged; all it does is that a conflict is settled by terms, which cannot.
 */
export class SpeakerMacs {
  #of = new Map<Mac, string>()
  readonly #learned = new Map<string, Mac>()
  /** Speakers that have not registered a MAC, by the four bytes of their address. */
  #unknown = new Map<number, string>()
  #complete = true

  /** The speakers other than this node. */
  set(peers: readonly { readonly name: string; readonly ip: Ip; readonly macs?: readonly Mac[] }[]): void {
    this.#of = new Map()
    this.#unknown = new Map()
    this.#complete = true
    const names = new Set(peers.map(({ name }) => name))
    for (const name of this.#learned.keys()) if (!names.has(name)) this.#learned.delete(name)
    for (const { name, ip, macs = [] } of peers) {
      for (const mac of macs) this.#of.set(mac, name)
      if (macs.length > 0) continue
      const mac = this.#learned.get(name)
      if (mac === undefined) this.#complete = false
      else this.#of.set(mac, name)
      if (isIpv4(ip)) this.#unknown.set(word(ipToBytes(ip), 0), name)
    }
  }

  get of(): ReadonlyMap<Mac, string> {
    return this.#of
  }

  /** At least one MAC of each is known. */
  get complete(): boolean {
    return this.#complete
  }

  /** Looks at an ARP frame; true when it told something new. */
  learn(frame: Uint8Array): boolean {
    if (this.#unknown.size === 0 || frame.length < 42) return false
    // Sender protocol address and, before it, sender hardware address (RFC 826).
    const name = this.#unknown.get(word(frame, 28))
    if (name === undefined) return false
    const mac = macFromBytes(frame.subarray(22, 28))
    if (this.#learned.get(name) === mac) return false
    const before = this.#learned.get(name)
    if (before !== undefined) this.#of.delete(before)
    this.#learned.set(name, mac)
    this.#of.set(mac, name)
    const known = new Set(this.#of.values())
    this.#complete = [...this.#unknown.values()].every(each => known.has(each))
    return true
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) * 2 ** 24 +
      (((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0))) >>>
    0
  )
}
