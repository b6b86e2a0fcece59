import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseIp } from '../addr/ip.ts'
import { parseMac } from '../addr/mac.ts'
import { parsePrefix } from '../addr/prefix.ts'
import { type SpeakerLink, speakerFromLease, speakerLease } from '../config/speakers.ts'
import { LODESTONE_RULES } from '../layer2/election.ts'
import type { ReflexCommand, ReflexReport } from '../layer2/reflex.ts'
import { FakeEventSink } from '../ports/events.ts'
import { type KubeObject, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLinks, type Link } from '../ports/links.ts'
import { FakeLog } from '../ports/log.ts'
import { FakeMetrics } from '../ports/metrics.ts'
import { SeededRandom } from '../ports/random.ts'
import { SystemClock } from '../sys/clock.ts'
import { Speaker } from './speaker.ts'

const NAMESPACE = 'metallb-system'
const VIP = '192.0.2.100'
/** SHA-256 of node3#, node2# and node1#192.0.2.101 start 3f01, 5e2d and b183: node1 is the last. */
const LAST = '192.0.2.101'

/** Waits for what comes in its own time; the wall clock only bounds the waiting. */
async function waitFor(what: string, condition: () => boolean): Promise<void> {
  const end = Date.now() + 5000
  while (!condition()) {
    assert.ok(Date.now() < end, `waited in vain for ${what}`)
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}

function node(name: string, address: string, labels: Record<string, string> = {}): KubeObject {
  return {
    metadata: { name, labels },
    status: { addresses: [{ type: 'InternalIP', address }], conditions: [{ type: 'Ready', status: 'True' }] },
  }
}

function service(name: string, ip: string | undefined, spec: Record<string, unknown> = {}): KubeObject {
  return {
    metadata: { name, namespace: 'default' },
    spec: { type: 'LoadBalancer', clusterIP: '10.96.0.10', ports: [{ port: 80 }], ...spec },
    status: { loadBalancer: ip === undefined ? {} : { ingress: [{ ip }] } },
  }
}

function slice(name: string, nodeName: string): KubeObject {
  return {
    metadata: { name: `${name}-x`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.244.1.2'], nodeName, conditions: { ready: true } }],
    ports: [{ port: 8080, protocol: 'TCP' }],
  }
}

const ETH0: Link = {
  index: 2,
  name: 'eth0',
  mac: parseMac('00:00:5e:00:53:01'),
  up: true,
  carrier: true,
  loopback: false,
  broadcast: true,
  noArp: false,
  master: undefined,
  addresses: [{ ip: ip('192.0.2.11'), prefixLength: 24, tentative: false }],
}
const LAN: SpeakerLink = { name: 'eth0', mac: undefined, prefixes: [prefix('192.0.2.0/24')] }

function ip(text: string) {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function prefix(text: string) {
  const parsed = parsePrefix(text)
  assert.ok(parsed !== undefined)
  return parsed
}

/** A speaker on node1 of three, over a cluster and a reflex thread that the test plays. */
class Rig {
  readonly kube = new FakeKube()
  readonly events = new FakeEventSink()
  readonly metrics = new FakeMetrics()
  readonly log = new FakeLog()
  readonly links = new FakeLinks()
  readonly commands: ReflexCommand[] = []
  readonly stop = new AbortController()
  readonly speaker: Speaker
  #listener: (report: ReflexReport) => void = () => {}
  running: Promise<void> | undefined
  failPlans = false

  constructor() {
    for (const name of ['default', NAMESPACE]) this.kube.seed(RESOURCES.namespaces, { metadata: { name } })
    for (const i of [1, 2, 3]) this.kube.seed(RESOURCES.nodes, node(`node${i}`, `192.0.2.1${i}`))
    for (const name of ['node2', 'node3']) this.register(name)
    this.links.set([ETH0])
    this.kube.seed(RESOURCES.ipAddressPools, {
      metadata: { name: 'lan', namespace: NAMESPACE },
      spec: { addresses: ['192.0.2.100-192.0.2.199'] },
    })
    this.kube.seed(RESOURCES.l2Advertisements, { metadata: { name: 'lan', namespace: NAMESPACE }, spec: {} })
    this.speaker = new Speaker(
      {
        node: 'node1',
        namespace: NAMESPACE,
        loadBalancerClass: undefined,
        ignoreExcludeLabel: false,
        rules: LODESTONE_RULES,
        excludedInterfaces: [/^veth/],
        secretName: 'memberlist',
        podName: undefined,
        drainMs: 50,
      },
      {
        kube: this.kube,
        events: this.events,
        metrics: this.metrics,
        clock: new SystemClock(),
        random: new SeededRandom(1),
        log: this.log,
        links: this.links,
        reflex: {
          post: command => {
            if (this.failPlans && command.type === 'plan') throw new Error('no plans today')
            this.commands.push(command)
            if (command.type === 'drain') queueMicrotask(() => this.report({ type: 'drained' }))
          },
          onReport: listener => {
            this.#listener = listener
          },
        },
      },
    )
  }

  /** The speaker of that node says that it is there. */
  register(node: string, links: readonly SpeakerLink[] = [LAN], at = 0): void {
    this.kube.seed(RESOURCES.leases, speakerLease({ node, links }, NAMESPACE, at))
  }

  secret(): void {
    this.kube.seed(RESOURCES.secrets, {
      metadata: { name: 'memberlist', namespace: NAMESPACE },
      data: { secretkey: Buffer.from('a cluster key').toString('base64') },
    })
  }

  start(): void {
    this.running = this.speaker.run(this.stop.signal)
    this.running.catch(() => {})
  }

  report(report: ReflexReport): void {
    this.#listener(report)
  }

  /** The last plan for the address: 'none' when it was removed or never planned. */
  planned(ip: string): string {
    let last = 'none'
    for (const command of this.commands) {
      if (command.type !== 'plan') continue
      for (const vip of command.set)
        if (vip.ip === ip) last = vip.claims.map(claim => claim.ahead.join()).join(';')
      if (command.remove.some(each => each === ip)) last = 'none'
    }
    return last
  }

  owned(ip: string, owned: boolean, services = ['default/web'], interfaces = ['eth0']): void {
    const address = parseIp(ip)
    assert.ok(address !== undefined)
    this.report({
      type: 'owned',
      changes: [
        {
          ip: address,
          services,
          owned,
          interfaces,
          atWallMs: Date.UTC(2026, 0, 1),
          because: { type: 'node', node: 'node3', level: 'down', silentMs: 251 },
        },
      ],
    })
  }

  async end(): Promise<void> {
    this.stop.abort()
    await this.running
  }
}

test('a Service with an address, an advertisement and an endpoint is planned with who goes ahead (L-7)', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', LAST))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(LAST) !== 'none')
  assert.equal(rig.planned(LAST), 'node3,node2')
  const peers = rig.commands.findLast(command => command.type === 'peers')
  assert.deepEqual(peers, {
    type: 'peers',
    self: '192.0.2.11',
    peers: [
      { name: 'node2', ip: '192.0.2.12' },
      { name: 'node3', ip: '192.0.2.13' },
    ],
  })
  await rig.end()
})

test('a Node without a registered speaker is neither a peer nor a candidate', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.remove(RESOURCES.leases, { namespace: NAMESPACE, name: 'lodestone-speaker.node3' })
  rig.kube.seed(RESOURCES.services, service('web', LAST))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(LAST) === 'node2')
  const peers = () =>
    rig.commands.flatMap(command => (command.type === 'peers' ? [command.peers.map(({ name }) => name)] : []))
  assert.deepEqual(peers(), [['node2']])
  rig.register('node3')
  await waitFor('its speaker', () => rig.planned(LAST) === 'node3,node2')
  assert.deepEqual(peers(), [['node2'], ['node2', 'node3']])
  await rig.end()
})

test('this speaker registers with its links when its plan is made, speaks when that is seen, and registers again', async () => {
  const rig = new Rig()
  const own = { namespace: NAMESPACE, name: 'lodestone-speaker.node1' }
  const keys = () => rig.commands.filter(command => command.type === 'key').length
  rig.start()
  await waitFor('readiness', () => rig.speaker.ready)
  await rig.kube.settle()
  assert.equal(rig.kube.peek(RESOURCES.leases, own), undefined, 'who is silent does not count for a majority')
  rig.secret()
  await waitFor('the key', () => keys() === 1)
  const links = () => speakerFromLease(rig.kube.peek(RESOURCES.leases, own) ?? slice('none', ''))?.links
  assert.deepEqual(links(), [{ ...LAN, mac: '00:00:5e:00:53:01' }])
  rig.links.set([
    ETH0,
    { ...ETH0, index: 3, name: 'eth1', addresses: [] },
    { ...ETH0, index: 4, name: 'veth7' },
  ])
  await waitFor(
    'the other link',
    () =>
      links()
        ?.map(({ name }) => name)
        .join() === 'eth0,eth1',
  )
  rig.kube.remove(RESOURCES.leases, own)
  await waitFor('the Lease', () => rig.kube.peek(RESOURCES.leases, own) !== undefined)
  assert.equal(keys(), 1)
  await rig.end()
})

test('a renewal of a Lease is no news; other links are, where the subnet counts', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', LAST))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(LAST) === 'node3,node2')
  await waitFor('the key', () => rig.commands.some(command => command.type === 'key'))
  const before = rig.commands.length
  rig.register('node3', [LAN], 10_000)
  await rig.kube.settle()
  rig.register('node2', [{ ...LAN, prefixes: [prefix('198.51.100.0/24')] }])
  await waitFor('the new plan', () => rig.planned(LAST) === 'node3')
  assert.deepEqual(
    rig.commands.slice(before).map(command => command.type),
    ['plan'],
  )
  await rig.end()
})

test('without any link left nothing is planned anew: the reflex thread is silent by itself', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the key', () => rig.commands.some(command => command.type === 'key'))
  const before = rig.commands.length
  rig.links.set([{ ...ETH0, carrier: false }])
  rig.links.set([ETH0])
  // Comes after those.
  rig.kube.seed(RESOURCES.services, service('other', LAST))
  rig.kube.seed(RESOURCES.endpointSlices, slice('other', 'node2'))
  await waitFor('the other plan', () => rig.planned(LAST) !== 'none')
  const planned = rig.commands
    .slice(before)
    .flatMap(command =>
      command.type === 'plan' ? [...command.set.map(({ ip }) => ip), ...command.remove] : [],
    )
  assert.deepEqual(planned, [LAST])
  await rig.end()
})

test('a node that is cordoned goes behind the others', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', LAST))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(LAST) === 'node3,node2')
  for (const i of [2, 3]) {
    rig.kube.seed(RESOURCES.nodes, { ...node(`node${i}`, `192.0.2.1${i}`), spec: { unschedulable: true } })
  }
  await waitFor('the new plan', () => rig.planned(LAST) === '')
  await rig.end()
})

test('nothing is planned before the cluster key is known, and a lost key changes nothing', async () => {
  const rig = new Rig()
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('readiness', () => rig.speaker.ready)
  await new Promise(resolve => setTimeout(resolve, 20))
  assert.equal(rig.planned(VIP), 'none')
  assert.ok(rig.log.lines.some(line => line.event === 'no-cluster-key'))
  rig.secret()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  rig.kube.remove(RESOURCES.secrets, { namespace: NAMESPACE, name: 'memberlist' })
  await waitFor('the warning', () => rig.log.lines.some(line => line.event === 'cluster-key-missing'))
  assert.notEqual(rig.planned(VIP), 'none')
  assert.ok(rig.commands.every(command => command.type !== 'key' || command.key !== undefined))
  await rig.end()
})

test('R-6: the plan follows what changes: endpoints, addresses, type, the node itself', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', VIP, { externalTrafficPolicy: 'Local' }))
  rig.start()
  await waitFor('readiness', () => rig.speaker.ready)
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node1'))
  await waitFor('the first endpoint (E-2, L-6)', () => rig.planned(VIP) === '')
  rig.kube.seed(RESOURCES.services, service('web', '192.0.2.150', { externalTrafficPolicy: 'Local' }))
  await waitFor('the new address', () => rig.planned(VIP) === 'none' && rig.planned('192.0.2.150') === '')
  rig.kube.seed(
    RESOURCES.nodes,
    node('node1', '192.0.2.11', { 'node.kubernetes.io/exclude-from-external-load-balancers': '' }),
  )
  await waitFor('the exclusion (L-5)', () => rig.planned('192.0.2.150') === 'none')
  rig.kube.seed(RESOURCES.nodes, node('node1', '192.0.2.11'))
  await waitFor('the end of the exclusion', () => rig.planned('192.0.2.150') === '')
  rig.kube.seed(RESOURCES.services, service('web', undefined, { type: 'ClusterIP' }))
  await waitFor('the withdrawal (P-1)', () => rig.planned('192.0.2.150') === 'none')
  await rig.end()
})

test('L-11: the owner without any of the listed interfaces says so in a Warning', async () => {
  const rig = new Rig()
  rig.links.set([{ ...ETH0, name: 'eth7' }])
  rig.secret()
  rig.kube.seed(RESOURCES.l2Advertisements, {
    metadata: { name: 'lan', namespace: NAMESPACE },
    spec: { interfaces: ['eth7'] },
  })
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  rig.owned(VIP, true, ['default/web'], [])
  assert.deepEqual(
    rig.events.events.map(({ type, reason, message }) => [type, reason, message]),
    [['Warning', 'announceFailed', 'node "node1" has none of eth7 up with a carrier']],
  )
  await rig.end()
})

test('R-9: a configuration without a pool for what this node announces waits until the controller has moved it', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  rig.owned(VIP, true)
  rig.kube.seed(RESOURCES.ipAddressPools, {
    metadata: { name: 'lan', namespace: NAMESPACE },
    spec: { addresses: ['192.0.2.150-192.0.2.199'] },
  })
  await waitFor('the hold', () => rig.log.lines.some(line => line.event === 'config-held'))
  assert.equal(rig.metrics.values.get('metallb_k8s_client_config_stale_bool'), 1)
  assert.notEqual(rig.planned(VIP), 'none', 'still announced')
  rig.kube.seed(RESOURCES.services, service('web', '192.0.2.150'))
  await waitFor('the end of the old address', () => rig.planned(VIP) === 'none')
  rig.owned(VIP, false)
  const stale = () => rig.metrics.values.get('metallb_k8s_client_config_stale_bool')
  await waitFor('the new configuration', () => stale() === 0 && rig.planned('192.0.2.150') !== 'none')
  await rig.end()
})

test('V-1: invalid configuration keeps the last good one running and sets the stale metric', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  rig.kube.seed(RESOURCES.ipAddressPools, {
    metadata: { name: 'broken', namespace: NAMESPACE },
    spec: { addresses: ['nonsense'] },
  })
  await waitFor('the metric', () => rig.metrics.values.get('metallb_k8s_client_config_stale_bool') === 1)
  assert.notEqual(rig.planned(VIP), 'none')
  assert.ok(rig.log.lines.some(line => line.event === 'config-invalid'))
  rig.kube.remove(RESOURCES.ipAddressPools, { namespace: NAMESPACE, name: 'broken' })
  await waitFor('the metric', () => rig.metrics.values.get('metallb_k8s_client_config_stale_bool') === 0)
  await rig.end()
})

test('who shares the addresses of a Service keeps its status object while it is there', async () => {
  const rig = new Rig()
  rig.secret()
  const web = service('web', VIP)
  const annotations = { 'lodestone.dev/layer2-mode': 'sharded' }
  rig.kube.seed(RESOURCES.services, { ...web, metadata: { ...web.metadata, annotations } })
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  for (const name of ['node2', 'node3', 'node9']) {
    rig.kube.seed(RESOURCES.serviceL2Statuses, {
      metadata: { name: `l2-${name}`, namespace: NAMESPACE },
      status: { node: name, serviceName: 'web', serviceNamespace: 'default' },
    })
  }
  rig.start()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  rig.owned(VIP, true)
  const nodes = () =>
    rig.kube
      .objects(RESOURCES.serviceL2Statuses)
      .map(object => String((object['status'] as { node?: string } | undefined)?.node))
      .sort()
      .join()
  await waitFor('the stale one to go', () => nodes() === 'node1,node2,node3')
  rig.report({ type: 'node', node: 'node3', from: 'up', to: 'down', silentMs: 90 })
  await waitFor('that of the lost node to go', () => nodes() === 'node1,node2')
  await rig.end()
})

test('a takeover is told: metric, Event, status object, move', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.kube.seed(RESOURCES.serviceL2Statuses, {
    metadata: { name: 'l2-old', namespace: NAMESPACE },
    status: { node: 'node3', serviceName: 'web', serviceNamespace: 'default' },
  })
  rig.start()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  rig.owned(VIP, true)
  await waitFor('the status object', () => {
    const objects = rig.kube.objects(RESOURCES.serviceL2Statuses)
    const status = objects[0]?.['status'] as { node?: string } | undefined
    return objects.length === 1 && status?.node === 'node1'
  })
  const [created] = rig.kube.objects(RESOURCES.serviceL2Statuses)
  assert.match(created?.metadata.name ?? '', /^l2-/)
  assert.deepEqual(created?.metadata.labels, {
    'metallb.io/node': 'node1',
    'metallb.io/service-name': 'web',
    'metallb.io/service-namespace': 'default',
  })
  assert.deepEqual(
    rig.events.events.map(event => [event.type, event.reason, event.about.name]),
    [['Normal', 'nodeAssigned', 'web']],
  )
  const series =
    'metallb_speaker_announced{ip="192.0.2.100",node="node1",protocol="layer2",service="default/web"}'
  assert.equal(rig.metrics.values.get(series), 1)
  assert.match(rig.speaker.status().moves[0]?.because ?? '', /node3 is silent, last heard 251 ms before/)
  rig.owned(VIP, false)
  await waitFor(
    'the end of the status object',
    () => rig.kube.objects(RESOURCES.serviceL2Statuses).length === 0,
  )
  assert.equal(rig.metrics.values.has(series), false)
  await rig.end()
})

test('the end of the reflex thread is the end of the speaker', async () => {
  const rig = new Rig()
  rig.secret()
  rig.start()
  await waitFor('readiness', () => rig.speaker.ready)
  rig.report({ type: 'failed', message: 'it ended with 1' })
  await assert.rejects(rig.running ?? Promise.resolve(), /reflex thread failed: it ended with 1/)
})

test('a stop drains: the reflex thread hands over before the process leaves', async () => {
  const rig = new Rig()
  rig.secret()
  rig.start()
  await waitFor('readiness', () => rig.speaker.ready)
  await rig.end()
  assert.deepEqual(rig.commands.at(-1), { type: 'drain', patienceMs: 50 })
  assert.equal(rig.speaker.ready, false)
})

test('the others hear us only once we answer: the plan goes to the reflex thread before the key', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the key', () => rig.commands.some(command => command.type === 'key'))
  assert.deepEqual(
    rig.commands.map(command => command.type),
    ['peers', 'plan', 'key'],
  )
  await rig.end()
})

test('with a configuration that was never valid it stays silent: others keep what they announce', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.ipAddressPools, {
    metadata: { name: 'broken', namespace: NAMESPACE },
    spec: { addresses: ['nonsense'] },
  })
  rig.start()
  await waitFor('the complaint', () => rig.log.lines.some(line => line.event === 'config-invalid'))
  assert.ok(rig.commands.every(command => command.type === 'peers'))
  rig.kube.remove(RESOURCES.ipAddressPools, { namespace: NAMESPACE, name: 'broken' })
  await waitFor('the key', () => rig.commands.some(command => command.type === 'key'))
  await rig.end()
})

test('peers: the family that we have too; a node without an address is none', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.nodes, node('node1', '2001:db8::11'))
  const addresses = ['192.0.2.12', '2001:db8::12'].map(address => ({ type: 'InternalIP', address }))
  rig.kube.seed(RESOURCES.nodes, { metadata: { name: 'node2' }, status: { addresses } })
  rig.kube.seed(RESOURCES.nodes, { metadata: { name: 'node3' }, status: {} })
  rig.start()
  await waitFor('the peers', () => rig.commands.some(command => command.type === 'peers'))
  assert.deepEqual(rig.commands[0], {
    type: 'peers',
    self: '2001:db8::11',
    peers: [{ name: 'node2', ip: '2001:db8::12' }],
  })
  await rig.end()
})

test('what changes nothing for the election is no new plan', async () => {
  const rig = new Rig()
  rig.secret()
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the key', () => rig.commands.some(command => command.type === 'key'))
  const before = rig.commands.length
  const endpoints = [{ addresses: ['10.244.9.9'], nodeName: 'node2', conditions: { ready: true } }]
  rig.kube.seed(RESOURCES.endpointSlices, { ...slice('web', 'node2'), endpoints })
  rig.kube.seed(RESOURCES.ipAddressPools, {
    metadata: { name: 'lan', namespace: NAMESPACE },
    spec: { addresses: ['192.0.2.100-192.0.2.199'] },
    status: { assignedIPv4: 7 },
  })
  rig.kube.seed(RESOURCES.nodes, { ...node('node2', '192.0.2.12'), spec: { podCIDR: '10.244.2.0/24' } })
  // Comes after all of those, so they were looked at when it is there.
  rig.kube.seed(RESOURCES.services, service('other', LAST))
  rig.kube.seed(RESOURCES.endpointSlices, slice('other', 'node2'))
  await waitFor('the other plan', () => rig.planned(LAST) !== 'none')
  const more = rig.commands
    .slice(before)
    .map(command => (command.type === 'plan' ? command.set.map(vip => vip.ip) : command.type))
  assert.deepEqual(more, [[LAST]])
  await rig.end()
})

test('a second Service on an owned address gets its own metric, Event and status object', async () => {
  const rig = new Rig()
  rig.secret()
  for (const name of ['web', 'dns']) {
    rig.kube.seed(RESOURCES.services, service(name, VIP))
    rig.kube.seed(RESOURCES.endpointSlices, slice(name, 'node2'))
  }
  rig.start()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  const objects = () => rig.kube.objects(RESOURCES.serviceL2Statuses).length
  rig.owned(VIP, true)
  await waitFor('one', () => objects() === 1)
  rig.owned(VIP, true, ['default/dns', 'default/web'])
  await waitFor('two', () => objects() === 2)
  assert.deepEqual(
    rig.events.events.map(event => event.about.name),
    ['web', 'dns'],
  )
  rig.owned(VIP, true, ['default/dns'])
  await waitFor('one again', () => objects() === 1)
  const series = [...rig.metrics.values.keys()].filter(name => name.startsWith('metallb_speaker_announced'))
  assert.equal(series.length, 1)
  assert.match(series[0] ?? '', /default\/dns/)
  await rig.end()
})

test('a new cluster key goes to the reflex thread, the same one again does not', async () => {
  const rig = new Rig()
  rig.secret()
  rig.start()
  const keys = () =>
    rig.commands.flatMap(command => (command.type === 'key' ? [String(Buffer.from(command.key ?? []))] : []))
  await waitFor('the key', () => keys().length === 1)
  const secret = (key: string) => ({
    metadata: { name: 'memberlist', namespace: NAMESPACE, labels: { written: 'again' } },
    data: { secretkey: Buffer.from(key).toString('base64') },
  })
  rig.kube.seed(RESOURCES.secrets, secret('a cluster key'))
  rig.kube.seed(RESOURCES.secrets, secret('another key'))
  await waitFor('the other key', () => keys().length === 2)
  assert.deepEqual(keys(), ['a cluster key', 'another key'])
  await rig.end()
})

test('a plan that cannot be made ends the speaker with the reason', async () => {
  const rig = new Rig()
  rig.secret()
  rig.start()
  await waitFor('readiness', () => rig.speaker.ready)
  rig.failPlans = true
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  await assert.rejects(rig.running ?? Promise.resolve(), /no plans today/)
})

test('the series of an address end when this node is no candidate for it any more', async () => {
  const rig = new Rig()
  rig.secret()
  const address = parseIp(VIP)
  assert.ok(address !== undefined)
  const counted = (requests: number): ReflexReport => ({
    type: 'counters',
    counters: {
      addresses: [{ ip: address, requests, replies: requests, announcements: 10 }],
      dropped: {},
      heartbeatsSent: 0,
      heartbeatsReceived: 0,
      framesLost: 0,
      worstLatenessMs: 0,
      questionsAsked: 0,
      takeoversDelayed: 0,
      askers: 0,
    },
    membership: {
      voters: ['node1'],
      majority: 1,
      entitledForMs: Number.POSITIVE_INFINITY,
      standing: true,
      alone: false,
      round: 1,
      peers: [],
    },
  })
  const series = () => [...rig.metrics.values.keys()].filter(name => name.includes(VIP)).length
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  rig.owned(VIP, true)
  rig.report(counted(3))
  assert.equal(series(), 4)
  rig.kube.remove(RESOURCES.services, { namespace: 'default', name: 'web' })
  await waitFor('the withdrawal', () => rig.planned(VIP) === 'none')
  // What the reflex thread said before it heard of that.
  rig.report(counted(4))
  rig.owned(VIP, false)
  assert.equal(series(), 0)
  await rig.end()
})

test('of a Service that this node gives up the status object goes at once, not by way of another one', async () => {
  const rig = new Rig()
  rig.links.set([{ ...ETH0, name: 'eth7' }])
  rig.secret()
  rig.kube.seed(RESOURCES.l2Advertisements, {
    metadata: { name: 'lan', namespace: NAMESPACE },
    spec: { interfaces: ['eth7'] },
  })
  rig.kube.seed(RESOURCES.services, service('web', VIP))
  rig.kube.seed(RESOURCES.endpointSlices, slice('web', 'node2'))
  rig.start()
  await waitFor('the plan', () => rig.planned(VIP) !== 'none')
  rig.owned(VIP, true)
  const written = () => rig.kube.objects(RESOURCES.serviceL2Statuses).length
  const creations = () =>
    rig.kube.writes.filter(({ verb, resource }) => verb === 'create' && resource.kind === 'ServiceL2Status')
  await waitFor('the status object', () => written() === 1)
  // The plan comes before the report of the reflex thread that it has stopped.
  rig.kube.remove(RESOURCES.services, { namespace: 'default', name: 'web' })
  await waitFor('its end', () => written() === 0)
  rig.owned(VIP, false)
  await rig.kube.settle()
  assert.equal(creations().length, 1)
  await rig.end()
})
