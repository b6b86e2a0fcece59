import type { JsonObject } from './objects.ts'

export type Cause = { reason: string; message: string; field: string }

export type StatusDetails = {
  name?: string
  group?: string
  kind?: string
  uid?: string
  causes?: readonly Cause[]
  retryAfterSeconds?: number
}

/** A refusal, answered as a metav1.Status. `reason` is Kubernetes' StatusReason, `code` the HTTP status. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code: number
  readonly reason: string
  readonly details: StatusDetails

  constructor(code: number, reason: string, message: string, details: StatusDetails = {}) {
    super(message)
    this.code = code
    this.reason = reason
    this.details = details
  }

  toStatus(): JsonObject {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: this.message,
      reason: this.reason,
      details: this.details,
      code: this.code,
    }
  }
}

/** What an error names: the resource (plural) and its group. */
export type Named = { readonly group: string; readonly plural: string; readonly kind: string }

function qualified(type: Named): string {
  return type.group === '' ? type.plural : `${type.plural}.${type.group}`
}

export const badRequest = (message: string): ApiError => new ApiError(400, 'BadRequest', message)

export const notFound = (type: Named, name: string): ApiError =>
  new ApiError(404, 'NotFound', `${qualified(type)} "${name}" not found`, {
    name,
    group: type.group,
    kind: type.plural,
  })

/** No such path. */
export const noSuchPath = (): ApiError =>
  new ApiError(404, 'NotFound', 'the server could not find the requested resource')

export const alreadyExists = (type: Named, name: string): ApiError =>
  new ApiError(409, 'AlreadyExists', `${qualified(type)} "${name}" already exists`, {
    name,
    group: type.group,
    kind: type.plural,
  })

export const conflict = (type: Named, name: string, why: string): ApiError =>
  new ApiError(409, 'Conflict', `Operation cannot be fulfilled on ${qualified(type)} "${name}": ${why}`, {
    name,
    group: type.group,
    kind: type.plural,
  })

export const STALE =
  'the object has been modified; please apply your changes to the latest version and try again'

/** 422 with one cause per field. */
export function invalid(type: Named, name: string, causes: readonly Cause[]): ApiError {
  const parts = causes.map(cause => `${cause.field}: ${cause.message}`)
  const all = parts.length === 1 ? (parts[0] ?? '') : `[${parts.join(', ')}]`
  const kind = type.group === '' ? type.kind : `${type.kind}.${type.group}`
  return new ApiError(422, 'Invalid', `${kind} "${name}" is invalid: ${all}`, {
    name,
    group: type.group,
    kind: type.kind,
    causes,
  })
}

export const required = (field: string, why = ''): Cause => ({
  reason: 'FieldValueRequired',
  message: why === '' ? 'Required value' : `Required value: ${why}`,
  field,
})

export const invalidValue = (field: string, value: unknown, why: string): Cause => ({
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${JSON.stringify(value) ?? 'null'}: ${why}`,
  field,
})

export const unsupportedValue = (field: string, value: unknown, allowed: readonly unknown[]): Cause => ({
  reason: 'FieldValueNotSupported',
  message: `Unsupported value: ${JSON.stringify(value) ?? 'null'}: supported values: ${allowed.map(a => JSON.stringify(a)).join(', ')}`,
  field,
})

export const forbiddenField = (field: string, why: string): Cause => ({
  reason: 'FieldValueForbidden',
  message: `Forbidden: ${why}`,
  field,
})

export const expired = (why: string): ApiError => new ApiError(410, 'Expired', why)
