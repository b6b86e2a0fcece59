import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import {
  decodeAnswer,
  decodeAnswerer,
  decodeProbe,
  encodeAnswer,
  encodeAnswerer,
  encodeProbe,
  plainAddress,
} from './datagram.ts'

test('a probe is its magic and the sequence number, big endian', () => {
  assert.deepEqual([...encodeProbe(0x01020304)], [0x4c, 0x53, 0x50, 0x31, 1, 2, 3, 4])
  assert.equal(decodeProbe(encodeProbe(0xffffffff)), 0xffffffff)
})

test('an answer carries the number and who answered', () => {
  const who = { pod: 'web-1', node: 'n1', client: '2001:db8::1' }
  const answer = decodeAnswer(encodeAnswer(7, encodeAnswerer(who)))
  assert.equal(answer?.sequence, 7)
  assert.deepEqual(decodeAnswerer(answer?.identity ?? ''), who)
})

test('a probe is no answer and the other way round', () => {
  assert.equal(decodeAnswer(encodeProbe(1)), undefined)
  assert.equal(decodeProbe(encodeAnswer(1, new Uint8Array())), undefined)
})

test('strangers without a name read as empty texts', () => {
  assert.deepEqual(decodeAnswerer('{"pod":1,"node":null}'), { pod: '', node: '', client: '' })
  assert.deepEqual(decodeAnswerer('[]'), { pod: '', node: '', client: '' })
})

test('decoding is total', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.string(), (bytes, text) => {
      decodeProbe(bytes)
      decodeAnswer(bytes)
      decodeAnswerer(text)
    }),
  )
})

test('mapped IPv4 addresses are shown plainly', () => {
  assert.equal(plainAddress('::ffff:192.0.2.1'), '192.0.2.1')
  assert.equal(plainAddress('2001:db8::ffff:1'), '2001:db8::ffff:1')
})
