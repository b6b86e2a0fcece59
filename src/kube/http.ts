import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http'
import {
  Agent as HttpsAgent,
  type AgentOptions as HttpsAgentOptions,
  request as httpsRequest,
} from 'node:https'
import { createSecureContext } from 'node:tls'
import type { Clock, Ms } from '../ports/clock.ts'
import { KubeError } from '../ports/kube.ts'
import { badAnswer, errorFromStatus } from './answers.ts'
import type { KubeConfig } from './config.ts'
import { type Credential, messageOf } from './credentials.ts'
import { LineSplitter, LineTooLongError } from './lines.ts'

export type HttpLimits = {
  /** For the TCP and TLS handshakes. */
  readonly connectTimeoutMs: Ms
  /** From the request being sent until the answer's first line. */
  readonly answerTimeoutMs: Ms
  /** Silence within an answer. */
  readonly silenceTimeoutMs: Ms
  /**
   * Silence on a watch after which it is taken for dead and opened again where it stopped. API servers send a bookmark a minute,
   * so this is longer; where one sends none, an idle watch is merely reopened, which costs one request and loses nothing.
   * A host that vanished is noticed earlier, by TCP keepalive (15 s, then 10 probes a second apart).
   */
  readonly watchSilenceMs: Ms
  readonly bodyMax: number
  /** Of one watch event. An object is at most about 1.5 MB in etcd, and somewhat more as JSON. */
  readonly lineMax: number
}

export const DEFAULT_LIMITS: HttpLimits = {
  connectTimeoutMs: 10_000,
  answerTimeoutMs: 60_000,
  silenceTimeoutMs: 30_000,
  watchSilenceMs: 75_000,
  bodyMax: 64 << 20,
  lineMax: 8 << 20,
}

export type HttpRequest = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** From /api or /apis on, query included. */
  readonly path: string
  readonly body?: unknown
  readonly contentType?: string
  readonly signal?: AbortSignal | undefined
  /** Verb and object, to begin messages with. */
  readonly what: string
}

const ERROR_BODY_MAX = 1 << 20
const KEEPALIVE_MS = 15_000

type Answer = { readonly response: IncomingMessage; readonly used: Credential }

/** Requests to one API server: credentials, time limits, size limits, errors as KubeError. */
export class HttpClient {
  readonly #config: KubeConfig
  readonly #clock: Clock
  readonly #userAgent: string
  readonly #limits: HttpLimits
  /** What every request to the server has in common. */
  readonly #target: {
    readonly protocol: string
    readonly host: string
    readonly port: number
    readonly path: string
  }
  readonly #request: typeof httpRequest
  #agent: { agent: HttpAgent | HttpsAgent; certificate: Credential['clientCertificate'] } | undefined
  #closed = false

  constructor(options: {
    config: KubeConfig
    clock: Clock
    userAgent: string
    limits?: Partial<HttpLimits>
  }) {
    this.#config = options.config
    this.#clock = options.clock
    this.#userAgent = options.userAgent
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits }
    const { protocol, hostname, port, pathname } = options.config.server
    const secure = protocol === 'https:'
    this.#request = secure ? httpsRequest : httpRequest
    this.#target = {
      protocol,
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: port === '' ? (secure ? 443 : 80) : Number(port),
      path: pathname.replace(/\/$/, ''),
    }
  }

  /** The answer's JSON. @throws KubeError; the signal's reason when aborted */
  async json(request: HttpRequest): Promise<unknown> {
    const { response } = await this.#open(request)
    const text = await this.#body(request, response, this.#limits.bodyMax)
    try {
      return JSON.parse(text)
    } catch (cause) {
      throw badAnswer(request.what, `${text.length} characters that are no JSON`, cause)
    }
  }

  /**
   * Hands over the lines of an answer that stays open. Resolves when the server ends it or is silent for too long.
   * @throws KubeError; the signal's reason when aborted; whatever `onLine` throws
   */
  async lines(request: HttpRequest, onLine: (line: string) => void): Promise<void> {
    const { response } = await this.#open(request)
    const splitter = new LineSplitter(this.#limits.lineMax)
    const ended = await this.#read(request, response, this.#limits.watchSilenceMs, chunk => {
      for (const line of splitter.push(chunk)) onLine(line)
    })
    if (ended === 'end' && splitter.pending > 0)
      throw new KubeError('unreachable', `${request.what}: the answer ended in the middle of a line`)
  }

  /** Ends idle connections; requests under way go on until their own end. */
  close(): void {
    this.#closed = true
    this.#agent?.agent.destroy()
    this.#agent = undefined
  }

  /** A 2xx answer, its body not read yet. A 401 makes credentials be fetched anew, once. */
  async #open(request: HttpRequest): Promise<Answer> {
    const first = await this.#send(request)
    if (first.response.statusCode === 401 && this.#config.credentials.rejected(first.used)) {
      first.response.resume()
      const second = await this.#send(request)
      return this.#checked(request, second)
    }
    return this.#checked(request, first)
  }

  async #checked(request: HttpRequest, answer: Answer): Promise<Answer> {
    const { response } = answer
    const status = response.statusCode ?? 0
    if (status >= 200 && status < 300) return answer
    if (status >= 300 && status < 400) {
      response.destroy()
      throw badAnswer(
        request.what,
        `a redirect (${status}) to ${response.headers.location ?? 'nowhere'}; redirects are not followed, correct the server address in ${this.#config.source}`,
      )
    }
    const text = await this.#body(request, response, ERROR_BODY_MAX)
    let body: unknown = text
    try {
      body = JSON.parse(text)
    } catch {
      // A proxy's own page: errorFromStatus quotes its start.
    }
    throw errorFromStatus(
      body,
      status,
      parseRetryAfter(response.headers['retry-after'], this.#clock.wallNow()),
      request.what,
    )
  }

  async #send(request: HttpRequest): Promise<Answer> {
    request.signal?.throwIfAborted()
    let used: Credential
    try {
      used = await this.#config.credentials.current()
    } catch (cause) {
      throw new KubeError('unauthorized', `${request.what}: ${messageOf(cause)}`, { cause })
    }
    request.signal?.throwIfAborted()
    for (let attempt = 1; ; attempt++) {
      try {
        return { response: await this.#exchange(request, used), used }
      } catch (error) {
        if (!(error instanceof StaleConnection)) throw error
        // The server closed an idle connection just as we wrote to it: it saw nothing. Several may be idle; and no second POST.
        if (request.method === 'POST' || attempt >= STALE_ATTEMPTS) throw error.cause
      }
    }
  }

  #exchange(request: HttpRequest, credential: Credential): Promise<IncomingMessage> {
    // As a string it leaves with the head, in one write and one TLS record; as a buffer behind it.
    const body = request.body === undefined ? undefined : JSON.stringify(request.body)
    const { path, ...target } = this.#target
    const outgoing = this.#request({
      ...target,
      agent: this.#agentFor(credential),
      method: request.method,
      path: path + request.path,
      headers: {
        ...(credential.headers as Record<string, string | string[]>),
        accept: 'application/json',
        'user-agent': this.#userAgent,
        ...(body === undefined
          ? {}
          : {
              'content-type': request.contentType ?? 'application/json',
              'content-length': Buffer.byteLength(body),
            }),
      },
    })
    return new Promise<IncomingMessage>((resolve, reject) => {
      const stop = this.#guard(request, outgoing)
      outgoing.on('response', response => {
        stop()
        // Breaks of an answer that nobody reads on (a 401 that is asked again) must not end the process.
        response.on('error', () => {})
        resolve(response)
      })
      outgoing.on('error', error => {
        stop()
        reject(this.#connectionError(request, outgoing, error))
      })
      outgoing.end(body)
    })
  }

  /** Ends the request when it is aborted or the handshake or the answer takes too long. Returns the end of that watch. */
  #guard(request: HttpRequest, outgoing: ClientRequest): () => void {
    const { connectTimeoutMs, answerTimeoutMs } = this.#limits
    const { signal } = request
    let due = this.#clock.now() + connectTimeoutMs
    let why = `no connection within ${connectTimeoutMs} ms`
    let cancel: () => void
    // One timer that looks at the time: on a kept connection it would be replaced at once, for each request.
    const watch = (delayMs: Ms): void => {
      cancel = this.#clock.after(delayMs, () => {
        const left = due - this.#clock.now()
        if (left > 0) watch(left)
        else outgoing.destroy(new Error(why))
      })
    }
    watch(connectTimeoutMs)
    const connected = (): void => {
      due = this.#clock.now() + answerTimeoutMs
      why = `no answer within ${answerTimeoutMs} ms`
      if (answerTimeoutMs >= connectTimeoutMs) return
      cancel()
      watch(answerTimeoutMs)
    }
    outgoing.on('socket', socket => {
      if (!socket.connecting) connected()
      else {
        socket.setKeepAlive(true, KEEPALIVE_MS)
        socket.once(this.#target.protocol === 'https:' ? 'secureConnect' : 'connect', connected)
      }
    })
    const aborted = (): void => void outgoing.destroy(signal?.reason as Error)
    signal?.addEventListener('abort', aborted)
    return () => {
      cancel()
      signal?.removeEventListener('abort', aborted)
    }
  }

  async #body(request: HttpRequest, response: IncomingMessage, max: number): Promise<string> {
    const chunks: Buffer[] = []
    let size = 0
    const ended = await this.#read(request, response, this.#limits.silenceTimeoutMs, chunk => {
      size += chunk.length
      if (size > max) throw badAnswer(request.what, `more than ${max} bytes`)
      chunks.push(chunk)
    })
    if (ended === 'silent')
      throw new KubeError('unreachable', `${request.what}: the answer stopped after ${size} bytes`)
    return (chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)).toString('utf8')
  }

  #read(
    request: HttpRequest,
    response: IncomingMessage,
    silenceMs: Ms,
    onChunk: (chunk: Buffer) => void,
  ): Promise<'end' | 'silent'> {
    const { signal } = request
    return new Promise((resolve, reject) => {
      let heardAt = this.#clock.now()
      let cancel: () => void = () => {}
      let finished = false
      const finish = (outcome: () => void): void => {
        if (finished) return
        finished = true
        cancel()
        signal?.removeEventListener('abort', aborted)
        if (!response.complete) response.destroy()
        outcome()
      }
      const aborted = (): void => finish(() => reject(signal?.reason as Error))
      // One timer that looks at the time, instead of one re-armed with every chunk.
      const listen = (): void => {
        const left = heardAt + silenceMs - this.#clock.now()
        if (left <= 0) finish(() => resolve('silent'))
        else cancel = this.#clock.after(left, listen)
      }
      if (signal?.aborted === true) return aborted()
      if (response.destroyed && !response.readableEnded)
        return reject(new KubeError('unreachable', `${request.what}: the answer broke off`))
      signal?.addEventListener('abort', aborted)
      listen()
      response.on('data', (chunk: Buffer) => {
        if (finished) return
        heardAt = this.#clock.now()
        try {
          onChunk(chunk)
        } catch (error) {
          finish(() =>
            reject(
              error instanceof LineTooLongError
                ? badAnswer(request.what, error.message, error)
                : (error as Error),
            ),
          )
        }
      })
      response.on('end', () => finish(() => resolve('end')))
      response.on('error', (cause: Error) =>
        finish(() =>
          reject(
            new KubeError('unreachable', `${request.what}: the answer broke off: ${cause.message}`, {
              cause,
            }),
          ),
        ),
      )
      response.on('close', () =>
        finish(() => reject(new KubeError('unreachable', `${request.what}: the answer broke off`))),
      )
    })
  }

  #agentFor(credential: Credential): HttpAgent | HttpsAgent {
    if (this.#closed) throw new KubeError('unreachable', 'the client is closed')
    const { clientCertificate: certificate } = credential
    const known = this.#agent
    if (
      known !== undefined &&
      known.certificate?.cert === certificate?.cert &&
      known.certificate?.key === certificate?.key
    )
      return known.agent
    // Connections under the old certificate may finish what they do; new requests prove the new one.
    const config = this.#config
    const common = { keepAlive: true, keepAliveMsecs: KEEPALIVE_MS, maxFreeSockets: 8 }
    const tls = (): HttpsAgentOptions => ({
      ...common,
      rejectUnauthorized: !config.insecureSkipTlsVerify,
      // Made once: given as `ca`, `cert` and `key` they are read again for each connection, and compared for each request.
      secureContext: createSecureContext({
        minVersion: 'TLSv1.2',
        ...(config.ca === undefined ? {} : { ca: config.ca }),
        ...certificate,
      }),
      ...(config.tlsServerName === undefined ? {} : { servername: config.tlsServerName }),
    })
    const agent = config.server.protocol === 'https:' ? new HttpsAgent(tls()) : new HttpAgent(common)
    this.#agent = { agent, certificate }
    return agent
  }

  #connectionError(request: HttpRequest, outgoing: ClientRequest, error: NodeJS.ErrnoException): Error {
    if (request.signal?.aborted === true) return request.signal.reason as Error
    const { origin } = this.#config.server
    const advice = TLS_ADVICE[error.code ?? '']
    const kubeError = new KubeError(
      'unreachable',
      `${request.what}: cannot reach ${origin} (${this.#config.source}): ${error.message}${advice === undefined ? '' : `; ${advice}`}`,
      { cause: error },
    )
    return outgoing.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
      ? new StaleConnection(kubeError)
      : kubeError
  }
}

/** How many kept connections may turn out to be closed before a request counts as failed. */
const STALE_ATTEMPTS = 3

/** A kept connection that was closed under us. */
class StaleConnection extends Error {
  override readonly cause: KubeError
  constructor(cause: KubeError) {
    super(cause.message)
    this.cause = cause
  }
}

const UNKNOWN_AUTHORITY =
  "the certificate is not signed by the configured authority: is certificate-authority that of this cluster's API server?"

const TLS_ADVICE: Readonly<Record<string, string>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  CERT_SIGNATURE_FAILURE: UNKNOWN_AUTHORITY,
  ERR_TLS_CERT_ALTNAME_INVALID: 'if the server is reached by another name on purpose, set tls-server-name',
  CERT_HAS_EXPIRED: "renew the API server's certificate, or correct this machine's clock",
  CERT_NOT_YET_VALID: "is this machine's clock right?",
  EPROTO: 'is this an https port?',
}

/** Seconds, or an HTTP date (RFC 9110 section 10.2.3), as seconds from now. */
export function parseRetryAfter(header: string | undefined, wallNow: number): number | undefined {
  if (header === undefined) return undefined
  const text = header.trim()
  if (/^\d{1,9}$/.test(text)) return Number(text)
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - wallNow) / 1000))
}
