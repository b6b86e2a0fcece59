import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { REVIEWED } from './decide.ts'
import { ROUTES } from './routes.ts'

type Webhook = {
  readonly name: string
  readonly failurePolicy: string
  readonly clientConfig: { readonly service: { readonly name: string; readonly path: string } }
  readonly rules: readonly {
    readonly apiVersions: readonly string[]
    readonly operations: readonly string[]
    readonly resources: readonly string[]
  }[]
}

test('the manifests ask about every kind, at a path that answers for it', () => {
  const text = readFileSync(new URL('../../../deploy/webhooks/webhooks.yaml', import.meta.url), 'utf8')
  const [service, configuration] = parseAllDocuments(text).map(
    document => document.toJS() as { kind: string; metadata: { name: string }; webhooks?: Webhook[] },
  )
  assert.deepEqual([service?.kind, configuration?.kind], ['Service', 'ValidatingWebhookConfiguration'])
  const asked = new Map<string, string>()
  for (const { name, failurePolicy, clientConfig, rules } of configuration?.webhooks ?? []) {
    assert.equal(failurePolicy, 'Fail', name)
    assert.equal(clientConfig.service.name, service?.metadata.name, name)
    const route = ROUTES.get(clientConfig.service.path)
    assert(route?.to === 'validate', name)
    const [rule] = rules
    assert.equal(rules.length, 1)
    const plural = `${route.kind.toLowerCase().replace(/y$/, 'ie')}s`
    assert.deepEqual(rule?.resources, [plural])
    assert.deepEqual(rule.apiVersions, [route.kind === 'BGPPeer' ? 'v1beta2' : 'v1beta1'])
    const more = route.kind === 'BFDProfile' ? ['DELETE'] : []
    assert.deepEqual(rule.operations, ['CREATE', 'UPDATE', ...more])
    asked.set(route.kind, name)
  }
  assert.deepEqual([...asked.keys()].sort(), Object.keys(REVIEWED).sort())
  assert.deepEqual(ROUTES.get('/convert'), { to: 'convert' })
})
