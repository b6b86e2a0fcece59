import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { plan as allocate } from '../allocator/allocator.ts'
import { poolObjects, serviceObject } from '../allocator/fixtures.ts'
import { endpointNodes, endpointsFromSlice } from '../config/endpointslice.ts'
import { serviceFromObject } from '../config/services.ts'
import { advertisementsOfPool, elect } from '../layer2/election.ts'
import { Layer2Planner } from '../layer2/plan.ts'
import type { KubeObject } from '../ports/kube.ts'
import { planCluster, settledFacts } from './cluster-plan.ts'
import { difference, settled } from './difference.ts'
import { planToJson } from './json.ts'
import { applyChange } from './objects.ts'
import { DEFAULT_FLAGS, snapshotOf } from './snapshot.ts'

type Fields = Readonly<Record<string, unknown>>

const service = (name: string, options: Parameters<typeof serviceObject>[1] = {}) =>
  serviceObject(name, options)
const metallb = (kind: string, name: string, spec: Fields): KubeObject => ({
  apiVersion: 'metallb.io/v1beta1',
  kind,
  metadata: { name, namespace: 'metallb-system' },
  spec,
})
const advertisement = (name: string, spec: Fields = {}) => metallb('L2Advertisement', name, spec)
const node = (name: string, labels: Readonly<Record<string, string>> = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels: { name, ...labels } },
})
const slice = (of: string, nodes: readonly string[], namespace = 'default'): KubeObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: `${of}-1`, namespace, labels: { 'kubernetes.io/service-name': of } },
  addressType: 'IPv4',
  endpoints: nodes.map(nodeName => ({ addresses: ['10.244.0.2'], nodeName })),
})

const POOL = poolObjects({ lan: { addresses: ['192.0.2.100-192.0.2.109'] } })
const NODES = ['node1', 'node2', 'node3'].map(name => node(name))
const CLUSTER = [...POOL, advertisement('lan'), ...NODES]
const planOf = (objects: readonly KubeObject[], flags = DEFAULT_FLAGS) =>
  planCluster(snapshotOf(objects, flags))
const ipsOf = (objects: readonly KubeObject[]) =>
  Object.fromEntries(planOf(objects).allocations.map(({ service: key, ips }) => [key, ips.join()]))

test('those that hold an address come first, then the older ones, then the order of the objects', () => {
  assert.deepEqual(
    ipsOf([
      ...CLUSTER,
      service('young', { created: 9 }),
      service('same-age-first', { created: 5 }),
      service('a-same-age-second', { created: 5 }),
      service('old', { created: 1 }),
      service('holder', { created: 20, status: ['192.0.2.100'] }),
    ]),
    {
      'default/holder': '192.0.2.100',
      'default/old': '192.0.2.101',
      'default/same-age-first': '192.0.2.102',
      'default/a-same-age-second': '192.0.2.103',
      'default/young': '192.0.2.104',
    },
  )
})

test('the shape of the plan is the one that is promised', () => {
  const json = planToJson(
    planOf(
      [
        ...CLUSTER,
        metallb('BGPAdvertisement', 'lan', {
          communities: ['64500:1'],
          nodeSelectors: [{ matchLabels: { name: 'node1' } }],
        }),
        metallb('BGPPeer', 'router', { myASN: 64500, peerASN: 64501, peerAddress: '192.0.2.1' }),
        service('web', { created: 1 }),
        slice('web', ['node1']),
        service('pending', { annotations: { 'address-pool': 'missing' }, status: ['192.0.2.107'] }),
      ],
      { ...DEFAULT_FLAGS, down: new Set(['node3']) },
    ),
  )
  const [pending] = json.allocations
  assert.deepEqual(json, {
    allocations: [
      {
        service: 'default/pending',
        ips: [],
        pool: null,
        pending: { code: 'poolUnknown', message: pending?.pending?.message },
        cleared: ['192.0.2.107'],
      },
      { service: 'default/web', ips: ['192.0.2.100'], pool: 'lan', pending: null, cleared: [] },
    ],
    layer2: [
      {
        service: 'default/pending',
        ips: [],
        owner: null,
        interfaces: [],
        reason: 'noIPAllocated',
        candidates: ['node1', 'node2', 'node3'].map(name => ({
          node: name,
          eligible: false,
          rank: null,
          score: 0,
          reason: 'noIPAllocated',
        })),
      },
      {
        service: 'default/web',
        ips: ['192.0.2.100'],
        owner: 'node1',
        interfaces: 'all',
        reason: null,
        candidates: [
          { node: 'node1', eligible: true, rank: 0, score: 0, reason: null },
          { node: 'node2', eligible: true, rank: 1, score: 0, reason: null },
          { node: 'node3', eligible: false, rank: null, score: 0, reason: 'notAlive' },
        ],
      },
    ],
    bgp: [
      {
        node: 'node1',
        peer: 'router',
        routes: [
          {
            prefix: '192.0.2.100/32',
            communities: ['64500:1'],
            localPref: null,
            services: ['default/web'],
          },
        ],
      },
      { node: 'node2', peer: 'router', routes: [] },
    ],
    bgpNotAnnounced: [
      { service: 'default/web', node: 'node2', reason: 'notOwner' },
      { service: 'default/web', node: 'node3', reason: 'notAlive' },
    ],
  })
})

test('Services of another class are not in the plan, and one that is no longer ours gives its addresses back', () => {
  const objects = [
    ...CLUSTER,
    service('classy', { spec: { loadBalancerClass: 'other' } }),
    service('internal', { status: ['192.0.2.100'], spec: { type: 'ClusterIP' } }),
  ]
  const plan = planOf(objects)
  assert.deepEqual(
    plan.allocations.map(({ service: key, cleared }) => [key, cleared]),
    [['default/internal', ['192.0.2.100']]],
  )
  assert.deepEqual(plan.services, [])
  const other = planOf(objects, { ...DEFAULT_FLAGS, lbClass: 'other' })
  assert.deepEqual(
    other.services.map(({ service: { key }, decision: { ips } }) => [key, ips]),
    [['default/classy', ['192.0.2.100']]],
  )
})

test('a refused configuration decides nothing, or leaves the decisions to the one before', () => {
  const broken = poolObjects({ lan: { addresses: ['nonsense'] } })
  const objects = [service('web'), slice('web', ['node1']), ...NODES, advertisement('lan')]
  const refused = planOf([...broken, ...objects])
  assert.equal(refused.refused, true)
  const { problems, ...rest } = planToJson(refused)
  assert.deepEqual(rest, { allocations: [], layer2: [], bgp: [], bgpNotAnnounced: [] })
  assert.deepEqual(
    problems?.map(({ code, severity, object }) => [code, severity, object.name]),
    [['address-invalid', 'error', 'lan']],
  )
  const before = planOf([...POOL, ...objects])
  const after = planCluster(snapshotOf([...broken, ...objects]), before.config)
  assert.equal(after.refused, true)
  assert.deepEqual(
    after.services.map(({ decision: { ips } }) => ips),
    [['192.0.2.100']],
  )
})

const labels = fc.constantFrom<Readonly<Record<string, string>>>({}, { app: 'x' }, { app: 'y' })
const selectors = fc.constantFrom<readonly Fields[]>([], [{ matchLabels: { app: 'x' } }])
const cluster = fc
  .record(
    {
      nodes: fc.subarray(['n1', 'n2', 'n3', 'n4'], { minLength: 1 }),
      excluded: fc.subarray(['n1', 'n2', 'n3', 'n4'], { maxLength: 2 }),
      down: fc.subarray(['n1', 'n2', 'n3', 'n4'], { maxLength: 2 }),
      pools: fc.constantFrom(
        { lan: { addresses: ['192.0.2.0/30'] } },
        { lan: { addresses: ['192.0.2.0/31'] }, dual: { addresses: ['198.51.100.0/31', '2001:db8::/127'] } },
      ),
      advertisements: fc.array(
        fc.record(
          {
            ipAddressPools: fc.constantFrom([], ['lan']),
            serviceSelectors: selectors,
            nodeSelectors: fc
              .subarray(['n1', 'n2', 'n3'])
              .map(each => each.map(name => ({ matchLabels: { name } }))),
          },
          { noNullPrototype: true },
        ),
        { maxLength: 2 },
      ),
      bgp: fc.array(
        fc.record(
          { serviceSelectors: selectors, localPref: fc.constantFrom(0, 100) },
          { noNullPrototype: true },
        ),
        { maxLength: 2 },
      ),
      services: fc.uniqueArray(
        fc.record(
          {
            name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
            namespace: fc.constantFrom('default', 'shop'),
            dual: fc.boolean(),
            local: fc.boolean(),
            labels,
            sharing: fc.constantFrom('', 'key'),
            port: fc.constantFrom('TCP/80', 'TCP/81'),
            status: fc.constantFrom([], [], ['192.0.2.1'], ['198.51.100.1', '2001:db8::1'], ['203.0.113.1']),
            endpoints: fc.subarray(['n1', 'n2', 'n3']),
          },
          { noNullPrototype: true },
        ),
        { selector: ({ namespace, name }) => `${namespace}/${name}`, maxLength: 8 },
      ),
    },
    { noNullPrototype: true },
  )
  .map(({ nodes, excluded, down, pools, advertisements, bgp, services }) => ({
    down: new Set(down),
    objects: [
      ...poolObjects(pools),
      ...advertisements.map((spec, index) => advertisement(`l2-${index}`, spec)),
      // With selectors, or conflicts between them would refuse the whole.
      ...bgp.map((spec, index) =>
        metallb('BGPAdvertisement', `bgp-${index}`, {
          ...spec,
          communities: [`64500:${index}`],
          serviceSelectors: spec.serviceSelectors.length > 0 ? spec.serviceSelectors : [{}],
        }),
      ),
      metallb('BGPPeer', 'router', { myASN: 64500, peerASN: 64500, peerAddress: '192.0.2.200' }),
      ...nodes.map(name =>
        node(
          name,
          excluded.includes(name) ? { 'node.kubernetes.io/exclude-from-external-load-balancers': '' } : {},
        ),
      ),
      ...services.flatMap((each, index) => [
        service(each.name, {
          namespace: each.namespace,
          created: index,
          labels: each.labels,
          ports: [each.port],
          annotations: each.sharing === '' ? {} : { 'allow-shared-ip': each.sharing },
          clusterIPs: each.dual ? ['10.96.0.1', 'fd00::1'] : ['10.96.0.1'],
          policy: each.dual ? 'PreferDualStack' : 'SingleStack',
          status: each.status,
          spec: { externalTrafficPolicy: each.local ? 'Local' : 'Cluster' },
        }),
        slice(each.name, each.endpoints, each.namespace),
      ]),
    ],
  }))

test('property: the plan is what the allocator and the election answer', () => {
  fc.assert(
    fc.property(cluster, ({ objects, down }) => {
      const plan = planOf(objects, { ...DEFAULT_FLAGS, down })
      const { config } = plan
      assert.ok(config !== undefined, JSON.stringify(plan.problems))
      const facts = objects.filter(({ kind }) => kind === 'Service').map(serviceFromObject)
      const decisions = allocate(config, facts)
      const plain = (each: (typeof decisions)[number]) => [
        each.service,
        each.ips,
        each.pool,
        each.pending,
        each.cleared,
      ]
      assert.deepEqual(
        new Map(plan.allocations.map(each => [each.service, plain(each)])),
        new Map(decisions.map(each => [each.service, plain(each)])),
      )
      const slices = objects.filter(({ kind }) => kind === 'EndpointSlice').map(endpointsFromSlice)
      const speaker = new Layer2Planner({
        config,
        nodes: plan.nodes,
        self: 'n1',
        loadBalancerClass: undefined,
        ignoreExcludeLabel: false,
      })
      for (const { service: key, ips, pool } of decisions) {
        const planned = plan.services.find(each => each.service.key === key)
        const decision = decisions.find(each => each.service === key)
        const own = facts.find(each => each.key === key)
        assert.ok(planned !== undefined && own !== undefined && decision !== undefined)
        assert.deepEqual(
          planned.election,
          elect({
            service: settledFacts(own, decision),
            ips,
            advertisements: pool === null ? [] : advertisementsOfPool(config, pool),
            nodes: plan.nodes,
            endpoints: endpointNodes(slices.filter(({ serviceKey }) => serviceKey === key)),
            alive: new Set([...plan.nodes.keys()].filter(name => !down.has(name))),
          }),
        )
        // The speaker of any node ranks the candidates alike, the dead ones not yet left out.
        const ranked = speaker.assign(
          planned.service,
          slices.filter(({ serviceKey }) => serviceKey === key),
        )
        assert.deepEqual(
          ranked.candidates.filter(name => !down.has(name)),
          planned.election.candidates.filter(({ eligible }) => eligible).map(each => each.node),
        )
        // Whoever has an address is announced by each living node, or there is a reason.
        for (const [name, { reason }] of planned.bgp) {
          const told = plan.sessions.some(
            session => session.node === name && session.routes.some(({ services }) => services.includes(key)),
          )
          assert.equal(told, reason === null)
        }
      }
    }),
    { numRuns: 60 },
  )
})

test('property: the order of the objects changes nothing, as long as the Services have their ages', () => {
  fc.assert(
    fc.property(
      cluster.chain(({ objects, down }) =>
        fc.tuple(
          fc.constant({ objects, down }),
          fc.shuffledSubarray([...objects], { minLength: objects.length }),
        ),
      ),
      ([{ objects, down }, shuffled]) => {
        const flags = { ...DEFAULT_FLAGS, down }
        assert.deepEqual(planToJson(planOf(shuffled, flags)), planToJson(planOf(objects, flags)))
      },
    ),
  )
})

test('property: what a plan leaves behind needs no other plan', () => {
  fc.assert(
    fc.property(cluster, ({ objects, down }) => {
      const flags = { ...DEFAULT_FLAGS, down }
      const before = planOf(objects, flags)
      const after = planOf(settled(objects, before), flags)
      const { problems: _, ...change } = difference(before, after)
      assert.deepEqual(change, { allocations: [], layer2: [], bgp: [] })
      assert.ok(after.allocations.every(({ write, cleared }) => !write && cleared.length === 0))
    }),
    { numRuns: 60 },
  )
})

test('property: a new Service moves nobody', () => {
  fc.assert(
    fc.property(cluster, ({ objects, down }) => {
      const flags = { ...DEFAULT_FLAGS, down }
      const before = planOf(objects, flags)
      // Older than all others, and it asks for what may be theirs.
      const added = service('new', { created: -5, annotations: { loadBalancerIPs: '192.0.2.1' } })
      const { objects: next } = applyChange(settled(objects, before), [added])
      const change = difference(before, planOf(next, flags))
      assert.deepEqual(
        change.allocations.map(each => each.service),
        ['default/new'],
      )
      assert.ok(change.layer2.every(each => each.service === 'default/new'))
    }),
    { numRuns: 60 },
  )
})

const changed = (objects: readonly KubeObject[], change: readonly KubeObject[]) => {
  const before = planOf(objects)
  const after = planCluster(snapshotOf(applyChange(settled(objects, before), change).objects), before.config)
  return difference(before, after)
}
const removed = (object: KubeObject): KubeObject => ({
  ...object,
  metadata: { ...object.metadata, annotations: { 'lodestone.dev/delete': 'true' } },
})

test('a pool that shrinks moves those whose address is gone, and nobody else', () => {
  const objects = [
    ...CLUSTER,
    ...['a', 'b'].flatMap((name, created) => [service(name, { created }), slice(name, ['node1'])]),
  ]
  const change = changed(objects, poolObjects({ lan: { addresses: ['192.0.2.101-192.0.2.109'] } }))
  assert.deepEqual(
    change.allocations.map(({ service: key, before, after, reason: { code } }) => [key, before, after, code]),
    [['default/a', ['192.0.2.100'], ['192.0.2.102'], 'reassigned']],
  )
  assert.match(
    change.allocations[0]?.reason.message ?? '',
    /192\.0\.2\.100 cannot be kept: .*192\.0\.2\.102 assigned/,
  )
})

const WEB = [service('web'), slice('web', ['node1', 'node2', 'node3'])]
for (const [name, change, wanted] of [
  ['the Node of the owner goes', [removed(node('node1'))], ['node1', 'node3', 'nodeRemoved']],
  [
    'the owner gets the exclude label',
    [node('node1', { 'node.kubernetes.io/exclude-from-external-load-balancers': '' })],
    ['node1', 'node3', 'excludedByLabel'],
  ],
  [
    'another node is preferred',
    [
      advertisement('lan', {
        preferredNodeSelectors: [{ weight: 1, preference: { matchLabels: { name: 'node3' } } }],
      }),
    ],
    ['node1', 'node3', 'higherScore'],
  ],
  ['a node comes that sorts before', [node('node-first3')], ['node1', 'node-first3', 'digestOrder']],
  [
    'it asks for another address',
    [service('web', { annotations: { loadBalancerIPs: '192.0.2.103' } })],
    ['node1', 'node2', 'addressChanged'],
  ],
  ['the advertisement goes', [removed(advertisement('lan'))], ['node1', null, 'noMatchingAdvertisement']],
  ['its endpoints go', [removed(slice('web', []))], ['node1', null, 'noEndpoints']],
  ['the Service goes', [removed(service('web'))], ['node1', null, 'serviceRemoved']],
] as const) {
  test(`an owner changes for a reason: ${name}`, () => {
    const { layer2 } = changed([...CLUSTER, ...WEB], change)
    assert.deepEqual(
      layer2.map(({ before, after, reason }) => [before, after, reason]),
      [wanted],
    )
  })
}

test('routes are added, withdrawn and changed', () => {
  const bgp = (spec: Fields) => metallb('BGPAdvertisement', 'lan', spec)
  const router = metallb('BGPPeer', 'router', { myASN: 64500, peerASN: 64500, peerAddress: '192.0.2.1' })
  const objects = [...POOL, node('node1'), bgp({}), router, ...WEB]
  assert.deepEqual(changed(objects, [bgp({ communities: ['64500:1'] })]).bgp, [
    { node: 'node1', peer: 'router', added: [], removed: [], changed: ['192.0.2.100/32'] },
  ])
  assert.deepEqual(changed(objects, [bgp({ aggregationLength: 31 })]).bgp, [
    { node: 'node1', peer: 'router', added: ['192.0.2.100/31'], removed: ['192.0.2.100/32'], changed: [] },
  ])
  assert.deepEqual(changed(objects, [node('node2')]).bgp, [
    { node: 'node2', peer: 'router', added: ['192.0.2.100/32'], removed: [], changed: [] },
  ])
  assert.deepEqual(changed(objects, [removed(router)]).bgp, [
    { node: 'node1', peer: 'router', added: [], removed: ['192.0.2.100/32'], changed: [] },
  ])
})
