import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type LeaseSightings, type NodeSnapshot, observeLeases, planNodes } from './nodes.ts'
import type { Condition } from './resources.ts'

const READY: Condition = { type: 'Ready', status: 'True' }

function snapshot(renewTime: string, conditions: Condition[] = [READY]): NodeSnapshot {
  return {
    nodes: [{ metadata: { name: 'n1' }, status: { conditions } }],
    leases: [{ metadata: { name: 'n1' }, spec: { renewTime } }],
    pods: [
      {
        metadata: { name: 'p', namespace: 'default' },
        spec: { nodeName: 'n1', containers: [] },
        status: { conditions },
      },
      {
        metadata: { name: 'q', namespace: 'default' },
        spec: { nodeName: 'n2', containers: [] },
        status: { conditions: [READY] },
      },
    ],
    wallNow: Date.UTC(2026, 0, 1),
    graceMs: 40_000,
  }
}

function after(seconds: number, state: NodeSnapshot): LeaseSightings {
  let sightings = observeLeases(new Map(), state, 0)
  for (let i = 0; i < seconds; i++) sightings = observeLeases(sightings, state, 1000)
  return sightings
}

test('a node whose Lease does not change for the grace is not ready, nor are its pods', () => {
  const state = snapshot('a')
  assert.deepEqual(planNodes(state, after(39, state)), [])
  const actions = planNodes(state, after(40, state))
  assert.deepEqual(
    actions.map(action => action.type === 'patch' && `${action.resource.kind} ${action.name.name}`),
    ['Node n1', 'Pod p'],
  )
})

test('what is told already is not told again', () => {
  const state = snapshot('a', [{ type: 'Ready', status: 'Unknown' }])
  assert.deepEqual(planNodes(state, after(100, state)), [])
})

test('a renewal begins the grace anew', () => {
  const sightings = observeLeases(after(39, snapshot('a')), snapshot('b'), 1000)
  assert.equal(sightings.get('n1')?.silentMs, 0)
})

test('when we were away ourselves the nodes are not blamed', () => {
  const state = snapshot('a')
  const sightings = observeLeases(after(10, state), state, 3_600_000)
  assert.deepEqual(planNodes(state, sightings), [])
})
