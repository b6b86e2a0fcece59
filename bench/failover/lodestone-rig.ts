import { startLab } from '../../src/lab/lab.ts'
import { measureFailover } from '../../src/lab/scenarios/failover.ts'
import { observe } from '../../src/lab/scenarios/observer.ts'
import type { Scope } from '../frame.ts'
import { createEchoService, ECHO_PORT, ECHO_SERVICE } from '../support/echo-service.ts'
import type { Rig } from './rig.ts'

const SETTLE_WITHIN_MS = 30_000
/** Longer than the interval of heartbeats, so that the failure meets every phase of it. */
const DELAY_MAX_MS = 200

/**
 * Three nodes of a lab with a speaker and an echo on each, and one Service whose traffic the node that gets it serves itself: what
 * keepalived with a server on each host does.
 */
export async function openLodestone(scope: Scope): Promise<Rig> {
  const { signal } = scope
  const lab = await startLab({ name: `bench-${process.pid}`, nodes: 3, signal })
  scope.defer(() => lab.down())
  await createEchoService(lab, { replicas: 3, ipv6: false })
  const observer = await observe(lab)
  scope.defer(() => observer.close())
  await observer.settled({ withinMs: SETTLE_WITHIN_MS, signal })
  return {
    async measure(how) {
      const result = await measureFailover(lab, {
        service: ECHO_SERVICE,
        how,
        port: ECHO_PORT,
        steadyMs: 200 + Math.random() * DELAY_MAX_MS,
        afterMs: 300,
        settleWithinMs: SETTLE_WITHIN_MS,
        observer,
        signal,
      })
      if (result.nodeAfter === undefined)
        throw new Error(`nobody took over from ${result.nodeBefore} (${how})`)
      if (result.unsettled !== undefined) throw new Error(`after ${how}: ${result.unsettled}`)
      return { ms: result.outageMs, lost: result.lost }
    },
  }
}
