import { SERVICE_NAME_LABEL } from '../config/endpointslice.ts'
import { fieldsOf, itemsOf, labelsOf, textOf } from '../config/fields.ts'
import { type KubeObject, objectKey } from '../ports/kube.ts'

/** What Kubernetes will find as the endpoints of Services that a change brings: before it has, nothing would announce them. */

type Labels = Readonly<Record<string, string>>

const selectorOf = (service: KubeObject | undefined): Labels =>
  labelsOf(fieldsOf(service?.['spec'])['selector'])

/** Services that are new, or select other pods than before, and whose endpoints the objects do not hold. */
export function needsEndpoints(
  before: readonly KubeObject[],
  after: readonly KubeObject[],
): readonly KubeObject[] {
  const old = new Map(servicesIn(before).map(service => [objectKey(service.metadata), service]))
  const oldSlices = new Set(before.filter(({ kind }) => kind === 'EndpointSlice'))
  const given = new Set(
    after.filter(object => object.kind === 'EndpointSlice' && !oldSlices.has(object)).map(ownerOf),
  )
  return servicesIn(after).filter(service => {
    const key = objectKey(service.metadata)
    const selector = selectorOf(service)
    return (
      Object.keys(selector).length > 0 && !given.has(key) && !sameLabels(selectorOf(old.get(key)), selector)
    )
  })
}

/**
 * The slices of a Service: of the pods that it selects, or where no Pod is known, those of a Service that selects the same.
 * undefined: nothing is known.
 * @param pods any objects; those of kind Pod count
 * @param objects the cluster
 */
export function expectedSlices(
  service: KubeObject,
  pods: readonly KubeObject[],
  objects: readonly KubeObject[],
): readonly KubeObject[] | undefined {
  const { name, namespace = '' } = service.metadata
  const selector = selectorOf(service)
  const selected = pods.filter(
    pod => pod.kind === 'Pod' && pod.metadata.namespace === namespace && matches(selector, pod),
  )
  const publishesAll = fieldsOf(service['spec'])['publishNotReadyAddresses'] === true
  const endpoints = selected.flatMap(pod => endpointOf(pod, publishesAll))
  const slice = (addressType: string, items: readonly unknown[]): KubeObject => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-expected`, namespace, labels: { [SERVICE_NAME_LABEL]: name } },
    addressType,
    endpoints: items,
  })
  if (selected.length > 0) return [slice('IPv4', endpoints)]
  const twin = servicesIn(objects).find(
    other =>
      other !== service && other.metadata.namespace === namespace && sameLabels(selectorOf(other), selector),
  )
  if (twin === undefined) return undefined
  const key = objectKey(twin.metadata)
  return objects
    .filter(object => object.kind === 'EndpointSlice' && ownerOf(object) === key)
    .map(object => slice(textOf(object['addressType']) ?? 'IPv4', itemsOf(object['endpoints'])))
}

/** A pod that has ended, or has no address yet, is no endpoint. */
function endpointOf(pod: KubeObject, publishesAll: boolean): readonly unknown[] {
  const status = fieldsOf(pod['status'])
  const ip = textOf(status['podIP'])
  if (ip === undefined || status['phase'] === 'Succeeded' || status['phase'] === 'Failed') return []
  const conditions = itemsOf(status['conditions']).map(fieldsOf)
  const ready = publishesAll || conditions.some(each => each['type'] === 'Ready' && each['status'] === 'True')
  return [{ addresses: [ip], nodeName: fieldsOf(pod['spec'])['nodeName'], conditions: { ready } }]
}

function servicesIn(objects: readonly KubeObject[]): readonly KubeObject[] {
  return objects.filter(({ kind }) => kind === 'Service')
}

/** `namespace/name` of the Service that a slice is of. */
export function ownerOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ''}/${metadata.labels?.[SERVICE_NAME_LABEL] ?? ''}`
}

function matches(selector: Labels, { metadata }: KubeObject): boolean {
  return Object.entries(selector).every(([key, value]) => metadata.labels?.[key] === value)
}

function sameLabels(a: Labels, b: Labels): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every(key => a[key] === b[key])
}
