import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, ipFromBigint } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import type { Asker } from './askers.ts'
import {
  createShares,
  minusLog,
  murmur3,
  ownerOf,
  presentNodes,
  repairs,
  sharesReport,
  spreadOf,
  toIntroduce,
} from './shards.ts'

const VIP = '192.0.2.80' as Ip
const MAC = '00:00:5e:00:53:01' as Mac

const ascii = (text: string) => new TextEncoder().encode(text)
const asker = (ip: Ip, mac: Mac = MAC): Asker => ({ ip, mac, interfaceIndex: 2, lastAskedAt: 0 })
const subnet = (size: number): Ip[] =>
  Array.from({ length: size }, (_, n) => ipFromBigint('IPv4', 0x0a000001n + BigInt(n)))

/** The test vectors of MurmurHash3_x86_32 in Wikipedia's article on MurmurHash. */
const MURMUR: readonly (readonly [string, number, number])[] = [
  ['', 0x00000000, 0x00000000],
  ['', 0x00000001, 0x514e28b7],
  ['', 0xffffffff, 0x81f16f39],
  ['test', 0x00000000, 0xba6bd213],
  ['test', 0x9747b28c, 0x704b81dc],
  ['Hello, world!', 0x00000000, 0xc0363e43],
  ['Hello, world!', 0x9747b28c, 0x24884cba],
  ['The quick brown fox jumps over the lazy dog', 0x00000000, 0x2e4ff723],
  ['The quick brown fox jumps over the lazy dog', 0x9747b28c, 0x2fa826cd],
]
for (const [text, seed, hash] of MURMUR) {
  test(`murmur3 of "${text}" with seed ${seed.toString(16)}`, () =>
    assert.equal(murmur3(ascii(text), seed), hash))
}

test('the logarithm is that of Math.log within its last bits', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffffffff }), hash => {
      const expected = -Math.log((hash + 0.5) / 2 ** 32)
      assert(Math.abs(minusLog(hash) - expected) <= 4e-15 + expected * 4e-16, `${hash}`)
    }),
    { examples: [[0], [1], [2], [0x7fffffff], [0x80000000], [0xb504f333], [0xb504f334], [0xffffffff]] },
  )
})

// Worked out by a second implementation, in Python.
test('golden owners: these must never change, or a rolling upgrade has two answers', () => {
  const equal = createShares(VIP, ['a', 'b', 'c'])
  const uneven = createShares(VIP, ['a', 'b', 'c'], { a: 1, b: 2, c: 5 })
  const six = createShares('2001:db8::80' as Ip, ['a', 'b', 'c'])
  const of = (shares: typeof equal, ips: string[]) => ips.map(ip => ownerOf(shares, ip as Ip)).join('')
  const eight = [
    '10.0.0.1',
    '10.0.0.2',
    '10.0.0.3',
    '10.0.0.4',
    '10.0.0.5',
    '10.0.0.6',
    '10.0.0.7',
    '10.0.0.8',
  ]
  assert.equal(of(equal, eight), 'cacacabc')
  assert.equal(of(uneven, eight), 'cccacccc')
  assert.equal(
    of(six, ['2001:db8::1', '2001:db8::2', '2001:db8::3', 'fe80::1', 'fe80::2', 'fe80::3']),
    'cccbba',
  )
})

const node = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/)
const nodes = fc.uniqueArray(node, { minLength: 1, maxLength: 12 })
const v4 = fc.integer({ min: 1, max: 0xfffffffe }).map(n => ipFromBigint('IPv4', BigInt(n)))
const v6 = fc.bigInt({ min: 1n, max: (1n << 128n) - 1n }).map(n => ipFromBigint('IPv6', n))
const anyIp = fc.oneof(v4, v6)
const weights = fc.array(fc.constantFrom(0, 0.5, 1, 1, 2, 3, 10), { minLength: 13, maxLength: 13 })
const weighted = (names: readonly string[], values: readonly number[]) =>
  Object.fromEntries(names.map((name, i) => [name, values[i] ?? 1]))

test('the order of the nodes, and naming one twice, change nothing', () => {
  fc.assert(
    fc.property(nodes, weights, anyIp, anyIp, (names, values, address, ip) => {
      const table = weighted(names, values)
      const owner = ownerOf(createShares(address, names, table), ip)
      assert(owner !== undefined && names.includes(owner))
      assert.equal(ownerOf(createShares(address, [...names, ...names].toReversed(), table), ip), owner)
    }),
  )
})

test('a node that goes leaves exactly its askers to the others; one that comes takes only what it wins', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(node, { minLength: 2, maxLength: 12 }),
      weights,
      fc.nat(),
      anyIp,
      fc.array(anyIp, { minLength: 1, maxLength: 30 }),
      (names, values, at, address, ips) => {
        const table = weighted(
          names,
          values.map(value => value || 1),
        )
        const gone = names[at % names.length] as string
        const all = createShares(address, names, table)
        const without = createShares(
          address,
          names.filter(name => name !== gone),
          table,
        )
        for (const ip of ips) {
          const [owner, heir] = [ownerOf(all, ip), ownerOf(without, ip)]
          if (owner === gone) assert.notEqual(heir, gone)
          else assert.equal(heir, owner)
        }
      },
    ),
  )
})

test('more weight takes from others and gives to none', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(node, { minLength: 2, maxLength: 8 }),
      weights,
      anyIp,
      fc.array(anyIp, { minLength: 1, maxLength: 30 }),
      (names, values, address, ips) => {
        const before = weighted(names, values)
        const heavier = names[0] as string
        const after = { ...before, [heavier]: (before[heavier] ?? 1) + 1 }
        // All zero means all the same, so that is another start.
        if (names.every(name => before[name] === 0)) return
        for (const ip of ips) {
          const [from, to] = [
            ownerOf(createShares(address, names, before), ip),
            ownerOf(createShares(address, names, after), ip),
          ]
          assert(to === from || to === heavier)
        }
      },
    ),
  )
})

test('a node of weight 0 has no share, unless nobody has weight', () => {
  const askers = subnet(200)
  const some = createShares(VIP, ['a', 'b', 'c'], { b: 0, c: -1 })
  assert.deepEqual(new Set(askers.map(ip => ownerOf(some, ip))), new Set(['a']))
  const none = createShares(VIP, ['a', 'b'], { a: 0, b: 0 })
  assert.deepEqual(new Set(askers.map(ip => ownerOf(none, ip))), new Set(['a', 'b']))
  assert.equal(ownerOf(createShares(VIP, []), '10.0.0.1' as Ip), undefined)
})

/** Counts by node over many addresses, so that one unlucky address does not decide. */
function distribution(names: readonly string[], table: Record<string, number>, askers: readonly Ip[]) {
  const counts = new Map(names.map(name => [name, 0]))
  const addresses = Array.from({ length: 60 }, (_, n) => ipFromBigint('IPv4', 0xc0000200n + BigInt(n)))
  for (const address of addresses) {
    const shares = createShares(address, names, table)
    for (const ip of askers) {
      const owner = ownerOf(shares, ip) ?? ''
      counts.set(owner, (counts.get(owner) ?? 0) + 1)
    }
  }
  return { counts, total: addresses.length * askers.length }
}

for (const [title, askers] of [
  ['neighbours in one subnet', subnet(2000)],
  [
    'routers of many subnets',
    Array.from({ length: 2000 }, (_, n) => ipFromBigint('IPv4', 0x0a000001n + BigInt(n) * 256n)),
  ],
  [
    'link-local addresses',
    Array.from({ length: 2000 }, (_, n) =>
      ipFromBigint('IPv6', (0xfe80n << 112n) + 0x25eff0000n + BigInt(n)),
    ),
  ],
] as const) {
  test(`shares follow the weights within 3 %: ${title}`, () => {
    for (const table of [
      { n1: 1, n2: 1, n3: 1 },
      { n1: 1, n2: 2, n3: 7 },
      { n1: 4, n2: 4, n3: 4, n4: 4, n5: 4, n6: 4, n7: 4 },
    ] as Record<string, number>[]) {
      const names = Object.keys(table)
      const sum = names.reduce((all, name) => all + (table[name] ?? 0), 0)
      const { counts, total } = distribution(names, table, askers)
      for (const name of names) {
        const [share, expected] = [(counts.get(name) ?? 0) / total, (table[name] ?? 0) / sum]
        assert(Math.abs(share / expected - 1) < 0.03, `${name}: ${share} instead of ${expected}`)
      }
    }
  })
}

test('what a lost node leaves is divided among all others', () => {
  const [names, askers] = [['n1', 'n2', 'n3', 'n4'], subnet(4000)]
  const [all, rest] = [createShares(VIP, names), createShares(VIP, names.slice(1))]
  const orphans = askers.filter(ip => ownerOf(all, ip) === 'n1')
  for (const heir of names.slice(1)) {
    const part = orphans.filter(ip => ownerOf(rest, ip) === heir).length / orphans.length
    assert(Math.abs(part - 1 / 3) < 0.05, `${heir}: ${part}`)
  }
})

test('two addresses are shared independently', () => {
  const askers = subnet(4000)
  const [one, other] = [createShares(VIP, ['a', 'b']), createShares('192.0.2.81' as Ip, ['a', 'b'])]
  const same = askers.filter(ip => ownerOf(one, ip) === ownerOf(other, ip)).length / askers.length
  assert(Math.abs(same - 0.5) < 0.05, `${same}`)
})

test('the present: all that stand; in a cluster that starts, all in probation', () => {
  const levels = { a: 'up', b: 'probation', c: 'down', d: 'left', e: 'up' } as const
  const of = (names: (keyof typeof levels)[]) => presentNodes(names, name => levels[name as 'a'])
  assert.deepEqual(of(['a', 'b', 'c', 'd', 'e']), ['a', 'e'])
  assert.deepEqual(of(['b', 'c', 'd']), ['b'])
  assert.deepEqual(of(['c', 'd']), [])
})

test('a lost node: all of its askers are repaired at once, each by one node, and no others', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(node, { minLength: 2, maxLength: 8 }),
      weights,
      fc.uniqueArray(anyIp, { minLength: 1, maxLength: 40 }),
      (names, values, ips) => {
        const table = weighted(names, values)
        const [lost, ...rest] = names as [string, ...string[]]
        const [before, after] = [createShares(VIP, names, table), createShares(VIP, rest, table)]
        const orphans = ips.filter(ip => ownerOf(before, ip) === lost)
        const told = rest.flatMap(self =>
          repairs(
            ips.map(ip => asker(ip)),
            self,
            before,
            after,
          ),
        )
        // When the lost one was the only one with weight, or the others have none, all is shared anew.
        if (rest.some(name => (table[name] ?? 1) > 0))
          assert.deepEqual(told.map(repair => repair.asker.ip).sort(), orphans.toSorted())
        assert.equal(new Set(told.map(repair => repair.asker.ip)).size, told.length)
        for (const repair of told) if (repair.from === lost) assert.equal(repair.afterMs, 0)
      },
    ),
  )
})

test('a node that joins takes its share over little by little; the others do nothing', () => {
  const askers = subnet(3000).map(ip => asker(ip))
  const [before, after] = [createShares(VIP, ['a', 'b']), createShares(VIP, ['a', 'b', 'c'])]
  const won = repairs(askers, 'c', before, after, 30_000)
  assert(won.length > 900 && won.length < 1100, `${won.length}`)
  for (let from = 0; from < 30_000; from += 3000) {
    const part = won.filter(({ afterMs }) => afterMs >= from && afterMs < from + 3000).length
    assert(part > 60 && part < 140, `${part} in the 3 s from ${from} on`)
  }
  assert.deepEqual(repairs(askers, 'a', before, after), [])
  assert.deepEqual(repairs(askers, 'b', before, after), [])
})

test('after nobody was there everything is told at once; a node without a share tells nothing', () => {
  const askers = subnet(20).map(ip => asker(ip))
  const alone = createShares(VIP, ['a'])
  assert.deepEqual(
    repairs(askers, 'a', undefined, alone).map(({ afterMs, from }) => [afterMs, from]),
    askers.map(() => [0, undefined]),
  )
  assert.deepEqual(repairs(askers, 'b', undefined, alone), [])
})

test('the moment within the spread depends on the pair alone', () => {
  fc.assert(
    fc.property(anyIp, anyIp, fc.integer({ min: 1, max: 60_000 }), (address, ip, spread) => {
      const at = spreadOf(address, ip, spread)
      assert(at >= 0 && at < spread)
      assert.equal(spreadOf(address, ip, spread), at)
    }),
  )
})

test('each asker is introduced by exactly one node', () => {
  const askers = subnet(100).map(ip => asker(ip))
  const before = createShares(VIP, ['a', 'b', 'c'])
  const told = ['a', 'b', 'c'].flatMap(self => toIntroduce(askers, self, before))
  assert.deepEqual(told.map(({ ip }) => ip).sort(), askers.map(({ ip }) => ip).sort())
})

test('a report of the shares counts hosts, and who asked long ago only when asked for', () => {
  const other = '00:00:5e:00:53:02' as Mac
  const shares = createShares(VIP, ['a', 'b'], { b: 3 })
  const askers = [
    ...subnet(10).map(ip => asker(ip)),
    { ip: '10.0.1.1' as Ip, mac: other, interfaceIndex: 2, lastAskedAt: 5000 },
  ]
  const all = sharesReport(askers, shares, 10_000)
  assert.deepEqual([all.askers, all.single, all.advice], [2, false, undefined])
  assert.deepEqual(
    all.nodes.map(({ node: name, weight }) => [name, weight]),
    [
      ['a', 1],
      ['b', 3],
    ],
  )
  assert.equal(
    all.nodes.reduce((sum, { askers: count }) => sum + count, 0),
    11,
  )
  const recent = sharesReport(askers, shares, 10_000, 6000)
  assert.deepEqual([recent.askers, recent.single], [1, true])
})

test('a single asker makes one owner: the report says so and recommends BGP', () => {
  const report = sharesReport([asker('192.0.2.1' as Ip)], createShares(VIP, ['a', 'b']), 0)
  assert.equal(report.single, true)
  assert.match(report.advice ?? '', /^only 192\.0\.2\.1 asks for 192\.0\.2\.80 .* by BGP/)
  assert.equal(sharesReport([], createShares(VIP, ['a', 'b']), 0).advice, undefined)
  assert.equal(sharesReport([asker('192.0.2.1' as Ip)], createShares(VIP, ['a']), 0).advice, undefined)
})
