import { lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LabError } from './error.ts'

/** A process of this machine; the start time keeps a reused id from being taken for it. */
export type ProcessIdentity = {
  readonly pid: number
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  readonly startTime: string
}

/** state.json of a lab: what another process needs in order to use it or to end it. */
export type LabState = {
  readonly name: string
  /** The outer process, or the one that is about to start it. */
  readonly outer: ProcessIdentity
  /** unshare(1), whose namespaces are the lab's and whose end is the end of all in it. Absent until it runs. */
  readonly inner?: ProcessIdentity
  /** The lab is in a user namespace, since its owner is not root. */
  readonly userNamespace: boolean
  readonly hosts: readonly string[]
  readonly ready: boolean
}

/** The files of one lab. */
export type LabPaths = {
  readonly folder: string
  readonly state: string
  readonly controlSocket: string
  readonly apiSocket: string
  readonly kubeconfig: string
  readonly logs: string
  readonly data: string
}

const NAME = /^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$/

/** sun_path of unix(7), without the terminating zero. */
const SOCKET_PATH_MAX = 107

/**
 * Where a lab of this user keeps its files. Makes the folder above, which must be ours and closed to others.
 * @throws LabError when the name is not a DNS label of at most 32 characters, or the folder belongs to someone else
 */
export function labPaths(name: string): LabPaths {
  if (!NAME.test(name)) {
    throw new LabError(
      'bad-argument',
      `"${name}" is no name for a lab: use up to 32 lower-case letters, digits and hyphens`,
    )
  }
  const paths = pathsIn(join(baseFolder(), name))
  if (Buffer.byteLength(paths.controlSocket) > SOCKET_PATH_MAX) {
    throw new LabError(
      'bad-argument',
      `${paths.controlSocket} is too long for a socket: use a shorter name or a shorter TMPDIR`,
    )
  }
  return paths
}

/** The files in a lab's folder. */
export function pathsIn(folder: string): LabPaths {
  return {
    folder,
    state: join(folder, 'state.json'),
    controlSocket: join(folder, 'control.sock'),
    apiSocket: join(folder, 'api.sock'),
    kubeconfig: join(folder, 'kubeconfig'),
    logs: join(folder, 'logs'),
    data: join(folder, 'data'),
  }
}

function baseFolder(): string {
  const uid = process.getuid?.() ?? 0
  const runtime = process.env['XDG_RUNTIME_DIR']
  const base =
    runtime !== undefined && runtime !== '' && ownerOf(runtime) === uid
      ? join(runtime, 'lodestone-lab')
      : join(tmpdir(), `lodestone-lab-${uid}`)
  mkdirSync(base, { recursive: true, mode: 0o700 })
  const stat = lstatSync(base)
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o077) !== 0) {
    throw new LabError('not-permitted', `${base} must be a folder of yours with mode 0700: move it away`)
  }
  return base
}

function ownerOf(path: string): number | undefined {
  try {
    return lstatSync(path).uid
  } catch {
    return undefined // Not there: then it is not ours.
  }
}

/** Its state, or undefined when there is no such lab. */
export function readState(paths: LabPaths): LabState | undefined {
  let text: string
  try {
    text = readFileSync(paths.state, 'utf8')
  } catch {
    return undefined // No file, no lab.
  }
  try {
    return JSON.parse(text) as LabState
  } catch {
    return undefined // Written whole or not at all, so this is the rest of a full disk: as good as none.
  }
}

/** Replaces the file whole, so that a reader never sees half of it. */
export function writeState(paths: LabPaths, state: LabState): void {
  const draft = `${paths.state}.${process.pid}`
  writeFileSync(draft, JSON.stringify(state), { mode: 0o600 })
  renameSync(draft, paths.state)
}

export function isRunning(state: LabState): boolean {
  return isAlive(state.outer)
}

/** Starts the files of a new lab, first removing those of one that crashed. @throws LabError 'already-running' */
export function claimLab(paths: LabPaths, state: LabState): void {
  for (;;) {
    try {
      mkdirSync(paths.folder, { mode: 0o700 })
      break
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    }
    const before = readState(paths)
    if (before !== undefined && isRunning(before)) {
      const flag = before.name === 'default' ? '' : ` --name ${before.name}`
      throw new LabError(
        'already-running',
        `lab ${before.name} is running already: end it with \`lodestone lab down${flag}\`, or take another --name`,
      )
    }
    removeLab(paths, before)
  }
  mkdirSync(paths.logs, { mode: 0o700 })
  mkdirSync(paths.data, { mode: 0o700 })
  writeState(paths, state)
}

/** Kills what is left of a lab and removes its files. */
export function removeLab(paths: LabPaths, state: LabState | undefined): void {
  for (const process of [state?.inner, state?.outer]) if (process !== undefined) signal(process, 'SIGKILL')
  rmSync(paths.folder, { recursive: true, force: true })
}

/** Undefined when there is no such process, or only its exit status is left. */
export function identify(pid: number): ProcessIdentity | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined // No such process.
  }
  // The name in parentheses may hold spaces and parentheses itself: fields count from behind the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [processState, startTime] = [fields[0], fields[19]]
  if (startTime === undefined || processState === 'Z' || processState === 'X') return undefined
  return { pid, startTime }
}

export function isAlive(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTime === process.startTime
}

/** Signals exactly that process: not another one that has got its id since. False when it is gone. */
export function signal(target: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false
  try {
    return process.kill(target.pid, name)
  } catch {
    return false // It ended between the look and the signal.
  }
}
