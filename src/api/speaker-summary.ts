import type { SpeakerMoves, SpeakerStatus } from './speaker.ts'

/** What a speaker tells the cluster of itself, in an annotation of its Lease: `GET /status` in short. */
export type SpeakerSummary = {
  /** Addresses that it answers for. */
  readonly owned: number
  readonly ready: boolean
  readonly entitled: boolean
  readonly standing: boolean
  readonly alone: boolean
  readonly round: number
  readonly voters: readonly string[]
  readonly majority: number
  /** The other speakers that are not `up`, with their levels. */
  readonly peers: Readonly<Record<string, string>>
  /** Between two heartbeats, and of the silence that is no suspicion yet: the longest with any peer. */
  readonly intervalMs: number
  readonly patienceMs: number
  readonly worstLatenessMs: number
  /** Absent: it steers nothing. */
  readonly steering?: SteeringSummary
  /** Newest first, at most 5. */
  readonly moves: readonly SummaryMove[]
}

export type SteeringSummary = {
  /** Services that are steered. */
  readonly count: number
  /** Over the tables of all of them. */
  readonly hash: string
  /** By Service, of the first in order of names: how its table's hash begins. */
  readonly tables: Readonly<Record<string, string>>
}

/** Addresses that moved for one cause. */
export type SummaryMove = {
  /** RFC 3339, of the first address. */
  readonly at: string
  readonly owned: boolean
  readonly count: number
  /** The first of them, at most 3. */
  readonly ips: readonly string[]
  readonly because: string
  /** How long after the first the last address followed. */
  readonly lastMs: number
  /** Before the first announcement; null: not known, or no failover. */
  readonly heardMs: number | null
  readonly suspectedMs: number | null
  readonly confirmedMs: number | null
}

/** All summaries of a cluster are watched by all of its speakers. */
export const SUMMARY_BYTES_MAX = 2048
const MOVES_MAX = 5
export const SUMMARY_TABLES_MAX = 20

/** JSON of at most SUMMARY_BYTES_MAX bytes: what there is no room for is left out, old moves first. */
export function encodeSummary(
  status: Omit<SpeakerStatus, 'services' | 'moves' | 'shared' | 'steering'>,
  owned: number,
  steering?: SteeringSummary,
): string {
  const { ready, entitled, standing, alone, round, voters, majority } = status
  const longest = (values: number[]) => Math.round(Math.max(0, ...values))
  const summary = {
    owned,
    ready,
    entitled,
    standing,
    alone,
    round,
    voters: [...voters],
    majority,
    peers: Object.fromEntries(
      status.peers.flatMap(peer => (peer.status === 'up' ? [] : [[peer.node, peer.status]])),
    ),
    intervalMs: longest(status.peers.map(peer => peer.intervalMs)),
    patienceMs: longest(status.peers.map(peer => peer.patienceMs)),
    worstLatenessMs: tenths(status.worstLatenessMs),
    ...(steering && { steering: { ...steering, tables: { ...steering.tables } } }),
    moves: status.failovers.slice(0, MOVES_MAX).map(summaryMove),
  } satisfies SpeakerSummary
  for (;;) {
    const text = JSON.stringify(summary)
    if (new TextEncoder().encode(text).length <= SUMMARY_BYTES_MAX) return text
    const [peer] = Object.keys(summary.peers).slice(-1)
    const [table] = Object.keys(summary.steering?.tables ?? {}).slice(-1)
    if (summary.moves.length > 1) summary.moves.pop()
    else if (summary.steering !== undefined && table !== undefined) delete summary.steering.tables[table]
    else if (summary.moves.length > 0) summary.moves.pop()
    else if (peer !== undefined) delete summary.peers[peer]
    else summary.voters.pop()
  }
}

export function summaryMove({ at, until, owned, count, ips, because, phases }: SpeakerMoves): SummaryMove {
  const before = (when: number | null | undefined) =>
    when === null || when === undefined || phases === null ? null : tenths(phases.announcedAt - when)
  return {
    at,
    owned,
    count,
    ips: [...ips],
    because,
    lastMs: Date.parse(until) - Date.parse(at),
    heardMs: before(phases?.lastHeardAt),
    suspectedMs: before(phases?.suspectedAt),
    confirmedMs: before(phases?.confirmedAt),
  }
}

/** Total: undefined for what is no summary; a malformed field counts as empty. */
export function decodeSummary(text: string | undefined): SpeakerSummary | undefined {
  if (text === undefined) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // Written by somebody else.
    return undefined
  }
  if (!isRecord(value)) return undefined
  const peers = isRecord(value['peers']) ? value['peers'] : {}
  return {
    owned: numberOf(value['owned']),
    ready: value['ready'] === true,
    entitled: value['entitled'] === true,
    standing: value['standing'] === true,
    alone: value['alone'] === true,
    round: numberOf(value['round']),
    voters: textsOf(value['voters']),
    majority: numberOf(value['majority']),
    peers: textsByName(peers),
    intervalMs: numberOf(value['intervalMs']),
    patienceMs: numberOf(value['patienceMs']),
    worstLatenessMs: numberOf(value['worstLatenessMs']),
    ...(isRecord(value['steering']) && { steering: steeringOf(value['steering']) }),
    moves: (Array.isArray(value['moves']) ? value['moves'] : []).slice(0, MOVES_MAX).flatMap(moveOf),
  }
}

function steeringOf({ count, hash, tables }: { readonly [name: string]: unknown }): SteeringSummary {
  return {
    count: numberOf(count),
    hash: typeof hash === 'string' ? hash : '',
    tables: textsByName(isRecord(tables) ? tables : {}),
  }
}

function textsByName(value: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, text]) => (typeof text === 'string' ? [[name, text]] : [])),
  )
}

function moveOf(value: unknown): SummaryMove[] {
  if (!isRecord(value) || typeof value['at'] !== 'string' || Number.isNaN(Date.parse(value['at']))) return []
  const phase = (name: string) => (typeof value[name] === 'number' ? value[name] : null)
  return [
    {
      at: value['at'],
      owned: value['owned'] === true,
      count: numberOf(value['count']),
      ips: textsOf(value['ips']),
      because: typeof value['because'] === 'string' ? value['because'] : '',
      lastMs: numberOf(value['lastMs']),
      heardMs: phase('heardMs'),
      suspectedMs: phase('suspectedMs'),
      confirmedMs: phase('confirmedMs'),
    },
  ]
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter(item => typeof item === 'string') : []
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10
}
