import type { LabPodStatus, LabServiceStatus } from '../api/lab.ts'
import type { Clock } from '../ports/clock.ts'
import { LabError } from './error.ts'
import type { PodNetwork } from './netns.ts'
import type { LabPaths } from './state.ts'
import type { Topology } from './topology.ts'

export type ClusterOptions = {
  readonly topology: Topology
  readonly paths: LabPaths
  /** The port on the host's loopback that leads to the API server's socket. */
  readonly hostPort: number
  readonly podNetwork: PodNetwork
  readonly clock: Clock
  readonly note: (event: string, fields: Readonly<Record<string, unknown>>) => void
}

export type Cluster = {
  readonly speakerKubeconfig: string
  readonly controllerKubeconfig: string
  setFault(fault: unknown): void
  setReachable(node: string, reachable: boolean): void
  objects(): Promise<{ readonly services: readonly LabServiceStatus[]; readonly pods: readonly LabPodStatus[] }>
}

export function startCluster(_options: ClusterOptions): Promise<Cluster> {
  return Promise.reject(new LabError('refused', 'no cluster yet'))
}
