import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ApiFaultRequest, LabPodStatus, LabServiceStatus } from '../api/lab.ts'
import { LAB_USERS } from '../api/lab.ts'
import { createKube } from '../kube/client.ts'
import { loadKubeConfig } from '../kube/config.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import type { Kube, KubeObject, Resource } from '../ports/kube.ts'
import { KubeError, objectKey, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import { systemRandom } from '../sys/random.ts'
import { startApiServer } from './apiserver/server.ts'
import type { PodNetwork } from './netns.ts'
import { startProxies } from './proxies.ts'
import type { LabPaths } from './state.ts'
import type { Host, Topology } from './topology.ts'
import { API_PORT, CONTROL_IPS } from './topology.ts'
import { startWorkload } from './workload/run.ts'

export type ClusterOptions = {
  readonly topology: Topology
  readonly paths: LabPaths
  /** The port on the host's loopback that leads to the API server's socket. */
  readonly hostPort: number
  readonly podNetwork: PodNetwork
  readonly clock: Clock
  readonly log: Log
}

export type Cluster = {
  /** Paths of kubeconfigs for processes inside the lab. */
  readonly speakerKubeconfig: string
  readonly controllerKubeconfig: string
  setFault(request: ApiFaultRequest): void
  /** Makes every watch that resumes start over. */
  compact(): void
  /** A node that is cut off hears nothing from the API server, which after a while takes it for lost. */
  setReachable(node: string, reachable: boolean): void
  objects(): Promise<{
    readonly services: readonly LabServiceStatus[]
    readonly pods: readonly LabPodStatus[]
  }>
}

/** The namespace of our own processes, as MetalLB's manifests have it. */
const NAMESPACE = 'metallb-system'

const POLL_MS: Ms = 20

/** The API server with its first objects, the workload controllers, and a service proxy on each node. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { clock, log, paths, topology } = options
  const tokens = { admin: token(), manager: token(), speaker: token(), controller: token() }
  const controlIps = topology.hosts.find(host => host.role === 'control')?.ips ?? []
  const server = await startApiServer({
    listen: controlIps.map(host => ({ host, port: API_PORT })),
    unixSocket: paths.apiSocket,
    serverNames: ['localhost', '127.0.0.1', ...controlIps, 'kubernetes', 'kubernetes.default.svc'],
    tokens: new Map([
      [tokens.admin, { user: 'kubernetes-admin', groups: ['system:masters', 'system:authenticated'] }],
      [tokens.manager, { user: 'system:kube-controller-manager', groups: ['system:masters'] }],
      [tokens.speaker, serviceAccount(LAB_USERS.speaker)],
      [tokens.controller, serviceAccount(LAB_USERS.controller)],
    ]),
    clusterCidrs: { services: [...topology.serviceCidrs] },
    crdDirectory: fileURLToPath(new URL('../../../deploy/crds', import.meta.url)),
    log,
    clock,
  })
  const inside = `https://${CONTROL_IPS[0]}:${API_PORT}`
  const file = (name: string, url: string, token: string): string => {
    writeFileSync(name, server.kubeconfig(url, token), { mode: 0o600 })
    return name
  }
  file(paths.kubeconfig, `https://127.0.0.1:${options.hostPort}`, tokens.admin)
  const managerKubeconfig = file(join(paths.data, 'manager.kubeconfig'), inside, tokens.manager)
  const kube = createKube({
    config: await loadKubeConfig({ clock, kubeconfig: managerKubeconfig }),
    clock,
    random: systemRandom,
    log,
    userAgent: 'lodestone-lab',
  })
  const nodes = topology.hosts.filter(host => host.role === 'node')
  for (const name of ['default', 'kube-system', NAMESPACE]) {
    await ensure(kube, RESOURCES.namespaces, { metadata: { name } })
  }
  await ensure(kube, RESOURCES.endpointSlices, API_ENDPOINTS)
  const cutOff = new Set<string>()
  const { signal } = new AbortController()
  await startWorkload(
    {
      kube,
      nodes: nodes.map(({ name, ips, podCidrs }) => ({ name, ips, podCidrs })),
      network: options.podNetwork,
      clock,
      log,
      logDirectory: join(paths.logs, 'pods'),
      reachable: node => !cutOff.has(node),
    },
    signal,
  )
  const proxies = await startProxies({ kube, nodes, clock, log }, signal)
  await nodesRegistered(kube, nodes, clock)
  return {
    speakerKubeconfig: file(join(paths.data, 'speaker.kubeconfig'), inside, tokens.speaker),
    controllerKubeconfig: file(join(paths.data, 'controller.kubeconfig'), inside, tokens.controller),
    setFault: ({ fault, user }) => server.setFault(fault, user === undefined ? {} : { user }),
    compact: () => server.compact(),
    objects: () => currentObjects(kube),
    setReachable(node, reachable) {
      if (reachable) cutOff.delete(node)
      else cutOff.add(node)
      proxies.setReachable(node, reachable)
    },
  }
}

function token(): string {
  return randomBytes(24).toString('base64url')
}

function serviceAccount(user: string): { user: string; groups: string[] } {
  return {
    user,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${NAMESPACE}`, 'system:authenticated'],
  }
}

/** Resolves when all nodes have registered. */
async function nodesRegistered(kube: Kube, nodes: readonly Host[], clock: Clock): Promise<void> {
  while ((await kube.list(RESOURCES.nodes)).length < nodes.length) {
    await new Promise<void>(resolve => clock.after(POLL_MS, resolve))
  }
}

/** Where the Service `kubernetes`, which the API server makes, leads: its own address. */
const API_ENDPOINTS: KubeObject = {
  metadata: {
    namespace: 'default',
    name: 'kubernetes',
    labels: { 'kubernetes.io/service-name': 'kubernetes' },
  },
  addressType: 'IPv4',
  endpoints: [
    { addresses: [CONTROL_IPS[0]], conditions: { ready: true, serving: true, terminating: false } },
  ],
  ports: [{ name: 'https', port: API_PORT, protocol: 'TCP' }],
}

async function ensure(kube: Kube, resource: Resource, object: KubeObject): Promise<void> {
  try {
    await kube.create(resource, object)
  } catch (error) {
    if (!(error instanceof KubeError) || error.code !== 'already-exists') throw error
  }
}

async function currentObjects(kube: Kube): Promise<Awaited<ReturnType<Cluster['objects']>>> {
  const [services, statuses, pods] = await Promise.all([
    kube.list(RESOURCES.services),
    kube.list(RESOURCES.serviceL2Statuses),
    kube.list(RESOURCES.pods),
  ])
  const owners = new Map<string, string[]>()
  for (const object of statuses) {
    const status = record(object['status'])
    const key = objectKey({ namespace: text(status['serviceNamespace']), name: text(status['serviceName']) })
    owners.set(key, [...(owners.get(key) ?? []), text(status['node'])].sort())
  }
  return {
    services: services.map(service =>
      toServiceStatus(service, owners.get(objectKey(service.metadata)) ?? []),
    ),
    pods: pods.map(toPodStatus),
  }
}

function toServiceStatus(service: KubeObject, owners: readonly string[]): LabServiceStatus {
  const spec = record(service['spec'])
  const ingress = list(record(record(service['status'])['loadBalancer'])['ingress'])
  return {
    namespace: service.metadata.namespace ?? '',
    name: service.metadata.name,
    type: text(spec['type']),
    clusterIps: list(spec['clusterIPs']).map(text),
    externalIps: ingress.map(entry => text(record(entry)['ip'])).filter(ip => ip !== ''),
    owners,
  }
}

function toPodStatus(pod: KubeObject): LabPodStatus {
  const status = record(pod['status'])
  return {
    namespace: pod.metadata.namespace ?? '',
    name: pod.metadata.name,
    node: text(record(pod['spec'])['nodeName']),
    ips: list(status['podIPs']).map(entry => text(record(entry)['ip'])),
    phase: text(status['phase']),
    ready: list(status['conditions'])
      .map(record)
      .some(condition => condition['type'] === 'Ready' && condition['status'] === 'True'),
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
