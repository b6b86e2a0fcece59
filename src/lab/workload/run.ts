import type { Clock } from '../../ports/clock.ts'
import {
  type Kube,
  KubeError,
  type ObjectName,
  objectKey,
  RESOURCES,
  type Resource,
} from '../../ports/kube.ts'
import type { Log } from '../../ports/log.ts'
import type { Action } from './actions.ts'
import { planDeployments } from './deployment.ts'
import { planEndpointSlices } from './endpointslices.ts'
import { Kubelet, type WorkloadNode } from './kubelet.ts'
import type { PodNetwork } from './network.ts'
import { LEASE_NAMESPACE, type LeaseSightings, type NodeSnapshot, observeLeases, planNodes } from './nodes.ts'
import { nodeProber, type Prober } from './prober.ts'
import { type Processes, podProcesses } from './processes.ts'
import { planReplicaSets } from './replicaset.ts'
import {
  APPS,
  type Deployment,
  type EndpointSlice,
  type Lease,
  type Node,
  type Pod,
  type ReplicaSet,
  type Service,
} from './resources.ts'
import { planBindings } from './scheduler.ts'
import { Store } from './store.ts'

export type WorkloadOptions = {
  readonly kube: Kube
  readonly nodes: readonly WorkloadNode[]
  readonly network: PodNetwork
  readonly clock: Clock
  readonly log: Log
  /** Output of the containers: `<namespace>_<pod>_<container>.log`. Made when missing. */
  readonly logDirectory: string
  /** Can this node's kubelet talk to the API server? Asked every second. Its pods go on running meanwhile. */
  readonly reachable: (node: string) => boolean
  /** How long a silent node stays Ready. Default 40,000 as in Kubernetes; it renews its Lease four times in it. */
  readonly nodeGraceMs?: number
  /** Default: real processes in the namespaces that the network makes. */
  readonly processes?: Processes
  /** Default: a helper process in the node's namespace. */
  readonly prober?: (node: string) => Prober
}

export type Workload = {
  /** Process ids of the containers on a node, e.g. to freeze them with it. */
  processIds(node: string): number[]
  /** Ends all pods at once (SIGKILL) and takes their networks away. The API server is not told. */
  stop(): Promise<void>
}

/** Changes that come together are looked at together. */
const COALESCE_MS = 2
const TICK_MAX_MS = 1000
/** After a failed write. */
const RETRY_MS = 500
/** Writes under way at once. */
const CONCURRENCY = 16

/**
 * What kubelets and the controller manager do in a cluster, for a lab: Deployments, ReplicaSets, scheduling, pods as processes,
 * EndpointSlices and node health. Resolves once the API server's state is known and the nodes are being registered. Aborting
 * the signal is the same as `stop()`.
 */
export async function startWorkload(options: WorkloadOptions, signal: AbortSignal): Promise<Workload> {
  const { kube, network, clock, log, reachable } = options
  const graceMs = options.nodeGraceMs ?? 40_000
  const processes = options.processes ?? podProcesses(network)
  const abort = new AbortController()
  const store = (resource: Resource, ...loops: (() => Loop)[]): Store =>
    new Store(kube, resource, clock, () => {
      for (const loop of loops) loop().wake()
    })
  const onPods = (): Loop => podLoop
  const onEndpoints = (): Loop => endpointLoop
  const stores = {
    deployments: store(APPS.deployments, onPods),
    replicaSets: store(APPS.replicaSets, onPods),
    pods: store(RESOURCES.pods, onPods, onEndpoints),
    nodes: store(RESOURCES.nodes, onPods, onEndpoints),
    leases: store(RESOURCES.leases),
    services: store(RESOURCES.services, onEndpoints),
    slices: store(RESOURCES.endpointSlices, onEndpoints),
  }
  const kubelets = options.nodes.map(
    node =>
      new Kubelet({
        node,
        network,
        processes,
        prober: (options.prober ?? (name => nodeProber(network, name)))(node.name),
        clock,
        log,
        logDirectory: options.logDirectory,
        leaseRenewalMs: graceMs / 4,
        onChange: () => podLoop.wake(),
      }),
  )
  const apply = applier(kube, log, Object.values(stores))
  let sightings: LeaseSightings = new Map()

  const leasesOfNodes = (): Lease[] =>
    stores.leases.all<Lease>().filter(lease => lease.metadata.namespace === LEASE_NAMESPACE)
  let observedAt = clock.now()
  const podLoop = new Loop(clock, async () => {
    // First what the nodes say, so that what follows does not judge them by an older word.
    const reported = await apply(
      kubelets
        .filter(({ node }) => reachable(node.name))
        .flatMap(kubelet => {
          const { name } = kubelet.node
          return [
            ...kubelet.report(
              stores.nodes.all<Node>().find(node => node.metadata.name === name),
              leasesOfNodes().find(lease => lease.metadata.name === name),
            ),
            ...kubelet.sync(stores.pods.all<Pod>().filter(pod => pod.spec.nodeName === name)),
          ]
        }),
    )
    const pods = stores.pods.all<Pod>()
    const nodes = stores.nodes.all<Node>()
    const replicaSets = stores.replicaSets.all<ReplicaSet>()
    const deployments = stores.deployments.all<Deployment>()
    const now = clock.wallNow()
    const health: NodeSnapshot = { nodes, leases: leasesOfNodes(), pods, wallNow: now, graceMs }
    sightings = observeLeases(sightings, health, clock.now() - observedAt)
    observedAt = clock.now()
    const controlled = await apply([
      ...planNodes(health, sightings),
      ...planDeployments({ deployments, replicaSets, pods, now }),
      ...planReplicaSets({ replicaSets, pods, now }),
      ...planBindings({ pods, nodes, now }),
    ])
    return reported && controlled
  })
  const endpointLoop = new Loop(clock, () =>
    apply(
      planEndpointSlices({
        services: stores.services.all<Service>(),
        pods: stores.pods.all<Pod>(),
        nodes: stores.nodes.all<Node>(),
        slices: stores.slices.all<EndpointSlice>(),
      }),
    ),
  )

  const stop = once(async () => {
    abort.abort()
    cancelTick()
    await Promise.all([podLoop.stop(), endpointLoop.stop()])
    await Promise.all(kubelets.map(kubelet => kubelet.stop()))
  })
  const onAbort = (): void => void stop()
  signal.addEventListener('abort', onAbort)
  let cancelTick = (): void => {}
  const tick = (): void => {
    for (const each of Object.values(stores)) each.prune()
    podLoop.wake()
    cancelTick = clock.after(Math.min(TICK_MAX_MS, graceMs / 4), tick)
  }

  try {
    signal.throwIfAborted()
    await Promise.all(Object.values(stores).map(each => each.start(abort.signal)))
    await apply([
      {
        type: 'create',
        resource: RESOURCES.namespaces,
        object: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: LEASE_NAMESPACE } },
      },
    ])
    signal.throwIfAborted()
  } catch (error) {
    await stop()
    throw error
  }
  podLoop.start()
  endpointLoop.start()
  tick()
  endpointLoop.wake()
  return {
    processIds: node => kubelets.find(kubelet => kubelet.node.name === node)?.processIds() ?? [],
    stop,
  }
}

type LoopState = 'idle' | 'due' | 'running' | 'running-and-due' | 'stopped'

/** Runs a pass after a change, never two at once, and again when something changed meanwhile or a pass asks for it. */
class Loop {
  readonly #clock: Clock
  /** False: something failed, so look again later. */
  readonly #pass: () => Promise<boolean>
  #state: LoopState = 'stopped'
  #cancel: () => void = () => {}
  #running: Promise<void> = Promise.resolve()

  constructor(clock: Clock, pass: () => Promise<boolean>) {
    this.#clock = clock
    this.#pass = pass
  }

  start(): void {
    this.#state = 'idle'
  }

  wake(afterMs = COALESCE_MS): void {
    if (this.#state === 'running') this.#state = 'running-and-due'
    if (this.#state !== 'idle') return
    this.#state = 'due'
    this.#cancel = this.#clock.after(afterMs, () => {
      this.#running = this.#run()
    })
  }

  /** Resolves when the pass under way has ended. */
  async stop(): Promise<void> {
    this.#state = 'stopped'
    this.#cancel()
    await this.#running
  }

  async #run(): Promise<void> {
    this.#state = 'running'
    const good = await this.#pass()
    if (this.#is('stopped')) return
    const due = this.#is('running-and-due')
    this.#state = 'idle'
    if (!good) this.wake(RETRY_MS)
    else if (due) this.wake()
  }

  /** A method, because the compiler does not see that others changed the state during an await. */
  #is(state: LoopState): boolean {
    return this.#state === state
  }
}

/** Performs actions; true when all of them succeeded. What a write answers goes into the stores at once. */
function applier(
  kube: Kube,
  log: Log,
  stores: readonly Store[],
): (actions: readonly Action[]) => Promise<boolean> {
  /** The last failure of each object, so that a lasting one is told once. */
  const failures = new Map<string, string>()

  async function perform(action: Action): Promise<void> {
    const store = stores.find(
      ({ resource }) =>
        resource.plural === action.resource.plural && resource.group === action.resource.group,
    )
    switch (action.type) {
      case 'create':
        store?.put(await kube.create(action.resource, action.object))
        return
      case 'patch':
        store?.patched(
          await kube.patch(action.resource, action.name, action.patch, {
            type: 'merge',
            ...(action.subresource === undefined ? {} : { subresource: action.subresource }),
          }),
        )
        return
      case 'bind': {
        await bind(kube, action.name, action.node)
        const bound = await kube.get(action.resource, action.name)
        if (bound !== undefined) store?.patched(bound)
        return
      }
      case 'delete':
        await kube.delete(action.resource, action.name)
        store?.deleted(action.uid)
    }
  }

  async function attempt(action: Action): Promise<boolean> {
    const key = keyOf(action)
    try {
      await perform(action)
      failures.delete(key)
      return true
    } catch (error) {
      if (!(error instanceof KubeError)) throw error
      // What we know of the object is old: the watch will say more, and the next pass plans anew.
      const stale = error.code === 'conflict' || error.code === 'not-found' || error.code === 'already-exists'
      if (stale) return action.type === 'create'
      if (failures.get(key) !== error.message) {
        failures.set(key, error.message)
        log.warn('write-failed', { object: key, action: action.type, error })
      }
      return false
    }
  }

  return async actions => {
    // In the order planned for each object, so that a patch does not make the one before it a conflict.
    const byObject = new Map<string, Action[]>()
    for (const action of actions) {
      const key = keyOf(action)
      const same = byObject.get(key)
      if (same === undefined) byObject.set(key, [action])
      else same.push(action)
    }
    const queue = [...byObject.values()]
    let good = true
    const worker = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        for (const action of next) if (!(await attempt(action))) good = false
      }
    }
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, queue.length) }, worker))
    return good
  }
}

/** POST to the pod's binding subresource, which is a collection of its own as far as the address goes. */
async function bind(kube: Kube, { namespace, name }: ObjectName, node: string): Promise<void> {
  const binding: Resource = {
    group: '',
    version: 'v1',
    plural: `pods/${encodeURIComponent(name)}/binding`,
    kind: 'Binding',
    namespaced: true,
  }
  try {
    await kube.create(binding, {
      metadata: { namespace, name },
      target: { apiVersion: 'v1', kind: 'Node', name: node },
    })
  } catch (error) {
    // It is answered with a Status, which is not the object that `create` looks for. Whether it happened the pod itself tells.
    if (!(error instanceof KubeError) || error.code !== 'bad-answer') throw error
  }
}

function keyOf(action: Action): string {
  return `${action.resource.kind} ${objectKey(action.type === 'create' ? action.object.metadata : action.name)}`
}

function once(action: () => Promise<void>): () => Promise<void> {
  let result: Promise<void> | undefined
  return () => {
    result ??= action()
    return result
  }
}
