import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RESOURCES } from '../../ports/kube.ts'
import { FakeKube } from '../../ports/kube-fake.ts'
import { EXAMPLES_FOLDER } from './deploy.ts'
import { applyManifests, parseManifests, readManifests } from './manifests.ts'
import { pause, waitUntil } from './wait.ts'

const TEXT = `
# A comment alone is no object.
---
apiVersion: v1
kind: Service
metadata: { name: web }
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: { name: lan, namespace: metallb-system }
spec: { addresses: [192.0.2.100-192.0.2.199] }
`

test('each document is an object, in order', () => {
  assert.deepEqual(
    parseManifests('a.yaml', TEXT).map(({ resource, object }) => [resource.plural, object.metadata.name]),
    [
      ['services', 'web'],
      ['ipaddresspools', 'lan'],
    ],
  )
})

for (const [what, text, message] of [
  [
    'another version of a kind',
    'apiVersion: v2\nkind: Service\nmetadata: {name: a}',
    /a\.yaml: Service of v2 is not known/,
  ],
  ['no YAML', 'a: [', /^a\.yaml: /],
] as const) {
  test(`refused: ${what}`, () => {
    assert.throws(() => parseManifests('a.yaml', text), { name: 'LabError', code: 'bad-argument', message })
  })
}

test('the examples hold a pool, an advertisement, a Deployment and a Service of each policy', () => {
  const kinds = readManifests(EXAMPLES_FOLDER).map(({ object }) => object.kind ?? '')
  assert.deepEqual(
    kinds.toSorted((a, b) => a.localeCompare(b)),
    ['Deployment', 'IPAddressPool', 'L2Advertisement', 'Service', 'Service'],
  )
})

test('objects without a namespace go to default', async () => {
  const kube = new FakeKube()
  const manifests = parseManifests('a.yaml', TEXT)
  await applyManifests(kube, manifests, 'test')
  await applyManifests(kube, manifests, 'test')
  const [web, ...rest] = await kube.list(RESOURCES.services)
  assert.deepEqual([web?.metadata.namespace, web?.metadata.name, rest.length], ['default', 'web', 0])
  assert.equal((await kube.list(RESOURCES.ipAddressPools, { namespace: 'metallb-system' })).length, 1)
})

test('waiting ends when nothing is missing, and says what was', async () => {
  let looks = 0
  const missing = (): Promise<string | undefined> => Promise.resolve(++looks < 3 ? 'a pod' : undefined)
  await waitUntil('all', missing, { withinMs: 10_000, everyMs: 1 })
  assert.equal(looks, 3)
  await assert.rejects(
    waitUntil('all', () => Promise.resolve('a pod'), { withinMs: -1 }),
    {
      name: 'LabError',
      message: /^all: not within .* s: a pod$/,
    },
  )
})

test('waiting ends with the signal', async () => {
  const reason = new Error('enough')
  const abort = new AbortController()
  const waiting = waitUntil('all', () => Promise.resolve('a pod'), {
    withinMs: 60_000,
    everyMs: 60_000,
    signal: abort.signal,
  })
  abort.abort(reason)
  await assert.rejects(waiting, reason)
  await assert.rejects(pause(60_000, abort.signal), reason)
})
