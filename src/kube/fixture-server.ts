import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Clock } from '../ports/clock.ts'
import { KubeError, type KubeObject, RESOURCES, type Resource } from '../ports/kube.ts'
import { FakeKube, selection } from '../ports/kube-fake.ts'

// For tests: the in-memory API server behind HTTP, able to misbehave in the ways that real ones and their proxies do.

export type Call = {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly verb: 'list' | 'watch' | 'get' | 'create' | 'update' | 'patch' | 'delete'
  readonly resource: Resource
}

export type Fault =
  /** A Status with this code; `text` replaces it by something else. */
  | {
      readonly type: 'status'
      readonly status: number
      readonly headers?: Record<string, string>
      readonly text?: string
    }
  /** No answer at all. */
  | { readonly type: 'hang' }
  /** The connection is reset. */
  | { readonly type: 'reset' }
  /** The ordinary answer, cut in half; for a watch, after one whole event and half of the next. */
  | { readonly type: 'half' }
  /** 200 and this. */
  | { readonly type: 'body'; readonly text: string }
  /** Headers, half of the answer, then silence. */
  | { readonly type: 'stall' }

type Logged = {
  readonly version: number
  readonly resource: Resource
  readonly before?: KubeObject
  readonly after?: KubeObject
}

/** Time as it is. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.max(0, delayMs))
    return () => clearTimeout(timer)
  },
}

export class FixtureServer {
  readonly kube: FakeKube
  /** What to do wrong about this request; undefined: nothing. */
  misbehave: (call: Call) => Fault | undefined = () => undefined
  readonly calls: Call[] = []
  /** What was asked for, also where it made no sense. */
  readonly paths: string[] = []
  #log: Logged[] = []
  #compacted = 0
  #snapshots = new Map<string, { objects: KubeObject[]; version: number }>()
  #tokens = 0
  readonly #watches = new Set<{ deliver: (entry: Logged) => void; response: ServerResponse }>()
  readonly #server: Server
  readonly #scheme: 'http' | 'https'

  constructor(options: { kube?: FakeKube; tls?: { cert: string; key: string } } = {}) {
    this.kube = options.kube ?? new FakeKube()
    this.#scheme = options.tls === undefined ? 'http' : 'https'
    const handler = (request: IncomingMessage, response: ServerResponse): void => {
      this.#handle(request, response).catch((error: unknown) => this.#fail(response, error))
    }
    this.#server = options.tls === undefined ? createServer(handler) : createTlsServer(options.tls, handler)
    this.kube.onCommit(({ version, resource, before, after }) => {
      const entry = {
        version,
        resource,
        ...(before === undefined ? {} : { before }),
        ...(after === undefined ? {} : { after }),
      }
      this.#log.push(entry)
      for (const watch of this.#watches) watch.deliver(entry)
    })
  }

  /** On 127.0.0.1 and a free port. */
  async listen(): Promise<URL> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
    return new URL(`${this.#scheme}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`)
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }

  /** Forgets history: older watches and continue tokens are "gone". */
  compact(): void {
    this.#compacted = this.kube.version
    this.#log = []
    this.#snapshots.clear()
  }

  get openWatches(): number {
    return this.#watches.size
  }

  /** Ends every watch in an orderly way. */
  closeWatches(): void {
    for (const { response } of this.#watches) response.end()
    // They are closed only later; until then nothing may be written to them.
    this.#watches.clear()
  }

  /** Cuts every connection. */
  resetConnections(): void {
    this.#server.closeAllConnections()
  }

  /** Writes a line into every open watch. */
  inject(text: string): void {
    for (const { response } of this.#watches) response.write(text)
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.paths.push(request.url ?? '')
    const url = new URL(request.url ?? '/', 'http://fixture')
    const parts = url.pathname
      .split('/')
      .filter(part => part !== '')
      .map(decodeURIComponent)
    const group = parts[0] === 'api' ? '' : (parts[1] ?? '')
    const rest = parts.slice(parts[0] === 'api' ? 2 : 3)
    const scoped = rest[0] === 'namespaces' && rest.length > 2
    const namespace = scoped ? (rest[1] ?? '') : ''
    const [plural, name, subresource] = scoped ? rest.slice(2) : rest
    const resource: Resource | undefined = Object.values(RESOURCES).find(
      known => known.group === group && known.plural === plural,
    )
    if (resource === undefined)
      throw new KubeError('not-found', 'the server could not find the requested resource')
    const method = request.method ?? 'GET'
    const verb =
      method === 'POST'
        ? 'create'
        : method === 'PUT'
          ? 'update'
          : method === 'PATCH'
            ? 'patch'
            : method === 'DELETE'
              ? 'delete'
              : name !== undefined
                ? 'get'
                : url.searchParams.get('watch') === 'true'
                  ? 'watch'
                  : 'list'
    const call: Call = {
      method,
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      verb,
      resource,
    }
    this.calls.push(call)
    const text = await readAll(request)
    const fault = this.misbehave(call)
    if (fault !== undefined && this.#answerFault(fault, call, response)) return
    if (verb === 'watch') return this.#watch(call, namespace, fault, response)
    const body = text === '' ? undefined : (JSON.parse(text) as KubeObject)
    const at = { namespace, name: name ?? '' }
    const status = subresource === 'status' ? ({ subresource: 'status' } as const) : {}
    let answer: unknown
    if (verb === 'list') answer = await this.#list(call, namespace)
    else if (verb === 'get') answer = (await this.kube.get(resource, at)) ?? notFound(at.name)
    else if (verb === 'delete') {
      if (this.kube.peek(resource, at) === undefined) notFound(at.name)
      await this.kube.delete(resource, at)
      answer = { kind: 'Status', apiVersion: 'v1', status: 'Success' }
    } else if (body === undefined) throw new KubeError('invalid', 'a body is required')
    else if (verb === 'create')
      answer = await this.kube.create(
        resource,
        namespace === '' ? body : { ...body, metadata: { ...body.metadata, namespace } },
      )
    else if (verb === 'update') answer = await this.kube.update(resource, body, status)
    else {
      const manager = url.searchParams.get('fieldManager')
      answer = await this.kube.patch(resource, at, body, {
        type: request.headers['content-type'] === 'application/apply-patch+yaml' ? 'apply' : 'merge',
        ...status,
        ...(manager === null ? {} : { fieldManager: manager }),
      })
    }
    const json = JSON.stringify(answer)
    if (fault?.type === 'half' || fault?.type === 'stall') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': json.length })
      response.write(json.slice(0, json.length / 2), () => {
        if (fault.type === 'half') response.destroy()
      })
      return
    }
    response.writeHead(verb === 'create' ? 201 : 200, { 'content-type': 'application/json' }).end(json)
  }

  /** True when that was the whole answer. */
  #answerFault(fault: Fault, call: Call, response: ServerResponse): boolean {
    if (fault.type === 'half' || fault.type === 'stall') return false
    if (fault.type === 'reset') response.destroy()
    const headers = { 'content-type': 'application/json' }
    if (fault.type === 'body') response.writeHead(200, headers).end(fault.text)
    if (fault.type === 'status')
      response
        .writeHead(fault.status, { ...headers, ...fault.headers })
        .end(fault.text ?? JSON.stringify(statusBody(fault.status, `told to fail ${call.verb}`, '')))
    return true
  }

  async #list(call: Call, namespace: string): Promise<unknown> {
    const token = call.query.get('continue')
    const limit = Number(call.query.get('limit') ?? '0')
    const snapshot =
      token === null
        ? {
            objects: await this.kube.list(call.resource, selectors(call, namespace)),
            version: this.kube.version,
          }
        : this.#snapshots.get(token)
    if (snapshot === undefined)
      throw new KubeError('gone', 'The provided continue parameter is too old', { status: 410 })
    const page = limit === 0 ? snapshot.objects : snapshot.objects.slice(0, limit)
    const left = snapshot.objects.slice(page.length)
    let next: string | undefined
    if (left.length > 0) {
      next = `token-${++this.#tokens}`
      this.#snapshots.set(next, { objects: left, version: snapshot.version })
    }
    return {
      kind: `${call.resource.kind}List`,
      apiVersion: 'v1',
      metadata: {
        resourceVersion: String(snapshot.version),
        ...(next === undefined ? {} : { continue: next }),
      },
      items: page.map(item => ({ ...item, kind: undefined, apiVersion: undefined })),
    }
  }

  #watch(call: Call, namespace: string, fault: Fault | undefined, response: ServerResponse): void {
    const from = Number(call.query.get('resourceVersion'))
    const matches = selection(selectors(call, namespace))
    if (from < this.#compacted)
      throw new KubeError('gone', `too old resource version: ${from}`, { status: 410 })
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    let sent = 0
    const deliver = (entry: Logged): void => {
      if (entry.resource.plural !== call.resource.plural || entry.resource.group !== call.resource.group)
        return
      const was = entry.before !== undefined && matches(entry.before)
      const is = entry.after !== undefined && matches(entry.after)
      if (!was && !is) return
      const object = is ? entry.after : entry.before
      const line = `${JSON.stringify({
        type: is ? (was ? 'MODIFIED' : 'ADDED') : 'DELETED',
        object: { ...object, metadata: { ...object?.metadata, resourceVersion: String(entry.version) } },
      })}\n`
      if ((fault?.type === 'half' || fault?.type === 'stall') && ++sent > 1) {
        if (sent > 2) return
        response.write(line.slice(0, line.length / 2), () => {
          if (fault.type === 'half') response.destroy()
        })
      } else response.write(line)
    }
    const watch = { deliver, response }
    this.#watches.add(watch)
    response.on('close', () => this.#watches.delete(watch))
    for (const entry of this.#log) if (entry.version > from) deliver(entry)
  }

  #fail(response: ServerResponse, error: unknown): void {
    const status = error instanceof KubeError ? (error.status ?? (error.code === 'invalid' ? 400 : 404)) : 500
    const reason = error instanceof KubeError && error.code === 'already-exists' ? 'AlreadyExists' : ''
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(
      JSON.stringify(statusBody(status, error instanceof Error ? error.message : String(error), reason)),
    )
  }
}

export function statusBody(code: number, message: string, reason: string): object {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, message, reason }
}

function selectors(
  call: Call,
  namespace: string,
): { namespace?: string; labelSelector?: string; fieldSelector?: string } {
  const labelSelector = call.query.get('labelSelector')
  const fieldSelector = call.query.get('fieldSelector')
  return {
    ...(namespace === '' ? {} : { namespace }),
    ...(labelSelector === null ? {} : { labelSelector }),
    ...(fieldSelector === null ? {} : { fieldSelector }),
  }
}

function notFound(name: string): never {
  throw new KubeError('not-found', `"${name}" not found`, { status: 404 })
}

async function readAll(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

/** Looks again every few milliseconds. @throws when it does not come true within that time */
export async function waitFor(what: string, condition: () => boolean, withinMs = 20_000): Promise<void> {
  const until = performance.now() + withinMs
  while (!condition()) {
    if (performance.now() > until) throw new Error(`waited ${withinMs} ms in vain until ${what}`)
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}
