import { setMaxListeners } from 'node:events'
import type { SecureVersion } from 'node:tls'
import type { Clock } from '../ports/clock.ts'
import type { Kube } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Metrics } from '../ports/metrics.ts'
import type { Certified } from '../sys/certificates.ts'
import { rotationOptions } from '../webhook/rotation.ts'
import { CertificateKeeper, watchCertificateFiles } from './webhooks-certificates.ts'
import { WEBHOOK_CERTIFICATE_END } from './webhooks-metrics.ts'
import { WebhookResources } from './webhooks-resources.ts'
import { startWebhookServer, type WebhookServer } from './webhooks-server.ts'

export type WebhooksDeps = {
  readonly kube: Kube
  readonly clock: Clock
  readonly log: Log
  readonly metrics?: Metrics
  /** Called once reviews are answered. */
  readonly onReady?: (port: number) => void
}

export type WebhooksFlags = {
  /** Where the metallb.io objects, the Secret and the Service are. */
  readonly namespace: string
  /** undefined: all addresses of both families. */
  readonly host: string | undefined
  readonly port: number
  readonly minVersion: SecureVersion
  /** --disable-cert-rotation is 'files': tls.crt and tls.key of a directory that others fill. */
  readonly certificates:
    | {
        readonly from: 'secret'
        readonly secretName: string
        readonly serviceName: string
        readonly lifeMs: number
      }
    | { readonly from: 'files'; readonly directory: string }
}

/** How long a stop waits for reviews that are being answered. */
const STOP_MS = 3000

/**
 * Answers the API server's questions about metallb.io objects: admission and conversion. Begins when the objects were read and
 * there is a certificate; not being a leader is no reason to be silent.
 * @returns when the signal aborted
 * @throws Error when the port is taken
 */
export async function runWebhooks(
  deps: WebhooksDeps,
  flags: WebhooksFlags,
  signal: AbortSignal,
): Promise<void> {
  const { kube, clock, log, metrics } = deps
  const { namespace, certificates } = flags
  if (signal.aborted) return
  // One for each kind that is read is no leak.
  setMaxListeners(50, signal)
  const resources = new WebhookResources(kube, namespace)
  let server: WebhookServer | undefined
  let certificate: Certified | undefined
  let announce = () => {}
  const first = new Promise<void>(resolve => {
    announce = resolve
  })
  const onServing = (next: Certified, untilMs: number): void => {
    certificate = next
    server?.setCertificate(next)
    metrics?.set(WEBHOOK_CERTIFICATE_END, {}, untilMs / 1000)
    log.info('webhook-certificate', { until: new Date(untilMs).toISOString() })
    announce()
  }
  const stopped = new Promise<void>(resolve =>
    signal.addEventListener('abort', () => resolve(), { once: true }),
  )
  try {
    if (certificates.from === 'files') {
      watchCertificateFiles({ clock, log }, { directory: certificates.directory, onServing }, signal)
    } else {
      const { secretName, serviceName, lifeMs } = certificates
      const rotation = rotationOptions(lifeMs)
      const keeper = new CertificateKeeper(
        { kube, clock, log },
        { namespace, secretName, serviceName, rotation, onServing },
      )
      await keeper.start(signal)
    }
    await resources.start(signal)
    await Promise.race([first, stopped])
    if (signal.aborted || certificate === undefined) return
    const { host, port, minVersion } = flags
    server = await startWebhookServer(
      { host, port, minVersion, namespace, resources, log, ...(metrics && { metrics }) },
      certificate,
    )
    log.info('webhooks-ready', { port: server.port })
    deps.onReady?.(server.port)
    await stopped
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    await server?.close(STOP_MS)
  }
}
