import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { FakeLog } from '../../../ports/log.ts'
import { type Cluster, makeCluster } from '../cluster.ts'
import { type ApiObject, at, clone } from '../objects.ts'
import { mergePatch } from '../patch.ts'
import type { ResourceType } from '../resource-type.ts'
import type { WriteOptions } from '../writer.ts'
import { externalAddress } from './service.ts'

const OPTIONS: WriteOptions = {
  dryRun: false,
  fieldManager: 'test',
  fieldValidation: 'Strict',
  user: 'test',
  warnings: [],
}

type Services = {
  cluster: Cluster
  type: ResourceType
  create: (name: string, spec: object) => ApiObject
  patch: (name: string, spec: object) => ApiObject
  patchStatus: (name: string, patch: object) => ApiObject
  remove: (name: string) => void
}

function setUp(serviceCidrs: readonly string[] = ['10.96.0.0/24', 'fd00:10:96::/112']): Services {
  const cluster = makeCluster({
    serviceCidrs,
    wallNow: () => Date.UTC(2026, 0, 1),
    log: new FakeLog(),
    watchWindow: 100,
  })
  const type = cluster.registry.find('', 'v1', 'services')
  assert.ok(type)
  const update = (name: string, patch: object, subresource: '' | 'status'): ApiObject => {
    const live = cluster.writer.live(type, 'default', name).object
    return cluster.writer.update(type, 'default', name, clone(mergePatch(live, patch)), subresource, OPTIONS)
      .object
  }
  return {
    cluster,
    type,
    create: (name, spec) =>
      cluster.writer.create(type, 'default', { metadata: { name }, spec: clone(spec) }, OPTIONS).object,
    patch: (name, spec) => update(name, { spec }, ''),
    patchStatus: (name, patch) => update(name, patch, 'status'),
    remove: name => {
      cluster.writer.delete(type, 'default', name, {
        propagationPolicy: 'Background',
        gracePeriodSeconds: undefined,
        preconditions: {},
        dryRun: false,
      })
    },
  }
}
const PORTS = [{ port: 80 }]
const spec = (service: ApiObject, ...path: (string | number)[]): unknown => at(service, 'spec', ...path)

test('defaults of a ClusterIP Service', () => {
  const { create } = setUp()
  assert.deepEqual(create('a', { ports: PORTS, selector: { app: 'a' } }).spec, {
    type: 'ClusterIP',
    ports: [{ port: 80, protocol: 'TCP', targetPort: 80 }],
    selector: { app: 'a' },
    sessionAffinity: 'None',
    internalTrafficPolicy: 'Cluster',
    ipFamilyPolicy: 'SingleStack',
    ipFamilies: ['IPv4'],
    clusterIP: '10.96.0.16',
    clusterIPs: ['10.96.0.16'],
  })
})

test('a LoadBalancer gets node ports, and under Local a health check port', () => {
  const { create, patch } = setUp()
  const service = create('a', { type: 'LoadBalancer', ports: PORTS, externalTrafficPolicy: 'Local' })
  assert.equal(spec(service, 'ports', 0, 'nodePort'), 30000)
  assert.equal(spec(service, 'healthCheckNodePort'), 30001)
  assert.equal(spec(service, 'allocateLoadBalancerNodePorts'), true)
  const cluster = patch('a', { externalTrafficPolicy: 'Cluster' })
  assert.equal(spec(cluster, 'healthCheckNodePort'), undefined)
  const bare = create('b', { type: 'LoadBalancer', ports: PORTS, allocateLoadBalancerNodePorts: false })
  assert.equal(spec(bare, 'ports', 0, 'nodePort'), undefined)
})

test('families: preferred and required dual stack, IPv6 alone, and back to one', () => {
  const { create, patch } = setUp()
  const dual = create('a', { ports: PORTS, ipFamilyPolicy: 'PreferDualStack' })
  assert.deepEqual(spec(dual, 'ipFamilies'), ['IPv4', 'IPv6'])
  assert.deepEqual(spec(dual, 'clusterIPs'), ['10.96.0.16', 'fd00:10:96::10'])
  const six = create('b', { ports: PORTS, ipFamilies: ['IPv6'] })
  assert.deepEqual(spec(six, 'clusterIPs'), ['fd00:10:96::11'])
  assert.equal(spec(six, 'ipFamilyPolicy'), 'SingleStack')
  const both = create('c', { ports: PORTS, ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv6', 'IPv4'] })
  assert.equal(spec(both, 'clusterIP'), 'fd00:10:96::12')
  const widened = patch('b', { ipFamilyPolicy: 'PreferDualStack' })
  assert.deepEqual(spec(widened, 'ipFamilies'), ['IPv6', 'IPv4'])
  const one = patch('a', { ipFamilyPolicy: 'SingleStack' })
  assert.deepEqual(spec(one, 'clusterIPs'), ['10.96.0.16'])
  assert.deepEqual(
    spec(create('d', { ports: PORTS, clusterIP: 'fd00:10:96::10' }), 'ipFamilies'),
    ['IPv6'],
    'freed',
  )
})

test('a cluster of one family prefers two in vain and refuses to require them', () => {
  const { create } = setUp(['10.96.0.0/24'])
  assert.deepEqual(spec(create('a', { ports: PORTS, ipFamilyPolicy: 'PreferDualStack' }), 'ipFamilies'), [
    'IPv4',
  ])
  assert.throws(() => create('b', { ports: PORTS, ipFamilyPolicy: 'RequireDualStack' }), { code: 422 })
  assert.throws(() => create('c', { ports: PORTS, ipFamilies: ['IPv6'] }), { code: 422 })
})

test('a change of type gives back what the new type has no use for', () => {
  const { create, patch, patchStatus } = setUp()
  create('a', {
    type: 'LoadBalancer',
    ports: PORTS,
    externalTrafficPolicy: 'Local',
    loadBalancerClass: 'x.dev/y',
  })
  patchStatus('a', { status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } } })
  const plain = patch('a', { type: 'ClusterIP' })
  for (const field of [
    'externalTrafficPolicy',
    'healthCheckNodePort',
    'allocateLoadBalancerNodePorts',
    'loadBalancerClass',
  ]) {
    assert.equal(spec(plain, field), undefined, field)
  }
  assert.deepEqual(spec(plain, 'ports'), [{ port: 80, protocol: 'TCP', targetPort: 80 }])
  assert.deepEqual(plain.status, { loadBalancer: {} })
  assert.equal(spec(plain, 'clusterIP'), '10.96.0.16')
  const name = patch('a', {
    type: 'ExternalName',
    externalName: 'example.com',
    clusterIP: null,
    clusterIPs: null,
  })
  assert.equal(spec(name, 'clusterIP'), undefined)
  assert.equal(spec(create('b', { ports: PORTS, clusterIP: '10.96.0.16' }), 'clusterIP'), '10.96.0.16')
})

for (const [why, body, field] of [
  ['no port', { ports: [] }, 'spec.ports'],
  ['two ports without names', { ports: [{ port: 80 }, { port: 81 }] }, 'spec.ports[0].name'],
  [
    'the same port twice',
    {
      ports: [
        { name: 'a', port: 80 },
        { name: 'b', port: 80 },
      ],
    },
    'spec.ports[1]',
  ],
  [
    'a node port of another range',
    { type: 'NodePort', ports: [{ port: 80, nodePort: 80 }] },
    'spec.ports[0].nodePort',
  ],
  ['a node port on a ClusterIP', { ports: [{ port: 80, nodePort: 30000 }] }, 'spec.ports[0].nodePort'],
  ['an address of another range', { ports: PORTS, clusterIP: '10.1.1.1' }, 'spec.clusterIPs'],
  ['a taken address', { ports: PORTS, clusterIP: '10.96.0.1' }, 'spec.clusterIPs'],
  ['no address', { ports: PORTS, clusterIP: 'x' }, 'spec.clusterIPs[0]'],
  [
    'a headless LoadBalancer',
    { type: 'LoadBalancer', ports: PORTS, clusterIP: 'None' },
    'spec.clusterIPs[0]',
  ],
  ['an unknown type', { type: 'Magic', ports: PORTS }, 'spec.type'],
  [
    'a traffic policy nobody uses',
    { ports: PORTS, externalTrafficPolicy: 'Local' },
    'spec.externalTrafficPolicy',
  ],
  ['a class without a load balancer', { ports: PORTS, loadBalancerClass: 'x' }, 'spec.loadBalancerClass'],
] as const) {
  test(`refuses ${why}`, () => {
    assert.throws(
      () => setUp().create('a', body),
      (error: { code: number; details: { causes: { field: string }[] } }) =>
        error.code === 422 && error.details.causes.some(cause => cause.field === field),
    )
  })
}

test('the cluster IP does not change once set; an update without it keeps it', () => {
  const { create, cluster, type, patch } = setUp()
  create('a', { ports: PORTS })
  assert.throws(() => patch('a', { clusterIP: '10.96.0.200', clusterIPs: ['10.96.0.200'] }), { code: 422 })
  const body = { metadata: { name: 'a' }, spec: { ports: [{ port: 81 }] } }
  const { object } = cluster.writer.update(type, 'default', 'a', body, '', OPTIONS)
  assert.equal(spec(object, 'clusterIP'), '10.96.0.16')
})

test('status: only through its subresource, which may also change labels but not the spec', () => {
  const { create, patchStatus, cluster, type } = setUp()
  const made = create('a', { type: 'LoadBalancer', ports: PORTS })
  assert.equal(externalAddress(made), '<pending>')
  const ingress = [{ ip: '192.0.2.1' }, { hostname: 'lb.example.com' }]
  const after = patchStatus('a', {
    metadata: { annotations: { note: 'kept' } },
    spec: { sessionAffinity: 'ClientIP' },
    status: { loadBalancer: { ingress } },
  })
  assert.equal(externalAddress(after), '192.0.2.1,lb.example.com')
  assert.equal(after.metadata.annotations?.['note'], 'kept')
  assert.equal(spec(after, 'sessionAffinity'), 'None')
  const main = clone(after)
  main.status = {}
  assert.equal(
    externalAddress(cluster.writer.update(type, 'default', 'a', main, '', OPTIONS).object),
    '192.0.2.1,lb.example.com',
  )
  assert.throws(() => patchStatus('a', { status: { loadBalancer: { ingress: [{ ip: 'x' }] } } }), {
    code: 422,
  })
})

test('a failed create takes nothing; the pool runs dry and recovers', () => {
  const { create, remove } = setUp(['10.96.0.0/29'])
  assert.throws(() => create('bad', { type: 'NodePort', ports: [{ port: 80, nodePort: 1 }] }))
  for (let i = 0; i < 5; i++) create(`s${i}`, { ports: PORTS })
  assert.throws(() => create('s5', { ports: PORTS }), { code: 500 })
  remove('s3')
  create('s5', { ports: PORTS })
})

test('whatever comes and goes, no address and no node port is given twice', () => {
  const actions = fc.array(
    fc.record(
      {
        name: fc.integer({ min: 0, max: 5 }),
        type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer', 'delete'),
        policy: fc.constantFrom('SingleStack', 'PreferDualStack'),
        traffic: fc.constantFrom('Cluster', 'Local'),
        ports: fc.integer({ min: 1, max: 3 }),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 30 },
  )
  fc.assert(
    fc.property(actions, steps => {
      const { cluster, type, create, patch, remove } = setUp()
      const collection = cluster.store.collection(type.storageKey)
      for (const step of steps) {
        const name = `s${step.name}`
        const exists = collection.get(`default/${name}`) !== undefined
        if (step.type === 'delete') {
          if (exists) remove(name)
        } else {
          const wanted = {
            type: step.type,
            ipFamilyPolicy: step.policy,
            ports: Array.from({ length: step.ports }, (_, i) => ({ name: `p${i}`, port: 80 + i })),
            ...(step.type === 'ClusterIP' ? {} : { externalTrafficPolicy: step.traffic }),
          }
          if (exists) patch(name, wanted)
          else create(name, wanted)
        }
        const taken: unknown[] = []
        for (const { object } of collection.all()) {
          taken.push(...((spec(object, 'clusterIPs') ?? []) as string[]))
          const numbers = ((spec(object, 'ports') ?? []) as { nodePort?: number }[]).map(p => p.nodePort)
          taken.push(...[...numbers, spec(object, 'healthCheckNodePort')].filter(p => p !== undefined))
        }
        assert.equal(new Set(taken).size, taken.length, JSON.stringify(taken))
      }
    }),
    { numRuns: 50 },
  )
})
