import { release } from 'node:os'
import { familyOf, type Ip } from '../../addr/ip.ts'
import type { Prefix } from '../../addr/prefix.ts'
import type { Clock } from '../../ports/clock.ts'
import { RESOURCES } from '../../ports/kube.ts'
import type { Log } from '../../ports/log.ts'
import { type Action, deletion, nameOf, statusPatch } from './actions.ts'
import { allocatePodIps } from './addresses.ts'
import type { PodNetwork } from './network.ts'
import { LEASE_NAMESPACE } from './nodes.ts'
import { PodRunner } from './pod-runner.ts'
import type { Prober } from './prober.ts'
import type { Processes } from './processes.ts'
import { conditionOf, type Lease, type Node, type Pod, timestamp, withCondition } from './resources.ts'

/** A node of the lab. */
export type WorkloadNode = {
  readonly name: string
  readonly ips: readonly Ip[]
  /** One for each family. Pods get addresses from the third on. */
  readonly podCidrs: readonly Prefix[]
}

/** Keeps a deleted pod in the API until its processes have ended. */
export const FINALIZER = 'lodestone.dev/lab-kubelet'
const GRACE_SECONDS = 30
/** For pods that somebody took out of the API by force. */
const FORCED_GRACE_MS = 2000

export type KubeletContext = {
  readonly node: WorkloadNode
  readonly network: PodNetwork
  readonly processes: Processes
  readonly prober: Prober
  readonly clock: Clock
  readonly log: Log
  readonly logDirectory: string
  /** How often the Lease is renewed. Kubernetes: every quarter of the grace, 10 s. */
  readonly leaseRenewalMs: number
  readonly onChange: () => void
}

/**
 * The kubelet of one node: runs the pods that are bound to it and says how they are. It touches the world at once, and
 * returns what the API server is to be told.
 */
export class Kubelet {
  readonly node: WorkloadNode
  readonly #context: KubeletContext
  /** By pod uid. */
  readonly #runners = new Map<string, PodRunner>()
  /** Pods whose processes have ended for good. */
  readonly #ended = new Set<string>()
  #lastIps: ReadonlyMap<Prefix, bigint> = new Map()
  #renewedAt = -Infinity

  constructor(context: KubeletContext) {
    this.node = context.node
    this.#context = context
  }

  /** The node's registration, its Lease and its Ready condition. To be called while the node is reachable. */
  report(node: Node | undefined, lease: Lease | undefined): Action[] {
    const { clock } = this.#context
    if (node === undefined) return [registration(this.node)]
    const at = timestamp(clock.wallNow())
    const ready = {
      type: 'Ready',
      status: 'True',
      reason: 'KubeletReady',
      message: 'kubelet is posting ready status',
    } as const
    const conditions = conditionOf(node.status?.conditions, 'Ready')
    const actions = statusPatch(RESOURCES.nodes, node, {
      ...nodeStatus(this.node),
      ...(conditions?.status === 'True'
        ? {}
        : { conditions: withCondition(node.status?.conditions, ready, at) }),
    })
    if (
      lease === undefined ||
      clock.now() - this.#renewedAt >= this.#context.leaseRenewalMs ||
      actions.length > 0
    ) {
      this.#renewedAt = clock.now()
      actions.push(renewal(this.node.name, lease, clock.wallNow()))
    }
    return actions
  }

  /** Starts and ends what the API server says; `pods` are those bound to this node. */
  sync(pods: readonly Pod[]): Action[] {
    const actions: Action[] = []
    const known = new Set(pods.map(pod => pod.metadata.uid ?? ''))
    for (const [uid, runner] of this.#runners) {
      if (known.has(uid) || this.#ended.has(uid)) continue
      if (!runner.ending) void this.#end(uid, runner, FORCED_GRACE_MS)
    }
    for (const uid of this.#ended) if (!known.has(uid)) this.#ended.delete(uid)
    for (const pod of pods) actions.push(...this.#syncPod(pod))
    return actions
  }

  processIds(): number[] {
    return [...this.#runners.values()].flatMap(runner => runner.processIds())
  }

  /** Ends everything at once, whatever the API server thinks. */
  async stop(): Promise<void> {
    await Promise.all([...this.#runners].map(([uid, runner]) => this.#end(uid, runner, 0)))
    this.#context.prober.close()
  }

  #syncPod(pod: Pod): Action[] {
    const uid = pod.metadata.uid ?? ''
    const runner = this.#runners.get(uid) ?? this.#start(pod, uid)
    const held = pod.metadata.finalizers?.includes(FINALIZER) === true
    if (runner === undefined) {
      // Never started here, or all ended: nothing keeps a deleted pod.
      if (pod.metadata.deletionTimestamp === undefined) return []
      return held ? [withFinalizer(pod, false)] : farewell(pod)
    }
    if (pod.metadata.deletionTimestamp !== undefined) {
      const seconds =
        pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? GRACE_SECONDS
      void this.#end(uid, runner, seconds * 1000)
    }
    const status = statusPatch(RESOURCES.pods, pod, { ...runner.status(pod) })
    return held || pod.metadata.deletionTimestamp !== undefined
      ? status
      : [withFinalizer(pod, true), ...status]
  }

  #start(pod: Pod, uid: string): PodRunner | undefined {
    const { phase } = pod.status ?? {}
    if (pod.metadata.deletionTimestamp !== undefined || this.#ended.has(uid)) return undefined
    if (phase === 'Succeeded' || phase === 'Failed') return undefined
    const podIps = pod.spec.hostNetwork === true ? this.node.ips : this.#allocate()
    if (podIps === undefined) {
      this.#context.log.warn('pod-addresses-exhausted', { node: this.node.name, pod: pod.metadata.name })
      return undefined
    }
    const runner = new PodRunner(pod, {
      ...this.#context,
      node: this.node.name,
      hostIps: this.node.ips,
      podIps,
    })
    this.#runners.set(uid, runner)
    runner.start()
    return runner
  }

  #end(uid: string, runner: PodRunner, graceMs: number): Promise<void> {
    const already = runner.ending
    const ended = runner.end(graceMs)
    if (!already) {
      void ended.then(() => {
        this.#runners.delete(uid)
        this.#ended.add(uid)
        this.#context.onChange()
      })
    }
    return ended
  }

  #allocate(): readonly Ip[] | undefined {
    const used = new Set([...this.#runners.values()].flatMap(runner => runner.podIps))
    const allocation = allocatePodIps(this.node.podCidrs, used, this.#lastIps)
    if (allocation === undefined) return undefined
    this.#lastIps = allocation.last
    return allocation.ips
  }
}

/**
 * Deleted before our finalizer was on it: the API server waits for the kubelet's word. A pod in a terminal phase is owed no
 * grace, so that another delete takes it away.
 */
function farewell(pod: Pod): Action[] {
  if ((pod.metadata.finalizers ?? []).length > 0) return []
  return [...statusPatch(RESOURCES.pods, pod, { phase: 'Failed' }), deletion(RESOURCES.pods, pod)]
}

function withFinalizer(pod: Pod, held: boolean): Action {
  const others = (pod.metadata.finalizers ?? []).filter(finalizer => finalizer !== FINALIZER)
  return {
    type: 'patch',
    resource: RESOURCES.pods,
    name: nameOf(pod),
    // The resourceVersion makes it a conflict when somebody else changed the list meanwhile.
    patch: {
      metadata: {
        finalizers: held ? [...others, FINALIZER] : others,
        ...(pod.metadata.resourceVersion === undefined
          ? {}
          : { resourceVersion: pod.metadata.resourceVersion }),
      },
    },
  }
}

function registration(node: WorkloadNode): Action {
  return {
    type: 'create',
    resource: RESOURCES.nodes,
    object: {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: node.name,
        labels: {
          'kubernetes.io/hostname': node.name,
          'kubernetes.io/os': 'linux',
          'kubernetes.io/arch': architecture(),
        },
      },
      spec: node.podCidrs[0] === undefined ? {} : { podCIDR: node.podCidrs[0], podCIDRs: node.podCidrs },
    },
  }
}

/** What the kubelet says of its node, but for the conditions. */
function nodeStatus(node: WorkloadNode): Record<string, unknown> {
  const families = new Set(node.ips.map(familyOf))
  return {
    addresses: [
      ...node.ips.map(address => ({ type: 'InternalIP', address })),
      { type: 'Hostname', address: node.name },
    ],
    capacity: { pods: '110' },
    allocatable: { pods: '110' },
    nodeInfo: {
      machineID: node.name,
      systemUUID: node.name,
      bootID: node.name,
      kernelVersion: release(),
      osImage: `Lodestone lab (${[...families].join(', ')})`,
      containerRuntimeVersion: 'process://1',
      kubeletVersion: 'v1.30.0',
      kubeProxyVersion: 'v1.30.0',
      operatingSystem: 'linux',
      architecture: architecture(),
    },
  }
}

function architecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch
}

function renewal(name: string, lease: Lease | undefined, wallNow: number): Action {
  // MicroTime: RFC 3339 with six digits.
  const renewTime = new Date(wallNow).toISOString().replace('Z', '000Z')
  if (lease !== undefined) {
    return {
      type: 'patch',
      resource: RESOURCES.leases,
      name: { namespace: LEASE_NAMESPACE, name },
      patch: { spec: { renewTime } },
    }
  }
  return {
    type: 'create',
    resource: RESOURCES.leases,
    object: {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, namespace: LEASE_NAMESPACE },
      spec: { holderIdentity: name, leaseDurationSeconds: 40, renewTime },
    },
  }
}
