import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config } from '../config/model.ts'
import type { ServiceFacts } from '../config/services.ts'
import { Allocator, type AllocatorOptions, plan } from './allocator.ts'
import type { Decision } from './decision.ts'
import { applyAll, configOf, DUAL, type PoolSpec, service, V4, V6 } from './fixtures.ts'

/** The decisions by name of the Service. */
function decide(
  pools: Readonly<Record<string, PoolSpec>> | Config,
  services: readonly ServiceFacts[],
  options?: AllocatorOptions,
): Readonly<Record<string, Decision>> {
  const config = isConfig(pools) ? pools : configOf(pools)
  return Object.fromEntries(
    plan(config, services, options).map(d => [d.service.replace(/^default\//, ''), d]),
  )
}

function isConfig(value: Readonly<Record<string, PoolSpec>> | Config): value is Config {
  return Array.isArray(value['pools'])
}

/** One Service on its own. */
function one(pools: Readonly<Record<string, PoolSpec>> | Config, facts: ServiceFacts): Decision {
  const [decision] = Object.values(decide(pools, [facts]))
  assert.ok(decision)
  return decision
}

/** `pool: ips`, or the code of what it waits for. */
const outcome = (d: Decision | undefined) =>
  d === undefined ? 'nothing' : d.pending === null ? `${d.pool}: ${d.ips.join(' ')}` : d.pending.code
const reasons = (d: Decision | undefined) => d?.events.map(({ reason }) => reason)
const why = (d: Decision) => d.why.map(({ pool, result }) => `${pool} ${result}`)

const FOUR = { addresses: ['192.0.2.0/30'] }
const SIX = { addresses: ['2001:db8::/126'] }
const BOTH = { addresses: ['198.51.100.0/30', '2001:db8:1::/126'] }
const single = (text: string) => ({ addresses: [text] })

// 2.2 Allocation

test('A-1 the families are those of the cluster IPs, not of ipFamilies', () => {
  assert.equal(outcome(one({ BOTH }, service('s', { clusterIPs: V6 }))), 'BOTH: 2001:db8:1::')
  const odd = service('s', { clusterIPs: V4, spec: { ipFamilies: ['IPv6'] } })
  assert.equal(outcome(one({ BOTH }, odd)), 'BOTH: 198.51.100.0')
  assert.equal(outcome(one({ BOTH }, service('s', { clusterIPs: DUAL }))), 'BOTH: 198.51.100.0 2001:db8:1::')
})

const REQUESTS: readonly (readonly [string, Parameters<typeof service>[1], string])[] = [
  ['one', { annotations: { loadBalancerIPs: '192.0.2.2' } }, 'FOUR: 192.0.2.2'],
  ['with blanks', { annotations: { loadBalancerIPs: ' 192.0.2.2 ' } }, 'FOUR: 192.0.2.2'],
  ['by spec.loadBalancerIP', { spec: { loadBalancerIP: '192.0.2.3' } }, 'FOUR: 192.0.2.3'],
  [
    'by the older annotation',
    { annotations: { 'metallb.universe.tf/loadBalancerIPs': '192.0.2.1' } },
    'FOUR: 192.0.2.1',
  ],
  [
    'one of each family, in the order given',
    { clusterIPs: DUAL, annotations: { loadBalancerIPs: '2001:db8:1::2, 198.51.100.2' } },
    'BOTH: 2001:db8:1::2 198.51.100.2',
  ],
  [
    'of an automatic pool that is off',
    { annotations: { loadBalancerIPs: '203.0.113.1' } },
    'OFF: 203.0.113.1',
  ],
  [
    'only one for two cluster IPs',
    { clusterIPs: DUAL, annotations: { loadBalancerIPs: '198.51.100.2' } },
    'requestFamily',
  ],
  [
    'only one for two cluster IPs, though PreferDualStack',
    { clusterIPs: DUAL, policy: 'PreferDualStack', annotations: { loadBalancerIPs: '198.51.100.2' } },
    'requestFamily',
  ],
  [
    'two for one cluster IP',
    { annotations: { loadBalancerIPs: '198.51.100.2,2001:db8:1::2' } },
    'requestFamily',
  ],
  ['of the other family', { annotations: { loadBalancerIPs: '2001:db8:1::2' } }, 'requestFamily'],
  [
    'from two pools',
    { clusterIPs: DUAL, annotations: { loadBalancerIPs: '192.0.2.1,2001:db8:1::2' } },
    'requestNotInPool',
  ],
  ['from no pool', { annotations: { loadBalancerIPs: '10.9.9.9' } }, 'requestNotInPool'],
  ['of the same family twice', { annotations: { loadBalancerIPs: '192.0.2.1,192.0.2.2' } }, 'requestInvalid'],
  ['that is no address', { annotations: { loadBalancerIPs: '192.0.2.300' } }, 'requestInvalid'],
  [
    'in both places',
    { annotations: { loadBalancerIPs: '192.0.2.1' }, spec: { loadBalancerIP: '192.0.2.1' } },
    'requestInvalid',
  ],
  [
    'with a matching pool',
    { annotations: { loadBalancerIPs: '192.0.2.1', 'address-pool': 'FOUR' } },
    'FOUR: 192.0.2.1',
  ],
  [
    'with another pool',
    { annotations: { loadBalancerIPs: '192.0.2.1', 'address-pool': 'BOTH' } },
    'poolMismatch',
  ],
  ['left empty', { annotations: { loadBalancerIPs: '' } }, 'BOTH: 198.51.100.0'],
]
for (const [name, options, wanted] of REQUESTS) {
  test(`A-2 requested addresses: ${name}`, () => {
    const pools = { FOUR, BOTH, OFF: { ...single('203.0.113.0/24'), autoAssign: false } }
    const decision = one(pools, service('s', options))
    assert.equal(outcome(decision), wanted)
    if (decision.pending !== null) assert.deepEqual(reasons(decision), ['AllocationFailed'])
  })
}

test('A-2 a requested address in use is not taken from its holder', () => {
  const services = [
    service('holder', { created: 9, status: ['192.0.2.1'], pool: 'FOUR' }),
    service('asks', { created: 1, annotations: { loadBalancerIPs: '192.0.2.1' } }),
  ]
  const { holder, asks } = decide({ FOUR }, services)
  assert.equal(outcome(holder), 'FOUR: 192.0.2.1')
  assert.equal(outcome(asks), 'requestInUse')
  assert.match(asks?.pending?.message ?? '', /in use by default\/holder/)
})

test('A-3 a request that avoidBuggyIPs leaves out fails', () => {
  const pools = { p: { ...single('192.0.2.0/24'), avoidBuggyIPs: true } }
  for (const last of ['0', '255']) {
    assert.equal(
      outcome(one(pools, service('s', { annotations: { loadBalancerIPs: `192.0.2.${last}` } }))),
      'requestLeftOut',
    )
  }
  assert.equal(outcome(one(pools, service('s'))), 'p: 192.0.2.1')
})

const NAMED: readonly (readonly [string, Parameters<typeof service>[1], string])[] = [
  ['takes its first address', { annotations: { 'address-pool': 'FOUR' } }, 'FOUR: 192.0.2.0'],
  [
    'by the older annotation',
    { annotations: { 'metallb.universe.tf/address-pool': 'FOUR' } },
    'FOUR: 192.0.2.0',
  ],
  ['though autoAssign is off', { annotations: { 'address-pool': 'OFF' } }, 'OFF: 203.0.113.0'],
  ['unknown', { annotations: { 'address-pool': 'NONE' } }, 'poolUnknown'],
  ['not for the namespace', { annotations: { 'address-pool': 'RED' } }, 'poolNotForService'],
  ['without the family', { annotations: { 'address-pool': 'SIX' } }, 'poolExhausted'],
  ['both families required', { clusterIPs: DUAL, annotations: { 'address-pool': 'FOUR' } }, 'poolExhausted'],
  [
    'both families preferred',
    { clusterIPs: DUAL, policy: 'PreferDualStack', annotations: { 'address-pool': 'FOUR' } },
    'FOUR: 192.0.2.0',
  ],
  [
    'both families there',
    { clusterIPs: DUAL, annotations: { 'address-pool': 'BOTH' } },
    'BOTH: 198.51.100.0 2001:db8:1::',
  ],
]
for (const [name, options, wanted] of NAMED) {
  test(`A-4 a named pool: ${name}`, () => {
    const pools = {
      BOTH,
      FOUR,
      OFF: { ...single('203.0.113.0/24'), autoAssign: false },
      RED: { ...single('10.1.0.0/24'), serviceAllocation: { namespaces: ['red'] } },
      SIX,
    }
    assert.equal(outcome(one(pools, service('s', options))), wanted)
  })
}

test('A-4 a full named pool does not fall back to another one', () => {
  const pools = { small: single('192.0.2.1/32'), large: single('198.51.100.0/24') }
  const services = [1, 2].map(n => service(`s${n}`, { created: n, annotations: { 'address-pool': 'small' } }))
  const { s1, s2 } = decide(pools, services)
  assert.deepEqual([outcome(s1), outcome(s2)], ['small: 192.0.2.1', 'poolExhausted'])
  assert.match(s2?.pending?.message ?? '', /small \(1 of 1 IPv4 addresses in use\)/)
})

test('A-5 pinned pools come first, by priority, 0 last, equal ones by name (Q-24)', () => {
  const pinned = (address: string, serviceAllocation: Record<string, unknown>) => ({
    ...single(address),
    serviceAllocation,
  })
  const pools = {
    'a-unpinned': single('10.0.0.1/32'),
    'b-zero': pinned('10.0.1.1/32', { namespaces: ['default'] }),
    'c-five': pinned('10.0.2.1/32', { priority: 5, namespaces: ['default'] }),
    'd-five': pinned('10.0.3.1/32', { priority: 5, serviceSelectors: [{ matchLabels: { app: 'x' } }] }),
    'e-one': pinned('10.0.4.1/32', { priority: 1 }),
    'f-unpinned': single('10.0.5.1/32'),
  }
  const services = [1, 2, 3, 4, 5, 6, 7].map(n => service(`s${n}`, { created: n, labels: { app: 'x' } }))
  assert.deepEqual(Object.values(decide(pools, services)).map(outcome), [
    'e-one: 10.0.4.1',
    'c-five: 10.0.2.1',
    'd-five: 10.0.3.1',
    'b-zero: 10.0.1.1',
    'a-unpinned: 10.0.0.1',
    'f-unpinned: 10.0.5.1',
    'exhausted',
  ])
})

test('A-5 pools with autoAssign off are never taken automatically, and the reasons say so', () => {
  const pools = {
    off: { ...FOUR, autoAssign: false },
    pinnedOff: { ...single('10.0.0.0/24'), autoAssign: false, serviceAllocation: { priority: 1 } },
  }
  const decision = one(pools, service('s'))
  assert.equal(outcome(decision), 'noSuitablePool')
  assert.deepEqual(why(decision), ['off autoAssignOff', 'pinnedOff autoAssignOff'])
})

test('A-6 a pinned pool is no last resort for others, but its own fall back', () => {
  const pools = {
    pinned: { ...single('10.0.0.1/32'), serviceAllocation: { namespaces: ['red'] } },
    rest: single('10.0.1.1/32'),
  }
  const services = [
    service('red-1', { namespace: 'red', created: 1 }),
    service('red-2', { namespace: 'red', created: 2 }),
    service('blue', { namespace: 'blue', created: 3 }),
  ]
  const decisions = decide(pools, services)
  assert.equal(outcome(decisions['red/red-1']), 'pinned: 10.0.0.1')
  assert.equal(outcome(decisions['red/red-2']), 'rest: 10.0.1.1')
  assert.equal(outcome(decisions['blue/blue']), 'exhausted')
  assert.deepEqual(why(decisions['blue/blue'] as Decision), ['pinned namespaceNotListed', 'rest full'])
})

const PREFER = { clusterIPs: DUAL, policy: 'PreferDualStack' } as const
test('A-7 a pool with both families wins within its tier, whatever its priority', () => {
  const pools = {
    four: { ...single('192.0.2.0/30'), serviceAllocation: { priority: 1 } },
    both: { ...BOTH, serviceAllocation: { priority: 2 } },
  }
  const decision = one(pools, service('s', PREFER))
  assert.equal(outcome(decision), 'both: 198.51.100.0 2001:db8:1::')
  assert.deepEqual(why(decision), ['four fallback', 'both chosen'])
  assert.equal(outcome(one(pools, service('s', { clusterIPs: DUAL }))), 'both: 198.51.100.0 2001:db8:1::')
})

test('A-7 PreferDualStack takes one family of a pinned pool rather than both of another', () => {
  const pools = { four: { ...FOUR, serviceAllocation: { priority: 1 } }, both: BOTH }
  assert.equal(outcome(one(pools, service('s', PREFER))), 'four: 192.0.2.0')
  assert.equal(outcome(one(pools, service('s', { clusterIPs: DUAL }))), 'both: 198.51.100.0 2001:db8:1::')
})

test('A-7 without a pool of both families the primary family decides', () => {
  const pools = { four: FOUR, six: SIX }
  assert.equal(outcome(one(pools, service('s', PREFER))), 'four: 192.0.2.0')
  const sixFirst = service('s', { ...PREFER, spec: { ipFamilies: ['IPv6', 'IPv4'] } })
  assert.equal(outcome(one(pools, sixFirst)), 'six: 2001:db8::')
  assert.equal(outcome(one({ six: SIX }, service('s', PREFER))), 'six: 2001:db8::')
  assert.equal(outcome(one(pools, service('s', { clusterIPs: DUAL }))), 'exhausted')
})

test('A-7 PreferDualStack with one cluster IP asks for one family', () => {
  assert.equal(
    outcome(one({ BOTH }, service('s', { clusterIPs: V6, policy: 'PreferDualStack' }))),
    'BOTH: 2001:db8:1::',
  )
})

test('A-8 a fresh dual-stack allocation is IPv4 first, whatever ipFamilies says', () => {
  const decision = one(
    { BOTH },
    service('s', { clusterIPs: DUAL.toReversed(), spec: { ipFamilies: ['IPv6', 'IPv4'] } }),
  )
  assert.equal(outcome(decision), 'BOTH: 198.51.100.0 2001:db8:1::')
})

test('A-9 CIDRs in the order written, addresses ascending', () => {
  const pools = { p: { addresses: ['10.0.9.0/31', '10.0.1.1-10.0.1.2'] } }
  const services = [1, 2, 3, 4, 5].map(n => service(`s${n}`, { created: n }))
  assert.deepEqual(Object.values(decide(pools, services)).map(outcome), [
    'p: 10.0.9.0',
    'p: 10.0.9.1',
    'p: 10.0.1.1',
    'p: 10.0.1.2',
    'exhausted',
  ])
})

test('A-11 what a Service holds is kept though something lower is free', () => {
  const decision = one({ FOUR }, service('s', { status: ['192.0.2.3'], pool: 'FOUR' }))
  assert.equal(outcome(decision), 'FOUR: 192.0.2.3')
  assert.deepEqual(
    [decision.write, decision.cleared, decision.events, why(decision)],
    [false, [], [], ['FOUR kept']],
  )
})

test('A-20 relabelling takes an address away, by pool, by address and automatically alike', () => {
  const pools = {
    web: { ...FOUR, serviceAllocation: { serviceSelectors: [{ matchLabels: { app: 'web' } }] } },
  }
  const held = { status: ['192.0.2.1'], pool: 'web' }
  assert.equal(outcome(one(pools, service('s', { ...held, labels: { app: 'web' } }))), 'web: 192.0.2.1')
  const relabelled = one(pools, service('s', { ...held, labels: { app: 'db' } }))
  assert.equal(outcome(relabelled), 'noSuitablePool')
  assert.deepEqual(relabelled.cleared, ['192.0.2.1'])
  assert.deepEqual(reasons(relabelled), ['ClearAssignment', 'AllocationFailed'])
  assert.equal(
    outcome(one(pools, service('s', { annotations: { 'address-pool': 'web' } }))),
    'poolNotForService',
  )
  assert.equal(
    outcome(one(pools, service('s', { annotations: { loadBalancerIPs: '192.0.2.1' } }))),
    'poolNotForService',
  )
})

test('A-20 namespace and selector must both fit; one selector of the list is enough', () => {
  const serviceSelectors = [{ matchLabels: { app: 'web' } }, { matchLabels: { app: 'db' } }]
  const pools = { p: { ...FOUR, serviceAllocation: { namespaces: ['red'], serviceSelectors } } }
  const at = (namespace: string, app: string) =>
    outcome(one(pools, service('s', { namespace, labels: { app } })))
  assert.deepEqual([at('red', 'web'), at('red', 'db')], ['p: 192.0.2.0', 'p: 192.0.2.0'])
  assert.deepEqual([at('blue', 'web'), at('red', 'x')], ['noSuitablePool', 'noSuitablePool'])
})

test('V-18 namespaceSelectors that match nothing match no Service, not every one (Q-21)', () => {
  const serviceAllocation = {
    namespaceSelectors: [{ matchLabels: { team: 'nobody' } }],
    serviceSelectors: [{ matchLabels: { app: 'web' } }],
  }
  const config = configOf({ p: { ...FOUR, serviceAllocation } }, { default: {} })
  assert.equal(outcome(one(config, service('s', { labels: { app: 'web' } }))), 'noSuitablePool')
  const byAddress = service('s', { labels: { app: 'web' }, annotations: { loadBalancerIPs: '192.0.2.1' } })
  assert.equal(outcome(one(config, byAddress)), 'poolNotForService')
})

test('A-21 capacity and use: a shared address counts once, avoidBuggyIPs counts less', () => {
  const allocator = new Allocator()
  const pools = {
    buggy: { addresses: ['10.0.0.0/23', '10.0.2.0/25', '10.0.3.255/32', '10.0.4.8/30'], avoidBuggyIPs: true },
    six: { addresses: ['2001:db8::/64', '2001:db8:1::/127'] },
  }
  const shared = [1, 2].map(n =>
    service(`s${n}`, {
      ports: [`TCP/${n}`],
      annotations: { 'allow-shared-ip': 'k', 'address-pool': 'buggy' },
    }),
  )
  allocator.reconcile({ config: configOf(pools), changed: [...shared, service('v6', { clusterIPs: V6 })] })
  const [buggy, six] = allocator.usage()
  assert.deepEqual(buggy, {
    pool: 'buggy',
    capacity: { IPv4: 508 + 127 + 0 + 4, IPv6: 0 },
    inUse: { IPv4: 1, IPv6: 0 },
  })
  assert.equal(six?.inUse.IPv6, 1)
  assert.ok((six?.capacity.IPv6 ?? 0) > 9.2e18 && BigInt(six?.capacity.IPv6 ?? 0) < 2n ** 63n)
})

// 2.3 Sharing

/** Two Services that ask for the same address; the second one's outcome. */
function share(first: Parameters<typeof service>[1], second: Parameters<typeof service>[1]): string {
  const options = (o: Parameters<typeof service>[1], created: number) => ({
    ...o,
    created,
    annotations: { loadBalancerIPs: '192.0.2.1', ...o?.annotations },
  })
  const services = [service('first', options(first, 1)), service('second', options(second, 2))]
  const decisions = decide({ FOUR }, services)
  assert.equal(outcome(decisions['first']), 'FOUR: 192.0.2.1')
  return outcome(decisions['second'])
}
const key = (value: string) => ({ annotations: { 'allow-shared-ip': value } })
const local = (app: string) => ({
  externalTrafficPolicy: 'Local',
  selector: app === '' ? {} : { app, b: 'c' },
})
const SHARED = 'FOUR: 192.0.2.1'

test('S-1 sharing needs a key that is there, not empty, and equal', () => {
  assert.equal(share({}, { ports: ['TCP/81'] }), 'requestInUse')
  assert.equal(share(key(''), { ...key(''), ports: ['TCP/81'] }), 'requestInUse')
  assert.equal(share(key('a'), { ...key('b'), ports: ['TCP/81'] }), 'requestInUse')
  assert.equal(share(key('a'), { ...key('a'), ports: ['TCP/81'] }), SHARED)
  const legacy = { annotations: { 'metallb.universe.tf/allow-shared-ip': 'a' } }
  assert.equal(share(legacy, { ...key('a'), ports: ['TCP/81'] }), SHARED)
})

test('S-2 under Local the selector is part of the key, in any order of its labels', () => {
  const first = { ...key('a'), spec: local('web') }
  const reordered = { externalTrafficPolicy: 'Local', selector: { b: 'c', app: 'web' } }
  assert.equal(share(first, { ...key('a'), ports: ['TCP/81'], spec: reordered }), SHARED)
  assert.equal(share(first, { ...key('a'), ports: ['TCP/81'], spec: local('db') }), 'requestInUse')
})

test('S-3 no port may be in both', () => {
  assert.equal(
    share({ ...key('a'), ports: ['TCP/80', 'TCP/81'] }, { ...key('a'), ports: ['TCP/82', 'TCP/81'] }),
    'requestInUse',
  )
  assert.equal(
    share({ ...key('a'), ports: ['TCP/80', 'TCP/81'] }, { ...key('a'), ports: ['TCP/82', 'UDP/81'] }),
    SHARED,
  )
})

test('S-4 Cluster shares whatever the selectors; Cluster with Local only when Local selects nothing', () => {
  const cluster = (app: string) => ({ ...key('a'), spec: { selector: { app } } })
  assert.equal(share(cluster('x'), { ...cluster('y'), ports: ['TCP/81'] }), SHARED)
  assert.equal(share(cluster('x'), { ...key('a'), ports: ['TCP/81'], spec: local('x') }), 'requestInUse')
  assert.equal(share(cluster('x'), { ...key('a'), ports: ['TCP/81'], spec: local('') }), SHARED)
  // The key is cluster-wide.
  const services = [
    service('s1', { ...key('a'), namespace: 'red', created: 1 }),
    service('s2', { ...key('a'), namespace: 'blue', created: 2, ports: ['TCP/81'] }),
  ]
  assert.deepEqual(Object.values(decide({ FOUR }, services)).map(outcome), [
    'FOUR: 192.0.2.0',
    'FOUR: 192.0.2.0',
  ])
})

test('S-5 TCP and UDP on one port do not collide; the same protocol does', () => {
  assert.equal(share({ ...key('a'), ports: ['TCP/80'] }, { ...key('a'), ports: ['UDP/80'] }), SHARED)
  assert.equal(share({ ...key('a'), ports: ['TCP/80'] }, { ...key('a'), ports: ['TCP/80'] }), 'requestInUse')
})

test('S-6 a lone user changes its key in place; one of several loses the address if it does not fit', () => {
  const held = { status: ['192.0.2.1'], pool: 'FOUR' }
  const config = configOf({ FOUR })
  const alone = new Allocator()
  alone.reconcile({ config, changed: [service('a', { ...held, ...key('k') })] })
  const [kept] = alone.reconcile({ changed: [service('a', { ...held, ...key('other') })] })
  assert.equal(outcome(kept), 'FOUR: 192.0.2.1')

  const together = new Allocator()
  const b = service('b', { ...held, ...key('k'), created: 2, ports: ['TCP/81'] })
  together.reconcile({ config, changed: [service('a', { ...held, ...key('k'), created: 1 }), b] })
  const [moved] = together.reconcile({ changed: [service('a', { ...held, ...key('other'), created: 1 })] })
  assert.equal(outcome(moved), 'FOUR: 192.0.2.0')
  assert.deepEqual(reasons(moved), ['ClearAssignment', 'IPAllocated'])
  assert.deepEqual(together.get('default/b')?.ips, ['192.0.2.1'])
})

test('S-7 sharing Services meet on the lowest address with room (A-9)', () => {
  const services = [
    service('plain', { created: 1 }),
    service('s1', { ...key('k'), created: 2, ports: ['TCP/80'] }),
    service('s2', { ...key('k'), created: 3, ports: ['TCP/80'] }),
    service('s3', { ...key('k'), created: 4, ports: ['TCP/81'] }),
    service('s4', { ...key('k'), created: 5, ports: ['TCP/81', 'TCP/80'] }),
  ]
  assert.deepEqual(Object.values(decide({ FOUR }, services)).map(outcome), [
    'FOUR: 192.0.2.0',
    'FOUR: 192.0.2.1',
    'FOUR: 192.0.2.2',
    'FOUR: 192.0.2.1',
    'FOUR: 192.0.2.3',
  ])
})

test('S-9 each address of a dual-stack Service is shared on its own', () => {
  const services = [
    service('four', { ...key('k'), created: 1, ports: ['TCP/80'] }),
    service('both', { ...key('k'), created: 2, ports: ['TCP/81'], clusterIPs: DUAL }),
    service('six', { ...key('k'), created: 3, ports: ['TCP/81'], clusterIPs: V6 }),
  ]
  assert.deepEqual(Object.values(decide({ BOTH }, services)).map(outcome), [
    'BOTH: 198.51.100.0',
    'BOTH: 198.51.100.0 2001:db8:1::',
    'BOTH: 2001:db8:1::1',
  ])
})

test('S-10 the last one to leave a shared address frees it', () => {
  const allocator = new Allocator()
  const config = configOf({ p: single('192.0.2.1/32') })
  const sharing = [80, 81].map(port => service(`s${port}`, { ...key('k'), ports: [`TCP/${port}`] }))
  allocator.reconcile({ config, changed: [...sharing, service('plain', { created: 9 })] })
  assert.deepEqual(allocator.usage()[0]?.inUse, { IPv4: 1, IPv6: 0 })
  assert.deepEqual(allocator.reconcile({ removed: ['default/s80'] }), [])
  assert.equal(allocator.get('default/plain')?.pending?.code, 'exhausted')
  const [freed] = allocator.reconcile({ removed: ['default/s81'] })
  assert.equal(outcome(freed), 'p: 192.0.2.1')
})

// 2.1 Controller

const HELD = { status: ['192.0.2.1'], pool: 'FOUR' } as const

test('C-2 without a configuration nothing is decided, and nothing forgotten', () => {
  const allocator = new Allocator()
  assert.deepEqual(allocator.reconcile({ changed: [service('s', HELD)] }), [])
  const [decision] = allocator.reconcile({ config: configOf({ FOUR }) })
  assert.equal(outcome(decision), 'FOUR: 192.0.2.1')
})

test('C-3 what is no load balancer is cleared, if there is something to clear', () => {
  const decision = one({ FOUR }, service('s', { ...HELD, spec: { type: 'ClusterIP' } }))
  assert.deepEqual([decision.ips, decision.pool, decision.pending, decision.write], [[], null, null, true])
  assert.deepEqual(plan(configOf({ FOUR }), [service('s', { spec: { type: 'ClusterIP' } })]), [])
})

test('C-4 without any pool everything is cleared', () => {
  const decision = one({}, service('s', HELD))
  assert.deepEqual([outcome(decision), decision.cleared, decision.write], ['noPools', ['192.0.2.1'], true])
  assert.deepEqual(decision.events, [])
})

test('C-5 without a cluster IP the address goes, and no Event tells', () => {
  const decision = one({ FOUR }, service('s', { ...HELD, clusterIPs: [] }))
  assert.deepEqual([outcome(decision), decision.write, decision.events], ['noClusterIPs', true, []])
})

test('C-6 RequireDualStack needs two cluster IPs', () => {
  const decision = one({ BOTH }, service('s', { policy: 'RequireDualStack' }))
  assert.equal(outcome(decision), 'notEnoughClusterIPs')
  assert.deepEqual(reasons(decision), ['not enough clusterips'])
})

test('C-7 a status of no known combination is cleared and allocated afresh', () => {
  const decision = one({ FOUR }, service('s', { status: ['192.0.2.2', '192.0.2.3'], pool: 'FOUR' }))
  assert.equal(outcome(decision), 'FOUR: 192.0.2.0')
  assert.deepEqual(reasons(decision), ['nolbIPsIPFamily', 'IPAllocated'])
  assert.deepEqual(decision.cleared, ['192.0.2.2', '192.0.2.3'])
})

test('C-7 cluster IPs of one family twice cannot be served', () => {
  const decision = one({ FOUR }, service('s', { clusterIPs: ['10.96.0.1', '10.96.0.2'] }))
  assert.equal(outcome(decision), 'clusterIPFamilies')
  assert.deepEqual(reasons(decision), ['noclusterIPsIPFamily'])
})

test('C-8 a status of other families than the cluster IPs is cleared, but for half of a PreferDualStack', () => {
  const held = { status: ['198.51.100.2'], pool: 'BOTH' }
  assert.equal(outcome(one({ BOTH }, service('s', { ...held, clusterIPs: V6 }))), 'BOTH: 2001:db8:1::')
  assert.equal(
    outcome(one({ BOTH }, service('s', { ...held, clusterIPs: DUAL }))),
    'BOTH: 198.51.100.0 2001:db8:1::',
  )
  assert.equal(
    outcome(one({ BOTH }, service('s', { ...held, ...PREFER }))),
    'BOTH: 198.51.100.2 2001:db8:1::',
  )
  const two = { status: ['198.51.100.2', '2001:db8:1::2'], pool: 'BOTH' }
  assert.equal(outcome(one({ BOTH }, service('s', { ...two, clusterIPs: V4 }))), 'BOTH: 198.51.100.0')
})

test('C-9 two Services with one address in their status: the older one keeps it', () => {
  const { old, young } = decide({ FOUR }, [
    service('young', { ...HELD, created: 2 }),
    service('old', { ...HELD, created: 1 }),
  ])
  assert.equal(outcome(old), 'FOUR: 192.0.2.1')
  assert.equal(outcome(young), 'FOUR: 192.0.2.0')
  assert.deepEqual(reasons(young), ['ClearAssignment', 'IPAllocated'])
})

test('C-9 what is cleared is not given to another one that still has to be kept', () => {
  // The older one lost its pool; the lowest free address would be the younger one's.
  const services = [
    service('old', { created: 1, status: ['10.9.9.9'], pool: 'gone' }),
    service('young', { created: 2, status: ['192.0.2.0'], pool: 'FOUR' }),
  ]
  const { old, young } = decide({ FOUR }, services)
  assert.deepEqual([outcome(old), outcome(young)], ['FOUR: 192.0.2.1', 'FOUR: 192.0.2.0'])
})

test('C-10 naming another pool moves the Service there', () => {
  const facts = service('s', { ...HELD, annotations: { 'address-pool': 'BOTH' } })
  const decision = one({ FOUR, BOTH }, facts)
  assert.deepEqual([outcome(decision), decision.cleared], ['BOTH: 198.51.100.0', ['192.0.2.1']])
})

test('C-11 an invalid request on a Service with an address keeps the address', () => {
  const decision = one({ FOUR }, service('s', { ...HELD, annotations: { loadBalancerIPs: 'nonsense' } }))
  assert.deepEqual([outcome(decision), decision.write], ['FOUR: 192.0.2.1', false])
  assert.deepEqual(reasons(decision), ['LoadBalancerFailed'])
})

test('C-12 another request moves the Service; the same set in another order does not (Q-23)', () => {
  const moved = one({ FOUR }, service('s', { ...HELD, annotations: { loadBalancerIPs: '192.0.2.3' } }))
  assert.deepEqual([outcome(moved), moved.cleared], ['FOUR: 192.0.2.3', ['192.0.2.1']])
  const two = { clusterIPs: DUAL, status: ['198.51.100.2', '2001:db8:1::2'], pool: 'BOTH' }
  const same = one(
    { BOTH },
    service('s', { ...two, annotations: { loadBalancerIPs: '2001:db8:1::2,198.51.100.2' } }),
  )
  assert.deepEqual([same.ips, same.write], [['198.51.100.2', '2001:db8:1::2'], false])
})

test('C-13 PreferDualStack gains the second family from the same pool, and says when there is none', () => {
  const full = decide({ p: { addresses: ['192.0.2.0/30', '2001:db8::1/128'] } }, [
    service('six', { created: 1, clusterIPs: V6 }),
    service('half', { ...PREFER, created: 2, status: ['192.0.2.2'], pool: 'p' }),
  ])
  // Those that hold something are served first.
  assert.equal(outcome(full['half']), 'p: 192.0.2.2 2001:db8::1')
  assert.deepEqual(reasons(full['half']), ['IPAllocated'])
  assert.equal(outcome(full['six']), 'exhausted')
  const without = one({ FOUR }, service('s', { ...PREFER, ...HELD }))
  assert.equal(outcome(without), 'FOUR: 192.0.2.1')
  assert.deepEqual(reasons(without), ['AdditionalAssignFailed'])
})

test('C-13 PreferDualStack with one cluster IP never flips (Q-22)', () => {
  let services = [service('s', { policy: 'PreferDualStack' })]
  const config = configOf({ BOTH })
  for (let pass = 0; pass < 3; pass++) {
    const decisions = plan(config, services)
    assert.deepEqual(decisions.map(outcome), ['BOTH: 198.51.100.0'])
    assert.equal(decisions[0]?.write, pass === 0)
    services = applyAll(services, decisions)
  }
})

test('C-14 a failure writes nothing but what was cleared', () => {
  const fresh = one({ SIX }, service('s'))
  assert.deepEqual([outcome(fresh), fresh.write, reasons(fresh)], ['exhausted', false, ['AllocationFailed']])
  assert.match(fresh.pending?.message ?? '', /SIX \(no IPv4 addresses\)/)
  const cleared = one({ SIX }, service('s', HELD))
  assert.deepEqual([cleared.write, cleared.cleared], [true, ['192.0.2.1']])
})

test('C-15 a wrong annotation or a hostname in the status is written over', () => {
  assert.equal(one({ FOUR }, service('s', { ...HELD, pool: 'other' })).write, true)
  const odd = { ...service('s', HELD), statusHasOther: true }
  const decision = one({ FOUR }, odd)
  assert.deepEqual([decision.write, outcome(decision)], [true, 'FOUR: 192.0.2.1'])
})

test('an unknown mode of layer 2 is told of, whatever is written', () => {
  const annotations = { 'lodestone.dev/layer2-mode': 'shared' }
  const { events } = one({ FOUR }, service('s', { ...HELD, annotations }))
  assert.deepEqual(
    events.map(({ type, reason }) => [type, reason]),
    [['Warning', 'unknownLayer2Mode']],
  )
  const known = { 'lodestone.dev/layer2-mode': 'sharded' }
  assert.deepEqual(reasons(one({ FOUR }, service('s', { ...HELD, annotations: known }))), [])
})

test('the older annotations are deprecated, and told of only when something is written', () => {
  const annotations = {
    'metallb.universe.tf/address-pool': 'FOUR',
    'metallb.universe.tf/allow-shared-ip': 'k',
  }
  assert.deepEqual(reasons(one({ FOUR }, service('s', { annotations }))), [
    'IPAllocated',
    'deprecatedAnnotation',
    'deprecatedAnnotation',
  ])
  assert.deepEqual(reasons(one({ FOUR }, service('s', { ...HELD, annotations }))), [])
})

const CLASSES: readonly (readonly [string | undefined, string, boolean])[] = [
  [undefined, '', true],
  [undefined, 'foo', false],
  ['foo', '', false],
  ['foo', 'bar', false],
  ['foo', 'foo', true],
]
for (const [ofService, flag, handled] of CLASSES) {
  test(`Q-1 class ${ofService ?? 'absent'} with flag "${flag}" is ${handled ? 'handled' : 'ignored, not even cleaned'}`, () => {
    const spec = ofService === undefined ? {} : { loadBalancerClass: ofService }
    const decisions = plan(configOf({}), [service('s', { ...HELD, spec })], { loadBalancerClass: flag })
    assert.equal(decisions.length, handled ? 1 : 0)
  })
}

// 2.4 What pool changes do

const CHANGES: readonly (readonly [string, Readonly<Record<string, PoolSpec>>, string])[] = [
  ['renamed: kept, the annotation follows', { other: FOUR }, 'other: 192.0.2.1'],
  ['split: kept', { a: single('192.0.2.0/32'), b: single('192.0.2.1/32') }, 'b: 192.0.2.1'],
  ['extended: kept', { FOUR: single('192.0.2.0/24') }, 'FOUR: 192.0.2.1'],
  ['without the address: another one', { FOUR: single('192.0.2.2/32') }, 'FOUR: 192.0.2.2'],
  ['deleted: from another pool', { BOTH }, 'BOTH: 198.51.100.0'],
  ['autoAssign off: kept', { FOUR: { ...FOUR, autoAssign: false } }, 'FOUR: 192.0.2.1'],
  [
    'not for the Service any more: another pool',
    { BOTH, FOUR: { ...FOUR, serviceAllocation: { namespaces: ['red'] } } },
    'BOTH: 198.51.100.0',
  ],
  ['all removed: cleared', {}, 'noPools'],
]
for (const [name, pools, wanted] of CHANGES) {
  test(`R-4 a pool changes, ${name}`, () => {
    const allocator = new Allocator()
    const facts = service('s', HELD)
    allocator.reconcile({ config: configOf({ FOUR }), changed: [facts] })
    const [decision] = allocator.reconcile({ config: configOf(pools) })
    assert.equal(outcome(decision), wanted)
    assert.equal(decision?.write, wanted !== 'FOUR: 192.0.2.1')
  })
}

test('R-4 avoidBuggyIPs switched on takes .0 away', () => {
  const pools = { p: { ...single('192.0.2.0/24'), avoidBuggyIPs: true } }
  const decision = one(pools, service('s', { status: ['192.0.2.0'], pool: 'p' }))
  assert.deepEqual(
    [outcome(decision), reasons(decision)],
    ['p: 192.0.2.1', ['ClearAssignment', 'IPAllocated']],
  )
})

test('R-4 a dual-stack Service whose pool loses a family loses both addresses', () => {
  const held = { clusterIPs: DUAL, status: ['198.51.100.2', '2001:db8:1::2'], pool: 'BOTH' }
  const pools = { BOTH: single('198.51.100.0/30'), other: { addresses: ['10.0.0.0/30', '2001:db8:9::/126'] } }
  assert.equal(outcome(one(pools, service('s', held))), 'other: 10.0.0.0 2001:db8:9::')
})

test('R-4 a pool that becomes dual serves PreferDualStack; another dual pool moves nobody', () => {
  const half = service('s', { ...PREFER, ...HELD })
  const dual = { FOUR: { addresses: ['192.0.2.0/30', '2001:db8::/126'] } }
  assert.equal(outcome(one(dual, half)), 'FOUR: 192.0.2.1 2001:db8::')
  assert.equal(outcome(one({ FOUR, BOTH }, half)), 'FOUR: 192.0.2.1')
})

test('R-4 a freed address goes to the oldest that waits and can use it', () => {
  const allocator = new Allocator()
  const pools = {
    p: single('192.0.2.1/32'),
    q: { ...single('10.0.0.1/32'), serviceAllocation: { namespaces: ['red'] } },
  }
  allocator.reconcile({
    config: configOf(pools),
    changed: [
      service('holder', { created: 0 }),
      service('waits-2', { created: 2 }),
      service('waits-1', { created: 1 }),
      service('elsewhere', { created: 0, annotations: { 'address-pool': 'missing' } }),
    ],
  })
  const decisions = allocator.reconcile({ removed: ['default/holder'] })
  assert.deepEqual(
    decisions.map(d => [d.service, outcome(d)]),
    [['default/waits-1', 'p: 192.0.2.1']],
  )
})

test('R-2 a decision that is not written yet counts: the status lags, the address stays', () => {
  const allocator = new Allocator()
  const config = configOf({ FOUR })
  allocator.reconcile({ config, changed: [service('s')] })
  // Labels change before our write shows up; the status is still empty.
  const [again] = allocator.reconcile({ changed: [service('s', { labels: { a: 'b' } })] })
  assert.deepEqual([outcome(again), again?.write], ['FOUR: 192.0.2.0', true])
  // Somebody else writes another address: that is the record now.
  const [edited] = allocator.reconcile({ changed: [service('s', { status: ['192.0.2.2'] })] })
  assert.equal(outcome(edited), 'FOUR: 192.0.2.2')
})

/** Two controllers gave one address to two Services: what each of them sees, and in which order. */
for (const [first, second] of [
  ['older', 'younger'],
  ['younger', 'older'],
] as const) {
  test(`R-2 an address in two statuses stays with the older Service, the ${first} one seen first`, () => {
    const facts = {
      older: service('older', { created: 1, status: ['192.0.2.1'], pool: 'FOUR' }),
      younger: service('younger', { created: 2, status: ['192.0.2.1'], pool: 'FOUR' }),
    }
    const allocator = new Allocator()
    allocator.reconcile({ config: configOf({ FOUR }), changed: [facts[first]] })
    allocator.reconcile({ changed: [facts[second]] })
    assert.deepEqual(allocator.get('default/older')?.ips, ['192.0.2.1'])
    assert.deepEqual(allocator.get('default/younger')?.ips, ['192.0.2.0'])
    const scratch = plan(configOf({ FOUR }), [facts.younger, facts.older])
    assert.deepEqual(scratch.map(outcome), ['FOUR: 192.0.2.1', 'FOUR: 192.0.2.0'])
  })
}

test('R-2 the younger of two with one address is told why it moves', () => {
  const allocator = new Allocator()
  const config = configOf({ FOUR: single('192.0.2.1/32') })
  allocator.reconcile({ config, changed: [service('younger', { created: 2 })] })
  const decisions = allocator.reconcile({
    changed: [service('older', { created: 1, status: ['192.0.2.1'], pool: 'FOUR' })],
  })
  const younger = decisions.find(decision => decision.service === 'default/younger')
  assert.deepEqual(reasons(younger), ['ClearAssignment', 'AllocationFailed'])
  assert.match(younger?.events[0]?.message ?? '', /192\.0\.2\.1 is in use by default\/older/)
  assert.equal(younger?.pending?.code, 'exhausted')
})

test('S-6 a change of keys is no double allocation: the changed Service loses the address, though it is older', () => {
  const shared = { annotations: { 'allow-shared-ip': 'k' }, status: ['192.0.2.1'], pool: 'FOUR' }
  const allocator = new Allocator()
  const older = service('older', { ...shared, created: 1 })
  const younger = service('younger', { ...shared, created: 2, ports: ['TCP/81'] })
  allocator.reconcile({ config: configOf({ FOUR }), changed: [older, younger] })
  allocator.reconcile({
    changed: [service('older', { ...shared, created: 1, annotations: { 'allow-shared-ip': 'other' } })],
  })
  assert.deepEqual(allocator.get('default/younger')?.ips, ['192.0.2.1'])
  assert.deepEqual(allocator.get('default/older')?.ips, ['192.0.2.0'])
})

test('C-14 an exhausted pool is named with its numbers, and every other pool with its reason', () => {
  const pools = {
    full: single('192.0.2.1/32'),
    hand: { ...single('192.0.2.8/32'), autoAssign: false },
    red: { ...single('192.0.2.9/32'), serviceAllocation: { namespaces: ['red'] } },
  }
  const allocator = new Allocator()
  const [, second] = allocator.reconcile({
    config: configOf(pools),
    changed: [service('a', { created: 1 }), service('b', { created: 2 })],
  })
  assert.equal(
    second?.pending?.message,
    'nothing suitable is free: full (1 of 1 IPv4 addresses in use); not for it: red (not for this namespace), hand (autoAssign is off). Extend a pool, or give an address back',
  )
})
