import { getSystemErrorName } from 'node:util'
import { addon, META, META_INTS, MSG_TRUNC, type NativeSocket } from './native.ts'

/** One message in the ring: valid only during the call. */
export type Received = {
  readonly bytes: Uint8Array
  readonly truncated: boolean
  readonly interfaceIndex: number
  /** undefined unless the socket option asks for it. */
  readonly ttl: number | undefined
  /** The sockaddr of the sender, 28 bytes. */
  readonly source: Uint8Array
}

export type ReceiveOptions = {
  /** Longest message that arrives whole. */
  readonly slotSize: number
  /** Messages per system call, 1 to 64. */
  readonly slots?: number
  readonly onMessage: (message: Received) => void
  /** The kernel's error, e.g. ENETDOWN or ENOBUFS; receiving goes on unless the socket is closed. */
  readonly onError: (code: string) => void
  /** After the last message of a turn. */
  readonly onTurn?: () => void
}

/** Batches per turn of the event loop: with 64 slots a flood gives way to timers after 256 messages. */
const BATCHES_MAX = 4

/** Receives into a ring of its own until the socket is closed. Returns the way to close: after it no handler is called. */
export function receive(socket: NativeSocket, options: ReceiveOptions): () => void {
  const native = addon()
  const slots = options.slots ?? 64
  const slotSize = options.slotSize
  const ring = new Uint8Array(slots * slotSize)
  const meta = new Int32Array(slots * META_INTS)
  const metaBytes = new Uint8Array(meta.buffer)
  let closed = false
  native.receive(socket, ring, slotSize, meta, BATCHES_MAX, count => {
    if (count < 0) {
      options.onError(getSystemErrorName(count))
      return
    }
    for (let i = 0; i < count; i++) {
      if (closed) return
      const at = i * META_INTS
      const ttl = meta[at + META.ttl] ?? -1
      const source = (at + META.source) * 4
      options.onMessage({
        bytes: ring.subarray(i * slotSize, i * slotSize + Math.min(slotSize, meta[at + META.length] ?? 0)),
        truncated: ((meta[at + META.flags] ?? 0) & MSG_TRUNC) !== 0,
        interfaceIndex: meta[at + META.interfaceIndex] ?? 0,
        ttl: ttl < 0 ? undefined : ttl,
        source: metaBytes.subarray(source, source + 28),
      })
    }
    if (!closed) options.onTurn?.()
  })
  return () => {
    closed = true
    native.close(socket)
  }
}
