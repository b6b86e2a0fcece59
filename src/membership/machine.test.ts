import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, parseIp } from '../addr/ip.ts'
import { decodeHeartbeat, encodeHeartbeat, type Heartbeat } from '../wire/heartbeat.ts'
import {
  createMembership,
  type Effect,
  type Event,
  type Level,
  levelOf,
  type Membership,
  nextDeadline,
  standing,
  step,
} from './machine.ts'
import { membershipView } from './view.ts'

const KEY = new Uint8Array(22).fill(7)
const INTERVAL = 50
const MISSES = 5
const PATIENCE = INTERVAL * MISSES
const RETURN_AFTER = 1000
/** Neither votes nor grants before, whatever the run before may have promised. */
const SILENT_START = 10 * PATIENCE

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

function others(self: string): { name: string; ip: Ip }[] {
  return [...ADDRESSES].filter(([name]) => name !== self).map(([name, address]) => ({ name, ip: address }))
}

function create(self: string, epoch = 1000): Membership {
  return createMembership({
    self,
    epoch,
    intervalMs: INTERVAL,
    misses: MISSES,
    returnAfterMs: RETURN_AFTER,
  })
}

function machine(self: string, epoch = 1000): Membership {
  const m = create(self, epoch)
  step(m, { type: 'peers', peers: others(self), now: 0 })
  step(m, { type: 'key', key: KEY, now: 0 })
  return m
}

type Dated<E> = E extends { now: number } ? Omit<E, 'now'> : never

/** Nodes on one network with the real bytes, driven by the earliest deadline; what is sent arrives 1 ms later. */
class Network {
  readonly nodes = new Map<string, Membership>()
  readonly frozen = new Set<string>()
  readonly changes: { at: number; on: string; node: string; to: Level }[] = []
  readonly effects: { at: number; on: string; effect: Effect }[] = []
  readonly recorded: { to: string; payload: Uint8Array }[] = []
  deliver: (from: string, to: string) => boolean = () => true
  now = 0
  #wire: { at: number; from: string; to: string; payload: Uint8Array }[] = []

  start(name: string, epoch = 1000 + this.now): void {
    this.nodes.set(name, create(name, epoch))
    this.tell(name, { type: 'peers', peers: others(name) })
    this.tell(name, { type: 'key', key: KEY })
  }

  node(name: string): Membership {
    const m = this.nodes.get(name)
    assert.ok(m !== undefined)
    return m
  }

  tell(name: string, event: Dated<Event>): Effect[] {
    const effects = step(this.node(name), { ...event, now: this.now })
    for (const effect of effects) {
      if (effect.type === 'node')
        this.changes.push({ at: this.now, on: name, node: effect.node, to: effect.to })
      if (effect.type !== 'send') {
        this.effects.push({ at: this.now, on: name, effect })
        continue
      }
      const to = [...ADDRESSES].find(([, address]) => address === effect.to)?.[0] ?? ''
      this.recorded.push({ to, payload: effect.payload })
      if (this.deliver(name, to)) {
        this.#wire.push({ at: this.now + 1, from: name, to, payload: effect.payload })
      }
    }
    return effects
  }

  run(forMs: number): void {
    const until = this.now + forMs
    for (; this.now < until; this.now++) {
      const due = this.#wire.filter(each => each.at <= this.now)
      this.#wire = this.#wire.filter(each => each.at > this.now)
      for (const { to, payload } of due) {
        if (this.nodes.has(to) && !this.frozen.has(to)) this.tell(to, { type: 'datagram', payload })
      }
      for (const [name, m] of this.nodes) {
        if (!this.frozen.has(name) && nextDeadline(m) <= this.now) this.tell(name, { type: 'tick' })
      }
    }
  }

  view(on: string): string {
    return [...this.node(on).peers.values()].map(peer => `${peer.name}:${peer.level}`).join(' ')
  }

  entitled(on: string): boolean {
    return standing(this.node(on), this.now).entitled
  }

  of<T extends Effect['type']>(type: T, on: string): (Effect & { type: T })[] {
    return this.effects
      .filter(each => each.on === on)
      .map(({ effect }) => effect)
      .filter((effect): effect is Effect & { type: T } => effect.type === type)
  }
}

/** Three that have proven stable. */
function threeNodes(): Network {
  const network = new Network()
  for (const name of ADDRESSES.keys()) network.start(name)
  network.run(SILENT_START + RETURN_AFTER + 3 * INTERVAL)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.equal(network.view('b'), 'a:up c:up')
  network.changes.length = 0
  network.effects.length = 0
  return network
}

test('a cluster that starts: nobody is entitled before the first votes, then everybody, and up after the proof', () => {
  const network = new Network()
  for (const name of ADDRESSES.keys()) network.start(name)
  network.run(SILENT_START - 2)
  assert.equal(network.entitled('a'), false)
  network.run(2 * INTERVAL)
  assert.equal(network.entitled('a'), true)
  assert.equal(standing(network.node('a'), network.now).probation, true)
  assert.equal(levelOf(network.node('a'), 'a'), 'probation')
  assert.equal(network.view('a'), 'b:probation c:probation')
  network.run(RETURN_AFTER)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.equal(levelOf(network.node('a'), 'a'), 'up')
  assert.equal(levelOf(network.node('a'), 'stranger'), 'down')
})

test('a silent node is down after the patience, and not before; it is suspected first', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  const since = network.now
  network.run(PATIENCE - INTERVAL - 2)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.deepEqual(
    network.of('suspect', 'a').map(({ node }) => node),
    ['c'],
  )
  network.run(INTERVAL + 10)
  assert.equal(network.view('a'), 'b:up c:down')
  assert.equal(network.view('b'), 'a:up c:down')
  for (const { at } of network.changes) assert.ok(at - since <= PATIENCE + 3, `found after ${at - since} ms`)
  const [change] = network.of('node', 'a')
  assert.ok(change?.lastHeardAt !== undefined && change.suspectedAt !== undefined)
  assert.ok(change.lastHeardAt < change.suspectedAt && change.suspectedAt < change.at)
})

test('a node that hears nobody loses its entitlement before anybody else holds it for down, and concludes nothing', () => {
  const network = threeNodes()
  network.deliver = (from, to) => from !== 'a' && to !== 'a'
  let lostAt = 0
  for (let i = 0; i < 2 * PATIENCE; i++) {
    network.run(1)
    if (lostAt === 0 && !network.entitled('a')) lostAt = network.now
  }
  assert.ok(
    network.changes.length === 2 && network.changes.every(({ node, to }) => node === 'a' && to === 'down'),
  )
  for (const { at } of network.changes) assert.ok(lostAt < at, `${lostAt}, ${at}`)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.ok(network.entitled('b') && network.entitled('c'))
})

test('who was voted down while it was away releases everything when it is heard again, and proves itself anew', () => {
  const network = threeNodes()
  network.deliver = (from, to) => from !== 'a' && to !== 'a'
  network.run(2 * PATIENCE)
  network.deliver = () => true
  network.run(5)
  // Not entitled as long as others may believe the votes against it.
  assert.equal(network.entitled('a'), false)
  network.run(PATIENCE + 3 * INTERVAL)
  assert.equal(network.of('lost', 'a').length, 1)
  assert.equal(network.entitled('a'), true)
  assert.equal(network.view('b'), 'a:probation c:up')
  network.run(RETURN_AFTER)
  assert.equal(network.view('b'), 'a:up c:up')
})

test('one voter alone that does not hear a node changes nothing', () => {
  const network = threeNodes()
  network.deliver = (from, to) => !(from === 'a' && to === 'c') && !(from === 'c' && to === 'a')
  network.run(20 * PATIENCE)
  assert.deepEqual(network.changes, [])
  assert.ok(['a', 'b', 'c'].every(name => network.entitled(name)))
  network.deliver = () => true
  network.run(4 * INTERVAL)
  assert.equal(network.of('lost', 'a').length + network.of('lost', 'c').length, 0)
  assert.deepEqual(network.changes, [])
})

test('a node that is heard but says it has no majority is down as well', () => {
  const network = threeNodes()
  // It speaks to b, and hears nobody.
  network.deliver = (from, to) => to !== 'a' && !(from === 'a' && to === 'c')
  network.run(4 * PATIENCE)
  assert.equal(network.view('b'), 'a:down c:up')
  assert.equal(network.view('c'), 'a:down b:up')
})

test('a node that comes back in a new run is on probation, until it has proven stable', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  network.run(2 * PATIENCE)
  network.start('c')
  network.run(5)
  assert.equal(network.view('a'), 'b:up c:probation')
  assert.equal(network.entitled('c'), false)
  network.run(PATIENCE + 3 * INTERVAL)
  assert.equal(network.entitled('c'), true)
  assert.equal(network.view('a'), 'b:up c:probation')
  network.run(RETURN_AFTER)
  assert.equal(network.view('a'), 'b:up c:up')
})

test('a voter that starts again votes and grants nothing for ten times the patience', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  network.run(2 * PATIENCE)
  network.start('c')
  network.recorded.length = 0
  const voting = () =>
    network.recorded
      .splice(0)
      .map(each => decodeHeartbeat(each.payload, KEY))
      .filter((beat): beat is Heartbeat => beat.sender === 'c' && beat.kind === 'alive')
      .filter(beat => beat.voting || beat.granting).length
  network.run(SILENT_START - 2)
  assert.equal(voting(), 0)
  network.run(2 * INTERVAL)
  assert.ok(voting() > 0)
})

test('a node whose clock was set back comes back too: its peers tell it the epoch to exceed', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  network.run(2 * PATIENCE)
  network.start('c', 5)
  network.run(3 * INTERVAL)
  assert.equal(network.view('a'), 'b:up c:probation')
})

test('a node that says it leaves has left at once, its voice is not missed, and a new run of it is welcome', () => {
  const network = threeNodes()
  network.tell('c', { type: 'leave' })
  network.run(3)
  assert.equal(network.view('a'), 'b:up c:left')
  assert.deepEqual(membershipView(network.node('a'), network.now).voters.length, 2)
  assert.ok(network.entitled('a') && network.entitled('b'))
  network.nodes.delete('c')
  network.run(1000)
  assert.equal(network.view('a'), 'b:up c:left', 'silence after a leave is no second change')
  assert.ok(network.entitled('a') && network.entitled('b'))
  network.start('c')
  network.run(SILENT_START + RETURN_AFTER + 4 * INTERVAL)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.equal(membershipView(network.node('a'), network.now).voters.length, 3)
  assert.deepEqual(network.of('lost', 'a'), [])
})

test('a lost leave is repeated, for as long as the process lives', () => {
  const network = threeNodes()
  network.deliver = () => false
  network.tell('c', { type: 'leave' })
  network.run(1)
  network.deliver = () => true
  network.run(2 * INTERVAL)
  assert.equal(network.view('a'), 'b:up c:left')
  network.recorded.length = 0
  network.run(4 * INTERVAL)
  const told = network.recorded
    .map(each => decodeHeartbeat(each.payload, KEY))
    .filter(beat => beat.sender === 'c')
  assert.ok(told.length >= 6 && told.every(beat => beat.kind === 'leaving'))
})

test('a node that was paused concludes nothing from the silence it slept through, and is not entitled', () => {
  const network = threeNodes()
  network.frozen.add('a')
  network.run(5000)
  assert.equal(network.view('b'), 'a:down c:up')
  const before = network.changes.length
  assert.equal(network.entitled('a'), false, 'before it has looked at anything')
  network.frozen.delete('a')
  network.run(PATIENCE + 300)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.deepEqual(
    network.changes.slice(before).filter(change => change.on === 'a'),
    [],
    'it never saw them down',
  )
  const [away] = network.of('was-away', 'a')
  assert.ok(away?.missed === true && away.forMs > 4900)
  assert.equal(network.of('lost', 'a').length, 1)
})

test('without a carrier the entitlement is gone at once, nobody is judged, and the time waits for the link', () => {
  const network = threeNodes()
  network.deliver = (from, to) => from !== 'a' && to !== 'a'
  network.tell('a', { type: 'link', usable: false })
  assert.equal(network.entitled('a'), false)
  assert.equal(standing(network.node('a'), network.now).entitledUntil < network.now, true)
  network.run(1000)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.equal(network.view('b'), 'a:down c:up')
  network.deliver = () => true
  network.tell('a', { type: 'link', usable: true })
  network.run(PATIENCE + 3 * INTERVAL)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.equal(network.view('b'), 'a:probation c:up')
})

test('recordings prove nothing: not those of a dead node, not those made for a run before', () => {
  const network = threeNodes()
  network.nodes.delete('c')
  network.run(2 * PATIENCE)
  const recording = network.recorded.splice(0)
  // The attacker replays all of it, in order, to the same run and then to a new one.
  for (const restart of [false, true]) {
    if (restart) network.start('a')
    for (const { to, payload } of recording) if (to === 'a') network.tell('a', { type: 'datagram', payload })
    network.run(SILENT_START + 2 * PATIENCE)
    assert.equal(network.view('a').split(' ')[1], 'c:down', `after a restart: ${restart}`)
  }
})

test('a heartbeat that waited in the socket of a paused node is no news to it', () => {
  const network = threeNodes()
  const late = network.recorded.splice(0).filter(({ to }) => to === 'a')
  network.frozen.add('a')
  network.recorded.length = 0
  network.run(1000)
  const waiting = network.recorded.filter(({ to }) => to === 'a')
  assert.ok(waiting.length > 10 && late.length > 10)
  network.frozen.delete('a')
  for (const { payload } of waiting) network.tell('a', { type: 'datagram', payload })
  assert.equal(network.entitled('a'), false)
})

const HEARTBEAT = {
  kind: 'alive',
  sender: 'b',
  recipient: 'a',
  epoch: 5,
  counter: 1,
  heardCounter: 0,
  round: 1,
  standing: true,
  quorate: true,
  granting: true,
  voting: true,
  wanted: true,
  intervalMs: INTERVAL,
  patienceMs: PATIENCE,
  promiseMs: PATIENCE,
  votedRound: 0,
  votes: new Uint8Array(),
} as const

test('what is not ours is counted and changes nothing', () => {
  const m = machine('a')
  const sent = step(machine('c', 5), { type: 'tick', now: INTERVAL })
  const forB = sent.find(effect => effect.type === 'send' && effect.to === ADDRESSES.get('b'))
  assert.ok(forB?.type === 'send')
  assert.equal(decodeHeartbeat(forB.payload, KEY).recipient, 'b')
  const stranger = encodeHeartbeat({ ...HEARTBEAT, sender: 'x', heardEpoch: m.epoch }, KEY)
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

test('any datagram at all is survived, and so is any heartbeat of somebody with the key', () => {
  const m = machine('a')
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), payload => {
      step(m, { type: 'datagram', payload, now: 1 })
    }),
  )
  const number = fc.oneof(fc.nat(3), fc.nat(0xffff), fc.constant(0xffff))
  let now = 1
  fc.assert(
    fc.property(
      fc.record(
        {
          counter: fc.nat(1e6),
          heardCounter: number,
          round: number,
          votedRound: number,
          promiseMs: number,
          patienceMs: number,
          intervalMs: fc.integer({ min: 1, max: 0xffff }),
          granting: fc.boolean(),
          quorate: fc.boolean(),
          voting: fc.boolean(),
          kind: fc.constantFrom('alive' as const, 'leaving' as const),
          votes: fc
            .uint8Array({ minLength: 9, maxLength: 9 })
            .map(bytes => bytes.with(8, (bytes[8] ?? 0) % 5)),
        },
        { noNullPrototype: true },
      ),
      lies => {
        now += 7
        const payload = encodeHeartbeat({ ...HEARTBEAT, ...lies, heardEpoch: m.epoch }, KEY)
        step(m, { type: 'datagram', payload, now })
        step(m, { type: 'tick', now })
        assert.ok(nextDeadline(m) > now)
        assert.ok(!Number.isNaN(m.entitledUntil))
      },
    ),
  )
})

test('a node that appears while we run is down until it is heard, and counts as a voter once it votes', () => {
  const m = create('a')
  const [b, c] = others('a')
  assert.ok(b !== undefined && c !== undefined)
  step(m, { type: 'peers', peers: [b], now: 0 })
  step(m, { type: 'key', key: KEY, now: 0 })
  const effects = step(m, { type: 'peers', peers: [b, c], now: 100 })
  assert.deepEqual(
    effects.filter(effect => effect.type === 'node').map(effect => [effect.node, effect.to]),
    [['c', 'down']],
  )
  assert.deepEqual(
    [...m.peers.values()].map(peer => `${peer.name}:${peer.level}`),
    ['b:up', 'c:down'],
  )
  assert.deepEqual([...membershipView(m, 100).voters].sort(), ['a', 'b'])
})

test('the only node of a cluster is entitled for ever and up at once', () => {
  const m = create('a')
  assert.equal(standing(m, 0).entitled, false, 'not before it knows that')
  const effects = step(m, { type: 'peers', peers: [{ name: 'a', ip: ip('192.0.2.11') }], now: 0 })
  step(m, { type: 'tick', now: 1 })
  assert.equal(
    effects.some(effect => effect.type === 'node'),
    false,
  )
  assert.deepEqual(standing(m, 1), {
    entitled: true,
    entitledUntil: Number.POSITIVE_INFINITY,
    probation: false,
    alone: false,
  })
  assert.equal(nextDeadline(m), Number.POSITIVE_INFINITY)
})

test('nothing expires before a key is known, and the waiting begins with it', () => {
  const m = create('a')
  const said = (now: number) => step(m, { type: 'tick', now }).filter(effect => effect.type === 'node').length
  step(m, { type: 'peers', peers: others('a'), now: 0 })
  for (let now = 0; now <= 5000; now += INTERVAL) assert.equal(said(now), 0)
  assert.equal(standing(m, 5000).entitled, false)
  step(m, { type: 'key', key: KEY, now: 5000 })
  for (let now = 5050; now < 8000; now += INTERVAL) assert.equal(said(now), 0)
  assert.equal(standing(m, 8000).alone, false)
})

test('who hears nobody in its whole run is alone after three seconds, says so, and is not any more when it hears one', () => {
  const network = new Network()
  network.start('a')
  network.run(2990)
  assert.equal(standing(network.node('a'), network.now).alone, false)
  network.run(20)
  assert.deepEqual(standing(network.node('a'), network.now).alone, true)
  assert.equal(network.view('a'), 'b:down c:down')
  assert.deepEqual(
    network.of('entitlement', 'a').map(({ entitled, alone }) => [entitled, alone]),
    [[false, true]],
  )
  network.start('b')
  network.run(2 * INTERVAL)
  assert.equal(standing(network.node('a'), network.now).alone, false)
  // One that was heard once is never alone again.
  network.nodes.delete('b')
  network.run(10_000)
  assert.equal(standing(network.node('a'), network.now).alone, false)
})

test('a new key reaches one node long after the other, and nobody is taken for down', () => {
  const network = threeNodes()
  const key = new Uint8Array(32).fill(9)
  for (const name of ['a', 'b', 'c']) {
    network.tell(name, { type: 'key', key })
    network.run(2000)
    assert.ok(['a', 'b', 'c'].every(each => network.entitled(each)))
  }
  assert.deepEqual(network.changes, [])
  // Each has shown the new key by now: the old one is good for nobody any more.
  const a = network.node('a')
  const forged = encodeHeartbeat({ ...HEARTBEAT, kind: 'leaving', epoch: 9e12, heardEpoch: a.epoch }, KEY)
  const effects = step(a, { type: 'datagram', payload: forged, now: network.now })
  assert.deepEqual(effects, [{ type: 'dropped', why: 'not-authentic' }])
})

test('the old key of a node that never shows the new one is good for ten minutes', () => {
  const m = machine('a')
  step(m, { type: 'key', key: new Uint8Array(32).fill(9), now: 0 })
  const heard = (counter: number, now: number) => {
    const payload = encodeHeartbeat({ ...HEARTBEAT, counter, heardEpoch: m.epoch }, KEY)
    return step(m, { type: 'datagram', payload, now }).some(effect => effect.type === 'dropped')
  }
  assert.equal(heard(1, 599_999), false)
  assert.equal(heard(2, 600_000), true)
})

test('a list that is lost makes nobody alone; who is down for a minute is forgotten, but recordings of it stay old', () => {
  const network = threeNodes()
  for (const name of ['a', 'b', 'c']) network.tell(name, { type: 'peers', peers: [] })
  network.run(1000)
  assert.equal(network.view('a'), 'b:up c:up')
  assert.equal(membershipView(network.node('a'), network.now).majority, 2)
  network.nodes.delete('c')
  const recording = network.recorded.splice(0)
  network.run(59_000)
  assert.equal(network.view('a'), 'b:up c:down')
  network.run(1000)
  assert.equal(network.view('a'), 'b:up')
  network.tell('a', { type: 'peers', peers: others('a') })
  for (const { to, payload } of recording) if (to === 'a') network.tell('a', { type: 'datagram', payload })
  assert.equal(network.view('a'), 'b:up c:down')
})

test('a first peer after a long time alone is no absence', () => {
  const m = create('a')
  step(m, { type: 'peers', peers: [], now: 0 })
  step(m, { type: 'key', key: KEY, now: 0 })
  step(m, { type: 'tick', now: 1 })
  const effects = step(m, { type: 'peers', peers: others('a'), now: 3_600_000 })
  effects.push(...step(m, { type: 'tick', now: 3_600_000 }))
  assert.ok(effects.every(effect => effect.type !== 'was-away'))
})

test('of two voters, the one whose witness answers goes on without a breath, the other stops', () => {
  const network = new Network()
  for (const name of ['a', 'b']) network.start(name)
  for (const name of ['a', 'b']) {
    network.tell(name, { type: 'peers', peers: others(name).filter(peer => peer.name !== 'c') })
  }
  // Until the third is forgotten, and the voters that it was one of.
  network.run(72_000)
  assert.equal(network.view('a'), 'b:up')
  network.deliver = () => false
  network.effects.length = 0
  let answered = 0
  for (let i = 0; i < 3000; i++) {
    network.run(1)
    const asks = network.of('ask-witness', 'a').length
    for (; answered < asks; answered++) network.tell('a', { type: 'witness', sentAt: network.now })
    assert.ok(network.entitled('a'), `at ${i} ms`)
    if (i > PATIENCE) assert.equal(network.entitled('b'), false)
  }
  assert.equal(network.view('a'), 'b:down')
  assert.equal(network.view('b'), 'a:up')
  // Often at first, then seldom.
  assert.ok(answered > 15 && answered < 30, `${answered} questions`)
  network.deliver = () => true
  network.run(PATIENCE + 4 * INTERVAL)
  assert.equal(network.of('lost', 'b').length, 1)
  assert.equal(network.of('lost', 'a').length, 0)
  assert.equal(network.view('a'), 'b:probation')
})

test('an old answer of a witness proves nothing', () => {
  const network = new Network()
  for (const name of ['a', 'b']) network.start(name)
  for (const name of ['a', 'b']) {
    network.tell(name, { type: 'peers', peers: others(name).filter(peer => peer.name !== 'c') })
  }
  network.run(72_000)
  network.tell('a', { type: 'witness', sentAt: network.now })
  const before = network.now - 1
  network.deliver = () => false
  network.run(PATIENCE)
  network.tell('a', { type: 'witness', sentAt: before - 2 * PATIENCE })
  network.tell('a', { type: 'witness', sentAt: network.now + 1000 })
  network.run(PATIENCE)
  assert.equal(network.entitled('a'), false)
  assert.equal(network.view('a'), 'b:up')
})

test('jitter raises the patience on the pair, on both sides, and says so', () => {
  const network = threeNodes()
  // What a sends to b comes in bursts: 150 ms of silence, then all at once.
  const held: Uint8Array[] = []
  network.deliver = (from, to) => {
    if (from !== 'a' || to !== 'b') return true
    const last = network.recorded.at(-1)
    if (last !== undefined) held.push(last.payload)
    return false
  }
  for (let i = 0; i < 40; i++) {
    network.run(200)
    for (const payload of held.splice(0)) network.tell('b', { type: 'datagram', payload })
  }
  const adapted = network.of('adapted', 'b')
  assert.ok(adapted.length >= 1 && adapted.length < 10 && adapted.every(({ node }) => node === 'a'))
  const patience = (on: string, node: string) =>
    membershipView(network.node(on), network.now).peers.find(peer => peer.node === node)?.patienceMs ?? 0
  assert.ok(patience('b', 'a') > PATIENCE)
  assert.equal(patience('a', 'b'), patience('b', 'a'))
  assert.equal(patience('a', 'c'), PATIENCE)
  assert.deepEqual(network.changes, [])
})

test('terms are told three times, to one node or to all', () => {
  const network = threeNodes()
  const claims = Array.from({ length: 40 }, (_, i) => ({ ip: ip(`198.51.100.${i + 1}`), term: i }))
  network.tell('a', { type: 'claims', claims })
  network.run(5 * INTERVAL)
  for (const on of ['b', 'c']) {
    const heard = network.of('claimed', on)
    // Forty do not fit one packet.
    assert.equal(heard.length, 6, on)
    assert.ok(heard.every(({ node }) => node === 'a'))
    assert.deepEqual(
      heard.slice(0, 2).flatMap(effect => effect.claims),
      claims,
    )
  }
  network.effects.length = 0
  network.tell('a', { type: 'claims', claims: claims.slice(0, 1), to: 'b' })
  network.run(5 * INTERVAL)
  assert.deepEqual([network.of('claimed', 'b').length, network.of('claimed', 'c').length], [3, 0])
})

test('what layer 2 says about askers goes to one node, once', () => {
  const network = threeNodes()
  const bodies = [Uint8Array.of(1, 2, 3), Uint8Array.of(4)]
  network.tell('a', { type: 'askers', to: 'b', bodies })
  network.run(3 * INTERVAL)
  assert.deepEqual(
    network.of('askers', 'b').map(({ node, body }) => [node, body]),
    bodies.map(body => ['a', body]),
  )
  assert.deepEqual(network.of('askers', 'c'), [])
})

test('in a large cluster everybody speaks more seldom, and says so', () => {
  const m = create('a')
  const many = Array.from({ length: 500 }, (_, i) => ({ name: `n${i}`, ip: ip(`10.0.${i >> 8}.${i & 255}`) }))
  step(m, { type: 'peers', peers: many, now: 0 })
  const effects = step(m, { type: 'key', key: KEY, now: 0 })
  assert.equal(m.intervalMs, 200)
  const [first] = effects.filter(effect => effect.type === 'send')
  assert.ok(first !== undefined)
  const beat = decodeHeartbeat(first.payload, KEY)
  assert.ok(beat.kind === 'alive' && beat.intervalMs === 200)
  assert.equal(membershipView(m, 0).voters.length, 7)
})
