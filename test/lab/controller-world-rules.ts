import { parseIp } from '../../src/addr/ip.ts'
import { parsePrefix, prefixContains } from '../../src/addr/prefix.ts'
import type { ApiObject } from '../../src/lab/apiserver/objects.ts'

// What must hold of Services and their addresses, judged by the objects alone and with nothing of the allocator.

export const PIN = 'metallb.io/address-pool'
export const REQUEST = 'metallb.io/loadBalancerIPs'
export const SHARE = 'metallb.io/allow-shared-ip'

export type PoolSpec = {
  readonly addresses: readonly string[]
  readonly autoAssign?: boolean
  readonly serviceAllocation?: {
    readonly priority?: number
    readonly namespaces?: readonly string[]
    readonly serviceSelectors?: readonly unknown[]
  }
}
/** Spec by name. */
export type Pools = Map<string, PoolSpec>

type Spec = {
  readonly type?: string
  readonly ipFamilyPolicy?: string
  readonly externalTrafficPolicy?: string
  readonly selector?: Readonly<Record<string, string>>
  readonly ports?: readonly { readonly port: number; readonly protocol: string }[]
}

export function specOf(object: ApiObject): Spec {
  return object['spec'] ?? {}
}

/** What its status shows. */
export function ipsOf(object: ApiObject): readonly string[] {
  const status = object['status'] as { loadBalancer?: { ingress?: { ip?: string }[] } } | undefined
  return (status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip ?? '?')
}

/** What nobody else may be given: a Service that is no LoadBalancer any more holds nothing, whatever its status still shows. */
export function holdsOf(object: ApiObject): readonly string[] {
  return specOf(object).type === 'LoadBalancer' ? ipsOf(object) : []
}

/** S-3 */
export function mayShare(a: ApiObject, b: ApiObject): boolean {
  const [key, other] = [a, b].map(({ metadata }) => metadata.annotations?.[SHARE] ?? '')
  const backends = [a, b].map(object => {
    const { externalTrafficPolicy, selector } = specOf(object)
    return externalTrafficPolicy === 'Local' ? JSON.stringify(selector) : ''
  })
  const ports = [a, b].map(object =>
    (specOf(object).ports ?? []).map(({ protocol, port }) => `${protocol}/${port}`),
  )
  return (
    key !== '' &&
    key === other &&
    backends[0] === backends[1] &&
    ports[0]?.some(port => ports[1]?.includes(port)) === false
  )
}

/** What a controller must do about a Service, for a cause of its own; undefined: leave it as it is. */
export function demandOf(
  object: ApiObject,
  services: readonly ApiObject[],
  pools: Pools,
): string | undefined {
  const { annotations = {}, uid } = object.metadata
  const ips = ipsOf(object)
  const request = annotations[REQUEST]
  const others = services.filter(other => other.metadata.uid !== uid)
  const isTaken = (ip: string): boolean =>
    others.some(other => holdsOf(other).includes(ip) && !mayShare(object, other))
  if (specOf(object).type !== 'LoadBalancer') return ips.length > 0 ? 'is no LoadBalancer' : undefined
  if (ips.length === 0)
    return request !== undefined && isTaken(request) ? undefined : 'has no address and could have one'
  if (request !== undefined && ips.join() !== request) return `wants ${request}`
  const pin = annotations[PIN]
  const allowed = pin === undefined ? [...pools.values()] : [pools.get(pin)]
  for (const ip of ips) {
    const inside = allowed.some(pool => pool?.addresses.some(range => contains(range, ip)))
    if (!inside) return `${ip} is not in ${pin ?? 'any pool'}`
    if (isTaken(ip)) return `${ip} is somebody else's, too`
  }
  return undefined
}

function contains(range: string, text: string): boolean {
  const [prefix, ip] = [parsePrefix(range), parseIp(text)]
  return prefix !== undefined && ip !== undefined && prefixContains(prefix, ip)
}
