import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { hex, IP_FRAMES, ND_FRAMES } from '../../test/golden/frames.ts'
import { type Ipv6, ipFromBytes } from '../addr/ip.ts'
import { decodeEthernet } from './ethernet.ts'
import { decodeIpv6, encodeIpv6, type Ipv6Extension, type Ipv6Packet } from './ipv6.ts'

const NDISC6 = decodeEthernet(ND_FRAMES.ndisc6Solicitation).payload
const MLD = decodeEthernet(IP_FRAMES.mld).payload
const LINK_LOCAL_2 = 'fe80::200:5eff:fe00:5302' as Ipv6

test('IPv6 of a foreign sender: ndisc6', () => {
  const packet = decodeIpv6(NDISC6)
  assert.deepEqual(packet, {
    trafficClass: 0,
    flowLabel: 0xe4307,
    hopLimit: 255,
    source: LINK_LOCAL_2,
    destination: 'ff02::1:ff00:1' as Ipv6,
    extensions: [],
    protocol: 58,
    payload: NDISC6.slice(40),
  })
  assert.deepEqual(encodeIpv6(packet), NDISC6)
})

test('IPv6 of a foreign sender: a hop-by-hop header with the router alert option', () => {
  const packet = decodeIpv6(MLD)
  assert.deepEqual(packet, {
    trafficClass: 0,
    flowLabel: 0,
    hopLimit: 1,
    source: LINK_LOCAL_2,
    destination: 'ff02::16' as Ipv6,
    extensions: [{ type: 'hop-by-hop', bytes: hex('050200000100') }],
    protocol: 58,
    payload: MLD.slice(48),
  })
  assert.deepEqual(encodeIpv6(packet), MLD)
})

const ADDRESSES = '20010db8000000000000000000000001 20010db8000000000000000000000002'

test('extension headers are walked in any order (RFC 8200 section 4.1)', () => {
  const bytes = hex(`
    6a512345 0024 00 40 ${ADDRESSES}
    2b 00 010400000000                    # hop-by-hop: PadN
    3c 00 000000000000                    # routing
    2c 00 010400000000                    # destination options: PadN
    11 ff 0003 89abcdef                   # fragment: offset 0, two reserved bits ignored, more
    01020304`)
  const packet = decodeIpv6(bytes)
  assert.deepEqual(packet, {
    trafficClass: 0xa5,
    flowLabel: 0x12345,
    hopLimit: 0x40,
    source: '2001:db8::1',
    destination: '2001:db8::2',
    extensions: [
      { type: 'hop-by-hop', bytes: hex('010400000000') },
      { type: 'routing', bytes: hex('000000000000') },
      { type: 'destination', bytes: hex('010400000000') },
      { type: 'fragment', offset: 0, more: true, identification: 0x89abcdef },
    ],
    protocol: 17,
    payload: hex('01020304'),
  })
})

test('behind a later fragment all is data', () => {
  const packet = decodeIpv6(hex(`60000000 000a 2c 40 ${ADDRESSES} 00 00 0008 00000001 3c3c`))
  assert.deepEqual(packet.extensions, [{ type: 'fragment', offset: 8, more: false, identification: 1 }])
  assert.equal(packet.protocol, 0)
  assert.deepEqual(packet.payload, hex('3c3c'))
})

test('Ethernet padding behind the packet is ignored', () => {
  const padded = new Uint8Array(NDISC6.length + 9).fill(0xaa)
  padded.set(NDISC6)
  assert.deepEqual(decodeIpv6(padded), decodeIpv6(NDISC6))
})

const PAD = '00 010400000000'
const REFUSED: readonly (readonly [string, string, string, string])[] = [
  ['version 4', `40000000 0000 3b 40 ${ADDRESSES}`, 'bad-value', 'version'],
  ['a payload past its end', `60000000 0002 11 40 ${ADDRESSES} 00`, 'truncated', 'payload'],
  ['an absent extension header', `60000000 0000 00 40 ${ADDRESSES}`, 'truncated', 'next header'],
  [
    'an extension header past the payload',
    `60000000 0008 3c 40 ${ADDRESSES} 11 01 010400000000 0000000000000000`,
    'truncated',
    'destination header',
  ],
  ['a cut fragment header', `60000000 0004 2c 40 ${ADDRESSES} 11 00 0001`, 'truncated', 'identification'],
  [
    'hop-by-hop options in second place',
    `60000000 0010 3c 40 ${ADDRESSES} 00 ${PAD} 11 ${PAD}`,
    'bad-value',
    'next header',
  ],
  [
    'nine extension headers',
    `60000000 0048 3c 40 ${ADDRESSES} ${`3c ${PAD} `.repeat(8)} 11 ${PAD}`,
    'too-many',
    'next header',
  ],
]
for (const [name, text, code, field] of REFUSED) {
  test(`refuses IPv6 with ${name}`, () => {
    assert.throws(() => decodeIpv6(hex(text)), { name: 'DecodeError', code, field, source: 'RFC 8200' })
  })
}

test('eight extension headers are accepted', () => {
  const bytes = hex(`60000000 0040 3c 40 ${ADDRESSES} ${`3c ${PAD} `.repeat(7)} 3b ${PAD}`)
  assert.equal(decodeIpv6(bytes).extensions.length, 8)
  assert.equal(decodeIpv6(bytes).protocol, 59)
  assert.deepEqual(encodeIpv6(decodeIpv6(bytes)), bytes)
})

test('values that do not fit the header break an invariant', () => {
  const good = decodeIpv6(NDISC6)
  const hopByHop: Ipv6Extension = { type: 'hop-by-hop', bytes: hex('010400000000') }
  const fragment: Ipv6Extension = { type: 'fragment', offset: 4, more: false, identification: 1 }
  for (const bad of [
    { ...good, flowLabel: 0x100000 },
    { ...good, trafficClass: 256 },
    { ...good, hopLimit: 256 },
    { ...good, extensions: [hopByHop, hopByHop] },
    { ...good, extensions: [fragment] },
    { ...good, extensions: [{ ...hopByHop, bytes: new Uint8Array(5) }] },
    { ...good, payload: new Uint8Array(0x10000) },
  ]) {
    assert.throws(() => encodeIpv6(bad), { name: 'AssertionError' })
  }
})

const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(bytes => ipFromBytes(bytes) as Ipv6)
const optionBytes = fc
  .nat({ max: 3 })
  .chain(n => fc.uint8Array({ minLength: 8 * n + 6, maxLength: 8 * n + 6 }))
const middle: fc.Arbitrary<Ipv6Extension> = fc.oneof(
  fc.record(
    { type: fc.constantFrom('routing', 'destination'), bytes: optionBytes },
    { noNullPrototype: true },
  ),
  fc.record(
    {
      type: fc.constant('fragment'),
      offset: fc.constant(0),
      more: fc.boolean(),
      identification: fc.nat({ max: 0xffffffff }),
    },
    { noNullPrototype: true },
  ),
)
const first = fc.record({ type: fc.constant('hop-by-hop'), bytes: optionBytes }, { noNullPrototype: true })
const anyPacket: fc.Arbitrary<Ipv6Packet> = fc.record(
  {
    trafficClass: fc.nat({ max: 255 }),
    flowLabel: fc.nat({ max: 0xfffff }),
    hopLimit: fc.nat({ max: 255 }),
    source: ipv6,
    destination: ipv6,
    extensions: fc
      .tuple(fc.option(first, { nil: undefined }), fc.array(middle, { maxLength: 7 }))
      .map(([head, rest]) => (head === undefined ? rest : [head, ...rest])),
    protocol: fc.constantFrom(6, 17, 58, 59, 112, 255),
    payload: fc.uint8Array({ maxLength: 60 }),
  },
  { noNullPrototype: true },
)

test('decoding inverts encoding', () => {
  fc.assert(fc.property(anyPacket, value => assert.deepEqual(decodeIpv6(encodeIpv6(value)), value)))
})
