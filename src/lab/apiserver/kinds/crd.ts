import { jsonPath } from '../json-path.ts'
import {
  type ApiObject,
  at,
  clone,
  display,
  isRecord,
  type JsonObject,
  list,
  record,
  text,
  timestamp,
} from '../objects.ts'
import { ALL_VERBS, type Column, type ResourceType } from '../resource-type.ts'
import type { Schema } from '../schema.ts'
import { selectorText } from '../selectors.ts'
import { invalidValue, required } from '../status.ts'
import {
  AGE,
  age,
  anything,
  atomic,
  boolean,
  builtIn,
  CONDITIONS,
  int32,
  kindSchema,
  METADATA,
  NAME,
  object,
  oneOf,
  string,
} from './build.ts'

const NAMES = object(
  {
    plural: string(),
    singular: string(),
    kind: string(),
    listKind: string(),
    shortNames: atomic(string()),
    categories: atomic(string()),
  },
  { required: ['plural', 'kind'] },
)

const VERSION = object(
  {
    name: string(),
    served: boolean(),
    storage: boolean(),
    deprecated: boolean(),
    deprecationWarning: string(),
    schema: object({ openAPIV3Schema: anything() }),
    subresources: object({
      status: anything(),
      scale: object({
        specReplicasPath: string(),
        statusReplicasPath: string(),
        labelSelectorPath: string(),
      }),
    }),
    additionalPrinterColumns: atomic(
      object(
        {
          name: string(),
          type: oneOf(['integer', 'number', 'string', 'boolean', 'date']),
          format: string(),
          description: string(),
          priority: int32(),
          jsonPath: string(),
        },
        { required: ['name', 'type', 'jsonPath'] },
      ),
    ),
    selectableFields: atomic(object({ jsonPath: string() })),
  },
  { required: ['name', 'served', 'storage'] },
)

/** A condition of the given status, keeping the time when nothing changed. */
function condition(type: string, reason: string, message: string, now: number): JsonObject {
  return { type, status: 'True', reason, message, lastTransitionTime: timestamp(now) }
}

export const CUSTOM_RESOURCE_DEFINITION: ResourceType = builtIn({
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
  shortNames: ['crd', 'crds'],
  categories: ['api-extensions'],
  hasGeneration: true,
  statusMetadata: 'kept',
  subresources: new Set(['status']),
  schema: kindSchema(
    'A kind that this server shall serve.',
    {
      spec: object(
        {
          group: string(),
          names: NAMES,
          scope: oneOf(['Namespaced', 'Cluster']),
          versions: atomic(VERSION, { minItems: 1 }),
          conversion: object({
            strategy: oneOf(['None', 'Webhook'], { default: 'None' }),
            webhook: anything(),
          }),
          preserveUnknownFields: boolean(),
        },
        { required: ['group', 'names', 'scope', 'versions'] },
      ),
      status: object({
        conditions: CONDITIONS,
        acceptedNames: NAMES,
        storedVersions: atomic(string()),
        observedGeneration: int32(),
      }),
    },
    { required: ['spec'] },
  ),
  columns: [
    NAME,
    {
      name: 'Created At',
      type: 'date',
      value: crd => crd.metadata.creationTimestamp ?? null,
    },
  ],
  hooks: {
    prepare(draft, before, { now }) {
      const spec = (draft.spec ??= {})
      const names = record(spec['names'])
      names['singular'] ??= text(names['kind']).toLowerCase()
      names['listKind'] ??= `${text(names['kind'])}List`
      spec['names'] = names
      spec['conversion'] ??= { strategy: 'None' }
      if (spec['preserveUnknownFields'] === false) delete spec['preserveUnknownFields']
      const stored = list(spec['versions']).find(v => at(v, 'storage') === true)
      const old = list(before?.status?.['storedVersions'])
      const name = text(at(stored, 'name'))
      draft.status = {
        ...record(before?.status),
        conditions: before?.status?.['conditions'] ?? [
          condition('NamesAccepted', 'NoConflicts', 'no conflicts found', now),
          condition('Established', 'InitialNamesAccepted', 'the initial names have been accepted', now),
        ],
        acceptedNames: clone(names),
        storedVersions: old.includes(name) ? old : [...old, name],
      }
    },
    validate(draft, before, causes) {
      const spec = draft.spec ?? {}
      const names = record(spec['names'])
      const expected = `${text(names['plural'])}.${text(spec['group'])}`
      if (draft.metadata.name !== expected) {
        causes.push(
          invalidValue('metadata.name', draft.metadata.name, `must be spec.names.plural+"."+spec.group`),
        )
      }
      const versions = list(spec['versions'])
      if (versions.filter(v => at(v, 'storage') === true).length !== 1) {
        causes.push(
          invalidValue(
            'spec.versions',
            versions.map(v => at(v, 'name')),
            'must have exactly one version marked as storage version',
          ),
        )
      }
      versions.forEach((version, i) => {
        const field = `spec.versions[${i}].schema.openAPIV3Schema`
        const schema = at(version, 'schema', 'openAPIV3Schema')
        if (schema === undefined) causes.push(required(field, 'schemas are required'))
        else if (at(schema, 'type') !== 'object') {
          causes.push(invalidValue(`${field}.type`, at(schema, 'type') ?? '', 'must be object at the root'))
        }
      })
      const clientConfig = at(spec, 'conversion', 'webhook', 'clientConfig')
      if (at(spec, 'conversion', 'strategy') === 'Webhook' && clientConfig === undefined) {
        causes.push(
          required('spec.conversion.webhook.clientConfig', 'required when strategy is set to Webhook'),
        )
      }
      for (const field of ['group', 'scope'] as const) {
        if (before !== undefined && before.spec?.[field] !== spec[field]) {
          causes.push(invalidValue(`spec.${field}`, spec[field], 'field is immutable'))
        }
      }
    },
  },
})

function printerColumn(definition: JsonObject): Column {
  const read = jsonPath(text(definition['jsonPath']))
  const type = text(definition['type']) as Column['type']
  const name = text(definition['name'])
  return {
    name,
    type: type === 'date' ? 'string' : type,
    ...(typeof definition['format'] === 'string' ? { format: definition['format'] } : {}),
    ...(typeof definition['description'] === 'string' ? { description: definition['description'] } : {}),
    ...(typeof definition['priority'] === 'number' ? { priority: definition['priority'] } : {}),
    value(object, now) {
      const found = read(object)
      if (found.length === 0) return null
      const first = found[0]
      if (type === 'date') return typeof first === 'string' ? age(first, now) : '<unknown>'
      if (found.length > 1) return found.map(display).join(',')
      if (type === 'integer' || type === 'number') return typeof first === 'number' ? first : null
      if (type === 'boolean') return typeof first === 'boolean' ? first : null
      return display(first)
    },
  }
}

/** Versions of an object by a webhook, in a moment because they were prepared. */
export type Converter = { convert(object: ApiObject, apiVersion: string): ApiObject }

/** The kinds that a CustomResourceDefinition asks for, a type per served version. */
export function customTypes(crd: ApiObject, converter?: Converter): ResourceType[] {
  const spec = record(crd.spec)
  const byWebhook = converter !== undefined && at(spec, 'conversion', 'strategy') === 'Webhook'
  const clientConfig = at(spec, 'conversion', 'webhook', 'clientConfig')
  const storage = list(spec['versions']).find(version => at(version, 'storage') === true)
  const storedVersion = `${text(spec['group'])}/${text(at(storage, 'name'))}`
  const names = record(spec['names'])
  const group = text(spec['group'])
  const plural = text(names['plural'])
  const out: ResourceType[] = []
  for (const version of list(spec['versions'])) {
    if (!isRecord(version) || version['served'] !== true) continue
    const given = record(at(version, 'schema', 'openAPIV3Schema')) as Schema
    const schema: Schema = {
      ...given,
      type: 'object',
      properties: {
        ...given.properties,
        apiVersion: { type: 'string' },
        kind: { type: 'string' },
        metadata: METADATA,
      },
    }
    const subresources = record(version['subresources'])
    const scale = subresources['scale']
    const path = (name: string): string[] =>
      text(at(scale, name))
        .split('.')
        .filter(part => part !== '')
    const selectorPath = path('labelSelectorPath')
    const columns = list(version['additionalPrinterColumns']).map(c => printerColumn(record(c)))
    const fieldSelectors: Record<string, (object: ApiObject) => string> = {}
    for (const field of list(version['selectableFields'])) {
      const where = text(at(field, 'jsonPath')).replace(/^\./, '')
      fieldSelectors[where] = object => {
        const found = at(object, ...where.split('.'))
        return found === undefined ? '' : display(found)
      }
    }
    out.push({
      group,
      version: text(version['name']),
      plural,
      singular: text(names['singular']),
      kind: text(names['kind']),
      listKind: text(names['listKind']),
      shortNames: list(names['shortNames']).map(text),
      categories: list(names['categories']).map(text),
      namespaced: spec['scope'] === 'Namespaced',
      verbs: ALL_VERBS,
      storageKey: `${group}/${plural}`,
      schema,
      subresources: new Set([
        ...(subresources['status'] === undefined ? [] : (['status'] as const)),
        ...(scale === undefined ? [] : (['scale'] as const)),
      ]),
      hasGeneration: true,
      statusMetadata: 'kept',
      columns: [NAME, ...(columns.length === 0 ? [AGE] : columns)],
      hooks: {},
      fieldSelectors,
      custom: true,
      ...(byWebhook ? { conversion: { clientConfig } } : {}),
      ...(byWebhook && version !== storage
        ? {
            fromStored: (object: ApiObject) => converter.convert(object, `${group}/${text(version['name'])}`),
            toStored: (object: ApiObject) => converter.convert(object, storedVersion),
          }
        : {}),
      ...(scale === undefined
        ? {}
        : {
            scale: {
              specReplicas: path('specReplicasPath'),
              statusReplicas: path('statusReplicasPath'),
              selector: (object: ApiObject) => {
                const found = selectorPath.length === 0 ? undefined : at(object, ...selectorPath)
                return typeof found === 'string' ? found : found === undefined ? '' : selectorText(found)
              },
            },
          }),
    })
  }
  return out
}
