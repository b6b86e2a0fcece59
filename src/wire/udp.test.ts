import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { hex, IP_FRAMES } from '../../test/golden/frames.ts'
import { type Ip, ipFromBytes } from '../addr/ip.ts'
import { decodeEthernet } from './ethernet.ts'
import { decodeIpv4 } from './ipv4.ts'
import { decodeIpv6 } from './ipv6.ts'
import { decodeUdp, encodeUdp, type IpAddresses } from './udp.ts'

const ASCII = new TextEncoder()
const V4 = decodeIpv4(decodeEthernet(IP_FRAMES.udp4).payload)
const V4_NONE = decodeIpv4(decodeEthernet(IP_FRAMES.udp4WithoutChecksum).payload)
const V6 = decodeIpv6(decodeEthernet(IP_FRAMES.udp6).payload)

for (const [name, packet] of [
  ['IPv4', V4],
  ['IPv6', V6],
] as const) {
  test(`UDP over ${name} of a foreign sender`, () => {
    const value = { sourcePort: 7001, destinationPort: 7000, payload: ASCII.encode('lodestone') }
    assert.deepEqual(decodeUdp(packet.payload, packet), value)
    assert.deepEqual(encodeUdp(value, packet), packet.payload)
  })
}

test('a datagram without checksum is accepted over IPv4 (RFC 768), refused over IPv6 (RFC 8200 section 8.1)', () => {
  assert.deepEqual(decodeUdp(V4_NONE.payload, V4_NONE), {
    sourcePort: 7001,
    destinationPort: 7000,
    payload: ASCII.encode('no checksum'),
  })
  const without = V6.payload.slice()
  without.fill(0, 6, 8)
  assert.throws(() => decodeUdp(without, V6), { code: 'bad-checksum', field: 'checksum' })
})

test('a checksum that comes out as zero is sent as all ones (RFC 768)', () => {
  for (const ip of [V4, V6]) {
    const base = { sourcePort: 1, destinationPort: 2, payload: hex('0000') }
    const sent = encodeUdp(base, ip)
    // Putting the checksum into the data makes the sum of the rest 0xffff, so that the new checksum is zero.
    const made = encodeUdp({ ...base, payload: sent.slice(6, 8) }, ip)
    assert.deepEqual(made.slice(6, 8), hex('ffff'))
    assert.deepEqual(decodeUdp(made, ip).payload, sent.slice(6, 8))
  }
})

test('bytes behind the length of the header are ignored', () => {
  const padded = new Uint8Array(V4.payload.length + 3).fill(0xaa)
  padded.set(V4.payload)
  assert.deepEqual(decodeUdp(padded, V4), decodeUdp(V4.payload, V4))
})

test('refuses what is not UDP between these addresses', () => {
  const cases: readonly (readonly [Uint8Array, IpAddresses, string, string])[] = [
    [V4.payload.slice(0, 7), V4, 'truncated', 'checksum'],
    [V4.payload.slice(0, -1), V4, 'truncated', 'data'],
    [hex('1b59 1b58 0007 0000'), V4, 'bad-length', 'length'],
    [V4.payload, { source: V4.source, destination: '192.0.2.3' as Ip }, 'bad-checksum', 'checksum'],
    [V6.payload, { source: V6.source, destination: '2001:db8::3' as Ip }, 'bad-checksum', 'checksum'],
  ]
  for (const [bytes, ip, code, field] of cases) {
    assert.throws(() => decodeUdp(bytes, ip), { name: 'DecodeError', code, field, source: 'RFC 768' })
  }
})

const addresses = fc.constantFrom(4, 16).chain(length => {
  const ip = fc.uint8Array({ minLength: length, maxLength: length }).map(bytes => ipFromBytes(bytes))
  return fc.record({ source: ip, destination: ip }, { noNullPrototype: true })
})
const datagram = fc.record(
  {
    sourcePort: fc.nat({ max: 0xffff }),
    destinationPort: fc.nat({ max: 0xffff }),
    payload: fc.uint8Array({ maxLength: 60 }),
  },
  { noNullPrototype: true },
)

test('decoding inverts encoding', () => {
  fc.assert(
    fc.property(datagram, addresses, (value, ip) => {
      const bytes = encodeUdp(value, ip)
      assert.notDeepEqual(bytes.slice(6, 8), hex('0000'))
      assert.deepEqual(decodeUdp(bytes, ip), value)
    }),
  )
})
