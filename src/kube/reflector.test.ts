import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../ports/clock.ts'
import { type Informer, type KubeObject, RESOURCES } from '../ports/kube.ts'
import { FakeLog } from '../ports/log.ts'
import { SeededRandom } from '../ports/random.ts'
import { createKube, type KubeClient } from './client.ts'
import { fixedCredentials } from './credentials.ts'
import { type Call, type Fault, FixtureServer, systemClock, waitFor } from './fixture-server.ts'
import type { HttpLimits } from './http.ts'
import type { TransportFactory } from './transport.ts'
import { UndiciTransport } from './transport-undici.ts'

const { services } = RESOURCES

const BY_UNDICI: TransportFactory = target => new UndiciTransport(target)

/** Time a hundred times as fast, so that back-off is over in milliseconds. */
const hastyClock: Clock = {
  now: () => systemClock.now() * 100,
  wallNow: () => systemClock.wallNow(),
  after: (ms, callback) => systemClock.after(ms / 100, callback),
}

/** On the hasty clock: a machine under load must not make a limit act that the test is not about. */
const PATIENT = {
  connectTimeoutMs: 1_000_000,
  answerTimeoutMs: 1_000_000,
  silenceTimeoutMs: 1_000_000,
  watchSilenceMs: 6_000_000,
  lineMax: 64 << 10,
}

type Setup = {
  readonly server: FixtureServer
  readonly kube: KubeClient
  readonly log: FakeLog
  readonly informer: Informer<string>
  /** The informer holds what the server holds. */
  readonly inStep: () => boolean
}

async function withInformer(
  body: (setup: Setup, signal: AbortSignal) => Promise<void>,
  options: {
    readonly count?: number
    readonly pageLimit?: number
    readonly limits?: Partial<HttpLimits>
    readonly transport?: TransportFactory
  } = {},
): Promise<void> {
  const server = new FixtureServer()
  for (let i = 0; i < (options.count ?? 5); i++) server.kube.seed(services, service(`s${i}`, '0'))
  const log = new FakeLog()
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
    clock: hastyClock,
    random: new SeededRandom(1),
    log,
    userAgent: 'test',
    pageLimit: options.pageLimit ?? 500,
    limits: { ...PATIENT, ...options.limits },
    ...(options.transport === undefined ? {} : { transport: options.transport }),
  })
  const informer = kube.informer(services, { convert: object => object.metadata.labels?.['step'] ?? '' })
  const inStep = (): boolean => {
    const wanted = server.kube.objects(services)
    return (
      informer.items.size === wanted.length &&
      wanted.every(
        ({ metadata }) => informer.items.get(`default/${metadata.name}`) === metadata.labels?.['step'],
      )
    )
  }
  const stop = new AbortController()
  try {
    await body({ server, kube, log, informer, inStep }, stop.signal)
  } finally {
    stop.abort()
    kube.close()
    await server.close()
  }
}

function service(name: string, step: string): KubeObject {
  return { metadata: { name, namespace: 'default', labels: { step } }, spec: { type: 'LoadBalancer' } }
}

/** Who gets no answer should not wait long for it: half a second. */
function impatient(fault: Fault): { readonly limits?: Partial<HttpLimits> } {
  const silent = fault.type === 'hang' || fault.type === 'stall'
  return silent ? { limits: { answerTimeoutMs: 50_000, silenceTimeoutMs: 50_000 } } : {}
}

/** Answers the first `times` calls that match with the fault. */
function first(times: number, verb: Call['verb'], fault: Fault): (call: Call) => Fault | undefined {
  let left = times
  return call => (call.verb === verb && left-- > 0 ? fault : undefined)
}

const LIST_FAULTS: Readonly<Record<string, Fault>> = {
  'a 500': { type: 'status', status: 500 },
  'a 503 with a page of HTML': { type: 'status', status: 503, text: '<html>Service Unavailable</html>' },
  'a 429 with Retry-After': { type: 'status', status: 429, headers: { 'retry-after': '2' } },
  'a 401': { type: 'status', status: 401 },
  'a 410': { type: 'status', status: 410 },
  'a redirect': { type: 'status', status: 302, headers: { location: 'http://192.0.2.1/' } },
  'half a JSON document': { type: 'half' },
  'half a JSON document and then silence': { type: 'stall' },
  'no answer': { type: 'hang' },
  'a reset connection': { type: 'reset' },
  'no JSON': { type: 'body', text: 'it works!' },
  'JSON that is no list': { type: 'body', text: '{"kind":"Service","metadata":{"name":"x"}}' },
  'a list of something else': {
    type: 'body',
    text: '{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[{"kind":"Pod","metadata":{"name":"x"}}]}',
  },
  'a list without a version': { type: 'body', text: '{"kind":"ServiceList","metadata":{},"items":[]}' },
}
for (const [name, fault] of Object.entries(LIST_FAULTS))
  test(`a list answered with ${name} is repeated`, () =>
    withInformer(async ({ server, informer, inStep, log }, signal) => {
      server.misbehave = first(2, 'list', fault)
      await informer.start(signal)
      assert.ok(inStep())
      assert.equal(server.calls.filter(call => call.verb === 'list').length, 3)
      assert.equal(log.lines.filter(line => line.event === 'kube-list-failed').length, 2)
    }, impatient(fault)))

const WATCH_FAULTS: Readonly<Record<string, Fault>> = {
  'a 500': { type: 'status', status: 500 },
  'a 410': { type: 'status', status: 410 },
  'a 429 with Retry-After': { type: 'status', status: 429, headers: { 'retry-after': '2' } },
  'a 404': { type: 'status', status: 404 },
  'its end at once': { type: 'body', text: '' },
  'a reset connection': { type: 'reset' },
  'no answer': { type: 'hang' },
  'no JSON': { type: 'body', text: 'it works!\n' },
  'half a line': { type: 'body', text: '{"type":"ADDED","obj' },
  'an ERROR event, 410': {
    type: 'body',
    text: '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}\n',
  },
  'an ERROR event, 500': { type: 'body', text: '{"type":"ERROR","object":{"kind":"Status","code":500}}\n' },
  'an unknown event': {
    type: 'body',
    text: '{"type":"SHRUGGED","object":{"metadata":{"name":"x","resourceVersion":"9"}}}\n',
  },
  'an object of another kind': {
    type: 'body',
    text: '{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"x","namespace":"default","resourceVersion":"9"}}}\n',
  },
  'an object without a version': {
    type: 'body',
    text: '{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"x"}}}\n',
  },
  'a line larger than allowed': {
    type: 'body',
    text: `{"type":"ADDED","object":"${'x'.repeat(100_000)}"}\n`,
  },
  'a huge line without end': { type: 'body', text: 'x'.repeat(100_000) },
}
for (const [name, fault] of Object.entries(WATCH_FAULTS))
  test(`a watch answered with ${name} is taken up again, and nothing is missed`, () =>
    withInformer(async ({ server, informer, inStep }, signal) => {
      server.misbehave = first(3, 'watch', fault)
      await informer.start(signal)
      await waitFor('it is broken', () => server.calls.some(call => call.verb === 'watch'))
      server.kube.seed(services, service('s0', '1'))
      server.kube.remove(services, { namespace: 'default', name: 's1' })
      await waitFor('the fourth watch is open', () => server.openWatches === 1)
      server.kube.seed(services, service('s2', '2'))
      await waitFor('it is in step', inStep)
      assert.ok(server.calls.length <= 10, `${server.calls.length} requests: it must not spin`)
    }, impatient(fault)))

test('a watch that breaks in the middle of a line loses nothing and repeats nothing', () =>
  withInformer(async ({ server, informer, inStep, log }, signal) => {
    server.misbehave = first(1, 'watch', { type: 'half' })
    const seen: string[] = []
    await informer.start(signal)
    informer.onChange(({ key, after }) => seen.push(`${key}=${after ?? ''}`))
    await waitFor('it watches', () => server.openWatches === 1)
    for (const step of ['1', '2', '3']) server.kube.seed(services, service('s0', step))
    await waitFor('it is in step', inStep)
    assert.deepEqual(seen, ['default/s0=1', 'default/s0=2', 'default/s0=3'])
    assert.equal(
      server.calls.filter(call => call.verb === 'list').length,
      1,
      'the watch went on where it was',
    )
    assert.equal(log.lines.filter(line => line.event === 'kube-watch-failed').length, 1)
  }))

test('a silent watch is opened again where it stopped', () =>
  withInformer(
    async ({ server, informer, inStep }, signal) => {
      await informer.start(signal)
      await waitFor('it asked again', () => server.calls.filter(call => call.verb === 'watch').length >= 3)
      assert.equal(server.calls.filter(call => call.verb === 'list').length, 1)
      server.kube.seed(services, service('late', '1'))
      await waitFor('it hears', inStep)
    },
    { limits: { watchSilenceMs: 5_000 } },
  ))

test('watches are asked for with bookmarks, an end, and the version the list had', () =>
  withInformer(async ({ server, informer }, signal) => {
    const version = String(server.kube.version)
    await informer.start(signal)
    await waitFor('it watches', () => server.openWatches === 1)
    const query = server.calls.at(-1)?.query
    assert.equal(query?.get('watch'), 'true')
    assert.equal(query?.get('allowWatchBookmarks'), 'true')
    assert.equal(query?.get('resourceVersion'), version)
    const timeout = Number(query?.get('timeoutSeconds'))
    assert.ok(timeout >= 300 && timeout < 600, `timeoutSeconds ${timeout}`)
    assert.equal(server.calls[0]?.query.get('limit'), '500')
  }))

test('after a bookmark the watch resumes from there, where it would else be too old', () =>
  withInformer(async ({ server, informer, inStep }, signal) => {
    await informer.start(signal)
    await waitFor('it watches', () => server.openWatches === 1)
    server.kube.seed(RESOURCES.nodes, { metadata: { name: 'unrelated' } })
    server.compact()
    server.inject(
      `${JSON.stringify({ type: 'BOOKMARK', object: { kind: 'Service', metadata: { resourceVersion: String(server.kube.version) } } })}\n`,
    )
    server.kube.seed(services, service('s0', '1'))
    await waitFor('it is in step', inStep)
    server.closeWatches()
    await waitFor('the first watch is over', () => server.openWatches === 0)
    server.kube.seed(services, service('s0', '2'))
    await waitFor('it is in step again', inStep)
    assert.equal(server.calls.filter(call => call.verb === 'watch').length, 2)
    assert.equal(server.calls.filter(call => call.verb === 'list').length, 1)
  }))

test('a relist tells exactly what differs', () =>
  withInformer(
    async ({ server, informer, inStep }, signal) => {
      await informer.start(signal)
      await waitFor('it watches', () => server.openWatches === 1)
      const seen: string[] = []
      informer.onChange(({ key, before, after }) => seen.push(`${key} ${before ?? '-'} > ${after ?? '-'}`))
      server.misbehave = call => (call.verb === 'watch' ? { type: 'status', status: 410 } : undefined)
      server.resetConnections()
      await waitFor('it is away', () => server.openWatches === 0)
      server.kube.seed(services, service('s1', '1'))
      server.kube.remove(services, { namespace: 'default', name: 's2' })
      server.kube.seed(services, service('new', '0'))
      // The same name, another object.
      server.kube.remove(services, { namespace: 'default', name: 's3' })
      server.kube.seed(services, service('s3', '0'))
      await waitFor('it is in step', () => inStep() && seen.length >= 4)
      assert.deepEqual(seen.sort(), [
        'default/new - > 0',
        'default/s1 0 > 1',
        'default/s2 0 > -',
        'default/s3 0 > 0',
      ])
    },
    { count: 7, pageLimit: 2 },
  ))

test('410 between two pages starts the list over', () =>
  withInformer(
    async ({ server, informer, inStep }, signal) => {
      let compactions = 0
      server.misbehave = call => {
        if (call.verb === 'list' && call.query.has('continue') && compactions < 2) {
          compactions++
          server.compact()
        }
        return undefined
      }
      await informer.start(signal)
      assert.ok(inStep())
      const lists = server.calls.filter(call => call.verb === 'list')
      assert.equal(lists.at(-1)?.query.get('limit') ?? null, null, 'twice means: all at once')
    },
    { count: 7, pageLimit: 2 },
  ))

test('an object that cannot be converted is reported and stops nothing', () =>
  withInformer(async ({ server, kube, log }, signal) => {
    const informer = kube.informer(services, {
      convert: object => {
        if (object.metadata.name === 's2') throw new Error('what is this?')
        return object.metadata.name
      },
    })
    await informer.start(signal)
    assert.equal(informer.items.size, 4)
    server.kube.seed(services, service('s9', '1'))
    await waitFor('it goes on', () => informer.items.size === 5)
    assert.equal(log.lines.filter(line => line.event === 'kube-object-not-understood').length, 1)
  }))

test('start rejects when it is aborted before the first list', () =>
  withInformer(async ({ server, informer }) => {
    server.misbehave = () => ({ type: 'hang' })
    const stop = new AbortController()
    const started = informer.start(stop.signal)
    await waitFor('it asked', () => server.calls.length > 0)
    stop.abort(new Error('enough'))
    await assert.rejects(started, /enough/)
  }))

for (const [seed, by] of [
  [1, 'Node.js'],
  [2, 'undici'],
  [3, 'Node.js'],
  [4, 'undici'],
] as const)
  test(`random changes and random faults, seed ${seed}, by ${by}: in the end both sides are the same`, () =>
    withInformer(
      async ({ server, informer, inStep }, signal) => {
        const random = new SeededRandom(seed)
        const pick = <V>(values: readonly V[]): V => values[Math.floor(random.next() * values.length)] as V
        const faults: readonly Fault[] = [
          ...Object.values(WATCH_FAULTS).filter(fault => fault.type !== 'hang'),
          { type: 'half' },
        ]
        server.misbehave = () => (random.next() < 0.4 ? pick(faults) : undefined)
        // What listeners were told, put together, is the store.
        const told = new Map<string, string>()
        informer.onChange(({ key, before, after }) => {
          assert.equal(told.get(key), before)
          if (after === undefined) told.delete(key)
          else told.set(key, after)
        })
        const started = informer.start(signal)
        for (let i = 0; i < 300; i++) {
          const name = `s${Math.floor(random.next() * 12)}`
          if (random.next() < 0.3) server.kube.remove(services, { namespace: 'default', name })
          else server.kube.seed(services, service(name, String(i)))
          if (random.next() < 0.05) server.compact()
          if (random.next() < 0.05) server.resetConnections()
          if (random.next() < 0.05) server.closeWatches()
          if (random.next() < 0.03) server.inject(pick(['\n', '{}\n', 'garbage\n', '{"type":"BOOKMARK"']))
          if (random.next() < 0.2) await new Promise(resolve => setImmediate(resolve))
          if (i % 30 === 29) await new Promise(resolve => systemClock.after(10, () => resolve(undefined)))
        }
        server.misbehave = () => undefined
        await started
        await waitFor('it is in step', inStep)
        assert.deepEqual(told, new Map(informer.items))
      },
      { count: 8, pageLimit: 3, ...(by === 'undici' ? { transport: BY_UNDICI } : {}) },
    ))
