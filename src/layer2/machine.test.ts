import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, isIpv4, isIpv6, parseIp } from '../addr/ip.ts'
import { type Mac, parseMac } from '../addr/mac.ts'
import {
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
  step,
  type Vip,
} from './machine.ts'

const V4 = ipv4('192.0.2.100')
const V6 = ipv6('2001:db8::100')
const OURS = mac('00:00:5e:00:53:01')
const OTHER = mac('00:00:5e:00:53:02')
const CLIENT = { mac: mac('00:00:5e:00:53:c1'), ip: ipv4('192.0.2.201') }
const CLIENT6 = { mac: CLIENT.mac, ip: ipv6('2001:db8::201') }
const ETH0: Nic = { index: 2, name: 'eth0', mac: OURS, arp: true, linkLocal: ipv6('fe80::1') }
const ETH1: Nic = { index: 3, name: 'eth1', mac: mac('00:00:5e:00:53:11'), arp: true, linkLocal: undefined }

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
  const m = createLayer2()
  step(m, { type: 'nics', nics, now: 0 })
  step(m, { type: 'plan', set: vips, remove: [], now: 0 })
  return m
}

function frame(m: Layer2, bytes: Uint8Array, interfaceIndex = ETH0.index): Effect[] {
  return step(m, { type: 'frame', interfaceIndex, frame: bytes, now: 1 })
}

function sent(effects: readonly Effect[]): { interfaceIndex: number; frame: Uint8Array }[] {
  return effects.filter(effect => effect.type === 'send')
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
  for (const [wanted, bytes, index] of cases) assert.deepEqual(frame(m, bytes, index), [wanted])
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

test('L-23: a duplicate-address probe is not answered', () => {
  const probe = encodeNdFrame(duplicateProbe(CLIENT.mac, V6))
  assert.deepEqual(frame(machine([vip(V6)]), probe), [{ type: 'dropped', why: 'duplicate-address-probe' }])
})

test('L-23: the solicited-node group is joined while the address is owned', () => {
  const m = createLayer2()
  step(m, { type: 'nics', nics: [ETH0], now: 0 })
  const joined = step(m, { type: 'plan', set: [vip(V6)], remove: [], now: 0 })
  assert.ok(
    joined.some(effect => effect.type === 'join' && effect.ip === V6 && effect.interfaceIndex === ETH0.index),
  )
  const left = step(m, { type: 'plan', set: [], remove: [V6], now: 0 })
  assert.ok(left.some(effect => effect.type === 'leave' && effect.ip === V6))
})

test('L-24, L-25: one round at once, then every 1.1 s while less than 5 s have passed', () => {
  const m = createLayer2()
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

test('an address is owned when everybody ahead is down, and given back when one of them returns (L-9)', () => {
  const m = machine([vip(V4, { ahead: ['b', 'a'] })])
  const seen: string[][] = []
  for (const [node, down] of [
    ['b', true],
    ['c', true],
    ['a', true],
    ['b', false],
    ['a', false],
    ['b', true],
  ] as const) {
    seen.push(ownership(step(m, { type: 'peer', node, down, now: 10 })))
  }
  assert.deepEqual(seen, [[], [], [`+${V4}`], [`-${V4}`], [], []])
})

test('a takeover announces at once and answers from then on', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  assert.deepEqual(frame(m, WHO_HAS), [{ type: 'dropped', why: 'not-our-address' }])
  const effects = step(m, { type: 'peer', node: 'b', down: true, now: 10 })
  assert.equal(sent(effects).length, 2)
  assert.equal(sent(frame(m, WHO_HAS)).length, 1)
})

test('a list of candidates that was cut short never makes an owner', () => {
  const m = machine([vip(V4, { ahead: ['b'], truncated: true })])
  assert.deepEqual(ownership(step(m, { type: 'peer', node: 'b', down: true, now: 10 })), [])
})

test('L-26: an address of two Services is released with the last of them', () => {
  const claim = (service: string): Claim => ({ ...CLAIM, service })
  const m = machine([{ ip: V4, claims: [claim('default/a'), claim('default/b')] }])
  const one = step(m, { type: 'plan', set: [{ ip: V4, claims: [claim('default/b')] }], remove: [], now: 1 })
  // Still ours; told anew because one of its Services is gone.
  assert.deepEqual(one, [{ type: 'owned', ip: V4, services: ['default/b'], owned: true, at: 1 }])
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
  step(m, { type: 'peer', node: 'b', down: true, now: 10 })
  assert.equal(sent(step(m, { type: 'peer', node: 'b', down: false, now: 30_000 })).length, 2)
})

test('when many nodes come back in the same moment, an owner says so once', () => {
  const m = machine([vip(V4)])
  const nodes = Array.from({ length: 20 }, (_, i) => `node${i}`)
  for (const node of nodes) step(m, { type: 'peer', node, down: true, now: 10 })
  const back = (now: number) => nodes.flatMap(node => sent(step(m, { type: 'peer', node, down: false, now })))
  assert.equal(back(30_000).length, 2)
  for (const node of nodes) step(m, { type: 'peer', node, down: true, now: 40_000 })
  assert.equal(back(50_000).length, 2)
})

test('a new plan forgets for whom this node stood in', () => {
  const m = machine([vip(V4, { ahead: ['b'] })])
  step(m, { type: 'plan', set: [vip(V4, { ahead: ['c'] })], remove: [], now: 1 })
  assert.deepEqual(ownership(step(m, { type: 'peer', node: 'b', down: true, now: 2 })), [])
  assert.equal(ownership(step(m, { type: 'peer', node: 'c', down: true, now: 3 })).length, 1)
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
  assert.deepEqual(ownership(step(m, { type: 'peer', node: 'b', down: true, now: 1 })), [])
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

test('whatever happens, ownership follows the claims and the nodes that are down', () => {
  const nodes = ['a', 'b', 'c']
  const claims = fc.subarray(nodes).map((ahead): Vip => vip(V4, { ahead }))
  type Untimed<E> = E extends Event ? Omit<E, 'now'> : never
  const events: fc.Arbitrary<Untimed<Event>> = fc.oneof(
    claims.map(each => ({ type: 'plan' as const, set: [each], remove: [] })),
    fc.constant({ type: 'plan' as const, set: [], remove: [V4] }),
    fc.record(
      { type: fc.constant('peer' as const), node: fc.constantFrom(...nodes), down: fc.boolean() },
      { noNullPrototype: true },
    ),
    fc.subarray([ETH0, ETH1]).map(nics => ({ type: 'nics' as const, nics })),
    fc.constant({ type: 'tick' as const }),
  )
  fc.assert(
    fc.property(fc.array(events, { maxLength: 40 }), list => {
      const m = createLayer2()
      let wanted: Vip | undefined
      const down = new Set<string>()
      let told = false
      for (const [now, event] of list.entries()) {
        for (const effect of step(m, { ...event, now: now * 100 })) {
          if (effect.type !== 'owned') continue
          assert.notEqual(effect.owned, told, 'told only when it changes')
          told = effect.owned
        }
        if (event.type === 'plan') [wanted] = (event as Event & { type: 'plan' }).set
        if (event.type === 'peer') {
          const { node, down: isDown } = event as Event & { type: 'peer' }
          if (isDown) down.add(node)
          else down.delete(node)
        }
        assert.equal(told, wanted?.claims.every(claim => claim.ahead.every(node => down.has(node))) ?? false)
      }
    }),
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

test('a foreign claim of an address is contradicted by who goes first, no more often than the rounds of L-24', () => {
  const m = machine([vip(V4)])
  for (let now = 0; now < 20_000; now += 100) step(m, { type: 'tick', now })
  const claim = encodeArpFrame(gratuitousReply(OTHER, V4))
  let rounds = 0
  for (let now = 20_000; now < 31_000; now += 10) {
    const heard = step(m, { type: 'frame', interfaceIndex: ETH0.index, frame: claim, now })
    rounds += sent([...heard, ...step(m, { type: 'tick', now })]).length / 2
  }
  assert.equal(rounds, 10)
})

test('a foreign claim is believed by a node that stands in, and our own frames are no claim', () => {
  const m = machine([vip(V4, { ahead: ['b'] })], [ETH0, ETH1])
  step(m, { type: 'peer', node: 'b', down: true, now: 0 })
  for (let now = 0; now < 20_000; now += 100) step(m, { type: 'tick', now })
  assert.deepEqual(sent(frame(m, encodeArpFrame(gratuitousReply(OTHER, V4)))), [])
  const first = machine([vip(V4)], [ETH0, ETH1])
  for (let now = 0; now < 20_000; now += 100) step(first, { type: 'tick', now })
  // Two interfaces on one segment hear each other.
  assert.deepEqual(sent(frame(first, encodeArpFrame(gratuitousReply(ETH1.mac, V4)))), [])
})

test('ten thousand takeovers are owned at once and announced in steps, each exactly once', () => {
  const vips = Array.from({ length: 10_000 }, (_, i) =>
    vip(ipv4(`10.0.${i >> 8}.${i & 255}`), { ahead: ['b'] }),
  )
  const m = machine(vips)
  const effects = step(m, { type: 'peer', node: 'b', down: true, now: 0 })
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
  const m = createLayer2()
  step(m, { type: 'nics', nics: [ETH0], now: 0 })
  const told = (effects: readonly Effect[]) =>
    effects.flatMap(effect => (effect.type === 'owned' ? [effect.services.join()] : []))
  assert.deepEqual(told(step(m, { type: 'plan', set: [{ ip: V4, claims }], remove: [], now: 0 })), [
    'default/a',
  ])
  assert.deepEqual(told(step(m, { type: 'peer', node: 'b', down: true, now: 1 })), ['default/a,default/b'])
  assert.deepEqual(told(step(m, { type: 'peer', node: 'b', down: false, now: 2 })), ['default/a'])
})

test('an interface that is renamed out of the claim leaves the group', () => {
  const m = machine([vip(V6, { interfaces: ['eth0'] })])
  const effects = step(m, { type: 'nics', nics: [{ ...ETH0, name: 'lan0' }], now: 1 })
  assert.deepEqual(effects, [{ type: 'leave', interfaceIndex: ETH0.index, ip: V6 }])
  assert.deepEqual(frame(m, SOLICIT), [{ type: 'dropped', why: 'not-on-this-interface' }])
})

test('back after an absence: every address of ours is announced again', () => {
  const m = machine([vip(V4), vip(V6, { ahead: ['b'] })])
  const frames = sent(step(m, { type: 'back', now: 60_000 }))
  assert.deepEqual(
    frames.map(each => decodeArpFrame(each.frame).arp.senderIp),
    [V4, V4],
  )
})
