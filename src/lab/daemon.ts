import { join } from 'node:path'
import type { LabNodeStatus, LabStatus } from '../api/lab.ts'
import { parseFaultRequest, parseNodeRequest } from '../api/lab.ts'
import type { Clock } from '../ports/clock.ts'
import { SystemClock } from '../sys/clock.ts'
import { createLog } from '../sys/log.ts'
import { tail } from './bounded-log.ts'
import type { Cluster } from './cluster.ts'
import { serveControl } from './control.ts'
import { LabError } from './error.ts'
import type { DaemonConfig, LabEvent } from './messages.ts'
import {
  applyTopology,
  blackholeLink,
  createPodNetwork,
  cutLink,
  restoreLink,
  run,
  spawnIn,
} from './netns.ts'
import { SupervisedProcess } from './process.ts'
import type { LabPaths } from './state.ts'
import { pathsIn } from './state.ts'
import type { Host, Topology } from './topology.ts'
import { planTopology } from './topology.ts'

/** How long a speaker may take to hand over and leave. */
const DRAIN_WITHIN_MS = 30_000

/** The daemon's stderr is its log: stdout is for the outer process. */
const log = createLog({ level: 'info', to: 2 })

type LabNode = { readonly host: Host; link: LabNodeStatus['link']; speaker: SupervisedProcess | undefined }

type Running = {
  readonly config: DaemonConfig
  readonly topology: Topology
  readonly nodes: ReadonlyMap<string, LabNode>
  cluster: Cluster | undefined
  controller: SupervisedProcess | undefined
}

/** The inner daemon of a lab, in private network, mount and process namespaces. Runs until stdin ends. */
export async function runDaemon(config: DaemonConfig): Promise<void> {
  process.stdin.on('close', () => process.exit(0))
  process.stdin.on('error', () => process.exit(0))
  process.stdin.resume()
  process.on('uncaughtException', error => fail(error))
  process.on('unhandledRejection', error => fail(error))
  await start(config)
}

async function start(config: DaemonConfig): Promise<void> {
  const paths = pathsIn(config.folder)
  const clock = new SystemClock()
  const topology = planTopology(config)
  say({ event: 'progress', text: `network: ${topology.hosts.map(host => host.name).join(' ')}` })
  await hideRunFolder(join(paths.data, 'run'))
  await applyTopology(topology)
  const nodes = topology.hosts
    .filter(host => host.role === 'node')
    .map((host): [string, LabNode] => [host.name, { host, link: 'up', speaker: undefined }])
  const lab: Running = {
    config,
    topology,
    nodes: new Map(nodes),
    cluster: undefined,
    controller: undefined,
  }
  await serveControl(paths.controlSocket, (method, path, body) => handle(lab, method, path, body))
  if (!config.bare) await startSystem(lab, paths, clock)
  say({ event: 'ready' })
}

/** API server, controllers and the real processes, up to the point where all of them say that they are ready. */
async function startSystem(lab: Running, paths: LabPaths, clock: Clock): Promise<void> {
  const { config, topology } = lab
  // Only a lab with a cluster pays for loading it.
  const { startCluster } = await import('./cluster.ts')
  say({ event: 'progress', text: 'API server and workload controllers' })
  const starting = startCluster({
    topology,
    paths,
    hostPort: config.hostPort,
    podNetwork: createPodNetwork(),
    clock,
    log,
  })
  const cluster = await within(config.readyWithinMs, clock, starting, () => [join(paths.logs, 'daemon.log')])
  lab.cluster = cluster
  const supervise = (name: string, host: string, argv: readonly string[]): SupervisedProcess => {
    const supervised = new SupervisedProcess({
      name,
      logFile: join(paths.logs, `${name}.log`),
      clock,
      start: () => spawnIn(host, argv, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' }),
      log,
    })
    supervised.start()
    return supervised
  }
  const common = ['--namespace', 'metallb-system', '--log-level', 'info']
  lab.controller = supervise('controller', 'control', [
    ...config.commands.controller,
    ...common,
    '--kubeconfig',
    cluster.controllerKubeconfig,
  ])
  for (const [name, node] of lab.nodes) {
    node.speaker = supervise(`speaker-${name}`, name, [
      ...config.commands.speaker,
      ...common,
      '--node-name',
      name,
      '--kubeconfig',
      cluster.speakerKubeconfig,
    ])
  }
  say({ event: 'progress', text: 'controller and speakers' })
  await allReady(lab, clock)
}

async function allReady(lab: Running, clock: Clock): Promise<void> {
  const waiting = new Set<SupervisedProcess>()
  for (const supervised of [lab.controller, ...[...lab.nodes.values()].map(node => node.speaker)]) {
    if (supervised !== undefined) waiting.add(supervised)
  }
  const all = [...waiting].map(async supervised => {
    try {
      await supervised.whenReady()
    } catch (error) {
      const { logFile } = supervised
      const why = error instanceof Error ? error.message : String(error)
      throw new LabError('not-ready', `${why}\n${logFile} ends with:\n${tail(logFile)}`.trimEnd())
    }
    waiting.delete(supervised)
  })
  const logs = () => [...waiting].map(({ logFile }) => logFile)
  await within(lab.config.readyWithinMs, clock, Promise.all(all), logs)
}

/** @throws LabError with the ends of those logs, unless the work is done in time */
async function within<T>(
  withinMs: number,
  clock: Clock,
  work: Promise<T>,
  logs: () => readonly string[],
): Promise<T> {
  let cancel = (): void => undefined
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(withinMs, () => {
      const reports = logs().map(file => `${file} ends with:\n${tail(file)}`)
      reject(
        new LabError('not-ready', `not ready within ${withinMs / 1000} s\n${reports.join('\n')}`.trimEnd()),
      )
    })
  })
  try {
    return await Promise.race([work, late])
  } finally {
    cancel()
  }
}

async function handle(lab: Running, method: string, path: string, body: unknown): Promise<unknown> {
  switch (`${method} ${path}`) {
    case 'GET /status':
      return await status(lab)
    case 'POST /kill': {
      const { node, how } = nodeRequest(lab, body)
      if (how === undefined) throw new LabError('bad-argument', 'how shall the node die?')
      switch (how) {
        case 'link':
        case 'blackhole':
          return await cutOff(lab, node, how)
        case 'process':
          return await speakerOf(node).stop('SIGKILL')
        case 'freeze':
          return speakerOf(node).freeze()
        case 'drain':
          return await drain(speakerOf(node), node.host.name)
        default:
          return how satisfies never
      }
    }
    case 'POST /revive':
      return await revive(lab, nodeRequest(lab, body).node)
    case 'POST /fault': {
      const request = parseFaultRequest(body)
      if (request === undefined) throw new LabError('bad-argument', 'this is no fault of an API server')
      return clusterOf(lab).setFault(request)
    }
    case 'POST /compact':
      return clusterOf(lab).compact()
    default:
      throw new LabError('bad-argument', `${method} ${path} is not known here`)
  }
}

function clusterOf(lab: Running): Cluster {
  if (lab.cluster === undefined) throw new LabError('refused', 'this lab has no API server')
  return lab.cluster
}

function nodeRequest(lab: Running, body: unknown) {
  const request = parseNodeRequest(body)
  if (request === undefined) throw new LabError('bad-argument', 'the request names no node')
  const node = lab.nodes.get(request.node)
  if (node === undefined) {
    throw new LabError(
      'bad-argument',
      `no node "${request.node}": there are ${[...lab.nodes.keys()].join(', ')}`,
    )
  }
  return { node, how: request.how }
}

function speakerOf(node: LabNode): SupervisedProcess {
  if (node.speaker === undefined) throw new LabError('refused', 'this lab has no speakers')
  return node.speaker
}

async function cutOff(lab: Running, node: LabNode, how: 'link' | 'blackhole'): Promise<void> {
  // First: from now on its service proxy must not hear of changes.
  lab.cluster?.setReachable(node.host.name, false)
  await (how === 'link' ? cutLink : blackholeLink)(node.host.name)
  node.link = how === 'link' ? 'cut' : 'blackholed'
}

async function revive(lab: Running, node: LabNode): Promise<void> {
  await restoreLink(node.host.name, node.host.ips)
  node.link = 'up'
  lab.cluster?.setReachable(node.host.name, true)
  node.speaker?.start()
}

async function drain(speaker: SupervisedProcess, name: string): Promise<void> {
  const gone = speaker.stop('SIGTERM').then(() => true)
  const late = new Promise<false>(resolve => setTimeout(resolve, DRAIN_WITHIN_MS, false).unref())
  if (!(await Promise.race([gone, late]))) {
    throw new LabError(
      'refused',
      `the speaker of ${name} did not leave within ${DRAIN_WITHIN_MS / 1000} s: see ${speaker.logFile}`,
    )
  }
}

async function status(lab: Running): Promise<LabStatus> {
  const { cluster, config, controller, nodes, topology } = lab
  let apiError: string | undefined
  let objects: Awaited<ReturnType<Cluster['objects']>> = { services: [], pods: [] }
  try {
    if (cluster !== undefined) objects = await cluster.objects()
  } catch (error) {
    apiError = error instanceof Error ? error.message : String(error)
  }
  return {
    name: config.name,
    nodes: [...nodes.values()].map(({ host, link, speaker }) => ({
      name: host.name,
      ips: host.ips,
      podCidrs: host.podCidrs,
      link,
      speaker: speaker?.status(),
    })),
    hosts: topology.hosts
      .filter(host => host.role !== 'node')
      .map(({ name, role, ips }) => ({ name, role, ips })),
    controller: controller?.status(),
    ...objects,
    ...(apiError === undefined ? {} : { apiError }),
  }
}

/**
 * Makes /run private, so that named namespaces, pid files and sockets of the lab's processes do not appear on the host:
 * a file system in memory over /run/netns or, where the host has no such folder, over /run with links to what was there.
 */
async function hideRunFolder(scratch: string): Promise<void> {
  const script = `set -e
if [ -d /run/netns ]; then exec mount -n -t tmpfs -o mode=755 tmpfs /run/netns; fi
mkdir -p "$0"
mount -n -t tmpfs -o mode=755 tmpfs "$0"
mkdir "$0/.host" "$0/netns"
mount -n --rbind /run "$0/.host"
cd /run
for entry in * .[!.]*; do
  if [ -e "$entry" ] && [ ! -e "$0/$entry" ]; then ln -s "/run/.host/$entry" "$0/$entry"; fi
done
exec mount -n --rbind "$0" /run`
  const { code, stderr } = await run(['sh', '-c', script, scratch])
  if (code !== 0) throw new LabError('not-permitted', `/run could not be made private: ${stderr.trim()}`)
}

function say(event: LabEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}

function fail(error: unknown): void {
  const known = error instanceof LabError
  const message = error instanceof Error ? error.message : String(error)
  log.error('failed', { error, stack: error instanceof Error ? error.stack : undefined })
  process.stdout.write(
    `${JSON.stringify({ event: 'failed', message: known ? message : `the lab's daemon failed: ${message}` })}\n`,
    () => process.exit(1),
  )
}
