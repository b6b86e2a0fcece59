// Every set of cut links among three real speakers, and pauses of the owner, while a client asks every 2 ms who has the address. The
// simulation of src/membership goes through larger clusters and far more faults; this one has real sockets, frames and timers.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { silencesOf } from '../../src/lab/probe/answers.ts'
import { monotonicMs } from '../../src/lab/probe/probe.ts'
import { Apart, type Pair, pairsOf, SETTLES_WITHIN_MS } from './partition-support.ts'

const PAIRS = pairsOf(['node1', 'node2', 'node3'])
const CUTS: readonly (readonly Pair[])[] = Array.from({ length: 2 ** PAIRS.length }, (_, bits) =>
  PAIRS.filter((_, i) => (bits & (1 << i)) !== 0),
)

let apart: Apart
before(async () => {
  apart = await Apart.start('partition', 3)
})
after(() => apart?.end())

for (const pairs of CUTS) {
  const name = pairs.map(pair => pair.join('-')).join(', ') || 'nothing'
  test(`cut: ${name}`, t => apart.survives(pairs, text => t.diagnostic(text)))
}

for (const ms of [50, 500, 5000]) {
  test(`the owner is not run for ${ms} ms`, async t => {
    const owner = await apart.owner()
    const { lab } = apart.stage
    const pid = (await lab.status()).nodes.find(({ name }) => name === owner)?.speaker?.pid
    assert.ok(pid !== undefined)
    const since = monotonicMs()
    const script = `kill -STOP ${pid}; sleep ${ms / 1000}; kill -CONT ${pid}`
    const frozen = lab.exec(owner, ['sh', '-c', script])
    const seen = await apart.listen(ms + 500, heard => apart.answerers(heard).length === 1)
    assert.equal((await frozen).code, 0)
    t.diagnostic(`${owner} had the address: ${apart.outline(seen, since)}`)
    apart.assertOneAtATime(seen, since)
    assert.equal(apart.answerers(seen).length, 1)
    // A pause as long as that is not waited out: somebody else answers meanwhile.
    const during = { fromMs: since, toMs: since + ms, overMs: SETTLES_WITHIN_MS, deaf: seen.deaf }
    assert.deepEqual(silencesOf(seen.runs, during), [])
  })
}
