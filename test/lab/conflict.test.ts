// A host that is no speaker takes the address of a Service (RFC 5227): reported, defended, and over when it stops.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { RESOURCES } from '../../src/ports/kube.ts'
import { program, Stage, waitFor } from './hostile-support.ts'

const WEB = { namespace: 'default', name: 'web' }
const CONFLICT = 'lodestone.dev/AddressConflict'
let stage: Stage

before(async () => {
  const commands = {
    speaker: program('speaker'),
    controller: [...program('controller'), '--webhook-mode', 'disabled', '--pod-name', 'controller'],
  }
  stage = await Stage.start('conflict', { nodes: 2, clients: 2, commands })
  await stage.deploy('web', 1)
  await stage.service('web', 'web')
})
after(() => stage?.end())

type Asked = { answered: number; answers: Record<string, number> }

async function condition(type: string): Promise<Record<string, string> | undefined> {
  const status = (await stage.kube.get(RESOURCES.services, WEB))?.['status'] as
    | { conditions?: Record<string, string>[] }
    | undefined
  return status?.conditions?.find(each => each['type'] === type)
}

test('a stranger that has the address is an Event, a metric and a condition, and the owner still answers', async () => {
  const { ips, owner } = await stage.announced('web')
  const [ip = ''] = ips
  const ownMac = (await stage.macs()).get(owner)
  const { stdout } = await stage.lab.exec('client2', ['ip', '-o', 'link', 'show', 'eth0'])
  const stranger = /link\/ether (\S+)/.exec(stdout)?.[1] ?? ''
  await stage.send('client2', { type: 'claim', ips, count: 40 })

  await waitFor('the condition', async () => (await condition(CONFLICT))?.['status'] === 'True', 10_000)
  const { reason, message = '' } = (await condition(CONFLICT)) ?? {}
  assert.equal(reason, 'Defended')
  assert.ok(message.startsWith(`node "${owner}": ${stranger} on eth0 has ${ip} as well`), message)
  assert.ok((await stage.metric(owner, /^lodestone_address_conflicts_total/)) >= 1)
  const told = async () => {
    const events = await stage.kube.list(RESOURCES.events, { namespace: 'default' })
    return events.filter(event => event['reason'] === 'addressConflict')
  }
  await waitFor('the Event', async () => (await told()).length > 0, 10_000)
  assert.equal((await told()).length, 1)

  // What the controller says of the same Service, written later, and this stay side by side.
  const version = (await stage.kube.get(RESOURCES.services, WEB))?.metadata.resourceVersion
  await stage.kube.delete(RESOURCES.l2Advertisements, { namespace: 'metallb-system', name: 'all' })
  const announced = async () => (await condition('lodestone.dev/Announced'))?.['reason']
  await waitFor(
    'the condition of the controller',
    async () => (await announced()) === 'NoMatchingAdvertisement',
  )
  assert.notEqual((await stage.kube.get(RESOURCES.services, WEB))?.metadata.resourceVersion, version)
  assert.equal((await condition(CONFLICT))?.['message'], message)
  await stage.kube.create(RESOURCES.l2Advertisements, {
    metadata: { namespace: 'metallb-system', name: 'all' },
    spec: {},
  })
  await waitFor('the condition of the controller', async () => (await announced()) === 'Layer2')
  assert.equal((await condition(CONFLICT))?.['status'], 'True')

  const again = await stage.announced('web')
  const asked = await stage.send<Asked>('client1', { type: 'ask', ip, everyMs: 20, forMs: 300 })
  assert.ok(asked.answered > 0)
  assert.deepEqual(Object.keys(asked.answers), [(await stage.macs()).get(again.owner)])
  assert.equal(again.owner, owner)
  assert.ok(ownMac !== undefined && ownMac !== stranger)
})
