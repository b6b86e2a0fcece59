import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePrefix } from '../addr/prefix.ts'
import { speakerLease } from '../config/speakers.ts'
import { type KubeObject, RESOURCES } from '../ports/kube.ts'
import { Cluster, NAMESPACE } from './controller-cluster.ts'
import {
  ADDRESS_CONFLICT,
  ALLOCATED,
  ANNOUNCED,
  conditionOf,
  conditionsFrom,
  conditionsToWrite,
} from './service-conditions.ts'

const { services: SERVICES, endpointSlices: SLICES, l2Advertisements: ADS, nodes: NODES } = RESOURCES
const LAN = { lan: { addresses: ['192.0.2.10-192.0.2.12'] } }
const ONE = { lan: { addresses: ['192.0.2.10/32'] } }
const EXCLUDE = 'node.kubernetes.io/exclude-from-external-load-balancers'

function advertise(cluster: Cluster, spec: Readonly<Record<string, unknown>> = {}): void {
  cluster.kube.seed(ADS, { metadata: { name: 'ad', namespace: NAMESPACE }, spec })
}

function endpoints(cluster: Cluster, service: string, nodeName: string | undefined): void {
  cluster.kube.seed(SLICES, {
    metadata: {
      name: `${service}-1`,
      namespace: 'default',
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType: 'IPv4',
    endpoints:
      nodeName === undefined ? [] : [{ addresses: ['10.244.0.1'], nodeName, conditions: { ready: true } }],
  })
}

const both = (cluster: Cluster, name: string) => [
  cluster.condition(name, ALLOCATED),
  cluster.condition(name, ANNOUNCED),
]

test('a Service says that it has an address and would be announced, in the very write that gives it', async () => {
  const cluster = new Cluster(LAN)
  advertise(cluster)
  endpoints(cluster, 'web', 'node-a')
  cluster.seed('web')
  await cluster.start()
  await cluster.pass(10_000, 500)
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'True Layer2'])
  assert.equal(cluster.serviceWrites, 1)
  assert.deepEqual(cluster.reasons('web'), ['IPAllocated'])
  await cluster.stop()
})

test('C-14 a pending Service says why, with the numbers of the pool, once', async () => {
  const cluster = new Cluster({ ...ONE, hand: { addresses: ['198.51.100.0/24'], autoAssign: false } })
  cluster.seed('first', { created: 1 })
  cluster.seed('second', { created: 2 })
  await cluster.start()
  await cluster.pass(3000, 500)
  assert.deepEqual(both(cluster, 'second'), ['False Exhausted', 'False NoIPAllocated'])
  const status = cluster.kube.peek(SERVICES, { namespace: 'default', name: 'second' })?.['status']
  const message = String(conditionOf(conditionsFrom(status), ALLOCATED)?.['message'])
  assert.match(message, /lan \(1 of 1 IPv4 addresses in use\); not for it: hand \(autoAssign is off\)/)
  assert.deepEqual(cluster.reasons('second'), ['AllocationFailed'])
  assert.equal(cluster.serviceWrites, 2)
  await cluster.stop()
})

test('people are told once across controllers: the next one reads in the Service that they were', async () => {
  const cluster = new Cluster(ONE)
  cluster.seed('first', { created: 1 })
  cluster.seed('second', { created: 2 })
  await cluster.start()
  await cluster.pass(8000, 500)
  const told = ['first', 'second'].map(name => cluster.reasons(name))
  assert.deepEqual(told, [['IPAllocated', 'NotAnnounced'], ['AllocationFailed']])
  const { serviceWrites } = cluster
  await cluster.stop()
  await cluster.start()
  await cluster.pass(8000, 500)
  assert.deepEqual(
    ['first', 'second'].map(name => cluster.reasons(name)),
    told,
  )
  assert.equal(cluster.serviceWrites, serviceWrites)
  await cluster.stop()
})

test('an address that nobody announces: a condition at once, an Event when it lasts, and once for each cause', async () => {
  const cluster = new Cluster(LAN)
  endpoints(cluster, 'web', undefined)
  cluster.seed('web')
  await cluster.start()
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'False NoMatchingAdvertisement'])
  assert.deepEqual(cluster.reasons('web'), ['IPAllocated'])
  await cluster.pass(6000, 500)
  assert.deepEqual(cluster.reasons('web'), ['IPAllocated', 'NotAnnounced'])
  advertise(cluster)
  await cluster.pass(12_000, 500)
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'False NoEndpoints'])
  assert.deepEqual(cluster.reasons('web'), ['IPAllocated', 'NotAnnounced', 'NotAnnounced'])
  endpoints(cluster, 'web', 'node-a')
  await cluster.pass(2000, 500)
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'True Layer2'])
  // A short pause between two Pods is no news.
  endpoints(cluster, 'web', undefined)
  await cluster.pass(2000, 500)
  endpoints(cluster, 'web', 'node-a')
  await cluster.pass(8000, 500)
  assert.equal(cluster.reasons('web').length, 3)
  await cluster.stop()
})

test('1.5 every node carries the exclude label: the Service names it; --ignore-exclude-lb heeds it not', async () => {
  for (const ignoreExcludeLabel of [false, true]) {
    const cluster = new Cluster(LAN)
    advertise(cluster)
    endpoints(cluster, 'web', 'node-a')
    cluster.seed('web')
    await cluster.start({ ignoreExcludeLabel })
    cluster.kube.seed(NODES, { metadata: { name: 'node-a', labels: { [EXCLUDE]: '' } } })
    await cluster.pass(8000, 500)
    assert.equal(
      cluster.condition('web', ANNOUNCED),
      ignoreExcludeLabel ? 'True Layer2' : 'False ExcludedByLabel',
    )
    const told = cluster.events.events.filter(({ reason }) => reason === 'NotAnnounced')
    assert.equal(told.length, ignoreExcludeLabel ? 0 : 1)
    assert.ok(told.every(({ message }) => message.includes(EXCLUDE)))
    await cluster.stop()
  }
})

test('endpoints and nodes that come and go write nothing while one node may announce', async () => {
  const cluster = new Cluster(LAN)
  advertise(cluster)
  endpoints(cluster, 'web', 'node-a')
  cluster.seed('web')
  await cluster.start()
  const { serviceWrites } = cluster
  cluster.kube.seed(NODES, { metadata: { name: 'node-b' } })
  endpoints(cluster, 'web', 'node-b')
  await cluster.pass(2000, 500)
  cluster.kube.seed(NODES, { metadata: { name: 'node-b', labels: { [EXCLUDE]: '' } } })
  await cluster.pass(2000, 500)
  assert.equal(cluster.serviceWrites, serviceWrites)
  await cluster.stop()
})

test('conditions of others stay, and ours go with the address when the Service is no load balancer any more', async () => {
  const cluster = new Cluster(LAN)
  const others = { type: 'example.com/Other', status: 'True', reason: 'Theirs', message: 'kept' }
  cluster.seed('web')
  const object = cluster.kube.peek(SERVICES, { namespace: 'default', name: 'web' }) as KubeObject
  cluster.kube.seed(SERVICES, { ...object, status: { conditions: [others] } })
  await cluster.start()
  const conditions = () =>
    conditionsFrom(cluster.kube.peek(SERVICES, { namespace: 'default', name: 'web' })?.['status'])
  assert.deepEqual(
    conditions().map(condition => condition['type']),
    [others.type, ALLOCATED, ANNOUNCED],
  )
  assert.deepEqual(conditions()[0], others)
  const name = { namespace: 'default', name: 'web' }
  await cluster.kube.patch(SERVICES, name, { spec: { type: 'ClusterIP' } }, { type: 'merge' })
  await cluster.settle()
  assert.deepEqual(conditions(), [others])
  assert.deepEqual(cluster.ips('web'), [])
  await cluster.stop()
})

test('--service-conditions=false writes none, and leaves those that are there', async () => {
  const cluster = new Cluster(LAN)
  cluster.seed('web')
  await cluster.start({ serviceConditions: false })
  await cluster.pass(3000, 500)
  assert.deepEqual(both(cluster, 'web'), [undefined, undefined])
  assert.deepEqual(cluster.ips('web'), ['192.0.2.10'])
  assert.equal(cluster.serviceWrites, 1)
  await cluster.stop()
})

test('Q-32 the time of a transition moves with the status, not with the words', () => {
  const wanted = { type: ANNOUNCED, status: 'False', reason: 'NoEndpoints', message: 'none' } as const
  const first = conditionsToWrite([], [wanted], { generation: 1, wallNow: Date.UTC(2026, 0, 1) })
  assert.deepEqual(first, [{ ...wanted, observedGeneration: 1, lastTransitionTime: '2026-01-01T00:00:00Z' }])
  const later = { generation: 1, wallNow: Date.UTC(2026, 0, 2) }
  assert.equal(conditionsToWrite(first ?? [], [wanted], later), undefined)
  const [second] = conditionsToWrite(first ?? [], [{ ...wanted, reason: 'NoNodes' }], later) ?? []
  assert.equal(second?.['lastTransitionTime'], '2026-01-01T00:00:00Z')
  const [third] = conditionsToWrite(first ?? [], [{ ...wanted, status: 'True' }], later) ?? []
  assert.equal(third?.['lastTransitionTime'], '2026-01-02T00:00:00Z')
  const [newer] = conditionsToWrite(first ?? [], [wanted], { ...later, generation: 2 }) ?? []
  assert.equal(newer?.['observedGeneration'], 2)
})

test('the condition that a speaker applies and those of the controller leave each other alone', async () => {
  const cluster = new Cluster(LAN)
  advertise(cluster)
  endpoints(cluster, 'web', 'node-a')
  cluster.seed('web')
  await cluster.start()
  await cluster.pass(3000, 500)
  const web = { namespace: 'default', name: 'web' }
  const say = async (status: string) => {
    const type = ADDRESS_CONFLICT
    const condition = { type, status, reason: 'Defended', message: 'm', lastTransitionTime: 't' }
    await cluster.kube.patch(
      SERVICES,
      web,
      { status: { conditions: [condition] } },
      { type: 'apply', fieldManager: 'lodestone-speaker', subresource: 'status' },
    )
  }
  const conflict = () => {
    const conditions = conditionsFrom(cluster.kube.peek(SERVICES, web)?.['status'])
    return conditions.find(each => each['type'] === ADDRESS_CONFLICT)?.['status']
  }
  await say('True')
  assert.deepEqual([...both(cluster, 'web'), conflict()], ['True Allocated', 'True Layer2', 'True'])
  const writes = cluster.serviceWrites
  await cluster.pass(10_000, 500)
  assert.equal(cluster.serviceWrites, writes, 'the controller has nothing to say about it')
  // Both write at the same time: the controller's list is from before, so its version is refused.
  endpoints(cluster, 'web', undefined)
  await say('False')
  await cluster.pass(10_000, 500)
  assert.deepEqual([...both(cluster, 'web'), conflict()], ['True Allocated', 'False NoEndpoints', 'False'])
  await cluster.stop()
})

test('L-11 a Service says when no speaker has an interface that its advertisements name; renewals change nothing', async () => {
  const cluster = new Cluster(LAN)
  advertise(cluster, { interfaces: ['eth9'] })
  endpoints(cluster, 'web', 'node-a')
  cluster.seed('web')
  await cluster.start()
  await cluster.pass(5000, 500)
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'True Layer2'], 'no speaker told anything')
  const register = (name: string) => {
    const link = { name, mac: undefined, prefixes: [] }
    const now = cluster.clock.wallNow()
    cluster.kube.seed(RESOURCES.leases, speakerLease({ node: 'node-a', links: [link] }, NAMESPACE, now))
  }
  register('eth0')
  await cluster.pass(5000, 500)
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'False NoInterface'])
  const { serviceWrites } = cluster
  for (let i = 0; i < 3; i++) {
    register('eth0')
    await cluster.pass(10_000, 500)
  }
  assert.equal(cluster.serviceWrites, serviceWrites)
  // The next leader knows the speakers before it writes.
  await cluster.stop()
  await cluster.start()
  register('eth0')
  await cluster.pass(10_000, 500)
  assert.equal(cluster.serviceWrites, serviceWrites)
  register('eth9')
  await cluster.pass(5000, 500)
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'True Layer2'])
  await cluster.stop()
})

test('a steered Service needs no endpoint on the nodes that may announce it', async () => {
  const cluster = new Cluster(LAN)
  const nodes = ['a', 'b'].map((name, i) => ({
    metadata: { name: `node-${name}`, labels: { name } },
    status: { addresses: [{ type: 'InternalIP', address: `192.0.2.${i + 1}` }] },
  }))
  for (const node of nodes) cluster.kube.seed(NODES, node)
  advertise(cluster, { nodeSelectors: [{ matchLabels: { name: 'a' } }] })
  endpoints(cluster, 'web', 'node-b')
  cluster.seed('web', { spec: { externalTrafficPolicy: 'Local' } })
  await cluster.start()
  await cluster.pass(5000, 500)
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'False NoLocalEndpoints'])
  const lan = parsePrefix('192.0.2.0/24')
  assert.ok(lan !== undefined)
  for (const { metadata } of nodes) {
    const links = [{ name: 'eth0', mac: undefined, prefixes: [lan] }]
    cluster.kube.seed(
      RESOURCES.leases,
      speakerLease({ node: metadata.name, links, steers: 'local' }, NAMESPACE, cluster.clock.wallNow()),
    )
  }
  await cluster.pass(5000, 500)
  assert.deepEqual(both(cluster, 'web'), ['True Allocated', 'True Layer2'])
  await cluster.stop()
})
