import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, type Ipv4, parseIp } from '../addr/ip.ts'
import { type Mac, parseMac } from '../addr/mac.ts'
import { FakeClock } from '../ports/clock.ts'
import { FakeLinks, type Link } from '../ports/links.ts'
import { FakeLog } from '../ports/log.ts'
import { FakeMulticastGroups } from '../ports/multicast.ts'
import { FakeSegment, type PacketSocket, type PacketSocketOptions } from '../ports/packet-socket.ts'
import { arpReply, arpRequest, decodeArpFrame, encodeArpFrame, gratuitousReply } from '../wire/arp.ts'
import { Reflex } from './driver.ts'
import { hear } from './frames.ts'
import type { Claim, Vip } from './machine.ts'
import { DEFAULT_EXCLUDED_INTERFACES } from './nics.ts'
import type { OwnedChange, ReflexReport } from './reflex.ts'

const KEY = new Uint8Array(22).fill(1)
const VIP4 = ip('192.0.2.100')
const VIP6 = ip('2001:db8::100')
const MACS = { a: '00:00:5e:00:53:0a', b: '00:00:5e:00:53:0b', c: '00:00:5e:00:53:0c' } as const
const IPS = { a: ip('192.0.2.11'), b: ip('192.0.2.12'), c: ip('192.0.2.13') } as const
type Name = keyof typeof IPS

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function link(name: Name, change: Partial<Link> = {}): Link {
  return {
    index: 2,
    name: 'eth0',
    mac: parseMac(MACS[name]),
    up: true,
    carrier: true,
    loopback: false,
    broadcast: true,
    noArp: false,
    master: undefined,
    addresses: [
      { ip: IPS[name], prefixLength: 24, tentative: false },
      { ip: ip('fe80::1'), prefixLength: 64, tentative: false },
    ],
    ...change,
  }
}

/** Until both have proven to each other that they are there. */
const START_MS = 1500
const GATEWAY = { ip: ip('192.0.2.254'), mac: '00:00:5e:00:53:fe' } as const

/** A process that may be stopped: what happens to it meanwhile waits. */
class Gate {
  frozen = false
  readonly #waiting: (() => void)[] = []

  run(what: () => void): void {
    if (this.frozen) this.#waiting.push(what)
    else what()
  }

  thaw(): void {
    this.frozen = false
    for (const what of this.#waiting.splice(0)) what()
  }
}

/**
 * Two nodes and a gateway on one segment, each with its own links; heartbeats arrive within the millisecond. A node that is `off` is
 * cut off from everything, silently.
 */
class Pair {
  readonly clock = new FakeClock()
  readonly segment = new FakeSegment()
  readonly links = { a: new FakeLinks(), b: new FakeLinks(), c: new FakeLinks() }
  readonly groups = {
    a: new FakeMulticastGroups(),
    b: new FakeMulticastGroups(),
    c: new FakeMulticastGroups(),
  }
  readonly gates = { a: new Gate(), b: new Gate(), c: new Gate() }
  readonly logs = { a: new FakeLog(), b: new FakeLog(), c: new FakeLog() }
  readonly reports: { on: Name; report: ReflexReport }[] = []
  readonly nodes = new Map<Name, Reflex>()
  readonly off = new Set<Name>()
  readonly #sockets: { name: Name; deliver: (frame: Uint8Array) => void }[] = []
  /** Heartbeats are lost, frames are not. */
  deaf = false

  readonly #names: readonly Name[]

  constructor(names: readonly Name[] = ['a', 'b']) {
    this.#names = names
    this.#gateway()
    for (const name of names) {
      this.links[name].set([link(name)])
      this.links[name].setGateways([{ interfaceIndex: 2, ip: GATEWAY.ip }])
      const others = names.filter(each => each !== name)
      const gate = this.gates[name]
      const reflex = new Reflex(
        {
          self: name,
          epoch: 1,
          intervalMs: 20,
          misses: 4,
          returnAfterMs: 1000,
          excludedInterfaces: DEFAULT_EXCLUDED_INTERFACES,
        },
        {
          clock: {
            now: () => this.clock.now(),
            wallNow: () => this.clock.wallNow(),
            after: (delayMs, callback) => {
              let cancelled = false
              const run = () => cancelled || callback()
              const cancel = this.clock.after(delayMs, () => gate.run(run))
              return () => {
                cancelled = true
                cancel()
              }
            },
          },
          log: this.logs[name],
          links: this.links[name],
          packetSockets: { open: options => this.#open(name, options) },
          groups: this.groups[name],
          sendHeartbeat: (payload, to) => {
            const other = others.find(each => IPS[each] === to)
            if (other === undefined || this.deaf || this.off.has(name)) return
            this.clock.after(0.5, () => {
              if (this.off.has(other)) return
              this.gates[other].run(() => this.nodes.get(other)?.datagram(payload))
            })
          },
          report: report => this.reports.push({ on: name, report }),
        },
      )
      this.nodes.set(name, reflex)
      const peers = others.map(each => ({ name: each, ip: IPS[each], macs: [mac(MACS[each])] }))
      reflex.command({ type: 'peers', peers, self: IPS[name] })
      reflex.command({ type: 'plan', set: [vip(VIP4, name), vip(VIP6, name)], remove: [] })
      reflex.command({ type: 'key', key: KEY })
    }
  }

  #open(name: Name, options: PacketSocketOptions): PacketSocket {
    const deliver = (frame: Uint8Array) => this.gates[name].run(() => options.onFrame(frame, 'broadcast'))
    const socket = this.segment.open({ ...options, onFrame: frame => this.off.has(name) || deliver(frame) })
    if (options.protocol === 'arp')
      this.#sockets.push({ name, deliver: frame => options.onFrame(frame, 'broadcast') })
    const send = (frame: Uint8Array) => this.off.has(name) || socket.send(frame)
    return {
      interfaceIndex: options.interfaceIndex,
      send,
      sendBatch: frames => frames.filter(send).length,
      stats: () => socket.stats(),
      close: () => socket.close(),
    }
  }

  #gateway(): void {
    this.answerFor(GATEWAY.ip, GATEWAY.mac, () => true)
  }

  /** A kernel that answers for its address. */
  answerFor(address: Ip, of: string, alive: () => boolean): void {
    const socket = this.segment.open({
      interfaceIndex: 1,
      protocol: 'arp',
      onError: () => {},
      onFrame: frame => {
        if (hear(frame).type !== 'question') return
        const asked = decodeArpFrame(frame)
        if (asked.arp.operation === 'request' && asked.arp.targetIp === address && alive())
          socket.send(encodeArpFrame(arpReply(asked, mac(of))))
      },
    })
  }

  /** One frame to one node, whatever waits there. */
  deliver(name: Name, frame: Uint8Array): void {
    for (const socket of this.#sockets) if (socket.name === name) socket.deliver(frame)
  }

  node(name: Name): Reflex {
    const reflex = this.nodes.get(name)
    assert.ok(reflex !== undefined)
    return reflex
  }

  reportsOf<T extends ReflexReport['type']>(name: Name, type: T): (ReflexReport & { type: T })[] {
    return this.reports.flatMap(({ on, report }) =>
      on === name && report.type === type ? [report as ReflexReport & { type: T }] : [],
    )
  }

  changes(name: Name, address: Ip): OwnedChange[] {
    return this.reportsOf(name, 'owned').flatMap(({ changes }) =>
      changes.filter(({ ip: each }) => each === address),
    )
  }

  /** Which nodes said last that they own the address. */
  owners(address: Ip): Name[] {
    return this.#names.filter(name => this.changes(name, address).at(-1)?.owned === true)
  }

  /** The MACs that answer a client's request for the address. */
  ask(): string[] {
    const before = this.segment.frames.length
    this.segment.inject(QUESTION)
    return this.segment.frames.slice(before).map(({ frame }) => decodeArpFrame(frame).arp.senderMac)
  }
}

const QUESTION = encodeArpFrame(
  arpRequest({ mac: mac('00:00:5e:00:53:cc'), ip: ip('192.0.2.201') as Ipv4 }, VIP4 as Ipv4),
)

function mac(text: string): Mac {
  const parsed = parseMac(text)
  assert.ok(parsed !== undefined)
  return parsed
}

const CLAIM: Claim = {
  service: 'default/web',
  ahead: [],
  behind: [],
  truncated: false,
  interfaces: 'all',
  mode: 'single',
}

/** a goes first, then b. */
function vip(address: Ip, on: Name): Vip {
  const order = ['a', 'b', 'c']
  const [ahead, behind] = [order.slice(0, order.indexOf(on)), order.slice(order.indexOf(on) + 1)]
  return { ip: address, claims: [{ ...CLAIM, ahead, behind }] }
}

test('the first candidate answers; cut off, it falls silent, and the second follows with the phases of it', () => {
  const pair = new Pair()
  pair.clock.advance(START_MS)
  assert.deepEqual(pair.owners(VIP4), ['a'])
  assert.deepEqual(pair.ask(), [MACS.a])
  pair.off.add('a')
  const cutAt = pair.clock.wallNow()
  pair.clock.advance(150)
  assert.deepEqual(pair.ask(), [MACS.b])
  assert.deepEqual(pair.groups.b.joined, ['2 ff02::1:ff00:100'])
  const last = pair.changes('b', VIP4).at(-1)
  assert.ok(last?.because.type === 'node' && last.because.node === 'a' && last.because.level === 'down')
  const { phases } = last
  assert.ok(phases !== undefined && phases.lastHeardAt !== null && phases.suspectedAt !== null)
  assert.ok(phases.lastHeardAt <= cutAt + 1 && phases.lastHeardAt < phases.suspectedAt)
  assert.ok(phases.suspectedAt < phases.confirmedAt && phases.confirmedAt <= phases.announcedAt)
  assert.equal(phases.announcedAt, last.atWallMs)
  // Only the wire can tell a that it is the one that is cut off.
  pair.off.delete('a')
  pair.deaf = true
  pair.deliver('a', QUESTION)
  assert.deepEqual(pair.ask(), [MACS.b])
})

for (const names of [
  ['a', 'b'],
  ['a', 'b', 'c'],
] as const) {
  test(`of ${names.length}: who comes back proves itself, then takes over without a moment in which nobody answers`, () => {
    const pair = new Pair(names)
    pair.clock.advance(START_MS)
    pair.off.add('a')
    pair.clock.advance(1000)
    pair.off.delete('a')
    const seen: string[] = []
    for (let i = 0; i < 4000; i++) {
      pair.clock.advance(1)
      const answers = pair.ask()
      assert.equal(answers.length, 1, `${i} ms after: ${answers.join()}`)
      if (answers[0] !== undefined && answers[0] !== seen.at(-1)) seen.push(answers[0])
    }
    assert.deepEqual(seen, [MACS.b, MACS.a])
  })
}

test('the very first frame after a pause of five seconds gets no answer', () => {
  const pair = new Pair(['a', 'b', 'c'])
  pair.clock.advance(START_MS)
  pair.gates.a.frozen = true
  pair.clock.advance(5000)
  const before = pair.segment.frames.length
  pair.deliver('a', QUESTION)
  assert.equal(pair.segment.frames.length, before)
  pair.gates.a.thaw()
  for (let i = 0; i < 200; i++) {
    assert.deepEqual(pair.ask(), [MACS.b])
    pair.clock.advance(1)
  }
  assert.equal(pair.reportsOf('a', 'lost').length, 1)
  assert.deepEqual(pair.owners(VIP4), ['b'])
})

test('two that do not hear each other but the same wire: one of them answers, and it stays so', () => {
  const pair = new Pair()
  pair.clock.advance(START_MS)
  pair.deaf = true
  pair.clock.advance(3000)
  let changes = 0
  let last: string | undefined
  for (let i = 0; i < 60; i++) {
    pair.clock.advance(1000)
    const answers = pair.ask()
    assert.ok(answers.length <= 1, `${i} s after: ${answers.join()}`)
    if (answers[0] !== last) changes++
    last = answers[0]
  }
  assert.equal(last, MACS.a)
  assert.ok(changes <= 2, `${changes} changes`)
})

test('a drain hands over without a moment in which nobody answers', () => {
  const pair = new Pair()
  pair.clock.advance(START_MS)
  pair.node('a').command({ type: 'drain', patienceMs: 1000 })
  assert.deepEqual(pair.ask(), [MACS.a])
  pair.clock.advance(1)
  assert.deepEqual(pair.ask(), [MACS.b])
  pair.clock.advance(1)
  assert.equal(pair.reportsOf('a', 'drained').length, 1)
})

test('a node that loses its carrier is silent at once, and is back when it has proven itself', () => {
  const pair = new Pair()
  pair.clock.advance(START_MS)
  pair.off.add('a')
  pair.links.a.set([link('a', { carrier: false })])
  pair.off.delete('a')
  pair.deliver('a', QUESTION)
  assert.deepEqual(pair.ask(), [])
  pair.off.add('a')
  pair.clock.advance(150)
  assert.deepEqual(pair.ask(), [MACS.b])
  pair.off.delete('a')
  pair.links.a.set([link('a')])
  pair.clock.advance(3000)
  assert.deepEqual(pair.ask(), [MACS.a])
  assert.deepEqual(pair.owners(VIP4), ['a'])
})

test('a new interface is opened, one that is gone is closed, and groups go with it', () => {
  const pair = new Pair()
  pair.clock.advance(START_MS)
  assert.deepEqual(pair.groups.a.joined, ['2 ff02::1:ff00:100'])
  pair.links.a.set([])
  assert.deepEqual(pair.groups.a.joined, [])
  assert.deepEqual(pair.ask(), [])
  pair.links.a.set([link('a', { index: 7 })])
  pair.clock.advance(3000)
  assert.deepEqual(pair.groups.a.joined, ['7 ff02::1:ff00:100'])
  assert.deepEqual(pair.ask(), [MACS.a])
})

test('counters say what was asked, answered, announced and dropped', () => {
  const pair = new Pair()
  pair.clock.advance(START_MS)
  pair.ask()
  pair.segment.inject(Uint8Array.from([...new Uint8Array(12), 8, 6, 1]))
  pair.node('a').command({ type: 'count' })
  const report = pair.reports.map(each => each.report).findLast(each => each.type === 'counters')
  assert.ok(report?.type === 'counters')
  const counters = report.counters.addresses.find(each => each.ip === VIP4)
  assert.ok(counters !== undefined && counters.announcements >= 2)
  assert.deepEqual([counters.requests, counters.replies], [1, 1])
  assert.equal(report.counters.dropped['frame-undecodable'], 1)
  assert.ok(report.counters.heartbeatsReceived > 5)
})

test('after close nothing happens any more', () => {
  const pair = new Pair()
  pair.clock.advance(START_MS)
  pair.node('a').close()
  pair.node('b').close()
  const before = pair.segment.frames.length
  pair.clock.advance(5000)
  assert.deepEqual(pair.ask(), [])
  assert.equal(pair.segment.frames.length, before)
})

test('counters are reported for the addresses where something happened', () => {
  const pair = new Pair()
  pair.clock.advance(6000)
  const counted = () => {
    pair.node('a').command({ type: 'count' })
    const report = pair.reports.map(each => each.report).findLast(each => each.type === 'counters')
    assert.ok(report?.type === 'counters')
    return report.counters.addresses.map(each => `${each.ip} ${each.requests}`)
  }
  assert.equal(counted().length, 2)
  assert.deepEqual(counted(), [])
  pair.ask()
  assert.deepEqual(counted(), [`${VIP4} 1`])
})

test('a stranger with our address is reported, and the owner says whose it is', () => {
  const pair = new Pair()
  pair.clock.advance(10_000)
  const before = pair.segment.frames.length
  pair.segment.inject(encodeArpFrame(gratuitousReply(mac('00:00:5e:00:53:66'), VIP4 as Ipv4)))
  const said = pair.segment.frames.slice(before).map(({ frame }) => decodeArpFrame(frame).arp)
  assert.equal(said.length, 2, 'both forms')
  assert.ok(said.every(arp => arp.senderMac === MACS.a && arp.senderIp === VIP4))
  const [conflict, ...more] = pair.reportsOf('a', 'conflict')
  assert.ok(conflict !== undefined && more.length === 0 && pair.reportsOf('b', 'conflict').length === 0)
  assert.deepEqual(
    [conflict.ip, conflict.services, conflict.mac, conflict.interfaceName, conflict.action],
    [VIP4, ['default/web'], '00:00:5e:00:53:66', 'eth0', 'defended'],
  )
})

test('of a thousand addresses the last is announced within twice the time of the first', () => {
  const pair = new Pair()
  const many = Array.from({ length: 1000 }, (_, i) => ip(`10.0.${i >> 8}.${i & 255}`))
  for (const name of ['a', 'b'] as const)
    pair.node(name).command({ type: 'plan', set: many.map(each => vip(each, name)), remove: [] })
  pair.clock.advance(START_MS + 8000)
  pair.off.add('a')
  const cutAt = pair.clock.wallNow()
  pair.clock.advance(2000)
  const announced = many.map(each => pair.changes('b', each).at(-1)?.phases?.announcedAt ?? Number.NaN)
  const [first, last] = [Math.min(...announced) - cutAt, Math.max(...announced) - cutAt]
  assert.ok(first > 0 && last <= 2 * first, `${first} and ${last} ms`)
})

test('an owner tells on which interfaces it announces; none, when the plan names others', () => {
  const pair = new Pair()
  pair.node('a').command({
    type: 'plan',
    set: [{ ip: ip('192.0.2.150'), claims: [{ ...CLAIM, interfaces: ['eth9'] }] }],
    remove: [],
  })
  pair.clock.advance(START_MS)
  const changes = pair.reports.flatMap(({ on, report }) =>
    on === 'a' && report.type === 'owned' ? report.changes : [],
  )
  assert.deepEqual(changes.find(change => change.ip === VIP4)?.interfaces, ['eth0'])
  assert.deepEqual(changes.find(change => change.ip === '192.0.2.150')?.interfaces, [])
})

test('a speaker that is gone is told apart from a host that is gone', () => {
  const pair = new Pair(['a', 'b', 'c'])
  let alive = true
  pair.answerFor(IPS.c, MACS.c, () => alive)
  pair.clock.advance(START_MS)
  const hosts = () => pair.reportsOf('a', 'host').map(({ node, alive: lives }) => [node, lives])
  // The speaker stands still, its kernel does not.
  pair.gates.c.frozen = true
  pair.clock.advance(300)
  assert.deepEqual(hosts(), [['c', true]])
  pair.clock.advance(5000)
  assert.equal(hosts().length, 1)
  // Now the host itself.
  alive = false
  pair.clock.advance(2000)
  assert.deepEqual(hosts().at(-1), ['c', false])
  alive = true
  pair.clock.advance(500)
  assert.deepEqual(hosts().at(-1), ['c', true])
  pair.gates.c.thaw()
  pair.clock.advance(3000)
  assert.deepEqual(hosts().at(-1), ['c', true])
})

test('a node that is cut off goes with its host, and comes back with it', () => {
  const pair = new Pair(['a', 'b', 'c'])
  pair.answerFor(IPS.c, MACS.c, () => !pair.off.has('c'))
  pair.clock.advance(START_MS)
  pair.off.add('c')
  pair.clock.advance(300)
  pair.off.delete('c')
  pair.clock.advance(3000)
  const hosts = pair.reportsOf('a', 'host').map(({ node, alive }) => [node, alive])
  assert.deepEqual(hosts[0], ['c', false])
  assert.deepEqual(hosts.at(-1), ['c', true])
})
