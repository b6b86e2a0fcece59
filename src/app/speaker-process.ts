import { Worker } from 'node:worker_threads'
import { EventRecorder } from '../kube/events.ts'
import { DEFAULT_EXCLUDED_INTERFACES } from '../layer2/nics.ts'
import type { ReflexReport } from '../layer2/reflex.ts'
import { RESOURCES } from '../ports/kube.ts'
import type { LogLevel } from '../ports/log.ts'
import { SystemClock } from '../sys/clock.ts'
import { createLog } from '../sys/log.ts'
import { PrometheusMetrics } from '../sys/metrics.ts'
import { systemRandom } from '../sys/random.ts'
import { createKubeFromFlags, type KubeFlags } from './kube-flags.ts'
import type { ReflexThreadData } from './reflex-thread.ts'
import { serve } from './serve.ts'
import { type ReflexLink, Speaker } from './speaker.ts'
import { SPEAKER_METRICS } from './speaker-metrics.ts'

export type SpeakerFlags = KubeFlags & {
  readonly nodeName: string
  readonly podName: string | undefined
  readonly lbClass: string | undefined
  readonly ignoreExcludeLb: boolean
  readonly mlSecretName: string
  readonly mlBindport: number
  readonly heartbeatIntervalMs: number
  readonly heartbeatMisses: number
  readonly drainMs: number
  readonly healthProbePort: number
  readonly logLevel: LogLevel
}

/** `lodestone speaker`: runs until the signal aborts; rejects when it cannot go on. */
export async function runSpeakerProcess(flags: SpeakerFlags, signal: AbortSignal): Promise<void> {
  const clock = new SystemClock()
  const random = systemRandom
  const log = createLog({ level: flags.logLevel, always: { node: flags.nodeName } })
  const kube = await createKubeFromFlags(flags, 'lodestone-speaker', { clock, random, log })
  const metrics = new PrometheusMetrics(SPEAKER_METRICS)
  const events = new EventRecorder({ kube, clock, log, component: 'metallb-speaker', host: flags.nodeName })
  const worker = startReflexThread({
    self: flags.nodeName,
    epoch: clock.wallNow(),
    intervalMs: flags.heartbeatIntervalMs,
    deadAfterMs: flags.heartbeatIntervalMs * flags.heartbeatMisses,
    heartbeatPort: flags.mlBindport,
    excludedInterfaces: DEFAULT_EXCLUDED_INTERFACES.map(pattern => pattern.source),
    logLevel: flags.logLevel,
  })
  const pod =
    flags.podName === undefined
      ? undefined
      : await kube.get(RESOURCES.pods, { namespace: flags.namespace, name: flags.podName })
  const speaker = new Speaker(
    {
      node: flags.nodeName,
      namespace: flags.namespace,
      loadBalancerClass: flags.lbClass,
      ignoreExcludeLabel: flags.ignoreExcludeLb,
      secretName: flags.mlSecretName,
      pod: pod === undefined ? undefined : { name: pod.metadata.name, uid: pod.metadata.uid ?? '' },
      drainMs: flags.drainMs,
    },
    { kube, events, metrics, clock, log, reflex: worker.link },
  )
  const server = await serve('127.0.0.1', flags.healthProbePort, {
    ready: () => speaker.ready,
    metrics: () => metrics.text(),
    status: () => speaker.status(),
  })
  try {
    await speaker.run(signal)
  } finally {
    server.close()
    kube.close()
    await worker.close()
  }
}

function startReflexThread(data: ReflexThreadData): { readonly link: ReflexLink; close(): Promise<void> } {
  const worker = new Worker(new URL('./reflex-thread.js', import.meta.url), {
    workerData: data,
    // Small: it holds a table of addresses and nothing else.
    resourceLimits: { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 4 },
  })
  const listeners: ((report: ReflexReport) => void)[] = []
  let closing = false
  const fail = (message: string) => {
    if (closing) return
    for (const listener of listeners) listener({ type: 'failed', message })
  }
  worker.on('message', (report: ReflexReport) => {
    for (const listener of listeners) listener(report)
  })
  worker.on('error', error => fail(error.message))
  worker.on('exit', code => fail(`it ended with ${code}`))
  return {
    link: {
      post: command => worker.postMessage(command),
      onReport: listener => listeners.push(listener),
    },
    async close() {
      closing = true
      await worker.terminate()
    },
  }
}
