import { decodeSummary, type SpeakerSummary, type SummaryMove } from '../api/speaker-summary.ts'
import { fieldsOf, textOf } from '../config/fields.ts'
import { compareText } from '../config/selectors.ts'
import { serviceFromObject } from '../config/services.ts'
import { STATUS_ANNOTATION, speakerFromLease } from '../config/speakers.ts'
import { l2StatusFromObject } from '../layer2/status.ts'
import type { KubeObject } from '../ports/kube.ts'

/** What the API server knows of a running cluster. The JSON of `lodestone status -o json`. */
export type ClusterStatus = {
  readonly speakers: readonly RegisteredSpeaker[]
  readonly addresses: readonly AnnouncedAddress[]
  /** Of all speakers, newest first, each with the node that tells it. */
  readonly moves: readonly (SummaryMove & { readonly node: string })[]
}

export type RegisteredSpeaker = {
  readonly node: string
  /** Its interfaces that may announce. */
  readonly interfaces: readonly string[]
  /** RFC 3339; null: never. */
  readonly renewedAt: string | null
  /** null: it says nothing, or nothing that is understood. */
  readonly status: SpeakerSummary | null
  /** What other speakers hold of it, where that is not `up`. */
  readonly heldFor: readonly { readonly level: string; readonly by: readonly string[] }[]
}

export type AnnouncedAddress = {
  readonly ip: string
  /** `namespace/name` */
  readonly service: string
  /** Nodes that announce the Service. */
  readonly owners: readonly string[]
}

export type ClusterObjects = {
  readonly leases: readonly KubeObject[]
  readonly services: readonly KubeObject[]
  readonly l2Statuses: readonly KubeObject[]
}

export function clusterStatus(objects: ClusterObjects): ClusterStatus {
  const speakers: Omit<RegisteredSpeaker, 'heldFor'>[] = []
  for (const lease of objects.leases) {
    const facts = speakerFromLease(lease)
    if (facts === undefined) continue
    speakers.push({
      node: facts.node,
      interfaces: facts.links.map(({ name }) => name),
      renewedAt: textOf(fieldsOf(lease['spec'])['renewTime']) ?? null,
      status: decodeSummary(lease.metadata.annotations?.[STATUS_ANNOTATION]) ?? null,
    })
  }
  speakers.sort((a, b) => compareText(a.node, b.node))
  return {
    speakers: speakers.map(speaker => ({ ...speaker, heldFor: opinionsOf(speaker.node, speakers) })),
    addresses: addressesOf(objects),
    moves: speakers
      .flatMap(({ node, status }) => (status?.moves ?? []).map(move => ({ node, ...move })))
      .sort((a, b) => compareText(b.at, a.at)),
  }
}

function opinionsOf(
  node: string,
  speakers: readonly Pick<RegisteredSpeaker, 'node' | 'status'>[],
): RegisteredSpeaker['heldFor'] {
  const by = new Map<string, string[]>()
  for (const { node: from, status } of speakers) {
    const level = status?.peers[node]
    // Who is cut off itself holds everybody for lost.
    if (level === undefined || from === node || status?.entitled !== true) continue
    by.set(level, [...(by.get(level) ?? []), from])
  }
  return [...by].map(([level, names]) => ({ level, by: names }))
}

function addressesOf({ services, l2Statuses }: ClusterObjects): AnnouncedAddress[] {
  const owners = new Map<string, Set<string>>()
  for (const { service, node, written } of l2Statuses.map(l2StatusFromObject)) {
    if (!written) continue
    const nodes = owners.get(service)
    if (nodes === undefined) owners.set(service, new Set([node]))
    else nodes.add(node)
  }
  return services
    .map(serviceFromObject)
    .filter(({ type }) => type === 'LoadBalancer')
    .sort((a, b) => compareText(a.key, b.key))
    .flatMap(({ key, statusIps }) =>
      statusIps.map(ip => ({ ip, service: key, owners: [...(owners.get(key) ?? [])].sort(compareText) })),
    )
}
