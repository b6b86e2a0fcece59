// What a plan and an explanation say beyond MetalLB's election: health, networks, steering, and what the speakers tell.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../addr/ip.ts'
import { type Prefix, parsePrefix } from '../addr/prefix.ts'
import { poolObjects, serviceObject } from '../allocator/fixtures.ts'
import { encodeSummary } from '../api/speaker-summary.ts'
import { type SteeringMode, speakerLease } from '../config/speakers.ts'
import { planCluster } from '../plan/cluster-plan.ts'
import { difference } from '../plan/difference.ts'
import { planToJson } from '../plan/json.ts'
import { DEFAULT_FLAGS, snapshotOf } from '../plan/snapshot.ts'
import type { KubeObject } from '../ports/kube.ts'
import { clusterStatus } from './cluster-status.ts'
import { type Reality, serviceStory } from './explain-text.ts'
import { changeText, planText } from './plan-text.ts'

const NAMESPACE = 'metallb-system'
const T = Date.UTC(2026, 0, 1)
const VIP = '192.0.2.100' as Ip

type Health = 'well' | 'notReady' | 'cordoned' | 'outOfService'
function node(name: string, address: string, health: Health = 'well'): KubeObject {
  const outOfService = { key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute' }
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name },
    spec: {
      ...(health === 'cordoned' && { unschedulable: true }),
      ...(health === 'outOfService' && { taints: [outOfService] }),
    },
    status: {
      addresses: [{ type: 'InternalIP', address }],
      conditions: [{ type: 'Ready', status: health === 'notReady' ? 'False' : 'True' }],
    },
  }
}
const NODES = (health: readonly Health[] = []) =>
  [1, 2, 3].map(i => node(`node${i}`, `192.0.2.1${i}`, health[i - 1]))

function lan(text = '192.0.2.0/24'): Prefix {
  const prefix = parsePrefix(text)
  assert.ok(prefix !== undefined)
  return prefix
}

function speaker(name: string, prefixes = [lan()], steers?: SteeringMode, nic = 'eth0'): KubeObject {
  const links = [{ name: nic, mac: undefined, prefixes }]
  const lease = speakerLease({ node: name, links, ...(steers && { steers }) }, NAMESPACE, T)
  return { ...lease, kind: 'Lease' }
}
const SPEAKERS = (steers?: SteeringMode) =>
  ['node1', 'node2', 'node3'].map(name => speaker(name, undefined, steers))
const advertisement = (spec: Record<string, unknown> = {}): KubeObject => ({
  apiVersion: 'metallb.io/v1beta1',
  kind: 'L2Advertisement',
  metadata: { name: 'lan', namespace: NAMESPACE },
  spec,
})
const slice = (nodes: readonly string[]): KubeObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
  addressType: 'IPv4',
  endpoints: nodes.map(nodeName => ({ addresses: ['10.244.0.2'], nodeName })),
})
const BASE = [...poolObjects({ lan: { addresses: ['192.0.2.100-192.0.2.109'] } }), slice(['node1'])]
const WEB = serviceObject('web', { status: [VIP] })
const local = (steering?: string): KubeObject => {
  const object = serviceObject('web', { status: [VIP], spec: { externalTrafficPolicy: 'Local' } })
  const annotations = { ...object.metadata.annotations, 'lodestone.dev/flow-steering': steering ?? '' }
  return steering === undefined ? object : { ...object, metadata: { ...object.metadata, annotations } }
}

const planOf = (objects: readonly KubeObject[]) =>
  planCluster(snapshotOf([...BASE, ...objects], DEFAULT_FLAGS))
function storyOf(objects: readonly KubeObject[], reality?: Reality): string {
  const snapshot = snapshotOf([...BASE, ...objects], DEFAULT_FLAGS)
  const [facts] = snapshot.services
  assert.ok(facts !== undefined)
  return serviceStory(planCluster(snapshot), facts, undefined, reality).join('\n')
}

test('a node that gives way comes last, and says why', () => {
  const sentences = {
    notReady: 'it is not Ready',
    cordoned: 'it is cordoned',
    outOfService: 'it has the taint node.kubernetes.io/out-of-service',
  }
  for (const [health, sentence] of Object.entries(sentences)) {
    const objects = [...NODES([health as Health]), ...SPEAKERS(), advertisement(), WEB]
    const story = storyOf(objects)
    assert.ok(story.includes(`  node1 is third; behind those in good health, because ${sentence}`), story)
    const [json] = planToJson(planOf(objects)).layer2
    assert.deepEqual(
      json?.candidates.map(each => each.givesWay),
      [undefined, undefined, health],
    )
    const moved = difference(planOf([...NODES(), ...SPEAKERS(), advertisement(), WEB]), planOf(objects))
    const back = difference(planOf(objects), planOf([...NODES(), ...SPEAKERS(), advertisement(), WEB]))
    assert.deepEqual(
      [...moved.layer2, ...back.layer2].map(each => each.reason),
      [health, 'wellAgain'],
    )
    assert.ok(changeText(moved).includes(sentence))
  }
  // Without speakers it is MetalLB's election, which does not look.
  assert.match(storyOf([...NODES(['cordoned']), advertisement(), WEB]), /node1 is first\n/)
  const all: Health[] = ['cordoned', 'cordoned', 'cordoned']
  assert.match(
    storyOf([...NODES(all), ...SPEAKERS(), advertisement(), WEB]),
    /is first, though it is cordoned: no other is better\n/,
  )
})

test('nodes without the interface or outside of the subnet are no candidates', () => {
  const elsewhere = speaker('node2', [lan('198.51.100.0/24')])
  const other = speaker('node3', [lan()], undefined, 'ens3')
  const objects = [
    ...NODES(),
    speaker('node1'),
    elsewhere,
    other,
    advertisement({ interfaces: ['eth0'] }),
    WEB,
  ]
  const story = storyOf(objects)
  assert.match(story, /Layer 2: node1 answers, on eth0\n {2}node1 is first\n/)
  assert.match(
    story,
    /node2 is no candidate: it has no interface in the subnet of the address, and others have\n/,
  )
  assert.match(story, /node3 is no candidate: it has none of the interfaces that the L2Advertisements name/)
})

test('whether a Service is steered, and why not', () => {
  const told = (service: KubeObject, speakers: readonly KubeObject[]) =>
    /it is (?:not )?steered.*/.exec(storyOf([...NODES(), ...speakers, advertisement(), service]))?.[0]
  assert.match(told(local(), SPEAKERS('local')) ?? '', /^it is steered: whichever node receives a packet/)
  assert.match(told(local('enabled'), SPEAKERS('annotated')) ?? '', /^it is steered/)
  assert.match(told(local('disabled'), SPEAKERS('local')) ?? '', /not steered: its annotation .* refuses it$/)
  assert.match(
    told(local(), SPEAKERS('annotated')) ?? '',
    /not steered: it lacks the annotation .*: enabled$/,
  )
  assert.match(told(local('enabled'), SPEAKERS()) ?? '', /not steered: no speaker is known to steer/)
  const some = [speaker('node1'), speaker('node2', undefined, 'local'), speaker('node3', undefined, 'local')]
  const why = 'the speaker of node node1 does not steer'
  assert.ok(told(local(), some)?.startsWith(`it is not steered, though it should be: ${why}`))
  const [json] = planToJson(planOf([...NODES(), ...some, advertisement(), local()])).layer2
  assert.ok(json?.notSteered?.startsWith(why))
  assert.equal(json?.steered, undefined)
  const text = planText(planOf([...NODES(), ...some, advertisement(), local()]))
  assert.match(
    text,
    / {2}not steered\n[^]*default\/web is not steered, though it should be: the speaker of node node1/,
  )
  const [steered] = planToJson(planOf([...NODES(), ...SPEAKERS('local'), advertisement(), local()])).layer2
  assert.equal(steered?.steered, true)
  for (const service of [WEB, local()]) assert.equal(told(service, SPEAKERS()), undefined)
})

test('live: the speaker that answers, its round, and how the address moved last', () => {
  const own = {
    node: 'node1',
    ready: true,
    hasKey: true,
    entitled: true,
    standing: true,
    alone: false,
    round: 3,
    voters: ['node1'],
    majority: 1,
    realtime: true,
    worstLatenessMs: 0.1,
    peers: [],
    failovers: ['192.0.2.100', '192.0.2.109'].map(ip => ({
      owned: true,
      count: 1,
      ips: [ip],
      at: new Date(T).toISOString(),
      until: new Date(T).toISOString(),
      because: 'node node2 is silent, last heard 83 ms before',
      node: 'node2',
      phases: { lastHeardAt: T - 84, suspectedAt: T - 43, confirmedAt: T - 1, announcedAt: T },
    })),
  }
  const lease = speakerLease({ node: 'node1', links: [] }, NAMESPACE, T, encodeSummary(own, 1))
  const story = storyOf([...NODES(), advertisement(), WEB], {
    ips: new Map([['default/web', [VIP]]]),
    layer2: new Map([['default/web', ['node1']]]),
    bgp: new Map(),
    speakers: clusterStatus({ leases: [lease], services: [], l2Statuses: [] }),
  })
  assert.ok(
    story.endsWith(`  answering at layer 2, as their ServiceL2Status says: node1
  the speaker of node1: up, round 3, held for gone 2 times since it started
  its last moves, newest first:
    2026-01-01T00:00:00.000Z  node1 took 192.0.2.100: node node2 is silent, last heard 83 ms before (last heard 84 ms before it was announced, suspected 43 ms, confirmed 1 ms)
  This is the plan.`),
    story,
  )
})
