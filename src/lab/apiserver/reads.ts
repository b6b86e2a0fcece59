import type { ServerResponse } from 'node:http'
import type { Wanted } from './negotiation.ts'
import { type ApiObject, type JsonObject, record } from './objects.ts'
import { apiVersionOf, type ResourceType } from './resource-type.ts'
import { parseFieldSelector, parseLabelSelector } from './selectors.ts'
import { ApiError, badRequest, expired, invalid } from './status.ts'
import type { Change, Collection, Store, Stored } from './store.ts'
import { partialMetadata, type RowObject, row, table } from './table.ts'
import { eventLine, type WatchEncoder, type WatchEnd, type WatchEvent, Watcher } from './watch.ts'

/** What of a collection is asked for. */
export type Query = {
  readonly namespace: string | undefined
  readonly parameters: URLSearchParams
  readonly wanted: Wanted
  /** Wall clock milliseconds. */
  readonly now: number
}

/** How an object is shown in the version of the request. */
export function shown(type: ResourceType, object: ApiObject): ApiObject {
  if (type.fromStored !== undefined) return type.fromStored(object)
  const apiVersion = apiVersionOf(type)
  return object.apiVersion === apiVersion ? object : { ...object, apiVersion }
}

/** The shared bytes of a stored object in the version of the request. */
export function bytesOf(type: ResourceType, stored: Stored): Buffer {
  return stored.bytes(apiVersionOf(type), object => shown(type, object))
}

function includeObject(parameters: URLSearchParams): RowObject {
  const value = parameters.get('includeObject')
  return value === 'Object' || value === 'None' ? value : 'Metadata'
}

function selection(type: ResourceType, query: Query): ((object: ApiObject) => boolean) | undefined {
  const labels = query.parameters.get('labelSelector') ?? ''
  const fields = query.parameters.get('fieldSelector') ?? ''
  const { namespace } = query
  const tests: ((object: ApiObject) => boolean)[] = []
  if (namespace !== undefined) tests.push(object => object.metadata.namespace === namespace)
  if (labels !== '') {
    const holds = parseLabelSelector(labels)
    tests.push(object => holds(object.metadata.labels ?? {}))
  }
  if (fields !== '') tests.push(parseFieldSelector(fields, type))
  if (tests.length === 0) return undefined
  return object => tests.every(holds => holds(object))
}

function parseRevision(text: string | null): number | undefined {
  if (text === null || text === '') return undefined
  if (!/^\d+$/.test(text)) throw badRequest(`invalid resource version ${JSON.stringify(text)}`)
  return Number(text)
}

type Continue = { readonly revision: number; readonly after: string }

function decodeContinue(token: string): Continue {
  try {
    const value: unknown = JSON.parse(Buffer.from(token, 'base64url').toString())
    const { rv, start } = record(value)
    if (typeof rv === 'number' && typeof start === 'string') return { revision: rv, after: start }
  } catch {
    // Said below: whatever is wrong with it, it is not a token of ours.
  }
  throw badRequest('continue key is not valid')
}

/** A list as bytes, in the form that was asked for. @throws ApiError 400, 410 */
export function listBytes(store: Store, type: ResourceType, query: Query): Buffer {
  const { parameters } = query
  const collection = store.collection(type.storageKey)
  const asked = parseRevision(parameters.get('resourceVersion'))
  const match = parameters.get('resourceVersionMatch')
  const token = parameters.get('continue') ?? ''
  const from = token === '' ? undefined : decodeContinue(token)
  if (match !== null && match !== '' && match !== 'Exact' && match !== 'NotOlderThan') {
    throw invalid(type, '', [
      {
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${JSON.stringify(match)}`,
        field: 'resourceVersionMatch',
      },
    ])
  }
  if (asked !== undefined && asked > store.revision) {
    throw new ApiError(504, 'Timeout', `Too large resource version: ${asked}, current: ${store.revision}`, {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version', field: '' }],
      retryAfterSeconds: 1,
    })
  }
  const revision = from?.revision ?? (match === 'Exact' ? asked : undefined) ?? store.revision
  let items: readonly Stored[]
  try {
    items = collection.allAt(revision)
  } catch (error) {
    if (from === undefined) throw error
    throw expired(
      'The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.',
    )
  }
  const accepts = selection(type, query)
  if (from !== undefined) items = items.slice(firstAfter(items, from.after))
  if (accepts !== undefined) items = items.filter(stored => accepts(stored.object))
  const limit = Number(parameters.get('limit') ?? 0)
  const metadata: JsonObject = { resourceVersion: String(revision) }
  if (limit > 0 && items.length > limit) {
    const last = items[limit - 1]
    metadata['continue'] = Buffer.from(JSON.stringify({ rv: revision, start: last?.key ?? '' })).toString(
      'base64url',
    )
    if (accepts === undefined || query.parameters.get('labelSelector') === null) {
      metadata['remainingItemCount'] = items.length - limit
    }
    items = items.slice(0, limit)
  }
  return encodeList(type, query, items, metadata)
}

function firstAfter(items: readonly Stored[], key: string): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((items[middle]?.key ?? '') <= key) low = middle + 1
    else high = middle
  }
  return low
}

function encodeList(
  type: ResourceType,
  query: Query,
  items: readonly Stored[],
  metadata: JsonObject,
): Buffer {
  const { wanted } = query
  if (wanted.as === 'table') {
    const objects = items.map(stored => stored.object)
    return json(
      table(objects, type, {
        now: query.now,
        include: includeObject(query.parameters),
        version: wanted.version,
        metadata,
      }),
    )
  }
  if (wanted.as === 'partial') {
    return json({
      kind: 'PartialObjectMetadataList',
      apiVersion: `meta.k8s.io/${wanted.version}`,
      metadata,
      items: items.map(stored => partialMetadata(stored.object, wanted.version)),
    })
  }
  const head = `{"kind":${JSON.stringify(type.listKind)},"apiVersion":${JSON.stringify(apiVersionOf(type))},"metadata":${JSON.stringify(metadata)},"items":[`
  const parts: Buffer[] = [Buffer.from(head)]
  const comma = Buffer.from(',')
  items.forEach((stored, i) => {
    if (i > 0) parts.push(comma)
    parts.push(bytesOf(type, stored))
  })
  parts.push(Buffer.from(']}\n'))
  return Buffer.concat(parts)
}

export function json(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`)
}

/** One object in the form that was asked for. */
export function encodeOne(
  type: ResourceType,
  object: ApiObject,
  stored: Stored | undefined,
  query: Query,
): Buffer {
  const { wanted } = query
  if (wanted.as === 'table') {
    return json(
      table([object], type, {
        now: query.now,
        include: includeObject(query.parameters),
        version: wanted.version,
        metadata: { resourceVersion: object.metadata.resourceVersion ?? '' },
      }),
    )
  }
  if (wanted.as === 'partial') return json(partialMetadata(object, wanted.version))
  return stored === undefined ? json(shown(type, object)) : bytesOf(type, stored)
}

export type WatchContext = {
  readonly store: Store
  readonly response: ServerResponse
  readonly onClose: (why: WatchEnd) => void
}

const INITIAL_END = 'k8s.io/initial-events-end'

/**
 * Opens a watch on a response whose headers have been sent. A revision that is too old, or of another run of the server, is
 * answered in the stream with an ERROR event of code 410.
 * @throws ApiError 400, 422 for parameters that make no sense
 */
export function openWatch(type: ResourceType, query: Query, context: WatchContext): Watcher | undefined {
  const { parameters } = query
  const { store, response } = context
  const collection = store.collection(type.storageKey)
  const accepts = selection(type, query) ?? (() => true)
  const asked = parseRevision(parameters.get('resourceVersion'))
  const bookmarks = isTrue(parameters.get('allowWatchBookmarks'))
  const sendInitial = parameters.get('sendInitialEvents')
  const causes = initialEventsProblems(parameters, bookmarks)
  if (causes !== undefined) throw invalid(type, '', [causes])

  const initial: ({ type: WatchEvent; stored: Stored } | { bytes: Buffer })[] = []
  const encode = watchEncoder(type, query)
  const bookmark = (revision: number, initialEnd: boolean): Buffer =>
    bookmarkLine(type, query, revision, initialEnd)
  const fromStart = sendInitial === null ? asked === undefined || asked === 0 : isTrue(sendInitial)
  const start = (): number => {
    if (fromStart) {
      for (const stored of collection.all()) {
        if (accepts(stored.object)) initial.push({ type: 'ADDED', stored })
      }
      if (isTrue(sendInitial)) initial.push({ bytes: bookmark(store.revision, true) })
    } else if (asked !== undefined && asked !== 0) {
      if (asked > store.revision) throw expired(`too large resource version: ${asked} (${store.revision})`)
      replay(collection, asked, accepts, initial)
    }
    return store.revision
  }
  let revision: number
  try {
    revision = start()
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    response.writeHead(200, WATCH_HEADERS)
    response.end(json({ type: 'ERROR', object: error.toStatus() }))
    context.onClose('ended')
    return undefined
  }
  response.writeHead(200, WATCH_HEADERS)
  response.flushHeaders()
  return new Watcher(
    {
      response,
      collection,
      accepts,
      encode,
      bookmark: bookmarks ? bookmark : undefined,
      onClose: context.onClose,
    },
    revision,
    initial,
  )
}

const WATCH_HEADERS = { 'content-type': 'application/json', 'cache-control': 'no-cache, private' }

function replay(
  collection: Collection,
  since: number,
  accepts: (object: ApiObject) => boolean,
  into: ({ type: WatchEvent; stored: Stored } | { bytes: Buffer })[],
): void {
  for (const change of collection.changesSince(since)) {
    const event = Watcher.eventFor(change satisfies Change, accepts)
    if (event !== undefined) into.push(event)
  }
}

function initialEventsProblems(parameters: URLSearchParams, bookmarks: boolean) {
  const sendInitial = parameters.get('sendInitialEvents')
  const match = parameters.get('resourceVersionMatch')
  const forbidden = (message: string, field: string) => ({
    reason: 'FieldValueForbidden',
    message: `Forbidden: ${message}`,
    field,
  })
  if (sendInitial === null) {
    return match === null || match === ''
      ? undefined
      : forbidden(
          'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
          'resourceVersionMatch',
        )
  }
  if (match !== 'NotOlderThan') {
    return forbidden(
      'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
      'resourceVersionMatch',
    )
  }
  if (isTrue(sendInitial) && !bookmarks) {
    return forbidden('sendInitialEvents requires allowWatchBookmarks', 'allowWatchBookmarks')
  }
  return undefined
}

export function isTrue(value: string | null): boolean {
  return value === 'true' || value === '1'
}

function watchEncoder(type: ResourceType, query: Query): WatchEncoder {
  const { wanted } = query
  if (wanted.as === 'table') {
    const include = includeObject(query.parameters)
    let first = true
    return (event, stored) => {
      const object = {
        ...table([], type, {
          now: query.now,
          include,
          version: wanted.version,
          metadata: { resourceVersion: String(stored.revision) },
          withColumns: first,
        }),
        rows: [row(stored.object, type, Date.now(), include, wanted.version)],
      }
      first = false
      return json({ type: event, object })
    }
  }
  if (wanted.as === 'partial') {
    return (event, stored) => json({ type: event, object: partialMetadata(stored.object, wanted.version) })
  }
  return (event, stored) => eventLine(event, bytesOf(type, stored))
}

function bookmarkLine(type: ResourceType, query: Query, revision: number, initialEnd: boolean): Buffer {
  const { wanted } = query
  const metadata: JsonObject = {
    resourceVersion: String(revision),
    creationTimestamp: null,
    ...(initialEnd ? { annotations: { [INITIAL_END]: 'true' } } : {}),
  }
  const envelope =
    wanted.as === 'partial'
      ? { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${wanted.version}` }
      : { kind: type.kind, apiVersion: apiVersionOf(type) }
  if (wanted.as === 'table') {
    const object = {
      ...table([], type, {
        now: query.now,
        include: 'None',
        version: wanted.version,
        metadata: { resourceVersion: String(revision) },
        withColumns: false,
      }),
      rows: [{ cells: [], object: { ...envelope, metadata } }],
    }
    return json({ type: 'BOOKMARK', object })
  }
  return json({ type: 'BOOKMARK', object: { ...envelope, metadata } })
}
