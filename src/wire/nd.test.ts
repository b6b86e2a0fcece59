import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { ARP_FRAMES, hex, IP_FRAMES, ND_FRAMES } from '../../test/golden/frames.ts'
import { type Ipv6, ipFromBytes } from '../addr/ip.ts'
import { type Mac, macFromBytes } from '../addr/mac.ts'
import { ETHERTYPE, encodeEthernet } from './ethernet.ts'
import { decodeIcmpv6, encodeIcmpv6, type Icmpv6 } from './icmpv6.ts'
import { encodeIpv6, type Ipv6Extension, type Ipv6Packet } from './ipv6.ts'
import {
  decodeNd,
  decodeNdFrame,
  duplicateProbe,
  encodeNd,
  encodeNdFrame,
  linkAddressOf,
  type NdFrame,
  type NdMessage,
  type NdOption,
  neighborSolicitation,
  solicitedAdvertisement,
  unsolicitedAdvertisement,
} from './nd.ts'

const MAC_1 = '00:00:5e:00:53:01' as Mac
const MAC_2 = '00:00:5e:00:53:02' as Mac
const IP_1 = '2001:db8::1' as Ipv6
const IP_2 = '2001:db8::2' as Ipv6
const LINK_LOCAL_2 = 'fe80::200:5eff:fe00:5302' as Ipv6
const VIP = '2001:db8::80' as Ipv6
const NONE = '::' as Ipv6
const ALL_NODES = 'ff02::1' as Ipv6
const ALL_NODES_MAC = '33:33:00:00:00:01' as Mac
const GROUP_1 = 'ff02::1:ff00:1' as Ipv6
const GROUP_1_MAC = '33:33:ff:00:00:01' as Mac

/** Destination and source MAC, destination and source address, message, flow label. */
type Golden = readonly [Mac, Mac, Ipv6, Ipv6, NdMessage, number?]

/** What each captured frame means. */
const GOLDEN: Record<keyof typeof ND_FRAMES, Golden> = {
  kernelDuplicateProbe: [
    GROUP_1_MAC,
    MAC_1,
    GROUP_1,
    NONE,
    solicitation(IP_1, nonce('kernelDuplicateProbe')),
  ],
  kernelDuplicateProbeOfTaken: [
    GROUP_1_MAC,
    MAC_2,
    GROUP_1,
    NONE,
    solicitation(IP_1, nonce('kernelDuplicateProbeOfTaken')),
  ],
  kernelDefence: [ALL_NODES_MAC, MAC_1, ALL_NODES, IP_1, advertisement(IP_1, 'override', tll(MAC_1))],
  kernelSolicitation: [GROUP_1_MAC, MAC_2, GROUP_1, IP_2, solicitation(IP_1, sll(MAC_2))],
  kernelAdvertisement: [MAC_2, MAC_1, IP_2, IP_1, advertisement(IP_1, 'solicited override', tll(MAC_1))],
  kernelUnicastSolicitation: [MAC_1, MAC_2, IP_1, LINK_LOCAL_2, solicitation(IP_1, sll(MAC_2))],
  kernelAdvertisementWithoutOption: [MAC_2, MAC_1, LINK_LOCAL_2, IP_1, advertisement(IP_1, 'solicited')],
  kernelUnsolicited: [ALL_NODES_MAC, MAC_1, ALL_NODES, IP_1, advertisement(IP_1, 'override', tll(MAC_1))],
  ndisc6Solicitation: [GROUP_1_MAC, MAC_2, GROUP_1, LINK_LOCAL_2, solicitation(IP_1, sll(MAC_2)), 0xe4307],
  kernelAdvertisementToNdisc6: [
    MAC_2,
    MAC_1,
    LINK_LOCAL_2,
    IP_1,
    advertisement(IP_1, 'solicited override', tll(MAC_1)),
  ],
  keepalivedUnsolicited: [ALL_NODES_MAC, MAC_1, ALL_NODES, VIP, advertisement(VIP, 'override', tll(MAC_1))],
}

function solicitation(target: Ipv6, ...options: NdOption[]): NdMessage {
  return { type: 'neighbor-solicitation', target, options }
}
function advertisement(target: Ipv6, flags: string, ...options: NdOption[]): NdMessage {
  const has = (flag: string) => flags.split(' ').includes(flag)
  return {
    type: 'neighbor-advertisement',
    router: has('router'),
    solicited: has('solicited'),
    override: has('override'),
    target,
    options,
  }
}
function sll(mac: Mac): NdOption {
  return { type: 'source-link-address', mac }
}
function tll(mac: Mac): NdOption {
  return { type: 'target-link-address', mac }
}
/** RFC 7527: option 14, random bytes, the last of the frame. */
function nonce(name: keyof typeof ND_FRAMES): NdOption {
  return { type: 'unknown', code: 14, bytes: ND_FRAMES[name].slice(-6) }
}

for (const [name, golden] of Object.entries(GOLDEN)) {
  test(`neighbour discovery of a foreign sender: ${name}`, () => {
    const bytes = ND_FRAMES[name as keyof typeof ND_FRAMES]
    const [destinationMac, sourceMac, destination, source, nd, flowLabel = 0] = golden
    const ethernet = { destination: destinationMac, source: sourceMac, tags: [] }
    const ipv6 = { trafficClass: 0, flowLabel, hopLimit: 255, source, destination, extensions: [] }
    assert.deepEqual(decodeNdFrame(bytes), { ethernet, ipv6, nd })
    assert.deepEqual(encodeNdFrame({ ethernet, ipv6, nd }), bytes)
    assert.deepEqual(encodeNd(nd, ipv6), bytes.slice(54))
  })
}

test('what we build is what others send', () => {
  const solicitation = neighborSolicitation({ mac: MAC_2, ip: IP_2 }, IP_1)
  assert.deepEqual(encodeNdFrame(solicitation), ND_FRAMES.kernelSolicitation)
  const asked = decodeNdFrame(ND_FRAMES.kernelSolicitation)
  const answer = solicitedAdvertisement(asked, MAC_1, { override: true })
  assert.deepEqual(encodeNdFrame(answer), ND_FRAMES.kernelAdvertisement)
  assert.deepEqual(encodeNdFrame(unsolicitedAdvertisement(MAC_1, IP_1)), ND_FRAMES.kernelUnsolicited)
  assert.deepEqual(encodeNdFrame(unsolicitedAdvertisement(MAC_1, VIP)), ND_FRAMES.keepalivedUnsolicited)
  const probe = decodeNdFrame(ND_FRAMES.kernelDuplicateProbeOfTaken)
  const defence = solicitedAdvertisement(probe, MAC_1, { override: true })
  assert.deepEqual(encodeNdFrame(defence), ND_FRAMES.kernelDefence)
})

test('a duplicate probe is that of the kernel without its nonce (RFC 4862 section 5.4.2)', () => {
  const { ethernet, ipv6, nd } = decodeNdFrame(ND_FRAMES.kernelDuplicateProbe)
  const ours = duplicateProbe(MAC_1, IP_1)
  assert.deepEqual(ours.ethernet, ethernet)
  assert.deepEqual({ hopLimit: 255, extensions: [], ...ours.ipv6 }, ipv6)
  assert.deepEqual(ours.nd, { ...nd, options: [] })
})

test('an answer follows what the asker told about itself', () => {
  const asked = neighborSolicitation({ mac: MAC_2, ip: IP_2 }, VIP)
  const tags = [{ type: 'c-tag', priority: 0, dropEligible: false, id: 7 }] as const
  const other = '00:00:5e:00:53:99' as Mac
  // From another MAC than the option says, and in a VLAN.
  const odd: NdFrame = { ...asked, ethernet: { ...asked.ethernet, source: other, tags } }
  const answer = solicitedAdvertisement(odd, MAC_1, { override: false, router: true, source: IP_1 })
  assert.deepEqual(answer, {
    ethernet: { destination: MAC_2, source: MAC_1, tags },
    ipv6: { source: IP_1, destination: IP_2, trafficClass: 0, flowLabel: 0 },
    nd: advertisement(VIP, 'router solicited', tll(MAC_1)),
  })
  // Without the option the frame itself tells.
  const bare: NdFrame = { ...odd, nd: solicitation(VIP) }
  assert.equal(solicitedAdvertisement(bare, MAC_1, { override: false }).ethernet.destination, other)
  assert.deepEqual(unsolicitedAdvertisement(MAC_1, VIP, { router: true, source: IP_1 }).nd, {
    ...advertisement(VIP, 'router override', tll(MAC_1)),
  })
})

test('the first link-layer address counts', () => {
  const message = solicitation(VIP, tll(MAC_2), sll(MAC_1), sll(MAC_2))
  assert.equal(linkAddressOf(message, 'source-link-address'), MAC_1)
  assert.equal(linkAddressOf(message, 'target-link-address'), MAC_2)
  assert.equal(linkAddressOf(solicitation(VIP), 'source-link-address'), undefined)
})

/** A packet with a right checksum whose contents are free. */
function packet(how: {
  text: string
  type?: number
  code?: number
  source?: Ipv6
  destination?: Ipv6
  hopLimit?: number
  extensions?: Ipv6Extension[]
}): Ipv6Packet {
  const source = how.source ?? IP_2
  const destination = how.destination ?? IP_1
  const message = { type: how.type ?? 135, code: how.code ?? 0, body: hex(how.text) }
  return {
    trafficClass: 0,
    flowLabel: 0,
    hopLimit: how.hopLimit ?? 255,
    source,
    destination,
    extensions: how.extensions ?? [],
    protocol: 58,
    payload: encodeIcmpv6(message, { source, destination }),
  }
}

const TARGET = '20010db8000000000000000000000001'
const MULTICAST = 'ff020000000000000000000000000001'
const BODY = `00000000 ${TARGET}`
const FRAGMENT: Ipv6Extension = { type: 'fragment', offset: 0, more: false, identification: 1 }

/** RFC 4861 sections 7.1.1 and 7.1.2, rule by rule, and what other documents add. */
const REFUSED: readonly (readonly [string, Ipv6Packet, string, string])[] = [
  ['a hop limit of 254', packet({ text: BODY, hopLimit: 254 }), 'bad-value', 'hop limit'],
  ['code 1', packet({ text: BODY, code: 1 }), 'bad-value', 'code'],
  ['20 bytes', packet({ text: BODY.slice(0, -8) }), 'truncated', 'target address'],
  ['23 bytes', packet({ text: BODY.slice(0, -2) }), 'truncated', 'target address'],
  ['4 bytes', packet({ text: '' }), 'truncated', 'flags'],
  ['a multicast target', packet({ text: `00000000 ${MULTICAST}` }), 'bad-value', 'target address'],
  ['an option of length zero', packet({ text: `${BODY} 0e00 000000000000` }), 'bad-length', 'option length'],
  ['an option past the end', packet({ text: `${BODY} 0e02 000000000000` }), 'truncated', 'option'],
  ['half an option', packet({ text: `${BODY} 0e` }), 'truncated', 'option length'],
  [
    'a link-layer address of 16 bytes',
    packet({ text: `${BODY} 0102 0000000000000000000000000000` }),
    'bad-length',
    'option length',
  ],
  ['a duplicate probe to one host', packet({ text: BODY, source: NONE }), 'bad-value', 'destination address'],
  [
    'a duplicate probe to all nodes',
    packet({ text: BODY, source: NONE, destination: ALL_NODES }),
    'bad-value',
    'destination address',
  ],
  [
    'a duplicate probe with a link-layer address',
    packet({ text: `${BODY} 0101 00005e005302`, source: NONE, destination: GROUP_1 }),
    'bad-value',
    'source link-layer address',
  ],
  [
    'an advertisement with a hop limit of 64',
    packet({ text: BODY, type: 136, hopLimit: 64 }),
    'bad-value',
    'hop limit',
  ],
  ['an advertisement with code 1', packet({ text: BODY, type: 136, code: 1 }), 'bad-value', 'code'],
  [
    'an advertisement for a multicast address',
    packet({ text: `00000000 ${MULTICAST}`, type: 136 }),
    'bad-value',
    'target address',
  ],
  [
    'an advertisement to a group with the solicited flag',
    packet({ text: `40000000 ${TARGET}`, type: 136, destination: ALL_NODES }),
    'bad-value',
    'S flag',
  ],
  [
    'an advertisement with an option of length zero',
    packet({ text: `${BODY} 0200 000000000000`, type: 136 }),
    'bad-length',
    'option length',
  ],
  [
    'a fragment header (RFC 6980)',
    packet({ text: BODY, extensions: [FRAGMENT] }),
    'bad-value',
    'fragment header',
  ],
  ['a router solicitation', packet({ text: '00000000', type: 133 }), 'unsupported', 'type'],
  ['an echo request', packet({ text: '00010001', type: 128, hopLimit: 64 }), 'unsupported', 'type'],
  ['UDP', { ...packet({ text: BODY }), protocol: 17 }, 'unsupported', 'next header'],
  ['another sender', { ...packet({ text: BODY }), source: VIP }, 'bad-checksum', 'checksum'],
]
for (const [name, bad, code, field] of REFUSED) {
  test(`refuses neighbour discovery: ${name}`, () => {
    assert.throws(() => decodeNd(bad), { name: 'DecodeError', code, field })
    const frame = { destination: MAC_1, source: MAC_2, tags: [], etherType: ETHERTYPE.ipv6 }
    assert.throws(() => decodeNdFrame(encodeEthernet({ ...frame, payload: encodeIpv6(bad) })), {
      name: 'DecodeError',
      code,
      field,
    })
  })
}

test('refuses frames that are no neighbour discovery', () => {
  for (const bytes of [ARP_FRAMES.kernelRequest, IP_FRAMES.udp6, IP_FRAMES.mld, IP_FRAMES.udp4]) {
    assert.throws(() => decodeNdFrame(bytes), { name: 'DecodeError', code: 'unsupported' })
  }
})

test('reserved bits are ignored', () => {
  const plain = decodeNd(packet({ text: BODY }))
  assert.deepEqual(decodeNd(packet({ text: `ffffffff ${TARGET}` })), plain)
  const flagged = packet({ text: `ffffffff ${TARGET}`, type: 136 })
  assert.deepEqual(decodeNd(flagged), advertisement(IP_1, 'router solicited override'))
})

test('an extension header before the message does no harm', () => {
  const options: Ipv6Extension = { type: 'hop-by-hop', bytes: hex('010400000000') }
  assert.deepEqual(decodeNd(packet({ text: BODY, extensions: [options] })), solicitation(IP_1))
})

test('any change of one byte under the checksum is refused', () => {
  for (const frame of [ND_FRAMES.kernelSolicitation, ND_FRAMES.kernelAdvertisement]) {
    // From the source address on: all of it is under the checksum.
    for (let at = 14 + 8; at < frame.length; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const bytes = frame.slice()
        bytes[at] = (bytes[at] ?? 0) ^ flip
        assert.throws(() => decodeNdFrame(bytes), { name: 'DecodeError', code: 'bad-checksum' })
      }
    }
  }
})

const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(bytes => macFromBytes(bytes))
const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(bytes => ipFromBytes(bytes) as Ipv6)
const unicast = ipv6.map(ip => (ip.startsWith('ff') ? IP_1 : ip))
const option: fc.Arbitrary<NdOption> = fc.oneof(
  fc.record(
    { type: fc.constantFrom('source-link-address', 'target-link-address'), mac },
    { noNullPrototype: true },
  ),
  fc
    .tuple(fc.integer({ min: 3, max: 255 }), fc.nat({ max: 2 }))
    .chain(([code, units]) =>
      fc
        .uint8Array({ minLength: 8 * units + 6, maxLength: 8 * units + 6 })
        .map((bytes): NdOption => ({ type: 'unknown', code, bytes })),
    ),
)
const options = fc.array(option, { maxLength: 4 })
const message: fc.Arbitrary<NdMessage> = fc.oneof(
  fc.record(
    { type: fc.constant('neighbor-solicitation'), target: unicast, options },
    { noNullPrototype: true },
  ),
  fc.record(
    {
      type: fc.constant('neighbor-advertisement'),
      router: fc.boolean(),
      solicited: fc.boolean(),
      override: fc.boolean(),
      target: unicast,
      options,
    },
    { noNullPrototype: true },
  ),
)

test('decoding inverts encoding', () => {
  fc.assert(
    fc.property(mac, mac, unicast, unicast, message, (to, from, source, destination, nd) => {
      const ethernet = { destination: to, source: from, tags: [] }
      const ipv6 = { trafficClass: 1, flowLabel: 2, hopLimit: 255, source, destination, extensions: [] }
      const bytes = encodeNdFrame({ ethernet, ipv6, nd })
      assert.deepEqual(decodeNdFrame(bytes), { ethernet, ipv6, nd })
    }),
  )
  const anyIcmp: fc.Arbitrary<Icmpv6> = fc.record(
    { type: fc.nat({ max: 255 }), code: fc.nat({ max: 255 }), body: fc.uint8Array({ maxLength: 60 }) },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(anyIcmp, ipv6, ipv6, (value, source, destination) => {
      const ip = { source, destination }
      assert.deepEqual(decodeIcmpv6(encodeIcmpv6(value, ip), ip), value)
    }),
  )
})
