import { ALL_VERBS, type Column, type ResourceType } from '../resource-type.ts'
import type { Schema } from '../schema.ts'

type Fields = Record<string, Schema>
type Extra = Partial<Schema>

export const string = (extra: Extra = {}): Schema => ({ type: 'string', ...extra })
export const integer = (extra: Extra = {}): Schema => ({ type: 'integer', ...extra })
export const int32 = (extra: Extra = {}): Schema => ({ type: 'integer', format: 'int32', ...extra })
export const boolean = (extra: Extra = {}): Schema => ({ type: 'boolean', ...extra })
export const time = (extra: Extra = {}): Schema => ({ type: 'string', format: 'date-time', ...extra })
export const oneOf = (values: readonly string[], extra: Extra = {}): Schema => ({
  type: 'string',
  enum: values,
  ...extra,
})
export const intOrString = (extra: Extra = {}): Schema => ({ 'x-kubernetes-int-or-string': true, ...extra })
export const port = (extra: Extra = {}): Schema => int32({ minimum: 1, maximum: 65535, ...extra })
export const object = (properties: Fields, extra: Extra = {}): Schema => ({
  type: 'object',
  properties,
  ...extra,
})
/** An object of which only the outline matters here: whatever is in it is kept. */
export const anything = (extra: Extra = {}): Schema => ({
  type: 'object',
  'x-kubernetes-preserve-unknown-fields': true,
  ...extra,
})
export const mapOf = (value: Schema, extra: Extra = {}): Schema => ({
  type: 'object',
  additionalProperties: value,
  ...extra,
})
/** Replaced as a whole. */
export const atomic = (items: Schema, extra: Extra = {}): Schema => ({
  type: 'array',
  items,
  'x-kubernetes-list-type': 'atomic',
  ...extra,
})
/** Merged by value. */
export const setOf = (items: Schema, extra: Extra = {}): Schema => ({
  type: 'array',
  items,
  'x-kubernetes-list-type': 'set',
  'x-kubernetes-patch-strategy': 'merge',
  ...extra,
})
/** Merged by key: `keys` for field ownership, the first of them (or `mergeKey`) for strategic merge patches. */
export const keyed = (items: Schema, keys: readonly string[], extra: Extra = {}): Schema => ({
  type: 'array',
  items,
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': keys,
  'x-kubernetes-patch-merge-key': keys[0] ?? 'name',
  'x-kubernetes-patch-strategy': 'merge',
  ...extra,
})

export const METADATA: Schema = object(
  {
    name: string({ description: 'Unique within the namespace.' }),
    namespace: string(),
    generateName: string({ description: 'Prefix of a name that the server completes.' }),
    uid: string(),
    resourceVersion: string({ description: 'Changes with every write of the object.' }),
    generation: integer({ format: 'int64' }),
    creationTimestamp: time({ nullable: true }),
    deletionTimestamp: time({ nullable: true }),
    deletionGracePeriodSeconds: integer({ format: 'int64' }),
    labels: mapOf(string(), { description: 'What selectors see.' }),
    annotations: mapOf(string(), { description: 'Notes that selectors do not see.' }),
    finalizers: setOf(string(), { description: 'Who must agree before the object goes away.' }),
    ownerReferences: keyed(
      object(
        {
          apiVersion: string(),
          kind: string(),
          name: string(),
          uid: string(),
          controller: boolean(),
          blockOwnerDeletion: boolean(),
        },
        { required: ['apiVersion', 'kind', 'name', 'uid'], 'x-kubernetes-map-type': 'atomic' },
      ),
      ['uid'],
    ),
    managedFields: atomic(anything()),
    selfLink: string(),
  },
  { description: 'Name, labels and what the server keeps about the object.' },
)

/** A whole object: envelope and the fields of the kind. */
export function kindSchema(description: string, fields: Fields, extra: Extra = {}): Schema {
  return object(
    { apiVersion: string(), kind: string(), metadata: METADATA, ...fields },
    { description, ...extra },
  )
}

export const CONDITION: Schema = object(
  {
    type: string(),
    status: oneOf(['True', 'False', 'Unknown']),
    observedGeneration: integer(),
    lastTransitionTime: time({ nullable: true }),
    lastUpdateTime: time({ nullable: true }),
    lastProbeTime: time({ nullable: true }),
    lastHeartbeatTime: time({ nullable: true }),
    reason: string(),
    message: string(),
  },
  { required: ['type', 'status'] },
)
export const CONDITIONS: Schema = keyed(CONDITION, ['type'])

export const SELECTOR: Schema = object(
  {
    matchLabels: mapOf(string()),
    matchExpressions: atomic(
      object(
        {
          key: string(),
          operator: oneOf(['In', 'NotIn', 'Exists', 'DoesNotExist']),
          values: atomic(string()),
        },
        { required: ['key', 'operator'] },
      ),
    ),
  },
  { 'x-kubernetes-map-type': 'atomic', description: 'Which labels an object must carry.' },
)

export const OBJECT_REFERENCE: Schema = object(
  {
    apiVersion: string(),
    kind: string(),
    name: string(),
    namespace: string(),
    uid: string(),
    resourceVersion: string(),
    fieldPath: string(),
  },
  { 'x-kubernetes-map-type': 'atomic' },
)

export const AGE: Column = {
  name: 'Age',
  type: 'string',
  value: (object, now) => age(object.metadata.creationTimestamp, now),
}
export const NAME: Column = {
  name: 'Name',
  type: 'string',
  format: 'name',
  value: object => object.metadata.name,
}

/** `5s`, `3m10s`, `4h`, `2d5h`: two units while the number is small. */
export function age(since: string | undefined, now: number): string {
  if (since === undefined) return '<unknown>'
  return humanDuration(now - Date.parse(since))
}

/** Milliseconds as kubectl prints an age. */
export function humanDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  const days = Math.floor(hours / 24)
  const two = (big: number, bigUnit: string, small: number, smallUnit: string): string =>
    small === 0 ? `${big}${bigUnit}` : `${big}${bigUnit}${small}${smallUnit}`
  if (seconds < 120) return `${seconds}s`
  if (minutes < 10) return two(minutes, 'm', seconds % 60, 's')
  if (minutes < 180) return `${minutes}m`
  if (hours < 8) return two(hours, 'h', minutes % 60, 'm')
  if (hours < 48) return `${hours}h`
  if (hours < 192) return two(days, 'd', hours % 24, 'h')
  if (days < 730) return `${days}d`
  return two(Math.floor(days / 365), 'y', days % 365, 'd')
}

export type BuiltIn = Pick<ResourceType, 'group' | 'version' | 'plural' | 'kind' | 'namespaced' | 'schema'> &
  Partial<ResourceType>

/** A built-in kind, with what most of them share filled in. */
export function builtIn(type: BuiltIn): ResourceType {
  return {
    singular: type.kind.toLowerCase(),
    listKind: `${type.kind}List`,
    shortNames: [],
    categories: [],
    verbs: ALL_VERBS,
    storageKey: `${type.group}/${type.plural}`,
    subresources: new Set(),
    hasGeneration: false,
    statusMetadata: 'as-sent',
    columns: [NAME, AGE],
    hooks: {},
    fieldSelectors: {},
    custom: false,
    ...type,
  }
}
