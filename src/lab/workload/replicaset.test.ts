import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planReplicaSets } from './replicaset.ts'
import type { Pod, ReplicaSet } from './resources.ts'

const SET: ReplicaSet = {
  metadata: { name: 'web-x', namespace: 'default', uid: 'r1' },
  spec: {
    replicas: 3,
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } } },
  },
  status: { replicas: 3 },
}

function pod(name: string, node: string | undefined, ready: boolean): Pod {
  return {
    metadata: {
      name,
      namespace: 'default',
      uid: name,
      creationTimestamp: `2026-01-01T00:00:0${name.at(-1)}Z`,
      ownerReferences: [{ kind: 'ReplicaSet', uid: 'r1', controller: true }],
    },
    spec: { containers: [], ...(node === undefined ? {} : { nodeName: node }) },
    status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
  }
}

function removed(pods: Pod[], replicas: number): string[] {
  return planReplicaSets({
    replicaSets: [{ ...SET, spec: { ...SET.spec, replicas } }],
    pods,
    now: 0,
  }).flatMap(action => (action.type === 'delete' ? [action.name.name] : []))
}

test('pods without a node go first, then those not ready, then from the fullest node, then the youngest', () => {
  const pods = [
    pod('p1', 'n1', true),
    pod('p2', 'n1', true),
    pod('p3', 'n2', true),
    pod('p4', 'n2', false),
    pod('p5', undefined, false),
  ]
  assert.deepEqual(removed(pods, 4), ['p5'])
  assert.deepEqual(removed(pods, 3), ['p5', 'p4'])
  assert.deepEqual(removed(pods, 2), ['p5', 'p4', 'p2'])
  assert.deepEqual(removed(pods, 1), ['p5', 'p4', 'p2', 'p3'])
})

test('pods that are going or done are replaced', () => {
  const going = pod('p1', 'n1', true)
  const done = pod('p2', 'n1', false)
  const actions = planReplicaSets({
    replicaSets: [SET],
    pods: [
      { ...going, metadata: { ...going.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } },
      { ...done, status: { phase: 'Failed' } },
      pod('p3', 'n1', true),
    ],
    now: 0,
  })
  const names = actions.flatMap(action => (action.type === 'create' ? [action.object.metadata.name] : []))
  assert.equal(names.length, 2)
  assert.equal(new Set(names).size, 2)
})

test('pods of a ReplicaSet that is gone are deleted, strangers are not', () => {
  const stranger: Pod = { metadata: { name: 's', namespace: 'default' }, spec: { containers: [] } }
  const actions = planReplicaSets({ replicaSets: [], pods: [pod('p1', 'n1', true), stranger], now: 0 })
  assert.deepEqual(
    actions.map(action => action.type === 'delete' && action.name.name),
    ['p1'],
  )
})
