import { createHash } from 'node:crypto'
import { type Ip, isIpv4, isIpv6 } from '../addr/ip.ts'
import type { SpeakerSteered } from '../api/speaker.ts'
import { type SteeringSummary, SUMMARY_TABLES_MAX } from '../api/speaker-summary.ts'
import { type EndpointSliceFacts, endpointWeights } from '../config/endpointslice.ts'
import type { NodeFacts } from '../config/nodes.ts'
import type { ServiceFacts } from '../config/services.ts'
import type { SpeakerFacts } from '../config/speakers.ts'
import { FlowSteering } from '../dataplane/flow-steering.ts'
import type { SteeredService, SteeringInterface, SteeringNode } from '../dataplane/steering.ts'
import type { Clock } from '../ports/clock.ts'
import type { Link } from '../ports/links.ts'
import type { Log } from '../ports/log.ts'
import type { Nft } from '../ports/nft.ts'

/** How the data plane sees a Service that is steered. */
export function steeredService(service: ServiceFacts, slices: Iterable<EndpointSliceFacts>): SteeredService {
  return {
    service: service.key,
    vips: service.statusIps,
    ports: service.ports.map(({ protocol, port }) => ({ protocol, port })),
    affinity: service.clientAffinity === true ? 'client' : 'flow',
    weights: endpointWeights(slices),
  }
}

export function steeringInterfaces(
  links: Iterable<Link>,
  announcing: ReadonlyMap<string, Pick<SpeakerFacts['links'][number], 'prefixes'>>,
): SteeringInterface[] {
  const interfaces: SteeringInterface[] = []
  for (const { name, index } of links) {
    const own = announcing.get(name)
    if (own !== undefined) interfaces.push({ name, index, prefixes: own.prefixes })
  }
  return interfaces
}

/** One for all tables, equal on all nodes that steer alike. */
export function tablesHash(hashes: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256')
  for (const [service, table] of hashes) hash.update(`${service} ${table}\n`)
  return hash.digest('hex').slice(0, 16)
}

/** For the Lease: one hash over all, and those of the first Services. */
export function steeringSummary(hashes: ReadonlyMap<string, string>): SteeringSummary {
  const first = [...hashes].slice(0, SUMMARY_TABLES_MAX)
  return {
    count: hashes.size,
    hash: tablesHash(hashes),
    tables: Object.fromEntries(first.map(([service, hash]) => [service, hash.slice(0, 8)])),
  }
}

/** Those that have a speaker and an address. */
export function steeringNodes(
  nodes: ReadonlyMap<string, NodeFacts>,
  speakers: Iterable<SpeakerFacts>,
): Map<string, SteeringNode> {
  const result = new Map<string, SteeringNode>()
  for (const { node, links } of speakers) {
    const ips = nodes.get(node)?.internalIps ?? []
    const ip = ips.find(isIpv4)
    const ip6 = ips.find(isIpv6)
    if (ip === undefined && ip6 === undefined) continue
    const macs = links.flatMap(({ mac }) => mac ?? [])
    result.set(node, { ...(ip && { ip }), ...(ip6 && { ip6 }), macs })
  }
  return result
}

/**
 * Steering, as the main thread of a speaker sees it: gathers which Services are steered and whom it may hand packets to, and tells the
 * data plane once everything was seen, since what a speaker left behind before its restart steers on until then.
 */
export class SpeakerSteering {
  readonly #self: string
  readonly #flow: FlowSteering
  readonly #services = new Map<string, SteeredService>()
  readonly #dead = new Set<string>()
  #interfaces: readonly SteeringInterface[] = []
  #nodes: ReadonlyMap<string, SteeringNode> = new Map()
  #changed = true

  constructor(self: string, ports: { readonly nft: Nft; readonly clock: Clock; readonly log: Log }) {
    this.#self = self
    this.#flow = new FlowSteering(ports)
  }

  /** undefined: it is not steered. */
  setService(key: string, service: SteeredService | undefined): void {
    if (service === undefined) {
      if (this.#services.delete(key)) this.#changed = true
      return
    }
    this.#services.set(key, service)
    this.#changed = true
  }

  setTopology(interfaces: readonly SteeringInterface[], nodes: ReadonlyMap<string, SteeringNode>): void {
    this.#interfaces = interfaces
    this.#nodes = nodes
    this.#changed = true
  }

  /** The host of a node is gone, not only its speaker, or is back: this does not wait for a plan. */
  setDead(node: string, dead: boolean): void {
    if (dead === this.#dead.has(node)) return
    if (dead) this.#dead.add(node)
    else this.#dead.delete(node)
    this.#changed = true
  }

  /** To be called only when all Services and nodes were seen. */
  apply(): void {
    if (!this.#changed) return
    this.#changed = false
    this.#flow.update({
      self: this.#self,
      interfaces: this.#interfaces,
      nodes: this.#nodes,
      services: [...this.#services.values()],
      dead: new Set(this.#dead),
    })
  }

  steers(service: string): boolean {
    return this.#services.has(service)
  }

  addresses(): Ip[] {
    return [...this.#services.values()].flatMap(({ vips }) => vips)
  }

  status(): SpeakerSteered {
    return { hash: tablesHash(this.#flow.tableHashes()), ...this.#flow.status() }
  }

  /** By Service. */
  tableHashes(): ReadonlyMap<string, string> {
    return this.#flow.tableHashes()
  }

  /** The rules stay, so that a restart leaves no gap; `lodestone speaker --flow-steering=off` takes them away. */
  async close(): Promise<void> {
    await this.#flow.close({ remove: false })
  }

  /** Takes away what an earlier run left. @throws NftError */
  async remove(): Promise<void> {
    await this.#flow.close({ remove: true })
  }
}
