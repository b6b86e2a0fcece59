// The definitions in deploy/crds: what a real API server demands of them, and that they take what they should.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { crdSchemas, readCrds, schemaProblems } from '../../src/cli/crd-schemas.ts'
import { parseManifests } from '../../src/cli/manifests.ts'
import type { KubeObject } from '../../src/ports/kube.ts'
import { bgp, object, peer, pool, profile } from './config-cases.ts'

type Node = Readonly<Record<string, unknown>>
type Column = {
  readonly name: string
  readonly type: string
  readonly jsonPath: string
  readonly priority?: number
}
type Version = {
  readonly name: string
  readonly served: boolean
  readonly storage: boolean
  readonly deprecated?: boolean
  readonly subresources?: { readonly status?: unknown }
  readonly additionalPrinterColumns?: readonly Column[]
  readonly schema: { readonly openAPIV3Schema: Node }
}
type Spec = {
  readonly group: string
  readonly scope: string
  readonly names: {
    readonly kind: string
    readonly listKind: string
    readonly plural: string
    readonly singular: string
  }
  readonly versions: readonly Version[]
}

const DEFINITIONS = readCrds()
const SPECS = DEFINITIONS.map(definition => definition['spec'] as Spec)
const SCHEMAS = crdSchemas(DEFINITIONS)

/** Kind and version to the columns that kubectl shows. */
const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  'IPAddressPool v1beta1': ['Auto Assign', 'Avoid Buggy IPs', 'Addresses'],
  'L2Advertisement v1beta1': ['IPAddressPools', 'IPAddressPool Selectors', 'Interfaces', 'Node Selectors'],
  'BGPAdvertisement v1beta1': ['IPAddressPools', 'IPAddressPool Selectors', 'Peers', 'Node Selectors'],
  'BGPPeer v1beta1': ['Address', 'ASN', 'BFD Profile', 'Multi Hops'],
  'BGPPeer v1beta2': ['Address', 'ASN', 'BFD Profile', 'Multi Hops'],
  'BFDProfile v1beta1': ['Passive Mode', 'Transmit Interval', 'Receive Interval', 'Multiplier'],
  'Community v1beta1': [],
  'ServiceL2Status v1beta1': ['Allocated Node', 'Service Name', 'Service Namespace'],
  'ServiceBGPStatus v1beta1': ['Node', 'Service Name', 'Service Namespace'],
  'ConfigurationState v1beta1': ['Result', 'ErrorSummary', 'Age'],
}

test('the nine kinds with their versions and columns', () => {
  const columns = SPECS.flatMap(({ names, versions }) =>
    versions.map(({ name, additionalPrinterColumns = [] }) => [
      `${names.kind} ${name}`,
      additionalPrinterColumns.map(column => column.name),
    ]),
  )
  assert.deepEqual(Object.fromEntries(columns), COLUMNS)
  assert.equal(new Set(SPECS.map(({ names }) => names.kind)).size, 9)
})

for (const [index, spec] of SPECS.entries()) {
  const name = DEFINITIONS[index]?.metadata.name
  const { group, scope, names, versions } = spec
  test(`${name} is a definition that an API server takes`, () => {
    assert.equal(name, `${names.plural}.${group}`)
    assert.equal(scope, 'Namespaced')
    assert.equal(names.listKind, `${names.kind}List`)
    assert.equal(names.singular, names.kind.toLowerCase())
    assert.equal(versions.filter(({ storage }) => storage).length, 1)
    for (const version of versions) {
      assert.ok(version.served)
      assert.deepEqual(version.subresources?.status, {})
      for (const { type, jsonPath } of version.additionalPrinterColumns ?? []) {
        assert.ok(['string', 'boolean', 'integer', 'date'].includes(type), type)
        const path = jsonPath.split('.').slice(1)
        assert.ok(
          path[0] === 'metadata' || fieldAt(version.schema.openAPIV3Schema, path) !== undefined,
          `${jsonPath} is no field`,
        )
      }
      const found: string[] = []
      checkStructure(version.schema.openAPIV3Schema, version.name, found)
      assert.deepEqual(found, [])
    }
  })
}

function fieldAt(schema: Node, path: readonly string[]): Node | undefined {
  return path.reduce<Node | undefined>(
    (at, name) => (at?.['properties'] as Record<string, Node>)?.[name],
    schema,
  )
}

const ALLOWED = new Set([
  'type',
  'description',
  'properties',
  'additionalProperties',
  'items',
  'required',
  'enum',
  'default',
  'format',
  'pattern',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'minItems',
  'x-kubernetes-validations',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'x-kubernetes-map-type',
])

/** Rules of structural schemas (the chapter on them in Kubernetes' documentation of custom resources). */
function checkStructure(schema: Node, path: string, found: string[]): void {
  const say = (what: string) => found.push(`${path}: ${what}`)
  for (const keyword of Object.keys(schema)) if (!ALLOWED.has(keyword)) say(`the keyword ${keyword}`)
  const { type, properties, items, additionalProperties } = schema
  if (!['object', 'array', 'string', 'integer', 'boolean'].includes(String(type)))
    say(`the type ${String(type)}`)
  if (type === 'array' && (typeof items !== 'object' || items === null || Array.isArray(items)))
    say('no items')
  if (type !== 'array' && items !== undefined) say('items')
  if (type !== 'object' && (properties !== undefined || additionalProperties !== undefined)) say('properties')
  if (properties !== undefined && additionalProperties !== undefined)
    say('properties and additionalProperties')
  if (additionalProperties === false) say('additionalProperties false')
  for (const name of (schema['required'] ?? []) as string[]) {
    if ((properties as Node)[name] === undefined) say(`requires ${name}, which is no property`)
  }
  for (const rule of (schema['x-kubernetes-validations'] ?? []) as Node[]) {
    if (typeof rule['rule'] !== 'string' || rule['rule'] === '' || rule['message'] === '')
      say('a rule without text')
  }
  if (schema['x-kubernetes-list-type'] === 'map') {
    for (const key of schema['x-kubernetes-list-map-keys'] as string[]) {
      if (!((items as Node)['required'] as string[]).includes(key)) say(`the key ${key} is not required`)
    }
  }
  const fields = Object.entries((properties ?? {}) as Record<string, Node>)
  for (const [name, child] of fields) {
    const isEnvelope =
      !path.includes('.') && ['apiVersion', 'kind', 'metadata', 'spec', 'status'].includes(name)
    if (!isEnvelope && child['description'] === undefined && !path.endsWith('interfaces[]')) {
      say(`${name} has no description`)
    }
    checkStructure(child, `${path}.${name}`, found)
  }
  if (typeof items === 'object' && items !== null) checkStructure(items as Node, `${path}[]`, found)
  if (typeof additionalProperties === 'object')
    checkStructure(additionalProperties as Node, `${path}{}`, found)
}

test('the structure check finds what an API server refuses', () => {
  const found: string[] = []
  const bad = {
    type: 'object',
    required: ['b'],
    properties: { a: { description: 'x', oneOf: [] }, c: { type: 'array' } },
  }
  checkStructure(bad, 'x', found)
  assert.deepEqual(found, [
    'x: requires b, which is no property',
    'x.a: the keyword oneOf',
    'x.a: the type undefined',
    'x: c has no description',
    'x.c: no items',
  ])
})

test('the rules that the API server runs', () => {
  const rules: string[] = []
  const walk = (node: unknown, path: string) => {
    if (typeof node !== 'object' || node === null) return
    for (const [key, value] of Object.entries(node)) {
      if (key === 'x-kubernetes-validations') {
        for (const { rule } of value as { rule: string }[]) rules.push(`${path}: ${rule}`)
      } else walk(value, key === 'properties' || key === 'openAPIV3Schema' ? path : `${path}.${key}`)
    }
  }
  for (const { names, versions } of SPECS) for (const { schema } of versions) walk(schema, names.kind)
  const same = ['node', 'serviceName', 'serviceNamespace'].map(name => `.status.${name}: self == oldSelf`)
  assert.deepEqual(rules, [
    'BGPAdvertisement.spec: !has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || ' +
      '((!has(self.aggregationLength) || self.aggregationLength == 32) && ' +
      '(!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))',
    'BGPPeer.spec.connectTime: duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535',
    'BGPPeer.spec.connectTime: duration(self).getMilliseconds() % 1000 == 0',
    'BGPPeer.spec.enableGracefulRestart: self == oldSelf',
    ...same.map(rule => `ServiceBGPStatus${rule}`),
    ...same.map(rule => `ServiceL2Status${rule}`),
  ])
})

/** What the schema says about an object, as `field reason`. */
const said = (item: KubeObject) =>
  schemaProblems(item, SCHEMAS).map(({ field, reason }) => `${field} ${reason}`)
const oldPeer = (spec: object) => ({ ...object('BGPPeer', 'p', spec), apiVersion: 'metallb.io/v1beta1' })

const REFUSED: readonly (readonly [KubeObject, ...string[]])[] = [
  [object('IPAddressPool', 'p', undefined), 'spec FieldValueRequired'],
  [object('IPAddressPool', 'p', {}), 'spec.addresses FieldValueRequired'],
  [pool('p', ['192.0.2.0/24'], { autoAssign: 'yes' }), 'spec.autoAssign FieldValueTypeInvalid'],
  [bgp('a', { aggregationLength: 0 }), 'spec.aggregationLength FieldValueInvalid'],
  [bgp('a', { localPref: 4294967296 }), 'spec.localPref FieldValueInvalid'],
  [object('BGPPeer', 'p', {}), 'spec.myASN FieldValueRequired'],
  [peer('p', { peerPort: 0 }), 'spec.peerPort FieldValueInvalid'],
  [peer('p', { peerPort: 16385 }), 'spec.peerPort FieldValueInvalid'],
  [peer('p', { dynamicASN: 'other' }), 'spec.dynamicASN FieldValueNotSupported'],
  [peer('p', { localASN: 0 }), 'spec.localASN FieldValueInvalid'],
  [oldPeer({ myASN: 1 }), 'spec.peerASN FieldValueRequired', 'spec.peerAddress FieldValueRequired'],
  [
    oldPeer({
      myASN: 1,
      peerASN: 2,
      peerAddress: '',
      nodeSelectors: [{ matchExpressions: [{ key: 'a', operator: 'In', values: [] }] }],
    }),
    'spec.nodeSelectors[0].matchExpressions[0].values FieldValueInvalid',
  ],
  [profile('b', { receiveInterval: 9 }), 'spec.receiveInterval FieldValueInvalid'],
  [profile('b', { detectMultiplier: 256 }), 'spec.detectMultiplier FieldValueInvalid'],
  [profile('b', { minimumTtl: 255 }), 'spec.minimumTtl FieldValueInvalid'],
  [object('Community', 'c', { communities: ['1:2'] }), 'spec.communities[0] FieldValueTypeInvalid'],
]
for (const [item, ...expected] of REFUSED) {
  test(`the schema refuses a ${item.kind} of ${item.apiVersion} for ${expected.join(' and ')}`, () => {
    assert.deepEqual(said(item), expected)
  })
}

test('the schema takes AS numbers of 32 bit, port 0 of the older version, and kinds without a spec', () => {
  for (const item of [
    peer('p', { myASN: 4294967295, peerASN: 4294967295, localASN: 4294967295 }),
    oldPeer({ myASN: 0, peerASN: 0, peerAddress: '', peerPort: 0 }),
    ...['L2Advertisement', 'BGPAdvertisement', 'BGPPeer', 'BFDProfile', 'Community'].map(kind =>
      object(kind, 'x', undefined),
    ),
    peer('p', { passwordSecret: {}, holdTime: null }),
    bgp('a', { aggregationLengthV6: 0, localPref: 4294967295 }),
  ]) {
    assert.deepEqual(said(item), [], JSON.stringify(item))
  }
})

test('the schemas take every example', () => {
  const root = new URL('../../../examples/', import.meta.url)
  const files = readdirSync(root, { recursive: true })
    .map(String)
    .filter(name => name.endsWith('.yaml'))
  const objects = files.flatMap(name => parseManifests(readFileSync(new URL(name, root), 'utf8'), name))
  const ours = objects.filter(({ apiVersion }) => apiVersion?.startsWith('metallb.io/'))
  assert.ok(ours.length >= 30, `${ours.length} objects`)
  for (const item of ours) {
    assert.ok(SCHEMAS.has(`${item.apiVersion}/${item.kind}`), `${item.apiVersion} ${item.kind}`)
    assert.deepEqual(said(item), [], item.metadata.name)
  }
})
