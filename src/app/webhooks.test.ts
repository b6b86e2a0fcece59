import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import { FakeClock } from '../ports/clock.ts'
import { type KubeObject, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { FakeLog } from '../ports/log.ts'
import { FakeMetrics } from '../ports/metrics.ts'
import { isSignedFor, makeAuthority, makeServerCertificate, readCertificates } from '../sys/certificates.ts'
import { SystemClock } from '../sys/clock.ts'
import { rotationOptions } from '../webhook/rotation.ts'
import { runWebhooks } from './webhooks.ts'
import { CertificateKeeper, watchCertificateFiles } from './webhooks-certificates.ts'
import { WebhookResources } from './webhooks-resources.ts'

const NAMESPACE = 'metallb-system'
const HOST = 'metallb-webhook-service.metallb-system.svc'
const SECRET = { namespace: NAMESPACE, name: 'metallb-webhook-cert' }
const POOLS = '/validate-metallb-io-v1beta1-ipaddresspool'
const DAY = 86_400_000

const pool = (name: string, address: string): KubeObject => ({
  apiVersion: 'metallb.io/v1beta1',
  kind: 'IPAddressPool',
  metadata: { namespace: NAMESPACE, name },
  spec: { addresses: [address] },
})

function review(object: KubeObject, more: object = {}): object {
  const { namespace, name } = object.metadata
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: 'abc',
      operation: 'CREATE',
      kind: { kind: object.kind },
      namespace,
      name,
      object,
      ...more,
    },
  }
}

function secretText(kube: FakeKube, key: string): string {
  const data = kube.peek(RESOURCES.secrets, SECRET)?.['data'] as Record<string, string> | undefined
  return Buffer.from(data?.[key] ?? '', 'base64').toString()
}

/** The real thing on loopback, over a fake API server. */
async function started(t: TestContext, prepare: (kube: FakeKube) => void = () => {}) {
  const kube = new FakeKube()
  const log = new FakeLog()
  const metrics = new FakeMetrics()
  prepare(kube)
  const stop = new AbortController()
  let onPort: (port: number) => void = () => {}
  const listening = new Promise<number>(resolve => {
    onPort = resolve
  })
  const running = runWebhooks(
    { kube, clock: new SystemClock(), log, metrics, onReady: port => onPort(port) },
    {
      namespace: NAMESPACE,
      host: '127.0.0.1',
      port: 0,
      minVersion: 'TLSv1.3',
      certificates: {
        from: 'secret',
        secretName: SECRET.name,
        serviceName: 'metallb-webhook-service',
        lifeMs: 90 * DAY,
      },
    },
    stop.signal,
  )
  t.after(async () => {
    stop.abort()
    await running
  })
  const port = await Promise.race([listening, running.then(() => assert.fail('it ended'))])
  const send = (path: string, body: string | object, method = 'POST', agent?: Agent) =>
    post({ port, path, method, ca: secretText(kube, 'ca.crt'), agent }, body)
  return { kube, log, metrics, port, send, stop }
}

type Answer = { readonly status: number; readonly text: string }

function post(
  to: { port: number; path: string; method: string; ca: string; agent: Agent | undefined },
  body: string | object,
  /** The last character is sent only then. */
  until: Promise<void> = Promise.resolve(),
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { agent, ...options } = to
    const sent = request(
      { host: '127.0.0.1', servername: HOST, ...options, ...(agent ? { agent } : { agent: false }) },
      response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
        response.on('error', reject)
      },
    )
    sent.on('error', reject)
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    sent.write(text.slice(0, -1))
    void until.then(() => sent.end(text.slice(-1)))
  })
}

function verdictOf({ status, text }: Answer): {
  uid: string
  allowed: boolean
  status?: { message: string }
} {
  assert.equal(status, 200, text)
  const { apiVersion, kind, response } = JSON.parse(text) as Record<string, unknown>
  assert.deepEqual({ apiVersion, kind }, { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' })
  return response as { uid: string; allowed: boolean; status?: { message: string } }
}

test('reviews over TLS, by a certificate for the name of the Service', async t => {
  const { kube, send, metrics } = await started(t)
  assert.deepEqual(verdictOf(await send(POOLS, review(pool('a', '192.0.2.0/28')))), {
    uid: 'abc',
    allowed: true,
  })
  const denied = verdictOf(await send(POOLS, review(pool('a', '192.0.2.1'))))
  assert.equal(denied.allowed, false)
  assert.match(denied.status?.message ?? '', /192\.0\.2\.1\/32/)
  kube.seed(RESOURCES.ipAddressPools, pool('b', '192.0.2.0/24'))
  await kube.settle()
  assert.equal(verdictOf(await send(POOLS, review(pool('a', '192.0.2.0/28')))).allowed, false)
  assert.equal(
    metrics.values.get('lodestone_webhook_requests_total{kind="IPAddressPool",result="denied"}'),
    2,
  )
  assert.equal(
    metrics.values.get('lodestone_webhook_requests_total{kind="IPAddressPool",result="allowed"}'),
    1,
  )
})

test('a refusal is confirmed by a fresh look: what was deleted just now is no reason', async t => {
  const { kube, send } = await started(t, kube => {
    kube.seed(RESOURCES.ipAddressPools, pool('b', '192.0.2.0/24'))
  })
  kube.pause()
  kube.remove(RESOURCES.ipAddressPools, { namespace: NAMESPACE, name: 'b' })
  assert.equal(verdictOf(await send(POOLS, review(pool('a', '192.0.2.0/28')))).allowed, true)
})

test('a crowd that wants a fresh look shares two: the one on its way is too old for those who came later', async () => {
  const kube = new FakeKube()
  const resources = new WebhookResources(kube, NAMESPACE)
  let lists = 0
  let open = () => {}
  const gate = new Promise<void>(resolve => {
    open = resolve
  })
  const list = kube.list.bind(kube)
  kube.list = async (resource, options) => {
    const found = await list(resource, options)
    lists++
    await gate
    return found
  }
  const first = resources.fresh()
  await kube.settle()
  kube.seed(RESOURCES.ipAddressPools, pool('b', '192.0.2.0/24'))
  const others = Array.from({ length: 20 }, () => resources.fresh())
  open()
  assert.equal((await first).pools.length, 0)
  assert.deepEqual(new Set((await Promise.all(others)).map(({ pools }) => pools.length)), new Set([1]))
  assert.equal(lists, 2 * 6)
  // One that fails is no reason for the next.
  kube.failNext(new Error('away'))
  await assert.rejects(resources.fresh(), /away/)
  assert.equal((await resources.fresh()).pools.length, 1)
})

test('huge bodies together are too much', async t => {
  const { kube, port, send, log } = await started(t)
  const large = `"${'x'.repeat(15 * 1024 * 1024)}"`
  const refused = (error: NodeJS.ErrnoException): Answer => {
    assert(['EPIPE', 'ECONNRESET'].includes(error.code ?? ''), error.message)
    return { status: 503, text: '' }
  }
  const seen = new Set<number>()
  const see = (answer: Answer): Answer => {
    seen.add(answer.status)
    return answer
  }
  // These keep back their last character, so the server holds them all at once.
  const to = { port, path: POOLS, method: 'POST', ca: secretText(kube, 'ca.crt'), agent: undefined }
  const held = Array.from({ length: 4 }, () => {
    let release: () => void = () => {}
    const until = new Promise<void>(resolve => {
      release = resolve
    })
    return { answer: post(to, large, until).catch(refused).then(see), release }
  })
  // Whichever comes when there is no more room is refused, one of those or one of these.
  const giveUpAt = performance.now() + 30_000
  while (!seen.has(503) && performance.now() < giveUpAt) see(await send(POOLS, large).catch(refused))
  assert(seen.has(503))
  for (const { release } of held) release()
  for (const { answer } of held) assert([400, 503].includes((await answer).status))
  // What they held is free again.
  assert.equal((await send(POOLS, large)).status, 400)
  assert.deepEqual(
    log.lines.filter(({ level }) => level === 'error'),
    [],
  )
})

test('what is no review is refused by status', async t => {
  const { send } = await started(t)
  const good = review(pool('a', '192.0.2.0/28')) as { request: Record<string, unknown> }
  const changed = (request: object) => ({ ...good, request: { ...good.request, ...request } })
  const cases: readonly (readonly [string, string | object, number, string?, string?])[] = [
    ['no JSON', 'nonsense', 400],
    ['nothing', '', 400],
    ['null', 'null', 400],
    ['a list', '[]', 400],
    ['another kind', { ...good, kind: 'TokenReview' }, 400],
    ['an older version', { ...good, apiVersion: 'admission.k8s.io/v1beta1' }, 400],
    ['no request', { ...good, request: 7 }, 400],
    ['no uid', changed({ uid: 7 }), 400],
    ['an operation that there is none of', changed({ operation: 'PATCH' }), 400],
    ['no object', changed({ object: null }), 400],
    ['an object without metadata', changed({ object: { spec: {} } }), 400],
    ['a list as an object', changed({ object: [] }), 400],
    ['DELETE without the object', changed({ operation: 'DELETE' }), 400],
    ['an object of another kind', changed({ kind: { kind: 'BGPPeer' } }), 400],
    ['too deep', `${'['.repeat(100_000)}${']'.repeat(100_000)}`, 400],
    ['brackets in a text are not deep', changed({ userInfo: '['.repeat(1000) }), 200],
    ['17 MiB', 'x'.repeat(17 * 1024 * 1024), 413],
    ['another path', good, 404, '/validate'],
    ['GET', '', 405, POOLS, 'GET'],
    ['a conversion without objects', { kind: 'ConversionReview' }, 400, '/convert'],
    ['a review of admission to convert', good, 400, '/convert'],
  ]
  for (const [name, body, status, path = POOLS, method = 'POST'] of cases) {
    const answer = await send(path, body, method).catch((error: NodeJS.ErrnoException) => {
      // An answer that comes before the body was sent may be lost with the connection.
      assert(
        status === 413 && ['EPIPE', 'ECONNRESET'].includes(error.code ?? ''),
        `${name}: ${error.message}`,
      )
      return { status: 413, text: '' }
    })
    assert.equal(answer.status, status, `${name}: ${answer.text}`)
  }
  // And goes on.
  assert.equal(verdictOf(await send(POOLS, good)).allowed, true)
})

test('BGPPeers are converted there and back without loss', async t => {
  const { send } = await started(t)
  const spec = { myASN: 64512, dynamicASN: 'external', interface: 'eth0', passwordSecret: { name: 's' } }
  const peer = { apiVersion: 'metallb.io/v1beta2', kind: 'BGPPeer', metadata: { name: 'p' }, spec }
  const convert = async (objects: object[], version: string) => {
    const answer = await send('/convert', {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'ConversionReview',
      request: { uid: 'c', desiredAPIVersion: version, objects },
    })
    assert.equal(answer.status, 200)
    const review = JSON.parse(answer.text) as {
      kind: string
      response: { uid: string; result: { status: string; message?: string }; convertedObjects?: KubeObject[] }
    }
    assert.deepEqual([review.kind, review.response.uid], ['ConversionReview', 'c'])
    return review.response
  }
  const old = await convert([peer, peer], 'metallb.io/v1beta1')
  assert.equal(old.result.status, 'Success')
  assert.equal(old.convertedObjects?.length, 2)
  const [down] = old.convertedObjects ?? []
  assert.equal(down?.apiVersion, 'metallb.io/v1beta1')
  assert.deepEqual(down?.['spec'], { myASN: 64512, peerASN: 0, peerAddress: '' })
  const back = await convert(old.convertedObjects ?? [], 'metallb.io/v1beta2')
  assert.deepEqual(back.convertedObjects, [peer, peer])
  // What a client changed in the old version counts.
  const edited = { ...down, spec: { myASN: 64512, peerASN: 64513, peerAddress: '192.0.2.1' } }
  const again = await convert([edited], 'metallb.io/v1beta2')
  assert.deepEqual(again.convertedObjects?.[0]?.['spec'], {
    ...spec,
    peerASN: 64513,
    peerAddress: '192.0.2.1',
  })
  for (const [objects, version] of [
    [[peer], 'metallb.io/v1'],
    [[{ ...peer, kind: 'Service' }], 'metallb.io/v1beta1'],
    [[{ ...peer, apiVersion: 'v1' }], 'metallb.io/v1beta1'],
  ] as const) {
    const { result, convertedObjects } = await convert([...objects], version)
    assert.equal(result.status, 'Failure')
    assert.equal(convertedObjects, undefined)
  }
})

test('a new certificate is for new connections; an open one goes on', async t => {
  const { kube, send, port } = await started(t)
  const first = secretText(kube, 'ca.crt')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  verdictOf(await send(POOLS, review(pool('a', '192.0.2.0/28')), 'POST', agent))
  const now = Date.now()
  const validity = { fromMs: now - 1000, untilMs: now + DAY }
  const authority = makeAuthority('other', validity)
  const serving = makeServerCertificate([HOST], authority, validity)
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  await kube.patch(
    RESOURCES.secrets,
    SECRET,
    {
      data: {
        'ca.crt': base64(authority.certPem),
        'ca.key': base64(authority.keyPem),
        'tls.crt': base64(serving.certPem),
        'tls.key': base64(serving.keyPem),
      },
    },
    { type: 'merge' },
  )
  const shown = () =>
    new Promise<string>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, servername: HOST, rejectUnauthorized: false }, () => {
        const { fingerprint256 } = socket.getPeerCertificate()
        socket.destroy()
        resolve(fingerprint256.replaceAll(':', '').toLowerCase())
      })
      socket.on('error', reject)
    })
  const wanted = readCertificates(serving.certPem)?.[0]?.fingerprint
  while ((await shown()) !== wanted) await kube.settle()
  // Nor does the oldest version change with the certificate.
  const older = connect({
    host: '127.0.0.1',
    port,
    servername: HOST,
    rejectUnauthorized: false,
    maxVersion: 'TLSv1.2',
  })
  const [refused] = (await once(older, 'error')) as [NodeJS.ErrnoException]
  assert.equal(refused.code, 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION')
  await assert.rejects(
    post(
      { port, path: POOLS, method: 'POST', ca: first, agent: undefined },
      review(pool('a', '192.0.2.0/28')),
    ),
  )
  // On the connection from before, whose client knows only the old authority.
  const reused = await post(
    { port, path: POOLS, method: 'POST', ca: first, agent },
    review(pool('a', '192.0.2.0/28')),
  )
  assert.equal(verdictOf(reused).allowed, true)
  verdictOf(await send(POOLS, review(pool('a', '192.0.2.0/28'))))
})

const CONFIGURATIONS = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingwebhookconfigurations',
  kind: 'ValidatingWebhookConfiguration',
  namespaced: false,
}
const DEFINITIONS = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
}

function bundles(kube: FakeKube): string[] {
  const configuration = kube.peek(CONFIGURATIONS, { namespace: '', name: 'metallb-webhook-configuration' })
  const definition = kube.peek(DEFINITIONS, { namespace: '', name: 'bgppeers.metallb.io' })
  const configs = [
    ...((configuration?.['webhooks'] ?? []) as { clientConfig: { caBundle?: string } }[]),
    ...(definition === undefined
      ? []
      : [
          (definition['spec'] as { conversion?: { webhook?: { clientConfig: { caBundle?: string } } } })
            .conversion?.webhook,
        ]),
  ]
  return configs.map(config => Buffer.from(config?.clientConfig.caBundle ?? '', 'base64').toString())
}

function seedClients(kube: FakeKube): void {
  kube.seed(CONFIGURATIONS, {
    metadata: { name: 'metallb-webhook-configuration' },
    webhooks: [
      { name: 'a.metallb.io', clientConfig: { service: { name: 'metallb-webhook-service' } } },
      { name: 'b.metallb.io', clientConfig: { service: { name: 'metallb-webhook-service' } } },
    ],
  })
  kube.seed(DEFINITIONS, {
    metadata: { name: 'bgppeers.metallb.io' },
    spec: { group: 'metallb.io', conversion: { strategy: 'None' } },
  })
}

/** Replicas over one API server; the clock is theirs. */
function replicas(kube: FakeKube, clock: FakeClock, count: number) {
  const stop = new AbortController()
  const log = new FakeLog()
  const serving: string[] = Array.from({ length: count }, () => '')
  const keepers = serving.map(
    (_, index) =>
      new CertificateKeeper(
        { kube, clock, log },
        {
          namespace: NAMESPACE,
          secretName: SECRET.name,
          serviceName: 'metallb-webhook-service',
          rotation: rotationOptions(90 * DAY),
          onServing: ({ certPem }) => {
            serving[index] = certPem
          },
        },
      ),
  )
  const settle = async () => {
    for (let quiet = 0; quiet < 4; quiet++) {
      clock.advance(0)
      await kube.settle()
    }
  }
  return {
    log,
    serving,
    stop,
    settle,
    start: async () => {
      await Promise.all(keepers.map(keeper => keeper.start(stop.signal)))
      await settle()
      clock.advance(1000)
      await settle()
    },
  }
}

test('two replicas agree on one certificate, and all clients are told of its authority', async () => {
  const kube = new FakeKube()
  const clock = new FakeClock()
  seedClients(kube)
  const { serving, start, stop, log } = replicas(kube, clock, 2)
  await start()
  assert.equal(serving[0], secretText(kube, 'tls.crt'))
  assert.equal(serving[1], serving[0])
  assert(isSignedFor(serving[0] ?? '', secretText(kube, 'ca.crt'), [HOST]))
  assert.deepEqual(
    bundles(kube),
    Array.from({ length: 3 }, () => secretText(kube, 'ca.crt')),
  )
  const definition = kube.peek(DEFINITIONS, { namespace: '', name: 'bgppeers.metallb.io' })
  assert(definition !== undefined)
  const { conversion } = definition['spec'] as {
    conversion: { strategy: string; webhook: { clientConfig: object } }
  }
  assert.equal(conversion.strategy, 'Webhook')
  assert.deepEqual((conversion.webhook.clientConfig as { service: object }).service, {
    namespace: NAMESPACE,
    name: 'metallb-webhook-service',
    path: '/convert',
    port: 443,
  })
  assert.deepEqual(
    log.lines.filter(({ level }) => level === 'warn' || level === 'error'),
    [],
  )
  stop.abort()
})

test('over 260 days of rotation every replica always serves what every client trusts', async () => {
  const kube = new FakeKube()
  const clock = new FakeClock()
  seedClients(kube)
  const { serving, start, stop, settle } = replicas(kube, clock, 2)
  await start()
  const authorities = new Set<string>()
  const certificates = new Set<string>()
  let checks = 0
  // Signatures are slow, and few are new.
  const verdicts = new Map<string, boolean>()
  const trusts = (certPem: string, bundle: string): boolean => {
    const key = certPem + bundle
    const known = verdicts.get(key)
    if (known !== undefined) return known
    const trusted = readCertificates(bundle) ?? []
    assert(trusted.length <= 2)
    for (const { fingerprint } of trusted) authorities.add(fingerprint)
    const verdict = trusted.some(({ pem }) => isSignedFor(certPem, pem, [HOST]))
    verdicts.set(key, verdict)
    return verdict
  }
  const check = (): void => {
    checks++
    for (const certPem of serving) {
      const [facts] = readCertificates(certPem) ?? []
      assert(facts !== undefined && facts.fromMs <= clock.wallNow() && clock.wallNow() < facts.untilMs)
      assert(clock.wallNow() < facts.fromMs + ((facts.untilMs - facts.fromMs) * 2) / 3, 'renewed in time')
      certificates.add(facts.fingerprint)
      for (const bundle of bundles(kube)) assert(trusts(certPem, bundle), 'trusted by every client')
    }
  }
  // At every write too: what is between two steps counts.
  kube.onCommit(() => {
    check()
  })
  for (let day = 0; day < 260; day += 4) {
    clock.advance(4 * DAY)
    await settle()
    check()
  }
  // Certificates every 54 days, authorities every 216.
  assert(certificates.size >= 5, String(certificates.size))
  assert(authorities.size >= 2, String(authorities.size))
  assert(checks > 65)
  stop.abort()
})

test('a Secret that others made is used, an unusable one is replaced', async () => {
  const clock = new FakeClock()
  const validity = { fromMs: clock.wallNow() - 1000, untilMs: clock.wallNow() + 30 * DAY }
  const authority = makeAuthority('cert-controller', validity)
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  const filled = (names: string[]) => {
    const { certPem, keyPem } = makeServerCertificate(names, authority, validity)
    return {
      'ca.crt': base64(authority.certPem),
      'ca.key': base64(authority.keyPem),
      'tls.crt': base64(certPem),
      'tls.key': base64(keyPem),
    }
  }
  const good = filled([HOST])
  for (const [name, data, kept] of [
    ['good', good, true],
    ['for another name', filled(['elsewhere.default.svc']), false],
    ['empty, as the manifests make it', undefined, false],
    ['a key of another', { ...good, 'tls.key': good['ca.key'] }, false],
    ['rubbish', { 'ca.crt': 'AAAA', 'tls.crt': '!!' }, false],
  ] as const) {
    const kube = new FakeKube({ clock })
    kube.seed(RESOURCES.secrets, {
      metadata: SECRET,
      type: 'Opaque',
      ...(data === undefined ? {} : { data }),
    })
    const { serving, start, stop } = replicas(kube, clock, 1)
    await start()
    assert.equal(serving[0] === Buffer.from(good['tls.crt'], 'base64').toString(), kept, name)
    assert.equal(serving[0], secretText(kube, 'tls.crt'), name)
    stop.abort()
  }
})

test('who wipes the bundle by applying a manifest again gets it back', async () => {
  const kube = new FakeKube()
  const clock = new FakeClock()
  seedClients(kube)
  const { start, stop, settle } = replicas(kube, clock, 1)
  await start()
  seedClients(kube)
  await settle()
  assert.deepEqual(
    bundles(kube),
    Array.from({ length: 3 }, () => secretText(kube, 'ca.crt')),
  )
  stop.abort()
})

test('without anything to tell, it serves, says so once, and leaves the definition alone', async () => {
  const kube = new FakeKube()
  const clock = new FakeClock()
  kube.seed(DEFINITIONS, {
    metadata: { name: 'bgppeers.metallb.io' },
    spec: { conversion: { strategy: 'None' } },
  })
  const { serving, start, stop, log, settle } = replicas(kube, clock, 1)
  await start()
  clock.advance(DAY)
  await settle()
  assert.notEqual(serving[0], '')
  assert.deepEqual(bundles(kube), [''])
  const absent = log.lines.filter(({ event }) => event === 'webhook-client-absent')
  assert.deepEqual(
    absent.map(({ fields }) => fields['name']),
    ['metallb-webhook-configuration'],
  )
  stop.abort()
})

test('with --disable-cert-rotation: the files of a directory, once they fit', async () => {
  const clock = new FakeClock()
  const log = new FakeLog()
  const stop = new AbortController()
  const directory = mkdtempSync(join(tmpdir(), 'lodestone-webhooks-'))
  const served: string[] = []
  const armed: number[] = []
  const counting = {
    now: () => clock.now(),
    wallNow: () => clock.wallNow(),
    after: (delayMs: number, callback: () => void) => {
      armed.push(delayMs)
      return clock.after(delayMs, callback)
    },
  }
  /** Until the next look is armed, this one is not over. */
  const look = async () => {
    const before = armed.length
    clock.advance(10_000)
    while (armed.length === before) await new Promise(setImmediate)
  }
  try {
    const validity = { fromMs: clock.wallNow(), untilMs: clock.wallNow() + DAY }
    const authority = makeAuthority('ca', validity)
    const [one, two] = [0, 1].map(() => makeServerCertificate([HOST], authority, validity))
    assert(one !== undefined && two !== undefined)
    watchCertificateFiles(
      { clock: counting, log },
      { directory, onServing: ({ certPem }) => served.push(certPem) },
      stop.signal,
    )
    await look()
    assert.equal(log.lines.length, 1)
    writeFileSync(join(directory, 'tls.crt'), one.certPem)
    writeFileSync(join(directory, 'tls.key'), two.keyPem)
    await look()
    writeFileSync(join(directory, 'tls.key'), one.keyPem)
    await look()
    await look()
    assert.deepEqual(served, [one.certPem])
    writeFileSync(join(directory, 'tls.crt'), two.certPem)
    writeFileSync(join(directory, 'tls.key'), two.keyPem)
    await look()
    assert.deepEqual(served, [one.certPem, two.certPem])
  } finally {
    stop.abort()
    rmSync(directory, { recursive: true })
  }
})
