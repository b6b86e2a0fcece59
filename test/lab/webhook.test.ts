// The real controller's webhooks, asked over TLS by the lab's API server, and by kubectl through it.
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { validateObjects } from '../../src/cli/validate.ts'
import { createKube, type KubeClient } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import { type ApiServer, startApiServer } from '../../src/lab/apiserver/server.ts'
import { type KubeObject, RESOURCES, type Resource } from '../../src/ports/kube.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { makeAuthority, makeServerCertificate, readCertificates } from '../../src/sys/certificates.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { systemRandom } from '../../src/sys/random.ts'

const NAMESPACE = 'metallb-system'
const HOST = 'metallb-webhook-service.metallb-system.svc'
const PROGRAM = new URL('../../src/cli/main.js', import.meta.url).href
const DEPLOY = fileURLToPath(new URL('../../../deploy/', import.meta.url))
const CONFIGURATIONS: Resource = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingwebhookconfigurations',
  kind: 'ValidatingWebhookConfiguration',
  namespaced: false,
}
const HOUR = 3_600_000

const clock = new SystemClock()
const folder = mkdtempSync(join(tmpdir(), 'lodestone-webhook-'))
const kubeconfig = join(folder, 'kubeconfig')
let api: ApiServer
let kube: KubeClient
let controller: ChildProcess
const lines: {
  readonly msg?: string
  readonly event?: string
  readonly port?: number
  readonly step?: string
}[] = []
let hasKubectl = false

const later = (ms: number) => new Promise<void>(resolve => clock.after(ms, resolve))

async function waitFor<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline = clock.now() + 60_000
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    assert(
      clock.now() < deadline,
      `${what} within a minute; the controller said ${JSON.stringify(lines.slice(-20))}`,
    )
    await later(20)
  }
}

const logged = (event: string) => lines.find(line => line.event === event || line.msg === event)
const steps = () =>
  lines.flatMap(({ event, msg, step }) =>
    step !== undefined && (event ?? msg) === 'webhook-certificate-written' ? [step] : [],
  )

type Result = { readonly code: number; readonly out: string }

function kubectl(args: readonly string[], stdin = ''): Promise<Result> {
  return new Promise(resolve => {
    const child = execFile(
      'kubectl',
      ['--kubeconfig', kubeconfig, '-n', NAMESPACE, ...args],
      { timeout: 60_000 },
      (error, stdout, stderr) => {
        resolve({
          code: typeof error?.code === 'number' ? error.code : error === null ? 0 : 127,
          out: stdout + stderr,
        })
      },
    )
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(stdin)
  })
}

const base64 = (text: string) => Buffer.from(text).toString('base64')

/** The bundle that the API server trusts now. */
function bundle(): string {
  const [webhook] = (api.store
    .collection('admissionregistration.k8s.io/validatingwebhookconfigurations')
    .all()[0]?.object['webhooks'] ?? []) as { clientConfig: { caBundle?: string } }[]
  return Buffer.from(webhook?.clientConfig.caBundle ?? '', 'base64').toString()
}

const OLD_AUTHORITY = (() => {
  // 61 % of its life are over: so its successor is made at once.
  const now = clock.wallNow()
  return makeAuthority('old', { fromMs: now - 61 * HOUR, untilMs: now + 39 * HOUR })
})()

before(async () => {
  api = await startApiServer({
    listen: [{ host: '127.0.0.1', port: 0 }],
    serverNames: ['localhost', '127.0.0.1'],
    tokens: new Map([['secret', { user: 'admin', groups: ['system:masters'] }]]),
    clusterCidrs: { services: ['10.96.0.0/16'] },
    crdDirectory: join(DEPLOY, 'crds'),
    log: new FakeLog(),
    clock,
  })
  writeFileSync(kubeconfig, api.kubeconfig(api.url, 'secret'))
  const config = await loadKubeConfig({ clock, kubeconfig })
  kube = createKube({ config, clock, random: systemRandom, log: new FakeLog(), userAgent: 'test' })
  await kube.create(RESOURCES.namespaces, { metadata: { name: NAMESPACE } })
  const now = clock.wallNow()
  const serving = makeServerCertificate([HOST], OLD_AUTHORITY, {
    fromMs: now - HOUR,
    untilMs: now + 39 * HOUR,
  })
  await kube.create(RESOURCES.secrets, {
    metadata: { namespace: NAMESPACE, name: 'metallb-webhook-cert' },
    data: {
      'ca.crt': base64(OLD_AUTHORITY.certPem),
      'ca.key': base64(OLD_AUTHORITY.keyPem),
      'tls.crt': base64(serving.certPem),
      'tls.key': base64(serving.keyPem),
    },
  })
  const manifests = parseAllDocuments(readFileSync(join(DEPLOY, 'webhooks/webhooks.yaml'), 'utf8'))
  for (const document of manifests) {
    const object = document.toJS() as KubeObject
    await kube.create(object.kind === 'Service' ? RESOURCES.services : CONFIGURATIONS, object)
  }
  const flags = ['--kubeconfig', kubeconfig, '--health-probe-port', '0', '--webhook-port', '0']
  // An overlap of three seconds.
  flags.push('--webhook-cert-lifetime', '60s', '--log-level', 'debug')
  const script = `import { main } from ${JSON.stringify(PROGRAM)}; await main(['node', 'lodestone', ...process.argv.slice(1)])`
  controller = spawn(process.execPath, ['--input-type=module', '-e', script, '--', 'controller', ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  assert(controller.stdout !== null)
  createInterface({ input: controller.stdout }).on('line', line => {
    try {
      lines.push(JSON.parse(line) as (typeof lines)[number])
    } catch {
      // Not ours: a warning of Node.
    }
  })
  const { port } = await waitFor('webhooks', () => logged('webhooks-ready'))
  await kube.create(RESOURCES.endpointSlices, {
    metadata: {
      namespace: NAMESPACE,
      name: 'metallb-webhook-service-1',
      labels: { 'kubernetes.io/service-name': 'metallb-webhook-service' },
    },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true } }],
    ports: [{ name: '', protocol: 'TCP', port }],
  })
  await waitFor('an authority in the configuration', () => bundle() || undefined)
  await waitFor('the conversion of BGPPeers', () =>
    JSON.stringify(
      api.store.collection('apiextensions.k8s.io/customresourcedefinitions').get('bgppeers.metallb.io')
        ?.object.spec,
    ).includes('"Webhook"')
      ? true
      : undefined,
  )
  hasKubectl = (await kubectl(['version', '--client'])).code === 0
})

after(async () => {
  if (controller?.exitCode === null) controller.kill('SIGKILL')
  kube?.close()
  await api?.close()
  rmSync(folder, { recursive: true })
})

const pool = (name: string, address: string): KubeObject => ({
  apiVersion: 'metallb.io/v1beta1',
  kind: 'IPAddressPool',
  metadata: { namespace: NAMESPACE, name },
  spec: { addresses: [address] },
})

const peer = (name: string, version: string, spec: object): KubeObject => ({
  apiVersion: `metallb.io/${version}`,
  kind: 'BGPPeer',
  metadata: { namespace: NAMESPACE, name },
  spec: { myASN: 64512, peerASN: 64513, peerAddress: '192.0.2.1', ...spec },
})

const apply = (...objects: KubeObject[]) =>
  kubectl(['apply', '-f', '-'], objects.map(object => JSON.stringify(object)).join('\n---\n'))

const denial = (webhook: string, object: KubeObject): string => {
  const message = validateObjects([object])
    .filter(({ severity }) => severity === 'error')
    .map(problem => problem.message)
    .join('; ')
  assert.notEqual(message, '')
  return `admission webhook "${webhook}.metallb.io" denied the request: ${message}`
}

describe('webhooks of the controller', () => {
  const failures: string[] = []
  let writes = 0
  let handshakes = 0
  const loading = new AbortController()
  const load: Promise<void>[] = []

  before(() => {
    const l2 = async (name: string) => {
      for (let i = 0; !loading.signal.aborted; i++) {
        const patch = { spec: { interfaces: [`eth${i}`] } }
        try {
          await kube.patch(RESOURCES.l2Advertisements, { namespace: NAMESPACE, name }, patch, {
            type: 'apply',
            fieldManager: 'load',
          })
          writes++
        } catch (error) {
          failures.push(String(error))
        }
        await later(10)
      }
    }
    const connect = async () => {
      const { port } = logged('webhooks-ready') ?? {}
      while (!loading.signal.aborted) {
        try {
          assert.equal(await ask(port ?? 0, bundle()), 200)
          handshakes++
        } catch (error) {
          failures.push(`a new connection: ${String(error)}`)
        }
        await later(20)
      }
    }
    load.push(l2('load-1'), l2('load-2'), connect())
  })

  it('a bad pool is refused at apply, with the sentence of lodestone validate', async t => {
    if (!hasKubectl) return t.skip('no kubectl')
    const bad = pool('bad', '192.0.2.1')
    const { code, out } = await apply(bad)
    assert.equal(code, 1)
    assert(out.includes(denial('ipaddresspoolvalidationwebhook', bad)), out)
    assert.match(out, /Forbidden/)
    assert.equal(await kube.get(RESOURCES.ipAddressPools, { namespace: NAMESPACE, name: 'bad' }), undefined)
  })

  it('a good pool is accepted; one that overlaps it is not, nor is a change of it to nonsense', async t => {
    if (!hasKubectl) return t.skip('no kubectl')
    const good = pool('good', '198.51.100.0/24')
    assert.deepEqual(await apply(good), { code: 0, out: 'ipaddresspool.metallb.io/good created\n' })
    const { code, out } = await apply(pool('over', '198.51.100.128/25'))
    assert.equal(code, 1)
    assert.match(out, /198\.51\.100\.128\/25 overlaps 198\.51\.100\.0\/24 of pool good/)
    const patched = await kubectl(['patch', 'ipaddresspool', 'good', '--type=json', '-p', BAD_PATCH])
    assert.equal(patched.code, 1)
    assert.match(patched.out, /denied the request: .*203\.0\.113\.9/)
    assert.equal((await apply(good)).out, 'ipaddresspool.metallb.io/good unchanged\n')
  })

  it('what is deleted just now is in nobody’s way', async () => {
    const name = { namespace: NAMESPACE, name: 'swap' }
    for (let i = 0; i < 10; i++) {
      await kube.create(RESOURCES.ipAddressPools, pool('swap', '203.0.113.0/24'))
      await kube.delete(RESOURCES.ipAddressPools, name)
      await kube.create(RESOURCES.ipAddressPools, pool('other', '203.0.113.0/25'))
      await kube.delete(RESOURCES.ipAddressPools, { ...name, name: 'other' })
    }
  })

  it('elsewhere than in our namespace nothing can be created', async () => {
    const stray = pool('stray', '192.0.2.0/28')
    const elsewhere = { ...stray, metadata: { ...stray.metadata, namespace: 'default' } }
    const sentence = validateObjects([elsewhere], { namespace: NAMESPACE })
      .map(({ message }) => message)
      .join()
    await assert.rejects(kube.create(RESOURCES.ipAddressPools, elsewhere), (error: Error) =>
      error.message.includes(`denied the request: ${sentence}`),
    )
  })

  it('what may come later is a warning', async t => {
    if (!hasKubectl) return t.skip('no kubectl')
    const { code, out } = await apply(peer('early', 'v1beta2', { bfdProfile: 'fast' }))
    assert.equal(code, 0, out)
    assert.match(out, /Warning: .*fast/)
    assert.match(out, /early created/)
  })

  it('a BFDProfile that a peer uses stays', async t => {
    if (!hasKubectl) return t.skip('no kubectl')
    const profile = {
      apiVersion: 'metallb.io/v1beta1',
      kind: 'BFDProfile',
      metadata: { name: 'fast' },
      spec: {},
    }
    assert.equal((await apply(profile)).code, 0)
    const refused = await kubectl(['delete', 'bfdprofile', 'fast'])
    assert.equal(refused.code, 1)
    assert.match(refused.out, /BFDProfile fast is used by BGPPeer early/)
    assert.equal((await kubectl(['delete', 'bgppeer', 'early'])).code, 0)
    assert.equal((await kubectl(['delete', 'bfdprofile', 'fast'])).code, 0)
  })

  it('a BGPPeer of v1beta1 is validated, stored as v1beta2, and read back as it was', async t => {
    if (!hasKubectl) return t.skip('no kubectl')
    const bad = peer('old', 'v1beta1', { routerID: 'here' })
    const refused = await apply(bad)
    assert.equal(refused.code, 1)
    assert(refused.out.includes(denial('bgppeersvalidationwebhook', bad)), refused.out)
    const accepted = await apply(peer('old', 'v1beta1', { peerPort: 0 }))
    assert.equal(accepted.code, 0, accepted.out)
    const inVersion = async (version: string) => {
      const { code, out } = await kubectl(['get', `bgppeers.${version}.metallb.io`, 'old', '-o', 'json'])
      assert.equal(code, 0, out)
      return JSON.parse(out) as { apiVersion: string; spec: Record<string, unknown> }
    }
    const stored = await inVersion('v1beta2')
    assert.equal(stored.apiVersion, 'metallb.io/v1beta2')
    assert.equal(stored.spec['peerPort'] === 0, false)
    const read = await inVersion('v1beta1')
    assert.equal(read.apiVersion, 'metallb.io/v1beta1')
    assert.equal(read.spec['peerAddress'], '192.0.2.1')
    // A field of v1beta2 survives a client of v1beta1.
    await kubectl([
      'patch',
      'bgppeers.v1beta2.metallb.io',
      'old',
      '--type=merge',
      '-p',
      '{"spec":{"vrf":"red"}}',
    ])
    await kubectl([
      'patch',
      'bgppeers.v1beta1.metallb.io',
      'old',
      '--type=merge',
      '-p',
      '{"spec":{"holdTime":"30s"}}',
    ])
    const { spec } = await inVersion('v1beta2')
    assert.deepEqual([spec['vrf'], spec['holdTime']], ['red', '30s'])
    assert.equal((await inVersion('v1beta1')).spec['vrf'], undefined)
    await kubectl(['delete', 'bgppeer', 'old'])
  })

  it('a change of authority and certificate under load loses no request', async () => {
    await waitFor('all steps of a rotation', () => (steps().includes('drop-others') ? true : undefined))
    await waitFor('only the new authority', () =>
      readCertificates(bundle())?.length === 1 && !bundle().includes(OLD_AUTHORITY.certPem)
        ? true
        : undefined,
    )
    const before = { writes, handshakes }
    await waitFor('some more requests', () =>
      writes > before.writes + 5 && handshakes > before.handshakes + 5 ? true : undefined,
    )
    loading.abort()
    await Promise.all(load)
    assert.deepEqual(failures, [])
    const [first, second, third] = steps()
    // What was there is used, never replaced before it is known.
    assert(lines.every(({ step }) => step !== 'start-over'))
    assert.deepEqual([first, second, third], ['add-authority', 'renew-serving', 'drop-others'])
  })

  it('when nobody answers, nothing is written, and it ends in order', async () => {
    const ended = new Promise<number | null>(resolve => controller.on('exit', code => resolve(code)))
    controller.kill('SIGTERM')
    assert.equal(await ended, 0)
    await assert.rejects(
      kube.create(RESOURCES.ipAddressPools, pool('late', '192.0.2.0/28')),
      /failed calling webhook "ipaddresspoolvalidationwebhook.metallb.io"/,
    )
  })
})

const BAD_PATCH = JSON.stringify([{ op: 'replace', path: '/spec/addresses', value: ['203.0.113.9'] }])

/** One review over a connection of its own; answers the status. */
function ask(port: number, ca: string): Promise<number> {
  const object = pool('asked', '192.0.2.0/28')
  const review = {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: { uid: 'u', operation: 'CREATE', kind: { kind: 'IPAddressPool' }, namespace: NAMESPACE, object },
  }
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        servername: HOST,
        ca,
        agent: false,
        method: 'POST',
        path: '/validate-metallb-io-v1beta1-ipaddresspool',
      },
      response => {
        response.resume()
        response.on('end', () => resolve(response.statusCode ?? 0))
      },
    )
    sent.on('error', reject)
    sent.end(JSON.stringify(review))
  })
}
