import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countSteps } from '../../test/steps.ts'
import { type Ip, type Ipv4, parseIp } from '../addr/ip.ts'
import { parseMac } from '../addr/mac.ts'
import { speakerLeaseName } from '../config/speakers.ts'
import { Reflex } from '../layer2/driver.ts'
import { LODESTONE_RULES } from '../layer2/election.ts'
import type { ReflexCommand, ReflexReport } from '../layer2/reflex.ts'
import { FakeClock } from '../ports/clock.ts'
import { FakeEventSink } from '../ports/events.ts'
import { type KubeObject, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLinks, type Link } from '../ports/links.ts'
import { FakeLog } from '../ports/log.ts'
import { FakeMetrics } from '../ports/metrics.ts'
import type { PacketSocketOptions } from '../ports/packet-socket.ts'
import { arpRequest, encodeArpFrame } from '../wire/arp.ts'
import { Speaker } from './speaker.ts'

const NAMESPACE = 'metallb-system'
/** The Service that changes, the same in a small and in a large cluster. */
const [NAME, VIP, OTHER_VIP] = ['changing', ip('10.9.0.1'), ip('10.9.0.2')]

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
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
  addresses: [
    { ip: ip('192.0.2.11'), prefixLength: 24, tentative: false },
    { ip: ip('fe80::1'), prefixLength: 64, tentative: false },
  ],
}

function service(name: string, ips: readonly string[]): KubeObject {
  return {
    metadata: { name, namespace: 'default' },
    spec: { type: 'LoadBalancer', clusterIP: '10.96.0.10', ports: [{ port: 80 }] },
    status: { loadBalancer: { ingress: ips.map(each => ({ ip: each })) } },
  }
}

function slice(name: string, ready: boolean): KubeObject {
  return {
    metadata: { name: `${name}-x`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.244.1.2'], nodeName: 'node1', conditions: { ready } }],
    ports: [{ port: 8080, protocol: 'TCP' }],
  }
}

/**
 * The one node of a cluster, with both of its threads, each of the Services on an IPv4 and an IPv6 address of its own: all are
 * announced, and their status objects are written.
 */
class Node {
  readonly kube = new FakeKube()
  readonly clock = new FakeClock()
  readonly metrics = new FakeMetrics()
  readonly links = new FakeLinks()
  readonly stop = new AbortController()
  /** Sockets by protocol: the frames of the test go in here. */
  readonly sockets = new Map<string, PacketSocketOptions>()
  readonly speaker: Speaker
  /** What the two threads told each other, in JSON: what is copied. */
  said = 0
  messages = 0
  framesSent = 0
  /** Names of this node's status objects for the Service that changes. */
  readonly own = new Set<string>()
  #running: Promise<void> | undefined

  constructor(services: number) {
    const { kube, clock } = this
    for (const name of ['default', NAMESPACE]) kube.seed(RESOURCES.namespaces, { metadata: { name } })
    kube.seed(RESOURCES.nodes, {
      metadata: { name: 'node1' },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.11' }] },
    })
    const metadata = { name: 'lan', namespace: NAMESPACE }
    kube.seed(RESOURCES.ipAddressPools, {
      metadata,
      spec: { addresses: ['10.0.0.0/8', '2001:db8::/64'] },
    })
    kube.seed(RESOURCES.l2Advertisements, { metadata, spec: {} })
    kube.seed(RESOURCES.secrets, {
      metadata: { name: 'memberlist', namespace: NAMESPACE },
      data: { secretkey: Buffer.from('a cluster key').toString('base64') },
    })
    for (let i = 0; i < services; i++) {
      kube.seed(
        RESOURCES.services,
        service(`s-${i}`, [`10.1.${i >> 8}.${i & 255}`, `2001:db8::${i.toString(16)}`]),
      )
      kube.seed(RESOURCES.endpointSlices, slice(`s-${i}`, true))
      kube.seed(RESOURCES.serviceL2Statuses, status(`l2-of-${i}`, 'node1', `s-${i}`))
    }
    kube.seed(RESOURCES.services, service(NAME, [VIP]))
    kube.seed(RESOURCES.endpointSlices, slice(NAME, true))
    kube.onCommit(({ resource, before, after }) => {
      if (resource.kind !== 'ServiceL2Status') return
      const labels = (after ?? before)?.metadata.labels
      if (labels?.['metallb.io/service-name'] !== NAME) return
      if (after !== undefined) this.own.add(after.metadata.name)
      else this.own.delete(before?.metadata.name ?? '')
    })
    this.links.set([ETH0])
    let heard: (report: ReflexReport) => void = () => {}
    const reflex = new Reflex(
      { self: 'node1', epoch: 1, intervalMs: 50, misses: 5, returnAfterMs: 0, excludedInterfaces: [] },
      {
        clock,
        log: new FakeLog(),
        links: this.links,
        packetSockets: {
          open: options => {
            const key = `${options.interfaceIndex} ${options.protocol}`
            this.sockets.set(key, options)
            return {
              interfaceIndex: options.interfaceIndex,
              send: () => this.framesSent++ >= 0,
              sendBatch: frames => {
                this.framesSent += frames.length
                return frames.length
              },
              stats: () => ({ received: 0, dropped: 0, sent: 0, sendErrors: 0 }),
              close: () => this.sockets.delete(key),
            }
          },
        },
        groups: { joinGroup: () => ({ close: () => {} }) },
        sendHeartbeat: () => {},
        report: report => heard(this.#copy(report)),
      },
    )
    this.speaker = new Speaker(
      {
        node: 'node1',
        namespace: NAMESPACE,
        loadBalancerClass: undefined,
        ignoreExcludeLabel: false,
        rules: LODESTONE_RULES,
        excludedInterfaces: [],
        secretName: 'memberlist',
        podName: undefined,
        drainMs: 50,
      },
      {
        kube,
        events: new FakeEventSink(),
        metrics: this.metrics,
        clock,
        // 12 s between two renewals of the Lease.
        random: { next: () => 1 },
        log: new FakeLog(),
        links: this.links,
        reflex: {
          post: command => reflex.command(this.#copy<ReflexCommand>(command)),
          onReport: listener => {
            heard = listener
          },
        },
      },
    )
  }

  #copy<T>(message: T): T {
    this.messages++
    this.said += JSON.stringify(message).length
    return structuredClone(message)
  }

  async start(): Promise<void> {
    this.#running = this.speaker.run(this.stop.signal)
    this.#running.catch(() => {})
    // Until the rounds of announcements are over and the counters were asked for.
    for (let i = 0; i < 4; i++) {
      await this.kube.settle()
      await this.wait(5000)
    }
  }

  /** Lets happen what is due within this time. Waits for microtasks only, and does nothing that would be counted. */
  async wait(ms: number): Promise<void> {
    this.clock.advance(ms)
    for (let i = 0; i < 10; i++) {
      for (let turn = 0; turn < 100; turn++) await Promise.resolve()
      this.clock.advance(0)
    }
  }

  /** Before anything is counted: as many turns as all of it needs. */
  async settle(): Promise<void> {
    await this.kube.settle()
    await this.wait(10_000)
  }

  async end(): Promise<void> {
    this.stop.abort()
    await this.kube.settle()
    this.clock.advance(1000)
    await this.#running
  }

  /** The object of that name, of this node's namespace. */
  status(name: string): KubeObject | undefined {
    return this.kube.peek(RESOURCES.serviceL2Statuses, { namespace: NAMESPACE, name })
  }
}

/** The names of the status objects of the Service that changes. */
type Before = readonly string[]

type Change = {
  readonly name: string
  readonly make: (node: Node, before: Before) => void
  /** What must have happened, so that the work is not that of doing nothing. */
  readonly done: (node: Node, before: Before) => boolean
  /** Made before, without being counted. */
  readonly first?: (node: Node) => void
  readonly waitMs?: number
}

const endpoint = (ready: boolean) => (node: Node) => {
  node.kube.seed(RESOURCES.endpointSlices, slice(NAME, ready))
}
const question = (node: Node) => {
  const asker = parseMac('00:00:5e:00:53:63')
  assert.ok(asker !== undefined)
  const frame = encodeArpFrame(arpRequest({ mac: asker, ip: ip('192.0.2.99') as Ipv4 }, VIP as Ipv4))
  node.sockets.get('2 arp')?.onFrame(frame, 'broadcast')
}
const status = (name: string, node: string, of: string): KubeObject => ({
  metadata: { name, namespace: NAMESPACE },
  status: { node, serviceName: of, serviceNamespace: 'default' },
})

const CHANGES: readonly Change[] = [
  {
    name: 'the last endpoint goes: the address is given up',
    make: endpoint(false),
    done: node => node.own.size === 0,
  },
  {
    name: 'the first endpoint comes: the address is taken, announced and told',
    first: endpoint(false),
    make: endpoint(true),
    done: node => node.own.size === 1,
    waitMs: 10_000,
  },
  {
    name: 'a Service moves to another address',
    make: node => node.kube.seed(RESOURCES.services, service(NAME, [OTHER_VIP])),
    done: node => node.speaker.status().services.some(({ owned }) => owned.includes(OTHER_VIP)),
    waitMs: 10_000,
  },
  {
    name: 'a Service goes',
    make: node => node.kube.remove(RESOURCES.services, { namespace: 'default', name: NAME }),
    done: node => node.own.size === 0,
  },
  {
    name: 'somebody deletes a status object: it is made again',
    make: (node, before) => {
      const [name = ''] = before
      node.kube.remove(RESOURCES.serviceL2Statuses, { namespace: NAMESPACE, name })
    },
    done: (node, before) => node.own.size === 1 && before.every(name => !node.own.has(name)),
  },
  {
    name: 'the object of a former owner appears: it is deleted',
    make: node => node.kube.seed(RESOURCES.serviceL2Statuses, status('l2-stale', 'node2', NAME)),
    done: node => node.status('l2-stale') === undefined,
  },
  {
    name: "another node's object for a Service that is not announced here: left alone",
    make: node => node.kube.seed(RESOURCES.serviceL2Statuses, status('l2-theirs', 'node2', 'theirs')),
    done: node => node.status('l2-theirs') !== undefined,
  },
  {
    name: 'a question for an address, and the count after it',
    make: question,
    done: node => node.metrics.values.get(`metallb_layer2_requests_received{ip="${VIP}"}`) === 1,
    waitMs: 5000,
  },
  {
    name: 'a Pod gets its interface',
    make: node => {
      const veth = { ...ETH0, index: 7, name: 'veth7', carrier: false, addresses: [] }
      node.links.set([ETH0, veth])
    },
    done: node => node.links.current().size === 2,
  },
]

const DIGITS = 4

/** What the change costs this node. */
async function cost(change: Change, node: Node): Promise<Record<string, number>> {
  node.kube.seed(RESOURCES.services, service(NAME, [VIP]))
  endpoint(true)(node)
  await node.settle()
  change.first?.(node)
  await node.settle()
  // So that the Lease was written at the same time before, however many Services there are.
  node.kube.remove(RESOURCES.leases, { namespace: NAMESPACE, name: speakerLeaseName('node1') })
  await node.wait(3000)
  const before = [...node.own]
  const writes = node.kube.writes.length
  node.messages = node.said = node.framesSent = 0
  const steps = await countSteps(() => {
    change.make(node, before)
    return node.wait(change.waitMs ?? 100)
  })
  const { messages, said, framesSent } = node
  assert.ok(change.done(node, before), 'the change was made')
  return { steps, messages, said, framesSent, writes: node.kube.writes.length - writes }
}

test('a change costs a speaker as much among 100 other Services as among 10,000', async t => {
  const nodes = [100, 10_000].map(services => new Node(services))
  for (const [i, node] of nodes.entries()) {
    await node.start()
    const announced = [...node.metrics.values.keys()].filter(series => series.includes('_announced'))
    assert.equal(
      announced.length,
      [201, 20_001][i],
      'each Service by two addresses, and the one that changes',
    )
    assert.equal(node.own.size, 1, 'which has its status object')
  }
  for (const change of CHANGES) {
    await t.test(change.name, async () => {
      const costs: Record<string, number>[] = []
      for (const node of nodes) costs.push(await cost(change, node))
      const [few = {}, many = {}] = costs
      const { steps = 0 } = few
      // The number of addresses is told, and has more digits.
      assert.ok(Math.abs(steps - (many['steps'] ?? 0)) <= DIGITS, `${many['steps']} steps are not ${steps}`)
      assert.deepEqual({ ...many, steps }, few)
    })
  }
  for (const node of nodes) await node.end()
})
