import type { Mac } from '../addr/mac.ts'
import { macToBytes } from '../addr/mac.ts'
import type {
  FrameKind,
  PacketSocket,
  PacketSocketOptions,
  PacketSocketStats,
  PacketSockets,
} from '../ports/packet-socket.ts'
import { encodeBpf, NEIGHBOUR_DISCOVERY_FILTER } from './bpf.ts'
import { LITTLE_ENDIAN } from './endian.ts'
import { AF_PACKET, addon, hasCode, type NativeSocket, SOCK_RAW } from './native.ts'
import { receive } from './receiver.ts'
import { encodeSockaddrPacket } from './sockaddr.ts'
import { setReceiveBuffer } from './socket-options.ts'

const ETH_P_ARP = 0x0806
const ETH_P_IPV6 = 0x86dd

const SOL_PACKET = 263
const PACKET_ADD_MEMBERSHIP = 1
const PACKET_IGNORE_OUTGOING = 23
const PACKET_MR_MULTICAST = 0

/** An Ethernet frame with a VLAN tag; ARP and neighbour discovery fit in always. */
const SLOT_SIZE = 1536
/** Room for a burst of some thousand short frames while the thread is busy; what does not fit is dropped and counted. */
const RECEIVE_BUFFER = 2 * 1024 * 1024

const WATCH_MS = 500
/** Frames that the addon takes at once. */
const BATCH_MAX = 4096

/** packet(7), sll_pkttype. What we sent ourselves (4) never arrives, by PACKET_IGNORE_OUTGOING. */
const KINDS: readonly FrameKind[] = ['host', 'broadcast', 'multicast', 'other-host']

/**
 * A {@link PacketSocket} with what only the real one can do. Closing one blocks the thread while the kernel waits until no other processor
 * still hands it a frame, some milliseconds: keep sockets open rather than closing and opening them in a hurry.
 */
export interface LinuxPacketSocket extends PacketSocket {
  /** The network card lets frames to this multicast address in, until the socket is closed. Sends no report: see mld.ts. */
  joinLinkGroup(mac: Mac): void
}

/** AF_PACKET sockets of the network namespace that this process runs in. */
export class LinuxPacketSockets implements PacketSockets {
  open(options: PacketSocketOptions): LinuxPacketSocket {
    return new AfPacketSocket(options)
  }
}

class AfPacketSocket implements LinuxPacketSocket {
  readonly interfaceIndex: number
  readonly #socket: NativeSocket
  readonly #close: () => void
  readonly #options: PacketSocketOptions
  #watch: NodeJS.Timeout | undefined

  constructor(options: PacketSocketOptions) {
    const native = addon()
    this.interfaceIndex = options.interfaceIndex
    this.#options = options
    // Protocol 0: nothing is received before the filter is in place and the socket is bound.
    const socket = native.open(AF_PACKET, SOCK_RAW, 0)
    this.#socket = socket
    try {
      if (options.protocol === 'nd') native.attachFilter(socket, encodeBpf(NEIGHBOUR_DISCOVERY_FILTER))
      ignoreOutgoing(socket)
      setReceiveBuffer(socket, RECEIVE_BUFFER)
      const etherType = options.protocol === 'arp' ? ETH_P_ARP : ETH_P_IPV6
      native.bind(socket, encodeSockaddrPacket(etherType, options.interfaceIndex))
      this.#close = receive(socket, {
        slotSize: SLOT_SIZE,
        onMessage: message => {
          if (message.truncated) return
          if (this.#watch !== undefined) this.#stopWatch()
          const kind = KINDS[message.source[10] ?? 0]
          if (kind !== undefined) options.onFrame(message.bytes, kind)
        },
        onError: code => this.#onError(code),
      })
    } catch (cause) {
      native.close(socket)
      if (hasCode(cause, 'ENODEV') || hasCode(cause, 'ENXIO')) {
        throw new Error(`there is no network interface with index ${options.interfaceIndex}`, { cause })
      }
      throw cause
    }
  }

  send(frame: Uint8Array): boolean {
    try {
      return addon().send(this.#socket, frame)
    } catch (error) {
      if (hasCode(error, 'ERR_SOCKET_CLOSED')) return false
      throw error
    }
  }

  sendBatch(frames: readonly Uint8Array[]): number {
    let sent = 0
    for (let start = 0; start < frames.length; start += BATCH_MAX) {
      sent += this.#sendSome(frames.slice(start, start + BATCH_MAX))
    }
    return sent
  }

  joinLinkGroup(mac: Mac): void {
    // struct packet_mreq: int interface index, u16 type, u16 address length, address (8).
    const bytes = new Uint8Array(16)
    const view = new DataView(bytes.buffer)
    view.setInt32(0, this.interfaceIndex, LITTLE_ENDIAN)
    view.setUint16(4, PACKET_MR_MULTICAST, LITTLE_ENDIAN)
    view.setUint16(6, 6, LITTLE_ENDIAN)
    bytes.set(macToBytes(mac), 8)
    addon().setOption(this.#socket, SOL_PACKET, PACKET_ADD_MEMBERSHIP, bytes)
  }

  stats(): PacketSocketStats {
    const [received = 0, dropped = 0, sent = 0, sendErrors = 0] = addon().stats(this.#socket)
    return { received, dropped, sent, sendErrors }
  }

  close(): void {
    this.#stopWatch()
    this.#close()
  }

  /**
   * An interface that is set down says ENETDOWN once and works again when it is up. One that is removed is gone for good, and where it was
   * down already the kernel says nothing more: so while it is down, look now and then whether it is still there.
   */
  #onError(code: string): void {
    if (code !== 'ENETDOWN') {
      this.#fail(`receiving on the network interface with index ${this.interfaceIndex} failed: ${code}`)
    } else if (!this.#bound()) {
      this.#fail(`the network interface with index ${this.interfaceIndex} was removed`)
    } else {
      this.#stopWatch()
      this.#watch = setInterval(() => {
        if (!this.#bound()) this.#fail(`the network interface with index ${this.interfaceIndex} was removed`)
      }, WATCH_MS)
    }
  }

  #fail(message: string): void {
    this.close()
    this.#options.onError(new Error(message))
  }

  #sendSome(frames: readonly Uint8Array[]): number {
    const bytes = Buffer.concat(frames)
    const ends = new Uint32Array(frames.length)
    let end = 0
    for (const [i, frame] of frames.entries()) {
      end += frame.length
      ends[i] = end
    }
    try {
      return addon().sendBatch(this.#socket, bytes, ends)
    } catch (error) {
      if (hasCode(error, 'ERR_SOCKET_CLOSED')) return 0
      throw error
    }
  }

  #stopWatch(): void {
    clearInterval(this.#watch)
    this.#watch = undefined
  }

  /** The kernel writes -1 for the interface of a socket whose interface was removed. */
  #bound(): boolean {
    const address = addon().localAddress(this.#socket)
    return new DataView(address.buffer).getInt32(4, LITTLE_ENDIAN) === this.interfaceIndex
  }
}

/** Since Linux 4.20; before that our own frames come back with type 4, which has no {@link FrameKind} and is dropped. */
function ignoreOutgoing(socket: NativeSocket): void {
  try {
    addon().setOption(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
  } catch (error) {
    if (!hasCode(error, 'ENOPROTOOPT')) throw error
  }
}
