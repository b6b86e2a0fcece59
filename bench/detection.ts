import type { Ip } from '../src/addr/ip.ts'
import { type Lab, startLab } from '../src/lab/lab.ts'
import { startKeepalived } from '../src/lab/peers/keepalived.ts'
import { isInstalled } from '../src/lab/preflight.ts'
import { silencesOf } from '../src/lab/probe/answers.ts'
import { monotonicMs } from '../src/lab/probe/probe.ts'
import { startWatch } from '../src/lab/probe/watch.ts'
import { observe } from '../src/lab/scenarios/observer.ts'
import { loseFrames, stress } from './detection/disturbance.ts'
import { takeoversOf } from './detection/takeovers.ts'
import { sleep } from './failover/outage.ts'
import { CLIENTS } from './failover/rig.ts'
import { KEEPALIVED_MISSING } from './failover/table.ts'
import type { Bench, Scope, Subject } from './frame.ts'
import { createEchoService, ECHO_SERVICE } from './support/echo-service.ts'
import { ownCommands } from './support/program.ts'

const NODES = 3
const MINUTE_MS = 60_000
const SETTLE_WITHIN_MS = 60_000
/** Whoever lost an address to a mistake is to have it again before the next minute. */
const CALM_MS = 5000
const PRIORITIES = [200, 150, 100] as const
const VIP = '192.0.2.100' as Ip
const DISTURBED = 'a minute with all processors busy and 1 % of frames lost'

type Rig = { readonly lab: Lab; readonly ip: Ip }

/** How often nodes take an address from one that is alive. */
export const bench: Bench = {
  title: 'false takeovers while all processors are busy and the switch loses frames; each run is a minute',
  runs: 10,
  warmUp: 0,
  async open(scope) {
    scope.progress('starting the labs')
    const subjects = [subject(scope, 'lodestone', await openLodestone(scope))]
    for (const seconds of [0.1, 0.01]) {
      const rig = isInstalled('keepalived') ? await openKeepalived(scope, seconds) : undefined
      subjects.push(subject(scope, `keepalived ${seconds} s`, rig))
    }
    return subjects
  },
}

function subject(scope: Scope, name: string, rig: Rig | undefined): Subject {
  const takeovers = `${DISTURBED}: false takeovers`
  const silence = `${DISTURBED}: longest time without an answer to a question`
  return {
    subject: name,
    cases: { [takeovers]: 'count', [silence]: 'ms' },
    ...(rig === undefined ? { missing: KEEPALIVED_MISSING } : {}),
    async run() {
      if (rig === undefined) return {}
      const { lab, ip } = rig
      const watch = await startWatch(lab, CLIENTS.watches, { ips: [ip], everyMs: 5 })
      const calm = stress(scope)
      try {
        // What was heard before it began is not part of it.
        await watch.take()
        const fromMs = monotonicMs()
        await sleep(MINUTE_MS)
        const toMs = monotonicMs()
        const { heard, stalls } = await watch.take()
        const runs = heard[ip] ?? []
        const silences = silencesOf(runs, { fromMs, toMs, overMs: 0, deaf: stalls })
        return {
          [takeovers]: takeoversOf(runs),
          [silence]: Math.max(0, ...silences.map(({ heardNothingMs }) => heardNothingMs)),
        }
      } finally {
        calm()
        watch.close()
        await sleep(CALM_MS)
      }
    },
  }
}

async function openLodestone(scope: Scope): Promise<Rig> {
  const { signal } = scope
  const shape = { nodes: NODES, clients: CLIENTS.count }
  const lab = await startLab({ name: `bench-${process.pid}`, ...shape, commands: ownCommands(), signal })
  scope.defer(() => lab.down())
  await createEchoService(lab, { replicas: NODES, ipv6: false })
  const observer = await observe(lab)
  try {
    await observer.settled({ withinMs: SETTLE_WITHIN_MS, signal })
    const [ip] = (await observer.service(ECHO_SERVICE)).ips
    if (ip === undefined) throw new Error(`${ECHO_SERVICE} has no address`)
    await loseFrames(lab)
    return { lab, ip }
  } finally {
    observer.close()
  }
}

async function openKeepalived(scope: Scope, seconds: number): Promise<Rig> {
  const name = `bench-${process.pid}-${seconds * 1000}`
  const shape = { nodes: NODES, clients: CLIENTS.count, bare: true }
  const lab = await startLab({ name, ...shape, signal: scope.signal })
  scope.defer(() => lab.down())
  const instances = await Promise.all(
    PRIORITIES.map((priority, i) =>
      startKeepalived(lab, `node${i + 1}`, {
        virtualRouterId: 51,
        priority,
        advertIntervalSeconds: seconds,
        addresses: [`${VIP}/32`],
      }),
    ),
  )
  await instances[0]?.reaches(['MASTER'], SETTLE_WITHIN_MS)
  await sleep(CALM_MS)
  await loseFrames(lab)
  return { lab, ip: VIP }
}
