import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { APPS } from '../../src/lab/workload/resources.ts'
import { type KubeObject, RESOURCES } from '../../src/ports/kube.ts'
import { NAMESPACE, ownersOf, Stage, waitFor } from './hostile-support.ts'

// From manifests to reachability, and back: what a user of the cluster sees of a Service.

let stage: Stage

before(async () => {
  stage = await Stage.start('service', { nodes: 3, clients: 1, ipv6: true })
  await stage.deploy('web', 3)
  const dual = { ipFamilyPolicy: 'RequireDualStack' }
  await stage.service('cluster', 'web', dual)
  await stage.service('local', 'web', { ...dual, externalTrafficPolicy: 'Local' })
})

after(() => stage?.end())

/** The addresses that a host may be seen with. */
async function ipsOf(host: string): Promise<readonly string[]> {
  const { hosts, nodes } = await stage.lab.status()
  return [...hosts, ...nodes].find(each => each.name === host)?.ips ?? []
}

/** The pod's view of an IPv4 client may be written as a mapped IPv6 address. */
function plain(clients: ReadonlySet<string>): string[] {
  return [...clients].map(client => client.replace(/^::ffff:/, '')).sort()
}

async function scale(name: string, replicas: number): Promise<void> {
  const where = { namespace: 'default', name }
  await stage.kube.patch(APPS.deployments, where, { spec: { replicas } }, { type: 'merge' })
}

for (const host of ['client1', 'remote']) {
  test(`Cluster: ${host} reaches every pod at both addresses`, async () => {
    const { ips } = await stage.announced('cluster', 2)
    for (const ip of ips) {
      await stage.reachable(host, ip)
      const { pods, failed } = await stage.fetch(host, ip, 30)
      assert.equal(failed, 0, ip)
      assert.equal(pods.size, 3, `${ip}: ${[...pods].join(' ')}`)
    }
  })

  test(`Local: ${host} reaches a pod of the owner at both addresses, which sees its address`, async () => {
    const { ips, owner } = await stage.announced('local', 2)
    const own = await ipsOf(host)
    const { pods: known } = await stage.lab.status()
    for (const ip of ips) {
      await stage.reachable(host, ip)
      const { pods, clients, failed } = await stage.fetch(host, ip, 5)
      assert.equal(failed, 0, ip)
      for (const pod of pods) assert.equal(known.find(each => each.name === pod)?.node, owner)
      const [client, ...more] = plain(clients)
      assert.ok(
        client !== undefined && more.length === 0 && own.includes(client),
        `${client} of ${own.join(' ')}`,
      )
    }
  })
}

test('the owner says so: one status object and one Event', async () => {
  const { owner } = await stage.announced('cluster', 2)
  const statuses = await stage.kube.list(RESOURCES.serviceL2Statuses, { namespace: NAMESPACE })
  const own = statuses.filter(each => each.metadata.labels?.['metallb.io/service-name'] === 'cluster')
  assert.deepEqual(
    own.map(each => [each.metadata.labels?.['metallb.io/node'], each['status']]),
    [[owner, { node: owner, serviceName: 'cluster', serviceNamespace: 'default', interfaces: [] }]].map(
      ([node, status]) => [node, status],
    ),
  )
  type Event = KubeObject & { reason: string; message: string; involvedObject: { name: string } }
  await waitFor('both Events', async () => {
    const events = (await stage.kube.list(RESOURCES.events, { namespace: 'default' })) as Event[]
    const about = events.filter(event => event.involvedObject.name === 'cluster')
    const assigned = about.filter(event => event.reason === 'nodeAssigned')
    return (
      assigned.some(event => event.message === `announcing from node "${owner}" with protocol "layer2"`) &&
      about.some(event => event.reason === 'IPAllocated')
    )
  })
})

test('without an endpoint nobody announces (E-2), and with the first one somebody does again', async () => {
  const { ips } = await stage.announced('cluster', 2)
  await scale('web', 0)
  await waitFor(
    'the end of the announcement',
    async () => ownersOf(await stage.lab.status(), 'cluster').length === 0,
  )
  const asked = await stage.send<{ answered: number }>('client1', {
    type: 'ask',
    ip: ips[0],
    everyMs: 20,
    forMs: 200,
  })
  assert.equal(asked.answered, 0)
  assert.deepEqual(await stage.addresses('cluster'), ips, 'it keeps its addresses')
  await scale('web', 3)
  await stage.announced('cluster', 2)
  await waitFor('an answer', async () => (await stage.fetch('client1', ips[0] ?? '')).failed === 0)
})

test('a deleted Service frees its address, for the next one that wants it', async () => {
  await stage.service('short', 'web')
  const { ips } = await stage.announced('short')
  await stage.kube.delete(RESOURCES.services, { namespace: 'default', name: 'short' })
  await waitFor('the end of its status object', async () => {
    const statuses = await stage.kube.list(RESOURCES.serviceL2Statuses, { namespace: NAMESPACE })
    return statuses.every(each => each.metadata.labels?.['metallb.io/service-name'] !== 'short')
  })
  const asked = await stage.send<{ answered: number }>('client1', {
    type: 'ask',
    ip: ips[0],
    everyMs: 20,
    forMs: 200,
  })
  assert.equal(asked.answered, 0)
  await stage.service('next', 'web', { loadBalancerIP: ips[0] })
  assert.deepEqual((await stage.announced('next')).ips, ips)
  await stage.reachable('client1', ips[0] ?? '')
})

test('a Service that wants another pool moves there, and leaves its old address', async () => {
  await stage.pool('small', ['192.0.2.240/30'])
  const where = { namespace: 'default', name: 'next' }
  const { ips: before } = await stage.announced('next')
  await stage.kube.patch(
    RESOURCES.services,
    where,
    { metadata: { annotations: { 'metallb.io/address-pool': 'small' } }, spec: { loadBalancerIP: null } },
    { type: 'merge' },
  )
  await waitFor('an address of the other pool', async () => {
    const [ip = ''] = await stage.addresses('next')
    return /^192\.0\.2\.24[0-3]$/.test(ip)
  })
  const [ip = ''] = await stage.addresses('next')
  await waitFor('an answer', async () => (await stage.fetch('client1', ip)).failed === 0)
  const asked = await stage.send<{ answered: number }>('client1', {
    type: 'ask',
    ip: before[0],
    everyMs: 20,
    forMs: 200,
  })
  assert.equal(asked.answered, 0)
})

test('a speaker takes less than 90 MB, the controller less than 250 MB', async () => {
  const { nodes, controller } = await stage.lab.status()
  const megabytes = nodes.map(node => Math.round((node.speaker?.rssBytes ?? Infinity) / 1e6))
  assert.ok(
    megabytes.every(each => each > 20 && each < 90),
    `speakers: ${megabytes.join(', ')} MB`,
  )
  assert.ok((controller?.rssBytes ?? Infinity) < 250e6)
})
