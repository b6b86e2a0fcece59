// Rules 2.10 and B-1 to B-12 (the reference of MetalLB's behaviour, 2.10 and 2.11), each from API objects to what the routers are told.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SessionJson } from '../../src/api/plan.ts'
import { planCluster } from '../../src/plan/cluster-plan.ts'
import { planToJson } from '../../src/plan/json.ts'
import { DEFAULT_FLAGS, type SnapshotFlags, snapshotOf } from '../../src/plan/snapshot.ts'
import type { KubeObject } from '../../src/ports/kube.ts'

type Labels = Readonly<Record<string, string>>
type Spec = Readonly<Record<string, unknown>>

const metallb = (kind: string, name: string, spec: Spec, version = 'v1beta1'): KubeObject => ({
  apiVersion: `metallb.io/${version}`,
  kind,
  metadata: { name, namespace: 'metallb-system' },
  spec,
})
const pool = (name: string, ...addresses: string[]) => metallb('IPAddressPool', name, { addresses })
const advertisement = (name: string, spec: Spec = {}) => metallb('BGPAdvertisement', name, spec)
/** In our own AS unless told, so that LOCAL_PREF shows. */
const peer = (name: string, spec: Spec = {}) =>
  metallb('BGPPeer', name, { myASN: 64500, peerASN: 64500, peerAddress: addressOf(name), ...spec }, 'v1beta2')
const addressOf = (name: string) => `192.0.2.${10 + name.charCodeAt(name.length - 1) - 'a'.charCodeAt(0)}`
const only = (name: string) => ({ nodeSelectors: [{ matchLabels: { name } }] })

const node = (name: string, labels: Labels = {}, conditions: readonly Spec[] = []): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels: { name, ...labels } },
  status: { conditions },
})

type ServiceOptions = {
  readonly ips: readonly string[]
  readonly labels?: Labels
  readonly local?: boolean
  /** Where endpoints that can serve are. */
  readonly on?: readonly string[]
  /** Its endpoints, in place of those. */
  readonly endpoints?: readonly Spec[]
}

/** A Service that holds these addresses, with its endpoints. */
function service(
  name: string,
  { ips, labels = {}, local = false, on = ['n1'], endpoints }: ServiceOptions,
): KubeObject[] {
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'default', labels },
      spec: {
        type: 'LoadBalancer',
        externalTrafficPolicy: local ? 'Local' : 'Cluster',
        ipFamilyPolicy: ips.length > 1 ? 'RequireDualStack' : 'SingleStack',
        clusterIPs: ips.map(ip => (ip.includes(':') ? 'fd00:96::1' : '10.96.0.1')),
        ports: [{ port: 80 }],
      },
      status: { loadBalancer: { ingress: ips.map(ip => ({ ip })) } },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: `${name}-1`,
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': name },
      },
      addressType: 'IPv4',
      endpoints: endpoints ?? on.map(nodeName => ({ addresses: ['10.244.0.2'], nodeName })),
    },
  ]
}

const V4 = pool('lan', '198.51.100.0/24')
const DUAL = pool('lan', '198.51.100.0/24', '2001:db8:1::/64')
const NODES = [node('n1'), node('n2')]
const WEB = service('web', { ips: ['198.51.100.1'] })

function planOf(
  objects: readonly (KubeObject | readonly KubeObject[])[],
  flags: Partial<SnapshotFlags> = {},
) {
  const plan = planCluster(snapshotOf(objects.flat(), { ...DEFAULT_FLAGS, ...flags }))
  assert.deepEqual(
    plan.problems.filter(({ severity }) => severity !== 'warning'),
    [],
  )
  return planToJson(plan)
}

/** `prefix communities localPref services` of each route. */
function told(bgp: readonly SessionJson[], nodeName: string, peerName: string): string[] | undefined {
  return bgp
    .find(session => session.node === nodeName && session.peer === peerName)
    ?.routes.map(({ prefix, communities, localPref, services }) =>
      [prefix, ...communities, localPref ?? '-', ...services.map(key => key.replace('default/', ''))].join(
        ' ',
      ),
    )
}

type Objects = readonly (KubeObject | readonly KubeObject[])[]

/** Reasons of 2.10 in its order. Each case meets the later obstacles as well: the first one is what is said. */
const EXCLUDED = { 'node.kubernetes.io/exclude-from-external-load-balancers': '' }
const UNAVAILABLE = [{ type: 'NetworkUnavailable', status: 'True' }]
const SELECTIVE = { serviceSelectors: [{ matchLabels: { app: 'shop' } }] }
const CONFLICT = [advertisement('ad', { localPref: 1, ...SELECTIVE }), advertisement('ad2', { localPref: 2 })]
const NOWHERE = { ips: ['198.51.100.1'], local: true, on: [] }
const SHOP = { labels: { app: 'shop' } }
const ORDER: readonly (readonly [reason: string | null, objects: Objects])[] = [
  [
    'notOwner',
    [
      node('n1', EXCLUDED, UNAVAILABLE),
      advertisement('ad', { ...SELECTIVE, ...only('n2') }),
      service('web', NOWHERE),
    ],
  ],
  [
    'noMatchingAdvertisement',
    [node('n1', EXCLUDED, UNAVAILABLE), advertisement('ad', SELECTIVE), service('web', NOWHERE)],
  ],
  [
    'conflictingAdvertisements',
    [node('n1', EXCLUDED, UNAVAILABLE), CONFLICT, service('web', { ...NOWHERE, ...SHOP })],
  ],
  [
    'nodeNetworkUnavailable',
    [node('n1', EXCLUDED, UNAVAILABLE), advertisement('ad'), service('web', NOWHERE)],
  ],
  ['nodeLabeledExcludeBalancers', [node('n1', EXCLUDED), advertisement('ad'), service('web', NOWHERE)]],
  ['noLocalEndpoints', [node('n1'), advertisement('ad'), service('web', NOWHERE)]],
  ['noEndpoints', [node('n1'), advertisement('ad'), service('web', { ...NOWHERE, local: false })]],
  [null, [node('n1'), advertisement('ad'), service('web', { ips: ['198.51.100.1'] })]],
]
for (const [reason, objects] of ORDER) {
  test(`2.10 ${reason ?? 'nothing stops a node: it announces'}`, () => {
    const { bgp, bgpNotAnnounced } = planOf([V4, peer('a'), node('n2'), ...objects])
    assert.equal(bgpNotAnnounced.find(each => each.node === 'n1')?.reason ?? null, reason)
    assert.deepEqual(told(bgp, 'n1', 'a'), reason === null ? ['198.51.100.1/32 - web'] : [])
  })
}

test('2.10 the exclude label is passed over when the speakers are told so', () => {
  const objects = [V4, peer('a'), node('n1', EXCLUDED), advertisement('ad'), WEB]
  assert.deepEqual(told(planOf(objects, { ignoreExcludeLabel: true }).bgp, 'n1', 'a'), [
    '198.51.100.1/32 - web',
  ])
})

test('2.10 all eligible nodes announce, be they ready or not, but a dead one has no session', () => {
  const unready = node('n2', {}, [{ type: 'Ready', status: 'False' }])
  const objects = [V4, peer('a'), node('n1'), unready, advertisement('ad'), WEB]
  assert.deepEqual(
    planOf(objects).bgp.map(({ node: name, routes }) => [name, routes.length]),
    [
      ['n1', 1],
      ['n2', 1],
    ],
  )
  const { bgp, bgpNotAnnounced } = planOf(objects, { down: new Set(['n1']) })
  assert.deepEqual(
    bgp.map(({ node: name }) => name),
    ['n2'],
  )
  assert.deepEqual(bgpNotAnnounced, [{ service: 'default/web', node: 'n1', reason: 'notAlive' }])
})

test('2.10 a node that no peer selects has nobody to tell', () => {
  const { bgp, bgpNotAnnounced } = planOf([V4, peer('a', only('n2')), NODES, advertisement('ad'), WEB])
  assert.deepEqual(
    bgp.map(({ node: name }) => name),
    ['n2'],
  )
  assert.deepEqual(bgpNotAnnounced, [{ service: 'default/web', node: 'n1', reason: 'noPeers' }])
})

test('E-3 an endpoint without an address does not count, one that still serves does', () => {
  const reasonWith = (endpoints: readonly Spec[]) =>
    planOf([
      V4,
      peer('a'),
      node('n1'),
      advertisement('ad'),
      service('web', { ips: ['198.51.100.1'], endpoints }),
    ]).bgpNotAnnounced[0]?.reason
  assert.equal(reasonWith([{ addresses: [], nodeName: 'n1' }]), 'noEndpoints')
  assert.equal(reasonWith([{ addresses: ['10.244.0.2'], conditions: { ready: false } }]), 'noEndpoints')
  assert.equal(
    reasonWith([{ addresses: ['10.244.0.2'], conditions: { ready: false, serving: true } }]),
    undefined,
  )
})

test('B-1 the prefix is the address cut to the aggregation length of its family', () => {
  const aggregated = advertisement('ad', { aggregationLength: 26, aggregationLengthV6: 80 })
  const both = service('web', { ips: ['198.51.100.77', '2001:db8:1::1:2'] })
  const { bgp } = planOf([DUAL, peer('a', { dualStackAddressFamily: true }), NODES, aggregated, both])
  assert.deepEqual(told(bgp, 'n1', 'a'), ['198.51.100.64/26 - web', '2001:db8:1::/80 - web'])
})

test('B-2 an advertisement that names peers is for those, one that names none for all', () => {
  const ads = [advertisement('one', { peers: ['b', 'gone'], aggregationLength: 31 }), advertisement('all')]
  const { bgp } = planOf([V4, peer('a'), peer('b'), node('n1'), ads, WEB])
  assert.deepEqual(told(bgp, 'n1', 'a'), ['198.51.100.1/32 - web'])
  assert.deepEqual(told(bgp, 'n1', 'b'), ['198.51.100.0/31 - web', '198.51.100.1/32 - web'])
})

test('B-3 communities come sorted', () => {
  const ad = advertisement('ad', { communities: ['64500:20', 'large:64500:1:2', '64500:3', 'large:1:2:3'] })
  assert.deepEqual(told(planOf([V4, peer('a'), NODES, ad, WEB]).bgp, 'n1', 'a'), [
    '198.51.100.1/32 large:1:2:3 large:64500:1:2 64500:3 64500:20 - web',
  ])
})

test('B-4 advertisements of different lengths are several prefixes, each with its own attributes', () => {
  const ads = [
    advertisement('host', { communities: ['64500:1'], localPref: 50 }),
    advertisement('block', { aggregationLength: 24 }),
  ]
  assert.deepEqual(told(planOf([V4, peer('a'), NODES, ads, WEB]).bgp, 'n1', 'a'), [
    '198.51.100.0/24 - web',
    '198.51.100.1/32 64500:1 50 web',
  ])
})

test('B-5 equal prefixes of several Services are one route, which stays until the last goes', () => {
  const ad = advertisement('ad', { aggregationLength: 24 })
  const api = service('api', { ips: ['198.51.100.2'] })
  const objects = [V4, peer('a'), NODES, ad]
  assert.deepEqual(told(planOf([...objects, WEB, api]).bgp, 'n1', 'a'), ['198.51.100.0/24 - api web'])
  assert.deepEqual(told(planOf([...objects, api]).bgp, 'n1', 'a'), ['198.51.100.0/24 - api'])
  assert.deepEqual(told(planOf(objects).bgp, 'n1', 'a'), [])
})

test('B-5 two advertisements of one prefix unite their communities', () => {
  const ads = [
    advertisement('one', { communities: ['64500:2', '64500:1'], localPref: 7 }),
    advertisement('two', { communities: ['64500:3', '64500:1'], localPref: 7 }),
  ]
  assert.deepEqual(told(planOf([V4, peer('a'), NODES, ads, WEB]).bgp, 'n1', 'a'), [
    '198.51.100.1/32 64500:1 64500:2 64500:3 7 web',
  ])
})

test('B-6 one Service that qualifies here announces the whole block, others of the block or not', () => {
  const ad = advertisement('ad', { aggregationLength: 24 })
  const away = service('away', { ips: ['198.51.100.9'], local: true, on: ['n2'] })
  const here = service('here', { ips: ['198.51.100.1'], local: true, on: ['n1'] })
  const { bgp } = planOf([V4, peer('a'), NODES, ad, away, here])
  assert.deepEqual(told(bgp, 'n1', 'a'), ['198.51.100.0/24 - here'])
  assert.deepEqual(told(bgp, 'n2', 'a'), ['198.51.100.0/24 - away'])
})

const BOTH = service('web', { ips: ['198.51.100.1', '2001:db8:1::1'] })
const [IPV4_ROUTE, IPV6_ROUTE] = ['198.51.100.1/32 - web', '2001:db8:1::1/128 - web']
for (const [name, spec, routes] of [
  ['over IPv4', {}, [IPV4_ROUTE]],
  ['over IPv4 with disableMP, which means nothing any more', { disableMP: true }, [IPV4_ROUTE]],
  ['over IPv6', { peerAddress: '2001:db8::1' }, [IPV6_ROUTE]],
  ['with dualStackAddressFamily', { dualStackAddressFamily: true }, [IPV4_ROUTE, IPV6_ROUTE]],
  ['without addresses', { peerAddress: undefined, interface: 'eth1' }, [IPV4_ROUTE, IPV6_ROUTE]],
] as const) {
  test(`B-7 a session ${name} carries ${routes.length === 1 ? 'its own family' : 'both families'}`, () => {
    const { peerAddress, ...rest } = { peerAddress: '192.0.2.1', ...spec }
    const one = metallb(
      'BGPPeer',
      'a',
      { myASN: 64500, peerASN: 64500, ...rest, ...(peerAddress !== undefined && { peerAddress }) },
      'v1beta2',
    )
    const { bgp } = planOf([DUAL, one, NODES, advertisement('ad'), BOTH])
    assert.deepEqual(told(bgp, 'n1', 'a'), routes)
  })
}

test('B-7 a Service of the other family leaves nothing to tell', () => {
  const six = service('six', { ips: ['2001:db8:1::1'] })
  const { bgp, bgpNotAnnounced } = planOf([DUAL, peer('a'), node('n1'), advertisement('ad'), six])
  assert.deepEqual(told(bgp, 'n1', 'a'), [])
  assert.deepEqual(bgpNotAnnounced, [{ service: 'default/six', node: 'n1', reason: 'noPeers' }])
})

test('B-8 no route names a next hop: it is the address of the session', () => {
  const [session] = planOf([V4, peer('a'), node('n1'), advertisement('ad'), WEB]).bgp
  assert.deepEqual(Object.keys(session?.routes[0] ?? {}), ['prefix', 'communities', 'localPref', 'services'])
})

test('B-9 LOCAL_PREF goes to routers of our AS, and 0 is none', () => {
  const objects = [V4, peer('a'), peer('b', { peerASN: 64501 }), NODES, WEB]
  const { bgp } = planOf([...objects, advertisement('ad', { localPref: 200 })])
  assert.deepEqual(told(bgp, 'n1', 'a'), ['198.51.100.1/32 200 web'])
  assert.deepEqual(told(bgp, 'n1', 'b'), ['198.51.100.1/32 - web'])
  const zero = planOf([...objects, advertisement('ad', { localPref: 0 })])
  assert.deepEqual(told(zero.bgp, 'n1', 'a'), ['198.51.100.1/32 - web'])
})

test('B-10 the route goes with the last endpoint, at once', () => {
  const objects = [V4, peer('a'), NODES, advertisement('ad')]
  const local = (on: readonly string[]) => service('web', { ips: ['198.51.100.1'], local: true, on })
  assert.deepEqual(told(planOf([...objects, local(['n1', 'n2'])]).bgp, 'n1', 'a'), ['198.51.100.1/32 - web'])
  assert.deepEqual(told(planOf([...objects, local(['n2'])]).bgp, 'n1', 'a'), [])
  assert.deepEqual(told(planOf([...objects, local([])]).bgp, 'n2', 'a'), [])
})

test('B-12 advertisements of a Service that want different LOCAL_PREFs stop it, and only it', () => {
  const ads = [
    advertisement('shop', { localPref: 200, serviceSelectors: [{ matchLabels: { app: 'shop' } }] }),
    advertisement('all', { localPref: 100 }),
  ]
  const shop = service('shop', { ips: ['198.51.100.2'], labels: { app: 'shop' } })
  const { bgp, bgpNotAnnounced } = planOf([V4, peer('a'), node('n1'), ads, WEB, shop])
  assert.deepEqual(told(bgp, 'n1', 'a'), ['198.51.100.1/32 100 web'])
  assert.deepEqual(bgpNotAnnounced, [
    { service: 'default/shop', node: 'n1', reason: 'conflictingAdvertisements' },
  ])
})

test('B-12 for different peers, or on different nodes, they go together', () => {
  const selective = { serviceSelectors: [{ matchLabels: { app: 'shop' } }] }
  const shop = service('shop', { ips: ['198.51.100.2'], labels: { app: 'shop' } })
  for (const [first, second] of [
    [{ peers: ['a'] }, { peers: ['b'] }],
    [only('n1'), only('n2')],
  ] as const) {
    const { bgp, bgpNotAnnounced } = planOf([
      V4,
      peer('a'),
      peer('b'),
      NODES,
      advertisement('one', { localPref: 100, ...selective, ...first }),
      advertisement('two', { localPref: 200, ...second }),
      shop,
    ])
    assert.deepEqual(bgpNotAnnounced, [])
    assert.deepEqual(told(bgp, 'n1', 'a'), ['198.51.100.2/32 100 shop'])
    assert.deepEqual(told(bgp, 'n2', 'b'), ['198.51.100.2/32 200 shop'])
  }
})

test('B-11 two Services that share a prefix share its peers', () => {
  const ads = [
    advertisement('shop', {
      peers: ['a'],
      serviceSelectors: [{ matchLabels: { app: 'shop' } }],
    }),
    advertisement('all', { peers: ['b'] }),
  ]
  // One address, two Services on different ports.
  const shared = (name: string, port: number, labels: Labels) =>
    service(name, { ips: ['198.51.100.2'], labels }).map(object =>
      object.kind === 'Service'
        ? {
            ...object,
            metadata: { ...object.metadata, annotations: { 'metallb.io/allow-shared-ip': 'k' } },
            spec: { ...(object['spec'] as object), ports: [{ port }] },
          }
        : object,
    )
  const { bgp } = planOf([
    V4,
    peer('a'),
    peer('b'),
    node('n1'),
    ads,
    shared('shop', 80, { app: 'shop' }),
    shared('other', 81, {}),
  ])
  assert.deepEqual(told(bgp, 'n1', 'a'), ['198.51.100.2/32 - shop'])
  assert.deepEqual(told(bgp, 'n1', 'b'), ['198.51.100.2/32 - other shop'])
})
