import type { Decision } from '../allocator/decision.ts'
import type { PlanChangeJson } from '../api/plan.ts'
import { compareText } from '../config/selectors.ts'
import { POOL_ANNOTATION } from '../config/services.ts'
import type { KubeObject } from '../ports/kube.ts'
import { objectKey } from '../ports/kube.ts'
import type { ClusterPlan, ServicePlan, Session } from './cluster-plan.ts'
import { problemsToJson } from './json.ts'

/**
 * The objects as the controller leaves them when it has written a plan: what comes after is decided on top of that, so that
 * addresses that were given are kept.
 */
export function settled(objects: readonly KubeObject[], plan: ClusterPlan): readonly KubeObject[] {
  const decisions = new Map(plan.allocations.map(decision => [decision.service, decision]))
  return objects.map(object => {
    const decision = object.kind === 'Service' ? decisions.get(objectKey(object.metadata)) : undefined
    return decision === undefined ? object : settledObject(object, decision)
  })
}

function settledObject(object: KubeObject, { ips, pool }: Decision): KubeObject {
  const { [POOL_ANNOTATION]: _, ...annotations } = object.metadata.annotations ?? {}
  return {
    ...object,
    metadata: {
      ...object.metadata,
      annotations: pool === null ? annotations : { ...annotations, [POOL_ANNOTATION]: pool },
    },
    status: { loadBalancer: { ingress: ips.map(ip => ({ ip })) } },
  }
}

/** What is different after a change: addresses, owners, routes. `after` was planned on what `before` had {@link settled}. */
export function difference(before: ClusterPlan, after: ClusterPlan): PlanChangeJson {
  return {
    allocations: allocationChanges(before, after),
    layer2: ownerChanges(before, after),
    bgp: routeChanges(before, after),
    ...(after.problems.length > 0 && { problems: problemsToJson(after.problems) }),
  }
}

/** Every key of either side, in order, with what each side has. */
function* paired<T>(
  before: readonly T[],
  after: readonly T[],
  keyOf: (item: T) => string,
): Generator<readonly [key: string, before: T | undefined, after: T | undefined]> {
  const [old, now] = [before, after].map(items => new Map(items.map(item => [keyOf(item), item])))
  const keys = new Set([...(old?.keys() ?? []), ...(now?.keys() ?? [])])
  for (const key of [...keys].sort(compareText)) yield [key, old?.get(key), now?.get(key)]
}

function allocationChanges(before: ClusterPlan, after: ClusterPlan): PlanChangeJson['allocations'] {
  const changes: PlanChangeJson['allocations'][number][] = []
  for (const [service, was, is] of paired(before.allocations, after.allocations, each => each.service)) {
    const [had, has] = [was?.ips ?? [], is?.ips ?? []]
    const arrives = was === undefined && is?.pending !== null
    if (!arrives && had.join() === has.join()) continue
    changes.push({ service, before: had, after: has, reason: allocationReason(was, is) })
  }
  return changes
}

function allocationReason(
  was: Decision | undefined,
  is: Decision | undefined,
): { readonly code: string; readonly message: string } {
  if (is === undefined)
    return { code: 'serviceRemoved', message: 'the Service is gone, or of another load-balancer class' }
  const message = is.events
    .filter(({ reason }) => reason === 'ClearAssignment' || reason === 'IPAllocated')
    .map(event => event.message)
    .join('; ')
  if (is.pending !== null)
    return { code: is.pending.code, message: [message, is.pending.message].filter(Boolean).join('; ') }
  if (is.ips.length === 0)
    return { code: 'notLoadBalancer', message: 'the Service is no longer of type LoadBalancer' }
  if (was === undefined) return { code: 'serviceAdded', message }
  return {
    code: is.cleared.length > 0 ? 'reassigned' : 'assigned',
    message: message || `it asks for ${is.ips.join(', ')}`,
  }
}

function ownerChanges(before: ClusterPlan, after: ClusterPlan): PlanChangeJson['layer2'] {
  const changes: PlanChangeJson['layer2'][number][] = []
  for (const [service, was, is] of paired(before.services, after.services, each => each.service.key)) {
    const [owner, next] = [ownersOf(was), ownersOf(is)]
    if (owner === next) continue
    changes.push({ service, before: owner, after: next, reason: moveReason(was, is) })
  }
  return changes
}

/** The owner; of a sharded Service all that share it, in order of rank. */
function ownersOf(plan: ServicePlan | undefined): string | null {
  const { shares = [], election } = plan ?? {}
  return shares.length > 0 ? shares.map(({ node }) => node).join(',') : (election?.owner ?? null)
}

/** Why the owner is another: codes of the election, or what made the next one better. */
function moveReason(was: ServicePlan | undefined, is: ServicePlan | undefined): string {
  if (is === undefined) return 'serviceRemoved'
  const { owner, reason, candidates } = is.election
  if (owner === null) return reason ?? 'noCandidates'
  const previous = was?.election.owner ?? null
  if (previous === null) return 'announced'
  if (was?.mode === 'sharded' || is.mode === 'sharded')
    return was?.mode === is.mode ? 'sharesChanged' : 'modeChanged'
  const old = candidates.find(({ node }) => node === previous)
  if (old === undefined) return 'nodeRemoved'
  if (old.reason !== null) return old.reason
  if (old.givesWay !== undefined && candidates[0]?.givesWay === undefined) return old.givesWay
  if (was?.election.candidates.find(({ node }) => node === owner)?.givesWay !== undefined) return 'wellAgain'
  if ((candidates[0]?.score ?? 0) > old.score) return 'higherScore'
  return was?.decision.ips[0] === is.decision.ips[0] ? 'digestOrder' : 'addressChanged'
}

function routeChanges(before: ClusterPlan, after: ClusterPlan): PlanChangeJson['bgp'] {
  const changes: PlanChangeJson['bgp'][number][] = []
  const keyOf = ({ node, peer }: Session) => JSON.stringify([node, peer.name])
  for (const [, was, is] of paired(before.sessions, after.sessions, keyOf)) {
    const session = is ?? was
    if (session === undefined) continue
    const [old, now] = [was, is].map(
      side => new Map((side?.routes ?? []).map(route => [route.prefix, route])),
    )
    if (old === undefined || now === undefined) continue
    const added = [...now.keys()].filter(prefix => !old.has(prefix))
    const removed = [...old.keys()].filter(prefix => !now.has(prefix))
    const changed = [...now].flatMap(([prefix, route]) => {
      const other = old.get(prefix)
      return other === undefined || attributes(other) === attributes(route) ? [] : [prefix]
    })
    if (added.length + removed.length + changed.length === 0) continue
    changes.push({ node: session.node, peer: session.peer.name, added, removed, changed })
  }
  return changes
}

function attributes({ communities, localPref }: Session['routes'][number]): string {
  return JSON.stringify([communities.map(({ text }) => text), localPref])
}
