import type { Ip } from '../../addr/ip.ts'
import {
  type Condition,
  type ContainerState,
  type ContainerStatus,
  conditionOf,
  type Pod,
  type PodPhase,
  type PodStatus,
} from './resources.ts'

/** A container as its runner sees it. */
export type ContainerView = {
  readonly name: string
  readonly image: string
  readonly pid: number | undefined
  readonly state: ContainerState
  readonly lastState: ContainerState
  readonly restartCount: number
  /** The startup probe passed, or there is none and it runs. */
  readonly started: boolean
  /** Running and, where there is a readiness probe, found ready by it. */
  readonly ready: boolean
  /** It will be started again when it has ended, or its back-off is over. */
  readonly restarts: boolean
}

export type PodView = {
  readonly startTime: string
  readonly hostIps: readonly Ip[]
  /** Empty until the pod has its network. */
  readonly podIps: readonly Ip[]
  readonly containers: readonly ContainerView[]
}

/** The status that the kubelet reports. Transition times are kept from `before` where the status is the same. */
export function podStatus(pod: Pod, view: PodView, now: string): PodStatus {
  const { containers, hostIps, podIps } = view
  const unready = containers.filter(container => !container.ready).map(container => container.name)
  const allReady = unready.length === 0 && containers.length > 0
  const phase = phaseOf(containers)
  const done = phase === 'Succeeded' || phase === 'Failed'
  const notReady: Omit<Condition, 'type' | 'status'> =
    phase === 'Succeeded'
      ? { reason: 'PodCompleted' }
      : { reason: 'ContainersNotReady', message: `containers with unready status: [${unready.join(' ')}]` }
  const wanted: Condition[] = [
    { type: 'Initialized', status: 'True' },
    { type: 'Ready', status: allReady && !done ? 'True' : 'False', ...(allReady ? {} : notReady) },
    { type: 'ContainersReady', status: allReady ? 'True' : 'False', ...(allReady ? {} : notReady) },
    { type: 'PodScheduled', status: 'True' },
  ]
  const [hostIP] = hostIps
  const [podIP] = podIps
  return {
    phase,
    conditions: wanted.map(condition => {
      const before = conditionOf(pod.status?.conditions, condition.type)
      const lastTransitionTime =
        before?.status === condition.status ? (before.lastTransitionTime ?? now) : now
      return { ...condition, lastTransitionTime }
    }),
    ...(hostIP === undefined ? {} : { hostIP, hostIPs: hostIps.map(ip => ({ ip })) }),
    ...(podIP === undefined ? {} : { podIP, podIPs: podIps.map(ip => ({ ip })) }),
    startTime: view.startTime,
    containerStatuses: containers.map(containerStatus),
  }
}

function phaseOf(containers: readonly ContainerView[]): PodPhase {
  const neverRan = ({ state, lastState }: ContainerView): boolean =>
    state.waiting !== undefined && lastState.terminated === undefined
  if (containers.some(neverRan)) return 'Pending'
  if (containers.some(({ state, restarts }) => state.terminated === undefined || restarts)) return 'Running'
  return containers.every(({ state }) => state.terminated?.exitCode === 0) ? 'Succeeded' : 'Failed'
}

function containerStatus(view: ContainerView): ContainerStatus {
  return {
    name: view.name,
    image: view.image,
    imageID: '',
    ...(view.pid === undefined ? {} : { containerID: `process://${view.pid}` }),
    ready: view.ready,
    started: view.started,
    restartCount: view.restartCount,
    state: view.state,
    lastState: view.lastState,
  }
}
