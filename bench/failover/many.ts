import { type Ip, parseIp } from '../../src/addr/ip.ts'
import { createKube, type KubeClient } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import { type Lab, startLab } from '../../src/lab/lab.ts'
import { monotonicMs } from '../../src/lab/probe/probe.ts'
import { startWatch, type WatchReport } from '../../src/lab/probe/watch.ts'
import { openSpeakerReader } from '../../src/lab/scenarios/speaker-status.ts'
import { waitUntil } from '../../src/lab/scenarios/wait.ts'
import { KubeError, type KubeObject, RESOURCES, type Resource } from '../../src/ports/kube.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { createLog } from '../../src/sys/log.ts'
import { systemRandom } from '../../src/sys/random.ts'
import type { Scope } from '../frame.ts'
import { ownCommands } from '../support/program.ts'
import { sleep } from './outage.ts'

const NODES = ['node1', 'node2', 'node3'] as const
/** Has all addresses while it is there. */
const LOST = NODES[0]
const CLIENT = 'client1'
const AT_A_TIME = 8
const TRIES = 5
const CREATED_WITHIN_MS = 120_000
const MOVED_WITHIN_MS = 30_000
/** For the announcements that repeat the first ones, and all that a return makes. */
const CALM_MS = 1000

export type Takeover = { readonly firstMs: number; readonly lastMs: number }

/** A lab with so many Services that one node announces; the function loses that node, and has it back afterwards. */
export async function manyAddresses(scope: Scope, count: number): Promise<() => Promise<Takeover>> {
  const { signal } = scope
  scope.progress('starting the lab')
  const name = `bench-${process.pid}`
  const lab = await startLab({ name, nodes: NODES.length, commands: ownCommands(), signal })
  scope.defer(() => lab.down())
  const speakers = openSpeakerReader(lab, NODES)
  scope.defer(() => speakers.close())

  async function owned(node: string): Promise<Ip[]> {
    const status = await speakers.read(node)
    return (status?.services ?? [])
      .flatMap(service => service.owned)
      .map(parseIp)
      .filter(ip => ip !== undefined)
  }
  const allOn = (nodes: readonly string[], withinMs: number): Promise<void> =>
    waitUntil(
      `${count} addresses on ${nodes.join(' and ')}`,
      async () => {
        let sum = 0
        for (const node of nodes) sum += (await owned(node)).length
        return sum === count ? undefined : `there are ${sum}`
      },
      { withinMs, everyMs: 200, signal },
    )

  scope.progress(`creating ${count} Services`)
  await createServices(lab, count)
  await allOn([LOST], CREATED_WITHIN_MS)
  const ips = await owned(LOST)
  const mac = await macOf(lab)
  const others = NODES.filter(node => node !== LOST)
  const watch = await startWatch(lab, CLIENT, { ips, everyMs: 0 })
  scope.defer(() => watch.close())

  return async () => {
    await allOn([LOST], MOVED_WITHIN_MS)
    await sleep(CALM_MS + Math.random() * 100)
    await watch.take()
    await lab.kill(LOST, 'blackhole')
    // Once it is done: before, the lab has other things to do, which would be part of both times.
    const since = monotonicMs()
    try {
      await allOn(others, MOVED_WITHIN_MS)
      await sleep(CALM_MS)
      return takeover(await watch.take(), ips, mac, since)
    } finally {
      await lab.revive(LOST)
    }
  }
}

function takeover({ heard }: WatchReport, ips: readonly Ip[], lost: string, since: number): Takeover {
  const times = ips.map(ip => {
    const run = heard[ip]?.find(({ mac }) => mac !== lost)
    if (run === undefined) throw new Error(`nobody was heard to announce ${ip}`)
    return run.fromMs - since
  })
  return { firstMs: Math.min(...times), lastMs: Math.max(...times) }
}

async function macOf(lab: Lab): Promise<string> {
  const { stdout } = await lab.exec(LOST, ['cat', '/sys/class/net/eth0/address'])
  return stdout.trim()
}

async function createServices(lab: Lab, count: number): Promise<void> {
  const clock = new SystemClock()
  const kube = createKube({
    config: await loadKubeConfig({ clock, kubeconfig: lab.kubeconfigPath }),
    clock,
    random: systemRandom,
    log: createLog({ level: 'error', to: 2 }),
    userAgent: 'lodestone-bench',
  })
  try {
    const metadata = { name: 'many', namespace: 'metallb-system' }
    await kube.create(RESOURCES.ipAddressPools, { metadata, spec: { addresses: ['198.18.0.0/16'] } })
    await kube.create(RESOURCES.l2Advertisements, {
      metadata,
      spec: {
        preferredNodeSelectors: [
          { weight: 100, preference: { matchLabels: { 'kubernetes.io/hostname': LOST } } },
        ],
      },
    })
    const numbers = Array.from({ length: count }, (_, i) => i)
    await Promise.all(
      Array.from({ length: AT_A_TIME }, async () => {
        for (let i = numbers.shift(); i !== undefined; i = numbers.shift()) await createOne(kube, i)
      }),
    )
  } finally {
    kube.close()
  }
}

/** Nobody sends to it: an endpoint that answers nothing is enough for it to be announced. */
async function createOne(kube: KubeClient, i: number): Promise<void> {
  const name = `many-${i}`
  const slice: KubeObject = {
    metadata: { namespace: 'default', name, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: [{ name: 'web', port: 8080, protocol: 'TCP' }],
    endpoints: [
      {
        addresses: ['10.244.3.250'],
        nodeName: 'node3',
        conditions: { ready: true, serving: true, terminating: false },
      },
    ],
  }
  await create(kube, RESOURCES.services, {
    metadata: { namespace: 'default', name },
    spec: {
      type: 'LoadBalancer',
      allocateLoadBalancerNodePorts: false,
      ports: [{ name: 'web', port: 80, protocol: 'TCP' }],
    },
  })
  await create(kube, RESOURCES.endpointSlices, slice)
}

/** Again where the server was too busy to say whether it did it. */
async function create(kube: KubeClient, resource: Resource, object: KubeObject): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await kube.create(resource, object)
      return
    } catch (error) {
      if (!(error instanceof KubeError)) throw error
      if (error.code === 'already-exists' && tries > 1) return
      if (!error.transient || tries === TRIES) throw error
    }
  }
}
