import assert from 'node:assert/strict'
import { Simulation } from './simulation.ts'

/** For a run that starts: neither votes nor grants for ten times the patience. */
export const START_MS = 1100

/** Everything that can go wrong at once; `heal` undoes all of it. */
export function breakSomething(s: Simulation, healAt: number): void {
  const n = s.nodes.length
  const a = s.pick(n)
  const b = (a + 1 + s.pick(n - 1)) % n
  const begin = s.now + s.between(0, 300)
  const end = Math.min(healAt, begin + s.between(30, 1200))
  const during = (from: () => void, to: () => void) => {
    s.at(begin, from)
    s.at(end, to)
  }
  const kinds = ['isolate', 'freeze', 'crash', 'leave', 'carrier', 'key', 'list'] as const
  // Two voters cut only from each other cannot know it: that is for the wire to find out.
  const pairs = ['pair', 'one-way', 'groups', 'loss'] as const
  const kind = n === 2 ? kinds[s.pick(kinds.length)] : [...kinds, ...pairs, ...pairs][s.pick(15)]
  s.faults.push({ at: begin, until: end, what: `${kind} ${s.node(a).name} ${s.node(b).name}` })
  switch (kind) {
    case 'isolate':
      during(
        () => s.isolate(a, true),
        () => s.isolate(a, false),
      )
      break
    case 'freeze':
      during(
        () => s.freeze(a, true),
        () => s.freeze(a, false),
      )
      break
    case 'crash':
      during(
        () => s.stop(a),
        () => s.start(a),
      )
      break
    case 'leave':
      s.at(begin, () => s.tell(s.node(a), { type: 'leave', now: 0 }))
      s.at(begin + 25 + s.between(0, 100), () => s.stop(a))
      s.at(Math.max(end, begin + 150), () => s.start(a))
      break
    case 'carrier':
      during(
        () => s.setCarrier(a, false),
        () => s.setCarrier(a, true),
      )
      break
    case 'key': {
      // The one before is good as well, but not the one before that.
      if (s.faults.filter(({ what }) => what.startsWith('key')).length > 1) break
      const key = Uint8Array.of(s.pick(256))
      s.key = key
      for (const node of s.nodes) {
        s.at(begin + s.between(0, 300), () => s.tell(node, { type: 'key', key, now: 0 }))
      }
      break
    }
    case 'list': {
      const everybody = s.nodes.map(({ name, ip }) => ({ name, ip }))
      const without = everybody.filter(({ name }) => name !== s.node(a).name)
      for (const node of s.nodes) {
        s.at(begin + s.between(0, 200), () => s.tell(node, { type: 'peers', peers: without, now: 0 }))
        s.at(end + s.between(0, 200), () => s.tell(node, { type: 'peers', peers: everybody, now: 0 }))
      }
      break
    }
    case 'pair':
      during(
        () => {
          s.setCut(a, b, true)
          s.setCut(b, a, true)
        },
        () => {
          s.setCut(a, b, false)
          s.setCut(b, a, false)
        },
      )
      break
    case 'one-way':
      during(
        () => s.setCut(a, b, true),
        () => s.setCut(a, b, false),
      )
      break
    case 'groups': {
      // The gateway is on one of the sides.
      const side = [...s.nodes, undefined].map(() => s.random.next() < 0.5)
      const divide = (cut: boolean) => () => {
        for (let from = 0; from <= n; from++)
          for (let to = 0; to <= n; to++) if (side[from] !== side[to]) s.setCut(from, to, cut)
      }
      during(divide(true), divide(false))
      break
    }
    case 'loss':
      during(
        () => {
          s.loss = 0.3
        },
        () => {
          s.loss = s.options.loss
        },
      )
      break
    case undefined:
      assert.fail('no such fault')
  }
}

export function heal(s: Simulation): void {
  s.loss = 0
  for (const node of s.nodes) s.isolate(node.index, false)
  for (const node of s.nodes) {
    s.freeze(node.index, false)
    if (!node.carrier) s.setCarrier(node.index, true)
    if (!node.running) s.start(node.index)
  }
}

/** A cluster that starts, up to five faults within a second or so, and the way back. */
export function chaos(seed: number): Simulation {
  const shape = new Simulation({ seed, nodes: 1 })
  const sizes = [2, 2, 3, 3, 3, 3, 3, 4, 4, 5]
  const large = [7, 9, 12]
  const nodes = (seed % 40 === 0 ? large[shape.pick(large.length)] : sizes[shape.pick(sizes.length)]) ?? 3
  const s = new Simulation({
    seed,
    nodes,
    loss: [0, 0, 0.01, 0.05][shape.pick(4)] ?? 0,
    duplication: [0, 0.05][shape.pick(2)] ?? 0,
    delayMs: [
      [0.05, 0.3],
      [0.5, 3],
    ][shape.pick(2)] as [number, number],
    latenessMs: [0.2, 0.2, 4, 4, 30][shape.pick(5)] ?? 1,
  })
  for (let i = 0; i < nodes; i++) s.at(s.between(0, 100), () => s.start(i))
  s.run(START_MS)
  const healAt = s.now + 1000
  const faults = 1 + s.pick(5)
  for (let i = 0; i < faults; i++) s.at(s.now + s.between(0, 600), () => breakSomething(s, healAt))
  // What was to end by then has ended; starts and lists may still come.
  s.run(1250)
  heal(s)
  // The longest way home: the last one starts now, waits until it votes and is voted for, and proves itself.
  const latest = s.now + START_MS + s.options.returnAfterMs + 10 * s.patienceMs
  while (s.now < latest && !s.isHome()) s.run(5 * s.options.intervalMs)
  return s
}
