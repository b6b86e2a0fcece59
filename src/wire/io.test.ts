import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Ip } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import { DecodeError, Reader, Writer } from './io.ts'

test('what is written is read back, big-endian', () => {
  const w = new Writer(1)
  w.u8(0x01)
    .u16(0x0203)
    .u32(0xf4050607)
    .u64(0xf8090a0b0c0d0e0fn)
    .mac('00:00:5e:00:53:01' as Mac)
  w.ip('192.0.2.1' as Ip)
    .ip('2001:db8::1' as Ip)
    .zeros(2)
    .bytes(Uint8Array.of(9, 8))
  const bytes = w.finish()
  assert.equal(
    Buffer.from(bytes).toString('hex'),
    '010203f4050607f8090a0b0c0d0e0f00005e005301c000020120010db800000000000000000000000100000908',
  )
  const r = new Reader(bytes, 'RFC 0')
  assert.equal(r.u8('a'), 1)
  assert.equal(r.u16('b'), 0x0203)
  assert.equal(r.u32('c'), 0xf4050607)
  assert.equal(r.u64('d'), 0xf8090a0b0c0d0e0fn)
  assert.equal(r.mac('e'), '00:00:5e:00:53:01')
  assert.equal(r.ipv4('f'), '192.0.2.1')
  assert.equal(r.ipv6('g'), '2001:db8::1')
  r.skip('h', 2)
  assert.equal(r.offset, bytes.length - 2)
  assert.equal(r.remaining, 2)
  assert.deepEqual(r.rest(), Uint8Array.of(9, 8))
  assert.equal(r.remaining, 0)
})

test('reading past the end names the field and the document', () => {
  const reads: readonly ((r: Reader) => unknown)[] = [
    r => r.u8('x'),
    r => r.u16('x'),
    r => r.u32('x'),
    r => r.u64('x'),
    r => r.mac('x'),
    r => r.ipv4('x'),
    r => r.ipv6('x'),
    r => r.bytes('x', 1),
    r => r.view('x', 1),
    r => r.skip('x', 1),
    r => r.expectU8('x', 0),
    r => r.expectU16('x', 0),
  ]
  for (const read of reads) {
    assert.throws(() => read(new Reader(new Uint8Array(0), 'RFC 1')), {
      name: 'DecodeError',
      code: 'truncated',
      field: 'x',
      source: 'RFC 1',
    })
  }
  assert.throws(() => new Reader(Uint8Array.of(5), 'RFC 1').expectU8('x', 6), {
    message: 'RFC 1, x: 5 instead of 6',
    code: 'bad-value',
  })
  const limit = Error.stackTraceLimit
  const error = new DecodeError('truncated', 'x', 'RFC 1', 'y')
  assert(error instanceof Error)
  assert.equal(error.stack, 'DecodeError: RFC 1, x: y')
  assert.equal(Error.stackTraceLimit, limit)
})

test('a copy outlives the buffer, a view does not', () => {
  for (const buffer of [Uint8Array.of(1, 2, 3, 4), Buffer.from([1, 2, 3, 4])]) {
    const r = new Reader(buffer, 'RFC 1')
    const copy = r.bytes('copy', 2)
    const view = r.view('view', 2)
    buffer.fill(9)
    assert.deepEqual([...copy], [1, 2])
    assert.deepEqual([...view], [9, 9])
  }
})

test('numbers that do not fit break an invariant', () => {
  const writes: readonly ((w: Writer) => unknown)[] = [
    w => w.u8(256),
    w => w.u8(-1),
    w => w.u8(1.5),
    w => w.u16(0x10000),
    w => w.u32(2 ** 32),
    w => w.u64(1n << 64n),
    w => w.u64(-1n),
    w => w.patchU16(0, 1),
    w => w.u16(0).patchU16(0, -1),
    w => w.u16(Number.NaN),
  ]
  for (const write of writes) assert.throws(() => write(new Writer()), { name: 'AssertionError' })
})

test('the buffer grows as far as needed', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 })), fc.nat({ max: 50 }), (parts, expected) => {
      const w = new Writer(expected)
      for (const part of parts) w.bytes(part)
      assert.equal(
        w.length,
        parts.reduce((sum, part) => sum + part.length, 0),
      )
      assert.deepEqual(Buffer.from(w.finish()), Buffer.concat(parts))
    }),
  )
})
