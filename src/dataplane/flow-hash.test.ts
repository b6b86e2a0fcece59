import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseIp } from '../addr/ip.ts'
import { flowOwner, flowSlot, jhash } from './flow-hash.ts'
import { serviceTable } from './steering.ts'

const ip = (text: string) => parseIp(text) ?? assert.fail(text)

// What the author's own test program prints (lookup3.c, May 2006, driver5).
test('lookup3', () => {
  const text = new TextEncoder().encode('Four score and seven years ago')
  assert.equal(jhash(new Uint8Array(), 0), 0xdeadbeef)
  assert.equal(jhash(text, 0), 0x17770551)
  assert.equal(jhash(text, 1), 0xcd628161)
})

// The netns test compares with what the kernel does; these values keep one release equal to the next.
test('slots of some flows, written down', () => {
  assert.deepEqual(
    [
      flowSlot(10_007, ip('192.0.2.100'), 40_000),
      flowSlot(10_007, ip('192.0.2.100'), undefined),
      flowSlot(65_537, ip('2001:db8::100'), 40_000),
      flowSlot(65_537, ip('2001:db8::100'), undefined),
    ],
    [4732, 9620, 49_956, 11_332],
  )
})

test('the owner of a flow is that of its slot; nobody, where there is no endpoint', () => {
  const table = serviceTable(
    new Map([
      ['n1', 1],
      ['n2', 1],
    ]),
    new Set(),
    1009,
  )
  const client = ip('192.0.2.100')
  for (let port = 1024; port < 1100; port++) {
    const owner = table.owners[flowSlot(1009, client, port)]
    assert.equal(flowOwner(table, client, port), table.nodes[owner ?? -1])
  }
  assert.equal(flowOwner(serviceTable(new Map(), new Set()), client, 1), undefined)
})
