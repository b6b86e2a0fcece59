import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Ip } from '../../addr/ip.ts'
import type { Lab } from '../lab.ts'
import type { Run, Span } from './answers.ts'

/** What a watcher does, JSON in its first argument. */
export type WatchTask = {
  readonly ips: readonly Ip[]
  /** Asks for each address so often, by broadcast; 0: only listens. */
  readonly everyMs: number
}

/** What it heard since it was asked last. Times are CLOCK_MONOTONIC (`monotonicMs`). */
export type WatchReport = {
  /** By address: who said that it has it, by an answer or an announcement. Addresses of which nothing was heard are missing. */
  readonly heard: Readonly<Record<string, readonly Run[]>>
  /** It was not run by the machine: what it heard then has the time of the end. */
  readonly stalls: readonly Span[]
}

export type WatchLine = { readonly type: 'started' } | ({ readonly type: 'report' } & WatchReport)

/** Listens on the wire who says that it has an address. */
export type Watch = {
  take(): Promise<WatchReport>
  /** Twice is no error. */
  close(): void
}

const MAIN = fileURLToPath(new URL('./watch-main.js', import.meta.url))

/**
 * Starts a watcher of IPv4 addresses on a host of a lab. Whoever it asks learns the host's own address and MAC, and the answers reach
 * the host's neighbour table: it should be a host that does nothing else.
 * @throws Error with what it said when it ended
 */
export async function startWatch(lab: Pick<Lab, 'spawn'>, host: string, task: WatchTask): Promise<Watch> {
  const child = lab.spawn(host, [process.execPath, MAIN, JSON.stringify(task)], {
    stdio: 'pipe',
    detached: true,
  })
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2000)
  })
  child.stdin?.on('error', () => {}) // It has ended: whoever waits is told.
  const waiting: { resolve: (line: WatchLine) => void; reject: (error: Error) => void }[] = []
  let over: Error | undefined
  const next = (): Promise<WatchLine> =>
    new Promise((resolve, reject) => {
      if (over === undefined) waiting.push({ resolve, reject })
      else reject(over)
    })
  const end = (why: string): void => {
    over ??= new Error(`the watcher on ${host} ended (${why}): ${errors.trim()}`)
    for (const { reject } of waiting.splice(0)) reject(over)
  }
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on('line', line =>
      waiting.shift()?.resolve(JSON.parse(line) as WatchLine),
    )
  }
  child.on('error', error => end(error.message))
  child.on('close', (code, signal) => end(signal ?? `exit ${code}`))
  await next()
  return {
    async take() {
      const line = next()
      child.stdin?.write('take\n')
      return (await line) as WatchReport & WatchLine
    },
    close: () => child.stdin?.end(),
  }
}
