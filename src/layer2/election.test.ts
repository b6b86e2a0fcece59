import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, parseIp } from '../addr/ip.ts'
import { type Prefix, parsePrefix } from '../addr/prefix.ts'
import type { EndpointNodes } from '../config/endpointslice.ts'
import type { L2Advertisement } from '../config/model.ts'
import { EXCLUDE_LABEL, type NodeFacts } from '../config/nodes.ts'
import { type LabelSelector, parseLabelSelector } from '../config/selectors.ts'
import { serviceFromObject } from '../config/services.ts'
import { DigestOrder, digestOrder, nodeDigest } from './digest-order.ts'
import { type ElectionInput, elect, interfacesFor, LODESTONE_RULES, rankCandidates } from './election.ts'
import { SpeakerNetworks } from './networks.ts'

const ip = (text: string) => parseIp(text) as Ip
const selector = (matchLabels: Record<string, string>) => parseLabelSelector({ matchLabels }) as LabelSelector

function node(name: string, facts: Partial<NodeFacts> = {}): NodeFacts {
  return {
    name,
    labels: {},
    internalIps: [],
    networkUnavailable: false,
    ready: true,
    unschedulable: false,
    outOfService: false,
    ...facts,
  }
}

function advertisement(nodes: readonly string[], rest: Partial<L2Advertisement> = {}): L2Advertisement {
  return {
    name: 'ad',
    pools: new Set(['lan']),
    nodes: new Set(nodes),
    interfaces: 'all',
    serviceSelectors: [],
    scores: new Map(),
    ...rest,
  }
}

function service(spec: Record<string, unknown> = {}, metadata: Record<string, unknown> = {}) {
  return serviceFromObject({
    metadata: { name: 'web', namespace: 'default', ...metadata },
    spec: { type: 'LoadBalancer', ...spec },
  })
}

const EVERYWHERE = (...nodes: string[]): EndpointNodes => ({ any: true, nodes: new Set(nodes) })
const ABC = ['node-a', 'node-b', 'node-c']

function input(overrides: Partial<ElectionInput> = {}): ElectionInput & { alive: 'all' } {
  const facts = overrides.nodes ?? new Map(ABC.map(name => [name, node(name)]))
  return {
    service: service(),
    ips: [ip('10.0.0.1')],
    advertisements: [advertisement([...facts.keys()])],
    nodes: facts,
    endpoints: EVERYWHERE(),
    alive: 'all',
    ...overrides,
  }
}

const order = (one: ElectionInput & { alive: ReadonlySet<string> | 'all' }) =>
  elect(one)
    .candidates.filter(({ eligible }) => eligible)
    .map(({ node: name }) => name)
const reasonOf = (one: ElectionInput & { alive: ReadonlySet<string> | 'all' }, name: string) =>
  elect(one).candidates.find(candidate => candidate.node === name)?.reason

/** Computed with another SHA-256 (Python's hashlib) from MetalLB's rule; columns are groups of node names. */
const GROUPS = [
  { prefix: 'node-', names: 'abc' },
  { prefix: 'node', names: '123' },
  { prefix: 'iris', names: '12' },
  { prefix: 'worker-', names: 'ab' },
  { prefix: 'edge-', names: 'ab' },
]
const GOLDEN: Readonly<Record<string, readonly string[]>> = {
  '10.0.0.1': ['bac', '213', '12', 'ab', 'ab'],
  '10.0.0.2': ['bca', '231', '21', 'ba', 'ba'],
  '10.20.30.1': ['bca', '123', '21', 'ab', 'ba'],
  '10.20.30.2': ['cab', '231', '12', 'ba', 'ba'],
  '10.20.30.3': ['acb', '132', '12', 'ba', 'ba'],
  '10.20.30.4': ['cba', '213', '21', 'ba', 'ab'],
  '192.168.1.240': ['acb', '312', '12', 'ab', 'ab'],
  '192.168.1.241': ['cab', '132', '12', 'ab', 'ab'],
  '192.168.10.0': ['bac', '213', '21', 'ba', 'ab'],
  '1000::1': ['abc', '231', '12', 'ab', 'ab'],
  'fc00:f853:ccd:e799::': ['bca', '213', '21', 'ab', 'ba'],
}

test('L-7 digests are those of another implementation', () => {
  assert.equal(nodeDigest('node1', '192.168.1.240').slice(0, 16), 'bee60cd4c62ee63e')
  assert.equal(nodeDigest('node-b', '10.0.0.1').slice(0, 16), '2acae88581fd8b47')
})

for (const [address, columns] of Object.entries(GOLDEN)) {
  test(`L-7 golden orders for ${address}`, () => {
    for (const [index, { prefix, names }] of GROUPS.entries()) {
      const wanted = (columns[index] ?? '').split('').map(suffix => prefix + suffix)
      const nodes = names.split('').map(suffix => prefix + suffix)
      assert.equal(wanted.length, nodes.length)
      assert.deepEqual(digestOrder(address, nodes), wanted)
      const facts = new Map(nodes.map(name => [name, node(name)]))
      assert.deepEqual(order(input({ nodes: facts, ips: [ip(address)] })), wanted)
    }
  })
}

test('L-2 without a matching advertisement nobody announces', () => {
  const wanted = { owner: null, reason: 'noMatchingAdvertisement' }
  const none = elect(input({ advertisements: [] }))
  assert.deepEqual({ owner: none.owner, reason: none.reason }, wanted)
  const other = advertisement(ABC, { serviceSelectors: [selector({ app: 'db' })] })
  const unmatched = elect(input({ advertisements: [other] }))
  assert.deepEqual({ owner: unmatched.owner, reason: unmatched.reason }, wanted)
  const labelled = service({}, { labels: { app: 'db' } })
  assert.equal(elect(input({ advertisements: [other], service: labelled })).owner, 'node-b')
})

test('L-3 a shared address and an advertisement that selects Services exclude each other', () => {
  const shared = service({}, { labels: { app: 'db' }, annotations: { 'metallb.io/allow-shared-ip': 'key' } })
  const selecting = advertisement(ABC, { serviceSelectors: [selector({ app: 'db' })] })
  const advertisements = [selecting, advertisement(ABC, { name: 'other' })]
  const election = elect(input({ service: shared, advertisements }))
  assert.deepEqual([election.owner, election.reason], [null, 'sharedIPWithServiceSelector'])
  assert.ok(election.candidates.every(({ reason }) => reason === 'sharedIPWithServiceSelector'))
  // The selecting one does not match this Service, so it does not matter.
  const unlabelled = service({}, { annotations: { 'metallb.io/allow-shared-ip': 'key' } })
  assert.equal(elect(input({ service: unlabelled, advertisements })).owner, 'node-b')
})

test('S-8 the sharing annotation counts even when it is empty, under either prefix', () => {
  for (const prefix of ['metallb.io', 'metallb.universe.tf']) {
    const shared = service({}, { labels: { a: 'b' }, annotations: { [`${prefix}/allow-shared-ip`]: '' } })
    const advertisements = [advertisement(ABC, { serviceSelectors: [selector({ a: 'b' })] })]
    assert.equal(elect(input({ service: shared, advertisements })).reason, 'sharedIPWithServiceSelector')
  }
})

test('L-4 a node outside of every matching advertisement is refused by that name', () => {
  const advertisements = [advertisement(['node-a']), advertisement(['node-c'], { name: 'second' })]
  assert.deepEqual(order(input({ advertisements })), ['node-a', 'node-c'])
  assert.equal(reasonOf(input({ advertisements }), 'node-b'), 'noMatchingAdvertisement')
})

test('L-5 candidates are the nodes of any matching advertisement, the same for everybody', () => {
  const advertisements = [
    advertisement(['node-a']),
    advertisement(['node-b'], { name: 'unmatched', serviceSelectors: [selector({ app: 'db' })] }),
    advertisement(['node-c'], { name: 'third' }),
  ]
  assert.deepEqual(order(input({ advertisements })), ['node-a', 'node-c'])
})

test('L-5 dead, unreachable and excluded nodes are refused, each for its reason', () => {
  const nodes = new Map([
    ['node-a', node('node-a', { networkUnavailable: true })],
    ['node-b', node('node-b', { labels: { [EXCLUDE_LABEL]: '' } })],
    ['node-c', node('node-c')],
    ['node-d', node('node-d')],
  ])
  const one = { ...input({ nodes }), alive: new Set(['node-a', 'node-b', 'node-d']) }
  assert.deepEqual(
    ['node-a', 'node-b', 'node-c', 'node-d'].map(name => reasonOf(one, name)),
    ['networkUnavailable', 'excludedByLabel', 'notAlive', null],
  )
  assert.equal(elect(one).owner, 'node-d')
  assert.equal(reasonOf({ ...one, ignoreExcludeLabel: true }, 'node-b'), null)
})

test('L-5 a member without a Node object counts as available', () => {
  const advertisements = [advertisement(['node-x'])]
  assert.deepEqual(rankCandidates(input({ advertisements })), { nodes: ['node-x'], reason: null })
})

test('Q-9 neither Ready nor a cordon matters', () => {
  const nodes = new Map(ABC.map(name => [name, node(name, { ready: false, unschedulable: true })]))
  assert.deepEqual(order(input({ nodes })), ['node-b', 'node-a', 'node-c'])
})

for (const [what, facts] of [
  ['NotReady', { ready: false }],
  ['cordoned', { unschedulable: true }],
  ['out of service', { outOfService: true }],
] as const) {
  test(`with the health of nodes a node that is ${what} gives way, and still answers when no other can`, () => {
    const nodes = new Map(ABC.map(name => [name, node(name, name === 'node-b' ? facts : {})]))
    assert.deepEqual(order(input({ nodes, rules: LODESTONE_RULES })), ['node-a', 'node-c', 'node-b'])
    // A preference does not outweigh it.
    const advertisements = [advertisement(ABC, { scores: new Map([['node-b', 100]]) })]
    const preferred = input({ nodes, advertisements, rules: LODESTONE_RULES })
    assert.deepEqual(order(preferred), ['node-a', 'node-c', 'node-b'])
    const all = new Map(ABC.map(name => [name, node(name, facts)]))
    assert.deepEqual(order(input({ nodes: all, rules: LODESTONE_RULES })), ['node-b', 'node-a', 'node-c'])
  })
}

const link = (name: string, ...prefixes: string[]) => ({
  name,
  mac: undefined,
  prefixes: prefixes.map(text => parsePrefix(text) as Prefix),
})
const NETWORKS = new SpeakerNetworks([
  { node: 'node-a', links: [link('eth0', '10.0.0.0/24'), link('eth1', '172.16.0.0/24')] },
  { node: 'node-b', links: [link('eth1', '172.16.0.0/24')] },
  { node: 'node-c', links: [link('eth0', '10.0.0.0/24')] },
])

test('a node that has none of the interfaces is no candidate', () => {
  const advertisements = [advertisement(ABC, { interfaces: ['eth0', 'bond0'] })]
  const one = input({ advertisements, networks: NETWORKS })
  assert.deepEqual(order(one), ['node-a', 'node-c'])
  assert.equal(reasonOf(one, 'node-b'), 'noInterface')
  // Who told nothing may have it.
  const networks = new SpeakerNetworks([{ node: 'node-b', links: [] }])
  assert.deepEqual(order(input({ advertisements, networks })), ['node-a', 'node-c'])
})

test('where nodes are in the subnet of the address, those without are no candidates', () => {
  const one = input({ networks: NETWORKS, rules: LODESTONE_RULES })
  assert.deepEqual(order(one), ['node-a', 'node-c'])
  assert.equal(reasonOf(one, 'node-b'), 'notInSubnet')
  assert.equal(elect({ ...one, alive: 'all' }).owner, 'node-a')
  assert.deepEqual(order(input({ networks: NETWORKS })), ['node-b', 'node-a', 'node-c'])
})

test('an address that is in no subnet, or in that of nodes that may not announce it, leaves all as they are', () => {
  const routed = { ips: [ip('192.0.2.1')], networks: NETWORKS, rules: LODESTONE_RULES }
  assert.equal(order(input(routed)).length, 3)
  const advertisements = [advertisement(['node-b'])]
  assert.deepEqual(order(input({ advertisements, networks: NETWORKS, rules: LODESTONE_RULES })), ['node-b'])
})

test('L-6 under Local only nodes with an endpoint that can serve', () => {
  const local = service({ externalTrafficPolicy: 'Local' })
  const one = input({ service: local, endpoints: EVERYWHERE('node-a', 'node-c') })
  assert.deepEqual(order(one), ['node-a', 'node-c'])
  assert.equal(reasonOf(one, 'node-b'), 'noLocalEndpoints')
  // An endpoint without a node counts as one, but for no node.
  const homeless = elect(input({ service: local, endpoints: EVERYWHERE() }))
  assert.deepEqual([homeless.owner, homeless.reason], [null, 'noCandidates'])
})

test('E-2 without any endpoint that can serve nobody announces, under Cluster as well', () => {
  const endpoints = { any: false, nodes: new Set<string>() }
  for (const externalTrafficPolicy of ['Cluster', 'Local']) {
    const election = elect(input({ endpoints, service: service({ externalTrafficPolicy }) }))
    assert.deepEqual([election.owner, election.reason], [null, 'noEndpoints'])
  }
})

test('L-7 the preference score goes before the digest', () => {
  const nodes = new Map(['edge-a', 'edge-b', 'worker-a', 'worker-b'].map(name => [name, node(name)]))
  const all = [...nodes.keys()]
  const scored = (scores: [string, number][]) =>
    order(
      input({
        nodes,
        ips: [ip('10.20.30.1')],
        advertisements: [advertisement(all, { scores: new Map(scores) })],
      }),
    )
  assert.deepEqual(scored([['edge-a', 100]]), ['edge-a', 'edge-b', 'worker-a', 'worker-b'])
  assert.deepEqual(
    scored([
      ['edge-a', 100],
      ['edge-b', 100],
    ]).slice(0, 3),
    ['edge-b', 'edge-a', 'worker-a'],
  )
})

test('L-7 scores of several advertisements add up', () => {
  const advertisements = [
    advertisement(ABC, { scores: new Map([['node-a', 70]]) }),
    advertisement(ABC, {
      name: 'second',
      scores: new Map([
        ['node-a', 30],
        ['node-b', 50],
      ]),
    }),
  ]
  const { candidates } = elect(input({ advertisements }))
  assert.deepEqual(
    candidates.map(({ node: name, score, rank }) => [name, score, rank]),
    [
      ['node-a', 100, 0],
      ['node-b', 50, 1],
      ['node-c', 0, 2],
    ],
  )
})

test('L-7 the first status address decides for both families', () => {
  const ips = [ip('10.20.30.2'), ip('10.0.0.1')]
  assert.equal(elect(input({ ips })).owner, 'node-c')
  assert.equal(elect(input({ ips: ips.toReversed() })).owner, 'node-b')
})

test('L-8 results: an owner and no reason, or a reason and no owner', () => {
  assert.equal(elect(input({ ips: [] })).reason, 'noIPAllocated')
  const dead = elect({ ...input(), alive: new Set() })
  assert.deepEqual([dead.owner, dead.reason, dead.interfaces], [null, 'noCandidates', []])
  const elected = elect(input())
  assert.deepEqual([elected.owner, elected.reason, elected.interfaces], ['node-b', null, 'all'])
})

test('L-11 interfaces are those of the advertisements that include the node, and elect nobody', () => {
  const advertisements = [
    advertisement(['node-a', 'node-b'], { interfaces: ['eth1'] }),
    advertisement(['node-b'], { name: 'second', interfaces: ['eth0', 'eth1'] }),
    advertisement(['node-c'], { name: 'third' }),
  ]
  assert.deepEqual(interfacesFor(advertisements, 'node-a'), ['eth1'])
  assert.deepEqual(interfacesFor(advertisements, 'node-b'), ['eth0', 'eth1'])
  assert.equal(interfacesFor(advertisements, 'node-c'), 'all')
  const election = elect(input({ advertisements }))
  assert.deepEqual([election.owner, election.interfaces], ['node-b', ['eth0', 'eth1']])
})

const names = fc.uniqueArray(fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/), { minLength: 1, maxLength: 12 })
const address = fc
  .nat(0xffffffff)
  .map(n => ip([n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255].join('.')))

test('L-9 property: losing nodes never reorders the others, so the first living of the ranking is the owner', () => {
  const cases = fc
    .tuple(names, address)
    .chain(([all, one]) =>
      fc.tuple(
        fc.constant(all),
        fc.constant(one),
        fc.subarray(all),
        fc.array(fc.nat(2), { minLength: 12, maxLength: 12 }),
      ),
    )
  fc.assert(
    fc.property(cases, ([all, one, living, scores]) => {
      const nodes = new Map(all.map(name => [name, node(name)]))
      const weights = new Map(all.map((name, index) => [name, scores[index] ?? 0]))
      const facts = input({ nodes, ips: [one], advertisements: [advertisement(all, { scores: weights })] })
      const alive = new Set(living)
      const ranking = rankCandidates(facts)
      assert.deepEqual(new Set(ranking.nodes), new Set(all))
      assert.deepEqual(
        order({ ...facts, alive }),
        ranking.nodes.filter(name => alive.has(name)),
      )
      assert.equal(elect({ ...facts, alive }).owner, ranking.nodes.find(name => alive.has(name)) ?? null)
    }),
    { numRuns: 100 },
  )
})

test('property: a remembered order is the order of the rule, whatever was asked before', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(names, fc.nat(3)), { maxLength: 12 }), questions => {
      const remembered = new DigestOrder(2)
      for (const [nodes, which] of questions) {
        const one = `192.0.2.${which}`
        assert.deepEqual(remembered.sort(one, new Set(nodes)), digestOrder(one, nodes))
      }
    }),
    { numRuns: 100 },
  )
})

test('a newcomer among many is put in its place without sorting again', () => {
  const remembered = new DigestOrder()
  const many = Array.from({ length: 200 }, (_, index) => `node-${index}`)
  for (let size = 150; size <= 200; size++) {
    const nodes = many.slice(0, size)
    assert.deepEqual(remembered.sort('192.0.2.1', new Set(nodes)), digestOrder('192.0.2.1', nodes))
  }
})
