/** Where a frame came from, as the kernel says (packet(7)). */
export type FrameKind = 'host' | 'broadcast' | 'multicast' | 'other-host'

export type FrameHandler = (frame: Uint8Array, kind: FrameKind) => void

export type PacketSocketStats = {
  readonly received: number
  /** Frames that the kernel or our bounded queue dropped. */
  readonly dropped: number
  readonly sent: number
  readonly sendErrors: number
}

/** Whole Ethernet frames of one protocol on one interface. */
export interface PacketSocket {
  readonly interfaceIndex: number
  /** Best effort and at once: false when the kernel refused it (no buffer, interface down); counted, never thrown. */
  send(frame: Uint8Array): boolean
  /** Many frames with few system calls; how many the kernel took. Those that it did not take are counted and lost. */
  sendBatch(frames: readonly Uint8Array[]): number
  stats(): PacketSocketStats
  /** After this no handler is called. Closing twice is harmless. */
  close(): void
}

export type PacketSocketOptions = {
  readonly interfaceIndex: number
  /** 'arp': ETH_P_ARP. 'nd': IPv6 frames that carry ICMPv6 neighbour solicitations or advertisements (filtered in the kernel). */
  readonly protocol: 'arp' | 'nd'
  /** The frame is valid only during the call: it is a view on the receive ring. */
  readonly onFrame: FrameHandler
  /** The interface went away or the socket failed; the socket is closed already. */
  readonly onError: (error: Error) => void
}

export interface PacketSockets {
  /** @throws with a sentence that names the missing capability (CAP_NET_RAW) or the missing interface. */
  open(options: PacketSocketOptions): PacketSocket
}

/** A wire on which every socket hears every other one: what a switch does with broadcast. */
export class FakeSegment implements PacketSockets {
  readonly #sockets = new Set<FakePacketSocket>()
  /** Everything that was ever sent, in order. */
  readonly frames: { interfaceIndex: number; frame: Uint8Array }[] = []

  open(options: PacketSocketOptions): FakePacketSocket {
    const socket = new FakePacketSocket(options, {
      send: frame => {
        this.frames.push({ interfaceIndex: options.interfaceIndex, frame })
        for (const other of this.#sockets) if (other !== socket) other.deliver(frame)
      },
      close: () => this.#sockets.delete(socket),
    })
    this.#sockets.add(socket)
    return socket
  }

  /** A frame from a stranger reaches every socket. */
  inject(frame: Uint8Array): void {
    for (const socket of this.#sockets) socket.deliver(frame)
  }
}

export class FakePacketSocket implements PacketSocket {
  readonly interfaceIndex: number
  readonly #options: PacketSocketOptions
  readonly #wire: { send: (frame: Uint8Array) => void; close: () => void }
  #received = 0
  #sent = 0
  #closed = false

  constructor(options: PacketSocketOptions, wire: { send: (frame: Uint8Array) => void; close: () => void }) {
    this.interfaceIndex = options.interfaceIndex
    this.#options = options
    this.#wire = wire
  }

  send(frame: Uint8Array): boolean {
    if (this.#closed) return false
    this.#sent++
    this.#wire.send(frame.slice())
    return true
  }

  sendBatch(frames: readonly Uint8Array[]): number {
    return frames.filter(frame => this.send(frame)).length
  }

  deliver(frame: Uint8Array): void {
    if (this.#closed) return
    const etherType = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0)
    if (etherType !== (this.#options.protocol === 'arp' ? 0x0806 : 0x86dd)) return
    this.#received++
    const first = frame[0] ?? 0
    this.#options.onFrame(frame, first === 0xff ? 'broadcast' : (first & 1) === 1 ? 'multicast' : 'host')
  }

  stats(): PacketSocketStats {
    return { received: this.#received, dropped: 0, sent: this.#sent, sendErrors: 0 }
  }

  close(): void {
    this.#closed = true
    this.#wire.close()
  }
}
