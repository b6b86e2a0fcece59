// The rules of configuration that need more than pools and layer 2, which src/config/parse.test.ts has. Peers: peer-rules.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../../src/addr/ip.ts'
import { compareCommunities, parseCommunity } from '../../src/config/communities.ts'
import { endpointNodes } from '../../src/config/endpointslice.ts'
import type { BgpCommunity } from '../../src/config/model.ts'
import { parseConfig, resourcesForNode } from '../../src/config/parse.ts'
import { serviceFromObject } from '../../src/config/services.ts'
import { elect } from '../../src/layer2/election.ts'
import {
  accepted,
  bgp,
  type Case,
  community,
  l2,
  NODES,
  node,
  object,
  peer,
  pool,
  problemsOf,
  profile,
  RACK1,
  RACK2,
  resources,
  testCases,
  told,
} from './config-cases.ts'

const V4 = pool('v4', ['192.0.2.0/24'])
const V6 = pool('v6', ['2001:db8::/64'])
const DUAL = pool('dual', ['198.51.100.0/24', '2001:db8:1::/64'])
const ONE = [{ matchLabels: { app: 'one' } }]

const conflict = (name = 'b') => [`error local-pref-conflict BGPAdvertisement/${name} spec.localPref`]
const LOW = bgp('a', { localPref: 100 })

testCases({
  'V-2 what may still arrive is transient, and refuses the configuration until then': {
    objects: [
      V4,
      peer('p', { bfdProfile: 'fast', passwordSecret: { name: 's' } }),
      bgp('a', { communities: ['later'] }),
    ],
    secrets: [],
    says: [
      'transient bfd-profile-missing BGPPeer/p spec.bfdProfile',
      'transient secret-missing BGPPeer/p spec.passwordSecret.name',
      'transient community-unknown BGPAdvertisement/a spec.communities[0]',
    ],
  },
  'V-4 equal selectors are refused in BGP advertisements and peers as well': {
    objects: [
      V4,
      bgp('a', { nodeSelectors: [...RACK1, ...RACK1] }),
      peer('p', { nodeSelectors: [...RACK2, ...RACK2] }),
    ],
    says: [
      'error selector-duplicate BGPAdvertisement/a spec.nodeSelectors[1]',
      'error selector-duplicate BGPPeer/p spec.nodeSelectors[1]',
    ],
  },
  'V-5 repeated pools, peers and communities are refused': {
    objects: [
      V4,
      peer('p'),
      bgp('a', { ipAddressPools: ['v4', 'v4'], peers: ['p', 'p'], communities: ['1:2', '1:2'] }),
    ],
    says: [
      'error entry-duplicate BGPAdvertisement/a spec.communities[1]',
      'error entry-duplicate BGPAdvertisement/a spec.ipAddressPools[1]',
      'error entry-duplicate BGPAdvertisement/a spec.peers[1]',
    ],
  },
  'V-10 every kind needs a name, and no two objects of a kind the same': {
    objects: [V4, profile('x'), profile('x'), peer(''), peer('p', { peerAddress: '192.0.2.1' })],
    says: ['error name-duplicate BFDProfile/x metadata.name', 'error name-missing BGPPeer/ metadata.name'],
  },
  'V-19 a pool may hold addresses of nodes': {
    objects: [pool('p', ['10.0.0.0/24'])],
    nodes: [{ ...node('n'), internalIps: ['10.0.0.1' as Ip] }],
    says: [],
  },

  'V-21 an aggregation length above 32 or 128 is refused': {
    objects: [bgp('a', { aggregationLength: 33, aggregationLengthV6: 129 })],
    says: [
      'error aggregation-invalid BGPAdvertisement/a spec.aggregationLength',
      'error aggregation-invalid BGPAdvertisement/a spec.aggregationLengthV6',
    ],
    words: ['33', '129'],
  },
  'V-21 an aggregation length below 1 is refused for IPv4': {
    objects: [bgp('a', { aggregationLength: 0 }), bgp('b', { aggregationLengthV6: -1 })],
    says: [
      'error aggregation-invalid BGPAdvertisement/a spec.aggregationLength',
      'error aggregation-invalid BGPAdvertisement/b spec.aggregationLengthV6',
    ],
  },
  'V-22 the length is checked against each entry of the pool': {
    objects: [pool('p', ['10.20.30.0/24', '198.51.100.0/28']), bgp('a', { aggregationLength: 26 })],
    says: ['error aggregation-wider-than-pool BGPAdvertisement/a spec.aggregationLength'],
    words: ['198.51.100.0/28', '26', 'use 28 or more'],
  },
  'V-22 a range counts by its widest block': {
    objects: [pool('p', ['3.3.3.2-3.3.3.254']), bgp('a', { aggregationLength: 26 })],
    says: [],
  },
  'V-22 wider than the widest block of a range is refused': {
    objects: [pool('p', ['3.3.3.2-3.3.3.254']), bgp('a', { aggregationLength: 24 })],
    says: ['error aggregation-wider-than-pool BGPAdvertisement/a spec.aggregationLength'],
  },
  'V-22 each family has its own length': {
    objects: [DUAL, bgp('a', { aggregationLength: 24, aggregationLengthV6: 63 })],
    says: ['error aggregation-wider-than-pool BGPAdvertisement/a spec.aggregationLengthV6'],
  },
  'V-22 pools that are not announced do not matter': {
    objects: [
      pool('small', ['198.51.100.0/28']),
      V4,
      bgp('a', { aggregationLength: 24, ipAddressPools: ['v4'] }),
    ],
    says: [],
  },

  'V-23 two values of localPref for one pool are refused': {
    objects: [V4, LOW, bgp('b', { localPref: 200 })],
    says: conflict(),
    words: ['100', '200', '"a"'],
  },
  'V-23 unset counts as 0': { objects: [V4, LOW, bgp('b')], says: conflict() },
  'V-23 equal localPref is no conflict': {
    objects: [V4, LOW, bgp('b', { localPref: 100, communities: ['1:2'] })],
    says: [],
  },
  'V-23 other aggregation lengths are other prefixes': {
    objects: [V4, LOW, bgp('b', { localPref: 200, aggregationLength: 24 })],
    says: [],
  },
  'V-23 the length of the other family does not help': {
    objects: [V4, LOW, bgp('b', { localPref: 200, aggregationLengthV6: 64 })],
    says: conflict(),
  },
  'V-23 for IPv6 it is the other way round': {
    objects: [V6, LOW, bgp('b', { localPref: 200, aggregationLength: 24 })],
    says: conflict(),
  },
  'V-23 a pool of both families needs both lengths to differ': {
    objects: [DUAL, LOW, bgp('b', { localPref: 200, aggregationLength: 24 })],
    says: conflict(),
  },
  'V-23 with both lengths different a pool of both families is fine': {
    objects: [DUAL, LOW, bgp('b', { localPref: 200, aggregationLength: 24, aggregationLengthV6: 64 })],
    says: [],
  },
  'V-23 disjoint peers are no conflict': {
    objects: [
      V4,
      peer('p'),
      peer('q', { peerAddress: '192.0.2.253' }),
      bgp('a', { localPref: 1, peers: ['p'] }),
      bgp('b', { localPref: 2, peers: ['q'] }),
    ],
    says: [],
  },
  'V-23 overlapping peers are': {
    objects: [
      V4,
      peer('p'),
      peer('q', { peerAddress: '192.0.2.253' }),
      bgp('a', { localPref: 1, peers: ['p'] }),
      bgp('b', { localPref: 2, peers: ['q', 'p'] }),
    ],
    says: conflict(),
  },
  'V-23 no peers means all of them': {
    objects: [V4, peer('p'), bgp('a', { localPref: 1, peers: ['p'] }), bgp('b', { localPref: 2 })],
    says: conflict(),
  },
  'V-23 disjoint nodes are no conflict': {
    objects: [
      V4,
      bgp('a', { localPref: 1, nodeSelectors: RACK1 }),
      bgp('b', { localPref: 2, nodeSelectors: RACK2 }),
    ],
    says: [],
  },
  'V-23 an advertisement for no node conflicts with none': {
    objects: [V4, LOW, bgp('b', { localPref: 2, nodeSelectors: [{ matchLabels: { rack: '9' } }] })],
    says: ['warning nodes-none BGPAdvertisement/b spec.nodeSelectors'],
  },
  'V-23 while no node is known, they are taken to share one': {
    objects: [V4, LOW, bgp('b', { localPref: 200 })],
    nodes: [],
    says: conflict(),
  },
  'V-23 different pools are no conflict': {
    objects: [
      V4,
      V6,
      bgp('a', { localPref: 1, ipAddressPools: ['v4'] }),
      bgp('b', { localPref: 2, ipAddressPools: ['v6'] }),
    ],
    says: [],
  },
  'V-24 with serviceSelectors it depends on the Service': {
    objects: [V4, LOW, bgp('b', { localPref: 200, serviceSelectors: ONE })],
    says: [],
  },
  'V-25 two advertisements that are the same in everything are refused': {
    objects: [V4, LOW, LOW],
    says: ['error name-duplicate BGPAdvertisement/a metadata.name'],
  },
  'V-25 two of the same content under two names are only superfluous': {
    objects: [V4, LOW, bgp('b', { localPref: 100 })],
    says: ['warning advertisement-duplicate BGPAdvertisement/b spec'],
  },
  'V-26 serviceSelectors and an aggregate exclude each other, in either family': {
    objects: [
      V4,
      bgp('a', { aggregationLength: 24, serviceSelectors: ONE }),
      bgp('b', { aggregationLengthV6: 64, serviceSelectors: ONE }),
      bgp('c', { aggregationLength: 32, aggregationLengthV6: 128, serviceSelectors: ONE }),
    ],
    says: [
      'error aggregation-with-services BGPAdvertisement/a spec.aggregationLength',
      'error aggregation-with-services BGPAdvertisement/b spec.aggregationLengthV6',
    ],
  },

  'V-27 a wrong value is an error, a wrong format may be an alias to come': {
    objects: [
      V4,
      bgp('a', {
        communities: ['99999:1', 'large:1:x:3', '12345', '12345:12345:12345', 'larg:1:2:3', '1:2'],
      }),
    ],
    says: [
      'error community-invalid BGPAdvertisement/a spec.communities[0]',
      'error community-invalid BGPAdvertisement/a spec.communities[1]',
      'transient community-unknown BGPAdvertisement/a spec.communities[2]',
      'transient community-invalid BGPAdvertisement/a spec.communities[3]',
      'transient community-invalid BGPAdvertisement/a spec.communities[4]',
    ],
  },
  'V-27 an alias with a wrong value is the fault of the Community only': {
    objects: [V4, community('c', [{ name: 'x', value: 'nonsense' }]), bgp('a', { communities: ['x'] })],
    says: ['error community-invalid Community/c spec.communities[0].value'],
  },

  'unknown fields are warnings, wherever they are': {
    objects: [
      { ...pool('p', ['192.0.2.0/28'], { protocol: 'layer2', serviceAllocation: { labels: {} } }), data: 1 },
      l2('l', {
        nodeSelectors: [{ label: 'x' }],
        preferredNodeSelectors: [{ weight: 1, preference: {}, name: 'x' }],
      }),
      peer('q', {
        passwordSecret: { key: 'x' },
        nodeSelectors: [{ matchExpressions: [{ key: 'a', operator: 'Exists', value: 'b' }] }],
      }),
      { ...peer('old', { peerAddress: '192.0.2.1', vrf: 'red' }), apiVersion: 'metallb.io/v1beta1' },
    ],
    nodes: [],
    says: [
      'warning field-unknown IPAddressPool/p data',
      'warning field-unknown IPAddressPool/p spec.protocol',
      'warning field-unknown IPAddressPool/p spec.serviceAllocation.labels',
      'warning field-unknown L2Advertisement/l spec.nodeSelectors[0].label',
      'warning field-unknown L2Advertisement/l spec.preferredNodeSelectors[0].name',
      'warning field-unknown BGPPeer/q spec.passwordSecret.key',
      'warning field-unknown BGPPeer/q spec.nodeSelectors[0].matchExpressions[0].value',
      'warning field-unknown BGPPeer/old spec.vrf',
    ],
  },
  'values of another type are found in every kind': {
    objects: [
      pool('p', ['192.0.2.0/28'], { serviceAllocation: [], avoidBuggyIPs: 'no' }),
      l2('l', { interfaces: 'eth0', preferredNodeSelectors: [null] }),
      bgp('a', { peers: [7], localPref: '100', aggregationLength: 24.5 }),
      peer('q', {
        myASN: 'x',
        peerPort: 16385,
        localASN: 0,
        holdTime: 90,
        passwordSecret: 'x',
        nodeSelectors: {},
      }),
      object('Community', 'c', { communities: ['1:2'] }),
      object('BGPPeer', 'none', 'x'),
    ],
    says: [
      'error field-type IPAddressPool/p spec.serviceAllocation',
      'error field-type IPAddressPool/p spec.avoidBuggyIPs',
      'error field-type L2Advertisement/l spec.interfaces',
      'error field-type L2Advertisement/l spec.preferredNodeSelectors[0]',
      'error weight-invalid L2Advertisement/l spec.preferredNodeSelectors[0].weight',
      'error selector-invalid L2Advertisement/l spec.preferredNodeSelectors[0].preference',
      'error field-type BGPAdvertisement/a spec.peers[0]',
      'error field-type BGPAdvertisement/a spec.localPref',
      'error field-type BGPAdvertisement/a spec.aggregationLength',
      'error field-type BGPPeer/q spec.myASN',
      'error field-range BGPPeer/q spec.peerPort',
      'error field-range BGPPeer/q spec.localASN',
      'error field-type BGPPeer/q spec.holdTime',
      'error field-type BGPPeer/q spec.passwordSecret',
      'error field-type BGPPeer/q spec.nodeSelectors',
      'error field-type Community/c spec.communities[0]',
      'error community-invalid Community/c spec.communities[0].value',
      'error field-missing Community/c spec.communities[0].name',
      'error field-type BGPPeer/none spec',
      'error field-missing BGPPeer/none spec.myASN',
      'error field-missing BGPPeer/none spec.peerASN',
      'error field-missing BGPPeer/none spec.peerAddress',
    ],
  },
} satisfies Record<string, Case>)

test('V-3 a node does not look at peers and BGP advertisements for other nodes', () => {
  const objects = [
    V4,
    peer('bad', { myASN: 0, nodeSelectors: RACK2 }),
    peer('good', { nodeSelectors: RACK1 }),
    bgp('bad', { aggregationLength: 8, nodeSelectors: RACK2 }),
    bgp('good', { nodeSelectors: RACK1 }),
  ]
  const all = resources({ objects })
  assert.deepEqual(told(problemsOf(parseConfig(resourcesForNode(all, 'node-a')))), [])
  assert.equal(problemsOf(parseConfig(resourcesForNode(all, 'node-b'))).length, 2)
  assert.equal(problemsOf(parseConfig(resourcesForNode(all, 'unheard-of'))).length, 2)
  const unreadable = resources({ objects: [peer('p', { nodeSelectors: [{ matchExpressions: [{}] }] })] })
  assert.deepEqual(told(problemsOf(parseConfig(resourcesForNode(unreadable, 'node-a')))), [
    'error selector-invalid BGPPeer/p spec.nodeSelectors[0]',
  ])
})

test('V-27 communities are resolved, sorted and told apart', () => {
  const { bgpAdvertisements, communities } = accepted({
    objects: [
      V4,
      community('c', [
        { name: 'no-peer', value: '65535:65284' },
        { name: '64496:7', value: 'large:1:2:3' },
      ]),
      bgp('a', { communities: ['no-peer', 'large:123:456:789', '0:1234', '64496:7', '65535:65284', '00:7'] }),
    ],
  })
  // large:123... before 0:1234, since 123 is less than 1234; an alias goes before what its name says.
  assert.deepEqual(
    bgpAdvertisements[0]?.communities.map(({ text }) => text),
    ['large:1:2:3', '0:7', 'large:123:456:789', '0:1234', '65535:65284'],
  )
  assert.deepEqual([...communities.keys()], ['64496:7', 'no-peer'])
  assert.deepEqual(communities.get('64496:7'), { kind: 'large', text: 'large:1:2:3', parts: [1, 2, 3] })
})

test('V-27 the syntax of communities', () => {
  const kinds = (text: string) => {
    const community = parseCommunity(text)
    return 'wrong' in community ? community.wrong : community.kind
  }
  for (const text of ['0:0', '65535:65535', '1234:5678']) assert.equal(kinds(text), 'standard', text)
  for (const text of ['large:0:0:0', 'large:4294967295:1:2']) assert.equal(kinds(text), 'large', text)
  for (const text of ['65536:1', '1:-1', ':', 'a:b', 'large:4294967296:1:2', 'large:::', '1:0x1', '1: 2']) {
    assert.equal(kinds(text), 'value', text)
  }
  for (const text of ['', '12345', '1:2:3', 'larg:1:2:3', 'large:1:2', 'LARGE:1:2:3', 'large:1:2:3:4']) {
    assert.equal(kinds(text), 'format', text)
  }
  const order = ['0:2', 'large:2:0:0', 'large:2:0:1', '1:0'].map(parseCommunity) as BgpCommunity[]
  assert.deepEqual(order.toReversed().sort(compareCommunities), order)
})

test('V-28 an advertisement that says the same for a pool changes nothing; preferences count once per object', () => {
  const once = [
    pool('v4', ['192.0.2.0/24'], {}, { zone: 'x' }),
    l2('a', { ipAddressPools: ['v4'], nodeSelectors: RACK2 }),
  ]
  const preferring = l2('p', {
    ipAddressPools: ['v4'],
    ipAddressPoolSelectors: [{ matchLabels: { zone: 'x' } }],
    nodeSelectors: RACK2,
    preferredNodeSelectors: [{ weight: 7, preference: {} }],
  })
  const outcome = (objects: typeof once) => {
    const config = accepted({ objects })
    return elect({
      service: serviceFromObject({ metadata: { name: 's', namespace: 'd' } }),
      ips: ['192.0.2.1' as Ip],
      advertisements: config.l2Advertisements,
      nodes: new Map(NODES.map(facts => [facts.name, facts])),
      endpoints: { ...endpointNodes([]), any: true },
      ignoreExcludeLabel: false,
      alive: 'all',
    })
  }
  const first = outcome(once)
  assert.deepEqual(outcome([...once, l2('b', { nodeSelectors: RACK2 })]), first)
  const scored = outcome([...once, preferring])
  assert.equal(scored.owner, first.owner)
  assert.deepEqual(
    scored.candidates.filter(({ eligible }) => eligible).map(({ score }) => score),
    [7, 7],
  )
})

test('a BGP advertisement without a spec announces every pool from every node to every peer', () => {
  assert.deepEqual(
    accepted({ objects: [V4, V6, object('BGPAdvertisement', 'a', undefined)] }).bgpAdvertisements,
    [
      {
        name: 'a',
        pools: new Set(['v4', 'v6']),
        nodes: new Set(['node-a', 'node-b', 'node-c']),
        peers: 'all',
        aggregationLength: 32,
        aggregationLengthV6: 128,
        localPref: undefined,
        communities: [],
        serviceSelectors: [],
      },
    ],
  )
})
