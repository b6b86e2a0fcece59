import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, parseIp } from '../addr/ip.ts'
import type { KubeObject } from '../ports/kube.ts'
import type { Config, Problem } from './model.ts'
import type { NodeFacts } from './nodes.ts'
import { type ConfigResources, parseConfig, sameConfig, samePools } from './parse.ts'
import { PoolIndex } from './pool-index.ts'

const node = (name: string, labels: Record<string, string> = {}): NodeFacts => ({
  name,
  labels,
  internalIps: [],
  networkUnavailable: false,
  ready: true,
  unschedulable: false,
  outOfService: false,
})
const pool = (name: string, spec: unknown, labels: Record<string, string> = {}): KubeObject => ({
  metadata: { name, namespace: 'metallb-system', labels },
  spec,
})
const ad = (spec: unknown, name = 'ad'): KubeObject => ({
  metadata: { name, namespace: 'metallb-system' },
  spec,
})

const NODES = [node('node-a', { rack: '1' }), node('node-b', { rack: '2' }), node('node-c', { rack: '2' })]
const LAN = pool('lan', { addresses: ['192.0.2.0/24'] }, { zone: 'inner' })

const parse = (resources: Partial<ConfigResources>) =>
  parseConfig({ pools: [], l2Advertisements: [], nodes: NODES, namespaces: [], ...resources })

function accept(resources: Partial<ConfigResources>): Config {
  const parsed = parse(resources)
  assert.ok('config' in parsed, JSON.stringify(parsed))
  return parsed.config
}

function refuse(resources: Partial<ConfigResources>): readonly Problem[] {
  const parsed = parse(resources)
  assert.ok('problems' in parsed, 'it was accepted')
  assert.ok(parsed.problems.length > 0)
  return parsed.problems
}

const warnings = (resources: Partial<ConfigResources>) => {
  const parsed = parse(resources)
  assert.ok('config' in parsed)
  return parsed.warnings.map(({ code, severity }) => `${severity} ${code}`)
}

/** The codes and fields for one pool with these addresses. */
const refusedAddresses = (...addresses: unknown[]) =>
  refuse({ pools: [pool('p', { addresses })] }).map(({ code, field }) => `${code} ${field}`)
const prefixesOf = (...addresses: string[]) =>
  accept({ pools: [pool('p', { addresses })] }).pools[0]?.prefixes

test('V-1 everything that is wrong is found, not only the first', () => {
  const problems = refuse({
    pools: [
      pool('a', { addresses: ['nonsense', '192.0.2.9-192.0.2.1'] }),
      pool('b', { addresses: [] }),
      pool('', { addresses: ['198.51.100.0/24'], autoAssign: 'yes' }),
    ],
    l2Advertisements: [
      ad({ ipAddressPools: ['a', 'a'], nodeSelectors: [{ matchExpressions: [{ key: 'x' }] }] }),
    ],
  })
  assert.deepEqual(
    problems.map(({ object, code, field }) => `${object.kind}/${object.name} ${field} ${code}`).sort(),
    [
      'IPAddressPool/ metadata.name name-missing',
      'IPAddressPool/ spec.autoAssign field-type',
      'IPAddressPool/a spec.addresses[0] address-invalid',
      'IPAddressPool/a spec.addresses[1] range-reversed',
      'IPAddressPool/b spec.addresses addresses-empty',
      'L2Advertisement/ad spec.ipAddressPools[1] entry-duplicate',
      'L2Advertisement/ad spec.nodeSelectors[0] selector-invalid',
    ],
  )
  assert.ok(problems.every(({ severity, message }) => severity === 'error' && message.length > 10))
})

test('V-2 warnings do not stop a configuration', () => {
  const pools = [LAN]
  assert.deepEqual(warnings({ pools, l2Advertisements: [ad({ ipAddressPools: ['missing'] })] }), [
    'warning pool-unknown',
  ])
  const nowhere = ad({ nodeSelectors: [{ matchLabels: { rack: '9' } }] })
  assert.deepEqual(warnings({ pools, l2Advertisements: [nowhere] }), ['warning nodes-none'])
})

const REFUSED_SELECTORS: Readonly<Record<string, unknown>> = {
  'an unknown operator': { matchExpressions: [{ key: 'a', operator: 'Near', values: ['b'] }] },
  'a missing operator': { matchExpressions: [{ key: 'a', values: ['b'] }] },
  'a missing key': { matchExpressions: [{ operator: 'Exists' }] },
  'In without values': { matchExpressions: [{ key: 'a', operator: 'In' }] },
  'Exists with values': { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] },
  'a repeated value': { matchExpressions: [{ key: 'a', operator: 'In', values: ['b', 'c', 'b'] }] },
  'a repeated expression': {
    matchExpressions: [
      { key: 'a', operator: 'In', values: ['b', 'c'] },
      { key: 'a', operator: 'In', values: ['c', 'b'] },
    ],
  },
  'a bad value': { matchLabels: { a: 'no blanks' } },
  'a bad key': { matchLabels: { 'a/b/c': 'd' } },
  'no object': 'a=b',
}
for (const [name, selector] of Object.entries(REFUSED_SELECTORS)) {
  test(`V-4 a selector with ${name} is refused, in every list`, () => {
    const allocation = (field: string) =>
      pool('p', { addresses: ['192.0.2.0/24'], serviceAllocation: { [field]: [selector] } })
    for (const field of ['namespaceSelectors', 'serviceSelectors']) {
      assert.equal(refuse({ pools: [allocation(field)] })[0]?.code, 'selector-invalid')
    }
    for (const field of ['ipAddressPoolSelectors', 'nodeSelectors', 'serviceSelectors']) {
      assert.equal(refuse({ l2Advertisements: [ad({ [field]: [selector] })] })[0]?.code, 'selector-invalid')
    }
  })
}

test('V-4 equal selectors in one list are refused, whatever the order of their values', () => {
  const one = {
    matchExpressions: [{ key: 'a', operator: 'In', values: ['b', 'c'] }],
    matchLabels: { d: 'e' },
  }
  const other = {
    matchLabels: { d: 'e' },
    matchExpressions: [{ key: 'a', operator: 'In', values: ['c', 'b'] }],
  }
  for (const field of ['ipAddressPoolSelectors', 'nodeSelectors', 'serviceSelectors']) {
    const [problem] = refuse({ l2Advertisements: [ad({ [field]: [one, other] })] })
    assert.deepEqual([problem?.code, problem?.field], ['selector-duplicate', `spec.${field}[1]`])
  }
})

test('V-4 selectors are OR between items and AND inside an item', () => {
  const nodeSelectors = [
    { matchLabels: { rack: '1' } },
    { matchLabels: { rack: '2' }, matchExpressions: [{ key: 'spare', operator: 'Exists' }] },
    { matchExpressions: [{ key: 'rack', operator: 'NotIn', values: ['1', '2'] }] },
  ]
  const nodes = [...NODES, node('node-d', { rack: '2', spare: '' }), node('node-e')]
  const config = accept({ nodes, l2Advertisements: [ad({ nodeSelectors })] })
  assert.deepEqual([...(config.l2Advertisements[0]?.nodes ?? [])], ['node-a', 'node-d', 'node-e'])
  const absent = [{ matchExpressions: [{ key: 'rack', operator: 'DoesNotExist' }] }]
  const lonely = accept({ nodes, l2Advertisements: [ad({ nodeSelectors: absent })] })
  assert.deepEqual([...(lonely.l2Advertisements[0]?.nodes ?? [])], ['node-e'])
})

test('V-5 repeated names are refused', () => {
  const repeated = { addresses: ['192.0.2.0/24'], serviceAllocation: { namespaces: ['a', 'b', 'a'] } }
  assert.deepEqual(
    refuse({ pools: [pool('p', repeated)] }).map(({ code, field }) => `${code} ${field}`),
    ['entry-duplicate spec.serviceAllocation.namespaces[2]'],
  )
  assert.equal(
    refuse({ pools: [LAN], l2Advertisements: [ad({ ipAddressPools: ['lan', 'lan'] })] })[0]?.code,
    'entry-duplicate',
  )
})

test('V-10 a pool needs a name of its own and an address', () => {
  assert.deepEqual(refusedAddresses(), ['addresses-empty spec.addresses'])
  assert.equal(refuse({ pools: [pool('p', {})] })[0]?.code, 'addresses-empty')
  assert.equal(refuse({ pools: [pool('', { addresses: ['192.0.2.0/24'] })] })[0]?.code, 'name-missing')
  const twins = [pool('p', { addresses: ['192.0.2.0/25'] }), pool('p', { addresses: ['192.0.2.128/25'] })]
  assert.deepEqual(
    refuse({ pools: twins }).map(({ code }) => code),
    ['name-duplicate'],
  )
})

test('V-11 an entry without a hyphen is a CIDR; host bits are masked, blanks refused', () => {
  assert.deepEqual(prefixesOf('10.20.30.40/24'), ['10.20.30.0/24'])
  assert.deepEqual(prefixesOf('2001:DB8::1/64'), ['2001:db8::/64'])
  for (const text of ['192.0.2.1', ' 192.0.2.0/24', '192.0.2.0/24 ', '192.0.2.0/33', '2001:db8::/129', '']) {
    assert.deepEqual(refusedAddresses(text), ['address-invalid spec.addresses[0]'], text)
  }
  const [bare] = refuse({ pools: [pool('p', { addresses: ['2001:db8::1'] })] })
  assert.match(bare?.message ?? '', /write 2001:db8::1\/128/)
})

test('V-12 an entry with a hyphen is a range; halves are trimmed', () => {
  assert.deepEqual(prefixesOf(' 192.0.2.4 - 192.0.2.7 '), ['192.0.2.4/30'])
  assert.deepEqual(prefixesOf('192.0.2.4-192.0.2.4'), ['192.0.2.4/32'])
  assert.deepEqual(prefixesOf('2001:db8::1-2001:db8::1'), ['2001:db8::1/128'])
  assert.deepEqual(refusedAddresses('192.0.2.9-192.0.2.1'), ['range-reversed spec.addresses[0]'])
  for (const text of ['192.0.2.1-', '-192.0.2.1', '192.0.2.1-192.0.2.2-192.0.2.3', '192.0.2.1-x']) {
    assert.deepEqual(refusedAddresses(text), ['address-invalid spec.addresses[0]'], text)
  }
})

test('V-13 a range becomes the shortest ascending list of CIDRs, in the order written', () => {
  assert.deepEqual(prefixesOf('40.0.0.150-40.0.0.200', '10.0.0.0/30'), [
    '40.0.0.150/31',
    '40.0.0.152/29',
    '40.0.0.160/27',
    '40.0.0.192/29',
    '40.0.0.200/32',
    '10.0.0.0/30',
  ])
})

test('V-14 addresses are read as Go reads them', () => {
  assert.deepEqual(prefixesOf('::ffff:192.0.2.1-192.0.2.1'), ['192.0.2.1/32'])
  for (const text of ['192.0.2.01-192.0.2.9', 'fe80::1%eth0-fe80::2', '192.0.2.010/32']) {
    assert.deepEqual(refusedAddresses(text), ['address-invalid spec.addresses[0]'], text)
  }
})

test('V-15 a range from one family to the other is refused (Q-20)', () => {
  assert.deepEqual(refusedAddresses('192.0.2.1-2001:db8::1'), ['range-mixed-families spec.addresses[0]'])
  assert.deepEqual(refusedAddresses('2001:db8::1-192.0.2.1'), ['range-mixed-families spec.addresses[0]'])
})

test('V-16 any overlap is refused, in one pool or between two', () => {
  for (const addresses of [
    ['192.0.2.0/24', '192.0.2.0/24'],
    ['192.0.2.0/24', '192.0.2.128/25'],
    ['192.0.2.128/25', '192.0.2.0/24'],
    ['192.0.2.10-192.0.2.20', '192.0.2.20/32'],
    ['2001:db8::/64', '2001:db8::1/128'],
  ]) {
    assert.ok(refuse({ pools: [pool('p', { addresses })] }).every(({ code }) => code === 'pool-overlap'))
    const pools = addresses.map((text, index) => pool(`p${index}`, { addresses: [text] }))
    const [problem] = refuse({ pools })
    assert.equal(problem?.code, 'pool-overlap')
    assert.match(problem.message, /of pool p[01]/)
  }
  assert.ok(prefixesOf('192.0.2.0/25', '192.0.2.128/25', '0.0.0.0/32', '::/128'))
})

test('V-17 serviceAllocation without any selector is for every Service', () => {
  const config = accept({
    pools: [pool('p', { addresses: ['192.0.2.0/24'], serviceAllocation: { priority: 7 } })],
  })
  assert.deepEqual(config.pools[0]?.allocation, { priority: 7, namespaces: 'any', serviceSelectors: [] })
  const bare = accept({ pools: [pool('p', { addresses: ['192.0.2.0/24'], serviceAllocation: {} })] })
  assert.equal(bare.pools[0]?.allocation?.priority, 0)
  assert.equal(accept({ pools: [LAN] }).pools[0]?.allocation, undefined)
})

test('V-18 namespaces are those named and those selected; none at all is none (Q-21)', () => {
  const namespaces = [
    { name: 'red', labels: { team: 'r' } },
    { name: 'blue', labels: { team: 'b' } },
  ]
  const allocated = (serviceAllocation: unknown) => ({
    namespaces,
    pools: [pool('p', { addresses: ['192.0.2.0/24'], serviceAllocation })],
  })
  const both = accept(
    allocated({ namespaces: ['green'], namespaceSelectors: [{ matchLabels: { team: 'b' } }] }),
  )
  assert.deepEqual(both.pools[0]?.allocation?.namespaces, new Set(['green', 'blue']))
  const nobody = allocated({ namespaceSelectors: [{ matchLabels: { team: 'x' } }] })
  assert.deepEqual(accept(nobody).pools[0]?.allocation?.namespaces, new Set())
  assert.deepEqual(warnings(nobody), ['warning namespaces-none'])
})

test('V-20 node sets come from the Node list; without nodes they are empty', () => {
  const l2Advertisements = [ad({}), ad({ nodeSelectors: [{ matchLabels: { rack: '2' } }] }, 'rack-2')]
  const config = accept({ l2Advertisements })
  assert.deepEqual(
    config.l2Advertisements.map(({ nodes }) => [...nodes]),
    [
      ['node-a', 'node-b', 'node-c'],
      ['node-b', 'node-c'],
    ],
  )
  assert.deepEqual(
    accept({ l2Advertisements, nodes: [] }).l2Advertisements.map(({ nodes }) => nodes.size),
    [0, 0],
  )
})

test('L-2 pools of an advertisement: by name, by label, or all', () => {
  const pools = [
    LAN,
    pool('b', { addresses: ['198.51.100.0/24'] }),
    pool('c', { addresses: ['203.0.113.0/24'] }),
  ]
  const poolsOf = (spec: unknown) => [
    ...(accept({ pools, l2Advertisements: [ad(spec)] }).l2Advertisements[0]?.pools ?? []),
  ]
  assert.deepEqual(poolsOf({}), ['b', 'c', 'lan'])
  assert.deepEqual(poolsOf({ ipAddressPools: ['c'] }), ['c'])
  assert.deepEqual(
    poolsOf({ ipAddressPools: ['c'], ipAddressPoolSelectors: [{ matchLabels: { zone: 'inner' } }] }),
    ['c', 'lan'],
  )
  assert.deepEqual(poolsOf({ ipAddressPools: ['missing'] }), [])
  assert.deepEqual(
    accept({ pools, l2Advertisements: [{ metadata: { name: 'bare' } }] }).l2Advertisements[0]?.pools.size,
    3,
  )
})

test('L-7 preference weights add up on the nodes of the advertisement', () => {
  const preferredNodeSelectors = [
    { weight: 70, preference: { matchLabels: { rack: '1' } } },
    { weight: 30, preference: {} },
    { weight: 5, preference: { matchLabels: { rack: '2' } } },
  ]
  const scores = (spec: Record<string, unknown>) =>
    Object.fromEntries(
      accept({ l2Advertisements: [ad({ ...spec, preferredNodeSelectors })] }).l2Advertisements[0]?.scores ??
        [],
    )
  assert.deepEqual(scores({}), { 'node-a': 100, 'node-b': 35, 'node-c': 35 })
  assert.deepEqual(scores({ nodeSelectors: [{ matchLabels: { rack: '2' } }] }), {
    'node-b': 35,
    'node-c': 35,
  })
  for (const weight of [0, 101, 1.5, '7', undefined]) {
    const bad = ad({ preferredNodeSelectors: [{ weight, preference: {} }] })
    assert.equal(refuse({ l2Advertisements: [bad] })[0]?.code, 'weight-invalid')
  }
  const missing = ad({ preferredNodeSelectors: [{ weight: 1 }] })
  assert.equal(refuse({ l2Advertisements: [missing] })[0]?.code, 'selector-invalid')
})

test('interfaces: all, or the names given', () => {
  const interfaces = (spec: unknown) =>
    accept({ l2Advertisements: [ad(spec)] }).l2Advertisements[0]?.interfaces
  assert.equal(interfaces({}), 'all')
  assert.equal(interfaces({ interfaces: [] }), 'all')
  assert.deepEqual(interfaces({ interfaces: ['eth1', 'eth0', 'eth1'] }), ['eth0', 'eth1'])
})

test('autoAssign is on and avoidBuggyIPs off unless said otherwise', () => {
  const { autoAssign, avoidBuggyIps } = accept({ pools: [LAN] }).pools[0] ?? {}
  assert.deepEqual([autoAssign, avoidBuggyIps], [true, false])
})

test('P-2 the pool of an address is found by containment', () => {
  const pools = [
    pool('four', { addresses: ['192.0.2.0/25', '10.0.0.5-10.0.0.9'] }),
    pool('six', { addresses: ['2001:db8::/64', '192.0.2.128/25'] }),
  ]
  const index = new PoolIndex(accept({ pools }))
  const at = (text: string) => index.find(parseIp(text) as Ip)?.pool.name
  assert.deepEqual(['192.0.2.0', '192.0.2.127', '10.0.0.9'].map(at), ['four', 'four', 'four'])
  assert.deepEqual(['192.0.2.255', '2001:db8::ffff'].map(at), ['six', 'six'])
  assert.deepEqual(
    ['10.0.0.4', '10.0.0.10', '2001:db8:0:1::', '0.0.0.0', '::'].map(at),
    Array(5).fill(undefined),
  )
  const all = (...texts: string[]) => index.poolOfAll(texts.map(text => parseIp(text) as Ip))?.name
  assert.equal(all('192.0.2.200', '2001:db8::1'), 'six')
  assert.equal(all('192.0.2.1', '2001:db8::1'), undefined)
  assert.equal(all('192.0.2.1', '203.0.113.1'), undefined)
})

test('R-8 configurations compare by content', () => {
  const one = accept({ pools: [LAN], l2Advertisements: [ad({})] })
  assert.ok(sameConfig(one, accept({ pools: [LAN], l2Advertisements: [ad({})] })))
  const fewer = accept({ pools: [LAN], l2Advertisements: [ad({})], nodes: NODES.slice(1) })
  assert.ok(!sameConfig(one, fewer))
  assert.ok(samePools(one, fewer))
  assert.ok(!samePools(one, accept({ pools: [] })))
})

const KINDS = {
  pools: 'IPAddressPool',
  l2Advertisements: 'L2Advertisement',
  bgpAdvertisements: 'BGPAdvertisement',
  bgpPeers: 'BGPPeer',
  bfdProfiles: 'BFDProfile',
  communities: 'Community',
} as const
const object = (kind: keyof typeof KINDS, name: string, spec: unknown): KubeObject => ({
  kind: KINDS[kind],
  metadata: { name, namespace: 'metallb-system' },
  spec,
})

test('property: the order of the resources changes nothing', () => {
  const peer = { myASN: 64496, peerASN: 64497, peerAddress: '192.0.2.1' }
  const all: Partial<Record<keyof typeof KINDS, readonly KubeObject[]>> = {
    pools: [LAN, pool('b', { addresses: ['192.0.2.9/32'] }), pool('a', { addresses: ['x'] }), pool('b', {})],
    l2Advertisements: [ad({}), ad({ interfaces: ['eth0'] }, 'z'), ad({ ipAddressPools: ['b', 'lan'] }, 'm')],
    bgpAdvertisements: [
      object('bgpAdvertisements', 'a', { localPref: 1, communities: ['one', 'two'] }),
      object('bgpAdvertisements', 'b', { localPref: 2, communities: ['two', '1:1'] }),
      object('bgpAdvertisements', 'c', { localPref: 2, communities: ['two', '1:1'] }),
    ],
    bgpPeers: [
      object('bgpPeers', 'a', peer),
      object('bgpPeers', 'b', { ...peer, bfdProfile: 'x' }),
      object('bgpPeers', 'c', peer),
    ],
    bfdProfiles: [object('bfdProfiles', 'x', {}), object('bfdProfiles', 'x', { echoMode: true })],
    communities: [
      object('communities', 'a', { communities: [{ name: 'one', value: '1:1' }] }),
      object('communities', 'b', { communities: [{ name: 'one', value: '2:2' }] }),
    ],
  }
  const shuffled = fc.record(
    Object.fromEntries(
      Object.entries(all).map(([kind, objects]) => [
        kind,
        fc.shuffledSubarray([...objects], { minLength: objects.length }),
      ]),
    ),
    { noNullPrototype: true },
  )
  fc.assert(fc.property(shuffled, resources => assert.deepEqual(parse(resources), parse(all))))
})

test('property: whatever the objects hold, the answer is a value', () => {
  const list = (...items: unknown[]) => fc.array(fc.oneof(fc.constantFrom(...items), fc.jsonValue()))
  const or = (...items: unknown[]) => fc.oneof(fc.constantFrom(...items), fc.jsonValue())
  const odd = fc.oneof(
    fc.jsonValue(),
    fc.record(
      {
        addresses: fc.oneof(fc.jsonValue(), fc.array(fc.oneof(fc.string(), fc.constant('192.0.2.0/24')))),
        autoAssign: fc.jsonValue(),
        serviceAllocation: fc.oneof(
          fc.jsonValue(),
          fc.record({ namespaceSelectors: fc.jsonValue() }, { noNullPrototype: true }),
        ),
        nodeSelectors: list({}, { matchLabels: { rack: '1' } }),
        preferredNodeSelectors: fc.jsonValue(),
        ipAddressPools: or(['p'], []),
        peers: or(['p'], ['q']),
        aggregationLength: or(24, 33, 0, -1),
        aggregationLengthV6: or(64, 129),
        localPref: or(1, 2),
        communities: list('1:2', 'large:1:2:3', 'x', { name: 'x', value: '1:2' }),
        serviceSelectors: list({}),
        myASN: or(64496, 0),
        peerASN: or(64496, 64497),
        dynamicASN: or('internal'),
        peerAddress: or('192.0.2.1', '2001:db8::1'),
        interface: or('eth0'),
        holdTime: or('90s', '0', '1s'),
        keepaliveTime: or('30s', '0s'),
        password: or('x'),
        passwordSecret: or({ name: 's' }, {}),
        bfdProfile: or('p'),
        echoMode: or(true),
        detectMultiplier: or(3),
      },
      { noNullPrototype: true, requiredKeys: [] },
    ),
  )
  const kinds = Object.keys(KINDS) as (keyof typeof KINDS)[]
  fc.assert(
    fc.property(fc.array(odd, { minLength: 12, maxLength: 12 }), specs => {
      const resources = Object.fromEntries(
        kinds.map((kind, i) => [
          kind,
          [object(kind, 'p', specs[2 * i]), object(kind, 'q', specs[2 * i + 1])],
        ]),
      )
      const parsed = parse({ ...resources, secrets: [] })
      assert.ok('config' in parsed || parsed.problems.length > 0)
    }),
  )
})
