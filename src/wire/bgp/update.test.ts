import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BGP_UPDATES } from '../../../test/golden/bgp.ts'
import { hex } from '../../../test/golden/frames.ts'
import type { Ip, Ipv4 } from '../../addr/ip.ts'
import type { Prefix } from '../../addr/prefix.ts'
import { type AsPath, asPathLength, mergeAs4Path } from './as-path.ts'
import type { UpdateContext } from './attributes.ts'
import { COMMUNITY, standardCommunity } from './communities.ts'
import { BgpError } from './error.ts'
import { IPV4_UNICAST, IPV6_UNICAST } from './family.ts'
import { decodeMessage, EXTENDED_MESSAGE_MAX, encodeMessage } from './message.ts'
import { decodeUpdate, endOfRib, type ReceivedUpdate, routeChanges, type Update } from './update.ts'

const EXTERNAL: UpdateContext = { fourOctetAs: true, internal: false }
const INTERNAL: UpdateContext = { fourOctetAs: true, internal: true }
const TWO_OCTETS: UpdateContext = { fourOctetAs: false, internal: false }

function decoded(bytes: Uint8Array, context = EXTERNAL): ReceivedUpdate {
  const message = decodeMessage(bytes, context)
  assert(message.type === 'update')
  return message
}

const sequence = (...asns: number[]): AsPath => [{ type: 'sequence', asns }]
const prefixes = (...texts: string[]): Prefix[] => texts as Prefix[]

/** What each captured UPDATE says. */
const CAPTURED: readonly (readonly [
  keyof typeof BGP_UPDATES,
  UpdateContext,
  Omit<Partial<Update>, 'type'>,
])[] = [
  [
    'birdRoute',
    EXTERNAL,
    {
      attributes: {
        origin: 'igp',
        asPath: sequence(4200000002),
        nextHop: '192.0.2.2' as Ipv4,
        communities: [standardCommunity(64511, 1)],
        extendedCommunities: [{ type: 'two-octet-as', transitive: true, subtype: 2, as: 64511, value: 5 }],
        largeCommunities: [[4200000002, 1, 2]],
      },
      announced: prefixes('203.0.113.128/25'),
    },
  ],
  [
    'birdIpv6Routes',
    EXTERNAL,
    {
      attributes: {
        origin: 'igp',
        asPath: sequence(4200000002),
        mpReach: {
          type: 'unicast',
          family: 'IPv6',
          nextHop: '2001:db8::2' as Ip,
          linkLocal: 'fe80::200:5eff:fe00:5302' as never,
          prefixes: prefixes('2001:db8:2::/48', '2001:db8:2:8000::/49'),
        },
      },
    },
  ],
  [
    'birdInternalIpv4OverIpv6NextHop',
    INTERNAL,
    {
      attributes: {
        origin: 'igp',
        asPath: [],
        med: 9,
        localPref: 100,
        communities: [standardCommunity(64511, 1)],
        extendedCommunities: [
          { type: 'two-octet-as', transitive: true, subtype: 2, as: 64511, value: 5 },
          { type: 'link-bandwidth', transitive: false, as: 0, bytesPerSecond: 8388608 },
        ],
        largeCommunities: [[4200000002, 1, 2]],
        mpReach: {
          type: 'unicast',
          family: 'IPv4',
          nextHop: '2001:db8::2' as Ip,
          prefixes: prefixes('203.0.113.128/25'),
        },
      },
    },
  ],
  [
    'gobgpRoute',
    EXTERNAL,
    {
      attributes: {
        origin: 'incomplete',
        asPath: sequence(64502),
        nextHop: '192.0.2.3' as Ipv4,
        med: 5,
        aggregator: { as: 64502, ip: '192.0.2.3' as Ipv4 },
        communities: [standardCommunity(64502, 1), COMMUNITY.noExport],
        extendedCommunities: [{ type: 'two-octet-as', transitive: true, subtype: 2, as: 64502, value: 7 }],
        largeCommunities: [[64502, 2, 3]],
      },
      announced: prefixes('203.0.113.0/24'),
    },
  ],
  [
    'gobgpIpv6ViaMapped',
    EXTERNAL,
    {
      attributes: {
        origin: 'igp',
        asPath: sequence(64502, 4200000002),
        mpReach: {
          type: 'unicast',
          family: 'IPv6',
          nextHop: '::ffff:192.0.2.3' as Ip,
          prefixes: prefixes('2001:db8:2::/48'),
        },
      },
    },
  ],
  [
    'frrRoute',
    EXTERNAL,
    {
      attributes: {
        origin: 'igp',
        asPath: sequence(64500, 64500),
        nextHop: '192.0.2.1' as Ipv4,
        med: 77,
        communities: [standardCommunity(64500, 100), COMMUNITY.gracefulShutdown, COMMUNITY.noExport],
        extendedCommunities: [
          // 125 MB/s that FRR was told to write, as the nearest float.
          { type: 'link-bandwidth', transitive: true, as: 64500, bytesPerSecond: 15625000 },
          { type: 'two-octet-as', transitive: true, subtype: 2, as: 64500, value: 9 },
        ],
        largeCommunities: [
          [64500, 1, 2],
          [64500, 3, 4],
        ],
      },
      announced: prefixes('198.51.100.0/24'),
    },
  ],
  ['gobgpWithdrawal', EXTERNAL, { withdrawn: prefixes('203.0.113.0/24') }],
  ['frrWithdrawal', EXTERNAL, { withdrawn: prefixes('203.0.113.64/26', '203.0.113.128/25') }],
  [
    'frrIpv6Withdrawal',
    EXTERNAL,
    {
      attributes: {
        mpUnreach: {
          type: 'unicast',
          family: 'IPv6',
          prefixes: prefixes('2001:db8:2::/48', '2001:db8:2:8000::/49'),
        },
      },
    },
  ],
  [
    'birdTwoOctetAsRoute',
    TWO_OCTETS,
    {
      attributes: {
        origin: 'igp',
        asPath: sequence(64502, 64511, 65550),
        nextHop: '192.0.2.5' as Ipv4,
      },
      announced: prefixes('198.51.100.0/24'),
    },
  ],
]
for (const [name, context, wanted] of CAPTURED) {
  test(`the UPDATE ${name}`, () => {
    assert.deepEqual(decoded(BGP_UPDATES[name], context), {
      type: 'update',
      withdrawn: [],
      announced: [],
      attributes: {},
      problems: [],
      ...wanted,
    })
  })
}

test('every captured UPDATE is read without a problem, and what we write of it says the same', () => {
  for (const [name, bytes] of Object.entries(BGP_UPDATES)) {
    const context = name.includes('Internal') ? INTERNAL : name.includes('TwoOctet') ? TWO_OCTETS : EXTERNAL
    const value = decoded(bytes, context)
    assert.deepEqual(value.problems, [], name)
    assert.deepEqual(decoded(encodeMessage(value, context), context), value, name)
  }
})

test('what BIRD and GoBGP write is what we write, byte for byte', () => {
  for (const name of [
    'birdRoute',
    'birdPlainRoute',
    'birdEndOfRibIpv4',
    'gobgpRoute',
    'gobgpTwoAses',
    'gobgpWithdrawal',
    'gobgpIpv6Withdrawal',
    'gobgpEndOfRibIpv4',
    'gobgpEndOfRibIpv6',
    'frrEndOfRibIpv6',
    'frrWithdrawal',
  ] as const) {
    assert.deepEqual(encodeMessage(decoded(BGP_UPDATES[name]), EXTERNAL), BGP_UPDATES[name], name)
  }
})

test('End-of-RIB of FRR, BIRD and GoBGP is recognised (RFC 4724 section 2)', () => {
  for (const [name, bytes] of Object.entries(BGP_UPDATES)) {
    const wanted = name.endsWith('EndOfRibIpv4')
      ? IPV4_UNICAST
      : name.endsWith('EndOfRibIpv6')
        ? IPV6_UNICAST
        : null
    assert.deepEqual(routeChanges(decoded(bytes, INTERNAL)).endOfRib, wanted === null ? null : wanted, name)
  }
  assert.deepEqual(encodeMessage(endOfRib(IPV4_UNICAST)), BGP_UPDATES.frrEndOfRibIpv4)
  assert.deepEqual(encodeMessage(endOfRib(IPV6_UNICAST)), BGP_UPDATES.gobgpEndOfRibIpv6)
  const other = endOfRib({ afi: 1, safi: 128 })
  assert.deepEqual(routeChanges(decoded(encodeMessage(other))).endOfRib, { afi: 1, safi: 128 })
})

const MANDATORY = '40010100 4002060201 0000fbf4 400304 c0000201'
const ROUTE = '18 c63364'

/** A body with these attributes. */
function body(attributes: string, nlri = ROUTE, withdrawn = ''): Uint8Array {
  const size = (bytes: Uint8Array) => bytes.length.toString(16).padStart(4, '0')
  return hex(`${size(hex(withdrawn))} ${withdrawn} ${size(hex(attributes))} ${attributes} ${nlri}`)
}

const REACH_V6 = '20010db8000000000000000000000001 00 20 20010db8'

/** RFC 7606 and the RFCs that it points to: what is done about each malformed attribute. */
const MALFORMED: readonly (readonly [
  name: string,
  bytes: Uint8Array,
  context: UpdateContext,
  handling: readonly string[],
])[] = [
  [
    '7.1 ORIGIN of 2 bytes',
    body('4001020000 4002060201 0000fbf4 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '7.1 an undefined ORIGIN',
    body('40010103 4002060201 0000fbf4 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '7.2 AS_PATH with a segment that overruns',
    body('40010100 4002060202 0000fbf4 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '7.2 AS_PATH with an unknown segment',
    body('40010100 4002060701 0000fbf4 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '7.2 AS_PATH with an empty segment',
    body('40010100 4002020200 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '7.2 AS_PATH with one byte left',
    body('40010100 40020702010000fbf402 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    'RFC 5065 5: a confederation in AS_PATH',
    body('40010100 4002060301 0000fbf4 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    'RFC 7607: AS 0 in AS_PATH',
    body('40010100 4002060201 00000000 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '7.3 NEXT_HOP of 3 bytes',
    body('40010100 4002060201 0000fbf4 400303 c00002'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  ['7.4 MED of 3 bytes', body(`${MANDATORY} 800403 000000`), EXTERNAL, ['treat-as-withdraw']],
  ['7.4 MED of 5 bytes', body(`${MANDATORY} 800405 0000000000`), EXTERNAL, ['treat-as-withdraw']],
  ['7.5 LOCAL_PREF from another AS', body(`${MANDATORY} 400504 00000064`), EXTERNAL, ['attribute-discard']],
  ['7.5 LOCAL_PREF of 3 bytes', body(`${MANDATORY} 400503 000064`), INTERNAL, ['treat-as-withdraw']],
  ['7.6 ATOMIC_AGGREGATE with a value', body(`${MANDATORY} 400601 00`), EXTERNAL, ['attribute-discard']],
  ['7.7 AGGREGATOR of 6 bytes', body(`${MANDATORY} c00706 fbf4c0000201`), EXTERNAL, ['attribute-discard']],
  [
    'RFC 7607: AGGREGATOR with AS 0',
    body(`${MANDATORY} c00708 00000000c0000201`),
    EXTERNAL,
    ['attribute-discard'],
  ],
  ['7.8 COMMUNITIES of 3 bytes', body(`${MANDATORY} c00803 fbf400`), EXTERNAL, ['treat-as-withdraw']],
  ['7.8 COMMUNITIES without any', body(`${MANDATORY} c00800`), EXTERNAL, ['treat-as-withdraw']],
  [
    '7.9 ORIGINATOR_ID from another AS',
    body(`${MANDATORY} 800904 c0000201`),
    EXTERNAL,
    ['attribute-discard'],
  ],
  [
    '7.9 ORIGINATOR_ID of 3 bytes',
    body(`${MANDATORY} 400504 00000064 800903 c00002`),
    INTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '7.10 CLUSTER_LIST from another AS',
    body(`${MANDATORY} 800a04 c0000201`),
    EXTERNAL,
    ['attribute-discard'],
  ],
  [
    '7.10 CLUSTER_LIST without any',
    body(`${MANDATORY} 400504 00000064 800a00`),
    INTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '7.14 EXTENDED COMMUNITIES of 7 bytes',
    body(`${MANDATORY} c01007 0002fbf4000000`),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    'RFC 8092 6: LARGE_COMMUNITY of 11 bytes',
    body(`${MANDATORY} c0200b ${'00'.repeat(11)}`),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  ['RFC 8092 6: LARGE_COMMUNITY without any', body(`${MANDATORY} c02000`), EXTERNAL, ['treat-as-withdraw']],
  [
    'RFC 6793 6: AS4_PATH from a speaker of four octets',
    body(`${MANDATORY} c01106 02010001000e`),
    EXTERNAL,
    ['attribute-discard'],
  ],
  [
    'RFC 6793 6: AS4_PATH that overruns',
    body('40010100 4002040201 5ba0 400304 c0000201 c01106 02020001000e'),
    TWO_OCTETS,
    ['attribute-discard'],
  ],
  [
    'RFC 6793 6: AS4_AGGREGATOR of 6 bytes',
    body('40010100 4002040201 5ba0 400304 c0000201 c01206 5ba0c0000201'),
    TWO_OCTETS,
    ['attribute-discard'],
  ],
  [
    '3 c: flags of a well-known attribute',
    body('c0010100 4002060201 0000fbf4 400304 c0000201'),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  [
    '3 c: flags of an optional attribute',
    body(`${MANDATORY} 400804 fbf40001`),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  ['3 d: no ORIGIN', body('4002060201 0000fbf4 400304 c0000201'), EXTERNAL, ['treat-as-withdraw']],
  ['3 d: no AS_PATH', body('40010100 400304 c0000201'), EXTERNAL, ['treat-as-withdraw']],
  ['3 d: no NEXT_HOP', body('40010100 4002060201 0000fbf4'), EXTERNAL, ['treat-as-withdraw']],
  ['3 d: no LOCAL_PREF from our AS', body(MANDATORY), INTERNAL, ['treat-as-withdraw']],
  ['3 d: nothing', body(''), EXTERNAL, ['treat-as-withdraw', 'treat-as-withdraw', 'treat-as-withdraw']],
  ['3 g: an attribute twice', body(`${MANDATORY} 40010102`), EXTERNAL, ['attribute-discard']],
  [
    '4: an attribute that reaches beyond all',
    body(`${MANDATORY} 800405 00000000`),
    EXTERNAL,
    ['treat-as-withdraw'],
  ],
  ['4: half a header', body(`${MANDATORY} 80`), EXTERNAL, ['treat-as-withdraw']],
  [
    '7.11 a next hop of no length',
    body('40010100 4002060201 0000fbf4 800e05 000201 00 00', ''),
    EXTERNAL,
    ['disable-family'],
  ],
  [
    '7.11 a next hop that overruns',
    body('40010100 4002060201 0000fbf4 800e06 000201 10 2001', ''),
    EXTERNAL,
    ['disable-family'],
  ],
  [
    '5.3 a prefix in MP_REACH_NLRI with 129 bits',
    body(`40010100 4002060201 0000fbf4 800e1a 000201 10 ${REACH_V6.replace('00 20', '00 81')}`, ''),
    EXTERNAL,
    ['disable-family'],
  ],
  [
    '5.3 a prefix in MP_UNREACH_NLRI that overruns',
    body('800f04 000201 20', ''),
    EXTERNAL,
    ['disable-family'],
  ],
]
for (const [name, bytes, context, handling] of MALFORMED) {
  test(`malformed: ${name}: ${handling[0]}`, () => {
    const update = decodeUpdate(bytes, context)
    assert.deepEqual(
      update.problems.map(each => each.handling),
      handling,
      JSON.stringify(update.problems),
    )
    const changes = routeChanges(update)
    const [first] = handling
    if (first === 'attribute-discard') {
      assert.deepEqual([changes.announced, changes.withdrawn], [['198.51.100.0/24'], []])
    } else if (first === 'treat-as-withdraw') {
      assert.deepEqual([changes.announced, changes.withdrawn], [[], ['198.51.100.0/24']])
    } else assert.deepEqual(changes.disabled, [IPV6_UNICAST])
    assert.equal(changes.endOfRib, null)
  })
}

/** What still ends the session. */
const RESET: readonly (readonly [string, Uint8Array, subcode: number])[] = [
  ['withdrawn routes beyond the end', hex('0005 18c63364 0000'), 1],
  ['attributes beyond the end', hex('0000 0005 40010100'), 1],
  ['5.3 a prefix of 33 bits', body(MANDATORY, '21 c633640000'), 10],
  ['5.3 a prefix that overruns', body(MANDATORY, '18 c633'), 10],
  ['5.3 a withdrawn prefix of 33 bits', body('', '', '21 c633640000'), 10],
  ['3 g: MP_UNREACH_NLRI twice', body('800f03 000201 800f03 000201', ''), 1],
  ['7.11 MP_REACH_NLRI of 4 bytes', body('800e04 00020100', ''), 9],
  ['7.12 MP_UNREACH_NLRI of 2 bytes', body('800f02 0002', ''), 9],
  ['RFC 4271 6.3: an unknown well-known attribute', body(`${MANDATORY} 406300`), 2],
  ['5.2 a wrong attribute and no prefix', body('40010103', ''), 1],
]
for (const [name, bytes, subcode] of RESET) {
  test(`ends the session: ${name}`, () => {
    assert.throws(
      () => decodeUpdate(bytes, EXTERNAL),
      (error: unknown) => {
        assert(error instanceof BgpError)
        assert.deepEqual([error.notification?.code, error.notification?.subcode], [3, subcode])
        return true
      },
    )
  })
}

test('the data of the NOTIFICATION is the attribute (RFC 4271 section 6.3)', () => {
  assert.throws(
    () => decodeUpdate(body(`${MANDATORY} 406302 abcd`), EXTERNAL),
    (error: unknown) =>
      error instanceof BgpError &&
      Buffer.from(error.notification?.data ?? []).toString('hex') === '406302abcd',
  )
})

test('the first of two equal attributes counts (RFC 7606 section 3 g)', () => {
  assert.equal(decodeUpdate(body(`${MANDATORY} 40010102`), EXTERNAL).attributes.origin, 'igp')
})

test('unknown optional attributes are kept, transitive or not', () => {
  const bytes = body(`${MANDATORY} e0c802 abcd 806400`)
  const { attributes, problems } = decodeUpdate(bytes, EXTERNAL)
  assert.deepEqual(problems, [])
  assert.deepEqual(attributes.unknown, [
    { code: 100, transitive: false, partial: false, value: hex('') },
    { code: 200, transitive: true, partial: true, value: hex('abcd') },
  ])
})

test('routes of a family that nobody knows here are kept as bytes', () => {
  const bytes = body('40010100 4002060201 0000fbf4 800e0a 000180 04 c0000201 00 77', '')
  assert.deepEqual(decodeUpdate(bytes, EXTERNAL).attributes.mpReach, {
    type: 'other',
    family: { afi: 1, safi: 128 },
    bytes: hex('04 c0000201 00 77'),
  })
})

test('host bits of a prefix mean nothing (RFC 4271 section 4.3)', () => {
  assert.deepEqual(decodeUpdate(body(MANDATORY, '19 c63364ff 00'), EXTERNAL).announced, [
    '198.51.100.128/25',
    '0.0.0.0/0',
  ])
})

test('a prefix that is withdrawn and announced at once is announced (RFC 4271 section 4.3)', () => {
  const changes = routeChanges(decodeUpdate(body(MANDATORY, ROUTE, `${ROUTE} 08 0a`), EXTERNAL))
  assert.deepEqual([changes.announced, changes.withdrawn], [['198.51.100.0/24'], ['10.0.0.0/8']])
})

test('extended communities of every form', () => {
  const forms = [
    ['0002 fbf4 00000009', { type: 'two-octet-as', transitive: true, subtype: 2, as: 64500, value: 9 }],
    [
      '4102 c0000201 0007',
      { type: 'ipv4-address', transitive: false, subtype: 2, ip: '192.0.2.1', value: 7 },
    ],
    ['0203 0001000e 0007', { type: 'four-octet-as', transitive: true, subtype: 3, as: 65550, value: 7 }],
    ['4004 fbf4 3fc00000', { type: 'link-bandwidth', transitive: false, as: 64500, bytesPerSecond: 1.5 }],
    ['4004 fbf4 00000000', { type: 'link-bandwidth', transitive: false, as: 64500, bytesPerSecond: 0 }],
    // Negative, negative zero, infinite and not a number are no bandwidth.
    ...['bfc00000', '80000000', '7f800000', '7fc00001'].map(
      value => [`4004 fbf4 ${value}`, { type: 'unknown', bytes: hex(`4004 fbf4 ${value}`) }] as const,
    ),
    ['030c 0000 00000008', { type: 'unknown', bytes: hex('030c 0000 00000008') }],
  ] as const
  const text = forms.map(([each]) => each).join(' ')
  const bytes = body(`${MANDATORY} c010${(8 * forms.length).toString(16)} ${text}`)
  const update = decodeUpdate(bytes, EXTERNAL)
  assert.deepEqual(
    update.attributes.extendedCommunities,
    forms.map(([, value]) => value),
  )
  assert.deepEqual(encodeMessage(update).slice(19), bytes)
})

test('AS numbers of four octets through a speaker of two (RFC 6793 section 4.2.3)', () => {
  const old = sequence(1, 2, 23456, 23456)
  assert.deepEqual(mergeAs4Path(old, sequence(70000, 80000)), sequence(1, 2, 70000, 80000))
  assert.deepEqual(mergeAs4Path(old, sequence(3, 4, 5, 6, 7)), old, 'a longer AS4_PATH is ignored')
  const set: AsPath = [
    { type: 'sequence', asns: [1] },
    { type: 'set', asns: [2, 3] },
    { type: 'sequence', asns: [23456] },
  ]
  assert.equal(asPathLength(set), 3)
  assert.deepEqual(mergeAs4Path(set, sequence(70000)), [
    { type: 'sequence', asns: [1] },
    { type: 'set', asns: [2, 3] },
    { type: 'sequence', asns: [70000] },
  ])
  const aggregated = (as: string) =>
    decodeUpdate(
      body(
        `40010100 4002040201 5ba0 400304 c0000201 c00706 ${as}c0000201 c01106 02010001000e c01208 0001000ec0000202`,
      ),
      TWO_OCTETS,
    ).attributes
  assert.deepEqual(aggregated('5ba0').aggregator, { as: 65550, ip: '192.0.2.2' })
  assert.deepEqual(aggregated('5ba0').asPath, sequence(65550))
  // Aggregated by a speaker of two octets: what is in the new attributes is older.
  assert.deepEqual(aggregated('fbf4').aggregator, { as: 64500, ip: '192.0.2.1' })
  assert.deepEqual(aggregated('fbf4').asPath, sequence(23456))
})

test('to a speaker of two octets large AS numbers go in AS4_PATH and AS4_AGGREGATOR', () => {
  const update: Update = {
    type: 'update',
    withdrawn: [],
    announced: prefixes('198.51.100.0/24'),
    attributes: {
      origin: 'igp',
      asPath: sequence(64502, 64511, 65550),
      nextHop: '192.0.2.5' as Ipv4,
    },
  }
  assert.deepEqual(encodeMessage(update, TWO_OCTETS), BGP_UPDATES.birdTwoOctetAsRoute)
  const aggregator = { as: 65550, ip: '192.0.2.5' as Ipv4 }
  const more = { ...update, attributes: { ...update.attributes, aggregator } }
  assert.deepEqual(decoded(encodeMessage(more, TWO_OCTETS), TWO_OCTETS).attributes, more.attributes)
})

test('attributes of more than 255 bytes, and messages of more than 4096', () => {
  const communities = Array.from({ length: 100 }, (_, i) => standardCommunity(64500, i))
  const announced = Array.from({ length: 2000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24` as Prefix)
  const value = decoded(BGP_UPDATES.birdPlainRoute)
  const update = { ...value, announced, attributes: { ...value.attributes, communities } }
  assert.throws(() => encodeMessage(update, EXTERNAL), { name: 'AssertionError' })
  const bytes = encodeMessage(update, EXTERNAL, EXTENDED_MESSAGE_MAX)
  assert.deepEqual(decodeMessage(bytes, EXTERNAL, EXTENDED_MESSAGE_MAX), update)
  assert.throws(() => decodeMessage(bytes, EXTERNAL), BgpError)
})

test('LOCAL_PREF is never written to another AS (RFC 4271 section 5.1.5)', () => {
  const { problems: _, ...value } = decoded(BGP_UPDATES.birdPlainRoute)
  const update = { ...value, attributes: { ...value.attributes, localPref: 1 } }
  assert.throws(() => encodeMessage(update, EXTERNAL), { name: 'AssertionError' })
})
