import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, ipFromBytes } from '../addr/ip.ts'
import { type Mac, macFromBytes } from '../addr/mac.ts'
import { ASKERS_BODY_MAX, decodeAskers, encodeAskers } from './askers.ts'
import { DecodeError } from './io.ts'

const MAC = '00:00:5e:00:53:01' as Mac

test('one asker of each family, byte for byte', () => {
  const four = encodeAskers('192.0.2.80' as Ip, [{ ip: '192.0.2.9' as Ip, mac: MAC }])
  assert.deepEqual(
    four.map(body => Buffer.from(body).toString('hex')),
    ['04c000025001c000020900005e005301'],
  )
  const six = encodeAskers('2001:db8::80' as Ip, [{ ip: 'fe80::9' as Ip, mac: MAC }])
  assert.deepEqual(
    six.map(body => Buffer.from(body).toString('hex')),
    ['0620010db800000000000000000000008001fe80000000000000000000000000000900005e005301'],
  )
  assert.deepEqual(
    decodeAskers(Buffer.concat([four[0] ?? [], six[0] ?? []].map(body => Buffer.from(body)))),
    [
      { address: '192.0.2.80', askers: [{ ip: '192.0.2.9', mac: MAC }], astray: false },
      { address: '2001:db8::80', askers: [{ ip: 'fe80::9', mac: MAC }], astray: false },
    ],
  )
})

test('what is told is what is heard, in bodies that fit into one packet', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
  const tellings = fc.constantFrom(4, 16).chain(length =>
    fc.record(
      {
        address: bytes(length).map(ipFromBytes),
        askers: fc.array(
          fc.record(
            { ip: bytes(length).map(ipFromBytes), mac: bytes(6).map(macFromBytes) },
            { noNullPrototype: true },
          ),
          { maxLength: 200 },
        ),
      },
      { noNullPrototype: true },
    ),
  )
  fc.assert(
    fc.property(tellings, fc.boolean(), ({ address, askers }, astray) => {
      const bodies = encodeAskers(address, askers, astray)
      for (const body of bodies) assert(body.length <= ASKERS_BODY_MAX)
      const heard = bodies.flatMap(body => decodeAskers(body))
      assert.deepEqual(
        heard.flatMap(each => each.askers),
        askers,
      )
      for (const each of heard) assert.deepEqual([each.address, each.astray], [address, astray])
    }),
  )
})

test('any bytes: a value or a DecodeError', () => {
  const family = fc.constantFrom(4, 6, 0x84, 0x86, 0)
  const body = fc
    .tuple(family, fc.uint8Array({ maxLength: 80 }))
    .map(([first, rest]) => Uint8Array.of(first, ...rest))
  fc.assert(
    fc.property(body, each => {
      try {
        decodeAskers(each)
      } catch (error) {
        assert(error instanceof DecodeError)
      }
    }),
  )
  assert.deepEqual(decodeAskers(new Uint8Array()), [])
  assert.throws(() => decodeAskers(Uint8Array.of(5)), { code: 'bad-value' })
  assert.throws(() => decodeAskers(Uint8Array.of(4, 192, 0, 2, 1, 1)), { code: 'truncated' })
})
