import type { Clock } from '../ports/clock.ts'
import type { EventSink } from '../ports/events.ts'
import type { Kube } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Metrics } from '../ports/metrics.ts'
import type { Random } from '../ports/random.ts'

export type ControllerDeps = {
  readonly kube: Kube
  readonly clock: Clock
  readonly log: Log
  readonly random: Random
  readonly events: EventSink
  readonly metrics?: Metrics
  /** Called once everything was read and, by the one that leads, the first pass is done. */
  readonly onReady?: () => void
}

export type ControllerFlags = {
  /** Where the metallb.io objects are read from and the Secret is kept. */
  readonly namespace: string
  /** --lb-class; empty: Services without a class. */
  readonly loadBalancerClass: string
  /** --ml-secret-name; empty: no Secret is made. */
  readonly memberlistSecretName: string
  /** --ml-key-lifetime: after which the key in the Secret is replaced. 0 or absent: never. */
  readonly memberlistKeyLifetimeMs?: number
  /** --deployment: our own, which then owns the Secret. */
  readonly deployment?: string | undefined
  /** Our own Pod, which then owns the ConfigurationState. */
  readonly podName?: string | undefined
  /** Absent: this is the only controller (--no-leader-elect). */
  readonly leaderElection?: LeaderElectionFlags | undefined
  /** The speakers run with --ignore-exclude-lb. Default: false. */
  readonly ignoreExcludeLabel?: boolean
  /** --service-conditions: tell in the status of each Service why it has no address or is not announced. Default: true. */
  readonly serviceConditions?: boolean
}

export type LeaderElectionFlags = {
  /** Of the Lease, in the namespace. */
  readonly name: string
  /** Unique in the cluster: the Pod's name, or the host's with a random part. */
  readonly identity: string
  /** How long a leader may be silent until another one takes over. */
  readonly leaseDurationMs: number
}
