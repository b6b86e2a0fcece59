import { createHmac, timingSafeEqual } from 'node:crypto'
import { Reader, Writer } from './io.ts'

/**
 * A packet that a neighbour sends back to us unread (RFC 5880 section 6.8.8): nobody else has to understand it, so its form is our own.
 *
 *    0      4              8          12        20
 *   | LSBE | discriminator | sequence | code (8) |
 *
 * The code is made with a key that only the sender knows, so that nobody else can make a session look alive (RFC 5880 section 9).
 */
export type BfdEcho = {
  /** Of the session that sent it. */
  readonly discriminator: number
  readonly sequence: number
}

const MAGIC = 0x4c534245
const SIGNED_LENGTH = 12
const CODE_LENGTH = 8

export function encodeBfdEcho({ discriminator, sequence }: BfdEcho, key: Uint8Array): Uint8Array {
  const w = new Writer(SIGNED_LENGTH + CODE_LENGTH)
  w.u32(MAGIC).u32(discriminator).u32(sequence)
  return w.bytes(codeOf(w.written(), key)).finish()
}

/** @throws DecodeError; 'bad-checksum': it was not made with the key */
export function decodeBfdEcho(bytes: Uint8Array, key: Uint8Array): BfdEcho {
  const r = new Reader(bytes, 'Lodestone BFD echo')
  if (bytes.length !== SIGNED_LENGTH + CODE_LENGTH) {
    throw r.error(
      bytes.length < SIGNED_LENGTH + CODE_LENGTH ? 'truncated' : 'bad-length',
      'echo',
      `${bytes.length} bytes`,
    )
  }
  r.check(r.u32('magic'), 'magic', MAGIC)
  if (!timingSafeEqual(codeOf(bytes.subarray(0, SIGNED_LENGTH), key), bytes.subarray(SIGNED_LENGTH))) {
    throw r.error('bad-checksum', 'code', 'not made with our key')
  }
  return { discriminator: r.u32('discriminator'), sequence: r.u32('sequence') }
}

function codeOf(bytes: Uint8Array, key: Uint8Array): Uint8Array {
  return createHmac('sha256', key).update(bytes.subarray(0, SIGNED_LENGTH)).digest().subarray(0, CODE_LENGTH)
}
