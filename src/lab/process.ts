import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { ProcessStatus } from '../api/lab.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import type { Log } from '../ports/log.ts'
import { BoundedLog } from './bounded-log.ts'

/** Delays before a process that died is started again: at once the first time, as kubelet does, then doubling. */
const BACK_OFF_MS = { first: 100, max: 10_000 } as const

/** A process that lived this long starts with the first delay again. */
const HEALTHY_MS: Ms = 10_000

/** Ended this often in a row before it was ready, it will not get ready by being started once more. */
const CRASHES_MAX = 4

/** What a daemon writes when it serves: a JSON log line with an event like `speaker-ready`. */
const READY = /"event":"(?:[a-z]+-)*ready"/

export type SupervisedOptions = {
  readonly name: string
  readonly logFile: string
  readonly clock: Clock
  /** Starts it anew; stdout and stderr must be pipes. */
  readonly start: () => ChildProcess
  readonly log: Log
}

/** A process that is started again when it dies by itself, and left dead when it was killed on purpose. */
export class SupervisedProcess {
  readonly #options: SupervisedOptions
  readonly #log: BoundedLog
  #child: ChildProcess | undefined
  #wanted = false
  #frozen = false
  #sawReady = false
  #restarts = 0
  #delayMs: Ms = BACK_OFF_MS.first
  #startedAt: Ms = 0
  #cancelRestart: (() => void) | undefined
  /** Ends in a row without having been ready. */
  #crashes = 0
  #onReady: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = []
  #onExit: (() => void)[] = []

  constructor(options: SupervisedOptions) {
    this.#options = options
    this.#log = new BoundedLog(options.logFile)
  }

  get logFile(): string {
    return this.#log.path
  }

  /** Wants it running: starts it when it is not, lets it run on when it is frozen. */
  start(): void {
    this.#wanted = true
    if (this.#child === undefined) this.#spawn()
    else if (this.#frozen) this.#child.kill('SIGCONT')
    this.#frozen = false
  }

  freeze(): void {
    if (this.#child?.kill('SIGSTOP') === true) this.#frozen = true
  }

  /** Kills it and leaves it dead until `start`. Resolves when it is gone. */
  async stop(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#wanted = false
    this.#cancelRestart?.()
    const child = this.#child
    if (child === undefined) return
    const gone = new Promise<void>(resolve => this.#onExit.push(resolve))
    child.kill(signal)
    if (this.#frozen) child.kill('SIGCONT')
    this.#frozen = false
    await gone
  }

  /**
   * Resolves once the running process has said that it is ready.
   * @throws Error when it ends again and again before that, with how it ended; it is started again all the same
   */
  async whenReady(): Promise<void> {
    if (!this.#sawReady) await new Promise<void>((resolve, reject) => this.#onReady.push({ resolve, reject }))
  }

  status(): ProcessStatus {
    const pid = this.#child?.pid
    return {
      state: this.#state(),
      pid,
      rssBytes: pid === undefined ? undefined : residentBytes(pid),
      restarts: this.#restarts,
    }
  }

  #state(): ProcessStatus['state'] {
    if (this.#child === undefined) return this.#wanted ? 'restarting' : 'stopped'
    if (this.#frozen) return 'frozen'
    return this.#sawReady ? 'running' : 'starting'
  }

  #spawn(): void {
    const { name, clock, log, start } = this.#options
    this.#sawReady = false
    this.#startedAt = clock.now()
    const child = start()
    this.#child = child
    let lastLine = ''
    const hear = (bytes: Uint8Array): void => {
      this.#log.write(bytes)
      if (this.#sawReady) return
      const text = lastLine + Buffer.from(bytes).toString()
      if (READY.test(text)) {
        this.#sawReady = true
        this.#crashes = 0
        for (const { resolve } of this.#onReady.splice(0)) resolve()
      }
      lastLine = text.slice(text.lastIndexOf('\n') + 1)
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    let over = false
    const ended = (why: string): void => {
      if (over) return
      over = true
      this.#child = undefined
      this.#crashes = this.#wanted && !this.#sawReady ? this.#crashes + 1 : 0
      this.#sawReady = false
      if (this.#crashes >= CRASHES_MAX) {
        const error = new Error(`${name} ended ${this.#crashes} times in a row before it was ready (${why})`)
        for (const { reject } of this.#onReady.splice(0)) reject(error)
      }
      log.info('process-ended', { process: name, why, onPurpose: !this.#wanted })
      for (const resolve of this.#onExit.splice(0)) resolve()
      if (this.#wanted) this.#restartLater()
    }
    child.on('error', error => ended(error.message))
    child.on('exit', (code, signal) => ended(signal ?? `exit ${code}`))
  }

  #restartLater(): void {
    const { clock } = this.#options
    if (clock.now() - this.#startedAt >= HEALTHY_MS) this.#delayMs = BACK_OFF_MS.first
    this.#cancelRestart = clock.after(this.#delayMs, () => {
      this.#cancelRestart = undefined
      if (!this.#wanted || this.#child !== undefined) return
      this.#restarts++
      this.#spawn()
    })
    this.#delayMs = Math.min(this.#delayMs * 2, BACK_OFF_MS.max)
  }
}

function residentBytes(pid: number): number | undefined {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kib === undefined ? undefined : Number(kib) * 1024
  } catch {
    return undefined // It ended between the two looks.
  }
}
