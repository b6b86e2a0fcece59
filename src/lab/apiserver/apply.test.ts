import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeLog } from '../../ports/log.ts'
import { type Cluster, makeCluster } from './cluster.ts'
import { at, clone } from './objects.ts'
import type { ResourceType } from './resource-type.ts'
import type { WriteOptions, Written } from './writer.ts'

function setUp(): { cluster: Cluster; services: ResourceType } {
  const cluster = makeCluster({
    serviceCidrs: ['10.96.0.0/16'],
    wallNow: () => Date.UTC(2026, 0, 1),
    log: new FakeLog(),
    watchWindow: 100,
  })
  const services = cluster.registry.find('', 'v1', 'services')
  assert.ok(services)
  return { cluster, services }
}

const as = (fieldManager: string): WriteOptions => ({
  dryRun: false,
  fieldManager,
  fieldValidation: 'Strict',
  user: 'test',
  warnings: [],
})

const service = (spec: object, labels?: object): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 's', ...(labels === undefined ? {} : { labels }) },
  spec,
})
const PORT_80 = { port: 80, name: 'http' }
const PORT_443 = { port: 443, name: 'https' }

function applier(force = false): {
  apply: (manager: string, body: object, force?: boolean) => Written
  cluster: Cluster
  services: ResourceType
} {
  const { cluster, services } = setUp()
  return {
    cluster,
    services,
    apply: (manager, body, forced = force) =>
      cluster.writer.apply(services, 'default', 's', clone(body), '', forced, as(manager)),
  }
}
const ports = (written: Written): unknown =>
  (at(written.object, 'spec', 'ports') as { port: number }[]).map(p => p.port)

test('the first apply creates, the second of the same changes nothing', () => {
  const { apply } = applier()
  const first = apply('one', service({ ports: [PORT_80] }))
  assert.equal(first.created, true)
  const again = apply('one', service({ ports: [PORT_80] }))
  assert.equal(again.object.metadata.resourceVersion, first.object.metadata.resourceVersion)
  assert.deepEqual(first.object.metadata.managedFields, [
    {
      apiVersion: 'v1',
      fieldsType: 'FieldsV1',
      // As kube-apiserver writes it for this object: keys sorted, the default protocol in the key, defaults not owned.
      fieldsV1: {
        'f:spec': {
          'f:ports': {
            'k:{"port":80,"protocol":"TCP"}': { '.': {}, 'f:name': {}, 'f:port': {} },
          },
        },
      },
      manager: 'one',
      operation: 'Apply',
      time: '2026-01-01T00:00:00Z',
    },
  ])
})

test('keyed lists merge between managers; what a manager leaves out goes, what others own stays', () => {
  const { apply } = applier()
  apply('one', service({ ports: [PORT_80] }, { a: '1', b: '1' }))
  assert.deepEqual(ports(apply('two', service({ ports: [PORT_443] }, { b: '1' }))), [80, 443])
  const rest = apply('one', service({ ports: [PORT_80] }))
  assert.deepEqual(rest.object.metadata.labels, { b: '1' }, 'a is gone with its only owner, b is still two’s')
  assert.deepEqual(ports(apply('two', service({ ports: [] }))), [80])
  const last = apply('two', service({}))
  assert.equal(last.object.metadata.labels, undefined)
})

test('a change of what another owns is a conflict that names manager and path, unless forced', () => {
  const { apply } = applier()
  apply('one', service({ ports: [PORT_80], sessionAffinity: 'ClientIP' }))
  assert.throws(
    () => apply('two', service({ ports: [{ ...PORT_80, name: 'web' }], sessionAffinity: 'None' })),
    {
      code: 409,
      reason: 'Conflict',
      message:
        'Apply failed with 2 conflicts: conflict with "one":\n- .spec.ports[port=80,protocol="TCP"].name\n- .spec.sessionAffinity',
      details: {
        causes: [
          {
            reason: 'FieldManagerConflict',
            message: 'conflict with "one"',
            field: '.spec.ports[port=80,protocol="TCP"].name',
          },
          { reason: 'FieldManagerConflict', message: 'conflict with "one"', field: '.spec.sessionAffinity' },
        ],
      },
    },
  )
  const forced = apply('two', service({ sessionAffinity: 'None' }), true)
  assert.equal(forced.object.spec?.['sessionAffinity'], 'None')
  // It is two's alone now, so that one may leave it out without effect.
  const after = apply('one', service({ ports: [PORT_80] }))
  assert.equal(after.object.spec?.['sessionAffinity'], 'None')
})

test('the same value from two managers is shared: either may let go', () => {
  const { apply } = applier()
  apply('one', service({ ports: [PORT_80], sessionAffinity: 'ClientIP' }))
  apply('two', service({ sessionAffinity: 'ClientIP' }))
  const after = apply('one', service({ ports: [PORT_80] }))
  assert.equal(after.object.spec?.['sessionAffinity'], 'ClientIP')
  assert.equal(apply('two', service({})).object.spec?.['sessionAffinity'], 'None', 'back to its default')
})

test('an update takes over what it changes', () => {
  const { apply, cluster, services } = applier()
  const { object } = apply('one', service({ ports: [PORT_80], sessionAffinity: 'None' }))
  const changed = clone(object)
  changed.spec = { ...changed.spec, sessionAffinity: 'ClientIP' }
  cluster.writer.update(services, 'default', 's', changed, '', as('editor'))
  assert.throws(() => apply('one', service({ ports: [PORT_80], sessionAffinity: 'None' })), {
    code: 409,
    message:
      'Apply failed with 1 conflict: conflict with "editor" using v1 at 2026-01-01T00:00:00Z: .spec.sessionAffinity',
  })
})

test('status is owned under its subresource, and the object itself leaves it alone', () => {
  const { apply, cluster, services } = applier()
  apply('one', service({ type: 'LoadBalancer', ports: [PORT_80] }))
  const body = { metadata: { name: 's' }, status: { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } } }
  const written = cluster.writer.apply(services, 'default', 's', body, 'status', false, as('controller'))
  assert.deepEqual(at(written.object, 'status', 'loadBalancer', 'ingress'), [{ ip: '192.0.2.1' }])
  const entry = written.object.metadata.managedFields?.find(e => e.manager === 'controller')
  assert.equal(entry?.subresource, 'status')
  const again = apply('one', service({ type: 'LoadBalancer', ports: [PORT_80] }, { x: 'y' }))
  assert.deepEqual(at(again.object, 'status', 'loadBalancer', 'ingress'), [{ ip: '192.0.2.1' }])
})

test('apply needs a manager, and refuses managedFields and a stale resourceVersion', () => {
  const { apply } = applier()
  assert.throws(() => apply('', service({ ports: [PORT_80] })), { code: 422 })
  apply('one', service({ ports: [PORT_80] }))
  const stale = { ...service({ ports: [PORT_80] }), metadata: { name: 's', resourceVersion: '1' } }
  assert.throws(() => apply('one', stale), { code: 409 })
  const managed = { ...service({}), metadata: { name: 's', managedFields: [{ manager: 'x' }] } }
  assert.throws(() => apply('one', managed), { code: 400 })
})
