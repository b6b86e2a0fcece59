import { Option } from 'commander'
import { fieldsOf, labelsOf } from '../config/fields.ts'
import { compareText } from '../config/selectors.ts'
import { expectedSlices, needsEndpoints, ownerOf } from '../plan/expected-endpoints.ts'
import { applyChange, clusterFamilies, normalized, withClusterIps } from '../plan/objects.ts'
import { groupOf, type Snapshot, type SnapshotFlags, snapshotOf } from '../plan/snapshot.ts'
import { type Kube, KubeError, type KubeObject, objectKey, RESOURCES, type Resource } from '../ports/kube.ts'
import { readManifests } from './manifests.ts'

/** Where a command's words and its exit status go; tests collect them. */
export type Io = {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly exit: (code: number) => void
}

let listens = false

/** Lines to the process's own streams. Whoever closes the pipe, such as `head`, has read enough: that ends the process quietly. */
export const PROCESS_IO: Io = {
  out: text => {
    if (!listens) {
      listens = true
      process.stdout.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EPIPE') throw error
        process.exit()
      })
    }
    process.stdout.write(`${text}\n`)
  },
  err: text => process.stderr.write(`${text}\n`),
  exit: code => {
    process.exitCode = code
  },
}

/** A mistake of the one who asks: the message says what to write instead. */
export class InputError extends Error {
  override readonly name = 'InputError'
  readonly exitCode: 1 | 2

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** The options that say which cluster, and what to assume of it: those of `plan` and `explain`. */
export type InputOptions = {
  /** Empty: the live cluster. */
  readonly file: readonly string[]
  readonly down: readonly string[]
  readonly namespace: string
  readonly lbClass?: string
  readonly ignoreExcludeLb: boolean
  readonly nodeHealth?: 'prefer' | 'ignore'
  readonly subnetElection?: boolean
  readonly kubeconfig?: string
}

export function fileOption(): Option {
  return new Option(
    '-f, --file <path>',
    'manifests of the whole cluster: a file, a folder, or - for standard input; repeat for more',
  )
    .argParser(collect)
    .default([], 'the live cluster')
}

export function downOption(): Option {
  return new Option('--down <node>', 'take this node for dead; repeat for more')
    .argParser(collect)
    .default([], 'none')
}

export function ignoreExcludeOption(): Option {
  return new Option(
    '--ignore-exclude-lb',
    'as the speakers do with this flag: nodes with the label node.kubernetes.io/exclude-from-external-load-balancers announce',
  ).default(false)
}

export function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

/** The objects of a cluster, and the means to look at more of it when it is a live one. */
export type Cluster = {
  readonly objects: readonly KubeObject[]
  /** undefined: from files. */
  readonly kube: Kube | undefined
}

/** Calls `use` with the cluster that the options name; its connection ends with the call. */
export async function withCluster<T>(
  options: InputOptions,
  io: Io,
  use: (cluster: Cluster) => Promise<T>,
): Promise<T> {
  if (options.file.length > 0) {
    const objects = manifestsAsObjects(await readManifests(options.file), options.namespace, io)
    return await use({ objects, kube: undefined })
  }
  return await withKube(options, async kube => {
    return await use({ objects: await readLive(kube, options.namespace), kube })
  })
}

/** Calls `use` with the API server that the options name; the connection ends with the call. */
export async function withKube<T>(
  options: Pick<InputOptions, 'kubeconfig' | 'namespace'>,
  use: (kube: Kube) => Promise<T>,
): Promise<T> {
  const [{ createKubeFromFlags }, { SystemClock }, { systemRandom }, { createLog }] = await Promise.all([
    import('../app/kube-flags.ts'),
    import('../sys/clock.ts'),
    import('../sys/random.ts'),
    import('../sys/log.ts'),
  ])
  const kube = await createKubeFromFlags(
    { kubeconfig: options.kubeconfig, namespace: options.namespace },
    'lodestone',
    { clock: new SystemClock(), random: systemRandom, log: createLog({ level: 'error', to: 2 }) },
  )
  try {
    return await use(kube)
  } finally {
    kube.close()
  }
}

/** What the API server would hold had these manifests been applied to an empty cluster. */
function manifestsAsObjects(
  manifests: readonly KubeObject[],
  namespace: string,
  io: Io,
): readonly KubeObject[] {
  for (const { kind, metadata, ...object } of manifests) {
    const elsewhere = metadata.namespace !== undefined && metadata.namespace !== namespace
    if (groupOf(object) === 'metallb.io' && elsewhere) {
      io.err(
        `warning: ${kind} ${metadata.namespace}/${metadata.name}: a running cluster reads only those in the namespace ${namespace} (--namespace)`,
      )
    }
  }
  const objects = normalized(manifests, namespace)
  const families = clusterFamilies(objects)
  return objects.map(object => withClusterIps(object, families))
}

/** The cluster after `kubectl apply` of these manifests, and after Kubernetes has found the endpoints of new Services. */
export async function changed(
  { objects, kube }: Cluster,
  files: readonly string[],
  namespace: string,
  io: Io,
): Promise<readonly KubeObject[]> {
  const change = normalized(await readManifests(files), namespace)
  const { objects: applied, missing } = applyChange(objects, change)
  let after = [...applied]
  for (const service of needsEndpoints(objects, applied)) {
    const pods = kube === undefined ? applied : await podsOf(kube, service)
    const slices = expectedSlices(service, pods, applied)
    if (slices === undefined) {
      io.err(
        `warning: nothing is known of the pods of Service ${objectKey(service.metadata)}: it is planned without endpoints`,
      )
    } else {
      const key = objectKey(service.metadata)
      after = after
        .filter(object => object.kind !== 'EndpointSlice' || ownerOf(object) !== key)
        .concat(slices)
    }
  }
  for (const { kind, metadata } of missing) {
    io.err(`warning: ${kind} ${metadata.name} is to be deleted, but is not there`)
  }
  const families = clusterFamilies(after)
  return after.map(object => withClusterIps(object, families))
}

async function podsOf(
  kube: Kube,
  { metadata: { namespace = '' }, ...service }: KubeObject,
): Promise<KubeObject[]> {
  const selector = Object.entries(labelsOf(fieldsOf(service['spec'])['selector']))
  const labelSelector = selector.map(([key, value]) => `${key}=${value}`).join(',')
  const pods = await kube.list(RESOURCES.pods, { namespace, labelSelector })
  return pods.map(pod => ({ ...pod, kind: 'Pod' }))
}

/** @throws InputError when a node that is to be down is not there */
export function snapshotFrom(objects: readonly KubeObject[], options: InputOptions): Snapshot {
  const flags: SnapshotFlags = {
    down: new Set(options.down),
    lbClass: options.lbClass,
    ignoreExcludeLabel: options.ignoreExcludeLb,
    rules: {
      ...(options.nodeHealth && { nodeHealth: options.nodeHealth === 'prefer' }),
      ...(options.subnetElection !== undefined && { subnets: options.subnetElection }),
    },
  }
  const snapshot = snapshotOf(objects, flags)
  const names = snapshot.nodes.map(({ name }) => name)
  const unknown = options.down.find(name => !names.includes(name))
  if (unknown !== undefined) throw new InputError(`there is no Node ${unknown}${didYouMean(unknown, names)}`)
  return snapshot
}

const metallb = (plural: string, kind: string, version = 'v1beta1'): Resource => ({
  group: 'metallb.io',
  version,
  plural,
  kind,
  namespaced: true,
})

/** Their kinds are those that decide something (see snapshotOf). */
const CLUSTER_WIDE = [RESOURCES.services, RESOURCES.endpointSlices, RESOURCES.nodes, RESOURCES.namespaces]
const METALLB = [
  RESOURCES.ipAddressPools,
  RESOURCES.l2Advertisements,
  metallb('bgpadvertisements', 'BGPAdvertisement'),
  metallb('bgppeers', 'BGPPeer', 'v1beta2'),
  metallb('bfdprofiles', 'BFDProfile'),
  metallb('communities', 'Community'),
]
export const BGP_STATUSES: Resource = metallb('servicebgpstatuses', 'ServiceBGPStatus')

async function readLive(kube: Kube, namespace: string): Promise<readonly KubeObject[]> {
  const lists = await Promise.all([
    ...CLUSTER_WIDE.map(resource => listIfKnown(kube, resource)),
    ...METALLB.map(resource => listIfKnown(kube, resource, namespace)),
    listIfKnown(kube, RESOURCES.leases, namespace),
  ])
  return lists.flat()
}

/** A kind that the cluster does not have has no objects. */
export async function listIfKnown(kube: Kube, resource: Resource, namespace?: string): Promise<KubeObject[]> {
  try {
    const objects = await kube.list(resource, namespace === undefined ? {} : { namespace })
    const apiVersion = resource.group === '' ? resource.version : `${resource.group}/${resource.version}`
    // Items of a list do not say what they are.
    return objects.map(object => ({ ...object, apiVersion, kind: resource.kind }))
  } catch (error) {
    if (error instanceof KubeError && error.code === 'not-found') return []
    throw error
  }
}

/** `; did you mean web or web2?`, or nothing when no name is near. */
export function didYouMean(wanted: string, names: readonly string[]): string {
  const measured = names
    .map(name => ({ name, distance: distance(wanted.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance || compareText(a.name, b.name))
  const nearest = Math.min(2, measured[0]?.distance ?? 0)
  const near = measured
    .filter(each => each.distance <= nearest || (wanted.length > 2 && each.name.includes(wanted)))
    .slice(0, 3)
    .map(({ name }) => name)
  return near.length === 0 ? '' : `; did you mean ${near.join(' or ')}?`
}

/** Levenshtein: letters to insert, delete or replace. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
