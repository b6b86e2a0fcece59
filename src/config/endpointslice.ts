import type { Family, Ip } from '../addr/ip.ts'
import { parseIp } from '../addr/ip.ts'
import type { KubeObject } from '../ports/kube.ts'
import { fieldsOf, integerOf, mapItems, textOf } from './fields.ts'

/** One EndpointSlice: a part of the endpoints of one Service in one family. */
export type EndpointSliceFacts = {
  /** `namespace/name` of the Service that the label names; undefined without the label. */
  readonly serviceKey: string | undefined
  /** undefined for slices of host names, which nothing here can use. */
  readonly family: Family | undefined
  readonly endpoints: readonly EndpointFacts[]
  readonly ports: readonly EndpointPort[]
}

export type EndpointFacts = {
  readonly addresses: readonly Ip[]
  readonly nodeName: string | undefined
  /** It can serve: ready is true or absent, or serving is true (the table of 2.6; terminating is not looked at, E-1). */
  readonly ready: boolean
  /** How many endpoints this stands for, where those of one node are kept as one. Absent: one. */
  readonly count?: number
}

export type EndpointPort = {
  readonly name: string
  readonly protocol: 'TCP' | 'UDP' | 'SCTP'
  /** undefined: every port. */
  readonly port: number | undefined
}

/** Where the endpoints of one Service are, all of its slices together. */
export type EndpointNodes = {
  /** At least one endpoint can serve, wherever it is (E-2). */
  readonly any: boolean
  /** Nodes with an endpoint that can serve. */
  readonly nodes: ReadonlySet<string>
}

export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name'

/** Total: a malformed field counts as absent. */
export function endpointsFromSlice(object: KubeObject): EndpointSliceFacts {
  const service = textOf(fieldsOf(object.metadata.labels)[SERVICE_NAME_LABEL])
  const addressType = object['addressType']
  return {
    serviceKey: service === undefined ? undefined : `${object.metadata.namespace ?? ''}/${service}`,
    family: addressType === 'IPv4' || addressType === 'IPv6' ? addressType : undefined,
    endpoints: mapItems(object['endpoints'], endpointFrom),
    ports: mapItems(object['ports'], item => {
      const { name, protocol, port } = fieldsOf(item)
      return {
        name: textOf(name) ?? '',
        protocol: protocol === 'UDP' || protocol === 'SCTP' ? protocol : ('TCP' as const),
        port: integerOf(port),
      }
    }),
  }
}

function endpointFrom(item: unknown): EndpointFacts {
  const fields = fieldsOf(item)
  const { ready, serving } = fieldsOf(fields['conditions'])
  return {
    addresses: mapItems(fields['addresses'], text => (typeof text === 'string' ? parseIp(text) : undefined)),
    nodeName: textOf(fields['nodeName']),
    ready: ready !== false || serving === true,
  }
}

/** Folds the slices of one Service together; the families are not told apart (E-2). */
export function endpointNodes(slices: Iterable<EndpointSliceFacts>): EndpointNodes {
  let any = false
  const nodes = new Set<string>()
  for (const slice of slices) {
    for (const endpoint of slice.endpoints) {
      if (!endpoint.ready) continue
      any = true
      if (endpoint.nodeName !== undefined) nodes.add(endpoint.nodeName)
    }
  }
  return { any, nodes }
}

/** Endpoints of a Service that can serve, by node. Of two families the one that has more there: they are the same Pods. */
export function endpointWeights(slices: Iterable<EndpointSliceFacts>): Map<string, number> {
  const byFamily = new Map<string, Map<string, number>>()
  for (const { family, endpoints } of slices) {
    if (family === undefined) continue
    let counts = byFamily.get(family)
    if (counts === undefined) byFamily.set(family, (counts = new Map()))
    for (const { nodeName, ready, count = 1 } of endpoints) {
      if (ready && nodeName !== undefined) counts.set(nodeName, (counts.get(nodeName) ?? 0) + count)
    }
  }
  const weights = new Map<string, number>()
  for (const counts of byFamily.values()) {
    for (const [node, count] of counts) weights.set(node, Math.max(count, weights.get(node) ?? 0))
  }
  return weights
}
