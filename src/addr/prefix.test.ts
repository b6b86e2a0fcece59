import assert from 'node:assert/strict'
import { BlockList } from 'node:net'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Family, familyOf, type Ip, ipFromBigint, ipFromBytes, ipToBigint } from './ip.ts'
import {
  type Prefix,
  parsePrefix,
  prefixAddress,
  prefixContains,
  prefixesOverlap,
  prefixFamily,
  prefixFirst,
  prefixLast,
  prefixLength,
  prefixOf,
  prefixSize,
  rangeToPrefixes,
} from './prefix.ts'

const ACCEPTED: readonly (readonly [string, string])[] = [
  ['10.20.30.40/24', '10.20.30.0/24'], // V-11
  ['192.0.2.1/32', '192.0.2.1/32'],
  ['192.0.2.1/0', '0.0.0.0/0'],
  ['192.0.2.255/25', '192.0.2.128/25'],
  ['192.0.2.0/024', '192.0.2.0/24'],
  ['2001:DB8::1/64', '2001:db8::/64'],
  ['2001:db8::ffff/121', '2001:db8::ff80/121'],
  ['::1/128', '::1/128'],
  ['::/0', '::/0'],
  ['::ffff:192.0.2.9/120', '192.0.2.0/24'],
  ['::ffff:192.0.2.9/128', '192.0.2.9/32'],
]
const REFUSED = [
  '',
  '/',
  '192.0.2.1',
  '192.0.2.0/',
  '/24',
  '192.0.2.0/33',
  '192.0.2.0/-1',
  '192.0.2.0/+1',
  '192.0.2.0/2 4',
  ' 192.0.2.0/24',
  '192.0.2.0/24 ',
  '192.0.2.0 /24',
  '192.0.2.0/ 24',
  '192.0.2.0/24/24',
  '192.0.2.0/255.255.255.0',
  '192.0.02.0/24',
  '192.0.2/24',
  '2001:db8::/129',
  'fe80::%eth0/64',
  '192.0.2.0/1e1',
  '192.0.2.0/0x8',
  '::ffff:192.0.2.9/24',
]

test('prefixes as MetalLB reads them (V-11, V-14)', () => {
  for (const [written, canonical] of ACCEPTED) assert.equal(parsePrefix(written), canonical, written)
  for (const text of REFUSED) assert.equal(parsePrefix(text), undefined, JSON.stringify(text))
})

test('the parts of a prefix', () => {
  const v4 = prefixOf('192.0.2.77' as Ip, 26)
  assert.equal(v4, '192.0.2.64/26')
  assert.equal(prefixAddress(v4), '192.0.2.64')
  assert.equal(prefixLength(v4), 26)
  assert.equal(prefixFamily(v4), 'IPv4')
  assert.equal(prefixSize(v4), 64n)
  assert.equal(prefixFirst(v4), '192.0.2.64')
  assert.equal(prefixLast(v4), '192.0.2.127')
  const v6 = prefixOf('2001:db8::1' as Ip, 33)
  assert.equal(v6, '2001:db8::/33')
  assert.equal(prefixFamily(v6), 'IPv6')
  assert.equal(prefixSize(v6), 1n << 95n)
  assert.equal(prefixLast(v6), '2001:db8:7fff:ffff:ffff:ffff:ffff:ffff')
  for (const length of [33, -1, 1.5, Number.NaN]) {
    assert.throws(() => prefixOf('192.0.2.1' as Ip, length), { name: 'AssertionError' })
  }
})

/** V-13: the decompositions that MetalLB's own tests state. */
const DECOMPOSITIONS: readonly (readonly [string, string, string, string])[] = [
  ['40.0.0.150', '40.0.0.200', '40.0.0', '.150/31 .152/29 .160/27 .192/29 .200/32'],
  ['40.0.0.210', '40.0.0.240', '40.0.0', '.210/31 .212/30 .216/29 .224/28 .240/32'],
  [
    '3.3.3.2',
    '3.3.3.254',
    '3.3.3',
    '.2/31 .4/30 .8/29 .16/28 .32/27 .64/26 .128/26 .192/27 .224/28 .240/29 .248/30 .252/31 .254/32',
  ],
]

for (const [start, end, net, wanted] of DECOMPOSITIONS) {
  test(`the prefixes of ${start}-${end} (V-13)`, () => {
    assert.deepEqual(
      rangeToPrefixes(start as Ip, end as Ip),
      wanted.split(' ').map(last => net + last),
    )
  })
}

test('the ends of ranges', () => {
  assert.deepEqual(rangeToPrefixes('192.0.2.1' as Ip, '192.0.2.1' as Ip), ['192.0.2.1/32']) // V-12
  assert.deepEqual(rangeToPrefixes('::' as Ip, 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff' as Ip), ['::/0'])
  assert.deepEqual(rangeToPrefixes('0.0.0.0' as Ip, '255.255.255.255' as Ip), ['0.0.0.0/0'])
  assert.deepEqual(rangeToPrefixes('2001:db8::fffe' as Ip, '2001:db8::1:1' as Ip), [
    '2001:db8::fffe/127',
    '2001:db8::1:0/127',
  ])
  assert.equal(rangeToPrefixes('0.0.0.1' as Ip, '255.255.255.254' as Ip).length, 62)
  assert.throws(() => rangeToPrefixes('192.0.2.2' as Ip, '192.0.2.1' as Ip), { name: 'AssertionError' })
  assert.throws(() => rangeToPrefixes('192.0.2.2' as Ip, '::1' as Ip), { name: 'AssertionError' })
})

const family = fc.constantFrom<Family>('IPv4', 'IPv6')
const address = family.chain(name =>
  fc
    .bigInt({ min: 0n, max: (1n << (name === 'IPv4' ? 32n : 128n)) - 1n })
    .map(value => ipFromBigint(name, value)),
)
const prefix = address.chain(ip =>
  fc.integer({ min: 0, max: familyOf(ip) === 'IPv4' ? 32 : 128 }).map(length => prefixOf(ip, length)),
)
/** Ranges of one family, half of them short. */
const range = fc
  .tuple(address, fc.bigInt({ min: 0n, max: 1n << 10n }), fc.boolean(), fc.nat())
  .map(([ip, short, isShort, seed]) => {
    const bits = familyOf(ip) === 'IPv4' ? 32n : 128n
    const start = ipToBigint(ip)
    const end = start + (isShort ? short : BigInt(seed) << (bits / 2n))
    const top = (1n << bits) - 1n
    return { family: familyOf(ip), start, end: end > top ? top : end }
  })

test('a range is covered exactly, ascending, by the fewest prefixes', () => {
  fc.assert(
    fc.property(range, ({ family, start, end }) => {
      const prefixes = rangeToPrefixes(ipFromBigint(family, start), ipFromBigint(family, end))
      let next = start
      for (const each of prefixes) {
        assert.equal(ipToBigint(prefixFirst(each)), next)
        next = ipToBigint(prefixLast(each)) + 1n
      }
      assert.equal(next, end + 1n)
      // Minimal: no block that starts in the list could be doubled and stay inside of the range, on either side.
      for (const each of prefixes) {
        if (prefixLength(each) === 0) continue
        const doubled = prefixOf(prefixAddress(each), prefixLength(each) - 1)
        assert(
          ipToBigint(prefixFirst(doubled)) < start || ipToBigint(prefixLast(doubled)) > end,
          `${doubled} fits`,
        )
      }
    }),
  )
})

test('contains agrees with the net module of Node', () => {
  const near = fc
    .tuple(prefix, address, fc.boolean(), fc.nat({ max: 3 }))
    .map(([block, other, inside, off]) => {
      const edge = ipToBigint(inside ? prefixLast(block) : prefixFirst(block)) + BigInt(off) - 1n
      const top = (1n << (prefixFamily(block) === 'IPv4' ? 32n : 128n)) - 1n
      const ip = edge < 0n || edge > top ? other : ipFromBigint(prefixFamily(block), edge)
      return { block, ip }
    })
  fc.assert(
    fc.property(near, ({ block, ip }) => {
      if (familyOf(ip) !== prefixFamily(block)) {
        assert.equal(prefixContains(block, ip), false)
        return
      }
      const word = familyOf(ip) === 'IPv4' ? 'ipv4' : 'ipv6'
      const list = new BlockList()
      list.addSubnet(prefixAddress(block), prefixLength(block), word)
      assert.equal(prefixContains(block, ip), list.check(ip, word), `${block} ${ip}`)
    }),
  )
})

test('blocks overlap when one holds the first address of the other', () => {
  fc.assert(
    fc.property(prefix, prefix, fc.nat({ max: 128 }), (a, other, shorter) => {
      // Unrelated blocks hardly ever overlap: also take a block around `a`.
      const around: Prefix = prefixOf(prefixLast(a), Math.min(shorter, prefixLength(a)))
      for (const b of [other, around, a]) {
        const wanted = prefixContains(a, prefixFirst(b)) || prefixContains(b, prefixFirst(a))
        assert.equal(prefixesOverlap(a, b), wanted)
        assert.equal(prefixesOverlap(b, a), wanted)
      }
      assert(prefixesOverlap(a, around))
    }),
  )
  assert.equal(prefixesOverlap('0.0.0.0/0' as Prefix, '::/0' as Prefix), false)
})

test('parse leaves canonical prefixes as they are', () => {
  fc.assert(
    fc.property(prefix, block => {
      const written = prefixAddress(block)
      if (written.startsWith('::ffff:') && written.includes('.')) return
      assert.equal(parsePrefix(block), block)
      assert(prefixContains(block, prefixLast(block)))
      assert.equal(ipToBigint(prefixLast(block)) - ipToBigint(prefixFirst(block)) + 1n, prefixSize(block))
    }),
  )
})

test('the family of a prefix of a mapped address from the wire stays IPv6', () => {
  const bytes = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1)
  const block = prefixOf(ipFromBytes(bytes), 120)
  assert.equal(block, '::ffff:192.0.2.0/120')
  assert.equal(prefixFamily(block), 'IPv6')
  assert.equal(prefixContains(block, '192.0.2.1' as Ip), false)
})
