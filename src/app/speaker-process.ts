import { Worker } from 'node:worker_threads'
import type { Ip } from '../addr/ip.ts'
import type { SteeringMode } from '../config/speakers.ts'
import { STEERING_TABLE } from '../dataplane/steering-text.ts'
import { EventRecorder } from '../kube/events.ts'
import type { ElectionRules } from '../layer2/election.ts'
import { DEFAULT_EXCLUDED_INTERFACES } from '../layer2/nics.ts'
import type { ReflexReport } from '../layer2/reflex.ts'
import type { Clock } from '../ports/clock.ts'
import type { Log, LogLevel } from '../ports/log.ts'
import { NftError } from '../ports/nft.ts'
import { SystemClock } from '../sys/clock.ts'
import { openLinks } from '../sys/links.ts'
import { createLog } from '../sys/log.ts'
import { PrometheusMetrics } from '../sys/metrics.ts'
import { createNft } from '../sys/nft.ts'
import { systemRandom } from '../sys/random.ts'
import { ConfigurationState } from './configuration-state.ts'
import { createKubeFromFlags, type KubeFlags } from './kube-flags.ts'
import type { ReflexThreadData } from './reflex-thread.ts'
import { serve } from './serve.ts'
import { keepHeapSmall } from './small-heap.ts'
import { type ReflexLink, Speaker, type SpeakerPorts } from './speaker.ts'
import { SPEAKER_METRICS } from './speaker-metrics.ts'
import { SpeakerSteering } from './speaker-steering.ts'

export type SpeakerFlags = KubeFlags & {
  readonly nodeName: string
  readonly podName: string | undefined
  readonly lbClass: string | undefined
  readonly ignoreExcludeLb: boolean
  readonly rules: ElectionRules
  readonly mlSecretName: string
  readonly mlBindport: number
  readonly heartbeatInterval: number
  readonly heartbeatMisses: number
  readonly returnAfter: number
  readonly flowSteering: SteeringMode | 'off'
  readonly announceInterval: number
  readonly witness: Ip | undefined
  readonly drainMs: number
  readonly healthProbePort: number
  readonly logLevel: LogLevel
}

/** How long a stop waits for Events that are not written yet. */
const EVENTS_WITHIN_MS = 500

/** `lodestone speaker`: runs until the signal aborts; rejects when it cannot go on. */
export async function runSpeakerProcess(flags: SpeakerFlags, signal: AbortSignal): Promise<void> {
  keepHeapSmall()
  const clock = new SystemClock()
  const log = createLog({ level: flags.logLevel, always: { node: flags.nodeName } })
  // Small pages: one page of JSON is what the list of ten thousand Services costs in memory.
  const ports = { clock, random: systemRandom, log }
  const kube = await createKubeFromFlags(flags, 'lodestone-speaker', ports, { pageLimit: 100 })
  const metrics = new PrometheusMetrics(SPEAKER_METRICS)
  const events = new EventRecorder({ kube, clock, log, component: 'metallb-speaker', host: flags.nodeName })
  const worker = startReflexThread({
    self: flags.nodeName,
    epoch: clock.wallNow(),
    intervalMs: flags.heartbeatInterval,
    misses: flags.heartbeatMisses,
    returnAfterMs: flags.returnAfter,
    announceIntervalMs: flags.announceInterval,
    witness: flags.witness,
    heartbeatPort: flags.mlBindport,
    excludedInterfaces: DEFAULT_EXCLUDED_INTERFACES.map(pattern => pattern.source),
    logLevel: flags.logLevel,
  })
  const configurationState = new ConfigurationState({
    kube,
    ...ports,
    namespace: flags.namespace,
    node: flags.nodeName,
    podName: flags.podName,
  })
  const links = await openLinks()
  const steering = await openSteering(flags, { clock, log })
  let server: { close(): void } | undefined
  try {
    const speaker = new Speaker(
      {
        node: flags.nodeName,
        namespace: flags.namespace,
        loadBalancerClass: flags.lbClass,
        ignoreExcludeLabel: flags.ignoreExcludeLb,
        rules: flags.rules,
        excludedInterfaces: DEFAULT_EXCLUDED_INTERFACES,
        secretName: flags.mlSecretName,
        podName: flags.podName,
        drainMs: flags.drainMs,
      },
      {
        kube,
        events,
        metrics,
        ...ports,
        links,
        reflex: worker.link,
        ...(steering && { steering }),
        onConfig: problems => configurationState.report(problems),
      },
    )
    server = await serve('127.0.0.1', flags.healthProbePort, {
      ready: () => speaker.ready,
      metrics: () => metrics.text(),
      status: () => speaker.status(),
    })
    await speaker.run(signal)
  } finally {
    void configurationState.close()
    // Also when it never ran: a thread that is left would keep the process alive, and answering.
    server?.close()
    links.close()
    await steering?.flows.close()
    await events.close(EVENTS_WITHIN_MS)
    kube.close()
    await worker.close()
  }
}

/** Steering as the flags want it, where the kernel lets us; without it, what an earlier run left is taken away. */
async function openSteering(
  { nodeName, flowSteering }: Pick<SpeakerFlags, 'nodeName' | 'flowSteering'>,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Promise<SpeakerPorts['steering']> {
  const nft = createNft()
  const flows = new SpeakerSteering(nodeName, { nft, clock, log })
  try {
    if (flowSteering !== 'off') {
      await nft.listTable('netdev', STEERING_TABLE)
      return { mode: flowSteering, flows }
    }
    if ((await nft.listTable('netdev', STEERING_TABLE)) !== undefined) await flows.remove()
  } catch (error) {
    const off = flowSteering === 'off'
    // Without nft nothing can have been left behind, either.
    if (off && error instanceof NftError && error.code !== 'refused') return undefined
    const effect = off ? 'what an earlier run left goes on steering' : 'this node steers nothing'
    // Where only annotated Services are steered there may be none.
    if (flowSteering === 'annotated') log.info('no-flow-steering', { error, effect })
    else log.warn('no-flow-steering', { error, effect })
  }
  return undefined
}

function startReflexThread(data: ReflexThreadData): { readonly link: ReflexLink; close(): Promise<void> } {
  const worker = new Worker(new URL('./reflex-thread.js', import.meta.url), {
    workerData: data,
    // Small: it holds a table of addresses and nothing else.
    resourceLimits: { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 4 },
  })
  let listener: ((report: ReflexReport) => void) | undefined
  /** What it reported before anybody listened: it may fail at once. */
  const early: ReflexReport[] = []
  let closing = false
  const hear = (report: ReflexReport) => {
    if (closing) return
    if (listener === undefined) early.push(report)
    else listener(report)
  }
  const fail = (message: string) => hear({ type: 'failed', message })
  worker.on('message', hear)
  worker.on('error', error => fail(error instanceof Error ? error.message : String(error)))
  worker.on('exit', code => fail(`it ended with ${code}`))
  return {
    link: {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a Worker has none
      post: command => worker.postMessage(command),
      onReport: take => {
        listener = take
        for (const report of early.splice(0)) take(report)
      },
    },
    async close() {
      closing = true
      await worker.terminate()
    },
  }
}
