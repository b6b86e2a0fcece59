import type { Config } from '../config/model.ts'
import { parseConfig } from '../config/parse.ts'
import { type ServiceFacts, serviceFromObject } from '../config/services.ts'
import type { KubeObject } from '../ports/kube.ts'
import type { Decision } from './decision.ts'

/** Short ways to write clusters down in tests. */

export type PoolSpec = {
  readonly addresses: readonly string[]
  readonly autoAssign?: boolean
  readonly avoidBuggyIPs?: boolean
  readonly serviceAllocation?: Readonly<Record<string, unknown>>
}

export function poolObjects(pools: Readonly<Record<string, PoolSpec>>): KubeObject[] {
  return Object.entries(pools).map(([name, spec]) => ({
    apiVersion: 'metallb.io/v1beta1',
    kind: 'IPAddressPool',
    metadata: { name, namespace: 'metallb-system' },
    spec,
  }))
}

export function configOf(
  pools: Readonly<Record<string, PoolSpec>>,
  namespaces: Readonly<Record<string, Readonly<Record<string, string>>>> = {},
): Config {
  const parsed = parseConfig({
    pools: poolObjects(pools),
    l2Advertisements: [],
    nodes: [],
    namespaces: Object.entries(namespaces).map(([name, labels]) => ({ name, labels })),
  })
  if (!('config' in parsed)) throw new Error(parsed.problems.map(({ message }) => message).join('\n'))
  return parsed.config
}

export type ServiceOptions = {
  readonly namespace?: string
  readonly labels?: Readonly<Record<string, string>>
  /** Without the `metallb.io/` prefix, unless there is a slash in it. */
  readonly annotations?: Readonly<Record<string, string>>
  /** Seconds since 2026. */
  readonly created?: number
  readonly status?: readonly string[]
  readonly pool?: string
  /** Anything else of the spec. */
  readonly spec?: Readonly<Record<string, unknown>>
  readonly clusterIPs?: readonly string[]
  readonly policy?: string
  /** `TCP/80`. */
  readonly ports?: readonly string[]
}

export const V4 = ['10.96.0.1'] as const
export const V6 = ['fd00:96::1'] as const
export const DUAL = ['10.96.0.1', 'fd00:96::1'] as const

export function serviceObject(name: string, options: ServiceOptions = {}): KubeObject {
  const clusterIPs = options.clusterIPs ?? V4
  const annotations = Object.entries(options.annotations ?? {}).map(([key, value]) => [
    key.includes('/') ? key : `metallb.io/${key}`,
    value,
  ])
  if (options.pool !== undefined) annotations.push(['metallb.io/ip-allocated-from-pool', options.pool])
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      namespace: options.namespace ?? 'default',
      uid: `uid-of-${name}`,
      creationTimestamp: new Date(Date.UTC(2026, 0, 1) + (options.created ?? 0) * 1000).toISOString(),
      labels: options.labels ?? {},
      annotations: Object.fromEntries(annotations) as Record<string, string>,
    },
    spec: {
      type: 'LoadBalancer',
      clusterIPs,
      ipFamilies: clusterIPs.map(ip => (ip.includes(':') ? 'IPv6' : 'IPv4')),
      ipFamilyPolicy: options.policy ?? (clusterIPs.length > 1 ? 'RequireDualStack' : 'SingleStack'),
      ports: (options.ports ?? ['TCP/80']).map(text => {
        const [protocol, port] = text.split('/')
        return { name: text.toLowerCase().replace('/', '-'), protocol, port: Number(port) }
      }),
      ...options.spec,
    },
    status: { loadBalancer: { ingress: (options.status ?? []).map(ip => ({ ip })) } },
  }
}

export function service(name: string, options: ServiceOptions = {}): ServiceFacts {
  return serviceFromObject(serviceObject(name, options))
}

/** The Service as it is once the decision is written. */
export function applied(facts: ServiceFacts, decision: Decision): ServiceFacts {
  return {
    ...facts,
    statusIps: decision.ips,
    statusHasOther: false,
    annotations: { ...facts.annotations, allocatedFromPool: decision.pool ?? undefined },
  }
}

export function applyAll(services: readonly ServiceFacts[], decisions: readonly Decision[]): ServiceFacts[] {
  const byKey = new Map(decisions.map(decision => [decision.service, decision]))
  return services.map(facts => {
    const decision = byKey.get(facts.key)
    return decision === undefined ? facts : applied(facts, decision)
  })
}
