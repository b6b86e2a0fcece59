import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { plan } from '../src/allocator/allocator.ts'
import { parseConfig } from '../src/config/parse.ts'
import { serviceFromObject } from '../src/config/services.ts'
import type { KubeObject } from '../src/ports/kube.ts'

const ROOT = new URL('../../', import.meta.url)

function objectsIn(folder: string): KubeObject[] {
  const files = readdirSync(new URL(`${folder}/`, ROOT)).filter(name => name.endsWith('.yaml'))
  assert.ok(files.length > 0, `no manifests in ${folder}`)
  return files.flatMap(name =>
    parseAllDocuments(readFileSync(new URL(`${folder}/${name}`, ROOT), 'utf8')).map(document => {
      assert.deepEqual(document.errors, [], name)
      return document.toJS() as KubeObject
    }),
  )
}

test('the examples are a valid configuration without warnings, and their Services get addresses', () => {
  const objects = objectsIn('examples')
  const ofKind = (kind: string) => objects.filter(object => object.kind === kind)
  const parsed = parseConfig({
    pools: ofKind('IPAddressPool'),
    l2Advertisements: ofKind('L2Advertisement'),
    nodes: [],
    namespaces: [],
  })
  assert.ok('config' in parsed, JSON.stringify(parsed))
  assert.deepEqual(parsed.warnings, [])
  const services = ofKind('Service').map(object => {
    // What the API server fills in on a dual-stack cluster.
    const clusterIPs = ['10.96.0.9', 'fd00:96::9']
    return serviceFromObject({ ...object, spec: { ...(object['spec'] as object), clusterIPs } })
  })
  assert.deepEqual(
    plan(parsed.config, services).map(({ service, ips }) => [service, ips]),
    [
      ['default/web-cluster', ['192.0.2.100', '2001:db8:0:1::100']],
      ['default/web-local', ['192.0.2.101', '2001:db8:0:1::101']],
    ],
  )
})

test('every metallb.io definition names itself by group and plural, and has a status', () => {
  const definitions = objectsIn('deploy/crds').filter(({ metadata }) => metadata.name.endsWith('.metallb.io'))
  assert.ok(definitions.length >= 3)
  for (const definition of definitions) {
    const spec = definition['spec'] as {
      group: string
      names: { plural: string }
      versions: { name: string; storage: boolean; subresources?: { status?: unknown } }[]
    }
    assert.equal(definition.metadata.name, `${spec.names.plural}.${spec.group}`)
    assert.equal(spec.versions.filter(({ storage }) => storage).length, 1)
    for (const { subresources } of spec.versions) assert.ok(subresources?.status !== undefined)
  }
})
