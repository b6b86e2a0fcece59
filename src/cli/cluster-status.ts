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
  /** Absent: no speaker steers. */
  readonly steering?: ClusterSteering
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

/** The tables by which nodes hand packets over: they must be the same on all, or flows break when the owner changes. */
export type ClusterSteering = {
  /** Over all tables of a speaker; more than one: they differ, or a change has not reached all of them. The most frequent first. */
  readonly tables: readonly SameTables[]
  /** Services of which the speakers tell the table, at most 20 each. */
  readonly services: readonly { readonly service: string; readonly tables: readonly SameTables[] }[]
}

export type SameTables = { readonly hash: string; readonly count: number; readonly nodes: readonly string[] }

export type AnnouncedAddress = {
  readonly ip: string
  /** `namespace/name` */
  readonly service: string
  /** Nodes that announce the Service. */
  readonly owners: readonly string[]
}

/** What a speaker said that was silent for so long while others spoke is of the past. */
const SILENT_MS = 30_000

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
  const steering = steeringOf(speakers)
  return {
    ...(steering && { steering }),
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

function steeringOf(
  speakers: readonly Pick<RegisteredSpeaker, 'node' | 'status' | 'renewedAt'>[],
): ClusterSteering | undefined {
  const renewed = (at: string | null) => (at === null ? Number.NEGATIVE_INFINITY : Date.parse(at))
  const newest = Math.max(...speakers.map(({ renewedAt }) => renewed(renewedAt)))
  const steering = speakers.flatMap(({ node, status, renewedAt }) =>
    status?.steering === undefined || renewed(renewedAt) < newest - SILENT_MS
      ? []
      : [{ node, ...status.steering }],
  )
  if (steering.length === 0) return undefined
  const services = [...new Set(steering.flatMap(({ tables }) => Object.keys(tables)))].sort(compareText)
  return {
    tables: alike(steering),
    services: services.map(service => {
      const told = steering.flatMap(({ node, tables }) => {
        const hash = tables[service]
        return hash === undefined ? [] : [{ node, hash, count: 1 }]
      })
      return { service, tables: alike(told) }
    }),
  }
}

function alike(
  each: readonly { readonly node: string; readonly hash: string; readonly count: number }[],
): SameTables[] {
  const same = new Map<string, { hash: string; count: number; nodes: string[] }>()
  for (const { node, hash, count } of each) {
    const known = same.get(hash)
    if (known === undefined) same.set(hash, { hash, count, nodes: [node] })
    else known.nodes.push(node)
  }
  return [...same.values()].sort((a, b) => b.nodes.length - a.nodes.length)
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
