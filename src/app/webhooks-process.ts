import type { SecureVersion } from 'node:tls'
import type { Ms } from '../ports/clock.ts'
import type { WebhooksDeps, WebhooksFlags } from './webhooks.ts'

/** The controller's flags about webhooks (1.6). */
export type WebhookProcessFlags = {
  /** 'onlywebhook': answers reviews and gives no addresses. */
  readonly webhookMode: 'enabled' | 'disabled' | 'onlywebhook'
  readonly disableCertRotation: boolean
  readonly certDir: string
  readonly certServiceName: string
  readonly webhookSecret: string
  readonly webhookPort: number
  readonly webhookCertLifetimeMs: Ms
  /** Empty: the newest, as in MetalLB. */
  readonly tlsMinVersion: '' | 'VersionTLS12' | 'VersionTLS13'
}

const TLS: Readonly<Record<WebhookProcessFlags['tlsMinVersion'], SecureVersion>> = {
  '': 'TLSv1.3',
  VersionTLS12: 'TLSv1.2',
  VersionTLS13: 'TLSv1.3',
}

const RETRY_MS: Ms = 10_000

/**
 * Runs the webhooks, and starts them again ten seconds after they failed (their port is taken): beside the allocation of addresses
 * they are the smaller duty and must not end it. Their code is loaded when they are wanted only.
 * @returns when the signal aborted
 */
export async function keepWebhooks(
  deps: WebhooksDeps,
  flags: WebhookProcessFlags & { readonly namespace: string },
  signal: AbortSignal,
): Promise<void> {
  if (flags.webhookMode === 'disabled') return
  const { runWebhooks } = await import('./webhooks.ts')
  while (!signal.aborted) {
    const attempt = new AbortController()
    try {
      await runWebhooks(deps, webhooksFlags(flags), AbortSignal.any([signal, attempt.signal]))
    } catch (error) {
      deps.log.error('webhooks-failed', { error })
      attempt.abort()
      await new Promise<void>(resolve => {
        const cancel = deps.clock.after(RETRY_MS, resolve)
        const stop = () => {
          cancel()
          resolve()
        }
        signal.addEventListener('abort', stop, { once: true })
      })
    }
  }
}

function webhooksFlags(flags: WebhookProcessFlags & { readonly namespace: string }): WebhooksFlags {
  return {
    namespace: flags.namespace,
    host: undefined,
    port: flags.webhookPort,
    minVersion: TLS[flags.tlsMinVersion],
    certificates: flags.disableCertRotation
      ? { from: 'files', directory: flags.certDir }
      : {
          from: 'secret',
          secretName: flags.webhookSecret,
          serviceName: flags.certServiceName,
          lifeMs: flags.webhookCertLifetimeMs,
        },
  }
}
