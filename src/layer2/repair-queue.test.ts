import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, ipFromBigint } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import { type Asker, Askers } from './askers.ts'
import { RepairQueue } from './repair-queue.ts'
import { createShares, ownerOf, type Shares, toIntroduce } from './shards.ts'

const VIP = '192.0.2.80' as Ip
const OTHER = '192.0.2.81' as Ip
const MAC = '00:00:5e:00:53:01' as Mac

const host = (n: number) => ipFromBigint('IPv4', 0x0a000001n + BigInt(n))
const asker = (ip: Ip): Asker => ({ ip, mac: MAC, interfaceIndex: 2, lastAskedAt: 0 })
const hosts = (size: number) => Array.from({ length: size }, (_, n) => asker(host(n)))
const told = (queue: RepairQueue, now: number, max = 10_000) => queue.take(now, max).map(one => one.asker)

test('one that waits is told in time and three times, since nobody acknowledges', () => {
  const queue = new RepairQueue()
  queue.add(VIP, host(1), 0, 1234)
  queue.add(OTHER, host(1), 500, 1234)
  assert(queue.nextDeadline() <= 1234)
  assert.deepEqual(queue.take(1234, 10), [{ address: VIP, asker: host(1) }])
  assert.deepEqual(queue.take(1234, 10), [])
  const at: number[] = []
  while (queue.size > 0) {
    const next = queue.nextDeadline()
    at.push(...queue.take(next, 10).map(({ address }) => (address === VIP ? next : -next)))
  }
  assert.deepEqual(at, [-1800, 2300, -2800, 5300, -5800])
  assert.equal(queue.nextDeadline(), Number.POSITIVE_INFINITY)
})

test('what a step has no room for stays due', () => {
  const queue = new RepairQueue()
  for (let n = 0; n < 5; n++) queue.add(VIP, host(n), 0, 50)
  assert.deepEqual(told(queue, 50, 2), [host(0), host(1)])
  assert(queue.nextDeadline() <= 50)
  assert.deepEqual(told(queue, 50, 10), [host(2), host(3), host(4)])
})

test('an address that is not ours any more leaves nothing behind', () => {
  const queue = new RepairQueue()
  queue.add(VIP, host(1), 0, 0)
  queue.add(VIP, host(2), 700, 0)
  queue.add(OTHER, host(1), 0, 0)
  queue.drop(VIP)
  queue.drop('192.0.2.99' as Ip)
  assert.deepEqual([queue.size, queue.count(VIP), queue.count(OTHER)], [1, 0, 1])
  assert.deepEqual(queue.take(100_000, 10), [{ address: OTHER, asker: host(1) }])
})

test('askers that a node has won and not told yet are told at once when any node is lost', () => {
  const all = hosts(300)
  const [two, three, left] = [
    ['a', 'b'],
    ['a', 'b', 'c'],
    ['b', 'c'],
  ].map(nodes => createShares(VIP, nodes)) as [Shares, Shares, Shares]
  const queue = new RepairQueue()
  queue.change(all, 'c', two, three, 0)
  const won = all.filter(({ ip }) => ownerOf(three, ip) === 'c').map(({ ip }) => ip)
  assert.equal(queue.size, won.length)
  const early = told(queue, 3000)
  assert(early.length > 10 && early.length < won.length / 2, `${early.length} of ${won.length}`)
  queue.change(all, 'c', three, left, 3050)
  const rest = new Set(told(queue, 3050))
  for (const { ip } of all) {
    const mustHear = ownerOf(left, ip) === 'c' && !early.includes(ip)
    if (mustHear) assert(rest.has(ip), ip)
    if (ownerOf(left, ip) !== 'c') assert(!rest.has(ip), ip)
  }
})

test('who is won and lost again before it was told hears nothing of it', () => {
  const all = hosts(100)
  const [two, three] = [createShares(VIP, ['a', 'b']), createShares(VIP, ['a', 'b', 'c'])]
  const queue = new RepairQueue()
  queue.change(all, 'a', three, two, 0)
  assert(queue.size > 0)
  queue.change(all, 'a', two, three, 0)
  assert.equal(queue.size, 0)
})

/**
 * A segment: nodes that come and go, each with its table of askers and its queue, and the entries that the askers hold. What a node
 * tells an asker changes its entry; a new node is introduced by those that are there.
 */
test('whatever comes and goes: no asker is left with a lost node, and in the end each is with the owner of its share', () => {
  const change = fc.record(
    {
      node: fc.constantFrom('a', 'b', 'c', 'd'),
      fresh: fc.boolean(),
      afterMs: fc.integer({ min: 0, max: 20_000 }),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(
      fc.array(change, { maxLength: 12 }),
      fc.uniqueArray(fc.nat(5000), { minLength: 1, maxLength: 25 }),
      (changes, ns) => {
        const ips = ns.map(host)
        const nodes = new Map<string, { askers: Askers; queue: RepairQueue }>()
        for (const name of ['a', 'b', 'c', 'd'])
          nodes.set(name, { askers: new Askers(), queue: new RepairQueue() })
        let present = ['a', 'b', 'c']
        const shares = () => createShares(VIP, present)
        const entries = new Map<Ip, string>()
        for (const ip of ips) {
          entries.set(ip, ownerOf(shares(), ip) ?? '')
          for (const name of present) nodes.get(name)?.askers.note(VIP, ip, MAC, 2, 0)
        }
        let now = 0
        const run = (until: number) => {
          for (;;) {
            const next = Math.min(...present.map(name => nodes.get(name)?.queue.nextDeadline() ?? Infinity))
            if (next > until) break
            now = Math.max(now, next)
            for (const name of present)
              for (const { asker: ip } of nodes.get(name)?.queue.take(now, 1000) ?? []) entries.set(ip, name)
          }
          now = until
          for (const node of entries.values()) assert(present.includes(node), `${node} is not there`)
        }
        for (const { node: name, fresh, afterMs } of changes) {
          run(now + afterMs)
          const isLost = present.includes(name)
          if (isLost && present.length === 1) continue
          const before = shares()
          const joiner = nodes.get(name)
          assert(joiner !== undefined)
          if (!isLost) {
            if (fresh) {
              joiner.askers = new Askers()
              joiner.queue = new RepairQueue()
            }
            for (const other of present)
              for (const one of toIntroduce(nodes.get(other)?.askers.of(VIP) ?? [], other, before))
                joiner.askers.introduce(VIP, one.ip, one.mac, now)
          }
          present = isLost ? present.filter(other => other !== name) : [...present, name]
          if (isLost) joiner.queue.drop(VIP)
          for (const other of present) {
            const state = nodes.get(other)
            state?.queue.change(state.askers.of(VIP), other, before, shares(), now)
          }
        }
        run(now + 60_000)
        for (const ip of ips) assert.equal(entries.get(ip), ownerOf(shares(), ip))
        for (const name of present) assert.equal(nodes.get(name)?.queue.size, 0)
      },
    ),
  )
})
