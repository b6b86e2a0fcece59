import type { KubeObject, ObjectMeta, Resource } from '../../ports/kube.ts'

/** The kinds that only the lab's controllers deal with. */
export const APPS = {
  deployments: { group: 'apps', version: 'v1', plural: 'deployments', kind: 'Deployment', namespaced: true },
  replicaSets: { group: 'apps', version: 'v1', plural: 'replicasets', kind: 'ReplicaSet', namespaced: true },
} as const satisfies Record<string, Resource>

// Views on API objects: only the fields that are used here. The API server has checked them against its schemas, so that what
// is there has the type that Kubernetes documents; everything optional there is optional here.

export type Labels = Readonly<Record<string, string>>

export type Meta = ObjectMeta & {
  readonly finalizers?: readonly string[]
  readonly deletionGracePeriodSeconds?: number
}

export type Condition = {
  readonly type: string
  readonly status: 'True' | 'False' | 'Unknown'
  readonly reason?: string
  readonly message?: string
  /** RFC 3339. */
  readonly lastTransitionTime?: string
}

export type LabelSelector = {
  readonly matchLabels?: Labels
  readonly matchExpressions?: readonly {
    readonly key: string
    readonly operator: string
    readonly values?: readonly string[]
  }[]
}

export type PodTemplate = {
  readonly metadata?: { readonly labels?: Labels; readonly annotations?: Labels }
  readonly spec?: Readonly<Record<string, unknown>>
}

export type IntOrString = number | string

export type Deployment = KubeObject & {
  readonly metadata: Meta
  readonly spec: {
    /** Default 1. */
    readonly replicas?: number
    readonly selector: LabelSelector
    readonly template: PodTemplate
    readonly paused?: boolean
    readonly minReadySeconds?: number
    /** Default 10. */
    readonly revisionHistoryLimit?: number
    /** Default 600. */
    readonly progressDeadlineSeconds?: number
    readonly strategy?: {
      readonly type?: string
      readonly rollingUpdate?: { readonly maxSurge?: IntOrString; readonly maxUnavailable?: IntOrString }
    }
  }
  readonly status?: DeploymentStatus
}

export type DeploymentCondition = Condition & { readonly lastUpdateTime?: string }

export type DeploymentStatus = {
  readonly observedGeneration?: number
  readonly replicas?: number
  readonly updatedReplicas?: number
  readonly readyReplicas?: number
  readonly availableReplicas?: number
  readonly unavailableReplicas?: number
  readonly conditions?: readonly DeploymentCondition[]
}

export type ReplicaSet = KubeObject & {
  readonly metadata: Meta
  readonly spec: {
    readonly replicas?: number
    readonly minReadySeconds?: number
    readonly selector: LabelSelector
    readonly template: PodTemplate
  }
  readonly status?: {
    readonly observedGeneration?: number
    readonly replicas?: number
    readonly fullyLabeledReplicas?: number
    readonly readyReplicas?: number
    readonly availableReplicas?: number
  }
}

export type ProbeSpec = {
  readonly httpGet?: {
    readonly path?: string
    readonly port: IntOrString
    readonly host?: string
    readonly scheme?: string
    readonly httpHeaders?: readonly { readonly name: string; readonly value: string }[]
  }
  readonly tcpSocket?: { readonly port: IntOrString; readonly host?: string }
  readonly exec?: { readonly command?: readonly string[] }
  readonly initialDelaySeconds?: number
  /** Default 10. */
  readonly periodSeconds?: number
  /** Default 1. */
  readonly timeoutSeconds?: number
  /** Default 1. */
  readonly successThreshold?: number
  /** Default 3. */
  readonly failureThreshold?: number
}

export type EnvVar = {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: {
    readonly fieldRef?: { readonly fieldPath: string }
    readonly [source: string]: unknown
  }
}

export type Container = {
  readonly name: string
  readonly image?: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly workingDir?: string
  readonly env?: readonly EnvVar[]
  readonly ports?: readonly {
    readonly name?: string
    readonly containerPort: number
    readonly protocol?: string
  }[]
  readonly readinessProbe?: ProbeSpec
  readonly livenessProbe?: ProbeSpec
  readonly startupProbe?: ProbeSpec
  readonly lifecycle?: {
    readonly preStop?: {
      readonly exec?: { readonly command?: readonly string[] }
      readonly sleep?: { readonly seconds: number }
    }
  }
}

export type Toleration = {
  readonly key?: string
  readonly operator?: string
  readonly value?: string
  readonly effect?: string
}

export type Pod = KubeObject & {
  readonly metadata: Meta
  readonly spec: {
    readonly nodeName?: string
    readonly nodeSelector?: Labels
    readonly tolerations?: readonly Toleration[]
    readonly hostNetwork?: boolean
    readonly serviceAccountName?: string
    /** Default Always. */
    readonly restartPolicy?: string
    /** Default 30. */
    readonly terminationGracePeriodSeconds?: number
    readonly initContainers?: readonly Container[]
    readonly containers: readonly Container[]
  }
  readonly status?: PodStatus
}

export type ContainerState = {
  readonly waiting?: { readonly reason: string; readonly message?: string }
  readonly running?: { readonly startedAt: string }
  readonly terminated?: {
    readonly exitCode: number
    readonly signal?: number
    readonly reason: string
    readonly message?: string
    readonly startedAt: string
    readonly finishedAt: string
  }
}

export type ContainerStatus = {
  readonly name: string
  readonly image: string
  readonly imageID: string
  readonly containerID?: string
  readonly ready: boolean
  readonly started: boolean
  readonly restartCount: number
  readonly state: ContainerState
  readonly lastState: ContainerState
}

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed'

export type PodStatus = {
  readonly phase?: PodPhase
  readonly conditions?: readonly Condition[]
  readonly hostIP?: string
  readonly hostIPs?: readonly { readonly ip: string }[]
  readonly podIP?: string
  readonly podIPs?: readonly { readonly ip: string }[]
  readonly startTime?: string
  readonly containerStatuses?: readonly ContainerStatus[]
}

export type Taint = { readonly key: string; readonly value?: string; readonly effect: string }

export type Node = KubeObject & {
  readonly metadata: Meta
  readonly spec?: { readonly unschedulable?: boolean; readonly taints?: readonly Taint[] }
  readonly status?: { readonly conditions?: readonly Condition[] }
}

export type ServicePort = {
  readonly name?: string
  readonly protocol?: string
  readonly port: number
  readonly targetPort?: IntOrString
  readonly appProtocol?: string
}

export type Service = KubeObject & {
  readonly metadata: Meta
  readonly spec: {
    readonly type?: string
    readonly selector?: Labels
    readonly clusterIP?: string
    readonly ipFamilies?: readonly string[]
    readonly ports?: readonly ServicePort[]
    readonly publishNotReadyAddresses?: boolean
  }
}

export type SliceEndpoint = {
  readonly addresses: readonly string[]
  readonly conditions: { readonly ready: boolean; readonly serving: boolean; readonly terminating: boolean }
  readonly nodeName?: string
  readonly zone?: string
  readonly targetRef?: Readonly<Record<string, unknown>>
}

export type EndpointSlice = KubeObject & {
  readonly metadata: Meta
  readonly addressType: string
  readonly endpoints: readonly SliceEndpoint[] | null
  readonly ports: readonly Readonly<Record<string, unknown>>[] | null
}

export type Lease = KubeObject & { readonly spec?: { readonly renewTime?: string } }

/** The uid of the owner that manages the object, of this kind. */
export function controllerOf(meta: ObjectMeta, kind: string): string | undefined {
  const owner = meta.ownerReferences?.find(owner => owner['controller'] === true && owner['kind'] === kind)
  return owner === undefined ? undefined : (owner['uid'] as string)
}

export function ownerReference(owner: KubeObject, resource: Resource): Record<string, unknown> {
  return {
    apiVersion: resource.group === '' ? resource.version : `${resource.group}/${resource.version}`,
    kind: resource.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller: true,
    blockOwnerDeletion: true,
  }
}

export function conditionOf<C extends Condition>(
  conditions: readonly C[] | undefined,
  type: string,
): C | undefined {
  return conditions?.find(condition => condition.type === type)
}

export function isReady(of: { readonly status?: { readonly conditions?: readonly Condition[] } }): boolean {
  return conditionOf(of.status?.conditions, 'Ready')?.status === 'True'
}

/** Replaces the condition of that type; the transition time moves only with the status. */
export function withCondition(
  conditions: readonly Condition[] | undefined,
  condition: Condition,
  now: string,
): Condition[] {
  const before = conditionOf(conditions, condition.type)
  const lastTransitionTime = before?.status === condition.status ? (before.lastTransitionTime ?? now) : now
  const after = { ...condition, lastTransitionTime }
  const all = [...(conditions ?? [])]
  const at = all.findIndex(other => other.type === condition.type)
  if (at < 0) all.push(after)
  else all[at] = after
  return all
}

/** Do all labels of an equality selector hold? An empty selector matches everything. */
export function matchesLabels(selector: Labels, labels: Labels | undefined): boolean {
  return Object.entries(selector).every(([key, value]) => labels?.[key] === value)
}

/** RFC 3339 in seconds, as Kubernetes writes its times. */
export function timestamp(wallMs: number): string {
  return `${new Date(wallMs).toISOString().slice(0, 19)}Z`
}
