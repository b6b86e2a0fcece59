import assert from 'node:assert/strict'
import { type Ip, parseIp } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'
import { SeededRandom } from '../ports/random.ts'
import type { Message } from '../wire/heartbeat.ts'
import { DecodeError } from '../wire/io.ts'
import {
  createMembership,
  type Effect,
  type Event,
  levelOf,
  type Membership,
  nextDeadline,
  standing,
  step,
} from './machine.ts'

/**
 * A cluster in one process, for tests: membership machines on a network that loses, delays, doubles and reorders, with links cut
 * one way or both, and nodes that pause, restart, lose their cable and have clocks that run at different rates. All from one
 * seed. Each node holds the rule of layer 2 over some addresses, each ranked from another node on.
 */
export type SimulationOptions = {
  readonly seed: number
  readonly nodes: number
  readonly intervalMs?: Ms
  readonly misses?: number
  readonly returnAfterMs?: Ms
  /** Share of datagrams. */
  readonly loss?: number
  readonly duplication?: number
  /** One way: between these, and now and then ten times the longer. */
  readonly delayMs?: readonly [Ms, Ms]
  /** How late timers are, at most. */
  readonly latenessMs?: Ms
  /** Rates of the clocks differ by up to twice this. */
  readonly skewPpm?: number
}

export type SimulatedNode = {
  readonly name: string
  readonly index: number
  readonly ip: Ip
  m: Membership
  running: boolean
  frozen: boolean
  carrier: boolean
  /** Of its monotonic clock. */
  readonly rate: number
  readonly offset: Ms
  /** What arrived while it was frozen. */
  inbox: Uint8Array[]
  /** The timer armed last; those before are void. */
  timer: number
  /** By address: whether the rule says it is its own, apart from the entitlement. */
  readonly first: boolean[]
  readonly changes: { at: Ms; effect: Effect }[]
  startedAt: Ms
}

type Happening = { readonly at: Ms; readonly order: number; readonly run: () => void }

const KEY = new Uint8Array(32).fill(7)
const ADDRESSES_MAX = 4
/** Of a socket; what comes when it is full is lost. */
const INBOX_MAX = 400

/** A payload that carries its message along: millions of authentication codes would be most of the cost. */
type Sealed = { readonly message: Message; readonly key: Uint8Array }

const SEALING = {
  encode: (message: Message, key: Uint8Array): Uint8Array => ({ message, key }) as unknown as Uint8Array,
  decode: (bytes: Uint8Array, key: Uint8Array): Message => {
    const sealed = bytes as unknown as Sealed
    if (sealed.key === key) return sealed.message
    throw new DecodeError('bad-checksum', 'authentication code', 'simulation', 'not made with our key')
  },
}

/** Addresses are looked at as often as this for who owns them; for two owners, always. */
const SAMPLE_MS = 5

export class Simulation {
  readonly options: Required<SimulationOptions>
  readonly random: SeededRandom
  readonly nodes: SimulatedNode[] = []
  /** Address i is ranked from node i on. */
  readonly addresses: number
  now: Ms = 0
  /** [from][to]; the gateway is the last of both. */
  readonly cut: boolean[][]
  loss: number
  datagrams = 0
  /** The longest time for which two nodes owned one address, and when that ended. */
  worstOverlap = { forMs: 0, at: 0, who: '' }
  /** By address: when it was last owned by anybody. */
  readonly lastOwnedAt: Ms[]
  readonly takeovers: { at: Ms; address: number; from: string; to: string }[] = []
  key: Uint8Array = KEY
  /** What was broken on purpose, for people. */
  readonly faults: { at: Ms; until: Ms; what: string }[] = []
  #happenings: Happening[] = []
  #order = 0
  readonly #owner: (string | undefined)[]
  #sampleAt = 0
  /** The rule of two nodes says that an address is theirs, entitled or not. */
  #contested = false
  /** By pair and address; and when it ended. */
  readonly #overlapSince = new Map<string, Ms>()

  constructor(options: SimulationOptions) {
    this.options = {
      intervalMs: 20,
      misses: 4,
      returnAfterMs: 300,
      loss: 0,
      duplication: 0,
      delayMs: [0.1, 0.5],
      latenessMs: 0.5,
      skewPpm: 200,
      ...options,
    }
    this.random = new SeededRandom(options.seed)
    this.loss = this.options.loss
    this.addresses = Math.min(options.nodes, ADDRESSES_MAX)
    this.lastOwnedAt = Array.from({ length: this.addresses }, () => Number.NEGATIVE_INFINITY)
    this.#owner = Array.from({ length: this.addresses }, () => undefined)
    this.cut = Array.from({ length: options.nodes + 1 }, () =>
      Array.from({ length: options.nodes + 1 }, () => false),
    )
    for (let index = 0; index < options.nodes; index++) {
      const name = `n${index}`
      const ip = parseIp(`192.0.2.${index + 1}`)
      assert.ok(ip !== undefined)
      this.nodes.push({
        name,
        index,
        ip,
        m: createMembership(this.#membershipOptions(name), SEALING),
        running: false,
        frozen: false,
        carrier: true,
        rate: 1 + ((this.random.next() * 2 - 1) * this.options.skewPpm) / 1e6,
        offset: Math.floor(this.random.next() * 1e6),
        inbox: [],
        timer: 0,
        first: Array.from({ length: this.addresses }, () => false),
        changes: [],
        startedAt: 0,
      })
    }
  }

  get patienceMs(): Ms {
    return this.options.intervalMs * this.options.misses
  }

  #membershipOptions(self: string) {
    const { intervalMs, misses, returnAfterMs } = this.options
    return { self, epoch: 1000 + Math.floor(this.now), intervalMs, misses, returnAfterMs }
  }

  node(index: number): SimulatedNode {
    const node = this.nodes[index]
    assert.ok(node !== undefined)
    return node
  }

  /** Uniform between. */
  between(low: number, high: number): number {
    return low + this.random.next() * (high - low)
  }

  pick(below: number): number {
    return Math.floor(this.random.next() * below)
  }

  at(at: Ms, run: () => void): void {
    // A binary heap: the earliest, and of those the first put in, is at the top.
    const heap = this.#happenings
    const item = { at, order: this.#order++, run }
    let i = heap.length
    heap.push(item)
    while (i > 0) {
      const parent = (i - 1) >> 1
      const above = heap[parent]
      if (above === undefined || before(above, item)) break
      heap[i] = above
      i = parent
    }
    heap[i] = item
  }

  #next(): Happening | undefined {
    const heap = this.#happenings
    const top = heap[0]
    const last = heap.pop()
    if (top === undefined || last === undefined || heap.length === 0) return top
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      const right = heap[child + 1]
      let least = heap[child]
      if (right !== undefined && least !== undefined && before(right, least)) {
        child++
        least = right
      }
      if (least === undefined || before(last, least)) break
      heap[i] = least
      i = child
    }
    heap[i] = last
    return top
  }

  run(forMs: Ms): void {
    const until = this.now + forMs
    for (;;) {
      const top = this.#happenings[0]
      if (top === undefined || top.at > until) break
      this.#next()
      this.#observe(Math.max(this.now, top.at))
      top.run()
    }
    this.#observe(until)
  }

  /** Everything until `now` was as it is: who owned what for how long. */
  #observe(now: Ms): void {
    const since = this.now
    this.now = now
    if (now <= since) return
    if (this.#contested) this.#findOverlaps(since, now)
    if (now < this.#sampleAt) return
    this.#sampleAt = now + SAMPLE_MS
    for (let address = 0; address < this.addresses; address++) {
      const owner = this.owners(address)[0]
      if (owner === undefined) continue
      this.lastOwnedAt[address] = now
      if (this.#owner[address] === owner) continue
      this.takeovers.push({ at: now, address, from: this.#owner[address] ?? '', to: owner })
      this.#owner[address] = owner
    }
  }

  #findOverlaps(since: Ms, now: Ms): void {
    for (let address = 0; address < this.addresses; address++) {
      let owner: SimulatedNode | undefined
      let ownsUntil = 0
      for (const node of this.nodes) {
        if (node.first[address] !== true || !node.running || node.frozen) continue
        const until = Math.min(now, this.#ownsUntil(node, address, since))
        if (until <= since) continue
        if (owner !== undefined && !this.#undecidable(owner, node)) {
          this.#overlap(owner, node, address, since, Math.min(until, ownsUntil))
        }
        owner = node
        ownsUntil = until
      }
    }
  }

  /** Two voters that are cut from each other and not from the gateway: only the wire can tell them. */
  #undecidable(a: SimulatedNode, b: SimulatedNode): boolean {
    const pair = (node: SimulatedNode) => node.m.voters.some(({ names }) => names.length === 2)
    return (
      pair(a) && pair(b) && (this.cut[a.index]?.[b.index] === true || this.cut[b.index]?.[a.index] === true)
    )
  }

  #overlap(a: SimulatedNode, b: SimulatedNode, address: number, since: Ms, until: Ms): void {
    const key = `${a.name} ${b.name} ${address}`
    const known = this.#overlapSince.get(key)
    const lastEnd = this.#overlapSince.get(`${key} end`)
    const start = known !== undefined && lastEnd !== undefined && since - lastEnd < 0.001 ? known : since
    this.#overlapSince.set(key, start)
    this.#overlapSince.set(`${key} end`, until)
    if (until - start > this.worstOverlap.forMs) {
      this.worstOverlap = { forMs: until - start, at: until, who: key }
    }
  }

  /** In the time of the network. The wire is asked before one who is alone owns anything. */
  #ownsUntil(node: SimulatedNode, address: number, now: Ms): Ms {
    const { entitledUntil, alone } = standing(node.m, this.local(node, now))
    if (!alone || this.local(node, now) < entitledUntil) return (entitledUntil - node.offset) / node.rate
    const answered = this.nodes.some(
      other =>
        other !== node &&
        other.first[address] === true &&
        this.connected(node, other) &&
        this.local(other, now) < other.m.entitledUntil,
    )
    return answered ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
  }

  /** Who owns an address now. */
  owners(address: number): string[] {
    return this.nodes
      .filter(
        node =>
          node.running &&
          !node.frozen &&
          node.first[address] === true &&
          this.#ownsUntil(node, address, this.now) > this.now,
      )
      .map(node => node.name)
  }

  /** Everybody is up and owns what ranks it first. */
  isHome(): boolean {
    return (
      this.nodes.every(node => node.m.standing) &&
      this.lastOwnedAt.every((_, address) => this.owners(address).join() === this.nodes[address]?.name)
    )
  }

  local(node: SimulatedNode, now = this.now): Ms {
    return node.offset + now * node.rate
  }

  connected(a: SimulatedNode, b: SimulatedNode): boolean {
    if (a === b) return a.running && !a.frozen
    return (
      a.running &&
      b.running &&
      !a.frozen &&
      !b.frozen &&
      a.carrier &&
      b.carrier &&
      this.cut[a.index]?.[b.index] !== true &&
      this.cut[b.index]?.[a.index] !== true
    )
  }

  setCut(from: number, to: number, cut: boolean): void {
    const row = this.cut[from]
    assert.ok(row !== undefined)
    row[to] = cut
  }

  /** From all others and the gateway. */
  isolate(index: number, cut: boolean): void {
    for (let other = 0; other <= this.nodes.length; other++) {
      if (other === index) continue
      this.setCut(index, other, cut)
      this.setCut(other, index, cut)
    }
  }

  start(index: number, registered = this.nodes): void {
    const node = this.node(index)
    node.m = createMembership(this.#membershipOptions(node.name), SEALING)
    node.running = true
    node.frozen = false
    node.inbox = []
    node.startedAt = this.now
    this.tell(node, { type: 'peers', peers: registered.map(({ name, ip }) => ({ name, ip })), now: 0 })
    this.tell(node, { type: 'link', usable: node.carrier, now: 0 })
    this.tell(node, { type: 'key', key: this.key, now: 0 })
  }

  stop(index: number): void {
    this.node(index).running = false
  }

  freeze(index: number, frozen: boolean): void {
    const node = this.node(index)
    if (node.frozen === frozen) return
    node.frozen = frozen
    if (frozen || !node.running) return
    const inbox = node.inbox
    node.inbox = []
    this.tell(node, { type: 'link', usable: node.carrier, now: 0 })
    const timerFirst = this.random.next() < 0.5
    if (timerFirst) this.#tick(node)
    for (const payload of inbox) this.tell(node, { type: 'datagram', payload, now: 0 })
    if (!timerFirst) this.#arm(node)
  }

  setCarrier(index: number, usable: boolean): void {
    const node = this.node(index)
    node.carrier = usable
    if (node.running && !node.frozen) this.tell(node, { type: 'link', usable, now: 0 })
  }

  /** The time is put in here. */
  tell(node: SimulatedNode, event: Event): void {
    if (!node.running) return
    const effects = step(node.m, { ...event, now: this.local(node) })
    let decided = event.type === 'leave'
    for (const effect of effects) {
      if (effect.type === 'send') {
        this.#send(node, effect.to, effect.payload)
        continue
      }
      if (effect.type === 'dropped') continue
      node.changes.push({ at: this.now, effect })
      decided = true
      if (effect.type === 'ask-witness') this.#ask(node)
    }
    if (decided) this.#decide(node)
    this.#arm(node)
  }

  /** Who owns, by layer 2: the standing candidates by rank, then those in probation; who is down or left is none. */
  #decide(node: SimulatedNode): void {
    for (let address = 0; address < this.addresses; address++) {
      let best: string | undefined
      for (const level of ['up', 'probation'] as const) {
        for (let rank = 0; rank < this.nodes.length && best === undefined; rank++) {
          const candidate = this.node((address + rank) % this.nodes.length)
          if (levelOf(node.m, candidate.name) === level) best = candidate.name
        }
      }
      node.first[address] = best === node.name
    }
    this.#contested = this.lastOwnedAt.some(
      (_, address) => this.nodes.filter(each => each.running && each.first[address] === true).length > 1,
    )
  }

  #ask(node: SimulatedNode): void {
    const gateway = this.nodes.length
    const sentAt = this.local(node)
    if (!node.carrier || this.#lost(node.index, gateway) || this.#lost(gateway, node.index)) return
    const run = node.m
    this.at(this.now + this.#delay() + this.#delay(), () => {
      if (node.m === run && !node.frozen) this.tell(node, { type: 'witness', sentAt, now: 0 })
    })
  }

  #lost(from: number, to: number): boolean {
    return this.cut[from]?.[to] === true || (this.loss > 0 && this.random.next() < this.loss)
  }

  #delay(): Ms {
    const [low, high] = this.options.delayMs
    return this.random.next() < 0.01 ? this.between(high, 10 * high) : this.between(low, high)
  }

  #send(from: SimulatedNode, ip: Ip, payload: Uint8Array): void {
    this.datagrams++
    if (!from.carrier) return
    const to = this.nodes.find(each => each.ip === ip)
    assert.ok(to !== undefined)
    const copies = this.options.duplication > 0 && this.random.next() < this.options.duplication ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (this.#lost(from.index, to.index)) continue
      this.at(this.now + this.#delay(), () => {
        if (!to.running || !to.carrier || this.cut[from.index]?.[to.index] === true) return
        if (!to.frozen) this.tell(to, { type: 'datagram', payload, now: 0 })
        else if (to.inbox.length < INBOX_MAX) to.inbox.push(payload)
      })
    }
  }

  #tick(node: SimulatedNode): void {
    this.tell(node, { type: 'tick', now: 0 })
  }

  #arm(node: SimulatedNode): void {
    const due = nextDeadline(node.m)
    const timer = ++node.timer
    if (due === Number.POSITIVE_INFINITY) return
    const run = node.m
    const late = this.random.next() * this.options.latenessMs
    const at = Math.max(this.now, (due - node.offset) / node.rate) + late
    this.at(at, () => {
      if (node.timer === timer && node.m === run && node.running && !node.frozen) this.#tick(node)
    })
  }
}

function before(a: Happening, b: Happening): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
