import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Findings } from './analysis.ts'

export type ProbeProtocol = 'udp' | 'tcp'

export type ProbeOptions = {
  readonly target: string
  readonly port: number
  /** udp: the web pod's echo. tcp: a new connection with one HTTP GET for each probe. Default udp. */
  readonly protocol?: ProbeProtocol
  /** Default 1 for udp, 20 for tcp. */
  readonly intervalMs?: number
  /** Source ports that take turns, udp only. Default 32. */
  readonly flows?: number
  /** Absent: until stopped. */
  readonly durationMs?: number
  /** Ends after so many probes. Absent: the duration counts. */
  readonly count?: number
  /** An answer that takes longer counts as bad. Default 100 for udp, 250 for tcp. */
  readonly lateAfterMs?: number
}

export type ProbeReport = Findings & {
  readonly protocol: ProbeProtocol
  readonly target: string
  readonly port: number
  readonly intervalMs: number
  readonly flows: number
  readonly lateAfterMs: number
  /** RFC 3339. */
  readonly startedAt: string
  /** The same instant by CLOCK_MONOTONIC, which all processes of a machine share (`process.hrtime`). */
  readonly startedMonotonicMs: number
  readonly durationMs: number
  /** Error codes of failed sends and connections (ECONNREFUSED, ENETUNREACH, `HTTP 503` ...) and how often. */
  readonly errors: Readonly<Record<string, number>>
}

/** One JSON object per line on the probe's standard output. */
export type ProbeLine =
  | { readonly type: 'started'; readonly startedMonotonicMs: number }
  | { readonly type: 'answered'; readonly atMs: number }
  | { readonly type: 'report'; readonly report: ProbeReport }

/** Runs `argv` where the client is, with pipes for standard input, output and error. */
export type SpawnProbe = (argv: readonly string[]) => ChildProcess

export type RunningProbe = {
  /** The first probe was sent. Rejects when the probe could not start. */
  readonly started: Promise<void>
  /** The first answer arrived. Rejects when the probe ended without any. */
  readonly answered: Promise<void>
  /** Notes the time, so that the report can say what an outage followed. One line of text. */
  mark(name: string): void
  /** Ends the probing, waits for the last answers, returns the report. */
  stop(): Promise<ProbeReport>
  /** The report of a probe with `durationMs` or `count`, which ends by itself. */
  readonly report: Promise<ProbeReport>
}

export class ProbeError extends Error {
  override readonly name = 'ProbeError'
  readonly code = 'probe-failed'
}

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url))

/** CLOCK_MONOTONIC in milliseconds. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** What to run for these options. */
export function probeArgv(options: ProbeOptions): string[] {
  const argv = [process.execPath, MAIN, '--json', '--target', options.target, '--port', String(options.port)]
  if (options.protocol !== undefined) argv.push('--protocol', options.protocol)
  if (options.intervalMs !== undefined) argv.push('--interval-ms', String(options.intervalMs))
  if (options.flows !== undefined) argv.push('--flows', String(options.flows))
  if (options.durationMs !== undefined) argv.push('--duration-ms', String(options.durationMs))
  if (options.count !== undefined) argv.push('--count', String(options.count))
  if (options.lateAfterMs !== undefined) argv.push('--late-after-ms', String(options.lateAfterMs))
  return argv
}

/** Starts a probe process. Its promises need no handler: a failure shows wherever one of them is awaited. */
export function startProbe(spawn: SpawnProbe, options: ProbeOptions): RunningProbe {
  const child = spawn(probeArgv(options))
  const started = deferred<void>()
  const answered = deferred<void>()
  const report = deferred<ProbeReport>()
  // Whoever does not wait for one of them must not be ended by its rejection.
  for (const { promise } of [started, answered, report]) promise.catch(() => {})
  let errorText = ''
  const fail = (why: string): void => {
    const error = new ProbeError(`probe of ${options.target} port ${options.port}: ${why}`)
    started.reject(error)
    answered.reject(error)
    report.reject(error)
  }
  let rest = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const message = JSON.parse(line) as ProbeLine
      if (message.type === 'started') started.resolve()
      else if (message.type === 'answered') answered.resolve()
      else report.resolve(message.report)
    }
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errorText = (errorText + text).slice(-4096)
  })
  child.on('error', error => fail(error.message))
  // 'close' and not 'exit': only then all output has been read.
  child.on('close', (code, signal) => {
    fail(errorText.trim() || `ended with ${signal ?? code} before it reported`)
  })
  child.stdin?.on('error', () => {}) // It ended already; `report` says why.
  return {
    started: started.promise,
    answered: answered.promise,
    report: report.promise,
    mark(name) {
      child.stdin?.write(`mark@${monotonicMs()} ${name.replaceAll('\n', ' ')}\n`)
    },
    stop() {
      child.stdin?.end()
      return report.promise
    },
  }
}

type Deferred<T> = { promise: Promise<T>; resolve: (value: T) => void; reject: (error: Error) => void }

function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<T>((done, fail) => {
    resolve = done
    reject = fail
  })
  return { promise, resolve, reject }
}
