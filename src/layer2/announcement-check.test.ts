import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../addr/ip.ts'
import { nodeFromObject } from '../config/nodes.ts'
import { parseConfig } from '../config/parse.ts'
import { serviceFromObject } from '../config/services.ts'
import type { KubeObject } from '../ports/kube.ts'
import { type AnnouncementInput, checkAnnouncement } from './announcement-check.ts'

const LABEL = 'node.kubernetes.io/exclude-from-external-load-balancers'
const node = (name: string, labels: Record<string, string> = {}, unavailable = false) =>
  nodeFromObject({
    metadata: { name, labels },
    status: { conditions: [{ type: 'NetworkUnavailable', status: unavailable ? 'True' : 'False' }] },
  })
const NODES = [node('a'), node('b')]

type Case = {
  readonly ads?: readonly Readonly<Record<string, unknown>>[]
  readonly nodes?: readonly ReturnType<typeof node>[]
  readonly endpoints?: readonly string[]
  readonly spec?: Readonly<Record<string, unknown>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly allocated?: boolean
  readonly ignoreExcludeLabel?: boolean
}

function input(given: Case): AnnouncementInput {
  const nodes = given.nodes ?? NODES
  const object = (name: string, spec: unknown): KubeObject => ({ metadata: { name, namespace: 'ns' }, spec })
  const parsed = parseConfig({
    pools: [
      object('lan', { addresses: ['192.0.2.0/24'] }),
      object('dmz', { addresses: ['198.51.100.0/24'] }),
    ],
    l2Advertisements: (given.ads ?? [{}]).map((spec, index) => object(`ad-${index}`, spec)),
    nodes,
    namespaces: [],
  })
  assert.ok('config' in parsed)
  return {
    service: serviceFromObject({
      metadata: {
        name: 'web',
        namespace: 'default',
        labels: { app: 'web' },
        ...(given.annotations && { annotations: given.annotations }),
      },
      spec: { type: 'LoadBalancer', clusterIPs: ['10.96.0.1'], selector: { app: 'web' }, ...given.spec },
    }),
    ips: given.allocated === false ? [] : ['192.0.2.1' as Ip],
    pool: given.allocated === false ? null : 'lan',
    config: parsed.config,
    nodes: new Map(nodes.map(each => [each.name, each])),
    endpoints: { any: (given.endpoints ?? ['a']).length > 0, nodes: new Set(given.endpoints ?? ['a']) },
    ignoreExcludeLabel: given.ignoreExcludeLabel ?? false,
  }
}

const LOCAL = { externalTrafficPolicy: 'Local' }
const CASES: readonly (readonly [string, Case, string, RegExp])[] = [
  ['P-1 without an address', { allocated: false }, 'NoIPAllocated', /AddressAllocated/],
  [
    'L-2 no advertisement for the pool',
    { ads: [{ ipAddressPools: ['dmz'] }] },
    'NoMatchingAdvertisement',
    /pool lan: create/,
  ],
  [
    'L-2 advertisements for other Services',
    { ads: [{ serviceSelectors: [{ matchLabels: { app: 'other' } }] }] },
    'NoMatchingAdvertisement',
    /\(ad-0\) select other Services/,
  ],
  [
    'L-3 shared, and an advertisement selects Services',
    {
      ads: [{ serviceSelectors: [{ matchLabels: { app: 'web' } }] }],
      annotations: { 'metallb.io/allow-shared-ip': 'k' },
    },
    'SharedIPWithServiceSelector',
    /ad-0/,
  ],
  ['E-2 no endpoint', { endpoints: [] }, 'NoEndpoints', /app=web/],
  [
    'E-2 no endpoint and no selector',
    { endpoints: [], spec: { selector: {} } },
    'NoEndpoints',
    /no selector/,
  ],
  [
    'V-20 no node',
    { ads: [{ nodeSelectors: [{ matchLabels: { rack: 'r9' } }] }] },
    'NoNodes',
    /ad-0 includes no node/,
  ],
  [
    'L-5 all nodes excluded by label',
    { nodes: [node('a', { [LABEL]: '' }), node('b', { [LABEL]: 'false' })] },
    'ExcludedByLabel',
    /--ignore-exclude-lb/,
  ],
  ['L-5 all networks unavailable', { nodes: [node('a', {}, true)] }, 'NetworkUnavailable', /network plugin/],
  [
    'L-6 Local and no endpoint where it counts',
    { spec: LOCAL, endpoints: ['c'] },
    'NoLocalEndpoints',
    /Local/,
  ],
  [
    'L-5 a mixture',
    { nodes: [node('a', {}, true), node('b', { [LABEL]: '' })] },
    'NoCandidates',
    /1 with the condition NetworkUnavailable, 1 with the label/,
  ],
]
for (const [name, given, reason, message] of CASES) {
  test(`${name}: nobody announces it, and it says why`, () => {
    const check = checkAnnouncement(input(given))
    assert.deepEqual([check.announced, check.reason], [false, reason])
    assert.match(check.message, message)
  })
}

test('one node that may announce is enough, whichever', () => {
  for (const given of [
    {},
    { nodes: [node('a', { [LABEL]: '' }), node('b')] },
    { nodes: [node('a', { [LABEL]: '' })], ignoreExcludeLabel: true },
    { spec: LOCAL, endpoints: ['b'] },
    { ads: [{ ipAddressPools: ['dmz'] }, { ipAddressPools: ['lan'] }] },
  ] satisfies Case[]) {
    const { announced, reason } = checkAnnouncement(input(given))
    assert.deepEqual([announced, reason], [true, 'Layer2'])
  }
})

test('the answer stays the same, to the letter, when nodes and endpoints come and go but one may announce', () => {
  const one = checkAnnouncement(input({}))
  const many = checkAnnouncement(
    input({ nodes: [...NODES, node('c'), node('d', {}, true)], endpoints: ['c', 'd'] }),
  )
  assert.deepEqual(one, many)
})

const BGP: Case = { ads: [] }
const bgp = (
  nodes: readonly string[],
  peers: readonly string[] | 'all',
  peerNodes: readonly string[],
  speaksBgp = true,
) => {
  const base = input(BGP)
  return checkAnnouncement({
    ...base,
    speaksBgp,
    config: {
      ...base.config,
      bgpAdvertisements: [
        {
          name: 'bgp-0',
          pools: new Set(['lan']),
          nodes: new Set(nodes),
          peers: peers === 'all' ? 'all' : new Set(peers),
          aggregationLength: 32,
          aggregationLengthV6: 128,
          localPref: undefined,
          communities: [],
          serviceSelectors: [],
        },
      ],
      peers: [
        {
          name: 'router',
          nodes: new Set(peerNodes),
        } as unknown as AnnouncementInput['config']['peers'][number],
      ],
    },
  })
}

test('BGP announces where an advertisement, a peer and a node come together', () => {
  assert.equal(bgp(['a', 'b'], 'all', ['b']).reason, 'BGP')
  assert.equal(bgp(['a', 'b'], ['router'], ['a']).reason, 'BGP')
  assert.equal(bgp(['a'], 'all', ['b']).reason, 'NoPeers')
  assert.equal(bgp(['a'], ['other'], ['a']).reason, 'NoPeers')
  assert.equal(bgp([], 'all', ['a']).reason, 'NoNodes')
})

test('speakers without BGP sessions announce nothing by a BGPAdvertisement, and that is said', () => {
  const { announced, reason, message } = bgp(['a', 'b'], 'all', ['b'], false)
  assert.deepEqual([announced, reason], [false, 'BGPNotSpoken'])
  assert.match(message, /BGPAdvertisement bgp-0 .* create an L2Advertisement/)
})
