import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ProcessStatus } from '../src/api/lab.ts'
import { startLab } from '../src/lab/lab.ts'
import { monotonicMs } from '../src/lab/probe/probe.ts'
import { observe } from '../src/lab/scenarios/observer.ts'
import { decisionTimes } from './controller/decisions.ts'
import { type MeasuredProcess, startMeasured } from './controller/measured-process.ts'
import type { Answer, Command } from './controller/messages.ts'
import type { Bench, Scope } from './frame.ts'
import { createEchoService } from './support/echo-service.ts'

const SERVICES = 10_000
/** Created one by one while the others are there. */
const NEWCOMERS = 100
/** The first has a speaker; the others are silent, and so dead for it. */
const NODES = 500
/** As many onto the node as off it. */
const MOVES = 100
const AT_REST_MS = 5000
const SETTLE_WITHIN_MS = 30_000

const API_SERVER = fileURLToPath(new URL('controller/api-server-main.js', import.meta.url))
const LODESTONE = fileURLToPath(new URL('../src/cli/main.js', import.meta.url))
/** What bin/lodestone.js does, but with the build that this benchmark is part of. */
const RUN = `import(process.argv[1]).then(({ main }) => main(['node', 'lodestone', ...process.argv.slice(2)]))`

const LAB_CONTROLLER = 'controller, resident memory in a lab of three nodes'
const LAB_SPEAKER = 'speaker, resident memory in a lab of three nodes'
const ALLOCATED = '10,000 Services allocated, from a cold start'
const CONTROLLER_CPU = 'controller, processor time for that'
const CONTROLLER_PEAK = 'controller, peak resident memory'
const CONTROLLER_RESIDENT = 'controller, resident memory afterwards'
const NEWCOMER = 'one more Service, from its creation to its address'
const ANNOUNCED = '10,000 Services announced, from a cold start'
const SPEAKER_CPU = 'speaker, processor time for that'
const SPEAKER_PEAK = 'speaker, peak resident memory'
const SPEAKER_RESIDENT = 'speaker, resident memory afterwards'
const DECIDED = 'one endpoint moves, to the decision of the speaker'
const DECISION_SHOWN = 'one endpoint moves, to its ServiceL2Status'
const SPEAKER_REST = 'speaker, processor time in a second at rest'

/** The real controller and the real speaker against the lab's API server, which has a process of its own. */
export const bench: Bench = {
  title: 'a controller and a speaker that start among ten thousand Services and five hundred nodes',
  runs: 3,
  // A start that is cold cannot be warmed up.
  warmUp: 0,
  async open(scope) {
    const lab = await startLab({ name: `bench-${process.pid}`, bare: true, nodes: 1, signal: scope.signal })
    scope.defer(() => lab.down())
    // It goes with the lab, however that ends.
    const folder = lab.logFolder
    const kubeconfig = join(folder, 'kubeconfig')
    const api = await startMeasured(lab, 'control', [process.execPath, API_SERVER, kubeconfig])
    /** What the process with the API server sees; rejects when one of those that it waits for ends meanwhile. */
    const ask = async (command: Command, ...working: readonly MeasuredProcess[]): Promise<Answer> => {
      api.write(`${JSON.stringify(command)}\n`)
      const line = await Promise.race([api.line(/^\{/), ...working.map(process => process.failed)])
      return JSON.parse(line) as Answer
    }
    scope.progress(`creating ${SERVICES} Services and ${NODES} nodes`)
    await ask({ do: 'create', services: SERVICES, nodes: NODES })

    const logOf = (command: string): string => join(folder, `${command}.log`)
    const start = (host: string, command: string, flags: readonly string[]): Promise<MeasuredProcess> => {
      const common = ['--kubeconfig', kubeconfig, '--namespace', 'metallb-system']
      const argv = [process.execPath, '--eval', RUN, LODESTONE, command, ...common, ...flags]
      return startMeasured(lab, host, argv, logOf(command))
    }
    return [
      {
        subject: 'lodestone',
        cases: {
          [ALLOCATED]: 's',
          [CONTROLLER_CPU]: 's',
          [CONTROLLER_PEAK]: 'MB',
          [CONTROLLER_RESIDENT]: 'MB',
          [NEWCOMER]: 'ms',
          [ANNOUNCED]: 's',
          [SPEAKER_CPU]: 's',
          [SPEAKER_PEAK]: 'MB',
          [SPEAKER_RESIDENT]: 'MB',
          [DECIDED]: 'ms',
          [DECISION_SHOWN]: 'ms',
          [SPEAKER_REST]: 'ms',
        },
        async run() {
          await ask({ do: 'reset' })
          const controllerStart = monotonicMs()
          // Under one Pod's name the Lease of the run before, which was killed, is still its own.
          const controller = await start('control', 'controller', ['--pod-name', 'controller-0'])
          const allocated = await ask({ do: 'await-allocated' }, controller)
          const controllerUsage = await controller.usage()
          const { latenciesMs = [] } = await ask({ do: 'one-by-one', services: NEWCOMERS }, controller)

          const speakerStart = monotonicMs()
          const speaker = await start('node1', 'speaker', ['--node-name', 'node1'])
          const announced = await ask({ do: 'await-announced', services: SERVICES }, speaker)
          const speakerUsage = await speaker.usage()
          const { moves = [] } = await ask({ do: 'move-endpoints', moves: MOVES }, controller, speaker)
          const decisions = decisionTimes(moves, await readFile(logOf('speaker'), 'utf8'))
          const restMs = await atRest(speaker)
          await Promise.all([controller.kill('KILL'), speaker.kill('KILL')])
          return {
            [ALLOCATED]: (allocated.atMs - controllerStart) / 1000,
            [CONTROLLER_CPU]: controllerUsage.cpuSeconds,
            [CONTROLLER_PEAK]: controllerUsage.peakMb,
            [CONTROLLER_RESIDENT]: controllerUsage.residentMb,
            [NEWCOMER]: latenciesMs,
            [ANNOUNCED]: (announced.atMs - speakerStart) / 1000,
            [SPEAKER_CPU]: speakerUsage.cpuSeconds,
            [SPEAKER_PEAK]: speakerUsage.peakMb,
            [SPEAKER_RESIDENT]: speakerUsage.residentMb,
            [DECIDED]: decisions,
            [DECISION_SHOWN]: moves.map(({ statusMs }) => statusMs),
            [SPEAKER_REST]: restMs,
          }
        },
      },
      {
        subject: 'lodestone',
        cases: { [LAB_CONTROLLER]: 'MB', [LAB_SPEAKER]: 'MB' },
        run: () => measureSmall(scope),
      },
    ]
  },
}

/** Processor time, in milliseconds for each second, while nothing changes. */
async function atRest(process: MeasuredProcess): Promise<number> {
  const from = monotonicMs()
  const before = await process.usage()
  await sleep(AT_REST_MS)
  const after = await process.usage()
  return ((after.cpuSeconds - before.cpuSeconds) * 1e6) / (monotonicMs() - from)
}

/** What the processes take where there is hardly anything to do: three nodes, three pods, one Service. */
async function measureSmall(scope: Scope): Promise<Record<string, number | number[]>> {
  const { signal } = scope
  const lab = await startLab({ name: `bench-${process.pid}-small`, nodes: 3, signal })
  scope.defer(() => lab.down())
  try {
    await createEchoService(lab, { replicas: 3, ipv6: false })
    const observer = await observe(lab)
    try {
      await observer.settled({ withinMs: SETTLE_WITHIN_MS, signal })
    } finally {
      observer.close()
    }
    const { nodes, controller } = await lab.status()
    const megabytes = (process: ProcessStatus | undefined): number => {
      if (process?.rssBytes === undefined) throw new Error('a process of the lab has ended')
      return process.rssBytes / 1e6
    }
    return {
      [LAB_CONTROLLER]: megabytes(controller),
      [LAB_SPEAKER]: nodes.map(({ speaker }) => megabytes(speaker)),
    }
  } finally {
    await lab.down()
  }
}
