import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ApiFault, KillWay, LabStatus } from '../api/lab.ts'
import { tail } from './bounded-log.ts'
import { askControl } from './control.ts'
import { enterCommand } from './enter.ts'
import { LabError } from './error.ts'
import type { LabCommands, LabEvent, OuterConfig } from './messages.ts'
import { KEEP, parseEvents } from './messages.ts'
import type { Output } from './netns.ts'
import { collect } from './netns.ts'
import { labEnvironment, preflight } from './preflight.ts'
import type { LabPaths, LabState } from './state.ts'
import { claimLab, identify, isAlive, isRunning, labPaths, readState, removeLab, signal } from './state.ts'
import type { LabShape } from './topology.ts'
import { planTopology } from './topology.ts'

export type LabOptions = Partial<LabShape> & {
  /** Labs with different names run side by side. Default: `default`. */
  readonly name?: string
  /** Only the network, for tests of protocols: no API server, speakers, pods. Default: false. */
  readonly bare?: boolean
  /** The lab outlives this process, until `down`. Default: false, it ends with this process however that ends. */
  readonly keep?: boolean
  /** Programs with absolute paths, in place of our own. */
  readonly commands?: LabCommands
  /** Default: 60,000. */
  readonly readyWithinMs?: number
  readonly onProgress?: (text: string) => void
  /** Gives up: what was started so far is taken down. */
  readonly signal?: AbortSignal
}

export const LAB_DEFAULTS = { name: 'default', nodes: 3, clients: 1, ipv6: false } as const

/** Longer than the outer process gives its daemon to stop. */
const DOWN_WITHIN_MS = 8_000

const POLL_MS = 20

/** A running lab, seen from the host. */
export type Lab = {
  readonly name: string
  /** For kubectl and our own tools on the host. */
  readonly kubeconfigPath: string
  /** The logs of the lab's processes, one file each. */
  readonly logFolder: string
  /** Runs a command on a host to its end. Its standard input is `input`. */
  exec(host: string, argv: readonly string[], input?: string): Promise<Output>
  /** Starts a command on a host. To end it, signal its process group (`detached`) or the lab. */
  spawn(host: string, argv: readonly string[], options?: SpawnOptions): ChildProcess
  status(): Promise<LabStatus>
  /** Resolves when it is done; with `drain`, when the speaker has left. @throws LabError */
  kill(node: string, how: KillWay): Promise<void>
  /** Undoes all that `kill` did to a node. Its speaker is started, not waited for. */
  revive(node: string): Promise<void>
  /** Makes the API server misbehave, for everybody or for one user; undefined ends that. */
  apiFault(fault: ApiFault | undefined, user?: string): Promise<void>
  /** Lets the API server forget past changes: every watch that resumes gets 410. */
  compactApi(): Promise<void>
  /** Ends it and removes all traces. Twice is no error. */
  down(): Promise<void>
}

/** The built command line program of this package. */
function ownCommands(): LabCommands {
  const program = [process.execPath, fileURLToPath(new URL('../../../bin/lodestone.js', import.meta.url))]
  // The lab's API server asks no webhook unless a test says so. Under one name, as in its Pod, a controller that is started
  // again has its own Lease and need not wait for the end of it.
  const flags = ['--webhook-mode', 'disabled', '--pod-name', 'controller']
  // Whoever tries things out does not want to wait until a node that came back has proved itself.
  return {
    speaker: [...program, 'speaker', '--return-after', '2s', '--flow-steering', 'local'],
    controller: [...program, 'controller', ...flags],
  }
}

/**
 * Brings a lab up; resolves when its network, and unless `bare` its API server, controller and speakers are ready.
 * @throws LabError that says what to do; nothing is left behind then
 */
export async function startLab(options: LabOptions = {}): Promise<Lab> {
  const shape = { ...LAB_DEFAULTS, ...options }
  const hosts = planTopology(shape).hosts.map(host => host.name)
  const { userNamespace } = await preflight()
  options.signal?.throwIfAborted()
  const self = identify(process.pid)
  if (self === undefined) throw new LabError('not-permitted', 'a lab needs /proc to be mounted')
  const paths = labPaths(shape.name)
  claimLab(paths, { name: shape.name, outer: self, userNamespace, hosts, ready: false })
  const config: OuterConfig = {
    name: shape.name,
    folder: paths.folder,
    nodes: shape.nodes,
    clients: shape.clients,
    ipv6: shape.ipv6,
    userNamespace,
    bare: options.bare ?? false,
    commands: options.commands ?? ownCommands(),
    readyWithinMs: options.readyWithinMs ?? 60_000,
  }
  try {
    await startOuter(config, paths, options)
  } catch (error) {
    await takeDown(paths)
    throw error
  }
  return openLab(shape.name)
}

/** Starts the outer process and waits until the lab is ready. */
async function startOuter(config: OuterConfig, paths: LabPaths, options: LabOptions): Promise<void> {
  const entry = fileURLToPath(new URL('outer-main.js', import.meta.url))
  const errorLog = join(paths.logs, 'outer.log')
  const stderr = openSync(errorLog, 'w', 0o600)
  // In a session of its own: what the terminal sends to its foreground processes is not for the lab. Nor does it hold on to a folder.
  const child = spawn(process.execPath, [entry, JSON.stringify(config)], {
    detached: true,
    cwd: '/',
    env: labEnvironment(),
    stdio: ['pipe', 'pipe', stderr],
  })
  closeSync(stderr)
  child.stdin?.on('error', () => undefined)
  const outcome = new Promise<void>((resolve, reject) => {
    const onEvent = (event: LabEvent): void => {
      if (event.event === 'progress') options.onProgress?.(event.text)
      else if (event.event === 'ready') resolve()
      else reject(new LabError('not-ready', event.message))
    }
    child.stdout?.setEncoding('utf8').on('data', parseEvents(onEvent))
    child.on('error', reject)
    child.on('close', (code, name) =>
      reject(
        new LabError('not-ready', `the lab ended at once (${name ?? code})\n${tail(errorLog)}`.trimEnd()),
      ),
    )
    const { signal } = options
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
  try {
    await outcome
  } catch (error) {
    await endChild(child)
    throw error
  }
  if (options.keep === true) {
    child.stdin?.end(KEEP)
    child.stdout?.destroy()
  }
  // Neither the child nor its pipes keep this process from ending.
  child.unref()
  for (const stream of [child.stdin, child.stdout]) (stream as { unref?: () => void } | null)?.unref?.()
}

/** Ends the outer process, which ends the lab and takes its files away. */
async function endChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise(resolve => child.on('exit', resolve))
  child.kill('SIGTERM')
  const last = setTimeout(() => child.kill('SIGKILL'), DOWN_WITHIN_MS)
  await gone
  clearTimeout(last)
}

/**
 * A lab that is running already.
 * @throws LabError 'not-running'
 */
export function openLab(name: string = LAB_DEFAULTS.name): Lab {
  const paths = labPaths(name)
  const state = runningState(paths, name)
  const command = (host: string, argv: readonly string[]): [string, string[]] => {
    const [program = '', ...rest] = enterCommand(readState(paths) ?? state, host, argv)
    return [program, rest]
  }
  return {
    name,
    kubeconfigPath: paths.kubeconfig,
    logFolder: paths.logs,
    async exec(host, argv, input) {
      const child = spawn(...command(host, argv), { stdio: 'pipe', env: labEnvironment() })
      return await collect(child, argv.join(' '), input)
    },
    spawn: (host, argv, options = {}) => spawn(...command(host, argv), { env: labEnvironment(), ...options }),
    status: async () => (await askControl(paths.controlSocket, 'GET', '/status')) as LabStatus,
    async kill(node, how) {
      await askControl(paths.controlSocket, 'POST', '/kill', { node, how })
    },
    async revive(node) {
      await askControl(paths.controlSocket, 'POST', '/revive', { node })
    },
    async apiFault(fault, user) {
      await askControl(paths.controlSocket, 'POST', '/fault', { fault, user })
    },
    async compactApi() {
      await askControl(paths.controlSocket, 'POST', '/compact')
    },
    async down() {
      await takeDown(paths)
    },
  }
}

function runningState(paths: LabPaths, name: string): LabState {
  const state = readState(paths)
  const flag = name === LAB_DEFAULTS.name ? '' : ` --name ${name}`
  if (state === undefined) {
    throw new LabError(
      'not-running',
      `no lab "${name}" is running: start it with \`lodestone lab up${flag}\``,
    )
  }
  if (!isRunning(state) || state.inner === undefined || !isAlive(state.inner)) {
    throw new LabError(
      'not-running',
      `lab "${name}" broke down (logs: ${paths.logs}): start it again with \`lodestone lab up${flag}\``,
    )
  }
  return state
}

/** Ends the lab of that name, also what is left of a crashed one. False when there was none. */
export async function downLab(name: string = LAB_DEFAULTS.name): Promise<boolean> {
  const paths = labPaths(name)
  const known = readState(paths) !== undefined
  await takeDown(paths)
  return known
}

/** Asks the outer process to end; kills what does not, and removes the files. */
async function takeDown(paths: LabPaths): Promise<void> {
  const state = readState(paths)
  if (state === undefined) {
    removeLab(paths, undefined)
    return
  }
  // While it starts, the claim is still in our own name.
  const ours = state.outer.pid === process.pid
  if (!ours && signal(state.outer, 'SIGTERM')) {
    const deadline = performance.now() + DOWN_WITHIN_MS
    while (isAlive(state.outer) && performance.now() < deadline) {
      await new Promise(resolve => setTimeout(resolve, POLL_MS))
    }
  }
  const rest = readState(paths)
  removeLab(paths, ours || rest === undefined ? undefined : rest)
  // What was killed is gone a moment later, and with the daemon every process of the lab.
  const killed = ours ? [] : [rest?.inner, rest?.outer]
  const deadline = performance.now() + DOWN_WITHIN_MS
  while (killed.some(each => each !== undefined && isAlive(each)) && performance.now() < deadline) {
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}
