import { Argument, Command } from 'commander'
import { type Ip, parseIp } from '../addr/ip.ts'
import { fieldsOf, itemsOf, textOf } from '../config/fields.ts'
import { PoolIndex } from '../config/pool-index.ts'
import type { ServiceFacts } from '../config/services.ts'
import { SPEAKER_LABEL } from '../config/speakers.ts'
import { l2StatusFromObject } from '../layer2/status.ts'
import { type ClusterPlan, planCluster } from '../plan/cluster-plan.ts'
import { isAssumed } from '../plan/objects.ts'
import type { Snapshot } from '../plan/snapshot.ts'
import { type Kube, RESOURCES } from '../ports/kube.ts'
import { clusterStatus } from './cluster-status.ts'
import { ipStory, nodeStory, type Reality, serviceStory } from './explain-text.ts'
import {
  kubeconfigOption,
  lbClassOption,
  namespaceOption,
  nodeHealthOption,
  subnetElectionOption,
} from './flags.ts'
import {
  BGP_STATUSES,
  didYouMean,
  downOption,
  fileOption,
  InputError,
  type InputOptions,
  type Io,
  ignoreExcludeOption,
  listIfKnown,
  PROCESS_IO,
  snapshotFrom,
  withCluster,
} from './inputs.ts'
import { exitCodeOf } from './plan.ts'
import { problemsText } from './plan-text.ts'

/** `lodestone explain`: why one Service, address or node is as it is. */
export function explainCommand(io: Io = PROCESS_IO): Command {
  return new Command('explain')
    .description('tell why a Service, an address or a node has what it has')
    .addArgument(
      new Argument(
        '<subject>',
        'a Service (namespace/name, or a name), an IP address, or the name of a Node',
      ),
    )
    .addOption(fileOption())
    .addOption(downOption())
    .addOption(lbClassOption())
    .addOption(ignoreExcludeOption())
    .addOption(nodeHealthOption())
    .addOption(subnetElectionOption())
    .addOption(kubeconfigOption())
    .addOption(namespaceOption())
    .action(async (subject: string, options: InputOptions) => {
      io.exit(await exitCodeOf(io, () => explain(subject, options, io)))
    })
}

/**
 * @returns the exit status: 0, or 1 when the configuration is refused
 * @throws InputError when there is no such subject
 */
export async function explain(subject: string, options: InputOptions, io: Io): Promise<number> {
  return await withCluster(options, io, async ({ objects, kube }) => {
    const snapshot = snapshotFrom(objects, options)
    const plan = planCluster(snapshot)
    if (plan.problems.length > 0) io.err(problemsText(plan.problems))
    const found = findSubject(subject, snapshot)
    if (plan.refused) {
      io.err('The configuration is refused as a whole, so there is nothing to explain: mend it first.')
      return 1
    }
    const reality = kube === undefined ? undefined : await readReality(kube, options.namespace, snapshot)
    io.out(storyOf(found, plan, snapshot, options, reality).join('\n'))
    return 0
  })
}

type Subject =
  | { readonly type: 'service'; readonly service: ServiceFacts }
  | { readonly type: 'ip'; readonly ip: Ip }
  | { readonly type: 'node'; readonly node: string }

/** An address by its form; a Service before a Node, in the namespace `default` before others. @throws InputError */
export function findSubject(
  text: string,
  { services, nodes }: Pick<Snapshot, 'services' | 'nodes'>,
): Subject {
  const ip = parseIp(text)
  if (ip !== undefined) return { type: 'ip', ip }
  const exact = services.find(({ key }) => key === text || key === `default/${text}`)
  if (exact !== undefined) return { type: 'service', service: exact }
  const named = services.filter(({ name }) => name === text)
  const [only] = named
  if (only !== undefined && named.length === 1) return { type: 'service', service: only }
  if (nodes.some(({ name }) => name === text)) return { type: 'node', node: text }
  if (named.length > 1) {
    const keys = named.map(({ key }) => key).sort()
    throw new InputError(`there is more than one Service ${text}: say which of ${keys.join(', ')}`)
  }
  const names = [
    ...services.map(({ key, name }) => (text.includes('/') ? key : name)),
    ...nodes.map(({ name }) => name),
  ]
  throw new InputError(
    `there is no Service, address or Node ${JSON.stringify(text)}${didYouMean(text, [...new Set(names)])}`,
  )
}

function storyOf(
  subject: Subject,
  plan: ClusterPlan,
  snapshot: Snapshot,
  options: InputOptions,
  reality: Reality | undefined,
): readonly string[] {
  if (subject.type === 'service') return serviceStory(plan, subject.service, options.lbClass, reality)
  if (subject.type === 'node') return nodeStory(plan, subject.node, snapshot.down.has(subject.node))
  const { ip } = subject
  const clusterIpOf = isAssumed(ip)
    ? []
    : snapshot.services.filter(({ clusterIps }) => clusterIps.includes(ip)).map(({ key }) => key)
  return ipStory(plan, ip, new PoolIndex({ pools: plan.config?.pools ?? [] }), {
    nodes: snapshot.nodes.filter(node => node.internalIps.includes(ip)).map(({ name }) => name),
    services: clusterIpOf,
  })
}

async function readReality(kube: Kube, namespace: string, snapshot: Snapshot): Promise<Reality> {
  const [leases, layer2Statuses, bgpStatuses] = await Promise.all([
    kube.list(RESOURCES.leases, { namespace, labelSelector: SPEAKER_LABEL }),
    listIfKnown(kube, RESOURCES.serviceL2Statuses, namespace),
    listIfKnown(kube, BGP_STATUSES, namespace),
  ])
  const layer2 = new Map<string, string[]>()
  for (const { service, node } of layer2Statuses.map(l2StatusFromObject)) {
    layer2.set(service, [...(layer2.get(service) ?? []), node].sort())
  }
  const bgp = new Map<string, Map<string, readonly string[]>>()
  for (const object of bgpStatuses) {
    const status = fieldsOf(object['status'])
    const key = `${textOf(status['serviceNamespace']) ?? ''}/${textOf(status['serviceName']) ?? ''}`
    const peers = itemsOf(status['peers']).filter(peer => typeof peer === 'string')
    const nodes = bgp.get(key) ?? new Map<string, readonly string[]>()
    bgp.set(key, nodes.set(textOf(status['node']) ?? '', peers))
  }
  return {
    ips: new Map(snapshot.services.map(({ key, statusIps }) => [key, statusIps])),
    layer2,
    bgp,
    speakers: clusterStatus({ leases, services: [], l2Statuses: [] }),
  }
}
