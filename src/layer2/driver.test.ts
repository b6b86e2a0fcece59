import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { parseMac } from '../addr/mac.ts'
import { FakeClock } from '../ports/clock.ts'
import { FakeLinks, type Link } from '../ports/links.ts'
import { FakeLog } from '../ports/log.ts'
import { FakeMulticastGroups } from '../ports/multicast.ts'
import { FakeSegment } from '../ports/packet-socket.ts'
import { arpRequest, decodeArpFrame, encodeArpFrame, gratuitousReply } from '../wire/arp.ts'
import { Reflex } from './driver.ts'
import type { Claim, Vip } from './machine.ts'
import { DEFAULT_EXCLUDED_INTERFACES } from './nics.ts'
import type { ReflexReport } from './reflex.ts'

const KEY = new Uint8Array(22).fill(1)
const VIP4 = ip('192.0.2.100')
const VIP6 = ip('2001:db8::100')
const MACS = { a: '00:00:5e:00:53:0a', b: '00:00:5e:00:53:0b' } as const
const IPS = { a: ip('192.0.2.11'), b: ip('192.0.2.12') } as const
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

/** Two nodes on one segment, each with its own links; heartbeats arrive within the millisecond unless cut. */
class Pair {
  readonly clock = new FakeClock()
  readonly segment = new FakeSegment()
  readonly links = { a: new FakeLinks(), b: new FakeLinks() }
  readonly groups = { a: new FakeMulticastGroups(), b: new FakeMulticastGroups() }
  readonly reports: { on: Name; report: ReflexReport }[] = []
  readonly nodes = new Map<Name, Reflex>()
  cut = false

  constructor() {
    for (const name of ['a', 'b'] as const) {
      this.links[name].set([link(name)])
      const reflex = new Reflex(
        {
          self: name,
          epoch: 1,
          intervalMs: 50,
          deadAfterMs: 250,
          excludedInterfaces: DEFAULT_EXCLUDED_INTERFACES,
        },
        {
          clock: this.clock,
          log: new FakeLog(),
          links: this.links[name],
          packetSockets: this.segment,
          groups: this.groups[name],
          sendHeartbeat: (payload, to) => {
            const other = name === 'a' ? 'b' : 'a'
            if (!this.cut && to === IPS[other])
              this.clock.after(0.5, () => this.nodes.get(other)?.datagram(payload))
          },
          report: report => this.reports.push({ on: name, report }),
        },
      )
      this.nodes.set(name, reflex)
      const other = name === 'a' ? 'b' : 'a'
      reflex.command({
        type: 'peers',
        peers: [{ name: other, ip: IPS[other] }],
        unreachable: [],
        self: IPS[name],
      })
      reflex.command({ type: 'key', key: KEY })
      reflex.command({ type: 'plan', set: [vip(VIP4, name), vip(VIP6, name)], remove: [] })
    }
  }

  node(name: Name): Reflex {
    const reflex = this.nodes.get(name)
    assert.ok(reflex !== undefined)
    return reflex
  }

  /** Which nodes said last that they own the address. */
  owners(address: Ip): Name[] {
    return (['a', 'b'] as const).filter(name => {
      const changes = this.reports.flatMap(({ on, report }) =>
        on === name && report.type === 'owned' ? report.changes.filter(change => change.ip === address) : [],
      )
      return changes.at(-1)?.owned === true
    })
  }

  /** The MACs that answer a client's request for the address. */
  ask(): string[] {
    const client = parseMac('00:00:5e:00:53:cc')
    const [own, target] = [ip('192.0.2.201'), VIP4]
    assert.ok(client !== undefined)
    const before = this.segment.frames.length
    this.segment.inject(encodeArpFrame(arpRequest({ mac: client, ip: own as never }, target as never)))
    return this.segment.frames.slice(before).map(({ frame }) => decodeArpFrame(frame).arp.senderMac)
  }
}

const CLAIM: Claim = {
  service: 'default/web',
  ahead: [],
  behind: [],
  truncated: false,
  interfaces: 'all',
  mode: 'single',
}

/** a goes first. */
function vip(address: Ip, on: Name): Vip {
  const ahead = on === 'a' ? [] : ['a']
  const behind = on === 'a' ? ['b'] : []
  return { ip: address, claims: [{ ...CLAIM, ahead, behind }] }
}

test('the first candidate answers, and the second follows within the silence that counts as death', () => {
  const pair = new Pair()
  pair.clock.advance(400)
  assert.deepEqual(pair.owners(VIP4), ['a'])
  assert.deepEqual(pair.ask(), [MACS.a])
  pair.node('a').close()
  pair.clock.advance(260)
  assert.deepEqual(pair.ask(), [MACS.b])
  assert.deepEqual(pair.groups.b.joined, ['2 ff02::1:ff00:100'])
  const last = pair.reports.filter(({ on, report }) => on === 'b' && report.type === 'owned').at(-1)?.report
  assert.ok(last?.type === 'owned')
  assert.equal(last.changes[0]?.because.type, 'peer')
})

test('a drain hands over without a moment in which nobody answers', () => {
  const pair = new Pair()
  pair.clock.advance(400)
  pair.node('a').command({ type: 'drain', patienceMs: 1000 })
  assert.deepEqual(pair.ask(), [MACS.a])
  pair.clock.advance(1)
  assert.deepEqual(pair.ask(), [MACS.b])
  assert.ok(pair.reports.some(({ on, report }) => on === 'a' && report.type === 'drained'))
})

test('a node that loses its carrier gives way, and takes its place again when it is heard', () => {
  const pair = new Pair()
  pair.clock.advance(400)
  pair.cut = true
  pair.links.a.set([link('a', { carrier: false })])
  pair.clock.advance(300)
  assert.deepEqual(pair.ask(), [MACS.b])
  pair.cut = false
  pair.links.a.set([link('a')])
  pair.clock.advance(60)
  assert.deepEqual(pair.owners(VIP4), ['a'])
  assert.deepEqual(pair.ask(), [MACS.a])
})

test('a new interface is opened, one that is gone is closed, and groups go with it', () => {
  const pair = new Pair()
  pair.clock.advance(400)
  assert.deepEqual(pair.groups.a.joined, ['2 ff02::1:ff00:100'])
  pair.links.a.set([])
  assert.deepEqual(pair.groups.a.joined, [])
  assert.deepEqual(pair.ask(), [])
  pair.links.a.set([link('a', { index: 7 })])
  assert.deepEqual(pair.groups.a.joined, ['7 ff02::1:ff00:100'])
  assert.deepEqual(pair.ask(), [MACS.a])
})

test('counters say what was asked, answered, announced and dropped', () => {
  const pair = new Pair()
  pair.clock.advance(400)
  pair.ask()
  pair.segment.inject(Uint8Array.from([...new Uint8Array(12), 8, 6, 1]))
  pair.node('a').command({ type: 'count' })
  const report = pair.reports.map(each => each.report).findLast(each => each.type === 'counters')
  assert.ok(report?.type === 'counters')
  const counters = report.counters.addresses.find(each => each.ip === VIP4)
  assert.deepEqual(counters, { ip: VIP4, requests: 1, replies: 1, announcements: 2 })
  assert.equal(report.counters.dropped['frame-undecodable'], 1)
  assert.ok(report.counters.heartbeatsReceived > 5)
})

test('after close nothing happens any more', () => {
  const pair = new Pair()
  pair.clock.advance(400)
  pair.node('a').close()
  pair.node('b').close()
  const before = pair.segment.frames.length
  pair.clock.advance(5000)
  assert.deepEqual(pair.ask(), [])
  assert.equal(pair.segment.frames.length, before)
})

test('a node without an address counts as dead, and once it has one its heartbeats decide', () => {
  const pair = new Pair()
  pair.clock.advance(400)
  assert.deepEqual(pair.owners(VIP4), ['a'])
  pair.node('a').close()
  pair.node('b').command({ type: 'peers', peers: [], unreachable: ['a'], self: IPS.b })
  assert.deepEqual(pair.ask(), [MACS.b])
  pair.node('b').command({ type: 'peers', peers: [{ name: 'a', ip: IPS.a }], unreachable: [], self: IPS.b })
  pair.clock.advance(1000)
  assert.deepEqual(pair.ask(), [MACS.b])
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

test('an owner whose address is claimed by a stranger says so again, without waiting for anything else', () => {
  const pair = new Pair()
  pair.clock.advance(10_000)
  const stranger = parseMac('00:00:5e:00:53:66')
  assert.ok(stranger !== undefined)
  const before = pair.segment.frames.length
  pair.segment.inject(encodeArpFrame(gratuitousReply(stranger, VIP4 as never)))
  pair.clock.advance(6000)
  const said = pair.segment.frames
    .slice(before)
    .filter(({ frame }) => frame[12] === 8 && frame[13] === 6)
    .map(({ frame }) => decodeArpFrame(frame).arp)
  assert.equal(said.length, 10, 'five rounds of two forms')
  assert.ok(said.every(arp => arp.senderMac === MACS.a && arp.senderIp === VIP4))
})

test('an owner tells on which interfaces it announces; none, when the plan names others', () => {
  const pair = new Pair()
  pair.node('a').command({
    type: 'plan',
    set: [{ ip: ip('192.0.2.150'), claims: [{ ...CLAIM, interfaces: ['eth9'] }] }],
    remove: [],
  })
  pair.clock.advance(400)
  const changes = pair.reports.flatMap(({ on, report }) =>
    on === 'a' && report.type === 'owned' ? report.changes : [],
  )
  assert.deepEqual(changes.find(change => change.ip === VIP4)?.interfaces, ['eth0'])
  assert.deepEqual(changes.find(change => change.ip === '192.0.2.150')?.interfaces, [])
})
