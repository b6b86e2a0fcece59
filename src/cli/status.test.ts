import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { SpeakerStatus } from '../api/speaker.ts'
import { encodeSummary, type SteeringSummary } from '../api/speaker-summary.ts'
import { speakerLease } from '../config/speakers.ts'
import { l2StatusObject } from '../layer2/status.ts'
import { type KubeObject, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { InputError } from './inputs.ts'
import { readCluster, status } from './status.ts'
import { clusterText, speakerText } from './status-text.ts'

const NAMESPACE = 'metallb-system'
const NOW = Date.UTC(2026, 0, 1, 12)

function speaker(node: string, change: Partial<SpeakerStatus> = {}): SpeakerStatus {
  return {
    node,
    ready: true,
    hasKey: true,
    entitled: true,
    standing: true,
    alone: false,
    round: 1,
    voters: ['node1', 'node2', 'node3'],
    majority: 2,
    realtime: false,
    worstLatenessMs: 0.42,
    peers: [
      {
        node: 'node9',
        status: 'up',
        voter: false,
        heardMsAgo: null,
        intervalMs: 20,
        patienceMs: 80,
        jitterMs: 0.3,
      },
    ],
    services: [],
    moves: [],
    failovers: [],
    ...change,
  }
}

function lease(status: SpeakerStatus, owned: number, agoMs: number, steering?: SteeringSummary): KubeObject {
  const summary = encodeSummary(status, owned, steering)
  return speakerLease({ node: status.node, links: [] }, NAMESPACE, NOW - agoMs, summary)
}

const DOWN = [
  {
    node: 'node3',
    status: 'down',
    voter: true,
    heardMsAgo: 60_000,
    intervalMs: 20,
    patienceMs: 133.4,
    jitterMs: 40,
  },
]
const TAKEN = {
  owned: true,
  count: 2,
  ips: ['192.0.2.100', '192.0.2.101'],
  at: new Date(NOW - 60_000).toISOString(),
  until: new Date(NOW - 59_993).toISOString(),
  because: 'node node3 is silent, last heard 83 ms before',
  node: 'node3',
  phases: {
    lastHeardAt: NOW - 60_084,
    suspectedAt: NOW - 60_043,
    confirmedAt: NOW - 60_001,
    announcedAt: NOW - 60_000,
  },
}

function service(name: string, ips: readonly string[], type = 'LoadBalancer'): KubeObject {
  return {
    metadata: { name, namespace: 'default' },
    spec: { type },
    status: { loadBalancer: { ingress: ips.map(ip => ({ ip })) } },
  }
}

function announced(name: string, node: string): KubeObject {
  const { labels, ...content } = l2StatusObject(node, `default/${name}`, [])
  return { metadata: { name: `l2-${name}-${node}`, namespace: NAMESPACE, labels }, ...content }
}

function cluster(): FakeKube {
  const kube = new FakeKube()
  const seed = (object: KubeObject) => kube.seed(RESOURCES.leases, object)
  seed(lease(speaker('node1', { peers: DOWN, failovers: [TAKEN] }), 2, 4000))
  seed(lease(speaker('node2', { peers: DOWN, standing: false }), 0, 1000))
  // Was cut off, and holds the others for lost.
  const lost = ['node1', 'node2'].map(node => ({ ...speaker('node3').peers[0], node, status: 'down' }))
  seed(lease(speaker('node3', { entitled: false, peers: lost as SpeakerStatus['peers'] }), 2, 61_000))
  seed(speakerLease({ node: 'node4', links: [] }, NAMESPACE, NOW))
  kube.seed(RESOURCES.leases, {
    metadata: { name: 'lodestone-controller', namespace: NAMESPACE },
    spec: { holderIdentity: 'c' },
  })
  kube.seed(RESOURCES.services, service('web', ['192.0.2.100', '2001:db8::100']))
  kube.seed(RESOURCES.services, service('dns', ['192.0.2.101']))
  kube.seed(RESOURCES.services, service('waiting', []))
  kube.seed(RESOURCES.services, service('inside', ['192.0.2.102'], 'ClusterIP'))
  kube.seed(RESOURCES.serviceL2Statuses, announced('web', 'node1'))
  return kube
}

test('the cluster: its speakers with what others hold of them, who announces what, the last moves', async () => {
  assert.equal(
    clusterText(await readCluster(cluster(), NAMESPACE), NOW),
    `SPEAKER  STATE                                  OWNS  VOTES  NOT UP                  PATIENCE  LATENESS  RENEWED
node1    up                                     2     yes    node3 down              133 ms    0.4 ms    4 s ago
node2    on probation                           0     yes    node3 down              133 ms    0.4 ms    1 s ago
node3    not heard of; down to node1 and node2  2     yes    node1 down, node2 down  80 ms     0.4 ms    61 s ago
node4    unknown                                -     -      -                       -         -         0 s ago

ADDRESS        SERVICE      ANNOUNCED BY
192.0.2.101    default/dns  nobody
192.0.2.100    default/web  node1
2001:db8::100  default/web  node1

Last moves, newest first
  2026-01-01T11:59:00.000Z  node1 took 192.0.2.100 192.0.2.101: node node3 is silent, last heard 83 ms before (last heard 84 ms before it was announced, suspected 43 ms, confirmed 1 ms, the last one 7 ms later)`,
  )
})

test('an empty cluster says so', async () => {
  assert.equal(
    clusterText(await readCluster(new FakeKube(), NAMESPACE), NOW),
    'No speaker is registered.\n\nNo Service of type LoadBalancer has an address.',
  )
})

test('addresses that are shared: who has how many askers, and what a single router means', () => {
  const text = speakerText(
    speaker('node1', {
      shared: [
        {
          ip: '192.0.2.100',
          askers: 1,
          nodes: [
            { node: 'node1', weight: 1, askers: 0 },
            { node: 'node2', weight: 1, askers: 1 },
          ],
          waiting: 0,
          single: true,
          advice: 'only 192.0.2.1 asks',
        },
      ],
    }),
  )
  assert.ok(
    text.includes(`
SHARED       HOSTS  ASKERS OF         TO BE TOLD
192.0.2.100  1      node1 0, node2 1  0
  only 192.0.2.1 asks`),
    text,
  )
})

test('one speaker in all detail', () => {
  const text = speakerText(
    speaker('node1', {
      services: [
        {
          service: 'default/web',
          ips: ['192.0.2.100'],
          owned: ['192.0.2.100'],
          candidates: ['node1', 'node2'],
          reason: null,
        },
        { service: 'default/off', ips: ['192.0.2.109'], owned: [], candidates: [], reason: 'noEndpoints' },
      ],
      failovers: [{ ...TAKEN, owned: false, phases: null, count: 1, ips: ['192.0.2.100'] }],
    }),
  )
  assert.equal(
    text,
    `Speaker node1: up
  voters: node1, node2 and node3; 2 of them decide
  round 1; timers late by at most 0.4 ms, without real-time scheduling
  announces 1 of 2 Services of type LoadBalancer

PEER   LEVEL  VOTES  HEARD  INTERVAL  PATIENCE  JITTER
node9  up     no     -      20 ms     80 ms     0.3 ms

SERVICE      ADDRESSES    ANNOUNCED HERE  CANDIDATES
default/web  192.0.2.100  192.0.2.100     node1, node2
default/off  192.0.2.109  -               noEndpoints

Last moves, newest first
  2026-01-01T11:59:00.000Z  node1 gave up 192.0.2.100: node node3 is silent, last heard 83 ms before`,
  )
})

test('--speaker reads a speaker over HTTP; what is none is refused', async t => {
  const server = createServer((request, response) => {
    if (request.url === '/status') response.end(JSON.stringify(speaker('node1')))
    else if (request.url === '/other') response.end('{"node":"node1"}')
    else response.writeHead(404).end()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const out: string[] = []
  const io = { out: (text: string) => out.push(text), err: () => {}, exit: () => {} }
  const ask = (url: string, output: 'text' | 'json' = 'text') =>
    status({ namespace: NAMESPACE, speaker: url, output }, io)
  assert.equal(await ask(base), 0)
  assert.match(out[0] ?? '', /^Speaker node1: up\n/)
  assert.equal(await ask(`${base}/status`, 'json'), 0)
  assert.deepEqual(JSON.parse(out[1] ?? ''), speaker('node1'))
  for (const [url, said] of [
    ['nonsense', /is no URL/],
    [`${base}/other`, /is not the status of a speaker/],
    [`${base}/none`, /it answers 404/],
    ['http://127.0.0.1:1', /cannot read http:\/\/127\.0\.0\.1:1\/status: /],
  ] as const) {
    await assert.rejects(
      ask(url),
      (error: unknown) => error instanceof InputError && said.test(error.message),
    )
  }
})

test('tables of steering: the same on all nodes, or whose differ', async () => {
  const lines = async (...hashes: readonly (readonly [hash: string, agoMs: number])[]) => {
    const kube = new FakeKube()
    for (const [i, [hash, agoMs]] of hashes.entries()) {
      const tables = { 'default/dns': 'd0d0d0d0', 'default/web': hash.slice(0, 8) }
      kube.seed(
        RESOURCES.leases,
        lease(speaker(`node${i + 1}`), 0, agoMs, { count: 40, hash: `${hash}00000000`, tables }),
      )
    }
    const text = clusterText(await readCluster(kube, NAMESPACE), NOW)
    return text.slice(text.indexOf('Steering'))
  }
  assert.equal(
    await lines(['aaaaaaaa', 0], ['aaaaaaaa', 9000]),
    `Steering: node1 and node2 steer 40 Services alike, tables aaaaaaaa00000000

STEERED      TABLE
default/dns  d0d0d0d0
default/web  aaaaaaaa`,
  )
  assert.equal(
    // node4 was not heard of for a minute: what it has is of the past.
    await lines(['bbbbbbbb', 0], ['aaaaaaaa', 0], ['aaaaaaaa', 0], ['cccccccc', 60_000]),
    `Steering: THE TABLES DIFFER; for longer than ten seconds after a change the nodes see different endpoints
  aaaaaaaa00000000 on node2 and node3, of 40 Services
  bbbbbbbb00000000 on node1, of 40 Services

STEERED      TABLE
default/dns  d0d0d0d0
default/web  DIFFERS: aaaaaaaa on node2, node3; bbbbbbbb on node1`,
  )
})

test('one speaker that steers: its tables in full, and what stands in the way', () => {
  const text = speakerText(
    speaker('node1', {
      steering: {
        hash: '0123456789abcdef',
        installed: false,
        error: 'refused',
        services: [
          {
            service: 'default/web',
            vips: ['192.0.2.100'],
            size: 1021,
            tableHash: 'fedcba9876543210',
            nodes: [
              { node: 'node1', slots: 340, share: 0.333 },
              { node: 'node2', slots: 681, share: 0.667 },
            ],
            problems: ['a problem'],
          },
        ],
        nodes: [
          { node: 'node2', dead: true, reach: [{ family: 'IPv4', interface: 'eth0' }] },
          { node: 'node3', dead: false, reach: [{ family: 'IPv6', why: 'it is behind a router' }] },
        ],
        interfaces: [{ name: 'eth0' }, { name: 'eth1', problem: 'no hook' }],
      },
    }),
  )
  assert.ok(
    text.includes(`
Steering: tables 0123456789abcdef of 1 Services, not in the kernel yet: refused
  eth1: no hook
  node2 is dead: nothing is handed to it
  node3 gets no IPv6 packets: it is behind a router
  default/web: a problem

STEERED      TABLE             SLOTS  HANDED TO
default/web  fedcba9876543210  1021   node1 33 %, node2 67 %`),
    text,
  )
})
