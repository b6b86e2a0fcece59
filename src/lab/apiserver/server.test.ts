import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { type RequestOptions, request } from 'node:https'
import { after, before, describe, it } from 'node:test'
import { FakeClock } from '../../ports/clock.ts'
import { FakeLog } from '../../ports/log.ts'
import type { JsonObject } from './objects.ts'
import { at } from './objects.ts'
import { type ApiServer, startApiServer } from './server.ts'

type CallOptions = Omit<RequestOptions, 'headers'> & { headers?: Record<string, string>; token?: string }

type Reply = { status: number; headers: IncomingMessage['headers']; text: string; body: JsonObject }

/** A watch: the events so far, and a way to wait for more. */
type Watch = { next: () => Promise<JsonObject>; ended: Promise<void>; close: () => void; raw: () => string }

describe('the API server over HTTPS', () => {
  const clock = new FakeClock()
  const log = new FakeLog()
  let server: ApiServer

  before(async () => {
    server = await startApiServer({
      listen: [{ host: '127.0.0.1', port: 0 }],
      serverNames: ['localhost', '127.0.0.1', '::1'],
      tokens: new Map([
        ['t1', { user: 'admin', groups: ['system:masters'] }],
        ['t2', { user: 'speaker', groups: [] }],
      ]),
      clusterCidrs: { services: ['10.96.0.0/16'] },
      log,
      clock,
      watchWindow: 50,
      bookmarkMs: 1000,
    })
  })
  after(() => server.close())

  function open(
    method: string,
    path: string,
    options: CallOptions & { body?: string | Buffer } = {},
  ): Promise<IncomingMessage> {
    const { body, token = 't1', headers, ...rest } = options
    return new Promise((done, fail) => {
      const call = request(
        {
          host: '127.0.0.1',
          port: server.ports[0],
          path,
          method,
          ca: server.caPem,
          agent: false,
          headers: {
            ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
            'content-type': 'application/json',
            // Node frames no body of a DELETE by itself.
            ...(body === undefined || headers !== undefined
              ? {}
              : { 'content-length': Buffer.byteLength(body) }),
            ...headers,
          },
          ...rest,
        },
        done,
      )
      call.on('error', fail)
      call.end(body)
    })
  }

  async function call(
    method: string,
    path: string,
    body?: unknown,
    options: CallOptions = {},
  ): Promise<Reply> {
    const text =
      body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
    const response = await open(method, path, { ...options, ...(text === undefined ? {} : { body: text }) })
    let answer = ''
    for await (const chunk of response) answer += String(chunk)
    let parsed: unknown
    try {
      parsed = JSON.parse(answer)
    } catch {
      parsed = {}
    }
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      text: answer,
      body: parsed as JsonObject,
    }
  }

  async function watch(path: string, options: CallOptions = {}): Promise<Watch> {
    const response = await open('GET', path, options)
    assert.equal(response.statusCode, 200)
    let raw = ''
    let rest = ''
    const events: JsonObject[] = []
    let wake: () => void = () => undefined
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      raw += chunk
      rest += chunk
      const lines = rest.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) events.push(JSON.parse(line) as JsonObject)
      wake()
    })
    const ended = new Promise<void>(done => {
      response.on('error', () => done())
      response.on('close', done)
    })
    return {
      raw: () => raw,
      ended,
      close: () => response.destroy(),
      next: async () => {
        while (events.length === 0) await new Promise<void>(done => (wake = done))
        return events.shift() ?? {}
      },
    }
  }

  const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps'
  const configMap = (name: string, data: object = {}): object => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name },
    data,
  })
  const nameOf = (event: JsonObject): unknown => at(event, 'object', 'metadata', 'name')

  it('asks for a token, but not for health and version', async () => {
    for (const token of ['', 'wrong']) {
      const { status, body } = await call('GET', '/api/v1/pods', undefined, { token })
      assert.equal(status, 401)
      assert.equal(body['reason'], 'Unauthorized')
    }
    for (const path of ['/healthz', '/livez', '/readyz', '/version']) {
      assert.equal((await call('GET', path, undefined, { token: '' })).status, 200, path)
    }
  })

  it('its certificate is good for its names', async () => {
    assert.equal((await call('GET', '/version', undefined, { servername: 'localhost' })).status, 200)
    await assert.rejects(call('GET', '/version', undefined, { servername: 'elsewhere.example' }), {
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    })
  })

  for (const [why, method, path, body, headers, code] of [
    ['malformed JSON', 'POST', CONFIG_MAPS, '{"a":', {}, 400],
    ['an array', 'POST', CONFIG_MAPS, '[]', {}, 400],
    ['nothing', 'POST', CONFIG_MAPS, '', {}, 400],
    [
      'another kind',
      'POST',
      CONFIG_MAPS,
      '{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}',
      {},
      400,
    ],
    ['another namespace', 'POST', CONFIG_MAPS, '{"metadata":{"name":"x","namespace":"other"}}', {}, 400],
    ['a bad name', 'POST', CONFIG_MAPS, '{"metadata":{"name":"Bad_Name"}}', {}, 422],
    ['no name', 'POST', CONFIG_MAPS, '{"metadata":{}}', {}, 422],
    ['a wrong type', 'POST', CONFIG_MAPS, '{"metadata":{"name":"x"},"data":{"a":1}}', {}, 400],
    ['wrong metadata', 'POST', CONFIG_MAPS, '{"metadata":{"name":5}}', {}, 400],
    ['protobuf', 'POST', CONFIG_MAPS, 'k8s', { 'content-type': 'application/vnd.kubernetes.protobuf' }, 415],
    ['an unknown patch', 'PATCH', `${CONFIG_MAPS}/x`, '{}', { 'content-type': 'application/json' }, 415],
    ['protobuf only', 'GET', CONFIG_MAPS, undefined, { accept: 'application/vnd.kubernetes.protobuf' }, 406],
    ['bad YAML', 'POST', CONFIG_MAPS, 'a: b: c', { 'content-type': 'application/yaml' }, 400],
    ['no such kind', 'GET', '/api/v1/unicorns', undefined, {}, 404],
    ['no such group', 'GET', '/apis/example.org/v1', undefined, {}, 404],
    ['a path upwards', 'GET', '/api/v1/namespaces/..%2f..%2fetc/pods', undefined, {}, 404],
    ['a path of dots', 'GET', '/api/v1/namespaces/%2e%2e/pods', undefined, {}, 404],
    ['an empty segment', 'GET', '/api/v1//pods', undefined, {}, 404],
    ['a bad escape', 'GET', '/api/v1/namespaces/%zz/pods', undefined, {}, 404],
    ['a method there is not', 'PUT', CONFIG_MAPS, '{}', {}, 405],
    ['a bad selector', 'GET', `${CONFIG_MAPS}?labelSelector=a%20b`, undefined, {}, 400],
    ['a bad field', 'GET', `${CONFIG_MAPS}?fieldSelector=spec.x%3D1`, undefined, {}, 400],
    ['a bad revision', 'GET', `${CONFIG_MAPS}?resourceVersion=x`, undefined, {}, 400],
    ['a bad continue', 'GET', `${CONFIG_MAPS}?continue=abc`, undefined, {}, 400],
    ['an unknown dry run', 'POST', `${CONFIG_MAPS}?dryRun=Some`, '{"metadata":{"name":"x"}}', {}, 400],
  ] as const) {
    it(`refuses ${why} with ${code} and a Status`, async () => {
      const reply = await call(method, path, body, { headers })
      assert.equal(reply.status, code, reply.text)
      assert.equal(reply.body['kind'], 'Status')
      assert.equal(reply.body['code'], code)
    })
  }

  it('refuses a body over 3 MiB with 413, announced or not', async () => {
    const large = JSON.stringify(configMap('large', { a: 'x'.repeat(4 * 1024 * 1024) }))
    assert.equal((await call('POST', CONFIG_MAPS, large)).status, 413)
    const chunked = await call('POST', CONFIG_MAPS, large, {
      headers: { 'transfer-encoding': 'chunked' },
    }).catch((error: NodeJS.ErrnoException) => error.code)
    // The answer may be lost when the connection is closed under a client that still sends.
    if (typeof chunked === 'object') assert.equal(chunked.status, 413)
    else assert.ok(chunked === 'ECONNRESET' || chunked === 'EPIPE', chunked)
    assert.equal((await call('GET', '/healthz')).status, 200)
  })

  it('takes YAML, warns of unknown fields, and refuses them when strict', async () => {
    const yaml = 'metadata:\n  name: yaml\ndata:\n  a: b\nextra: 1\n'
    const options = { headers: { 'content-type': 'application/yaml' } }
    const made = await call('POST', CONFIG_MAPS, yaml, options)
    assert.equal(made.status, 201)
    assert.equal(made.headers['warning'], '299 - "unknown field \\"extra\\""')
    assert.equal((await call('POST', `${CONFIG_MAPS}?fieldValidation=Strict`, yaml, options)).status, 400)
  })

  it('watches: from now, from a revision, by selector', async () => {
    const { body } = await call('GET', CONFIG_MAPS)
    const revision = String(at(body, 'metadata', 'resourceVersion'))
    const all = await watch(`${CONFIG_MAPS}?watch=true&resourceVersion=${revision}`)
    const chosen = await watch(
      `${CONFIG_MAPS}?watch=true&resourceVersion=${revision}&labelSelector=pick%3Dme`,
    )
    await call('POST', CONFIG_MAPS, configMap('w1'))
    assert.deepEqual([(await all.next())['type']], ['ADDED'])
    const label = (value: string | null): Promise<Reply> =>
      call(
        'PATCH',
        `${CONFIG_MAPS}/w1`,
        { metadata: { labels: { pick: value } } },
        { headers: { 'content-type': 'application/merge-patch+json' } },
      )
    await label('me')
    await label(null)
    await call('DELETE', `${CONFIG_MAPS}/w1`)
    assert.deepEqual(
      [(await all.next())['type'], (await all.next())['type'], (await all.next())['type']],
      ['MODIFIED', 'MODIFIED', 'DELETED'],
    )
    assert.deepEqual([(await chosen.next())['type'], (await chosen.next())['type']], ['ADDED', 'DELETED'])
    const replay = await watch(`${CONFIG_MAPS}?watch=true&resourceVersion=${revision}`)
    const first = await replay.next()
    assert.deepEqual([first['type'], nameOf(first)], ['ADDED', 'w1'])
    for (const w of [all, chosen, replay]) w.close()
  })

  it('a watch that resumes too late, or from another life of the server, gets an ERROR event of 410', async () => {
    const { body } = await call('GET', CONFIG_MAPS)
    const revision = Number(at(body, 'metadata', 'resourceVersion'))
    await call('POST', CONFIG_MAPS, configMap('late'))
    server.compact()
    for (const since of [revision, 1, revision + 1_000_000]) {
      const late = await watch(`${CONFIG_MAPS}?watch=true&resourceVersion=${since}`)
      const event = await late.next()
      assert.equal(event['type'], 'ERROR')
      assert.equal(at(event, 'object', 'code'), 410)
      await late.ended
    }
  })

  it('bookmarks, initial events and their end, timeoutSeconds', async () => {
    const query =
      'watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan'
    const events = await watch(
      `/api/v1/namespaces?${query}&fieldSelector=metadata.name%3Ddefault&timeoutSeconds=5`,
    )
    assert.equal(nameOf(await events.next()), 'default')
    const end = await events.next()
    assert.equal(end['type'], 'BOOKMARK')
    assert.equal(at(end, 'object', 'metadata', 'annotations', 'k8s.io/initial-events-end'), 'true')
    await call('POST', CONFIG_MAPS, configMap('moves-the-revision'))
    clock.advance(1000)
    const bookmark = await events.next()
    assert.equal(bookmark['type'], 'BOOKMARK')
    assert.equal(at(bookmark, 'object', 'metadata', 'resourceVersion'), String(server.store.revision))
    clock.advance(5000)
    await events.ended
    assert.equal((await call('GET', '/api/v1/pods?watch=true&sendInitialEvents=true')).status, 422)
  })

  it('pages of one consistent list', async () => {
    await call('POST', '/api/v1/namespaces', { metadata: { name: 'pages' } })
    const path = '/api/v1/namespaces/pages/secrets'
    for (const name of ['a', 'b', 'c', 'd', 'e']) await call('POST', path, { metadata: { name } })
    const names = (reply: Reply): unknown[] =>
      (reply.body['items'] as JsonObject[]).map(item => at(item, 'metadata', 'name'))
    const first = await call('GET', `${path}?limit=2`)
    assert.deepEqual(names(first), ['a', 'b'])
    assert.equal(at(first.body, 'metadata', 'remainingItemCount'), 3)
    await call('DELETE', `${path}/c`)
    await call('POST', path, { metadata: { name: 'bb' } })
    const token = String(at(first.body, 'metadata', 'continue'))
    const second = await call('GET', `${path}?limit=2&continue=${token}`)
    assert.deepEqual(names(second), ['c', 'd'], 'as it was when the first page was read')
    server.compact()
    const expired = await call('GET', `${path}?limit=2&continue=${token}`)
    assert.equal(expired.status, 410)
    assert.equal(expired.body['reason'], 'Expired')
  })

  it('owners take their dependents along; orphans stay', async () => {
    const owner = await call('POST', CONFIG_MAPS, configMap('owner'))
    const reference = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      name: 'owner',
      uid: at(owner.body, 'metadata', 'uid'),
      blockOwnerDeletion: true,
    }
    const dependent = (name: string): object => ({ metadata: { name, ownerReferences: [reference] } })
    await call('POST', CONFIG_MAPS, dependent('child'))
    const events = await watch(`${CONFIG_MAPS}?watch=true&resourceVersion=${server.store.revision}`)
    await call('DELETE', `${CONFIG_MAPS}/owner`, { propagationPolicy: 'Foreground' })
    const seen: unknown[] = []
    for (let i = 0; i < 4; i++) {
      const event = await events.next()
      seen.push([event['type'], nameOf(event)])
    }
    assert.deepEqual(seen, [
      ['MODIFIED', 'owner'],
      ['DELETED', 'child'],
      ['MODIFIED', 'owner'],
      ['DELETED', 'owner'],
    ])
    // One whose owner is gone already goes as well.
    await call('POST', CONFIG_MAPS, dependent('late-child'))
    assert.equal(nameOf(await events.next()), 'late-child')
    assert.equal((await events.next())['type'], 'DELETED')
    events.close()
  })

  it('a namespace goes with all that is in it, finalizers first', async () => {
    await call('POST', '/api/v1/namespaces', { metadata: { name: 'doomed' } })
    const path = '/api/v1/namespaces/doomed/configmaps'
    await call('POST', path, { metadata: { name: 'held', finalizers: ['example.com/hold'] } })
    const events = await watch(`/api/v1/namespaces?watch=true&resourceVersion=${server.store.revision}`)
    await call('DELETE', '/api/v1/namespaces/doomed')
    assert.equal(at(await events.next(), 'object', 'status', 'phase'), 'Terminating')
    const refused = await call('POST', path, { metadata: { name: 'more' } })
    assert.equal(refused.status, 403)
    assert.match(String(refused.body['message']), /because it is being terminated/)
    await call(
      'PATCH',
      `${path}/held`,
      { metadata: { finalizers: null } },
      { headers: { 'content-type': 'application/merge-patch+json' } },
    )
    assert.equal((await events.next())['type'], 'DELETED')
    assert.equal((await call('GET', `${path}/held`)).status, 404)
    events.close()
  })

  it('conflicts: a stale update, a wrong precondition, a name twice', async () => {
    const made = await call('POST', CONFIG_MAPS, configMap('c'))
    assert.equal((await call('POST', CONFIG_MAPS, configMap('c'))).body['reason'], 'AlreadyExists')
    await call('PUT', `${CONFIG_MAPS}/c`, { ...made.body, data: { a: '1' } })
    const stale = await call('PUT', `${CONFIG_MAPS}/c`, { ...made.body, data: { a: '2' } })
    assert.equal(stale.status, 409)
    assert.equal(stale.body['reason'], 'Conflict')
    assert.equal((await call('DELETE', `${CONFIG_MAPS}/c`, { preconditions: { uid: 'other' } })).status, 409)
    const same = await call('GET', `${CONFIG_MAPS}/c`)
    const again = await call('PUT', `${CONFIG_MAPS}/c`, same.body)
    assert.equal(
      at(again.body, 'metadata', 'resourceVersion'),
      at(same.body, 'metadata', 'resourceVersion'),
      'no change, no revision',
    )
  })

  it('a patch of a status changes that alone, and only if it fits the version it names', async () => {
    const services = '/api/v1/namespaces/default/services'
    const spec = { type: 'LoadBalancer', ports: [{ port: 80 }] }
    const made = await call('POST', services, { metadata: { name: 's' }, spec })
    const merge = (patch: object, name = 's') =>
      call('PATCH', `${services}/${name}/status`, patch, {
        headers: { 'content-type': 'application/merge-patch+json', 'user-agent': 'status-writer/1' },
      })
    const ingress = [{ ip: '192.0.2.1' }]
    const stale = await merge({ metadata: { resourceVersion: '1' }, status: { loadBalancer: { ingress } } })
    assert.equal(stale.status, 409)
    assert.equal((await merge({ status: { loadBalancer: { ingress: [{ ip: 'x' }] } } })).status, 422)
    const resourceVersion = at(made.body, 'metadata', 'resourceVersion')
    const written = await merge({
      metadata: { resourceVersion, annotations: { note: 'kept' } },
      status: { loadBalancer: { ingress }, unheardOf: 1 },
    })
    assert.equal(written.status, 200)
    assert.match(String(written.headers['warning']), /unknown field \\"status.unheardOf\\"/)
    const { body } = await call('GET', `${services}/s`)
    assert.deepEqual(body, written.body)
    assert.deepEqual(body['spec'], made.body['spec'])
    assert.deepEqual(body['status'], { loadBalancer: { ingress } })
    assert.equal(at(body, 'metadata', 'annotations', 'note'), 'kept')
    assert.equal(at(body, 'metadata', 'uid'), at(made.body, 'metadata', 'uid'))
    const [creator, writer] = at(body, 'metadata', 'managedFields') as JsonObject[]
    assert.deepEqual(creator, at(made.body, 'metadata', 'managedFields', 0))
    assert.equal(writer?.['manager'], 'status-writer')
    assert.deepEqual(at(writer, 'fieldsV1', 'f:status'), { 'f:loadBalancer': { 'f:ingress': {} } })
    // A field of the spec is not written, but looked at: it is where the mistake is.
    const other = await merge({ spec: { type: 'ClusterIP', unheardOf: 1 }, status: { loadBalancer: null } })
    assert.match(String(other.headers['warning']), /unknown field \\"spec.unheardOf\\"/)
    assert.deepEqual(other.body['spec'], made.body['spec'])
    assert.deepEqual(other.body['status'], { loadBalancer: {} })
    assert.equal((await merge({ status: {} }, 'absent')).status, 404)
  })

  it('a pod on a living node waits for its kubelet', async () => {
    const pods = '/api/v1/namespaces/default/pods'
    await call('POST', '/api/v1/nodes', {
      metadata: { name: 'n1' },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
    })
    await call('POST', pods, { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'x' }] } })
    assert.equal((await call('POST', `${pods}/p/binding`, { target: { name: 'n1' } })).status, 201)
    const marked = await call('DELETE', `${pods}/p`)
    assert.equal(at(marked.body, 'metadata', 'deletionGracePeriodSeconds'), 30)
    assert.equal((await call('GET', `${pods}/p`)).status, 200)
    await call('DELETE', `${pods}/p`, { gracePeriodSeconds: 0 })
    assert.equal((await call('GET', `${pods}/p`)).status, 404)
  })

  it('the same events under both of their names', async () => {
    await call('POST', '/apis/events.k8s.io/v1/namespaces/default/events', {
      metadata: { name: 'e1' },
      regarding: { kind: 'Service', name: 'web' },
      note: 'hello',
      reason: 'Tested',
      type: 'Normal',
    })
    const core = await call('GET', '/api/v1/namespaces/default/events/e1')
    assert.equal(core.body['message'], 'hello')
    assert.equal(at(core.body, 'involvedObject', 'name'), 'web')
    const list = await call('GET', '/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dweb')
    assert.equal(at(list.body, 'items', 0, 'note'), 'hello')
  })

  it('faults: each does what it says, to whom it says, and ends', async () => {
    const path = CONFIG_MAPS
    for (const status of [410, 429, 500] as const) {
      server.setFault({ status }, { user: 'speaker' })
      const reply = await call('GET', path, undefined, { token: 't2' })
      assert.equal(reply.status, status)
      if (status === 429) assert.equal(reply.headers['retry-after'], '1')
      assert.equal((await call('GET', path)).status, 200, 'another user is served')
    }
    server.setFault('half-json')
    const half = await call('GET', path)
    assert.equal(half.status, 200)
    assert.throws(() => JSON.parse(half.text) as unknown)

    server.setFault(undefined)
    const open = await watch(`${path}?watch=true&resourceVersion=${server.store.revision}`)
    server.setFault('close-watches')
    await open.ended
    await (await watch(`${path}?watch=true&resourceVersion=${server.store.revision}`)).ended
    server.setFault('half-json')
    const broken = await watch(`${path}?watch=true&resourceVersion=${server.store.revision}`)
    await broken.ended
    assert.doesNotMatch(broken.raw(), /\n$/)

    server.setFault('refuse')
    await assert.rejects(call('GET', path))
    server.setFault('hang')
    const hanging = call('GET', path)
    const outcome = hanging.then(
      () => 'answered',
      () => 'broken',
    )
    // Another user is served only when the fault is not everybody's: a second request hangs as well, and both end with the fault.
    const second = call('GET', path).then(
      () => 'answered',
      () => 'broken',
    )
    const arrived = new Promise<void>(done => {
      const check = (): void => (server.hanging() === 2 ? done() : void setImmediate(check))
      check()
    })
    await arrived
    server.setFault(undefined)
    assert.deepEqual(await Promise.all([outcome, second]), ['broken', 'broken'])
    assert.equal((await call('GET', path)).status, 200)
  })

  it('nothing that failed above was an error of the server', () => {
    assert.deepEqual(
      log.lines.filter(line => line.level === 'error'),
      [],
    )
    assert.equal(server.watches(), 0)
  })
})
