// What people see of steering in a running cluster: the same tables on all nodes, and why a Service is not steered.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { SpeakerStatus } from '../../src/api/speaker.ts'
import { explain } from '../../src/cli/explain.ts'
import { readCluster } from '../../src/cli/status.ts'
import { NAMESPACE, program, Stage, waitFor } from './hostile-support.ts'

let stage: Stage
before(async () => {
  const commands = {
    speaker: [...program('speaker'), '--flow-steering', 'local'],
    controller: [...program('controller'), '--webhook-mode', 'disabled', '--pod-name', 'controller'],
  }
  stage = await Stage.start('steering-status', { nodes: 2, clients: 1, commands })
  await stage.deploy('web', 1)
  await stage.service('web', 'web', { externalTrafficPolicy: 'Local' })
  await stage.service('all', 'web')
})
after(() => stage?.end())

async function explained(service: string): Promise<string> {
  const out: string[] = []
  const io = { out: (text: string) => out.push(text), err: () => {}, exit: () => {} }
  const kubeconfig = stage.lab.kubeconfigPath
  const options = { file: [], down: [], namespace: NAMESPACE, ignoreExcludeLb: false, kubeconfig }
  assert.equal(await explain(service, options, io), 0)
  return out.join('\n')
}

test('all nodes tell one table for the Service, in the API and by themselves', async () => {
  const { owner } = await stage.announced('web')
  await waitFor('all speakers to tell the same tables', async () => {
    const { steering } = await readCluster(stage.kube, NAMESPACE)
    const [first, ...others] = steering?.tables ?? []
    return others.length === 0 && first?.count === 1 && first.nodes.length === 2
  })
  const { steering } = await readCluster(stage.kube, NAMESPACE)
  const [service] = steering?.services ?? []
  assert.equal(service?.service, 'default/web')
  for (const node of ['node1', 'node2']) {
    const own = (JSON.parse(await stage.speaker(node)) as SpeakerStatus).steering
    assert.equal(own?.hash, steering?.tables[0]?.hash)
    assert.equal(own?.installed, true)
    const [table] = own.services
    assert.ok(table?.tableHash.startsWith(service?.tables[0]?.hash ?? '-') === true)
    assert.equal(table.nodes.length, 1)
  }
  const story = await explained('default/web')
  assert.match(story, /it is steered: whichever node receives a packet/)
  assert.match(
    story,
    new RegExp(`the speaker of ${owner}: up, round \\d|the speaker of ${owner}: on probation`),
  )
  assert.doesNotMatch(await explained('default/all'), /steered/)
})
