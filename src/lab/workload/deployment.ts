import type { Ms } from '../../ports/clock.ts'
import type { KubeObject } from '../../ports/kube.ts'
import { type Action, canonical, deletion, nameOf, shortHash, statusPatch } from './actions.ts'
import { isAvailable } from './replicaset.ts'
import {
  APPS,
  conditionOf,
  controllerOf,
  type Deployment,
  type DeploymentCondition,
  type IntOrString,
  isReady,
  ownerReference,
  type Pod,
  type ReplicaSet,
  timestamp,
} from './resources.ts'

export const HASH_LABEL = 'pod-template-hash'
const REVISION = 'deployment.kubernetes.io/revision'

export type DeploymentSnapshot = {
  readonly deployments: readonly Deployment[]
  readonly replicaSets: readonly ReplicaSet[]
  readonly pods: readonly Pod[]
  /** Wall clock. */
  readonly now: Ms
}

/**
 * One step of every Deployment towards its template: a ReplicaSet for each template, scaled so that never fewer pods are
 * available nor more exist than the strategy allows. ReplicaSets of Deployments that are gone are deleted.
 */
export function planDeployments(snapshot: DeploymentSnapshot): Action[] {
  const uids = new Set(snapshot.deployments.map(deployment => deployment.metadata.uid))
  const orphans = snapshot.replicaSets.filter(replicaSet => {
    const owner = controllerOf(replicaSet.metadata, 'Deployment')
    return owner !== undefined && !uids.has(owner) && replicaSet.metadata.deletionTimestamp === undefined
  })
  return [
    ...orphans.map(replicaSet => deletion(APPS.replicaSets, replicaSet)),
    ...snapshot.deployments
      .filter(deployment => deployment.metadata.deletionTimestamp === undefined)
      .flatMap(deployment => planDeployment(deployment, snapshot)),
  ]
}

export function templateHash(deployment: Deployment): string {
  return shortHash(canonical(deployment.spec.template), 10)
}

/** A ReplicaSet with its pods counted. `replicas` is what the plan wants it to have. */
type Counted = {
  readonly replicaSet: ReplicaSet
  replicas: number
  /** Pods that are not on their way out. */
  readonly pods: number
  readonly podsWithTerminating: number
  readonly ready: number
  readonly available: number
}

function planDeployment(deployment: Deployment, snapshot: DeploymentSnapshot): Action[] {
  const { spec } = deployment
  const desired = spec.replicas ?? 1
  const hash = templateHash(deployment)
  const owned = snapshot.replicaSets
    .filter(
      replicaSet =>
        controllerOf(replicaSet.metadata, 'Deployment') === deployment.metadata.uid &&
        replicaSet.metadata.deletionTimestamp === undefined,
    )
    .map(replicaSet => count(replicaSet, snapshot, spec.minReadySeconds ?? 0))
    .sort((a, b) => revisionOf(a.replicaSet) - revisionOf(b.replicaSet))
  const current = owned.find(({ replicaSet }) => replicaSet.metadata.labels?.[HASH_LABEL] === hash)
  const old = owned.filter(counted => counted !== current)
  const actions: Action[] = []
  const lastRevision = Math.max(0, ...owned.map(({ replicaSet }) => revisionOf(replicaSet)))
  if (spec.paused === true) {
    // A pause stops the roll-out, not the scaling.
    const newest = current ?? old.at(-1)
    if (newest !== undefined && owned.every(other => other === newest || other.replicas === 0)) {
      newest.replicas = desired
    }
  } else if (current === undefined) {
    const total = sum(old, counted => counted.replicas)
    const replicas = isRecreate(deployment)
      ? total === 0 && old.every(counted => counted.podsWithTerminating === 0)
        ? desired
        : 0
      : Math.max(0, Math.min(desired, desired + limitsOf(deployment).maxSurge - total))
    actions.push({
      type: 'create',
      resource: APPS.replicaSets,
      object: newReplicaSet(deployment, hash, replicas, lastRevision + 1),
    })
  } else if (isRecreate(deployment)) {
    for (const counted of old) counted.replicas = 0
    if (old.every(counted => counted.podsWithTerminating === 0)) current.replicas = desired
  } else roll(deployment, current, old, desired)

  for (const counted of owned) {
    const { replicaSet } = counted
    const patch: Record<string, unknown> = {}
    if ((replicaSet.spec.replicas ?? 1) !== counted.replicas) patch['spec'] = { replicas: counted.replicas }
    if (counted === current && revisionOf(replicaSet) < lastRevision && spec.paused !== true) {
      // An earlier template is wanted again: its ReplicaSet becomes the newest revision.
      patch['metadata'] = { annotations: { [REVISION]: String(lastRevision + 1) } }
    }
    if (Object.keys(patch).length > 0) {
      actions.push({ type: 'patch', resource: APPS.replicaSets, name: nameOf(replicaSet), patch })
    }
  }
  const forgotten = old.filter(counted => counted.replicas === 0 && counted.podsWithTerminating === 0)
  for (const { replicaSet } of forgotten.slice(0, -(spec.revisionHistoryLimit ?? 10) || undefined)) {
    actions.push(deletion(APPS.replicaSets, replicaSet))
  }
  const revision = String(
    current === undefined
      ? lastRevision + (spec.paused === true ? 0 : 1)
      : Math.max(revisionOf(current.replicaSet), lastRevision),
  )
  if (deployment.metadata.annotations?.[REVISION] !== revision && revision !== '0') {
    actions.push({
      type: 'patch',
      resource: APPS.deployments,
      name: nameOf(deployment),
      patch: { metadata: { annotations: { [REVISION]: revision } } },
    })
  }
  return [...actions, ...planStatus(deployment, current, owned, desired, snapshot.now)]
}

/** The steps of a rolling update: grow the new ReplicaSet into the room there is, then shrink old ones as far as allowed. */
function roll(deployment: Deployment, current: Counted, old: readonly Counted[], desired: number): void {
  const { maxSurge, maxUnavailable } = limitsOf(deployment)
  const all = [current, ...old]
  if (current.replicas > desired) current.replicas = desired
  else {
    const room = desired + maxSurge - sum(all, counted => counted.replicas)
    current.replicas += Math.max(0, Math.min(desired - current.replicas, room))
  }
  const minAvailable = desired - maxUnavailable
  const newUnavailable = Math.max(0, current.replicas - current.available)
  let removable = sum(all, counted => counted.replicas) - minAvailable - newUnavailable
  // First what does not serve anyway, then serving pods while enough others are available.
  for (const counted of old) {
    const unhealthy = Math.max(0, Math.min(removable, counted.replicas - counted.available))
    counted.replicas -= unhealthy
    removable -= unhealthy
  }
  let spare = Math.min(removable, sum(all, counted => counted.available) - minAvailable)
  for (const counted of old) {
    const take = Math.max(0, Math.min(spare, counted.replicas))
    counted.replicas -= take
    spare -= take
  }
}

/** maxSurge rounds up, maxUnavailable down; never both zero, or nothing would ever move. */
export function limitsOf(deployment: Deployment): { maxSurge: number; maxUnavailable: number } {
  const desired = deployment.spec.replicas ?? 1
  const given = deployment.spec.strategy?.rollingUpdate
  const maxSurge = resolve(given?.maxSurge ?? '25%', desired, Math.ceil)
  const maxUnavailable = Math.min(desired, resolve(given?.maxUnavailable ?? '25%', desired, Math.floor))
  return { maxSurge, maxUnavailable: maxSurge === 0 && maxUnavailable === 0 ? 1 : maxUnavailable }
}

function resolve(value: IntOrString, of: number, rounded: (n: number) => number): number {
  if (typeof value === 'number') return value
  const percent = /^(\d+)%$/.exec(value)
  return percent === null ? Number.parseInt(value, 10) || 0 : rounded((Number(percent[1]) * of) / 100)
}

function isRecreate(deployment: Deployment): boolean {
  return deployment.spec.strategy?.type === 'Recreate'
}

function revisionOf(replicaSet: ReplicaSet): number {
  return Number(replicaSet.metadata.annotations?.[REVISION] ?? 0)
}

function count(replicaSet: ReplicaSet, snapshot: DeploymentSnapshot, minReadySeconds: number): Counted {
  const all = snapshot.pods.filter(
    pod => controllerOf(pod.metadata, 'ReplicaSet') === replicaSet.metadata.uid,
  )
  const pods = all.filter(pod => pod.metadata.deletionTimestamp === undefined)
  return {
    replicaSet,
    replicas: replicaSet.spec.replicas ?? 1,
    pods: pods.length,
    podsWithTerminating: all.length,
    ready: pods.filter(isReady).length,
    available: pods.filter(pod => isAvailable(pod, minReadySeconds, snapshot.now)).length,
  }
}

function newReplicaSet(deployment: Deployment, hash: string, replicas: number, revision: number): KubeObject {
  const { template, minReadySeconds } = deployment.spec
  const labels = { ...template.metadata?.labels, [HASH_LABEL]: hash }
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${deployment.metadata.name}-${hash}`,
      namespace: deployment.metadata.namespace ?? '',
      labels,
      annotations: { [REVISION]: String(revision) },
      ownerReferences: [ownerReference(deployment, APPS.deployments)],
    },
    spec: {
      replicas,
      ...(minReadySeconds === undefined ? {} : { minReadySeconds }),
      selector: {
        ...deployment.spec.selector,
        matchLabels: { ...deployment.spec.selector.matchLabels, [HASH_LABEL]: hash },
      },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  }
}

function planStatus(
  deployment: Deployment,
  current: Counted | undefined,
  owned: readonly Counted[],
  desired: number,
  now: Ms,
): Action[] {
  const replicas = sum(owned, counted => counted.pods)
  const updated = current?.pods ?? 0
  const available = sum(owned, counted => counted.available)
  const counts = {
    replicas: replicas || undefined,
    updatedReplicas: updated || undefined,
    readyReplicas: sum(owned, counted => counted.ready) || undefined,
    availableReplicas: available || undefined,
    unavailableReplicas: Math.max(0, desired - available) || undefined,
  }
  const before = deployment.status
  const changed = Object.entries(counts).some(
    ([name, value]) => before?.[name as keyof typeof counts] !== value,
  )
  const at = timestamp(now)
  const enough = available >= desired - limitsOf(deployment).maxUnavailable
  const isAvailableNow: DeploymentCondition = {
    type: 'Available',
    status: enough ? 'True' : 'False',
    reason: enough ? 'MinimumReplicasAvailable' : 'MinimumReplicasUnavailable',
    message: `Deployment ${enough ? 'has' : 'does not have'} minimum availability.`,
  }
  const complete = updated === desired && replicas === desired && available === desired
  const last = conditionOf(before?.conditions, 'Progressing')
  // Once told it stays so until something moves: telling it touches the time that it is judged by.
  const overdue =
    last?.reason === 'ProgressDeadlineExceeded' ||
    (last?.lastUpdateTime !== undefined &&
      now - Date.parse(last.lastUpdateTime) > (deployment.spec.progressDeadlineSeconds ?? 600) * 1000)
  const observed = before?.observedGeneration === deployment.metadata.generation
  // Once complete the deadline is over: a pod that fails later is not a roll-out that hangs.
  const rolledOut = last?.reason === 'NewReplicaSetAvailable' && observed && updated === replicas
  const progressing: DeploymentCondition =
    complete || rolledOut
      ? progress('True', 'NewReplicaSetAvailable', `${named(current)} has successfully progressed.`)
      : overdue && !changed && observed
        ? progress('False', 'ProgressDeadlineExceeded', `${named(current)} has timed out progressing.`)
        : progress('True', 'ReplicaSetUpdated', `${named(current)} is progressing.`)
  return statusPatch(APPS.deployments, deployment, {
    observedGeneration: deployment.metadata.generation,
    ...counts,
    conditions: [
      stamped(before?.conditions, isAvailableNow, at, false),
      stamped(before?.conditions, progressing, at, changed && progressing.reason === 'ReplicaSetUpdated'),
    ],
  })
}

function progress(status: 'True' | 'False', reason: string, message: string): DeploymentCondition {
  return { type: 'Progressing', status, reason, message }
}

function named(current: Counted | undefined): string {
  return current === undefined ? 'ReplicaSet' : `ReplicaSet "${current.replicaSet.metadata.name}"`
}

function stamped(
  conditions: readonly DeploymentCondition[] | undefined,
  condition: DeploymentCondition,
  at: string,
  touch: boolean,
): DeploymentCondition {
  const before = conditionOf(conditions, condition.type)
  const same = before?.status === condition.status && before.reason === condition.reason
  return {
    ...condition,
    lastTransitionTime: before?.status === condition.status ? (before.lastTransitionTime ?? at) : at,
    lastUpdateTime: same && !touch ? (before.lastUpdateTime ?? at) : at,
  }
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
