import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { KubeObject } from '../ports/kube.ts'
import { convertBgpPeer } from './conversion.ts'

const METADATA = { name: 'router', namespace: 'metallb-system', labels: { a: 'b' }, uid: '1' }
const old = (spec: unknown): KubeObject => ({
  apiVersion: 'metallb.io/v1beta1',
  kind: 'BGPPeer',
  metadata: METADATA,
  spec,
})
const current = (spec: unknown): KubeObject => ({ ...old(spec), apiVersion: 'metallb.io/v1beta2' })

const COMMON = {
  myASN: 64496,
  peerASN: 64497,
  peerAddress: '192.0.2.1',
  sourceAddress: '192.0.2.2',
  peerPort: 179,
  holdTime: '90s',
  keepaliveTime: '30s',
  routerID: '192.0.2.3',
  password: 'x',
  bfdProfile: 'fast',
  ebgpMultiHop: true,
  nodeSelectors: [
    { matchLabels: { rack: '1' } },
    { matchExpressions: [{ key: 'zone', operator: 'In', values: ['a', 'b'] }] },
  ],
}

test('what both versions have goes both ways unchanged', () => {
  assert.deepEqual(convertBgpPeer(old(COMMON), 'v1beta2'), current(COMMON))
  assert.deepEqual(convertBgpPeer(current(COMMON), 'v1beta1'), old(COMMON))
})

test('an object of the version asked for is returned as it is', () => {
  const odd = current({ anything: 1 })
  assert.equal(convertBgpPeer(odd, 'v1beta2'), odd)
})

test('down: what v1beta1 does not have is dropped', () => {
  const spec = {
    ...COMMON,
    localASN: 64500,
    passwordSecret: { name: 's' },
    connectTime: '10s',
    enableGracefulRestart: true,
    vrf: 'red',
    disableMP: false,
    dualStackAddressFamily: true,
  }
  assert.deepEqual(convertBgpPeer(current(spec), 'v1beta1'), old(COMMON))
})

test('down: what v1beta1 requires is there, if only as a zero', () => {
  const spec = { myASN: 64496, dynamicASN: 'external', interface: 'eth0' }
  assert.deepEqual(
    convertBgpPeer(current(spec), 'v1beta1'),
    old({ myASN: 64496, peerASN: 0, peerAddress: '' }),
  )
  const exists = { ...COMMON, nodeSelectors: [{ matchExpressions: [{ key: 'zone', operator: 'Exists' }] }] }
  const { nodeSelectors } = convertBgpPeer(current(exists), 'v1beta1')['spec'] as typeof COMMON
  assert.deepEqual(nodeSelectors, [{ matchExpressions: [{ key: 'zone', operator: 'Exists', values: [] }] }])
})

test('up: zeros mean "not set", and operators without values lose an empty list of them', () => {
  const spec = {
    myASN: 64496,
    peerASN: 64497,
    peerAddress: '192.0.2.1',
    peerPort: 0,
    sourceAddress: '',
    nodeSelectors: [{ matchExpressions: [{ key: 'zone', operator: 'Exists', values: [] }] }],
  }
  const { peerPort: _, sourceAddress: __, ...kept } = spec
  assert.deepEqual(
    convertBgpPeer(old(spec), 'v1beta2'),
    current({ ...kept, nodeSelectors: [{ matchExpressions: [{ key: 'zone', operator: 'Exists' }] }] }),
  )
})

test('property: down and up again changes nothing more, metadata and status are kept, and nothing throws', () => {
  const value = fc.oneof(
    fc.constantFrom('', 0, 1, 'x', null, true, [], {}, [{ matchExpressions: [{}, null] }]),
    fc.jsonValue(),
  )
  const spec = fc.dictionary(fc.constantFrom(...Object.keys(COMMON), 'vrf', 'interface'), value, {
    noNullPrototype: true,
  })
  fc.assert(
    fc.property(fc.oneof(spec, value), raw => {
      const object = { ...current(raw), status: { a: 1 } }
      const down = convertBgpPeer(object, 'v1beta1')
      const up = convertBgpPeer(down, 'v1beta2')
      assert.equal(down.apiVersion, 'metallb.io/v1beta1')
      assert.equal(up.metadata, METADATA)
      assert.deepEqual(up['status'], { a: 1 })
      assert.deepEqual(convertBgpPeer(convertBgpPeer(up, 'v1beta1'), 'v1beta2'), up)
    }),
  )
})
