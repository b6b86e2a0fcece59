import assert from 'node:assert/strict'
import { createHmac, timingSafeEqual } from 'node:crypto'
import { Reader, Writer } from './io.ts'

/**
 * One speaker tells one other that it is alive, or that it leaves. Our own protocol (docs/protocols/heartbeat.md):
 *
 *    0       4  5  6  7  8         16        24          32
 *   | LSHB  |v1|k |s |r | epoch   | counter | heardEpoch | sender (s bytes) | recipient (r bytes) | HMAC-SHA256 (32) |
 *
 * The code covers everything before it, the recipient's name included, so that a heartbeat is good for one node only.
 */
export type Heartbeat = {
  readonly kind: 'alive' | 'leaving'
  /** Node names, 1 to 253 bytes of UTF-8. */
  readonly sender: string
  readonly recipient: string
  /** Of the sender's run, in milliseconds since 1970: each run has a higher one than all before. */
  readonly epoch: number
  /** Rises with every heartbeat of a run. */
  readonly counter: number
  /** The highest epoch that the sender has heard from the recipient; 0 for none. */
  readonly heardEpoch: number
}

const MAGIC = 0x4c534842
const VERSION = 1
const KINDS = ['alive', 'leaving'] as const
const SOURCE = 'Lodestone heartbeat'
const MAC_LENGTH = 32
const NAME_MAX = 253

export function encodeHeartbeat(beat: Heartbeat, key: Uint8Array): Uint8Array {
  const sender = new TextEncoder().encode(beat.sender)
  const recipient = new TextEncoder().encode(beat.recipient)
  assert(sender.length >= 1 && sender.length <= NAME_MAX, `node name of ${sender.length} bytes`)
  assert(recipient.length >= 1 && recipient.length <= NAME_MAX, `node name of ${recipient.length} bytes`)
  const w = new Writer(64 + sender.length + recipient.length)
  w.u32(MAGIC).u8(VERSION).u8(KINDS.indexOf(beat.kind)).u8(sender.length).u8(recipient.length)
  w.u64(BigInt(beat.epoch)).u64(BigInt(beat.counter)).u64(BigInt(beat.heardEpoch))
  w.bytes(sender).bytes(recipient)
  return w.bytes(authenticationCode(w.written(), key)).finish()
}

/**
 * The code is checked before anything else is looked at.
 * @throws DecodeError 'bad-checksum' when the code is not that of the key
 */
export function decodeHeartbeat(bytes: Uint8Array, key: Uint8Array): Heartbeat {
  const r = new Reader(bytes, SOURCE)
  if (bytes.length < MAC_LENGTH)
    throw r.error('truncated', 'authentication code', `${bytes.length} bytes in all`)
  const end = bytes.length - MAC_LENGTH
  if (!timingSafeEqual(authenticationCode(bytes.subarray(0, end), key), bytes.subarray(end))) {
    throw r.error('bad-checksum', 'authentication code', 'not made with our key')
  }
  r.check(r.u32('magic'), 'magic', MAGIC)
  r.expectU8('version', VERSION, 'unsupported')
  const kind = KINDS[r.u8('kind')]
  if (kind === undefined) throw r.error('unsupported', 'kind', 'unknown')
  const senderLength = r.u8('sender length')
  const recipientLength = r.u8('recipient length')
  const epoch = safeNumber(r, 'epoch')
  const counter = safeNumber(r, 'counter')
  const heardEpoch = safeNumber(r, 'heard epoch')
  const text = new TextDecoder()
  const sender = text.decode(r.view('sender', senderLength))
  const recipient = text.decode(r.view('recipient', recipientLength))
  if (r.remaining !== MAC_LENGTH) throw r.error('bad-length', 'recipient', `${r.remaining} bytes follow`)
  if (sender === '' || recipient === '') throw r.error('bad-value', 'name', 'empty')
  return { kind, sender, recipient, epoch, counter, heardEpoch }
}

/** The key may have any length: HMAC (RFC 2104) brings it to its block size. */
function authenticationCode(bytes: Uint8Array, key: Uint8Array): Uint8Array {
  return createHmac('sha256', key).update(bytes).digest()
}

function safeNumber(r: Reader, field: string): number {
  const value = r.u64(field)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw r.error('bad-value', field, `${value} is too large`)
  return Number(value)
}
