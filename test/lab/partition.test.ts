// Every set of cut links among three real speakers, and pauses of the owner, while a client asks every 2 ms who has the address. The
// simulation of src/membership goes through larger clusters and far more faults; this one has real sockets, frames and timers.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type Ip, isIpv4 } from '../../src/addr/ip.ts'
import { longestOverlapMs, overlapsOf, type Run, type Span, silencesOf } from '../../src/lab/probe/answers.ts'
import { monotonicMs } from '../../src/lab/probe/probe.ts'
import { startWatch, type Watch } from '../../src/lab/probe/watch.ts'
import { type Observer, observe, ownersOf } from '../../src/lab/scenarios/observer.ts'
import { pause, program, Stage } from './hostile-support.ts'

const NODES = ['node1', 'node2', 'node3'] as const
const MAJORITY = 2
/** From the issue of the first two answers of different nodes until all but one are silent. */
const OVERLAP_MAX_MS = 50
/** Of a patience that jitter raised as far as it may, 800 ms, and a takeover on a machine that does other things. */
const SETTLES_WITHIN_MS = 3000
const SETTLED_FOR_MS = 300

type Pair = readonly [string, string]
const PAIRS: readonly Pair[] = [
  ['node1', 'node2'],
  ['node1', 'node3'],
  ['node2', 'node3'],
]
const CUTS: readonly (readonly Pair[])[] = [...Array(2 ** PAIRS.length).keys()].map(bits =>
  PAIRS.filter((_, i) => (bits & (1 << i)) !== 0),
)

let stage: Stage
let observer: Observer
let watch: Watch
let ip: Ip
const nodeOf = new Map<string, string>()

before(async () => {
  // A node that was lost has its addresses again soon.
  const commands = {
    speaker: [...program('speaker'), '--return-after', '500ms'],
    controller: [...program('controller'), '--webhook-mode', 'disabled', '--pod-name', 'controller'],
  }
  stage = await Stage.start('partition', { nodes: NODES.length, clients: 1, commands })
  await stage.deploy('web', NODES.length)
  await stage.service('web', 'web')
  const { ips } = await stage.announced('web')
  ip = ips.map(text => text as Ip).find(isIpv4) as Ip
  for (const [node, mac] of await stage.macs()) nodeOf.set(mac, node)
  observer = await observe(stage.lab)
  watch = await startWatch(stage.lab, 'client1', { ips: [ip], everyMs: 2 })
})
after(async () => {
  watch?.close()
  observer?.close()
  await stage?.end()
})

/** The switch passes nothing on between the two of each pair, in both directions; clients reach all. */
async function cut(pairs: readonly Pair[]): Promise<void> {
  const rules = pairs.flatMap(([a, b]) =>
    [
      [a, b],
      [b, a],
    ].map(([from, to]) => `iifname "p-${from}" oifname "p-${to}" drop`),
  )
  const chain = ['chain pass {', 'type filter hook forward priority 0', ...rules, '}'].join('\n')
  const text = `table bridge cut\ndelete table bridge cut\ntable bridge cut {\n${chain}\n}\n`
  const { code, stderr } = await stage.lab.exec('switch', ['nft', '-f', '-'], text)
  assert.equal(code, 0, stderr)
}

async function owner(): Promise<string> {
  await observer.settled({ withinMs: 30_000 })
  const [node] = ownersOf(await observer.speakers.readAll()).get(ip) ?? []
  assert.ok(node !== undefined)
  return node
}

type Seen = { readonly runs: readonly Run[]; readonly deaf: readonly Span[] }

/** What the client hears for at least so long, and then until `enough`, as long as there is hope. */
async function listen(forMs: number, enough: (seen: Seen) => boolean): Promise<Seen> {
  const runs: Run[] = []
  const deaf: Span[] = []
  for (let waited = 0; ; waited += SETTLED_FOR_MS) {
    await pause(waited === 0 ? forMs : SETTLED_FOR_MS)
    const { heard, stalls } = await watch.take()
    runs.push(...(heard[ip] ?? []))
    deaf.push(...stalls)
    if (enough({ runs, deaf }) || waited >= SETTLES_WITHIN_MS) return { runs, deaf }
  }
}

/** Who answered at the end. */
function answerers({ runs }: Seen): string[] {
  const since = monotonicMs() - SETTLED_FOR_MS
  return [...new Set(runs.filter(run => run.toMs >= since).map(({ mac }) => nodeOf.get(mac) ?? mac))]
}

function assertOneAtATime({ runs }: Seen, since: number): void {
  const told = overlapsOf(runs).map(({ fromMs, toMs, macs }) => {
    const nodes = macs.map(mac => nodeOf.get(mac) ?? mac).join(' and ')
    return `${nodes} for ${(toMs - fromMs).toFixed(1)} ms, ${(fromMs - since).toFixed(0)} ms after the fault`
  })
  assert.ok(longestOverlapMs(runs) <= OVERLAP_MAX_MS, told.join('; '))
}

/** With whom a node can talk, itself among them. */
function reach(node: string, pairs: readonly Pair[]): string[] {
  const apart = (a: string, b: string) => pairs.some(pair => pair.includes(a) && pair.includes(b))
  return NODES.filter(other => other === node || !apart(node, other))
}

for (const pairs of CUTS) {
  const name = pairs.map(pair => pair.join('-')).join(', ') || 'nothing'
  test(`cut: ${name}`, async t => {
    const before = await owner()
    const majority = NODES.some(node => reach(node, pairs).length >= MAJORITY)
    await watch.take()
    const since = monotonicMs()
    await cut(pairs)
    let seen: Seen
    try {
      seen = await listen(1000, s => answerers(s).length > 0 === majority)
      const now = answerers(seen)
      t.diagnostic(
        `${before} had the address; now: ${now.join(' and ') || 'nobody'}; ${outline(seen, since)}`,
      )
      assertOneAtATime(seen, since)
      assert.equal(now.length, majority ? 1 : 0, `answered at the end: ${now.join(' and ') || 'nobody'}`)
      for (const node of now)
        assert.ok(reach(node, pairs).length >= MAJORITY, `${node} answers, and is cut off`)
    } finally {
      await watch.take()
      await cut([])
    }
    // All come together again: none of those that believed to have it, or to come after it, answers beside the one that has it.
    const healed = await listen(500, s => answerers(s).length === 1)
    t.diagnostic(`together again: ${outline(healed, since)}`)
    assertOneAtATime(healed, since)
    assert.equal(answerers(healed).length, 1)
  })
}

for (const ms of [50, 500, 5000]) {
  test(`the owner is not run for ${ms} ms`, async t => {
    const before = await owner()
    const pid = (await stage.lab.status()).nodes.find(({ name }) => name === before)?.speaker?.pid
    assert.ok(pid !== undefined)
    await watch.take()
    const since = monotonicMs()
    const script = `kill -STOP ${pid}; sleep ${ms / 1000}; kill -CONT ${pid}`
    const frozen = stage.lab.exec(before, ['sh', '-c', script])
    const seen = await listen(ms + 500, s => answerers(s).length === 1)
    assert.equal((await frozen).code, 0)
    t.diagnostic(`${before} had the address; ${outline(seen, since)}`)
    assertOneAtATime(seen, since)
    assert.equal(answerers(seen).length, 1)
    // A pause as long as that is not waited out: somebody else answers meanwhile.
    const silences = silencesOf(seen.runs, {
      fromMs: since,
      toMs: since + ms,
      overMs: SETTLES_WITHIN_MS,
      deaf: seen.deaf,
    })
    assert.deepEqual(silences, [])
  })
}

/** For the eyes of whoever looks why. */
function outline({ runs }: Seen, since: number): string {
  const parts: string[] = []
  let last: { node: string; from: number; to: number } | undefined
  const flush = () => {
    if (last !== undefined) parts.push(`${last.node} ${last.from.toFixed(0)} to ${last.to.toFixed(0)} ms`)
  }
  for (const run of runs) {
    const node = nodeOf.get(run.mac) ?? run.mac
    if (last?.node === node && run.fromMs - since - last.to < 100) {
      last.to = run.toMs - since
      continue
    }
    flush()
    last = { node, from: run.fromMs - since, to: run.toMs - since }
  }
  flush()
  return parts.length > 12 ? `${parts.slice(0, 12).join(', ')}, ...` : parts.join(', ')
}
