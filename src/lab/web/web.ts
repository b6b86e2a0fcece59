import { createSocket, type Socket as DatagramSocket } from 'node:dgram'
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http'
import { createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net'
import { type Answerer, decodeProbe, encodeAnswer, encodeAnswerer, plainAddress } from '../probe/datagram.ts'

export type WebOptions = {
  readonly pod: string
  readonly node: string
  readonly namespace: string
  /** HTTP over TCP, and the probe's echo over UDP. 0: any free port (one each). */
  readonly port: number
  /** The line echo. 0: any free port. */
  readonly streamPort: number
  /** Absent: all addresses of both families, or of IPv4 alone where the kernel has no IPv6. */
  readonly host?: string
}

/** A line of the echo stream longer than this ends the connection. */
const LINE_BYTES_MAX = 64 * 1024
/** Distinct clients whose answer is kept ready; past it the cache starts anew. */
const IDENTITIES_MAX = 1024

/**
 * The program of the image `lodestone.dev/lab/web`: it says who it is to whoever asks. HTTP answers every path with JSON
 * `{pod, node, namespace, client, path}`; a probe datagram (datagram.ts) with the same sequence number, pod, node and client;
 * each line on the stream port with the line, pod, node and client, separated by spaces.
 */
export class Web {
  readonly ports: { readonly http: number; readonly udp: number; readonly stream: number }
  readonly #http: HttpServer
  readonly #udp: DatagramSocket
  readonly #stream: TcpServer
  readonly #streams: Set<Socket>
  readonly #state: State

  constructor(parts: {
    http: HttpServer
    udp: DatagramSocket
    stream: TcpServer
    streams: Set<Socket>
    state: State
  }) {
    this.#http = parts.http
    this.#udp = parts.udp
    this.#stream = parts.stream
    this.#streams = parts.streams
    this.#state = parts.state
    this.ports = {
      http: tcpPort(parts.http),
      udp: parts.udp.address().port,
      stream: tcpPort(parts.stream),
    }
  }

  /** From now on HTTP answers 503, so that readiness probes fail; everything else still works. */
  drain(): void {
    this.#state.draining = true
  }

  /** Ends all connections and listens no more. */
  async close(): Promise<void> {
    for (const socket of this.#streams) socket.destroy()
    await Promise.all([
      new Promise<void>(done => {
        this.#http.close(() => done())
        this.#http.closeAllConnections()
      }),
      new Promise<void>(done => this.#stream.close(() => done())),
      new Promise<void>(done => this.#udp.close(done)),
    ])
  }
}

type State = { draining: boolean }

/** @throws the listen error (a port in use, an address that is not ours). */
export async function startWeb(options: WebOptions): Promise<Web> {
  const state: State = { draining: false }
  const http = createHttpServer((request, response) => {
    const body = JSON.stringify({
      pod: options.pod,
      node: options.node,
      namespace: options.namespace,
      client: plainAddress(request.socket.remoteAddress ?? ''),
      path: request.url ?? '/',
    })
    response.writeHead(state.draining ? 503 : 200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body) + 1,
      ...(state.draining ? { connection: 'close' } : {}),
    })
    response.end(`${body}\n`)
  })
  const streams = new Set<Socket>()
  const stream = createTcpServer(socket => {
    streams.add(socket)
    socket.on('close', () => streams.delete(socket))
    echoLines(socket, { pod: options.pod, node: options.node })
  })
  const host = options.host ?? (await anyAddress())
  await listen(http, options.port, host)
  await listen(stream, options.streamPort, host)
  const udp = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  answerProbes(udp, { pod: options.pod, node: options.node })
  await new Promise<void>((done, fail) => {
    udp.once('error', fail)
    udp.bind(options.port, host, () => {
      udp.off('error', fail)
      done()
    })
  })
  udp.on('error', error => console.error(`udp: ${error.message}`))
  return new Web({ http, udp, stream, streams, state })
}

function answerProbes(udp: DatagramSocket, self: { pod: string; node: string }): void {
  const identities = new Map<string, Uint8Array>()
  udp.on('message', (message, from) => {
    const sequence = decodeProbe(message)
    if (sequence === undefined) return
    let identity = identities.get(from.address)
    if (identity === undefined) {
      if (identities.size >= IDENTITIES_MAX) identities.clear()
      const answerer: Answerer = { ...self, client: plainAddress(from.address) }
      identity = encodeAnswerer(answerer)
      identities.set(from.address, identity)
    }
    // The callback keeps a failed send (the client is gone) from becoming an 'error' event.
    udp.send(encodeAnswer(sequence, identity), from.port, from.address, () => {})
  })
}

function echoLines(socket: Socket, self: { pod: string; node: string }): void {
  const suffix = ` ${self.pod} ${self.node} ${plainAddress(socket.remoteAddress ?? '')}\n`
  let rest = ''
  socket.setEncoding('utf8')
  socket.setNoDelay(true)
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > LINE_BYTES_MAX) {
      socket.destroy()
      return
    }
    // A client that does not read must not fill our memory.
    if (!socket.write(lines.map(line => line + suffix).join(''))) {
      socket.pause()
      socket.once('drain', () => socket.resume())
    }
  })
  // The client went away: nothing is lost but the connection itself, which 'close' takes out of the set.
  socket.on('error', () => {})
}

function listen(server: HttpServer | TcpServer, port: number, host: string): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail)
    server.listen(port, host, () => {
      server.off('error', fail)
      done()
    })
  })
}

function tcpPort(server: HttpServer | TcpServer): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** `::` where the kernel has IPv6, else `0.0.0.0`. */
async function anyAddress(): Promise<string> {
  const probe = createTcpServer()
  try {
    await listen(probe, 0, '::')
    return '::'
  } catch {
    // EAFNOSUPPORT or EADDRNOTAVAIL: IPv6 is compiled out or disabled. IPv4 is what is left.
    return '0.0.0.0'
  } finally {
    await new Promise<void>(done => probe.close(() => done()))
  }
}
