import { type ApiObject, at, equal, isRecord, list, record, text } from '../objects.ts'
import type { Column, ResourceType } from '../resource-type.ts'
import type { Schema } from '../schema.ts'
import { forbiddenField } from '../status.ts'
import {
  AGE,
  anything,
  atomic,
  boolean,
  builtIn,
  CONDITION,
  int32,
  integer,
  intOrString,
  keyed,
  kindSchema,
  mapOf,
  NAME,
  object,
  oneOf,
  port,
  string,
  time,
} from './build.ts'

const QUANTITIES = mapOf(intOrString())

const PROBE: Schema = object(
  {
    httpGet: object({
      path: string(),
      port: intOrString(),
      host: string(),
      scheme: string({ default: 'HTTP' }),
      httpHeaders: atomic(object({ name: string(), value: string() })),
    }),
    tcpSocket: object({ port: intOrString(), host: string() }),
    exec: object({ command: atomic(string()) }),
    grpc: object({ port: int32(), service: string() }),
    initialDelaySeconds: int32(),
    timeoutSeconds: int32({ default: 1 }),
    periodSeconds: int32({ default: 10 }),
    successThreshold: int32({ default: 1 }),
    failureThreshold: int32({ default: 3 }),
    terminationGracePeriodSeconds: integer(),
  },
  { description: 'How to ask whether the container is well.' },
)

const CONTAINER: Schema = object(
  {
    name: string(),
    image: string(),
    command: atomic(string()),
    args: atomic(string()),
    workingDir: string(),
    ports: keyed(
      object(
        {
          name: string(),
          containerPort: port(),
          hostPort: port({ minimum: 0 }),
          hostIP: string(),
          protocol: oneOf(['TCP', 'UDP', 'SCTP'], { default: 'TCP' }),
        },
        { required: ['containerPort'] },
      ),
      ['containerPort', 'protocol'],
    ),
    env: keyed(object({ name: string(), value: string(), valueFrom: anything() }, { required: ['name'] }), [
      'name',
    ]),
    envFrom: atomic(anything()),
    resources: object({ limits: QUANTITIES, requests: QUANTITIES, claims: atomic(anything()) }),
    volumeMounts: keyed(
      object(
        {
          name: string(),
          mountPath: string(),
          readOnly: boolean(),
          subPath: string(),
          subPathExpr: string(),
          mountPropagation: string(),
        },
        { required: ['name', 'mountPath'] },
      ),
      ['mountPath'],
    ),
    livenessProbe: PROBE,
    readinessProbe: PROBE,
    startupProbe: PROBE,
    lifecycle: anything(),
    securityContext: anything(),
    imagePullPolicy: oneOf(['Always', 'Never', 'IfNotPresent']),
    restartPolicy: string(),
    terminationMessagePath: string({ default: '/dev/termination-log' }),
    terminationMessagePolicy: string({ default: 'File' }),
    stdin: boolean(),
    stdinOnce: boolean(),
    tty: boolean(),
    volumeDevices: atomic(anything()),
    resizePolicy: atomic(anything()),
  },
  { required: ['name'] },
)

export const POD_SPEC: Schema = object(
  {
    containers: keyed(CONTAINER, ['name'], { minItems: 1, description: 'What runs in the pod.' }),
    initContainers: keyed(CONTAINER, ['name']),
    ephemeralContainers: keyed(CONTAINER, ['name']),
    volumes: keyed(anything({ properties: { name: string() }, required: ['name'] }), ['name'], {
      'x-kubernetes-patch-strategy': 'merge,retainKeys',
    }),
    nodeName: string({ description: 'The node the pod is bound to.' }),
    nodeSelector: mapOf(string(), { 'x-kubernetes-map-type': 'atomic' }),
    restartPolicy: oneOf(['Always', 'OnFailure', 'Never'], { default: 'Always' }),
    terminationGracePeriodSeconds: integer({ default: 30 }),
    activeDeadlineSeconds: integer(),
    dnsPolicy: string({ default: 'ClusterFirst' }),
    dnsConfig: anything(),
    serviceAccountName: string(),
    serviceAccount: string(),
    automountServiceAccountToken: boolean(),
    hostNetwork: boolean(),
    hostPID: boolean(),
    hostIPC: boolean(),
    hostUsers: boolean(),
    shareProcessNamespace: boolean(),
    securityContext: anything({ default: {} }),
    imagePullSecrets: keyed(object({ name: string() }), ['name']),
    hostname: string(),
    subdomain: string(),
    setHostnameAsFQDN: boolean(),
    affinity: anything(),
    schedulerName: string({ default: 'default-scheduler' }),
    tolerations: atomic(
      object({
        key: string(),
        operator: string(),
        value: string(),
        effect: string(),
        tolerationSeconds: integer(),
      }),
    ),
    hostAliases: keyed(object({ ip: string(), hostnames: atomic(string()) }), ['ip']),
    priorityClassName: string(),
    priority: int32(),
    preemptionPolicy: string(),
    enableServiceLinks: boolean({ default: true }),
    runtimeClassName: string(),
    readinessGates: atomic(object({ conditionType: string() })),
    topologySpreadConstraints: keyed(
      anything({ properties: { topologyKey: string(), whenUnsatisfiable: string() } }),
      ['topologyKey', 'whenUnsatisfiable'],
    ),
    overhead: QUANTITIES,
    os: object({ name: string() }),
    schedulingGates: keyed(object({ name: string() }), ['name']),
    resourceClaims: keyed(anything({ properties: { name: string() } }), ['name']),
  },
  { required: ['containers'] },
)

const CONTAINER_STATUSES = atomic(
  object({
    name: string(),
    state: anything(),
    lastState: anything(),
    ready: boolean(),
    restartCount: int32(),
    image: string(),
    imageID: string(),
    containerID: string(),
    started: boolean(),
  }),
)

const POD_STATUS: Schema = object({
  phase: oneOf(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']),
  conditions: keyed(CONDITION, ['type']),
  message: string(),
  reason: string(),
  nominatedNodeName: string(),
  hostIP: string(),
  hostIPs: atomic(object({ ip: string() })),
  podIP: string(),
  podIPs: keyed(object({ ip: string() }), ['ip']),
  startTime: time(),
  initContainerStatuses: CONTAINER_STATUSES,
  containerStatuses: CONTAINER_STATUSES,
  ephemeralContainerStatuses: CONTAINER_STATUSES,
  qosClass: string(),
  observedGeneration: integer(),
})

/** Defaults of a pod template that depend on other fields. */
export function defaultPodSpec(spec: Record<string, unknown>): void {
  for (const container of [...list(spec['containers']), ...list(spec['initContainers'])]) {
    if (!isRecord(container)) continue
    container['resources'] ??= {}
    if (container['imagePullPolicy'] === undefined) {
      const image = text(container['image'])
      const tag = image.includes('@') ? 'digest' : /:([^/:]+)$/.exec(image)?.[1]
      container['imagePullPolicy'] = tag === undefined || tag === 'latest' ? 'Always' : 'IfNotPresent'
    }
    for (const key of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
      const get = record(container[key])['httpGet']
      if (isRecord(get)) get['path'] ??= '/'
    }
  }
  if (spec['serviceAccountName'] !== undefined) spec['serviceAccount'] = spec['serviceAccountName']
}

function qosClass(spec: Record<string, unknown>): string {
  const resources = list(spec['containers']).map(c => record(record(c)['resources']))
  const any = resources.some(
    r => Object.keys(record(r['limits'])).length + Object.keys(record(r['requests'])).length > 0,
  )
  if (!any) return 'BestEffort'
  const guaranteed = resources.every(r => {
    const limits = record(r['limits'])
    const requests = r['requests'] === undefined ? limits : record(r['requests'])
    return ['cpu', 'memory'].every(name => limits[name] !== undefined && equal(limits[name], requests[name]))
  })
  return guaranteed ? 'Guaranteed' : 'Burstable'
}

/** Running, Terminating, CrashLoopBackOff ...: the word of the STATUS column. */
export function podStatusWord(pod: ApiObject): string {
  let word = text(at(pod, 'status', 'reason')) || text(at(pod, 'status', 'phase'))
  for (const status of list(at(pod, 'status', 'containerStatuses'))) {
    const waiting = text(at(status, 'state', 'waiting', 'reason'))
    const terminated = text(at(status, 'state', 'terminated', 'reason'))
    if (waiting !== '') word = waiting
    else if (terminated !== '') word = terminated
  }
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating'
  return word
}

const COLUMNS: readonly Column[] = [
  NAME,
  {
    name: 'Ready',
    type: 'string',
    value: pod => {
      const ready = list(at(pod, 'status', 'containerStatuses')).filter(s => at(s, 'ready') === true).length
      return `${ready}/${list(at(pod, 'spec', 'containers')).length}`
    },
  },
  { name: 'Status', type: 'string', value: podStatusWord },
  {
    name: 'Restarts',
    type: 'string',
    value: pod =>
      String(
        list(at(pod, 'status', 'containerStatuses')).reduce<number>(
          (sum, status) => sum + Number(at(status, 'restartCount') ?? 0),
          0,
        ),
      ),
  },
  AGE,
  { name: 'IP', type: 'string', priority: 1, value: pod => text(at(pod, 'status', 'podIP')) || '<none>' },
  { name: 'Node', type: 'string', priority: 1, value: pod => text(at(pod, 'spec', 'nodeName')) || '<none>' },
  {
    name: 'Nominated Node',
    type: 'string',
    priority: 1,
    value: pod => text(at(pod, 'status', 'nominatedNodeName')) || '<none>',
  },
  { name: 'Readiness Gates', type: 'string', priority: 1, value: () => '<none>' },
]

export const POD: ResourceType = builtIn({
  group: '',
  version: 'v1',
  plural: 'pods',
  kind: 'Pod',
  namespaced: true,
  shortNames: ['po'],
  categories: ['all'],
  schema: kindSchema(
    'Containers that run together on one node.',
    { spec: POD_SPEC, status: POD_STATUS },
    {
      required: ['spec'],
    },
  ),
  subresources: new Set(['status']),
  columns: COLUMNS,
  fieldSelectors: {
    'spec.nodeName': pod => text(at(pod, 'spec', 'nodeName')),
    'spec.restartPolicy': pod => text(at(pod, 'spec', 'restartPolicy')),
    'spec.schedulerName': pod => text(at(pod, 'spec', 'schedulerName')),
    'spec.serviceAccountName': pod => text(at(pod, 'spec', 'serviceAccountName')),
    'spec.hostNetwork': pod => String(at(pod, 'spec', 'hostNetwork') === true),
    'status.phase': pod => text(at(pod, 'status', 'phase')),
    'status.podIP': pod => text(at(pod, 'status', 'podIP')),
    'status.nominatedNodeName': pod => text(at(pod, 'status', 'nominatedNodeName')),
  },
  hooks: {
    prepare(draft, before) {
      const spec = (draft.spec ??= {})
      defaultPodSpec(spec)
      if (before === undefined) {
        spec['serviceAccountName'] ??= 'default'
        spec['serviceAccount'] = spec['serviceAccountName']
        draft.status = { phase: 'Pending', qosClass: qosClass(spec) }
      }
    },
    validate(draft, before, causes) {
      if (before === undefined) return
      const frozen = (pod: ApiObject): unknown => {
        const spec = { ...pod.spec }
        for (const field of ['tolerations', 'activeDeadlineSeconds', 'terminationGracePeriodSeconds']) {
          delete spec[field]
        }
        spec['containers'] = list(spec['containers']).map(c => ({ ...record(c), image: '' }))
        spec['initContainers'] = list(spec['initContainers']).map(c => ({ ...record(c), image: '' }))
        return spec
      }
      if (!equal(frozen(draft), frozen(before))) {
        causes.push(
          forbiddenField(
            'spec',
            'pod updates may not change fields other than images, tolerations (additions), activeDeadlineSeconds and terminationGracePeriodSeconds',
          ),
        )
      }
    },
  },
})
