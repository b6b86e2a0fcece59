import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import {
  BGP_KEEPALIVE,
  BGP_NOTIFICATIONS,
  BGP_OPENS,
  BGP_REFRESHES,
  BGP_UPDATES,
} from '../../../test/golden/bgp.ts'
import { hex } from '../../../test/golden/frames.ts'
import { BgpError } from './error.ts'
import { Framer } from './framer.ts'
import { EXTENDED_MESSAGE_MAX, MESSAGE_MAX } from './message.ts'

const MESSAGES = [
  ...Object.values(BGP_OPENS),
  BGP_KEEPALIVE,
  ...Object.values(BGP_UPDATES),
  ...Object.values(BGP_REFRESHES),
  ...Object.values(BGP_NOTIFICATIONS),
]
const STREAM = Buffer.concat(MESSAGES)
const MARKER = 'ff'.repeat(16)

function take(framer: Framer, lengthMax = MESSAGE_MAX): Buffer[] {
  const taken: Buffer[] = []
  for (let next = framer.next(lengthMax); next !== undefined; next = framer.next(lengthMax)) {
    taken.push(Buffer.from(next))
  }
  return taken
}

test('a stream in any split gives the same messages, and never more is held than one message', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }), sizes => {
      const framer = new Framer()
      const got: Buffer[] = []
      for (let at = 0, i = 0; at < STREAM.length; i++) {
        const size = sizes[i % sizes.length] ?? 1
        framer.push(STREAM.subarray(at, at + size))
        got.push(...take(framer))
        assert(framer.buffered < MESSAGE_MAX)
        at += size
      }
      assert.deepEqual(
        got,
        MESSAGES.map(each => Buffer.from(each)),
      )
      assert.equal(framer.buffered, 0)
    }),
  )
})

test('byte for byte, and all at once', () => {
  for (const size of [1, STREAM.length]) {
    const framer = new Framer()
    let count = 0
    for (let at = 0; at < STREAM.length; at += size) {
      framer.push(STREAM.subarray(at, at + size))
      count += take(framer).length
    }
    assert.equal(count, MESSAGES.length)
  }
})

test('the longest message may change between two messages of one chunk', () => {
  const long = Buffer.concat([hex(`${MARKER} 2000 02`), Buffer.alloc(0x2000 - 19)])
  const framer = new Framer()
  framer.push(Buffer.concat([BGP_KEEPALIVE, long, BGP_KEEPALIVE]))
  assert.equal(framer.next(MESSAGE_MAX)?.length, 19)
  assert.equal(framer.next(EXTENDED_MESSAGE_MAX)?.length, 0x2000)
  assert.equal(framer.next(EXTENDED_MESSAGE_MAX)?.length, 19)
  assert.equal(framer.next(EXTENDED_MESSAGE_MAX), undefined)
})

test('pushing before all messages were taken is a mistake of the caller', () => {
  const framer = new Framer()
  framer.push(STREAM)
  assert.throws(() => framer.push(STREAM), { name: 'AssertionError' })
})

/** Headers alone: refused before the body is there. With the NOTIFICATION of RFC 4271 section 6.1. */
const REFUSED: readonly (readonly [string, string, number, string] | readonly [string, string, null])[] = [
  ['a marker that is not all ones', `${'ff'.repeat(15)}fe 0013 04`, 1, ''],
  ['a length below that of a header', `${MARKER} 0012 04`, 2, '0012'],
  ['a length above the longest', `${MARKER} 1001 02`, 2, '1001'],
  ['a KEEPALIVE with a body', `${MARKER} 0014 04`, 2, '0014'],
  ['an OPEN too short', `${MARKER} 001c 01`, 2, '001c'],
  ['an UPDATE too short', `${MARKER} 0016 02`, 2, '0016'],
  ['a ROUTE-REFRESH too short', `${MARKER} 0016 05`, 2, '0016'],
  ['a type of nothing', `${MARKER} 0013 00`, 3, '00'],
  ['a type that came later', `${MARKER} 0013 06`, 3, '06'],
  ['a NOTIFICATION too short, silently', `${MARKER} 0014 03`, null],
]
for (const [name, bytes, subcode, data] of REFUSED) {
  test(`refuses ${name}`, () => {
    const header = hex(bytes)
    for (const split of [0, 1, 18]) {
      const framer = new Framer()
      framer.push(header.slice(0, split))
      assert.equal(framer.next(MESSAGE_MAX), undefined)
      framer.push(header.slice(split))
      assert.throws(
        () => framer.next(MESSAGE_MAX),
        (error: unknown) => {
          assert(error instanceof BgpError)
          const wanted =
            subcode === null ? null : { type: 'notification', code: 1, subcode, data: hex(data ?? '') }
          assert.deepEqual(error.notification, wanted)
          return true
        },
      )
    }
  })
}

test('an OPEN is never longer than 4096 bytes, whatever was agreed (RFC 8654 section 4)', () => {
  const framer = new Framer()
  framer.push(hex(`${MARKER} 1001 01`))
  assert.throws(() => framer.next(EXTENDED_MESSAGE_MAX), BgpError)
})
