import type { ApiObject, JsonObject } from './objects.ts'
import { apiVersionOf, type Column, type ResourceType } from './resource-type.ts'

/** What `kubectl get` prints: column definitions. */
export function columnDefinitions(columns: readonly Column[]): JsonObject[] {
  return columns.map(column => ({
    name: column.name,
    type: column.type,
    format: column.format ?? '',
    description: column.description ?? '',
    priority: column.priority ?? 0,
  }))
}

export type RowObject = 'Metadata' | 'Object' | 'None'

/** One row: the cells, and the object in the form the client asked for (includeObject). */
export function row(
  object: ApiObject,
  type: ResourceType,
  now: number,
  include: RowObject,
  tableVersion: string,
): JsonObject {
  const cells = type.columns.map(column => column.value(object, now))
  if (include === 'None') return { cells, object: null }
  return {
    cells,
    object: include === 'Object' ? shownIn(type, object) : partialMetadata(object, tableVersion),
  }
}

export function table(
  objects: readonly ApiObject[],
  type: ResourceType,
  options: {
    readonly now: number
    readonly include: RowObject
    readonly version: string
    readonly metadata: JsonObject
    readonly withColumns?: boolean
  },
): JsonObject {
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata: options.metadata,
    columnDefinitions: options.withColumns === false ? [] : columnDefinitions(type.columns),
    rows: objects.map(object => row(object, type, options.now, options.include, options.version)),
  }
}

/** Columns read the stored form; the object inside a row is in the version of the request. */
function shownIn(type: ResourceType, object: ApiObject): ApiObject {
  return type.fromStored?.(object) ?? { ...object, apiVersion: apiVersionOf(type) }
}

/** The envelope only. */
export function partialMetadata(object: ApiObject, version: string): JsonObject {
  return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata }
}
