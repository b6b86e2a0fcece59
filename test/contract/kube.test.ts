import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createKube } from '../../src/kube/client.ts'
import { fixedCredentials } from '../../src/kube/credentials.ts'
import { FixtureServer, systemClock, waitFor } from '../../src/kube/fixture-server.ts'
import { startApiServer } from '../../src/lab/apiserver/server.ts'
import { type Kube, type KubeObject, RESOURCES } from '../../src/ports/kube.ts'
import { FakeKube } from '../../src/ports/kube-fake.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { SeededRandom } from '../../src/ports/random.ts'

/** A way to an empty API server that holds namespace `default`; `close` ends it. */
export type Subject = { readonly kube: Kube; readonly close: () => Promise<void> }

const SUBJECTS: Record<string, () => Promise<Subject>> = {
  'the fake': () => Promise.resolve({ kube: new FakeKube(), close: () => Promise.resolve() }),
  'the client over HTTP': async () => {
    const server = new FixtureServer()
    const kube = createKube({
      config: {
        server: await server.listen(),
        ca: undefined,
        insecureSkipTlsVerify: false,
        tlsServerName: undefined,
        namespace: 'default',
        credentials: fixedCredentials({ headers: {}, clientCertificate: undefined }),
        source: 'test',
      },
      clock: systemClock,
      random: new SeededRandom(1),
      log: new FakeLog(),
      userAgent: 'lodestone-test/0',
      pageLimit: 3,
    })
    return {
      kube,
      close: async () => {
        kube.close()
        await server.close()
      },
    }
  },
}

/** The API server of the lab, over TLS and with a token. */
async function openLabServer(): Promise<Subject> {
  const server = await startApiServer({
    listen: [{ host: '127.0.0.1', port: 0 }],
    serverNames: ['127.0.0.1'],
    tokens: new Map([['secret', { user: 'test', groups: ['system:masters'] }]]),
    clusterCidrs: { services: ['10.96.0.0/16'] },
    crdDirectory: fileURLToPath(new URL('../../../deploy/crds', import.meta.url)),
    log: new FakeLog(),
    clock: systemClock,
  })
  const kube = createKube({
    config: {
      server: new URL(server.url),
      ca: server.caPem,
      insecureSkipTlsVerify: false,
      tlsServerName: undefined,
      namespace: 'default',
      credentials: fixedCredentials({
        headers: { authorization: 'Bearer secret' },
        clientCertificate: undefined,
      }),
      source: 'test',
    },
    clock: systemClock,
    random: new SeededRandom(1),
    log: new FakeLog(),
    userAgent: 'lodestone-test/0',
    pageLimit: 3,
  })
  // Every real cluster has this Service; the suite counts its own.
  await kube.delete(RESOURCES.services, { namespace: 'default', name: 'kubernetes' })
  return {
    kube,
    close: async () => {
      kube.close()
      await server.close()
    },
  }
}

SUBJECTS["the lab's API server"] = openLabServer

const { services, leases, nodes, ipAddressPools } = RESOURCES

function service(name: string, labels: Record<string, string> = {}): KubeObject {
  return {
    metadata: { name, namespace: 'default', labels },
    spec: { type: 'LoadBalancer', ports: [{ port: 80, protocol: 'TCP' }] },
  }
}

const at = (name: string): { namespace: string; name: string } => ({ namespace: 'default', name })

for (const [name, open] of Object.entries(SUBJECTS)) {
  const contract = (what: string, body: (kube: Kube, signal: AbortSignal) => Promise<void>): void => {
    test(`${name}: ${what}`, async () => {
      const subject = await open()
      const stop = new AbortController()
      try {
        await body(subject.kube, stop.signal)
      } finally {
        stop.abort()
        await subject.close()
      }
    })
  }

  contract('an object comes back as it was created, with identity', async kube => {
    const created = await kube.create(services, service('web'))
    assert.equal(created.kind, 'Service')
    assert.equal(created.apiVersion, 'v1')
    assert.match(created.metadata.uid ?? '', /^[0-9a-f-]{36}$/)
    assert.ok(created.metadata.resourceVersion)
    assert.ok(!Number.isNaN(Date.parse(created.metadata.creationTimestamp ?? '')))
    assert.deepEqual(await kube.get(services, at('web')), created)
  })

  contract('what is not there is undefined, and deleting it is no error', async kube => {
    assert.equal(await kube.get(services, at('none')), undefined)
    await kube.delete(services, at('none'))
    await kube.create(services, service('web'))
    await kube.delete(services, at('web'))
    assert.equal(await kube.get(services, at('web')), undefined)
    await assert.rejects(kube.update(services, service('web')), { code: 'not-found' })
    await assert.rejects(kube.patch(services, at('web'), {}, { type: 'merge' }), { code: 'not-found' })
  })

  contract('a name is taken once', async kube => {
    await kube.create(services, service('web'))
    await assert.rejects(kube.create(services, service('web')), {
      name: 'KubeError',
      code: 'already-exists',
      status: 409,
    })
  })

  contract('generateName makes different names', async kube => {
    const object = {
      metadata: { name: '', namespace: 'default', generateName: 'web-' },
      spec: service('x')['spec'],
    }
    const a = await kube.create(services, object)
    const b = await kube.create(services, object)
    assert.match(a.metadata.name, /^web-.+/)
    assert.notEqual(a.metadata.name, b.metadata.name)
  })

  contract('a stale update conflicts and changes nothing', async kube => {
    const first = await kube.create(leases, {
      metadata: { name: 'l', namespace: 'default' },
      spec: { holderIdentity: 'a' },
    })
    const second = await kube.update(leases, { ...first, spec: { holderIdentity: 'b' } })
    assert.notEqual(second.metadata.resourceVersion, first.metadata.resourceVersion)
    await assert.rejects(kube.update(leases, { ...first, spec: { holderIdentity: 'c' } }), {
      code: 'conflict',
      status: 409,
    })
    assert.deepEqual((await kube.get(leases, at('l')))?.['spec'], { holderIdentity: 'b' })
  })

  contract('an update that changes nothing keeps the resourceVersion', async kube => {
    const first = await kube.create(leases, {
      metadata: { name: 'l', namespace: 'default' },
      spec: { holderIdentity: 'a' },
    })
    const again = await kube.update(leases, first)
    assert.equal(again.metadata.resourceVersion, first.metadata.resourceVersion)
  })

  contract('status is written through its subresource alone', async kube => {
    const created = await kube.create(services, {
      ...service('web'),
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.9' }] } },
    })
    assert.notDeepEqual((created['status'] as { loadBalancer?: unknown } | undefined)?.loadBalancer, {
      ingress: [{ ip: '192.0.2.9' }],
    })
    const status = { loadBalancer: { ingress: [{ ip: '192.0.2.1' }] } }
    const spec = created['spec'] as Record<string, unknown>
    const written = await kube.update(
      services,
      {
        ...created,
        metadata: { ...created.metadata, annotations: { 'metallb.io/ip-allocated-from-pool': 'p' } },
        spec: { ...spec, type: 'ClusterIP' },
        status,
      },
      { subresource: 'status' },
    )
    assert.deepEqual(written['status'], status)
    assert.equal(
      (written['spec'] as Record<string, unknown>)['type'],
      'LoadBalancer',
      'spec is not written through status',
    )
    assert.deepEqual(
      written.metadata.annotations,
      { 'metallb.io/ip-allocated-from-pool': 'p' },
      'built-in kinds take metadata',
    )
    const { status: _, ...withoutStatus } = written
    const kept = await kube.update(services, withoutStatus)
    assert.deepEqual(kept['status'], status, 'the main path leaves status alone')
  })

  contract('custom resources take no metadata through status, and count generations', async kube => {
    const pool = await kube.create(ipAddressPools, {
      metadata: { name: 'p', namespace: 'default' },
      spec: { addresses: ['192.0.2.0/24'] },
    })
    assert.equal(pool.metadata.generation, 1)
    const written = await kube.patch(
      ipAddressPools,
      at('p'),
      {
        metadata: { annotations: { a: 'b' } },
        status: { assignedIPv4: 1, assignedIPv6: 0, availableIPv4: 255, availableIPv6: 0 },
      },
      { type: 'merge', subresource: 'status' },
    )
    assert.equal(written.metadata.annotations, undefined)
    assert.equal(written.metadata.generation, 1)
    const changed = await kube.patch(
      ipAddressPools,
      at('p'),
      { spec: { autoAssign: false } },
      { type: 'merge' },
    )
    assert.equal(changed.metadata.generation, 2)
    assert.equal((changed['status'] as Record<string, unknown>)['availableIPv4'], 255)
  })

  contract('a merge patch sets, removes and leaves alone', async kube => {
    await kube.create(services, service('web', { app: 'web', tier: 'front' }))
    const patched = await kube.patch(
      services,
      at('web'),
      {
        metadata: { labels: { tier: null, zone: 'a' } },
        spec: { sessionAffinity: 'ClientIP' },
      },
      { type: 'merge' },
    )
    assert.deepEqual(patched.metadata.labels, { app: 'web', zone: 'a' })
    const spec = patched['spec'] as Record<string, unknown>
    assert.equal(spec['type'], 'LoadBalancer')
    assert.equal(spec['sessionAffinity'], 'ClientIP')
    await assert.rejects(
      kube.patch(
        services,
        at('web'),
        { metadata: { resourceVersion: '1', labels: { a: 'b' } } },
        { type: 'merge' },
      ),
      { code: 'conflict' },
    )
  })

  contract('apply creates, and takes back what its manager leaves out', async kube => {
    const apply = (labels: Record<string, string>): Promise<KubeObject> =>
      kube.patch(
        services,
        at('web'),
        { apiVersion: 'v1', kind: 'Service', ...service('web', labels) },
        { type: 'apply', fieldManager: 'lodestone-test' },
      )
    assert.deepEqual((await apply({ a: '1', b: '2' })).metadata.labels, { a: '1', b: '2' })
    await kube.patch(services, at('web'), { metadata: { labels: { other: 'x' } } }, { type: 'merge' })
    assert.deepEqual((await apply({ a: '3' })).metadata.labels, { a: '3', other: 'x' })
  })

  contract('lists whole collections, namespaces and selections, beyond one page', async kube => {
    for (let i = 0; i < 10; i++)
      await kube.create(services, service(`web-${i}`, { parity: i % 2 === 0 ? 'even' : 'odd' }))
    const names = (objects: readonly KubeObject[]): string[] => objects.map(o => o.metadata.name).sort()
    const all = await kube.list(services)
    assert.equal(all.length, 10)
    assert.ok(all.every(object => object.kind === 'Service' && object.apiVersion === 'v1'))
    assert.equal((await kube.list(services, { namespace: 'default' })).length, 10)
    assert.equal((await kube.list(services, { namespace: 'elsewhere' })).length, 0)
    assert.deepEqual(
      names(await kube.list(services, { labelSelector: 'parity=odd' })),
      [1, 3, 5, 7, 9].map(i => `web-${i}`),
    )
    assert.equal((await kube.list(services, { labelSelector: 'parity!=odd' })).length, 5)
    assert.deepEqual(names(await kube.list(services, { fieldSelector: 'metadata.name=web-3' })), ['web-3'])
  })

  contract('names and scopes that do not fit are refused', async kube => {
    await assert.rejects(kube.get(services, at('')), { code: 'invalid' })
    await assert.rejects(kube.get(services, { namespace: '', name: 'web' }), { code: 'invalid' })
    await assert.rejects(kube.delete(nodes, { namespace: 'default', name: 'n' }), { code: 'invalid' })
    await assert.rejects(kube.delete(nodes, { namespace: '', name: '' }), { code: 'invalid' })
  })

  contract('an informer holds the list, then every change in order', async (kube, signal) => {
    await kube.create(services, service('old'))
    const informer = kube.informer(services, {
      convert: object => object.metadata.labels?.['step'] ?? 'none',
    })
    const seen: string[] = []
    informer.onChange(({ key, before, after }) => {
      assert.equal(informer.items.get(key), after, 'the change is visible to the listener')
      seen.push(`${key} ${before ?? '-'} > ${after ?? '-'}`)
    })
    assert.equal(informer.synced, false)
    await informer.start(signal)
    assert.equal(informer.synced, true)
    await kube.create(services, service('new', { step: '1' }))
    await kube.patch(services, at('new'), { metadata: { labels: { step: '2' } } }, { type: 'merge' })
    await kube.delete(services, at('old'))
    await kube.patch(services, at('new'), { metadata: { labels: { step: '3' } } }, { type: 'merge' })
    await kube.delete(services, at('new'))
    await waitFor('the last deletion is seen', () => seen.length >= 6)
    assert.deepEqual(seen, [
      'default/old - > none',
      'default/new - > 1',
      'default/new 1 > 2',
      'default/old none > -',
      'default/new 2 > 3',
      'default/new 3 > -',
    ])
    assert.equal(informer.items.size, 0)
  })

  contract('an informer with a selector sees objects come and go as they match', async (kube, signal) => {
    const informer = kube.informer(services, {
      labelSelector: 'in=yes',
      convert: object => object.metadata.name,
    })
    await informer.start(signal)
    await kube.create(services, service('web', { in: 'no' }))
    await kube.patch(services, at('web'), { metadata: { labels: { in: 'yes' } } }, { type: 'merge' })
    await waitFor('it matches', () => informer.items.has('default/web'))
    await kube.patch(services, at('web'), { metadata: { labels: { in: 'no' } } }, { type: 'merge' })
    await waitFor('it does not match', () => informer.items.size === 0)
  })

  contract('an informer that is stopped hears nothing more', async (kube, signal) => {
    const stop = new AbortController()
    const informer = kube.informer(services, { convert: object => object.metadata.name })
    const witness = kube.informer(services, { convert: object => object.metadata.name })
    await informer.start(stop.signal)
    await witness.start(signal)
    stop.abort()
    await kube.create(services, service('late'))
    await waitFor('the witness sees it', () => witness.items.size === 1)
    assert.equal(informer.items.size, 0)
    await assert.rejects(kube.informer(services, { convert: String }).start(stop.signal), {
      name: 'AbortError',
    })
  })
}
