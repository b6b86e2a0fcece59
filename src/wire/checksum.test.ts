import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { hex } from '../../test/golden/frames.ts'
import type { Ip } from '../addr/ip.ts'
import {
  checksumHolds,
  internetChecksum,
  onesComplementSum,
  pseudoHeaderSum,
  updateChecksum,
} from './checksum.ts'

test('the sum of RFC 1071 section 3', () => {
  const bytes = hex('0001 f203 f4f5 f6f7')
  assert.equal(onesComplementSum(bytes), 0xddf2)
  assert.equal(internetChecksum(bytes), 0x220d)
  assert(checksumHolds(hex('0001 f203 f4f5 f6f7 220d')))
  assert(!checksumHolds(hex('0001 f203 f4f5 f6f7 220e')))
})

test('the example of RFC 1624 section 4, which the older equation gets wrong', () => {
  assert.equal(updateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000)
})

test('the pseudo header is a sum over its bytes', () => {
  // RFC 768: source, destination, zero, protocol, length.
  const v4 = onesComplementSum(hex('c0000201 c0000202 00 11 0011'))
  assert.equal(pseudoHeaderSum('192.0.2.1' as Ip, '192.0.2.2' as Ip, 17, 17), v4)
  // RFC 8200 section 8.1: source, destination, length in 32 bits, zeros, next header.
  const addresses = '20010db8000000000000000000000001 20010db8000000000000000000000002'
  const v6 = onesComplementSum(hex(`${addresses} 00012345 000000 3a`))
  assert.equal(pseudoHeaderSum('2001:db8::1' as Ip, '2001:db8::2' as Ip, 58, 0x12345), v6)
  assert.throws(() => pseudoHeaderSum('192.0.2.1' as Ip, '::1' as Ip, 17, 8), { name: 'AssertionError' })
})

/** Word by word with end-around carry, as the RFC defines it. */
function slowSum(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0)
    if (sum > 0xffff) sum -= 0xffff
  }
  return sum
}

const words = fc
  .uint8Array({ minLength: 2, maxLength: 80 })
  .map(bytes => bytes.subarray(0, bytes.length & ~1))

test('sum, checksum and check agree', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      assert.equal(onesComplementSum(bytes), slowSum(bytes))
    }),
  )
  fc.assert(
    fc.property(words, fc.uint8Array({ maxLength: 9 }), (first, second) => {
      assert.equal(
        onesComplementSum(second, onesComplementSum(first)),
        onesComplementSum(Buffer.concat([first, second])),
      )
      const checksum = internetChecksum(first)
      assert(checksumHolds(Buffer.concat([first, Uint8Array.of(checksum >> 8, checksum & 0xff)])))
    }),
  )
  assert.equal(onesComplementSum(new Uint8Array(200_000).fill(0xff)), 0xffff)
})

test('an updated checksum is the one computed anew', () => {
  fc.assert(
    fc.property(words, fc.nat(), fc.nat({ max: 0xffff }), (bytes, place, word) => {
      // A header is never all zeros, RFC 1624 section 3.
      const before = Uint8Array.from([...bytes, 0x45, 0x00])
      const at = (place % (bytes.length / 2)) * 2
      const after = before.slice()
      after[at] = word >> 8
      after[at + 1] = word & 0xff
      const old = ((before[at] ?? 0) << 8) | (before[at + 1] ?? 0)
      assert.equal(updateChecksum(internetChecksum(before), old, word), internetChecksum(after))
    }),
  )
})
