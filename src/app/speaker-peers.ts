import { familyOf, type Ip } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import type { NodeFacts } from '../config/nodes.ts'
import type { SpeakerFacts } from '../config/speakers.ts'

export type Peers = {
  readonly self: Ip | undefined
  readonly peers: readonly { readonly name: string; readonly ip: Ip; readonly macs?: readonly Mac[] }[]
}

/**
 * Where the other speakers are: those that are registered, at the first InternalIP of their Node that is of a family which this
 * node has too. A Node without a registered speaker is no peer, nor is one without an address.
 */
export function reachablePeers(
  self: string,
  nodes: ReadonlyMap<string, NodeFacts>,
  speakers: Iterable<SpeakerFacts>,
): Peers {
  const own = nodes.get(self)?.internalIps ?? []
  const families = new Set(own.map(familyOf))
  const peers: { name: string; ip: Ip; macs?: readonly Mac[] }[] = []
  for (const { node, links } of speakers) {
    if (node === self) continue
    const ips = nodes.get(node)?.internalIps ?? []
    const ip = ips.find(each => families.has(familyOf(each))) ?? ips[0]
    if (ip === undefined) continue
    const macs = links.flatMap(({ mac }) => mac ?? [])
    peers.push({ name: node, ip, ...(macs.length > 0 && { macs }) })
  }
  return { self: own[0], peers: peers.sort((a, b) => (a.name < b.name ? -1 : 1)) }
}
