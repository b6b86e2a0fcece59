import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Problem } from '../config/model.ts'
import { FakeClock } from '../ports/clock.ts'
import { KubeError, type KubeObject, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLog } from '../ports/log.ts'
import { SeededRandom } from '../ports/random.ts'
import { CONFIG_KINDS } from './config-kinds.ts'
import { CONFIGURATION_STATES, ConfigurationState } from './configuration-state.ts'
import { Cluster, NAMESPACE } from './controller-cluster.ts'
import { ANNOUNCED } from './service-conditions.ts'

const PROBLEM: Problem = {
  code: 'address-invalid',
  severity: 'error',
  object: { kind: 'IPAddressPool', namespace: NAMESPACE, name: 'lan' },
  field: 'spec.addresses[1]',
  message: '"nonsense" is no address range',
}

function rig(node?: string) {
  const clock = new FakeClock()
  const kube = new FakeKube({ clock })
  const log = new FakeLog()
  const state = new ConfigurationState({
    kube,
    clock,
    log,
    random: new SeededRandom(1),
    namespace: NAMESPACE,
    node,
    podName: 'pod-1',
  })
  kube.seed(RESOURCES.pods, { metadata: { namespace: NAMESPACE, name: 'pod-1', uid: 'uid-1' } })
  const name = node === undefined ? 'controller' : `speaker-${node}`
  const peek = () => kube.peek(CONFIGURATION_STATES, { namespace: NAMESPACE, name })
  return { clock, kube, log, state, peek, writes: () => kube.writes.length }
}

const status = (object: KubeObject | undefined) => {
  const { result, errorSummary, conditions } = (object?.['status'] ?? {}) as {
    result?: string
    errorSummary?: string
    conditions?: {
      type: string
      status: string
      reason: string
      message: string
      lastTransitionTime: string
    }[]
  }
  const [condition] = conditions ?? []
  return { result, errorSummary, condition }
}

test('1.1 the controller and each speaker have an object of their own, owned by their Pod', async () => {
  for (const [node, component, type] of [
    [undefined, 'controller', 'poolReconcilerValid'],
    ['node-a', 'speaker', 'configReconcilerValid'],
  ] as const) {
    const { kube, state, peek } = rig(node)
    state.report([])
    await kube.settle()
    const object = peek()
    assert.equal(object?.metadata.labels?.['metallb.io/component-type'], component)
    assert.equal(object?.metadata.labels?.['metallb.io/node-name'], node)
    assert.deepEqual(object?.metadata.ownerReferences, [
      { apiVersion: 'v1', kind: 'Pod', name: 'pod-1', uid: 'uid-1' },
    ])
    const { result, errorSummary, condition } = status(object)
    assert.deepEqual([result, errorSummary], ['Valid', undefined])
    assert.deepEqual([condition?.type, condition?.status, condition?.reason], [type, 'True', 'Reconciled'])
    await state.close()
  }
})

test('V-1 what is wrong stands in the object with its field, and goes away again', async () => {
  const { kube, clock, state, peek } = rig()
  state.report([PROBLEM, { ...PROBLEM, severity: 'warning', message: 'only a warning' }])
  await kube.settle()
  const invalid = status(peek())
  const line = 'IPAddressPool metallb-system/lan spec.addresses[1]: "nonsense" is no address range'
  assert.deepEqual([invalid.result, invalid.errorSummary], ['Invalid', line])
  assert.deepEqual(
    [invalid.condition?.status, invalid.condition?.reason, invalid.condition?.message],
    ['False', 'ConfigurationError', line],
  )
  clock.advance(60_000)
  state.report([])
  await kube.settle()
  const valid = status(peek())
  assert.deepEqual([valid.result, valid.errorSummary], ['Valid', undefined])
  assert.equal(valid.condition?.lastTransitionTime, '2026-01-01T00:01:00Z')
  await state.close()
})

test('Q-32 nothing is written while nothing changes, and another message is no transition', async () => {
  const { kube, clock, state, peek, writes } = rig()
  state.report([PROBLEM])
  await kube.settle()
  const before = writes()
  state.report([PROBLEM])
  await kube.settle()
  assert.equal(writes(), before)
  clock.advance(60_000)
  state.report([PROBLEM, { ...PROBLEM, field: 'spec.addresses[2]' }])
  await kube.settle()
  assert.equal(status(peek()).condition?.lastTransitionTime, '2026-01-01T00:00:00Z')
  await state.close()
})

test('1.1 deleted, it is made again; edited, it is put right', async () => {
  const { kube, state, peek } = rig()
  state.report([])
  await kube.settle()
  await kube.delete(CONFIGURATION_STATES, { namespace: NAMESPACE, name: 'controller' })
  await kube.settle()
  assert.equal(status(peek()).result, 'Valid')
  kube.seed(CONFIGURATION_STATES, { ...(peek() as KubeObject), status: { result: 'Invalid' } })
  await kube.settle()
  assert.equal(status(peek()).result, 'Valid')
  await state.close()
})

test('a cluster that does not know the kind is told of once, and asked again later', async () => {
  const { kube, clock, log, state, peek } = rig()
  const unknown = () =>
    kube.failNext(new KubeError('not-found', 'no such kind', { status: 404 }), { verb: 'create' })
  const said = () => log.lines.filter(({ event }) => event === 'configuration-state-unknown').length
  unknown()
  state.report([])
  await kube.settle()
  assert.deepEqual([said(), peek()], [1, undefined])
  unknown()
  clock.advance(300_000)
  await kube.settle()
  assert.deepEqual([said(), peek()], [1, undefined])
  clock.advance(300_000)
  await kube.settle()
  assert.equal(status(peek()).result, 'Valid')
  await state.close()
})

test('a write that fails is tried again', async () => {
  const { kube, clock, state, peek } = rig()
  kube.failNext(new KubeError('server-error', 'sick', { status: 500 }), { verb: 'patch' })
  state.report([])
  await kube.settle()
  assert.equal(status(peek()).result, undefined)
  clock.advance(1000)
  await kube.settle()
  assert.equal(status(peek()).result, 'Valid')
  await state.close()
})

test('V-1 the controller writes its own, an Event names the field, and the metrics say that it is stale', async () => {
  const cluster = new Cluster({ lan: { addresses: ['192.0.2.0/24'] } })
  await cluster.start()
  const peek = () =>
    status(cluster.kube.peek(CONFIGURATION_STATES, { namespace: NAMESPACE, name: 'controller' }))
  assert.equal(peek().result, 'Valid')
  cluster.kube.seed(RESOURCES.ipAddressPools, {
    metadata: { name: 'bad', namespace: NAMESPACE },
    spec: { addresses: ['198.51.100.0/24', 'nonsense'] },
  })
  for (let i = 0; i < 3; i++) {
    cluster.kube.seed(RESOURCES.namespaces, { metadata: { name: `another-${i}` } })
    await cluster.settle()
  }
  assert.equal(peek().result, 'Invalid')
  assert.match(peek().errorSummary ?? '', /^IPAddressPool metallb-system\/bad spec\.addresses\[1\]: /)
  const told = cluster.events.events.filter(({ about }) => about.name === 'bad')
  assert.deepEqual(
    told.map(({ reason }) => reason),
    ['ConfigurationError'],
  )
  assert.match(told[0]?.message ?? '', /^spec\.addresses\[1\]: /)
  assert.equal(cluster.metrics.values.get('metallb_k8s_client_config_stale_bool'), 1)
  assert.equal(cluster.metrics.values.get('metallb_k8s_client_config_loaded_bool'), 1)
  await cluster.kube.delete(RESOURCES.ipAddressPools, { namespace: NAMESPACE, name: 'bad' })
  await cluster.settle()
  assert.equal(peek().result, 'Valid')
  await cluster.stop()
})

test('a mistake in what is for BGP alone is told, and holds no address back', async () => {
  const cluster = new Cluster({ lan: { addresses: ['192.0.2.0/24'] } })
  const { BGPPeer, BGPAdvertisement } = CONFIG_KINDS
  const object = (name: string, spec: object): KubeObject => ({
    metadata: { name, namespace: NAMESPACE },
    spec,
  })
  cluster.kube.seed(BGPPeer, object('router', { myASN: 64512, peerASN: 64513, peerAddress: '192.0.2.254' }))
  cluster.kube.seed(BGPAdvertisement, object('ad', {}))
  cluster.kube.seed(RESOURCES.endpointSlices, {
    metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    endpoints: [{ addresses: ['10.244.0.1'], nodeName: 'node-a' }],
  })
  cluster.seed('web')
  await cluster.start()
  assert.equal(cluster.condition('web', ANNOUNCED), 'False BGPNotSpoken')
  cluster.kube.seed(BGPPeer, object('router', { myASN: 0, peerASN: 64513, peerAddress: '192.0.2.254' }))
  cluster.seed('later')
  await cluster.settle()
  assert.deepEqual(cluster.ips('later'), ['192.0.2.1'])
  const told = cluster.events.events.find(({ about }) => about.name === 'router')
  assert.deepEqual([told?.about.apiVersion, told?.reason], ['metallb.io/v1beta2', 'ConfigurationError'])
  assert.equal(cluster.metrics.values.get('metallb_k8s_client_config_stale_bool'), 1)
  await cluster.pass(2000, 500)
  assert.equal(cluster.condition('web', ANNOUNCED), 'False BGPNotSpoken', 'what is said stays as it was')
  await cluster.stop()
})
