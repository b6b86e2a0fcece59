import { closeSync, mkdirSync, openSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname } from 'node:path'
import type { PodNetwork } from './network.ts'

export type ProcessRequest = {
  /** Network namespace. */
  readonly namespace: string
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly workingDirectory?: string | undefined
  /** Standard output and error are appended to it; absent: dropped. */
  readonly logFile?: string
}

export type Exit = {
  /** 128 + signal number when a signal ended it, as a shell shows it. */
  readonly code: number
  readonly signal: number | undefined
  /** It never started: why. */
  readonly error?: string
}

export type RunningProcess = {
  readonly pid: number | undefined
  /** Never rejects. */
  readonly exited: Promise<Exit>
  /** To the process and everything it started that is still in its process group, also after it has ended itself. */
  signal(signal: 'SIGTERM' | 'SIGKILL'): void
}

/** Starts the processes of pods. */
export interface Processes {
  start(request: ProcessRequest): RunningProcess
}

/** Real ones, each the leader of its own process group. */
export function podProcesses(network: Pick<PodNetwork, 'spawnIn'>): Processes {
  return { start: request => start(network, request) }
}

function start(network: Pick<PodNetwork, 'spawnIn'>, request: ProcessRequest): RunningProcess {
  let log: number | undefined
  if (request.logFile !== undefined) {
    mkdirSync(dirname(request.logFile), { recursive: true })
    log = openSync(request.logFile, 'a')
  }
  try {
    const child = network.spawnIn(request.namespace, request.argv, {
      detached: true,
      env: request.env,
      stdio: ['ignore', log ?? 'ignore', log ?? 'ignore'],
      ...(request.workingDirectory === undefined ? {} : { cwd: request.workingDirectory }),
    })
    const { pid } = child
    const exited = new Promise<Exit>(done => {
      child.once('error', error => done({ code: 128, signal: undefined, error: error.message }))
      child.once('exit', (code, signal) => {
        const number = signal === null ? undefined : constants.signals[signal]
        done({ code: code ?? 128 + (number ?? 0), signal: number })
      })
    })
    return {
      pid,
      exited,
      signal(signal) {
        if (pid === undefined) return
        try {
          process.kill(-pid, signal)
        } catch (error) {
          // ESRCH: nobody of the group is left, which is what was wanted.
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
        }
      },
    }
  } finally {
    if (log !== undefined) closeSync(log)
  }
}
