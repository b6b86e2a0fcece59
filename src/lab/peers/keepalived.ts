import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lab } from '../lab.ts'

/** The states of a VRRP instance, as keepalived's log names them. */
export type VrrpState = 'MASTER' | 'BACKUP' | 'FAULT'

export type KeepalivedOptions = {
  /** 1 to 255. */
  readonly virtualRouterId: number
  /** 1 to 254, the highest becomes master. */
  readonly priority: number
  /** 0.01 to 40.95 (RFC 9568: in hundredths, twelve bits). */
  readonly advertIntervalSeconds: number
  /** What the master holds, with prefix lengths: `192.0.2.100/32`. */
  readonly addresses: readonly string[]
  /** Default `eth0`. */
  readonly interfaceName?: string
  /** Further lines of the instance, for example `nopreempt`. */
  readonly more?: readonly string[]
}

/** The configuration of one VRRPv3 instance. Every host starts as a backup, so that the election decides. */
export function keepalivedConfig(routerId: string, options: KeepalivedOptions): string {
  return `global_defs {
  router_id ${routerId}
  vrrp_version 3
}
vrrp_instance lab {
  state BACKUP
  interface ${options.interfaceName ?? 'eth0'}
  virtual_router_id ${options.virtualRouterId}
  priority ${options.priority}
  advert_int ${options.advertIntervalSeconds}
${(options.more ?? []).map(line => `  ${line}\n`).join('')}  virtual_ipaddress {
${options.addresses.map(address => `    ${address}\n`).join('')}  }
}
`
}

/** Changes of state in a log of keepalived, in their order. */
export function parseStates(log: string): VrrpState[] {
  return [...log.matchAll(/\(lab\) Entering (MASTER|BACKUP|FAULT) STATE/g)].map(
    match => match[1] as VrrpState,
  )
}

/** A running keepalived on a host of a lab. */
export type Keepalived = {
  readonly host: string
  /** undefined: it has not said any yet, or it is not running. */
  state(): VrrpState | undefined
  /** Resolves once it is in one of these states. @throws Error with the end of its log, when it ended or that takes too long */
  reaches(states: readonly VrrpState[], withinMs: number): Promise<void>
  /** SIGTERM: gives its addresses up and says so. Resolves when the signal was sent. */
  leave(): Promise<void>
  /** SIGKILL to both of its processes at once: the kernel keeps its addresses. Resolves when it is gone. */
  kill(): Promise<void>
  /** SIGSTOP to both of its processes: the kernel goes on answering for its addresses. Resolves when the signals were sent. */
  freeze(): Promise<void>
  thaw(): Promise<void>
  /** Ends it however it can, and takes its files away. The addresses it held stay after `kill`. */
  close(): Promise<void>
}

const STOP_WITHIN_MS = 3000
const POLL_MS = 5
const LOG_CHARS_MAX = 64 * 1024

/** Sends each signal to the process whose id follows it, if that is still keepalived: an id may have got another owner. */
const SIGNAL_SCRIPT = `while [ $# -ge 2 ]; do
  if [ "$(cat /proc/$2/comm 2>/dev/null)" = keepalived ]; then kill -"$1" "$2"; fi
  shift 2
done`

/**
 * Starts keepalived (Debian package keepalived) in the foreground on a host. Its state comes from its log, since the file that it
 * writes on a signal has one fixed name for all instances. Its files are in the lab's folder of logs: they go
 * with the lab at the latest. Resolves once it runs, as a backup.
 * @throws Error when it is not installed or refuses its configuration
 */
export async function startKeepalived(
  lab: Pick<Lab, 'spawn' | 'exec' | 'logFolder'>,
  host: string,
  options: KeepalivedOptions,
): Promise<Keepalived> {
  const folder = mkdtempSync(join(lab.logFolder, `keepalived-${host}-`))
  const file = (name: string): string => join(folder, name)
  writeFileSync(file('conf'), keepalivedConfig(host, options), { mode: 0o600 })
  // Files of its own: with the usual ones, the second instance of a machine takes the first one for itself.
  const files = ['--use-file', file('conf'), '--pid', file('pid'), '--vrrp_pid', file('vrrp-pid')]
  const argv = ['keepalived', '--dont-fork', '--vrrp', '--log-console', '--no-syslog', ...files]
  let keepalived: RunningKeepalived | undefined
  try {
    const child = lab.spawn(host, argv, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    keepalived = new RunningKeepalived(lab, host, child, folder)
    await keepalived.reaches(['BACKUP', 'MASTER'], STOP_WITHIN_MS)
    return keepalived
  } catch (error) {
    await keepalived?.close()
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
}

class RunningKeepalived implements Keepalived {
  readonly host: string
  readonly #lab: Pick<Lab, 'exec'>
  readonly #folder: string
  readonly #gone: Promise<void>
  #ended: string | undefined
  #log = ''
  #state: VrrpState | undefined

  constructor(lab: Pick<Lab, 'exec'>, host: string, child: ChildProcess, folder: string) {
    this.host = host
    this.#lab = lab
    this.#folder = folder
    this.#gone = new Promise(resolve => {
      const end = (why: string): void => {
        this.#ended ??= why
        this.#state = undefined
        resolve()
      }
      child.on('error', error => end(error.message))
      child.on('close', (code, signal) => end(signal ?? `exit ${code}`))
    })
    let rest = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-LOG_CHARS_MAX)
        const lines = (rest + text).split('\n')
        rest = lines.pop() ?? ''
        this.#state = parseStates(lines.join('\n')).at(-1) ?? this.#state
      })
    }
  }

  state(): VrrpState | undefined {
    return this.#state
  }

  async reaches(states: readonly VrrpState[], withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs
    while (this.#state === undefined || !states.includes(this.#state)) {
      if (this.#ended !== undefined || performance.now() > deadline) {
        const what = this.#ended === undefined ? `is ${this.#state ?? 'silent'}` : `ended (${this.#ended})`
        throw new Error(
          `keepalived on ${this.host} ${what}, not ${states.join(' or ')}; its log ends with:\n${this.#log.slice(-2000)}`,
        )
      }
      await new Promise(resolve => setTimeout(resolve, POLL_MS))
    }
  }

  async leave(): Promise<void> {
    await this.#signal(['TERM', 'pid'])
  }

  async kill(): Promise<void> {
    // A child that sees its parent die leaves in an orderly way, and a parent that sees its child die starts another one: so the child
    // is stopped until both are gone.
    await this.#signal(['STOP', 'vrrp-pid'], ['KILL', 'pid'], ['KILL', 'vrrp-pid'])
    await this.#goneWithin(STOP_WITHIN_MS)
  }

  async freeze(): Promise<void> {
    await this.#signal(['STOP', 'pid'], ['STOP', 'vrrp-pid'])
  }

  async thaw(): Promise<void> {
    await this.#signal(['CONT', 'vrrp-pid'], ['CONT', 'pid'])
  }

  async close(): Promise<void> {
    if (this.#ended === undefined) {
      await this.leave()
      if (!(await this.#goneWithin(STOP_WITHIN_MS))) await this.kill()
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #signal(...signals: readonly (readonly [name: string, pidFile: string])[]): Promise<void> {
    if (this.#ended !== undefined) return
    const known = signals.flatMap(([name, file]) => {
      const pid = this.#pid(file)
      return pid === undefined ? [] : [name, pid]
    })
    // Ids count in the lab's own process namespace: only there may they be used.
    await this.#lab.exec(this.host, ['sh', '-c', SIGNAL_SCRIPT, 'sh', ...known])
  }

  #pid(file: string): string | undefined {
    try {
      return readFileSync(join(this.#folder, file), 'utf8').trim()
    } catch {
      return undefined // It ended before it wrote its id, or has removed it on its way out.
    }
  }

  async #goneWithin(withinMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<false>(resolve => {
      timer = setTimeout(resolve, withinMs, false)
    })
    const inTime = await Promise.race([this.#gone.then(() => true), late])
    clearTimeout(timer)
    return inTime
  }
}
