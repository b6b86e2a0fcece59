import { type ApiObject, at, display, equal, list, record, text } from '../objects.ts'
import type { Column, ResourceType } from '../resource-type.ts'
import type { Schema } from '../schema.ts'
import { matchesLabels, selectorText } from '../selectors.ts'
import { type Cause, invalidValue } from '../status.ts'
import {
  AGE,
  boolean,
  builtIn,
  CONDITIONS,
  int32,
  integer,
  intOrString,
  kindSchema,
  METADATA,
  NAME,
  object,
  oneOf,
  SELECTOR,
  string,
} from './build.ts'
import { defaultPodSpec, POD_SPEC } from './pod.ts'

const TEMPLATE: Schema = object({ metadata: METADATA, spec: POD_SPEC })

function templateHooks(): NonNullable<ResourceType['hooks']> {
  return {
    prepare(draft) {
      const template = record(draft.spec?.['template'])
      const spec = template['spec']
      if (typeof spec === 'object' && spec !== null) defaultPodSpec(record(spec))
    },
    validate: validateTemplate,
  }
}

function validateTemplate(draft: ApiObject, before: ApiObject | undefined, causes: Cause[]): void {
  const selector = record(draft.spec?.['selector'])
  const labels = record(at(draft, 'spec', 'template', 'metadata', 'labels')) as Record<string, string>
  if (Object.keys(selector).length === 0) {
    causes.push(invalidValue('spec.selector', selector, 'empty selector is invalid for deployment'))
  } else if (!matchesLabels(selector, labels)) {
    causes.push(
      invalidValue('spec.template.metadata.labels', labels, '`selector` does not match template `labels`'),
    )
  }
  if (before !== undefined && !equal(before.spec?.['selector'], draft.spec?.['selector'])) {
    causes.push(invalidValue('spec.selector', selector, 'field is immutable'))
  }
}

const count = (name: string, ...path: string[]): Column => ({
  name,
  type: 'integer',
  value: workload => Number(at(workload, ...path) ?? 0),
})
const WIDE: readonly Column[] = [
  {
    name: 'Containers',
    type: 'string',
    priority: 1,
    value: w =>
      containers(w)
        .map(c => text(c['name']))
        .join(','),
  },
  {
    name: 'Images',
    type: 'string',
    priority: 1,
    value: w =>
      containers(w)
        .map(c => text(c['image']))
        .join(','),
  },
  { name: 'Selector', type: 'string', priority: 1, value: w => selectorText(w.spec?.['selector']) },
]

function containers(workload: ApiObject): readonly Record<string, unknown>[] {
  return list(at(workload, 'spec', 'template', 'spec', 'containers')).map(record)
}

const SCALE = {
  specReplicas: ['spec', 'replicas'],
  statusReplicas: ['status', 'replicas'],
  selector: (workload: ApiObject) => selectorText(workload.spec?.['selector']),
}

export const DEPLOYMENT: ResourceType = builtIn({
  group: 'apps',
  version: 'v1',
  plural: 'deployments',
  kind: 'Deployment',
  namespaced: true,
  shortNames: ['deploy'],
  categories: ['all'],
  hasGeneration: true,
  statusMetadata: 'annotations',
  subresources: new Set(['status', 'scale']),
  scale: SCALE,
  schema: kindSchema(
    'Keeps a number of pods of one template running and replaces them step by step.',
    {
      spec: object(
        {
          replicas: int32({ default: 1, minimum: 0, description: 'How many pods.' }),
          selector: SELECTOR,
          template: TEMPLATE,
          strategy: object(
            {
              type: oneOf(['RollingUpdate', 'Recreate']),
              rollingUpdate: object({ maxUnavailable: intOrString(), maxSurge: intOrString() }),
            },
            { 'x-kubernetes-patch-strategy': 'retainKeys' },
          ),
          minReadySeconds: int32(),
          revisionHistoryLimit: int32({ default: 10 }),
          paused: boolean(),
          progressDeadlineSeconds: int32({ default: 600 }),
        },
        { required: ['selector', 'template'] },
      ),
      status: object({
        observedGeneration: integer(),
        replicas: int32(),
        updatedReplicas: int32(),
        readyReplicas: int32(),
        availableReplicas: int32(),
        unavailableReplicas: int32(),
        terminatingReplicas: int32(),
        conditions: CONDITIONS,
        collisionCount: int32(),
      }),
    },
    { required: ['spec'] },
  ),
  columns: [
    NAME,
    {
      name: 'Ready',
      type: 'string',
      value: d =>
        `${Number(at(d, 'status', 'readyReplicas') ?? 0)}/${Number(at(d, 'spec', 'replicas') ?? 0)}`,
    },
    count('Up-to-date', 'status', 'updatedReplicas'),
    count('Available', 'status', 'availableReplicas'),
    AGE,
    ...WIDE,
  ],
  hooks: {
    prepare(draft) {
      const spec = (draft.spec ??= {})
      const strategy = (spec['strategy'] ??= {}) as Record<string, unknown>
      strategy['type'] ??= 'RollingUpdate'
      if (strategy['type'] === 'RollingUpdate') {
        const rolling = (strategy['rollingUpdate'] ??= {}) as Record<string, unknown>
        rolling['maxUnavailable'] ??= '25%'
        rolling['maxSurge'] ??= '25%'
      } else delete strategy['rollingUpdate']
      templateHooks().prepare?.(draft, undefined, { now: 0, dryRun: false, user: '' })
    },
    validate: validateTemplate,
  },
})

export const REPLICA_SET: ResourceType = builtIn({
  group: 'apps',
  version: 'v1',
  plural: 'replicasets',
  kind: 'ReplicaSet',
  namespaced: true,
  shortNames: ['rs'],
  categories: ['all'],
  hasGeneration: true,
  statusMetadata: 'as-sent',
  subresources: new Set(['status', 'scale']),
  scale: SCALE,
  schema: kindSchema(
    'Keeps a number of pods of one template running.',
    {
      spec: object(
        {
          replicas: int32({ default: 1, minimum: 0 }),
          minReadySeconds: int32(),
          selector: SELECTOR,
          template: TEMPLATE,
        },
        { required: ['selector'] },
      ),
      status: object({
        replicas: int32(),
        fullyLabeledReplicas: int32(),
        readyReplicas: int32(),
        availableReplicas: int32(),
        terminatingReplicas: int32(),
        observedGeneration: integer(),
        conditions: CONDITIONS,
      }),
    },
    { required: ['spec'] },
  ),
  columns: [
    NAME,
    count('Desired', 'spec', 'replicas'),
    count('Current', 'status', 'replicas'),
    count('Ready', 'status', 'readyReplicas'),
    AGE,
    ...WIDE,
  ],
  fieldSelectors: { 'status.replicas': rs => display(at(rs, 'status', 'replicas') ?? 0) },
  hooks: templateHooks(),
})

export const DAEMON_SET: ResourceType = builtIn({
  group: 'apps',
  version: 'v1',
  plural: 'daemonsets',
  kind: 'DaemonSet',
  namespaced: true,
  shortNames: ['ds'],
  categories: ['all'],
  hasGeneration: true,
  subresources: new Set(['status']),
  schema: kindSchema(
    'Runs one pod of a template on every matching node.',
    {
      spec: object(
        {
          selector: SELECTOR,
          template: TEMPLATE,
          updateStrategy: object(
            {
              type: string({ default: 'RollingUpdate' }),
              rollingUpdate: object({ maxUnavailable: intOrString(), maxSurge: intOrString() }),
            },
            { default: {} },
          ),
          minReadySeconds: int32(),
          revisionHistoryLimit: int32({ default: 10 }),
        },
        { required: ['selector', 'template'] },
      ),
      status: object(
        {
          currentNumberScheduled: int32(),
          numberMisscheduled: int32(),
          desiredNumberScheduled: int32(),
          numberReady: int32(),
          observedGeneration: integer(),
          updatedNumberScheduled: int32(),
          numberAvailable: int32(),
          numberUnavailable: int32(),
          collisionCount: int32(),
          conditions: CONDITIONS,
        },
        { 'x-kubernetes-preserve-unknown-fields': true },
      ),
    },
    { required: ['spec'] },
  ),
  columns: [
    NAME,
    count('Desired', 'status', 'desiredNumberScheduled'),
    count('Current', 'status', 'currentNumberScheduled'),
    count('Ready', 'status', 'numberReady'),
    count('Up-to-date', 'status', 'updatedNumberScheduled'),
    count('Available', 'status', 'numberAvailable'),
    {
      name: 'Node Selector',
      type: 'string',
      value: ds => selectorText({ matchLabels: at(ds, 'spec', 'template', 'spec', 'nodeSelector') ?? {} }),
    },
    AGE,
    ...WIDE,
  ],
  hooks: templateHooks(),
})
