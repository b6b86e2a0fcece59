import assert from 'node:assert/strict'
import { isIPv4, isIPv6 } from 'node:net'
import { test } from 'node:test'
import * as fc from 'fast-check'
import {
  compareIps,
  familyOf,
  type Ip,
  type Ipv6,
  ipFromBigint,
  ipFromBytes,
  ipToBigint,
  ipToBytes,
  isIpv4,
  isIpv6,
  isMulticastIp,
  parseIp,
  parseIpv4,
  parseIpv6,
  solicitedNodeGroup,
} from './ip.ts'

const v4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 })
/** Many zero groups, so that `::` finds all its places. */
const v6Bytes = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map(groups => Uint8Array.from(groups.flatMap(group => [group >> 8, group & 0xff])))
const anyBytes = fc.oneof(v4Bytes, v6Bytes)

/** The examples of RFC 5952, sections 2 and 4: what may be written, and the one way in which it is written. */
const RFC_5952: readonly (readonly [string, string])[] = [
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:0db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8::1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8::0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:0db8::1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:0:1::1', '2001:db8::1:0:0:1'],
  ['2001:db8:0000:0:1::1', '2001:db8::1:0:0:1'],
  ['2001:DB8:0:0:1::1', '2001:db8::1:0:0:1'],
  ['2001:db8:aaaa:bbbb:cccc:dddd:eeee:001', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:1'],
  ['2001:db8:0:0:0::1', '2001:db8::1'],
  ['2001:db8:0:0::1', '2001:db8::1'],
  ['2001:db8:0::1', '2001:db8::1'],
  ['2001:db8:aaaa:bbbb:cccc:dddd::1', '2001:db8:aaaa:bbbb:cccc:dddd:0:1'],
  ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8::0:0:1', '2001:db8::1'],
]

test('IPv6 text is canonical, the examples of RFC 5952', () => {
  for (const [written, canonical] of RFC_5952) {
    assert.equal(parseIp(written), canonical, written)
    assert.equal(parseIpv6(written), canonical, written)
  }
})

test('IPv4 in the last 32 bits is accepted, mapped addresses are IPv4 (V-14)', () => {
  assert.equal(parseIp('64:ff9b::192.0.2.33'), '64:ff9b::c000:221')
  assert.equal(parseIp('1:2:3:4:5:6:192.0.2.33'), '1:2:3:4:5:6:c000:221')
  for (const mapped of [
    '::ffff:192.0.2.1',
    '::FFFF:c000:201',
    '0:0:0:0:0:ffff:192.0.2.1',
    '::ffff:c000:0201',
  ]) {
    assert.equal(parseIp(mapped), '192.0.2.1', mapped)
    assert.equal(parseIpv6(mapped), undefined, mapped)
    assert.equal(parseIpv4(mapped), undefined, mapped)
  }
})

/** Go's ParseIP refuses each (V-14). */
const REFUSED = [
  '',
  ' ',
  '1',
  '1.2.3',
  '1.2.3.',
  '.1.2.3',
  '1..2.3',
  '1.2.3.4.',
  '1.2.3.4.5',
  '1.2.3.256',
  '1.2.3.1000',
  '01.2.3.4',
  '1.2.3.04',
  '1.2.3.00',
  '0x1.2.3.4',
  '+1.2.3.4',
  '-1.2.3.4',
  ' 1.2.3.4',
  '1.2.3.4 ',
  '1.2.3.4\n',
  '1.2.3.4/32',
  '١.2.3.4',
  '1,2,3,4',
  ':',
  ':::',
  '::1::',
  '1::2::3',
  ':1',
  '1:',
  '1:2:3:4:5:6:7',
  ':1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7:8::',
  '::1:2:3:4:5:6:7:8',
  '1:2:3:4::5:6:7:8',
  '12345::',
  '::00001',
  'g::',
  'fe80::1%eth0',
  '::1%',
  '[::1]',
  '::1.2.3',
  '::1.2.3.04',
  '::1.2.3.256',
  '1.2.3.4::',
  '::1.2.3.4:5',
  '1:1.2.3.4',
  '1:2:3:4:5:6:7:1.2.3.4',
  '1:2:3:4:5:1.2.3.4',
  '::1:2:3:4:5:6:7:1.2.3.4',
  ' ::1',
  '::1 ',
  '::1/128',
]

test('what is not an address is undefined', () => {
  for (const text of REFUSED) {
    assert.equal(parseIp(text), undefined, JSON.stringify(text))
    assert.equal(parseIpv4(text), undefined, JSON.stringify(text))
    assert.equal(parseIpv6(text), undefined, JSON.stringify(text))
  }
})

test('parse accepts what the C library accepts, but zones', () => {
  const text = fc.oneof(
    fc.string({ unit: fc.constantFrom('0', '1', 'a', 'F', '25', ':', '::', '.', '1.2.3.4'), maxLength: 16 }),
    anyBytes.map(bytes => ipFromBytes(bytes)),
  )
  fc.assert(
    fc.property(text, written => {
      assert.equal(parseIpv4(written) !== undefined, isIPv4(written))
      assert.equal(parseIp(written) !== undefined, isIPv4(written) || isIPv6(written))
    }),
    { numRuns: 2000 },
  )
})

test('IPv6 text is what the WHATWG URL serializer writes', () => {
  fc.assert(
    fc.property(v6Bytes, bytes => {
      const text = ipFromBytes(bytes)
      if (text.startsWith('::ffff:') && text.includes('.')) return // mixed notation is RFC 5952's alone
      const full = Array.from({ length: 8 }, (_, i) =>
        ((bytes[2 * i] ?? 0) * 256 + (bytes[2 * i + 1] ?? 0)).toString(16),
      )
      assert.equal(new URL(`http://[${full.join(':')}]/`).hostname, `[${text}]`)
    }),
    { numRuns: 1000 },
  )
})

test('text, bytes and number are the same address', () => {
  fc.assert(
    fc.property(anyBytes, bytes => {
      const ip = ipFromBytes(bytes)
      assert.deepEqual(ipToBytes(ip), bytes)
      assert.equal(ipFromBigint(familyOf(ip), ipToBigint(ip)), ip)
      assert.equal(ipToBigint(ip), BigInt(`0x${Buffer.from(bytes).toString('hex')}`))
      assert.equal(familyOf(ip), bytes.length === 4 ? 'IPv4' : 'IPv6')
      assert.equal(isIpv4(ip), bytes.length === 4)
      assert.equal(isIpv6(ip), bytes.length === 16)
    }),
  )
})

test('parse leaves canonical text as it is, and is idempotent', () => {
  fc.assert(
    fc.property(anyBytes, bytes => {
      const ip = ipFromBytes(bytes)
      const parsed = parseIp(ip)
      assert(parsed !== undefined)
      if (!ip.startsWith('::ffff:') || !ip.includes('.')) assert.equal(parsed, ip)
      assert.equal(parseIp(parsed), parsed)
    }),
  )
})

test('a mapped address from the wire stays IPv6 in its own notation', () => {
  const bytes = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1)
  const ip = ipFromBytes(bytes)
  assert.equal(ip, '::ffff:192.0.2.1')
  assert.equal(familyOf(ip), 'IPv6')
  assert.deepEqual(ipToBytes(ip), bytes)
})

test('addresses that are no addresses break an invariant', () => {
  assert.throws(() => ipFromBytes(new Uint8Array(5)), { name: 'AssertionError' })
  assert.throws(() => ipToBytes('192.0.2' as Ip), { name: 'AssertionError' })
  assert.throws(() => ipToBytes('2001:db8' as Ip), { name: 'AssertionError' })
  assert.throws(() => ipFromBigint('IPv4', 1n << 32n), { name: 'AssertionError' })
  assert.throws(() => ipFromBigint('IPv6', -1n), { name: 'AssertionError' })
})

test('addresses sort by family, then by number', () => {
  const wanted = [
    '9.0.0.0',
    '10.0.0.1',
    '192.0.2.9',
    '192.0.2.10',
    '::',
    '2001:db8::9',
    '2001:db8::10',
    'fe80::',
  ] as Ip[]
  assert.deepEqual(wanted.toReversed().sort(compareIps), wanted)
  fc.assert(
    fc.property(anyBytes, anyBytes, (left, right) => {
      const [a, b] = [ipFromBytes(left), ipFromBytes(right)]
      const expected = left.length - right.length || Number(ipToBigint(a) - ipToBigint(b))
      assert.equal(Math.sign(compareIps(a, b)), Math.sign(expected))
    }),
  )
})

test('solicited-node groups, RFC 4291 section 2.7.1', () => {
  // The example of the RFC: 4037::01:800:200e:8c6c listens to ff02::1:ff0e:8c6c.
  assert.equal(solicitedNodeGroup('4037::1:800:200e:8c6c' as Ipv6), 'ff02::1:ff0e:8c6c')
  assert.equal(solicitedNodeGroup('2001:db8::' as Ipv6), 'ff02::1:ff00:0')
})

test('multicast is 224.0.0.0/4 and ff00::/8', () => {
  for (const ip of ['224.0.0.0', '239.255.255.255', 'ff00::', 'ff02::1']) assert(isMulticastIp(ip as Ip), ip)
  for (const ip of ['223.255.255.255', '240.0.0.0', 'fe80::1', '::ff']) assert(!isMulticastIp(ip as Ip), ip)
})
