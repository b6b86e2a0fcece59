import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failover, SERVICES } from './fixtures.ts'
import { paint, styleOf } from './style.ts'
import { table } from './table.ts'
import { failoverLine, failoverTable, nodesByIp, notes, servicesTable, timelineGroups } from './words.ts'

test('the table of Services, addresses and owners', () => {
  assert.equal(
    servicesTable(SERVICES).join('\n'),
    `SERVICE              POLICY   ADDRESS            OWNER  ANSWERED  BY PODS ON   PODS SAW
default/web-cluster  Cluster  192.0.2.100        node1  20 of 20  node1 node2  192.0.2.11
default/web-cluster  Cluster  2001:db8:0:1::100  node1  20 of 20  node1 node2  192.0.2.11
default/web-local    Local    192.0.2.100        node1  20 of 20  node1 node2  the client
default/web-local    Local    2001:db8:0:1::100  node1  20 of 20  node1 node2  the client`,
  )
})

test('the table of kills', () => {
  assert.equal(
    failoverTable([
      failover({}),
      failover({ how: 'drain', nodeAfter: undefined, settledAfterMs: undefined }),
    ]).join('\n'),
    `KILL           SERVICE      OWNER            ANNOUNCED     ADDRESS            OUTAGE  LOST        OWNER AGAIN
link cut       web-cluster  node1 -> node3   after 258 ms  192.0.2.100        250 ms  250 of 600  node1 after 341 ms
                                             after 258 ms  2001:db8:0:1::100  250 ms  250 of 600
orderly drain  web-cluster  node1 -> nobody  after 258 ms  192.0.2.100          0 ms  0 of 600    -
                                             after 258 ms  2001:db8:0:1::100    0 ms  0 of 600`,
  )
})

test('a line for each kill', () => {
  assert.equal(
    failoverLine(failover({})),
    'web-cluster, link cut: outage 250 ms IPv4, 250 ms IPv6; node1 -> node3 -> node1',
  )
})

test('probes lost to pods that died with their node are told apart, in words', () => {
  const { addresses } = failover({})
  const some = failover({ addresses: addresses.map(each => ({ ...each, lost: 350, lostBeside: 100 })) })
  const [note, ...rest] = notes([some])
  assert.match(
    note ?? '',
    /^web-cluster, link cut: 1 of 3 pods died with node1\. .*: 29 % of the probes after the takeover/,
  )
  assert.deepEqual(rest, [])
  assert.match(
    notes([some], new Set(['default/web-cluster']))[0] ?? '',
    /steered to the nodes of its pods, .* of \d+ probes after the takeover were lost until then\.$/,
  )
  assert.deepEqual(notes([failover({})]), [])
  // The same losses where no pod died would have another cause.
  assert.deepEqual(notes([failover({ how: 'drain', addresses: some.addresses })]), [])
  assert.match(
    notes([failover({ how: 'process' })])[0] ?? '',
    /^speaker SIGKILLed: the kernel of that node goes on/,
  )
})

test('an outage in which the machine did not run the probe says so', () => {
  const result = failover({})
  const addresses = result.addresses.map(each => ({ ...each, outageMs: 1527, certainOutageMs: 70 }))
  assert.match(
    notes([{ ...result, addresses }])[0] ?? '',
    /^web-cluster, link cut: for 1457 ms of OUTAGE the machine had no time/,
  )
  assert.deepEqual(notes([result]), [])
})

test('what there is to draw, in the order of the kills', () => {
  const groups = timelineGroups([failover({ how: 'drain' }), failover({})])
  assert.deepEqual(
    groups.map(({ title, rows }) => [
      title,
      rows.map(({ label, killAtMs, interestingMs, tail }) => [label, killAtMs, interestingMs, tail]),
    ]),
    [
      [
        'link cut',
        [
          ['web-cluster IPv4', 300, 259.4, '250 ms'],
          ['web-cluster IPv6', 300, 259.4, '250 ms'],
        ],
      ],
      [
        'orderly drain',
        [
          ['web-cluster IPv4', 300, 258, '0 ms'],
          ['web-cluster IPv6', 300, 258, '0 ms'],
        ],
      ],
    ],
  )
})

test('nodes by all of their addresses', () => {
  assert.deepEqual(
    [...nodesByIp([{ name: 'node1', ips: ['192.0.2.11', '2001:db8:0:1::11'] }])],
    [
      ['192.0.2.11', 'node1'],
      ['2001:db8:0:1::11', 'node1'],
    ],
  )
})

test('columns are aligned, numbers to the right, nothing trails', () => {
  assert.deepEqual(
    table(
      ['A', 'N'],
      [
        ['long', '1'],
        ['b', '200'],
        ['c', ''],
      ],
      [1],
    ),
    ['A       N', 'long    1', 'b     200', 'c'],
  )
})

const TERMINAL = { isTTY: true, columns: 132 }
for (const [what, stream, env, style] of [
  ['a terminal', TERMINAL, { TERM: 'xterm' }, { colour: true, unicode: true, columns: 132 }],
  ['NO_COLOR', TERMINAL, { NO_COLOR: '1' }, { colour: false, unicode: true, columns: 132 }],
  ['an empty NO_COLOR', TERMINAL, { NO_COLOR: '' }, { colour: true, unicode: true, columns: 132 }],
  ['a dumb terminal', TERMINAL, { TERM: 'dumb' }, { colour: false, unicode: false, columns: 100 }],
  ['the console', TERMINAL, { TERM: 'linux' }, { colour: true, unicode: false, columns: 132 }],
  ['a locale of ASCII', TERMINAL, { LC_ALL: 'C' }, { colour: true, unicode: false, columns: 132 }],
  ['UTF-8 in the C locale', TERMINAL, { LANG: 'C.UTF-8' }, { colour: true, unicode: true, columns: 132 }],
  [
    'no terminal',
    {},
    { TERM: 'xterm', LANG: 'de_DE.UTF-8' },
    { colour: false, unicode: false, columns: 100 },
  ],
] as const) {
  test(`how to write for ${what}`, () => {
    assert.deepEqual(styleOf(stream, env), style)
    assert.equal(paint(style, 'red', 'x'), style.colour ? '\u001b[31mx\u001b[0m' : 'x')
    assert.equal(paint(style, 'red', ''), '')
  })
}
