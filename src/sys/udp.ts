import { familyOf, type Ip } from '../addr/ip.ts'
import type { Datagram } from '../ports/datagram.ts'
import { addon, hasCode, SOCK_DGRAM } from './native.ts'
import { receive } from './receiver.ts'
import { decodeSockaddr, domainOf, encodeSockaddr } from './sockaddr.ts'
import {
  bindToDevice,
  countDrops,
  receiveDetails,
  setIpv6Only,
  setReceiveBuffer,
  setTtl,
} from './socket-options.ts'

/** How a datagram came: its TTL or hop limit (undefined when the kernel did not say) and the interface. */
export type DatagramDetails = { readonly ttl: number | undefined; readonly interfaceIndex: number }

export type DatagramOptions = {
  /** The address to bind to; `0.0.0.0` or `::` for every address of that family. Says the family. */
  readonly ip: Ip
  /** 0: the kernel chooses one. */
  readonly port: number
  /** Only this interface, in and out (also the scope of link-local addresses). */
  readonly interface?: { readonly name: string; readonly index: number }
  /** Of what is sent, 1 to 255; absent: the system's default. */
  readonly ttl?: number
  /** The payload is valid only during the call. A {@link DatagramHandler} will do. */
  readonly onDatagram: (
    payload: Uint8Array,
    from: { readonly ip: Ip; readonly port: number },
    details: DatagramDetails,
  ) => void
  /** The socket failed and is closed already. What only one peer did (a port unreachable) is not an error. */
  readonly onError: (error: Error) => void
}

export type DatagramStats = {
  readonly received: number
  readonly dropped: number
  readonly sent: number
  readonly sendErrors: number
}

/** A {@link Datagram} with what only the real one can tell. */
export interface UdpSocket extends Datagram {
  /** The port it is bound to. */
  readonly port: number
  stats(): DatagramStats
}

/** Longest payload that is handed on; longer datagrams are dropped. */
const PAYLOAD_MAX = 2048
const RECEIVE_BUFFER = 1024 * 1024

/** Errors of one message or one moment: the socket goes on. */
const PASSING = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOBUFS',
  'ENOMEM',
  'EHOSTDOWN',
  'EMSGSIZE',
])

/** @throws when the address is not ours (EADDRNOTAVAIL) or taken (EADDRINUSE) */
export function openDatagram(options: DatagramOptions): UdpSocket {
  const native = addon()
  const family = familyOf(options.ip)
  const scope = options.interface?.index ?? 0
  const socket = native.open(domainOf(family), SOCK_DGRAM, 0)
  let close = (): void => native.close(socket)
  try {
    if (family === 'IPv6') setIpv6Only(socket)
    if (options.interface !== undefined) bindToDevice(socket, options.interface.name)
    if (options.ttl !== undefined) setTtl(socket, family, options.ttl)
    receiveDetails(socket, family)
    countDrops(socket)
    setReceiveBuffer(socket, RECEIVE_BUFFER)
    native.bind(socket, encodeSockaddr(options, scope))
    close = receive(socket, {
      slotSize: PAYLOAD_MAX,
      slots: 32,
      onMessage: message => {
        const from = message.truncated ? undefined : decodeSockaddr(message.source)
        if (from !== undefined) options.onDatagram(message.bytes, from, message)
      },
      onError: code => {
        if (PASSING.has(code)) return
        close()
        options.onError(
          new Error(`receiving datagrams on ${options.ip} port ${options.port} failed: ${code}`),
        )
      },
    })
  } catch (error) {
    close()
    throw error
  }
  const port = decodeSockaddr(native.localAddress(socket))?.port ?? options.port
  return {
    port,
    send(payload, to) {
      try {
        native.send(socket, payload, encodeSockaddr(to, scope))
      } catch (error) {
        if (!hasCode(error, 'ERR_SOCKET_CLOSED')) throw error
      }
    },
    stats() {
      const [received = 0, dropped = 0, sent = 0, sendErrors = 0] = native.stats(socket)
      return { received, dropped, sent, sendErrors }
    },
    close: () => close(),
  }
}
