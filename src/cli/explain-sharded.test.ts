import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../addr/ip.ts'
import { poolObjects, serviceObject } from '../allocator/fixtures.ts'
import { PoolIndex } from '../config/pool-index.ts'
import { planCluster } from '../plan/cluster-plan.ts'
import { difference, settled } from '../plan/difference.ts'
import { planToJson } from '../plan/json.ts'
import { DEFAULT_FLAGS, snapshotOf } from '../plan/snapshot.ts'
import type { KubeObject } from '../ports/kube.ts'
import { ipStory, nodeStory, type Reality, serviceStory } from './explain-text.ts'
import { changeText, planText } from './plan-text.ts'

const VIP = '192.0.2.100' as Ip
const SHARDED = { 'lodestone.dev/layer2-mode': 'sharded' }
const node = (name: string): KubeObject => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } })
const advertisement = (annotations?: Record<string, string>): KubeObject => ({
  apiVersion: 'metallb.io/v1beta1',
  kind: 'L2Advertisement',
  metadata: { name: 'lan', namespace: 'metallb-system', ...(annotations && { annotations }) },
})
const slice = (nodes: readonly string[]): KubeObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
  addressType: 'IPv4',
  endpoints: nodes.map(nodeName => ({ addresses: ['10.244.0.2'], nodeName })),
})
const POOLS = poolObjects({ lan: { addresses: ['192.0.2.100-192.0.2.109'] } })
const NODES = [node('node1'), node('node2'), node('node3')]
const web = (annotations?: Record<string, string>, spec: Record<string, unknown> = {}) =>
  serviceObject('web', { ...(annotations && { annotations }), ...spec })

const cluster = (...more: KubeObject[]) => [...POOLS, ...NODES, slice(['node1']), ...more]
const planOf = (objects: readonly KubeObject[], down: readonly string[] = []) =>
  planCluster(snapshotOf(objects, { ...DEFAULT_FLAGS, down: new Set(down) }))

function storyOf(objects: readonly KubeObject[], reality?: Reality) {
  const snapshot = snapshotOf(objects, DEFAULT_FLAGS)
  const [facts] = snapshot.services
  assert.ok(facts !== undefined)
  return serviceStory(planCluster(snapshot), facts, undefined, reality).join('\n')
}

test('a sharded Service: who answers which part, and what a single router makes of it', () => {
  const story = storyOf(cluster(advertisement(), web(SHARDED)))
  assert.match(story, /Layer 2: sharded, node\d, node\d and node\d answer, each its part of those who ask\n/)
  assert.match(story, /node2 answers 33 % of the hosts that ask/)
  assert.match(story, /where all clients come through one router, one node carries everything/)
  assert.match(story, /several paths by BGP/)
  assert.equal(storyOf(cluster(advertisement(SHARDED), web())), story)
  assert.match(
    storyOf(cluster(advertisement(SHARDED), web({ 'lodestone.dev/layer2-mode': 'single' }))),
    /Layer 2: node\d answers, on every interface/,
  )
})

test('under Local the parts are those of the endpoints', () => {
  const objects = [
    ...POOLS,
    ...NODES,
    advertisement(),
    slice(['node1', 'node1', 'node1', 'node3']),
    web(SHARDED, { spec: { externalTrafficPolicy: 'Local' } }),
  ]
  const story = storyOf(objects)
  assert.match(story, /in proportion to the endpoints there/)
  assert.match(story, /node1 answers 75 %/)
  assert.match(story, /node3 answers 25 %/)
  assert.match(story, /node2 is no candidate/)
})

test('a single candidate has nobody to share with', () => {
  const story = storyOf([...POOLS, node('node1'), slice(['node1']), advertisement(), web(SHARDED)])
  assert.match(story, /Layer 2: node1 answers; the mode is sharded, but there is no other candidate/)
})

test('a live cluster: all that share have to say that they answer', () => {
  const objects = cluster(advertisement(), serviceObject('web', { annotations: SHARDED, status: [VIP] }))
  const reality = (nodes: readonly string[]): Reality => ({
    ips: new Map([['default/web', [VIP]]]),
    layer2: new Map([['default/web', nodes]]),
    bgp: new Map(),
  })
  assert.match(storyOf(objects, reality(['node1', 'node2', 'node3'])), /This is the plan\./)
  assert.match(
    storyOf(objects, reality(['node1', 'node3'])),
    /node1 and node3 say they answer, planned is node1, node2 and node3/,
  )
})

test('the stories of the address and of a node name the share', () => {
  const plan = planOf(cluster(advertisement(), web(SHARDED)))
  const pools = new PoolIndex({ pools: plan.config?.pools ?? [] })
  assert.match(
    ipStory(plan, VIP, pools, { nodes: [], services: [] }).join('\n'),
    /answer for it at layer 2, each its part of those who ask/,
  )
  const story = nodeStory(plan, 'node2', false).join('\n')
  assert.match(
    story,
    /Layer 2: it answers for\n {2}default\/web: 192\.0\.2\.100, 33 % of the hosts that ask \(sharded\)/,
  )
  assert.doesNotMatch(story, /next in line/)
})

test('a plan shows all that share, in the table and as JSON; a plan without shares has no such field', () => {
  const plan = planOf(cluster(advertisement(), web(SHARDED)))
  assert.match(planText(plan), /default\/web +192\.0\.2\.100 +lan +node\d,node\d,node\d +- +- +sharded/)
  const [service] = planToJson(plan).layer2
  assert.equal(service?.shares?.length, 3)
  assert.equal(service?.shares?.[0]?.node, service?.owner)
  const [single] = planToJson(planOf(cluster(advertisement(), web()))).layer2
  assert.equal(Object.hasOwn(single ?? {}, 'shares'), false)
})

test('a change of the mode, and of the nodes that share, is a change of the plan', () => {
  const single = planOf(cluster(advertisement(), web()))
  const objects = settled(cluster(advertisement(), web()), single)
  const sharded = planOf(settled(cluster(advertisement(SHARDED), web()), single))
  const toShares = difference(single, sharded)
  assert.deepEqual(
    toShares.layer2.map(({ reason }) => reason),
    ['modeChanged'],
  )
  assert.match(changeText(toShares), /it is shared among nodes now/)
  assert.deepEqual(difference(single, planOf(objects)).layer2, [])
  const without = planOf(settled(cluster(advertisement(SHARDED), web()), single), ['node2'])
  assert.deepEqual(
    difference(sharded, without).layer2.map(({ reason }) => reason),
    ['sharesChanged'],
  )
})
