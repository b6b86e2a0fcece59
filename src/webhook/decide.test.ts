import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { parseConfig } from '../config/parse.ts'
import type { KubeObject } from '../ports/kube.ts'
import { decide, type ReviewedKind, type ReviewResources } from './decide.ts'
import type { AdmissionRequest } from './envelope.ts'

const NAMESPACE = 'metallb-system'

const EMPTY: ReviewResources = {
  pools: [],
  l2Advertisements: [],
  bgpAdvertisements: [],
  bgpPeers: [],
  bfdProfiles: [],
  communities: [],
  nodes: [],
  namespaces: [],
}

function object(kind: string, name: string, spec: object, more: object = {}): KubeObject {
  const apiVersion = `metallb.io/${kind === 'BGPPeer' ? 'v1beta2' : 'v1beta1'}`
  return { apiVersion, kind, metadata: { namespace: NAMESPACE, name, ...more }, spec }
}

const pool = (name: string, ...addresses: string[]) => object('IPAddressPool', name, { addresses })
const peer = (name: string, spec: object = {}) =>
  object('BGPPeer', name, { myASN: 64512, peerASN: 64513, peerAddress: '192.0.2.1', ...spec })

function review(
  operation: AdmissionRequest['operation'],
  reviewed: KubeObject,
  oldObject?: KubeObject,
): AdmissionRequest {
  const { namespace = '', name } = reviewed.metadata
  const kind = String(reviewed.kind)
  return operation === 'DELETE'
    ? { uid: 'u', operation, kind, namespace, name, object: undefined, oldObject: reviewed }
    : { uid: 'u', operation, kind, namespace, name, object: reviewed, oldObject }
}

function verdict(request: AdmissionRequest, resources: Partial<ReviewResources> = {}) {
  return decide(request, request.kind as ReviewedKind, { ...EMPTY, ...resources }, NAMESPACE)
}

const ALLOWED = { allowed: true, message: '', warnings: [] }

/** Kind by kind: a good one, and one that is denied with words that hold these. */
const CASES: readonly {
  readonly name: string
  readonly reviewed: KubeObject
  readonly resources?: Partial<ReviewResources>
  readonly denied?: RegExp
  readonly warned?: RegExp
}[] = [
  { name: 'a good pool', reviewed: pool('a', '192.0.2.0/28') },
  { name: 'V-11: a pool with a bare address', reviewed: pool('a', '192.0.2.1'), denied: /192\.0\.2\.1\/32/ },
  {
    name: 'V-16: a pool that overlaps another, which comes later in the order of addresses',
    reviewed: pool('a', '192.0.2.0/24'),
    resources: { pools: [pool('b', '192.0.2.16/28')] },
    denied: /^IPAddressPool b: .*overlaps.*pool a/,
  },
  {
    name: 'V-16: a pool that overlaps another, which comes first',
    reviewed: pool('b', '192.0.2.16/28'),
    resources: { pools: [pool('a', '192.0.2.0/24')] },
    denied: /^192\.0\.2\.16\/28 overlaps.*pool a/,
  },
  {
    name: 'a pool while two others overlap each other',
    reviewed: pool('c', '198.51.100.0/24'),
    resources: { pools: [pool('a', '192.0.2.0/24'), pool('b', '192.0.2.16/28')] },
  },
  {
    name: 'a pool that makes an advertisement wrong (not covered in MetalLB, 1.3)',
    reviewed: pool('a', '192.0.2.0/28'),
    resources: { bgpAdvertisements: [object('BGPAdvertisement', 'x', { aggregationLength: 24 })] },
    warned: /^BGPAdvertisement x: /,
  },
  { name: 'a good L2Advertisement', reviewed: object('L2Advertisement', 'x', {}) },
  {
    name: 'V-4: an L2Advertisement with a selector twice',
    reviewed: object('L2Advertisement', 'x', {
      nodeSelectors: [{ matchLabels: { a: 'b' } }, { matchLabels: { a: 'b' } }],
    }),
    denied: /nodeSelectors/,
  },
  {
    name: 'an L2Advertisement for a pool that is yet to come',
    reviewed: object('L2Advertisement', 'x', { ipAddressPools: ['a'] }),
    warned: /no pool named "a"/,
  },
  { name: 'a good BGPAdvertisement', reviewed: object('BGPAdvertisement', 'x', { localPref: 10 }) },
  {
    name: 'V-22: a BGPAdvertisement wider than its pool',
    reviewed: object('BGPAdvertisement', 'x', { aggregationLength: 24 }),
    resources: { pools: [pool('a', '192.0.2.0/28')] },
    denied: /24/,
  },
  {
    name: 'V-23: two local preferences for one pool',
    reviewed: object('BGPAdvertisement', 'x', { localPref: 10 }),
    resources: {
      pools: [pool('a', '192.0.2.0/28')],
      bgpAdvertisements: [object('BGPAdvertisement', 'y', { localPref: 20 })],
    },
    denied: /localPref|preference/i,
  },
  {
    name: 'a BGPAdvertisement with an alias that is yet to come (V-2, forgiven)',
    reviewed: object('BGPAdvertisement', 'x', { communities: ['no-export'] }),
    warned: /no-export/,
  },
  {
    name: 'V-27: a BGPAdvertisement with a community that is too large',
    reviewed: object('BGPAdvertisement', 'x', { communities: ['99999:1'] }),
    denied: /99999:1/,
  },
  { name: 'a good BGPPeer', reviewed: peer('p') },
  { name: 'V-30: a BGPPeer without AS number', reviewed: peer('p', { myASN: 0 }), denied: /myASN/ },
  {
    name: 'a BGPPeer with a BFDProfile that is yet to come (V-35, forgiven)',
    reviewed: peer('p', { bfdProfile: 'fast' }),
    warned: /fast/,
  },
  {
    name: 'a BGPPeer with a Secret that is yet to come (V-34, forgiven)',
    reviewed: peer('p', { passwordSecret: { name: 's' } }),
  },
  {
    name: 'V-34: a BGPPeer with two passwords',
    reviewed: peer('p', { password: 'x', passwordSecret: { name: 's' } }),
    denied: /password/,
  },
  {
    name: 'V-36: a BGPPeer like another',
    reviewed: peer('p'),
    resources: { bgpPeers: [peer('o')] },
    denied: /BGPPeer|peer/,
  },
  {
    name: 'Q-27: a BGPPeer with disableMP is checked like any other',
    reviewed: peer('p', { disableMP: true, myASN: 0 }),
    denied: /myASN/,
    warned: /disableMP/,
  },
  { name: 'a good BFDProfile', reviewed: object('BFDProfile', 'f', { receiveInterval: 300 }) },
  {
    name: 'a BFDProfile out of range',
    reviewed: object('BFDProfile', 'f', { receiveInterval: 2 }),
    denied: /receiveInterval/,
  },
  {
    name: 'a good Community',
    reviewed: object('Community', 'c', { communities: [{ name: 'n', value: '64512:1' }] }),
  },
  {
    name: 'V-51: a Community with the alias of another',
    reviewed: object('Community', 'c', { communities: [{ name: 'n', value: '64512:1' }] }),
    resources: {
      communities: [object('Community', 'd', { communities: [{ name: 'n', value: '64512:2' }] })],
    },
    denied: /"n"/,
  },
]
for (const { name, reviewed, resources, denied, warned } of CASES) {
  for (const operation of ['CREATE', 'UPDATE'] as const) {
    test(`${operation}: ${name}`, () => {
      const old = operation === 'UPDATE' ? { ...reviewed, spec: { old: true } } : undefined
      const { allowed, message, warnings } = verdict(review(operation, reviewed, old), resources)
      if (denied === undefined) assert.deepEqual({ allowed, message }, { allowed: true, message: '' })
      else {
        assert.equal(allowed, false)
        assert.match(message, denied)
      }
      if (warned === undefined) assert.deepEqual(warnings, [])
      else
        assert(
          warnings.some(warning => warned.test(warning)),
          warnings.join('\n'),
        )
    })
  }
}

test('an object of the same name is replaced, not compared with', () => {
  const before = pool('a', '192.0.2.0/28')
  const after = pool('a', '192.0.2.0/27')
  assert.deepEqual(verdict(review('UPDATE', after, before), { pools: [before] }), ALLOWED)
})

test('every reason is given, not only the first', () => {
  const { message } = verdict(review('CREATE', pool('a', '192.0.2.1', '192.0.2.9-192.0.2.2')))
  assert.match(message, /192\.0\.2\.1\/32.*; .*192\.0\.2\.2-192\.0\.2\.9/)
})

test('elsewhere: creating is denied, updating is not, and says that nobody reads it', () => {
  const elsewhere = object('BGPPeer', 'p', { disableMP: true }, { namespace: 'default' })
  const created = verdict(review('CREATE', elsewhere))
  assert.equal(created.allowed, false)
  assert.match(created.message, /namespace metallb-system.*default/)
  const updated = verdict(review('UPDATE', elsewhere, { ...elsewhere, spec: {} }))
  assert.deepEqual(updated, { allowed: true, message: '', warnings: [created.message] })
})

test('a broken object may be annotated and may lose its finalizers, but not be changed to another broken one', () => {
  const broken = pool('a', 'nonsense')
  const resources = { pools: [broken] }
  const annotated = { ...broken, metadata: { ...broken.metadata, annotations: { a: 'b' } } }
  assert.deepEqual(verdict(review('UPDATE', annotated, broken), resources), ALLOWED)
  const deleted = { ...pool('a', 'other'), metadata: { ...broken.metadata, deletionTimestamp: 'now' } }
  assert.deepEqual(verdict(review('UPDATE', deleted, broken), resources), ALLOWED)
  assert.equal(verdict(review('UPDATE', pool('a', 'other nonsense'), broken), resources).allowed, false)
  assert.equal(verdict(review('UPDATE', pool('a', '192.0.2.0/28'), broken), resources).allowed, true)
})

test('labels decide too: they may make an advertisement select a pool', () => {
  const before = pool('a', '192.0.2.0/28')
  const after = { ...before, metadata: { ...before.metadata, labels: { a: 'b' } } }
  const selecting = object('BGPAdvertisement', 'x', {
    aggregationLength: 24,
    ipAddressPoolSelectors: [{ matchLabels: { a: 'b' } }],
  })
  const { warnings } = verdict(review('UPDATE', after, before), {
    pools: [before],
    bgpAdvertisements: [selecting],
  })
  assert.equal(warnings.length, 1)
})

test('DELETE: a BFDProfile in use stays, all else may go', () => {
  const profile = object('BFDProfile', 'fast', {})
  const bgpPeers = [peer('q', { bfdProfile: 'fast' }), peer('p', { bfdProfile: 'fast' }), peer('r')]
  const used = verdict(review('DELETE', profile), { bfdProfiles: [profile], bgpPeers })
  assert.equal(used.allowed, false)
  assert.match(used.message, /BFDProfile fast is used by BGPPeers p, q;/)
  assert.deepEqual(
    verdict(review('DELETE', profile), { bfdProfiles: [profile], bgpPeers: [peer('r')] }),
    ALLOWED,
  )
  const elsewhere = { ...profile, metadata: { ...profile.metadata, namespace: 'default' } }
  assert.deepEqual(verdict(review('DELETE', elsewhere), { bgpPeers }), ALLOWED)
  assert.deepEqual(verdict(review('DELETE', pool('a', '192.0.2.0/28')), {}), ALLOWED)
})

test('an object that has no name yet', () => {
  const unnamed = {
    ...pool('', '192.0.2.0/28'),
    metadata: { namespace: NAMESPACE, name: '', generateName: 'pool-' },
  }
  assert.deepEqual(verdict(review('CREATE', unnamed)), ALLOWED)
})

test('total: any spec of any kind gets a verdict; denied exactly when the parser refuses it alone', () => {
  const kinds: ReviewedKind[] = [
    'IPAddressPool',
    'L2Advertisement',
    'BGPAdvertisement',
    'BGPPeer',
    'BFDProfile',
    'Community',
  ]
  const lists = {
    IPAddressPool: 'pools',
    L2Advertisement: 'l2Advertisements',
    BGPAdvertisement: 'bgpAdvertisements',
    BGPPeer: 'bgpPeers',
    BFDProfile: 'bfdProfiles',
    Community: 'communities',
  } as const
  const fields = [
    'addresses',
    'myASN',
    'peerAddress',
    'communities',
    'ipAddressPools',
    'nodeSelectors',
    'echoMode',
  ]
  const spec = fc.oneof(fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()), fc.jsonValue())
  fc.assert(
    fc.property(fc.constantFrom(...kinds), spec, (kind, spec) => {
      const reviewed = { ...object(kind, 'x', {}), spec }
      const { allowed } = verdict(review('CREATE', reviewed))
      const parsed = parseConfig({ ...EMPTY, [lists[kind]]: [reviewed] })
      const refused = 'problems' in parsed && parsed.problems.some(({ severity }) => severity === 'error')
      assert.equal(allowed, !refused)
    }),
  )
})
