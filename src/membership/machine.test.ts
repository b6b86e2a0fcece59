import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, parseIp } from '../addr/ip.ts'
import { SeededRandom } from '../ports/random.ts'
import { decodeHeartbeat, encodeHeartbeat } from '../wire/heartbeat.ts'
import { createMembership, type Effect, type Membership, nextDeadline, step } from './machine.ts'

const KEY = new Uint8Array(22).fill(7)
const INTERVAL = 50
const DEAD_AFTER = 250

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

const ADDRESSES = new Map([
  ['a', ip('192.0.2.11')],
  ['b', ip('192.0.2.12')],
  ['c', ip('192.0.2.13')],
])

function everybody(self: string): { name: string; ip: Ip }[] {
  return [...ADDRESSES].filter(([name]) => name !== self).map(([name, address]) => ({ name, ip: address }))
}

function machine(self: string, epoch = 1000): Membership {
  const m = createMembership({ self, epoch, intervalMs: INTERVAL, deadAfterMs: DEAD_AFTER })
  step(m, { type: 'peers', peers: everybody(self), now: 0 })
  step(m, { type: 'key', key: KEY, now: 0 })
  return m
}

/** Nodes on one network, driven by the earliest deadline; what is sent arrives 1 ms later unless `deliver` says no. */
class Network {
  readonly nodes = new Map<string, Membership>()
  readonly frozen = new Set<string>()
  readonly changes: { at: number; on: string; node: string; to: string }[] = []
  readonly recorded: { to: string; payload: Uint8Array }[] = []
  deliver: (from: string, to: string) => boolean = () => true
  now = 0
  #wire: { at: number; from: string; to: string; payload: Uint8Array }[] = []

  start(name: string, epoch = 1000 + this.now): void {
    const m = createMembership({ self: name, epoch, intervalMs: INTERVAL, deadAfterMs: DEAD_AFTER })
    this.nodes.set(name, m)
    this.perform(name, step(m, { type: 'peers', peers: everybody(name), now: this.now }))
    this.perform(name, step(m, { type: 'key', key: KEY, now: this.now }))
  }

  perform(from: string, effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.type === 'peer-changed') {
        this.changes.push({ at: this.now, on: from, node: effect.node, to: effect.to })
      }
      if (effect.type !== 'send') continue
      const to = [...ADDRESSES].find(([, address]) => address === effect.to)?.[0] ?? ''
      this.recorded.push({ to, payload: effect.payload })
      if (this.deliver(from, to)) this.#wire.push({ at: this.now + 1, from, to, payload: effect.payload })
    }
  }

  run(forMs: number): void {
    const until = this.now + forMs
    for (; this.now < until; this.now++) {
      const due = this.#wire.filter(each => each.at <= this.now)
      this.#wire = this.#wire.filter(each => each.at > this.now)
      for (const { to, payload } of due) {
        const m = this.nodes.get(to)
        if (m !== undefined && !this.frozen.has(to)) {
          this.perform(to, step(m, { type: 'datagram', payload, now: this.now }))
        }
      }
      for (const [name, m] of this.nodes) {
        if (!this.frozen.has(name) && nextDeadline(m) <= this.now) {
          this.perform(name, step(m, { type: 'tick', now: this.now }))
        }
      }
    }
  }

  view(on: string): string {
    return [...(this.nodes.get(on)?.peers.values() ?? [])]
      .map(peer => `${peer.name}:${peer.status}`)
      .join(' ')
  }
}

function threeNodes(): Network {
  const network = new Network()
  for (const name of ADDRESSES.keys()) network.start(name)
  network.run(200)
  assert.equal(network.view('a'), 'b:alive c:alive')
  assert.equal(network.view('b'), 'a:alive c:alive')
  return network
}

test('a silent node is dead after the configured silence, and not before', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  const since = network.now
  network.run(DEAD_AFTER - INTERVAL - 2)
  assert.equal(network.view('a'), 'b:alive c:alive')
  network.run(INTERVAL + 10)
  assert.equal(network.view('a'), 'b:alive c:dead')
  assert.equal(network.view('b'), 'a:alive c:dead')
  for (const { at } of network.changes.filter(change => change.to === 'dead')) {
    assert.ok(at - since <= DEAD_AFTER + 2, `found after ${at - since} ms`)
  }
})

test('a node that hears nobody any more doubts itself first, and waits twice as long', () => {
  const network = threeNodes()
  network.deliver = (_, to) => to !== 'a'
  network.run(2 * DEAD_AFTER - INTERVAL - 2)
  assert.equal(network.view('a'), 'b:alive c:alive')
  network.run(INTERVAL + 10)
  assert.equal(network.view('a'), 'b:dead c:dead')
})

test('a node that was hard of hearing for a while takes nobody for dead, whoever it hears first again', () => {
  const network = threeNodes()
  network.changes.length = 0
  network.deliver = (_, to) => to !== 'a'
  network.run(DEAD_AFTER + INTERVAL)
  network.deliver = (from, to) => to !== 'a' || from === 'c'
  network.run(2 * INTERVAL)
  network.deliver = () => true
  network.run(2 * INTERVAL)
  assert.deepEqual(network.changes, [])
})

test('a node that comes back in a new run is alive at once', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  network.run(400)
  network.start('c')
  network.run(5)
  assert.equal(network.view('a'), 'b:alive c:alive')
})

test('a node whose clock was set back comes back too: its peers tell it the epoch to exceed', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  network.run(400)
  network.start('c', 5)
  network.run(2 * INTERVAL)
  assert.equal(network.view('a'), 'b:alive c:alive')
  assert.equal(network.view('c'), 'a:alive b:alive')
})

test('a node that says it leaves is gone at once, and a new run of it is welcome', () => {
  const network = threeNodes()
  const c = network.nodes.get('c')
  assert.ok(c !== undefined)
  network.perform('c', step(c, { type: 'leave', now: network.now }))
  network.run(3)
  assert.equal(network.view('a'), 'b:alive c:left')
  network.run(1000)
  assert.equal(network.view('a'), 'b:alive c:left', 'silence after a leave is no second change')
  network.start('c')
  network.run(INTERVAL)
  assert.equal(network.view('a'), 'b:alive c:alive')
})

test('one lost leave is repeated', () => {
  const network = threeNodes()
  const c = network.nodes.get('c')
  assert.ok(c !== undefined)
  network.deliver = () => false
  network.perform('c', step(c, { type: 'leave', now: network.now }))
  network.run(1)
  network.deliver = () => true
  network.run(2 * INTERVAL)
  assert.equal(network.view('a'), 'b:alive c:left')
})

test('a start presumes everybody alive until they had their time to speak', () => {
  const network = new Network()
  network.start('a')
  // Twice the usual time: a node that hears nobody doubts itself first.
  network.run(2 * DEAD_AFTER - 2)
  assert.equal(network.view('a'), 'b:presumed c:presumed')
  network.run(10)
  assert.equal(network.view('a'), 'b:dead c:dead')
})

test('a node that was paused concludes nothing from the silence it slept through', () => {
  const network = threeNodes()
  network.frozen.add('a')
  network.run(5000)
  assert.equal(network.view('b'), 'a:dead c:alive')
  const before = network.changes.length
  network.frozen.delete('a')
  network.run(300)
  assert.equal(network.view('a'), 'b:alive c:alive')
  assert.deepEqual(
    network.changes.slice(before).filter(change => change.on === 'a'),
    [],
    'it never saw them dead',
  )
  assert.equal(network.view('b'), 'a:alive c:alive')
})

test('a node whose own link is cut gives way to all, and waits for them when the link is back', () => {
  const network = threeNodes()
  const a = network.nodes.get('a')
  assert.ok(a !== undefined)
  network.deliver = (from, to) => from !== 'a' && to !== 'a'
  network.perform('a', step(a, { type: 'link', usable: false, now: network.now }))
  assert.equal(network.view('a'), 'b:presumed c:presumed')
  network.run(1000)
  assert.equal(network.view('a'), 'b:presumed c:presumed')
  assert.equal(network.view('b'), 'a:dead c:alive')
  network.deliver = () => true
  network.perform('a', step(a, { type: 'link', usable: true, now: network.now }))
  network.run(2 * INTERVAL)
  assert.equal(network.view('a'), 'b:alive c:alive')
  assert.equal(network.view('b'), 'a:alive c:alive')
})

test('recordings prove nothing: not those of a dead node, not those made for a run before', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  network.run(400)
  const recording = network.recorded.splice(0)
  // The attacker replays all of it, in order, to the same run and then to a new one.
  for (const restart of [false, true]) {
    if (restart) network.start('a')
    const a = network.nodes.get('a')
    assert.ok(a !== undefined)
    for (const { to, payload } of recording) {
      if (to === 'a') network.perform('a', step(a, { type: 'datagram', payload, now: network.now }))
    }
    network.run(2 * DEAD_AFTER)
    assert.equal(network.view('a'), 'b:alive c:dead')
  }
})

test('what is not ours is counted and changes nothing', () => {
  const m = machine('a')
  const sent = step(machine('c', 5), { type: 'tick', now: INTERVAL })
  const forB = sent.find(effect => effect.type === 'send' && effect.to === ADDRESSES.get('b'))
  assert.ok(forB?.type === 'send')
  assert.equal(decodeHeartbeat(forB.payload, KEY).recipient, 'b')
  const stranger = encodeHeartbeat(
    { kind: 'alive', sender: 'x', recipient: 'a', epoch: 9, counter: 1, heardEpoch: m.epoch },
    KEY,
  )
  const before = JSON.stringify([...m.peers.values()])
  for (const [why, payload] of [
    ['not-authentic', new Uint8Array(80)],
    ['undecodable', new Uint8Array(3)],
    ['not-for-us', forB.payload],
    ['unknown-sender', stranger],
  ] as const) {
    assert.deepEqual(step(m, { type: 'datagram', payload, now: 1 }), [{ type: 'dropped', why }])
    assert.equal(JSON.stringify([...m.peers.values()]), before)
  }
  m.key = undefined
  const deaf = step(m, { type: 'datagram', payload: new Uint8Array(80), now: 1 })
  assert.deepEqual(deaf, [{ type: 'dropped', why: 'no-key' }])
})

test('any datagram at all is survived', () => {
  const m = machine('a')
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), payload => {
      step(m, { type: 'datagram', payload, now: 1 })
    }),
  )
  assert.deepEqual(
    [...m.peers.values()].map(peer => peer.status),
    ['presumed', 'presumed'],
  )
})

test('with 5 % loss no node is taken for dead in a minute', () => {
  for (let seed = 1; seed <= 3; seed++) {
    const random = new SeededRandom(seed)
    const network = threeNodes()
    network.changes.length = 0
    network.deliver = () => random.next() >= 0.05
    network.run(60_000)
    // Five in a row lost: 3e-7 a beat, 7,200 beats a minute and seed.
    assert.deepEqual(network.changes, [], `seed ${seed}`)
  }
})

test('a node that appears while we run counts as dead until it is heard: nobody gives anything up for it', () => {
  const m = createMembership({ self: 'a', epoch: 1000, intervalMs: INTERVAL, deadAfterMs: DEAD_AFTER })
  const [b, c] = everybody('a')
  assert.ok(b !== undefined && c !== undefined)
  step(m, { type: 'peers', peers: [b], now: 0 })
  step(m, { type: 'key', key: KEY, now: 0 })
  const effects = step(m, { type: 'peers', peers: [b, c], now: 100 })
  assert.deepEqual(
    effects.map(effect => effect.type === 'peer-changed' && [effect.node, effect.to]),
    [['c', 'dead']],
  )
  assert.deepEqual(
    [...m.peers.values()].map(peer => `${peer.name}:${peer.status}`),
    ['b:presumed', 'c:dead'],
  )
})

test('nothing expires before a key is known, and the waiting begins with it', () => {
  const m = createMembership({ self: 'a', epoch: 1000, intervalMs: INTERVAL, deadAfterMs: DEAD_AFTER })
  const changesAt = (now: number) =>
    step(m, { type: 'tick', now }).filter(effect => effect.type === 'peer-changed').length
  step(m, { type: 'peers', peers: everybody('a'), now: 0 })
  for (let now = 0; now <= 1000; now += INTERVAL) assert.equal(changesAt(now), 0)
  step(m, { type: 'key', key: KEY, now: 1000 })
  for (let now = 1050; now < 1500; now += INTERVAL) assert.equal(changesAt(now), 0)
  assert.equal(changesAt(1500), 2)
})

test('a new key reaches one node long after the other, and nobody is taken for dead', () => {
  const network = threeNodes()
  const key = new Uint8Array(32).fill(9)
  network.changes.length = 0
  for (const name of ['a', 'b', 'c']) {
    const m = network.nodes.get(name)
    assert.ok(m !== undefined)
    network.perform(name, step(m, { type: 'key', key, now: network.now }))
    network.run(2000)
  }
  assert.deepEqual(network.changes, [])
  // Each has shown the new key by now: the old one is good for nobody any more.
  const a = network.nodes.get('a')
  assert.ok(a !== undefined)
  const forged = encodeHeartbeat(
    { kind: 'leaving', sender: 'b', recipient: 'a', epoch: 9e12, counter: 1, heardEpoch: a.epoch },
    KEY,
  )
  const effects = step(a, { type: 'datagram', payload: forged, now: network.now })
  assert.deepEqual(effects, [{ type: 'dropped', why: 'not-authentic' }])
})

test('the old key of a node that never shows the new one is good for ten minutes', () => {
  const m = machine('a')
  step(m, { type: 'key', key: new Uint8Array(32).fill(9), now: 0 })
  const beat = (counter: number) =>
    encodeHeartbeat(
      { kind: 'alive', sender: 'b', recipient: 'a', epoch: 5, counter, heardEpoch: m.epoch },
      KEY,
    )
  const heard = (counter: number, now: number) =>
    step(m, { type: 'datagram', payload: beat(counter), now }).some(effect => effect.type === 'dropped')
  assert.equal(heard(1, 599_999), false)
  assert.equal(heard(2, 600_000), true)
})

test('recordings of a node stay old when its Node is deleted and made again', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  const a = network.nodes.get('a')
  assert.ok(a !== undefined)
  const recording = network.recorded.splice(0)
  network.run(400)
  step(a, { type: 'peers', peers: everybody('a').filter(peer => peer.name !== 'c'), now: network.now })
  step(a, { type: 'peers', peers: everybody('a'), now: network.now })
  for (const { to, payload } of recording) {
    if (to === 'a') network.perform('a', step(a, { type: 'datagram', payload, now: network.now }))
  }
  assert.equal(network.view('a'), 'b:alive c:dead')
})

test('each peer is told three times that we leave, whenever its turn is', () => {
  const network = threeNodes()
  const a = network.nodes.get('a')
  const [b] = everybody('a')
  assert.ok(a !== undefined && b !== undefined)
  // Out of step with one another.
  for (const [i, peer] of [...a.peers.values()].entries()) peer.nextSendAt = network.now + 7 * i
  network.recorded.length = 0
  network.perform('a', step(a, { type: 'leave', now: network.now }))
  network.run(1000)
  for (const name of ['b', 'c']) {
    const told = network.recorded
      .filter(each => each.to === name)
      .map(each => decodeHeartbeat(each.payload, KEY))
      .filter(beat => beat.sender === 'a')
    assert.deepEqual(
      told.map(beat => beat.kind),
      ['leaving', 'leaving', 'leaving'],
      name,
    )
  }
})

test('who was away long enough to be taken for dead gives up what it stood in for', () => {
  const m = machine('a')
  for (let now = 0; now <= 600; now += INTERVAL) step(m, { type: 'tick', now })
  assert.equal(m.peers.get('b')?.status, 'dead')
  const effects = step(m, { type: 'tick', now: 5000 })
  assert.deepEqual(
    effects.filter(effect => effect.type === 'peer-changed').map(({ node, to }) => `${node}:${to}`),
    ['b:presumed', 'c:presumed'],
  )
  assert.ok(effects.some(effect => effect.type === 'was-away' && effect.missed))
})

test('a first peer after a long time alone is no absence', () => {
  const m = createMembership({ self: 'a', epoch: 1, intervalMs: INTERVAL, deadAfterMs: DEAD_AFTER })
  step(m, { type: 'peers', peers: [], now: 0 })
  step(m, { type: 'key', key: KEY, now: 0 })
  step(m, { type: 'tick', now: 1 })
  step(m, { type: 'peers', peers: everybody('a'), now: 3_600_000 })
  const effects = step(m, { type: 'tick', now: 3_600_000 })
  assert.ok(effects.every(effect => effect.type !== 'was-away'))
})

test('a node without peers is never away: ticks that others want come as far apart as they like', () => {
  const m = createMembership({ self: 'a', epoch: 1, intervalMs: INTERVAL, deadAfterMs: DEAD_AFTER })
  step(m, { type: 'peers', peers: [], now: 0 })
  step(m, { type: 'key', key: KEY, now: 0 })
  for (let now = 0; now <= 5000; now += 1000) assert.deepEqual(step(m, { type: 'tick', now }), [])
  step(m, { type: 'peers', peers: everybody('a'), now: 9000 })
  const effects = step(m, { type: 'tick', now: 9001 })
  assert.ok(effects.every(effect => effect.type === 'send'))
})
