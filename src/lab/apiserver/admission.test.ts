import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import { FakeLog } from '../../ports/log.ts'
import { makeAuthority, makeServerCertificate } from '../../sys/certificates.ts'
import { SystemClock } from '../../sys/clock.ts'
import { at, type JsonObject, list, record, text } from './objects.ts'
import { type ApiServer, startApiServer } from './server.ts'

// Over HTTPS on loopback: an API server, a webhook that does as it is told, and a client.

const CONFIGURATIONS = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations'
const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const MAPS = '/api/v1/namespaces/default/configmaps'
const WIDGETS = (version: string) => `/apis/example.com/${version}/namespaces/default/widgets`

type Reply = { readonly status: number; readonly body: JsonObject; readonly warning: string }

describe('webhooks that the API server asks', () => {
  const clock = new SystemClock()
  const validity = { fromMs: clock.wallNow() - 60_000, untilMs: clock.wallNow() + 3_600_000 }
  const authority = makeAuthority('test', validity)
  const caBundle = Buffer.from(authority.certPem).toString('base64')
  let api: ApiServer
  let hook: Server
  /** What the webhook answers: `response` without uid, or a text as it is. */
  let handle: (request: JsonObject) => object | string | Promise<object | string>
  let asked: JsonObject[] = []

  before(async () => {
    hook = createServer(cert(['hook.default.svc', '127.0.0.1']), (incoming, response) => {
      let body = ''
      incoming.setEncoding('utf8')
      incoming.on('data', (chunk: string) => {
        body += chunk
      })
      incoming.on('end', () => {
        const review = JSON.parse(body) as { request: JsonObject }
        asked.push(review.request)
        void Promise.resolve(handle(review.request)).then(answer =>
          response.end(
            typeof answer === 'string'
              ? answer
              : JSON.stringify({ ...review, response: { uid: review.request['uid'], ...answer } }),
          ),
        )
      })
    })
    hook.listen(0, '127.0.0.1')
    await once(hook, 'listening')
    api = await startApiServer({
      listen: [{ host: '127.0.0.1', port: 0 }],
      serverNames: ['127.0.0.1'],
      tokens: new Map([['token', { user: 'somebody', groups: ['people'] }]]),
      clusterCidrs: { services: ['10.96.0.0/16'] },
      log: new FakeLog(),
      clock,
    })
  })
  after(async () => {
    await api.close()
    hook.closeAllConnections()
    hook.close()
  })
  beforeEach(() => {
    asked = []
    handle = () => ({ allowed: true })
  })

  function cert(names: string[]) {
    const { certPem, keyPem } = makeServerCertificate(names, authority, validity)
    return { cert: certPem, key: keyPem }
  }

  const url = () => `https://127.0.0.1:${(hook.address() as AddressInfo).port}/review`

  function call(method: string, path: string, body?: object, type = 'application/json'): Promise<Reply> {
    const sent = body === undefined ? '' : JSON.stringify(body)
    return new Promise((resolve, reject) => {
      const headers = {
        authorization: 'Bearer token',
        'content-type': type,
        'content-length': Buffer.byteLength(sent),
      }
      const outgoing = request(
        { host: '127.0.0.1', port: api.ports[0], ca: api.caPem, agent: false, method, path, headers },
        response => {
          let answer = ''
          response.setEncoding('utf8')
          response.on('data', (chunk: string) => {
            answer += chunk
          })
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              body: JSON.parse(answer) as JsonObject,
              warning: response.headers['warning'] ?? '',
            }),
          )
        },
      )
      outgoing.on('error', reject)
      outgoing.end(sent)
    })
  }

  /** Makes this the only configuration. */
  async function configure(webhook: object): Promise<void> {
    await call('DELETE', `${CONFIGURATIONS}/test`)
    const rules = [
      {
        apiGroups: [''],
        apiVersions: ['v1'],
        operations: ['CREATE', 'UPDATE', 'DELETE'],
        resources: ['configmaps'],
      },
    ]
    const { status, body } = await call('POST', CONFIGURATIONS, {
      metadata: { name: 'test' },
      webhooks: [
        {
          name: 'hook.example.com',
          clientConfig: { url: url(), caBundle },
          rules,
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          ...webhook,
        },
      ],
    })
    assert.equal(status, 201, JSON.stringify(body))
  }

  const map = (name: string, color = 'red', labels = {}) => ({ metadata: { name, labels }, data: { color } })

  it('are told what would be stored, by whom, and what was there before', async () => {
    await configure({})
    assert.equal((await call('POST', MAPS, map('a'))).status, 201)
    const merge = await call('PATCH', `${MAPS}/a`, { data: { size: '1' } }, 'application/merge-patch+json')
    assert.equal(merge.status, 200)
    assert.equal((await call('DELETE', `${MAPS}/a`)).status, 200)
    assert.deepEqual(
      asked.map(review => [
        review['operation'],
        at(review, 'object', 'data'),
        at(review, 'oldObject', 'data'),
      ]),
      [
        ['CREATE', { color: 'red' }, undefined],
        ['UPDATE', { color: 'red', size: '1' }, { color: 'red' }],
        ['DELETE', undefined, { color: 'red', size: '1' }],
      ],
    )
    const [first] = asked
    assert.deepEqual(first?.['userInfo'], { username: 'somebody', groups: ['people'] })
    assert.deepEqual([first?.['name'], first?.['namespace'], first?.['dryRun']], ['a', 'default', false])
    assert.deepEqual(first?.['resource'], { group: '', version: 'v1', resource: 'configmaps' })
    assert.equal(text(at(first, 'object', 'metadata', 'uid')).length, 36)
  })

  it('deny with their code and sentence, and nothing is written; warnings come along', async () => {
    await configure({})
    handle = () => ({ allowed: false, status: { code: 422, reason: 'Invalid', message: 'not red' } })
    const refused = await call('POST', MAPS, map('b'))
    assert.equal(refused.status, 422)
    assert.equal(refused.body['message'], 'admission webhook "hook.example.com" denied the request: not red')
    assert.equal((await call('GET', `${MAPS}/b`)).status, 404)
    handle = () => ({ allowed: false })
    assert.match(text((await call('POST', MAPS, map('b'))).body['message']), /without explanation/)
    handle = () => ({ allowed: true, warnings: ['rather blue'] })
    const warned = await call('POST', MAPS, map('b'))
    assert.deepEqual([warned.status, warned.warning], [201, '299 - "rather blue"'])
    handle = () => ({ allowed: false, status: { message: 'stays' } })
    for (const path of [`${MAPS}/b`, MAPS]) {
      const kept = await call('DELETE', path)
      assert.match(text(kept.body['message']), /denied the request: stays/)
    }
    assert.equal((await call('GET', `${MAPS}/b`)).status, 200)
    handle = () => ({ allowed: true })
    assert.equal((await call('DELETE', `${MAPS}/b`)).status, 200)
  })

  it('that cannot be asked, or answer nonsense, stop a write, or with Ignore do not', async () => {
    const stranger = Buffer.from(makeAuthority('stranger', validity).certPem).toString('base64')
    const elsewhere = { service: { namespace: 'default', name: 'absent' } }
    const cases: readonly (readonly [string, object, RegExp, typeof handle])[] = [
      ['nobody there', { clientConfig: { url: 'https://127.0.0.1:1/', caBundle } }, /ECONNREFUSED/, handle],
      ['another authority', { clientConfig: { url: url(), caBundle: stranger } }, /certificate/, handle],
      ['no service', { clientConfig: elsewhere }, /service "absent" not found/, handle],
      ['no JSON', {}, /no review/, () => 'nonsense'],
      ['no verdict', {}, /allowed/, () => ({})],
      ['another uid', {}, /uid/, () => ({ uid: 'x', allowed: true })],
      ['silence', { timeoutSeconds: 1 }, /within 1s/, () => new Promise(() => undefined)],
    ]
    for (const [name, webhook, why, answer] of cases) {
      handle = answer
      await configure(webhook)
      const { status, body } = await call('POST', MAPS, map('c'))
      assert.equal(status, 500, name)
      assert.match(text(body['message']), /failed calling webhook "hook.example.com"/, name)
      assert.match(text(body['message']), why, name)
      await configure({ ...webhook, failurePolicy: 'Ignore' })
      assert.equal((await call('POST', MAPS, map('c'))).status, 201, name)
      await call('DELETE', `${CONFIGURATIONS}/test`)
      await call('DELETE', `${MAPS}/c`)
    }
  })

  it('are found through a Service and its EndpointSlice, under the name of the Service', async () => {
    const { port } = hook.address() as AddressInfo
    const service = {
      metadata: { name: 'hook' },
      spec: { ports: [{ name: 'https', port: 443, targetPort: port }] },
    }
    assert.equal((await call('POST', '/api/v1/namespaces/default/services', service)).status, 201)
    const slice = {
      metadata: { name: 'hook-1', labels: { 'kubernetes.io/service-name': 'hook' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['192.0.2.1'], conditions: { ready: false } }],
      ports: [{ name: 'https', port }],
    }
    const slices = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'
    assert.equal((await call('POST', slices, slice)).status, 201)
    await configure({
      clientConfig: { service: { namespace: 'default', name: 'hook', path: '/x' }, caBundle },
    })
    assert.match(text((await call('POST', MAPS, map('d'))).body['message']), /no endpoints available/)
    const ready = { ...slice, endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true } }] }
    assert.equal((await call('PUT', `${slices}/hook-1`, ready)).status, 200)
    assert.equal((await call('POST', MAPS, map('d'))).status, 201)
    assert.equal(asked.length, 1)
  })

  it('are asked only about what their rules and selectors name', async () => {
    const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }
    const cases: readonly (readonly [string, object, number])[] = [
      ['everything', { rules: [{ ...rule, apiGroups: ['*'], resources: ['*'], operations: ['*'] }] }, 1],
      ['another group', { rules: [{ ...rule, apiGroups: ['apps'] }] }, 0],
      ['another resource', { rules: [{ ...rule, resources: ['secrets', 'configmaps/status'] }] }, 0],
      ['another operation', { rules: [{ ...rule, operations: ['UPDATE', 'DELETE'] }] }, 0],
      ['the other scope', { rules: [{ ...rule, scope: 'Cluster' }] }, 0],
      ['labels that it has', { rules: [rule], objectSelector: { matchLabels: { team: 'a' } } }, 1],
      ['labels that it has not', { rules: [rule], objectSelector: { matchLabels: { team: 'b' } } }, 0],
      ['a namespace', { rules: [rule], namespaceSelector: { matchLabels: { a: 'b' } } }, 0],
    ]
    for (const [name, webhook, times] of cases) {
      await configure(webhook)
      asked = []
      assert.equal((await call('POST', MAPS, map('e', 'red', { team: 'a' }))).status, 201, name)
      assert.equal(asked.length, times, name)
      await call('DELETE', `${CONFIGURATIONS}/test`)
      await call('DELETE', `${MAPS}/e`)
    }
  })

  it('see a dry run as one', async () => {
    await configure({})
    assert.equal((await call('POST', `${MAPS}?dryRun=All`, map('f'))).status, 201)
    assert.deepEqual(
      asked.map(review => review['dryRun']),
      [true],
    )
    assert.equal((await call('GET', `${MAPS}/f`)).status, 404)
  })

  it('take their time, and a patch then applies to what is there by then', async () => {
    await configure({})
    await call('POST', MAPS, map('g'))
    let interfered = false
    handle = async review => {
      if (!interfered && review['operation'] === 'UPDATE') {
        interfered = true
        await call('PATCH', `${MAPS}/g`, { data: { between: 'yes' } }, 'application/merge-patch+json')
      }
      return { allowed: true }
    }
    const { status, body } = await call(
      'PATCH',
      `${MAPS}/g`,
      { data: { late: 'yes' } },
      'application/merge-patch+json',
    )
    assert.equal(status, 200)
    assert.deepEqual(body['data'], { color: 'red', between: 'yes', late: 'yes' })
  })

  it('convert custom objects between their versions', async () => {
    await call('DELETE', `${CONFIGURATIONS}/test`)
    // v1 says `size`, v2 says `length`.
    handle = review => ({
      result: { status: 'Success' },
      convertedObjects: list(review['objects']).map(item => {
        const { spec, ...rest } = record(item)
        const { size, length } = record(spec)
        const to = text(review['desiredAPIVersion'])
        return { ...rest, apiVersion: to, spec: to.endsWith('v1') ? { size: length } : { length: size } }
      }),
    })
    const version = (name: string, field: string) => ({
      name,
      served: true,
      storage: name === 'v2',
      schema: {
        openAPIV3Schema: {
          type: 'object',
          properties: { spec: { type: 'object', properties: { [field]: { type: 'integer', maximum: 9 } } } },
        },
      },
    })
    const definition = {
      metadata: { name: 'widgets.example.com' },
      spec: {
        group: 'example.com',
        names: { plural: 'widgets', kind: 'Widget' },
        scope: 'Namespaced',
        versions: [version('v1', 'size'), version('v2', 'length')],
        conversion: {
          strategy: 'Webhook',
          webhook: { clientConfig: { url: url(), caBundle }, conversionReviewVersions: ['v1'] },
        },
      },
    }
    assert.equal((await call('POST', DEFINITIONS, definition)).status, 201)
    const made = await call('POST', WIDGETS('v1'), { metadata: { name: 'w' }, spec: { size: 3 } })
    assert.equal(made.status, 201, JSON.stringify(made.body))
    assert.deepEqual([made.body['apiVersion'], made.body['spec']], ['example.com/v1', { size: 3 }])
    const stored = await call('GET', `${WIDGETS('v2')}/w`)
    assert.deepEqual([stored.body['apiVersion'], stored.body['spec']], ['example.com/v2', { length: 3 }])
    const patch = await call(
      'PATCH',
      `${WIDGETS('v1')}/w`,
      { spec: { size: 4 } },
      'application/merge-patch+json',
    )
    assert.deepEqual(patch.body['spec'], { size: 4 })
    await call('PATCH', `${WIDGETS('v2')}/w`, { spec: { length: 5 } }, 'application/merge-patch+json')
    const listed = await call('GET', WIDGETS('v1'))
    assert.deepEqual(at(listed.body, 'items', 0, 'spec'), { size: 5 })
    // The rules are those of the stored version.
    assert.equal(
      (await call('POST', WIDGETS('v1'), { metadata: { name: 'x' }, spec: { size: 10 } })).status,
      422,
    )
    // What needs no conversion goes on without the webhook.
    handle = () => ({ result: { status: 'Failure', message: 'no idea' } })
    assert.equal(
      (await call('POST', WIDGETS('v2'), { metadata: { name: 'y' }, spec: { length: 6 } })).status,
      201,
    )
    const failed = await call('GET', WIDGETS('v1'))
    assert.equal(failed.status, 500)
    assert.match(
      text(failed.body['message']),
      /conversion webhook for example.com, Kind=Widget failed: no idea/,
    )
  })
})
