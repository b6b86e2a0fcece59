import { type Ip, ipToBytes } from '../addr/ip.ts'
import { compareText } from '../config/selectors.ts'
import type { Ms } from '../ports/clock.ts'
import type { Asker } from './askers.ts'

/**
 * Mode `sharded`: several nodes answer for one address, each its own share of those who ask.
 *
 * A share is chosen by weighted rendezvous hashing of (node, address, asker): every node works out the same owner from the same
 * candidates, a node that goes leaves exactly its own askers to the others, and one that comes takes only what it wins.
 */

/** Nodes that may share one address: the first so many of the election. The same everywhere, so not to be configured. */
export const SHARD_NODES_MAX = 32

/** The nodes that share one address at this moment, and how. */
export type Shares = {
  readonly address: Ip
  /** In order of their names. */
  readonly nodes: readonly string[]
  /** For each node what its name and the address contribute to the hash, and its weight. */
  readonly seeds: Uint32Array
  readonly weights: Float64Array
  readonly equal: boolean
}

/**
 * `nodes` in any order. `weights` are relative (of ready endpoints, say); a node that they do not name has 1, one with 0 or less takes
 * no share. When that leaves nobody, all take the same.
 */
export function createShares(
  address: Ip,
  nodes: Iterable<string>,
  weights: Readonly<Record<string, number>> = {},
): Shares {
  const all = [...new Set(nodes)].sort(compareText)
  const weightOf = (node: string) => (Object.hasOwn(weights, node) ? (weights[node] ?? 1) : 1)
  const willing = all.filter(node => weightOf(node) > 0)
  const [names, weighted] = willing.length > 0 ? [willing, true] : [all, false]
  const values = Float64Array.from(names, node => (weighted ? weightOf(node) : 1))
  return {
    address,
    nodes: names,
    seeds: Uint32Array.from(names, node => murmur3(TEXT.encode(`${node}#${address}`), 0)),
    weights: values,
    equal: values.every(value => value === values[0]),
  }
}

const TEXT = new TextEncoder()

/** Who answers this asker: undefined when there is nobody. */
export function ownerOf(shares: Shares, asker: Ip): string | undefined {
  const { nodes, seeds, weights, equal } = shares
  if (nodes.length < 2) return nodes[0]
  const bytes = ipToBytes(asker)
  let best = 0
  let bestCost = Number.POSITIVE_INFINITY
  for (let i = 0; i < nodes.length; i++) {
    const hash = murmur3(bytes, seeds[i] ?? 0)
    // With equal weights the highest hash is the lowest cost, and no logarithm is needed to see it.
    const cost = equal ? -hash : minusLog(hash) / (weights[i] ?? 1)
    // At the same cost the first name wins.
    if (cost < bestCost) {
      bestCost = cost
      best = i
    }
  }
  return nodes[best]
}

/**
 * -ln((hash + 0.5) / 2^32) for 0 <= hash < 2^32. Built from the four operations, which IEEE 754 defines to the last bit: what Math.log
 * answers is left to the implementation (ECMA-262 section 21.3.2.20), and all nodes must come to the same result.
 */
export function minusLog(hash: number): number {
  let exponent = 31 - Math.clz32(hash)
  let mantissa = (hash + 0.5) / 2 ** exponent
  if (mantissa > Math.SQRT2) {
    mantissa /= 2
    exponent++
  }
  // ln m = 2 artanh((m - 1) / (m + 1)) with an argument of at most 0.172: eleven terms reach the last bit.
  const s = (mantissa - 1) / (mantissa + 1)
  const square = s * s
  let sum = 0
  for (let k = 21; k >= 1; k -= 2) sum = sum * square + 1 / k
  return (32 - exponent) * Math.LN2 - 2 * s * sum
}

/** MurmurHash3_x86_32 (Austin Appleby, public domain): unsigned 32 bits, not for secrets. */
export function murmur3(bytes: Uint8Array, seed: number): number {
  let h = seed | 0
  const whole = bytes.length & ~3
  for (let i = 0; i < whole; i += 4) {
    const k =
      (bytes[i] ?? 0) | ((bytes[i + 1] ?? 0) << 8) | ((bytes[i + 2] ?? 0) << 16) | ((bytes[i + 3] ?? 0) << 24)
    h ^= scramble(k)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  let tail = 0
  for (let i = bytes.length - 1; i >= whole; i--) tail = (tail << 8) | (bytes[i] ?? 0)
  if (bytes.length > whole) h ^= scramble(tail)
  h ^= bytes.length
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function scramble(k: number): number {
  const mixed = Math.imul(k, 0xcc9e2d51)
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593)
}

/**
 * The present nodes share an address: those that stand, or, when none does (a cluster that starts), those in probation. The same rule
 * as for a single owner.
 */
export function presentNodes(
  candidates: Iterable<string>,
  levelOf: (node: string) => 'up' | 'probation' | 'down' | 'left',
): string[] {
  const standing: string[] = []
  const onProbation: string[] = []
  for (const node of candidates) {
    const level = levelOf(node)
    if (level === 'up') standing.push(node)
    else if (level === 'probation') onProbation.push(node)
  }
  return standing.length > 0 ? standing : onProbation
}

/** An asker that this node must tell that it answers for the address from now on. */
export type Repair = {
  readonly asker: Asker
  /** Who answered it before; undefined: nobody. */
  readonly from: string | undefined
  /** How long to wait: 0 for one whose node is lost; otherwise its node goes on answering and there is no hurry. */
  readonly afterMs: Ms
}

/** Over how long a node takes over from others that are still there. */
export const SPREAD_MS = 10_000

/**
 * What follows for node `self` from a change of the nodes: exactly the askers that become its own. Those of a lost node at once, those
 * won from a node that stays spread over `spreadMs` by a hash, so always at the same moment after the change.
 */
export function repairs(
  askers: Iterable<Asker>,
  self: string,
  before: Shares | undefined,
  after: Shares,
  spreadMs: Ms = SPREAD_MS,
): Repair[] {
  const found: Repair[] = []
  if (!after.nodes.includes(self)) return found
  for (const asker of askers) {
    if (ownerOf(after, asker.ip) !== self) continue
    const from = before === undefined ? undefined : ownerOf(before, asker.ip)
    if (from === self) continue
    const stays = from !== undefined && after.nodes.includes(from)
    found.push({ asker, from, afterMs: stays ? spreadOf(after.address, asker.ip, spreadMs) : 0 })
  }
  return found
}

/** Even over [0, spreadMs), and for each pair of address and asker always the same. */
export function spreadOf(address: Ip, asker: Ip, spreadMs: Ms): Ms {
  return (murmur3(TEXT.encode(`${asker} ${address}`), 0) / 2 ** 32) * spreadMs
}

/**
 * Whom this node must introduce to one that comes back or joins: the askers that were its own until now. A new node heard none of
 * them, and will not, as long as they refresh their entries by unicast; without knowing them it could neither take over its share nor
 * stand in for a node that is lost later. Every node knows every asker, so each is introduced by one node.
 */
export function toIntroduce(askers: Iterable<Asker>, self: string, before: Shares): Asker[] {
  const own: Asker[] = []
  for (const asker of askers) if (ownerOf(before, asker.ip) === self) own.push(asker)
  return own
}

/** How an address is shared in fact, for `status` and `explain`. */
export type SharesReport = {
  /** Hosts that asked within the time: by MAC, since a router sends all it forwards to one node whatever addresses it asks with. */
  readonly askers: number
  readonly nodes: readonly {
    readonly node: string
    readonly weight: number
    /** Askers that are this node's. */
    readonly askers: number
  }[]
  /** One asker at most: a single node carries everything, whatever the mode says. */
  readonly single: boolean
  readonly advice: string | undefined
}

/** Counts those heard within `withinMs` before `now`. */
export function sharesReport(
  askers: Iterable<Asker>,
  shares: Shares,
  now: Ms,
  withinMs: Ms = Number.POSITIVE_INFINITY,
): SharesReport {
  const macs = new Set<string>()
  const counts = new Map<string, number>(shares.nodes.map(node => [node, 0]))
  let only: Asker | undefined
  for (const asker of askers) {
    if (now - asker.lastAskedAt > withinMs) continue
    macs.add(asker.mac)
    only = asker
    const owner = ownerOf(shares, asker.ip)
    if (owner !== undefined) counts.set(owner, (counts.get(owner) ?? 0) + 1)
  }
  const nodes = shares.nodes.map((node, i) => ({
    node,
    weight: shares.weights[i] ?? 1,
    askers: counts.get(node) ?? 0,
  }))
  const single = macs.size < 2
  return { askers: macs.size, nodes, single, advice: single ? adviceFor(shares, only) : undefined }
}

function adviceFor(shares: Shares, only: Asker | undefined): string | undefined {
  if (only === undefined || shares.nodes.length < 2) return undefined
  const owner = ownerOf(shares, only.ip) ?? ''
  return (
    `only ${only.ip} asks for ${shares.address} on this network, so ${owner} alone answers for it: sharing divides those who ask, ` +
    'and a router asks once for everybody behind it. Let the router have several paths by BGP instead'
  )
}
