import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Client, type Dispatcher } from 'undici'
import type { Ms } from '../ports/clock.ts'
import {
  type ExchangeEvents,
  IDLE_CONNECTIONS_MAX,
  isClosedUnderUs,
  KEEPALIVE_MS,
  type Outgoing,
  type Target,
  type Transport,
} from './transport.ts'

/** How long a connection without requests is kept, where the server names no time. */
const IDLE_MS: Ms = 60_000

/** By undici: a sixth less processor time for thousands of requests, and 10 MB more to load (docs/adr/0006-undici-for-requests.md). */
export class UndiciTransport implements Transport {
  readonly #target: Target
  readonly #idle: Connection[] = []
  #closed = false

  constructor(target: Target) {
    this.#target = target
  }

  exchange(outgoing: Outgoing, events: ExchangeEvents): () => void {
    // The one used last: what is idle for long is closed.
    const connection = this.#idle.pop() ?? new Connection(this.#target)
    connection.exchange(outgoing, events, () => {
      if (this.#closed || this.#idle.length >= IDLE_CONNECTIONS_MAX) connection.break()
      else this.#idle.push(connection)
    })
    return () => connection.break()
  }

  close(): void {
    this.#closed = true
    for (const connection of this.#idle.splice(0)) connection.break()
  }
}

/** One request at a time. One that was closed while it was idle is made anew for the next. */
class Connection {
  readonly #client: Client
  #socket: Socket | undefined
  /** Answers that came on the socket that is there now. */
  #answers = 0

  constructor(target: Target) {
    this.#client = new Client(target.origin, {
      pipelining: 1,
      keepAliveTimeout: IDLE_MS,
      // HttpClient has bounds of its own.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: (_, callback) => {
        this.#answers = 0
        const socket = openSocket(target, error => {
          if (error === undefined) callback(null, socket)
          else callback(error, null)
        })
        this.#socket = socket
      },
    })
  }

  /** @param free called when the answer was whole: the next request may follow */
  exchange({ method, path, headers, body }: Outgoing, events: ExchangeEvents, free: () => void): void {
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart: () => events.connected(),
      onResponseStart: (_, status, answered) => {
        if (status >= 200) events.head(status, answered)
      },
      onResponseData: (_, chunk) => events.data(chunk),
      onResponseEnd: () => {
        this.#answers++
        free()
        events.ended()
      },
      onResponseError: (_, error: NodeJS.ErrnoException) => {
        const stale = this.#answers > 0 && (error.code === 'UND_ERR_SOCKET' || isClosedUnderUs(error))
        this.break()
        events.failed(error, stale)
      },
    }
    const options = {
      method,
      path,
      headers: headers as Record<string, string | string[]>,
      body: body ?? null,
    }
    this.#client.dispatch(options, handler)
  }

  break(): void {
    void this.#client.destroy()
    // One that is still connecting is not yet the client's to close.
    this.#socket?.destroy()
  }
}

function openSocket({ host, port, tls }: Target, done: (error?: Error) => void): Socket {
  const { servername = isIP(host) === 0 ? host : undefined, ...secure } = tls ?? {}
  const socket =
    tls === undefined
      ? connectTcp({ host, port })
      : connectTls({
          host,
          port,
          ...secure,
          ...(servername === undefined ? {} : { servername }),
          ALPNProtocols: ['http/1.1'],
        })
  let open = false
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEPALIVE_MS)
  socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
    open = true
    done()
  })
  // From then on the client listens itself.
  socket.on('error', error => {
    if (!open) done(error)
  })
  return socket
}
