import { type Family, familyOf, parseIp } from '../../addr/ip.ts'
import { type KubeObject, objectKey, RESOURCES } from '../../ports/kube.ts'
import { type Action, canonical, deletion, nameOf, shortHash } from './actions.ts'
import {
  type EndpointSlice,
  isReady,
  type Labels,
  type Meta,
  matchesLabels,
  type Node,
  ownerReference,
  type Pod,
  type Service,
  type ServicePort,
  type SliceEndpoint,
} from './resources.ts'

export const SERVICE_LABEL = 'kubernetes.io/service-name'
export const MANAGED_BY_LABEL = 'endpointslice.kubernetes.io/managed-by'
/** The name that Kubernetes' own controller goes by: only its slices are touched here. */
export const MANAGER = 'endpointslice-controller.k8s.io'
/** Endpoints in one slice, as Kubernetes has it by default. */
const SLICE_ENDPOINTS_MAX = 100

export type EndpointSnapshot = {
  readonly services: readonly Service[]
  readonly pods: readonly Pod[]
  readonly nodes: readonly Node[]
  readonly slices: readonly EndpointSlice[]
}

/**
 * The EndpointSlices of every Service that has a selector: for each of its families one slice (more past 100 endpoints, or
 * where pods give a port name different numbers). Slices of Services that are gone, and slices too many, are deleted; those
 * of other managers and of Services without selector are left alone.
 */
export function planEndpointSlices(snapshot: EndpointSnapshot): Action[] {
  const existing = new Map<string, EndpointSlice>()
  for (const slice of snapshot.slices) {
    if (slice.metadata.labels?.[MANAGED_BY_LABEL] === MANAGER) existing.set(objectKey(slice.metadata), slice)
  }
  const podsByNamespace = new Map<string, Pod[]>()
  for (const pod of snapshot.pods) {
    const namespace = pod.metadata.namespace ?? ''
    const pods = podsByNamespace.get(namespace)
    if (pods === undefined) podsByNamespace.set(namespace, [pod])
    else pods.push(pod)
  }
  const zones = new Map(
    snapshot.nodes.map(node => [node.metadata.name, node.metadata.labels?.['topology.kubernetes.io/zone']]),
  )
  const actions: Action[] = []
  const withoutSelector = new Set<string>()
  for (const service of snapshot.services) {
    if (service.metadata.deletionTimestamp !== undefined) continue
    const selector = service.spec.selector ?? {}
    if (Object.keys(selector).length === 0 || service.spec.type === 'ExternalName') {
      withoutSelector.add(objectKey(service.metadata))
      continue
    }
    const pods = (podsByNamespace.get(service.metadata.namespace ?? '') ?? []).filter(pod =>
      matchesLabels(selector, pod.metadata.labels),
    )
    for (const slice of slicesOf(service, pods, zones)) {
      const key = objectKey(slice.metadata)
      const before = existing.get(key)
      existing.delete(key)
      if (before === undefined) {
        actions.push({ type: 'create', resource: RESOURCES.endpointSlices, object: slice })
      } else if (differs(before, slice)) {
        actions.push({
          type: 'patch',
          resource: RESOURCES.endpointSlices,
          name: nameOf(slice),
          patch: {
            endpoints: slice['endpoints'],
            ports: slice['ports'],
            metadata: { labels: slice.metadata.labels },
          },
        })
      }
    }
  }
  for (const slice of existing.values()) {
    const service = `${slice.metadata.namespace ?? ''}/${slice.metadata.labels?.[SERVICE_LABEL] ?? ''}`
    // A Service that lost its selector keeps its slices: from then on they belong to whoever took it away.
    if (!withoutSelector.has(service) && slice.metadata.deletionTimestamp === undefined) {
      actions.push(deletion(RESOURCES.endpointSlices, slice))
    }
  }
  return actions
}

function differs(before: EndpointSlice, after: KubeObject): boolean {
  return (
    canonical(before.endpoints ?? []) !== canonical(after['endpoints']) ||
    canonical(before.ports ?? []) !== canonical(after['ports']) ||
    !matchesLabels(after.metadata.labels ?? {}, before.metadata.labels)
  )
}

function slicesOf(
  service: Service,
  pods: readonly Pod[],
  zones: ReadonlyMap<string, string | undefined>,
): KubeObject[] {
  const slices: KubeObject[] = []
  for (const family of familiesOf(service)) {
    const groups = new Map<string, { ports: Record<string, unknown>[]; endpoints: SliceEndpoint[] }>()
    for (const pod of [...pods].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))) {
      const endpoint = endpointOf(service, pod, family, zones)
      if (endpoint === undefined) continue
      const ports = portsOf(service, pod)
      const key = canonical(ports)
      const group = groups.get(key)
      if (group === undefined) groups.set(key, { ports, endpoints: [endpoint] })
      else group.endpoints.push(endpoint)
    }
    const wanted: { ports: Record<string, unknown>[]; endpoints: SliceEndpoint[] }[] = []
    for (const [, { ports, endpoints }] of [...groups].sort(([a], [b]) => (a < b ? -1 : 1))) {
      for (let i = 0; i < endpoints.length; i += SLICE_ENDPOINTS_MAX) {
        wanted.push({ ports, endpoints: endpoints.slice(i, i + SLICE_ENDPOINTS_MAX) })
      }
    }
    // A Service without endpoints has one empty slice, so that a watcher can tell it from one not yet looked at.
    if (wanted.length === 0) wanted.push({ ports: [], endpoints: [] })
    for (const [i, { ports, endpoints }] of wanted.entries()) {
      slices.push(sliceObject(service, family, i, ports, endpoints))
    }
  }
  return slices
}

function sliceObject(
  service: Service,
  family: Family,
  index: number,
  ports: readonly Record<string, unknown>[],
  endpoints: readonly SliceEndpoint[],
): KubeObject {
  const { name, namespace, uid } = service.metadata
  const labels: Labels = {
    [SERVICE_LABEL]: name,
    [MANAGED_BY_LABEL]: MANAGER,
    ...(service.spec.clusterIP === 'None' ? { 'service.kubernetes.io/headless': '' } : {}),
  }
  const metadata: Meta = {
    name: `${name}-${shortHash(`${uid} ${family} ${index}`, 5)}`,
    namespace: namespace ?? '',
    labels,
    ownerReferences: [ownerReference(service, RESOURCES.services)],
  }
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata,
    addressType: family,
    endpoints,
    ports,
  }
}

/** As the API server filled them in; where it did not, the family of the cluster IP. */
function familiesOf(service: Service): Family[] {
  const { ipFamilies, clusterIP } = service.spec
  const named = (ipFamilies ?? []).filter(family => family === 'IPv4' || family === 'IPv6')
  if (named.length > 0) return named
  const ip = parseIp(clusterIP ?? '')
  return [ip === undefined ? 'IPv4' : familyOf(ip)]
}

function endpointOf(
  service: Service,
  pod: Pod,
  family: Family,
  zones: ReadonlyMap<string, string | undefined>,
): SliceEndpoint | undefined {
  const { status, metadata, spec } = pod
  if (status?.phase === 'Succeeded' || status?.phase === 'Failed' || spec.nodeName === undefined) {
    return undefined
  }
  const address = (status?.podIPs ?? [])
    .map(({ ip }) => parseIp(ip))
    .find(ip => ip !== undefined && familyOf(ip) === family)
  if (address === undefined) return undefined
  const serving = isReady(pod)
  const terminating = metadata.deletionTimestamp !== undefined
  const zone = zones.get(spec.nodeName)
  return {
    addresses: [address],
    conditions: {
      ready: service.spec.publishNotReadyAddresses === true || (serving && !terminating),
      serving,
      terminating,
    },
    nodeName: spec.nodeName,
    ...(zone === undefined ? {} : { zone }),
    targetRef: {
      kind: 'Pod',
      namespace: metadata.namespace ?? '',
      name: metadata.name,
      uid: metadata.uid,
    },
  }
}

/** The Service's ports with the numbers that this pod gives to named target ports. Names the pod does not know are left out. */
function portsOf(service: Service, pod: Pod): Record<string, unknown>[] {
  return (service.spec.ports ?? []).flatMap(port => {
    const number = targetPort(port, pod)
    if (number === undefined) return []
    return [
      {
        name: port.name ?? '',
        protocol: port.protocol ?? 'TCP',
        port: number,
        ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
      },
    ]
  })
}

function targetPort(port: ServicePort, pod: Pod): number | undefined {
  const target = port.targetPort ?? port.port
  if (typeof target === 'number') return target === 0 ? port.port : target
  for (const container of pod.spec.containers) {
    const found = container.ports?.find(
      ({ name, protocol }) => name === target && (protocol ?? 'TCP') === (port.protocol ?? 'TCP'),
    )
    if (found !== undefined) return found.containerPort
  }
  return undefined
}
