import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fieldsOf } from '../config/fields.ts'
import type { KubeObject } from '../ports/kube.ts'
import { applyChange, clusterFamilies, DELETE_ANNOTATION, normalized, withClusterIps } from './objects.ts'

type Fields = Readonly<Record<string, unknown>>

function service(spec: Fields = {}, metadata: Fields = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default', ...metadata },
    spec: { type: 'LoadBalancer', ...spec },
  }
}

function node(...addresses: string[]): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'node1' },
    status: { addresses: addresses.map(address => ({ type: 'InternalIP', address })) },
  }
}

const specOf = (object: KubeObject | undefined) => fieldsOf(object?.['spec'])
const families = (object: KubeObject) => specOf(object)['ipFamilies']

for (const [name, spec, cluster, wanted] of [
  ['alone', {}, ['IPv4', 'IPv6'], ['IPv4']],
  ['alone, in a cluster of IPv6', {}, ['IPv6'], ['IPv6']],
  ['of both if possible', { ipFamilyPolicy: 'PreferDualStack' }, ['IPv4', 'IPv6'], ['IPv4', 'IPv6']],
  ['of both if possible, where it is not', { ipFamilyPolicy: 'PreferDualStack' }, ['IPv4'], ['IPv4']],
  ['of both if possible, of a cluster unknown', { ipFamilyPolicy: 'PreferDualStack' }, [], ['IPv4', 'IPv6']],
  ['of both', { ipFamilyPolicy: 'RequireDualStack' }, [], ['IPv4', 'IPv6']],
  ['of IPv6', { ipFamilies: ['IPv6'] }, ['IPv4', 'IPv6'], ['IPv6']],
  ['of both, IPv6 first', { ipFamilies: ['IPv6', 'IPv4'] }, [], ['IPv6', 'IPv4']],
] as const) {
  test(`a manifest's Service ${name} gets cluster IPs as the API server gives them`, () => {
    const filled = withClusterIps(service(spec), cluster)
    assert.deepEqual(families(filled), wanted)
    assert.deepEqual(
      (specOf(filled)['clusterIPs'] as string[]).map(ip => (ip.includes(':') ? 'IPv6' : 'IPv4')),
      wanted,
    )
  })
}

test('cluster IPs that are written down stay as they are, and other types need none', () => {
  for (const object of [
    service({ clusterIPs: ['10.96.0.7'], ipFamilyPolicy: 'PreferDualStack' }),
    service({ clusterIP: 'None' }),
    service({ clusterIPs: [] }),
    service({ type: 'ClusterIP' }),
    node('192.0.2.11'),
  ]) {
    assert.equal(withClusterIps(object, ['IPv4', 'IPv6']), object)
  }
})

test('the families of a cluster are those of its nodes, then of its Services', () => {
  assert.deepEqual(clusterFamilies([]), [])
  assert.deepEqual(clusterFamilies([service({ clusterIPs: ['10.96.0.7'] }), node('2001:db8::11')]), [
    'IPv6',
    'IPv4',
  ])
  assert.deepEqual(clusterFamilies([node('192.0.2.11', '2001:db8::11')]), ['IPv4', 'IPv6'])
})

test('manifests without a namespace are in the usual one, and of two for one object the last counts', () => {
  const pool = { apiVersion: 'metallb.io/v1beta1', kind: 'IPAddressPool', metadata: { name: 'lan' } }
  const objects = normalized(
    [
      service({ loadBalancerClass: 'a' }, { namespace: null }),
      pool,
      service({ loadBalancerClass: 'b' }),
      pool,
      { ...node(), metadata: { name: 'node1', namespace: '' } },
    ],
    'metallb-system',
  )
  assert.deepEqual(
    objects.map(({ kind, metadata }) => [kind, metadata.namespace]),
    [
      ['Service', 'default'],
      ['IPAddressPool', 'metallb-system'],
      // Which is a mistake, and has to be seen as one.
      ['IPAddressPool', 'metallb-system'],
      ['Node', ''],
    ],
  )
  assert.equal(specOf(objects[0])['loadBalancerClass'], 'b')
})

test('a change keeps what the cluster knows and takes what the manifest says', () => {
  const before: KubeObject = {
    ...service(
      { clusterIPs: ['10.96.0.7'], ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' },
      {
        uid: 'u',
        creationTimestamp: '2026-01-01T00:00:00Z',
        labels: { app: 'old' },
        annotations: { 'metallb.io/ip-allocated-from-pool': 'lan', 'metallb.io/address-pool': 'lan' },
      },
    ),
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.100' }] } },
  }
  const { objects, missing } = applyChange(
    [before],
    // With what `kubectl create --dry-run` leaves in manifests.
    [
      {
        ...service({ externalTrafficPolicy: 'Local' }, { labels: { app: 'new' }, creationTimestamp: null }),
        status: { loadBalancer: {} },
      },
    ],
  )
  assert.deepEqual(missing, [])
  assert.deepEqual(objects, [
    {
      ...before,
      metadata: {
        ...before.metadata,
        labels: { app: 'new' },
        annotations: { 'metallb.io/ip-allocated-from-pool': 'lan' },
      },
      spec: { ...(before['spec'] as object), externalTrafficPolicy: 'Local' },
    },
  ])
})

test('a change of the family policy adds or takes the second cluster IP', () => {
  const single = service({ clusterIPs: ['10.96.0.7'], ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' })
  const dual = service({
    clusterIPs: ['10.96.0.7', 'fd00::7'],
    ipFamilies: ['IPv4', 'IPv6'],
    ipFamilyPolicy: 'RequireDualStack',
  })
  const after = (before: KubeObject, ipFamilyPolicy: string, ...addresses: string[]) =>
    applyChange([before, node(...addresses)], [service({ ipFamilyPolicy })]).objects[0] as KubeObject
  assert.deepEqual(families(after(single, 'PreferDualStack', '192.0.2.11', '2001:db8::11')), ['IPv4', 'IPv6'])
  assert.deepEqual(families(after(single, 'PreferDualStack', '192.0.2.11')), ['IPv4'])
  assert.deepEqual(specOf(after(dual, 'SingleStack'))['clusterIPs'], ['10.96.0.7'])
  assert.deepEqual(specOf(after(dual, 'PreferDualStack'))['clusterIPs'], ['10.96.0.7', 'fd00::7'])
})

test('a Service that prefers two families and has one cluster IP keeps that through other changes (Q-22)', () => {
  const before = service({ clusterIPs: ['10.96.0.7'], ipFamilyPolicy: 'PreferDualStack' })
  const { objects } = applyChange([before, node('192.0.2.11', '2001:db8::11')], [service()])
  assert.deepEqual(specOf(objects[0])['clusterIPs'], ['10.96.0.7'])
})

test('a change takes objects away by annotation or deletionTimestamp, and says what was not there', () => {
  const annotations = { [DELETE_ANNOTATION]: 'true' }
  const gone = service({}, { annotations })
  const dying = service({}, { name: 'api', deletionTimestamp: '2026-01-01T00:00:00Z' })
  const { objects, missing } = applyChange(
    [service(), node(), service({}, { name: 'api' })],
    [gone, dying, gone],
  )
  assert.deepEqual(objects, [node()])
  assert.deepEqual(missing, [gone])
  const kept = service({}, { annotations: { [DELETE_ANNOTATION]: 'false' } })
  assert.deepEqual(applyChange([], [kept]).objects, [kept])
})

test('a change may be one of the status of a Node', () => {
  const unavailable = { ...node(), status: { conditions: [{ type: 'NetworkUnavailable', status: 'True' }] } }
  assert.deepEqual(applyChange([node('192.0.2.11')], [unavailable]).objects, [unavailable])
})

test('another version of a kind is the same object', () => {
  const peer = (version: string) => ({
    apiVersion: `metallb.io/${version}`,
    kind: 'BGPPeer',
    metadata: { name: 'r', namespace: 'metallb-system' },
  })
  assert.deepEqual(applyChange([peer('v1beta1')], [peer('v1beta2')]).objects, [peer('v1beta2')])
})
