import { type Family, familyOf, type Ip, parseIp } from '../addr/ip.ts'
import { fieldsOf, mapItems, textOf } from '../config/fields.ts'
import { nodeFromObject } from '../config/nodes.ts'
import { POOL_ANNOTATION } from '../config/services.ts'
import type { KubeObject } from '../ports/kube.ts'
import { groupOf } from './snapshot.ts'

/** What manifests leave out and the API server fills in, and what a change of manifests does to a cluster's objects. */

/** `lodestone.dev/delete: "true"` on an object of a change: it is taken away. So does a deletionTimestamp. */
export const DELETE_ANNOTATION = 'lodestone.dev/delete'

const NAMESPACED: Readonly<Record<string, string>> = {
  Service: 'default',
  EndpointSlice: 'default',
  Secret: 'default',
}

/**
 * Objects as the API server would keep them: with a namespace, and of several manifests for one object the last.
 * metallb.io resources stay as they are in number: two of one name are a mistake that the configuration reports.
 */
export function normalized(objects: readonly KubeObject[], metallbNamespace: string): readonly KubeObject[] {
  const result = new Map<string, KubeObject>()
  for (const [index, object] of objects.entries()) {
    const placed = withNamespace(object, metallbNamespace)
    const identity = identityOf(placed)
    result.set(groupOf(placed) === 'metallb.io' ? `${identity}#${index}` : identity, placed)
  }
  return [...result.values()]
}

function withNamespace(object: KubeObject, metallbNamespace: string): KubeObject {
  const usual = groupOf(object) === 'metallb.io' ? metallbNamespace : NAMESPACED[object.kind ?? '']
  // YAML's `namespace:` without a value is null.
  if (usual === undefined || (object.metadata.namespace ?? '') !== '') return object
  return { ...object, metadata: { ...object.metadata, namespace: usual } }
}

/** Versions of a kind are the same object. */
function identityOf(object: KubeObject): string {
  const { namespace = '', name } = object.metadata
  return `${groupOf(object)}/${object.kind ?? ''}/${namespace}/${name}`
}

export type Changed = {
  readonly objects: readonly KubeObject[]
  /** Objects that were to be taken away and are not there. */
  readonly missing: readonly KubeObject[]
}

/**
 * What `kubectl apply` of the change would leave: an object takes the place of the one of its kind, namespace and name, and
 * what the cluster knows and the change does not say stays: identity, age, status, which pool the addresses are from,
 * cluster IPs. New objects come last. Objects with {@link DELETE_ANNOTATION} go.
 */
export function applyChange(objects: readonly KubeObject[], change: readonly KubeObject[]): Changed {
  const families = clusterFamilies(objects)
  const result = new Map(objects.map(object => [identityOf(object), object]))
  const missing: KubeObject[] = []
  for (const object of change) {
    const identity = identityOf(object)
    const before = result.get(identity)
    if (isRemoval(object)) {
      if (!result.delete(identity)) missing.push(object)
    } else result.set(identity, before === undefined ? object : merged(before, object, families))
  }
  return { objects: [...result.values()], missing }
}

function isRemoval({ metadata }: KubeObject): boolean {
  return (
    typeof metadata.deletionTimestamp === 'string' || metadata.annotations?.[DELETE_ANNOTATION] === 'true'
  )
}

function merged(before: KubeObject, after: KubeObject, families: readonly Family[]): KubeObject {
  const { uid, resourceVersion, creationTimestamp, annotations } = before.metadata
  const pool = annotations?.[POOL_ANNOTATION]
  const object: KubeObject = {
    ...after,
    metadata: {
      ...after.metadata,
      ...(uid !== undefined && { uid }),
      ...(resourceVersion !== undefined && { resourceVersion }),
      ...(creationTimestamp !== undefined && { creationTimestamp }),
      ...(pool !== undefined && { annotations: { [POOL_ANNOTATION]: pool, ...after.metadata.annotations } }),
    },
  }
  // Manifests may hold the empty status of a Service, which nobody applies. That of a Node may be what the change is about.
  const status = after.kind === 'Service' ? before['status'] : (after['status'] ?? before['status'])
  const withStatus = status === undefined ? object : { ...object, status }
  return after.kind === 'Service' ? keepClusterIps(before, withStatus, families) : withStatus
}

/**
 * A Service keeps its cluster IPs. Told to be of a single family it keeps the first; told to be of both, it gets one of the
 * other family where the cluster has that.
 */
function keepClusterIps(before: KubeObject, after: KubeObject, families: readonly Family[]): KubeObject {
  const [old, spec] = [fieldsOf(before['spec']), fieldsOf(after['spec'])]
  if (hasClusterIps(spec)) return after
  const had = mapItems(old['clusterIPs'] ?? [old['clusterIP']], ipIn)
  const [first] = had
  if (first === undefined) return after
  const ipFamilyPolicy = textOf(spec['ipFamilyPolicy']) ?? textOf(old['ipFamilyPolicy']) ?? 'SingleStack'
  const other = familyOf(first) === 'IPv4' ? 'IPv6' : 'IPv4'
  const isNews = ipFamilyPolicy !== (textOf(old['ipFamilyPolicy']) ?? 'SingleStack')
  const grows =
    isNews && had.length === 1 && (ipFamilyPolicy === 'RequireDualStack' || families.includes(other))
  const clusterIPs = ipFamilyPolicy === 'SingleStack' ? [first] : grows ? [first, ASSUMED[other]] : had
  return { ...after, spec: { ...spec, ipFamilyPolicy, ipFamilies: clusterIPs.map(familyOf), clusterIPs } }
}

/** The families that a cluster gives to Services, the first one first; empty: nobody knows. */
export function clusterFamilies(objects: readonly KubeObject[]): readonly Family[] {
  const families = new Set<Family>()
  for (const object of objects) {
    if (object.kind === 'Node') {
      for (const ip of nodeFromObject(object).internalIps) families.add(familyOf(ip))
    }
  }
  for (const object of objects) {
    if (object.kind === 'Service') {
      for (const ip of mapItems(fieldsOf(object['spec'])['clusterIPs'], ipIn)) families.add(familyOf(ip))
    }
  }
  return [...families]
}

/**
 * A Service as the API server would make it of a manifest: of type LoadBalancer, it gets cluster IPs, on which the families
 * of its addresses depend. The values stand for any address of their family, being from the documentation ranges.
 * Cluster IPs that are written down, be it an empty list or None, are left as they are.
 * @param families of the cluster; empty: both are assumed, IPv4 first
 */
export function withClusterIps(object: KubeObject, families: readonly Family[]): KubeObject {
  const spec = fieldsOf(object['spec'])
  const policy = textOf(spec['ipFamilyPolicy'])
  const known: readonly Family[] = families.length > 0 ? families : ['IPv4', 'IPv6']
  if (object.kind !== 'Service' || spec['type'] !== 'LoadBalancer') return object
  if (hasClusterIps(spec)) return object
  const asked = mapItems<Family>(spec['ipFamilies'], item =>
    item === 'IPv4' || item === 'IPv6' ? item : undefined,
  )
  const [first = known[0] ?? 'IPv4'] = asked
  const other = first === 'IPv4' ? 'IPv6' : 'IPv4'
  const wantsTwo =
    asked.length > 1 ||
    policy === 'RequireDualStack' ||
    (policy === 'PreferDualStack' && known.includes(other))
  const chosen: readonly Family[] = wantsTwo ? [first, other] : [first]
  return {
    ...object,
    spec: {
      ...spec,
      ipFamilyPolicy: policy ?? (wantsTwo ? 'RequireDualStack' : 'SingleStack'),
      ipFamilies: chosen,
      clusterIPs: chosen.map(family => ASSUMED[family]),
    },
  }
}

const ASSUMED: Readonly<Record<Family, Ip>> = { IPv4: '192.0.2.0' as Ip, IPv6: '2001:db8::' as Ip }

/** It stands for a cluster IP that nobody has chosen yet. */
export function isAssumed(ip: Ip): boolean {
  return Object.values(ASSUMED).includes(ip)
}

function hasClusterIps(spec: Readonly<Record<string, unknown>>): boolean {
  return spec['clusterIPs'] !== undefined || spec['clusterIP'] !== undefined
}

function ipIn(value: unknown): Ip | undefined {
  return typeof value === 'string' ? parseIp(value) : undefined
}
