import type { Ms } from '../../ports/clock.ts'
import { RESOURCES } from '../../ports/kube.ts'
import { type Action, statusPatch } from './actions.ts'
import {
  conditionOf,
  isReady,
  type Lease,
  type Node,
  type Pod,
  timestamp,
  withCondition,
} from './resources.ts'

export const LEASE_NAMESPACE = 'kube-node-lease'

/** For each node the renewTime its Lease had, and for how long it has not changed. The clocks of the nodes are not trusted. */
export type LeaseSightings = ReadonlyMap<
  string,
  { readonly renewTime: string | undefined; readonly silentMs: Ms }
>

export type NodeSnapshot = {
  readonly nodes: readonly Node[]
  readonly leases: readonly Lease[]
  readonly pods: readonly Pod[]
  readonly wallNow: Ms
  /** A node whose Lease has not changed for this long counts as lost. Kubernetes: 40 s. */
  readonly graceMs: Ms
}

/**
 * One more look, `elapsedMs` after the last one. A node seen for the first time has its whole grace before it. When we did not
 * look for long it was us who were away: no more than a quarter of the grace is held against a node at once.
 */
export function observeLeases(
  before: LeaseSightings,
  { nodes, leases, graceMs }: NodeSnapshot,
  elapsedMs: Ms,
): LeaseSightings {
  const renewed = new Map(leases.map(lease => [lease.metadata.name, lease.spec?.renewTime]))
  return new Map(
    nodes.map(({ metadata: { name } }) => {
      const renewTime = renewed.get(name)
      const last = before.get(name)
      const silentMs =
        last !== undefined && last.renewTime === renewTime
          ? last.silentMs + Math.min(elapsedMs, graceMs / 4)
          : 0
      return [name, { renewTime, silentMs }] as const
    }),
  )
}

/**
 * Nodes whose kubelet fell silent become NotReady, and so do their pods, so that their endpoints leave. Everything else about
 * them stays: nobody knows whether they still run. Coming back is the kubelet's own doing.
 */
export function planNodes(snapshot: NodeSnapshot, sightings: LeaseSightings): Action[] {
  const { nodes, pods, wallNow, graceMs } = snapshot
  const at = timestamp(wallNow)
  const lost = nodes.filter(node => (sightings.get(node.metadata.name)?.silentMs ?? 0) >= graceMs)
  const lostNames = new Set(lost.map(node => node.metadata.name))
  return [
    ...lost
      .filter(node => conditionOf(node.status?.conditions, 'Ready')?.status !== 'Unknown')
      .flatMap(node =>
        statusPatch(RESOURCES.nodes, node, {
          conditions: withCondition(
            node.status?.conditions,
            {
              type: 'Ready',
              status: 'Unknown',
              reason: 'NodeStatusUnknown',
              message: 'Kubelet stopped posting node status.',
            },
            at,
          ),
        }),
      ),
    ...pods
      .filter(pod => lostNames.has(pod.spec.nodeName ?? '') && isReady(pod))
      .flatMap(pod =>
        statusPatch(RESOURCES.pods, pod, {
          conditions: withCondition(
            pod.status?.conditions,
            {
              type: 'Ready',
              status: 'False',
              reason: 'NodeStatusUnknown',
              message: 'The node of this pod stopped reporting.',
            },
            at,
          ),
        }),
      ),
  ]
}
