import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '../../ports/kube.ts'
import { planEndpointSlices } from './endpointslices.ts'
import type { EndpointSlice, Node, Pod, Service } from './resources.ts'

const SERVICE: Service = {
  metadata: { name: 'web', namespace: 'default', uid: 's1' },
  spec: {
    selector: { app: 'web' },
    clusterIP: '10.96.0.1',
    ipFamilies: ['IPv4', 'IPv6'],
    ports: [{ name: 'http', port: 80, targetPort: 'web', protocol: 'TCP' }],
  },
}

const NODES: Node[] = [{ metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z1' } } }]

function pod(
  name: string,
  index: number,
  rest: { ready?: boolean; deleted?: boolean; port?: number } = {},
): Pod {
  return {
    metadata: {
      name,
      namespace: 'default',
      uid: name,
      labels: { app: 'web' },
      ...(rest.deleted === true ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    spec: {
      nodeName: 'n1',
      containers: [{ name: 'web', ports: [{ name: 'web', containerPort: rest.port ?? 8080 }] }],
    },
    status: {
      phase: 'Running',
      podIPs: [{ ip: `192.0.2.${index}` }, { ip: `2001:db8::${index}` }],
      conditions: [{ type: 'Ready', status: rest.ready === false ? 'False' : 'True' }],
    },
  }
}

/** The slices that a plan against nothing makes. */
function slices(services: Service[], pods: Pod[]): EndpointSlice[] {
  return planEndpointSlices({ services, pods, nodes: NODES, slices: [] }).map(action => {
    assert.equal(action.type, 'create')
    return (action as { object: KubeObject }).object as EndpointSlice
  })
}

test('one slice for each family, with the number of the named port, the node and its zone', () => {
  const [four, six] = slices([SERVICE], [pod('p1', 1)])
  assert.equal(four?.addressType, 'IPv4')
  assert.equal(six?.addressType, 'IPv6')
  assert.equal(four?.metadata.labels?.['kubernetes.io/service-name'], 'web')
  assert.deepEqual(four?.ports, [{ name: 'http', protocol: 'TCP', port: 8080 }])
  assert.deepEqual(four?.endpoints, [
    {
      addresses: ['192.0.2.1'],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: 'n1',
      zone: 'z1',
      targetRef: { kind: 'Pod', namespace: 'default', name: 'p1', uid: 'p1' },
    },
  ])
  assert.deepEqual(six?.endpoints?.[0]?.addresses, ['2001:db8::1'])
})

// The conditions of KEP-1672: ready is serving and not terminating, unless publishNotReadyAddresses.
for (const [what, rest, publish, conditions] of [
  ['a ready pod', {}, false, { ready: true, serving: true, terminating: false }],
  ['a pod not ready', { ready: false }, false, { ready: false, serving: false, terminating: false }],
  ['a ready pod that goes', { deleted: true }, false, { ready: false, serving: true, terminating: true }],
  [
    'a pod that goes',
    { deleted: true, ready: false },
    false,
    { ready: false, serving: false, terminating: true },
  ],
  ['a pod not ready, published', { ready: false }, true, { ready: true, serving: false, terminating: false }],
] as const) {
  test(`conditions of ${what}`, () => {
    const service = { ...SERVICE, spec: { ...SERVICE.spec, publishNotReadyAddresses: publish } }
    assert.deepEqual(slices([service], [pod('p', 1, rest)])[0]?.endpoints?.[0]?.conditions, conditions)
  })
}

test('pods that are done, without an address or of another namespace are no endpoints', () => {
  const done: Pod = { ...pod('p1', 1), status: { ...pod('p1', 1).status, phase: 'Succeeded' } }
  const bare: Pod = { ...pod('p2', 2), status: { phase: 'Pending' } }
  const p3 = pod('p3', 3)
  const elsewhere: Pod = { ...p3, metadata: { ...p3.metadata, namespace: 'other' } }
  const [four] = slices([SERVICE], [done, bare, elsewhere])
  assert.deepEqual(four?.endpoints, [])
  assert.deepEqual(four?.ports, [])
})

test('pods that give the port another number have a slice of their own, and so does each hundred', () => {
  assert.equal(slices([SERVICE], [pod('p1', 1), pod('p2', 2, { port: 9090 })]).length, 4)
  const many = Array.from({ length: 150 }, (_, i) => pod(`p${i}`, i + 1))
  assert.deepEqual(
    slices([SERVICE], many).map(slice => slice.endpoints?.length),
    [100, 50, 100, 50],
  )
})

test('what is as wanted is left alone; what is not is patched or deleted', () => {
  const services = [SERVICE]
  const pods = [pod('p1', 1)]
  const existing = slices(services, pods)
  const plan = (now: { services?: Service[]; pods?: Pod[] }) =>
    planEndpointSlices({ services, pods, nodes: NODES, slices: existing, ...now }).map(({ type }) => type)
  assert.deepEqual(plan({}), [])
  assert.deepEqual(plan({ pods: [pod('p1', 1, { ready: false })] }), ['patch', 'patch'])
  assert.deepEqual(plan({ services: [] }), ['delete', 'delete'])
  assert.deepEqual(plan({ services: [{ ...SERVICE, spec: { ...SERVICE.spec, ipFamilies: ['IPv4'] } }] }), [
    'delete',
  ])
})

test('Services without selector and slices of others are not touched', () => {
  const { selector: _, ...spec } = SERVICE.spec
  const manual: EndpointSlice = {
    metadata: { name: 'web-manual', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [],
    ports: [],
  }
  assert.deepEqual(
    planEndpointSlices({
      services: [{ ...SERVICE, spec }],
      pods: [pod('p1', 1)],
      nodes: NODES,
      slices: [manual, ...slices([SERVICE], [])],
    }),
    [],
  )
})
