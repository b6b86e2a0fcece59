import { serviceFromObject } from '../dataplane/objects.ts'
import { ServiceProxy } from '../dataplane/proxy.ts'
import type { ProxyInput, ProxyService } from '../dataplane/service.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import type { Informer, Kube, KubeObject } from '../ports/kube.ts'
import { objectKey, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import { ConntrackTool } from '../sys/conntrack.ts'
import { createNft } from '../sys/nft.ts'
import { inNamespace } from './netns.ts'
import type { Host } from './topology.ts'

/** A burst of changes becomes one update. */
const COALESCE_MS: Ms = 5

export type Proxies = {
  /** A node that does not reach the API server hears of no changes; back again, it hears of all it has missed. */
  setReachable(node: string, reachable: boolean): void
}

/** The service proxies of all nodes, over one watch of Services and EndpointSlices. Resolves once the first rules are in place. */
export async function startProxies(
  options: { kube: Kube; nodes: readonly Host[]; clock: Clock; log: Log },
  signal: AbortSignal,
): Promise<Proxies> {
  const { clock, kube, log, nodes } = options
  const converted = new Map<string, ProxyService>()
  const clusterPrefixes = nodes.flatMap(node => node.podCidrs)
  const proxies = new Map(
    nodes.map(node => {
      const proxy = new ServiceProxy({
        nft: createNft({ netns: node.name }),
        conntrack: new ConntrackTool(inNamespace(node.name, [])),
        clock,
        log,
      })
      const input = () => ({
        node: node.name,
        podPrefixes: node.podCidrs,
        clusterPrefixes,
        nodeAddresses: node.ips,
        services: [...converted.values()],
      })
      return [node.name, new NodeProxy(proxy, input, clock)] as const
    }),
  )
  const slicesOf = new Map<string, Map<string, KubeObject>>()
  const same = (object: KubeObject): KubeObject => object
  const services: Informer<KubeObject> = kube.informer(RESOURCES.services, { convert: same })
  const slices: Informer<KubeObject> = kube.informer(RESOURCES.endpointSlices, { convert: same })

  const convert = (key: string): void => {
    const service = services.items.get(key)
    const result =
      service === undefined ? undefined : serviceFromObject(service, [...(slicesOf.get(key)?.values() ?? [])])
    if (result === undefined) converted.delete(key)
    else converted.set(key, result)
    if (!services.synced || !slices.synced) return
    for (const proxy of proxies.values()) proxy.changed()
  }
  services.onChange(change => convert(change.key))
  slices.onChange(({ key, before, after }) => {
    for (const [slice, isThere] of [
      [before, false],
      [after, true],
    ] as const) {
      const service = slice === undefined ? undefined : serviceOfSlice(slice)
      if (slice === undefined || service === undefined) continue
      const known = slicesOf.get(service) ?? new Map<string, KubeObject>()
      if (isThere) slicesOf.set(service, known.set(key, slice))
      else if (known.delete(key) && known.size === 0) slicesOf.delete(service)
      convert(service)
    }
  })
  await Promise.all([services.start(signal), slices.start(signal)])
  await Promise.all([...proxies.values()].map(proxy => proxy.update()))
  return {
    setReachable: (node, reachable) => proxies.get(node)?.setReachable(reachable),
  }
}

/** Feeds the proxy of one node: after each update it rests as long as that took, so that many Services leave time for others. */
class NodeProxy {
  readonly #proxy: ServiceProxy
  readonly #input: () => ProxyInput
  readonly #clock: Clock
  #reachable = true
  #dirty = false
  #busy = false

  constructor(proxy: ServiceProxy, input: () => ProxyInput, clock: Clock) {
    this.#proxy = proxy
    this.#input = input
    this.#clock = clock
  }

  changed(): void {
    this.#dirty = true
    this.#arm(COALESCE_MS)
  }

  setReachable(reachable: boolean): void {
    this.#reachable = reachable
    if (this.#dirty) this.#arm(COALESCE_MS)
  }

  /** Resolves when it is installed. */
  async update(): Promise<void> {
    this.#dirty = false
    this.#proxy.update(this.#input())
    await this.#proxy.settled()
  }

  #arm(delayMs: Ms): void {
    if (this.#busy || !this.#reachable) return
    this.#busy = true
    this.#clock.after(delayMs, () => void this.#pass())
  }

  async #pass(): Promise<void> {
    const startedAt = this.#clock.now()
    // It may have been cut off while it waited.
    if (this.#reachable) await this.update()
    this.#busy = false
    if (this.#dirty) this.#arm(this.#clock.now() - startedAt)
  }
}

function serviceOfSlice(slice: KubeObject): string | undefined {
  const name = slice.metadata.labels?.['kubernetes.io/service-name']
  return name === undefined ? undefined : objectKey({ namespace: slice.metadata.namespace ?? '', name })
}
