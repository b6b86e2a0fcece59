import type { IncomingMessage, ServerResponse } from 'node:http'
import { parse as parseYaml } from 'yaml'
import type { Clock } from '../../ports/clock.ts'
import type { Cluster } from './cluster.ts'
import { aggregated, apiGroupList, apiGroupOf, apiResourceList, apiVersions } from './discovery.ts'
import { negotiate } from './negotiation.ts'
import { type ApiObject, at, clone, isRecord, type JsonObject, record, text } from './objects.ts'
import { openApiIndex, openApiV2, openApiV2Protobuf, openApiV3 } from './openapi.ts'
import { jsonPatch, mergePatch } from './patch.ts'
import { strategicMergePatch } from './patch-strategic.ts'
import { decodeProtobuf, PROTOBUF } from './protobuf.ts'
import { encodeOne, isTrue, json, listBytes, openWatch, type Query, shown } from './reads.ts'
import type { ResourceType } from './resource-type.ts'
import { answerReview, type User, VIRTUAL_RESOURCES } from './reviews.ts'
import { type ResourcePath, resourcePath, segmentsOf, virtualPath } from './routes.ts'
import { ApiError, badRequest, noSuchPath } from './status.ts'
import type { Stored } from './store.ts'
import type { WatchEnd, Watcher } from './watch.ts'
import { type DeleteOptions, keyOf, type Subresource, type WriteOptions } from './writer.ts'

export type RequestContext = {
  readonly cluster: Cluster
  readonly clock: Clock
  readonly user: User
  readonly tokens: ReadonlyMap<string, User>
  /** Keeps hold of an open watch until `done`. */
  readonly track: (watcher: Watcher) => void
  readonly untrack: (watcher: Watcher | undefined, why: WatchEnd) => void
}

/** A finished answer. Undefined where the response stays open (a watch). */
export type Answer = {
  readonly code: number
  readonly body: Buffer
  readonly contentType?: string
  readonly headers?: Record<string, string>
}

const BODY_BYTES_MAX = 3 * 1024 * 1024
const VERSION = {
  major: '1',
  minor: '31',
  gitVersion: 'v1.31.0+lodestone-lab',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: 'none',
  compiler: 'none',
  platform: 'linux/amd64',
}

/** Paths that anybody may ask for, without a token. */
export function isPublicPath(path: string): boolean {
  return path === '/version' || /^\/(healthz|livez|readyz)(\/|$)/.test(path)
}

/** @throws ApiError */
export async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  context: RequestContext,
): Promise<Answer | undefined> {
  const url = request.url ?? '/'
  const queryAt = url.indexOf('?')
  const path = queryAt < 0 ? url : url.slice(0, queryAt)
  const parameters = new URLSearchParams(queryAt < 0 ? '' : url.slice(queryAt + 1))
  const segments = segmentsOf(path)
  if (segments === undefined) throw noSuchPath()
  const fixed = answerFixed(request, segments, context)
  if (fixed !== undefined) return fixed

  const found = resourcePath(segments, context.cluster.registry)
  if (found !== undefined) return handleResource(request, response, found, parameters, context)
  const virtual = virtualPath(segments)
  const review =
    virtual === undefined
      ? undefined
      : VIRTUAL_RESOURCES.find(
          v => v.group === virtual.group && v.version === virtual.version && v.plural === virtual.plural,
        )
  if (review === undefined) throw noSuchPath()
  if (request.method !== 'POST') throw methodNotAllowed()
  const body = await readBody(request)
  if (!isRecord(body)) throw badRequest('the body is not an object')
  return ok(answerReview(review.plural, body, context.user, context.tokens), 201)
}

function ok(value: unknown, code = 200): Answer {
  return { code, body: json(value) }
}

function methodNotAllowed(): ApiError {
  return new ApiError(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
  )
}

/** Health, version, discovery and OpenAPI. */
function answerFixed(
  request: IncomingMessage,
  segments: readonly string[],
  context: RequestContext,
): Answer | undefined {
  const { registry } = context.cluster
  const [root, second, third] = segments
  const plain = (body: string): Answer => ({
    code: 200,
    body: Buffer.from(body),
    contentType: 'text/plain; charset=utf-8',
  })
  switch (root) {
    case undefined:
      return ok({
        paths: ['/api', '/apis', '/healthz', '/livez', '/openapi/v2', '/openapi/v3', '/readyz', '/version'],
      })
    case 'healthz':
    case 'livez':
    case 'readyz':
      return plain('ok')
    case 'version':
      return ok(VERSION)
    case 'openapi':
      return answerOpenApi(request, segments, context)
    case 'api':
    case 'apis': {
      const core = root === 'api'
      if (second === undefined) {
        const wanted = negotiate(request.headers.accept)
        if (wanted.as === 'discovery') {
          return {
            ...ok(aggregated(registry, core, wanted.version)),
            contentType: `application/json;g=apidiscovery.k8s.io;v=${wanted.version};as=APIGroupDiscoveryList`,
          }
        }
        return ok(core ? apiVersions() : apiGroupList(registry))
      }
      if (core && third === undefined) return orNotFound(apiResourceList(registry, '', second))
      if (!core && third === undefined) return orNotFound(apiGroupOf(registry, second))
      if (!core && segments.length === 3) return orNotFound(apiResourceList(registry, second, third ?? ''))
      return undefined
    }
    default:
      throw noSuchPath()
  }
}

function orNotFound(value: JsonObject | undefined): Answer {
  if (value === undefined) throw noSuchPath()
  return ok(value)
}

function answerOpenApi(
  request: IncomingMessage,
  segments: readonly string[],
  context: RequestContext,
): Answer {
  const { registry } = context.cluster
  if (segments[1] === 'v2') {
    const accept = request.headers.accept ?? ''
    if (accept.startsWith('application/com.github.proto-openapi.spec.v2')) {
      return {
        code: 200,
        body: openApiV2Protobuf(registry),
        contentType: 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf',
      }
    }
    return ok(openApiV2(registry))
  }
  if (segments[1] !== 'v3') throw noSuchPath()
  if (segments.length === 2) return ok(openApiIndex(registry))
  return orNotFound(openApiV3(registry, segments.slice(2).join('/')))
}

async function handleResource(
  request: IncomingMessage,
  response: ServerResponse,
  where: ResourcePath,
  parameters: URLSearchParams,
  context: RequestContext,
): Promise<Answer | undefined> {
  const { type, namespace, name, subresource } = where
  const { conversions, store } = context.cluster
  if (type.conversion !== undefined) {
    const objects = store
      .collection(type.storageKey)
      .all()
      .map(stored => stored.object)
    await conversions.prepare(type, objects)
  }
  const query: Query = {
    namespace,
    parameters,
    wanted: negotiate(request.headers.accept),
    now: context.clock.wallNow(),
  }
  const method = request.method ?? 'GET'
  if (name === undefined) {
    switch (method) {
      case 'GET':
        if (where.watch || isTrue(parameters.get('watch'))) return startWatch(response, type, query, context)
        return { code: 200, body: listBytes(store, type, query) }
      case 'POST':
        return create(request, where, query, context)
      case 'DELETE':
        return deleteCollection(request, where, query, context)
      default:
        throw methodNotAllowed()
    }
  }
  if (method === 'GET' && (where.watch || isTrue(parameters.get('watch'))) && subresource === '') {
    const narrowed = new URLSearchParams(parameters)
    narrowed.set('fieldSelector', `metadata.name=${name}`)
    return startWatch(response, type, { ...query, parameters: narrowed }, context)
  }
  if (subresource === 'binding' && type.storageKey === '/pods') return bind(request, where, query, context)
  if (subresource === 'finalize' && type.storageKey === '/namespaces') {
    return encoded(type, context.cluster.writer.live(type, '', name), query)
  }
  if (subresource === 'scale' && type.subresources.has('scale')) return scale(request, where, query, context)
  if (subresource !== '' && !(subresource === 'status' && type.subresources.has('status'))) throw noSuchPath()
  const part: Subresource = subresource === 'status' ? 'status' : ''
  switch (method) {
    case 'GET':
      return encoded(type, context.cluster.writer.live(type, namespace ?? '', name), query)
    case 'PUT': {
      const body = await readBody(request)
      const options = writeOptions(request, parameters, context)
      const { admission, conversions, writer } = context.cluster
      if (type.conversion !== undefined) await conversions.prepareIncoming(type, body)
      const before = writer.live(type, namespace ?? '', name).object
      const written = await admission.write(
        { type, subresource: part, user: context.user, before },
        options,
        (options, keep) =>
          writer.update(type, namespace ?? '', name, keep ? clone(body) : body, part, options),
      )
      return answerWritten(type, written, query, options)
    }
    case 'PATCH':
      return patch(request, where, part, query, context)
    case 'DELETE':
      if (part !== '') throw methodNotAllowed()
      return deleteOne(request, where, query, context)
    default:
      throw methodNotAllowed()
  }
}

function encoded(type: ResourceType, stored: Stored, query: Query): Answer {
  return { code: 200, body: encodeOne(type, stored.object, stored, query) }
}

function answerWritten(
  type: ResourceType,
  written: { object: ApiObject; stored: Stored | undefined; created: boolean },
  query: Query,
  options: WriteOptions,
): Answer {
  return {
    code: written.created ? 201 : 200,
    body: encodeOne(type, written.object, written.stored, query),
    headers: warningHeaders(options.warnings),
  }
}

function warningHeaders(warnings: readonly string[]): Record<string, string> {
  if (warnings.length === 0) return {}
  const quoted = warnings
    .slice(0, 50)
    .map(w => `299 - "${w.replaceAll(/[\\"]/g, '\\$&').replaceAll(/[^\x20-\x7e]/g, '?')}"`)
  return { warning: quoted.join(', ') }
}

function writeOptions(
  request: IncomingMessage,
  parameters: URLSearchParams,
  context: RequestContext,
): WriteOptions {
  const dryRun = parameters.getAll('dryRun').filter(value => value !== '')
  if (dryRun.some(value => value !== 'All'))
    throw badRequest(`invalid dryRun: ${dryRun.join(',')}: supported values: "All"`)
  const validation = parameters.get('fieldValidation') ?? ''
  if (!['', 'Ignore', 'Warn', 'Strict'].includes(validation)) {
    throw badRequest(`invalid fieldValidation: ${validation}: supported values: "Ignore", "Strict", "Warn"`)
  }
  const agent = (request.headers['user-agent'] ?? 'unknown').split('/')[0] ?? 'unknown'
  return {
    dryRun: dryRun.length > 0,
    fieldManager: (parameters.get('fieldManager') || agent).slice(0, 128),
    fieldValidation: validation === 'Ignore' || validation === 'Strict' ? validation : 'Warn',
    user: context.user.user,
    warnings: [],
  }
}

async function create(
  request: IncomingMessage,
  where: ResourcePath,
  query: Query,
  context: RequestContext,
): Promise<Answer> {
  const { type } = where
  const body = await readBody(request)
  if (type.namespaced && where.namespace === undefined) {
    throw badRequest('an empty namespace may not be set during creation')
  }
  const options = writeOptions(request, query.parameters, context)
  const { admission, conversions, writer } = context.cluster
  if (type.conversion !== undefined) await conversions.prepareIncoming(type, body)
  const written = await admission.write(
    { type, subresource: '', user: context.user, before: undefined },
    options,
    (options, keep) => writer.create(type, where.namespace ?? '', keep ? clone(body) : body, options),
  )
  return answerWritten(type, written, query, options)
}

/** As many as the real server makes. */
const PATCH_ATTEMPTS = 5

const PATCH_TYPES = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
]

async function patch(
  request: IncomingMessage,
  where: ResourcePath,
  part: Subresource,
  query: Query,
  context: RequestContext,
): Promise<Answer> {
  const { type, name = '', namespace = '' } = where
  const { admission, conversions, store, writer } = context.cluster
  const media = mediaType(request)
  const supported = type.custom ? PATCH_TYPES.filter(m => !m.includes('strategic')) : PATCH_TYPES
  if (!supported.includes(media)) {
    throw new ApiError(
      415,
      'UnsupportedMediaType',
      `the body of the request was in an unknown format - accepted media types include: ${supported.join(', ')}`,
    )
  }
  const body = await readBody(request, media)
  const options = writeOptions(request, query.parameters, context)
  if (media === 'application/apply-patch+yaml') {
    const manager = { ...options, fieldManager: query.parameters.get('fieldManager') ?? '' }
    const force = isTrue(query.parameters.get('force'))
    if (type.conversion !== undefined) await conversions.prepareIncoming(type, body)
    const before = store.collection(type.storageKey).get(keyOf(type, namespace, name))?.object
    const written = await admission.write(
      { type, subresource: part, user: context.user, before },
      manager,
      (options, keep) => writer.apply(type, namespace, name, keep ? clone(body) : body, part, force, options),
    )
    return answerWritten(type, written, query, options)
  }
  // Nothing comes between reading and writing, unless somebody is asked meanwhile; then what came between is patched instead.
  for (let attempt = 1; ; attempt++) {
    const live = writer.live(type, namespace, name)
    const patched = patchedObject(type, live.object, body, media, part)
    if (type.conversion !== undefined) await conversions.prepareIncoming(type, patched)
    try {
      const written = await admission.write(
        { type, subresource: part, user: context.user, before: live.object },
        options,
        (options, keep) =>
          writer.update(type, namespace, name, keep ? clone(patched) : patched, part, options),
      )
      return answerWritten(type, written, query, options)
    } catch (error) {
      const stale = error instanceof ApiError && error.reason === 'Conflict'
      const wasAsked = type.conversion !== undefined || admission.isAsked(type, part, 'UPDATE')
      if (!stale || !wasAsked || attempt >= PATCH_ATTEMPTS) throw error
    }
  }
}

function patchedObject(
  type: ResourceType,
  live: ApiObject,
  body: unknown,
  media: string,
  part: Subresource,
): unknown {
  const target = shown(type, live)
  if (media === 'application/json-patch+json') return jsonPatch(target, body)
  if (!isRecord(body)) throw badRequest('a merge patch is an object')
  const merged =
    media === 'application/merge-patch+json'
      ? mergePatch(target, body)
      : strategicMergePatch(target, body, type.schema)
  // The writer keeps all else as it is stored: there is no need to copy, decode and compare it.
  if (part === 'status' && namesStatusAlone(body) && type.conversion === undefined && isRecord(merged)) {
    const { apiVersion, kind, metadata, status } = merged
    const { managedFields: _kept, ...meta } = record(metadata)
    return {
      apiVersion,
      kind,
      metadata: clone(meta),
      ...(status === undefined ? {} : { status: clone(status) }),
    }
  }
  return clone(merged)
}

/** Whether a merge patch has nothing for the spec, say, nor for who owns which field. */
function namesStatusAlone(patch: JsonObject): boolean {
  const others = Object.keys(patch).filter(field => !STATUS_WRITES.has(field))
  const { metadata } = patch
  const meta = metadata === undefined || (isRecord(metadata) && metadata['managedFields'] === undefined)
  return others.length === 0 && meta
}

const STATUS_WRITES = new Set(['apiVersion', 'kind', 'metadata', 'status'])

async function deleteOptions(request: IncomingMessage, parameters: URLSearchParams): Promise<DeleteOptions> {
  const body = record(await readBody(request, undefined, true))
  const preconditions = record(body['preconditions'])
  const grace =
    body['gracePeriodSeconds'] ??
    (parameters.has('gracePeriodSeconds') ? Number(parameters.get('gracePeriodSeconds')) : undefined)
  const policy = text(body['propagationPolicy']) || (parameters.get('propagationPolicy') ?? '')
  if (!['', 'Background', 'Foreground', 'Orphan'].includes(policy)) {
    throw badRequest(`invalid propagationPolicy: ${policy}`)
  }
  const orphan = body['orphanDependents'] === true
  const dryRun = Array.isArray(body['dryRun'])
    ? body['dryRun'].includes('All')
    : parameters.get('dryRun') === 'All'
  return {
    propagationPolicy: orphan
      ? 'Orphan'
      : policy === 'Foreground' || policy === 'Orphan'
        ? policy
        : 'Background',
    gracePeriodSeconds: typeof grace === 'number' && Number.isFinite(grace) ? grace : undefined,
    preconditions: {
      ...(typeof preconditions['uid'] === 'string' ? { uid: preconditions['uid'] } : {}),
      ...(typeof preconditions['resourceVersion'] === 'string'
        ? { resourceVersion: preconditions['resourceVersion'] }
        : {}),
    },
    dryRun,
  }
}

async function deleteOne(
  request: IncomingMessage,
  where: ResourcePath,
  query: Query,
  context: RequestContext,
): Promise<Answer> {
  const { type, namespace = '', name = '' } = where
  const options = await deleteOptions(request, query.parameters)
  const { admission, writer } = context.cluster
  await admission.admit(
    {
      type,
      operation: 'DELETE',
      subresource: '',
      user: context.user,
      dryRun: options.dryRun,
      object: undefined,
      oldObject: writer.live(type, namespace, name).object,
    },
    [],
  )
  const deleted = writer.delete(type, namespace, name, options)
  if (!deleted.gone || type.storageKey === '/pods' || query.wanted.as !== 'object') {
    return { code: 200, body: encodeOne(type, deleted.object, undefined, query) }
  }
  return ok({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: {
      name,
      ...(type.group === '' ? {} : { group: type.group }),
      kind: type.plural,
      uid: deleted.object.metadata.uid,
    },
  })
}

async function deleteCollection(
  request: IncomingMessage,
  where: ResourcePath,
  query: Query,
  context: RequestContext,
): Promise<Answer> {
  const { type } = where
  const { admission, writer, store } = context.cluster
  const options = await deleteOptions(request, query.parameters)
  const items = record(JSON.parse(listBytes(store, type, { ...query, wanted: { as: 'object' } }).toString()))[
    'items'
  ]
  const all = (Array.isArray(items) ? items : []) as ApiObject[]
  for (const { metadata } of all) {
    const live = store.collection(type.storageKey).get(keyOf(type, metadata.namespace ?? '', metadata.name))
    if (live === undefined) continue
    await admission.admit(
      {
        type,
        operation: 'DELETE',
        subresource: '',
        user: context.user,
        dryRun: options.dryRun,
        object: undefined,
        oldObject: live.object,
      },
      [],
    )
    try {
      writer.delete(type, metadata.namespace ?? '', metadata.name, { ...options, preconditions: {} })
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 404)) throw error
    }
  }
  return ok({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { kind: type.plural },
  })
}

function startWatch(
  response: ServerResponse,
  type: ResourceType,
  query: Query,
  context: RequestContext,
): undefined {
  const { clock, cluster } = context
  const asked = Number(query.parameters.get('timeoutSeconds') ?? 0)
  const seconds = asked > 0 ? asked : 1800 + Math.floor(Math.random() * 1800)
  let watcher: Watcher | undefined
  let ended = false
  let cancel: () => void = () => undefined
  watcher = openWatch(type, query, {
    store: cluster.store,
    response,
    onClose: why => {
      ended = true
      cancel()
      context.untrack(watcher, why)
    },
  })
  if (watcher === undefined || ended) return
  const opened = watcher
  cancel = clock.after(seconds * 1000, () => opened.finish())
  context.track(opened)
}

/** A scheduler's word: spec.nodeName, and the condition that says so. */
async function bind(
  request: IncomingMessage,
  where: ResourcePath,
  query: Query,
  context: RequestContext,
): Promise<Answer> {
  if (request.method !== 'POST') throw methodNotAllowed()
  const { type, namespace = '', name = '' } = where
  const body = await readBody(request)
  const node = text(at(body, 'target', 'name'))
  const { writer, store } = context.cluster
  const live = writer.live(type, namespace, name)
  const had = text(live.object.spec?.['nodeName'])
  if (node === '' || (had !== '' && had !== node)) {
    throw new ApiError(
      409,
      'Conflict',
      `Operation cannot be fulfilled on pods/binding ${JSON.stringify(name)}: pod ${name} is already assigned to node ${JSON.stringify(had)}`,
    )
  }
  const object: ApiObject = {
    ...live.object,
    metadata: { ...live.object.metadata },
    spec: { ...live.object.spec, nodeName: node },
  }
  const conditions = at(object, 'status', 'conditions')
  const others = (Array.isArray(conditions) ? conditions : []).filter(c => at(c, 'type') !== 'PodScheduled')
  const lastTransitionTime = new Date(query.now).toISOString().replace(/\.\d+/, '')
  object.status = {
    ...object.status,
    conditions: [...others, { type: 'PodScheduled', status: 'True', lastTransitionTime }],
  }
  store.put(type.storageKey, live.key, object)
  return ok({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 }, 201)
}

function setAt(object: unknown, path: readonly string[], value: unknown): unknown {
  const [first, ...rest] = path
  if (first === undefined) return value
  return { ...record(object), [first]: setAt(record(object)[first], rest, value) }
}

/** autoscaling/v1 Scale: the replica counts of an object under one name for all kinds. */
async function scale(
  request: IncomingMessage,
  where: ResourcePath,
  query: Query,
  context: RequestContext,
): Promise<Answer> {
  const { type, namespace = '', name = '' } = where
  const paths = type.scale
  if (paths === undefined) throw noSuchPath()
  const { writer } = context.cluster
  const toScale = (object: ApiObject): JsonObject => {
    const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata
    const selector = paths.selector?.(object) ?? ''
    return {
      kind: 'Scale',
      apiVersion: 'autoscaling/v1',
      metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
      spec: { replicas: at(object, ...paths.specReplicas) ?? 0 },
      status: {
        replicas: at(object, ...paths.statusReplicas) ?? 0,
        ...(selector === '' ? {} : { selector }),
      },
    }
  }
  const live = writer.live(type, namespace, name)
  if (request.method === 'GET') return ok(toScale(live.object))
  let wanted: unknown
  if (request.method === 'PUT') wanted = await readBody(request)
  else if (request.method === 'PATCH') {
    const media = mediaType(request)
    const body = await readBody(request, media)
    if (media === 'application/json-patch+json') wanted = jsonPatch(toScale(live.object), body)
    else if (media === 'application/apply-patch+yaml' || PATCH_TYPES.includes(media))
      wanted = mergePatch(toScale(live.object), body)
    else throw new ApiError(415, 'UnsupportedMediaType', `unsupported media type ${media}`)
  } else throw methodNotAllowed()
  const replicas = at(wanted, 'spec', 'replicas') ?? 0
  if (!Number.isInteger(replicas) || Number(replicas) < 0) {
    throw new ApiError(
      422,
      'Invalid',
      `Scale.autoscaling "${name}" is invalid: spec.replicas: Invalid value: ${JSON.stringify(replicas)}: must be greater than or equal to 0`,
    )
  }
  const options = writeOptions(request, query.parameters, context)
  const changed = record(setAt(clone(live.object), paths.specReplicas, replicas))
  const resourceVersion = text(at(wanted, 'metadata', 'resourceVersion'))
  const metadata = { ...record(changed['metadata']), ...(resourceVersion === '' ? {} : { resourceVersion }) }
  const written = writer.update(
    type,
    namespace,
    name,
    { ...shown(type, changed as ApiObject), metadata },
    '',
    options,
  )
  return ok(toScale(written.object))
}

function mediaType(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
}

/**
 * The body as JSON or YAML, at most 3 MiB.
 * @throws ApiError 400, 413, 415
 */
async function readBody(
  request: IncomingMessage,
  media = mediaType(request),
  optional = false,
): Promise<unknown> {
  const tooLarge = (): ApiError =>
    new ApiError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${BODY_BYTES_MAX}`)
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX) throw tooLarge()
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    // Not as an iterable of the stream: for bodies this small that is most of what reading them costs.
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > BODY_BYTES_MAX) {
        request.pause()
        reject(tooLarge())
      } else chunks.push(chunk)
    })
    request.on('end', () =>
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size)),
    )
    request.on('error', reject)
    request.on('close', () => {
      // It closes in the end in any case, and an error costs its stack trace.
      if (!request.complete) reject(badRequest('the request broke off'))
    })
  })
  if (bytes.length === 0) {
    if (optional) return {}
    throw badRequest('the request has no body')
  }
  if (media === PROTOBUF) return decodeProtobuf(bytes)
  const isYaml = media.endsWith('yaml')
  if (!isYaml && media !== '' && media !== 'application/json' && !media.endsWith('+json')) {
    throw new ApiError(
      415,
      'UnsupportedMediaType',
      'the body of the request was in an unknown format - accepted media types include: application/json, application/yaml',
    )
  }
  try {
    // An apply patch is YAML by name, but nearly always JSON, which parses much faster.
    if (!isYaml || bytes[0] === 0x7b) return JSON.parse(bytes.toString()) as unknown
  } catch (error) {
    if (!isYaml)
      throw badRequest(`invalid character or unexpected end of JSON input: ${(error as Error).message}`)
  }
  try {
    return parseYaml(bytes.toString(), { maxAliasCount: 100 }) as unknown
  } catch (error) {
    throw badRequest(`error parsing YAML: ${(error as Error).message}`)
  }
}
