import type { EndpointNodes } from '../config/endpointslice.ts'
import type { NodeFacts } from '../config/nodes.ts'
import type { ServiceFacts } from '../config/services.ts'
import type { SteeringMode } from '../config/speakers.ts'
import type { SpeakerNetworks } from './networks.ts'

/**
 * Whether a Service is to be steered: any node may receive its packets and hands them to the node of an endpoint, so that the election need
 * not look where the endpoints are (it replaces L-6).
 */
export function wantsSteering(
  { externalTrafficPolicy, annotations }: Pick<ServiceFacts, 'externalTrafficPolicy' | 'annotations'>,
  mode: SteeringMode | undefined,
): boolean {
  if (mode === undefined || externalTrafficPolicy !== 'Local') return false
  return mode === 'local' ? annotations.flowSteering !== 'disabled' : annotations.flowSteering === 'enabled'
}

/**
 * Where a steered Service can be announced from: every node with an endpoint, and all that share a subnet with each of those. Steering
 * hands frames over on the segment, so endpoints behind a router make it impossible.
 * @returns the nodes, or why the Service cannot be steered: it is announced as without steering then
 */
export function steeringNodes(
  endpoints: EndpointNodes,
  nodes: ReadonlyMap<string, NodeFacts>,
  networks: SpeakerNetworks | undefined,
): { readonly nodes: ReadonlySet<string> } | { readonly why: string } {
  if (networks === undefined) return { why: 'nothing is known of the networks of the nodes' }
  let common: ReadonlySet<string> | undefined
  for (const name of [...endpoints.nodes].sort()) {
    if (!networks.knows(name)) return { why: `node ${name} has an endpoint and no speaker` }
    if (!networks.steers(name))
      return { why: `the speaker of node ${name} does not steer (--flow-steering, nftables)` }
    const [ip] = nodes.get(name)?.internalIps ?? []
    if (ip === undefined) return { why: `node ${name} has an endpoint and no InternalIP` }
    const near = new Set([...networks.inSubnetOf(ip)].filter(node => networks.steers(node)))
    if (!near.has(name))
      return { why: `node ${name} told of no interface in the subnet of its address ${ip}` }
    const before: ReadonlySet<string> | undefined = common
    common = before === undefined ? near : new Set([...near].filter(node => before.has(node)))
  }
  for (const name of endpoints.nodes) {
    if (common?.has(name) === false) return { why: `node ${name} is in another subnet than other endpoints` }
  }
  return { nodes: common ?? new Set() }
}

/** The endpoints as the election of a steered Service sees them: there, and wherever packets can be handed over from. */
export function electoralEndpoints(
  service: Pick<ServiceFacts, 'externalTrafficPolicy' | 'annotations'>,
  endpoints: EndpointNodes,
  nodes: ReadonlyMap<string, NodeFacts>,
  networks: SpeakerNetworks | undefined,
): { readonly endpoints: EndpointNodes; readonly steered: boolean; readonly why?: string } {
  if (!wantsSteering(service, networks?.steeringMode)) return { endpoints, steered: false }
  const found = steeringNodes(endpoints, nodes, networks)
  if ('why' in found) return { endpoints, steered: false, why: found.why }
  return {
    endpoints: { any: endpoints.any, nodes: new Set([...endpoints.nodes, ...found.nodes]) },
    steered: true,
  }
}
