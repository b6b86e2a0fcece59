import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { EventRecorder } from '../kube/events.ts'
import { UndiciTransport } from '../kube/transport-undici.ts'
import type { LogLevel } from '../ports/log.ts'
import { SystemClock } from '../sys/clock.ts'
import { createLog } from '../sys/log.ts'
import { PrometheusMetrics } from '../sys/metrics.ts'
import { systemRandom } from '../sys/random.ts'
import { runController } from './controller.ts'
import { CONTROLLER_METRICS } from './controller-metrics.ts'
import { createKubeFromFlags, type KubeFlags } from './kube-flags.ts'
import { serve } from './serve.ts'
import { keepHeapSmall } from './small-heap.ts'
import { WEBHOOK_METRICS } from './webhooks-metrics.ts'
import { keepWebhooks, type WebhookProcessFlags } from './webhooks-process.ts'

export type ControllerProcessFlags = KubeFlags &
  WebhookProcessFlags & {
    readonly lbClass: string | undefined
    /** The speakers run with this. */
    readonly ignoreExcludeLb: boolean
    readonly mlSecretName: string
    /** Milliseconds; 0: never replaced. */
    readonly mlKeyLifetime: number
    readonly deployment: string | undefined
    readonly podName: string | undefined
    readonly leaderElect: boolean
    readonly leaseName: string
    /** Seconds. */
    readonly leaseDuration: number
    readonly serviceConditions: boolean
    readonly healthProbePort: number
    readonly logLevel: LogLevel
  }

/** How long a stop waits for Events that are not written yet. */
const EVENTS_WITHIN_MS = 1000

/** `lodestone controller`: runs until the signal aborts; rejects when it cannot go on. */
export async function runControllerProcess(
  flags: ControllerProcessFlags,
  signal: AbortSignal,
): Promise<void> {
  keepHeapSmall()
  const clock = new SystemClock()
  const log = createLog({ level: flags.logLevel })
  const ports = { clock, random: systemRandom, log }
  // Small pages: one page of JSON is what the list of ten thousand Services costs in memory.
  const kube = await createKubeFromFlags(flags, 'lodestone-controller', ports, {
    pageLimit: 100,
    transport: target => new UndiciTransport(target),
  })
  const metrics = new PrometheusMetrics([...CONTROLLER_METRICS, ...WEBHOOK_METRICS])
  const events = new EventRecorder({ kube, clock, log, component: 'metallb-controller', host: hostname() })
  // In the Service of the webhooks only while they answer.
  let webhooksReady = flags.webhookMode === 'disabled'
  let allocating = flags.webhookMode === 'onlywebhook'
  const isReady = () => webhooksReady && allocating
  const server = await serve('0.0.0.0', flags.healthProbePort, {
    ready: isReady,
    metrics: () => metrics.text(),
    status: () => ({ ready: isReady() }),
  })
  const webhooks = keepWebhooks(
    {
      kube,
      clock,
      log,
      metrics,
      onReady: () => {
        webhooksReady = true
      },
    },
    flags,
    signal,
  )
  try {
    if (flags.webhookMode !== 'onlywebhook')
      await runController(
        {
          kube,
          clock,
          log,
          random: systemRandom,
          events,
          metrics,
          onReady: () => {
            allocating = true
            log.info('controller-ready')
          },
        },
        {
          namespace: flags.namespace,
          loadBalancerClass: flags.lbClass ?? '',
          memberlistSecretName: flags.mlSecretName,
          memberlistKeyLifetimeMs: flags.mlKeyLifetime,
          deployment: flags.deployment,
          podName: flags.podName,
          ignoreExcludeLabel: flags.ignoreExcludeLb,
          serviceConditions: flags.serviceConditions,
          leaderElection: flags.leaderElect
            ? {
                name: flags.leaseName,
                // A Pod's name outlives a restart of its container, which then leads on at once.
                identity: flags.podName ?? `${hostname()}_${randomBytes(6).toString('hex')}`,
                leaseDurationMs: flags.leaseDuration * 1000,
              }
            : undefined,
        },
        signal,
      )
    await webhooks
    await events.close(EVENTS_WITHIN_MS)
  } finally {
    server.close()
    kube.close()
  }
}
