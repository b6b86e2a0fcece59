import { type Family, familyOf, type Ip, parseIp } from '../addr/ip.ts'
import { type Prefix, parsePrefix } from '../addr/prefix.ts'
import { type KubeObject, objectKey } from '../ports/kube.ts'
import type { Protocol, ProxyEndpoint, ProxyPort, ProxyService, TrafficPolicy } from './service.ts'

/** Whoever sets this asks the ordinary proxy of a node to leave the Service alone. */
const OTHER_PROXY_LABEL = 'service.kubernetes.io/service-proxy-name'
const SERVICE_NAME_LABEL = 'kubernetes.io/service-name'
const DEFAULT_AFFINITY_SECONDS = 10_800
const AFFINITY_SECONDS_MAX = 86_400

/**
 * Services and their EndpointSlices (discovery.k8s.io/v1) as the proxy wants them. Headless Services, ExternalName Services and those
 * that another proxy serves are left out. Nothing in an object is trusted: what is not an address, port or protocol is skipped.
 */
export function servicesFromObjects(
  services: readonly KubeObject[],
  slices: readonly KubeObject[],
): ProxyService[] {
  const slicesOf = new Map<string, KubeObject[]>()
  for (const slice of slices) {
    const name = slice.metadata.labels?.[SERVICE_NAME_LABEL]
    if (name === undefined) continue
    const key = objectKey({ namespace: slice.metadata.namespace ?? '', name })
    const found = slicesOf.get(key)
    if (found === undefined) slicesOf.set(key, [slice])
    else found.push(slice)
  }
  const result: ProxyService[] = []
  for (const service of services) {
    const converted = serviceFromObject(service, slicesOf.get(objectKey(service.metadata)) ?? [])
    if (converted !== undefined) result.push(converted)
  }
  return result
}

/** One Service with the slices that belong to it; undefined where there is nothing to translate. */
export function serviceFromObject(
  service: KubeObject,
  slices: readonly KubeObject[],
): ProxyService | undefined {
  const spec = record(service['spec'])
  if (spec['type'] === 'ExternalName' || service.metadata.labels?.[OTHER_PROXY_LABEL] !== undefined) {
    return undefined
  }
  const clusterIps = addresses(
    Array.isArray(spec['clusterIPs']) && spec['clusterIPs'].length > 0
      ? spec['clusterIPs']
      : [spec['clusterIP']],
  )
  if (clusterIps.length === 0) return undefined

  const endpoints = endpointsByPort(slices)
  const ports: ProxyPort[] = []
  for (const value of list(spec['ports'])) {
    const port = record(value)
    const protocol = protocolOf(port['protocol'])
    const number = portNumber(port['port'])
    if (protocol === undefined || number === undefined) continue
    const name = text(port['name'])
    const nodePort = portNumber(port['nodePort'])
    ports.push({
      name,
      protocol,
      port: number,
      ...(nodePort === undefined ? {} : { nodePort }),
      endpoints: endpoints.get(`${protocol} ${name}`) ?? [],
    })
  }

  const sourceRanges = prefixes(spec['loadBalancerSourceRanges'])
  const affinity = affinitySeconds(spec)
  return {
    key: objectKey(service.metadata),
    clusterIps,
    externalIps: ingressAddresses(service),
    extraIps: addresses(spec['externalIPs']),
    ports,
    externalTrafficPolicy: policy(spec['externalTrafficPolicy']),
    internalTrafficPolicy: policy(spec['internalTrafficPolicy']),
    ...(affinity === undefined ? {} : { sessionAffinityTimeoutSeconds: affinity }),
    ...(sourceRanges.length === 0 ? {} : { sourceRanges }),
  }
}

/** Endpoints by `protocol name` of their port: a slice's port belongs to the Service port of that name. */
function endpointsByPort(slices: readonly KubeObject[]): Map<string, ProxyEndpoint[]> {
  // Two slices may both name an endpoint while the controller moves it between them: the later one counts, kept once.
  const found = new Map<string, Map<string, ProxyEndpoint>>()
  const ordered = [...slices].sort((a, b) =>
    a.metadata.name < b.metadata.name ? -1 : a.metadata.name > b.metadata.name ? 1 : 0,
  )
  for (const slice of ordered) {
    const family = familyOfSlice(slice)
    if (family === undefined) continue
    const hosts = list(slice['endpoints']).flatMap(value => hostsOf(record(value), family))
    for (const value of list(slice['ports'])) {
      const port = record(value)
      const protocol = protocolOf(port['protocol'])
      const number = portNumber(port['port'])
      if (protocol === undefined || number === undefined) continue
      const key = `${protocol} ${text(port['name'])}`
      const endpoints = found.get(key) ?? new Map<string, ProxyEndpoint>()
      found.set(key, endpoints)
      for (const host of hosts) endpoints.set(`${host.ip} ${number}`, { ...host, port: number })
    }
  }
  return new Map([...found].map(([key, endpoints]) => [key, [...endpoints.values()]]))
}

function hostsOf(endpoint: Record<string, unknown>, family: Family): Omit<ProxyEndpoint, 'port'>[] {
  const conditions = record(endpoint['conditions'])
  // "nil should be interpreted as true" for ready, as ready for serving, as false for terminating (discovery/v1 EndpointConditions).
  const ready = conditions['ready'] !== false
  const serving = typeof conditions['serving'] === 'boolean' ? conditions['serving'] : ready
  const terminating = conditions['terminating'] === true
  const node = text(endpoint['nodeName'])
  return addresses(endpoint['addresses'])
    .filter(ip => familyOf(ip) === family)
    .map(ip => ({ ip, node, ready, serving, terminating }))
}

function familyOfSlice(slice: KubeObject): Family | undefined {
  const type = slice['addressType']
  return type === 'IPv4' || type === 'IPv6' ? type : undefined
}

/** Load-balancer addresses whose traffic arrives here untranslated (ipMode Proxy means that something before us ends it). */
function ingressAddresses(service: KubeObject): Ip[] {
  const loadBalancer = record(record(service['status'])['loadBalancer'])
  const values = list(loadBalancer['ingress']).map(record)
  return addresses(values.filter(ingress => ingress['ipMode'] !== 'Proxy').map(ingress => ingress['ip']))
}

function affinitySeconds(spec: Record<string, unknown>): number | undefined {
  if (spec['sessionAffinity'] !== 'ClientIP') return undefined
  const seconds = record(record(spec['sessionAffinityConfig'])['clientIP'])['timeoutSeconds']
  return typeof seconds === 'number' &&
    Number.isInteger(seconds) &&
    seconds >= 1 &&
    seconds <= AFFINITY_SECONDS_MAX
    ? seconds
    : DEFAULT_AFFINITY_SECONDS
}

function policy(value: unknown): TrafficPolicy {
  return value === 'Local' ? 'Local' : 'Cluster'
}

function protocolOf(value: unknown): Protocol | undefined {
  if (value === undefined || value === '') return 'TCP'
  return value === 'TCP' || value === 'UDP' || value === 'SCTP' ? value : undefined
}

function portNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535
    ? value
    : undefined
}

function addresses(value: unknown): Ip[] {
  const parsed = list(value).map(item => (typeof item === 'string' ? parseIp(item) : undefined))
  return [...new Set(parsed.filter(ip => ip !== undefined))]
}

function prefixes(value: unknown): Prefix[] {
  const parsed = list(value).map(item => (typeof item === 'string' ? parsePrefix(item.trim()) : undefined))
  return [...new Set(parsed.filter(prefix => prefix !== undefined))]
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
