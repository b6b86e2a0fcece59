// The quirks of the reference of MetalLB's behaviour (its section 6) in configuration, allocation, BGP routes and election.
// are behaviour on which clusters rely and which is kept; from Q-20 on they are faults, which are not.
// Those of the running processes are in quirks-processes.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../../src/addr/ip.ts'
import { plan } from '../../src/allocator/allocator.ts'
import type { Decision } from '../../src/allocator/decision.ts'
import {
  applyAll,
  configOf,
  DUAL,
  type PoolSpec,
  type ServiceOptions,
  service,
  V6,
} from '../../src/allocator/fixtures.ts'
import { isInternal, type Offer, routesForPeer } from '../../src/bgp/routes.ts'
import { crdSchemas, readCrds, schemaProblems } from '../../src/cli/crd-schemas.ts'
import { endpointNodes, endpointsFromSlice } from '../../src/config/endpointslice.ts'
import type { Config } from '../../src/config/model.ts'
import { EXCLUDE_LABEL, type NodeFacts } from '../../src/config/nodes.ts'
import { parseConfig, sameConfig } from '../../src/config/parse.ts'
import { checkAnnouncement } from '../../src/layer2/announcement-check.ts'
import { elect } from '../../src/layer2/election.ts'
import type { KubeObject } from '../../src/ports/kube.ts'
import { decide as decideReview } from '../../src/webhook/decide.ts'
import { accepted, bgp, l2, NODES, peer, pool, problemsOf, profile, resources, told } from './config-cases.ts'

const FOUR = { addresses: ['192.0.2.0/30'] }
const BOTH = { addresses: ['198.51.100.0/30', '2001:db8:1::/126'] }
const PINNED = { addresses: ['203.0.113.0/30'], serviceAllocation: { namespaces: ['red'] } }
const OFF = { addresses: ['203.0.113.128/30'], autoAssign: false }

type Pools = Readonly<Record<string, PoolSpec>>

const isConfig = (value: Pools | Config): value is Config => 'l2Advertisements' in value

/** `pool: ips`, or the code of what it waits for. */
const outcome = (d: Decision | undefined) =>
  d === undefined ? 'nothing' : d.pending === null ? `${d.pool}: ${d.ips.join(' ')}` : d.pending.code

/** What a Service gets that is made with these options. */
function given(pools: Pools | Config, options: ServiceOptions = {}): string {
  const config = isConfig(pools) ? pools : configOf(pools)
  return outcome(plan(config, [service('s', options)])[0])
}

const ip = (text: string): Ip => {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

// What is kept

test('Q-2 a pool with serviceAllocation is for those whom it names; others fall back to pools without it', () => {
  const pools = { 'a-pinned': PINNED, 'b-plain': FOUR }
  assert.equal(given(pools, { namespace: 'red' }), 'a-pinned: 203.0.113.0')
  assert.equal(given(pools, { namespace: 'blue' }), 'b-plain: 192.0.2.0')
  assert.equal(given({ 'a-pinned': PINNED }, { namespace: 'blue' }), 'noSuitablePool')
  const full = { 'a-pinned': { ...PINNED, addresses: ['203.0.113.0/32'] }, 'b-plain': FOUR }
  const decisions = plan(
    configOf(full),
    [1, 2].map(created => service(`s${created}`, { namespace: 'red', created })),
  )
  assert.deepEqual(decisions.map(outcome), ['a-pinned: 203.0.113.0', 'b-plain: 192.0.2.0'])
})

test('Q-3 requested families must be those of the cluster IPs, PreferDualStack or not', () => {
  for (const policy of ['PreferDualStack', 'RequireDualStack']) {
    const asking = (loadBalancerIPs: string) =>
      given({ BOTH }, { clusterIPs: DUAL, policy, annotations: { loadBalancerIPs } })
    assert.equal(asking('198.51.100.2'), 'requestFamily')
    assert.equal(asking('2001:db8:1::2'), 'requestFamily')
    assert.equal(asking('198.51.100.2,2001:db8:1::2'), 'BOTH: 198.51.100.2 2001:db8:1::2')
  }
})

test('Q-4 IPv4 is written first when nothing is requested, and the first address decides the owner', () => {
  for (const clusterIPs of [DUAL, DUAL.toReversed()]) {
    assert.equal(given({ BOTH }, { clusterIPs }), 'BOTH: 198.51.100.0 2001:db8:1::')
  }
  const nodes = new Map(NODES.map(each => [each.name, each]))
  const config = accepted({ objects: [pool('p', ['192.0.2.0/24', '2001:db8::/64']), l2('ad')] })
  const owner = (...ips: Ip[]) =>
    elect({
      service: service('s'),
      ips,
      advertisements: config.l2Advertisements,
      nodes,
      alive: 'all',
      endpoints: { any: true, nodes: new Set() },
    }).owner
  const [four, six] = [ip('192.0.2.1'), ip('2001:db8::2')]
  assert.notEqual(owner(four), owner(six))
  assert.deepEqual([owner(four, six), owner(six, four)], [owner(four), owner(six)])
})

test('Q-5 autoAssign: false means nothing to who names the pool or an address of it', () => {
  assert.equal(given({ OFF }), 'noSuitablePool')
  assert.equal(given({ OFF }, { annotations: { 'address-pool': 'OFF' } }), 'OFF: 203.0.113.128')
  const annotations = { loadBalancerIPs: '203.0.113.130' }
  assert.equal(given({ OFF }, { annotations }), 'OFF: 203.0.113.130')
})

test('Q-6 an empty annotation under the newer prefix silences the older one', () => {
  const older = { 'metallb.universe.tf/address-pool': 'OFF' }
  assert.equal(given({ FOUR, OFF }, { annotations: older }), 'OFF: 203.0.113.128')
  assert.equal(given({ FOUR, OFF }, { annotations: { ...older, 'address-pool': '' } }), 'FOUR: 192.0.2.0')
})

const CONDITIONS: readonly (readonly [conditions: object, serves: boolean])[] = [
  [{}, true],
  [{ ready: true, terminating: true }, true],
  [{ ready: false }, false],
  [{ ready: false, serving: true }, true],
  [{ ready: false, serving: true, terminating: true }, true],
  [{ ready: false, serving: false, terminating: true }, false],
  [{ ready: false, terminating: false }, false],
]

function slicesWith(conditions: object) {
  return [
    endpointsFromSlice({
      metadata: { name: 's', namespace: 'default' },
      endpoints: [{ addresses: ['10.244.0.2'], nodeName: 'node-a', conditions }],
    }),
  ]
}

test('Q-7 an endpoint without `ready` is ready, serving counts as well, and terminating never', () => {
  for (const [conditions, serves] of CONDITIONS) {
    assert.equal(endpointNodes(slicesWith(conditions)).any, serves, JSON.stringify(conditions))
  }
})

function ownerWith(nodes: readonly NodeFacts[], endpoints: ReturnType<typeof endpointNodes>) {
  const config = accepted({ objects: [pool('p', ['192.0.2.0/24']), l2('ad')], nodes })
  return elect({
    service: service('s'),
    ips: [ip('192.0.2.1')],
    advertisements: config.l2Advertisements,
    nodes: new Map(nodes.map(each => [each.name, each])),
    alive: 'all',
    endpoints,
  })
}

test('Q-8 an endpoint is needed at layer 2 under Cluster too, wherever it is', () => {
  const none = ownerWith(NODES, endpointNodes(slicesWith({ ready: false })))
  assert.deepEqual([none.owner, none.reason], [null, 'noEndpoints'])
  const { owner } = ownerWith(NODES, endpointNodes(slicesWith({})))
  assert.ok(owner !== null)
  // The endpoint stays with node-a, and it is the owner for that as little as another one is.
  const elsewhere = ownerWith(
    NODES.filter(({ name }) => name !== 'node-a'),
    endpointNodes(slicesWith({})),
  )
  assert.ok(elsewhere.owner !== null)
})

test('Q-9 NotReady and a cordon do not matter; NetworkUnavailable and the label do', () => {
  const endpoints = { any: true, nodes: new Set<string>() }
  const owner = (facts: Partial<NodeFacts>) =>
    ownerWith([{ ...(NODES[0] as NodeFacts), ...facts }], endpoints).owner
  assert.equal(owner({ ready: false, unschedulable: true }), 'node-a')
  assert.equal(owner({ networkUnavailable: true }), null)
  assert.equal(owner({ labels: { [EXCLUDE_LABEL]: 'false' } }), null)
})

test('Q-12 peerPort ends at 16384, enableGracefulRestart stays, connectTime is 1 to 65535 whole seconds', () => {
  const schemas = crdSchemas()
  const refused = (spec: object) => schemaProblems(peer('p', spec), schemas).map(({ field }) => field)
  assert.deepEqual(refused({ peerPort: 16384 }), [])
  assert.deepEqual(refused({ peerPort: 16385 }), ['spec.peerPort'])
  const definition = readCrds().find(({ metadata }) => metadata.name === 'bgppeers.metallb.io')
  assert.ok(definition !== undefined)
  const { versions } = definition['spec'] as { versions: { name: string; schema: object }[] }
  const schema = versions.find(({ name }) => name === 'v1beta2')?.schema as {
    openAPIV3Schema: { properties: { spec: { properties: Record<string, object> } } }
  }
  const rules = (field: string) => {
    const found = schema.openAPIV3Schema.properties.spec.properties[field] as Record<
      string,
      { rule: string }[]
    >
    return found['x-kubernetes-validations']?.map(({ rule }) => rule)
  }
  assert.deepEqual(rules('enableGracefulRestart'), ['self == oldSelf'])
  assert.deepEqual(rules('connectTime'), [
    'duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535',
    'duration(self).getMilliseconds() % 1000 == 0',
  ])
  for (const [connectTime, good] of [
    ['1s', true],
    ['65535s', true],
    ['0s', false],
    ['1500ms', false],
    ['65536s', false],
  ] as const) {
    const parsed = parseConfig(resources({ objects: [peer('p', { connectTime })] }))
    assert.equal('config' in parsed, good, connectTime)
    if (!good) assert.deepEqual(told(problemsOf(parsed)), ['error timers-invalid BGPPeer/p spec.connectTime'])
  }
})

// What is not kept

test('Q-20 a range from one family to the other is refused, not taken as empty', () => {
  for (const range of ['192.0.2.1-2001:db8::1', '2001:db8::1-192.0.2.1']) {
    const parsed = parseConfig(resources({ objects: [pool('p', [range]), bgp('ad', { localPref: 5 })] }))
    assert.deepEqual(told(problemsOf(parsed)), [
      'error range-mixed-families IPAddressPool/p spec.addresses[0]',
    ])
  }
})

test('Q-21 namespaceSelectors that match no namespace close the pool, which is told', () => {
  const serviceAllocation = { namespaceSelectors: [{ matchLabels: { team: 'nobody' } }] }
  const config = configOf({ p: { ...FOUR, serviceAllocation } }, { default: {} })
  assert.equal(given(config), 'noSuitablePool')
  assert.equal(given(config, { annotations: { 'address-pool': 'p' } }), 'poolNotForService')
  const parsed = parseConfig(resources({ objects: [pool('p', ['192.0.2.0/24'], { serviceAllocation })] }))
  const [warning, ...more] = problemsOf(parsed)
  assert.deepEqual([warning?.severity, warning?.object.name, more], ['warning', 'p', []])
})

/** The outcomes of three passes, each over what the one before wrote; only the first one writes. */
function passes(pools: Pools, options: ServiceOptions): string[] {
  const config = configOf(pools)
  let services = [service('s', options)]
  return [0, 1, 2].map(pass => {
    const decisions = plan(config, services)
    assert.equal(
      decisions.some(({ write }) => write),
      pass === 0,
      `pass ${pass}`,
    )
    services = applyAll(services, decisions)
    return outcome(decisions[0])
  })
}

test('Q-22 PreferDualStack with one cluster IP and a pool of both families does not flip', () => {
  const policy = 'PreferDualStack'
  assert.deepEqual(passes({ BOTH }, { policy }), Array(3).fill('BOTH: 198.51.100.0'))
  assert.deepEqual(passes({ BOTH }, { policy, clusterIPs: V6 }), Array(3).fill('BOTH: 2001:db8:1::'))
})

test('Q-23 the status keeps the order of the request, at the second pass too', () => {
  for (const wanted of ['2001:db8:1::2 198.51.100.2', '198.51.100.2 2001:db8:1::2']) {
    const annotations = { loadBalancerIPs: wanted.replace(' ', ',') }
    assert.deepEqual(passes({ BOTH }, { clusterIPs: DUAL, annotations }), Array(3).fill(`BOTH: ${wanted}`))
  }
})

test('Q-24 equal pools are taken in the order of their names, however they come', () => {
  const pinned = (last: number) => ({
    addresses: [`203.0.113.${last}/32`],
    serviceAllocation: { priority: 7, namespaces: ['default'] },
  })
  const plain = (last: number) => ({ addresses: [`192.0.2.${last}/32`] })
  const pools = Object.entries({ z: plain(1), b: pinned(2), y: plain(3), a: pinned(4) })
  const services = [1, 2, 3, 4].map(created => service(`s${created}`, { created }))
  const wanted = ['a: 203.0.113.4', 'b: 203.0.113.2', 'y: 192.0.2.3', 'z: 192.0.2.1']
  for (const order of [pools, pools.toReversed()]) {
    assert.deepEqual(plan(configOf(Object.fromEntries(order)), services).map(outcome), wanted)
  }
})

test('Q-25 sharing knows no namespaces: under Local too, where the text of the selector is the same', () => {
  const sharing = (namespace: string, port: number, app: string) =>
    service(`s${port}`, {
      namespace,
      created: port,
      ports: [`TCP/${port}`],
      annotations: { 'allow-shared-ip': 'k' },
      spec: { externalTrafficPolicy: 'Local', selector: { app } },
    })
  const shared = [sharing('red', 80, 'web'), sharing('blue', 443, 'web'), sharing('blue', 8080, 'db')]
  assert.deepEqual(plan(configOf({ FOUR }), shared).map(outcome), [
    'FOUR: 192.0.2.0',
    'FOUR: 192.0.2.0',
    'FOUR: 192.0.2.1',
  ])
})

test('Q-26 a hold time of less than a second still counts as 0, and a warning says so', () => {
  const parsed = parseConfig(resources({ objects: [peer('p', { holdTime: '500ms' })] }))
  assert.ok('config' in parsed)
  assert.equal(parsed.config.peers[0]?.holdTimeMs, 0)
  assert.deepEqual(told(parsed.warnings), ['warning timers-invalid BGPPeer/p spec.holdTime'])
})

test('Q-27 disableMP spares a new BGPPeer no check of the webhook', () => {
  const review = (spec: object) => {
    const object = peer('p', { disableMP: true, ...spec })
    const { name, namespace = '' } = object.metadata
    const request = { uid: 'u', operation: 'CREATE', kind: 'BGPPeer', name, namespace, object } as const
    const { secrets: _, ...given } = resources({ objects: [] })
    const all = { bgpAdvertisements: [], bgpPeers: [], bfdProfiles: [], communities: [], ...given }
    return decideReview({ ...request, oldObject: undefined }, 'BGPPeer', all, 'metallb-system')
  }
  const bad = review({ myASN: 0 })
  assert.equal(bad.allowed, false)
  assert.match(bad.message, /myASN/)
  const good = review({})
  assert.equal(good.allowed, true)
  assert.match(good.warnings.join(), /disableMP/)
})

test('Q-28 a localPref of 0 is none: a router of our AS is sent no LOCAL_PREF', () => {
  const prefs = (localPref: number | undefined) => {
    const config = accepted({
      objects: [
        pool('p', ['192.0.2.0/24']),
        bgp('ad', localPref === undefined ? {} : { localPref }),
        peer('p', { peerASN: 64496 }),
      ],
    })
    const [router] = config.peers
    const [advertisement] = config.bgpAdvertisements
    const [prefix] = config.pools[0]?.prefixes ?? []
    assert.ok(router !== undefined && advertisement !== undefined && prefix !== undefined)
    const offer: Offer = { prefix, advertisement }
    return routesForPeer(router, [['default/web', [offer]]]).map(route => route.localPref)
  }
  assert.deepEqual([prefs(undefined), prefs(0), prefs(7)], [[null], [null], [7]])
})

test('Q-29 the configuration without the last BFDProfile is another one, so it is taken up', () => {
  const rest = [pool('p', ['192.0.2.0/24']), peer('p')]
  const before = accepted({ objects: [...rest, profile('last')] })
  const after = accepted({ objects: rest })
  assert.deepEqual([before.bfdProfiles.length, after.bfdProfiles.length], [1, 0])
  assert.equal(sameConfig(before, after), false)
})

test('Q-30 localASN and sourceAddress are read, and localASN decides who is of our AS', () => {
  const spec = { localASN: 64999, sourceAddress: '192.0.2.9', peerASN: 64999 }
  const [router] = accepted({ objects: [peer('p', spec)] }).peers
  assert.ok(router !== undefined)
  assert.deepEqual([router.localAsn, router.sourceAddress], [64999, '192.0.2.9'])
  assert.equal(isInternal(router), true)
  assert.equal(isInternal({ ...router, localAsn: undefined }), false)
})

test('Q-35 a Service that may share and an advertisement that selects: not announced, and a condition says why', () => {
  const check = (annotations: Record<string, string>, ad: KubeObject) => {
    const config = accepted({ objects: [pool('p', ['192.0.2.0/24']), ad] })
    return checkAnnouncement({
      service: service('s', { labels: { app: 'web' }, annotations }),
      ips: [ip('192.0.2.1')],
      pool: 'p',
      config,
      nodes: new Map(NODES.map(each => [each.name, each])),
      endpoints: { any: true, nodes: new Set(['node-a']) },
    })
  }
  const selecting = l2('selecting', { serviceSelectors: [{ matchLabels: { app: 'web' } }] })
  const silent = check({ 'allow-shared-ip': 'k' }, selecting)
  assert.deepEqual([silent.announced, silent.reason], [false, 'SharedIPWithServiceSelector'])
  assert.match(silent.message, /allow-shared-ip.*selecting/)
  assert.equal(check({}, selecting).announced, true)
  assert.equal(check({ 'allow-shared-ip': 'k' }, l2('plain')).announced, true)
})
