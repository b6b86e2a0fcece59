import { type ApiObject, at, display, equal, list, record, text } from '../objects.ts'
import type { ResourceType } from '../resource-type.ts'
import { forbiddenField } from '../status.ts'
import {
  AGE,
  age,
  anything,
  atomic,
  boolean,
  builtIn,
  CONDITIONS,
  int32,
  keyed,
  kindSchema,
  mapOf,
  NAME,
  OBJECT_REFERENCE,
  object,
  oneOf,
  port,
  setOf,
  string,
  time,
} from './build.ts'

export const NAMESPACE: ResourceType = builtIn({
  group: '',
  version: 'v1',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
  shortNames: ['ns'],
  nameRule: 'dns-label',
  schema: kindSchema('A space for names.', {
    spec: object({ finalizers: atomic(string()) }),
    status: object({ phase: oneOf(['Active', 'Terminating']), conditions: CONDITIONS }),
  }),
  subresources: new Set(['status']),
  fieldSelectors: { 'status.phase': namespace => text(namespace.status?.['phase']) },
  columns: [NAME, { name: 'Status', type: 'string', value: n => text(n.status?.['phase']) }, AGE],
  hooks: {
    prepare(draft, before) {
      draft.metadata.labels = { ...draft.metadata.labels, 'kubernetes.io/metadata.name': draft.metadata.name }
      if (before === undefined) {
        draft.spec = { finalizers: ['kubernetes'] }
        draft.status = { phase: 'Active' }
      }
    },
  },
})

function nodeStatus(node: ApiObject): string {
  const ready = list(at(node, 'status', 'conditions')).find(c => at(c, 'type') === 'Ready')
  const word = ready === undefined ? 'Unknown' : at(ready, 'status') === 'True' ? 'Ready' : 'NotReady'
  return at(node, 'spec', 'unschedulable') === true ? `${word},SchedulingDisabled` : word
}

function nodeRoles(node: ApiObject): string {
  const roles: string[] = []
  for (const [key, value] of Object.entries(node.metadata.labels ?? {})) {
    if (key.startsWith('node-role.kubernetes.io/')) roles.push(key.slice('node-role.kubernetes.io/'.length))
    else if (key === 'kubernetes.io/role') roles.push(value)
  }
  return roles.length === 0 ? '<none>' : roles.sort().join(',')
}

function nodeAddress(node: ApiObject, type: string): string {
  const found = list(at(node, 'status', 'addresses')).find(a => at(a, 'type') === type)
  return text(at(found, 'address')) || '<none>'
}

export const NODE: ResourceType = builtIn({
  group: '',
  version: 'v1',
  plural: 'nodes',
  kind: 'Node',
  namespaced: false,
  shortNames: ['no'],
  schema: kindSchema('A machine that runs pods.', {
    spec: object({
      podCIDR: string(),
      podCIDRs: setOf(string()),
      providerID: string(),
      unschedulable: boolean(),
      taints: atomic(
        object(
          { key: string(), value: string(), effect: string(), timeAdded: time() },
          { required: ['key', 'effect'] },
        ),
        { 'x-kubernetes-patch-merge-key': 'key' },
      ),
      externalID: string(),
      configSource: anything(),
    }),
    status: object(
      {
        capacity: anything(),
        allocatable: anything(),
        phase: string(),
        conditions: CONDITIONS,
        addresses: keyed(object({ type: string(), address: string() }, { required: ['type', 'address'] }), [
          'type',
          'address',
        ]),
        nodeInfo: anything(),
        daemonEndpoints: anything(),
        images: atomic(anything()),
      },
      { 'x-kubernetes-preserve-unknown-fields': true },
    ),
  }),
  subresources: new Set(['status']),
  fieldSelectors: { 'spec.unschedulable': node => String(at(node, 'spec', 'unschedulable') === true) },
  columns: [
    NAME,
    { name: 'Status', type: 'string', value: nodeStatus },
    { name: 'Roles', type: 'string', value: nodeRoles },
    AGE,
    { name: 'Version', type: 'string', value: n => text(at(n, 'status', 'nodeInfo', 'kubeletVersion')) },
    { name: 'Internal-IP', type: 'string', priority: 1, value: n => nodeAddress(n, 'InternalIP') },
    { name: 'External-IP', type: 'string', priority: 1, value: n => nodeAddress(n, 'ExternalIP') },
    {
      name: 'OS-Image',
      type: 'string',
      priority: 1,
      value: n => text(at(n, 'status', 'nodeInfo', 'osImage')) || '<unknown>',
    },
    {
      name: 'Kernel-Version',
      type: 'string',
      priority: 1,
      value: n => text(at(n, 'status', 'nodeInfo', 'kernelVersion')) || '<unknown>',
    },
    {
      name: 'Container-Runtime',
      type: 'string',
      priority: 1,
      value: n => text(at(n, 'status', 'nodeInfo', 'containerRuntimeVersion')) || '<unknown>',
    },
  ],
  hooks: {
    prepare(draft) {
      draft.spec ??= {}
    },
  },
})

const ENDPOINT_ADDRESSES = atomic(
  object(
    { ip: string(), hostname: string(), nodeName: string(), targetRef: OBJECT_REFERENCE },
    { required: ['ip'] },
  ),
)

export const ENDPOINTS: ResourceType = builtIn({
  group: '',
  version: 'v1',
  plural: 'endpoints',
  kind: 'Endpoints',
  namespaced: true,
  shortNames: ['ep'],
  schema: kindSchema('Where a Service goes, in the older form.', {
    subsets: atomic(
      object({
        addresses: ENDPOINT_ADDRESSES,
        notReadyAddresses: ENDPOINT_ADDRESSES,
        ports: atomic(
          object(
            { name: string(), port: port(), protocol: string({ default: 'TCP' }), appProtocol: string() },
            { required: ['port'] },
          ),
        ),
      }),
    ),
  }),
  columns: [
    NAME,
    {
      name: 'Endpoints',
      type: 'string',
      value: endpoints => {
        const all: string[] = []
        for (const subset of list(endpoints['subsets'])) {
          for (const address of list(at(subset, 'addresses'))) {
            for (const p of list(at(subset, 'ports'))) {
              const ip = text(at(address, 'ip'))
              all.push(`${ip.includes(':') ? `[${ip}]` : ip}:${Number(at(p, 'port'))}`)
            }
          }
        }
        if (all.length === 0) return '<none>'
        return all.length <= 3 ? all.join(',') : `${all.slice(0, 3).join(',')} + ${all.length - 3} more...`
      },
    },
    AGE,
  ],
})

export const SECRET: ResourceType = builtIn({
  group: '',
  version: 'v1',
  plural: 'secrets',
  kind: 'Secret',
  namespaced: true,
  schema: kindSchema('Bytes that few may read.', {
    type: string({ default: 'Opaque' }),
    data: mapOf(string({ format: 'byte' })),
    stringData: mapOf(string(), { description: 'Written as text, kept as base64 in data.' }),
    immutable: boolean(),
  }),
  fieldSelectors: { type: secret => text(secret['type']) },
  columns: [
    NAME,
    { name: 'Type', type: 'string', value: s => text(s['type']) },
    { name: 'Data', type: 'string', value: s => String(Object.keys(record(s['data'])).length) },
    AGE,
  ],
  hooks: {
    prepare(draft) {
      const plain = record(draft['stringData'])
      if (Object.keys(plain).length > 0) {
        const data = (draft['data'] = { ...record(draft['data']) })
        for (const [key, value] of Object.entries(plain))
          data[key] = Buffer.from(text(value)).toString('base64')
      }
      delete draft['stringData']
    },
    validate: refuseImmutable,
  },
})

function refuseImmutable(
  draft: ApiObject,
  before: ApiObject | undefined,
  causes: Parameters<NonNullable<ResourceType['hooks']['validate']>>[2],
): void {
  if (before?.['immutable'] !== true) return
  for (const field of ['data', 'binaryData', 'immutable', 'type']) {
    if (!equal(draft[field], before[field])) {
      causes.push(forbiddenField(field, 'field is immutable when `immutable` is set'))
    }
  }
}

export const CONFIG_MAP: ResourceType = builtIn({
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
  shortNames: ['cm'],
  schema: kindSchema('Settings as text.', {
    data: mapOf(string()),
    binaryData: mapOf(string({ format: 'byte' })),
    immutable: boolean(),
  }),
  columns: [
    NAME,
    {
      name: 'Data',
      type: 'string',
      value: c => String(Object.keys(record(c['data'])).length + Object.keys(record(c['binaryData'])).length),
    },
    AGE,
  ],
  hooks: { validate: refuseImmutable },
})

export const SERVICE_ACCOUNT: ResourceType = builtIn({
  group: '',
  version: 'v1',
  plural: 'serviceaccounts',
  kind: 'ServiceAccount',
  namespaced: true,
  shortNames: ['sa'],
  schema: kindSchema('Who a pod is.', {
    secrets: keyed(OBJECT_REFERENCE, ['name']),
    imagePullSecrets: atomic(object({ name: string() })),
    automountServiceAccountToken: boolean(),
  }),
  columns: [NAME, { name: 'Secrets', type: 'string', value: s => String(list(s['secrets']).length) }, AGE],
})

const SERIES = object({ count: int32(), lastObservedTime: string(), state: string() })

/** How long ago, and how often: the LAST SEEN column. */
function lastSeen(event: ApiObject, now: number): string {
  const first = text(event['firstTimestamp']) || text(event['eventTime'])
  const last = text(at(event, 'series', 'lastObservedTime')) || text(event['lastTimestamp']) || first
  const count = Number(at(event, 'series', 'count') ?? event['count'] ?? 1)
  const seen = age(last === '' ? event.metadata.creationTimestamp : last, now)
  return count > 1 && first !== '' ? `${seen} (x${count} over ${age(first, now)})` : seen
}

const EVENT_COLUMNS = [
  { name: 'Last Seen', type: 'string', value: lastSeen },
  { name: 'Type', type: 'string', value: (e: ApiObject) => text(e['type']) },
  { name: 'Reason', type: 'string', value: (e: ApiObject) => text(e['reason']) },
  {
    name: 'Object',
    type: 'string',
    value: (e: ApiObject) =>
      `${text(at(e, 'involvedObject', 'kind')).toLowerCase()}/${text(at(e, 'involvedObject', 'name'))}`,
  },
  {
    name: 'Subobject',
    type: 'string',
    priority: 1,
    value: (e: ApiObject) => text(at(e, 'involvedObject', 'fieldPath')),
  },
  {
    name: 'Source',
    type: 'string',
    priority: 1,
    value: (e: ApiObject) => {
      const source = text(at(e, 'source', 'component')) || text(e['reportingComponent'])
      const host = text(at(e, 'source', 'host'))
      return host === '' ? source : `${source}, ${host}`
    },
  },
  { name: 'Message', type: 'string', value: (e: ApiObject) => text(e['message']).trim() },
  {
    name: 'First Seen',
    type: 'string',
    priority: 1,
    value: (e: ApiObject, now: number) =>
      age(text(e['firstTimestamp']) || text(e['eventTime']) || e.metadata.creationTimestamp, now),
  },
  {
    name: 'Count',
    type: 'string',
    priority: 1,
    value: (e: ApiObject) => display(at(e, 'series', 'count') ?? e['count'] ?? 1),
  },
  { name: 'Name', type: 'string', format: 'name', priority: 1, value: (e: ApiObject) => e.metadata.name },
] as const

const involved = (field: string) => (event: ApiObject) => text(at(event, 'involvedObject', field))

const EVENT_FIELDS = {
  'involvedObject.kind': involved('kind'),
  'involvedObject.namespace': involved('namespace'),
  'involvedObject.name': involved('name'),
  'involvedObject.uid': involved('uid'),
  'involvedObject.apiVersion': involved('apiVersion'),
  'involvedObject.resourceVersion': involved('resourceVersion'),
  'involvedObject.fieldPath': involved('fieldPath'),
  reason: (event: ApiObject) => text(event['reason']),
  reportingComponent: (event: ApiObject) => text(event['reportingComponent']),
  source: (event: ApiObject) => text(at(event, 'source', 'component')) || text(event['reportingComponent']),
  type: (event: ApiObject) => text(event['type']),
}

export const EVENT: ResourceType = builtIn({
  group: '',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
  shortNames: ['ev'],
  schema: kindSchema('Something that happened to an object.', {
    involvedObject: OBJECT_REFERENCE,
    reason: string(),
    message: string(),
    source: object({ component: string(), host: string() }),
    firstTimestamp: time({ nullable: true }),
    lastTimestamp: time({ nullable: true }),
    count: int32(),
    type: string(),
    eventTime: time({ nullable: true }),
    series: SERIES,
    action: string(),
    related: OBJECT_REFERENCE,
    reportingComponent: string(),
    reportingInstance: string(),
  }),
  columns: EVENT_COLUMNS,
  fieldSelectors: EVENT_FIELDS,
})

/** [name in events.k8s.io/v1, name in the core group] */
const EVENT_RENAMES = [
  ['note', 'message'],
  ['regarding', 'involvedObject'],
  ['reportingController', 'reportingComponent'],
  ['deprecatedSource', 'source'],
  ['deprecatedFirstTimestamp', 'firstTimestamp'],
  ['deprecatedLastTimestamp', 'lastTimestamp'],
  ['deprecatedCount', 'count'],
] as const

function rename(
  event: ApiObject,
  apiVersion: string,
  pairs: readonly (readonly [string, string])[],
): ApiObject {
  const out: ApiObject = { ...event, apiVersion }
  for (const [from] of pairs) delete out[from]
  for (const [from, to] of pairs) if (event[from] !== undefined) out[to] = event[from]
  return out
}

export const EVENTS_EVENT: ResourceType = builtIn({
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
  shortNames: ['ev'],
  storageKey: '/events',
  schema: kindSchema('Something that happened to an object.', {
    regarding: OBJECT_REFERENCE,
    related: OBJECT_REFERENCE,
    reason: string(),
    note: string(),
    type: string(),
    action: string(),
    eventTime: time({ nullable: true }),
    series: SERIES,
    reportingController: string(),
    reportingInstance: string(),
    deprecatedSource: object({ component: string(), host: string() }),
    deprecatedFirstTimestamp: time({ nullable: true }),
    deprecatedLastTimestamp: time({ nullable: true }),
    deprecatedCount: int32(),
  }),
  columns: EVENT_COLUMNS,
  fieldSelectors: {
    ...EVENT_FIELDS,
    ...Object.fromEntries(
      ['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].map(field => [
        `regarding.${field}`,
        involved(field),
      ]),
    ),
    reportingController: event => text(event['reportingComponent']),
  },
  fromStored: event =>
    rename(
      event,
      'events.k8s.io/v1',
      EVENT_RENAMES.map(([there, core]) => [core, there]),
    ),
  toStored: event => rename(event, 'v1', EVENT_RENAMES),
})
