import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Ipv4 } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import { emptyMaps, onLink, type SteeringInput, serviceTable, steeringState } from './steering.ts'
import { FakeKernel, ip, prefix, steered, steeringInput } from './steering-fixtures.ts'
import { parseSteering } from './steering-listing.ts'
import {
  createTable,
  EMPTY_STATE,
  LAYOUT_CHAIN,
  planDeaths,
  planSteering,
  removeSteering,
  replaceSteering,
} from './steering-text.ts'

const NONE: ReadonlySet<string> = new Set()
const WEIGHTS = new Map([
  ['n1', 1],
  ['n2', 2],
  ['n3', 1],
])
const ownersOf = (table: ReturnType<typeof serviceTable>) =>
  Array.from(table.owners, index => table.nodes[index])

test('a dead node loses its slots to the others, no other slot moves, and all come back', () => {
  const before = serviceTable(WEIGHTS, NONE, 3001)
  const during = serviceTable(WEIGHTS, new Set(['n3', 'unheard-of']), 3001)
  const [old, now] = [ownersOf(before), ownersOf(during)]
  for (const [slot, owner] of old.entries()) {
    if (owner === 'n3') assert.equal(now[slot], before.nodes[before.seconds?.[slot] ?? -1], `slot ${slot}`)
    else assert.equal(now[slot], owner, `slot ${slot}`)
  }
  assert.ok(!now.includes('n3'))
  assert.notEqual(during.hash, before.hash)
  assert.equal(serviceTable(WEIGHTS, NONE, 3001).hash, before.hash)
})

test('when its endpoints leave too, at most one slot in a hundred moves again', () => {
  const dead = ownersOf(serviceTable(WEIGHTS, new Set(['n3'])))
  const gone = ownersOf(serviceTable(new Map([...WEIGHTS].filter(([name]) => name !== 'n3')), NONE))
  const moved = dead.filter((owner, slot) => owner !== gone[slot]).length
  assert.ok(moved <= dead.length / 100, `${moved} of ${dead.length}`)
})

test('nobody alive: no slots', () => {
  for (const table of [
    serviceTable(new Map(), NONE),
    serviceTable(new Map([['n1', 0]]), NONE),
    serviceTable(WEIGHTS, new Set(['n1', 'n2', 'n3'])),
  ]) {
    assert.equal(table.owners.length, 0)
    assert.equal(table.seconds, undefined)
  }
})

test('a table too large for second choices has none', () => {
  assert.equal(serviceTable(WEIGHTS, NONE, 30_011).seconds, undefined)
  assert.equal(serviceTable(WEIGHTS, NONE).seconds?.length, 10_007)
})

for (const [name, address, why] of [
  ['in a subnet', '192.0.2.12', undefined],
  ['of the other family', '2001:db8::12', undefined],
  [
    'behind a router',
    '198.51.100.1',
    '198.51.100.1 is not on a segment of this node: not in 192.0.2.0/24 (eth0), 192.0.2.128/25 (eth1), 192.0.2.12/32 (eth1)',
  ],
  ['without an address', undefined, 'the node has no address of this family'],
] as const) {
  test(`on-link: ${name}`, () => {
    const interfaces = [
      // A subnet of one address holds no neighbour.
      { name: 'eth1', index: 3, prefixes: [prefix('192.0.2.128/25'), prefix('192.0.2.12/32')] },
      { name: 'eth0', index: 2, prefixes: [prefix('192.0.2.0/24'), prefix('2001:db8::/64')] },
    ]
    const link = onLink(address === undefined ? undefined : ip(address), interfaces.toReversed())
    assert.equal(link.onLink ? undefined : link.why, why)
    if (link.onLink) assert.equal(link.interface.name, 'eth0')
  })
}

test('on-link: the most specific subnet wins, then the lower name', () => {
  const of = (name: string, ...prefixes: string[]) => ({ name, index: 1, prefixes: prefixes.map(prefix) })
  const link = (...interfaces: ReturnType<typeof of>[]) => {
    const found = onLink(ip('192.0.2.200'), interfaces)
    return found.onLink ? found.interface.name : found.why
  }
  assert.equal(link(of('eth0', '192.0.2.0/24'), of('eth1', '192.0.2.128/25')), 'eth1')
  assert.equal(link(of('eth1', '192.0.2.0/24'), of('eth0', '192.0.2.0/24')), 'eth0')
  assert.match(link(of('eth0', '2001:db8::/64')), /no interface has an IPv4 subnet/)
})

test('problems are told by Service', () => {
  const nodes = new Map([
    ['n1', { ip: ip('192.0.2.11') as Ipv4 }],
    ['n2', { ip: ip('198.51.100.2') as Ipv4 }],
  ])
  const both = [
    { protocol: 'UDP', port: 53 },
    { protocol: 'TCP', port: 53 },
  ] as const
  const { services } = steeringState(
    steeringInput(
      [
        steered(1, { n1: 1 }, { vips: [ip('203.0.113.9')], ports: both }),
        steered(
          2,
          { n2: 1, n3: 1 },
          {
            vips: [ip('203.0.113.9')],
            ports: [
              { protocol: 'UDP', port: 53 },
              { protocol: 'UDP', port: 54 },
            ],
          },
        ),
        steered(3, {}, {}),
      ],
      { nodes },
    ),
  )
  assert.deepEqual(
    services.map(({ service, problems }) => [service, problems]),
    [
      ['test/s1', []],
      [
        'test/s2',
        [
          '203.0.113.9 port 53/UDP belongs to another Service',
          'fragments of UDP to 203.0.113.9 go where those of another Service go that shares the address',
          'cannot steer to n2: 198.51.100.2 is not on a segment of this node: not in 192.0.2.0/24 (eth0)',
          'cannot steer to n3: the node is not known',
        ],
      ],
      ['test/s3', ['no ready endpoint on a node that is alive: nothing is steered']],
    ],
  )
})

test('the node itself, nodes off the segment and unknown ones have no verdict: their packets stay', () => {
  const state = steeringState(steeringInput([steered(1, { n1: 1, n2: 1, stranger: 1 })])).state
  assert.equal(state.maps.nodes4.size, 8)
  assert.equal(new Set(state.maps.nodes4.values()).size, 8)
  assert.equal(state.handovers.size, 16)
  assert.match([...state.handovers.values()].flat().join('\n'), /fwd ip to 192\.0\.2\.12 device "eth0"/)
})

test('chains are named by what they do, so that a new address is a new chain', () => {
  const of = (more: Partial<SteeringInput>) => [
    ...steeringState(steeringInput([], more)).state.handovers.keys(),
  ]
  const nodes = new Map([['n2', { ip: ip('192.0.2.12') as Ipv4 }]])
  const base = of({ nodes })
  assert.equal(base.length, 1)
  assert.deepEqual(of({ nodes }), base)
  for (const change of [
    { nodes: new Map([['n2', { ip: ip('192.0.2.99') as Ipv4 }]]) },
    { nodes: new Map([['n2', { ip: ip('192.0.2.12') as Ipv4, macs: ['02:00:5e:00:53:01' as Mac] }]]) },
    { nodes, interfaces: [{ name: 'eth0', index: 7, prefixes: [prefix('192.0.2.0/24')] }] },
  ]) {
    assert.notDeepEqual(of(change), base)
  }
})

test('an interface name that nft does not take is replaced in the name of the chain', () => {
  const { state } = steeringState(
    steeringInput([], { interfaces: [{ name: 'eth0@up:1', index: 4, prefixes: [] }] }),
  )
  assert.deepEqual([...state.interfaces], [['in-eth0_up_1-4', 'eth0@up:1']])
})

test('a change of one Service is about that Service', async () => {
  const kernel = new FakeKernel()
  const services = (weight: number) => [steered(1, { n1: 1, n2: weight }), steered(2, { n2: 1, n3: 1 })]
  const before = steeringState(steeringInput(services(1))).state
  await kernel.apply(replaceSteering(before))
  const transactions = planSteering(steeringState(steeringInput(services(2))).state, before)
  assert.equal(transactions.length, 1)
  const keys = [...(transactions[0]?.text ?? '').matchAll(/0x([0-9a-f]{8}) \. /g)].map(match => match[1])
  assert.equal(new Set(keys).size, 1)
  assert.deepEqual(planSteering(before, before), [])
})

test('a death is some elements, however many Services there are', () => {
  const services = Array.from({ length: 100 }, (_, i) => steered(i + 1, { n1: 1, n2: 1, n3: 1 }))
  const { state } = steeringState(steeringInput(services))
  const input = steeringInput(services, { dead: new Set(['n3']) })
  const { text } = planDeaths(steeringState(input).state.maps, state)
  assert.ok(text.length < 1000, `${text.length} characters`)
  assert.equal(planDeaths(emptyMaps(), state).text, '')
})

test('the listing of another release, or of nothing of ours, is refused', async () => {
  const kernel = new FakeKernel()
  await kernel.apply(createTable())
  const listing = (await kernel.listTable('netdev', 'lodestone_steering')) ?? ''
  assert.deepEqual(parseSteering(listing), EMPTY_STATE)
  assert.equal(parseSteering(listing.replace(LAYOUT_CHAIN, 'layout-0')), undefined)
  assert.equal(parseSteering(''), undefined)
  for (const element of [
    'x : 0x00000001',
    '0x00000001 . 1:ffff : 0x00000001',
    '0x00000001 . root : 0x00000001',
    '0x00000001 . none : 1',
  ]) {
    const odd = listing.replace('map slots {\n', `map slots {\n\t\telements = { ${element} }\n`)
    assert.notEqual(odd, listing)
    assert.equal(parseSteering(odd), undefined, element)
  }
})

const NODE = fc.constantFrom<string[]>('n1', 'n2', 'n3', 'n4')
const INPUT = fc
  .record(
    {
      services: fc.uniqueArray(
        fc.record(
          {
            n: fc.integer({ min: 1, max: 3 }),
            weights: fc.dictionary(NODE, fc.integer({ min: 0, max: 3 }), {
              maxKeys: 4,
              noNullPrototype: true,
            }),
            affinity: fc.constantFrom('flow' as const, 'client' as const),
            slots: fc.constantFrom(1009 as const, 3001 as const),
          },
          { noNullPrototype: true },
        ),
        { maxLength: 3, selector: ({ n }) => n },
      ),
      dead: fc.uniqueArray(NODE, { maxLength: 3 }),
      missing: fc.uniqueArray(NODE, { maxLength: 2 }),
      index: fc.integer({ min: 2, max: 3 }),
    },
    { noNullPrototype: true },
  )
  .map(({ services, dead, missing, index }) => {
    const input = steeringInput(
      services.map(({ n, weights, ...more }) => steered(n, weights, more)),
      { dead: new Set(dead) },
    )
    return {
      ...input,
      nodes: new Map([...input.nodes].filter(([name]) => !missing.includes(name))),
      interfaces: input.interfaces.map(one => ({ ...one, index })),
    }
  })

test('changes, one after the other, cut anywhere and read back, lead to what is wanted', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(INPUT, { minLength: 2, maxLength: 4 }), fc.nat(), async (inputs, cut) => {
      const kernel = new FakeKernel()
      await kernel.apply(createTable())
      const readBack = async () =>
        parseSteering((await kernel.listTable('netdev', 'lodestone_steering')) ?? '') ?? assert.fail('unread')
      let observed = EMPTY_STATE
      for (const input of inputs) {
        const { state } = steeringState(input)
        const deaths = planDeaths(state.maps, observed)
        if (deaths.text !== '') await kernel.apply(deaths.text)
        const transactions = planSteering(state, deaths.state)
        for (const { text } of transactions.slice(0, cut % (transactions.length + 1)))
          await kernel.apply(text)
        for (const { text } of planSteering(state, await readBack())) await kernel.apply(text)
        const held = await readBack()
        assert.deepEqual(held.maps, state.maps)
        assert.deepEqual(new Set(held.handovers.keys()), new Set(state.handovers.keys()))
        assert.deepEqual(held.interfaces, state.interfaces)
        assert.deepEqual(planSteering(state, held), [])
        observed = state
      }
    }),
    { numRuns: 25 },
  )
})

/** The verdicts that lead to a node. */
function waysTo(name: string): string[] {
  const { nodes } = steeringInput([])
  const { state } = steeringState(
    steeringInput([], { nodes: new Map([...nodes].filter(([other]) => other === name)) }),
  )
  return [...state.handovers.keys()].map(chain => `goto ${chain}`)
}

test('between two transactions each packet goes its old or its new way', async () => {
  const inputs = [
    steeringInput([steered(1, { n1: 1, n2: 1, n3: 1 }), steered(2, { n2: 1 })]),
    steeringInput([steered(1, { n1: 1, n2: 1, n3: 1 }), steered(2, { n2: 1 })], { dead: new Set(['n3']) }),
    steeringInput([steered(1, { n1: 3, n2: 1, n4: 2 }), steered(3, { n3: 1, n4: 1 })]),
    steeringInput([steered(1, { n1: 3, n2: 1, n4: 2 }, { affinity: 'client' })], {
      dead: new Set(['n2', 'n4']),
    }),
    steeringInput([]),
    steeringInput([steered(1, { n2: 1, n3: 1 })]),
  ]
  const look = (kernel: FakeKernel) =>
    [1, 2, 3].flatMap(n => [kernel.paths(`203.0.113.${n}`, 1009), kernel.paths(`2001:db8:f::${n}`, 1009)])
  let observed = EMPTY_STATE
  const kernel = new FakeKernel()
  await kernel.apply(createTable())
  for (const input of inputs) {
    const { state } = steeringState(input)
    const after = new FakeKernel()
    await after.apply(replaceSteering(state))
    const to = look(after)
    const deaths = planDeaths(state.maps, observed)
    const alive = look(kernel)
    if (deaths.text !== '') await kernel.apply(deaths.text)
    const from = look(kernel)
    const way = (paths: string[] | 'unsteered' | undefined, slot: number) =>
      typeof paths === 'object' ? paths[slot] : paths
    const died = new Set([...input.dead].flatMap(name => waysTo(name)))
    for (const [i, paths] of from.entries()) {
      for (let slot = 0; slot < 1009; slot++) {
        const before = way(alive[i], slot)
        assert.equal(way(paths, slot) !== before, died.has(before ?? ''), `${before} before the death`)
      }
    }
    for (const { text } of planSteering(state, deaths.state)) {
      await kernel.apply(text)
      for (const [i, now] of look(kernel).entries()) {
        for (let slot = 0; slot < 1009; slot++) {
          const [was, is, shall] = [way(from[i], slot), way(now, slot), way(to[i], slot)]
          assert.ok(is === was || is === shall, `${is}, not ${was} or ${shall}`)
        }
      }
    }
    assert.deepEqual(look(kernel), to)
    observed = state
  }
})

test('removal takes the table away, whether it is there or not', async () => {
  const kernel = new FakeKernel()
  await kernel.apply(removeSteering())
  await kernel.apply(createTable())
  await kernel.apply(removeSteering())
  assert.equal(await kernel.listTable('netdev', 'lodestone_steering'), undefined)
})
