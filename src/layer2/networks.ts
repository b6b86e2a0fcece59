import type { Ip } from '../addr/ip.ts'
import { type Prefix, prefixContains } from '../addr/prefix.ts'
import type { SpeakerFacts } from '../config/speakers.ts'

/** Which interfaces and subnets the speakers have, as far as they told. */
export class SpeakerNetworks {
  readonly #interfaces = new Map<string, ReadonlySet<string>>()
  readonly #nodesOf = new Map<Prefix, Set<string>>()

  constructor(speakers: Iterable<SpeakerFacts>) {
    for (const { node, links } of speakers) {
      this.#interfaces.set(node, new Set(links.map(({ name }) => name)))
      for (const prefix of links.flatMap(({ prefixes }) => prefixes)) {
        const nodes = this.#nodesOf.get(prefix)
        if (nodes === undefined) this.#nodesOf.set(prefix, new Set([node]))
        else nodes.add(node)
      }
    }
  }

  /** Whether the node has one of the interfaces; also true when it told nothing. */
  mayHave(node: string, interfaces: 'all' | readonly string[]): boolean {
    const names = this.#interfaces.get(node)
    return names === undefined || interfaces === 'all' || interfaces.some(name => names.has(name))
  }

  /** Whether the node told of its networks at all. */
  knows(node: string): boolean {
    return this.#interfaces.has(node)
  }

  /** Nodes with an interface in a subnet that holds the address. */
  inSubnetOf(ip: Ip): ReadonlySet<string> {
    let found: ReadonlySet<string> = NONE
    for (const [prefix, nodes] of this.#nodesOf) {
      if (!prefixContains(prefix, ip)) continue
      found = found.size === 0 ? nodes : new Set([...found, ...nodes])
    }
    return found
  }
}

const NONE: ReadonlySet<string> = new Set()
