// The rules of BGPPeer and BFDProfile.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseDurationMs } from '../../src/config/duration.ts'
import { bgpPasswords, secretFromObject } from '../../src/config/secrets.ts'
import {
  accepted,
  bgp,
  type Case,
  community,
  object,
  peer,
  pool,
  profile,
  RACK1,
  RACK2,
  testCases,
} from './config-cases.ts'

const V4 = pool('v4', ['192.0.2.0/24'])
const V6 = pool('v6', ['2001:db8::/64'])
const DUAL = pool('dual', ['198.51.100.0/24', '2001:db8:1::/64'])
const SECRET = { namespace: 'metallb-system', name: 's', type: 'kubernetes.io/basic-auth', hasPassword: true }

testCases({
  'V-30 myASN must be there and not 0': {
    objects: [peer('a', { myASN: 0 }), peer('b', { myASN: null, peerAddress: '192.0.2.1' })],
    says: ['error asn-invalid BGPPeer/a spec.myASN', 'error field-missing BGPPeer/b spec.myASN'],
  },
  'V-30 one of peerASN and dynamicASN, not both': {
    objects: [
      peer('none', { peerASN: null, peerAddress: '192.0.2.1' }),
      peer('zero', { peerASN: 0, peerAddress: '192.0.2.2' }),
      peer('both', { dynamicASN: 'external', peerAddress: '192.0.2.3' }),
      peer('odd', { peerASN: 0, dynamicASN: 'sometimes', peerAddress: '192.0.2.4' }),
      peer('good', { peerASN: 0, dynamicASN: 'internal', peerAddress: '192.0.2.5' }),
    ],
    says: [
      'error field-missing BGPPeer/none spec.peerASN',
      'error field-missing BGPPeer/zero spec.peerASN',
      'error fields-exclusive BGPPeer/both spec.dynamicASN',
      'error field-type BGPPeer/odd spec.dynamicASN',
    ],
  },
  'V-31 ebgpMultiHop is for other AS numbers': {
    objects: [
      peer('a', { peerASN: 64496, ebgpMultiHop: true }),
      peer('b', { ebgpMultiHop: true, peerAddress: '192.0.2.1' }),
      peer('c', { ebgpMultiHop: true, peerASN: 0, dynamicASN: 'internal', peerAddress: '192.0.2.2' }),
    ],
    says: [
      'error multihop-internal BGPPeer/a spec.ebgpMultiHop',
      'warning field-ignored BGPPeer/c spec.ebgpMultiHop',
    ],
  },
  'V-32 one of peerAddress and interface, not both': {
    objects: [
      peer('none', { peerAddress: null }),
      peer('both', { interface: 'eth0' }),
      peer('good', { peerAddress: '', interface: 'eth1' }),
    ],
    says: [
      'error field-missing BGPPeer/none spec.peerAddress',
      'error fields-exclusive BGPPeer/both spec.interface',
    ],
  },
  'V-32 addresses must be addresses': {
    objects: [
      peer('a', { peerAddress: '192.0.2.300', routerID: '1.2.3', sourceAddress: 'here' }),
      peer('b', { peerAddress: 'fe80::1%eth0' }),
      peer('c', { peerAddress: '2001:db8::1', routerID: '192.0.2.9', sourceAddress: '2001:db8::2' }),
    ],
    says: [
      'error address-unparsable BGPPeer/a spec.peerAddress',
      'error address-unparsable BGPPeer/a spec.routerID',
      'error address-unparsable BGPPeer/a spec.sourceAddress',
      'error address-unparsable BGPPeer/b spec.peerAddress',
    ],
    words: ['192.0.2.300', 'give its interface'],
  },
  'V-32 a router ID has 32 bits; a source of the other family reaches nobody': {
    objects: [peer('a', { routerID: '2001:db8::1', sourceAddress: '2001:db8::2' })],
    says: [
      'error address-unparsable BGPPeer/a spec.routerID',
      'warning field-ignored BGPPeer/a spec.sourceAddress',
    ],
  },
  'V-33 timers that BGP does not allow': {
    objects: [
      peer('a', { holdTime: '2.9s', peerAddress: '192.0.2.1' }),
      peer('b', { keepaliveTime: '500ms', peerAddress: '192.0.2.2' }),
      peer('c', { holdTime: '30s', keepaliveTime: '31s', peerAddress: '192.0.2.3' }),
      peer('d', { holdTime: '0s', keepaliveTime: '1s', peerAddress: '192.0.2.4' }),
      peer('e', { holdTime: '-90s', peerAddress: '192.0.2.5' }),
      peer('f', { holdTime: '90', peerAddress: '192.0.2.6' }),
      peer('g', { connectTime: '500ms', peerAddress: '192.0.2.7' }),
      peer('h', { connectTime: '1.5s', peerAddress: '192.0.2.8' }),
      peer('i', { connectTime: '65536s', peerAddress: '192.0.2.9' }),
    ],
    says: [
      'error timers-invalid BGPPeer/a spec.holdTime',
      'error timers-invalid BGPPeer/b spec.keepaliveTime',
      'error timers-invalid BGPPeer/c spec.keepaliveTime',
      'error timers-invalid BGPPeer/d spec.keepaliveTime',
      'error timers-invalid BGPPeer/e spec.holdTime',
      'error field-type BGPPeer/f spec.holdTime',
      'error timers-invalid BGPPeer/g spec.connectTime',
      'error timers-invalid BGPPeer/h spec.connectTime',
      'error timers-invalid BGPPeer/i spec.connectTime',
    ],
  },
  'V-33 less than a second counts as 0, and is told (Q-26)': {
    objects: [peer('a', { holdTime: '500ms' })],
    says: ['warning timers-invalid BGPPeer/a spec.holdTime'],
  },
  'V-34 password and passwordSecret exclude each other': {
    objects: [peer('a', { password: 'x', passwordSecret: { name: 's', namespace: 'metallb-system' } })],
    secrets: [SECRET],
    says: ['error fields-exclusive BGPPeer/a spec.passwordSecret'],
  },
  'V-34 the Secret must be of its type and have the key': {
    objects: [
      peer('a', { passwordSecret: { name: 'opaque' }, peerAddress: '192.0.2.1' }),
      peer('b', { passwordSecret: { name: 'empty' }, peerAddress: '192.0.2.2' }),
      peer('c', { passwordSecret: { name: 's' }, peerAddress: '192.0.2.3' }),
      peer('d', { passwordSecret: {}, peerAddress: '192.0.2.4' }),
    ],
    secrets: [
      SECRET,
      { ...SECRET, name: 'opaque', type: 'Opaque' },
      { ...SECRET, name: 'empty', hasPassword: false },
    ],
    says: [
      'error secret-invalid BGPPeer/a spec.passwordSecret.name',
      'error secret-invalid BGPPeer/b spec.passwordSecret.name',
    ],
    words: ['Opaque', 'kubernetes.io/basic-auth', 'no key password'],
  },
  'V-34 a Secret elsewhere is none; where Secrets are not read, nothing is said': {
    objects: [peer('a', { passwordSecret: { name: 's' } })],
    secrets: [{ ...SECRET, namespace: 'default' }],
    says: ['transient secret-missing BGPPeer/a spec.passwordSecret.name'],
  },
  'V-34 where Secrets are not read, nothing is said': {
    objects: [peer('a', { passwordSecret: { name: 's' } })],
    says: [],
  },
  'V-35 the BFD profile must be there': {
    objects: [
      peer('a', { bfdProfile: 'fast' }),
      peer('b', { bfdProfile: 'slow', peerAddress: '192.0.2.1' }),
      profile('slow'),
    ],
    says: ['transient bfd-profile-missing BGPPeer/a spec.bfdProfile'],
    words: ['"fast"'],
  },
  'V-36 two peers with the same spec are refused': {
    objects: [
      peer('a', { holdTime: '90s' }),
      object('BGPPeer', 'b', { peerAddress: '192.0.2.254', holdTime: '90s', peerASN: 64497, myASN: 64496 }),
    ],
    says: ['error peer-duplicate BGPPeer/b spec'],
    words: ['"a"'],
  },
  'V-40 what only FRR could do is for everybody': {
    objects: [
      V4,
      V6,
      profile('p'),
      peer('a', { bfdProfile: 'p', keepaliveTime: '10s', holdTime: '30s', vrf: 'red', connectTime: '10s' }),
      peer('b', {
        enableGracefulRestart: true,
        dualStackAddressFamily: true,
        peerASN: 0,
        dynamicASN: 'external',
        localASN: 64500,
        peerAddress: '',
        interface: 'eth0',
      }),
      bgp('a', { communities: ['large:64496:1:2'] }),
      community('c', [{ name: 'x', value: 'large:1:2:3' }]),
    ],
    says: [],
  },
  'V-40 disableMP has no effect, which is told; the rest is checked all the same (Q-27)': {
    objects: [peer('a', { disableMP: true, myASN: 0 })],
    says: ['warning field-ignored BGPPeer/a spec.disableMP', 'error asn-invalid BGPPeer/a spec.myASN'],
  },
  'V-41 router IDs and own AS numbers may differ between the sessions of a node': {
    objects: [
      peer('a', { routerID: '192.0.2.1', peerAddress: '192.0.2.251' }),
      peer('b', { routerID: '192.0.2.2', peerAddress: '192.0.2.252', myASN: 64500 }),
      peer('c', { peerAddress: '192.0.2.253' }),
    ],
    says: [],
  },
  'V-41 two sessions from one node to one neighbour are refused': {
    objects: [peer('a'), peer('b', { myASN: 64500 })],
    says: ['error peer-conflict BGPPeer/b spec'],
  },
  'V-41 on disjoint nodes, in another VRF, to another port or from another address they are fine': {
    objects: [
      peer('a', { nodeSelectors: RACK1 }),
      peer('b', { nodeSelectors: RACK2 }),
      peer('c', { vrf: 'red' }),
      peer('d', { peerPort: 1179 }),
      peer('e', { sourceAddress: '192.0.2.9' }),
    ],
    says: [],
  },
  'V-41 while no node is known, they are taken to share one': {
    objects: [peer('a', { nodeSelectors: RACK1 }), peer('b', { nodeSelectors: RACK2 })],
    nodes: [],
    says: ['error peer-conflict BGPPeer/b spec'],
  },

  'V-50 no IPv6 for a peer with echo mode': {
    objects: [DUAL, profile('echo', { echoMode: true }), peer('a', { bfdProfile: 'echo' }), bgp('all')],
    says: ['error bfd-echo-ipv6 BGPPeer/a spec.bfdProfile'],
    words: ['dual', '"all"', '"echo"'],
  },
  'V-50 advertisements to other peers and pools of IPv4 are fine': {
    objects: [
      DUAL,
      V4,
      profile('echo', { echoMode: true }),
      peer('a', { bfdProfile: 'echo' }),
      peer('b', { peerAddress: '192.0.2.1' }),
      bgp('dual', { ipAddressPools: ['dual'], peers: ['b'] }),
      bgp('v4', { ipAddressPools: ['v4'] }),
    ],
    says: [],
  },
  'V-51 profile names and aliases are unique': {
    objects: [
      profile('x'),
      profile('x', { detectMultiplier: 5 }),
      community('c', [
        { name: 'one', value: '1:1' },
        { name: 'one', value: '1:2' },
      ]),
      community('d', [{ name: 'one', value: '1:3' }, { value: '1:4' }]),
    ],
    says: [
      'error name-duplicate BFDProfile/x metadata.name',
      'error alias-duplicate Community/c spec.communities[1].name',
      'error alias-duplicate Community/d spec.communities[0].name',
      'error field-missing Community/d spec.communities[1].name',
    ],
    words: ['earlier in the same object', 'by the Community c'],
  },

  'fields of BFD profiles have ranges': {
    objects: [
      profile('a', {
        receiveInterval: 2,
        transmitInterval: 90000,
        detectMultiplier: 1,
        echoInterval: 9,
        minimumTtl: 255,
      }),
      profile('b', { receiveInterval: '300', echoMode: 'on', passiveMode: 1 }),
    ],
    says: [
      'error field-range BFDProfile/a spec.receiveInterval',
      'error field-range BFDProfile/a spec.transmitInterval',
      'error field-range BFDProfile/a spec.detectMultiplier',
      'error field-range BFDProfile/a spec.echoInterval',
      'error field-range BFDProfile/a spec.minimumTtl',
      'error field-type BFDProfile/b spec.receiveInterval',
      'error field-type BFDProfile/b spec.echoMode',
      'error field-type BFDProfile/b spec.passiveMode',
    ],
  },
} satisfies Record<string, Case>)

test('V-33 what the timers come to', () => {
  const cases: Readonly<
    Record<
      string,
      readonly [
        hold: string | undefined,
        keepalive: string | undefined,
        number | undefined,
        number | undefined,
      ]
    >
  > = {
    unset: [undefined, undefined, undefined, undefined],
    'hold only': ['90s', undefined, 90_000, 30_000],
    'keepalive only': [undefined, '10s', 30_000, 10_000],
    both: ['1m30s', '5s', 90_000, 5000],
    zero: ['0s', '0s', 0, 0],
    'hold zero': ['0s', undefined, 0, 0],
    'whole seconds': ['3.5s', '1s', 3000, 1000],
    'less than a second': ['500ms', undefined, 0, 0],
    'no keepalives, yet a hold time': ['9s', '0s', 9000, 3000],
  }
  for (const [name, [holdTime, keepaliveTime, hold, keepalive]] of Object.entries(cases)) {
    const [parsed] = accepted({ objects: [peer('p', { holdTime, keepaliveTime, connectTime: '15s' })] }).peers
    assert.deepEqual(
      [parsed?.holdTimeMs, parsed?.keepaliveTimeMs, parsed?.connectTimeMs],
      [hold, keepalive, 15_000],
      name,
    )
  }
})

test('V-33 durations are written as Go writes them', () => {
  const good = {
    '0': 0,
    '90s': 90_000,
    '1m30s': 90_000,
    '1.5h': 5_400_000,
    '.5s': 500,
    '1h2m3s4ms': 3_723_004,
    '-1s': -1000,
    '+2s': 2000,
    '10us': 0.01,
    '7µs': 0.007,
  }
  for (const [text, ms] of Object.entries(good)) assert.equal(parseDurationMs(text), ms, text)
  for (const text of ['', '90', '1d', 's', '1s ', ' 1s', '1 s', '--1s', '1e3s', '.s', '1.s.']) {
    assert.equal(parseDurationMs(text), undefined, text)
  }
})

test('V-34 the password is found for whoever opens the session, and is not in the configuration', () => {
  const peers = [
    peer('inline', { password: 'first' }),
    peer('secret', { passwordSecret: { name: 's' }, peerAddress: '192.0.2.1' }),
    peer('missing', { passwordSecret: { name: 'gone' }, peerAddress: '192.0.2.2' }),
    peer('open', { peerAddress: '192.0.2.3' }),
  ]
  const secret = {
    metadata: { name: 's', namespace: 'metallb-system' },
    type: 'kubernetes.io/basic-auth',
    data: { password: 'c2Vjb25kw7w=' },
  }
  assert.deepEqual(
    [...bgpPasswords(peers, [secret])],
    [
      ['inline', 'first'],
      ['secret', 'secondü'],
    ],
  )
  assert.deepEqual(secretFromObject(secret), SECRET)
  assert.equal(secretFromObject({ metadata: { name: 's' }, data: { password: '%' } }).hasPassword, false)
  assert.equal(secretFromObject({ metadata: { name: 's' }, stringData: { password: '' } }).hasPassword, true)
  const config = accepted({
    objects: [peers[0], peers[1], peers[3]].filter(item => item !== undefined),
    secrets: [SECRET],
  })
  assert.deepEqual(
    config.peers.map(({ password }) => password),
    [{ from: 'spec' }, undefined, { from: 'secret', namespace: 'metallb-system', name: 's' }],
  )
  assert.ok(!JSON.stringify(config).includes('first'))
})

test('what a peer says, and what it means when it says nothing', () => {
  const [full, least] = accepted({
    objects: [
      profile('p'),
      peer('a', {
        sourceAddress: '192.0.2.1',
        peerPort: 1179,
        routerID: '192.0.2.2',
        nodeSelectors: RACK2,
        bfdProfile: 'p',
        enableGracefulRestart: true,
        ebgpMultiHop: true,
        vrf: 'red',
        dualStackAddressFamily: true,
        localASN: 64500,
      }),
      { ...peer('b', { peerPort: 0 }), apiVersion: 'metallb.io/v1beta1' },
    ],
  }).peers
  assert.deepEqual(full, {
    name: 'a',
    nodes: new Set(['node-b', 'node-c']),
    myAsn: 64496,
    peerAsn: 64497,
    localAsn: 64500,
    target: { type: 'address', address: '192.0.2.254' },
    sourceAddress: '192.0.2.1',
    port: 1179,
    holdTimeMs: undefined,
    keepaliveTimeMs: undefined,
    connectTimeMs: undefined,
    routerId: '192.0.2.2',
    password: undefined,
    bfdProfile: 'p',
    gracefulRestart: true,
    ebgpMultiHop: true,
    vrf: 'red',
    dualStack: true,
  })
  assert.deepEqual(
    [least?.port, least?.nodes.size, least?.gracefulRestart, least?.dualStack],
    [179, 3, false, false],
  )
})

test('BFD profiles have the defaults of FRR', () => {
  assert.deepEqual(accepted({ objects: [object('BFDProfile', 'p', undefined)] }).bfdProfiles, [
    {
      name: 'p',
      receiveIntervalMs: 300,
      transmitIntervalMs: 300,
      detectMultiplier: 3,
      echoIntervalMs: 50,
      echoMode: false,
      passiveMode: false,
      minimumTtl: 254,
    },
  ])
})
