import type { Family, Ip } from '../addr/ip.ts'
import { addon, hasCode, SOCK_RAW } from './native.ts'
import { receive } from './receiver.ts'
import { decodeSockaddr, domainOf, encodeSockaddr } from './sockaddr.ts'
import {
  bindToDevice,
  countDrops,
  joinMulticast,
  receiveDetails,
  setMulticastOut,
  setReceiveBuffer,
  setTtl,
} from './socket-options.ts'

export type RawIpOptions = {
  readonly family: Family
  /** IP protocol number, 1 to 255. */
  readonly protocol: number
  readonly interface: { readonly name: string; readonly index: number }
  /** Of what is sent, to one host or many. */
  readonly ttl: number
  /** Multicast groups to receive. */
  readonly groups?: readonly Ip[]
  /** `payload` is what follows the IP header, for both families; valid only during the call. */
  readonly onPacket: (
    payload: Uint8Array,
    from: { readonly ip: Ip; readonly ttl: number | undefined; readonly interfaceIndex: number },
  ) => void
  /** The socket failed and is closed already. */
  readonly onError: (error: Error) => void
}

export interface RawIpSocket {
  /** Best effort: false when the kernel refused it; counted. */
  send(payload: Uint8Array, to: Ip): boolean
  stats(): {
    readonly received: number
    readonly dropped: number
    readonly sent: number
    readonly sendErrors: number
  }
  close(): void
}

const PACKET_MAX = 2048
const RECEIVE_BUFFER = 256 * 1024
const PASSING = new Set([
  'ENETDOWN',
  'ENOBUFS',
  'ENOMEM',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EMSGSIZE',
  'EPROTO',
])

/** Packets of one IP protocol on one interface (raw(7)); @throws naming CAP_NET_RAW where it is missing. */
export function openRawIp(options: RawIpOptions): RawIpSocket {
  const native = addon()
  const { family } = options
  const socket = native.open(domainOf(family), SOCK_RAW, options.protocol)
  let close = (): void => native.close(socket)
  try {
    bindToDevice(socket, options.interface.name)
    setTtl(socket, family, options.ttl)
    setMulticastOut(socket, family, options.interface.index, options.ttl)
    receiveDetails(socket, family)
    countDrops(socket)
    setReceiveBuffer(socket, RECEIVE_BUFFER)
    for (const group of options.groups ?? []) joinMulticast(socket, group, options.interface.index)
    close = receive(socket, {
      slotSize: PACKET_MAX,
      slots: 16,
      onMessage: message => {
        const from = decodeSockaddr(message.source)
        // The kernel hands IPv4 packets over with their header and IPv6 packets without.
        const start = family === 'IPv4' ? ((message.bytes[0] ?? 0) & 0x0f) * 4 : 0
        if (message.truncated || from === undefined || start > message.bytes.length) return
        options.onPacket(message.bytes.subarray(start), {
          ip: from.ip,
          ttl: message.ttl,
          interfaceIndex: message.interfaceIndex,
        })
      },
      onError: code => {
        if (PASSING.has(code)) return
        close()
        options.onError(
          new Error(`receiving IP protocol ${options.protocol} on ${options.interface.name} failed: ${code}`),
        )
      },
    })
  } catch (error) {
    close()
    throw error
  }
  return {
    send(payload, to) {
      try {
        return native.send(socket, payload, encodeSockaddr({ ip: to, port: 0 }, options.interface.index))
      } catch (error) {
        if (hasCode(error, 'ERR_SOCKET_CLOSED')) return false
        throw error
      }
    },
    stats() {
      const [received = 0, dropped = 0, sent = 0, sendErrors = 0] = native.stats(socket)
      return { received, dropped, sent, sendErrors }
    },
    close: () => close(),
  }
}
