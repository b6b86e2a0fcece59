import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KubeError, RESOURCES } from '../ports/kube.ts'
import { Cluster } from './controller-cluster.ts'
import { Handovers } from './handovers.ts'

test('who gets an address waits for the write of who loses it, and is told', () => {
  const handovers = new Handovers()
  assert.deepEqual(handovers.decided('old', ['192.0.2.10'], ['192.0.2.20']), [])
  handovers.decided('new', [], ['192.0.2.10'])
  assert.equal(handovers.next('new', ['192.0.2.10']), 'wait')
  assert.equal(handovers.next('other', ['192.0.2.30']), 'write')
  assert.equal(handovers.next('old', ['192.0.2.20']), 'write')
  assert.deepEqual(handovers.left('old'), ['new'])
  assert.equal(handovers.next('new', ['192.0.2.10']), 'write')
})

test('one that keeps its address after all is waited for no more', () => {
  const handovers = new Handovers()
  handovers.decided('old', ['192.0.2.10'], [])
  assert.equal(handovers.next('new', ['192.0.2.10']), 'wait')
  assert.deepEqual(handovers.decided('old', ['192.0.2.10'], ['192.0.2.10']), ['new'])
})

test('in a ring the one that closes it gives up its address first', () => {
  const handovers = new Handovers()
  const ring = [
    ['a', '192.0.2.1', '192.0.2.2'],
    ['b', '192.0.2.2', '192.0.2.3'],
    ['c', '192.0.2.3', '192.0.2.1'],
  ] as const
  for (const [key, has, gets] of ring) handovers.decided(key, [has], [gets])
  assert.deepEqual(
    ring.map(([key, , gets]) => handovers.next(key, [gets])),
    ['wait', 'wait', 'clear'],
  )
  assert.deepEqual(handovers.left('c'), ['b'])
  assert.equal(handovers.next('b', ['192.0.2.3']), 'write')
  assert.deepEqual(handovers.left('b'), ['a'])
  assert.equal(handovers.next('a', ['192.0.2.2']), 'write')
  assert.deepEqual(handovers.left('a'), [])
  assert.equal(handovers.next('c', ['192.0.2.1']), 'write')
})

const { services: SERVICES } = RESOURCES

/** Notes whenever two of these show one address. */
function watch(cluster: Cluster, names: readonly string[]): string[] {
  const twice: string[] = []
  const patch = cluster.kube.patch.bind(cluster.kube)
  cluster.kube.patch = async (...args) => {
    const object = await patch(...args)
    const ips = names.flatMap(name => cluster.ips(name))
    if (new Set(ips).size < ips.length) twice.push(ips.join())
    return object
  }
  return twice
}

test('R-2 an address is never shown by two Services, not while the write that takes it away fails', async () => {
  const cluster = new Cluster({
    lan: { addresses: ['192.0.2.10/32'] },
    side: { addresses: ['192.0.2.20/32'], autoAssign: false },
  })
  cluster.seed('old', { created: 1 })
  await cluster.start()
  assert.deepEqual(cluster.ips('old'), ['192.0.2.10'])
  const twice = watch(cluster, ['old', 'new'])
  cluster.kube.failNext(new KubeError('server-error', 'sick', { status: 500 }), {
    verb: 'patch',
    resource: SERVICES,
  })
  cluster.seed('old', {
    created: 1,
    status: ['192.0.2.10'],
    pool: 'lan',
    annotations: { 'address-pool': 'side' },
  })
  cluster.seed('new', { created: 2 })
  await cluster.settle()
  assert.deepEqual([cluster.ips('old'), cluster.ips('new')], [['192.0.2.10'], []])
  await cluster.settle(400)
  assert.deepEqual([cluster.ips('old'), cluster.ips('new')], [['192.0.2.20'], ['192.0.2.10']])
  assert.deepEqual(twice, [])
  await cluster.stop()
})

test("two Services that ask for each other's address swap them, and never show one twice", async () => {
  const cluster = new Cluster({ lan: { addresses: ['192.0.2.10-192.0.2.11'] } })
  cluster.seed('a', { created: 1 })
  cluster.seed('b', { created: 2 })
  await cluster.start()
  assert.deepEqual([cluster.ips('a'), cluster.ips('b')], [['192.0.2.10'], ['192.0.2.11']])
  const twice = watch(cluster, ['a', 'b'])
  cluster.kube.pause()
  for (const [name, created, has, wants] of [
    ['a', 1, '192.0.2.10', '192.0.2.11'],
    ['b', 2, '192.0.2.11', '192.0.2.10'],
  ] as const)
    cluster.seed(name, { created, status: [has], pool: 'lan', annotations: { loadBalancerIPs: wants } })
  cluster.kube.resume()
  await cluster.settle()
  await cluster.settle(400)
  assert.deepEqual([cluster.ips('a'), cluster.ips('b')], [['192.0.2.11'], ['192.0.2.10']])
  assert.deepEqual(twice, [])
  await cluster.stop()
})
