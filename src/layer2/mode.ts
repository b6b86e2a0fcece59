import { type EndpointSliceFacts, endpointWeights } from '../config/endpointslice.ts'
import { type Layer2Mode, parseLayer2Mode } from '../config/layer2-mode.ts'
import type { L2Advertisement } from '../config/model.ts'
import type { ServiceFacts } from '../config/services.ts'

/**
 * How the addresses of a Service are answered for: as its annotation says, otherwise as those say that advertise it. Where two
 * advertisements contradict each other it is one node, which is what a cluster does that says nothing.
 */
export function layer2ModeOf(
  service: Pick<ServiceFacts, 'annotations'>,
  matching: readonly L2Advertisement[],
): Layer2Mode {
  const own = parseLayer2Mode(service.annotations.layer2Mode)
  if (own !== undefined) return own
  const said = new Set(matching.map(({ mode }) => mode))
  return said.has('sharded') && !said.has('single') ? 'sharded' : 'single'
}

/**
 * What the shares of a sharded address are in proportion to: under externalTrafficPolicy Local the endpoints that can serve on each
 * node, so that each of them gets the same; undefined where any node can reach all endpoints, all shares are the same.
 */
export function shareWeights(
  service: Pick<ServiceFacts, 'externalTrafficPolicy'>,
  slices: Iterable<EndpointSliceFacts>,
): Readonly<Record<string, number>> | undefined {
  if (service.externalTrafficPolicy !== 'Local') return undefined
  const counts = endpointWeights(slices)
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
}
