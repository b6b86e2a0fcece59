import { Command, Option } from 'commander'
import type { WebhookProcessFlags } from '../app/webhooks-process.ts'
import type { LogLevel } from '../ports/log.ts'
import {
  boolean,
  duration,
  healthPortOption,
  integer,
  kubeconfigOption,
  lbClassOption,
  logLevelOption,
  namespaceOption,
  secretNameOption,
  stopSignal,
} from './flags.ts'

type Options = Omit<WebhookProcessFlags, 'webhookCertLifetimeMs'> & {
  readonly webhookCertLifetime: number
  readonly kubeconfig?: string
  readonly namespace: string
  readonly lbClass?: string
  readonly ignoreExcludeLb: boolean
  readonly mlSecretName: string
  readonly mlKeyLifetime: number
  readonly deployment?: string
  readonly podName?: string
  readonly leaderElect: boolean
  readonly leaseName: string
  readonly leaseDuration: number
  readonly serviceConditions: boolean
  readonly healthProbePort: number
  readonly logLevel: LogLevel
}

export function controllerCommand(): Command {
  const command = new Command('controller')
    .description('give addresses to Services of type LoadBalancer')
    .addOption(kubeconfigOption())
    .addOption(namespaceOption())
    .addOption(lbClassOption())
    .addOption(
      new Option(
        '--ignore-exclude-lb',
        'the speakers run with this too: for what the Services are told about their announcement',
      ).default(false),
    )
    .addOption(secretNameOption())
    .addOption(
      new Option(
        '--ml-key-lifetime <duration>',
        'age at which the key in that Secret is replaced, if it was made here; 0s: never',
      )
        .argParser(duration(0))
        .default(90 * 24 * 3_600_000, '2160h'),
    )
    .addOption(
      new Option('--deployment <name>', 'the Deployment that this is of, which then owns that Secret').env(
        'METALLB_DEPLOYMENT',
      ),
    )
    .addOption(new Option('--pod-name <name>', 'the Pod that this is').env('METALLB_POD_NAME'))
    .addOption(
      new Option(
        '--leader-elect [boolean]',
        'act only while holding the Lease, so that several replicas may run; false: act at once, as the only one',
      )
        .argParser(boolean)
        .default(true),
    )
    .addOption(
      new Option('--lease-name <name>', 'Lease in the namespace that the leading replica holds').default(
        'lodestone-controller',
      ),
    )
    .addOption(
      new Option('--lease-duration <seconds>', 'silence of the leader after which another one takes over')
        .argParser(integer(2, 3600))
        .default(15),
    )
    .addOption(
      new Option(
        '--service-conditions [boolean]',
        'tell in the status of each Service why it has no address or is not announced',
      )
        .argParser(boolean)
        .default(true),
    )
    .addOption(healthPortOption())
    .addOption(logLevelOption())
  for (const option of webhookOptions()) command.addOption(option)
  return command.action(async (options: Options) => {
    const { runControllerProcess } = await import('../app/controller-process.ts')
    await runControllerProcess(
      {
        ...options,
        kubeconfig: options.kubeconfig,
        lbClass: options.lbClass,
        deployment: options.deployment,
        podName: options.podName,
        webhookCertLifetimeMs: options.webhookCertLifetime,
      },
      stopSignal(),
    )
    process.exit(0)
  })
}

/** Of the admission and conversion webhooks, with MetalLB's names and defaults where it has them (metallb.md 1.6). */
function webhookOptions(): Option[] {
  return [
    new Option(
      '--webhook-mode <mode>',
      'answer admission reviews beside giving addresses, not at all, or only that',
    )
      .choices(['enabled', 'disabled', 'onlywebhook'] satisfies WebhookProcessFlags['webhookMode'][])
      .default('enabled'),
    new Option('--webhook-port <port>', 'where webhooks are served, over HTTPS')
      .argParser(integer(0, 65535))
      .default(9443),
    new Option(
      '--webhook-secret <name>',
      'Secret that holds the self-made authority and certificate',
    ).default('metallb-webhook-cert'),
    new Option(
      '--cert-service-name <name>',
      'Service of the webhooks, for whose name the certificate is',
    ).default('metallb-webhook-service'),
    new Option(
      '--webhook-cert-lifetime <duration>',
      'how long a self-made certificate is good, such as 2160h; a new one is made after 60 % of it',
    )
      .argParser(duration(10_000))
      .default(90 * 24 * 3_600_000, '2160h'),
    new Option(
      '--disable-cert-rotation [boolean]',
      'make no certificate: serve tls.crt and tls.key of --cert-dir, and let others tell clients of their authority',
    )
      .argParser(boolean)
      .default(false),
    new Option('--cert-dir <directory>', 'with --disable-cert-rotation: where the certificate is').default(
      '/tmp/k8s-webhook-server/serving-certs',
    ),
    new Option('--tls-min-version <version>', 'oldest TLS that webhooks speak; empty is VersionTLS13')
      .choices(['', 'VersionTLS12', 'VersionTLS13'] satisfies WebhookProcessFlags['tlsMinVersion'][])
      .default('VersionTLS13'),
  ]
}
