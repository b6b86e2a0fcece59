import { display, equal, isRecord, type JsonObject } from './objects.ts'
import { fieldSchema, type Schema } from './schema.ts'
import { badRequest } from './status.ts'

const ORDER = '$setElementOrder/'
const DELETE_FROM = '$deleteFromPrimitiveList/'
const RETAIN = '$retainKeys'
const DIRECTIVE = '$patch'

/**
 * Kubernetes' strategic merge patch: as RFC 7386, but lists that the schema marks with `x-kubernetes-patch-strategy: merge` are
 * merged by their key (or, for plain values, as sets). Directives: `$patch: delete | replace | merge`, `$retainKeys`,
 * `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`. The target is not changed, but shares parts with the result.
 * @throws ApiError 400 for a directive or element that makes no sense
 */
export function strategicMergePatch(target: unknown, patch: unknown, schema: Schema | undefined): unknown {
  if (!isRecord(patch)) return patch
  return mergeObject(isRecord(target) ? target : {}, patch, schema) ?? {}
}

/** Undefined: the object is to be deleted. */
function mergeObject(
  target: JsonObject,
  patch: JsonObject,
  schema: Schema | undefined,
): JsonObject | undefined {
  const directive = patch[DIRECTIVE]
  if (directive === 'replace') return withoutDirectives(patch) as JsonObject
  if (directive === 'delete') return undefined
  if (directive !== undefined && directive !== 'merge') {
    throw badRequest(`unrecognized patch type: ${display(directive)}`)
  }
  const out: JsonObject = { ...target }
  const retain = patch[RETAIN]
  if (retain !== undefined) {
    if (!Array.isArray(retain)) throw badRequest('$retainKeys must be a list')
    for (const field of Object.keys(out)) if (!retain.includes(field)) delete out[field]
  }
  for (const [field, value] of Object.entries(patch)) {
    if (field === DIRECTIVE || field === RETAIN || field.startsWith(ORDER)) continue
    if (field.startsWith(DELETE_FROM)) {
      const name = field.slice(DELETE_FROM.length)
      const here = out[name]
      if (!Array.isArray(value)) throw badRequest(`${field} must be a list`)
      if (Array.isArray(here)) out[name] = here.filter(item => !value.some(gone => equal(gone, item)))
      continue
    }
    if (value === null) {
      delete out[field]
      continue
    }
    const child = fieldSchema(schema, field)
    const here = out[field]
    if (Array.isArray(value)) out[field] = mergeList(Array.isArray(here) ? here : [], value, child)
    else if (isRecord(value)) {
      const merged = mergeObject(isRecord(here) ? here : {}, value, child)
      if (merged === undefined) delete out[field]
      else out[field] = merged
    } else out[field] = value
  }
  for (const [field, order] of Object.entries(patch)) {
    if (!field.startsWith(ORDER)) continue
    const name = field.slice(ORDER.length)
    const here = out[name]
    if (!Array.isArray(order)) throw badRequest(`${field} must be a list`)
    if (Array.isArray(here))
      out[name] = ordered(here, order, fieldSchema(schema, name)?.['x-kubernetes-patch-merge-key'])
  }
  return out
}

function mergeList(
  target: readonly unknown[],
  patch: readonly unknown[],
  schema: Schema | undefined,
): unknown[] {
  const strategy = schema?.['x-kubernetes-patch-strategy'] ?? ''
  if (!strategy.split(',').includes('merge')) return patch.map(withoutDirectives)
  const key = schema?.['x-kubernetes-patch-merge-key']
  if (key === undefined) {
    const out = [...target]
    for (const item of patch) if (!out.some(known => equal(known, item))) out.push(item)
    return out
  }
  if (patch.some(item => isRecord(item) && item[DIRECTIVE] === 'replace' && item[key] === undefined)) {
    return patch.filter(item => !(isRecord(item) && item[DIRECTIVE] === 'replace')).map(withoutDirectives)
  }
  let out = [...target]
  for (const item of patch) {
    if (!isRecord(item)) throw badRequest('an element of a list that is merged by key must be an object')
    const id = item[key]
    if (id === undefined)
      throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`)
    const matches = (other: unknown): boolean => isRecord(other) && equal(other[key], id)
    if (item[DIRECTIVE] === 'delete') {
      out = out.filter(other => !matches(other))
      continue
    }
    const at = out.findIndex(matches)
    const here = at < 0 ? undefined : out[at]
    const merged = mergeObject(isRecord(here) ? here : {}, item, schema?.items)
    if (merged === undefined) continue
    if (at < 0) out.push(merged)
    else out[at] = merged
  }
  return out
}

/** The elements in the given order; what the order does not name keeps its place after the element before it. */
function ordered(items: readonly unknown[], order: readonly unknown[], key: string | undefined): unknown[] {
  const id = (item: unknown): string => JSON.stringify(key !== undefined && isRecord(item) ? item[key] : item)
  const wanted = order.map(id)
  const rank = new Map(wanted.map((name, i) => [name, i]))
  const listed = items.filter(item => rank.has(id(item)))
  listed.sort((a, b) => (rank.get(id(a)) ?? 0) - (rank.get(id(b)) ?? 0))
  const out = [...listed]
  items.forEach((item, i) => {
    if (rank.has(id(item))) return
    const before = items.slice(0, i).findLast(other => out.includes(other))
    out.splice(before === undefined ? 0 : out.indexOf(before) + 1, 0, item)
  })
  return out
}

/** What is new takes the patch as it is, but for its directives. */
function withoutDirectives(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.filter(item => !(isRecord(item) && item[DIRECTIVE] === 'delete')).map(withoutDirectives)
  }
  if (!isRecord(value)) return value
  const out: JsonObject = {}
  for (const [field, child] of Object.entries(value)) {
    if (field === DIRECTIVE || field === RETAIN || field.startsWith(ORDER) || field.startsWith(DELETE_FROM))
      continue
    if (child !== null) out[field] = withoutDirectives(child)
  }
  return out
}
