import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { decodeHeartbeat, encodeHeartbeat, type Heartbeat } from './heartbeat.ts'
import { DecodeError } from './io.ts'

const KEY = new TextEncoder().encode('documentation-key')
const BEAT: Heartbeat = {
  kind: 'alive',
  sender: 'node1',
  recipient: 'node2',
  epoch: 1798761600000,
  counter: 7,
  heardEpoch: 1798761599000,
}
// Made by Python's struct and hmac modules.
const BEAT_BYTES = Buffer.from(
  '4c53484201000505000001a2ce8bd4000000000000000007000001a2ce8bd0186e6f6465316e6f6465322d5d8d00e9dcdd4da09f52f54143fc0407a3b32e7d8a1b2e522bd702d34ef86c',
  'hex',
)

test('bytes as another implementation makes them', () => {
  assert.deepEqual(Buffer.from(encodeHeartbeat(BEAT, KEY)), BEAT_BYTES)
  assert.deepEqual(decodeHeartbeat(BEAT_BYTES, KEY), BEAT)
})

test('every flipped bit and every truncation is refused', () => {
  for (let bit = 0; bit < BEAT_BYTES.length * 8; bit++) {
    const bytes = Uint8Array.from(BEAT_BYTES)
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    assert.throws(() => decodeHeartbeat(bytes, KEY), { name: 'DecodeError', code: 'bad-checksum' })
  }
  for (let length = 0; length < BEAT_BYTES.length; length++) {
    assert.throws(() => decodeHeartbeat(BEAT_BYTES.subarray(0, length), KEY), DecodeError)
  }
})

test('another key is refused', () => {
  assert.throws(() => decodeHeartbeat(BEAT_BYTES, new Uint8Array(16)), { code: 'bad-checksum' })
})

const name = fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme-ascii' })
const beats = fc.record(
  {
    kind: fc.constantFrom('alive' as const, 'leaving' as const),
    sender: name,
    recipient: name,
    epoch: fc.maxSafeNat(),
    counter: fc.maxSafeNat(),
    heardEpoch: fc.maxSafeNat(),
  },
  { noNullPrototype: true },
)

test('decode inverts encode', () => {
  fc.assert(
    fc.property(beats, fc.uint8Array({ maxLength: 80 }), (beat, key) => {
      assert.deepEqual(decodeHeartbeat(encodeHeartbeat(beat, key), key), beat)
    }),
  )
})

test('whoever has the key and lies about lengths is refused too', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 120 }),
      beats,
      fc.nat(30),
      fc.nat(255),
      (junk, beat, at, value) => {
        const bytes = Uint8Array.from(encodeHeartbeat(beat, KEY))
        const body = bytes.subarray(0, bytes.length - 32)
        body[at % body.length] = value
        for (const lie of [body, junk]) {
          const signed = sign(lie)
          try {
            decodeHeartbeat(signed, KEY)
          } catch (error) {
            assert.ok(error instanceof DecodeError, String(error))
          }
        }
      },
    ),
  )
})

function sign(body: Uint8Array): Uint8Array {
  const code = createHmac('sha256', KEY).update(body).digest()
  return Uint8Array.from([...body, ...code])
}
