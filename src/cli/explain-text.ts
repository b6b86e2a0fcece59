import { familyOf, type Ip } from '../addr/ip.ts'
import { notTold, type Offer, statusPeers } from '../bgp/routes.ts'
import type { PoolIndex } from '../config/pool-index.ts'
import type { ServiceFacts } from '../config/services.ts'
import type { ClusterPlan, ServicePlan, Session } from '../plan/cluster-plan.ts'
import { BGP_SENTENCES, candidateReason, DEMOTIONS, ELECTION_REASONS, POOL_REASONS } from '../plan/reasons.ts'
import type { ClusterStatus } from './cluster-status.ts'
import { namesByReason } from './plan-text.ts'
import { moveText, stateOf } from './status-text.ts'
import { listed } from './table.ts'

/** The reasons of a plan as a story. Each function gives the lines of one subject. */

/** What a live cluster says of itself, to be held against the plan. */
export type Reality = {
  /** Addresses in the status of each Service. */
  readonly ips: ReadonlyMap<string, readonly Ip[]>
  /** Nodes that say they answer for a Service (ServiceL2Status). */
  readonly layer2: ReadonlyMap<string, readonly string[]>
  /** For each Service, nodes that say they announce it, and to which peers (ServiceBGPStatus). */
  readonly bgp: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>
  /** What the speakers say of themselves in their Leases, and of the last moves; absent: nothing. */
  readonly speakers?: Pick<ClusterStatus, 'speakers' | 'moves'>
}

/** A Service: its addresses, who answers, what routers are told, and what is so now. */
export function serviceStory(
  plan: ClusterPlan,
  facts: ServiceFacts,
  lbClass: string | undefined,
  reality: Reality | undefined,
): readonly string[] {
  const planned = plan.services.find(({ service }) => service.key === facts.key)
  const lines = [`Service ${facts.key}`]
  if (planned === undefined) {
    lines.push(`  ${notOurs(facts, lbClass)}`)
  } else {
    lines.push(
      `  externalTrafficPolicy ${facts.externalTrafficPolicy}, for ${listed(facts.clusterIps.map(familyOf))}; ${endpointsText(planned)}`,
      '',
      ...addressStory(plan, planned),
      '',
      ...layer2Story(planned),
      ...steeringStory(plan, planned),
      ...(plan.config?.bgpAdvertisements.length === 0 ? [] : bgpStory(plan, planned)),
    )
  }
  const now = reality === undefined ? [] : realityStory(plan, facts.key, reality)
  return now.length === 0 ? lines : [...lines, '', ...now]
}

function notOurs(facts: ServiceFacts, lbClass: string | undefined): string {
  if (facts.type !== 'LoadBalancer')
    return `is of type ${facts.type}; only those of type LoadBalancer get addresses`
  const wanted = lbClass === undefined ? 'none' : JSON.stringify(lbClass)
  const has = facts.loadBalancerClass === undefined ? 'none' : JSON.stringify(facts.loadBalancerClass)
  return `has the load-balancer class ${has}, and only those of class ${wanted} are handled (--lb-class)`
}

function endpointsText({ endpoints }: ServicePlan): string {
  if (!endpoints.any) return 'no endpoint can serve'
  const nodes = [...endpoints.nodes].sort()
  return nodes.length === 0
    ? 'endpoints that can serve are on no node'
    : `endpoints that can serve are on ${listed(nodes)}`
}

function addressStory(plan: ClusterPlan, { service, decision }: ServicePlan): string[] {
  const { ips, pool, pending, cleared, why } = decision
  const lines = [
    ips.length > 0
      ? `Addresses: ${ips.join(' and ')}, from pool ${pool ?? '?'}`
      : `Addresses: none, because ${pending?.message ?? 'it wants none'}`,
  ]
  for (const { pool: name, result } of why) lines.push(`  pool ${name}: ${POOL_REASONS[result]}`)
  const looked = new Set(why.map(each => each.pool))
  const { addressPool, loadBalancerIps } = service.annotations
  const asks = addressPool ?? loadBalancerIps ?? service.loadBalancerIp
  for (const { name, autoAssign } of plan.config?.pools ?? []) {
    if (looked.has(name)) continue
    const reason = why.some(({ result }) => result === 'kept')
      ? 'not looked at, what the Service holds stays'
      : asks !== undefined
        ? `not looked at, the Service asks for ${asks}`
        : POOL_REASONS[autoAssign ? 'notNeeded' : 'autoAssignOff']
    lines.push(`  pool ${name}: ${reason}`)
  }
  if (cleared.length > 0) lines.push(`  it gives back ${cleared.join(' and ')}`)
  return lines
}

function layer2Story(planned: ServicePlan): string[] {
  const { election, shares } = planned
  const { owner, reason, interfaces, candidates } = election
  if (owner === null) {
    const lines = [`Layer 2: nobody answers, because ${ELECTION_REASONS[reason ?? 'noCandidates']}`]
    if (reason !== 'noCandidates') return lines
    if (candidates.length === 0) return [...lines, '  there is no Node']
    return [...lines, ...refusedLines(election)]
  }
  if (shares.length > 0) return [...sharesStory(planned), ...refusedLines(election)]
  const where = interfaces === 'all' ? 'on every interface' : `on ${listed(interfaces)}`
  const lines = [`Layer 2: ${owner} answers, ${where}`]
  const scored = candidates.some(({ score }) => score > 0)
  for (const { node, rank, score, givesWay } of candidates) {
    if (rank === null) continue
    const place = ['first', 'second', 'third'][rank] ?? `${rank + 1}th`
    const why = scored ? ` with score ${score}` : ''
    const role = rank === 0 ? '' : rank === 1 ? `, answers when ${owner} is gone` : ''
    const health = givesWay === undefined ? '' : `, though ${DEMOTIONS[givesWay]}: no other is better`
    const behind =
      givesWay === undefined ? '' : `; behind those in good health, because ${DEMOTIONS[givesWay]}`
    lines.push(`  ${node} is ${place}${why}${role}${rank === 0 ? health : behind}`)
  }
  const eligible = candidates.filter(each => each.eligible).length
  if (eligible > 1) {
    lines.push(
      scored
        ? '  higher scores of preferredNodeSelectors come first, then digests of node name and address'
        : '  the order is that of the digests of node name and address',
    )
  }
  return [...lines, ...refusedLines(election)]
}

/** Whether nodes hand its packets over to those of its endpoints; nothing where that is out of the question. */
function steeringStory(
  { steeringMode }: ClusterPlan,
  { service, steered, notSteered }: ServicePlan,
): string[] {
  const { externalTrafficPolicy, annotations } = service
  const asks = annotations.flowSteering === 'enabled'
  if (externalTrafficPolicy !== 'Local')
    return asks
      ? ['  it is not steered: only externalTrafficPolicy Local is, Cluster goes to any node by itself']
      : []
  if (steered) {
    return [
      '  it is steered: whichever node receives a packet hands it to the node of an endpoint, and needs none itself',
    ]
  }
  if (notSteered !== undefined) return [`  it is not steered, though it should be: ${notSteered}`]
  if (steeringMode === undefined)
    return asks ? ['  it is not steered: no speaker is known to steer (--flow-steering)'] : []
  return annotations.flowSteering === 'disabled'
    ? ['  it is not steered: its annotation lodestone.dev/flow-steering refuses it']
    : ['  it is not steered: it lacks the annotation lodestone.dev/flow-steering: enabled']
}

function sharesStory({ service, shares }: ServicePlan): string[] {
  const [first] = shares
  if (first !== undefined && shares.length === 1)
    return [`Layer 2: ${first.node} answers; the mode is sharded, but there is no other candidate`]
  const weighted = service.externalTrafficPolicy === 'Local' ? ', in proportion to the endpoints there' : ''
  return [
    `Layer 2: sharded, ${listed(shares.map(({ node }) => node))} answer, each its part of those who ask${weighted}`,
    ...shares.map(({ node, part }) => `  ${node} answers ${Math.round(part * 100)} % of the hosts that ask`),
    '  who answers a host follows from a hash of its address, and when a node is gone only its hosts move to the others',
    '  a router asks once for everybody behind it: where all clients come through one router, one node carries everything,',
    '  and several paths by BGP are what divides them',
  ]
}

function refusedLines(election: ServicePlan['election']): string[] {
  return election.candidates.flatMap(({ node }) => {
    const why = candidateReason(election, node)
    return why === null ? [] : [`  ${node} is no candidate: ${why}`]
  })
}

function bgpStory(plan: ClusterPlan, planned: ServicePlan): string[] {
  const { service, bgp } = planned
  if (bgp.size === 0) return []
  const reasons = [...bgp.values()].map(({ reason }) => reason)
  if (reasons.every(reason => reason === 'notOwner' || reason === 'notAlive')) {
    return ['', 'BGP: no router is told, because no BGPAdvertisement of the pool includes a living node']
  }
  const telling = reasons.filter(reason => reason === null).length
  const lines = [
    '',
    `BGP: ${['no node tells a router', 'one node tells its routers'][telling] ?? `${telling} nodes tell their routers`}`,
  ]
  for (const [node, decision] of bgp) {
    if (decision.reason !== null) {
      const between = decision.conflict === undefined ? '' : ` (${listed(decision.conflict)})`
      lines.push(`  ${node} does not: ${BGP_SENTENCES[decision.reason]}${between}`)
    }
    if (decision.reason !== null && decision.reason !== 'noPeers') continue
    for (const session of plan.sessions) {
      if (session.node === node) lines.push(...sessionLines(session, service.key, decision.offers))
    }
  }
  return lines
}

function sessionLines({ node, peer, routes }: Session, service: string, offers: readonly Offer[]): string[] {
  const mine = routes.filter(({ services }) => services.includes(service))
  if (mine.length === 0) {
    const named = offers.some(offer => notTold(offer, peer) === 'familyNotCarried')
    const why = named
      ? 'the session carries only the other address family'
      : 'the BGPAdvertisements name other peers'
    return [`  ${node} does not tell ${peer.name}: ${why}`]
  }
  return mine.map(({ prefix, communities, localPref, services }) => {
    const extras = [
      ...(communities.length === 0 ? [] : [`communities ${communities.map(({ text }) => text).join(' ')}`]),
      ...(localPref === null ? [] : [`LOCAL_PREF ${localPref}`]),
      ...(services.length === 1 ? [] : [`also for ${listed(services.filter(key => key !== service))}`]),
    ]
    return `  ${node} tells ${peer.name}: ${[prefix, ...extras].join(', ')}`
  })
}

/** What the cluster says now, and where that is not the plan. Empty: nothing to compare. */
function realityStory(plan: ClusterPlan, key: string, reality: Reality): string[] {
  const planned = plan.services.find(({ service }) => service.key === key)
  const held = reality.ips.get(key) ?? []
  const answering = reality.layer2.get(key) ?? []
  const telling = reality.bgp.get(key) ?? new Map<string, readonly string[]>()
  const lines = [
    'The cluster now:',
    `  status: ${held.join(' and ') || 'no address'}`,
    `  answering at layer 2, as their ServiceL2Status says: ${answering.length === 0 ? 'nobody' : listed(answering)}`,
  ]
  lines.push(...speakersStory(answering, held, reality.speakers))
  for (const [node, peers] of telling) lines.push(`  announcing by BGP: ${node} to ${listed(peers)}`)
  const differences: string[] = []
  const wanted = planned?.decision.ips ?? []
  if (held.join() !== wanted.join()) {
    differences.push(
      `the status holds ${held.join(' and ') || 'no address'}, planned is ${wanted.join(' and ') || 'none'}: is the controller running?`,
    )
  }
  const owner = planned?.election.owner ?? null
  const sharing = (planned?.shares ?? []).map(({ node }) => node).sort()
  const owners = sharing.length > 0 ? sharing : owner === null ? [] : [owner]
  if (answering.join() !== owners.join()) {
    differences.push(
      `${answering.length === 0 ? 'nobody says it answers' : `${listed(answering)} ${answering.length === 1 ? 'says it answers' : 'say they answer'}`}, planned is ${listed(owners, 'nobody')}: are the speakers running, and hear each other?`,
    )
  }
  for (const node of [...new Set([...telling.keys(), ...(planned?.bgp.keys() ?? [])])].sort()) {
    const offers = planned?.bgp.get(node)?.offers ?? []
    const sessions = plan.sessions.filter(session => session.node === node)
    const told = statusPeers(
      offers,
      sessions.map(({ peer, routes }) => ({ peer: peer.name, routes })),
    )
    const tells = [...(telling.get(node) ?? [])].sort()
    if (tells.join() === told.join()) continue
    differences.push(
      `by BGP ${node} announces to ${listed(tells, 'nobody')}, planned is ${listed(told, 'nobody')}: is its speaker running?`,
    )
  }
  return differences.length === 0
    ? [...lines, '  This is the plan.']
    : [...lines, ...differences.map(text => `  Not as planned: ${text}`)]
}

const MOVES_SHOWN = 3

/** Those that answer, and how the addresses moved last. A move of many addresses names only the first of them. */
function speakersStory(
  answering: readonly string[],
  ips: readonly Ip[],
  told: Reality['speakers'],
): string[] {
  if (told === undefined) return []
  const lines: string[] = []
  for (const { node, status } of told.speakers) {
    if (status === null || !answering.includes(node)) continue
    const voted =
      status.round > 1
        ? `, held for gone ${status.round - 1 === 1 ? 'once' : `${status.round - 1} times`} since it started`
        : ''
    lines.push(`  the speaker of ${node}: ${stateOf(status)}, round ${status.round}${voted}`)
  }
  const moves = told.moves.filter(move => move.ips.some(ip => (ips as readonly string[]).includes(ip)))
  if (moves.length === 0) return lines
  lines.push('  its last moves, newest first:')
  for (const { node, ...move } of moves.slice(0, MOVES_SHOWN)) lines.push(`    ${moveText(node, move)}`)
  return lines
}

/** An address: which Service has it, from which pool, who answers. */
export function ipStory(
  plan: ClusterPlan,
  ip: Ip,
  pools: PoolIndex,
  others: { readonly nodes: readonly string[]; readonly services: readonly string[] },
): readonly string[] {
  const holders = plan.services.filter(({ decision }) => decision.ips.includes(ip))
  const pool = pools.find(ip)?.pool
  const lines = [`Address ${ip}`]
  for (const name of others.nodes) lines.push(`  is an address of Node ${name}`)
  for (const key of others.services) lines.push(`  is a cluster IP of Service ${key}`)
  lines.push(pool === undefined ? '  is in no IPAddressPool' : `  is in pool ${pool.name}`)
  if (holders.length === 0) {
    if (pool !== undefined) lines.push(`  is free: no Service has it${usageOf(plan, pool.name)}`)
    return lines
  }
  for (const planned of holders) {
    const { service, election, shares, bgp } = planned
    lines.push(`  belongs to Service ${service.key}`)
    if (shares.length > 1) {
      lines.push(
        `  ${listed(shares.map(({ node }) => node))} answer for it at layer 2, each its part of those who ask`,
      )
    } else if (election.owner !== null) {
      const next = election.candidates.find(({ rank }) => rank === 1)
      lines.push(
        `  ${election.owner} answers for it at layer 2${next === undefined ? '' : `, and ${next.node} when that is gone`}`,
      )
    } else
      lines.push(`  nobody answers for it at layer 2: ${ELECTION_REASONS[election.reason ?? 'noCandidates']}`)
    const tellers = [...bgp].flatMap(([node, { reason }]) => (reason === null ? [node] : []))
    if (tellers.length > 0)
      lines.push(`  ${listed(tellers)} ${tellers.length === 1 ? 'announces' : 'announce'} it by BGP`)
  }
  return lines
}

function usageOf({ usage }: ClusterPlan, pool: string): string {
  const found = usage.find(each => each.pool === pool)
  if (found === undefined) return ''
  const { capacity, inUse } = found
  return `; ${inUse.IPv4 + inUse.IPv6} of ${capacity.IPv4 + capacity.IPv6} addresses of the pool are in use`
}

/** A node: what it answers for and announces, and why it is no candidate elsewhere. */
export function nodeStory(plan: ClusterPlan, name: string, isDown: boolean): readonly string[] {
  const lines = [`Node ${name}${isDown ? ', taken for dead' : ''}`]
  const node = plan.nodes.get(name)
  if (node !== undefined && node.internalIps.length > 0) lines.push(`  has ${listed(node.internalIps)}`)
  const ranked = (rank: number): ServicePlan[] =>
    plan.services.filter(
      ({ election, shares }) =>
        shares.length === 0 && election.candidates.some(each => each.node === name && each.rank === rank),
    )
  const owned = ranked(0)
  const shared = plan.services.filter(({ shares }) => shares.some(({ node: each }) => each === name))
  const any = owned.length + shared.length > 0
  lines.push('', any ? 'Layer 2: it answers for' : 'Layer 2: it answers for nothing')
  for (const { service, decision } of owned) lines.push(`  ${service.key}: ${decision.ips.join(' and ')}`)
  for (const { service, decision, shares } of shared) {
    const part = shares.find(({ node: each }) => each === name)?.part ?? 0
    lines.push(
      `  ${service.key}: ${decision.ips.join(' and ')}, ${Math.round(part * 100)} % of the hosts that ask (sharded)`,
    )
  }
  const next = ranked(1)
  if (next.length > 0) {
    lines.push('It is next in line for')
    for (const { service, election } of next) lines.push(`  ${service.key}, when ${election.owner} is gone`)
  }
  const refused = plan.services.map(
    ({ service, election }) => [service.key, candidateReason(election, name)] as const,
  )
  if (refused.some(([, why]) => why !== null)) lines.push('It is no candidate for', ...byReason(refused))
  const sessions = plan.sessions.filter(session => session.node === name)
  lines.push('', sessions.length === 0 ? 'BGP: it has no session' : 'BGP: it tells')
  for (const { peer, routes } of sessions) {
    const target = peer.target.type === 'address' ? peer.target.address : peer.target.interface
    lines.push(`  ${peer.name} (${target}): ${routes.map(({ prefix }) => prefix).join(', ') || 'nothing'}`)
  }
  const silent = plan.services.map(({ service, bgp }) => {
    const reason = bgp.get(name)?.reason ?? null
    return [service.key, reason && BGP_SENTENCES[reason]] as const
  })
  if (sessions.length > 0 && silent.some(([, why]) => why !== null)) {
    lines.push('It does not announce', ...byReason(silent))
  }
  return lines
}

function byReason(refused: Parameters<typeof namesByReason>[0]): string[] {
  return [...namesByReason(refused)].map(([why, services]) => `  ${listed(services)}: ${why}`)
}
