import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, isIpv4, isIpv6, parseIp } from '../addr/ip.ts'
import { type Mac, parseMac } from '../addr/mac.ts'
import type { Level } from '../membership/machine.ts'
import {
  arpProbe,
  arpReply,
  arpRequest,
  decodeArpFrame,
  encodeArpFrame,
  gratuitousReply,
  gratuitousRequest,
} from '../wire/arp.ts'
import {
  decodeNdFrame,
  duplicateProbe,
  encodeNdFrame,
  linkAddressOf,
  neighborSolicitation,
  unsolicitedAdvertisement,
} from '../wire/nd.ts'
import {
  type Claim,
  createLayer2,
  type Effect,
  type Event,
  type Layer2,
  type Nic,
  nextDeadline,
  type Standing,
  step as stepAs,
  type Vip,
} from './machine.ts'

const V4 = ipv4('192.0.2.100')
const V6 = ipv6('2001:db8::100')
const OURS = mac('00:00:5e:00:53:01')
const OTHER = mac('00:00:5e:00:53:02')
const STRANGER = mac('00:00:5e:00:53:66')
const CLIENT = { mac: mac('00:00:5e:00:53:c1'), ip: ipv4('192.0.2.201') }
const CLIENT6 = { mac: CLIENT.mac, ip: ipv6('2001:db8::201') }
const ETH0: Nic = { index: 2, name: 'eth0', mac: OURS, arp: true, linkLocal: ipv6('fe80::1') }
const ETH1: Nic = { index: 3, name: 'eth1', mac: mac('00:00:5e:00:53:11'), arp: true, linkLocal: undefined }

const STANDS: Standing = { entitledUntil: Number.POSITIVE_INFINITY, probation: false, alone: false }
const SILENCED: Standing = { ...STANDS, entitledUntil: 0 }
const ALONE: Standing = { entitledUntil: 0, probation: true, alone: true }
const step = (m: Layer2, event: Event, standing = STANDS): Effect[] => stepAs(m, event, standing)

function ipv4(text: string) {
  const ip = parseIp(text)
  assert.ok(ip !== undefined && isIpv4(ip))
  return ip
}

function ipv6(text: string) {
  const ip = parseIp(text)
  assert.ok(ip !== undefined && isIpv6(ip))
  return ip
}

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

function vip(ip: Ip, claim: Partial<Claim> = {}): Vip {
  return {
    ip,
    claims: [{ ...CLAIM, ...claim }],
  }
}

function machine(vips: readonly Vip[], nics: readonly Nic[] = [ETH0]): Layer2 {
  const m = createLayer2({ self: 'self', announceIntervalMs: 0 })
  step(m, { type: 'nics', nics, now: 0 })
  step(m, { type: 'macs', of: new Map([[OTHER, 'b']]), complete: true, now: 0 })
  for (const node of ['a', 'b', 'c']) level(m, node, 'up', 0)
  step(m, { type: 'plan', set: vips, remove: [], now: 0 })
  return m
}

function level(m: Layer2, node: string, to: Level, now = 10): Effect[] {
  return step(m, { type: 'node', node, level: to, now })
}

/** Until all rounds are over. */
function settle(m: Layer2, from = 0): void {
  for (let now = from; now < from + 10_000; now += 100) step(m, { type: 'tick', now })
}

function frame(m: Layer2, bytes: Uint8Array, interfaceIndex = ETH0.index): Effect[] {
  return step(m, { type: 'frame', interfaceIndex, frame: bytes, now: 1 })
}

function sent(effects: readonly Effect[]): { interfaceIndex: number; frame: Uint8Array }[] {
  return effects.filter(effect => effect.type === 'send')
}

function claims(effects: readonly Effect[]): { claims: unknown; to: string | undefined }[] {
  return effects
    .filter(effect => effect.type === 'claim')
    .map(({ claims: each, to }) => ({ claims: each, to }))
}

function ownership(effects: readonly Effect[]): string[] {
  return effects.filter(effect => effect.type === 'owned').map(({ ip, owned }) => `${owned ? '+' : '-'}${ip}`)
}

const WHO_HAS = encodeArpFrame(arpRequest(CLIENT, V4))
const SOLICIT = encodeNdFrame(neighborSolicitation(CLIENT6, V6))

test('L-22: a broadcast request for an owned address is answered to the asker alone, with the MAC of the interface', () => {
  const [reply, ...more] = sent(frame(machine([vip(V4)]), WHO_HAS))
  assert.ok(reply !== undefined && more.length === 0)
  assert.equal(reply.interfaceIndex, ETH0.index)
  assert.deepEqual(decodeArpFrame(reply.frame), {
    ethernet: { destination: CLIENT.mac, source: OURS, tags: [] },
    arp: { operation: 'reply', senderMac: OURS, senderIp: V4, targetMac: CLIENT.mac, targetIp: CLIENT.ip },
  })
})

test('L-22: a unicast request is answered if it is addressed to the interface', () => {
  const m = machine([vip(V4)])
  const request = arpRequest(CLIENT, V4)
  const to = (destination: Mac) =>
    encodeArpFrame({ ...request, ethernet: { ...request.ethernet, destination } })
  assert.equal(sent(frame(m, to(OURS))).length, 1)
  assert.deepEqual(frame(m, to(OTHER)), [{ type: 'dropped', why: 'not-to-us' }])
})

test('L-22: replies, other addresses and other interfaces get no answer', () => {
  const m = machine([vip(V4, { interfaces: ['eth0'] })], [ETH0, ETH1])
  const cases: [Effect & { type: 'dropped' }, Uint8Array, number][] = [
    [
      { type: 'dropped', why: 'not-our-address' },
      encodeArpFrame(arpRequest(CLIENT, ipv4('192.0.2.101'))),
      ETH0.index,
    ],
    [
      { type: 'dropped', why: 'not-a-question' },
      encodeArpFrame(arpReply(arpRequest(CLIENT, V4), OTHER)),
      ETH0.index,
    ],
    [{ type: 'dropped', why: 'not-on-this-interface' }, WHO_HAS, ETH1.index],
    [{ type: 'dropped', why: 'not-on-this-interface' }, WHO_HAS, 99],
    [{ type: 'dropped', why: 'undecodable' }, WHO_HAS.subarray(0, 20), ETH0.index],
  ]
  for (const [wanted, bytes, index] of cases) {
    const effects = frame(m, bytes, index)
    assert.deepEqual(
      [sent(effects), effects.at(-1)?.type === 'claim' ? effects[0] : effects.at(-1)],
      [[], wanted],
    )
  }
})

test('L-22: a gratuitous request of another host for an owned address is answered like any request', () => {
  assert.equal(sent(frame(machine([vip(V4)]), encodeArpFrame(gratuitousRequest(OTHER, V4)))).length, 1)
})

test('L-23: a solicitation is answered with the solicited flag, without override', () => {
  const [reply, ...more] = sent(frame(machine([vip(V6)]), SOLICIT))
  assert.ok(reply !== undefined && more.length === 0)
  const { ethernet, ipv6: header, nd } = decodeNdFrame(reply.frame)
  assert.equal(ethernet.destination, CLIENT.mac)
  assert.equal(header.destination, CLIENT6.ip)
  assert.ok(nd.type === 'neighbor-advertisement')
  assert.deepEqual([nd.solicited, nd.override, nd.target], [true, false, V6])
  assert.equal(linkAddressOf(nd, 'target-link-address'), OURS)
})

test('RFC 4862 section 5.4.3: a duplicate-address probe is answered in front of all', () => {
  const [reply, ...more] = sent(frame(machine([vip(V6)]), encodeNdFrame(duplicateProbe(CLIENT.mac, V6))))
  assert.ok(reply !== undefined && more.length === 0)
  const { ethernet, ipv6: header, nd } = decodeNdFrame(reply.frame)
  assert.deepEqual([ethernet.destination, header.destination], ['33:33:00:00:00:01', 'ff02::1'])
  assert.ok(nd.type === 'neighbor-advertisement')
  assert.deepEqual([nd.solicited, nd.override, nd.target], [false, true, V6])
})

test('RFC 5227 section 2.1.1: an ARP probe is answered', () => {
  const [reply] = sent(frame(machine([vip(V4)]), encodeArpFrame(arpProbe(CLIENT.mac, V4))))
  assert.ok(reply !== undefined)
  const { arp } = decodeArpFrame(reply.frame)
  assert.deepEqual(
    [arp.senderIp, arp.senderMac, arp.targetMac, arp.targetIp],
    [V4, OURS, CLIENT.mac, '0.0.0.0'],
  )
})

test('RFC 4861 section 4.3: a solicitation without option is answered if it is put to us alone', () => {
  const asked = neighborSolicitation(CLIENT6, V6)
  const bare = { ...asked, nd: { ...asked.nd, options: [] } }
  const m = machine([vip(V6)])
  assert.deepEqual(frame(m, encodeNdFrame(bare)), [{ type: 'dropped', why: 'asker-unknown' }])
  const alone = { ...bare, ethernet: { ...bare.ethernet, destination: OURS } }
  const [reply] = sent(frame(m, encodeNdFrame(alone)))
  assert.equal(reply && decodeNdFrame(reply.frame).ethernet.destination, CLIENT.mac)
})

test('L-23: the solicited-node group is joined while the address is owned', () => {
  const m = createLayer2({ self: 'self', announceIntervalMs: 0 })
  step(m, { type: 'nics', nics: [ETH0], now: 0 })
  const joined = step(m, { type: 'plan', set: [vip(V6)], remove: [], now: 0 })
  assert.ok(
    joined.some(effect => effect.type === 'join' && effect.ip === V6 && effect.interfaceIndex === ETH0.index),
  )
  const left = step(m, { type: 'plan', set: [], remove: [V6], now: 0 })
  assert.ok(left.some(effect => effect.type === 'leave' && effect.ip === V6))
})

test('L-24, L-25: one round at once, then every 1.1 s while less than 5 s have passed', () => {
  const m = createLayer2({ self: 'self', announceIntervalMs: 0 })
  step(m, { type: 'nics', nics: [ETH0], now: 0 })
  const rounds: number[] = []
  let effects = step(m, { type: 'plan', set: [vip(V4), vip(V6)], remove: [], now: 0 })
  for (let now = 0; now < 20_000; ) {
    const frames = sent(effects)
    if (frames.length > 0) {
      rounds.push(now)
      // Both forms of gratuitous ARP, and one unsolicited advertisement.
      assert.deepEqual(
        frames.map(each => Buffer.from(each.frame).toString('hex')).sort(),
        [
          encodeArpFrame(gratuitousRequest(OURS, V4)),
          encodeArpFrame(gratuitousReply(OURS, V4)),
          encodeNdFrame(unsolicitedAdvertisement(OURS, V6)),
        ]
          .map(each => Buffer.from(each).toString('hex'))
          .sort(),
      )
      for (const each of frames) {
        const first = each.frame[0] ?? 0
        assert.equal(first & 1, 1, 'to everybody')
      }
    }
    const next = nextDeadline(m)
    if (next === Number.POSITIVE_INFINITY) break
    now = next
    effects = step(m, { type: 'tick', now })
  }
  assert.deepEqual(rounds, [0, 1100, 2200, 3300, 4400])
})

test('a takeover announces at once and answers from then on', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  assert.deepEqual(frame(m, WHO_HAS), [{ type: 'dropped', why: 'not-our-address' }])
  const effects = level(m, 'b', 'down')
  const announcements = effects.filter(effect => effect.type === 'send' && effect.kind === 'announcement')
  assert.equal(announcements.length, 2)
  assert.equal(sent(frame(m, WHO_HAS)).length, 1)
})

test('a list of candidates that was cut short never makes an owner', () => {
  const m = machine([vip(V4, { ahead: ['b'], truncated: true })])
  assert.deepEqual(ownership(level(m, 'b', 'down')), [])
})

test('L-26: an address of two Services is released with the last of them', () => {
  const claim = (service: string): Claim => ({ ...CLAIM, service })
  const m = machine([{ ip: V4, claims: [claim('default/a'), claim('default/b')] }])
  const one = step(m, { type: 'plan', set: [{ ip: V4, claims: [claim('default/b')] }], remove: [], now: 1 })
  // Still ours; told anew because one of its Services is gone.
  const cause = { type: 'plan' }
  assert.deepEqual(one, [{ type: 'owned', ip: V4, services: ['default/b'], owned: true, cause, at: 1 }])
  assert.deepEqual(
    step(m, { type: 'plan', set: [{ ip: V4, claims: [claim('default/b')] }], remove: [], now: 1 }),
    [],
  )
  assert.deepEqual(ownership(step(m, { type: 'plan', set: [], remove: [V4], now: 2 })), [`-${V4}`])
})

test('L-21: an interface that the plan adds is announced on, and one that appears too', () => {
  const m = machine([vip(V4, { interfaces: ['eth0'] })], [ETH0, ETH1])
  const wider = step(m, {
    type: 'plan',
    set: [vip(V4, { interfaces: ['eth0', 'eth1'] })],
    remove: [],
    now: 1,
  })
  assert.ok(sent(wider).some(each => each.interfaceIndex === ETH1.index))
  const eth2: Nic = { ...ETH1, index: 4, name: 'eth2' }
  step(m, { type: 'plan', set: [vip(V4)], remove: [], now: 2 })
  const appeared = step(m, { type: 'nics', nics: [ETH0, ETH1, eth2], now: 3 })
  assert.ok(sent(appeared).some(each => each.interfaceIndex === eth2.index))
})

test('a new MAC of an interface is announced and answered with', () => {
  const m = machine([vip(V4)])
  const changed = step(m, { type: 'nics', nics: [{ ...ETH0, mac: OTHER }], now: 9000 })
  assert.equal(sent(changed).length, 2)
  const [reply] = sent(frame(m, WHO_HAS))
  assert.ok(reply !== undefined)
  assert.equal(decodeArpFrame(reply.frame).arp.senderMac, OTHER)
})

test('an owner says again whose its addresses are when a node comes back from where nobody heard it', () => {
  const m = machine([vip(V4)])
  level(m, 'b', 'down')
  settle(m)
  const effects = level(m, 'b', 'probation', 30_000)
  assert.equal(sent(effects).length, 2)
  assert.deepEqual(claims(effects), [{ claims: [{ ip: V4, term: 1 }], to: 'b' }])
})

test('when many nodes come back in the same moment, an owner says so once', () => {
  const m = machine([vip(V4)])
  const nodes = Array.from({ length: 20 }, (_, i) => `node${i}`)
  settle(m)
  const back = (now: number) => nodes.flatMap(node => sent(level(m, node, 'probation', now)))
  assert.equal(back(30_000).length, 2)
  for (const node of nodes) level(m, node, 'down', 40_000)
  assert.equal(back(50_000).length, 2)
})

test('a new plan forgets for whom this node stood in', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  step(m, { type: 'plan', set: [vip(V4, { ahead: ['c'] })], remove: [], now: 1 })
  assert.deepEqual(ownership(level(m, 'b', 'down', 2)), [])
  assert.equal(ownership(level(m, 'c', 'down', 3)).length, 1)
  step(m, { type: 'plan', set: [], remove: [V4], now: 4 })
  assert.equal(m.behind.size, 0)
})

for (const [form, bytes] of [
  ['a gratuitous request', encodeArpFrame(gratuitousRequest(OTHER, V4))],
  ['a gratuitous reply', encodeArpFrame(gratuitousReply(OTHER, V4))],
] as const) {
  test(`drain: answers until ${form} of the next owner is heard`, () => {
    const m = machine([vip(V4)])
    step(m, { type: 'drain', patienceMs: 1000, now: 0 })
    assert.equal(sent(frame(m, WHO_HAS)).length, 1)
    const echo = frame(m, encodeArpFrame(gratuitousRequest(OURS, V4)))
    assert.deepEqual(ownership(echo), [], 'our own echo is no successor')
    const heard = frame(m, bytes)
    assert.deepEqual(ownership(heard), [`-${V4}`])
    assert.ok(heard.some(effect => effect.type === 'drained'))
    assert.deepEqual(frame(m, WHO_HAS), [{ type: 'dropped', why: 'not-our-address' }])
  })
}

test('drain: an unsolicited advertisement ends it for IPv6', () => {
  const m = machine([vip(V6)])
  step(m, { type: 'drain', patienceMs: 1000, now: 0 })
  const heard = frame(m, encodeNdFrame(unsolicitedAdvertisement(OTHER, V6)))
  assert.ok(heard.some(effect => effect.type === 'drained'))
})

test('drain: with nobody to follow it ends when the patience does', () => {
  const m = machine([vip(V4), vip(V6)])
  step(m, { type: 'drain', patienceMs: 1000, now: 0 })
  assert.equal(nextDeadline(m), 1000)
  assert.deepEqual(step(m, { type: 'tick', now: 999 }), [])
  const end = step(m, { type: 'tick', now: 1000 })
  assert.deepEqual(ownership(end).sort(), [`-${V4}`, `-${V6}`])
  assert.ok(end.some(effect => effect.type === 'drained'))
})

test('drain: without an address it ends at once, and nothing is taken over any more', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  assert.deepEqual(step(m, { type: 'drain', patienceMs: 1000, now: 0 }), [{ type: 'drained', at: 0 }])
  assert.deepEqual(ownership(level(m, 'b', 'down', 1)), [])
})

test('any frame at all is survived, and answered only if it asks for an owned address', () => {
  const m = machine([vip(V4), vip(V6)])
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 1600 }),
        fc.tuple(fc.constantFrom(WHO_HAS, SOLICIT), fc.nat(200), fc.nat(255)).map(([base, at, value]) => {
          const bytes = Uint8Array.from(base)
          bytes[at % bytes.length] = value
          return bytes
        }),
      ),
      bytes => {
        for (const reply of sent(frame(m, bytes))) {
          const ip =
            reply.frame[13] === 0x06
              ? decodeArpFrame(reply.frame).arp.senderIp
              : decodeNdFrame(reply.frame).nd.target
          assert.ok(ip === V4 || ip === V6)
          assert.equal((reply.frame[0] ?? 0) & 1, 0, 'to one asker')
        }
      },
    ),
  )
})

for (const [what, sender] of [
  ['everybody', 'ff:ff:ff:ff:ff:ff'],
  ['a group', '01:00:5e:00:00:01'],
  ['nobody', '00:00:00:00:00:00'],
] as const) {
  test(`an asker that claims the MAC of ${what} gets no answer`, () => {
    const m = machine([vip(V4), vip(V6)])
    const asked = arpRequest(CLIENT, V4)
    const arp = encodeArpFrame({ ...asked, arp: { ...asked.arp, senderMac: mac(sender) } })
    const nd = neighborSolicitation(CLIENT6, V6)
    const solicitation = encodeNdFrame({
      ...nd,
      nd: { ...nd.nd, options: [{ type: 'source-link-address', mac: mac(sender) }] },
    })
    for (const bytes of [arp, solicitation]) {
      assert.deepEqual(frame(m, bytes), [{ type: 'dropped', why: 'asker-not-unicast' }])
    }
  })
}

test('ten thousand takeovers are owned at once and announced in steps, each exactly once', () => {
  const vips = Array.from({ length: 10_000 }, (_, i) =>
    vip(ipv4(`10.0.${i >> 8}.${i & 255}`), { ahead: ['b'] }),
  )
  const m = machine(vips)
  const effects = level(m, 'b', 'down', 0)
  assert.equal(ownership(effects).length, 10_000)
  let steps = 1
  let frames = sent(effects)
  const announced = frames.map(each => decodeArpFrame(each.frame).arp.senderIp)
  while (nextDeadline(m) <= 0) {
    frames = sent(step(m, { type: 'tick', now: 0 }))
    assert.ok(frames.length <= 512)
    announced.push(...frames.map(each => decodeArpFrame(each.frame).arp.senderIp))
    steps++
  }
  assert.equal(new Set(announced).size, 10_000)
  assert.equal(announced.length, 20_000)
  assert.equal(steps, Math.ceil(10_000 / 256))
})

test('L-26: only Services whose claim wins are told, and told anew when that changes', () => {
  const claims: Claim[] = [
    { ...CLAIM, service: 'default/a' },
    { ...CLAIM, service: 'default/b', ahead: ['b'] },
  ]
  const m = createLayer2({ self: 'self', announceIntervalMs: 0 })
  step(m, { type: 'nics', nics: [ETH0], now: 0 })
  level(m, 'b', 'up', 0)
  const told = (effects: readonly Effect[]) =>
    effects.flatMap(effect => (effect.type === 'owned' ? [effect.services.join()] : []))
  assert.deepEqual(told(step(m, { type: 'plan', set: [{ ip: V4, claims }], remove: [], now: 0 })), [
    'default/a',
  ])
  assert.deepEqual(told(level(m, 'b', 'down', 1)), ['default/a,default/b'])
  assert.deepEqual(told(level(m, 'b', 'up', 2)), ['default/a'])
})

test('an interface that is renamed out of the claim leaves the group', () => {
  const m = machine([vip(V6, { interfaces: ['eth0'] })])
  const effects = step(m, { type: 'nics', nics: [{ ...ETH0, name: 'lan0' }], now: 1 })
  assert.deepEqual(effects, [{ type: 'leave', interfaceIndex: ETH0.index, ip: V6 }])
  assert.deepEqual(frame(m, SOLICIT), [{ type: 'dropped', why: 'not-on-this-interface' }])
})

const claimed = (m: Layer2, node: string, term: number, now = 20): Effect[] =>
  step(m, { type: 'claimed', node, claims: [{ ip: V4, term }], now })
const announced = (by: Mac, now: number): Event => ({
  type: 'frame',
  interfaceIndex: ETH0.index,
  frame: encodeArpFrame(gratuitousReply(by, V4)),
  now,
})
const asks = (effects: readonly Effect[]) =>
  effects.flatMap(effect => (effect.type === 'ask' ? [`${effect.ip} on ${effect.interfaceIndex}`] : []))
const has = (m: Layer2, bytes = WHO_HAS): boolean => sent(frame(m, bytes)).length > 0

test('standing nodes go first, by rank, then those on probation; down and left ones are passed over', () => {
  const LEVELS: readonly Level[] = ['up', 'probation', 'down', 'left']
  let cases = 0
  for (const probation of [false, true]) {
    for (const a of LEVELS) {
      for (const b of LEVELS) {
        for (const c of LEVELS) {
          cases++
          const m = createLayer2({ self: 'self', announceIntervalMs: 0 })
          const standing = { ...STANDS, probation }
          step(m, { type: 'nics', nics: [ETH0], now: 0 }, standing)
          for (const [node, to] of Object.entries({ a, b, c }))
            step(m, { type: 'node', node, level: to, now: 0 }, standing)
          const claim = { ahead: ['a', 'b'], behind: ['c'] }
          step(m, { type: 'plan', set: [vip(V4, claim)], remove: [], now: 0 }, standing)
          const present = [
            ['a', a],
            ['b', b],
            ['self', probation ? 'probation' : 'up'],
            ['c', c],
          ].filter(([, each]) => each === 'up' || each === 'probation')
          const [first] = [...present.filter(([, each]) => each === 'up'), ...present]
          const answers = step(m, { type: 'frame', interfaceIndex: 2, frame: WHO_HAS, now: 1 }, standing)
          assert.equal(
            sent(answers).length > 0,
            first?.[0] === 'self',
            JSON.stringify({ a, b, c, probation }),
          )
        }
      }
    }
  }
  assert.equal(cases, 128)
})

test('a takeover uses the next term and tells it after the announcement', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  claimed(m, 'b', 7)
  const effects = level(m, 'b', 'down')
  const kinds = effects.map(effect => effect.type).filter(type => type === 'send' || type === 'claim')
  assert.deepEqual(kinds, ['send', 'send', 'claim'])
  assert.deepEqual(claims(effects), [{ claims: [{ ip: V4, term: 8 }], to: undefined }])
})

const TERMS: readonly [string, string, number, 'keeps' | 'yields'][] = [
  ['a higher term of a node behind', 'c', 3, 'yields'],
  ['the same term of a node behind', 'c', 2, 'keeps'],
  ['a lower term of a node behind', 'c', 1, 'keeps'],
  ['a higher term of a node that is passed over', 'b', 3, 'yields'],
  ['the same term of a node ahead', 'b', 2, 'yields'],
  ['a lower term of a node ahead', 'b', 1, 'keeps'],
  ['the same term of a node that is no candidate, with the lower name', 'n', 2, 'yields'],
  ['the same term of a node that is no candidate, with the higher name', 'z', 2, 'keeps'],
]
for (const [what, node, term, then] of TERMS) {
  test(`${what}: ${then}`, () => {
    const m = machine([vip(V4, { ahead: ['b'], behind: ['c'] })])
    claimed(m, 'b', 1, 1)
    level(m, 'b', 'down', 2)
    const effects = claimed(m, node, term)
    if (then === 'yields') {
      assert.deepEqual(ownership(effects), [`-${V4}`])
      assert.equal(has(m), false)
    } else {
      assert.deepEqual(claims(effects), [{ claims: [{ ip: V4, term: 2 }], to: node }], 'it repeats its claim')
      assert.ok(has(m))
    }
  })
}

test('who yielded by term takes the address back a second later, by a higher one, if it still goes first', () => {
  const m = machine([vip(V4, { behind: ['c'] })])
  claimed(m, 'c', 5, 20)
  assert.equal(nextDeadline(m), 1020)
  assert.deepEqual(ownership(step(m, { type: 'tick', now: 1019 })), [])
  const effects = step(m, { type: 'tick', now: 1020 })
  assert.deepEqual(ownership(effects), [`+${V4}`])
  assert.deepEqual(claims(effects), [{ claims: [{ ip: V4, term: 6 }], to: undefined }])
})

test('and at once when the one it yielded to is lost', () => {
  const m = machine([vip(V4, { behind: ['c'] })])
  claimed(m, 'c', 5, 20)
  assert.deepEqual(ownership(level(m, 'c', 'down', 100)), [`+${V4}`])
})

test('an owner that is preceded answers until the next owner claims, which it tells its term', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  level(m, 'b', 'down')
  level(m, 'b', 'probation', 100)
  assert.ok(has(m), 'it has not proven itself')
  const effects = level(m, 'b', 'up', 10_100)
  assert.deepEqual(ownership(effects), [])
  assert.deepEqual(claims(effects), [{ claims: [{ ip: V4, term: 1 }], to: 'b' }])
  assert.ok(has(m))
  settle(m, 10_200)
  assert.ok(has(m), 'however long that takes')
  assert.deepEqual(ownership(claimed(m, 'b', 2, 30_000)), [`-${V4}`])
  assert.equal(has(m), false)
})

test('an owner that is preceded stops at the announcement of a speaker, and not at that of a stranger', () => {
  for (const [by, then] of [
    [OTHER, [`-${V4}`]],
    [STRANGER, []],
  ] as const) {
    const m = machine([vip(V4, { ahead: ['b'] })])
    level(m, 'b', 'down')
    level(m, 'b', 'up', 100)
    assert.deepEqual(ownership(step(m, announced(by, 200))), then)
  }
})

test('a node on probation that has the address keeps it from those behind that begin to stand before it', () => {
  const onProbation = { ...STANDS, probation: true }
  const owner = createLayer2({ self: 'a', announceIntervalMs: 0 })
  const behind = createLayer2({ self: 'b', announceIntervalMs: 0 })
  step(behind, { type: 'node', node: 'a', level: 'probation', now: 0 }, onProbation)
  for (const m of [owner, behind]) step(m, { type: 'nics', nics: [ETH0], now: 0 }, onProbation)
  step(owner, { type: 'plan', set: [vip(V4, { behind: ['b'] })], remove: [], now: 0 }, onProbation)
  step(behind, { type: 'plan', set: [vip(V4, { ahead: ['a'] })], remove: [], now: 0 }, onProbation)
  step(behind, { type: 'claimed', node: 'a', claims: [{ ip: V4, term: 1 }], now: 1 }, onProbation)
  assert.deepEqual(ownership(step(behind, { type: 'tick', now: 2 }, STANDS)), [], 'b begins to stand')
  step(owner, { type: 'node', node: 'b', level: 'up', now: 2 }, onProbation)
  const asked: Event = { type: 'frame', interfaceIndex: 2, frame: WHO_HAS, now: 3 }
  assert.equal(sent(step(owner, asked, onProbation)).length, 1)
  assert.equal(sent(step(behind, asked, STANDS)).length, 0)
  assert.deepEqual(ownership(step(behind, { type: 'node', node: 'a', level: 'down', now: 9 })), [`+${V4}`])
})

test('a frame after the entitlement has run out gets no answer, whatever was heard before', () => {
  const m = machine([vip(V4), vip(V6)])
  const until = { ...STANDS, entitledUntil: 100 }
  const asked = (bytes: Uint8Array, now: number): Event => ({
    type: 'frame',
    interfaceIndex: 2,
    frame: bytes,
    now,
  })
  for (const bytes of [WHO_HAS, SOLICIT]) assert.equal(sent(step(m, asked(bytes, 99), until)).length, 1)
  const first = step(m, asked(WHO_HAS, 5100), until)
  assert.deepEqual(sent(first), [])
  assert.deepEqual(first.at(-1), { type: 'dropped', why: 'not-entitled' })
  assert.deepEqual(step(m, { type: 'tick', now: 5101 }, until), [], 'nor is anything announced')
  assert.equal(nextDeadline(m), Number.POSITIVE_INFINITY)
})

test('entitled again: one round, silently still the owner; but not of what somebody took meanwhile', () => {
  const m = machine([vip(V4), vip(V6)])
  settle(m)
  assert.deepEqual(step(m, { type: 'tick', now: 20_000 }, SILENCED), [
    { type: 'suspended', suspended: true, owned: 2, at: 20_000 },
  ])
  step(m, announced(STRANGER, 20_100), SILENCED)
  const back = step(m, { type: 'tick', now: 20_200 })
  assert.deepEqual(ownership(back), [`+${V4}`], 'taken anew, by a higher term')
  const rounds = [...back]
  for (let now = 20_300; now < 30_000; now += 100) rounds.push(...step(m, { type: 'tick', now }))
  assert.equal(sent(rounds).filter(({ frame: { 12: type } }) => type === 0x86).length, 1, 'one round for V6')
})

test('lost: all is released, and nothing taken before the others have said what they own', () => {
  const m = machine([vip(V4), vip(V6)])
  assert.deepEqual(ownership(step(m, { type: 'lost', now: 100 })).sort(), [`-${V4}`, `-${V6}`])
  assert.equal(has(m), false)
  claimed(m, 'c', 2, 200)
  assert.deepEqual(ownership(step(m, { type: 'tick', now: 599 })), [])
  assert.deepEqual(ownership(step(m, { type: 'tick', now: 600 })).sort(), [`+${V4}`, `+${V6}`])
})

test('a conflict: a stranger with our address is reported each ten seconds, and contradicted as long as it goes on', () => {
  const m = machine([vip(V4)])
  settle(m)
  const effects: Effect[] = []
  for (let now = 20_000; now < 50_000; now += 500) {
    effects.push(...step(m, announced(STRANGER, now)), ...step(m, { type: 'tick', now }))
  }
  // Both forms of an announcement in each round, and a round in each second and a tenth at most.
  const rounds = sent(effects).length / 2
  assert.ok(rounds >= 15 && rounds <= 30_000 / 1100 + 1, `${rounds} rounds`)
  const after: Effect[] = []
  for (let now = 50_000; now < 80_000; now += 100) after.push(...step(m, { type: 'tick', now }))
  assert.ok(sent(after).length >= 2, 'the last word is ours')
  assert.ok(sent(after).length <= 2 * 5, 'and not for ever')
  const conflicts = effects.filter(effect => effect.type === 'conflict')
  assert.ok(conflicts.length >= 1 && conflicts.length <= 3)
  const { at: _, ...conflict } = conflicts[0] ?? { at: 0 }
  assert.deepEqual(conflict, {
    type: 'conflict',
    ip: V4,
    mac: STRANGER,
    interfaceIndex: 2,
    services: ['default/web'],
    action: 'defended',
  })
  assert.ok(has(m))
})

const CLAIMS_OF_OTHERS: readonly [string, Uint8Array, boolean][] = [
  ['a gratuitous request', encodeArpFrame(gratuitousRequest(STRANGER, V4)), true],
  ['a gratuitous reply', encodeArpFrame(gratuitousReply(STRANGER, V4)), true],
  [
    'an answer to our question',
    encodeArpFrame(arpReply(arpRequest({ mac: OURS, ip: CLIENT.ip }, V4), STRANGER)),
    true,
  ],
  ['a question from our address', encodeArpFrame(arpRequest({ mac: STRANGER, ip: V4 }, CLIENT.ip)), true],
  ['an unsolicited advertisement', encodeNdFrame(unsolicitedAdvertisement(STRANGER, V6)), true],
  ['a probe', encodeArpFrame(arpProbe(STRANGER, V4)), false],
  ['a question', WHO_HAS, false],
  ['the announcement of another speaker', encodeArpFrame(gratuitousReply(OTHER, V4)), false],
  ['our own announcement on another interface', encodeArpFrame(gratuitousReply(ETH1.mac, V4)), false],
]
for (const [what, bytes, wanted] of CLAIMS_OF_OTHERS) {
  test(`${what} is ${wanted ? 'a' : 'no'} conflict`, () => {
    const m = machine([vip(V4), vip(V6)], [ETH0, ETH1])
    settle(m)
    const effects = step(m, { type: 'frame', interfaceIndex: 2, frame: bytes, now: 20_000 })
    assert.equal(
      effects.some(effect => effect.type === 'conflict'),
      wanted,
    )
  })
}

test('before all speakers are known by their MACs nobody is called a stranger, and the claim is repeated', () => {
  const m = machine([vip(V4)])
  step(m, { type: 'macs', of: new Map(), complete: false, now: 1 })
  settle(m)
  const effects = step(m, announced(STRANGER, 20_000))
  assert.deepEqual(claims(effects), [{ claims: [{ ip: V4, term: 1 }], to: undefined }])
  assert.ok(effects.every(effect => effect.type !== 'conflict'))
})

test('another speaker that announces our address is told the term; who stays says so again', () => {
  const m = machine([vip(V4)])
  settle(m)
  const effects = step(m, announced(OTHER, 20_000))
  assert.deepEqual(claims(effects), [{ claims: [{ ip: V4, term: 1 }], to: 'b' }])
  assert.equal(sent(effects).length, 0)
  assert.equal(nextDeadline(m), 20_200)
  assert.equal(sent(step(m, { type: 'tick', now: 20_200 })).length, 2)
})

test('a suspicion: the wire is asked for up to four addresses that this node would take over', () => {
  const ips = Array.from({ length: 6 }, (_, i) => ipv4(`192.0.2.10${i}`))
  const m = machine([
    vip(ipv4('192.0.2.99'), { ahead: ['a', 'b'] }),
    ...ips.map(ip => vip(ip, { ahead: ['b'] })),
  ])
  const effects = step(m, { type: 'suspect', node: 'b', patienceMs: 80, now: 50 })
  assert.deepEqual(
    asks(effects),
    ips.slice(0, 4).map(ip => `${ip} on 2`),
  )
})

test('a node that is down and still answers: the takeover waits a patience, three times at most', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  step(m, { type: 'suspect', node: 'b', patienceMs: 80, now: 60 })
  step(m, announced(OTHER, 65))
  const waits: Effect[] = []
  let now = 100
  let effects = level(m, 'b', 'down', now)
  for (let i = 1; i <= 3; i++) {
    const waiting = effects.find(effect => effect.type === 'takeover-waits')
    assert.deepEqual(waiting, { type: 'takeover-waits', node: 'b', times: i, at: now })
    assert.deepEqual(asks(effects), [`${V4} on 2`])
    waits.push(...effects)
    step(m, announced(OTHER, now + 10))
    now += 80
    assert.equal(nextDeadline(m), now)
    effects = step(m, { type: 'tick', now })
  }
  assert.deepEqual(ownership(waits), [])
  assert.deepEqual(ownership(effects), [`+${V4}`])
})

test('a node that is down and answers no more is followed after one wait; one that never answered, at once', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  step(m, { type: 'suspect', node: 'b', patienceMs: 80, now: 60 })
  step(m, announced(OTHER, 65))
  level(m, 'b', 'down', 100)
  assert.deepEqual(ownership(step(m, { type: 'tick', now: 180 })), [`+${V4}`])
  const other = machine([vip(V4, { ahead: ['b'] })])
  step(other, { type: 'suspect', node: 'b', patienceMs: 80, now: 60 })
  assert.deepEqual(ownership(level(other, 'b', 'down', 100)), [`+${V4}`])
})

test('a node that comes back while its takeover waits keeps its addresses; one that says that it leaves does not', () => {
  for (const [to, then] of [
    ['up', []],
    ['left', [`+${V4}`]],
  ] as const) {
    const m = machine([vip(V4, { ahead: ['b'] })])
    step(m, { type: 'suspect', node: 'b', patienceMs: 80, now: 60 })
    step(m, announced(OTHER, 65))
    level(m, 'b', 'down', 100)
    const effects = [...level(m, 'b', to, 120), ...step(m, { type: 'tick', now: 500 })]
    assert.deepEqual(ownership(effects), then)
  }
})

test('alone: the wire is asked three times, the later the further behind, before an address is taken', () => {
  for (const [ahead, from] of [
    [[], 0],
    [['a', 'b'], 1000],
  ] as const) {
    const m = createLayer2({ self: 'self', announceIntervalMs: 0 })
    step(m, { type: 'nics', nics: [ETH0], now: 0 }, ALONE)
    const asked: number[] = []
    const taken: number[] = []
    let effects = step(m, { type: 'plan', set: [vip(V4, { ahead })], remove: [], now: 0 }, ALONE)
    for (let now = 0; now < 5000; now += 10) {
      effects = step(m, { type: 'tick', now }, ALONE)
      if (asks(effects).length > 0) asked.push(now)
      if (ownership(effects).length > 0) taken.push(now)
    }
    assert.deepEqual(asked, [from, from + 100, from + 200])
    assert.deepEqual(taken, [from + 300])
  }
})

test('alone: an answer keeps it from taking, and it looks again later', () => {
  const m = createLayer2({ self: 'self', announceIntervalMs: 0 })
  step(m, { type: 'nics', nics: [ETH0], now: 0 }, ALONE)
  step(m, { type: 'plan', set: [vip(V4)], remove: [], now: 0 }, ALONE)
  step(m, { type: 'tick', now: 0 }, ALONE)
  step(m, announced(STRANGER, 5), ALONE)
  assert.deepEqual(ownership(step(m, { type: 'tick', now: 9000 }, ALONE)), [])
  const later: Effect[] = []
  for (let now = 10_000; now < 12_000; now += 50) later.push(...step(m, { type: 'tick', now }, ALONE))
  assert.deepEqual(ownership(later), [`+${V4}`])
})

test('alone: who is not the first yields to whoever else has it; the first defends it', () => {
  for (const [ahead, action] of [
    [['a'], 'yielded'],
    [[], 'defended'],
  ] as const) {
    const m = createLayer2({ self: 'self', announceIntervalMs: 0 })
    step(m, { type: 'nics', nics: [ETH0], now: 0 }, ALONE)
    step(m, { type: 'macs', of: new Map(), complete: true, now: 0 }, ALONE)
    step(m, { type: 'plan', set: [vip(V4, { ahead })], remove: [], now: 0 }, ALONE)
    for (let now = 0; now < 20_000; now += 100) step(m, { type: 'tick', now }, ALONE)
    const effects = step(m, announced(STRANGER, 20_000), ALONE)
    assert.deepEqual(ownership(effects), action === 'yielded' ? [`-${V4}`] : [])
    assert.ok(effects.some(effect => effect.type === 'conflict' && effect.action === action))
  }
})

test('an address that others announce from now on is answered until they do, a second at most', () => {
  const handed = () => {
    const m = machine([vip(V4)])
    const effects = step(m, { type: 'plan', set: [], remove: [V4], handOver: [V4], now: 100 })
    assert.deepEqual(ownership(effects), [])
    assert.ok(has(m))
    return m
  }
  assert.deepEqual(ownership(claimed(handed(), 'c', 1, 200)), [`-${V4}`])
  assert.deepEqual(ownership(step(handed(), announced(STRANGER, 200))), [`-${V4}`])
  const late = handed()
  assert.deepEqual(ownership(step(late, { type: 'tick', now: 1099 })), [])
  assert.deepEqual(ownership(step(late, { type: 'tick', now: 1100 })), [`-${V4}`])
  assert.equal(late.vips.size, 0)
  const again = handed()
  step(again, { type: 'plan', set: [vip(V4)], remove: [], now: 200 })
  assert.deepEqual(ownership(step(again, { type: 'tick', now: 2000 })), [])
  assert.ok(has(again))
})

test('those that asked before are told one by one when the address moves, on the interface they asked on', () => {
  const m = machine([vip(V4, { ahead: ['b'] })], [ETH0, ETH1])
  frame(m, WHO_HAS)
  frame(m, encodeArpFrame(arpProbe(STRANGER, V4)))
  const repairs = level(m, 'b', 'down').filter(effect => effect.type === 'send' && effect.kind === 'repair')
  assert.equal(repairs.length, 1)
  const [repair] = sent(repairs)
  assert.ok(repair !== undefined)
  assert.equal(repair.interfaceIndex, ETH0.index)
  const { ethernet, arp } = decodeArpFrame(repair.frame)
  assert.deepEqual([ethernet.destination, arp.senderMac, arp.senderIp], [CLIENT.mac, OURS, V4])
})

test('a refresh is announced at the interval, after the rounds', () => {
  const m = createLayer2({ self: 'self', announceIntervalMs: 60_000 })
  step(m, { type: 'nics', nics: [ETH0], now: 0 })
  const rounds: number[] = []
  let effects = step(m, { type: 'plan', set: [vip(V4)], remove: [], now: 0 })
  for (let now = 0; now < 200_000; now = nextDeadline(m), effects = step(m, { type: 'tick', now })) {
    if (sent(effects).length > 0) rounds.push(now)
  }
  assert.deepEqual(rounds, [0, 1100, 2200, 3300, 4400, 64_400, 124_400, 184_400])
})

test('whatever happens: told only when it changes, never an answer unless entitled, the owner when nobody precedes', () => {
  const nodes = ['a', 'b', 'c']
  const LEVELS: readonly Level[] = ['up', 'probation', 'down', 'left']
  type Untimed<E> = E extends Event ? Omit<E, 'now'> : never
  const node = fc.constantFrom(...nodes)
  const events: fc.Arbitrary<Untimed<Event>> = fc.oneof(
    fc
      .tuple(fc.subarray(nodes), fc.boolean())
      .map(([ahead, v6]) => ({ type: 'plan' as const, set: [vip(v6 ? V6 : V4, { ahead })], remove: [] })),
    fc.subarray([V4]).map(handOver => ({ type: 'plan' as const, set: [], remove: [V4, V6], handOver })),
    fc
      .tuple(node, fc.constantFrom(...LEVELS))
      .map(([name, to]) => ({ type: 'node' as const, node: name, level: to })),
    node.map(name => ({ type: 'suspect' as const, node: name, patienceMs: 80 })),
    node.map(name => ({ type: 'unsuspect' as const, node: name })),
    fc
      .tuple(node, fc.integer({ min: 1, max: 9 }))
      .map(([name, term]) => ({ type: 'claimed' as const, node: name, claims: [{ ip: V4, term }] })),
    fc
      .constantFrom(WHO_HAS, SOLICIT, ...[OTHER, STRANGER].map(by => encodeArpFrame(gratuitousReply(by, V4))))
      .map(bytes => ({ type: 'frame' as const, interfaceIndex: 2, frame: bytes })),
    fc.subarray([ETH0, ETH1]).map(nics => ({ type: 'nics' as const, nics })),
    fc.constant({ type: 'lost' as const }),
    fc.constant({ type: 'tick' as const }),
  )
  const standings = fc.record(
    {
      entitledUntil: fc.constantFrom(0, Number.POSITIVE_INFINITY),
      probation: fc.boolean(),
      alone: fc.boolean(),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(events, standings, fc.nat(1500)), { maxLength: 40 }), list => {
      const m = machine([])
      const told = new Set<Ip>()
      let now = 10
      const hear = (effects: readonly Effect[], entitled: boolean) => {
        for (const effect of effects) {
          if (effect.type === 'send') assert.ok(entitled, 'silent unless entitled')
          if (effect.type !== 'owned') continue
          if (!effect.owned) assert.ok(told.delete(effect.ip))
          else if (told.has(effect.ip)) assert.fail('one claim each: its services never change')
          else told.add(effect.ip)
        }
      }
      for (const [event, standing, later] of list) {
        now += later
        const entitled = standing.alone || standing.entitledUntil > now
        hear(step(m, { ...event, now }, standing), entitled)
        assert.ok(nextDeadline(m) > now || m.timers.due <= now, 'what is due is done')
      }
      for (let i = 0; i < 3; i++) hear(step(m, { type: 'tick', now: (now += 2000) }), true)
      for (const { vip: each } of m.vips.values()) {
        const preceded = each.claims[0]?.ahead.some(name => m.levels.get(name) === 'up')
        if (preceded !== true) {
          const nobody = each.claims[0]?.ahead.every(name => m.levels.get(name) !== 'probation')
          if (nobody === true) assert.ok(told.has(each.ip), 'somebody owns it')
        }
      }
    }),
    { numRuns: 300 },
  )
})
