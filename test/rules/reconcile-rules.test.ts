// Rules of the reconcile framework and of the election as a whole, over the pure functions that carry them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Ip } from '../../src/addr/ip.ts'
import { Allocator } from '../../src/allocator/allocator.ts'
import { configOf, service } from '../../src/allocator/fixtures.ts'
import { endpointNodes, endpointsFromSlice } from '../../src/config/endpointslice.ts'
import { elect } from '../../src/layer2/election.ts'
import { accepted, l2, NODES, pool, RACK2 } from './config-cases.ts'

test('R-5 a Service that got nothing waits for something to change, its own labels included', () => {
  const pools = {
    p: {
      addresses: ['192.0.2.1/32'],
      serviceAllocation: { serviceSelectors: [{ matchLabels: { a: 'b' } }] },
    },
  }
  const allocator = new Allocator()
  const waiting = allocator.reconcile({ config: configOf(pools), changed: [service('s')] })
  assert.deepEqual(
    waiting.map(({ ips, pending }) => [ips, pending !== null]),
    [[[], true]],
  )
  // Looking again, or at others, decides nothing.
  assert.deepEqual(allocator.reconcile({}), [])
  assert.deepEqual(
    allocator.reconcile({ changed: [service('other', { labels: { c: 'd' } })] }).map(d => d.service),
    ['default/other'],
  )
  const served = allocator.reconcile({ changed: [service('s', { labels: { a: 'b' } })] })
  assert.deepEqual(
    served.map(d => [d.service, d.ips]),
    [['default/s', ['192.0.2.1']]],
  )
})

test('R-7 an EndpointSlice belongs to the Service that its label names, whatever its own name is', () => {
  const slice = (labels: Record<string, string>) =>
    endpointsFromSlice({ metadata: { name: 'other-7x2kq', namespace: 'shop', labels }, endpoints: [] })
      .serviceKey
  assert.equal(slice({ 'kubernetes.io/service-name': 'web' }), 'shop/web')
  assert.equal(slice({ app: 'web' }), undefined)
})

test('L-1 every node finds the same owner, in whatever order it learned what it knows', () => {
  const config = accepted({
    objects: [
      pool('v4', ['192.0.2.0/24']),
      l2('a', { nodeSelectors: RACK2 }),
      l2('b'),
      l2('c', { preferredNodeSelectors: [{ weight: 3, preference: { matchLabels: { rack: '2' } } }] }),
    ],
  })
  const owners = fc.property(
    fc.shuffledSubarray([...NODES], { minLength: NODES.length }),
    fc.shuffledSubarray([...config.l2Advertisements], { minLength: config.l2Advertisements.length }),
    fc.shuffledSubarray(
      NODES.map(({ name }) => name),
      { minLength: 1 },
    ),
    fc.integer({ min: 0, max: 255 }),
    (nodes, advertisements, alive, last) => {
      const view = (known: typeof nodes, ads: typeof config.l2Advertisements, living: readonly string[]) =>
        elect({
          service: service('s'),
          ips: [`192.0.2.${last}` as Ip],
          advertisements: ads,
          nodes: new Map(known.map(facts => [facts.name, facts])),
          endpoints: { ...endpointNodes([]), any: true },
          alive: new Set(living),
        })
      const here = view(nodes, advertisements, alive)
      const there = view(NODES, config.l2Advertisements, [...alive].sort())
      assert.equal(here.owner, there.owner)
      assert.ok(here.owner !== null && alive.includes(here.owner))
    },
  )
  fc.assert(owners)
})
