import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countSteps } from '../../test/steps.ts'
import { type Ip, isIpv4, parseIp } from '../addr/ip.ts'
import { type Mac, parseMac } from '../addr/mac.ts'
import { arpRequest, encodeArpFrame, gratuitousReply } from '../wire/arp.ts'
import {
  createLayer2,
  type Effect,
  type Event,
  type Layer2,
  nextDeadline,
  step as stepAs,
  type Vip,
} from './machine.ts'

const VIP = ipv4('10.9.0.1')
const STRANGER = { mac: mac('00:00:5e:00:53:02'), ip: ipv4('192.0.2.99') }

const STANDING = { entitledUntil: Number.POSITIVE_INFINITY, probation: false, alone: false }
const step = (m: Layer2, event: Event): Effect[] => stepAs(m, event, STANDING)

function ipv4(text: string) {
  const ip = parseIp(text)
  assert.ok(ip !== undefined && isIpv4(ip))
  return ip
}

function mac(text: string): Mac {
  const parsed = parseMac(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function vip(ip: Ip, ahead: readonly string[] = []): Vip {
  const rest = { behind: [], truncated: false, interfaces: 'all', mode: 'single' } as const
  return { ip, claims: [{ service: `default/${ip}`, ahead, ...rest }] }
}

/** In the midst of the announcements of so many addresses, and of one more that another node goes before. */
function machine(addresses: number): Layer2 {
  const m = createLayer2({ self: 'node1', announceIntervalMs: 0 })
  const nic = { index: 2, name: 'eth0', mac: mac('00:00:5e:00:53:01'), arp: true, linkLocal: undefined }
  step(m, { type: 'nics', nics: [nic], now: 0 })
  step(m, { type: 'macs', of: new Map(), complete: true, now: 0 })
  for (const node of ['node2', 'node3']) step(m, { type: 'node', node, level: 'up', now: 0 })
  const set = Array.from({ length: addresses }, (_, i) => vip(ipv4(`10.1.${i >> 8}.${i & 255}`)))
  step(m, { type: 'plan', set: [...set, vip(VIP, ['node2'])], remove: [], now: 0 })
  while (nextDeadline(m) <= 0) step(m, { type: 'tick', now: 0 })
  assert.equal(nextDeadline(m), 1100)
  return m
}

const frame = (bytes: Uint8Array): Event => ({ type: 'frame', interfaceIndex: 2, frame: bytes, now: 500 })
const EVENTS: readonly (readonly [string, Event])[] = [
  ['a tick before anything is due', { type: 'tick', now: 500 }],
  ['the node before this one is lost', { type: 'node', node: 'node2', level: 'down', now: 500 }],
  [
    'a node that goes before this one nowhere is lost',
    { type: 'node', node: 'node3', level: 'down', now: 500 },
  ],
  ['a new address', { type: 'plan', set: [vip(ipv4('10.9.0.2'))], remove: [], now: 500 }],
  ['an address less', { type: 'plan', set: [], remove: [ipv4('10.1.0.7')], now: 500 }],
  ['a question', frame(encodeArpFrame(arpRequest(STRANGER, ipv4('10.1.0.7'))))],
  ['a claim of a stranger', frame(encodeArpFrame(gratuitousReply(STRANGER.mac, ipv4('10.1.0.7'))))],
]

for (const [name, event] of EVENTS) {
  test(`costs the same while 100 addresses are announced and while 10,000 are: ${name}`, async () => {
    const costs: { steps: number; effects: number }[] = []
    // The first run of a process is not alone: what tests before it left behind is finished then.
    for (const addresses of [100, 100, 10_000]) {
      const m = machine(addresses)
      let effects = 0
      const steps = await countSteps(() => {
        effects = step(m, event).length
        nextDeadline(m)
      })
      costs.push({ steps, effects })
    }
    assert.deepEqual(costs[2], costs[1])
  })
}

test('ten thousand addresses are announced in turns, each in five rounds, and then there is peace', () => {
  const m = createLayer2({ self: 'node1', announceIntervalMs: 0 })
  const nic = { index: 2, name: 'eth0', mac: mac('00:00:5e:00:53:01'), arp: true, linkLocal: undefined }
  step(m, { type: 'nics', nics: [nic], now: 0 })
  const set = Array.from({ length: 10_000 }, (_, i) => vip(ipv4(`10.1.${i >> 8}.${i & 255}`)))
  const rounds = new Map<Ip, number>()
  const perform = (event: Event) => {
    const announced = new Set<Ip>()
    for (const effect of step(m, event)) if (effect.type === 'send') announced.add(effect.ip)
    assert.ok(announced.size <= 256, 'so that heartbeats go out in between')
    for (const ip of announced) rounds.set(ip, (rounds.get(ip) ?? 0) + 1)
  }
  perform({ type: 'plan', set, remove: [], now: 0 })
  let now = 0
  for (let due = nextDeadline(m); due < Number.POSITIVE_INFINITY; due = nextDeadline(m)) {
    // Each step takes a while, so that the addresses are spread over time.
    now = Math.max(now + 3, due)
    perform({ type: 'tick', now })
  }
  assert.equal(rounds.size, 10_000)
  assert.deepEqual(new Set(rounds.values()), new Set([5]))
})
