// The plan of a live cluster is what its controller and speakers did, and what they do after a change or a failure is what was planned.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import type { PlanChangeJson, PlanJson } from '../../src/api/plan.ts'
import { explainCommand } from '../../src/cli/explain.ts'
import { readManifests } from '../../src/cli/manifests.ts'
import { planCommand } from '../../src/cli/plan.ts'
import { serviceFromObject } from '../../src/config/services.ts'
import { createKube, type KubeClient } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import { type Lab, startLab } from '../../src/lab/lab.ts'
import { waitUntil } from '../../src/lab/scenarios/wait.ts'
import { l2StatusFromObject } from '../../src/layer2/status.ts'
import { type KubeObject, RESOURCES, type Resource } from '../../src/ports/kube.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { systemRandom } from '../../src/sys/random.ts'

const NAMES = ['a', 'b', 'c', 'd']
const WITHIN = { withinMs: 15_000 }
const folder = mkdtempSync(join(tmpdir(), 'lab-plan-'))

let lab: Lab
let kube: KubeClient
before(async () => {
  lab = await startLab({ name: `plan-${process.pid}`, nodes: 3, clients: 0 })
  const clock = new SystemClock()
  const config = await loadKubeConfig({ clock, kubeconfig: lab.kubeconfigPath })
  kube = createKube({ config, clock, random: systemRandom, log: new FakeLog(), userAgent: 'test' })
  await create(pool('192.0.2.100-192.0.2.109'), advertisement())
  for (const name of NAMES) {
    await create(
      slice(name),
      service(name, name === 'd' ? { 'metallb.io/loadBalancerIPs': '192.0.2.108' } : {}),
    )
  }
})
after(async () => {
  kube.close()
  await lab.down()
  rmSync(folder, { recursive: true })
})

const pool = (range: string): KubeObject => ({
  apiVersion: 'metallb.io/v1beta1',
  kind: 'IPAddressPool',
  metadata: { name: 'lan', namespace: 'metallb-system' },
  spec: { addresses: [range] },
})
const advertisement = (spec: Readonly<Record<string, unknown>> = {}): KubeObject => ({
  apiVersion: 'metallb.io/v1beta1',
  kind: 'L2Advertisement',
  metadata: { name: 'lan', namespace: 'metallb-system' },
  spec,
})
const service = (name: string, annotations: Readonly<Record<string, string>> = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default', annotations },
  spec: { type: 'LoadBalancer', ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
})
const slice = (of: string): KubeObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: `${of}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': of } },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.244.1.200'], nodeName: 'node1' }],
  ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
})

const KINDS: readonly Resource[] = Object.values(RESOURCES)
function resourceOf(object: KubeObject): Resource {
  const resource = KINDS.find(({ kind }) => kind === object.kind)
  assert.ok(resource !== undefined, object.kind)
  return resource
}

async function create(...objects: readonly KubeObject[]): Promise<void> {
  for (const object of objects) await kube.create(resourceOf(object), object)
}

/** What the command printed. */
async function run(command: typeof planCommand | typeof explainCommand, ...argv: string[]): Promise<string> {
  const [out, err]: [string[], string[]] = [[], []]
  let code: number | undefined
  const io = {
    out: (text: string) => out.push(text),
    err: (text: string) => err.push(text),
    exit: (value: number) => {
      code = value
    },
  }
  await command(io).parseAsync([...argv, '--kubeconfig', lab.kubeconfigPath], { from: 'user' })
  assert.deepEqual([code, err], [0, []])
  return out.join('\n')
}

/** `ip node` of each Service, as the running processes wrote it. */
type Announced = Readonly<Record<string, string>>

async function announced(): Promise<Announced> {
  const [services, statuses] = await Promise.all([
    kube.list(RESOURCES.services),
    kube.list(RESOURCES.serviceL2Statuses, { namespace: 'metallb-system' }),
  ])
  const nodes = statuses.map(l2StatusFromObject)
  return Object.fromEntries(
    services
      .map(serviceFromObject)
      .filter(({ type }) => type === 'LoadBalancer')
      .map(({ key, statusIps }) => [
        key,
        [statusIps.join(), ...nodes.filter(status => status.service === key).map(({ node }) => node)].join(
          ' ',
        ),
      ]),
  )
}

async function planned(...argv: string[]): Promise<Announced> {
  const { layer2 } = JSON.parse(await run(planCommand, '-o', 'json', ...argv)) as PlanJson
  return Object.fromEntries(
    layer2.map(({ service: key, ips, owner }) => [key, `${ips.join()} ${owner ?? ''}`]),
  )
}

async function becomes(wanted: Announced): Promise<void> {
  await waitUntil(
    'the cluster as planned',
    async () => {
      const now = await announced()
      return isDeepStrictEqual(now, wanted)
        ? undefined
        : `${JSON.stringify(now)}, planned is ${JSON.stringify(wanted)}`
    },
    WITHIN,
  )
}

test('the plan of a live cluster is what its processes do, and explain finds no difference', async () => {
  const plan = await planned()
  assert.deepEqual(
    Object.keys(plan),
    NAMES.map(name => `default/${name}`),
  )
  await becomes(plan)
  // From the status alone, and with everybody's address written, nothing else is planned.
  assert.deepEqual(await planned(), plan)
  assert.match(await run(explainCommand, 'a'), /This is the plan\.$/)
  assert.match(await run(explainCommand, '192.0.2.100'), /belongs to Service default\/a/)
})

test('what a change is planned to move is what moves when it is made', async () => {
  const start = await planned()
  await becomes(start)
  const change = [
    pool('192.0.2.101-192.0.2.109'),
    advertisement({ preferredNodeSelectors: [{ weight: 5, preference: NODE3 }] }),
    service('new', { 'metallb.io/loadBalancerIPs': '192.0.2.109' }),
    slice('new'),
  ]
  const gone = service('d', { 'lodestone.dev/delete': 'true' })
  const file = join(folder, 'change.json')
  writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...change, gone] }))
  const wanted = JSON.parse(await run(planCommand, '--change', file, '-o', 'json')) as PlanChangeJson
  assert.ok(wanted.allocations.length >= 3, JSON.stringify(wanted))
  assert.ok(wanted.layer2.length >= 2, JSON.stringify(wanted))

  // Nobody is planned to get the address that the Service to be deleted leaves, so the order of the writes does not matter.
  await create(slice('new'), service('new', { 'metallb.io/loadBalancerIPs': '192.0.2.109' }))
  for (const object of change.slice(0, 2)) {
    const { name, namespace = '' } = object.metadata
    await kube.patch(resourceOf(object), { name, namespace }, { spec: object['spec'] }, { type: 'merge' })
  }
  await waitUntil(
    'a new address for a',
    async () => {
      const now = await announced()
      return now['default/a']?.startsWith('192.0.2.100') === true ? 'it has the old one' : undefined
    },
    WITHIN,
  )
  await kube.delete(RESOURCES.services, { namespace: 'default', name: 'd' })

  const expected = new Map(Object.entries(start).map(([key, text]) => [key, text.split(' ')] as const))
  for (const { service: key, after: ips } of wanted.allocations) expected.set(key, [ips.join(), ''])
  for (const { service: key, after: owner } of wanted.layer2) {
    expected.set(key, [expected.get(key)?.[0] ?? '', owner ?? ''])
  }
  expected.delete('default/d')
  await becomes(Object.fromEntries([...expected].map(([key, parts]) => [key, parts.join(' ')])))
})

const NODE3 = { matchLabels: { 'kubernetes.io/hostname': 'node3' } }

const DEPLOYMENTS: Resource = {
  group: 'apps',
  version: 'v1',
  plural: 'deployments',
  kind: 'Deployment',
  namespaced: true,
}

test('the endpoints of a new Service are foreseen from the pods that it selects', async () => {
  const example = fileURLToPath(new URL('../../../examples/web-cluster.yaml', import.meta.url))
  const [deployment] = await readManifests([example])
  assert.ok(deployment?.kind === 'Deployment')
  await kube.create(DEPLOYMENTS, { ...deployment, spec: { ...(deployment['spec'] as object), replicas: 1 } })
  await waitUntil(
    'a pod',
    async () => {
      const pods = await kube.list(RESOURCES.pods, { namespace: 'default', labelSelector: 'app=web' })
      const ready = pods.some(pod =>
        JSON.stringify(pod['status']).includes('{"type":"Ready","status":"True"'),
      )
      return ready ? undefined : JSON.stringify(pods.map(pod => pod['status']))
    },
    WITHIN,
  )
  const web = service('web')
  const local = { ...(web['spec'] as object), externalTrafficPolicy: 'Local', selector: { app: 'web' } }
  const file = join(folder, 'web.json')
  writeFileSync(file, JSON.stringify({ ...web, spec: local }))
  const { allocations, layer2 } = JSON.parse(
    await run(planCommand, '--change', file, '-o', 'json'),
  ) as PlanChangeJson
  const [ips, owner] = [allocations[0]?.after.join(), layer2[0]?.after]
  assert.match(`${ips} ${owner}`, /^192\.0\.2\.\d+ node\d$/)
  const before = await planned()
  await create({ ...web, spec: local })
  await becomes({ ...before, 'default/web': `${ips} ${owner}` })
})

test('who answers after a node is lost is who was planned', async () => {
  await becomes(await planned())
  const owner = (await planned())['default/a']?.split(' ')[1] ?? ''
  const wanted = await planned('--down', owner)
  assert.ok(Object.values(wanted).every(text => !text.endsWith(owner)))
  await lab.kill(owner, 'link')
  await becomes(wanted)
})
