import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { FakeClock } from '../ports/clock.ts'
import { type KubeConfig, loadKubeConfig } from './config.ts'
import type { KubeConfigErrorCode } from './config-error.ts'

const PEM = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
const KEY = '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'
const base64 = (text: string): string => Buffer.from(text).toString('base64')

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'lodestone-kubeconfig-'))
  try {
    await body(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** A kubeconfig of one cluster and one user, their fields given as YAML flow maps. */
function kubeconfig(cluster: string, user: string, context = ''): string {
  return `
apiVersion: v1
kind: Config
current-context: here
contexts: [{ name: here, context: { cluster: c, user: u${context} } }]
clusters: [{ name: c, cluster: { server: "https://192.0.2.1:6443", ${cluster} } }]
users: [{ name: u, user: { ${user} } }]
`
}

function load(path: string, clock = new FakeClock()): Promise<KubeConfig> {
  return loadKubeConfig({ clock, kubeconfig: path, env: {} })
}

test('data inline, and a namespace', () =>
  inDirectory(async directory => {
    const path = join(directory, 'config')
    writeFileSync(
      path,
      kubeconfig(
        `certificate-authority-data: ${base64(PEM)}, tls-server-name: api.example`,
        `client-certificate-data: ${base64(PEM)}, client-key-data: ${base64(KEY)}, token: secret, as: someone, as-groups: [a, b]`,
        ', namespace: web',
      ),
    )
    const config = await load(path)
    assert.equal(config.server.href, 'https://192.0.2.1:6443/')
    assert.equal(config.ca, PEM)
    assert.equal(config.tlsServerName, 'api.example')
    assert.equal(config.namespace, 'web')
    assert.equal(config.source, `${path}, context here`)
    assert.deepEqual(await config.credentials.current(), {
      headers: {
        authorization: 'Bearer secret',
        'impersonate-user': 'someone',
        'impersonate-group': ['a', 'b'],
      },
      clientCertificate: { cert: PEM, key: KEY },
    })
  }))

test('relative paths start at the file that names them; a user with a password is basic', () =>
  inDirectory(async directory => {
    mkdirSync(join(directory, 'pki'))
    writeFileSync(join(directory, 'pki/ca.crt'), PEM)
    writeFileSync(
      join(directory, 'config'),
      kubeconfig('certificate-authority: pki/ca.crt', 'username: u, password: p'),
    )
    const config = await load(join(directory, 'config'))
    assert.equal(config.ca, PEM)
    assert.equal((await config.credentials.current()).headers['authorization'], `Basic ${base64('u:p')}`)
  }))

test('KUBECONFIG is a list: who names a thing first wins, and files that do not exist are passed over', () =>
  inDirectory(async directory => {
    const [a, b] = [join(directory, 'a'), join(directory, 'b')]
    writeFileSync(a, 'users: [{ name: u, user: { token: from-a } }]\ncurrent-context: there\n')
    writeFileSync(
      b,
      kubeconfig('', 'token: from-b').replace(
        'contexts: [',
        'contexts: [{ name: there, context: { cluster: c, user: u, namespace: n } }, ',
      ),
    )
    const config = await loadKubeConfig({
      clock: new FakeClock(),
      env: { KUBECONFIG: `${join(directory, 'none')}:${a}:${b}` },
    })
    assert.equal(config.namespace, 'n')
    assert.equal((await config.credentials.current()).headers['authorization'], 'Bearer from-a')
    const other = await loadKubeConfig({ clock: new FakeClock(), env: { KUBECONFIG: b }, context: 'here' })
    assert.equal((await other.credentials.current()).headers['authorization'], 'Bearer from-b')
  }))

test('without KUBECONFIG the file in the home directory, then the pod, else a sentence', () =>
  inDirectory(async directory => {
    const clock = new FakeClock()
    await assert.rejects(loadKubeConfig({ clock, env: {}, home: directory }), {
      name: 'KubeConfigError',
      code: 'not-found',
      message:
        /no way to an API server: .*\.kube\/config does not exist, and this is no pod .* pass --kubeconfig/,
    })
    writeFileSync(join(directory, 'token'), 'first\n')
    writeFileSync(join(directory, 'ca.crt'), PEM)
    writeFileSync(join(directory, 'namespace'), 'lodestone-system')
    const pod = await loadKubeConfig({
      clock,
      env: { KUBERNETES_SERVICE_HOST: '2001:db8::1', KUBERNETES_SERVICE_PORT: '443' },
      home: directory,
      serviceAccountDirectory: directory,
    })
    assert.equal(pod.server.href, 'https://[2001:db8::1]/')
    assert.equal(pod.namespace, 'lodestone-system')
    assert.equal(pod.ca, PEM)
    mkdirSync(join(directory, '.kube'))
    writeFileSync(join(directory, '.kube/config'), kubeconfig('', 'token: t'))
    const file = await loadKubeConfig({ clock, env: {}, home: directory })
    assert.match(file.source, /\.kube\/config, context here$/)

    // The token of the pod, renewed by the kubelet: read again after a minute, and after a 401.
    const bearer = async (): Promise<unknown> => (await pod.credentials.current()).headers['authorization']
    writeFileSync(join(directory, 'token'), 'second\n')
    assert.equal(await bearer(), 'Bearer first')
    clock.advance(60_000)
    assert.equal(await bearer(), 'Bearer second')
    writeFileSync(join(directory, 'token'), 'third\n')
    assert.equal(pod.credentials.rejected(await pod.credentials.current()), true)
    assert.equal(await bearer(), 'Bearer third')
    rmSync(join(directory, 'token'))
    clock.advance(60_000)
    assert.equal(await bearer(), 'Bearer third', 'while there is none, the old one may still do')
  }))

test('a pod without a service account token says so', () =>
  inDirectory(async directory => {
    await assert.rejects(
      loadKubeConfig({
        clock: new FakeClock(),
        env: { KUBERNETES_SERVICE_HOST: '192.0.2.1', KUBERNETES_SERVICE_PORT: '443' },
        home: directory,
        serviceAccountDirectory: directory,
      }),
      { code: 'unreadable', message: /automountServiceAccountToken/ },
    )
  }))

const EXEC = 'apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never'
const REFUSED: readonly (readonly [string, string, KubeConfigErrorCode, RegExp])[] = [
  ['no YAML', '{', 'invalid', /is no YAML/],
  ['another kind', 'kind: Pod', 'invalid', /no kubeconfig/],
  ['nothing', '', 'invalid', /no current-context; pass --context/],
  [
    'an unknown context',
    'current-context: x\ncontexts: [{name: y, context: {}}]',
    'invalid',
    /no context "x"; there are: y/,
  ],
  [
    'an unknown cluster',
    'current-context: x\ncontexts: [{name: x, context: {cluster: z}}]',
    'invalid',
    /cluster "z" is not defined; there are: none/,
  ],
  [
    'a server that is no address',
    kubeconfig('', '').replace('https://', 'ftp://'),
    'invalid',
    /server "ftp:.* is no http/,
  ],
  ['a proxy', kubeconfig('proxy-url: "http://192.0.2.2"', ''), 'unsupported', /proxy-url is not supported/],
  [
    'an authority that is not there',
    kubeconfig('certificate-authority: none.crt', ''),
    'unreadable',
    /certificate-authority: ENOENT/,
  ],
  [
    'an authority that is no PEM',
    kubeconfig('certificate-authority-data: AAAA', ''),
    'invalid',
    /no base64 of PEM/,
  ],
  [
    'insecure beside an authority',
    kubeconfig(`insecure-skip-tls-verify: true, certificate-authority-data: ${base64(PEM)}`, ''),
    'invalid',
    /contradicts/,
  ],
  [
    'a certificate without key',
    kubeconfig('', `client-certificate-data: ${base64(PEM)}`),
    'invalid',
    /come together/,
  ],
  ['auth-provider', kubeconfig('', 'auth-provider: { name: gcp }'), 'unsupported', /exec plugin/],
  [
    'exec beside a token',
    kubeconfig('', `token: x, exec: { ${EXEC}, command: y }`),
    'invalid',
    /beside other credentials/,
  ],
  [
    'an exec version long gone',
    kubeconfig('', 'exec: { apiVersion: client.authentication.k8s.io/v1alpha1, command: y }'),
    'unsupported',
    /v1alpha1" is not one of/,
  ],
  ['exec without command', kubeconfig('', `exec: { ${EXEC} }`), 'invalid', /command is missing/],
]
for (const [name, text, code, message] of REFUSED)
  test(`refuses ${name}`, () =>
    inDirectory(async directory => {
      const path = join(directory, 'config')
      writeFileSync(path, text)
      await assert.rejects(load(path), { name: 'KubeConfigError', code, message })
    }))

test('a named file that is not there is refused', () =>
  assert.rejects(load('/nowhere/config'), {
    code: 'not-found',
    message: /\/nowhere\/config: there is no such/,
  }))

/** A plugin beside the kubeconfig, in shell; `run` counts its runs in a file. */
function withPlugin(directory: string, script: string, more = ''): string {
  const plugin = join(directory, 'plugin')
  writeFileSync(plugin, `#!/bin/sh\necho run >> ${directory}/runs\n${script}\n`)
  chmodSync(plugin, 0o755)
  const path = join(directory, 'config')
  writeFileSync(
    path,
    kubeconfig(
      `certificate-authority-data: ${base64(PEM)}, extensions: [{ name: client.authentication.k8s.io/exec, extension: { audience: a } }]`,
      `exec: { ${EXEC}, command: ./plugin, args: [one], env: [{ name: WHO, value: me }], installHint: get it, provideClusterInfo: true${more} }`,
    ),
  )
  return path
}

const credential = (status: string): string =>
  `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":${status}}`

test('an exec plugin gets its arguments, environment and cluster; its answer is kept until it ends or is refused', () =>
  inDirectory(async directory => {
    const clock = new FakeClock()
    const path = withPlugin(
      directory,
      `test "$1 $WHO" = "one me" || exit 3
printf '%s' "$KUBERNETES_EXEC_INFO" > ${directory}/info
n=$(wc -l < ${directory}/runs)
echo '${credential('{"token":"t\'$n\'","expirationTimestamp":"2026-01-01T00:10:00Z"}')}'`,
    )
    const { credentials } = await load(path, clock)
    const bearer = async (): Promise<unknown> => (await credentials.current()).headers['authorization']
    assert.deepEqual(await Promise.all([bearer(), bearer()]), ['Bearer t1', 'Bearer t1'])
    assert.deepEqual(JSON.parse(readFileSync(join(directory, 'info'), 'utf8')), {
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      spec: {
        interactive: false,
        cluster: {
          server: 'https://192.0.2.1:6443',
          'certificate-authority-data': base64(PEM),
          config: { audience: 'a' },
        },
      },
    })
    clock.advance(599_000)
    assert.equal(await bearer(), 'Bearer t1')
    assert.equal(credentials.rejected(await credentials.current()), true)
    assert.equal(await bearer(), 'Bearer t2')
    clock.advance(1_000)
    assert.equal(await bearer(), 'Bearer t3')
  }))

test('an exec plugin may give a client certificate', () =>
  inDirectory(async directory => {
    const status = JSON.stringify({ clientCertificateData: 'C', clientKeyData: 'K' })
    const { credentials } = await load(withPlugin(directory, `echo '${credential(status)}'`))
    assert.deepEqual(await credentials.current(), { headers: {}, clientCertificate: { cert: 'C', key: 'K' } })
  }))

const BAD_PLUGINS: readonly (readonly [string, string, RegExp])[] = [
  ['ends with an error', 'echo "please log in" >&2; exit 4', /ended with status 4: please log in\nget it/],
  ['prints no JSON', 'echo token', /printed no JSON/],
  [
    'prints another version',
    `echo '${credential('{"token":"t"}').replace('/v1', '/v1beta1')}'`,
    /v1beta1" where client/,
  ],
  ['gives nothing', `echo '${credential('{}')}'`, /neither a token nor/],
  ['gives half a certificate', `echo '${credential('{"clientKeyData":"K"}')}'`, /only one of/],
  [
    'gives no time',
    `echo '${credential('{"token":"t","expirationTimestamp":"soon"}')}'`,
    /"soon", which is no time/,
  ],
]
for (const [name, script, message] of BAD_PLUGINS)
  test(`an exec plugin that ${name} is an error that says so`, () =>
    inDirectory(async directory => {
      const { credentials } = await load(withPlugin(directory, script))
      await assert.rejects(credentials.current(), { name: 'KubeConfigError', code: 'exec-failed', message })
    }))

test('an exec plugin that is not installed is an error that says what to do', () =>
  inDirectory(async directory => {
    const path = withPlugin(directory, '')
    rmSync(join(directory, 'plugin'))
    const { credentials } = await load(path)
    await assert.rejects(credentials.current(), {
      code: 'exec-failed',
      message: /is not there: install plugin .*\nget it/,
    })
  }))
