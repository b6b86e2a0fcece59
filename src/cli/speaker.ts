import { Command, Option } from 'commander'
import type { LogLevel } from '../ports/log.ts'
import {
  healthPortOption,
  integer,
  kubeconfigOption,
  lbClassOption,
  logLevelOption,
  namespaceOption,
  secretNameOption,
  stopSignal,
} from './flags.ts'

type Options = {
  readonly nodeName: string
  readonly podName?: string
  readonly kubeconfig?: string
  readonly namespace: string
  readonly lbClass?: string
  readonly ignoreExcludeLb: boolean
  readonly mlSecretName: string
  readonly mlBindport: number
  readonly heartbeatIntervalMs: number
  readonly heartbeatMisses: number
  readonly drainMs: number
  readonly healthProbePort: number
  readonly logLevel: LogLevel
}

export function speakerCommand(): Command {
  return new Command('speaker')
    .description('announce the addresses of Services from this node')
    .addOption(
      new Option('--node-name <name>', 'the Node that this is')
        .env('METALLB_NODE_NAME')
        .makeOptionMandatory(),
    )
    .addOption(new Option('--pod-name <name>', 'the Pod that this is').env('METALLB_POD_NAME'))
    .addOption(kubeconfigOption())
    .addOption(namespaceOption())
    .addOption(lbClassOption())
    .addOption(
      new Option(
        '--ignore-exclude-lb',
        'announce also from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers',
      ).default(false),
    )
    .addOption(secretNameOption())
    .addOption(
      new Option('--ml-bindport <port>', 'UDP port of the heartbeats between speakers')
        .env('METALLB_ML_BIND_PORT')
        .argParser(integer(1, 65535))
        .default(7946),
    )
    .addOption(
      new Option('--heartbeat-interval-ms <ms>', 'how often each speaker tells the others that it is alive')
        .argParser(integer(10, 10_000))
        .default(50),
    )
    .addOption(
      new Option('--heartbeat-misses <count>', 'how many intervals of silence mean that a speaker is gone')
        .argParser(integer(2, 100))
        .default(5),
    )
    .addOption(
      new Option(
        '--drain-ms <ms>',
        'how long an orderly stop waits for the next owners to announce themselves',
      )
        .argParser(integer(0, 60_000))
        .default(1000),
    )
    .addOption(healthPortOption())
    .addOption(logLevelOption())
    .action(async (options: Options) => {
      const { runSpeakerProcess } = await import('../app/speaker-process.ts')
      await runSpeakerProcess(
        { ...options, kubeconfig: options.kubeconfig, podName: options.podName, lbClass: options.lbClass },
        stopSignal(),
      )
      // Whatever is still open (idle connections, a slow close) must not keep an orderly stop waiting.
      process.exit(0)
    })
}
