import { Command, Option } from 'commander'
import type { Ip } from '../addr/ip.ts'
import type { SteeringMode } from '../config/speakers.ts'
import type { LogLevel } from '../ports/log.ts'
import {
  address,
  duration,
  healthPortOption,
  integer,
  kubeconfigOption,
  lbClassOption,
  logLevelOption,
  namespaceOption,
  nodeHealthOption,
  secretNameOption,
  stopSignal,
  subnetElectionOption,
} from './flags.ts'

type Options = {
  readonly nodeName: string
  readonly podName?: string
  readonly kubeconfig?: string
  readonly namespace: string
  readonly lbClass?: string
  readonly ignoreExcludeLb: boolean
  readonly nodeHealth: 'prefer' | 'ignore'
  readonly subnetElection: boolean
  readonly mlSecretName: string
  readonly mlBindport: number
  readonly heartbeatInterval: number
  readonly heartbeatMisses: number
  readonly returnAfter: number
  readonly flowSteering: SteeringMode | 'off'
  readonly announceInterval: number
  readonly witness?: Ip
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
    .addOption(nodeHealthOption().default('prefer'))
    .addOption(subnetElectionOption().default(true))
    .addOption(secretNameOption())
    .addOption(
      new Option('--ml-bindport <port>', 'UDP port of the heartbeats between speakers')
        .env('METALLB_ML_BIND_PORT')
        .argParser(integer(1, 65535))
        .default(7946),
    )
    .addOption(
      new Option(
        '--heartbeat-interval <duration>',
        'how often each speaker tells the others that it is alive',
      )
        .argParser(duration(10, 10_000))
        .default(20, '20ms'),
    )
    .addOption(
      new Option(
        '--heartbeat-misses <count>',
        'how many intervals of silence mean that a speaker is gone, more where the network makes them uneven',
      )
        .argParser(integer(2, 100))
        .default(4),
    )
    .addOption(
      new Option(
        '--return-after <duration>',
        'how long a node that comes back proves itself before it takes its addresses again; 0: at once, as MetalLB',
      )
        .argParser(duration(0))
        .default(10_000, '10s'),
    )
    .addOption(
      new Option('--announce-interval <duration>', 'announce owned addresses anew this often; 0: never')
        .argParser(duration(0))
        .default(0, '0'),
    )
    .addOption(
      new Option(
        '--witness <ip>',
        'who shows one of two nodes that it is not cut off (default: the gateway towards the other node)',
      ).argParser(address),
    )
    .addOption(
      new Option(
        '--drain-ms <ms>',
        'how long an orderly stop waits for the next owners to announce themselves',
      )
        .argParser(integer(0, 60_000))
        .default(1000),
    )
    .addOption(
      new Option(
        '--flow-steering <which>',
        'Services under externalTrafficPolicy Local whose packets any node may receive and hands to the nodes of the endpoints: those with the annotation lodestone.dev/flow-steering=enabled, or all (local), or none (off)',
      )
        .choices(['annotated', 'local', 'off'])
        .default('annotated'),
    )
    .addOption(healthPortOption())
    .addOption(logLevelOption())
    .action(
      async ({ kubeconfig, podName, lbClass, witness, nodeHealth, subnetElection, ...options }: Options) => {
        const { runSpeakerProcess } = await import('../app/speaker-process.ts')
        const rules = { nodeHealth: nodeHealth === 'prefer', subnets: subnetElection }
        await runSpeakerProcess({ ...options, kubeconfig, podName, lbClass, witness, rules }, stopSignal())
        // Whatever is still open (idle connections, a slow close) must not keep an orderly stop waiting.
        process.exit(0)
      },
    )
}
