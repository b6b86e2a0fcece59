import type { Ms } from '../../ports/clock.ts'
import { RESOURCES } from '../../ports/kube.ts'
import { type Action, nameOf, statusPatch } from './actions.ts'
import {
  isReady,
  matchesLabels,
  type Node,
  type Pod,
  type Taint,
  timestamp,
  withCondition,
} from './resources.ts'

export type SchedulerSnapshot = {
  readonly pods: readonly Pod[]
  readonly nodes: readonly Node[]
  /** Wall clock. */
  readonly now: Ms
}

/**
 * A node for each pod that has none: ready, not cordoned, with the labels its nodeSelector asks for and no taint it does not
 * tolerate. Among these the one with the fewest pods of the same owner, then with the fewest pods, then the first by name.
 */
export function planBindings({ pods, nodes, now }: SchedulerSnapshot): Action[] {
  const total = new Map<string, number>()
  const siblings = new Map<string, number>()
  const place = (pod: Pod, node: string): void => {
    total.set(node, (total.get(node) ?? 0) + 1)
    const key = `${familyOf(pod)} ${node}`
    siblings.set(key, (siblings.get(key) ?? 0) + 1)
  }
  const live = pods.filter(
    pod =>
      pod.metadata.deletionTimestamp === undefined &&
      pod.status?.phase !== 'Succeeded' &&
      pod.status?.phase !== 'Failed',
  )
  for (const pod of live) if (pod.spec.nodeName !== undefined) place(pod, pod.spec.nodeName)
  const waiting = live
    .filter(pod => pod.spec.nodeName === undefined)
    .sort((a, b) => (orderKey(a) < orderKey(b) ? -1 : 1))
  return waiting.flatMap((pod): Action[] => {
    const refusals = new Map<string, number>()
    const fit = nodes.filter(node => {
      const why = refusal(pod, node)
      if (why !== undefined) refusals.set(why, (refusals.get(why) ?? 0) + 1)
      return why === undefined
    })
    const load = (node: Node): [number, number, string] => [
      siblings.get(`${familyOf(pod)} ${node.metadata.name}`) ?? 0,
      total.get(node.metadata.name) ?? 0,
      node.metadata.name,
    ]
    const [best] = fit.sort((a, b) => compareLoads(load(a), load(b)))
    if (best === undefined) {
      const reasons = [...refusals].map(([why, count]) => `${count} ${why}`).sort()
      const message = `0/${nodes.length} nodes are available${reasons.length === 0 ? '' : `: ${reasons.join(', ')}`}.`
      const condition = {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message,
      } as const
      return statusPatch(RESOURCES.pods, pod, {
        phase: 'Pending',
        conditions: withCondition(pod.status?.conditions, condition, timestamp(now)),
      })
    }
    place(pod, best.metadata.name)
    return [
      {
        type: 'bind',
        resource: RESOURCES.pods,
        name: nameOf(pod),
        node: best.metadata.name,
      },
    ]
  })
}

/** Why the pod cannot run there, in the words of kube-scheduler; undefined when it can. */
function refusal(pod: Pod, node: Node): string | undefined {
  if (!isReady(node)) return 'node(s) were not ready'
  if (node.spec?.unschedulable === true) return 'node(s) were unschedulable'
  if (!matchesLabels(pod.spec.nodeSelector ?? {}, node.metadata.labels)) {
    return "node(s) didn't match Pod's node affinity/selector"
  }
  const taint = node.spec?.taints?.find(
    taint => taint.effect !== 'PreferNoSchedule' && !tolerates(pod, taint),
  )
  return taint === undefined
    ? undefined
    : `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`
}

function tolerates(pod: Pod, taint: Taint): boolean {
  return (pod.spec.tolerations ?? []).some(
    toleration =>
      (toleration.effect === undefined || toleration.effect === '' || toleration.effect === taint.effect) &&
      (toleration.operator === 'Exists'
        ? toleration.key === undefined || toleration.key === '' || toleration.key === taint.key
        : toleration.key === taint.key && (toleration.value ?? '') === (taint.value ?? '')),
  )
}

/** Pods of one owner count as alike; a pod without one is alone. */
function familyOf(pod: Pod): string {
  const owner = pod.metadata.ownerReferences?.[0]?.['uid'] as string | undefined
  return owner ?? pod.metadata.uid ?? pod.metadata.name
}

function orderKey(pod: Pod): string {
  return `${pod.metadata.creationTimestamp ?? ''} ${pod.metadata.namespace ?? ''} ${pod.metadata.name}`
}

function compareLoads(a: [number, number, string], b: [number, number, string]): number {
  return a[0] - b[0] || a[1] - b[1] || (a[2] < b[2] ? -1 : 1)
}
