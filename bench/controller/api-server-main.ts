import { randomBytes, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createKube } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import type { ApiObject } from '../../src/lab/apiserver/objects.ts'
import { startApiServer } from '../../src/lab/apiserver/server.ts'
import type { Stored } from '../../src/lab/apiserver/store.ts'
import { monotonicMs } from '../../src/lab/probe/probe.ts'
import { API_PORT, CONTROL_IPS } from '../../src/lab/topology.ts'
import { type KubeObject, RESOURCES } from '../../src/ports/kube.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { createLog } from '../../src/sys/log.ts'
import { systemRandom } from '../../src/sys/random.ts'
import type { Answer, Command, EndpointMove } from './messages.ts'

// The lab's API server in a process of its own, on the host `control` of a lab. Argument: where to write the kubeconfig.
const [kubeconfigPath = ''] = process.argv.slice(2)
const SYSTEM_NAMESPACE = 'metallb-system'
const NAMESPACES = 50
/** The only node with a speaker. */
const MEASURED_NODE = 'node1'
/** How many of the Services have externalTrafficPolicy Local and an endpoint on the measured node. */
const LOCAL_SERVICES = 25
/** What the store calls them. */
const NODES = '/nodes'
const SERVICES = '/services'
const SLICES = 'discovery.k8s.io/endpointslices'
const STATUSES = 'metallb.io/servicel2statuses'

const clock = new SystemClock()
const log = createLog({ level: 'warn', to: 2 })
const host = CONTROL_IPS[0] ?? ''
const token = randomBytes(24).toString('base64url')
const server = await startApiServer({
  listen: [{ host, port: API_PORT }],
  serverNames: [host, 'kubernetes.default.svc'],
  tokens: new Map([[token, { user: 'bench', groups: ['system:masters', 'system:authenticated'] }]]),
  clusterCidrs: { services: ['10.96.0.0/12'] },
  crdDirectory: fileURLToPath(new URL('../../../deploy/crds', import.meta.url)),
  log,
  clock,
})
writeFileSync(kubeconfigPath, server.kubeconfig(`https://${host}:${API_PORT}`, token), { mode: 0o600 })
const kube = createKube({
  config: await loadKubeConfig({ clock, kubeconfig: kubeconfigPath }),
  clock,
  random: systemRandom,
  log,
  userAgent: 'lodestone-bench',
})

const isLoadBalancer = (object: ApiObject): boolean => record(object['spec'])['type'] === 'LoadBalancer'
const hasAddress = (object: ApiObject): boolean => {
  const ingress = record(record(object['status'])['loadBalancer'])['ingress']
  return Array.isArray(ingress) && ingress.length > 0
}

/** Counted as the changes come: looking at all Services again and again would slow the server down. */
let waiting = 0
let announced = 0
let nodeCount = 0
let onChange: () => void = () => {}
const onAddress = new Map<string, () => void>()
const onStatus = new Map<string, (announced: boolean) => void>()
server.store.onChange((storageKey, { before, after }) => {
  if (storageKey === STATUSES) {
    announced += Number(after !== undefined) - Number(before !== undefined)
    onChange()
    // Made without a status first, which follows in a request of its own.
    const written = after !== undefined && record(after.object['status'])['node'] === MEASURED_NODE
    if (after === undefined || written) onStatus.get(serviceOfStatus(after ?? before))?.(written)
  } else if (storageKey === SERVICES) {
    const open = (stored: Stored | undefined): boolean =>
      stored !== undefined && isLoadBalancer(stored.object) && !hasAddress(stored.object)
    waiting += Number(open(after)) - Number(open(before))
    if (open(before) && after !== undefined && !open(after)) onAddress.get(after.key)?.()
    onChange()
  }
})

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await perform(JSON.parse(line) as Command)
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
process.exit(0)

async function perform(command: Command): Promise<Answer> {
  switch (command.do) {
    case 'create':
      await create(command.services, command.nodes)
      break
    case 'reset':
      reset()
      break
    case 'await-allocated':
      return await until(() => waiting === 0)
    case 'await-announced':
      return await until(() => announced >= command.services)
    case 'one-by-one':
      return await oneByOne(command.services)
    case 'move-endpoints':
      return await moveEndpoints(command.moves)
  }
  return { atMs: monotonicMs() }
}

function until(condition: () => boolean): Promise<Answer> {
  return new Promise(resolve => {
    onChange = () => {
      if (!condition()) return
      onChange = () => {}
      resolve({ atMs: monotonicMs() })
    }
    onChange()
  })
}

async function create(count: number, nodes: number): Promise<void> {
  nodeCount = nodes
  const system = (name: string) => ({ name, namespace: SYSTEM_NAMESPACE })
  for (const name of [SYSTEM_NAMESPACE, ...range(NAMESPACES).map(i => `team-${i}`)]) {
    await kube.create(RESOURCES.namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
  }
  await kube.create(RESOURCES.nodes, nodeOf(0))
  for (const i of range(nodes).slice(1)) {
    const { metadata, ...fields } = nodeOf(i)
    putCopy(NODES, MEASURED_NODE, metadata, fields)
  }
  const apiVersion = 'metallb.io/v1beta1'
  await kube.create(RESOURCES.ipAddressPools, {
    apiVersion,
    kind: 'IPAddressPool',
    metadata: system('large'),
    spec: { addresses: ['10.0.0.0/16'] },
  })
  await kube.create(RESOURCES.l2Advertisements, {
    apiVersion,
    kind: 'L2Advertisement',
    metadata: system('large'),
    // Where the measured node may announce it does, so that there is one speaker to look at and not five hundred. The others
    // are ranked all the same.
    spec: {
      preferredNodeSelectors: [
        { weight: 100, preference: { matchLabels: { 'kubernetes.io/hostname': MEASURED_NODE } } },
      ],
    },
  })
  // The first of each as the server makes it; the others are copies of that, since ten thousand requests take a minute.
  await kube.create(RESOURCES.services, serviceOf('service-0', 0))
  await kube.create(RESOURCES.endpointSlices, sliceOf('service-0', 0))
  const spec = record(server.store.collection(SERVICES).get('team-0/service-0')?.object['spec'])
  for (const i of range(count).slice(1)) {
    const clusterIP = `10.100.${i >> 8}.${i & 255}`
    const service = serviceOf(`service-${i}`, i, isLocal(i) ? 'Local' : 'Cluster')
    putCopy(SERVICES, 'team-0/service-0', service.metadata, {
      spec: { ...spec, ...record(service['spec']), clusterIP, clusterIPs: [clusterIP] },
    })
    const slice = sliceOf(`service-${i}`, i)
    putCopy(SLICES, 'team-0/service-0-1', slice.metadata, { endpoints: slice['endpoints'] })
  }
}

/** Puts a copy of an object of the store there under another name, with other fields. */
function putCopy(
  storageKey: string,
  of: string,
  metadata: KubeObject['metadata'],
  fields: Record<string, unknown>,
): void {
  const original = server.store.collection(storageKey).get(of)
  if (original === undefined) throw new Error(`the store has no ${of} among its ${storageKey}`)
  const copy = structuredClone(original.object)
  Object.assign(copy, fields)
  Object.assign(copy.metadata, metadata, { uid: randomUUID() })
  const { namespace, name } = metadata
  server.store.put(storageKey, namespace === undefined ? name : `${namespace}/${name}`, copy)
}

/** All but the first are made up: nothing answers at their addresses, and no packet for those leaves the lab. */
function nodeOf(i: number): KubeObject {
  const name = nodeName(i)
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/arch': 'amd64',
        'kubernetes.io/hostname': name,
        'kubernetes.io/os': 'linux',
        'topology.kubernetes.io/zone': `zone-${i % 3}`,
      },
    },
    status: {
      addresses: [
        { type: 'InternalIP', address: i === 0 ? '192.0.2.11' : `10.1.${i >> 8}.${i & 255}` },
        { type: 'Hostname', address: name },
      ],
      conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady' }],
    },
  }
}

function nodeName(i: number): string {
  return `node${i + 1}`
}

/** @param externalTrafficPolicy Local for the first few of the Services that are there from the beginning */
function serviceOf(
  name: string,
  i: number,
  externalTrafficPolicy: 'Cluster' | 'Local' = 'Cluster',
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: `team-${i % NAMESPACES}`, labels: { app: name, tier: 'web' } },
    spec: {
      type: 'LoadBalancer',
      externalTrafficPolicy,
      // There are not enough node ports for so many.
      allocateLoadBalancerNodePorts: false,
      selector: { app: name },
      ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }],
    },
  }
}

function sliceOf(service: string, i: number): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${service}-1`,
      namespace: `team-${i % NAMESPACES}`,
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType: 'IPv4',
    endpoints: isLocal(i) ? endpoints(i, 0) : endpoints(i, i % nodeCount),
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  }
}

/** Not the first, which the others are copies of: the server would give it a port for health checks. */
function isLocal(i: number): boolean {
  return i > 0 && i <= LOCAL_SERVICES
}

/** One on that node and one on the node after it. */
function endpoints(i: number, first: number): Record<string, unknown>[] {
  return [first, (first + 1) % nodeCount].map(node => ({
    addresses: [`10.${128 + (node >> 8)}.${node & 255}.${1 + (i % 250)}`],
    conditions: { ready: true, serving: true, terminating: false },
    nodeName: nodeName(node),
  }))
}

/** Straight into the store: ten thousand requests would take longer than what is measured. */
function reset(): void {
  for (const stored of server.store.collections.get(SERVICES)?.all() ?? []) {
    if (!isLoadBalancer(stored.object)) continue
    const copy = structuredClone(stored.object)
    delete copy.metadata.annotations
    copy['status'] = { loadBalancer: {} }
    server.store.put(SERVICES, stored.key, copy)
  }
  for (const stored of server.store.collections.get(STATUSES)?.all() ?? []) {
    server.store.remove(STATUSES, stored.key)
  }
}

async function oneByOne(count: number): Promise<Answer> {
  const latenciesMs: number[] = []
  for (const i of range(count)) {
    const service = serviceOf(`newcomer-${i}`, i)
    const { name, namespace = '' } = service.metadata
    const start = monotonicMs()
    const given = new Promise<void>(resolve => onAddress.set(`${namespace}/${name}`, resolve))
    await kube.create(RESOURCES.services, service)
    await given
    latenciesMs.push(monotonicMs() - start)
  }
  onAddress.clear()
  for (const i of range(count)) {
    await kube.delete(RESOURCES.services, { namespace: `team-${i % NAMESPACES}`, name: `newcomer-${i}` })
  }
  return { atMs: monotonicMs(), latenciesMs }
}

async function moveEndpoints(count: number): Promise<Answer> {
  const moves: EndpointMove[] = []
  for (const step of range(count)) {
    const i = 1 + (step % LOCAL_SERVICES)
    const onto = Math.floor(step / LOCAL_SERVICES) % 2 === 1
    const { name, namespace = '' } = sliceOf(`service-${i}`, i).metadata
    const service = `${namespace}/service-${i}`
    const shown = new Promise<void>(resolve => {
      onStatus.set(service, isAnnounced => {
        if (isAnnounced === onto) resolve()
      })
    })
    // The other endpoint stays where it is, on the node after the measured one.
    const [moved, stays] = [endpoints(i, onto ? 0 : 2)[0], endpoints(i, 0)[1]]
    const startWallMs = Date.now()
    const start = monotonicMs()
    await kube.patch(
      RESOURCES.endpointSlices,
      { namespace, name },
      { endpoints: [moved, stays] },
      { type: 'merge' },
    )
    await shown
    moves.push({ service, onto, startWallMs, statusMs: monotonicMs() - start })
    onStatus.delete(service)
  }
  return { atMs: monotonicMs(), moves }
}

function serviceOfStatus(stored: Stored | undefined): string {
  const labels = stored?.object.metadata.labels ?? {}
  return `${labels['metallb.io/service-namespace']}/${labels['metallb.io/service-name']}`
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
