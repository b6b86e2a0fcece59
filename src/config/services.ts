import type { Family, Ip } from '../addr/ip.ts'
import { parseIp } from '../addr/ip.ts'
import type { KubeObject } from '../ports/kube.ts'
import { objectKey } from '../ports/kube.ts'
import { fieldsOf, integerOf, itemsOf, labelsOf, mapItems, textOf } from './fields.ts'
import { LAYER2_MODE_ANNOTATION } from './layer2-mode.ts'

/**
 * A Service, as far as allocation and announcement look at it. Processes hold one for every Service of the
 * cluster, so it holds nothing else.
 */
export type ServiceFacts = {
  /** `namespace/name`. */
  readonly key: string
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly resourceVersion: string
  /** Milliseconds since 1970; Infinity where the object has none (it counts as the youngest). */
  readonly createdAtMs: number
  readonly labels: Readonly<Record<string, string>>
  readonly type: string
  /** spec.loadBalancerClass. */
  readonly loadBalancerClass: string | undefined
  /** spec.clusterIPs, else spec.clusterIP; without `None` and what does not parse. */
  readonly clusterIps: readonly Ip[]
  readonly ipFamilies: readonly Family[]
  readonly ipFamilyPolicy: 'SingleStack' | 'PreferDualStack' | 'RequireDualStack'
  readonly externalTrafficPolicy: 'Cluster' | 'Local'
  /** spec.sessionAffinity is ClientIP. */
  readonly clientAffinity?: true
  readonly selector: Readonly<Record<string, string>>
  readonly ports: readonly ServicePort[]
  /** spec.loadBalancerIP. */
  readonly loadBalancerIp: string | undefined
  readonly annotations: ServiceAnnotations
  /** status.loadBalancer.ingress[].ip, in order. */
  readonly statusIps: readonly Ip[]
  /** There are ingress entries that are not just an address: a hostname, or text that is no IP. */
  readonly statusHasOther: boolean
}

export type ServicePort = {
  readonly name: string
  readonly protocol: 'TCP' | 'UDP' | 'SCTP'
  readonly port: number
  readonly nodePort: number | undefined
}

/** The annotations that MetalLB defined, each under `metallb.io/` or the older `metallb.universe.tf/`. */
export type ServiceAnnotations = {
  /** address-pool. */
  readonly addressPool: string | undefined
  /** loadBalancerIPs, as written. */
  readonly loadBalancerIps: string | undefined
  /** allow-shared-ip; undefined when absent or empty (S-1). */
  readonly sharingKey: string | undefined
  /** allow-shared-ip is there, be it empty (S-8). */
  readonly hasSharingKey: boolean
  /** ip-allocated-from-pool, written by the controller. */
  readonly allocatedFromPool: string | undefined
  /** lodestone.dev/layer2-mode, as written. */
  readonly layer2Mode?: string
  /** lodestone.dev/flow-steering, as written. */
  readonly flowSteering?: string
  /** Annotations in use under the older prefix. */
  readonly deprecated: readonly string[]
}

export const ANNOTATION_PREFIX = 'metallb.io/'
export const LEGACY_ANNOTATION_PREFIX = 'metallb.universe.tf/'
/** Whether packets for a Service under externalTrafficPolicy Local are steered to its endpoints: `enabled` or `disabled`. */
export const STEERING_ANNOTATION = 'lodestone.dev/flow-steering'
/** Which pool the addresses come from; written by the controller with the status (C-15). */
export const POOL_ANNOTATION = `${ANNOTATION_PREFIX}ip-allocated-from-pool`

const NO_ANNOTATIONS: ServiceAnnotations = Object.freeze({
  addressPool: undefined,
  loadBalancerIps: undefined,
  sharingKey: undefined,
  hasSharingKey: false,
  allocatedFromPool: undefined,
  deprecated: Object.freeze([]) as readonly string[],
})

/** Total: a malformed field counts as absent. */
export function serviceFromObject(object: KubeObject): ServiceFacts {
  const spec = fieldsOf(object['spec'])
  const meta = object.metadata
  const ingress = itemsOf(fieldsOf(fieldsOf(object['status'])['loadBalancer'])['ingress'])
  const statusIps = mapItems(ingress, item => parseText(fieldsOf(item)['ip']))
  const clusterIps = mapItems(spec['clusterIPs'], parseText)
  const clusterIp = parseText(spec['clusterIP'])
  const created = Date.parse(meta.creationTimestamp ?? '')
  return {
    key: objectKey(meta),
    namespace: meta.namespace ?? '',
    name: meta.name,
    uid: meta.uid ?? '',
    resourceVersion: meta.resourceVersion ?? '',
    createdAtMs: Number.isNaN(created) ? Infinity : created,
    labels: labelsOf(meta.labels),
    type: textOf(spec['type']) ?? 'ClusterIP',
    loadBalancerClass: textOf(spec['loadBalancerClass']),
    clusterIps: clusterIps.length > 0 || clusterIp === undefined ? clusterIps : [clusterIp],
    ipFamilies: mapItems(spec['ipFamilies'], item => (item === 'IPv4' || item === 'IPv6' ? item : undefined)),
    ipFamilyPolicy: oneOf(
      spec['ipFamilyPolicy'],
      ['PreferDualStack', 'RequireDualStack'] as const,
      'SingleStack',
    ),
    externalTrafficPolicy: oneOf(spec['externalTrafficPolicy'], ['Local'] as const, 'Cluster'),
    ...(spec['sessionAffinity'] === 'ClientIP' && { clientAffinity: true as const }),
    selector: labelsOf(spec['selector']),
    ports: mapItems(spec['ports'], portFrom),
    loadBalancerIp: textOf(spec['loadBalancerIP']),
    annotations: annotationsFrom(meta.annotations),
    statusIps,
    statusHasOther: statusIps.length !== ingress.length || ingress.some(hasHostname),
  }
}

function oneOf<T extends string, D extends string>(value: unknown, known: readonly T[], otherwise: D): T | D {
  return known.find(item => item === value) ?? otherwise
}

function parseText(value: unknown): Ip | undefined {
  return typeof value === 'string' ? parseIp(value) : undefined
}

function hasHostname(entry: unknown): boolean {
  return textOf(fieldsOf(entry)['hostname']) !== undefined
}

function portFrom(item: unknown): ServicePort | undefined {
  const fields = fieldsOf(item)
  const port = integerOf(fields['port'])
  if (port === undefined) return undefined
  return {
    name: textOf(fields['name']) ?? '',
    protocol: oneOf(fields['protocol'], ['UDP', 'SCTP'] as const, 'TCP'),
    port,
    nodePort: integerOf(fields['nodePort']),
  }
}

function annotationsFrom(value: unknown): ServiceAnnotations {
  const all = fieldsOf(value)
  const deprecated: string[] = []
  // The newer key wins even when its value is empty (1.4, Q-6).
  function read(name: string): string | undefined {
    const legacy = all[LEGACY_ANNOTATION_PREFIX + name]
    if (typeof legacy === 'string') deprecated.push(LEGACY_ANNOTATION_PREFIX + name)
    const current = all[ANNOTATION_PREFIX + name]
    return typeof current === 'string' ? current : typeof legacy === 'string' ? legacy : undefined
  }
  const addressPool = read('address-pool')
  const loadBalancerIps = read('loadBalancerIPs')
  const sharing = read('allow-shared-ip')
  const allocatedFromPool = textOf(all[POOL_ANNOTATION])
  const layer2Mode = textOf(all[LAYER2_MODE_ANNOTATION])
  const flowSteering = textOf(all[STEERING_ANNOTATION])
  if (
    addressPool === undefined &&
    loadBalancerIps === undefined &&
    sharing === undefined &&
    allocatedFromPool === undefined &&
    layer2Mode === undefined &&
    flowSteering === undefined
  ) {
    return NO_ANNOTATIONS
  }
  return {
    addressPool: textOf(addressPool),
    loadBalancerIps: textOf(loadBalancerIps),
    sharingKey: textOf(sharing),
    hasSharingKey: sharing !== undefined,
    allocatedFromPool,
    ...(layer2Mode !== undefined && { layer2Mode }),
    ...(flowSteering !== undefined && { flowSteering }),
    deprecated: deprecated.length === 0 ? NO_ANNOTATIONS.deprecated : deprecated,
  }
}
