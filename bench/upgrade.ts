import type { Ip } from '../src/addr/ip.ts'
import { type Lab, startLab } from '../src/lab/lab.ts'
import { type Observer, observe } from '../src/lab/scenarios/observer.ts'
import { waitUntil } from '../src/lab/scenarios/wait.ts'
import { measureOutage } from './failover/outage.ts'
import { CLIENTS } from './failover/rig.ts'
import type { Bench, Scope } from './frame.ts'
import { createEchoService, ECHO_PORT, ECHO_SERVICE, STREAM_PORT } from './support/echo-service.ts'
import { ownCommands } from './support/program.ts'
import { openStreams } from './upgrade/streams.ts'

const NODES = 3
const CONNECTIONS = 50
const SETTLE_WITHIN_MS = 60_000
const WHAT = 'every speaker stopped and started in turn'
const [OUTAGE, LOST, OVERLAP, CUT, CORRUPT] = [
  WHAT,
  `${WHAT}, lost probes`,
  `${WHAT}, two nodes answered`,
  `${WHAT}, connections cut of ${CONNECTIONS}`,
  `${WHAT}, wrong answers on connections`,
] as const

/** A new version of the speakers, rolled out as a DaemonSet does it: the next one once the one before is ready. */
export const bench: Bench = {
  title: 'what a client sees of a rolling upgrade of all speakers, probed every millisecond',
  runs: 20,
  warmUp: 0,
  async open(scope) {
    const { lab, observer, ip } = await open(scope)
    return [
      {
        subject: 'lodestone',
        cases: { [OUTAGE]: 'ms', [LOST]: 'count', [OVERLAP]: 'ms', [CUT]: 'count', [CORRUPT]: 'count' },
        async run() {
          await observer.settled({ withinMs: SETTLE_WITHIN_MS, signal: scope.signal })
          const task = { target: ip, port: STREAM_PORT, count: CONNECTIONS }
          const streams = await openStreams(lab, CLIENTS.probes, task)
          try {
            const outage = await measureOutage({
              lab,
              target: ip,
              port: ECHO_PORT,
              delayMs: Math.random() * 100,
              deed: () => upgradeAll(lab, scope.signal),
              takenOver: () => observer.settled({ withinMs: SETTLE_WITHIN_MS, signal: scope.signal }),
              watched: true,
            })
            const { cut, corrupt, answers } = await streams.report()
            if (answers === 0) throw new Error('no connection was answered at all')
            return {
              [OUTAGE]: outage.ms,
              [LOST]: outage.lost,
              [OVERLAP]: outage.overlapMs,
              [CUT]: cut,
              [CORRUPT]: corrupt,
            }
          } finally {
            streams.close()
          }
        },
      },
    ]
  },
}

async function open(scope: Scope): Promise<{ lab: Lab; observer: Observer; ip: Ip }> {
  const { signal } = scope
  scope.progress('starting the lab')
  const shape = { nodes: NODES, clients: CLIENTS.count }
  const lab = await startLab({
    name: `bench-${process.pid}`,
    ...shape,
    commands: ownCommands(['--return-after', '1s', '--flow-steering', 'local']),
    signal,
  })
  scope.defer(() => lab.down())
  await createEchoService(lab, { replicas: NODES, ipv6: false })
  const observer = await observe(lab)
  scope.defer(() => observer.close())
  await observer.settled({ withinMs: SETTLE_WITHIN_MS, signal })
  const [ip] = (await observer.service(ECHO_SERVICE)).ips
  if (ip === undefined) throw new Error(`${ECHO_SERVICE} has no address`)
  return { lab, observer, ip }
}

async function upgradeAll(lab: Lab, signal: AbortSignal): Promise<void> {
  for (const { name } of (await lab.status()).nodes) {
    await lab.kill(name, 'drain')
    await lab.revive(name)
    const missing = async () => {
      const state = (await lab.status()).nodes.find(node => node.name === name)?.speaker?.state
      return state === 'running' ? undefined : `it is ${state ?? 'missing'}`
    }
    await waitUntil(`the new speaker of ${name} is ready`, missing, { withinMs: SETTLE_WITHIN_MS, signal })
  }
}
