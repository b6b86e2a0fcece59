import type { Ms } from '../../ports/clock.ts'
import { RESOURCES } from '../../ports/kube.ts'
import { type Action, deletion, shortHash, statusPatch } from './actions.ts'
import {
  APPS,
  conditionOf,
  controllerOf,
  isReady,
  ownerReference,
  type Pod,
  type ReplicaSet,
} from './resources.ts'

export type ReplicaSetSnapshot = {
  readonly replicaSets: readonly ReplicaSet[]
  readonly pods: readonly Pod[]
  /** Wall clock. It also makes the names of new pods differ from earlier ones. */
  readonly now: Ms
}

/** As many pods for each ReplicaSet as it wants, and its counts. Pods of ReplicaSets that are gone are deleted. */
export function planReplicaSets(snapshot: ReplicaSetSnapshot): Action[] {
  const uids = new Set(snapshot.replicaSets.map(replicaSet => replicaSet.metadata.uid))
  const orphans = snapshot.pods.filter(pod => {
    const owner = controllerOf(pod.metadata, 'ReplicaSet')
    return owner !== undefined && !uids.has(owner) && pod.metadata.deletionTimestamp === undefined
  })
  return [
    ...orphans.map(pod => deletion(RESOURCES.pods, pod)),
    ...snapshot.replicaSets
      .filter(replicaSet => replicaSet.metadata.deletionTimestamp === undefined)
      .flatMap(replicaSet => planReplicaSet(replicaSet, snapshot)),
  ]
}

/** Ready, and for as long as minReadySeconds asks. */
export function isAvailable(pod: Pod, minReadySeconds: number, now: Ms): boolean {
  if (!isReady(pod)) return false
  const since = conditionOf(pod.status?.conditions, 'Ready')?.lastTransitionTime
  return minReadySeconds === 0 || (since !== undefined && now - Date.parse(since) >= minReadySeconds * 1000)
}

function planReplicaSet(replicaSet: ReplicaSet, { pods, now }: ReplicaSetSnapshot): Action[] {
  const { uid, name, namespace } = replicaSet.metadata
  const active = pods.filter(
    pod =>
      controllerOf(pod.metadata, 'ReplicaSet') === uid &&
      pod.metadata.deletionTimestamp === undefined &&
      pod.status?.phase !== 'Succeeded' &&
      pod.status?.phase !== 'Failed',
  )
  const desired = replicaSet.spec.replicas ?? 1
  const { template } = replicaSet.spec
  const creations = Array.from(
    { length: Math.max(0, desired - active.length) },
    (_, i): Action => ({
      type: 'create',
      resource: RESOURCES.pods,
      object: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name: `${name}-${shortHash(`${uid} ${now} ${i}`, 5)}`,
          namespace: namespace ?? '',
          ...(template.metadata?.labels === undefined ? {} : { labels: template.metadata.labels }),
          ...(template.metadata?.annotations === undefined
            ? {}
            : { annotations: template.metadata.annotations }),
          ownerReferences: [ownerReference(replicaSet, APPS.replicaSets)],
        },
        spec: { ...template.spec },
      },
    }),
  )
  const deletions = inOrderOfRemoval(active)
    .slice(0, Math.max(0, active.length - desired))
    .map(pod => deletion(RESOURCES.pods, pod))
  return [
    ...creations,
    ...deletions,
    ...statusPatch(APPS.replicaSets, replicaSet, {
      observedGeneration: replicaSet.metadata.generation,
      replicas: active.length,
      fullyLabeledReplicas: active.length || undefined,
      readyReplicas: active.filter(isReady).length || undefined,
      availableReplicas:
        active.filter(pod => isAvailable(pod, replicaSet.spec.minReadySeconds ?? 0, now)).length || undefined,
    }),
  ]
}

/** The pods that are missed least come first: without a node, not ready, on the fullest node, the youngest. */
function inOrderOfRemoval(pods: readonly Pod[]): Pod[] {
  const onNode = new Map<string, number>()
  // How many siblings a pod finds before it on its node: the last ones of the fullest nodes go first.
  const rank = new Map<Pod, number>()
  for (const pod of [...pods].sort(byAge)) {
    const node = pod.spec.nodeName ?? ''
    const before = onNode.get(node) ?? 0
    rank.set(pod, before)
    onNode.set(node, before + 1)
  }
  const key = (pod: Pod): number[] => [
    pod.spec.nodeName === undefined ? 0 : 1,
    isReady(pod) ? 1 : 0,
    -(rank.get(pod) ?? 0),
  ]
  return [...pods].sort((a, b) => {
    const keyB = key(b)
    for (const [i, value] of key(a).entries()) {
      const difference = value - (keyB[i] ?? 0)
      if (difference !== 0) return difference
    }
    return -byAge(a, b)
  })
}

function byAge(a: Pod, b: Pod): number {
  const ages = [a, b].map(pod => `${pod.metadata.creationTimestamp ?? ''} ${pod.metadata.name}`)
  return (ages[0] ?? '') < (ages[1] ?? '') ? -1 : 1
}
