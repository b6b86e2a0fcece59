import type { Ip } from '../../addr/ip.ts'
import { parseIp } from '../../addr/ip.ts'
import type { LabStatus } from '../../api/lab.ts'
import type { SpeakerStatus } from '../../api/speaker.ts'
import { LabError } from '../error.ts'
import type { Lab } from '../lab.ts'
import type { NeighbourView } from './neighbours.ts'
import { openNeighbourView } from './neighbours.ts'
import type { SpeakerReader } from './speaker-status.ts'
import { openSpeakerReader } from './speaker-status.ts'
import { waitUntil } from './wait.ts'

/** A Service of type LoadBalancer as a scenario meets it. */
export type ServiceFacts = {
  /** `namespace/name` */
  readonly service: string
  readonly ips: readonly Ip[]
}

/** Looks at a running lab from all sides: the daemon, the speakers and the clients' neighbour tables. */
export type Observer = {
  readonly lab: Lab
  readonly nodes: readonly string[]
  readonly speakers: SpeakerReader
  readonly neighbours: NeighbourView
  /** @throws LabError when there is no such Service, or it has no address */
  service(name: string): Promise<ServiceFacts>
  /**
   * Until the lab is whole: every link up, every speaker ready and hearing all others, every Pod ready, every address of a Service
   * of type LoadBalancer owned by the node that the election puts first and by no other, and no client believing anything else.
   * @throws LabError 'not-ready'
   */
  settled(options: { readonly withinMs: number; readonly signal?: AbortSignal | undefined }): Promise<void>
  close(): void
}

export async function observe(lab: Lab): Promise<Observer> {
  const first = await lab.status()
  const nodes = first.nodes.map(node => node.name)
  const clients = first.hosts.filter(host => host.role === 'client').map(host => host.name)
  const speakers = openSpeakerReader(lab, nodes)
  const neighbours = await openNeighbourView(lab, nodes).catch((error: unknown) => {
    speakers.close()
    throw error
  })
  const missing = async (): Promise<string | undefined> => {
    const status = await lab.status()
    return (
      notWhole(status) ??
      notOwned(servicesOf(status), await speakers.readAll()) ??
      (await misled(status, clients))
    )
  }
  /** Whom do clients with an entry send to? A client without one will ask, and be answered by the owner. */
  async function misled(status: LabStatus, names: readonly string[]): Promise<string | undefined> {
    const owners = ownersOf(await speakers.readAll())
    for (const client of names) {
      const seen = await neighbours.ownersSeenBy(client)
      for (const { ips } of servicesOf(status)) {
        for (const ip of ips) {
          const node = seen.get(ip)
          if (node !== undefined && owners.get(ip)?.includes(node) !== true)
            return `${client} sends to ${node} for ${ip}`
        }
      }
    }
    return undefined
  }
  return {
    lab,
    nodes,
    speakers,
    neighbours,
    async service(name) {
      const key = name.includes('/') ? name : `default/${name}`
      const found = servicesOf(await lab.status()).find(({ service }) => service === key)
      if (found === undefined || found.ips.length === 0) {
        throw new LabError(
          'refused',
          `the lab has no Service ${key} of type LoadBalancer ${found === undefined ? '' : 'with an address'}`.trimEnd(),
        )
      }
      return found
    },
    settled: options => waitUntil(`lab ${lab.name} settles`, missing, options),
    close: () => speakers.close(),
  }
}

/** Services of type LoadBalancer; those that wait for an address have none. */
export function servicesOf(status: LabStatus): ServiceFacts[] {
  return status.services
    .filter(({ type }) => type === 'LoadBalancer')
    .map(({ namespace, name, externalIps }) => ({
      service: `${namespace}/${name}`,
      ips: externalIps.map(parseIp).filter(ip => ip !== undefined),
    }))
}

/** Who says that it owns which address. */
export function ownersOf(speakers: ReadonlyMap<string, SpeakerStatus | undefined>): Map<Ip, string[]> {
  const owners = new Map<Ip, string[]>()
  for (const [node, status] of speakers) {
    for (const { owned } of status?.services ?? []) {
      for (const text of owned) {
        const ip = parseIp(text)
        if (ip === undefined || owners.get(ip)?.includes(node) === true) continue
        owners.set(ip, [...(owners.get(ip) ?? []), node])
      }
    }
  }
  return owners
}

/** What the daemon sees missing, in words; undefined when nothing is. */
export function notWhole(status: LabStatus): string | undefined {
  if (status.apiError !== undefined) return status.apiError
  for (const { name, link, speaker } of status.nodes) {
    if (link !== 'up') return `the link of ${name} is ${link}`
    if (speaker?.state !== 'running') return `the speaker of ${name} is ${speaker?.state ?? 'missing'}`
  }
  const pod = status.pods.find(({ ready }) => !ready)
  return pod === undefined ? undefined : `Pod ${pod.namespace}/${pod.name} is not ready`
}

/** What the speakers see missing for these Services, in words; undefined when nothing is. */
export function notOwned(
  services: readonly ServiceFacts[],
  speakers: ReadonlyMap<string, SpeakerStatus | undefined>,
): string | undefined {
  for (const [node, status] of speakers) {
    if (status?.ready !== true) return `the speaker of ${node} is not ready`
    const peer = status.peers.find(({ status }) => status !== 'up')
    if (peer !== undefined) return `to the speaker of ${node}, ${peer.node} is ${peer.status}`
  }
  const owners = ownersOf(speakers)
  for (const { service, ips } of services) {
    if (ips.length === 0) return `Service ${service} has no address`
    for (const [node, status] of speakers) {
      const known = status?.services.find(each => each.service === service)
      if (known === undefined || !ips.every(ip => known.ips.includes(ip))) {
        return `the speaker of ${node} does not know the addresses of ${service}`
      }
      const [first] = known.candidates
      if (first === undefined) return `nobody announces ${service}: ${known.reason ?? 'no candidate'}`
      for (const ip of ips) {
        const own = owners.get(ip) ?? []
        if (own.length !== 1 || own[0] !== first)
          return `${ip} of ${service} belongs to ${own.join(' and ') || 'nobody'}, not to ${first} alone`
      }
    }
  }
  return undefined
}
