import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Lab } from '../../src/lab/lab.ts'

/** What a process has used so far: memory in MB (10^6 bytes), and processor time, which other load of the machine hardly changes. */
export type Usage = { readonly residentMb: number; readonly peakMb: number; readonly cpuSeconds: number }

/** USER_HZ of Linux, for all programs on all its platforms but some that no longer matter. */
const TICKS_PER_SECOND = 100

/**
 * VmRSS and VmHWM of /proc/PID/status, utime and stime of /proc/PID/stat, in that order (proc(5)).
 * @throws Error when the text has none: the process is gone
 */
export function parseUsage(text: string): Usage {
  const megabytes = (field: string): number => {
    const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]
    if (kib === undefined) throw new Error(`/proc says nothing of ${field}: the process has ended`)
    return (Number(kib) * 1024) / 1e6
  }
  // The name in parentheses may hold spaces itself: fields count from behind it, where the third one is.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11]) + Number(fields[12])
  return {
    residentMb: megabytes('VmRSS'),
    peakMb: megabytes('VmHWM'),
    cpuSeconds: ticks / TICKS_PER_SECOND,
  }
}

/** A process on a host of a lab, which can be asked what it uses. */
export type MeasuredProcess = {
  /** Resolves when it has written such a line; those before the call count too. @throws Error when it ended without */
  line(pattern: RegExp): Promise<string>
  write(text: string): void
  usage(): Promise<Usage>
  /** Rejects when it ends by itself. Never resolves. */
  readonly failed: Promise<never>
  /** Resolves when it is gone. */
  kill(signal: 'KILL' | 'TERM'): Promise<void>
}

const KEPT_LINES = 50

/** The first line is its id in the lab's own process namespace; what it writes itself goes to the file, if one is given. */
const SCRIPT = `echo $$; file=$1; shift
if [ -n "$file" ]; then exec "$@" > "$file"; else exec "$@"; fi`

/**
 * @param logFile takes its standard output, so that nobody has to read it while it is measured; without one, `line` hands it out
 */
export async function startMeasured(
  lab: Lab,
  host: string,
  argv: readonly string[],
  logFile = '',
): Promise<MeasuredProcess> {
  const child = lab.spawn(host, ['sh', '-c', SCRIPT, 'sh', logFile, ...argv], {
    stdio: 'pipe',
    detached: true,
  })
  const output = new Lines(child, argv.join(' '))
  const pid = await output.next(/^\d+$/)
  return {
    line: pattern => output.next(pattern),
    write: text => child.stdin?.write(text),
    failed: output.failed,
    async usage() {
      const files = [`/proc/${pid}/status`, `/proc/${pid}/stat`]
      return parseUsage((await lab.exec(host, ['cat', ...files])).stdout)
    },
    async kill(signal) {
      await lab.exec(host, ['kill', `-${signal}`, pid])
      await output.closed
    },
  }
}

/** The lines of a process: each is handed out once, to the first who waits for one like it. */
class Lines {
  readonly closed: Promise<void>
  readonly failed: Promise<never>
  readonly #command: string
  #kept: string[] = []
  #waiting: { pattern: RegExp; resolve: (line: string) => void; reject: (error: Error) => void }[] = []
  #ended: Error | undefined
  #errors = ''

  constructor(child: ChildProcess, command: string) {
    this.#command = command
    child.stdin?.on('error', () => {}) // It has ended: whoever waits for its lines is told.
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2000)
    })
    if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', line => this.#take(line))
    let fail: (error: Error) => void = () => {}
    this.failed = new Promise<never>((_, reject) => {
      fail = reject
    })
    // Whoever does not wait for this must not be ended by it.
    this.failed.catch(() => {})
    this.closed = new Promise(resolve => {
      const end = (why: string): void => {
        this.#ended ??= new Error(`${this.#command} ended (${why}): ${this.#errors.trim()}`)
        for (const { reject } of this.#waiting.splice(0)) reject(this.#ended)
        fail(this.#ended)
        resolve()
      }
      child.on('error', error => end(error.message))
      child.on('close', (code, signal) => end(signal ?? `exit ${code}`))
    })
  }

  next(pattern: RegExp): Promise<string> {
    const index = this.#kept.findIndex(line => pattern.test(line))
    if (index >= 0) return Promise.resolve(this.#kept.splice(index, 1)[0] ?? '')
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => this.#waiting.push({ pattern, resolve, reject }))
  }

  #take(line: string): void {
    const index = this.#waiting.findIndex(({ pattern }) => pattern.test(line))
    if (index >= 0) this.#waiting.splice(index, 1)[0]?.resolve(line)
    else if (this.#kept.push(line) > KEPT_LINES) this.#kept.shift()
  }
}
