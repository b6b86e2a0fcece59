import type { Ip } from '../addr/ip.ts'
import type { Prefix } from '../addr/prefix.ts'

export type Protocol = 'TCP' | 'UDP' | 'SCTP'
export type TrafficPolicy = 'Cluster' | 'Local'

/** Everything that decides what the service proxy of one node does. */
export type ProxyInput = {
  /** Name of this node, as endpoints spell it. */
  readonly node: string
  /** Address ranges of the pods on this node. */
  readonly podPrefixes: readonly Prefix[]
  /** Address ranges of all pods; stands in for `podPrefixes` in a family where this node has no range of its own. */
  readonly clusterPrefixes: readonly Prefix[]
  /** Addresses of this node on which node ports are served. */
  readonly nodeAddresses: readonly Ip[]
  readonly services: readonly ProxyService[]
}

export type ProxyService = {
  /** `namespace/name`. Where two services claim the same address and port, the lower key wins. */
  readonly key: string
  readonly clusterIps: readonly Ip[]
  /** Addresses of the load balancer; the only ones that `sourceRanges` guards. */
  readonly externalIps: readonly Ip[]
  /** `spec.externalIPs`: translated as `externalIps` are, but open to every source. */
  readonly extraIps?: readonly Ip[]
  readonly ports: readonly ProxyPort[]
  readonly externalTrafficPolicy: TrafficPolicy
  readonly internalTrafficPolicy: TrafficPolicy
  /** ClientIP affinity, 1 to 86400; absent: none. */
  readonly sessionAffinityTimeoutSeconds?: number
  /** loadBalancerSourceRanges; a family without any range is open, as with kube-proxy. */
  readonly sourceRanges?: readonly Prefix[]
}

export type ProxyPort = {
  readonly name: string
  readonly protocol: Protocol
  /** 1 to 65535, as all ports here. */
  readonly port: number
  readonly nodePort?: number
  readonly endpoints: readonly ProxyEndpoint[]
}

/** One endpoint of one port, with the conditions of its EndpointSlice. */
export type ProxyEndpoint = {
  readonly ip: Ip
  readonly port: number
  /** Empty where the slice names no node. */
  readonly node: string
  readonly ready: boolean
  readonly serving: boolean
  readonly terminating: boolean
}

/**
 * The endpoints that get new connections: the ready ones; where none is ready, those that still serve while they terminate
 * (Kubernetes, "Service internals: traffic to terminating endpoints").
 */
export function usableEndpoints(endpoints: readonly ProxyEndpoint[]): readonly ProxyEndpoint[] {
  const ready = endpoints.filter(endpoint => endpoint.ready)
  if (ready.length > 0) return ready
  return endpoints.filter(endpoint => endpoint.serving && endpoint.terminating)
}
