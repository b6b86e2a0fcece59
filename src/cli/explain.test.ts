import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../addr/ip.ts'
import { poolObjects, serviceObject } from '../allocator/fixtures.ts'
import { PoolIndex } from '../config/pool-index.ts'
import { serviceFromObject } from '../config/services.ts'
import { type ClusterPlan, planCluster } from '../plan/cluster-plan.ts'
import { DEFAULT_FLAGS, type Snapshot, snapshotOf } from '../plan/snapshot.ts'
import { KubeError, type KubeObject } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { findSubject } from './explain.ts'
import { ipStory, nodeStory, type Reality, serviceStory } from './explain-text.ts'
import { BGP_STATUSES, listIfKnown } from './inputs.ts'

type Fields = Readonly<Record<string, unknown>>

const metallb = (kind: string, name: string, spec: Fields, version = 'v1beta1'): KubeObject => ({
  apiVersion: `metallb.io/${version}`,
  kind,
  metadata: { name, namespace: 'metallb-system' },
  spec,
})
const node = (name: string, address: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels: { name } },
  status: { addresses: [{ type: 'InternalIP', address }] },
})
const slice = (of: string, nodes: readonly string[]): KubeObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: `${of}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': of } },
  addressType: 'IPv4',
  endpoints: nodes.map(nodeName => ({ addresses: ['10.244.0.2'], nodeName })),
})
const POOLS = poolObjects({
  lan: { addresses: ['192.0.2.100-192.0.2.109'] },
  private: { addresses: ['198.51.100.0/24'], autoAssign: false },
})
const NODES = [node('node1', '192.0.2.11'), node('node2', '192.0.2.12'), node('node3', '192.0.2.13')]
const WEB = [serviceObject('web'), slice('web', ['node1'])]

function planned(
  objects: readonly KubeObject[],
  down: readonly string[] = [],
): { plan: ClusterPlan; snapshot: Snapshot } {
  const snapshot = snapshotOf(objects, { ...DEFAULT_FLAGS, down: new Set(down) })
  return { plan: planCluster(snapshot), snapshot }
}

function storyOf(
  objects: readonly KubeObject[],
  name = 'web',
  reality?: Reality,
  down: readonly string[] = [],
): string {
  const { plan, snapshot } = planned(objects, down)
  const facts = snapshot.services.find(each => each.name === name)
  assert.ok(facts !== undefined)
  return serviceStory(plan, facts, undefined, reality).join('\n')
}

const L2 = metallb('L2Advertisement', 'lan', { interfaces: ['eth1', 'eth0'] })

test('the story of a Service: pool, owner, who follows, and why not the others', () => {
  assert.equal(
    storyOf([...POOLS, ...NODES, L2, ...WEB], 'web', undefined, ['node3']),
    `Service default/web
  externalTrafficPolicy Cluster, for IPv4; endpoints that can serve are on node1

Addresses: 192.0.2.100, from pool lan
  pool lan: has what the Service needs
  pool private: autoAssign is off: only for Services that ask for it

Layer 2: node1 answers, on eth0 and eth1
  node1 is first
  node2 is second, answers when node1 is gone
  the order is that of the digests of node name and address
  node3 is no candidate: it is down`,
  )
})

test('why not the other pools, when the Service keeps what it has or asks for it', () => {
  const keeps = serviceObject('web', { status: ['192.0.2.105'], pool: 'lan' })
  assert.match(
    storyOf([...POOLS, ...NODES, L2, keeps]),
    /pool lan: the Service holds its addresses already.*\n {2}pool private: not looked at, what the Service holds stays\n/,
  )
  const asks = serviceObject('web', { annotations: { 'address-pool': 'private' } })
  assert.match(
    storyOf([...POOLS, ...NODES, L2, asks]),
    /pool private: has what .*\n {2}pool lan: not looked at, the Service asks for private\n/,
  )
})

test('preferences are told with their scores', () => {
  const preferring = metallb('L2Advertisement', 'lan', {
    preferredNodeSelectors: [{ weight: 70, preference: { matchLabels: { name: 'node2' } } }],
  })
  const story = storyOf([...POOLS, ...NODES, preferring, ...WEB])
  assert.match(story, /Layer 2: node2 answers, on every interface\n {2}node2 is first with score 70\n/)
  assert.match(story, /node1 is second with score 0, answers when node2 is gone/)
})

test('every node refused: nobody answers, each for its reason', () => {
  const story = storyOf([...POOLS, ...NODES, L2, ...WEB], 'web', undefined, ['node1', 'node2', 'node3'])
  assert.match(
    story,
    /Layer 2: nobody answers, because every node is refused\n {2}node1 is no candidate: it is down/,
  )
  const without = storyOf([...POOLS, L2, ...WEB])
  assert.match(without, /nobody answers, because every node is refused\n {2}there is no Node/)
})

test('a conflict names the advertisements, and a session that does not fit is told', () => {
  const selective = { serviceSelectors: [{}] }
  const peer = (name: string, peerAddress: string) =>
    metallb('BGPPeer', name, { myASN: 64500, peerASN: 64501, peerAddress }, 'v1beta2')
  const peers = [peer('four', '192.0.2.1'), peer('six', '2001:db8::1'), peer('unnamed', '192.0.2.2')]
  const conflict = storyOf([
    ...POOLS,
    ...NODES,
    ...peers,
    metallb('BGPAdvertisement', 'one', { localPref: 1, ...selective }),
    metallb('BGPAdvertisement', 'two', { localPref: 2 }),
    ...WEB,
  ])
  assert.match(
    conflict,
    /BGP: no node tells a router\n {2}node1 does not: two .* want different .* \(one and two\)/,
  )
  const unfit = storyOf([
    ...POOLS,
    ...NODES,
    ...peers,
    metallb('BGPAdvertisement', 'one', { peers: ['four', 'six'] }),
    ...WEB,
  ])
  assert.match(
    unfit,
    / {2}node1 tells four: 192\.0\.2\.100\/32\n {2}node1 does not tell six: the session carries only the other address family\n {2}node1 does not tell unnamed: the BGPAdvertisements name other peers/,
  )
})

test('a Service that is not ours is told as that', () => {
  const objects = [...POOLS, ...NODES, serviceObject('web', { spec: { type: 'ClusterIP' } })]
  assert.equal(
    storyOf(objects),
    'Service default/web\n  is of type ClusterIP; only those of type LoadBalancer get addresses',
  )
  const classy = [...POOLS, ...NODES, serviceObject('web', { spec: { loadBalancerClass: 'a/b' } })]
  assert.match(
    storyOf(classy),
    /has the load-balancer class "a\/b", and only those of class none are handled/,
  )
})

const reality = (ips: readonly string[], answering: readonly string[]): Reality => ({
  ips: new Map([['default/web', ips as readonly Ip[]]]),
  layer2: new Map([['default/web', answering]]),
  bgp: new Map(),
})
const LIVE = [...POOLS, ...NODES, L2, ...WEB]

test('a live cluster that is as planned', () => {
  assert.match(
    storyOf(LIVE, 'web', reality(['192.0.2.100'], ['node1'])),
    /The cluster now:\n {2}status: 192\.0\.2\.100\n {2}answering at layer 2, as their ServiceL2Status says: node1\n {2}This is the plan\.$/,
  )
})

test('a live cluster that is not: each difference is named', () => {
  const story = storyOf(LIVE, 'web', reality([], ['node2', 'node3']))
  assert.match(
    story,
    /Not as planned: the status holds no address, planned is 192\.0\.2\.100: is the controller running/,
  )
  assert.match(story, /Not as planned: node2 and node3 say they answer, planned is node1/)
  assert.match(storyOf(LIVE, 'web', reality(['192.0.2.100'], [])), /nobody says it answers, planned is node1/)
})

test('a live cluster: who says it announces by BGP', () => {
  const bgp = new Map([['default/web', new Map([['node2', ['router']]])]])
  const story = storyOf(LIVE, 'web', { ...reality(['192.0.2.100'], ['node1']), bgp })
  assert.match(story, /announcing by BGP: node2 to router/)
  assert.match(story, /Not as planned: by BGP node2 announces to router, planned is nobody/)
})

test('a live cluster: each node is held against the peers that it is planned to tell', () => {
  const objects = [
    ...LIVE,
    metallb('BGPAdvertisement', 'lan', { nodeSelectors: [{ matchLabels: { name: 'node1' } }] }),
    metallb('BGPPeer', 'router', { myASN: 64500, peerASN: 64501, peerAddress: '192.0.2.1' }, 'v1beta2'),
  ]
  const story = (bgp: Reality['bgp']) =>
    storyOf(objects, 'web', { ...reality(['192.0.2.100'], ['node1']), bgp })
  assert.match(story(new Map([['default/web', new Map([['node1', ['router']]])]])), /This is the plan\.$/)
  assert.match(
    story(new Map()),
    /Not as planned: by BGP node1 announces to nobody, planned is router: is its speaker running\?$/,
  )
})

test('a kind that the cluster does not have has no objects, any other error is one', async () => {
  class FailingKube extends FakeKube {
    override list(): Promise<KubeObject[]> {
      return Promise.reject(new KubeError(this.#code, 'list BGPPeer'))
    }
    readonly #code: 'not-found' | 'forbidden'
    constructor(code: 'not-found' | 'forbidden') {
      super()
      this.#code = code
    }
  }
  const failing = (code: 'not-found' | 'forbidden') => new FailingKube(code)
  assert.deepEqual(await listIfKnown(failing('not-found'), BGP_STATUSES), [])
  await assert.rejects(listIfKnown(failing('forbidden'), BGP_STATUSES), { code: 'forbidden' })
})

test('the story of an address: taken, free, of a node, of nobody', () => {
  const { plan, snapshot } = planned(LIVE)
  const pools = new PoolIndex({ pools: plan.config?.pools ?? [] })
  const tell = (ip: string, others = { nodes: [] as string[], services: [] as string[] }) =>
    ipStory(plan, ip as Ip, pools, others).join('\n')
  assert.equal(
    tell('192.0.2.100'),
    'Address 192.0.2.100\n  is in pool lan\n  belongs to Service default/web\n  node1 answers for it at layer 2, and node3 when that is gone',
  )
  assert.equal(
    tell('192.0.2.105'),
    'Address 192.0.2.105\n  is in pool lan\n  is free: no Service has it; 1 of 10 addresses of the pool are in use',
  )
  assert.equal(
    tell('192.0.2.11', { nodes: ['node1'], services: [] }),
    'Address 192.0.2.11\n  is an address of Node node1\n  is in no IPAddressPool',
  )
  assert.equal(snapshot.nodes.length, 3)
})

test('the story of a node', () => {
  const { plan } = planned([...LIVE, serviceObject('idle')], ['node3'])
  assert.equal(
    nodeStory(plan, 'node1', false).join('\n'),
    `Node node1
  has 192.0.2.11

Layer 2: it answers for
  default/web: 192.0.2.100
It is no candidate for
  default/idle: no endpoint of the Service can serve

BGP: it has no session`,
  )
  assert.match(
    nodeStory(plan, 'node3', true).join('\n'),
    /^Node node3, taken for dead\n.*\n\nLayer 2: it answers for nothing/,
  )
})

const services = [
  serviceObject('web'),
  serviceObject('web', { namespace: 'shop' }),
  serviceObject('api', { namespace: 'shop' }),
  serviceObject('dup', { namespace: 'a' }),
  serviceObject('dup', { namespace: 'b' }),
  serviceObject('node2', { namespace: 'shop' }),
].map(serviceFromObject)
const { snapshot: known } = planned(NODES)

for (const [text, found] of [
  ['web', 'default/web'],
  ['shop/web', 'shop/web'],
  ['api', 'shop/api'],
  ['node1', 'Node node1'],
  ['node2', 'shop/node2'],
  ['192.0.2.1', 'address 192.0.2.1'],
  ['2001:DB8::1', 'address 2001:db8::1'],
] as const) {
  test(`${text} is ${found}`, () => {
    const subject = findSubject(text, { services, nodes: known.nodes })
    const shown =
      subject.type === 'service'
        ? subject.service.key
        : subject.type === 'node'
          ? `Node ${subject.node}`
          : `address ${subject.ip}`
    assert.equal(shown, found)
  })
}

for (const [text, message] of [
  ['dup', /^there is more than one Service dup: say which of a\/dup, b\/dup$/],
  ['wep', /^there is no Service, address or Node "wep"; did you mean web\?$/],
  ['shop/wep', /; did you mean shop\/web/],
  ['node9', /; did you mean node1 or node2 or node3\?$/],
  ['qqqqqq', /^there is no Service, address or Node "qqqqqq"$/],
] as const) {
  test(`${text} is nothing that can be explained`, () => {
    assert.throws(() => findSubject(text, { services, nodes: known.nodes }), { name: 'InputError', message })
  })
}
