import { Command, Option } from 'commander'
import type { SpeakerStatus } from '../api/speaker.ts'
import { SPEAKER_LABEL } from '../config/speakers.ts'
import { type Kube, RESOURCES } from '../ports/kube.ts'
import { type ClusterStatus, clusterStatus } from './cluster-status.ts'
import { kubeconfigOption, namespaceOption } from './flags.ts'
import { InputError, type Io, listIfKnown, PROCESS_IO, withKube } from './inputs.ts'
import { exitCodeOf } from './plan.ts'
import { clusterText, speakerText } from './status-text.ts'

type StatusOptions = {
  readonly namespace: string
  readonly kubeconfig?: string
  readonly speaker?: string
  readonly output: 'text' | 'json'
}

const SPEAKER_WITHIN_MS = 10_000

/** `lodestone status`: the speakers of a running cluster, who announces what, and the last moves. */
export function statusCommand(io: Io = PROCESS_IO): Command {
  return new Command('status')
    .description('show the speakers, who announces which address, and the last failovers with their phases')
    .addOption(
      new Option(
        '--speaker <url>',
        'ask this speaker itself, in all detail: where its --health-probe-port can be reached, such as http://127.0.0.1:17472',
      ),
    )
    .addOption(
      new Option('-o, --output <format>', 'how to print it').choices(['text', 'json']).default('text'),
    )
    .addOption(kubeconfigOption())
    .addOption(namespaceOption())
    .action(async (options: StatusOptions) => {
      io.exit(await exitCodeOf(io, () => status(options, io)))
    })
}

/** @returns the exit status @throws InputError when the speaker cannot be asked */
export async function status(options: StatusOptions, io: Io): Promise<number> {
  const json = options.output === 'json'
  if (options.speaker !== undefined) {
    const speaker = await askSpeaker(options.speaker)
    io.out(json ? JSON.stringify(speaker, null, 2) : speakerText(speaker))
    return 0
  }
  const cluster = await withKube(options, kube => readCluster(kube, options.namespace))
  io.out(json ? JSON.stringify(cluster, null, 2) : clusterText(cluster, Date.now()))
  return 0
}

export async function readCluster(kube: Kube, namespace: string): Promise<ClusterStatus> {
  const [leases, services, l2Statuses] = await Promise.all([
    kube.list(RESOURCES.leases, { namespace, labelSelector: SPEAKER_LABEL }),
    kube.list(RESOURCES.services),
    listIfKnown(kube, RESOURCES.serviceL2Statuses, namespace),
  ])
  return clusterStatus({ leases, services, l2Statuses })
}

async function askSpeaker(text: string): Promise<SpeakerStatus> {
  if (!URL.canParse(text)) throw new InputError(`${JSON.stringify(text)} is no URL`, 2)
  const url = new URL(text)
  if (url.pathname === '/') url.pathname = '/status'
  let answer: unknown
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(SPEAKER_WITHIN_MS) })
    if (!response.ok) throw new Error(`it answers ${response.status}`)
    answer = await response.json()
  } catch (error) {
    const cause = error instanceof Error ? (error.cause ?? error) : error
    throw new InputError(`cannot read ${url.href}: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
  if (!isSpeakerStatus(answer)) throw new InputError(`${url.href} is not the status of a speaker`)
  return answer
}

/** As far as it is looked at; a speaker of another version may say more or less. */
function isSpeakerStatus(value: unknown): value is SpeakerStatus {
  if (typeof value !== 'object' || value === null) return false
  const fields = value as Record<string, unknown>
  return (
    typeof fields['node'] === 'string' &&
    ['voters', 'peers', 'services', 'failovers'].every(name => Array.isArray(fields[name]))
  )
}
