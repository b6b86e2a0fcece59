import type { ChildProcess, SpawnOptions } from 'node:child_process'
import type { Ip } from '../../addr/ip.ts'

/** What pods need of the lab's network. A node's own network namespace has the node's name. */
export type PodNetwork = {
  /**
   * Gives a pod its own network namespace with these addresses, reachable from all nodes; resolves to the namespace's name.
   * `podName` is unique in the lab.
   */
  attachPod(pod: {
    readonly node: string
    readonly podName: string
    readonly ips: readonly Ip[]
  }): Promise<{ readonly namespace: string }>
  /** Takes both away; unknown pods are no error. The pod's processes have ended by then. */
  detachPod(podName: string): Promise<void>
  spawnIn(namespace: string, argv: readonly string[], options?: SpawnOptions): ChildProcess
}
