import type { IncomingHttpHeaders } from 'node:http'
import { createSecureContext } from 'node:tls'
import type { Clock, Ms } from '../ports/clock.ts'
import { KubeError } from '../ports/kube.ts'
import { badAnswer, errorFromStatus } from './answers.ts'
import type { KubeConfig } from './config.ts'
import { type Credential, messageOf } from './credentials.ts'
import { LineSplitter, LineTooLongError } from './lines.ts'
import type { ExchangeEvents, Target, Transport, TransportFactory } from './transport.ts'
import { NodeTransport } from './transport-node.ts'

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

/** An answer that was read to its end, or given up; without its text where its chunks went elsewhere. */
type Answer = {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** For a watch: whether the server ended it. */
  readonly ended: 'end' | 'silent'
}

/** Requests to one API server: credentials, time limits, size limits, errors as KubeError. */
export class HttpClient {
  readonly #config: KubeConfig
  readonly #clock: Clock
  readonly #userAgent: string
  readonly #limits: HttpLimits
  readonly #makeTransport: TransportFactory
  /** Before the path of each request. */
  readonly #root: string
  #transport:
    | { readonly transport: Transport; readonly certificate: Credential['clientCertificate'] }
    | undefined
  #closed = false

  constructor(options: {
    config: KubeConfig
    clock: Clock
    userAgent: string
    limits?: Partial<HttpLimits>
    /** Node's own unless told. */
    transport?: TransportFactory
  }) {
    this.#config = options.config
    this.#clock = options.clock
    this.#userAgent = options.userAgent
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.#makeTransport = options.transport ?? (target => new NodeTransport(target))
    this.#root = options.config.server.pathname.replace(/\/$/, '')
  }

  /** The answer's JSON. @throws KubeError; the signal's reason when aborted */
  async json(request: HttpRequest): Promise<unknown> {
    const { text } = await this.#ask(request)
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
    const splitter = new LineSplitter(this.#limits.lineMax)
    const { ended } = await this.#ask(request, chunk => {
      for (const line of splitter.push(chunk)) onLine(line)
    })
    if (ended === 'end' && splitter.pending > 0)
      throw new KubeError('unreachable', `${request.what}: the answer ended in the middle of a line`)
  }

  /** Ends idle connections, and those of requests under way at their end at the latest. */
  close(): void {
    this.#closed = true
    this.#transport?.transport.close()
    this.#transport = undefined
  }

  /** A 2xx answer. A 401 makes credentials be fetched anew, once. */
  async #ask(request: HttpRequest, onChunk?: (chunk: Buffer) => void): Promise<Answer> {
    const first = await this.#credential(request)
    const answer = await this.#send(request, first, onChunk)
    if (answer.status !== 401 || !this.#config.credentials.rejected(first))
      return this.#checked(request, answer)
    return this.#checked(request, await this.#send(request, await this.#credential(request), onChunk))
  }

  #checked(request: HttpRequest, answer: Answer): Answer {
    const { status, headers, text } = answer
    if (isGood(status)) return answer
    let body: unknown = text
    try {
      body = JSON.parse(text)
    } catch {
      // A proxy's own page: errorFromStatus quotes its start.
    }
    const retryAfter = parseRetryAfter(headers['retry-after'], this.#clock.wallNow())
    throw errorFromStatus(body, status, retryAfter, request.what)
  }

  async #credential({ signal, what }: HttpRequest): Promise<Credential> {
    signal?.throwIfAborted()
    try {
      return await this.#config.credentials.current()
    } catch (cause) {
      throw new KubeError('unauthorized', `${what}: ${messageOf(cause)}`, { cause })
    }
  }

  async #send(
    request: HttpRequest,
    credential: Credential,
    onChunk: ((chunk: Buffer) => void) | undefined,
  ): Promise<Answer> {
    const body = request.body === undefined ? undefined : JSON.stringify(request.body)
    const { signal } = request
    for (let attempt = 1; ; attempt++) {
      signal?.throwIfAborted()
      try {
        return await this.#exchange(request, body, credential, onChunk)
      } catch (error) {
        if (!(error instanceof StaleConnection)) throw error
        // The server closed an idle connection just as we wrote to it: it saw nothing. Several may be idle; and no second POST.
        if (request.method === 'POST' || attempt >= STALE_ATTEMPTS) throw error.cause
      }
    }
  }

  /** One request and its answer, within the bounds of time and size. */
  #exchange(
    request: HttpRequest,
    body: string | undefined,
    credential: Credential,
    onChunk: ((chunk: Buffer) => void) | undefined,
  ): Promise<Answer> {
    const transport = this.#transportFor(credential)
    const { connectTimeoutMs, answerTimeoutMs, silenceTimeoutMs, watchSilenceMs, bodyMax } = this.#limits
    const { signal, what } = request
    const silenceMs = onChunk === undefined ? silenceTimeoutMs : watchSilenceMs
    const chunks: Buffer[] = []
    let size = 0
    let status = 0
    let headers: IncomingHttpHeaders = {}

    return new Promise<Answer>((resolve, reject) => {
      let phase: 'connecting' | 'waiting' | 'reading' | 'over' = 'connecting'
      let due = this.#clock.now() + connectTimeoutMs
      let timerAt = due
      const late = (): void => {
        const left = due - this.#clock.now()
        // One timer that looks at the time, instead of one re-armed with every step and every chunk.
        if (left > 0) arm(left)
        else if (phase === 'connecting') unreachable(new Error(`no connection within ${connectTimeoutMs} ms`))
        else if (phase === 'waiting') unreachable(new Error(`no answer within ${answerTimeoutMs} ms`))
        else if (onChunk !== undefined && isGood(status)) finish('silent')
        else fail(new KubeError('unreachable', `${what}: the answer stopped after ${size} bytes`))
      }
      let cancelTimer = this.#clock.after(connectTimeoutMs, late)
      const arm = (delayMs: Ms): void => {
        cancelTimer()
        timerAt = this.#clock.now() + delayMs
        cancelTimer = this.#clock.after(delayMs, late)
      }
      const expectWithin = (delayMs: Ms): void => {
        due = this.#clock.now() + delayMs
        if (due < timerAt) arm(delayMs)
      }
      const over = (): void => {
        phase = 'over'
        cancelTimer()
        signal?.removeEventListener('abort', aborted)
      }
      const finish = (ended: Answer['ended']): void => {
        over()
        if (ended === 'silent') breakOff()
        const whole = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
        resolve({ status, headers, text: whole.toString('utf8'), ended })
      }
      const fail = (error: Error): void => {
        over()
        breakOff()
        reject(error)
      }
      const unreachable = (error: Error): void => fail(this.#connectionError(request, error))
      const aborted = (): void => fail(signal?.reason as Error)
      const take = (chunk: Buffer): void => {
        size += chunk.length
        if (onChunk !== undefined && isGood(status)) return onChunk(chunk)
        const max = isGood(status) ? bodyMax : ERROR_BODY_MAX
        if (size > max) throw badAnswer(what, `more than ${max} bytes`)
        chunks.push(chunk)
      }
      signal?.addEventListener('abort', aborted)

      const outgoing = {
        method: request.method,
        path: this.#root + request.path,
        headers: {
          ...credential.headers,
          accept: 'application/json',
          'user-agent': this.#userAgent,
          ...(body === undefined ? {} : { 'content-type': request.contentType ?? 'application/json' }),
        },
        body,
      }
      // Set when the call returns; whatever a transport tells before that has nothing to break off any more.
      let breakOff: () => void = () => {}
      const events: ExchangeEvents = {
        connected: () => {
          if (phase !== 'connecting') return
          phase = 'waiting'
          expectWithin(answerTimeoutMs)
        },
        head: (answered, with_) => {
          if (phase === 'over') return
          phase = 'reading'
          status = answered
          headers = with_
          expectWithin(silenceMs)
          if (status < 300 || status >= 400) return
          const { source } = this.#config
          const problem = `a redirect (${status}) to ${headers.location ?? 'nowhere'}; redirects are not followed, correct the server address in ${source}`
          fail(badAnswer(what, problem))
        },
        data: chunk => {
          if (phase === 'over') return
          due = this.#clock.now() + silenceMs
          try {
            take(chunk)
          } catch (error) {
            fail(error instanceof LineTooLongError ? badAnswer(what, error.message, error) : (error as Error))
          }
        },
        ended: () => {
          if (phase !== 'over') finish('end')
        },
        failed: (error, stale) => {
          if (phase === 'over') return
          if (phase === 'reading') {
            const problem = `${what}: the answer broke off: ${error.message}`
            fail(new KubeError('unreachable', problem, { cause: error }))
          } else if (stale) fail(new StaleConnection(this.#connectionError(request, error)))
          else unreachable(error)
        },
      }
      try {
        breakOff = transport.exchange(outgoing, events)
      } catch (error) {
        // A token that no header can carry, for example.
        unreachable(error as Error)
      }
    })
  }

  #transportFor({ clientCertificate: certificate }: Credential): Transport {
    if (this.#closed) throw new KubeError('unreachable', 'the client is closed')
    const known = this.#transport
    if (
      known !== undefined &&
      known.certificate?.cert === certificate?.cert &&
      known.certificate?.key === certificate?.key
    )
      return known.transport
    // Connections under the old certificate may finish what they do; new requests prove the new one.
    const transport = this.#makeTransport(this.#target(certificate))
    this.#transport = { transport, certificate }
    return transport
  }

  #target(certificate: Credential['clientCertificate']): Target {
    const { server, ca, insecureSkipTlsVerify, tlsServerName: servername } = this.#config
    const secure = server.protocol === 'https:'
    const tls = () => ({
      // Made once: given as `ca`, `cert` and `key` they are read again for each connection.
      secureContext: createSecureContext({
        minVersion: 'TLSv1.2',
        ...(ca === undefined ? {} : { ca }),
        ...certificate,
      }),
      rejectUnauthorized: !insecureSkipTlsVerify,
      servername,
    })
    return {
      origin: server.origin,
      host: server.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: server.port === '' ? (secure ? 443 : 80) : Number(server.port),
      tls: secure ? tls() : undefined,
    }
  }

  #connectionError(request: HttpRequest, error: NodeJS.ErrnoException): KubeError {
    const { origin } = this.#config.server
    const advice = TLS_ADVICE[error.code ?? '']
    return new KubeError(
      'unreachable',
      `${request.what}: cannot reach ${origin} (${this.#config.source}): ${error.message}${advice === undefined ? '' : `; ${advice}`}`,
      { cause: error },
    )
  }
}

function isGood(status: number): boolean {
  return status >= 200 && status < 300
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
