import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import type { Ip } from '../addr/ip.ts'
import { LabError } from './error.ts'
import type { Host, Topology } from './topology.ts'
import { planPod, SWITCH, switchPort } from './topology.ts'

const NETNS_DIR = '/run/netns'

export type Output = {
  /** Exit status; 128 + signal number when a signal ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** The command line that runs `argv` in a named network namespace; the process keeps its id, since nsenter becomes the command. */
export function inNamespace(namespace: string, argv: readonly string[]): string[] {
  return ['nsenter', `--net=${NETNS_DIR}/${namespace}`, '--', ...argv]
}

/** Starts a process in a named network namespace of this lab. */
export function spawnIn(
  namespace: string,
  argv: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  const [command = '', ...rest] = inNamespace(namespace, argv)
  return spawn(command, rest, options)
}

/**
 * Runs a command to its end.
 * @throws LabError 'missing-program' when there is no such program
 */
export async function run(argv: readonly string[], input = '', env = process.env): Promise<Output> {
  const [command = '', ...rest] = argv
  return await collect(spawn(command, rest, { stdio: 'pipe', env }), command, input)
}

/** Feeds a child its input and gathers what it says. Its three streams must be pipes. */
export function collect(child: ChildProcess, command: string, input = ''): Promise<Output> {
  return new Promise((resolve, reject) => {
    let stdout = ''
    let stderr = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    // A child that ends before it has read its input breaks the pipe: its exit status tells more.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
    child.on('error', cause =>
      reject(new LabError('missing-program', `${command} did not start: ${cause.message}`, { cause })),
    )
    child.on('close', (code, signal) => resolve({ code: exitStatus(code, signal), stdout, stderr }))
  })
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }

/** The exit status a shell would show. */
export function exitStatus(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (SIGNAL_NUMBERS[signal ?? ''] ?? 0)
}

/** @throws LabError 'command-failed' unless the command ends with 0 */
async function mustRun(argv: readonly string[], input = ''): Promise<void> {
  const { code, stderr } = await run(argv, input)
  if (code !== 0) {
    throw new LabError('command-failed', `${argv.join(' ')} failed: ${stderr.trim() || `exit ${code}`}`)
  }
}

/** Several `ip` commands in one go. */
async function ipBatch(lines: readonly string[]): Promise<void> {
  await mustRun(['ip', '-batch', '-'], `${lines.join('\n')}\n`)
}

/** Kernel switches first, for all interfaces that exist, then addresses and routes. */
async function configureHost(host: Pick<Host, 'name' | 'sysctls' | 'commands'>): Promise<void> {
  const script = [
    'set -e',
    ...host.sysctls.map(
      ([path, value]) =>
        `for f in /proc/sys/${path}; do if [ -e "$f" ]; then echo '${value}' > "$f"; fi; done`,
    ),
    'exec ip -batch - <<END',
    ...host.commands,
    'END',
  ]
  await mustRun(inNamespace(host.name, ['sh', '-s']), `${script.join('\n')}\n`)
}

/** Brings a planned network up. The calling process must be in private network and mount namespaces. */
export async function applyTopology(topology: Topology): Promise<void> {
  await ipBatch(topology.create)
  await Promise.all(topology.hosts.map(configureHost))
}

/** Cuts a host off: its interface loses the carrier, as when a cable is pulled. */
export async function cutLink(host: string): Promise<void> {
  await mustRun(['ip', '-n', SWITCH, 'link', 'set', switchPort(host), 'down'])
}

/** Cuts a host off silently: the carrier stays, the switch drops every frame from it and to it. */
export async function blackholeLink(host: string): Promise<void> {
  await mustRun(['bridge', '-n', SWITCH, 'link', 'set', 'dev', switchPort(host), 'state', '0'])
}

/** The kernel tells of carrier changes at most once a second, and asks for a neighbour once a second. */
const BACK_WITHIN_MS = 4_000
const POLL_MS = 20
const KNOCK_MS = 200

/**
 * Undoes both. Resolves when the host answers at these addresses again, as seen from the caller's namespace; or after a few
 * seconds, since something on the host may be made to keep it silent.
 */
export async function restoreLink(host: string, ips: readonly Ip[]): Promise<void> {
  const deadline = performance.now() + BACK_WITHIN_MS
  const port = switchPort(host)
  await mustRun(['ip', '-n', SWITCH, 'link', 'set', port, 'up'])
  const until = async (condition: () => Promise<boolean>): Promise<void> => {
    while (!(await condition()) && performance.now() < deadline) {
      await new Promise(resolve => setTimeout(resolve, POLL_MS))
    }
  }
  await until(async () => {
    const { stdout } = await run(['ip', '-n', SWITCH, 'link', 'show', 'dev', port])
    return stdout.includes('state UP')
  })
  await mustRun(['bridge', '-n', SWITCH, 'link', 'set', 'dev', port, 'state', '3'])
  await Promise.all(ips.map(ip => until(() => answers(ip))))
}

/** Does a host at this address refuse or take a connection? */
function answers(ip: Ip): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: ip, port: 9, timeout: KNOCK_MS })
    const done = (answered: boolean): void => {
      socket.destroy()
      resolve(answered)
    }
    socket.on('connect', () => done(true))
    socket.on('error', error => done('code' in error && error.code === 'ECONNREFUSED'))
    socket.on('timeout', () => done(false))
  })
}

export type PodRequest = {
  readonly node: string
  /** Unique in the lab, e.g. its namespace and name joined. */
  readonly podName: string
  readonly ips: readonly Ip[]
}

/** What the workload controllers need of the lab's network. */
export type PodNetwork = {
  /**
   * Gives a pod its own network namespace with these addresses, reachable from all nodes.
   * Resolves to the namespace's name, for `spawnIn`.
   * @throws LabError when the pod is attached already, or `ip` refuses
   */
  attachPod(pod: PodRequest): Promise<{ readonly namespace: string }>
  /** Takes both away. Its processes must be gone, or they keep the namespace alive; unknown pods are no error. */
  detachPod(podName: string): Promise<void>
  spawnIn(namespace: string, argv: readonly string[], options?: SpawnOptions): ChildProcess
}

/** Pod namespaces of the lab in whose namespaces the caller runs, named by `prefix` (at most 8 letters) and a number. */
export function createPodNetwork(prefix = 'pod'): PodNetwork {
  const attached = new Map<string, { namespace: string; node: string; interfaceName: string }>()
  let sequence = 0

  async function attachPod({ node, podName, ips }: PodRequest): Promise<{ readonly namespace: string }> {
    if (attached.has(podName)) throw new LabError('refused', `pod ${podName} is attached already`)
    const id = ++sequence
    const link = { namespace: `${prefix}${id}`, node, interfaceName: `${prefix}${id}` }
    attached.set(podName, link)
    const plan = planPod({ ...link, ips })
    try {
      await ipBatch(plan.create)
      await Promise.all([
        configureHost(plan.host),
        mustRun(['ip', '-n', node, '-batch', '-'], `${plan.nodeCommands.join('\n')}\n`),
      ])
    } catch (cause) {
      await detachPod(podName)
      throw cause
    }
    return { namespace: link.namespace }
  }

  async function detachPod(podName: string): Promise<void> {
    const link = attached.get(podName)
    if (link === undefined) return
    attached.delete(podName)
    // Deleting one end deletes the other at once; the namespace alone would only go when its last process does.
    await run(['ip', '-n', link.node, 'link', 'delete', link.interfaceName])
    await run(['ip', 'netns', 'delete', link.namespace])
  }

  return { attachPod, detachPod, spawnIn }
}
