import type { PlanJson, ProblemJson } from '../api/plan.ts'
import type { Problem } from '../config/model.ts'
import type { ClusterPlan } from './cluster-plan.ts'

/**
 * The lists of the plan as the command line and the daemons serve it, an item at a time: of a big cluster they are too much for one
 * text.
 */
export function planLists(plan: ClusterPlan): { readonly [List in keyof PlanJson]-?: Iterable<Items<List>> } {
  return {
    allocations: mapped(plan.allocations, ({ service, ips, pool, pending, cleared }) => ({
      service,
      ips,
      pool,
      pending: pending && { code: pending.code, message: pending.message },
      cleared,
    })),
    layer2: mapped(plan.services, ({ service, decision, election, mode, shares, steered, notSteered }) => ({
      service: service.key,
      ips: decision.ips,
      owner: election.owner,
      interfaces: election.interfaces,
      reason: election.reason,
      candidates: election.candidates.map(({ node, eligible, rank, score, reason, givesWay }) => ({
        node,
        eligible,
        rank,
        score,
        reason,
        ...(givesWay !== undefined && { givesWay }),
      })),
      ...(mode === 'sharded' && { shares }),
      ...(steered && { steered }),
      ...(notSteered !== undefined && { notSteered }),
    })),
    bgp: mapped(plan.sessions, ({ node, peer, routes }) => ({
      node,
      peer: peer.name,
      routes: routes.map(({ prefix, communities, localPref, services }) => ({
        prefix,
        communities: communities.map(({ text }) => text),
        localPref,
        services,
      })),
    })),
    bgpNotAnnounced: notAnnounced(plan),
    problems: problemsToJson(plan.problems),
  }
}

type Items<List extends keyof PlanJson> = NonNullable<PlanJson[List]>[number]

export function planToJson(plan: ClusterPlan): PlanJson {
  const { allocations, layer2, bgp, bgpNotAnnounced } = planLists(plan)
  return {
    allocations: [...allocations],
    layer2: [...layer2],
    bgp: [...bgp],
    bgpNotAnnounced: [...bgpNotAnnounced],
    ...(plan.problems.length > 0 && { problems: problemsToJson(plan.problems) }),
  }
}

function* mapped<A, B>(items: Iterable<A>, convert: (item: A) => B): Generator<B> {
  for (const item of items) yield convert(item)
}

function* notAnnounced({ services }: ClusterPlan): Generator<PlanJson['bgpNotAnnounced'][number]> {
  for (const { service, bgp } of services) {
    for (const [node, { reason }] of bgp) {
      if (reason !== null) yield { service: service.key, node, reason }
    }
  }
}

export function problemsToJson(problems: readonly Problem[]): readonly ProblemJson[] {
  return problems.map(({ code, severity, object, message }) => ({ code, severity, object, message }))
}
