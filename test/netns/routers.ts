// Real routers in a namespace of their own, reached over one link, for the tests of BGP and BFD. Their files are in a temporary folder.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const OURS = { v4: '192.0.2.1', v6: '2001:db8::1' }
export const THEIRS = { v4: '192.0.2.2', v6: '2001:db8::2' }
const NAMESPACE = 'router'
const FRR = '/usr/lib/frr'

/** A link to a namespace with the router's addresses. */
export function buildLink(): void {
  const script = `set -e
ip link set lo up
ip netns add ${NAMESPACE}
ip link add up0 type veth peer name eth0 netns ${NAMESPACE}
ip link set up0 up
ip addr add ${OURS.v4}/24 dev up0
ip addr add ${OURS.v6}/64 dev up0 nodad
ip -n ${NAMESPACE} link set lo up
ip -n ${NAMESPACE} link set eth0 up
ip -n ${NAMESPACE} addr add ${THEIRS.v4}/24 dev eth0
ip -n ${NAMESPACE} addr add ${THEIRS.v6}/64 dev eth0 nodad`
  execFileSync('sh', ['-c', script], { stdio: ['ignore', 'ignore', 'inherit'] })
}

/** What to run in the router's namespace so that it is that command. */
const within = (...command: string[]): string[] => ['netns', 'exec', NAMESPACE, ...command]

/** One daemon or several that belong together. */
export class Router {
  readonly folder: string
  readonly #children: ChildProcess[] = []
  #log = ''

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'lodestone-router-'))
    chmodSync(this.folder, 0o755)
  }

  get log(): string {
    return this.#log
  }

  file(name: string): string {
    return join(this.folder, name)
  }

  write(name: string, text: string): string {
    writeFileSync(this.file(name), text)
    return this.file(name)
  }

  start(...command: string[]): void {
    const child = spawn('ip', within(...command), { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-100_000)
      })
    }
    child.on('error', error => {
      this.#log += error.message
    })
    this.#children.push(child)
  }

  /** The output of a command in the router's namespace. */
  ask(...command: string[]): string {
    return execFileSync('ip', within(...command), {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 10_000,
    })
  }

  /** Stops it where it is: its connections stay, and nobody answers. */
  freeze(): void {
    for (const child of this.#children) child.kill('SIGSTOP')
  }

  /** Ends it as a power cut would. */
  close(): void {
    for (const child of this.#children) child.kill('SIGKILL')
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** FRR with the daemons that have a configuration here. */
export function startFrr(configs: Readonly<Partial<Record<'zebra' | 'bgpd' | 'bfdd', string>>>): Router {
  const router = new Router()
  const [user, group] = ['-u', '-g'].map(flag =>
    Number(execFileSync('id', [flag, 'frr'], { encoding: 'utf8' })),
  )
  chownSync(router.folder, user ?? 0, group ?? 0)
  for (const [daemon, text] of Object.entries(configs)) {
    const files = ['-f', router.write(`${daemon}.conf`, text), '-i', router.file(`${daemon}.pid`)]
    const sockets = ['-z', router.file('zserv'), '--vty_socket', router.folder]
    const more = daemon === 'bfdd' ? ['--bfdctl', router.file('bfdd.sock')] : []
    router.start(
      `${FRR}/${daemon}`,
      ...files,
      ...sockets,
      ...more,
      '-A',
      '127.0.0.1',
      '-P',
      '0',
      '-u',
      'frr',
      '-g',
      'frr',
    )
  }
  return router
}

export function frrShow(router: Router, command: string): unknown {
  return JSON.parse(router.ask('vtysh', '--vty_socket', router.folder, '-c', `${command} json`))
}

export function startBird(config: string): Router {
  const router = new Router()
  const conf = router.write(
    'bird.conf',
    `log stderr all;\nrouter id ${THEIRS.v4};\nprotocol device {}\n${config}`,
  )
  router.start('bird', '-f', '-c', conf, '-s', router.file('ctl'), '-P', router.file('pid'))
  return router
}

/** birdc ends with 1 where it finds nothing, and says so. */
export function birdShow(router: Router, ...command: string[]): string {
  return router.ask('sh', '-c', 'birdc "$@" || true', 'birdc', '-s', router.file('ctl'), ...command)
}

export function startGobgp(config: string): Router {
  const router = new Router()
  const conf = router.write('gobgpd.toml', config)
  router.start('gobgpd', '-f', conf, '--api-hosts', '127.0.0.1:50051', '--pprof-disable')
  return router
}

export async function waitFor<T>(
  what: string,
  look: () => T | undefined | false,
  withinMs = 20_000,
): Promise<T> {
  const end = performance.now() + withinMs
  let last: unknown
  for (;;) {
    try {
      const found = look()
      if (found !== undefined && found !== false) return found
    } catch (error) {
      // A daemon that is not up yet does not answer.
      last = error
    }
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`, { cause: last })
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
