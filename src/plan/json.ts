import type { PlanJson, ProblemJson } from '../api/plan.ts'
import type { Problem } from '../config/model.ts'
import type { ClusterPlan } from './cluster-plan.ts'

/** The plan as the command line and the daemons serve it. */
export function planToJson(plan: ClusterPlan): PlanJson {
  return {
    allocations: plan.allocations.map(({ service, ips, pool, pending, cleared }) => ({
      service,
      ips,
      pool,
      pending: pending && { code: pending.code, message: pending.message },
      cleared,
    })),
    layer2: plan.services.map(({ service, decision, election }) => ({
      service: service.key,
      ips: decision.ips,
      owner: election.owner,
      interfaces: election.interfaces,
      reason: election.reason,
      candidates: election.candidates.map(({ node, eligible, rank, score, reason }) => ({
        node,
        eligible,
        rank,
        score,
        reason,
      })),
    })),
    bgp: plan.sessions.map(({ node, peer, routes }) => ({
      node,
      peer: peer.name,
      routes: routes.map(({ prefix, communities, localPref, services }) => ({
        prefix,
        communities: communities.map(({ text }) => text),
        localPref,
        services,
      })),
    })),
    bgpNotAnnounced: plan.services.flatMap(({ service, bgp }) =>
      [...bgp].flatMap(([node, { reason }]) =>
        reason === null ? [] : [{ service: service.key, node, reason }],
      ),
    ),
    ...problemsToJson(plan.problems),
  }
}

/** A field for the whole, present only when there is something to say. */
export function problemsToJson(problems: readonly Problem[]): { readonly problems?: readonly ProblemJson[] } {
  if (problems.length === 0) return {}
  return {
    problems: problems.map(({ code, severity, object, message }) => ({ code, severity, object, message })),
  }
}
