import { clone, isRecord, type JsonObject } from './objects.ts'
import { type Cause, invalidValue, required, unsupportedValue } from './status.ts'

/**
 * The part of OpenAPI v3 that Kubernetes calls structural, with its extensions. Built-in kinds and CRDs are described by the
 * same thing, and validation, pruning, defaults, patches and field ownership all read it.
 */
export type Schema = {
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean'
  description?: string
  properties?: Record<string, Schema>
  additionalProperties?: Schema | boolean
  items?: Schema
  required?: readonly string[]
  enum?: readonly unknown[]
  default?: unknown
  nullable?: boolean
  format?: string
  pattern?: string
  minimum?: number
  maximum?: number
  exclusiveMinimum?: boolean
  exclusiveMaximum?: boolean
  multipleOf?: number
  minLength?: number
  maxLength?: number
  minItems?: number
  maxItems?: number
  uniqueItems?: boolean
  minProperties?: number
  maxProperties?: number
  allOf?: readonly Schema[]
  anyOf?: readonly Schema[]
  oneOf?: readonly Schema[]
  not?: Schema
  'x-kubernetes-preserve-unknown-fields'?: boolean
  'x-kubernetes-embedded-resource'?: boolean
  'x-kubernetes-int-or-string'?: boolean
  'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map'
  'x-kubernetes-list-map-keys'?: readonly string[]
  'x-kubernetes-map-type'?: 'atomic' | 'granular'
  'x-kubernetes-patch-merge-key'?: string
  'x-kubernetes-patch-strategy'?: string
  'x-kubernetes-group-version-kind'?: readonly { group: string; version: string; kind: string }[]
}

/** The schema of a field of an object, or undefined when the schema does not know it. */
export function fieldSchema(schema: Schema | undefined, field: string): Schema | undefined {
  const own = schema?.properties
  if (own !== undefined && Object.hasOwn(own, field)) return own[field]
  const rest = schema?.additionalProperties
  return typeof rest === 'object' ? rest : undefined
}

function keepsUnknown(schema: Schema): boolean {
  return (
    schema['x-kubernetes-preserve-unknown-fields'] === true ||
    schema.additionalProperties === true ||
    (schema.type === undefined &&
      schema.properties === undefined &&
      schema.additionalProperties === undefined)
  )
}

/** Takes out, in place, every field the schema does not know; calls `onUnknown` with its path (`spec.foo`). */
export function prune(
  value: unknown,
  schema: Schema,
  path: string,
  onUnknown: (path: string) => void,
  isRoot = true,
): void {
  if (Array.isArray(value)) {
    const items = schema.items
    if (items === undefined) return
    for (let i = 0; i < value.length; i++) prune(value[i], items, `${path}[${i}]`, onUnknown, false)
    return
  }
  if (!isRecord(value)) return
  const embedded = isRoot || schema['x-kubernetes-embedded-resource'] === true
  for (const field of Object.keys(value)) {
    if (embedded && (field === 'apiVersion' || field === 'kind')) continue
    const below = path === '' ? field : `${path}.${field}`
    const child = fieldSchema(schema, field)
    if (child !== undefined) prune(value[field], child, below, onUnknown, false)
    else if (embedded && field === 'metadata') continue
    else if (!keepsUnknown(schema)) {
      delete value[field]
      onUnknown(below)
    }
  }
}

/** Fills defaults in place. A null where the schema has a default and does not allow null counts as absent. */
export function applyDefaults(value: unknown, schema: Schema): void {
  if (Array.isArray(value)) {
    if (schema.items !== undefined) for (const item of value) applyDefaults(item, schema.items)
    return
  }
  if (!isRecord(value)) return
  if (schema.properties !== undefined) {
    for (const field in schema.properties) {
      const child = schema.properties[field]
      if (child === undefined) continue
      const here = value[field]
      if (child.default !== undefined && (here === undefined || (here === null && child.nullable !== true))) {
        value[field] = clone(child.default)
      }
      const now = value[field]
      if (typeof now === 'object' && now !== null) applyDefaults(now, child)
    }
  }
  const rest = schema.additionalProperties
  if (typeof rest === 'object') {
    for (const field in value) {
      if (schema.properties !== undefined && Object.hasOwn(schema.properties, field)) continue
      applyDefaults(value[field], rest)
    }
  }
}

/** Takes out, in place, nulls that stand for absence (as decoding into a typed struct does), except where null is allowed. */
export function dropNulls(value: unknown, schema: Schema | undefined): void {
  if (Array.isArray(value)) {
    for (const item of value) dropNulls(item, schema?.items)
    return
  }
  if (!isRecord(value)) return
  for (const field of Object.keys(value)) {
    const child = fieldSchema(schema, field)
    if (value[field] === null && child !== undefined && child.nullable !== true) delete value[field]
    else dropNulls(value[field], child)
  }
}

const TYPE_NAMES = (value: unknown): string => {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value
}

const RFC3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/
const patterns = new Map<string, RegExp | undefined>()

/** Go's RE2 and JavaScript agree on what schemas use; a pattern JavaScript cannot read is not enforced. */
function compiled(pattern: string): RegExp | undefined {
  if (!patterns.has(pattern)) {
    let regexp: RegExp | undefined
    try {
      regexp = new RegExp(pattern, 'u')
    } catch {
      try {
        regexp = new RegExp(pattern)
      } catch {
        regexp = undefined
      }
    }
    patterns.set(pattern, regexp)
  }
  return patterns.get(pattern)
}

/** Every way in which the value breaks the schema; paths as in `spec.addresses[0]`. */
export function validate(value: unknown, schema: Schema, path: string, causes: Cause[] = []): Cause[] {
  if (value === null) {
    if (schema.nullable === true || schema.type === undefined) return causes
    causes.push(typeCause(path, schema.type, value))
    return causes
  }
  if (schema['x-kubernetes-int-or-string'] === true) {
    if (typeof value !== 'string' && !Number.isInteger(value)) {
      causes.push(typeCause(path, 'integer,string', value))
      return causes
    }
  } else if (schema.type !== undefined) {
    const actual = TYPE_NAMES(value)
    if (actual !== schema.type && !(schema.type === 'number' && actual === 'integer')) {
      causes.push(typeCause(path, schema.type, value))
      return causes
    }
  }
  if (schema.enum !== undefined && !schema.enum.includes(value)) {
    causes.push(unsupportedValue(path, value, schema.enum))
  }
  if (typeof value === 'string') validateString(value, schema, path, causes)
  else if (typeof value === 'number') validateNumber(value, schema, path, causes)
  else if (Array.isArray(value)) validateArray(value, schema, path, causes)
  else if (isRecord(value)) validateRecord(value, schema, path, causes)
  validateCombined(value, schema, path, causes)
  return causes
}

function typeCause(path: string, type: string, value: unknown): Cause {
  return {
    reason: 'FieldValueTypeInvalid',
    message: `Invalid value: ${JSON.stringify(TYPE_NAMES(value))}: ${path} in body must be of type ${type}: ${JSON.stringify(TYPE_NAMES(value))}`,
    field: path,
  }
}

function validateString(value: string, schema: Schema, path: string, causes: Cause[]): void {
  if (schema.minLength !== undefined && value.length < schema.minLength) {
    causes.push(
      invalidValue(path, value, `${path} in body should be at least ${schema.minLength} chars long`),
    )
  }
  if (schema.maxLength !== undefined && value.length > schema.maxLength) {
    causes.push({
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${schema.maxLength} bytes`,
      field: path,
    })
  }
  if (schema.pattern !== undefined && compiled(schema.pattern)?.test(value) === false) {
    causes.push(invalidValue(path, value, `${path} in body should match '${schema.pattern}'`))
  }
  if (schema.format === 'date-time' && !RFC3339.test(value)) {
    causes.push(
      invalidValue(path, value, `${path} in body must be of type date-time: ${JSON.stringify(value)}`),
    )
  }
}

function validateNumber(value: number, schema: Schema, path: string, causes: Cause[]): void {
  const { minimum, maximum, multipleOf } = schema
  if (minimum !== undefined && (schema.exclusiveMinimum === true ? value <= minimum : value < minimum)) {
    const than = schema.exclusiveMinimum === true ? 'greater than' : 'greater than or equal to'
    causes.push(invalidValue(path, value, `${path} in body should be ${than} ${minimum}`))
  }
  if (maximum !== undefined && (schema.exclusiveMaximum === true ? value >= maximum : value > maximum)) {
    const than = schema.exclusiveMaximum === true ? 'less than' : 'less than or equal to'
    causes.push(invalidValue(path, value, `${path} in body should be ${than} ${maximum}`))
  }
  if (multipleOf !== undefined && !Number.isInteger(value / multipleOf)) {
    causes.push(invalidValue(path, value, `${path} in body should be a multiple of ${multipleOf}`))
  }
  if (schema.format === 'int32' && (value > 2147483647 || value < -2147483648)) {
    causes.push(invalidValue(path, value, `${path} in body must be of type int32`))
  }
}

function validateArray(value: readonly unknown[], schema: Schema, path: string, causes: Cause[]): void {
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    causes.push(
      invalidValue(path, value.length, `${path} in body should have at least ${schema.minItems} items`),
    )
  }
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    causes.push({
      reason: 'FieldValueTooMany',
      message: `Too many: ${value.length}: must have at most ${schema.maxItems} items`,
      field: path,
    })
  }
  if (schema.items !== undefined) {
    const items = schema.items
    value.forEach((item, i) => validate(item, items, `${path}[${i}]`, causes))
  }
  const listType = schema['x-kubernetes-list-type']
  if (schema.uniqueItems === true || listType === 'set' || listType === 'map') {
    const keys = schema['x-kubernetes-list-map-keys'] ?? []
    const seen = new Set<string>()
    value.forEach((item, i) => {
      const key = JSON.stringify(listType === 'map' && isRecord(item) ? keys.map(k => item[k]) : item)
      if (seen.has(key)) {
        causes.push({
          reason: 'FieldValueDuplicate',
          message: `Duplicate value: ${key}`,
          field: `${path}[${i}]`,
        })
      }
      seen.add(key)
    })
  }
}

function validateRecord(value: JsonObject, schema: Schema, path: string, causes: Cause[]): void {
  const below = (field: string): string => (path === '' ? field : `${path}.${field}`)
  for (const field of schema.required ?? []) {
    if (value[field] === undefined) causes.push(required(below(field)))
  }
  const count = Object.keys(value).length
  if (schema.minProperties !== undefined && count < schema.minProperties) {
    causes.push(
      invalidValue(path, count, `${path} in body should have at least ${schema.minProperties} properties`),
    )
  }
  if (schema.maxProperties !== undefined && count > schema.maxProperties) {
    causes.push(
      invalidValue(path, count, `${path} in body should have at most ${schema.maxProperties} properties`),
    )
  }
  for (const field in value) {
    const child = fieldSchema(schema, field)
    if (child !== undefined && value[field] !== undefined) validate(value[field], child, below(field), causes)
  }
}

function validateCombined(value: unknown, schema: Schema, path: string, causes: Cause[]): void {
  for (const part of schema.allOf ?? []) validate(value, part, path, causes)
  if (schema.anyOf !== undefined && !schema.anyOf.some(part => validate(value, part, path).length === 0)) {
    causes.push(invalidValue(path, value, `${path} in body must validate at least one schema (anyOf)`))
  }
  if (
    schema.oneOf !== undefined &&
    schema.oneOf.filter(part => validate(value, part, path).length === 0).length !== 1
  ) {
    causes.push(invalidValue(path, value, `${path} in body must validate one and only one schema (oneOf)`))
  }
  if (schema.not !== undefined && validate(value, schema.not, path).length === 0) {
    causes.push(invalidValue(path, value, `${path} in body must not validate the schema (not)`))
  }
}
