import assert from 'node:assert/strict'
import { test } from 'node:test'
import { poolObjects } from '../allocator/fixtures.ts'
import { KubeError, type KubeObject, RESOURCES } from '../ports/kube.ts'
import { Cluster, NAMESPACE } from './controller-cluster.ts'

const { services: SERVICES, ipAddressPools: POOLS, l2Advertisements: ADS, secrets: SECRETS } = RESOURCES

const LAN = { lan: { addresses: ['192.0.2.10-192.0.2.12'] } }

test('C-15 a Service gets its address and the annotation in one call to services/status', async () => {
  const cluster = new Cluster(LAN)
  cluster.seed('web')
  await cluster.start()
  assert.deepEqual(cluster.ips('web'), ['192.0.2.10'])
  assert.equal(cluster.pool('web'), 'lan')
  const writes = cluster.kube.writes.filter(({ resource }) => resource.plural === 'services')
  assert.deepEqual(
    writes.map(({ verb, subresource }) => ({ verb, subresource })),
    [{ verb: 'patch', subresource: 'status' }],
  )
  const body = writes[0]?.body as KubeObject | undefined
  assert.ok(body?.metadata.resourceVersion !== undefined)
  assert.deepEqual(cluster.reasons('web'), ['IPAllocated'])
  assert.equal(cluster.metrics.values.get('metallb_allocator_addresses_total{pool="lan"}'), 3)
  assert.equal(cluster.metrics.values.get('metallb_allocator_addresses_in_use_total{pool="lan"}'), 1)
  assert.equal(cluster.metrics.values.get('metallb_k8s_client_config_loaded_bool'), 1)
  await cluster.stop()
})

test('R-2 an address in use is never given away, though its Service comes last', async () => {
  const cluster = new Cluster(LAN)
  cluster.seed('a-new-one', { created: 1 })
  cluster.seed('z-old-one', { created: 2, status: ['192.0.2.10'], pool: 'lan' })
  await cluster.start()
  assert.deepEqual(cluster.ips('z-old-one'), ['192.0.2.10'])
  assert.deepEqual(cluster.ips('a-new-one'), ['192.0.2.11'])
  assert.equal(cluster.serviceWrites, 1)
  await cluster.stop()
})

test('nothing is written before every list was read', async () => {
  const cluster = new Cluster(LAN)
  cluster.seed('web')
  cluster.kube.pause()
  await cluster.start()
  assert.equal(cluster.kube.writes.length, 0)
  cluster.kube.resume()
  await cluster.settle()
  assert.deepEqual(cluster.ips('web'), ['192.0.2.10'])
  await cluster.stop()
})

test('a restart changes nothing and writes nothing', async () => {
  const cluster = new Cluster(LAN)
  for (const name of ['a', 'b', 'c', 'd']) cluster.seed(name)
  await cluster.start()
  const before = ['a', 'b', 'c', 'd'].map(name => cluster.ips(name))
  await cluster.stop()
  const writes = cluster.serviceWrites
  await cluster.start()
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map(name => cluster.ips(name)),
    before,
  )
  assert.equal(cluster.serviceWrites, writes)
  await cluster.stop()
})

test('C-1 the address of a deleted Service goes to the one that waited', async () => {
  const cluster = new Cluster({ lan: { addresses: ['192.0.2.10/32'] } })
  cluster.seed('first', { created: 1 })
  cluster.seed('second', { created: 2 })
  await cluster.start()
  assert.deepEqual(cluster.ips('second'), [])
  assert.deepEqual(cluster.reasons('second'), ['AllocationFailed'])
  await cluster.kube.delete(SERVICES, { namespace: 'default', name: 'first' })
  await cluster.settle()
  assert.deepEqual(cluster.ips('second'), ['192.0.2.10'])
  assert.deepEqual(cluster.reasons('second'), ['AllocationFailed', 'IPAllocated'])
  await cluster.stop()
})

test('a failure is told once for each cause, however often it is looked at', async () => {
  const cluster = new Cluster({ lan: { addresses: ['192.0.2.10/32'] } })
  cluster.seed('first', { created: 1 })
  cluster.seed('second', { created: 2 })
  await cluster.start()
  for (let i = 0; i < 5; i++) {
    await cluster.kube.patch(
      SERVICES,
      { namespace: 'default', name: 'second' },
      { metadata: { labels: { turn: `${i}` } } },
      { type: 'merge' },
    )
    await cluster.settle()
  }
  assert.deepEqual(cluster.reasons('second'), ['AllocationFailed'])
  await cluster.stop()
})

test('a write that loses against another one is planned again', async () => {
  const cluster = new Cluster(LAN)
  await cluster.start()
  const conflict = new KubeError('conflict', 'stale', { status: 409 })
  cluster.kube.failNext(conflict, { verb: 'patch', resource: SERVICES })
  cluster.seed('web')
  await cluster.settle()
  assert.deepEqual(cluster.ips('web'), [])
  await cluster.settle(400)
  assert.deepEqual(cluster.ips('web'), ['192.0.2.10'])
  assert.deepEqual(cluster.reasons('web'), ['IPAllocated'])
  await cluster.stop()
})

test('a stale write conflicts: what another client wrote meanwhile is not lost', async () => {
  const cluster = new Cluster(LAN)
  await cluster.start()
  cluster.seed('web')
  await cluster.kube.settle()
  // The informer hears nothing of this edit until after the controller wrote.
  cluster.kube.pause()
  cluster.seed('web', { annotations: { loadBalancerIPs: '192.0.2.12' } })
  await cluster.settle()
  assert.deepEqual(cluster.ips('web'), [])
  cluster.kube.resume()
  await cluster.settle(400)
  assert.deepEqual(cluster.ips('web'), ['192.0.2.12'])
  await cluster.stop()
})

test('one Service whose writes fail does not hold up the others', async () => {
  const cluster = new Cluster(LAN)
  await cluster.start()
  cluster.kube.failNext(new KubeError('server-error', 'sick', { status: 500 }), { verb: 'patch' })
  cluster.seed('a')
  cluster.seed('b')
  await cluster.settle()
  assert.deepEqual([cluster.ips('a'), cluster.ips('b')], [[], ['192.0.2.11']])
  await cluster.settle(400)
  assert.deepEqual(cluster.ips('a'), ['192.0.2.10'])
  await cluster.stop()
})

test('our own write, seen late, moves nothing', async () => {
  const cluster = new Cluster(LAN)
  await cluster.start()
  cluster.seed('web')
  await cluster.kube.settle()
  cluster.kube.pause()
  await cluster.settle()
  assert.deepEqual(cluster.ips('web'), ['192.0.2.10'])
  cluster.kube.resume()
  await cluster.settle(100)
  assert.equal(cluster.serviceWrites, 1)
  assert.deepEqual(cluster.ips('web'), ['192.0.2.10'])
  await cluster.stop()
})

test('V-1 an invalid configuration leaves the last good one running and names the object', async () => {
  const cluster = new Cluster(LAN)
  cluster.seed('web')
  await cluster.start()
  const [bad] = poolObjects({ bad: { addresses: ['198.51.100.0/24', 'nonsense'] } })
  cluster.kube.seed(POOLS, bad as KubeObject)
  cluster.seed('later')
  await cluster.settle()
  assert.deepEqual(cluster.ips('web'), ['192.0.2.10'])
  assert.deepEqual(cluster.ips('later'), ['192.0.2.11'])
  assert.equal(cluster.metrics.values.get('metallb_k8s_client_config_stale_bool'), 1)
  assert.deepEqual(cluster.reasons('bad'), ['ConfigurationError'])
  await cluster.kube.delete(POOLS, { namespace: NAMESPACE, name: 'bad' })
  await cluster.settle()
  assert.equal(cluster.metrics.values.get('metallb_k8s_client_config_stale_bool'), 0)
  await cluster.stop()
})

test('C-2 without any valid configuration nothing is touched', async () => {
  const cluster = new Cluster({ bad: { addresses: ['nonsense'] } })
  cluster.seed('web', { status: ['192.0.2.99'], pool: 'gone' })
  await cluster.start()
  assert.deepEqual(cluster.ips('web'), ['192.0.2.99'])
  assert.equal(cluster.metrics.values.get('metallb_k8s_client_config_loaded_bool'), 0)
  await cluster.stop()
})

test('an advertisement that is broken refuses the whole configuration', async () => {
  const cluster = new Cluster(LAN)
  cluster.kube.seed(ADS, {
    metadata: { name: 'ad', namespace: NAMESPACE },
    spec: { ipAddressPools: ['lan', 'lan'] },
  })
  cluster.seed('web')
  await cluster.start()
  assert.deepEqual(cluster.ips('web'), [])
  assert.deepEqual(cluster.reasons('ad'), ['ConfigurationError'])
  await cluster.stop()
})

test('Q-1 a Service of another class is not touched', async () => {
  const cluster = new Cluster(LAN)
  cluster.seed('other', { spec: { loadBalancerClass: 'other.example/lb' } })
  cluster.seed('plain')
  await cluster.start()
  assert.deepEqual([cluster.ips('other'), cluster.ips('plain')], [[], ['192.0.2.10']])
  await cluster.stop()
  await cluster.start({ loadBalancerClass: 'other.example/lb' })
  assert.deepEqual([cluster.ips('other'), cluster.ips('plain')], [['192.0.2.10'], ['192.0.2.10']])
  await cluster.stop()
})

test('C-3 a Service that is no load balancer any more is cleared', async () => {
  const cluster = new Cluster(LAN)
  cluster.seed('web')
  await cluster.start()
  await cluster.kube.patch(
    SERVICES,
    { namespace: 'default', name: 'web' },
    { spec: { type: 'ClusterIP' } },
    { type: 'merge' },
  )
  await cluster.settle()
  assert.deepEqual(cluster.ips('web'), [])
  assert.equal(cluster.pool('web'), undefined)
  await cluster.stop()
})

test('A-21 the status of a pool follows what is in use, once for a burst', async () => {
  const cluster = new Cluster(LAN)
  await cluster.start()
  for (const name of ['a', 'b']) cluster.seed(name)
  await cluster.settle()
  await cluster.settle(2000)
  const pool = cluster.kube.peek(POOLS, { namespace: NAMESPACE, name: 'lan' })
  assert.deepEqual(pool?.['status'], { assignedIPv4: 2, assignedIPv6: 0, availableIPv4: 1, availableIPv6: 0 })
  const writes = cluster.kube.writes.filter(({ resource }) => resource.plural === 'ipaddresspools').length
  assert.ok(writes <= 2, `${writes} writes`)
  await cluster.settle(5000)
  assert.equal(
    cluster.kube.writes.filter(({ resource }) => resource.plural === 'ipaddresspools').length,
    writes,
  )
  await cluster.stop()
})

test('killed at any write, the next controller loses no address and gives none twice', async () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  for (let fatal = 1; fatal <= names.length; fatal++) {
    const cluster = new Cluster({ lan: { addresses: ['192.0.2.0/29'] } })
    for (const name of names) cluster.seed(name)
    let writes = 0
    // From this write on the API server is out of reach: what was on its way never arrives.
    cluster.kube.onWrite(() => {
      if (++writes === fatal) cluster.kube.setDown(new KubeError('unreachable', 'killed'))
    })
    await cluster.start()
    await cluster.stop()
    cluster.kube.setDown(undefined)
    const before = new Map(names.map(name => [name, cluster.ips(name)]))
    assert.equal([...before.values()].flat().length, fatal)
    await cluster.kube.delete(SERVICES, { namespace: 'default', name: 'a' })
    await cluster.start()
    const after = names.slice(1).map(name => cluster.ips(name))
    assert.equal(new Set(after.flat()).size, names.length - 1)
    for (const [name, ips] of before)
      if (name !== 'a' && ips.length > 0) assert.deepEqual(cluster.ips(name), ips)
    await cluster.stop()
  }
})

test('the Secret for the speakers is made once and then left alone', async () => {
  const cluster = new Cluster(LAN)
  await cluster.start({ memberlistSecretName: 'memberlist' })
  const name = { namespace: NAMESPACE, name: 'memberlist' }
  const { secretkey = '' } = (cluster.kube.peek(SECRETS, name)?.['data'] ?? {}) as { secretkey?: string }
  const text = Buffer.from(secretkey, 'base64').toString()
  assert.match(text, /^[A-Za-z0-9+/]{22}$/)
  assert.equal(Buffer.from(text, 'base64').length, 16)
  await cluster.stop()
  await cluster.start({ memberlistSecretName: 'memberlist' })
  assert.deepEqual(cluster.kube.peek(SECRETS, name)?.['data'], { secretkey })
  await cluster.stop()
})

test('a key that was made here is replaced when it is old, and a Secret of somebody else never is', async () => {
  const name = { namespace: NAMESPACE, name: 'memberlist' }
  const flags = { memberlistSecretName: 'memberlist', memberlistKeyLifetimeMs: 7_200_000 }
  const cluster = new Cluster(LAN)
  await cluster.start(flags)
  const keyOf = () => {
    const { secretkey = '' } = (cluster.kube.peek(SECRETS, name)?.['data'] ?? {}) as { secretkey?: string }
    return secretkey
  }
  const first = keyOf()
  await cluster.settle(7_100_000)
  assert.equal(keyOf(), first)
  await cluster.settle(200_000)
  const second = keyOf()
  assert.notEqual(second, first)
  await cluster.stop()
  // A controller that starts anew goes by the age that is written, not by its own.
  await cluster.start(flags)
  assert.equal(keyOf(), second)
  cluster.kube.seed(SECRETS, { metadata: { ...name }, data: { secretkey: 'b3duIGtleQ==' } })
  await cluster.settle(100 * 3_600_000)
  assert.equal(keyOf(), 'b3duIGtleQ==')
  await cluster.stop()
})

test('1.6 the Secret is owned by the Deployment that is named, and made without an owner when there is none', async () => {
  const deployments = {
    group: 'apps',
    version: 'v1',
    plural: 'deployments',
    kind: 'Deployment',
    namespaced: true,
  }
  for (const exists of [true, false]) {
    const cluster = new Cluster(LAN)
    const metadata = { namespace: NAMESPACE, name: 'controller', uid: 'uid-of-it' }
    if (exists) cluster.kube.seed(deployments, { metadata })
    await cluster.start({ memberlistSecretName: 'memberlist', deployment: 'controller' })
    const secret = cluster.kube.peek(SECRETS, { namespace: NAMESPACE, name: 'memberlist' })
    assert.ok(secret !== undefined)
    const owner = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'controller', uid: 'uid-of-it' }
    assert.deepEqual(secret.metadata.ownerReferences, exists ? [owner] : undefined)
    await cluster.stop()
  }
})

test('the Secret is tried again after a failure', async () => {
  const cluster = new Cluster(LAN)
  cluster.kube.failNext(new KubeError('unreachable', 'away'), { verb: 'create', resource: SECRETS })
  await cluster.start({ memberlistSecretName: 'memberlist' })
  assert.equal(cluster.kube.objects(SECRETS).length, 0)
  await cluster.settle(2000)
  assert.equal(cluster.kube.objects(SECRETS).length, 1)
  await cluster.stop()
})

test('a malformed Service is no exception', async () => {
  const cluster = new Cluster(LAN)
  const odd = {
    metadata: { name: 'odd', namespace: 'default', annotations: { 'metallb.io/address-pool': 7 } },
    spec: { type: 'LoadBalancer', clusterIPs: ['nonsense', 12], ports: 'x', selector: [1] },
    status: { loadBalancer: { ingress: { ip: 3 } } },
  }
  cluster.kube.seed(SERVICES, odd as unknown as KubeObject)
  cluster.kube.seed(SERVICES, { metadata: { name: 'bare', namespace: 'default' } })
  cluster.seed('web')
  await cluster.start()
  assert.deepEqual(cluster.ips('web'), ['192.0.2.10'])
  assert.equal(cluster.serviceWrites, 1)
  await cluster.stop()
})
