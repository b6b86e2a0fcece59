import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

/** A socket of the addon. Opaque; only the functions of {@link Addon} take it. */
export type NativeSocket = { readonly __brand: 'NativeSocket' }

/**
 * native/lodestone.c: system calls, no protocol. Addresses are the bytes of a sockaddr (see sockaddr.ts). Every function throws a
 * TypeError or RangeError for arguments of the wrong type or size, ERR_SOCKET_CLOSED for a closed socket, and otherwise an error with
 * `code`, `errno` and `syscall` of the failed call; where a privilege is missing its code is EPERM and its message names the capability.
 */
export type Addon = {
  /** Non-blocking, not inherited by child processes. `domain`: AF_INET, AF_INET6, AF_PACKET or AF_NETLINK. */
  open(domain: number, type: number, protocol: number): NativeSocket
  /** Closing twice is harmless. */
  close(socket: NativeSocket): void
  /** The descriptor now belongs to the caller; the socket counts as closed. */
  release(socket: NativeSocket): number
  descriptor(socket: NativeSocket): number
  bind(socket: NativeSocket, sockaddr: Uint8Array): void
  /** Returns at once, also when a TCP handshake is under way. */
  connect(socket: NativeSocket, sockaddr: Uint8Array): void
  localAddress(socket: NativeSocket): Uint8Array
  setOption(target: NativeSocket | number, level: number, name: number, value: number | Uint8Array): void
  getOption(target: NativeSocket | number, level: number, name: number): number
  /** Classic BPF, 8 bytes per instruction. */
  attachFilter(target: NativeSocket | number, program: Uint8Array): void
  /**
   * Calls back with the number of messages that lie in `ring`, one per slot, described in `meta` ({@link META_INTS} numbers each), or with a
   * negative errno; polling goes on after an error. Keeps the event loop alive until the socket is closed.
   */
  receive(
    socket: NativeSocket,
    ring: Uint8Array,
    slotSize: number,
    meta: Int32Array,
    batchesMax: number,
    callback: (count: number) => void,
  ): void
  /** False when the kernel refused it at once; counted. */
  send(socket: NativeSocket, bytes: Uint8Array, sockaddr?: Uint8Array): boolean
  /** `ends[i]`: where the i-th message ends in `bytes`. `sockaddrs`: 28 bytes for each. Returns how many the kernel took. */
  sendBatch(socket: NativeSocket, bytes: Uint8Array, ends: Uint32Array, sockaddrs?: Uint8Array): number
  /** [received, dropped by the kernel, sent, send errors, errno of the last of them, receive errors]; also for a closed socket. */
  stats(socket: NativeSocket): number[]
  /** For the calling thread. '' or the name of the error. */
  setScheduler(policy: number, priority: number): string
}

/** The numbers that describe one received message in `meta`. */
export const META_INTS = 16
export const META = {
  /** Bytes in the slot. */
  length: 0,
  /** MSG_TRUNC (0x20): the message was longer than the slot. */
  flags: 1,
  /** Interface it came in by, where IP_PKTINFO or IPV6_RECVPKTINFO was asked for; else 0. */
  interfaceIndex: 2,
  /** TTL or hop limit, where it was asked for; else -1. */
  ttl: 3,
  /** 28 bytes of sockaddr: where it came from. */
  source: 4,
  /** 16 bytes (IPv4: the first 4): where it was sent to. */
  destination: 11,
  /** AF_INET or AF_INET6, or 0 when not asked for. */
  destinationFamily: 15,
} as const

export const MSG_TRUNC = 0x20

export const AF_INET = 2
export const AF_INET6 = 10
export const AF_NETLINK = 16
export const AF_PACKET = 17
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3

const PATH = fileURLToPath(new URL('../../../native/build/lodestone.node', import.meta.url))
let loaded: Addon | undefined

/**
 * The addon, loaded on first use; main thread and workers each have their own.
 * @throws in one sentence when it was not built
 */
export function addon(): Addon {
  if (loaded !== undefined) return loaded
  try {
    loaded = createRequire(import.meta.url)(PATH) as Addon
  } catch (cause) {
    throw new Error(
      `the native addon ${PATH} cannot be loaded (${cause instanceof Error ? cause.message.split('\n')[0] : String(cause)}): ` +
        'build it with "node tools/build-native.mjs"; that needs a C compiler, on Debian the packages gcc and libc6-dev',
      { cause },
    )
  }
  return loaded
}

/** True for an error of the addon, or of Node itself, with this `code`. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

const SCHED_FIFO = 1
/** Child processes and threads start with the ordinary policy. */
const SCHED_RESET_ON_FORK = 0x40000000

/**
 * Gives the calling thread SCHED_FIFO, so that busy processes do not delay its timers (sched(7)).
 * @param priority 1 to 99
 * @returns undefined, or one sentence that says why not: the thread runs on as before
 */
export function setRealtimeScheduling(priority: number): string | undefined {
  const refused = addon().setScheduler(SCHED_FIFO | SCHED_RESET_ON_FORK, priority)
  if (refused === '') return undefined
  return refused === 'EPERM'
    ? 'SCHED_FIFO was refused: the process needs the capability CAP_SYS_NICE'
    : `SCHED_FIFO was refused: ${refused}`
}
