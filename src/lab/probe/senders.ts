import { createSocket, type Socket } from 'node:dgram'
import { connect, isIPv6, type Socket as TcpSocket } from 'node:net'
import { decodeAnswer, encodeProbe } from './datagram.ts'

/** Sends the probe with this number; what comes of it is told to the listener. */
export type Sender = {
  send(sequence: number): void
  close(): void
}

export type SenderListener = {
  /** `identity` as datagram.ts decodes it. */
  answered(sequence: number, identity: string): void
  /** A send or a connection failed with this code. */
  failed(code: string): void
}

export type SenderTarget = { readonly target: string; readonly port: number; readonly flows: number }

/** Answers wait here while the probe is not run: about two seconds of one flow's share. */
const RECEIVE_BUFFER_BYTES = 1 << 20
/** A connection without an answer is given up after this: long enough for one retransmitted SYN (RFC 6298, 1 s). */
const CONNECTION_TIMEOUT_MS = 2500
/** More than this many open connections: the oldest is given up. */
const CONNECTIONS_MAX = 512
const ANSWER_BYTES_MAX = 16 * 1024

/** One connected socket for each flow. The kernel then drops what does not come from the target. */
export async function udpSender(to: SenderTarget, listener: SenderListener): Promise<Sender> {
  const sockets: Socket[] = []
  for (let flow = 0; flow < to.flows; flow++) {
    const socket = createSocket({
      type: isIPv6(to.target) ? 'udp6' : 'udp4',
      recvBufferSize: RECEIVE_BUFFER_BYTES,
    })
    await new Promise<void>((done, fail) => {
      socket.once('error', fail)
      socket.connect(to.port, to.target, () => {
        socket.off('error', fail)
        done()
      })
    })
    socket.on('message', bytes => {
      const answer = decodeAnswer(bytes)
      if (answer === undefined) listener.failed('not an answer')
      else listener.answered(answer.sequence, answer.identity)
    })
    // ICMP errors: the probe is simply lost, and the next one is sent all the same.
    socket.on('error', error => listener.failed(codeOf(error)))
    sockets.push(socket)
  }
  return {
    send(sequence) {
      sockets[sequence % sockets.length]?.send(encodeProbe(sequence), error => {
        if (error !== null) listener.failed(codeOf(error))
      })
    },
    close() {
      for (const socket of sockets) socket.close()
    },
  }
}

/** A new connection with one GET each time. Only an answer with status 200 counts. */
export function tcpSender(to: SenderTarget, listener: SenderListener): Promise<Sender> {
  const open = new Set<TcpSocket>()
  const host = isIPv6(to.target) ? `[${to.target}]` : to.target
  const request = `GET / HTTP/1.1\r\nHost: ${host}:${to.port}\r\nConnection: close\r\n\r\n`
  return Promise.resolve({
    send(sequence) {
      if (open.size >= CONNECTIONS_MAX) {
        const [oldest] = open
        oldest?.destroy()
        listener.failed('too many open')
      }
      const socket = connect({ host: to.target, port: to.port, noDelay: true })
      open.add(socket)
      let text = ''
      const timer = setTimeout(() => {
        listener.failed('timeout')
        socket.destroy()
      }, CONNECTION_TIMEOUT_MS)
      socket.setEncoding('utf8')
      socket.on('connect', () => socket.write(request))
      socket.on('data', (chunk: string) => {
        text += chunk
        const body = /^HTTP\/1\.[01] (\d+) [^]*?\r\n\r\n([^]*\n)$/.exec(text)
        if (body === null) {
          if (text.length > ANSWER_BYTES_MAX) socket.destroy()
          return
        }
        if (body[1] === '200') listener.answered(sequence, identityOf(body[2] ?? ''))
        else listener.failed(`HTTP ${body[1]}`)
        socket.destroy()
      })
      socket.on('error', error => listener.failed(codeOf(error)))
      socket.on('close', () => {
        clearTimeout(timer)
        open.delete(socket)
      })
    },
    close() {
      for (const socket of open) socket.destroy()
    },
  })
}

/** The web pod's JSON without what differs from request to request. */
function identityOf(body: string): string {
  try {
    const { pod, node, client } = JSON.parse(body) as Record<string, unknown>
    return JSON.stringify({ pod, node, client })
  } catch {
    // Some other server: it answers, but does not say who it is.
    return ''
  }
}

function codeOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message
}
