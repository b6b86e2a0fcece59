import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jsonPath } from './json-path.ts'
import { humanDuration } from './kinds/build.ts'
import { NODE } from './kinds/core.ts'
import { customTypes } from './kinds/crd.ts'
import { POD } from './kinds/pod.ts'
import type { ApiObject } from './objects.ts'
import type { ResourceType } from './resource-type.ts'
import { table } from './table.ts'

const NOW = Date.UTC(2026, 0, 2)
const cells = (object: ApiObject, type: ResourceType): Record<string, unknown> => {
  const made = table([object], type, { now: NOW, include: 'Metadata', version: 'v1', metadata: {} })
  const names = made['columnDefinitions'] as { name: string }[]
  const [row] = made['rows'] as { cells: unknown[] }[]
  return Object.fromEntries(names.map((column, i) => [column.name, row?.cells[i]]))
}

// As `kubectl get` prints them (k8s.io/apimachinery, duration.HumanDuration).
for (const [seconds, text] of [
  [-5, '0s'],
  [119, '119s'],
  [120, '2m'],
  [190, '3m10s'],
  [600, '10m'],
  [10_799, '179m'],
  [10_800, '3h'],
  [10_860, '3h1m'],
  [28_800, '8h'],
  [172_800, '2d'],
  [176_400, '2d1h'],
  [691_200, '8d'],
  [63_072_000, '2y'],
] as const) {
  test(`an age of ${seconds} s is ${text}`, () => assert.equal(humanDuration(seconds * 1000), text))
}

test('a pod, and one that is going', () => {
  const pod: ApiObject = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', creationTimestamp: '2026-01-01T23:59:00Z' },
    spec: { nodeName: 'n1', containers: [{ name: 'a' }, { name: 'b' }] },
    status: {
      phase: 'Running',
      podIP: '198.51.100.1',
      containerStatuses: [
        { ready: true, restartCount: 2 },
        { ready: false, restartCount: 1, state: { waiting: { reason: 'CrashLoopBackOff' } } },
      ],
    },
  }
  const { Ready, Status, Restarts, Age, IP, Node } = cells(pod, POD)
  assert.deepEqual(
    [Ready, Status, Restarts, Age, IP, Node],
    ['1/2', 'CrashLoopBackOff', '3', '60s', '198.51.100.1', 'n1'],
  )
  const going = { ...pod, metadata: { ...pod.metadata, deletionTimestamp: '2026-01-02T00:00:00Z' } }
  assert.equal(cells(going, POD)['Status'], 'Terminating')
})

test('a node that is cordoned', () => {
  const node: ApiObject = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n', labels: { 'node-role.kubernetes.io/control-plane': '' } },
    spec: { unschedulable: true },
    status: {
      conditions: [{ type: 'Ready', status: 'True' }],
      addresses: [{ type: 'InternalIP', address: '192.0.2.1' }],
    },
  }
  const row = cells(node, NODE)
  assert.equal(row['Status'], 'Ready,SchedulingDisabled')
  assert.equal(row['Roles'], 'control-plane')
  assert.equal(row['Internal-IP'], '192.0.2.1')
})

test('printer columns of a custom resource, in each served version', () => {
  const version = (name: string, served: boolean): object => ({
    name,
    served,
    storage: name === 'v1',
    schema: { openAPIV3Schema: { type: 'object' } },
    additionalPrinterColumns: [
      { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
      { name: 'Pools', type: 'string', jsonPath: '.spec.pools[*].name' },
      { name: 'Size', type: 'integer', jsonPath: '.spec.size' },
      { name: 'Since', type: 'date', jsonPath: '.status.since' },
    ],
  })
  const types = customTypes({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'things.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'things', kind: 'Thing', singular: 'thing', listKind: 'ThingList' },
      versions: [version('v1', true), version('v1beta1', true), version('v1alpha1', false)],
    },
  })
  assert.deepEqual(
    types.map(type => type.version),
    ['v1', 'v1beta1'],
  )
  const thing: ApiObject = {
    apiVersion: 'example.com/v1',
    kind: 'Thing',
    metadata: { name: 't' },
    spec: { pools: [{ name: 'a' }, { name: 'b' }], size: 'not a number' },
    status: {
      conditions: [
        { type: 'Other', status: 'False' },
        { type: 'Ready', status: 'True' },
      ],
      since: '2026-01-01T23:00:00Z',
    },
  }
  assert.ok(types[0])
  assert.deepEqual(cells(thing, types[0]), {
    Name: 't',
    Ready: 'True',
    Pools: 'a,b',
    Size: null,
    Since: '60m',
  })
})

for (const [path, found] of [
  ['.a.b', [1]],
  ['.a', [{ b: 1 }]],
  ['.missing.b', []],
  ["['a'].b", [1]],
  ['.list[1].x', [2]],
  ['.list[-1].x', [2]],
  ['.list[*].x', [1, 2]],
  ['.list[?(@.x==2)].y', ['z']],
  ['.list[?(@.y)].x', [2]],
  ['.dotted\\.name', [5]],
  ['.a[', []],
] as const) {
  test(`JSON path ${path}`, () => {
    const value = { a: { b: 1 }, list: [{ x: 1 }, { x: 2, y: 'z' }], 'dotted.name': 5 }
    assert.deepEqual(jsonPath(path)(value), found)
  })
}
