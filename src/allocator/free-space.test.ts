import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, ipFromBigint, ipToBigint, ipToBytes } from '../addr/ip.ts'
import { type Prefix, parsePrefix, prefixFamily, prefixFirst, prefixSize } from '../addr/prefix.ts'
import { FreeSpace } from './free-space.ts'

const prefix = (text: string) => parsePrefix(text) as Prefix
const open = (text: string, avoidBuggyIps = false) => new FreeSpace(prefix(text), { avoidBuggyIps })
function drain(space: FreeSpace): Ip[] {
  const taken: Ip[] = []
  for (let ip = space.lowest(); ip !== undefined; ip = space.lowest()) {
    space.take(ip)
    taken.push(ip)
  }
  return taken
}

test('A-10 network and broadcast address are handed out like any other, in order', () => {
  assert.deepEqual(drain(open('192.0.2.8/30')), ['192.0.2.8', '192.0.2.9', '192.0.2.10', '192.0.2.11'])
  assert.deepEqual(drain(open('192.0.2.7/32')), ['192.0.2.7'])
  assert.deepEqual(drain(open('2001:db8::/127')), ['2001:db8::', '2001:db8::1'])
})

test('avoidBuggyIPs leaves out .0 and .255, of IPv4 only', () => {
  const taken = drain(open('192.0.2.0/23', true))
  assert.equal(taken.length, 508)
  assert.ok(taken.every(ip => !/\.(0|255)$/.test(ip)))
  assert.deepEqual(drain(open('192.0.2.252/30', true)), ['192.0.2.252', '192.0.2.253', '192.0.2.254'])
  assert.deepEqual(drain(open('192.0.2.0/32', true)), [])
  assert.equal(open('2001:db8::/64', true).lowest(), '2001:db8::')
})

test('the last free address of a full /16 is found, and a hole in it', () => {
  const space = open('10.20.0.0/16')
  const taken = drain(space)
  assert.equal(taken.length, 65_536)
  assert.equal(taken.at(-1), '10.20.255.255')
  const hole = '10.20.123.45' as Ip
  space.release(hole)
  assert.ok(space.has(hole))
  assert.equal(space.lowest(), hole)
  space.take(hole)
  assert.equal(space.lowest(), undefined)
})

test('an IPv6 prefix of any size starts at its first address', () => {
  const space = open('2001:db8:0:1::/64')
  assert.equal(space.lowest(), '2001:db8:0:1::')
  space.take('2001:db8:0:1:ffff:ffff:ffff:ffff' as Ip)
  space.take('2001:db8:0:1::' as Ip)
  assert.equal(space.lowest(), '2001:db8:0:1::1')
  assert.equal(open('::/0').lowest(), '::')
})

test('broken bookkeeping is noticed', () => {
  const space = open('192.0.2.0/30')
  space.take('192.0.2.1' as Ip)
  assert.throws(() => space.take('192.0.2.1' as Ip), /not free/)
  assert.throws(() => space.release('192.0.2.2' as Ip), /free already/)
})

test('property: it behaves as a set of the addresses that are taken', () => {
  const cases = fc.record(
    {
      prefix: fc.constantFrom(
        '10.0.0.0/32',
        '10.0.1.128/27',
        '10.0.0.224/26',
        '10.0.0.0/22',
        '2001:db8::/119',
      ),
      avoid: fc.boolean(),
      steps: fc.array(fc.nat(1023), { maxLength: 300 }),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(cases, ({ prefix: text, avoid, steps }) => {
      const p = prefix(text)
      const space = new FreeSpace(p, { avoidBuggyIps: avoid })
      const size = Number(prefixSize(p))
      const first = ipToBigint(prefixFirst(p))
      const all = Array.from({ length: size }, (_, i) => ipFromBigint(prefixFamily(p), first + BigInt(i)))
      const leftOut = (ip: Ip) =>
        avoid && prefixFamily(p) === 'IPv4' && [0, 255].includes(ipToBytes(ip)[3] as number)
      const taken = new Set<Ip>()
      for (const step of steps) {
        const ip = all[step % size] as Ip
        if (leftOut(ip)) assert.ok(!space.has(ip))
        else if (taken.delete(ip)) space.release(ip)
        else {
          space.take(ip)
          taken.add(ip)
        }
        assert.equal(
          space.lowest(),
          all.find(one => !taken.has(one) && !leftOut(one)),
        )
      }
      for (const ip of all) assert.equal(space.has(ip), !taken.has(ip) && !leftOut(ip))
    }),
    { numRuns: 60 },
  )
})
