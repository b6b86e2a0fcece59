import type { PlanChangeJson } from '../api/plan.ts'
import type { Problem } from '../config/model.ts'
import type { ClusterPlan, ServicePlan } from '../plan/cluster-plan.ts'
import { BGP_SENTENCES, candidateReason, ELECTION_REASONS, MOVE_REASONS } from '../plan/reasons.ts'
import { listed, table } from './table.ts'

/** A plan for people: what everybody gets, then why some get less, then what the routers are told. */
export function planText(plan: ClusterPlan): string {
  if (plan.config === undefined) return ''
  if (plan.allocations.length === 0) return 'There is no Service of type LoadBalancer to plan for.'
  const parts = [servicesText(plan), ...notesText(plan)]
  const routes = routesText(plan)
  if (routes !== undefined) parts.push(routes)
  const silent = silentText(plan)
  if (silent !== undefined) parts.push(silent)
  return parts.join('\n\n')
}

function servicesText(plan: ClusterPlan): string {
  const byKey = new Map(plan.services.map(each => [each.service.key, each]))
  return table(
    ['SERVICE', 'ADDRESSES', 'POOL', 'OWNER', 'THEN', 'BGP', 'NOTE'],
    plan.allocations.map(({ service, ips, pool, pending, cleared }) => {
      const planned = byKey.get(service)
      const { election, bgp = new Map() } = planned ?? {}
      const tellers = [...bgp.values()].filter(({ reason }) => reason === null).length
      const notes = [
        ...(pending === null ? [] : [`pending: ${pending.code}`]),
        ...(cleared.length === 0 ? [] : [`gives back ${cleared.join(',')}`]),
        ...(planned !== undefined && planned.shares.length > 0 ? ['sharded'] : []),
        ...(planned?.steered === true ? ['steered'] : []),
        ...(planned?.notSteered === undefined ? [] : ['not steered']),
        ...(planned !== undefined && isSilent(planned) ? [`announced by nobody: ${whySilent(planned)}`] : []),
      ]
      return [
        service,
        ips.join(',') || '-',
        pool ?? '-',
        planned === undefined ? '-' : ownersText(planned),
        planned === undefined || planned.shares.length > 0
          ? '-'
          : (election?.candidates.find(({ rank }) => rank === 1)?.node ?? '-'),
        tellers === 0 ? '-' : `${tellers} ${tellers === 1 ? 'node' : 'nodes'}`,
        notes.join('; '),
      ]
    }),
  )
}

/** Who answers; of a sharded Service all that do, while they fit into a table. */
function ownersText({ election, shares }: ServicePlan): string {
  if (shares.length > 4) return `${shares.length} nodes`
  return shares.length > 0 ? shares.map(({ node }) => node).join(',') : (election.owner ?? '-')
}

/** It has addresses, and neither way of announcing them is taken. */
export function isSilent({ decision, election, bgp }: ServicePlan): boolean {
  const told = [...bgp.values()].some(({ reason }) => reason === null)
  return decision.ips.length > 0 && election.owner === null && !told
}

/** BGP was asked: some living node is included by an advertisement of the pool. */
export function concernsBgp({ bgp }: ServicePlan): boolean {
  return [...bgp.values()].some(({ reason }) => reason !== 'notOwner' && reason !== 'notAlive')
}

/** The codes why nobody announces it, in the way or ways that are meant for it. */
function whySilent(planned: ServicePlan): string {
  const codes = new Set<string>()
  const { reason } = planned.election
  if (!concernsBgp(planned) || reason !== 'noMatchingAdvertisement') codes.add(reason ?? 'noCandidates')
  if (concernsBgp(planned)) {
    for (const { reason: why } of planned.bgp.values()) if (why !== null) codes.add(why)
  }
  return [...codes].join(', ')
}

function notesText(plan: ClusterPlan): string[] {
  const lines: string[] = []
  if (plan.nodes.size === 0) lines.push('There is no Node among the objects: nobody can announce anything.')
  for (const { service, pending } of plan.allocations) {
    if (pending !== null) lines.push(`${service} has no address: ${pending.message}`)
  }
  for (const { service, notSteered } of plan.services) {
    if (notSteered !== undefined)
      lines.push(`${service.key} is not steered, though it should be: ${notSteered}`)
  }
  for (const planned of plan.services) {
    if (isSilent(planned)) lines.push(`${planned.service.key} is announced by nobody: ${silence(planned)}`)
  }
  return lines.length === 0 ? [] : [lines.join('\n')]
}

function silence(planned: ServicePlan): string {
  const { election } = planned
  const { reason, candidates } = election
  const ways: string[] = []
  if (!concernsBgp(planned) || reason !== 'noMatchingAdvertisement') {
    const refused = candidates.map(({ node }) => [node, candidateReason(election, node)] as const)
    ways.push(
      reason === 'noCandidates' && refused.length > 0
        ? grouped(refused, candidates.length)
        : ELECTION_REASONS[reason ?? 'noCandidates'],
    )
  }
  if (concernsBgp(planned)) {
    const refused = [...planned.bgp].map(
      ([node, each]) => [node, each.reason && BGP_SENTENCES[each.reason]] as const,
    )
    ways.push(`by BGP, ${grouped(refused, planned.bgp.size)}`)
  }
  return ways.join('; ')
}

/** `node1: it is down; node2 and node3: ...`. */
function grouped(refused: readonly (readonly [node: string, why: string | null])[], all: number): string {
  return [...namesByReason(refused)]
    .map(([why, nodes]) => `${nodes.length === all && all > 1 ? 'every node' : listed(nodes)}: ${why}`)
    .join('; ')
}

/** Who was refused for each reason, in the order in which the reasons appear. */
export function namesByReason(
  refused: readonly (readonly [name: string, why: string | null])[],
): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>()
  for (const [name, why] of refused) {
    if (why !== null) names.set(why, [...(names.get(why) ?? []), name])
  }
  return names
}

function routesText({ sessions }: ClusterPlan): string | undefined {
  if (sessions.length === 0) return undefined
  return table(
    ['NODE', 'PEER', 'PREFIX', 'COMMUNITIES', 'LOCAL_PREF', 'SERVICES'],
    sessions.flatMap(({ node, peer, routes }) =>
      routes.length === 0
        ? [[node, peer.name, '-', '-', '-', '-']]
        : routes.map(({ prefix, communities, localPref, services }) => [
            node,
            peer.name,
            prefix,
            communities.map(({ text }) => text).join(',') || '-',
            String(localPref ?? '-'),
            services.join(','),
          ]),
    ),
  )
}

/** One line for each Service and reason: a cluster has many nodes. */
function silentText(plan: ClusterPlan): string | undefined {
  const rows: string[][] = []
  for (const planned of plan.services) {
    const { service, bgp } = planned
    // Services that BGP is not meant for are no news.
    if (!concernsBgp(planned)) continue
    const refused = [...bgp].map(([node, { reason }]) => [node, reason && BGP_SENTENCES[reason]] as const)
    for (const [why, nodes] of namesByReason(refused)) {
      rows.push([service.key, nodes.length === bgp.size ? 'every node' : nodes.join(','), why])
    }
  }
  return rows.length === 0 ? undefined : table(['NOT TOLD BY BGP', 'NODES', 'WHY'], rows)
}

/** A change for people: only what differs. */
export function changeText(change: PlanChangeJson): string {
  const parts: string[] = []
  if (change.allocations.length > 0) {
    parts.push(
      table(
        ['SERVICE', 'ADDRESSES BEFORE', 'AFTER', 'WHY'],
        change.allocations.map(({ service, before, after, reason }) => [
          service,
          before.join(',') || '-',
          after.join(',') || '-',
          reason.message,
        ]),
      ),
    )
  }
  if (change.layer2.length > 0) {
    parts.push(
      table(
        ['SERVICE', 'OWNER BEFORE', 'AFTER', 'WHY'],
        change.layer2.map(({ service, before, after, reason }) => [
          service,
          before ?? '-',
          after ?? '-',
          MOVE_REASONS[reason] ?? reason,
        ]),
      ),
    )
  }
  if (change.bgp.length > 0) {
    parts.push(
      table(
        ['NODE', 'PEER', 'ROUTES', ''],
        change.bgp.flatMap(({ node, peer, added, removed, changed }) => [
          ...added.map(prefix => [node, peer, prefix, 'added']),
          ...removed.map(prefix => [node, peer, prefix, 'withdrawn']),
          ...changed.map(prefix => [node, peer, prefix, 'other attributes']),
        ]),
      ),
    )
  }
  return parts.length === 0 ? 'Nothing changes: no address, no owner, no route.' : parts.join('\n\n')
}

/** One line for each problem. */
export function problemsText(problems: readonly Problem[]): string {
  return problems
    .map(({ severity, object: { kind, namespace, name }, message }) => {
      const where = namespace === '' ? name : `${namespace}/${name}`
      return `${severity}: ${kind} ${where || '(without a name)'}: ${message}`
    })
    .join('\n')
}
