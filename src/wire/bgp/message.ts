import assert from 'node:assert/strict'
import { Writer } from '../io.ts'
import type { UpdateContext } from './attributes.ts'
import { answering, BgpError } from './error.ts'
import {
  decodeNotification,
  NOTIFICATION,
  type Notification,
  notification,
  writeNotification,
} from './notification.ts'
import { decodeOpen, type Open, writeOpen } from './open.ts'
import { decodeRouteRefresh, type RouteRefresh, writeRouteRefresh } from './route-refresh.ts'
import { decodeUpdate, type ReceivedUpdate, type Update, writeUpdate } from './update.ts'

export type Keepalive = { readonly type: 'keepalive' }

/** A BGP-4 message (RFC 4271 section 4, RFC 2918). */
export type Message = Open | Update | Notification | Keepalive | RouteRefresh
export type ReceivedMessage = Open | ReceivedUpdate | Notification | Keepalive | RouteRefresh

/** The marker, the length, the type. */
export const HEADER_LENGTH = 19
export const MESSAGE_MAX = 4096
/** For UPDATE, NOTIFICATION and ROUTE-REFRESH, once both have said so (RFC 8654). */
export const EXTENDED_MESSAGE_MAX = 65535

const MARKER_LENGTH = 16
const CODE = { open: 1, update: 2, notification: 3, keepalive: 4, 'route-refresh': 5 } as const
/** RFC 4271 section 6.1, RFC 2918. */
const LENGTH_MIN: Readonly<Record<number, number>> = { 1: 29, 2: 23, 3: 21, 4: 19, 5: 23 }
const SOURCE = 'RFC 4271 section 4.1'

/**
 * Checks what a header says as soon as its 19 bytes are there, whatever follows, and gives the message's length.
 * @param bytes 19 or more
 * @throws BgpError
 */
export function checkHeader(bytes: Uint8Array, at: number, lengthMax: number): number {
  const { code, connectionNotSynchronized, badMessageLength, badMessageType } = NOTIFICATION.messageHeader
  for (let i = 0; i < MARKER_LENGTH; i++) {
    if (bytes[at + i] !== 0xff) {
      throw new BgpError(
        'bad-value',
        'marker',
        SOURCE,
        'not all ones',
        notification(code, connectionNotSynchronized),
      )
    }
  }
  const length = ((bytes[at + 16] ?? 0) << 8) | (bytes[at + 17] ?? 0)
  const type = bytes[at + 18] ?? 0
  const least = LENGTH_MIN[type]
  // OPEN and KEEPALIVE are never longer (RFC 8654 section 4); the length of one that nobody knows is looked at before its type.
  const most =
    type === CODE.open ? Math.min(lengthMax, MESSAGE_MAX) : type === CODE.keepalive ? 19 : lengthMax
  if (length < (least ?? HEADER_LENGTH) || length > most) {
    const answer = notification(code, badMessageLength, bytes.slice(at + 16, at + 18))
    throw new BgpError(
      'bad-length',
      'length',
      SOURCE,
      `${length} with type ${type}`,
      type === CODE.notification ? null : answer,
    )
  }
  if (least === undefined) {
    throw new BgpError(
      'unsupported',
      'type',
      SOURCE,
      `${type}`,
      notification(code, badMessageType, Uint8Array.of(type)),
    )
  }
  return length
}

/**
 * One message, header included, exactly. An UPDATE with errors that the session outlives is a value, with its `problems`.
 * @throws BgpError with the NOTIFICATION to send
 */
export function decodeMessage(
  bytes: Uint8Array,
  context: UpdateContext,
  lengthMax = MESSAGE_MAX,
): ReceivedMessage {
  const { code, badMessageLength } = NOTIFICATION.messageHeader
  if (bytes.length < HEADER_LENGTH || checkHeader(bytes, 0, lengthMax) !== bytes.length) {
    const data = bytes.slice(MARKER_LENGTH, MARKER_LENGTH + 2)
    throw new BgpError(
      bytes.length < HEADER_LENGTH ? 'truncated' : 'bad-length',
      'length',
      SOURCE,
      `${bytes.length} bytes are there`,
      notification(code, badMessageLength, data),
    )
  }
  const body = bytes.subarray(HEADER_LENGTH)
  switch (bytes[MARKER_LENGTH + 2] ?? 0) {
    case CODE.open:
      return decodeOpen(body)
    case CODE.update:
      return decodeUpdate(body, context)
    case CODE.notification:
      return answering(null, () => decodeNotification(body))
    case CODE['route-refresh']:
      return decodeRouteRefresh(bytes, HEADER_LENGTH)
    default:
      // checkHeader lets nothing else through.
      return { type: 'keepalive' }
  }
}

/** With a length of 0, which is to be filled in: at {@link HEADER_LENGTH} - 3. */
export function writeHeader(w: Writer, type: Message['type']): void {
  for (let i = 0; i < MARKER_LENGTH; i += 4) w.u32(0xffffffff)
  w.u16(0).u8(CODE[type])
}

const INITIAL: UpdateContext = { fourOctetAs: true, internal: false }

/** One that is longer than `lengthMax` is a broken invariant: see adj-rib-out on how many prefixes fit. */
export function encodeMessage(
  message: Message,
  context: UpdateContext = INITIAL,
  lengthMax = MESSAGE_MAX,
): Uint8Array {
  const w = new Writer(message.type === 'update' ? 256 : 64)
  writeHeader(w, message.type)
  switch (message.type) {
    case 'open':
      writeOpen(w, message)
      break
    case 'update':
      writeUpdate(w, message, context)
      break
    case 'notification':
      writeNotification(w, message)
      break
    case 'route-refresh':
      writeRouteRefresh(w, message)
      break
    case 'keepalive':
      break
  }
  assert(w.length <= (message.type === 'open' ? MESSAGE_MAX : lengthMax), `a message of ${w.length} bytes`)
  w.patchU16(MARKER_LENGTH, w.length)
  return w.finish()
}

/** The keepalive, which never differs. */
export const KEEPALIVE_BYTES: Uint8Array = encodeMessage({ type: 'keepalive' })
