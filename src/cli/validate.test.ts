import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { validateFiles } from './validate.ts'

const EXAMPLES = fileURLToPath(new URL('../../../examples/', import.meta.url))

const POOL = `
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: lan, namespace: metallb-system}
spec: {addresses: [192.0.2.0/24]}
`
const PEER = `
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: router, namespace: metallb-system}
spec: {myASN: 64496, peerASN: 64497, peerAddress: 192.0.2.1}
`

async function* one(text: string): AsyncIterable<string> {
  yield await Promise.resolve(text)
}

const run = (text: string, options: { output?: 'text' | 'json'; namespace?: string } = {}) =>
  validateFiles({ file: ['-'], output: 'json', ...options }, one(text))

type Report = {
  valid: boolean
  problems: {
    code: string
    severity: string
    object: { kind: string; namespace: string; name: string }
    message: string
  }[]
}
async function report(
  text: string,
  options: { namespace?: string } = {},
): Promise<Report & { exitCode: number }> {
  const { exitCode, out, err } = await run(text, options)
  assert.equal(err, '')
  return { exitCode, ...(JSON.parse(out) as Report) }
}
const codes = ({ problems }: Report) =>
  problems.map(({ severity, code, object }) => `${severity} ${code} ${object.name}`)

test('valid: exit status 0, and nothing to say', async () => {
  const { out, exitCode } = await run(POOL)
  assert.deepEqual([exitCode, JSON.parse(out)], [0, { valid: true, problems: [] }])
  assert.equal((await run(POOL, { output: 'text' })).out, 'valid: no problems\n')
})

test('invalid: exit status 1, with code, severity, object and message', async () => {
  const { exitCode, out } = await run(POOL.replace('192.0.2.0/24', '192.0.2.9-192.0.2.1'))
  assert.equal(exitCode, 1)
  assert.deepEqual(JSON.parse(out), {
    valid: false,
    problems: [
      {
        code: 'range-reversed',
        severity: 'error',
        object: { kind: 'IPAddressPool', namespace: 'metallb-system', name: 'lan' },
        message: '"192.0.2.9-192.0.2.1" ends before it starts; write 192.0.2.1-192.0.2.9',
      },
    ],
  })
})

test('for people: a heading for each object, the field before the sentence, a count at the end', async () => {
  const pool = POOL.replace('192.0.2.0/24', '192.0.2.9').replace(']}', '], autoAssign: 1, color: red}')
  assert.equal(
    (await run(`${pool}---${PEER}`, { output: 'text' })).out,
    `IPAddressPool metallb-system/lan
  error: spec.addresses[0]: "192.0.2.9" is neither a CIDR nor a range of addresses; for one address write 192.0.2.9/32 (address-invalid)
  error: spec.autoAssign: must be true or false, not 1 (field-type)
  warning: spec.color: there is no field spec.color; the API server drops it (field-unknown)

not valid: 2 errors, 1 warning
`,
  )
})

test('transient counts as invalid; a warning does not', async () => {
  const waiting = await report(`${PEER.trimEnd().slice(0, -1)}, bfdProfile: fast}\n`)
  assert.deepEqual(
    [waiting.exitCode, waiting.valid, ...codes(waiting)],
    [1, false, 'transient bfd-profile-missing router'],
  )
  const odd = await report(`${PEER.trimEnd().slice(0, -1)}, color: red}\n`)
  assert.deepEqual([odd.exitCode, odd.valid, ...codes(odd)], [0, true, 'warning field-unknown router'])
})

test('errors come before what may still arrive, and that before warnings', async () => {
  const spec = 'bfdProfile: fast, color: red, holdTime: 1s}\n'
  assert.deepEqual(codes(await report(`${PEER.trimEnd().slice(0, -1)}, ${spec}`)), [
    'error timers-invalid router',
    'transient bfd-profile-missing router',
    'warning field-unknown router',
  ])
})

test('Nodes, Namespaces and Secrets of the input are those of the cluster; other kinds do not matter', async () => {
  const peer = `${PEER.trimEnd().slice(0, -1)}, passwordSecret: {name: s}, nodeSelectors: [{matchLabels: {rack: "1"}}]}\n`
  const secret =
    'apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: metallb-system}\ntype: kubernetes.io/basic-auth\ndata: {password: eA==}\n'
  const nodes = (rack: string) =>
    `apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {rack: "${rack}"}}\n`
  const other = 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n'
  assert.deepEqual(codes(await report([peer, nodes('1'), other].join('---\n'))), [
    'transient secret-missing router',
  ])
  assert.deepEqual(codes(await report([peer, secret, nodes('1')].join('---\n'))), [])
  assert.deepEqual(codes(await report([peer, secret, nodes('2')].join('---\n'))), [
    'warning nodes-none router',
  ])
})

test('what only the schema knows is found too, once', async () => {
  const port = await report(`${PEER.trimEnd().slice(0, -1)}, peerPort: 0}\n`)
  assert.deepEqual(codes(port), ['error field-range router'])
  assert.match(port.problems[0]?.message ?? '', /spec\.peerPort.*greater than or equal to 1/)
  assert.deepEqual(codes(await report(`${PEER.trimEnd().slice(0, -1)}, peerPort: "x"}\n`)), [
    'error field-type router',
  ])
  const state = 'apiVersion: metallb.io/v1beta1\nkind: ConfigurationState\nmetadata: {name: s}\nspec: 7\n'
  assert.deepEqual(codes(await report(state)), ['error field-type s'])
})

test('objects outside of the namespace are told', async () => {
  const both = `${POOL}---${PEER.replace('metallb-system', 'default')}`
  assert.deepEqual(codes(await report(both)), ['warning namespace-other router'])
  assert.deepEqual(codes(await report(both, { namespace: 'default' })), ['warning namespace-other lan'])
  assert.deepEqual(codes(await report(PEER.replace('metallb-system', 'lodestone'))), [])
})

test('V-42 configuration text for FRR has no effect, which is told', async () => {
  const extras =
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bgpextras, namespace: metallb-system}\ndata: {extras: x}\n'
  assert.deepEqual(codes(await report(`${POOL}---\n${extras}`)), ['warning field-ignored bgpextras'])
})

const UNUSABLE: Readonly<Record<string, readonly [text: string, message: RegExp]>> = {
  'no YAML': ['a: [', /^lodestone: standard input:\d+: /],
  'nothing at all': ['---\n', /no Kubernetes object in -/],
  'no Kubernetes object': ['a: 1\n', /no Kubernetes object/],
  'a kind that metallb.io does not have': [
    POOL.replace('IPAddressPool', 'AddressPool'),
    /lan: metallb.io has no kind AddressPool/,
  ],
  'a version that a kind does not have': [
    PEER.replace('v1beta2', 'v1'),
    /BGPPeer has no version metallb.io\/v1; use metallb.io\/v1beta1 or metallb.io\/v1beta2/,
  ],
}
for (const [name, [text, message]] of Object.entries(UNUSABLE)) {
  test(`exit status 2 for ${name}`, async () => {
    const { exitCode, out, err } = await run(text)
    assert.deepEqual([exitCode, out], [2, ''])
    assert.match(err, message)
  })
}

test('exit status 2 for a file that is not there', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'validate-'))
  try {
    const gone = join(folder, 'gone.yaml')
    assert.equal((await validateFiles({ file: [gone], output: 'text' })).exitCode, 2)
    writeFileSync(gone, POOL)
    assert.equal((await validateFiles({ file: [folder], output: 'text' })).exitCode, 0)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the examples are valid without a warning: all together, and each file of metallb/ for itself', async () => {
  const files = readdirSync(join(EXAMPLES, 'metallb'))
  assert.ok(files.length >= 20, `${files.length} files`)
  for (const path of [join(EXAMPLES, 'metallb'), ...files.map(name => join(EXAMPLES, 'metallb', name))]) {
    assert.deepEqual(
      await validateFiles({ file: [path], output: 'text' }),
      { exitCode: 0, out: 'valid: no problems\n', err: '' },
      path,
    )
  }
})
