import type { Ip } from '../addr/ip.ts'
import { type Prefix, prefixContains } from '../addr/prefix.ts'
import type { SpeakerFacts, SteeringMode } from '../config/speakers.ts'

/** Which interfaces and subnets the speakers have, as far as they told. */
export class SpeakerNetworks {
  readonly #interfaces = new Map<string, ReadonlySet<string>>()
  readonly #nodesOf = new Map<Prefix, Set<string>>()
  readonly #steering = new Set<string>()
  #mode: SteeringMode | undefined

  constructor(speakers: Iterable<SpeakerFacts>) {
    for (const { node, links, steers } of speakers) {
      if (steers !== undefined) this.#steering.add(node)
      // Different flags on different nodes: all must come to the same, and a Service that is steered by some is.
      if (steers === 'local' || this.#mode === undefined) this.#mode = steers
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

  /** Whether the node hands packets of steered Services over to others. */
  steers(node: string): boolean {
    return this.#steering.has(node)
  }

  /** Which Services are steered in this cluster; undefined: none. */
  get steeringMode(): SteeringMode | undefined {
    return this.#mode
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
