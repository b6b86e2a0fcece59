import type { Ip } from '../addr/ip.ts'
import { parseIp } from '../addr/ip.ts'
import type { KubeObject } from '../ports/kube.ts'
import { fieldsOf, itemsOf, labelsOf, mapItems } from './fields.ts'

export type NodeFacts = {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  /** status.addresses of type InternalIP, in order. */
  readonly internalIps: readonly Ip[]
  /** Condition NetworkUnavailable is True (1.5). */
  readonly networkUnavailable: boolean
  /** Condition Ready is not False nor Unknown. No part of MetalLB's election. */
  readonly ready: boolean
  /** Cordoned. No part of MetalLB's election. */
  readonly unschedulable: boolean
  /** Somebody said by its taint that it is shut down (node.kubernetes.io/out-of-service). */
  readonly outOfService: boolean
}

/** Its presence, whatever the value, takes a node out of the candidates (1.5). */
export const EXCLUDE_LABEL = 'node.kubernetes.io/exclude-from-external-load-balancers'

export type NamespaceFacts = { readonly name: string; readonly labels: Readonly<Record<string, string>> }

/** Total: a malformed field counts as absent. */
export function nodeFromObject(object: KubeObject): NodeFacts {
  const spec = fieldsOf(object['spec'])
  const status = fieldsOf(object['status'])
  const conditions = itemsOf(status['conditions']).map(fieldsOf)
  const isTrue = (type: string) =>
    conditions.some(condition => condition['type'] === type && condition['status'] === 'True')
  return {
    name: object.metadata.name,
    labels: labelsOf(object.metadata.labels),
    internalIps: mapItems(status['addresses'], item => {
      const { type, address } = fieldsOf(item)
      return type === 'InternalIP' && typeof address === 'string' ? parseIp(address) : undefined
    }),
    networkUnavailable: isTrue('NetworkUnavailable'),
    // A Node whose kubelet said nothing yet is none that is known to be ill.
    ready: conditions.every(condition => condition['type'] !== 'Ready' || condition['status'] === 'True'),
    unschedulable: spec['unschedulable'] === true,
    outOfService: itemsOf(spec['taints']).some(
      taint => fieldsOf(taint)['key'] === 'node.kubernetes.io/out-of-service',
    ),
  }
}

/** Total: a malformed field counts as absent. */
export function namespaceFromObject(object: KubeObject): NamespaceFacts {
  return { name: object.metadata.name, labels: labelsOf(object.metadata.labels) }
}
