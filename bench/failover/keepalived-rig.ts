import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Ip } from '../../src/addr/ip.ts'
import { type Lab, startLab } from '../../src/lab/lab.ts'
import { type Keepalived, startKeepalived } from '../../src/lab/peers/keepalived.ts'
import type { Scope } from '../frame.ts'
import { restoreInterface, takeInterfaceDown } from './interface.ts'
import { measureOutage, sleep } from './outage.ts'
import { CLIENTS, FROZEN_FOR_MS, type Rig, type Way } from './rig.ts'

const VIP = '192.0.2.100' as Ip
const PORT = 8080
/** As an administrator writes them, with room between. The first is the master. */
const PRIORITIES = [200, 150, 100, 75, 50] as const
const FIRST = 'node1'
/** Beside two intervals, without a change of state. */
const SETTLED_MS = 200

const WEB = fileURLToPath(new URL('../../src/lab/web/main.js', import.meta.url))

/** Three or five nodes of a lab with keepalived and an echo on each; the master is the one that fails, and the one that comes back. */
export async function openKeepalived(
  scope: Scope,
  advertIntervalSeconds: number,
  count: 3 | 5,
): Promise<Rig> {
  const nodes = PRIORITIES.slice(0, count).map((_, i) => `node${i + 1}`)
  const name = `bench-${process.pid}-${advertIntervalSeconds * 1000}`
  const lab = await startLab({
    name,
    bare: true,
    nodes: count,
    clients: CLIENTS.count,
    signal: scope.signal,
  })
  const running = new Map<string, Keepalived>()
  // Recovery takes seconds of waiting: meanwhile it is somebody else's turn.
  let healthy = Promise.resolve()
  scope.defer(async () => {
    await lab.down()
    await healthy.catch(() => {})
    // Whatever has not ended with the lab by now can no longer be told to.
    await Promise.allSettled([...running.values()].map(keepalived => keepalived.close()))
  })
  const advertMs = advertIntervalSeconds * 1000
  // An instance that hears nothing takes three intervals and a skew of less than one; the rest is the machine's.
  const electedWithinMs = 5 * advertMs + 5000

  async function start(host: string): Promise<void> {
    const priority = PRIORITIES[nodes.indexOf(host)] ?? 1
    const options = { virtualRouterId: 51, priority, advertIntervalSeconds, addresses: [`${VIP}/32`] }
    running.set(host, await startKeepalived(lab, host, options))
  }

  const on = (host: string): Keepalived => {
    const keepalived = running.get(host)
    if (keepalived === undefined) throw new Error(`keepalived was never started on ${host}`)
    return keepalived
  }

  async function othersTakeOver(): Promise<void> {
    const others = nodes.filter(host => host !== FIRST)
    await Promise.any(others.map(host => on(host).reaches(['MASTER'], electedWithinMs)))
  }

  /** Whether or not the others noticed. */
  async function frozenAndThawed(): Promise<void> {
    await sleep(FROZEN_FOR_MS)
    await on(FIRST).thaw()
  }

  /** The first node is the master, alone, and stays it for a while. */
  async function elected(): Promise<void> {
    const deadline = performance.now() + 2 * electedWithinMs
    for (let since = performance.now(); performance.now() - since < 2 * advertMs + SETTLED_MS; ) {
      const right = nodes.every(host => on(host).state() === (host === FIRST ? 'MASTER' : 'BACKUP'))
      if (!right) since = performance.now()
      if (since > deadline) {
        const states = nodes.map(host => `${host} is ${on(host).state() ?? 'silent'}`).join(', ')
        throw new Error(`keepalived, adverts of ${advertIntervalSeconds} s, did not settle: ${states}`)
      }
      await sleep(5)
    }
  }

  async function recover(way: Way): Promise<void> {
    if (way === 'link' || way === 'blackhole') await lab.revive(FIRST)
    else if (way === 'carrier') await restoreInterface(lab, FIRST, { nodes: count, clients: CLIENTS.count })
    else if (way !== 'frozen') {
      await on(FIRST).close()
      // Killed, it left its address to the kernel.
      await lab.exec(FIRST, ['ip', 'address', 'delete', `${VIP}/32`, 'dev', 'eth0'])
      await start(FIRST)
    }
    await elected()
  }

  const deeds: Readonly<Record<Way, () => Promise<void>>> = {
    link: () => lab.kill(FIRST, 'link'),
    blackhole: () => lab.kill(FIRST, 'blackhole'),
    carrier: () => takeInterfaceDown(lab, FIRST),
    process: () => on(FIRST).kill(),
    frozen: () => on(FIRST).freeze(),
    drain: () => on(FIRST).leave(),
  }

  await Promise.all(nodes.map(host => startEcho(lab, host)))
  await Promise.all(nodes.map(start))
  /** Whoever comes next waits for it, and is told when it fails. */
  const later = (work: Promise<void>): void => {
    healthy = work
    healthy.catch(() => {})
  }
  later(elected())
  return {
    async measure(way) {
      await healthy
      const outage = await measureOutage({
        lab,
        target: VIP,
        port: PORT,
        delayMs: Math.random() * advertMs,
        deed: deeds[way],
        ...(way === 'frozen' ? { takenOver: frozenAndThawed, watched: true } : { takenOver: othersTakeOver }),
      })
      later(recover(way))
      return outage
    },
  }
}

/**
 * The same echo that pods of a lab run, at the shared address, which a backup does not have yet. The host forwards nothing: a lab's
 * nodes do, as Kubernetes needs it, but a host with a server and keepalived is left as it was installed.
 */
function startEcho(lab: Lab, host: string): Promise<void> {
  const switches = '/proc/sys/net/ipv4'
  const script = `echo 1 > ${switches}/ip_nonlocal_bind && echo 0 > ${switches}/ip_forward && exec "$@"`
  const environment = [
    'env',
    `WEB_HOST=${VIP}`,
    `WEB_PORT=${PORT}`,
    `NODE_NAME=${host}`,
    `POD_NAME=echo-${host}`,
  ]
  const child = lab.spawn(host, ['sh', '-c', script, 'sh', ...environment, process.execPath, WEB], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  return listening(child, host)
}

function listening(child: ChildProcess, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    const hear = (chunk: string): void => {
      text = (text + chunk).slice(-4096)
      if (text.includes('"event":"listening"')) resolve()
    }
    child.stdout?.setEncoding('utf8').on('data', hear)
    child.stderr?.setEncoding('utf8').on('data', hear)
    child.on('error', reject)
    child.on('close', () => reject(new Error(`the echo on ${host} ended: ${text.trim()}`)))
  })
}
