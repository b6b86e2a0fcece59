// A bad object is refused with the same sentences everywhere: by the admission webhook, and by `lodestone validate`.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { crdSchemas } from '../../src/cli/crd-schemas.ts'
import { validateObjects } from '../../src/cli/validate.ts'
import type { KubeObject } from '../../src/ports/kube.ts'
import { decide, REVIEWED, type ReviewedKind, type ReviewResources } from '../../src/webhook/decide.ts'

const NAMESPACE = 'metallb-system'
const SCHEMAS = crdSchemas()
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

function object(kind: ReviewedKind, name: string, spec: object, version = 'v1beta1'): KubeObject {
  return { apiVersion: `metallb.io/${version}`, kind, metadata: { namespace: NAMESPACE, name }, spec }
}

const pool = (name: string, ...addresses: string[]) => object('IPAddressPool', name, { addresses })
const peer = (name: string, spec: object) =>
  object('BGPPeer', name, { myASN: 64512, peerASN: 64513, peerAddress: '192.0.2.1', ...spec }, 'v1beta2')
const twice = [{ matchLabels: { a: 'b' } }, { matchLabels: { a: 'b' } }]

/** What is there already, and what comes. */
const CASES: readonly (readonly [name: string, present: readonly KubeObject[], coming: KubeObject])[] = [
  ['V-10', [], pool('p')],
  ['V-11', [], pool('p', '192.0.2.1', ' 192.0.2.0/24')],
  ['V-12', [], pool('p', '192.0.2.9-192.0.2.1', '192.0.2.1-x')],
  ['V-15', [], pool('p', '192.0.2.1-2001:db8::1')],
  ['V-16', [pool('a', '192.0.2.0/24')], pool('p', '192.0.2.0/28')],
  ['V-4', [], object('L2Advertisement', 'x', { nodeSelectors: twice, ipAddressPoolSelectors: twice })],
  ['V-5', [], object('L2Advertisement', 'x', { ipAddressPools: ['a', 'a'] })],
  ['V-21', [], object('BGPAdvertisement', 'x', { aggregationLength: 33 })],
  ['V-22', [pool('a', '192.0.2.0/28')], object('BGPAdvertisement', 'x', { aggregationLength: 24 })],
  ['V-27', [], object('BGPAdvertisement', 'x', { communities: ['99999:1', 'large:1:x:3', 'alias'] })],
  ['V-30', [], peer('p', { myASN: 0, dynamicASN: 'sideways' })],
  ['V-31', [], peer('p', { myASN: 64513, ebgpMultiHop: true })],
  ['V-32', [], peer('p', { interface: 'eth0', routerID: 'here' })],
  ['V-33', [], peer('p', { holdTime: '2s' })],
  ['V-34', [], peer('p', { password: 'x', passwordSecret: { name: 's' } })],
  ['V-35, forgiven', [], peer('p', { bfdProfile: 'fast' })],
  ['V-36', [peer('a', {})], peer('p', {})],
  ['BFD ranges', [], object('BFDProfile', 'f', { receiveInterval: 2, minimumTtl: 255 })],
  [
    'V-51',
    [object('Community', 'a', { communities: [{ name: 'n', value: '1:1' }] })],
    object('Community', 'c', { communities: [{ name: 'n', value: '1:2' }] }),
  ],
]

function webhook(present: readonly KubeObject[], coming: KubeObject) {
  const kind = coming.kind as ReviewedKind
  const lists = Object.entries(REVIEWED).map(([kind, list]) => [
    list,
    present.filter(object => object.kind === kind),
  ])
  const resources = { ...EMPTY, ...(Object.fromEntries(lists) as Partial<ReviewResources>) }
  const { name } = coming.metadata
  return decide(
    { uid: 'u', operation: 'CREATE', kind, namespace: NAMESPACE, name, object: coming, oldObject: undefined },
    kind,
    resources,
    NAMESPACE,
  )
}

/** Without what the schema alone refuses, which the API server says before it asks, and without Secrets, which webhooks do not read. */
function validate(present: readonly KubeObject[], coming: KubeObject) {
  return validateObjects([...present, coming], { namespace: NAMESPACE, schemas: SCHEMAS }).filter(
    ({ code, message }) => !message.startsWith('the API server refuses') && code !== 'secret-missing',
  )
}

for (const [name, present, coming] of CASES) {
  test(`the same sentences: ${name}`, () => {
    const { allowed, message, warnings } = webhook(present, coming)
    const found = validate(present, coming)
    const errors = found.filter(({ severity }) => severity === 'error')
    assert(found.length > 0)
    assert.equal(allowed, errors.length === 0)
    assert.equal(message, errors.map(problem => problem.message).join('; '))
    const others = found.filter(({ severity }) => severity !== 'error')
    assert.deepEqual([...warnings].sort(), others.map(problem => problem.message).sort())
  })
}

test('every example that validates is let through, in any order', () => {
  const folder = fileURLToPath(new URL('../../../examples', import.meta.url))
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(file =>
    file.endsWith('.yaml'),
  )
  let reviewed = 0
  for (const file of files) {
    const objects = parseAllDocuments(readFileSync(join(folder, file), 'utf8'))
      .map(document => document.toJS() as KubeObject | null)
      .filter((item): item is KubeObject => item?.kind !== undefined && item.kind in REVIEWED)
    for (const order of [objects, objects.toReversed()]) {
      const present: KubeObject[] = []
      for (const object of order) {
        const { allowed, message } = webhook(present, object)
        assert(allowed, `${file}: ${message}`)
        present.push(object)
        reviewed++
      }
    }
  }
  assert(reviewed >= 4, String(reviewed))
})
