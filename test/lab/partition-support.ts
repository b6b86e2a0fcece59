import assert from 'node:assert/strict'
import { type Ip, isIpv4, parseIp } from '../../src/addr/ip.ts'
import { longestOverlapMs, overlapsOf, type Run, type Span } from '../../src/lab/probe/answers.ts'
import { monotonicMs } from '../../src/lab/probe/probe.ts'
import { startWatch, type Watch } from '../../src/lab/probe/watch.ts'
import { type Observer, observe, ownersOf } from '../../src/lab/scenarios/observer.ts'
import { pause, program, Stage } from './hostile-support.ts'

/** From the first answer of a second node until all but one are silent. */
const OVERLAP_MAX_MS = 50
/** Of a patience that jitter raised as far as it may, 800 ms, and a takeover on a machine that does other things. */
export const SETTLES_WITHIN_MS = 3000
const SETTLED_FOR_MS = 300

/** For so long after a change of the voters, as at the start, the majority of those before has to agree as well. */
const JOINT_MS = 10_000

/** Two nodes whose frames the switch does not pass on to each other. */
export type Pair = readonly [string, string]

export function pairsOf(nodes: readonly string[]): Pair[] {
  return nodes.flatMap((a, i) => nodes.slice(i + 1).map((b): Pair => [a, b]))
}

export type Seen = { readonly runs: readonly Run[]; readonly deaf: readonly Span[] }

/** A lab with one address, a client that asks every 2 ms who has it, and a switch that keeps nodes apart. */
export class Apart {
  readonly stage: Stage
  readonly nodes: readonly string[]
  readonly #observer: Observer
  readonly #watch: Watch
  readonly #ip: Ip
  readonly #nodeOf: ReadonlyMap<string, string>

  private constructor(parts: {
    stage: Stage
    observer: Observer
    watch: Watch
    ip: Ip
    nodeOf: ReadonlyMap<string, string>
  }) {
    this.stage = parts.stage
    this.nodes = parts.observer.nodes
    this.#observer = parts.observer
    this.#watch = parts.watch
    this.#ip = parts.ip
    this.#nodeOf = parts.nodeOf
  }

  static async start(name: string, nodes: number): Promise<Apart> {
    // A node that was lost has its addresses again soon.
    const commands = {
      speaker: [...program('speaker'), '--return-after', '500ms'],
      controller: [...program('controller'), '--webhook-mode', 'disabled', '--pod-name', 'controller'],
    }
    const stage = await Stage.start(name, { nodes, clients: 1, commands })
    try {
      await stage.deploy('web', 1)
      await stage.service('web', 'web')
      const [ip] = (await stage.announced('web')).ips.map(parseIp)
      assert.ok(ip !== undefined && isIpv4(ip))
      const nodeOf = new Map([...(await stage.macs())].map(([node, mac]) => [mac, node]))
      const observer = await observe(stage.lab)
      await observer.settled({ withinMs: 60_000 })
      await pause(JOINT_MS)
      const watch = await startWatch(stage.lab, 'client1', { ips: [ip], everyMs: 2 })
      return new Apart({ stage, observer, watch, ip, nodeOf })
    } catch (error) {
      await stage.end()
      throw error
    }
  }

  async end(): Promise<void> {
    this.#watch.close()
    this.#observer.close()
    await this.stage.end()
  }

  /** Waits until the lab is whole. What was heard until now is forgotten. */
  async owner(): Promise<string> {
    await this.#observer.settled({ withinMs: 60_000 })
    const [node] = ownersOf(await this.#observer.speakers.readAll()).get(this.#ip) ?? []
    assert.ok(node !== undefined)
    await this.#watch.take()
    return node
  }

  /** The switch passes nothing on between the two of each pair, in both directions; clients reach all. */
  async cut(pairs: readonly Pair[]): Promise<void> {
    const rules = pairs.flatMap(([a, b]) => [
      `iifname "p-${a}" oifname "p-${b}" drop`,
      `iifname "p-${b}" oifname "p-${a}" drop`,
    ])
    const chain = ['chain pass {', 'type filter hook forward priority 0', ...rules, '}'].join('\n')
    const text = `table bridge cut\ndelete table bridge cut\ntable bridge cut {\n${chain}\n}\n`
    const { code, stderr } = await this.stage.lab.exec('switch', ['nft', '-f', '-'], text)
    assert.equal(code, 0, stderr)
  }

  /** What the client hears for at least so long, and then until it is enough, as long as there is hope. */
  async listen(forMs: number, enough: (seen: Seen) => boolean): Promise<Seen> {
    const runs: Run[] = []
    const deaf: Span[] = []
    for (let waited = 0; ; waited += SETTLED_FOR_MS) {
      await pause(waited === 0 ? forMs : SETTLED_FOR_MS)
      const { heard, stalls } = await this.#watch.take()
      runs.push(...(heard[this.#ip] ?? []))
      deaf.push(...stalls)
      if (enough({ runs, deaf }) || waited >= SETTLES_WITHIN_MS) return { runs, deaf }
    }
  }

  /** Who answered at the end. */
  answerers({ runs }: Seen): string[] {
    const since = monotonicMs() - SETTLED_FOR_MS
    return [...new Set(runs.filter(run => run.toMs >= since).map(({ mac }) => this.#name(mac)))]
  }

  /** With whom a node can talk, itself among them. */
  reach(node: string, pairs: readonly Pair[]): string[] {
    const apart = (a: string, b: string) => pairs.some(pair => pair.includes(a) && pair.includes(b))
    return this.nodes.filter(other => other === node || !apart(node, other))
  }

  assertOneAtATime({ runs }: Seen, since: number): void {
    const told = overlapsOf(runs).map(({ fromMs, toMs, macs }) => {
      const nodes = macs.map(mac => this.#name(mac)).join(' and ')
      return `${nodes} for ${(toMs - fromMs).toFixed(1)} ms, ${(fromMs - since).toFixed(0)} ms after the fault`
    })
    assert.ok(longestOverlapMs(runs) <= OVERLAP_MAX_MS, told.join('; '))
  }

  /**
   * Cuts the pairs and makes the cluster whole again: never do two nodes answer, somebody does when a majority can talk, nobody
   * else does.
   */
  async survives(pairs: readonly Pair[], say: (text: string) => void): Promise<void> {
    const majority = Math.floor(this.nodes.length / 2) + 1
    const before = await this.owner()
    const many = (node: string) => this.reach(node, pairs).length >= majority
    const possible = this.nodes.some(many)
    const since = monotonicMs()
    try {
      await this.cut(pairs)
      const seen = await this.listen(1000, heard => this.answerers(heard).length > 0 === possible)
      const now = this.answerers(seen)
      say(`${before} had the address, now ${now.join(' and ') || 'nobody'}: ${this.outline(seen, since)}`)
      this.assertOneAtATime(seen, since)
      assert.equal(now.length, possible ? 1 : 0, `at the end answered: ${now.join(' and ') || 'nobody'}`)
      for (const node of now) assert.ok(many(node), `${node} answers, and is cut off`)
    } finally {
      await this.cut([])
    }
    // All come together again: none of those that had it, or believed to come after it, answers beside the one that has it.
    const healed = await this.listen(500, heard => this.answerers(heard).length === 1)
    say(`together again: ${this.outline(healed, since)}`)
    this.assertOneAtATime(healed, since)
    assert.equal(this.answerers(healed).length, 1)
  }

  /** Who answered from when to when, for the eyes of whoever looks why. */
  outline({ runs }: Seen, since: number): string {
    const turns: { node: string; from: number; to: number }[] = []
    for (const { mac, fromMs, toMs } of runs) {
      const last = turns.at(-1)
      const node = this.#name(mac)
      if (last?.node === node && fromMs - since - last.to < 100) last.to = toMs - since
      else turns.push({ node, from: fromMs - since, to: toMs - since })
    }
    const parts = turns.map(({ node, from, to }) => `${node} ${from.toFixed(0)} to ${to.toFixed(0)} ms`)
    return [...parts.slice(0, 12), ...(parts.length > 12 ? ['...'] : [])].join(', ')
  }

  #name(mac: string): string {
    return this.#nodeOf.get(mac) ?? mac
  }
}
