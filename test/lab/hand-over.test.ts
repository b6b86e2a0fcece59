// A node that is to give way while it lives: its addresses move, and a client that probes every millisecond loses nothing.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { EXCLUDE_LABEL } from '../../src/config/nodes.ts'
import { type Lab, startLab } from '../../src/lab/lab.ts'
import { longestOutageMs } from '../../src/lab/probe/analysis.ts'
import { startProbe } from '../../src/lab/probe/probe.ts'
import { deploy, kubeOf } from '../../src/lab/scenarios/deploy.ts'
import { type Observer, observe, ownersOf } from '../../src/lab/scenarios/observer.ts'
import { probeSpawner } from '../../src/lab/scenarios/spawn.ts'
import { pause, waitUntil } from '../../src/lab/scenarios/wait.ts'
import { RESOURCES } from '../../src/ports/kube.ts'

let lab: Lab
let observer: Observer
before(async () => {
  lab = await startLab({ name: `hand-over-${process.pid}`, nodes: 3, clients: 1, ipv6: true })
  observer = await observe(lab)
  await deploy(observer)
})
after(async () => {
  observer?.close()
  await lab?.down()
})

const GIVE_WAY = [
  ['cordoned', { spec: { unschedulable: true } }, { spec: { unschedulable: null } }],
  [
    'excluded by its label',
    { metadata: { labels: { [EXCLUDE_LABEL]: '' } } },
    { metadata: { labels: { [EXCLUDE_LABEL]: null } } },
  ],
] as const

for (const [what, patch, undo] of GIVE_WAY) {
  test(`a node that is ${what} hands its addresses over, and takes them again after, without a lost probe`, async () => {
    const kube = await kubeOf(lab)
    try {
      const { ips } = await observer.service('default/web-cluster')
      const owners = async () => {
        const all = ownersOf(await observer.speakers.readAll())
        return [...new Set(ips.flatMap(ip => all.get(ip) ?? ['nobody']))].join()
      }
      const node = await owners()
      const probes = ips.map(target => startProbe(probeSpawner(lab, 'client1'), { target, port: 80 }))
      await Promise.all(probes.map(probe => probe.answered))
      await pause(300)
      const moved = async (step: unknown, isThere: (owner: string) => boolean) => {
        await kube.patch(RESOURCES.nodes, { namespace: '', name: node }, step, { type: 'merge' })
        await waitUntil(
          'the move',
          async () => {
            const now = await owners()
            return isThere(now) ? undefined : `it is announced by ${now}`
          },
          { withinMs: 20_000 },
        )
        await pause(1500)
      }
      await moved(patch, owner => owner !== node && observer.nodes.includes(owner))
      await moved(undo, owner => owner === node)
      for (const probe of probes) {
        const { lost, outages, sent } = await probe.stop()
        assert.ok(sent > 1000, `only ${sent} probes`)
        assert.equal(lost, 0, `an outage of ${longestOutageMs(outages)} ms`)
      }
    } finally {
      kube.close()
    }
  })
}
