import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Ip } from './ip.ts'
import {
  BROADCAST_MAC,
  isMulticastMac,
  type Mac,
  macFromBytes,
  macToBytes,
  multicastMac,
  parseMac,
  ZERO_MAC,
} from './mac.ts'

test('MAC addresses are canonical lower case with colons', () => {
  for (const text of ['00:00:5e:00:53:af', '00:00:5E:00:53:AF', '00-00-5e-00-53-af']) {
    assert.equal(parseMac(text), '00:00:5e:00:53:af', text)
  }
  const refused = [
    '',
    '00:00:5e:00:53',
    '00:00:5e:00:53:01:02',
    '0:0:5e:0:53:1',
    '00:00:5e:00:53:0g',
    '00005e005301',
  ]
  for (const text of [...refused, '00:00:5e-00:53:01', ' 00:00:5e:00:53:01', '00:00:5e:00:53:01\n']) {
    assert.equal(parseMac(text), undefined, JSON.stringify(text))
  }
})

test('MAC text and bytes are the same address', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), bytes => {
      const mac = macFromBytes(bytes)
      assert.equal(mac, Buffer.from(bytes).toString('hex').replace(/..\B/g, '$&:'))
      assert.deepEqual(macToBytes(mac), bytes)
      assert.equal(parseMac(mac), mac)
      assert.equal(isMulticastMac(mac), ((bytes[0] ?? 0) & 1) === 1)
    }),
  )
  assert.deepEqual(macToBytes(BROADCAST_MAC), new Uint8Array(6).fill(255))
  assert.deepEqual(macToBytes(ZERO_MAC), new Uint8Array(6))
  assert.throws(() => macFromBytes(new Uint8Array(8)), { name: 'AssertionError' })
  assert.throws(() => macToBytes('00:00:5e' as Mac), { name: 'AssertionError' })
})

test('multicast groups on Ethernet, RFC 1112 section 6.4 and RFC 2464 section 7', () => {
  assert.equal(multicastMac('224.0.0.18' as Ip), '01:00:5e:00:00:12')
  assert.equal(multicastMac('239.255.255.255' as Ip), '01:00:5e:7f:ff:ff')
  assert.equal(multicastMac('ff02::1' as Ip), '33:33:00:00:00:01')
  assert.equal(multicastMac('ff02::1:ff0e:8c6c' as Ip), '33:33:ff:0e:8c:6c')
  assert.throws(() => multicastMac('192.0.2.1' as Ip), { name: 'AssertionError' })
  assert.throws(() => multicastMac('2001:db8::1' as Ip), { name: 'AssertionError' })
})
