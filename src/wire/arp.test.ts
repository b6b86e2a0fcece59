import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { ARP_FRAMES, hex, ND_FRAMES } from '../../test/golden/frames.ts'
import { type Ipv4, ipFromBytes } from '../addr/ip.ts'
import { BROADCAST_MAC, type Mac, macFromBytes, ZERO_MAC } from '../addr/mac.ts'
import {
  type Arp,
  type ArpFrame,
  arpProbe,
  arpReply,
  arpRequest,
  decodeArp,
  decodeArpFrame,
  encodeArp,
  encodeArpFrame,
  gratuitousReply,
  gratuitousRequest,
  isArpProbe,
  isGratuitousArp,
} from './arp.ts'

const MAC_1 = '00:00:5e:00:53:01' as Mac
const MAC_2 = '00:00:5e:00:53:02' as Mac
const IP_1 = '192.0.2.1' as Ipv4
const IP_2 = '192.0.2.2' as Ipv4
const VIP = '192.0.2.80' as Ipv4
const NONE = '0.0.0.0' as Ipv4

type Kind = 'probe' | 'gratuitous' | 'plain'

/** What each captured frame means. */
const GOLDEN: Record<keyof typeof ARP_FRAMES, readonly [Mac, Arp, Kind]> = {
  kernelAnnouncement: [BROADCAST_MAC, arp('request', MAC_1, IP_1, ZERO_MAC, IP_1), 'gratuitous'],
  kernelRequest: [BROADCAST_MAC, arp('request', MAC_1, IP_1, ZERO_MAC, IP_2), 'plain'],
  kernelReply: [MAC_1, arp('reply', MAC_2, IP_2, MAC_1, IP_1), 'plain'],
  kernelUnicastRequest: [MAC_1, arp('request', MAC_2, IP_2, ZERO_MAC, IP_1), 'plain'],
  arpingRequest: [BROADCAST_MAC, arp('request', MAC_1, IP_1, BROADCAST_MAC, IP_2), 'plain'],
  arpingGratuitousRequest: [BROADCAST_MAC, arp('request', MAC_1, IP_1, BROADCAST_MAC, IP_1), 'gratuitous'],
  arpingGratuitousReply: [BROADCAST_MAC, arp('reply', MAC_1, IP_1, MAC_1, IP_1), 'gratuitous'],
  arpingProbe: [BROADCAST_MAC, arp('request', MAC_1, NONE, BROADCAST_MAC, VIP), 'probe'],
  arpingProbeOfTaken: [BROADCAST_MAC, arp('request', MAC_1, NONE, BROADCAST_MAC, IP_2), 'probe'],
  kernelReplyToProbe: [MAC_1, arp('reply', MAC_2, IP_2, MAC_1, NONE), 'plain'],
  keepalivedGratuitous: [BROADCAST_MAC, arp('request', MAC_1, VIP, BROADCAST_MAC, VIP), 'gratuitous'],
}

function arp(
  operation: Arp['operation'],
  senderMac: Mac,
  senderIp: Ipv4,
  targetMac: Mac,
  targetIp: Ipv4,
): Arp {
  return { operation, senderMac, senderIp, targetMac, targetIp }
}

for (const [name, [destination, value, kind]] of Object.entries(GOLDEN)) {
  test(`ARP of a foreign sender: ${name}`, () => {
    const bytes = ARP_FRAMES[name as keyof typeof ARP_FRAMES]
    const frame: ArpFrame = { ethernet: { destination, source: value.senderMac, tags: [] }, arp: value }
    assert.deepEqual(decodeArpFrame(bytes), frame)
    assert.deepEqual(encodeArpFrame(frame), bytes)
    assert.deepEqual(encodeArp(value), bytes.slice(14))
    assert.equal(isArpProbe(value), kind === 'probe')
    assert.equal(isGratuitousArp(value), kind === 'gratuitous')
  })
}

test('what we build is what others send', () => {
  assert.deepEqual(encodeArpFrame(arpRequest({ mac: MAC_1, ip: IP_1 }, IP_2)), ARP_FRAMES.kernelRequest)
  assert.deepEqual(encodeArpFrame(gratuitousRequest(MAC_1, IP_1)), ARP_FRAMES.kernelAnnouncement)
  assert.deepEqual(encodeArpFrame(gratuitousReply(MAC_1, IP_1)), ARP_FRAMES.arpingGratuitousReply)
  const answer = arpReply(decodeArpFrame(ARP_FRAMES.kernelRequest), MAC_2)
  assert.deepEqual(encodeArpFrame(answer), ARP_FRAMES.kernelReply)
  const toProbe = arpReply(decodeArpFrame(ARP_FRAMES.arpingProbeOfTaken), MAC_2)
  assert.deepEqual(encodeArpFrame(toProbe), ARP_FRAMES.kernelReplyToProbe)
})

test('a probe claims nothing (RFC 5227 section 2.1.1)', () => {
  const probe = arpProbe(MAC_1, VIP)
  // arping differs in the target MAC alone, for which the RFC recommends zero.
  const { arp: captured, ethernet } = decodeArpFrame(ARP_FRAMES.arpingProbe)
  assert.deepEqual(probe, { ethernet, arp: { ...captured, targetMac: ZERO_MAC } })
  assert(isArpProbe(probe.arp))
  assert(!isGratuitousArp(probe.arp))
  assert(!isArpProbe(arpReply(probe, MAC_2).arp))
  assert(!isGratuitousArp(arpProbe(MAC_1, NONE).arp))
})

test('a gratuitous reply names the sender as target, which Linux demands', () => {
  const { ethernet, arp } = gratuitousReply(MAC_1, VIP)
  assert.equal(arp.targetMac, MAC_1)
  assert.equal(ethernet.destination, BROADCAST_MAC)
})

test('the answer goes back in the VLAN of the request', () => {
  const tags = [{ type: 'c-tag', priority: 0, dropEligible: false, id: 7 }] as const
  const request = arpRequest({ mac: MAC_1, ip: IP_1 }, VIP)
  const answer = arpReply({ ...request, ethernet: { ...request.ethernet, tags } }, MAC_2)
  assert.deepEqual(answer.ethernet, { destination: MAC_1, source: MAC_2, tags })
})

test('padding to the Ethernet minimum is ignored', () => {
  const padded = new Uint8Array(60).fill(0xaa)
  padded.set(ARP_FRAMES.kernelRequest)
  assert.deepEqual(decodeArpFrame(padded), decodeArpFrame(ARP_FRAMES.kernelRequest))
})

const REFUSED: readonly (readonly [string, Uint8Array, string, string])[] = [
  ['another hardware', change(1, 6), 'unsupported', 'hardware type'],
  ['another protocol', change(2, 0x86), 'unsupported', 'protocol type'],
  ['long hardware addresses', change(4, 8), 'bad-value', 'hardware address length'],
  ['long protocol addresses', change(5, 16), 'bad-value', 'protocol address length'],
  ['operation 0', change(7, 0), 'unsupported', 'operation'],
  ['a RARP request', change(7, 3), 'unsupported', 'operation'],
  ['27 bytes', encodeArp(GOLDEN.kernelRequest[1]).slice(0, 27), 'truncated', 'target protocol address'],
]
function change(at: number, value: number): Uint8Array {
  const bytes = encodeArp(GOLDEN.kernelRequest[1])
  bytes[at] = value
  return bytes
}
for (const [name, bytes, code, field] of REFUSED) {
  test(`refuses ARP with ${name}`, () => {
    assert.throws(() => decodeArp(bytes), { name: 'DecodeError', code, field, source: 'RFC 826' })
  })
}

test('refuses frames that are not ARP', () => {
  for (const bytes of [ND_FRAMES.kernelSolicitation, hex('0000 5e00 5302 0000 5e00 5301 0800')]) {
    assert.throws(() => decodeArpFrame(bytes), { name: 'DecodeError', code: 'unsupported', field: 'type' })
  }
})

const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(bytes => macFromBytes(bytes))
const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(bytes => ipFromBytes(bytes) as Ipv4)

test('decoding inverts encoding', () => {
  const anyArp: fc.Arbitrary<Arp> = fc.record(
    {
      operation: fc.constantFrom('request', 'reply'),
      senderMac: mac,
      senderIp: ipv4,
      targetMac: mac,
      targetIp: ipv4,
    },
    { noNullPrototype: true },
  )
  fc.assert(fc.property(anyArp, value => assert.deepEqual(decodeArp(encodeArp(value)), value)))
})
