import { createHash } from 'node:crypto'
import { clone, type JsonObject } from './objects.ts'
import { encodeField } from './protobuf.ts'
import type { Registry } from './registry.ts'
import { apiVersionOf, type ResourceType } from './resource-type.ts'

/** `io.k8s.api.apps.v1.Deployment`: the name of a kind in OpenAPI. */
function schemaName(type: ResourceType): string {
  const group = type.group === '' ? 'core' : type.group
  if (!type.custom) return `io.k8s.api.${group.split('.')[0] ?? group}.${type.version}.${type.kind}`
  return `${group.split('.').toReversed().join('.')}.${type.version}.${type.kind}`
}

function groupVersionPath(type: ResourceType): string {
  return type.group === '' ? `api/${type.version}` : `apis/${type.group}/${type.version}`
}

const QUERY = (name: string, type: 'string' | 'boolean'): JsonObject => ({
  name,
  in: 'query',
  schema: { type, uniqueItems: true },
})
const WRITE_PARAMETERS = [
  QUERY('dryRun', 'string'),
  QUERY('fieldManager', 'string'),
  QUERY('fieldValidation', 'string'),
]

function kindOf(type: ResourceType): JsonObject {
  return { group: type.group, version: type.version, kind: type.kind }
}

/** /openapi/v3: where the document of each version is. */
export function openApiIndex(registry: Registry): JsonObject {
  const paths: Record<string, JsonObject> = {}
  for (const type of registry.all()) {
    const path = groupVersionPath(type)
    paths[path] ??= { serverRelativeURL: `/openapi/v3/${path}?hash=${documentHash(registry, path)}` }
  }
  return { paths }
}

function documentHash(registry: Registry, path: string): string {
  const document = JSON.stringify(openApiV3(registry, path))
  return createHash('sha256').update(document).digest('hex').slice(0, 32).toUpperCase()
}

/** The document of one version (`api/v1`, `apis/apps/v1`), or undefined when it is not served. */
export function openApiV3(registry: Registry, path: string): JsonObject | undefined {
  const types = registry.all().filter(type => groupVersionPath(type) === path)
  if (types.length === 0) return undefined
  const schemas: Record<string, JsonObject> = {}
  const paths: Record<string, JsonObject> = {}
  for (const type of types) {
    const name = schemaName(type)
    schemas[name] = { ...published(type), 'x-kubernetes-group-version-kind': [kindOf(type)] }
    const base = `/${path}/${type.namespaced ? 'namespaces/{namespace}/' : ''}${type.plural}`
    const content = { 'application/json': { schema: { $ref: `#/components/schemas/${name}` } } }
    const operation = (action: string, parameters: readonly JsonObject[]): JsonObject => ({
      operationId: `${action}${type.group}${type.version}${type.kind}`,
      parameters,
      responses: { 200: { description: 'OK', content } },
      'x-kubernetes-action': action,
      'x-kubernetes-group-version-kind': kindOf(type),
    })
    paths[base] = {
      get: operation('list', []),
      post: { ...operation('post', WRITE_PARAMETERS), requestBody: { content } },
    }
    paths[`${base}/{name}`] = {
      get: operation('get', []),
      put: { ...operation('put', WRITE_PARAMETERS), requestBody: { content } },
      patch: operation('patch', [...WRITE_PARAMETERS, QUERY('force', 'boolean')]),
      delete: operation('delete', [QUERY('dryRun', 'string')]),
    }
  }
  return {
    openapi: '3.0.0',
    info: { title: 'Lodestone lab', version: 'v1.31.0' },
    paths,
    components: { schemas },
  }
}

/** The kind's schema as OpenAPI knows it. */
function published(type: ResourceType): JsonObject {
  return forOpenApi(type.schema)
}

function forOpenApi(schema: unknown): JsonObject {
  const out = clone(schema) as JsonObject
  fixIntOrString(out)
  return out
}

/** OpenAPI says `int-or-string` by a format. */
function fixIntOrString(schema: JsonObject): void {
  if (schema['x-kubernetes-int-or-string'] === true) {
    schema['format'] = 'int-or-string'
    schema['oneOf'] = [{ type: 'integer' }, { type: 'string' }]
    delete schema['anyOf']
  }
  for (const value of Object.values(schema)) {
    if (Array.isArray(value)) {
      for (const item of value)
        if (typeof item === 'object' && item !== null) fixIntOrString(item as JsonObject)
    } else if (typeof value === 'object' && value !== null) fixIntOrString(value as JsonObject)
  }
}

/** /openapi/v2 (Swagger): the kinds by definition, and the patch operations that tell kubectl of server-side validation and dry run. */
export function openApiV2(registry: Registry): JsonObject {
  const definitions: Record<string, JsonObject> = {}
  const paths: Record<string, JsonObject> = {}
  for (const type of registry.all()) {
    definitions[schemaName(type)] = {
      ...swagger(published(type)),
      'x-kubernetes-group-version-kind': [kindOf(type)],
    }
    const place = type.namespaced ? 'namespaces/{namespace}/' : ''
    paths[`/${groupVersionPath(type)}/${place}${type.plural}/{name}`] = {
      patch: {
        operationId: `patch${apiVersionOf(type).replaceAll(/[^a-zA-Z0-9]/g, '')}${type.kind}`,
        consumes: [
          'application/json-patch+json',
          'application/merge-patch+json',
          'application/apply-patch+yaml',
        ],
        produces: ['application/json'],
        parameters: ['dryRun', 'fieldManager', 'fieldValidation'].map(name => ({
          name,
          in: 'query',
          type: 'string',
          uniqueItems: true,
        })),
        responses: { 200: { description: 'OK', schema: { $ref: `#/definitions/${schemaName(type)}` } } },
        'x-kubernetes-action': 'patch',
        'x-kubernetes-group-version-kind': kindOf(type),
      },
    }
  }
  return { swagger: '2.0', info: { title: 'Lodestone lab', version: 'v1.31.0' }, paths, definitions }
}

const NOT_IN_SWAGGER = ['oneOf', 'anyOf', 'allOf', 'not', 'nullable', 'default']

/** Swagger 2 has no alternatives; a node without a type is anything. */
function swagger(schema: JsonObject): JsonObject {
  const out: JsonObject = {}
  for (const [key, value] of Object.entries(schema)) {
    if (NOT_IN_SWAGGER.includes(key)) continue
    if (key === 'properties') {
      out[key] = Object.fromEntries(
        Object.entries(value as JsonObject).map(([name, child]) => [name, swagger(child as JsonObject)]),
      )
    } else if (key === 'items' || (key === 'additionalProperties' && typeof value === 'object')) {
      out[key] = swagger(value as JsonObject)
    } else out[key] = value
  }
  if (schema['x-kubernetes-int-or-string'] === true) out['type'] = 'string'
  return out
}

/**
 * The same as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf` (gnostic's OpenAPIv2.proto), which kubectl before 1.27 asks
 * for: only the patch operations, from which it learns of server-side dry run and validation. It finds no kind in it, so it takes
 * merge keys from its own types.
 */
export function openApiV2Protobuf(registry: Registry): Buffer {
  const query = (name: string): Buffer =>
    encodeField(
      8,
      encodeField(
        1,
        encodeField(2, encodeField(3, Buffer.concat([encodeField(2, 'query'), encodeField(4, name)]))),
      ),
    )
  const paths = registry.all().map(type => {
    const kind = Buffer.concat([
      encodeField(1, 'x-kubernetes-group-version-kind'),
      encodeField(2, encodeField(2, `${JSON.stringify(kindOf(type))}\n`)),
    ])
    const patch = Buffer.concat([
      ...['dryRun', 'fieldManager', 'fieldValidation'].map(query),
      encodeField(13, kind),
    ])
    const place = type.namespaced ? 'namespaces/{namespace}/' : ''
    const path = `/${groupVersionPath(type)}/${place}${type.plural}/{name}`
    return encodeField(2, Buffer.concat([encodeField(1, path), encodeField(2, encodeField(8, patch))]))
  })
  const info = Buffer.concat([encodeField(1, 'Lodestone lab'), encodeField(2, 'v1.31.0')])
  return Buffer.concat([encodeField(1, '2.0'), encodeField(2, info), encodeField(8, Buffer.concat(paths))])
}
