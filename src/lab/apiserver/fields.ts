import { equal, type FieldTree, isRecord, type JsonObject } from './objects.ts'
import { fieldSchema, type Schema } from './schema.ts'

/**
 * Sets of field paths, as FieldsV1 writes them. A node with no children is a member of the set; a node with children is one when
 * it has the child `.`. Trees are never changed: every operation makes a new one and shares what it can.
 */
export const EMPTY: FieldTree = {}

const isEmpty = (tree: FieldTree): boolean => {
  for (const _ in tree) return false
  return true
}

/** How the elements of a list are told apart; undefined when the list is one value. */
export function listKind(schema: Schema | undefined): 'map' | 'set' | undefined {
  const type = schema?.['x-kubernetes-list-type']
  return type === 'map' || type === 'set' ? type : undefined
}

/** A map or struct whose fields have owners of their own. */
export function isGranular(value: unknown, schema: Schema | undefined): value is JsonObject {
  return isRecord(value) && schema?.['x-kubernetes-map-type'] !== 'atomic'
}

const fieldSegments = new Map<string, string>()
const FIELD_SEGMENTS_MAX = 10_000

/** `f:name`. The same text each time: as the name of a property, text that was just put together is looked up first. */
function fieldSegment(field: string): string {
  let segment = fieldSegments.get(field)
  if (segment === undefined) {
    segment = `f:${field}`
    if (fieldSegments.size < FIELD_SEGMENTS_MAX) fieldSegments.set(field, segment)
  }
  return segment
}

const sortedKeys = new WeakMap<readonly string[], readonly string[]>()
const NO_KEYS: readonly string[] = []

function keyNames(schema: Schema | undefined): readonly string[] {
  const names = schema?.['x-kubernetes-list-map-keys'] ?? NO_KEYS
  let sorted = sortedKeys.get(names)
  if (sorted === undefined) {
    sorted = [...names].sort()
    sortedKeys.set(names, sorted)
  }
  return sorted
}

/** `k:{"port":80,"protocol":"TCP"}` or `v:"x"`. A key that is absent takes its default from the schema. */
export function itemSegment(item: unknown, schema: Schema | undefined): string {
  if (listKind(schema) === 'set') return `v:${JSON.stringify(item)}`
  let key = ''
  for (const name of keyNames(schema)) {
    const value = isRecord(item) ? (item[name] ?? schema?.items?.properties?.[name]?.default) : undefined
    if (value !== undefined) key += `${key === '' ? '' : ','}"${name}":${JSON.stringify(value)}`
  }
  return `k:{${key}}`
}

/**
 * All paths of a value. As kube-apiserver does: what an apply owns are values, elements of keyed lists and entries of maps; what
 * a write adds also owns the containers that it brought (`withContainers`).
 */
export function fieldsOf(value: unknown, schema: Schema | undefined, withContainers = false): FieldTree {
  const out: FieldTree = {}
  if (Array.isArray(value) && listKind(schema) !== undefined) {
    for (const item of value) {
      const below = listKind(schema) === 'set' ? EMPTY : fieldsOf(item, schema?.items, withContainers)
      out[itemSegment(item, schema)] = asMember(below)
    }
  } else if (isGranular(value, schema)) {
    for (const field in value) {
      if (value[field] === undefined) continue
      const below = fieldsOf(value[field], fieldSchema(schema, field), withContainers)
      const declared = schema?.properties !== undefined && Object.hasOwn(schema.properties, field)
      out[fieldSegment(field)] = declared && !withContainers ? below : asMember(below)
    }
  }
  return out
}

/** The node itself is in the set too. A node without children always is. */
function asMember(tree: FieldTree): FieldTree {
  return isEmpty(tree) || tree['.'] !== undefined ? tree : { '.': EMPTY, ...tree }
}

const isMember = (tree: FieldTree): boolean => tree['.'] !== undefined || isEmpty(tree)

function withoutSelf(tree: FieldTree): FieldTree {
  if (tree['.'] === undefined) return tree
  const { '.': _self, ...below } = tree
  return below
}

/** Members of either. */
export function union(a: FieldTree, b: FieldTree): FieldTree {
  if (a === b) return a
  const out: FieldTree = { ...a }
  for (const segment in b) {
    const there = b[segment] ?? EMPTY
    const here = a[segment]
    if (here === undefined || segment === '.') out[segment] = there
    else {
      const joined = union(here, there)
      out[segment] =
        !isEmpty(joined) && (isMember(here) || isMember(there)) ? { ...joined, '.': EMPTY } : joined
    }
  }
  return out
}

/** Members of `a` that are not members of `b`. */
export function difference(a: FieldTree, b: FieldTree): FieldTree {
  const out: FieldTree = {}
  for (const segment in a) {
    const here = a[segment] ?? EMPTY
    const there = b[segment]
    if (there === undefined) {
      out[segment] = here
      continue
    }
    if (segment === '.') continue
    const memberHere = isMember(here) && !isMember(there)
    const below = difference(withoutSelf(here), withoutSelf(there))
    if (isEmpty(below)) {
      if (memberHere) out[segment] = EMPTY
    } else out[segment] = memberHere ? { ...below, '.': EMPTY } : below
  }
  return out
}

/** Members of both. */
export function intersection(a: FieldTree, b: FieldTree): FieldTree {
  const out: FieldTree = {}
  for (const segment in a) {
    const here = a[segment] ?? EMPTY
    const there = b[segment]
    if (there === undefined) continue
    if (segment === '.') {
      out['.'] = EMPTY
      continue
    }
    const both = isMember(here) && isMember(there)
    const below = intersection(withoutSelf(here), withoutSelf(there))
    if (isEmpty(below)) {
      if (both) out[segment] = EMPTY
    } else out[segment] = both ? { ...below, '.': EMPTY } : below
  }
  return out
}

export function isEmptyTree(tree: FieldTree): boolean {
  return isEmpty(tree)
}

/** What differs: `changed` is in the new value and was absent or other before, `removed` is gone. */
export function compare(
  before: unknown,
  after: unknown,
  schema: Schema | undefined,
): { changed: FieldTree; removed: FieldTree } {
  const changed: FieldTree = {}
  const removed: FieldTree = {}
  compareInto(before, after, schema, changed, removed)
  return { changed, removed }
}

function compareInto(
  before: unknown,
  after: unknown,
  schema: Schema | undefined,
  changed: FieldTree,
  removed: FieldTree,
): void {
  const pairs: [segment: string, was: unknown, is: unknown, below: Schema | undefined, leaf: boolean][] = []
  if (Array.isArray(before) || Array.isArray(after)) {
    const set = listKind(schema) === 'set'
    const is = new Map(
      (Array.isArray(after) ? after : []).map((item: unknown) => [itemSegment(item, schema), item]),
    )
    const was = new Map(
      (Array.isArray(before) ? before : []).map((item: unknown) => [itemSegment(item, schema), item]),
    )
    for (const segment of new Set([...was.keys(), ...is.keys()])) {
      pairs.push([segment, was.get(segment), is.get(segment), schema?.items, set])
    }
  } else {
    const was = isRecord(before) ? before : {}
    const is = isRecord(after) ? after : {}
    for (const field in is) {
      if (was[field] !== is[field])
        pairs.push([fieldSegment(field), was[field], is[field], fieldSchema(schema, field), false])
    }
    for (const field in was) {
      if (is[field] === undefined)
        pairs.push([fieldSegment(field), was[field], undefined, fieldSchema(schema, field), false])
    }
  }
  for (const [segment, was, is, below, leaf] of pairs) {
    if (was === undefined && is === undefined) continue
    if (was === undefined) changed[segment] = leaf ? EMPTY : asMember(fieldsOf(is, below, true))
    else if (is === undefined) removed[segment] = leaf ? EMPTY : asMember(fieldsOf(was, below, true))
    else if (
      !leaf &&
      ((isGranular(was, below) && isGranular(is, below)) ||
        (Array.isArray(was) && Array.isArray(is) && listKind(below) !== undefined))
    ) {
      const inner = compare(was, is, below)
      if (!isEmpty(inner.changed)) changed[segment] = inner.changed
      if (!isEmpty(inner.removed)) removed[segment] = inner.removed
    } else if (!equal(was, is)) {
      changed[segment] = fieldsOf(is, below, true)
      const gone = difference(fieldsOf(was, below, true), fieldsOf(is, below, true))
      if (!isEmpty(gone)) removed[segment] = gone
    }
  }
}

/** The members as paths for people: `.spec.ports[port=80,protocol="TCP"].name`. */
export function paths(tree: FieldTree, prefix = ''): string[] {
  const out: string[] = []
  for (const segment of Object.keys(tree).sort()) {
    if (segment === '.') continue
    const below = tree[segment] ?? EMPTY
    const here = prefix + segmentText(segment)
    if (isMember(below)) out.push(here)
    out.push(...paths(below, here))
  }
  return out
}

function segmentText(segment: string): string {
  if (segment.startsWith('f:')) return `.${segment.slice(2)}`
  if (segment.startsWith('v:')) return `[=${segment.slice(2)}]`
  const key = JSON.parse(segment.slice(2)) as JsonObject
  return `[${Object.entries(key)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join(',')}]`
}

/** The value without the members of the tree; a container that this leaves empty goes too. */
export function withoutFields(value: unknown, tree: FieldTree, schema: Schema | undefined): unknown {
  if (Array.isArray(value)) {
    const out: unknown[] = []
    for (const item of value) {
      const below = tree[itemSegment(item, schema)]
      if (below === undefined) out.push(item)
      else if (!isMember(below)) out.push(withoutFields(item, below, schema?.items))
    }
    return out
  }
  if (!isRecord(value)) return value
  const out: JsonObject = {}
  for (const field in value) {
    const below = tree[fieldSegment(field)]
    if (below === undefined) out[field] = value[field]
    else if (!isMember(below)) {
      const rest = withoutFields(value[field], below, fieldSchema(schema, field))
      if (!isBare(rest)) out[field] = rest
    }
  }
  return out
}

const isBare = (value: unknown): boolean =>
  Array.isArray(value) ? value.length === 0 : isRecord(value) && Object.keys(value).length === 0
