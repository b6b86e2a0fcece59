import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../../addr/ip.ts'
import { type Prefix, parsePrefix } from '../../addr/prefix.ts'
import { allocatePodIps } from './addresses.ts'

const prefix = (text: string): Prefix => {
  const parsed = parsePrefix(text)
  assert.ok(parsed !== undefined)
  return parsed
}
const FOUR = prefix('192.0.2.0/29')
const SIX = prefix('2001:db8:1::/64')

test('one address of each family, past the network and the gateway', () => {
  assert.deepEqual(allocatePodIps([FOUR, SIX], new Set(), new Map())?.ips, ['192.0.2.2', '2001:db8:1::2'])
})

test('an address given back is not the next one given', () => {
  const first = allocatePodIps([FOUR], new Set(), new Map())
  assert.deepEqual(allocatePodIps([FOUR], new Set(), first?.last ?? new Map())?.ips, ['192.0.2.3'])
})

test('a prefix gives out each of its addresses once and then says that it is full', () => {
  const used = new Set<Ip>()
  let last: ReadonlyMap<Prefix, bigint> = new Map()
  for (;;) {
    const given = allocatePodIps([FOUR], used, last)
    if (given === undefined) break
    for (const ip of given.ips) {
      assert.ok(!used.has(ip))
      used.add(ip)
    }
    last = given.last
  }
  // Of eight: not the network, not the gateway, not the broadcast address.
  assert.deepEqual([...used], ['192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.2.5', '192.0.2.6'])
  used.delete('192.0.2.3' as Ip)
  assert.deepEqual(allocatePodIps([FOUR], used, last)?.ips, ['192.0.2.3'])
})
