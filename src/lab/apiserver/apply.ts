import {
  compare,
  difference,
  fieldsOf,
  intersection,
  isEmptyTree,
  isGranular,
  itemSegment,
  listKind,
  paths,
  union,
  withoutFields,
} from './fields.ts'
import {
  type ApiObject,
  equal,
  type FieldTree,
  isRecord,
  type JsonObject,
  type ManagedFields,
} from './objects.ts'
import { apiVersionOf, type ResourceType } from './resource-type.ts'
import { fieldSchema, type Schema } from './schema.ts'
import { ApiError, type Cause } from './status.ts'

/** Metadata that nobody owns. */
const UNOWNED = new Set([
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'managedFields',
  'selfLink',
  'generateName',
])

export type Manager = {
  readonly name: string
  /** '' for the object itself. */
  readonly subresource: string
  /** RFC 3339. */
  readonly time: string
}

/** What can be owned: no apiVersion, kind, nor metadata that the server writes. */
export function ownable(object: ApiObject): JsonObject {
  const { apiVersion: _apiVersion, kind: _kind, metadata, ...rest } = object
  const meta: JsonObject = {}
  for (const [field, value] of Object.entries(metadata)) if (!UNOWNED.has(field)) meta[field] = value
  return Object.keys(meta).length === 0 ? rest : { ...rest, metadata: meta }
}

function isSame(
  entry: ManagedFields,
  manager: Manager,
  operation: 'Apply' | 'Update',
  apiVersion: string,
): boolean {
  return (
    entry.manager === manager.name &&
    entry.operation === operation &&
    (entry.subresource ?? '') === manager.subresource &&
    (operation === 'Apply' || entry.apiVersion === apiVersion)
  )
}

function entry(
  manager: Manager,
  operation: 'Apply' | 'Update',
  apiVersion: string,
  fieldsV1: FieldTree,
): ManagedFields {
  return {
    apiVersion,
    fieldsType: 'FieldsV1',
    fieldsV1,
    manager: manager.name,
    operation,
    ...(manager.subresource === '' ? {} : { subresource: manager.subresource }),
    time: manager.time,
  }
}

/** More entries of operation Update than this are folded into the oldest. */
const UPDATE_ENTRIES_MAX = 10

/**
 * Who owns what after a create, update or patch: the writer takes every field that it changed, and others lose those.
 * `managed` is what the object carried before (or what the client itself put there).
 */
export function afterUpdate(
  before: ApiObject | undefined,
  after: ApiObject,
  managed: readonly ManagedFields[],
  manager: Manager,
  type: ResourceType,
): ManagedFields[] {
  const apiVersion = apiVersionOf(type)
  const { changed, removed } = compare(
    before === undefined ? {} : ownable(before),
    ownable(after),
    type.schema,
  )
  if (isEmptyTree(changed) && isEmptyTree(removed)) return [...managed]
  const touched = union(changed, removed)
  const out: ManagedFields[] = []
  let own: ManagedFields | undefined
  for (const other of managed) {
    if (isSame(other, manager, 'Update', apiVersion)) {
      own = other
      continue
    }
    const rest = difference(other.fieldsV1, touched)
    if (!isEmptyTree(rest)) out.push(rest === other.fieldsV1 ? other : { ...other, fieldsV1: rest })
  }
  const mine = difference(union(own?.fieldsV1 ?? {}, changed), removed)
  if (!isEmptyTree(mine)) out.push(entry(manager, 'Update', apiVersion, mine))
  return folded(out)
}

function folded(managed: ManagedFields[]): ManagedFields[] {
  const updates = managed.filter(e => e.operation === 'Update')
  if (updates.length <= UPDATE_ENTRIES_MAX) return managed
  const [first, second] = updates
  if (first === undefined || second === undefined) return managed
  const joined: ManagedFields = {
    ...first,
    manager: 'ancient-changes',
    fieldsV1: union(first.fieldsV1, second.fieldsV1),
  }
  return managed.filter(e => e !== second).map(e => (e === first ? joined : e))
}

/**
 * Server-side apply: the live object with the applied configuration merged in, without what this manager applied before and no
 * longer does, and with its ownership written down. Field ownership is by path; lists without keys are one value.
 * @throws ApiError 409 with a cause per field that another manager owns and that would change, unless `force`
 */
export function applyConfiguration(
  live: ApiObject | undefined,
  applied: ApiObject,
  manager: Manager,
  type: ResourceType,
  force: boolean,
): ApiObject {
  const apiVersion = apiVersionOf(type)
  const schema = type.schema
  const managed = live?.metadata.managedFields ?? []
  const mine = fieldsOf(ownable(applied), schema)
  const previous = managed.find(e => isSame(e, manager, 'Apply', apiVersion))
  const others = managed.filter(e => e !== previous)
  const base: ApiObject = live ?? {
    apiVersion: applied.apiVersion,
    kind: applied.kind,
    metadata: applied.metadata,
  }
  let merged = merge(base, { ...applied, metadata: mergeable(applied) }, schema) as ApiObject

  const { changed } = compare(live === undefined ? {} : ownable(live), ownable(merged), schema)
  const claims = intersection(changed, mine)
  const causes: Cause[] = []
  const kept: ManagedFields[] = []
  for (const other of others) {
    const contested = intersection(other.fieldsV1, claims)
    if (isEmptyTree(contested)) {
      kept.push(other)
      continue
    }
    const via =
      other.operation === 'Update'
        ? ` using ${other.apiVersion}${other.time === undefined ? '' : ` at ${other.time}`}`
        : ''
    const subresource =
      other.subresource === undefined ? '' : ` with subresource ${JSON.stringify(other.subresource)}`
    for (const path of paths(contested)) {
      causes.push({
        reason: 'FieldManagerConflict',
        message: `conflict with ${JSON.stringify(other.manager)}${subresource}${via}`,
        field: path,
      })
    }
    const rest = difference(other.fieldsV1, contested)
    if (!isEmptyTree(rest)) kept.push({ ...other, fieldsV1: rest })
  }
  if (causes.length > 0 && !force) throw applyConflict(causes)

  if (previous !== undefined) {
    let dropped = difference(previous.fieldsV1, mine)
    for (const other of others) dropped = outside(dropped, other.fieldsV1)
    dropped = outside(dropped, mine)
    if (!isEmptyTree(dropped)) {
      merged = withoutFields(merged, dropped, schema) as ApiObject
      merged.metadata ??= base.metadata
    }
  }
  const sameAsBefore = previous !== undefined && equal(previous.fieldsV1, mine)
  const own = entry(manager, 'Apply', apiVersion, mine)
  if (sameAsBefore && previous.time !== undefined && isEmptyTree(changed)) own.time = previous.time
  return { ...merged, metadata: { ...merged.metadata, managedFields: [own, ...kept] } }
}

/** What of the dropped fields nobody keeps; a container in which somebody keeps something stays. */
function outside(dropped: FieldTree, kept: FieldTree): FieldTree {
  const out: FieldTree = {}
  for (const segment in dropped) {
    const below = dropped[segment] ?? {}
    const other = kept[segment]
    if (other === undefined) out[segment] = below
    else if (segment !== '.') {
      const { '.': _self, ...rest } = below
      const inner = outside(rest, other)
      if (!isEmptyTree(inner)) out[segment] = inner
    }
  }
  return out
}

function mergeable(applied: ApiObject): ApiObject['metadata'] {
  const { managedFields: _managed, creationTimestamp: _created, ...rest } = applied.metadata
  return rest
}

function applyConflict(causes: readonly Cause[]): ApiError {
  const byMessage = new Map<string, string[]>()
  for (const cause of causes) {
    byMessage.set(cause.message, [...(byMessage.get(cause.message) ?? []), cause.field])
  }
  const parts = [...byMessage].map(([message, fields]) =>
    fields.length === 1
      ? `${message}: ${fields[0] ?? ''}`
      : `${message}:\n${fields.map(f => `- ${f}`).join('\n')}`,
  )
  const count = causes.length === 1 ? '1 conflict' : `${causes.length} conflicts`
  return new ApiError(409, 'Conflict', `Apply failed with ${count}: ${parts.join('\n')}`, { causes })
}

/** The live value with the applied one over it: maps by field, keyed lists by key (new elements last), all else replaced. */
function merge(live: unknown, applied: unknown, schema: Schema | undefined): unknown {
  const kind = listKind(schema)
  if (Array.isArray(live) && Array.isArray(applied) && kind !== undefined) {
    const incoming = new Map(applied.map((item: unknown) => [itemSegment(item, schema), item]))
    const out: unknown[] = []
    for (const item of live) {
      const segment = itemSegment(item, schema)
      const change = incoming.get(segment)
      out.push(change === undefined || kind === 'set' ? item : merge(item, change, schema?.items))
      incoming.delete(segment)
    }
    out.push(...incoming.values())
    return out
  }
  if (isRecord(live) && isGranular(applied, schema)) {
    const out: JsonObject = { ...live }
    for (const field in applied) {
      if (applied[field] !== undefined)
        out[field] = merge(live[field], applied[field], fieldSchema(schema, field))
    }
    return out
  }
  return applied
}
