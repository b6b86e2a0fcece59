import { join } from 'node:path'
import type { Ip } from '../../addr/ip.ts'
import type { Clock } from '../../ports/clock.ts'
import type { Log } from '../../ports/log.ts'
import { ContainerRunner } from './container-runner.ts'
import type { PodNetwork } from './network.ts'
import { type PodView, podStatus } from './pod-status.ts'
import type { Prober } from './prober.ts'
import type { Processes } from './processes.ts'
import { type Container, type Pod, type PodStatus, timestamp } from './resources.ts'

export type PodContext = {
  readonly node: string
  readonly hostIps: readonly Ip[]
  /** The pod's own addresses; those of the node when it uses the host's network. */
  readonly podIps: readonly Ip[]
  readonly network: PodNetwork
  readonly processes: Processes
  readonly prober: Prober
  readonly clock: Clock
  readonly log: Log
  readonly logDirectory: string
  readonly onChange: () => void
}

const NETWORK_RETRY_MS = 2000

/** Where the output of a container goes. */
export function containerLogFile(directory: string, pod: Pod, container: string): string {
  const { namespace, name } = pod.metadata
  return join(directory, `${namespace ?? ''}_${name}_${container}.log`)
}

/** One pod on its node: network first, then its containers, until it is told to end. */
export class PodRunner {
  readonly uid: string
  readonly podIps: readonly Ip[]
  readonly #pod: Pod
  readonly #context: PodContext
  readonly #startTime: string
  #containers: readonly ContainerRunner[] = []
  /** Why nothing runs: shown as the waiting state of each container. */
  #waiting: { readonly reason: string; readonly message?: string } = { reason: 'ContainerCreating' }
  #attached = false
  #starting: Promise<void> | undefined
  #ending: Promise<void> | undefined

  constructor(pod: Pod, context: PodContext) {
    this.uid = pod.metadata.uid ?? ''
    this.podIps = context.podIps
    this.#pod = pod
    this.#context = context
    this.#startTime = timestamp(context.clock.wallNow())
  }

  get ending(): boolean {
    return this.#ending !== undefined
  }

  start(): void {
    this.#starting ??= this.#start()
  }

  /** `before` is the pod as the API server has it. */
  status(before: Pod): PodStatus {
    const view: PodView = {
      startTime: this.#startTime,
      hostIps: this.#context.hostIps,
      podIps: this.#attached ? this.podIps : [],
      containers:
        this.#containers.length > 0
          ? this.#containers.map(container => container.view())
          : this.#pod.spec.containers.map(container => notStarted(container, this.#waiting)),
    }
    return podStatus(before, view, timestamp(this.#context.clock.wallNow()))
  }

  processIds(): number[] {
    return this.#containers.flatMap(container => container.view().pid ?? [])
  }

  /** Ends the containers within the grace, then takes the network away. A second call with less time hurries the first. */
  end(graceMs: number): Promise<void> {
    if (graceMs <= 0) for (const container of this.#containers) container.kill()
    this.#ending ??= this.#end(graceMs)
    return this.#ending
  }

  async #start(): Promise<void> {
    const { network, log, node } = this.#context
    const { initContainers, hostNetwork } = this.#pod.spec
    if (initContainers !== undefined && initContainers.length > 0) {
      this.#waiting = { reason: 'CreateContainerConfigError', message: 'the lab does not run initContainers' }
      this.#context.onChange()
      return
    }
    let namespace = node
    if (hostNetwork !== true) {
      try {
        namespace = (await network.attachPod({ node, podName: this.uid, ips: this.podIps })).namespace
      } catch (error) {
        log.error('pod-network-failed', { pod: this.#pod.metadata.name, node, error })
        this.#waiting = {
          reason: 'CreatePodSandboxError',
          message: error instanceof Error ? error.message : String(error),
        }
        this.#context.onChange()
        this.#context.clock.after(NETWORK_RETRY_MS, () => {
          if (this.#ending !== undefined) return
          this.#starting = undefined
          this.start()
        })
        return
      }
    }
    this.#attached = true
    if (this.#ending !== undefined) return
    this.#containers = this.#pod.spec.containers.map(
      container =>
        new ContainerRunner(
          {
            pod: this.#pod,
            placement: { node, hostIps: this.#context.hostIps, podIps: this.podIps },
            namespace,
            processes: this.#context.processes,
            prober: this.#context.prober,
            clock: this.#context.clock,
            log,
            logFile: containerLogFile(this.#context.logDirectory, this.#pod, container.name),
            onChange: this.#context.onChange,
          },
          container,
        ),
    )
    for (const container of this.#containers) container.start()
  }

  async #end(graceMs: number): Promise<void> {
    await this.#starting
    await Promise.all(this.#containers.map(container => container.stop(graceMs)))
    if (this.#pod.spec.hostNetwork === true) return
    try {
      await this.#context.network.detachPod(this.uid)
    } catch (error) {
      this.#context.log.warn('pod-network-left', { pod: this.#pod.metadata.name, error })
    }
  }
}

function notStarted(
  container: Container,
  waiting: { readonly reason: string; readonly message?: string },
): PodView['containers'][number] {
  return {
    name: container.name,
    image: container.image ?? '',
    pid: undefined,
    state: { waiting },
    lastState: {},
    restartCount: 0,
    started: false,
    ready: false,
    restarts: true,
  }
}
