import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { type Prefix, parsePrefix } from '../addr/prefix.ts'
import { nodeFromObject } from '../config/nodes.ts'
import { serviceFromObject } from '../config/services.ts'
import type { SteeringMode } from '../config/speakers.ts'
import { SpeakerNetworks } from './networks.ts'
import { electoralEndpoints, steeringNodes, wantsSteering } from './steered.ts'

const MODES: readonly (readonly [string, string | undefined, Record<SteeringMode | 'off', boolean>])[] = [
  ['Local', undefined, { off: false, annotated: false, local: true }],
  ['Local', 'enabled', { off: false, annotated: true, local: true }],
  ['Local', 'disabled', { off: false, annotated: false, local: false }],
  ['Cluster', 'enabled', { off: false, annotated: false, local: false }],
]
for (const [externalTrafficPolicy, annotation, expected] of MODES) {
  test(`under ${externalTrafficPolicy}, annotation ${annotation}`, () => {
    const annotations = annotation === undefined ? {} : { 'lodestone.dev/flow-steering': annotation }
    const service = serviceFromObject({
      metadata: { name: 'web', namespace: 'default', annotations },
      spec: { externalTrafficPolicy },
    })
    for (const [mode, wanted] of Object.entries(expected)) {
      assert.equal(wantsSteering(service, mode === 'off' ? undefined : (mode as SteeringMode)), wanted, mode)
    }
  })
}

const node = (name: string, address: string) =>
  nodeFromObject({ metadata: { name }, status: { addresses: [{ type: 'InternalIP', address }] } })
const NODES = new Map(
  (
    [
      ['a', '192.0.2.1'],
      ['b', '192.0.2.2'],
      ['c', '192.0.2.3'],
      ['far', '198.51.100.1'],
    ] as const
  ).map(([name, address]) => [name, node(name, address)]),
)
const speaker = (name: string, prefix: string, steers = true) => ({
  node: name,
  links: [{ name: 'eth0', mac: undefined, prefixes: [parsePrefix(prefix) as Prefix] }],
  ...(steers && { steers: 'local' as const }),
})
const endpoints = (...nodes: string[]) => ({ any: nodes.length > 0, nodes: new Set(nodes) })
const LAN = ['a', 'b', 'c'].map(name => speaker(name, '192.0.2.0/24'))

test('who shares the segment with all endpoints may announce', () => {
  const networks = new SpeakerNetworks([...LAN, speaker('far', '198.51.100.0/24')])
  const found = steeringNodes(endpoints('a', 'b'), NODES, networks)
  assert.deepEqual(found, { nodes: new Set(['a', 'b', 'c']) })
  assert.deepEqual(steeringNodes(endpoints(), NODES, networks), { nodes: new Set() })
})

test('endpoints in two segments, or on a node that does not steer, are not steered', () => {
  const why = (of: ReturnType<typeof steeringNodes>) => ('why' in of ? of.why : undefined)
  const networks = new SpeakerNetworks([...LAN, speaker('far', '198.51.100.0/24')])
  assert.match(
    why(steeringNodes(endpoints('a', 'far'), NODES, networks)) ?? '',
    /node (a|far) is in another subnet/,
  )
  assert.match(
    why(steeringNodes(endpoints('a', 'x'), NODES, networks)) ?? '',
    /x has an endpoint and no speaker/,
  )
  const [a, b] = [speaker('a', '192.0.2.0/24'), speaker('b', '192.0.2.0/24', false)]
  const some = new SpeakerNetworks([a, b])
  assert.match(why(steeringNodes(endpoints('b'), NODES, some)) ?? '', /does not steer/)
  assert.deepEqual(steeringNodes(endpoints('a'), NODES, some), { nodes: new Set(['a']) })
  assert.match(why(steeringNodes(endpoints('a'), NODES, undefined)) ?? '', /nothing is known/)
})

test('ip of another interface than the segment is no way to a node', () => {
  const ip = parseIp('203.0.113.1') as Ip
  const nodes = new Map([['a', { ...node('a', '192.0.2.1'), internalIps: [ip] }]])
  const found = steeringNodes(endpoints('a'), nodes, new SpeakerNetworks(LAN))
  assert.ok('why' in found && /no interface in the subnet/.test(found.why))
})

test('the election of a steered Service takes all nodes of the segment for ones with an endpoint', () => {
  const service = serviceFromObject({
    metadata: { name: 'web', namespace: 'default' },
    spec: { externalTrafficPolicy: 'Local' },
  })
  const seen = electoralEndpoints(service, endpoints('a'), NODES, new SpeakerNetworks(LAN))
  assert.deepEqual(seen, { endpoints: endpoints('a', 'b', 'c'), steered: true })
  const unknown = electoralEndpoints(service, endpoints('x'), NODES, new SpeakerNetworks(LAN))
  assert.deepEqual(unknown.endpoints, endpoints('x'))
  assert.match(unknown.why ?? '', /x has an endpoint and no speaker/)
  // Nobody steers.
  const plain = new SpeakerNetworks([speaker('a', '192.0.2.0/24', false)])
  assert.deepEqual(electoralEndpoints(service, endpoints('a'), NODES, plain), {
    endpoints: endpoints('a'),
    steered: false,
  })
})
