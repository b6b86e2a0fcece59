import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Node, Pod } from './resources.ts'
import { planBindings } from './scheduler.ts'

function node(name: string, rest: Partial<Node> = {}): Node {
  return {
    metadata: { name, labels: { 'kubernetes.io/hostname': name } },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
    ...rest,
  }
}

function pod(name: string, spec: Partial<Pod['spec']> = {}, owner?: string): Pod {
  return {
    metadata: {
      name,
      namespace: 'default',
      uid: name,
      ...(owner === undefined
        ? {}
        : { ownerReferences: [{ kind: 'ReplicaSet', uid: owner, controller: true }] }),
    },
    spec: { containers: [], ...spec },
  }
}

function placed(pods: Pod[], nodes: Node[]): Record<string, unknown> {
  return Object.fromEntries(
    planBindings({ pods, nodes, now: 0 }).map(action => {
      if (action.type === 'bind') return [action.name.name, action.node]
      assert.ok(action.type === 'patch')
      const { conditions } = action.patch['status'] as { conditions: { message: string }[] }
      return [action.name.name, conditions[0]?.message]
    }),
  )
}

const THREE = [node('n1'), node('n2'), node('n3')]

test('the replicas of one owner land on different nodes, whatever else runs there', () => {
  const others = [pod('o1', { nodeName: 'n1' }), pod('o2', { nodeName: 'n1' }), pod('o3', { nodeName: 'n2' })]
  const replicas = [pod('a', {}, 'rs'), pod('b', {}, 'rs'), pod('c', {}, 'rs')]
  assert.deepEqual(placed([...others, ...replicas], THREE), { a: 'n3', b: 'n2', c: 'n1' })
})

test('pods that are going or done do not count', () => {
  const going = pod('x', { nodeName: 'n1' }, 'rs')
  const pods = [
    { ...going, metadata: { ...going.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } },
    { ...pod('y', { nodeName: 'n1' }, 'rs'), status: { phase: 'Succeeded' as const } },
    pod('z', { nodeName: 'n2' }, 'rs'),
    pod('a', {}, 'rs'),
  ]
  assert.deepEqual(placed(pods, [node('n1'), node('n2')]), { a: 'n1' })
})

test('a pod with a node keeps it', () => {
  assert.deepEqual(placed([pod('a', { nodeName: 'n2' })], THREE), {})
})

test('nodes that are cordoned, not ready, of other labels or tainted are refused, and the pod says why', () => {
  const nodes = [
    node('n1', { spec: { unschedulable: true } }),
    node('n2', { status: { conditions: [{ type: 'Ready', status: 'Unknown' }] } }),
    node('n3', { metadata: { name: 'n3', labels: { disk: 'hdd' } } }),
    node('n4', {
      metadata: { name: 'n4', labels: { disk: 'ssd' } },
      spec: { taints: [{ key: 'role', value: 'edge', effect: 'NoSchedule' }] },
    }),
  ]
  assert.deepEqual(placed([pod('a', { nodeSelector: { disk: 'ssd' } })], nodes), {
    a: "0/4 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint {role: edge}, 1 node(s) were not ready, 1 node(s) were unschedulable.",
  })
  const tolerations = [{ key: 'role', operator: 'Equal', value: 'edge' }]
  assert.deepEqual(placed([pod('a', { nodeSelector: { disk: 'ssd' }, tolerations })], nodes), { a: 'n4' })
})

test('saying again why a pod waits changes nothing', () => {
  const [first] = planBindings({ pods: [pod('a')], nodes: [], now: 0 })
  assert.ok(first?.type === 'patch')
  const waiting = { ...pod('a'), status: first.patch['status'] as NonNullable<Pod['status']> }
  assert.deepEqual(planBindings({ pods: [waiting], nodes: [], now: 5000 }), [])
})
