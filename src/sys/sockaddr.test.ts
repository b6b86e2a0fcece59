import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { LITTLE_ENDIAN } from './endian.ts'
import { decodeSockaddr, encodeSockaddr, encodeSockaddrNetlink, encodeSockaddrPacket } from './sockaddr.ts'

const skip = LITTLE_ENDIAN ? false : 'the bytes are those of a little-endian machine'
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

// The layouts of ip(7), ipv6(7), packet(7) and netlink(7).
const CASES = [
  ['192.0.2.1', 4784, 0, '0200 12b0 c0000201 0000000000000000 000000000000000000000000'],
  ['2001:db8::1', 179, 0, '0a00 00b3 00000000 20010db8000000000000000000000001 00000000'],
  ['fe80::1', 3784, 7, '0a00 0ec8 00000000 fe800000000000000000000000000001 07000000'],
] as const

for (const [text, port, scope, bytes] of CASES) {
  test(`socket address of ${text} port ${port}`, { skip }, () => {
    assert.deepEqual(encodeSockaddr({ ip: ip(text), port }, scope), hex(bytes))
    assert.deepEqual(decodeSockaddr(hex(bytes)), { ip: text, port, interfaceIndex: scope })
  })
}

test('other families and short ones are no IP socket addresses', () => {
  assert.equal(decodeSockaddr(hex('1100 0806 04000000 0100 00 06 00005e0053010000')), undefined)
  assert.equal(decodeSockaddr(hex('0a00 00b3 00000000 20010db800000000')), undefined)
  assert.equal(decodeSockaddr(new Uint8Array(0)), undefined)
})

test('packet and netlink addresses', { skip }, () => {
  assert.deepEqual(encodeSockaddrPacket(0x0806, 4), hex('1100 0806 04000000 0000 00 00 0000000000000000'))
  assert.deepEqual(encodeSockaddrNetlink(0x111), hex('1000 0000 00000000 11010000'))
})
