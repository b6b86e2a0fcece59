import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'
import { createMembership, type Event, type Membership, nextDeadline, step } from './machine.ts'

type Timed = Event extends infer Each ? (Each extends unknown ? Omit<Each, 'now'> : never) : never

const NAMES = ['node1', 'node2', 'node3']
const KEY = new Uint8Array(32).fill(7)

function ipOf(name: string): Ip {
  const ip = parseIp(`192.0.2.1${name.slice(4)}`)
  assert.ok(ip !== undefined)
  return ip
}

/** Three nodes on a network without loss; changes of level as `observer: node from to`. */
class Net {
  readonly changes: string[] = []
  readonly #machines = new Map<string, Membership>()
  #flying: { readonly at: Ms; readonly to: string; readonly payload: Uint8Array }[] = []
  #now: Ms = 1

  start(name: string): void {
    this.#machines.set(
      name,
      createMembership({ self: name, epoch: this.#now, intervalMs: 20, misses: 4, returnAfterMs: 1000 }),
    )
    const peers = NAMES.filter(each => each !== name).map(each => ({ name: each, ip: ipOf(each) }))
    for (const event of [
      { type: 'link', usable: true },
      { type: 'peers', peers },
      { type: 'key', key: KEY },
    ] as const) {
      this.#step(name, event)
    }
  }

  /** As a speaker that is stopped: it says so, and is gone a moment later. */
  leave(name: string): void {
    this.#step(name, { type: 'leave' })
    this.run(10)
    this.#machines.delete(name)
  }

  run(forMs: Ms): void {
    for (const end = this.#now + forMs; this.#now < end; this.#now += 0.5) {
      const due = this.#flying.filter(({ at }) => at <= this.#now)
      this.#flying = this.#flying.filter(({ at }) => at > this.#now)
      for (const { to, payload } of due) this.#step(to, { type: 'datagram', payload })
      for (const [name, machine] of this.#machines) {
        if (nextDeadline(machine) <= this.#now) this.#step(name, { type: 'tick' })
      }
    }
  }

  #step(name: string, event: Timed): void {
    const machine = this.#machines.get(name)
    if (machine === undefined) return
    for (const effect of step(machine, { ...event, now: this.#now })) {
      if (effect.type === 'node') this.changes.push(`${name}: ${effect.node} ${effect.from} ${effect.to}`)
      if (effect.type !== 'send') continue
      const to = NAMES.find(each => ipOf(each) === effect.to)
      if (to !== undefined) this.#flying.push({ at: this.#now + 0.3, to, payload: effect.payload })
    }
  }
}

test('in a rolling restart whoever left is not up again by its own last word', () => {
  const net = new Net()
  for (const name of NAMES) net.start(name)
  net.run(3000)
  net.leave('node1')
  net.run(1000)
  net.start('node1')
  net.run(3000)
  net.changes.length = 0
  net.leave('node2')
  net.run(2000)
  assert.deepEqual([...net.changes].sort(), ['node1: node2 up left', 'node3: node2 up left'])
})
