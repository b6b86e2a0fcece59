import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { SecureVersion } from 'node:tls'
import type { Log } from '../ports/log.ts'
import type { Metrics } from '../ports/metrics.ts'
import type { Certified } from '../sys/certificates.ts'
import { convert } from '../webhook/convert.ts'
import { decide, type ReviewedKind, type ReviewResources } from '../webhook/decide.ts'
import {
  admissionAnswer,
  conversionAnswer,
  parseAdmissionReview,
  parseConversionReview,
  ReviewError,
} from '../webhook/envelope.ts'
import { ROUTES } from '../webhook/routes.ts'
import { WEBHOOK_REQUESTS } from './webhooks-metrics.ts'

export type WebhookServerOptions = {
  /** undefined: all addresses of both families. */
  readonly host: string | undefined
  /** 0: the kernel chooses. */
  readonly port: number
  readonly minVersion: SecureVersion
  /** The namespace whose objects are used. */
  readonly namespace: string
  readonly resources: {
    /** As far as the local copies are; cheap. */
    current(): ReviewResources
    /** As the API server has them now. */
    fresh(): Promise<ReviewResources>
  }
  readonly log: Log
  readonly metrics?: Metrics
}

export type WebhookServer = {
  readonly port: number
  /** From now on for new connections; those that are open go on. @throws Error when the PEM is not usable */
  setCertificate(certificate: Certified): void
  /** Takes no new connection, finishes what is being answered, but waits at most so long. */
  close(withinMs: number): Promise<void>
}

/** An object is at most 3 MiB for the API server, and a review of an update holds two. A list to convert may hold more. */
const BODY_BYTES_MAX = 16 * 1024 * 1024
/** Of all bodies that are being read or answered together. */
const BODIES_BYTES_MAX = 64 * 1024 * 1024
const CONNECTIONS_MAX = 256
/** Real objects have a dozen levels. Deeper ones are made to exhaust the stack of whoever walks through them. */
const DEPTH_MAX = 200
/** Longer than the 90 s for which the API server keeps idle connections: so it is never we who cut one that it is about to use. */
const KEEP_ALIVE_MS = 120_000
/** The API server waits 30 s at most. */
const REQUEST_MS = 30_000

/** Answers reviews over HTTPS. @throws Error when the port is taken */
export async function startWebhookServer(
  options: WebhookServerOptions,
  certificate: Certified,
): Promise<WebhookServer> {
  const { host, port, minVersion, log } = options
  const context = ({ certPem, keyPem }: Certified) => ({ cert: certPem, key: keyPem, minVersion })
  const sockets = new Set<Socket>()
  const budget: Budget = { bytes: 0 }
  const server = createServer(
    {
      ...context(certificate),
      ALPNProtocols: ['http/1.1'],
      keepAliveTimeout: KEEP_ALIVE_MS,
      requestTimeout: REQUEST_MS,
      noDelay: true,
    },
    (request, response) => {
      answer(request, options, budget).then(
        result => send(request, response, result),
        (error: unknown) => {
          // Whoever sent half a review and left is no event.
          if (request.destroyed && !request.complete) return
          log.error('webhook-request-failed', { url: request.url, error })
          send(request, response, { status: 500, body: 'the review failed; the log says more' })
        },
      )
    },
  )
  server.maxConnections = CONNECTIONS_MAX
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    // Whoever breaks off does not wait for an answer either.
    socket.on('error', () => undefined)
  })
  server.on('tlsClientError', (error: Error) => log.debug('webhook-handshake-failed', { error }))
  await new Promise<void>((resolve, reject) => {
    server.once('error', error =>
      reject(new Error(`cannot serve webhooks on port ${port}: ${error.message}`, { cause: error })),
    )
    server.listen(port, host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    setCertificate: certificate => server.setSecureContext(context(certificate)),
    close: withinMs =>
      new Promise(resolve => {
        const last = setTimeout(() => {
          for (const socket of sockets) socket.destroy()
        }, withinMs)
        server.close(() => {
          clearTimeout(last)
          resolve()
        })
        server.closeIdleConnections()
      }),
  }
}

type Result = { readonly status: number; readonly body: unknown }

/** Held by the bodies of all requests that are not answered yet. */
type Budget = { bytes: number }

async function answer(
  request: IncomingMessage,
  options: WebhookServerOptions,
  budget: Budget,
): Promise<Result> {
  const held: Budget = { bytes: 0 }
  try {
    return await answerWithin(request, options, bytes => {
      held.bytes += bytes
      budget.bytes += bytes
      return budget.bytes <= BODIES_BYTES_MAX
    })
  } finally {
    budget.bytes -= held.bytes
  }
}

/** @param take false: these bytes are more than can be held now */
async function answerWithin(
  request: IncomingMessage,
  options: WebhookServerOptions,
  take: (bytes: number) => boolean,
): Promise<Result> {
  const count = (kind: string, result: string) => options.metrics?.add(WEBHOOK_REQUESTS, { kind, result }, 1)
  const refuse = (status: number, body: string): Result => {
    count('none', 'refused')
    return { status, body }
  }
  const path = (request.url ?? '').split('?')[0] ?? ''
  const route = ROUTES.get(path)
  if (route === undefined) return refuse(404, `there is no webhook at ${path.slice(0, 200)}`)
  if (request.method !== 'POST') return refuse(405, 'reviews are sent with POST')
  const text = await readBody(request, take)
  if (text === 'busy') return refuse(503, 'too many reviews at once; try again')
  if (text === 'too-large') return refuse(413, `a review has at most ${BODY_BYTES_MAX} bytes`)
  if (isTooDeep(text.json)) return refuse(400, `the body is nested deeper than ${DEPTH_MAX} levels`)
  let body: unknown
  try {
    body = JSON.parse(text.json) as unknown
  } catch (error) {
    return refuse(400, `the body is no JSON: ${(error as Error).message}`)
  }
  try {
    if (route.to === 'validate') return await validate(body, route.kind, options, count)
    const conversion = parseConversionReview(body)
    const converted = convert(conversion)
    const failed = typeof converted === 'string'
    if (failed) options.log.warn('conversion-refused', { message: converted })
    count('BGPPeer', failed ? 'refused' : 'converted')
    return { status: 200, body: conversionAnswer(conversion.uid, converted) }
  } catch (error) {
    if (error instanceof ReviewError) return refuse(400, error.message)
    throw error
  }
}

/** @throws ReviewError, KubeError */
async function validate(
  body: unknown,
  kind: ReviewedKind,
  { resources, namespace, log }: WebhookServerOptions,
  count: (kind: string, result: string) => void,
): Promise<Result> {
  const review = parseAdmissionReview(body)
  if (review.kind !== kind)
    throw new ReviewError(`objects of kind ${kind} are validated here, not ${review.kind}`)
  let verdict = decide(review, kind, resources.current(), namespace)
  // The local copies may be some milliseconds behind: what somebody deleted or repaired just now is no reason to refuse.
  if (!verdict.allowed) verdict = decide(review, kind, await resources.fresh(), namespace)
  const { allowed, message } = verdict
  if (!allowed) {
    const { operation, namespace, name } = review
    log.info('admission-denied', { operation, kind, namespace, name, message })
  }
  count(kind, allowed ? 'allowed' : 'denied')
  return { status: 200, body: admissionAnswer(review.uid, verdict) }
}

async function readBody(
  request: IncomingMessage,
  take: (bytes: number) => boolean,
): Promise<{ readonly json: string } | 'too-large' | 'busy'> {
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX) return 'too-large'
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > BODY_BYTES_MAX) return 'too-large'
    if (!take(chunk.length)) return 'busy'
    chunks.push(chunk)
  }
  return { json: Buffer.concat(chunks, size).toString() }
}

function isTooDeep(json: string): boolean {
  let depth = 0
  for (let at = 0; at < json.length; at++) {
    switch (json.charCodeAt(at)) {
      case 0x22: // A string: on to the quote that ends it.
        for (at++; at < json.length && json.charCodeAt(at) !== 0x22; at++) {
          if (json.charCodeAt(at) === 0x5c) at++
        }
        break
      case 0x5b:
      case 0x7b:
        if (++depth > DEPTH_MAX) return true
        break
      case 0x5d:
      case 0x7d:
        depth--
    }
  }
  return false
}

function send(request: IncomingMessage, response: ServerResponse, { status, body }: Result): void {
  if (response.headersSent || response.destroyed) return
  const isText = typeof body === 'string'
  const text = isText ? `${body}\n` : JSON.stringify(body)
  response.writeHead(status, {
    'content-type': isText ? 'text/plain; charset=utf-8' : 'application/json',
    'content-length': Buffer.byteLength(text),
    // What was not read of the request would be taken for the next one.
    ...(request.complete ? {} : { connection: 'close' }),
  })
  response.end(text)
}
