import { KubeError, type KubeErrorCode, type KubeObject, type Resource } from '../ports/kube.ts'

// What the API server says, checked before anyone believes it.

type Json = Readonly<Record<string, unknown>>

export type Page = {
  readonly objects: readonly KubeObject[]
  readonly resourceVersion: string
  readonly continue: string | undefined
}

export type WatchEvent =
  | { readonly type: 'put' | 'drop'; readonly object: KubeObject; readonly resourceVersion: string }
  | { readonly type: 'bookmark'; readonly resourceVersion: string }
  | { readonly type: 'error'; readonly error: KubeError }

export function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function apiVersionOf(resource: Resource): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`
}

/** @throws KubeError 'bad-answer' */
export function parseObject(resource: Resource, value: unknown, what: string): KubeObject {
  if (!isRecord(value) || !isRecord(value['metadata']) || typeof value['metadata']['name'] !== 'string')
    throw badAnswer(what, `no ${resource.kind} with a name`)
  const kind = value['kind']
  if (kind !== undefined && kind !== resource.kind)
    throw badAnswer(what, `kind ${JSON.stringify(kind)} where ${resource.kind} was asked for`)
  return value as KubeObject
}

/** One page of a list. Objects in lists come without kind and apiVersion; they are filled in. @throws KubeError 'bad-answer' */
export function parsePage(resource: Resource, value: unknown, what: string): Page {
  if (!isRecord(value) || !isRecord(value['metadata'])) throw badAnswer(what, 'no list')
  const { kind, items, metadata } = value
  if (typeof kind !== 'string' || !kind.endsWith('List') || (items !== null && !Array.isArray(items)))
    throw badAnswer(what, `kind ${JSON.stringify(kind)} where ${resource.kind}List was asked for`)
  const resourceVersion = metadata['resourceVersion']
  const next = metadata['continue']
  if (typeof resourceVersion !== 'string') throw badAnswer(what, 'a list without metadata.resourceVersion')
  const apiVersion = apiVersionOf(resource)
  const objects = (items ?? []).map((item: unknown): KubeObject => {
    const object = parseObject(resource, item, what)
    return object.kind === undefined ? { apiVersion, kind: resource.kind, ...object } : object
  })
  return { objects, resourceVersion, continue: typeof next === 'string' && next !== '' ? next : undefined }
}

/** One line of a watch. @throws KubeError 'bad-answer' */
export function parseWatchLine(resource: Resource, line: string, what: string): WatchEvent {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (cause) {
    throw badAnswer(what, `a line that is no JSON: ${excerpt(line)}`, cause)
  }
  if (!isRecord(value) || !isRecord(value['object']))
    throw badAnswer(what, `no watch event: ${excerpt(line)}`)
  const { type, object } = value
  if (type === 'ERROR') return { type: 'error', error: errorFromStatus(object, undefined, undefined, what) }
  const metadata = object['metadata']
  const resourceVersion = isRecord(metadata) ? metadata['resourceVersion'] : undefined
  if (typeof resourceVersion !== 'string')
    throw badAnswer(what, `an event without resourceVersion: ${excerpt(line)}`)
  switch (type) {
    case 'BOOKMARK':
      return { type: 'bookmark', resourceVersion }
    case 'ADDED':
    case 'MODIFIED':
      return { type: 'put', object: parseObject(resource, object, what), resourceVersion }
    case 'DELETED':
      return { type: 'drop', object: parseObject(resource, object, what), resourceVersion }
    default:
      throw badAnswer(what, `an event of type ${JSON.stringify(type)}`)
  }
}

/** The error that an HTTP status, and the Status object that came with it if one did, stand for. */
export function errorFromStatus(
  body: unknown,
  httpStatus: number | undefined,
  retryAfterSeconds: number | undefined,
  what: string,
): KubeError {
  const status = isRecord(body) && body['kind'] === 'Status' ? body : undefined
  const code = typeof status?.['code'] === 'number' ? status['code'] : (httpStatus ?? 500)
  const details = isRecord(status?.['details']) ? status['details'] : undefined
  const retry = retryAfterSeconds ?? positive(details?.['retryAfterSeconds'])
  const said =
    typeof status?.['message'] === 'string'
      ? status['message']
      : typeof body === 'string' && body.trim() !== ''
        ? excerpt(body.trim())
        : 'no explanation'
  return new KubeError(codeFor(code, status?.['reason']), `${what}: ${code} ${said}`, {
    status: code,
    ...(retry === undefined ? {} : { retryAfterSeconds: retry }),
  })
}

export function badAnswer(what: string, problem: string, cause?: unknown): KubeError {
  return new KubeError('bad-answer', `${what}: the API server answered with ${problem}`, { cause })
}

/** The start of a text, for messages. */
export function excerpt(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length > 120 ? `${line.slice(0, 120)}...` : line
}

function codeFor(status: number, reason: unknown): KubeErrorCode {
  switch (status) {
    case 401:
      return 'unauthorized'
    case 403:
      return 'forbidden'
    case 404:
      return 'not-found'
    case 409:
      return reason === 'AlreadyExists' ? 'already-exists' : 'conflict'
    case 410:
      return 'gone'
    case 429:
      return 'throttled'
    default:
      if (reason === 'Expired' || reason === 'Gone') return 'gone'
      if (status >= 500 || status === 408) return 'server-error'
      return status >= 400 ? 'invalid' : 'bad-answer'
  }
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined
}
