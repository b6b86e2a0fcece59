import { createHash } from 'node:crypto'
import { type Ip, isIpv6 } from '../addr/ip.ts'
import { type Mac, parseMac } from '../addr/mac.ts'
import { type Prefix, parsePrefix, prefixContains, prefixOf } from '../addr/prefix.ts'
import type { KubeObject } from '../ports/kube.ts'
import type { Link } from '../ports/links.ts'
import { fieldsOf, itemsOf, mapItems, textOf } from './fields.ts'

/**
 * Each speaker says of itself, in a Lease of its own, that it is there and which networks it is on. The Leases are the register
 * of who takes part in detection and election; that a speaker lives is told by its heartbeats, never by these.
 */
export type SpeakerFacts = {
  readonly node: string
  readonly links: readonly SpeakerLink[]
  /** Of which Services it hands packets over to other nodes; absent: of none. */
  readonly steers?: SteeringMode
}

/** `annotated`: Services whose annotation asks for it; `local`: all under externalTrafficPolicy Local whose annotation does not refuse it. */
export type SteeringMode = 'annotated' | 'local'

/** An interface that may announce. */
export type SpeakerLink = {
  readonly name: string
  readonly mac: Mac | undefined
  /** Networks of its addresses; none that are link-local. */
  readonly prefixes: readonly Prefix[]
}

/** On each of the Leases: what the others select them by. */
export const SPEAKER_LABEL = 'lodestone.dev/speaker'
export const LINKS_ANNOTATION = 'lodestone.dev/links'
export const STEERS_ANNOTATION = 'lodestone.dev/steers'
/** For people: what `lodestone status` shows. No speaker goes by what another one says there. */
export const STATUS_ANNOTATION = 'lodestone.dev/status'
const NAME_PREFIX = 'lodestone-speaker.'
/** A Lease that was not renewed for so long belongs to nobody: six renewals. */
export const SPEAKER_STALE_MS = 60_000
export const SPEAKER_RENEW_MS = 10_000
const NAME_MAX = 253
const LINKS_MAX = 64

/** The name of an object has at most 253 characters, and so has that of a Node. */
export function speakerLeaseName(node: string): string {
  const name = `${NAME_PREFIX}${node}`
  return name.length <= NAME_MAX ? name : `${NAME_PREFIX}${createHash('sha256').update(node).digest('hex')}`
}

/** The Lease as its speaker applies it. @param now wall clock, milliseconds since 1970 */
export function speakerLease(
  facts: SpeakerFacts,
  namespace: string,
  now: number,
  status?: string,
): KubeObject {
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: {
      name: speakerLeaseName(facts.node),
      namespace,
      labels: { [SPEAKER_LABEL]: 'true' },
      annotations: {
        [LINKS_ANNOTATION]: JSON.stringify(facts.links),
        ...(facts.steers !== undefined && { [STEERS_ANNOTATION]: facts.steers }),
        ...(status !== undefined && { [STATUS_ANNOTATION]: status }),
      },
    },
    spec: {
      holderIdentity: facts.node,
      leaseDurationSeconds: SPEAKER_STALE_MS / 1000,
      // MicroTime: six digits after the second.
      renewTime: new Date(now).toISOString().replace('Z', '000Z'),
    },
  }
}

/** Total: a malformed annotation counts as no links. undefined: no Lease of a speaker. */
export function speakerFromLease(object: KubeObject): SpeakerFacts | undefined {
  const { name, annotations } = object.metadata
  const node = textOf(fieldsOf(object['spec'])['holderIdentity'])
  // Only the Lease with the name that follows from it speaks for a node, so that there is one for each.
  if (node === undefined || name !== speakerLeaseName(node)) return undefined
  const told = fieldsOf(annotations)
  const steers = told[STEERS_ANNOTATION]
  return {
    node,
    links: linksOf(told[LINKS_ANNOTATION]),
    ...((steers === 'annotated' || steers === 'local') && { steers }),
  }
}

function linksOf(text: unknown): readonly SpeakerLink[] {
  if (typeof text !== 'string') return []
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // Written by somebody else: then nothing is known of its links.
    return []
  }
  return mapItems(itemsOf(value).slice(0, LINKS_MAX), item => {
    const fields = fieldsOf(item)
    const name = textOf(fields['name'])
    if (name === undefined) return undefined
    const mac = textOf(fields['mac'])
    return {
      name,
      mac: mac === undefined ? undefined : parseMac(mac),
      prefixes: mapItems(fields['prefixes'], prefix =>
        typeof prefix === 'string' ? parsePrefix(prefix) : undefined,
      ),
    }
  })
}

/** What a speaker tells of the interfaces that may announce. `names`: those interfaces. */
export function speakerLinks(links: Iterable<Link>, names: ReadonlySet<string>): SpeakerLink[] {
  const result: SpeakerLink[] = []
  for (const { name, mac, addresses } of links) {
    if (!names.has(name)) continue
    const prefixes = new Set<Prefix>()
    for (const { ip, prefixLength, tentative } of addresses) {
      if (tentative || (isIpv6(ip) && ip.startsWith('fe80:'))) continue
      prefixes.add(prefixOf(ip, prefixLength))
    }
    result.push({ name, mac, prefixes: [...prefixes].sort() })
  }
  return result.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Whether one of the links is in the subnet that the address belongs to. */
export function isOnLink(links: readonly SpeakerLink[], ip: Ip): boolean {
  return links.some(({ prefixes }) => prefixes.some(prefix => prefixContains(prefix, ip)))
}
