import { hostname } from 'node:os'
import { EventRecorder } from '../kube/events.ts'
import type { LogLevel } from '../ports/log.ts'
import { SystemClock } from '../sys/clock.ts'
import { createLog } from '../sys/log.ts'
import { PrometheusMetrics } from '../sys/metrics.ts'
import { systemRandom } from '../sys/random.ts'
import { CONTROLLER_METRICS, runController } from './controller.ts'
import { createKubeFromFlags, type KubeFlags } from './kube-flags.ts'
import { serve } from './serve.ts'
import { WEBHOOK_METRICS } from './webhooks-metrics.ts'
import { keepWebhooks, type WebhookProcessFlags } from './webhooks-process.ts'

export type ControllerProcessFlags = KubeFlags &
  WebhookProcessFlags & {
    readonly lbClass: string | undefined
    readonly mlSecretName: string
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
  const clock = new SystemClock()
  const log = createLog({ level: flags.logLevel })
  const kube = await createKubeFromFlags(flags, 'lodestone-controller', { clock, random: systemRandom, log })
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
