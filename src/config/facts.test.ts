import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { KubeObject } from '../ports/kube.ts'
import { endpointNodes, endpointsFromSlice } from './endpointslice.ts'
import { namespaceFromObject, nodeFromObject } from './nodes.ts'
import { serviceFromObject } from './services.ts'

const SERVICE: KubeObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: {
    name: 'web',
    namespace: 'default',
    uid: 'u-1',
    resourceVersion: '42',
    creationTimestamp: '2026-01-01T00:00:01Z',
    labels: { app: 'web' },
    annotations: {
      'metallb.io/address-pool': 'lan',
      'metallb.universe.tf/loadBalancerIPs': '192.0.2.1',
      'metallb.io/allow-shared-ip': '',
      'metallb.universe.tf/allow-shared-ip': 'old',
      'metallb.io/ip-allocated-from-pool': 'lan',
      'other.example/note': 'not kept',
    },
  },
  spec: {
    type: 'LoadBalancer',
    loadBalancerClass: 'a.example/b',
    clusterIP: '10.96.0.1',
    clusterIPs: ['10.96.0.1', 'FD00::1'],
    ipFamilies: ['IPv4', 'IPv6'],
    ipFamilyPolicy: 'PreferDualStack',
    externalTrafficPolicy: 'Local',
    selector: { app: 'web' },
    ports: [
      { name: 'http', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: 30080 },
      { protocol: 'UDP', port: 53 },
    ],
    loadBalancerIP: '192.0.2.7',
  },
  status: { loadBalancer: { ingress: [{ ip: '192.0.2.1', ipMode: 'VIP' }, { ip: '2001:DB8::1' }] } },
}

test('a Service becomes what allocation and announcement look at', () => {
  assert.deepEqual(serviceFromObject(SERVICE), {
    key: 'default/web',
    namespace: 'default',
    name: 'web',
    uid: 'u-1',
    resourceVersion: '42',
    createdAtMs: Date.UTC(2026, 0, 1, 0, 0, 1),
    labels: { app: 'web' },
    type: 'LoadBalancer',
    loadBalancerClass: 'a.example/b',
    clusterIps: ['10.96.0.1', 'fd00::1'],
    ipFamilies: ['IPv4', 'IPv6'],
    ipFamilyPolicy: 'PreferDualStack',
    externalTrafficPolicy: 'Local',
    selector: { app: 'web' },
    ports: [
      { name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 },
      { name: '', protocol: 'UDP', port: 53, nodePort: undefined },
    ],
    loadBalancerIp: '192.0.2.7',
    annotations: {
      addressPool: 'lan',
      loadBalancerIps: '192.0.2.1',
      sharingKey: undefined,
      hasSharingKey: true,
      allocatedFromPool: 'lan',
      deprecated: ['metallb.universe.tf/loadBalancerIPs', 'metallb.universe.tf/allow-shared-ip'],
    },
    statusIps: ['192.0.2.1', '2001:db8::1'],
    statusHasOther: false,
  })
})

test('Q-6 the newer annotation wins over the older one, even when it is empty', () => {
  const read = (annotations: Record<string, string>) =>
    serviceFromObject({ metadata: { name: 'x', namespace: 'y', annotations } }).annotations.addressPool
  assert.equal(read({ 'metallb.universe.tf/address-pool': 'old' }), 'old')
  assert.equal(read({ 'metallb.universe.tf/address-pool': 'old', 'metallb.io/address-pool': 'new' }), 'new')
  assert.equal(read({ 'metallb.universe.tf/address-pool': 'old', 'metallb.io/address-pool': '' }), undefined)
})

test('P-1 status entries that are no plain address are noticed', () => {
  const withIngress = (ingress: unknown) =>
    serviceFromObject({ metadata: { name: 'x', namespace: 'y' }, status: { loadBalancer: { ingress } } })
  assert.equal(withIngress([{ hostname: 'lb.example' }]).statusHasOther, true)
  assert.equal(withIngress([{ ip: '192.0.2.1', hostname: 'lb.example' }]).statusHasOther, true)
  assert.equal(withIngress([{ ip: 'nonsense' }]).statusHasOther, true)
  assert.equal(withIngress([{ ip: '192.0.2.1' }]).statusHasOther, false)
  assert.equal(withIngress(undefined).statusHasOther, false)
})

test('a headless Service has no cluster IPs; an old object has only clusterIP', () => {
  const clusterIps = (spec: unknown) =>
    serviceFromObject({ metadata: { name: 'x', namespace: 'y' }, spec }).clusterIps
  assert.deepEqual(clusterIps({ clusterIP: 'None', clusterIPs: ['None'] }), [])
  assert.deepEqual(clusterIps({ clusterIP: '10.96.0.1' }), ['10.96.0.1'])
  assert.deepEqual(clusterIps({}), [])
})

test('a Node becomes its conditions, labels and addresses', () => {
  const facts = nodeFromObject({
    metadata: { name: 'node-a', labels: { rack: '1' } },
    spec: {
      unschedulable: true,
      taints: [{ key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute' }],
    },
    status: {
      addresses: [
        { type: 'Hostname', address: 'node-a' },
        { type: 'InternalIP', address: '192.0.2.1' },
        { type: 'InternalIP', address: '2001:db8::1' },
        { type: 'ExternalIP', address: '198.51.100.1' },
      ],
      conditions: [
        { type: 'Ready', status: 'False' },
        { type: 'NetworkUnavailable', status: 'True' },
      ],
    },
  })
  assert.deepEqual(facts, {
    name: 'node-a',
    labels: { rack: '1' },
    internalIps: ['192.0.2.1', '2001:db8::1'],
    networkUnavailable: true,
    ready: false,
    unschedulable: true,
    outOfService: true,
  })
})

test('a Node is ready unless its kubelet, or its silence, says otherwise', () => {
  const ready = (...conditions: object[]) =>
    nodeFromObject({ metadata: { name: 'n' }, status: { conditions } }).ready
  assert.equal(ready(), true)
  assert.equal(ready({ type: 'Ready', status: 'True' }), true)
  assert.equal(ready({ type: 'Ready', status: 'False' }), false)
  assert.equal(ready({ type: 'Ready', status: 'Unknown' }), false)
})

const CONDITIONS: readonly (readonly [Record<string, boolean | null> | undefined, boolean])[] = [
  [{ ready: true, serving: true, terminating: false }, true],
  [{ ready: true, serving: false, terminating: true }, true],
  [{ ready: true }, true],
  [undefined, true],
  [{}, true],
  [{ serving: false }, true],
  [{ ready: null, serving: false }, true],
  [{ ready: false, serving: true, terminating: true }, true],
  [{ ready: false, serving: true, terminating: false }, true],
  [{ ready: false, serving: false }, false],
  [{ ready: false }, false],
  [{ ready: false, serving: null }, false],
]
for (const [conditions, canServe] of CONDITIONS) {
  test(`E-1 an endpoint with ${JSON.stringify(conditions)} ${canServe ? 'can' : 'cannot'} serve`, () => {
    const slice = endpointsFromSlice({
      metadata: { name: 's', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.1.0.1'], nodeName: 'node-a', ...(conditions && { conditions }) }],
      ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    })
    assert.deepEqual(slice, {
      serviceKey: 'default/web',
      family: 'IPv4',
      endpoints: [{ addresses: ['10.1.0.1'], nodeName: 'node-a', ready: canServe }],
      ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    })
  })
}

test('E-2 an endpoint without a node counts, but for no node', () => {
  const slices = [
    { endpoints: [{ conditions: { ready: true } }, { nodeName: 'node-b', conditions: { ready: false } }] },
    { endpoints: [{ nodeName: 'node-a', addresses: ['10.1.0.1'] }] },
  ].map((slice, index) => endpointsFromSlice({ metadata: { name: `s${index}`, namespace: 'd' }, ...slice }))
  assert.deepEqual(endpointNodes(slices.slice(0, 1)), { any: true, nodes: new Set() })
  assert.deepEqual(endpointNodes(slices), { any: true, nodes: new Set(['node-a']) })
  assert.deepEqual(endpointNodes([]), { any: false, nodes: new Set() })
})

test('property: whatever an object holds, it becomes facts', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (spec, status, extra) => {
      const metadata = {
        name: 'x',
        namespace: 'y',
        labels: extra,
        annotations: status,
      } as KubeObject['metadata']
      const object: KubeObject = {
        metadata,
        spec: { clusterIPs: extra, ports: status, selector: extra, ...(spec as object) },
        status: { loadBalancer: { ingress: status }, conditions: extra, addresses: spec },
        endpoints: extra,
        ports: spec,
      }
      assert.equal(serviceFromObject(object).key, 'y/x')
      assert.equal(nodeFromObject(object).name, 'x')
      assert.equal(namespaceFromObject(object).name, 'x')
      assert.ok(Array.isArray(endpointsFromSlice(object).endpoints))
    }),
  )
})
