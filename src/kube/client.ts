import type { Clock } from '../ports/clock.ts'
import {
  type Informer,
  type InformerOptions,
  type Kube,
  KubeError,
  type KubeObject,
  type ListOptions,
  type ObjectName,
  objectKey,
  type PatchOptions,
  type Resource,
} from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Random } from '../ports/random.ts'
import { apiVersionOf, isRecord, type Page, parseObject, parsePage, parseWatchLine } from './answers.ts'
import type { KubeConfig } from './config.ts'
import { HttpClient, type HttpLimits, type HttpRequest } from './http.ts'
import { Reflector } from './reflector.ts'
import { Slots } from './slots.ts'
import type { TransportFactory } from './transport.ts'

export type KubeClientOptions = {
  readonly config: KubeConfig
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Such as `lodestone-speaker/0.1.0`: audit logs and managedFields show it. */
  readonly userAgent: string
  readonly limits?: Partial<HttpLimits>
  /** How requests travel: by Node's own HTTP unless told. */
  readonly transport?: TransportFactory
  /** Objects per page of a list, 500 unless told: one page of JSON is held at a time. */
  readonly pageLimit?: number
  /** Requests at once, watches not counted, 32 unless told. */
  readonly concurrent?: number
}

const PAGE_LIMIT = 500
const CONCURRENT = 32
/** Ten thousand Services may all want their status written; more in line means that someone writes in a loop. */
const WAITING_MAX = 50_000
/** List restarts after "gone" midway, for `list`; an informer goes on for ever. */
const LIST_ATTEMPTS = 3

/** A client of one API server. `close` ends its idle connections; stop informers first, by their signals. */
export type KubeClient = Kube & { close(): void }

export function createKube(options: KubeClientOptions): KubeClient {
  return new RealKube(options)
}

class RealKube implements KubeClient {
  readonly #http: HttpClient
  readonly #slots: Slots
  readonly #pageLimit: number
  readonly #options: KubeClientOptions

  constructor(options: KubeClientOptions) {
    this.#options = options
    this.#http = new HttpClient(options)
    this.#pageLimit = options.pageLimit ?? PAGE_LIMIT
    this.#slots = new Slots(options.concurrent ?? CONCURRENT, WAITING_MAX)
  }

  async get(resource: Resource, name: ObjectName): Promise<KubeObject | undefined> {
    const what = `get ${resource.kind} ${objectKey(name)}`
    try {
      const answer = await this.#request({ method: 'GET', path: objectPath(resource, name), what })
      return parseObject(resource, answer, what)
    } catch (error) {
      if (error instanceof KubeError && error.code === 'not-found') return undefined
      throw error
    }
  }

  async list(resource: Resource, options: ListOptions = {}): Promise<KubeObject[]> {
    for (let attempt = 1; ; attempt++) {
      const objects: KubeObject[] = []
      let next: string | undefined
      try {
        do {
          const page = await this.#page(
            resource,
            options,
            { limit: this.#pageLimit, continue: next },
            undefined,
          )
          objects.push(...page.objects)
          next = page.continue
        } while (next !== undefined)
        return objects
      } catch (error) {
        // Compacted between two pages: from the start.
        const again = error instanceof KubeError && error.code === 'gone' && next !== undefined
        if (!again || attempt >= LIST_ATTEMPTS) throw error
      }
    }
  }

  async create(resource: Resource, object: KubeObject): Promise<KubeObject> {
    const what = `create ${resource.kind} ${objectKey(object.metadata)}`
    const answer = await this.#request({
      method: 'POST',
      path: collectionPath(resource, object.metadata.namespace),
      body: typed(resource, object),
      what,
    })
    return parseObject(resource, answer, what)
  }

  async update(
    resource: Resource,
    object: KubeObject,
    options: { readonly subresource?: 'status' } = {},
  ): Promise<KubeObject> {
    const { name, namespace = '' } = object.metadata
    const what = `update ${resource.kind} ${objectKey(object.metadata)}${suffix(options.subresource)}`
    const answer = await this.#request({
      method: 'PUT',
      path: objectPath(resource, { name, namespace }) + suffix(options.subresource),
      body: typed(resource, object),
      what,
    })
    return parseObject(resource, answer, what)
  }

  async patch(
    resource: Resource,
    name: ObjectName,
    patch: unknown,
    options: PatchOptions,
  ): Promise<KubeObject> {
    const what = `patch ${resource.kind} ${objectKey(name)}${suffix(options.subresource)}`
    const query = new URLSearchParams()
    if (options.fieldManager !== undefined) query.set('fieldManager', options.fieldManager)
    // A controller owns what it applies; without force a field once set by hand would block it for ever.
    if (options.type === 'apply') query.set('force', 'true')
    const answer = await this.#request({
      method: 'PATCH',
      path: withQuery(objectPath(resource, name) + suffix(options.subresource), query),
      body: options.type === 'apply' && isRecord(patch) ? typed(resource, patch) : patch,
      contentType: options.type === 'apply' ? 'application/apply-patch+yaml' : 'application/merge-patch+json',
      what,
    })
    return parseObject(resource, answer, what)
  }

  async delete(resource: Resource, name: ObjectName): Promise<void> {
    const what = `delete ${resource.kind} ${objectKey(name)}`
    try {
      await this.#request({ method: 'DELETE', path: objectPath(resource, name), what })
    } catch (error) {
      if (error instanceof KubeError && error.code === 'not-found') return
      throw error
    }
  }

  informer<T>(resource: Resource, options: InformerOptions<T>): Informer<T> {
    const what = `watch ${resource.kind}`
    return new Reflector(resource, options, {
      clock: this.#options.clock,
      random: this.#options.random,
      log: this.#options.log,
      pageLimit: this.#pageLimit,
      requests: {
        page: (query, signal) => this.#page(resource, options, query, signal),
        watch: (query, signal, onEvent) => {
          const parameters = selectorQuery(options)
          parameters.set('watch', 'true')
          parameters.set('allowWatchBookmarks', 'true')
          parameters.set('resourceVersion', query.resourceVersion)
          parameters.set('timeoutSeconds', String(query.timeoutSeconds))
          const path = withQuery(collectionPath(resource, options.namespace), parameters)
          // Not in a slot: a watch stays open, and there are as many as informers.
          return this.#http.lines({ method: 'GET', path, signal, what }, line =>
            onEvent(parseWatchLine(resource, line, what)),
          )
        },
      },
    })
  }

  close(): void {
    this.#http.close()
  }

  async #page(
    resource: Resource,
    options: ListOptions,
    query: { readonly limit: number; readonly continue: string | undefined },
    signal: AbortSignal | undefined,
  ): Promise<Page> {
    const parameters = selectorQuery(options)
    if (query.limit > 0) parameters.set('limit', String(query.limit))
    if (query.continue !== undefined) parameters.set('continue', query.continue)
    const what = `list ${resource.kind}`
    const path = withQuery(collectionPath(resource, options.namespace), parameters)
    return parsePage(resource, await this.#request({ method: 'GET', path, what, signal }), what)
  }

  #request(request: HttpRequest): Promise<unknown> {
    return this.#slots.run(() => this.#http.json(request))
  }
}

function collectionPath(resource: Resource, namespace: string | undefined): string {
  const root =
    resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`
  const scope =
    resource.namespaced && namespace !== undefined && namespace !== ''
      ? `/namespaces/${encodeURIComponent(namespace)}`
      : ''
  return `${root}${scope}/${resource.plural}`
}

/** An empty name would ask for the whole collection, and delete it. @throws KubeError 'invalid' */
function objectPath(resource: Resource, { namespace, name }: ObjectName): string {
  if (name === '' || resource.namespaced !== (namespace !== ''))
    throw new KubeError(
      'invalid',
      `${resource.kind} ${JSON.stringify(name)} in namespace ${JSON.stringify(namespace)}: ${name === '' ? 'a name is required' : resource.namespaced ? 'a namespace is required' : 'a namespace must not be set'}`,
    )
  return `${collectionPath(resource, namespace)}/${encodeURIComponent(name)}`
}

function suffix(subresource: 'status' | undefined): string {
  return subresource === undefined ? '' : `/${subresource}`
}

function selectorQuery(options: ListOptions): URLSearchParams {
  const query = new URLSearchParams()
  if (options.labelSelector !== undefined && options.labelSelector !== '')
    query.set('labelSelector', options.labelSelector)
  if (options.fieldSelector !== undefined && options.fieldSelector !== '')
    query.set('fieldSelector', options.fieldSelector)
  return query
}

function withQuery(path: string, query: URLSearchParams): string {
  return query.size === 0 ? path : `${path}?${query.toString()}`
}

function typed(resource: Resource, object: object): object {
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object }
}
