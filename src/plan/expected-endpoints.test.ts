import assert from 'node:assert/strict'
import { test } from 'node:test'
import { endpointNodes, endpointsFromSlice } from '../config/endpointslice.ts'
import type { KubeObject } from '../ports/kube.ts'
import { expectedSlices, needsEndpoints, ownerOf } from './expected-endpoints.ts'

type Labels = Readonly<Record<string, string>>

const service = (name: string, selector?: Labels, spec: object = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { ...(selector !== undefined && { selector }), ...spec },
})
const slice = (of: string, nodeName: string): KubeObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: `${of}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': of } },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.244.0.2'], nodeName }],
})
const pod = (name: string, labels: Labels, nodeName: string, status: object = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', labels },
  spec: { nodeName },
  status: { podIP: '10.244.0.9', conditions: [{ type: 'Ready', status: 'True' }], ...status },
})
const names = (objects: readonly KubeObject[]) => objects.map(({ metadata: { name } }) => name)
const nodesOf = (slices: readonly KubeObject[] | undefined) =>
  slices && [...endpointNodes(slices.map(endpointsFromSlice)).nodes].sort()

test('Services that are new or select others need endpoints, unless the change brings them', () => {
  const before = [service('same', { app: 'a' }), service('other', { app: 'a' }), slice('same', 'n1')]
  const after = [
    ...before.filter(({ metadata }) => metadata.name !== 'other'),
    service('other', { app: 'b' }),
    service('new', { app: 'a' }),
    service('given', { app: 'a' }),
    slice('given', 'n1'),
    service('by-hand'),
  ]
  assert.deepEqual(names(needsEndpoints(before, after)), ['other', 'new'])
})

test('endpoints are the pods that are selected, with their readiness', () => {
  const web = service('web', { app: 'web' })
  const pods = [
    pod('a', { app: 'web', tier: 'x' }, 'n1'),
    pod('b', { app: 'web' }, 'n2', { conditions: [{ type: 'Ready', status: 'False' }] }),
    pod('c', { app: 'web' }, 'n3', { phase: 'Succeeded' }),
    pod('d', { app: 'web' }, 'n4', { podIP: undefined }),
    pod('e', { app: 'mail' }, 'n5'),
    { ...pod('f', { app: 'web' }, 'n6'), metadata: { name: 'f', namespace: 'shop', labels: { app: 'web' } } },
  ]
  const slices = expectedSlices(web, pods, [web])
  assert.deepEqual(nodesOf(slices), ['n1'])
  assert.deepEqual(slices?.map(ownerOf), ['default/web'])
  const all = service('web', { app: 'web' }, { publishNotReadyAddresses: true })
  assert.deepEqual(nodesOf(expectedSlices(all, pods, [all])), ['n1', 'n2'])
})

test('where no Pod is known, a Service that selects the same tells; else nothing is known', () => {
  const objects = [service('old', { app: 'web' }), slice('old', 'n2'), service('mail', { app: 'mail' })]
  assert.deepEqual(nodesOf(expectedSlices(service('web', { app: 'web' }), [], objects)), ['n2'])
  assert.equal(expectedSlices(service('api', { app: 'api' }), [], objects), undefined)
})
