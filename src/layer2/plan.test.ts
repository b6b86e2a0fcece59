import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../addr/ip.ts'
import { parsePrefix } from '../addr/prefix.ts'
import { type EndpointSliceFacts, endpointsFromSlice } from '../config/endpointslice.ts'
import type { Config, L2Advertisement } from '../config/model.ts'
import type { NodeFacts } from '../config/nodes.ts'
import { serviceFromObject } from '../config/services.ts'
import { AHEAD_MAX, type Assignment, BEHIND_MAX, type Facts, Layer2Planner, VipTable } from './plan.ts'
import { SHARD_NODES_MAX } from './shards.ts'

const NODES = ['node1', 'node2', 'node3']

function node(name: string): NodeFacts {
  return {
    name,
    labels: {},
    internalIps: [],
    networkUnavailable: false,
    ready: true,
    unschedulable: false,
    outOfService: false,
  }
}

function facts(self = 'node1', rest: Partial<Facts> = {}, names: readonly string[] = NODES): Facts {
  const advertisement: L2Advertisement = {
    name: 'all',
    pools: new Set(['lan', 'other']),
    nodes: new Set(names),
    interfaces: ['eth0'],
    serviceSelectors: [],
    scores: new Map(),
  }
  const pool = (name: string, ...prefixes: string[]) => ({
    name,
    prefixes: prefixes.map(text => {
      const prefix = parsePrefix(text)
      assert.ok(prefix !== undefined)
      return prefix
    }),
    autoAssign: true,
    avoidBuggyIps: true,
  })
  const config = {
    pools: [pool('lan', '192.168.1.0/24', '2001:db8::/64'), pool('other', '192.0.2.0/24')],
    l2Advertisements: [advertisement],
  } as unknown as Config
  return {
    config,
    nodes: new Map(names.map(name => [name, node(name)])),
    self,
    loadBalancerClass: undefined,
    ignoreExcludeLabel: false,
    ...rest,
  }
}

function service(
  ingress: readonly Record<string, string>[],
  spec: Record<string, unknown> = {},
  name = 'web',
) {
  return serviceFromObject({
    metadata: { name, namespace: 'default' },
    spec: { type: 'LoadBalancer', ...spec },
    status: { loadBalancer: { ingress } },
  })
}

function slice(...nodes: string[]): EndpointSliceFacts {
  return endpointsFromSlice({
    metadata: { name: 's', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: nodes.map(nodeName => ({ addresses: ['10.0.0.1'], nodeName, conditions: { ready: true } })),
  })
}

const VIP = { ip: '192.168.1.240' }

test('L-7: the order of the candidates, and who goes ahead of each of them', () => {
  // metallb.md 2.7: 192.168.1.240 with node1, node2, node3 is 3 1 2.
  const ahead = NODES.map(self => {
    const { claim, candidates } = new Layer2Planner(facts(self)).assign(service([VIP]), [slice('node2')])
    assert.deepEqual(candidates, ['node3', 'node1', 'node2'])
    return claim?.ahead
  })
  assert.deepEqual(ahead, [['node3'], ['node3', 'node1'], []])
})

for (const [reason, given, spec] of [
  ['notLoadBalancer', [VIP], { type: 'NodePort' }], // P-1
  ['notLoadBalancer', [VIP], { loadBalancerClass: 'example.com/other' }], // P-5
  ['noIPAllocated', [], {}],
  ['invalidIP', [VIP, { hostname: 'lb.example.com' }], {}],
  ['ipNotAllowed', [VIP, { ip: '192.0.2.1' }], {}], // P-2: two pools
  ['ipNotAllowed', [{ ip: '203.0.113.1' }], {}], // P-2: none
] as const) {
  test(`P-1: ${JSON.stringify(given)} with ${JSON.stringify(spec)} is withheld: ${reason}`, () => {
    const assignment = new Layer2Planner(facts()).assign(service(given, spec), [slice('node2')])
    assert.deepEqual([assignment.reason, assignment.claim, assignment.candidates], [reason, undefined, []])
  })
}

test('P-5: with --lb-class only Services of that class are looked at', () => {
  const planner = new Layer2Planner(facts('node1', { loadBalancerClass: 'lodestone.dev/l2' }))
  const of = (spec: Record<string, unknown>) => planner.assign(service([VIP], spec), [slice('node2')]).reason
  assert.equal(of({ loadBalancerClass: 'lodestone.dev/l2' }), null)
  assert.equal(of({}), 'notLoadBalancer')
})

test('E-2: without an endpoint nobody announces; L-6: Local leaves only nodes with one', () => {
  const planner = new Layer2Planner(facts())
  assert.equal(planner.assign(service([VIP]), []).reason, 'noEndpoints')
  const local = planner.assign(service([VIP], { externalTrafficPolicy: 'Local' }), [slice('node2')])
  assert.deepEqual([local.candidates, local.claim], [['node2'], undefined])
})

test('a node far behind is told the first of those ahead, and that there are more', () => {
  const names = Array.from({ length: 40 }, (_, i) => `node${i}`)
  const first = new Layer2Planner(facts('node0', {}, names)).assign(service([VIP]), [slice('node1')])
  const last = names.find(name => !first.candidates.includes(name)) ?? ''
  const { claim } = new Layer2Planner(facts(last, {}, names)).assign(service([VIP]), [slice('node1')])
  assert.deepEqual(claim?.ahead, first.candidates.slice(0, AHEAD_MAX))
  assert.equal(claim?.truncated, true)
})

test('each candidate is told who comes after it, the first sixteen of those', () => {
  const names = Array.from({ length: 40 }, (_, i) => `node${i}`)
  const of = (self: string) =>
    new Layer2Planner(facts(self, {}, names)).assign(service([VIP]), [slice('node1')])
  const order = of('node0').candidates
  const first = of(order[0] ?? '').claim
  assert.deepEqual([first?.ahead, first?.behind], [[], order.slice(1, 1 + BEHIND_MAX)])
  assert.deepEqual(of(order[3] ?? '').claim?.behind.slice(0, 13), order.slice(4))
})

test('a sharded address: every candidate is told all others that share it, and no more than may', () => {
  const names = Array.from({ length: SHARD_NODES_MAX + 8 }, (_, i) => `node${i}`)
  const { statusIps, ...rest } = service([VIP])
  const sharded = { ...rest, statusIps, annotations: { ...rest.annotations, layer2Mode: 'sharded' } }
  const of = (self: string) => new Layer2Planner(facts(self, {}, names)).assign(sharded, [slice('node1')])
  const { candidates } = of('node0')
  assert.equal(candidates.length, SHARD_NODES_MAX)
  for (const self of names) {
    const { claim } = of(self)
    assert.equal(claim?.mode, 'sharded')
    assert.equal(claim?.truncated, !candidates.includes(self))
    if (candidates.includes(self))
      assert.deepEqual([...(claim?.ahead ?? []), self, ...(claim?.behind ?? [])], candidates)
  }
})

test('a sharded address under Local: the weights are the endpoints', () => {
  const facts1 = facts('node1')
  const one = service([VIP], { externalTrafficPolicy: 'Local' })
  const sharded = { ...one, annotations: { ...one.annotations, layer2Mode: 'sharded' } }
  // An iterator that can be read only once.
  const slices = [slice('node1', 'node1', 'node2')].values()
  const { claim } = new Layer2Planner(facts1).assign(sharded, slices)
  assert.deepEqual(claim?.weights, { node1: 2, node2: 1 })
  assert.equal(
    Object.hasOwn(new Layer2Planner(facts1).assign(one, [slice('node1')]).claim ?? {}, 'weights'),
    false,
  )
})

function assignment(name: string, ips: readonly string[], ahead: readonly string[] | undefined): Assignment {
  return {
    service: name,
    ips: ips as readonly Ip[],
    candidates: [],
    reason: null,
    claim:
      ahead === undefined
        ? undefined
        : { service: name, ahead, behind: [], truncated: false, interfaces: 'all', mode: 'single' },
  }
}

test('the table tells what changed: new, other, gone', () => {
  const table = new VipTable()
  const told = (name: string, value: Assignment | undefined) => {
    const { set, remove } = table.difference(table.set(name, value))
    return [
      ...set.map(vip => `${vip.ip}=${vip.claims.map(claim => claim.service).join('+')}`),
      ...remove.map(ip => `-${ip}`),
    ].sort()
  }
  assert.deepEqual(told('x/a', assignment('x/a', ['192.0.2.1'], [])), ['192.0.2.1=x/a'])
  assert.deepEqual(told('x/a', assignment('x/a', ['192.0.2.1'], [])), [], 'nothing changed')
  // P-3: the old address goes and the new one comes in one difference.
  assert.deepEqual(told('x/a', assignment('x/a', ['192.0.2.2'], [])), ['-192.0.2.1', '192.0.2.2=x/a'])
  // L-26: two Services on one address.
  assert.deepEqual(told('x/b', assignment('x/b', ['192.0.2.2'], ['n'])), ['192.0.2.2=x/a+x/b'])
  assert.deepEqual(told('x/a', undefined), ['192.0.2.2=x/b'])
  assert.deepEqual(told('x/b', assignment('x/b', ['192.0.2.2'], undefined)), ['-192.0.2.2'])
  assert.deepEqual(table.addresses(), [])
  assert.equal(table.get('x/b')?.claim, undefined)
  assert.deepEqual(told('x/never', undefined), [])
})
