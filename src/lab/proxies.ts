import { serviceFromObject } from '../dataplane/objects.ts'
import { ServiceProxy } from '../dataplane/proxy.ts'
import type { ProxyService } from '../dataplane/service.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import type { Informer, Kube, KubeObject } from '../ports/kube.ts'
import { objectKey, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import { ConntrackTool } from '../sys/conntrack.ts'
import { createNft } from '../sys/nft.ts'
import { inNamespace } from './netns.ts'
import type { Host } from './topology.ts'

/** A burst of changes becomes one update; with many Services the updates take at most a quarter of the time. */
const COALESCE_MS: Ms = 5
const SHARE = 4

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
  const clusterPrefixes = nodes.flatMap(node => node.podCidrs)
  const proxies = nodes.map(node => ({
    node,
    reachable: true,
    proxy: new ServiceProxy({
      nft: createNft({ netns: node.name }),
      conntrack: new ConntrackTool(inNamespace(node.name, [])),
      clock,
      log,
    }),
  }))
  const slicesOf = new Map<string, Map<string, KubeObject>>()
  const converted = new Map<string, ProxyService>()
  const same = (object: KubeObject): KubeObject => object
  const services: Informer<KubeObject> = kube.informer(RESOURCES.services, { convert: same })
  const slices: Informer<KubeObject> = kube.informer(RESOURCES.endpointSlices, { convert: same })

  const push = (): void => {
    const list = [...converted.values()]
    for (const { node, proxy, reachable } of proxies) {
      if (!reachable) continue
      proxy.update({
        node: node.name,
        podPrefixes: node.podCidrs,
        clusterPrefixes,
        nodeAddresses: node.ips,
        services: list,
      })
    }
  }
  let armed = false
  let restUntil: Ms = 0
  const pushSoon = (): void => {
    if (armed) return
    armed = true
    clock.after(Math.max(COALESCE_MS, restUntil - clock.now()), () => {
      armed = false
      const before = clock.now()
      push()
      restUntil = clock.now() + SHARE * (clock.now() - before)
    })
  }
  const convert = (key: string): void => {
    const service = services.items.get(key)
    const result =
      service === undefined ? undefined : serviceFromObject(service, [...(slicesOf.get(key)?.values() ?? [])])
    if (result === undefined) converted.delete(key)
    else converted.set(key, result)
    if (services.synced && slices.synced) pushSoon()
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
  push()
  await Promise.all(proxies.map(({ proxy }) => proxy.settled()))
  return {
    setReachable(name, reachable) {
      for (const entry of proxies) if (entry.node.name === name) entry.reachable = reachable
      if (reachable) pushSoon()
    },
  }
}

function serviceOfSlice(slice: KubeObject): string | undefined {
  const name = slice.metadata.labels?.['kubernetes.io/service-name']
  return name === undefined ? undefined : objectKey({ namespace: slice.metadata.namespace ?? '', name })
}
