import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import type { Ip } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import { ASKER_BYTES_MAX, type Asker, Askers } from './askers.ts'

const VIP = '192.0.2.80' as Ip
const OTHER = '192.0.2.81' as Ip
const MAC = '00:00:5e:00:53:01' as Mac
const MOVED = '00:00:5e:00:53:02' as Mac

const ips = (askers: Iterable<Asker>) => [...askers].map(({ ip }) => ip)
const host = (n: number) => `198.51.${n >> 8}.${n & 255}` as Ip

test('remembers who asked, the most recent first, with where it is now', () => {
  const askers = new Askers()
  askers.note(VIP, host(1), MAC, 2, 10)
  askers.note(VIP, host(2), MAC, 2, 20)
  askers.note(OTHER, host(3), MAC, 2, 25)
  askers.note(VIP, host(1), MOVED, 3, 30)
  assert.deepEqual(ips(askers.of(VIP)), [host(1), host(2)])
  const { mac, interfaceIndex, lastAskedAt } = askers.get(VIP, host(1)) as Asker
  assert.deepEqual([mac, interfaceIndex, lastAskedAt], [MOVED, 3, 30])
  assert.equal(askers.size, 3)
  assert.equal(askers.count(VIP), 2)
})

test('probes and those that ask for their own address keep no entry', () => {
  const askers = new Askers()
  askers.note(VIP, '0.0.0.0' as Ip, MAC, 2, 0)
  askers.note('2001:db8::80' as Ip, '::' as Ip, MAC, 2, 0)
  askers.note(VIP, VIP, MAC, 2, 0)
  askers.introduce(VIP, '0.0.0.0' as Ip, MAC, 0)
  assert.equal(askers.size, 0)
})

test('without room for the address, the one silent for longest goes', () => {
  const askers = new Askers({ perAddress: 2 })
  askers.note(OTHER, host(9), MAC, 2, 0)
  askers.note(VIP, host(1), MAC, 2, 1)
  askers.note(VIP, host(2), MAC, 2, 2)
  askers.note(VIP, host(1), MAC, 2, 3)
  askers.note(VIP, host(3), MAC, 2, 4)
  assert.deepEqual(ips(askers.of(VIP)), [host(3), host(1)])
  assert.deepEqual(ips(askers.of(OTHER)), [host(9)])
  assert.equal(askers.evicted, 1)
})

test('without room in all, the one silent for longest of all addresses goes', () => {
  const askers = new Askers({ total: 3 })
  askers.note(OTHER, host(1), MAC, 2, 1)
  askers.note(VIP, host(1), MAC, 2, 2)
  askers.note(VIP, host(2), MAC, 2, 3)
  askers.note(OTHER, host(1), MAC, 2, 4)
  askers.note(OTHER, host(2), MAC, 2, 5)
  assert.deepEqual(ips(askers.of(VIP)), [host(2)])
  assert.deepEqual(ips(askers.of(OTHER)), [host(2), host(1)])
})

test('forgets those not heard for long: some with each that comes, all when asked to', () => {
  const askers = new Askers({ forgetAfterMs: 100 })
  for (let n = 0; n < 10; n++) askers.note(VIP, host(n), MAC, 2, n)
  askers.note(OTHER, host(50), MAC, 2, 108)
  assert.equal(askers.size, 9)
  askers.expire(108)
  assert.deepEqual(ips(askers.of(VIP)), [host(9)])
  assert.equal(askers.evicted, 0)
})

test('an introduced asker is known without an interface, and changes nothing that we heard ourselves', () => {
  const askers = new Askers()
  askers.note(VIP, host(1), MAC, 2, 10)
  askers.introduce(VIP, host(1), MOVED, 20)
  askers.introduce(VIP, host(2), MOVED, 20)
  assert.equal(askers.get(VIP, host(1))?.mac, MAC)
  assert.equal(askers.get(VIP, host(2))?.interfaceIndex, undefined)
  askers.note(VIP, host(2), MOVED, 4, 30)
  assert.equal(askers.get(VIP, host(2))?.interfaceIndex, 4)
})

test('an address of no interest takes its askers along', () => {
  const askers = new Askers()
  askers.note(VIP, host(1), MAC, 2, 0)
  askers.note(OTHER, host(1), MAC, 2, 0)
  askers.note(VIP, host(2), MAC, 2, 0)
  askers.forget(VIP)
  assert.deepEqual([askers.size, askers.count(VIP), askers.count(OTHER)], [1, 0, 1])
})

test('holds what a plain list of the most recent askers holds', () => {
  const [perAddress, total, forgetAfterMs] = [3, 7, 40]
  const action = fc.record(
    {
      kind: fc.constantFrom('note', 'note', 'note', 'introduce', 'forget', 'expire'),
      address: fc.constantFrom<Ip>(VIP, OTHER, '192.0.2.82' as Ip),
      asker: fc.integer({ min: 1, max: 6 }),
      after: fc.integer({ min: 0, max: 15 }),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), actions => {
      const askers = new Askers({ perAddress, total, forgetAfterMs })
      // Oldest first.
      let model: { address: Ip; ip: Ip; at: number }[] = []
      let now = 0
      const old = (entry: { at: number }) => now - entry.at >= forgetAfterMs
      const forgetTwo = () => {
        for (let i = 0; i < 2; i++) if (model[0] !== undefined && old(model[0])) model.shift()
      }
      for (const { kind, address, asker, after } of actions) {
        now += after
        const ip = host(asker)
        const same = (entry: { address: Ip; ip: Ip }) => entry.address === address && entry.ip === ip
        if (kind === 'forget') {
          askers.forget(address)
          model = model.filter(entry => entry.address !== address)
        } else if (kind === 'expire') {
          askers.expire(now)
          model = model.filter(entry => !old(entry))
        } else {
          if (kind === 'introduce') askers.introduce(address, ip, MAC, now)
          else askers.note(address, ip, MAC, 2, now)
          if (kind === 'introduce' && model.some(same)) continue
          forgetTwo()
          if (model.some(same)) model = model.filter(entry => !same(entry))
          else if (model.filter(entry => entry.address === address).length === perAddress)
            model.splice(
              model.findIndex(entry => entry.address === address),
              1,
            )
          else if (model.length === total) model.shift()
          model.push({ address, ip, at: now })
        }
        assert.equal(askers.size, model.length)
        for (const one of [VIP, OTHER, '192.0.2.82' as Ip]) {
          const expected = model.filter(entry => entry.address === one).toReversed()
          assert.deepEqual(
            ips(askers.of(one)),
            expected.map(entry => entry.ip),
          )
          assert.equal(askers.count(one), expected.length)
        }
      }
    }),
  )
})

test('an asker costs no more memory than is accounted for it', () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const askers = new Askers({ perAddress: 50_000, total: 50_000 })
  gc()
  const before = process.memoryUsage().heapUsed
  for (let n = 0; n < 50_000; n++) {
    // Texts of their own, as decoding makes them.
    const ip = Buffer.from(`2001:db8:1111:2222:3333:4444:${(n >> 8).toString(16)}:${n & 255}`).toString()
    askers.note(VIP, ip as Ip, Buffer.from(MAC).toString() as Mac, 2, n)
  }
  gc()
  const each = (process.memoryUsage().heapUsed - before) / askers.size
  assert(each < ASKER_BYTES_MAX && each > ASKER_BYTES_MAX / 3, `${Math.round(each)} bytes each`)
})
