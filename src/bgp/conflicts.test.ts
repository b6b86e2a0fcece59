import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Family } from '../addr/ip.ts'
import type { BgpAdvertisement } from '../config/model.ts'
import { conflictAmong } from './conflicts.ts'

function advertisement(rest: Partial<BgpAdvertisement> = {}): BgpAdvertisement {
  return {
    name: 'ad',
    pools: new Set(['lan']),
    nodes: new Set(['node1']),
    peers: 'all',
    aggregationLength: 32,
    aggregationLengthV6: 128,
    localPref: 100,
    communities: [],
    serviceSelectors: [],
    ...rest,
  }
}

const peers = (...names: string[]) => new Set(names)
const V4: readonly Family[] = ['IPv4']
const V6: readonly Family[] = ['IPv6']
const DUAL: readonly Family[] = ['IPv4', 'IPv6']

/** What one says against `localPref: 200` of the other, on the same node and for every peer unless told. */
const CASES: readonly (readonly [
  name: string,
  families: readonly Family[],
  a: Partial<BgpAdvertisement>,
  b: Partial<BgpAdvertisement>,
  conflict: boolean,
])[] = [
  ['on the same node, for every peer', V4, {}, {}, true],
  ['of the same value', V4, { localPref: 200 }, {}, false],
  ['one of them without a value', V4, { localPref: undefined }, {}, true],
  ['both without a value', V4, { localPref: undefined }, { localPref: undefined }, false],
  ['on disjoint nodes', V4, { nodes: new Set(['node2']) }, {}, false],
  ['one of them on no node', V4, { nodes: new Set() }, {}, false],
  ['for disjoint peers', V4, { peers: peers('a') }, { peers: peers('b') }, false],
  ['for peers of which one is the same', V4, { peers: peers('a', 'b') }, { peers: peers('b', 'c') }, true],
  ['for one peer, and for all', V4, { peers: peers('a') }, {}, true],
  ['of different lengths', V4, { aggregationLength: 24 }, {}, false],
  [
    'of different lengths in the family that the pool does not have',
    V4,
    { aggregationLengthV6: 64 },
    {},
    true,
  ],
  ['of different IPv6 lengths, of an IPv6 pool', V6, { aggregationLengthV6: 64 }, {}, false],
  ['of different IPv4 lengths, of a dual pool', DUAL, { aggregationLength: 24 }, {}, true],
  [
    'of different lengths in both families',
    DUAL,
    { aggregationLength: 24, aggregationLengthV6: 64 },
    {},
    false,
  ],
]
for (const [name, families, a, b, conflict] of CASES) {
  test(`B-12 two values of localPref ${name} ${conflict ? 'conflict' : 'go together'}`, () => {
    const pair = [advertisement(a), advertisement({ localPref: 200, ...b })] as const
    assert.equal(conflictAmong(pair, families) !== undefined, conflict)
    assert.equal(conflictAmong(pair.toReversed(), families) !== undefined, conflict)
  })
}

test('B-12 every pair is looked at, and the first that conflicts is named', () => {
  const [a, b, c] = [
    advertisement({ name: 'a', peers: peers('x') }),
    advertisement({ name: 'b', peers: peers('y'), localPref: 200 }),
    advertisement({ name: 'c', peers: peers('y'), localPref: 300 }),
  ]
  assert.deepEqual(
    conflictAmong([a, b, c], V4)?.map(({ name }) => name),
    ['b', 'c'],
  )
  assert.equal(conflictAmong([a, b], V4), undefined)
  assert.equal(conflictAmong([a], V4), undefined)
})
