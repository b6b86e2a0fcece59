import { startLab } from '../../src/lab/lab.ts'
import { measureFailover } from '../../src/lab/scenarios/failover.ts'
import { observe, ownersOf } from '../../src/lab/scenarios/observer.ts'
import { waitUntil } from '../../src/lab/scenarios/wait.ts'
import type { Scope } from '../frame.ts'
import { createEchoService, ECHO_PORT, ECHO_SERVICE } from '../support/echo-service.ts'
import { ownCommands } from '../support/program.ts'
import { restoreInterface, takeInterfaceDown } from './interface.ts'
import { measureOutage, type Outage, sleep } from './outage.ts'
import { CLIENTS, FROZEN_FOR_MS, type Rig } from './rig.ts'

const SETTLE_WITHIN_MS = 30_000
/** Longer than the interval of heartbeats, so that the failure meets every phase of it. */
const DELAY_MAX_MS = 200

/**
 * Nodes of a lab with a speaker and an echo on each, and one Service whose traffic the node that gets it serves itself: what
 * keepalived with a server on each host does.
 */
export async function openLodestone(scope: Scope, nodes: 3 | 5): Promise<Rig> {
  const { signal } = scope
  const shape = { nodes, clients: CLIENTS.count }
  const lab = await startLab({ name: `bench-${process.pid}`, ...shape, commands: ownCommands(), signal })
  scope.defer(() => lab.down())
  await createEchoService(lab, { replicas: nodes, ipv6: false })
  const observer = await observe(lab)
  scope.defer(() => observer.close())
  const settled = () => observer.settled({ withinMs: SETTLE_WITHIN_MS, signal })
  await settled()
  const { ips } = await observer.service(ECHO_SERVICE)
  const [target = fail(`${ECHO_SERVICE} has no address`)] = ips

  async function owner(): Promise<string> {
    const [node] = ownersOf(await observer.speakers.readAll()).get(target) ?? []
    if (node === undefined) throw new Error(`nobody has ${target}`)
    return node
  }

  async function takenOverFrom(node: string): Promise<void> {
    const missing = async () => {
      for (const other of observer.nodes) {
        if (other === node) continue
        const status = await observer.speakers.read(other)
        if (status?.services.some(({ owned }) => owned.includes(target)) === true) return undefined
      }
      return `nobody but ${node} has ${target}`
    }
    await waitUntil('takeover', missing, { withinMs: 10_000, signal })
  }

  const failure = { lab, target, port: ECHO_PORT }

  async function interfaceDown(): Promise<Outage> {
    const node = await owner()
    try {
      return await measureOutage({
        ...failure,
        delayMs: Math.random() * DELAY_MAX_MS,
        deed: () => takeInterfaceDown(lab, node),
        takenOver: () => takenOverFrom(node),
      })
    } finally {
      await restoreInterface(lab, node, shape)
    }
  }

  async function frozen(): Promise<Outage> {
    const node = await owner()
    try {
      return await measureOutage({
        ...failure,
        delayMs: Math.random() * DELAY_MAX_MS,
        deed: () => lab.kill(node, 'freeze'),
        async takenOver() {
          await Promise.all([takenOverFrom(node), sleep(FROZEN_FOR_MS)])
          await lab.revive(node)
        },
        watched: true,
      })
    } finally {
      await lab.revive(node)
    }
  }

  return {
    async measure(way) {
      if (way === 'carrier' || way === 'frozen') {
        const outage = await (way === 'carrier' ? interfaceDown : frozen)()
        await settled()
        return outage
      }
      const result = await measureFailover(lab, {
        service: ECHO_SERVICE,
        how: way,
        port: ECHO_PORT,
        client: CLIENTS.probes,
        steadyMs: 200 + Math.random() * DELAY_MAX_MS,
        afterMs: 300,
        settleWithinMs: SETTLE_WITHIN_MS,
        observer,
        signal,
      })
      if (result.nodeAfter === undefined)
        throw new Error(`nobody took over from ${result.nodeBefore} (${way})`)
      if (result.unsettled !== undefined) throw new Error(`after ${way}: ${result.unsettled}`)
      return { ms: result.outageMs, lost: result.lost, overlapMs: 0 }
    },
  }
}

function fail(why: string): never {
  throw new Error(why)
}
