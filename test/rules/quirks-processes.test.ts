// The quirks of the reference of MetalLB's behaviour (its section 6) that show in what the running processes write, report
// and answer. The others are in quirks.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, type Ipv4, isIpv4, parseIp } from '../../src/addr/ip.ts'
import { type Mac, parseMac } from '../../src/addr/mac.ts'
import { plan } from '../../src/allocator/allocator.ts'
import { configOf, DUAL, type PoolSpec, type ServiceOptions, service } from '../../src/allocator/fixtures.ts'
import { Cluster, NAMESPACE } from '../../src/app/controller-cluster.ts'
import { CONTROLLER_METRICS } from '../../src/app/controller-metrics.ts'
import { Speaker } from '../../src/app/speaker.ts'
import { SPEAKER_METRICS } from '../../src/app/speaker-metrics.ts'
import { speakerLease } from '../../src/config/speakers.ts'
import { Reflex } from '../../src/layer2/driver.ts'
import { METALLB_RULES } from '../../src/layer2/election.ts'
import { DEFAULT_EXCLUDED_INTERFACES } from '../../src/layer2/nics.ts'
import type { ReflexCommand, ReflexReport } from '../../src/layer2/reflex.ts'
import { FakeClock } from '../../src/ports/clock.ts'
import { FakeEventSink } from '../../src/ports/events.ts'
import { type KubeObject, RESOURCES } from '../../src/ports/kube.ts'
import { FakeKube } from '../../src/ports/kube-fake.ts'
import { FakeLinks, type Link } from '../../src/ports/links.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { FakeMetrics } from '../../src/ports/metrics.ts'
import { FakeMulticastGroups } from '../../src/ports/multicast.ts'
import { FakeSegment } from '../../src/ports/packet-socket.ts'
import { SeededRandom } from '../../src/ports/random.ts'
import { type MetricDefinition, PrometheusMetrics } from '../../src/sys/metrics.ts'
import { arpRequest, decodeArpFrame, encodeArpFrame } from '../../src/wire/arp.ts'

const LAN = { lan: { addresses: ['192.0.2.10-192.0.2.12'] } }
const VIP = '192.0.2.100'
const STALE = 'metallb_k8s_client_config_stale_bool'

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function ipv4(text: string): Ipv4 {
  const parsed = ip(text)
  assert.ok(isIpv4(parsed))
  return parsed
}

function mac(text: string): Mac {
  const parsed = parseMac(text)
  assert.ok(parsed !== undefined)
  return parsed
}

/** The speaker of node1 of two, which owns what the test says, for the Service `web` with VIP. */
class Rig {
  readonly clock = new FakeClock()
  readonly kube = new FakeKube({ clock: this.clock })
  readonly events = new FakeEventSink()
  readonly metrics = new FakeMetrics()
  readonly log = new FakeLog()
  readonly links = new FakeLinks()
  readonly commands: ReflexCommand[] = []
  readonly #stop = new AbortController()
  #listener: (report: ReflexReport) => void = () => {}
  #running: Promise<void> | undefined

  async start(): Promise<this> {
    const { kube, events, metrics, clock, log } = this
    for (const name of ['default', NAMESPACE]) kube.seed(RESOURCES.namespaces, { metadata: { name } })
    for (const i of [1, 2]) {
      const addresses = [{ type: 'InternalIP', address: `192.0.2.${i}` }]
      kube.seed(RESOURCES.nodes, { metadata: { name: `node${i}` }, status: { addresses } })
    }
    kube.seed(RESOURCES.leases, speakerLease({ node: 'node2', links: [] }, NAMESPACE, 0))
    const metadata = (name: string) => ({ name, namespace: NAMESPACE })
    this.pool('192.0.2.100-192.0.2.199')
    kube.seed(RESOURCES.l2Advertisements, { metadata: metadata('ad'), spec: {} })
    const secretkey = Buffer.from('a cluster key').toString('base64')
    kube.seed(RESOURCES.secrets, { metadata: metadata('memberlist'), data: { secretkey } })
    this.web(VIP)
    kube.seed(RESOURCES.endpointSlices, {
      metadata: { name: 'w', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
      endpoints: [{ addresses: ['10.244.0.2'], nodeName: 'node2' }],
    })
    const speaker = new Speaker(
      {
        node: 'node1',
        namespace: NAMESPACE,
        loadBalancerClass: undefined,
        ignoreExcludeLabel: false,
        rules: METALLB_RULES,
        excludedInterfaces: DEFAULT_EXCLUDED_INTERFACES,
        secretName: 'memberlist',
        podName: undefined,
        drainMs: 50,
      },
      {
        kube,
        events,
        metrics,
        clock,
        random: new SeededRandom(1),
        log,
        links: this.links,
        reflex: {
          post: command => {
            this.commands.push(command)
            if (command.type === 'drain') queueMicrotask(() => this.#listener({ type: 'drained' }))
          },
          onReport: listener => {
            this.#listener = listener
          },
        },
      },
    )
    this.#running = speaker.run(this.#stop.signal)
    await this.settle()
    return this
  }

  pool(range: string): void {
    const metadata = { name: 'lan', namespace: NAMESPACE }
    this.kube.seed(RESOURCES.ipAddressPools, { metadata, spec: { addresses: [range] } })
  }

  web(address: string, labels: Record<string, string> = {}): void {
    this.kube.seed(RESOURCES.services, {
      metadata: { name: 'web', namespace: 'default', labels },
      spec: { type: 'LoadBalancer', clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
      status: { loadBalancer: { ingress: [{ ip: address }] } },
    })
  }

  async settle(): Promise<void> {
    for (let step = 0; step < 10; step++) {
      await this.kube.settle()
      this.clock.advance(10)
    }
  }

  async own(address: string, owned: boolean): Promise<void> {
    const because = { type: 'node', node: 'node2', level: 'down', silentMs: 251 } as const
    const change = {
      ip: ip(address),
      services: ['default/web'],
      owned,
      interfaces: ['eth0'],
      atWallMs: 0,
      because,
    }
    this.#listener({ type: 'owned', changes: [change] })
    await this.settle()
  }

  /** Whether the reflex thread was told last that this node is a candidate for the address. */
  planned(address: string): boolean {
    let planned = false
    for (const command of this.commands) {
      if (command.type !== 'plan') continue
      if (command.set.some(vip => vip.ip === address)) planned = true
      if (command.remove.some(each => each === address)) planned = false
    }
    return planned
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.settle()
    await this.#running
  }
}

test('Q-10 one wrong object refuses the whole configuration, and the last good one stays', async () => {
  const cluster = new Cluster(LAN)
  await cluster.start()
  const metadata = (name: string) => ({ name, namespace: NAMESPACE })
  cluster.kube.seed(RESOURCES.ipAddressPools, { metadata: metadata('bad'), spec: { addresses: ['x'] } })
  cluster.kube.seed(RESOURCES.ipAddressPools, {
    metadata: metadata('good'),
    spec: { addresses: ['198.51.100.0/24'] },
  })
  cluster.seed('a', { annotations: { 'address-pool': 'good' } })
  cluster.seed('b')
  await cluster.settle()
  assert.deepEqual([cluster.ips('a'), cluster.ips('b')], [[], ['192.0.2.10']])
  assert.equal(cluster.metrics.values.get(STALE), 1)
  await cluster.stop()
})

test('Q-10 a speaker refuses a configuration that orphans what it announces, until it announces it no more', async () => {
  const rig = await new Rig().start()
  await rig.own(VIP, true)
  rig.pool('192.0.2.150-192.0.2.199')
  await rig.settle()
  assert.deepEqual([rig.metrics.values.get(STALE), rig.planned(VIP)], [1, true])
  rig.web('192.0.2.150')
  await rig.own(VIP, false)
  const now = [rig.metrics.values.get(STALE), rig.planned(VIP), rig.planned('192.0.2.150')]
  assert.deepEqual(now, [0, false, true])
  await rig.stop()
})

test('Q-11 of a Service only status and the annotation are written, through services/status', async () => {
  const cluster = new Cluster(LAN)
  const labels = { app: 'web' }
  cluster.seed('web', { labels, annotations: { 'other.example/note': 'kept' } })
  const name = { namespace: 'default', name: 'web' }
  const before = cluster.kube.peek(RESOURCES.services, name)
  await cluster.start()
  await cluster.kube.patch(RESOURCES.services, name, { spec: { type: 'ClusterIP' } }, { type: 'merge' })
  await cluster.pass(6000, 500)
  const ours = cluster.kube.writes.filter(
    ({ resource, subresource }) => resource.plural === 'services' && subresource === 'status',
  )
  assert.ok(ours.length >= 2, 'given and taken')
  // The only other one is that of this test.
  assert.equal(cluster.serviceWrites, ours.length + 1)
  for (const { verb, body } of ours) {
    const { metadata, status, apiVersion: _, kind: __, ...more } = body as KubeObject
    assert.deepEqual([verb, more, typeof status], ['patch', {}, 'object'])
    const { name: ___, namespace: ____, resourceVersion, annotations = {}, ...others } = metadata
    assert.deepEqual(others, {})
    assert.notEqual(resourceVersion, undefined)
    for (const key of Object.keys(annotations)) assert.equal(key, 'metallb.io/ip-allocated-from-pool')
  }
  const after = cluster.kube.peek(RESOURCES.services, name)
  assert.deepEqual(after?.['spec'], { ...(before?.['spec'] as object), type: 'ClusterIP' })
  assert.deepEqual(
    [after?.metadata.labels, after?.metadata.annotations],
    [labels, { 'other.example/note': 'kept' }],
  )
  await cluster.stop()
})

/** `type label,label`, of those metrics that bear MetalLB's name. */
const shown = (definitions: readonly MetricDefinition[]) =>
  Object.fromEntries(
    definitions
      .filter(({ name }) => name.startsWith('metallb_'))
      .map(({ name, type, labels }) => [name, `${type} ${labels.join()}`]),
  )

test('Q-13 the metrics have the names, types and labels that dashboards know', () => {
  assert.deepEqual(shown(CONTROLLER_METRICS), {
    metallb_allocator_addresses_total: 'gauge pool',
    metallb_allocator_ipv4_addresses_total: 'gauge pool',
    metallb_allocator_ipv6_addresses_total: 'gauge pool',
    metallb_allocator_addresses_in_use_total: 'gauge pool',
    metallb_allocator_ipv4_addresses_in_use_total: 'gauge pool',
    metallb_allocator_ipv6_addresses_in_use_total: 'gauge pool',
    metallb_k8s_client_updates_total: 'counter ',
    metallb_k8s_client_update_errors_total: 'counter ',
    metallb_k8s_client_config_loaded_bool: 'gauge ',
    metallb_k8s_client_config_stale_bool: 'gauge ',
  })
  assert.deepEqual(shown(SPEAKER_METRICS), {
    metallb_speaker_announced: 'gauge service,protocol,node,ip',
    metallb_layer2_requests_received: 'counter ip',
    metallb_layer2_responses_sent: 'counter ip',
    metallb_layer2_gratuitous_sent: 'counter ip',
    metallb_k8s_client_updates_total: 'counter ',
    metallb_k8s_client_update_errors_total: 'counter ',
    metallb_k8s_client_config_loaded_bool: 'gauge ',
    metallb_k8s_client_config_stale_bool: 'gauge ',
  })
})

const POOLS: Readonly<Record<string, PoolSpec>> = {
  FOUR: { addresses: ['192.0.2.0/30'] },
  SMALL: { addresses: ['198.51.100.0/32'], autoAssign: false },
}
const HELD = { status: ['192.0.2.1'], pool: 'FOUR' }
const TOLD: readonly (readonly [ServiceOptions, ...string[]])[] = [
  [{}, 'IPAllocated'],
  [{ ...HELD, status: ['203.0.113.9'] }, 'ClearAssignment', 'IPAllocated'],
  [{ ...HELD, clusterIPs: DUAL, policy: 'PreferDualStack' }, 'AdditionalAssignFailed'],
  [{ annotations: { loadBalancerIPs: '203.0.113.9' } }, 'AllocationFailed'],
  [{ ...HELD, annotations: { loadBalancerIPs: 'nonsense' } }, 'LoadBalancerFailed'],
  [{ policy: 'RequireDualStack' }, 'not enough clusterips'],
  [{ ...HELD, status: ['192.0.2.1', '192.0.2.2'] }, 'nolbIPsIPFamily', 'IPAllocated'],
  [{ clusterIPs: ['10.96.0.1', '10.96.0.2'] }, 'noclusterIPsIPFamily'],
  [{ annotations: { 'metallb.universe.tf/address-pool': 'SMALL' } }, 'IPAllocated', 'deprecatedAnnotation'],
]
/** What is told with type Normal; all else is a Warning. */
const NORMAL = ['IPAllocated', 'ClearAssignment', 'AdditionalAssignFailed']

test('Q-14 the reasons of Events are those that alerts know, the one with spaces too', () => {
  for (const [options, ...reasons] of TOLD) {
    const [decision] = plan(configOf(POOLS), [service('s', options)])
    assert.deepEqual(
      decision?.events.map(({ type, reason }) => [reason, type]),
      reasons.map(reason => [reason, NORMAL.includes(reason) ? 'Normal' : 'Warning']),
    )
  }
})

test('Q-32 a node tells once that it announces a Service, however often the Service changes', async () => {
  const rig = await new Rig().start()
  await rig.own(VIP, true)
  for (const turn of ['1', '2', '3']) {
    rig.web(VIP, { turn })
    await rig.settle()
  }
  assert.deepEqual(
    rig.events.events.map(({ type, reason, about }) => [type, reason, about.name]),
    [['Normal', 'nodeAssigned', 'web']],
  )
  await rig.stop()
})

test('Q-32 no metric is declared that nothing ever sets', async () => {
  const cluster = new Cluster(LAN)
  cluster.seed('web')
  await cluster.start()
  await cluster.settle()
  const named = (values: ReadonlyMap<string, number>) =>
    new Set([...values.keys()].map(series => series.replace(/\{.*/, '')))
  const set = named(cluster.metrics.values)
  const unset = CONTROLLER_METRICS.filter(({ name, type }) => type === 'gauge' && !set.has(name))
  assert.deepEqual(
    unset.map(({ name }) => name),
    [],
  )
  assert.equal(set.has('metallb_allocator_services_allocated_total'), false)
  // What is set and not declared would end the process.
  const real = new PrometheusMetrics(CONTROLLER_METRICS)
  for (const name of set) assert.doesNotThrow(() => real.add(name, {}, 0))
  await cluster.stop()
})

const LINK: Link = {
  index: 2,
  name: 'eth0',
  mac: mac('00:00:5e:00:53:0a'),
  up: true,
  carrier: true,
  loopback: false,
  broadcast: true,
  noArp: false,
  master: undefined,
  addresses: [
    { ip: ip('192.0.2.1'), prefixLength: 24, tentative: false },
    { ip: ip('fe80::1'), prefixLength: 64, tentative: false },
  ],
}

/** A node by itself that owns VIP and an IPv6 address. On interfaces named in `refuse` no socket can be opened. */
function lonely(links: readonly Link[], refuse: readonly number[] = []) {
  const parts = {
    clock: new FakeClock(),
    links: new FakeLinks(),
    groups: new FakeMulticastGroups(),
    log: new FakeLog(),
    segment: new FakeSegment(),
  }
  const { clock, segment } = parts
  parts.links.set(links)
  const packetSockets: Pick<FakeSegment, 'open'> = {
    open: options => {
      if (refuse.includes(options.interfaceIndex)) throw new Error('no such device')
      return segment.open(options)
    },
  }
  const options = { self: 'node1', epoch: 1, intervalMs: 20, misses: 4, returnAfterMs: 0 }
  const reflex = new Reflex(
    { ...options, excludedInterfaces: DEFAULT_EXCLUDED_INTERFACES },
    { ...parts, packetSockets, sendHeartbeat: () => {}, report: () => {} },
  )
  const claims = [
    {
      service: 'default/web',
      ahead: [],
      behind: [],
      truncated: false,
      interfaces: 'all' as const,
      mode: 'single' as const,
    },
  ]
  const set = [VIP, '2001:db8::100'].map(address => ({ ip: ip(address), claims }))
  reflex.command({ type: 'peers', peers: [], self: ip('192.0.2.1') })
  reflex.command({ type: 'key', key: new Uint8Array(22).fill(1) })
  reflex.command({ type: 'plan', set, remove: [] })
  clock.advance(400)
  const client = { mac: mac('00:00:5e:00:53:cc'), ip: ipv4('192.0.2.201') }
  /** The MACs that answer a client's request for VIP. */
  const ask = () => {
    const before = segment.frames.length
    segment.inject(encodeArpFrame(arpRequest(client, ipv4(VIP))))
    return segment.frames.slice(before).map(({ frame }) => decodeArpFrame(frame).arp.senderMac)
  }
  return { ...parts, reflex, ask }
}

test('Q-34 a late interface joins the group of an address that is announced already', () => {
  const { reflex, links, groups } = lonely([LINK])
  assert.deepEqual(groups.joined, ['2 ff02::1:ff00:100'])
  links.set([LINK, { ...LINK, index: 3, name: 'eth1', mac: mac('00:00:5e:00:53:0b') }])
  assert.deepEqual(groups.joined, ['2 ff02::1:ff00:100', '3 ff02::1:ff00:100'])
  reflex.close()
})

test('Q-34 an interface that gets another MAC answers with that one', () => {
  const { reflex, links, ask } = lonely([LINK])
  assert.deepEqual(ask(), [LINK.mac])
  const changed = mac('00:00:5e:00:53:77')
  links.set([{ ...LINK, mac: changed }])
  assert.deepEqual(ask(), [changed])
  reflex.close()
})

test('Q-34 an interface that refuses its sockets does not keep the next one from answering', () => {
  const second = mac('00:00:5e:00:53:0b')
  const { reflex, log, ask } = lonely([LINK, { ...LINK, index: 3, name: 'eth1', mac: second }], [2])
  assert.deepEqual(ask(), [second])
  assert.ok(log.lines.some(({ event }) => event === 'packet-socket-refused'))
  reflex.close()
})

test('Q-36 a deleted Node is no peer of the speaker any more', async () => {
  const rig = await new Rig().start()
  const peers = () => {
    const last = rig.commands.findLast(command => command.type === 'peers')
    return last?.peers.map(({ name }) => name)
  }
  assert.deepEqual(peers(), ['node2'])
  rig.kube.remove(RESOURCES.nodes, { namespace: '', name: 'node2' })
  await rig.settle()
  assert.deepEqual(peers(), [])
  await rig.stop()
})
