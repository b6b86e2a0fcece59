import type { SpeakerStatus } from '../api/speaker.ts'
import { type SpeakerSummary, type SummaryMove, summaryMove } from '../api/speaker-summary.ts'
import type { ClusterStatus, ClusterSteering, RegisteredSpeaker, SameTables } from './cluster-status.ts'
import { listed, table } from './table.ts'

/** A Lease that was not renewed for longer than this says nothing of the present. */
const OLD_MS = 30_000
const MOVES_SHOWN = 10

/** @param now wall clock, milliseconds since 1970 */
export function clusterText({ speakers, addresses, moves, steering }: ClusterStatus, now: number): string {
  const paragraphs = [
    speakers.length === 0
      ? 'No speaker is registered.'
      : table(
          ['SPEAKER', 'STATE', 'OWNS', 'VOTES', 'NOT UP', 'PATIENCE', 'LATENESS', 'RENEWED'],
          speakers.map(speaker => speakerRow(speaker, now)),
        ),
    addresses.length === 0
      ? 'No Service of type LoadBalancer has an address.'
      : table(
          ['ADDRESS', 'SERVICE', 'ANNOUNCED BY'],
          addresses.map(({ ip, service, owners }) => [ip, service, owners.join(', ') || 'nobody']),
        ),
  ]
  if (steering !== undefined) paragraphs.push(steeringText(steering))
  if (moves.length > 0) {
    const lines = moves.slice(0, MOVES_SHOWN).map(({ node, ...move }) => `  ${moveText(node, move)}`)
    paragraphs.push(['Last moves, newest first', ...lines].join('\n'))
  }
  return paragraphs.join('\n\n')
}

function steeringText({ tables, services }: ClusterSteering): string {
  const [most, ...others] = tables
  const head =
    others.length === 0
      ? `Steering: ${listed(most?.nodes ?? [])} steer ${most?.count ?? 0} Services alike, tables ${most?.hash ?? ''}`
      : [
          'Steering: THE TABLES DIFFER; for longer than ten seconds after a change the nodes see different endpoints',
          ...tables.map(({ hash, count, nodes }) => `  ${hash} on ${listed(nodes)}, of ${count} Services`),
        ].join('\n')
  const rows = services.map(each => [each.service, tablesText(each.tables)])
  return rows.length === 0 ? head : `${head}\n\n${table(['STEERED', 'TABLE'], rows)}`
}

function tablesText(tables: readonly SameTables[]): string {
  const [first, ...others] = tables
  if (others.length === 0) return first?.hash ?? '-'
  return `DIFFERS: ${tables.map(({ hash, nodes }) => `${hash} on ${nodes.join(', ')}`).join('; ')}`
}

function speakerRow({ node, status, renewedAt, heldFor }: RegisteredSpeaker, now: number): string[] {
  const age = renewedAt === null ? Number.POSITIVE_INFINITY : now - Date.parse(renewedAt)
  const held = heldFor.map(({ level, by }) => `${level} to ${listed(by)}`)
  const renewed = renewedAt === null ? 'never' : `${Math.max(0, Math.round(age / 1000))} s ago`
  if (status === null) return [node, ['unknown', ...held].join('; '), '-', '-', '-', '-', '-', renewed]
  const notUp = Object.entries(status.peers).map(([peer, level]) => `${peer} ${level}`)
  return [
    node,
    [age > OLD_MS ? 'not heard of' : stateOf(status), ...held].join('; '),
    String(status.owned),
    status.voters.includes(node) ? 'yes' : 'no',
    notUp.join(', ') || '-',
    `${status.patienceMs} ms`,
    `${status.worstLatenessMs} ms`,
    renewed,
  ]
}

export function stateOf(status: Pick<SpeakerSummary, 'ready' | 'alone' | 'entitled' | 'standing'>): string {
  if (!status.ready) return 'not ready'
  if (status.alone) return 'alone'
  if (!status.entitled) return 'suspended'
  return status.standing ? 'up' : 'on probation'
}

/** One line. */
export function moveText(node: string, move: SummaryMove): string {
  const { at, owned, count, ips, because, lastMs, heardMs, suspectedMs, confirmedMs } = move
  const named = count > ips.length ? `${count} addresses, ${ips.join(' ')} ...` : ips.join(' ')
  const phases = [
    ...(heardMs === null ? [] : [`last heard ${heardMs} ms before it was announced`]),
    ...(suspectedMs === null ? [] : [`suspected ${suspectedMs} ms`]),
    ...(confirmedMs === null ? [] : [`confirmed ${confirmedMs} ms`]),
    ...(count > 1 && lastMs > 0 ? [`the last one ${lastMs} ms later`] : []),
  ]
  const how = phases.length === 0 ? '' : ` (${phases.join(', ')})`
  return `${at}  ${node} ${owned ? 'took' : 'gave up'} ${named}: ${because}${how}`
}

/** All that one speaker says of itself. */
export function speakerText(status: SpeakerStatus): string {
  const { node, voters, majority, round, worstLatenessMs, realtime, peers, services, failovers } = status
  const shared = status.shared ?? []
  const owned = services.filter(service => service.owned.length > 0)
  const paragraphs = [
    [
      `Speaker ${node}: ${stateOf(status)}${status.hasKey ? '' : ', without a cluster key'}`,
      `  voters: ${listed(voters)}; ${majority} of them decide`,
      `  round ${round}; timers late by at most ${tenths(worstLatenessMs)} ms${realtime ? '' : ', without real-time scheduling'}`,
      `  announces ${owned.length} of ${services.length} Services of type LoadBalancer`,
    ].join('\n'),
  ]
  if (peers.length > 0) {
    const rows = peers.map(peer => [
      peer.node,
      peer.status,
      peer.voter ? 'yes' : 'no',
      peer.heardMsAgo === null ? '-' : `${tenths(peer.heardMsAgo)} ms ago`,
      `${tenths(peer.intervalMs)} ms`,
      `${tenths(peer.patienceMs)} ms`,
      `${tenths(peer.jitterMs)} ms`,
    ])
    paragraphs.push(table(['PEER', 'LEVEL', 'VOTES', 'HEARD', 'INTERVAL', 'PATIENCE', 'JITTER'], rows))
  }
  if (services.length > 0) {
    const rows = services.map(({ service, ips, owned: own, candidates, reason }) => [
      service,
      ips.join(' ') || '-',
      own.join(' ') || '-',
      candidates.join(', ') || (reason ?? '-'),
    ])
    paragraphs.push(table(['SERVICE', 'ADDRESSES', 'ANNOUNCED HERE', 'CANDIDATES'], rows))
  }
  if (shared.length > 0) {
    const rows = shared.map(({ ip, askers, nodes, waiting }) => [
      ip,
      String(askers),
      nodes.map(each => `${each.node} ${each.askers}`).join(', '),
      String(waiting),
    ])
    const advice = shared.flatMap(each => (each.advice === null ? [] : [`  ${each.advice}`]))
    paragraphs.push([table(['SHARED', 'HOSTS', 'ASKERS OF', 'TO BE TOLD'], rows), ...advice].join('\n'))
  }
  if (status.steering !== undefined) paragraphs.push(steeredText(status.steering))
  if (failovers.length > 0) {
    const lines = failovers.map(moves => `  ${moveText(node, summaryMove(moves))}`)
    paragraphs.push(['Last moves, newest first', ...lines].join('\n'))
  }
  return paragraphs.join('\n\n')
}

function steeredText({
  hash,
  installed,
  error,
  services,
  nodes,
  interfaces,
}: NonNullable<SpeakerStatus['steering']>): string {
  const state = installed
    ? 'in the kernel'
    : `not in the kernel yet${error === undefined ? '' : `: ${error}`}`
  const lines = [`Steering: tables ${hash} of ${services.length} Services, ${state}`]
  for (const { name, problem } of interfaces) if (problem !== undefined) lines.push(`  ${name}: ${problem}`)
  for (const { node, dead, reach } of nodes) {
    if (dead) lines.push(`  ${node} is dead: nothing is handed to it`)
    for (const { family, why } of reach) {
      if (why !== undefined) lines.push(`  ${node} gets no ${family} packets: ${why}`)
    }
  }
  for (const { service, problems } of services) {
    for (const problem of problems) lines.push(`  ${service}: ${problem}`)
  }
  if (services.length === 0) return lines.join('\n')
  const rows = services.map(({ service, tableHash, size, nodes: parts }) => [
    service,
    tableHash,
    String(size),
    parts.map(({ node, share }) => `${node} ${Math.round(share * 100)} %`).join(', ') || '-',
  ])
  return `${lines.join('\n')}\n\n${table(['STEERED', 'TABLE', 'SLOTS', 'HANDED TO'], rows)}`
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10
}
