import type { IncomingHttpHeaders } from 'node:http'
import type { SecureContext } from 'node:tls'
import type { Ms } from '../ports/clock.ts'

/** Where requests go, and what a connection there has to prove. */
export type Target = {
  /** Scheme, host and port, as in a URL. */
  readonly origin: string
  /** Without the brackets of an IPv6 address. */
  readonly host: string
  readonly port: number
  /** undefined: no TLS. */
  readonly tls:
    | {
        readonly secureContext: SecureContext
        readonly rejectUnauthorized: boolean
        /** Looked for in the server's certificate in place of `host`. */
        readonly servername: string | undefined
      }
    | undefined
}

export type Outgoing = {
  readonly method: string
  /** Query included. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  readonly body: string | undefined
}

/** What becomes of one request, in this order. Nothing comes after `ended` or `failed`, which may come at any time. */
export type ExchangeEvents = {
  /** The request leaves, on a connection that is made. */
  connected(): void
  head(status: number, headers: IncomingHttpHeaders): void
  data(chunk: Buffer): void
  /** The answer is whole. */
  ended(): void
  /** @param stale a kept connection turned out to be closed: the server saw nothing, as far as one can know */
  failed(error: NodeJS.ErrnoException, stale: boolean): void
}

/**
 * Kept connections to one server, with one request at a time on each: the credentials, the bounds of time and size and what an
 * answer means are the business of `HttpClient`. Sends nothing twice.
 */
export interface Transport {
  /** @returns a way to break it off: its connection is closed */
  exchange(outgoing: Outgoing, events: ExchangeEvents): () => void
  /** Closes idle connections, and no request may follow. */
  close(): void
}

export type TransportFactory = (target: Target) => Transport

/** TCP keepalive: a host that vanished is noticed 15 s later, and 10 probes a second apart. */
export const KEEPALIVE_MS: Ms = 15_000
/** More than these are closed when they have nothing to do. */
export const IDLE_CONNECTIONS_MAX = 8

/** What a write or a read says on a connection that the other side closed before. */
export function isClosedUnderUs(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ECONNRESET' || error.code === 'EPIPE'
}
