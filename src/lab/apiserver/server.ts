import { readdirSync, readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { parseAllDocuments } from 'yaml'
import type { Clock } from '../../ports/clock.ts'
import type { Log } from '../../ports/log.ts'
import { makeAuthority, makeServerCertificate } from '../../sys/certificates.ts'
import { makeCluster, systemWrite } from './cluster.ts'
import type { Fault, FaultScope } from './fault.ts'
import { CUSTOM_RESOURCE_DEFINITION } from './kinds/crd.ts'
import { json } from './reads.ts'
import { type Answer, handle, isPublicPath } from './requests.ts'
import type { User } from './reviews.ts'
import { ApiError } from './status.ts'
import type { Store } from './store.ts'
import type { Watcher } from './watch.ts'

export type ApiServerOptions = {
  /** Port 0: one that is free. */
  readonly listen: readonly { readonly host: string; readonly port: number }[]
  /** TLS as on the ports, for a relay out of a namespace that has no way here. */
  readonly unixSocket?: string
  /** Names and addresses for the certificate. */
  readonly serverNames: readonly string[]
  /** Bearer tokens. May be changed while the server runs. */
  readonly tokens: ReadonlyMap<string, User>
  readonly clusterCidrs: { readonly services: readonly string[] }
  /** Every CustomResourceDefinition in the YAML files of this folder is served from the start. */
  readonly crdDirectory?: string
  readonly log: Log
  readonly clock: Clock
  /** Past changes per kind that a watch can resume from; 20000 when absent. */
  readonly watchWindow?: number
  /** Between bookmarks of a watch; a minute when absent. */
  readonly bookmarkMs?: number
}

export type ApiServer = {
  /** Of the first address that it listens on. */
  readonly url: string
  /** In the order of `listen`. */
  readonly ports: readonly number[]
  readonly caPem: string
  readonly store: Store
  /** Open watches. */
  readonly watches: () => number
  /** Requests that a 'hang' holds. */
  readonly hanging: () => number
  /** A kubeconfig as YAML; `server` is its URL. */
  kubeconfig(server: string, token: string): string
  /** Begins a fault, or with undefined ends all of them. */
  setFault(fault: Fault | undefined, scope?: FaultScope): void
  /** Forgets past changes: every watch that resumes and every continued list gets 410. */
  compact(): void
  close(): Promise<void>
}

/** The lab's Kubernetes API server. @throws Error when an address cannot be listened on or a definition is not valid */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { clock, log, tokens } = options
  const cluster = makeCluster({
    serviceCidrs: options.clusterCidrs.services,
    wallNow: () => clock.wallNow(),
    log,
    watchWindow: options.watchWindow ?? 20_000,
  })
  if (options.crdDirectory !== undefined) {
    for (const definition of readDefinitions(options.crdDirectory)) {
      cluster.writer.create(CUSTOM_RESOURCE_DEFINITION, '', definition, systemWrite())
    }
  }
  const now = clock.wallNow()
  const validity = { fromMs: now - 3_600_000, untilMs: now + 10 * 365 * 86_400_000 }
  const authority = makeAuthority('lodestone-lab', validity)
  const certificate = makeServerCertificate(options.serverNames, authority, validity)
  const sockets = new Set<Duplex>()
  const hung = new Set<ServerResponse>()
  const watchers = new Map<Watcher, User>()
  let fault: { kind: Fault; user: string | undefined } | undefined
  let closing = false

  const faultFor = (user: User | undefined): Fault | undefined =>
    fault === undefined || (fault.user !== undefined && fault.user !== user?.user) ? undefined : fault.kind

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const user = authenticate(request, tokens)
    const kind = faultFor(user)
    if (kind === 'refuse') {
      request.socket.destroy()
      return
    }
    if (kind === 'hang') {
      hung.add(response)
      response.on('close', () => hung.delete(response))
      return
    }
    let result: Answer | undefined
    try {
      if (typeof kind === 'object') throw faultStatus(kind.status)
      if (user === undefined && !isPublicPath((request.url ?? '').split('?')[0] ?? '')) {
        throw new ApiError(401, 'Unauthorized', 'Unauthorized')
      }
      result = await handle(request, response, {
        cluster,
        clock,
        user: user ?? { user: 'system:anonymous', groups: [] },
        tokens,
        track: watcher => {
          watchers.set(watcher, user ?? { user: '', groups: [] })
          if (kind === 'half-json') watcher.finish(HALF_EVENT)
          else if (kind === 'close-watches') watcher.finish()
        },
        untrack: (watcher, why) => {
          if (watcher !== undefined) watchers.delete(watcher)
          if (why === 'slow') log.warn('watch-cut', { user: user?.user, url: request.url })
        },
      })
    } catch (error) {
      result = failure(error, request)
    }
    if (result !== undefined) send(request, response, result, kind === 'half-json')
  }

  function failure(error: unknown, request: IncomingMessage): Answer {
    if (error instanceof ApiError) {
      const retry = error.details.retryAfterSeconds
      return {
        code: error.code,
        body: json(error.toStatus()),
        headers: retry === undefined ? {} : { 'retry-after': String(retry) },
      }
    }
    log.error('request-failed', { method: request.method, url: request.url, error })
    const message = error instanceof Error ? error.message : String(error)
    return {
      code: 500,
      body: json(new ApiError(500, 'InternalError', `Internal error occurred: ${message}`).toStatus()),
    }
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    answer(request, response).catch((error: unknown) => {
      log.error('answer-failed', { url: request.url, error })
      response.destroy()
    })
  }

  function makeServer(): Server {
    const server = createServer(
      {
        key: certificate.keyPem,
        cert: certificate.certPem,
        ALPNProtocols: ['http/1.1'],
        minVersion: 'TLSv1.2',
        keepAliveTimeout: 90_000,
        noDelay: true,
      },
      onRequest,
    )
    server.requestTimeout = 60_000
    // A client that breaks off, or speaks no TLS, is no event.
    server.on('tlsClientError', () => undefined)
    server.on('connection', socket => {
      if (fault?.kind === 'refuse' && fault.user === undefined) {
        socket.destroy()
        return
      }
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
    })
    return server
  }

  const servers: Server[] = []
  const ports: number[] = []
  const close = async (): Promise<void> => {
    closing = true
    for (const watcher of watchers.keys()) watcher.finish()
    for (const socket of sockets) socket.destroy()
    await Promise.all(servers.map(server => new Promise<void>(done => server.close(() => done()))))
  }
  try {
    for (const { host, port } of options.listen) {
      const server = makeServer()
      servers.push(server)
      await listening(server, () => server.listen(port, host))
      ports.push((server.address() as AddressInfo).port)
    }
    if (options.unixSocket !== undefined) {
      const server = makeServer()
      servers.push(server)
      await listening(server, () => server.listen(options.unixSocket))
    }
  } catch (error) {
    await close()
    throw error
  }

  const bookmarkMs = options.bookmarkMs ?? 60_000
  const sendBookmarks = (): void => {
    if (closing) return
    for (const watcher of watchers.keys()) watcher.bookmark(cluster.store.revision)
    cancelBookmarks = clock.after(bookmarkMs, sendBookmarks)
  }
  let cancelBookmarks = clock.after(bookmarkMs, sendBookmarks)

  const first = options.listen[0]
  const host = first === undefined ? 'localhost' : first.host.includes(':') ? `[${first.host}]` : first.host
  const url = `https://${host}:${ports[0] ?? 443}`
  log.info('api-server-listening', { url, unixSocket: options.unixSocket })

  return {
    url,
    ports,
    caPem: authority.certPem,
    store: cluster.store,
    watches: () => watchers.size,
    hanging: () => hung.size,
    kubeconfig: (server, token) => kubeconfig(server, token, authority.certPem),
    setFault(kind, scope = {}) {
      fault = kind === undefined ? undefined : { kind, user: scope.user }
      const concerns = (user: User): boolean => scope.user === undefined || scope.user === user.user
      for (const [watcher, user] of Array.from(watchers)) {
        watcher.pause(kind === 'hang' && concerns(user))
        if (!concerns(user)) continue
        if (kind === 'close-watches') watcher.finish()
        else if (kind === 'half-json') watcher.finish(HALF_EVENT)
        else if (kind === 'refuse') watcher.abort()
        else if (typeof kind === 'object')
          watcher.finish(json({ type: 'ERROR', object: faultStatus(kind.status).toStatus() }))
      }
      if (kind === 'refuse' && scope.user === undefined) for (const socket of sockets) socket.destroy()
      if (kind === undefined) for (const response of hung) response.destroy()
    },
    compact() {
      for (const collection of cluster.store.collections.values()) collection.compact()
    },
    close: async () => {
      cancelBookmarks()
      await close()
    },
  }
}

const HALF_EVENT = Buffer.from('{"type":"MODIFIED","object":{"kind":"Serv')

function faultStatus(status: number): ApiError {
  switch (status) {
    case 410:
      return new ApiError(410, 'Expired', 'too old resource version')
    case 429:
      return new ApiError(429, 'TooManyRequests', 'the server has received too many requests', {
        retryAfterSeconds: 1,
      })
    case 503:
      return new ApiError(503, 'ServiceUnavailable', 'the server is currently unable to handle the request')
    default:
      return new ApiError(status, 'InternalError', 'Internal error occurred: a fault was asked for')
  }
}

function authenticate(request: IncomingMessage, tokens: ReadonlyMap<string, User>): User | undefined {
  const found = /^bearer\s+(\S+)\s*$/i.exec(request.headers.authorization ?? '')
  return found?.[1] === undefined ? undefined : tokens.get(found[1])
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer, half: boolean): void {
  if (response.headersSent || response.destroyed) return
  const body = half ? answer.body.subarray(0, answer.body.length >> 1) : answer.body
  // What was not read of the request would be taken for the next one.
  const unread = !request.complete
  response.writeHead(answer.code, {
    'content-type': answer.contentType ?? 'application/json',
    'content-length': body.length,
    'cache-control': 'no-cache, private',
    ...answer.headers,
    ...(unread ? { connection: 'close' } : {}),
  })
  if (request.method === 'HEAD') response.end()
  else response.end(body)
}

function listening(server: Server, listen: () => void): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail)
    server.once('listening', () => {
      server.off('error', fail)
      done()
    })
    listen()
  })
}

function readDefinitions(directory: string): unknown[] {
  const out: unknown[] = []
  for (const file of readdirSync(directory).sort()) {
    if (!/\.ya?ml$/.test(file)) continue
    for (const document of parseAllDocuments(readFileSync(join(directory, file), 'utf8'))) {
      const value: unknown = document.toJS()
      if ((value as { kind?: unknown } | null)?.kind === 'CustomResourceDefinition') out.push(value)
    }
  }
  return out
}

function kubeconfig(server: string, token: string, caPem: string): string {
  return `apiVersion: v1
kind: Config
current-context: lodestone-lab
clusters:
- name: lodestone-lab
  cluster:
    server: ${JSON.stringify(server)}
    certificate-authority-data: ${Buffer.from(caPem).toString('base64')}
users:
- name: lodestone-lab
  user:
    token: ${JSON.stringify(token)}
contexts:
- name: lodestone-lab
  context:
    cluster: lodestone-lab
    user: lodestone-lab
`
}
