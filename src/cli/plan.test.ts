import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { PlanChangeJson, PlanJson } from '../api/plan.ts'
import { explainCommand } from './explain.ts'
import { didYouMean } from './inputs.ts'
import { planCommand } from './plan.ts'

/** What a command printed, and its exit status. */
type Outcome = { readonly out: string; readonly err: string; readonly code: number | undefined }

async function run(command: typeof planCommand | typeof explainCommand, ...argv: string[]): Promise<Outcome> {
  const [out, err]: [string[], string[]] = [[], []]
  let code: number | undefined
  await command({
    out: text => out.push(text),
    err: text => err.push(text),
    exit: value => {
      code = value
    },
  }).parseAsync(argv, { from: 'user' })
  return { out: out.join('\n'), err: err.join('\n'), code }
}

/** Files in a folder of their own; the answer is their paths. */
function files(t: TestContext, ...texts: string[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'plan-test-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return texts.map((text, index) => {
    const path = join(folder, `${index}.yaml`)
    writeFileSync(path, text)
    return path
  })
}

const POOL = `
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: { name: lan, namespace: metallb-system }
spec: { addresses: [192.0.2.100-192.0.2.101] }
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: { name: lan, namespace: metallb-system }
`
const NODE = `
apiVersion: v1
kind: Node
metadata: { name: node1 }
`
const service = (name: string, more = '') => `
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec: { type: LoadBalancer, ports: [{ port: 80 }]${more} }
`
const slice = (name: string) => `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: ${name}-1, labels: { kubernetes.io/service-name: ${name} } }
addressType: IPv4
endpoints: [{ addresses: [10.244.1.2], nodeName: node1 }]
`
const all = (...texts: string[]) => texts.join('---\n')

test('several files are one cluster, and JSON comes alone on the output', async t => {
  const [pool = '', rest = ''] = files(t, POOL, all(NODE, service('web'), slice('web')))
  const { out, err, code } = await run(planCommand, '-f', pool, '-f', rest, '-o', 'json')
  const plan = JSON.parse(out) as PlanJson
  assert.equal(out, JSON.stringify(plan, undefined, 2))
  assert.deepEqual(
    plan.layer2.map(({ service: key, ips, owner }) => [key, ips, owner]),
    [['default/web', ['192.0.2.100'], 'node1']],
  )
  assert.deepEqual(Object.keys(plan), ['allocations', 'layer2', 'bgp', 'bgpNotAnnounced'])
  assert.equal(err, '')
  assert.equal(code, 0)
})

test('a plan for people', async t => {
  const [file = ''] = files(t, all(POOL, NODE, service('web'), slice('web'), service('idle')))
  const { out } = await run(planCommand, '-f', file)
  assert.equal(
    out,
    `SERVICE       ADDRESSES    POOL  OWNER  THEN  BGP  NOTE
default/idle  192.0.2.101  lan   -      -     -    announced by nobody: noEndpoints
default/web   192.0.2.100  lan   node1  -     -

default/idle is announced by nobody: no endpoint of the Service can serve`,
  )
})

test('without nodes, without Services: the plan says what is missing', async t => {
  const [pool = '', noNodes = ''] = files(t, POOL, all(POOL, service('web'), slice('web')))
  assert.match((await run(planCommand, '-f', noNodes)).out, /^There is no Node among the objects/m)
  assert.equal(
    (await run(planCommand, '-f', pool)).out,
    'There is no Service of type LoadBalancer to plan for.',
  )
})

test('a refused configuration is told, and the exit status is 1', async t => {
  const [file = ''] = files(t, all(POOL.replace('192.0.2.100-192.0.2.101', '192.0.2.100'), service('web')))
  const text = await run(planCommand, '-f', file)
  assert.equal(text.code, 1)
  assert.equal(text.out, '')
  assert.match(text.err, /^error: IPAddressPool metallb-system\/lan: .*192\.0\.2\.100/)
  const json = await run(planCommand, '-f', file, '-o', 'json')
  assert.equal(json.code, 1)
  const plan = JSON.parse(json.out) as PlanJson
  assert.equal(json.out, JSON.stringify(plan, undefined, 2))
  assert.deepEqual(plan.allocations, [])
  assert.equal(plan.problems?.[0]?.code, 'address-invalid')
  const story = await run(explainCommand, 'web', '-f', file)
  assert.equal(story.code, 1)
  assert.match(story.err, /refused as a whole/)
})

test('input that cannot be read ends with 2, a node that is not there with 1', async t => {
  const [broken = '', good = ''] = files(t, 'kind: [', all(POOL, NODE))
  assert.equal((await run(planCommand, '-f', broken)).code, 2)
  const missing = await run(planCommand, '-f', join(broken, 'nowhere'))
  assert.equal(missing.code, 2)
  assert.match(missing.err, /^lodestone: cannot read/)
  assert.deepEqual(await run(planCommand, '-f', good, '--down', 'node2'), {
    out: '',
    err: 'lodestone: there is no Node node2; did you mean node1?',
    code: 1,
  })
})

test('resources in a namespace that a running cluster does not read are used, with a warning', async t => {
  const [file = ''] = files(t, all(POOL.replaceAll('metallb-system', 'elsewhere'), NODE, service('web')))
  const { err, out } = await run(planCommand, '-f', file)
  assert.match(err, /^warning: IPAddressPool elsewhere\/lan: .*metallb-system/)
  assert.match(out, /192\.0\.2\.100/)
  assert.equal((await run(planCommand, '-f', file, '--namespace', 'elsewhere')).err, '')
})

test('a change: what moves, what is removed, what was not there', async t => {
  const [cluster = '', change = ''] = files(
    t,
    all(POOL, NODE, service('web'), slice('web'), service('late'), service('later')),
    all(
      `
apiVersion: v1
kind: Service
metadata: { name: web, annotations: { lodestone.dev/delete: 'true' } }
`,
      `
apiVersion: v1
kind: Service
metadata: { name: gone, annotations: { lodestone.dev/delete: 'true' } }
`,
    ),
  )
  const { out, err, code } = await run(planCommand, '-f', cluster, '--change', change, '-o', 'json')
  const { allocations, layer2, bgp } = JSON.parse(out) as PlanChangeJson
  assert.deepEqual(
    allocations.map(({ service: key, before, after, reason }) => [key, before, after, reason.code]),
    [
      ['default/later', [], ['192.0.2.100'], 'assigned'],
      ['default/web', ['192.0.2.100'], [], 'serviceRemoved'],
    ],
  )
  assert.deepEqual(layer2, [
    { service: 'default/web', before: 'node1', after: null, reason: 'serviceRemoved' },
  ])
  assert.deepEqual(bgp, [])
  assert.equal(err, 'warning: Service gone is to be deleted, but is not there')
  assert.equal(code, 0)
})

test('a change that changes nothing, and one that is refused', async t => {
  const [cluster = '', same = '', refused = ''] = files(
    t,
    all(POOL, NODE, service('web')),
    POOL,
    POOL.replace('192.0.2.100-192.0.2.101', '192.0.2.101-192.0.2.100'),
  )
  assert.equal(
    (await run(planCommand, '-f', cluster, '--change', same)).out,
    'Nothing changes: no address, no owner, no route.',
  )
  const { out, err, code } = await run(planCommand, '-f', cluster, '--change', refused)
  assert.equal(out, 'Nothing changes: no address, no owner, no route.')
  assert.match(err, /^error: IPAddressPool .*\nThe changed configuration is refused as a whole/)
  assert.equal(code, 1)
})

test('a Service that comes with the change gets cluster IPs, and keeps what it asks for', async t => {
  const [cluster = '', change = ''] = files(
    t,
    all(POOL, NODE),
    all(service('web', ', loadBalancerIP: 192.0.2.101'), slice('web')),
  )
  const { out } = await run(planCommand, '-f', cluster, '--change', change)
  assert.equal(
    out,
    `SERVICE      ADDRESSES BEFORE  AFTER        WHY
default/web  -                 192.0.2.101  192.0.2.101 assigned from pool lan

SERVICE      OWNER BEFORE  AFTER  WHY
default/web  -             node1  nobody answered before`,
  )
})

test('a new Service whose pods are not known is planned without endpoints, and that is said', async t => {
  const [cluster = '', change = ''] = files(t, all(POOL, NODE), service('web', ', selector: { app: web }'))
  const { out, err } = await run(planCommand, '-f', cluster, '--change', change, '-o', 'json')
  assert.equal(
    err,
    'warning: nothing is known of the pods of Service default/web: it is planned without endpoints',
  )
  assert.deepEqual((JSON.parse(out) as PlanChangeJson).layer2, [])
})

test('names that are near', () => {
  const names = ['web', 'web-admin', 'mail', 'shop/web']
  assert.equal(didYouMean('wbe', names), '; did you mean web?')
  assert.equal(didYouMean('admin', names), '; did you mean web-admin?')
  assert.equal(didYouMean('Mail', names), '; did you mean mail?')
  assert.equal(didYouMean('zzzzzz', names), '')
})

test('a reader that has read enough ends the command quietly', async t => {
  const services = Array.from({ length: 300 }, (_, index) => service(`s${index}`))
  const [file = ''] = files(t, all(POOL, NODE, ...services))
  const entry = fileURLToPath(new URL('main-for-tests.js', import.meta.url))
  const argv = [entry, 'plan', '-f', file, '-o', 'json']
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] })
  let err = ''
  child.stderr.setEncoding('utf8').on('data', text => {
    err += text
  })
  child.stdout.once('data', () => child.stdout.destroy())
  const code = await new Promise(resolve => child.once('close', resolve))
  assert.deepEqual([code, err], [0, ''])
})
