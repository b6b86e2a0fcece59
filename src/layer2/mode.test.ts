import assert from 'node:assert/strict'
import { test } from 'node:test'
import { endpointsFromSlice } from '../config/endpointslice.ts'
import type { L2Advertisement } from '../config/model.ts'
import { layer2ModeOf, shareWeights } from './mode.ts'

const said = (...modes: ('single' | 'sharded' | undefined)[]) =>
  modes.map(mode => ({ name: 'x', ...(mode && { mode }) }) as unknown as L2Advertisement)
const service = (layer2Mode?: string) =>
  ({ annotations: { ...(layer2Mode !== undefined && { layer2Mode }) } }) as Parameters<typeof layer2ModeOf>[0]

for (const [own, advertised, mode] of [
  [undefined, [], 'single'],
  [undefined, [undefined], 'single'],
  [undefined, ['sharded'], 'sharded'],
  [undefined, [undefined, 'sharded'], 'sharded'],
  [undefined, ['single', 'sharded'], 'single'],
  ['sharded', [undefined], 'sharded'],
  ['sharded', ['single'], 'sharded'],
  ['single', ['sharded'], 'single'],
  ['nonsense', ['sharded'], 'sharded'],
  ['nonsense', [], 'single'],
] as const) {
  test(`a Service that says ${own ?? 'nothing'}, advertised as ${JSON.stringify(advertised)}: ${mode}`, () => {
    assert.equal(layer2ModeOf(service(own), said(...advertised)), mode)
  })
}

const slice = (...endpoints: (readonly [node: string | undefined, ready: boolean])[]) =>
  endpointsFromSlice({
    metadata: { name: 's', namespace: 'default', labels: {} },
    addressType: 'IPv4',
    endpoints: endpoints.map(([nodeName, ready]) => ({ nodeName, conditions: { ready } })),
  })

test('shares are in proportion to the endpoints that can serve, where only local ones are used', () => {
  const slices = [
    slice(['b', true], ['a', true], ['a', true]),
    slice(['a', true], ['c', false], [undefined, true]),
  ]
  assert.deepEqual(shareWeights({ externalTrafficPolicy: 'Local' }, slices), { a: 3, b: 1 })
  assert.equal(shareWeights({ externalTrafficPolicy: 'Cluster' }, slices), undefined)
})
