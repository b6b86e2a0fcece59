import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import {
  type ExchangeEvents,
  IDLE_CONNECTIONS_MAX,
  isClosedUnderUs,
  KEEPALIVE_MS,
  type Outgoing,
  type Target,
  type Transport,
} from './transport.ts'

/** By what Node.js brings along: nothing to load, for processes that ask for little. */
export class NodeTransport implements Transport {
  readonly #target: { readonly protocol: string; readonly host: string; readonly port: number }
  readonly #request: typeof httpRequest
  readonly #agent: HttpAgent | HttpsAgent

  constructor({ host, port, tls }: Target) {
    const common = { keepAlive: true, keepAliveMsecs: KEEPALIVE_MS, maxFreeSockets: IDLE_CONNECTIONS_MAX }
    this.#target = { protocol: tls === undefined ? 'http:' : 'https:', host, port }
    if (tls === undefined) {
      this.#request = httpRequest
      this.#agent = new HttpAgent(common)
    } else {
      const { servername, ...rest } = tls
      this.#request = httpsRequest
      this.#agent = new HttpsAgent({
        ...common,
        ...rest,
        ...(servername === undefined ? {} : { servername }),
      })
    }
  }

  exchange({ method, path, headers, body }: Outgoing, events: ExchangeEvents): () => void {
    const request = this.#request({
      ...this.#target,
      agent: this.#agent,
      method,
      path,
      headers: {
        ...(headers as Record<string, string | string[]>),
        ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
      },
    })
    request.on('socket', socket => {
      if (!socket.connecting) events.connected()
      else {
        socket.setKeepAlive(true, KEEPALIVE_MS)
        socket.once(this.#target.protocol === 'https:' ? 'secureConnect' : 'connect', () =>
          events.connected(),
        )
      }
    })
    request.on('error', error => events.failed(error, request.reusedSocket && isClosedUnderUs(error)))
    request.on('response', response => {
      events.head(response.statusCode ?? 0, response.headers)
      response.on('data', chunk => events.data(chunk as Buffer))
      response.on('end', () => events.ended())
      response.on('error', error => events.failed(error, false))
      response.on('close', () => {
        if (!response.complete) events.failed(new Error('the connection was closed'), false)
      })
    })
    // As a string it leaves with the head, in one write and one TLS record; as a buffer behind it.
    request.end(body)
    return () => void request.destroy()
  }

  close(): void {
    this.#agent.destroy()
  }
}
