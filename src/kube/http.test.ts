import assert from 'node:assert/strict'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { type KubeErrorCode, RESOURCES } from '../ports/kube.ts'
import { FakeLog } from '../ports/log.ts'
import { SeededRandom } from '../ports/random.ts'
import { createKube, type KubeClient } from './client.ts'
import type { KubeConfig } from './config.ts'
import { type Credential, type Credentials, fixedCredentials } from './credentials.ts'
import { AUTHORITY_CERT, MISNAMED_SERVER, SERVER, STRANGER_CERT } from './fixture-certificates.ts'
import { type Fault, FixtureServer, systemClock, waitFor } from './fixture-server.ts'
import { type HttpLimits, parseRetryAfter } from './http.ts'
import { Slots } from './slots.ts'
import type { TransportFactory } from './transport.ts'
import { NodeTransport } from './transport-node.ts'
import { UndiciTransport } from './transport-undici.ts'

const { services } = RESOURCES
const WEB = { namespace: 'default', name: 'web' }
const NOBODY = fixedCredentials({ headers: {}, clientCertificate: undefined })

const TRANSPORTS: readonly (readonly [string, TransportFactory])[] = [
  ['Node.js', target => new NodeTransport(target)],
  ['undici', target => new UndiciTransport(target)],
]

/** The same by each of the ways in which requests travel. */
function both(name: string, body: (via: TransportFactory) => Promise<void>): void {
  for (const [program, via] of TRANSPORTS) test(`${name}, by ${program}`, () => body(via))
}

function client(
  via: TransportFactory,
  server: URL,
  config: Partial<KubeConfig> = {},
  limits: Partial<HttpLimits> = {},
): KubeClient {
  return createKube({
    config: {
      server,
      ca: undefined,
      insecureSkipTlsVerify: false,
      tlsServerName: undefined,
      namespace: 'default',
      credentials: NOBODY,
      source: 'the test',
      ...config,
    },
    clock: systemClock,
    random: new SeededRandom(1),
    log: new FakeLog(),
    userAgent: 'lodestone-test/1',
    transport: via,
    limits,
  })
}

async function withServer(
  via: TransportFactory,
  body: (server: FixtureServer, kube: KubeClient, url: URL) => Promise<void>,
  limits: Partial<HttpLimits> = {},
): Promise<void> {
  const server = new FixtureServer()
  const url = await server.listen()
  const kube = client(via, url, {}, limits)
  try {
    await body(server, kube, url)
  } finally {
    kube.close()
    await server.close()
  }
}

const CODES: readonly (readonly [number, KubeErrorCode])[] = [
  [400, 'invalid'],
  [401, 'unauthorized'],
  [403, 'forbidden'],
  [409, 'conflict'],
  [410, 'gone'],
  [422, 'invalid'],
  [429, 'throttled'],
  [500, 'server-error'],
  [504, 'server-error'],
]
both('statuses become codes, with what the server said', via =>
  withServer(via, async (server, kube) => {
    for (const [status, code] of CODES) {
      server.misbehave = () => ({ type: 'status', status })
      await assert.rejects(kube.get(services, WEB), {
        name: 'KubeError',
        code,
        status,
        message: `get Service default/web: ${status} told to fail get`,
      })
    }
    server.misbehave = () => ({ type: 'status', status: 404 })
    assert.equal(await kube.get(services, WEB), undefined)
  }),
)

const REFUSED: readonly (readonly [string, Fault, KubeErrorCode, RegExp])[] = [
  [
    'a redirect',
    { type: 'status', status: 307, headers: { location: 'https://192.0.2.1/' } },
    'bad-answer',
    /redirect \(307\) to https:\/\/192\.0\.2\.1\/; .* the test$/,
  ],
  [
    'a proxy page',
    { type: 'status', status: 502, text: '<h1>Bad\n Gateway</h1>' },
    'server-error',
    /502 <h1>Bad Gateway<\/h1>/,
  ],
  ['no JSON', { type: 'body', text: 'hello' }, 'bad-answer', /no JSON/],
  [
    'another kind',
    { type: 'body', text: '{"kind":"Pod","metadata":{"name":"web"}}' },
    'bad-answer',
    /"Pod" where Service/,
  ],
  [
    'too much',
    { type: 'body', text: JSON.stringify('x'.repeat(20_000)) },
    'bad-answer',
    /more than 10000 bytes/,
  ],
  ['a reset', { type: 'reset' }, 'unreachable', /cannot reach http:\/\/127/],
  ['silence', { type: 'hang' }, 'unreachable', /no answer within 300 ms/],
]
for (const [name, fault, code, message] of REFUSED)
  both(`${name} is ${code}`, via =>
    withServer(
      via,
      async (server, kube) => {
        server.misbehave = () => fault
        await assert.rejects(kube.get(services, WEB), { name: 'KubeError', code, message })
      },
      { bodyMax: 10_000, answerTimeoutMs: fault.type === 'hang' ? 300 : 20_000 },
    ),
  )

both('an answer that stops midway is unreachable', via =>
  withServer(
    via,
    async (server, kube) => {
      server.kube.seed(services, { metadata: WEB })
      server.misbehave = () => ({ type: 'stall' })
      await assert.rejects(kube.get(services, WEB), {
        code: 'unreachable',
        message: /stopped after \d+ bytes/,
      })
      server.misbehave = () => ({ type: 'half' })
      await assert.rejects(kube.get(services, WEB), { code: 'unreachable', message: /broke off/ })
    },
    { silenceTimeoutMs: 300 },
  ),
)

both('a port where nobody listens, and one that never says anything, are unreachable', async via => {
  const silent = createServer(() => {})
  await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as { port: number }
  const kube = client(via, new URL(`https://127.0.0.1:${port}`), {}, { connectTimeoutMs: 200 })
  await assert.rejects(kube.list(services), { code: 'unreachable', message: /no connection within 200 ms/ })
  silent.close()
  kube.close()
  const nobody = client(via, new URL('http://127.0.0.1:1'))
  await assert.rejects(nobody.list(services), { code: 'unreachable', message: /ECONNREFUSED/ })
  nobody.close()
})

both('Retry-After reaches the caller, as seconds', via =>
  withServer(via, async (server, kube) => {
    server.misbehave = () => ({ type: 'status', status: 429, headers: { 'retry-after': '7' } })
    await assert.rejects(kube.list(services), { code: 'throttled', retryAfterSeconds: 7 })
  }),
)

test('Retry-After, RFC 9110 section 10.2.3', () => {
  const now = Date.UTC(1999, 11, 31, 23, 59, 50)
  assert.equal(parseRetryAfter('120', now), 120)
  assert.equal(parseRetryAfter('Fri, 31 Dec 1999 23:59:59 GMT', now), 9)
  assert.equal(parseRetryAfter('Fri, 31 Dec 1999 23:59:00 GMT', now), 0)
  for (const none of [undefined, 'soon', '', '-1x']) assert.equal(parseRetryAfter(none, now), undefined)
})

both('a kept connection that the server closed is replaced, unseen', via =>
  withServer(via, async (server, kube) => {
    server.kube.seed(services, { metadata: WEB })
    for (let i = 0; i < 5; i++) {
      assert.ok(await kube.get(services, WEB))
      server.resetConnections()
    }
  }),
)

both('when every kept connection turns out to be closed, that is unreachable, and passes', async via => {
  let breaking = false
  const waiting: (() => void)[] = []
  const server = createHttpServer((request, response) => {
    if (breaking) {
      request.socket.destroy()
      return
    }
    const answer = () => {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: WEB }))
    }
    // All at once, so that each has a connection of its own.
    if (waiting.push(answer) === 8) for (const each of waiting.splice(0)) each()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const kube = client(via, new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  try {
    await Promise.all(Array.from({ length: 8 }, () => kube.get(services, WEB)))
    breaking = true
    await assert.rejects(kube.get(services, WEB), { name: 'KubeError', code: 'unreachable' })
    await assert.rejects(kube.create(services, { metadata: WEB }), { name: 'KubeError', code: 'unreachable' })
  } finally {
    kube.close()
    server.close()
  }
})

test('no more than the bound at once, in the order of asking; beyond the queue is refused', async () => {
  const slots = new Slots(2, 3)
  const running: { name: string; end: () => void }[] = []
  const order: string[] = []
  const ask = (name: string, fails = false): Promise<string> =>
    slots.run(async () => {
      order.push(name)
      await new Promise<void>(end => running.push({ name, end }))
      if (fails) throw new Error(name)
      return name
    })
  const answers = [ask('a', true), ask('b'), ask('c'), ask('d'), ask('e')]
  const settled = Promise.allSettled(answers)
  await assert.rejects(ask('f'), { code: 'throttled' })
  assert.deepEqual(order, ['a', 'b'])
  for (let ended = 0; ended < 5; ended++) {
    await waitFor('the next runs', () => running.length > ended)
    assert.ok(order.length <= ended + 2, `${order.length} started, ${ended} ended`)
    running[ended]?.end()
  }
  assert.deepEqual(
    (await settled).map(result => (result.status === 'fulfilled' ? result.value : String(result.reason))),
    ['Error: a', 'b', 'c', 'd', 'e'],
  )
  assert.deepEqual(order, ['a', 'b', 'c', 'd', 'e'])
})

both('a 401 fetches new credentials, once', via =>
  withServer(via, async (server, _, url) => {
    let token = 1
    const rejected: Credential[] = []
    const credentials: Credentials = {
      current: () =>
        Promise.resolve({ headers: { authorization: `Bearer ${token}` }, clientCertificate: undefined }),
      rejected: used => {
        rejected.push(used)
        token++
        return true
      },
    }
    const kube = client(via, url, { credentials })
    server.kube.seed(services, { metadata: WEB })
    server.misbehave = call =>
      call.headers.authorization === 'Bearer 1' ? { type: 'status', status: 401 } : undefined
    assert.ok(await kube.get(services, WEB))
    assert.equal(rejected.length, 1)
    server.misbehave = () => ({ type: 'status', status: 401 })
    await assert.rejects(kube.get(services, WEB), { code: 'unauthorized' })
    assert.equal(rejected.length, 2)
    kube.close()
  }),
)

both('requests say who sends them and what they want', via =>
  withServer(via, async (server, kube, url) => {
    await kube.list(services, { namespace: 'a/b', labelSelector: 'x/y=z,w' })
    const [call] = server.calls
    assert.equal(call?.headers['user-agent'], 'lodestone-test/1')
    assert.equal(call?.headers.accept, 'application/json')
    assert.equal(call?.path, '/api/v1/namespaces/a%2Fb/services')
    assert.equal(call?.query.get('labelSelector'), 'x/y=z,w')

    // A server below a path, as management planes have it.
    const below = client(via, new URL('/k8s/clusters/c-1/', url))
    await assert.rejects(below.list(services))
    assert.equal(server.paths.at(-1), '/k8s/clusters/c-1/api/v1/services?limit=500')
    below.close()
  }),
)

both('TLS: the right authority is trusted; a wrong one and a wrong name are not', async via => {
  const server = new FixtureServer({ tls: SERVER })
  const other = new FixtureServer({ kube: server.kube, tls: MISNAMED_SERVER })
  const [url, otherUrl] = [await server.listen(), await other.listen()]
  server.kube.seed(services, { metadata: WEB })
  const attempts: readonly (readonly [string, URL, Partial<KubeConfig>, RegExp | undefined])[] = [
    ['trusted', url, { ca: AUTHORITY_CERT }, undefined],
    ['wrong authority', url, { ca: STRANGER_CERT }, /not signed by the configured authority/],
    ['public authorities only', url, {}, /not signed by the configured authority/],
    ['not looked at', url, { insecureSkipTlsVerify: true }, undefined],
    ['wrong name', otherUrl, { ca: AUTHORITY_CERT }, /set tls-server-name/],
    ['named', otherUrl, { ca: AUTHORITY_CERT, tlsServerName: 'api.example' }, undefined],
  ]
  try {
    for (const [name, to, config, refusal] of attempts) {
      const kube = client(via, to, config)
      const request = kube.get(services, WEB)
      if (refusal === undefined) assert.equal((await request)?.metadata.name, 'web', name)
      else await assert.rejects(request, { code: 'unreachable', message: refusal }, name)
      kube.close()
    }
    // A watch over TLS, too.
    const kube = client(via, url, { ca: AUTHORITY_CERT })
    const stop = new AbortController()
    const informer = kube.informer(services, { convert: object => object.metadata.name })
    await informer.start(stop.signal)
    server.kube.seed(services, { metadata: { ...WEB, name: 'second' } })
    await waitFor('it is heard', () => informer.items.size === 2)
    stop.abort()
    kube.close()
  } finally {
    await server.close()
    await other.close()
  }
})
