import { type Fields, fieldsOf, itemsOf, textOf } from '../config/fields.ts'
import type { KubeObject } from '../ports/kube.ts'

/** A body that is no review: the caller answers 400 with this sentence. */
export class ReviewError extends Error {
  override readonly name = 'ReviewError'
}

/** What is asked of an admission webhook: `request` of an AdmissionReview of admission.k8s.io/v1. */
export type AdmissionRequest = {
  readonly uid: string
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT'
  readonly kind: string
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string
  /** Empty while the API server has yet to make one up from generateName. */
  readonly name: string
  /** Absent for DELETE. */
  readonly object: KubeObject | undefined
  /** Absent for CREATE. */
  readonly oldObject: KubeObject | undefined
}

const OPERATIONS = ['CREATE', 'UPDATE', 'DELETE', 'CONNECT'] as const

/** @throws ReviewError that says which part is missing or of the wrong kind */
export function parseAdmissionReview(body: unknown): AdmissionRequest {
  const request = requestOf(body, 'admission.k8s.io/v1', 'AdmissionReview')
  const operation = OPERATIONS.find(known => known === request['operation'])
  if (operation === undefined)
    throw new ReviewError(`request.operation must be one of ${OPERATIONS.join(', ')}`)
  const object = objectIn(request, 'object')
  const oldObject = objectIn(request, 'oldObject')
  if ((operation === 'CREATE' || operation === 'UPDATE') && object === undefined) {
    throw new ReviewError(`request.object is missing from a review of ${operation}`)
  }
  if (operation === 'DELETE' && oldObject === undefined) {
    throw new ReviewError('request.oldObject is missing from a review of DELETE')
  }
  const { metadata } = object ?? oldObject ?? { metadata: undefined }
  return {
    uid: textOf(request['uid']) ?? '',
    operation,
    kind: textOf(fieldsOf(request['kind'])['kind']) ?? '',
    namespace: textOf(request['namespace']) ?? textOf(metadata?.namespace) ?? '',
    name: textOf(request['name']) ?? textOf(metadata?.name) ?? '',
    object,
    oldObject,
  }
}

export type Verdict = {
  readonly allowed: boolean
  /** Why not; empty when allowed. */
  readonly message: string
  /** Shown to whoever sent the object, allowed or not. */
  readonly warnings: readonly string[]
}

/** The AdmissionReview to answer with. A refusal is 403, as MetalLB's is. */
export function admissionAnswer(uid: string, { allowed, message, warnings }: Verdict): Fields {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed,
      ...(allowed ? {} : { status: { code: 403, reason: 'Forbidden', message } }),
      ...(warnings.length === 0 ? {} : { warnings }),
    },
  }
}

/** What is asked of a conversion webhook: `request` of a ConversionReview of apiextensions.k8s.io/v1. */
export type ConversionRequest = {
  readonly uid: string
  /** Such as `metallb.io/v1beta2`. */
  readonly desiredApiVersion: string
  readonly objects: readonly KubeObject[]
}

/** @throws ReviewError */
export function parseConversionReview(body: unknown): ConversionRequest {
  const request = requestOf(body, 'apiextensions.k8s.io/v1', 'ConversionReview')
  const desiredApiVersion = textOf(request['desiredAPIVersion'])
  if (desiredApiVersion === undefined) throw new ReviewError('request.desiredAPIVersion is missing')
  if (!Array.isArray(request['objects'])) throw new ReviewError('request.objects must be a list')
  const objects = itemsOf(request['objects']).map((item, index) => {
    const object = objectIn({ item }, 'item')
    if (object === undefined) throw new ReviewError(`request.objects[${index}] must be an object`)
    return object
  })
  return { uid: textOf(request['uid']) ?? '', desiredApiVersion, objects }
}

/** The ConversionReview to answer with: all objects in their order, or why one of them cannot be converted. */
export function conversionAnswer(uid: string, converted: readonly KubeObject[] | string): Fields {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'ConversionReview',
    response: {
      uid,
      ...(typeof converted === 'string'
        ? { result: { status: 'Failure', message: converted } }
        : { result: { status: 'Success' }, convertedObjects: converted }),
    },
  }
}

function requestOf(body: unknown, apiVersion: string, kind: string): Fields {
  const review = fieldsOf(body)
  if (review['apiVersion'] !== apiVersion || review['kind'] !== kind) {
    throw new ReviewError(`the body must be a ${kind} of ${apiVersion}`)
  }
  const request = fieldsOf(review['request'])
  if (textOf(request['uid']) === undefined) throw new ReviewError('request.uid is missing')
  return request
}

/** An object with metadata; null counts as absent. @throws ReviewError when it is something else */
function objectIn(fields: Fields, name: string): KubeObject | undefined {
  const value = fields[name]
  if (value === undefined || value === null) return undefined
  if (!isObject(value) || !isObject(fieldsOf(value)['metadata'])) {
    throw new ReviewError(`request.${name} must be an object with metadata`)
  }
  return value as KubeObject
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
