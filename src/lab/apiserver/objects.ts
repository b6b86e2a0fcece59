/** A JSON object whose fields are not known. */
export type JsonObject = { [field: string]: unknown }

export type OwnerReference = {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean
  blockOwnerDeletion?: boolean
}

/** An entry of `metadata.managedFields`; `fieldsV1` is a tree as `fields.ts` describes it. */
export type ManagedFields = {
  manager: string
  operation: 'Apply' | 'Update'
  apiVersion: string
  time?: string
  fieldsType: 'FieldsV1'
  fieldsV1: FieldTree
  subresource?: string
}

/** FieldsV1: `f:name`, `k:{"key":"value"}`, `v:value` and `.` for the node itself; a node without children is a member. */
export type FieldTree = { [segment: string]: FieldTree }

export type Meta = {
  name: string
  namespace?: string
  generateName?: string
  uid?: string
  resourceVersion?: string
  generation?: number
  creationTimestamp?: string
  deletionTimestamp?: string
  deletionGracePeriodSeconds?: number
  labels?: Record<string, string>
  annotations?: Record<string, string>
  ownerReferences?: OwnerReference[]
  finalizers?: string[]
  managedFields?: ManagedFields[]
  selfLink?: string
}

/** An API object. In the store it is never changed; what a handler builds from a request it may change until it is stored. */
export type ApiObject = {
  apiVersion: string
  kind: string
  metadata: Meta
  spec?: JsonObject
  status?: JsonObject
  [field: string]: unknown
}

export function isRecord(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The value when it is an object, else an empty one. */
export function record(value: unknown): JsonObject {
  return isRecord(value) ? value : {}
}

/** The value when it is an array, else an empty one. */
export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** The value when it is a string, else the empty one. */
export function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** A string as it is, all else as JSON: for people to read. */
export function display(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
}

/** A deep copy of plain JSON. */
export function clone<T>(value: T): T {
  if (Array.isArray(value)) return value.map(item => clone(item)) as T
  if (!isRecord(value)) return value
  const out: JsonObject = {}
  for (const key in value) setField(out, key, clone(value[key]))
  return out as T
}

/** Also a field named `__proto__`, which JSON may hold and an assignment would take for the prototype. */
export function setField(object: JsonObject, key: string, value: unknown): void {
  if (key !== '__proto__') object[key] = value
  else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
}

/** Equality of plain JSON; a field that is undefined counts as absent. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => equal(item, b[i]))
  }
  if (!isRecord(a) || !isRecord(b)) return false
  for (const key in a) if (!equal(a[key], b[key])) return false
  for (const key in b) if (b[key] !== undefined && a[key] === undefined) return false
  return true
}

/** Reads `.spec.ports` style paths given as segments. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let here = value
  for (const segment of path) {
    if (Array.isArray(here)) here = here[Number(segment)]
    else if (isRecord(here)) here = here[segment]
    else return undefined
  }
  return here
}

/** RFC 3339 in whole seconds, as metav1.Time is written. */
export function timestamp(wallMs: number): string {
  const second = Math.floor(wallMs / 1000)
  if (second !== lastTimestamp.second) {
    lastTimestamp = { second, text: `${new Date(second * 1000).toISOString().slice(0, 19)}Z` }
  }
  return lastTimestamp.text
}

/** Thousands of objects are written in the same second. */
let lastTimestamp = { second: Number.NaN, text: '' }
