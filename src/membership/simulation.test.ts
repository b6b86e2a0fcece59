import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SimulatedNode, Simulation } from './simulation.ts'
import { chaos, START_MS } from './simulation-faults.ts'

// A failing seed says its number; `LODESTONE_SEED=17 node tools/test.mjs --filter simulation unit` runs that one only.
const ONLY = process.env['LODESTONE_SEED']
const OVERLAP_MAX_MS = 50
const CHAOS_SEEDS = 1000

function seeds(count: number): number[] {
  return ONLY === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(ONLY)]
}

function expectNoOverlap(s: Simulation, context: string): void {
  const { forMs, at, who } = s.worstOverlap
  assert.ok(forMs <= OVERLAP_MAX_MS, `${context}: ${who} owned by both for ${forMs} ms until ${at}`)
}

/** Nodes that all hear each other and are a majority of the voters, if there are such. */
function majority(s: Simulation): SimulatedNode[] {
  const names = s.nodes.find(node => node.running && node.m.voters.length > 0)?.m.voters[0]?.names ?? []
  const voters = s.nodes.filter(node => names.includes(node.name))
  const settled = voters.filter(
    node =>
      node.running && !node.frozen && node.carrier && !node.m.leaving && s.now - node.startedAt > START_MS,
  )
  let best: SimulatedNode[] = []
  for (let set = 0; set < 1 << settled.length; set++) {
    const members = settled.filter((_, i) => (set >> i) & 1)
    if (members.length <= best.length) continue
    if (members.every(a => members.every(b => s.connected(a, b)))) best = members
  }
  return 2 * best.length > voters.length ? best : []
}

function expectOwned(s: Simulation, context: string): void {
  if (majority(s).length === 0) return
  for (let address = 0; address < s.addresses; address++) {
    const ago = s.now - (s.lastOwnedAt[address] ?? 0)
    assert.ok(ago <= s.patienceMs, `${context}: nobody owns address ${address} for ${ago} ms`)
  }
}

function expectHome(s: Simulation, context: string): void {
  for (const node of s.nodes.slice(0, s.addresses)) {
    assert.deepEqual(s.owners(node.index), [node.name], `${context}: address ${node.index} at ${s.now}`)
  }
}

test(`${CHAOS_SEEDS} seeds of anything at all: never two owners for long, and all is home again at the end`, () => {
  const worst = { forMs: 0, seed: 0 }
  for (const seed of seeds(CHAOS_SEEDS)) {
    const s = chaos(seed)
    if (s.worstOverlap.forMs > worst.forMs) Object.assign(worst, { forMs: s.worstOverlap.forMs, seed })
    expectNoOverlap(s, `seed ${seed}`)
    expectHome(s, `seed ${seed}`)
  }
})
