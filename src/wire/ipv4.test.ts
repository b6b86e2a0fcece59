import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { hex, IP_FRAMES } from '../../test/golden/frames.ts'
import { type Ipv4, ipFromBytes } from '../addr/ip.ts'
import { internetChecksum } from './checksum.ts'
import { decodeEthernet } from './ethernet.ts'
import { decodeIpv4, encodeIpv4, type Ipv4Packet } from './ipv4.ts'

const UDP4 = decodeEthernet(IP_FRAMES.udp4).payload
const WITH_OPTIONS = decodeEthernet(IP_FRAMES.udp4WithOptions).payload
const IGMP = decodeEthernet(IP_FRAMES.igmp).payload

/** Captured packets, the payload apart. */
const GOLDEN: readonly (readonly [string, Uint8Array, Omit<Ipv4Packet, 'payload'>, number])[] = [
  ['UDP', UDP4, header({ identification: identificationOf(UDP4) }), 17],
  [
    'UDP with a record route option',
    WITH_OPTIONS,
    header({ identification: identificationOf(WITH_OPTIONS), options: hex('070708c000020100') }),
    15,
  ],
  [
    'IGMP with the router alert option',
    IGMP,
    header({
      trafficClass: 0xc0,
      identification: 0,
      ttl: 1,
      protocol: 2,
      destination: '224.0.0.22' as Ipv4,
      options: hex('94040000'),
    }),
    16,
  ],
]

function identificationOf(packet: Uint8Array): number {
  return ((packet[4] ?? 0) << 8) | (packet[5] ?? 0)
}

function header(part: Partial<Ipv4Packet>): Omit<Ipv4Packet, 'payload'> {
  return {
    trafficClass: 0,
    identification: 0,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    ttl: 64,
    protocol: 17,
    source: '192.0.2.1' as Ipv4,
    destination: '192.0.2.2' as Ipv4,
    options: new Uint8Array(0),
    ...part,
  }
}

for (const [name, bytes, wanted, payloadLength] of GOLDEN) {
  test(`IPv4 of a foreign sender: ${name}`, () => {
    const { payload, ...rest } = decodeIpv4(bytes)
    assert.deepEqual(rest, wanted)
    assert.deepEqual(payload, bytes.slice(bytes.length - payloadLength))
    assert.deepEqual(encodeIpv4({ ...wanted, payload }), bytes)
  })
}

test('Ethernet padding behind the packet is ignored', () => {
  const padded = new Uint8Array(UDP4.length + 9).fill(0xaa)
  padded.set(UDP4)
  assert.deepEqual(decodeIpv4(padded), decodeIpv4(UDP4))
})

/** One byte of a captured packet changed; the checksum put right unless it is what is tested. */
function change(at: number, value: number, fix = true): Uint8Array {
  const bytes = UDP4.slice()
  bytes[at] = value
  if (fix) {
    bytes.fill(0, 10, 12)
    const checksum = internetChecksum(bytes.subarray(0, 20))
    bytes[10] = checksum >> 8
    bytes[11] = checksum & 0xff
  }
  return bytes
}

const REFUSED: readonly (readonly [string, Uint8Array, string, string])[] = [
  ['version 6', change(0, 0x65), 'bad-value', 'version'],
  ['a header of 16 bytes', change(0, 0x44), 'bad-length', 'IHL'],
  ['a header longer than the packet', change(0, 0x4f), 'truncated', 'options'],
  ['a changed TTL', change(8, 63, false), 'bad-checksum', 'header checksum'],
  ['a total length less than its header', change(3, 19), 'bad-length', 'total length'],
  ['a total length past its end', change(3, UDP4.length + 1), 'truncated', 'data'],
]
for (const [name, bytes, code, field] of REFUSED) {
  test(`refuses IPv4 with ${name}`, () => {
    assert.throws(() => decodeIpv4(bytes), { name: 'DecodeError', code, field, source: 'RFC 791' })
  })
}

test('values that do not fit the header break an invariant', () => {
  const good = decodeIpv4(UDP4)
  for (const bad of [
    { ...good, options: new Uint8Array(3) },
    { ...good, options: new Uint8Array(44) },
    { ...good, fragmentOffset: 4 },
    { ...good, fragmentOffset: 0x10000 },
    { ...good, ttl: 256 },
    { ...good, payload: new Uint8Array(0xffff) },
  ]) {
    assert.throws(() => encodeIpv4(bad), { name: 'AssertionError' })
  }
})

const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(bytes => ipFromBytes(bytes) as Ipv4)
const anyPacket: fc.Arbitrary<Ipv4Packet> = fc.record(
  {
    trafficClass: fc.nat({ max: 255 }),
    identification: fc.nat({ max: 0xffff }),
    dontFragment: fc.boolean(),
    moreFragments: fc.boolean(),
    fragmentOffset: fc.nat({ max: 0x1fff }).map(units => units * 8),
    ttl: fc.nat({ max: 255 }),
    protocol: fc.nat({ max: 255 }),
    source: ipv4,
    destination: ipv4,
    options: fc.uint8Array({ maxLength: 40 }).map(bytes => bytes.slice(0, bytes.length & ~3)),
    payload: fc.uint8Array({ maxLength: 60 }),
  },
  { noNullPrototype: true },
)

test('decoding inverts encoding', () => {
  fc.assert(fc.property(anyPacket, value => assert.deepEqual(decodeIpv4(encodeIpv4(value)), value)))
})
