import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, type Ipv4, type Ipv6, ipFromBigint } from '../addr/ip.ts'
import { BROADCAST_MAC, type Mac, macFromBytes, ZERO_MAC } from '../addr/mac.ts'
import type { Level } from '../membership/machine.ts'
import { arpRequest, decodeArpFrame, encodeArpFrame } from '../wire/arp.ts'
import { createLayer2, type Effect, type Event, type Layer2, nextDeadline, step } from './machine.ts'
import { createShares, ownerOf } from './shards.ts'
import { sharedAddresses } from './sharing.ts'

const VIP = '192.0.2.80' as Ip
const NAMES = ['a', 'b', 'c', 'd'] as const
type Name = (typeof NAMES)[number]

const macOf = (name: string) => macFromBytes(Uint8Array.of(2, 0, 0, 0, 0, name.charCodeAt(0)))
const askerIp = (n: number) => ipFromBigint('IPv4', 0xc6336401n + BigInt(n)) as Ipv4
const askerMac = (n: number) => macFromBytes(Uint8Array.of(2, 1, 0, 0, n >> 8, n & 255))

/** Machines on one segment with hosts that ask and keep entries as Linux does. */
class Segment {
  now = 0
  readonly machines = new Map<Name, Layer2>()
  readonly levels = new Map<Name, Level>()
  /** Whom each asker sends to. */
  readonly entries = new Map<Ip, string>()
  readonly broadcasts: string[] = []
  readonly drained: Name[] = []
  /** Told one by one, by node. */
  readonly told = new Map<Name, Ip[]>()

  constructor(present: readonly Name[]) {
    for (const name of NAMES) this.levels.set(name, present.includes(name) ? 'up' : 'down')
    for (const name of present) this.start(name)
  }

  /** A process without any memory. */
  start(name: Name, mode: 'sharded' | 'single' = 'sharded'): void {
    const m = createLayer2({ self: name, announceIntervalMs: 0 })
    this.machines.set(name, m)
    const nic = { index: 2, name: 'eth0', mac: macOf(name), arp: true, linkLocal: 'fe80::1' as Ipv6 }
    this.run(name, { type: 'nics', nics: [nic], now: this.now })
    for (const other of NAMES)
      if (other !== name)
        this.run(name, { type: 'node', node: other, level: this.levels.get(other) ?? 'down', now: this.now })
    this.plan(name, mode)
  }

  plan(
    name: Name,
    mode: 'sharded' | 'single',
    weights?: Record<string, number>,
    candidates: readonly Name[] = NAMES,
  ): void {
    const place = candidates.indexOf(name)
    const claim = {
      service: 'default/web',
      ahead: candidates.slice(0, place),
      behind: candidates.slice(place + 1),
      truncated: false,
      interfaces: 'all' as const,
      mode,
      ...(weights && { weights }),
    }
    this.run(name, { type: 'plan', set: [{ ip: VIP, claims: [claim] }], remove: [], now: this.now })
  }

  /** Everybody comes to the same view in one moment. */
  level(name: Name, level: Level): void {
    this.levels.set(name, level)
    for (const other of this.machines.keys())
      if (other !== name) this.run(other, { type: 'node', node: name, level, now: this.now })
    if (level === 'up' || level === 'probation') this.run(name, { type: 'tick', now: this.now })
    else if (level === 'down') this.machines.delete(name)
  }

  run(name: Name, event: Event): void {
    const m = this.machines.get(name)
    if (m === undefined) return
    const probation = this.levels.get(name) !== 'up'
    const standing = { entitledUntil: Number.POSITIVE_INFINITY, probation, alone: false }
    for (const effect of step(m, event, standing)) this.perform(name, effect)
  }

  perform(name: Name, effect: Effect): void {
    if (effect.type === 'introduce')
      for (const body of effect.bodies)
        this.run(effect.to as Name, { type: 'askers', node: name, body, now: this.now })
    if (effect.type === 'claim')
      for (const other of NAMES)
        if (other !== name)
          this.run(other, { type: 'claimed', node: name, claims: effect.claims, now: this.now })
    if (effect.type === 'drained') this.drained.push(name)
    if (effect.type !== 'send') return
    const { ethernet, arp } = decodeArpFrame(effect.frame)
    if (ethernet.destination === BROADCAST_MAC) {
      this.broadcasts.push(name)
      for (const ip of this.entries.keys()) this.entries.set(ip, name)
      return
    }
    for (let n = 0; n < 1000; n++) {
      if (askerMac(n) !== ethernet.destination) continue
      assert.equal(arp.senderMac, macOf(name))
      this.entries.set(askerIp(n), name)
      if (effect.kind === 'repair') this.told.set(name, [...(this.told.get(name) ?? []), askerIp(n)])
    }
  }

  /** To everybody, or to the node alone that its entry names; who answered. */
  ask(n: number, to?: Name): string[] {
    const request = arpRequest({ mac: askerMac(n), ip: askerIp(n) }, VIP as Ipv4)
    const destination = to === undefined ? BROADCAST_MAC : macOf(to)
    const frame = encodeArpFrame({ ...request, ethernet: { ...request.ethernet, destination } })
    const answered: string[] = []
    for (const name of to === undefined ? [...this.machines.keys()] : [to]) {
      this.entries.delete(askerIp(n))
      this.run(name, { type: 'frame', interfaceIndex: 2, frame, now: this.now })
      if (this.entries.has(askerIp(n))) answered.push(name)
    }
    if (answered[0] !== undefined) this.entries.set(askerIp(n), answered[0])
    return answered
  }

  pass(ms: number): void {
    const until = this.now + ms
    for (;;) {
      const next = Math.min(...[...this.machines.values()].map(nextDeadline))
      if (next > until) break
      this.now = Math.max(this.now, next)
      for (const name of this.machines.keys()) this.run(name, { type: 'tick', now: this.now })
    }
    this.now = until
  }

  expected(ip: Ip, weights?: Record<string, number>): string | undefined {
    return ownerOf(
      createShares(
        VIP,
        [...this.machines.keys()].filter(each => this.levels.get(each) === 'up'),
        weights,
      ),
      ip,
    )
  }
}

const MANY = Array.from({ length: 60 }, (_, n) => n)

test('every question to everybody has one answer, from the node of the share', () => {
  const segment = new Segment(['a', 'b', 'c'])
  for (const n of MANY) assert.deepEqual(segment.ask(n), [segment.expected(askerIp(n))])
  assert.equal(new Set(segment.entries.values()).size, 3)
  segment.pass(60_000)
  assert.deepEqual(segment.broadcasts, [])
})

test('a lost node: exactly its askers are told, at once and by the node that is theirs now', () => {
  const segment = new Segment(['a', 'b', 'c'])
  for (const n of MANY) segment.ask(n)
  const before = new Map(segment.entries)
  segment.level('b', 'down')
  for (const n of MANY) {
    const ip = askerIp(n)
    assert.equal(segment.entries.get(ip), segment.expected(ip))
    if (before.get(ip) !== 'b') assert.equal(segment.entries.get(ip), before.get(ip))
  }
  const orphans = MANY.map(askerIp).filter(ip => before.get(ip) === 'b')
  assert.deepEqual([...segment.told.values()].flat().sort(), orphans.sort())
  segment.pass(60_000)
  // Nobody acknowledges, so each is told three times.
  assert.equal([...segment.told.values()].flat().length, 3 * orphans.length)
  assert.deepEqual(segment.broadcasts, [])
})

test('a node that comes back takes its share over little by little, and is answered for until then', () => {
  const segment = new Segment(['a', 'b', 'c'])
  for (const n of MANY) segment.ask(n)
  const first = new Map(segment.entries)
  segment.level('b', 'down')
  const without = new Map(segment.entries)
  segment.pass(10_000)
  segment.start('b')
  segment.level('b', 'probation')
  segment.pass(5000)
  assert.deepEqual(segment.entries, without)
  segment.level('b', 'up')
  assert.deepEqual(segment.entries, without, 'nothing moves at once')
  for (const n of MANY) {
    const holder = without.get(askerIp(n)) as Name
    assert.deepEqual(segment.ask(n, holder), [holder], 'whose entry names a node is answered by it')
  }
  segment.pass(5000)
  const moved = MANY.filter(n => segment.entries.get(askerIp(n)) === 'b').length
  assert(moved > 0 && moved < [...first.values()].filter(node => node === 'b').length, `${moved}`)
  segment.pass(20_000)
  assert.deepEqual(segment.entries, first)
  assert.deepEqual(segment.broadcasts, [])
})

test('a process that starts anew is told who asked, and stands in for a node that is lost later', () => {
  const segment = new Segment(['a', 'b', 'c'])
  for (const n of MANY) segment.ask(n)
  for (const name of ['a', 'b', 'c'] as const) {
    segment.level(name, 'down')
    segment.pass(1000)
    segment.start(name)
    segment.level(name, 'probation')
    segment.pass(5000)
    segment.level(name, 'up')
    segment.pass(60_000)
  }
  // All three were started anew, and nobody asked again.
  segment.level('a', 'down')
  for (const n of MANY) assert.equal(segment.entries.get(askerIp(n)), segment.expected(askerIp(n)))
})

test('a node that a plan takes away and gives back is told who asked: it has forgotten them', () => {
  const segment = new Segment(['a', 'b', 'c'])
  for (const n of MANY) segment.ask(n)
  segment.run('b', { type: 'plan', set: [], remove: [VIP], now: segment.now })
  for (const name of ['a', 'c'] as const) segment.plan(name, 'sharded', undefined, ['a', 'c'])
  for (const node of segment.entries.values()) assert.notEqual(node, 'b')
  segment.pass(10_000)
  segment.plan('b', 'sharded')
  segment.pass(1000)
  for (const name of ['a', 'c'] as const) segment.plan(name, 'sharded')
  segment.pass(60_000)
  for (const [ip, node] of segment.entries) assert.equal(node, segment.expected(ip))
})

test('an asker that is with the wrong node comes to the right one when it refreshes its entry', () => {
  const segment = new Segment(['a', 'b'])
  const n = MANY.find(each => segment.expected(askerIp(each)) === 'a') ?? 0
  segment.entries.set(askerIp(n), 'b')
  assert.deepEqual(segment.ask(n, 'b'), ['b'])
  segment.pass(60_000)
  assert.equal(segment.entries.get(askerIp(n)), 'a')
})

test('a drain hands the share over first and ends then', () => {
  const segment = new Segment(['a', 'b', 'c'])
  for (const n of MANY) segment.ask(n)
  const own = MANY.find(n => segment.entries.get(askerIp(n)) === 'b') ?? 0
  segment.run('b', { type: 'drain', patienceMs: 5000, now: segment.now })
  // Before anybody heard of it, and while they tell the askers.
  assert.deepEqual(segment.ask(own, 'b'), ['b'])
  segment.level('b', 'left')
  for (const n of MANY) assert.notEqual(segment.entries.get(askerIp(n)), 'b')
  assert.deepEqual(segment.drained, [])
  segment.pass(1000)
  assert.deepEqual(segment.drained, ['b'])
  assert.deepEqual(segment.ask(own, 'b'), [])
  assert.deepEqual(segment.broadcasts, [])
})

test('weights move only those that they must', () => {
  const segment = new Segment(['a', 'b', 'c'])
  for (const n of MANY) segment.ask(n)
  const before = new Map(segment.entries)
  const weights = { a: 3 }
  for (const name of ['a', 'b', 'c'] as const) segment.plan(name, 'sharded', weights)
  segment.pass(60_000)
  for (const [ip, node] of segment.entries) {
    assert.equal(node, segment.expected(ip, weights))
    if (node !== 'a') assert.equal(node, before.get(ip))
  }
})

test('from one owner to shares and back: little by little, and by an announcement to all', () => {
  const segment = new Segment([])
  for (const name of ['a', 'b'] as const) segment.levels.set(name, 'up')
  for (const name of ['a', 'b'] as const) segment.start(name, 'single')
  for (const n of MANY) assert.deepEqual(segment.ask(n), ['a'])
  segment.broadcasts.length = 0
  for (const name of ['a', 'b'] as const) segment.plan(name, 'sharded')
  segment.pass(60_000)
  for (const [ip, node] of segment.entries) assert.equal(node, segment.expected(ip))
  assert.deepEqual(segment.broadcasts, [])
  for (const name of ['b', 'a'] as const) segment.plan(name, 'single')
  segment.pass(60_000)
  assert.deepEqual(new Set(segment.entries.values()), new Set(['a']))
})

test('another MAC of our interface is told to our askers alone', () => {
  const segment = new Segment(['a', 'b'])
  for (const n of MANY) segment.ask(n)
  const own = MANY.map(askerIp).filter(ip => segment.entries.get(ip) === 'a')
  const told: Mac[] = []
  segment.perform = (name, effect) => {
    if (effect.type !== 'send' || name !== 'a') return
    const { ethernet, arp } = decodeArpFrame(effect.frame)
    assert.notEqual(ethernet.destination, BROADCAST_MAC)
    assert.equal(arp.senderMac, macOf('z'))
    told.push(ethernet.destination)
  }
  const nic = { index: 2, name: 'eth0', mac: macOf('z'), arp: true, linkLocal: undefined }
  segment.run('a', { type: 'nics', nics: [nic], now: segment.now })
  assert.equal(told.length, own.length)
})

test('a probe for an address that is shared has one answer as well', () => {
  const segment = new Segment(['a', 'b', 'c'])
  const probe = arpRequest({ mac: askerMac(1), ip: '0.0.0.0' as Ipv4 }, VIP as Ipv4)
  assert.equal(probe.arp.targetMac, ZERO_MAC)
  let answers = 0
  segment.perform = (_, effect) => {
    if (effect.type === 'send') answers++
  }
  for (const name of segment.machines.keys())
    segment.run(name, { type: 'frame', interfaceIndex: 2, frame: encodeArpFrame(probe), now: 0 })
  assert.equal(answers, 1)
})

test('whatever comes and goes: nothing is announced to all, and in the end each asker is with the node of its share', () => {
  const change = fc.record(
    {
      node: fc.constantFrom(...NAMES),
      afterMs: fc.integer({ min: 0, max: 20_000 }),
      asks: fc.array(fc.nat(30), { maxLength: 5 }),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(fc.array(change, { maxLength: 10 }), changes => {
      const segment = new Segment(['a', 'b', 'c'])
      for (let n = 0; n < 20; n++) segment.ask(n)
      for (const { node, afterMs, asks } of changes) {
        segment.pass(afterMs)
        for (const n of asks) assert.equal(segment.ask(n).length, 1)
        const up = segment.levels.get(node) === 'up'
        if (up && segment.machines.size === 1) continue
        if (up) segment.level(node, 'down')
        else {
          segment.start(node)
          segment.level(node, 'probation')
          segment.pass(3000)
          segment.level(node, 'up')
        }
        for (const holder of segment.entries.values())
          assert(segment.machines.has(holder as Name), `${holder} is gone`)
      }
      segment.pass(60_000)
      for (const [ip, node] of segment.entries) assert.equal(node, segment.expected(ip))
      assert.deepEqual(segment.broadcasts, [])
    }),
    { numRuns: 60 },
  )
})

test('askers that cannot be read are dropped, whoever tells of them', () => {
  const segment = new Segment(['a', 'b'])
  const effects: Effect[] = []
  segment.perform = (_, effect) => effects.push(effect)
  segment.run('a', { type: 'askers', node: 'b', body: Uint8Array.of(4, 1), now: 0 })
  assert.deepEqual(effects, [{ type: 'dropped', why: 'undecodable' }])
})

test('the view of a shared address: who has how many askers, and a single router for what it is', () => {
  const segment = new Segment(['a', 'b'])
  segment.ask(1)
  const view = () => sharedAddresses(segment.machines.get('a') as Layer2, segment.now)[0]
  assert.deepEqual([view()?.ip, view()?.askers, view()?.single], [VIP, 1, true])
  assert.match(view()?.advice ?? '', /by BGP/)
  for (const n of MANY) segment.ask(n)
  assert.deepEqual([view()?.askers, view()?.single, view()?.advice], [MANY.length, false, undefined])
  assert.deepEqual(
    view()?.nodes.map(({ askers }) => askers),
    ['a', 'b'].map(name => [...segment.entries.values()].filter(each => each === name).length),
  )
  segment.level('b', 'down')
  assert.equal(view()?.nodes.length, 1)
  assert((view()?.waiting ?? 0) > 0, 'they are told three times')
})
