import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BoundedLog, tail } from './bounded-log.ts'
import type { DaemonConfig, LabEvent, OuterConfig } from './messages.ts'
import { KEEP, parseEvents } from './messages.ts'
import { unshareCommand } from './preflight.ts'
import type { LabPaths } from './state.ts'
import { identify, pathsIn, readState, writeState } from './state.ts'

/** How long the daemon may take to end by itself. */
const STOP_WITHIN_MS = 5_000

/**
 * The outer process of a lab: it stays in the host's network, relays the API server's port, and owns the namespaces.
 *
 * It is tied to its caller by stdin: when that ends before the caller wrote `KEEP`, the lab ends. The daemon is tied to it in
 * the same way, and all processes of the lab end with unshare(1), so however this process ends, nothing stays.
 */
export async function runOuter(config: OuterConfig): Promise<void> {
  const paths = pathsIn(config.folder)
  const self = identify(process.pid)
  const claim = readState(paths)
  // Without a claim the caller has given up and taken its files away.
  if (self === undefined || claim === undefined) return
  writeState(paths, { ...claim, outer: self })
  // The caller may be gone before the last word.
  process.stdout.on('error', () => undefined)

  const relay = config.bare ? undefined : await startRelay(paths.apiSocket)
  // From here on, a signal must not end this process before its children.
  let asked = false
  let stop: (() => void) | undefined
  const end = (): void => {
    asked = true
    stop?.()
  }
  process.on('SIGTERM', end)
  process.on('SIGINT', end)
  process.on('SIGHUP', () => undefined)
  const inner = startInner({ ...config, hostPort: relay?.port ?? 0 }, paths, event => {
    if (event.event === 'ready') {
      const state = readState(paths)
      if (state !== undefined) writeState(paths, { ...state, ready: true })
    }
    say(event)
  })
  stop = inner.stop
  let kept = false
  process.stdin.setEncoding('utf8').on('data', (text: string) => {
    kept ||= text === KEEP
  })
  process.stdin.on('close', () => {
    if (!kept) end()
  })
  process.stdin.resume()

  const how = await inner.exited
  relay?.server.close()
  if (!asked && inner.outcome() === undefined) {
    say({ event: 'failed', message: `the lab's daemon ended (${how})\n${tail(inner.daemonLog)}`.trimEnd() })
  }
  // A lab that was up and broke down keeps its logs, until `lab down` or the next `lab up`.
  if (asked || inner.outcome() !== 'ready') rmSync(paths.folder, { recursive: true, force: true })
  process.exit(asked ? 0 : 1)
}

function say(event: LabEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}

/** unshare(1) and below it the daemon. */
function startInner(config: DaemonConfig, paths: LabPaths, onEvent: (event: LabEvent) => void) {
  const daemonLog = join(paths.logs, 'daemon.log')
  const log = new BoundedLog(daemonLog)
  const entry = fileURLToPath(new URL('daemon-main.js', import.meta.url))
  const [command = '', ...flags] = unshareCommand(config)
  // A shell is process 1: it collects the orphans of a lab, which Node would leave as zombies.
  const init = 'exec 3<&0; "$@" <&3 3<&- & wait $!'
  const child = spawn(
    command,
    [...flags, 'sh', '-c', init, 'lodestone-lab', process.execPath, entry, JSON.stringify(config)],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  )
  const inner = child.pid === undefined ? undefined : identify(child.pid)
  const state = readState(paths)
  if (inner !== undefined && state !== undefined) writeState(paths, { ...state, inner })

  let outcome: 'ready' | 'failed' | undefined
  child.stdout.setEncoding('utf8').on(
    'data',
    parseEvents(event => {
      if (event.event !== 'progress') outcome = event.event
      onEvent(event)
    }),
  )
  child.stderr.on('data', (bytes: Uint8Array) => log.write(bytes))
  child.stdin.on('error', () => undefined)
  const exited = new Promise<string>(resolve => {
    child.on('error', error => resolve(error.message))
    child.on('close', (code, signal) => resolve(signal ?? `exit ${code}`))
  })
  const stop = (): void => {
    child.stdin.end()
    setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS).unref()
  }
  return { exited, stop, daemonLog, outcome: () => outcome }
}

/** Leads connections to a loopback port of the host to the API server's socket. TLS is between the two ends. */
function startRelay(socketPath: string): Promise<{ server: Server; port: number }> {
  const server = createServer({ allowHalfOpen: true }, outside => {
    const inside = connect({ path: socketPath, allowHalfOpen: true })
    outside.on('error', () => inside.destroy())
    inside.on('error', () => outside.destroy())
    outside.pipe(inside)
    inside.pipe(outside)
  })
  return new Promise((resolve, reject) => {
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve({ server, port: typeof address === 'object' && address !== null ? address.port : 0 })
    })
  })
}
