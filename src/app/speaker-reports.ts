import type { Ip } from '../addr/ip.ts'
import type { SpeakerMove, SpeakerMoves } from '../api/speaker.ts'
import type { ServiceFacts } from '../config/services.ts'
import type { Because, FailoverPhases, OwnedChange, ReflexReport } from '../layer2/reflex.ts'
import type { Level } from '../membership/machine.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventSink } from '../ports/events.ts'
import type { Log } from '../ports/log.ts'
import type { Metrics } from '../ports/metrics.ts'
import { CONFLICT_OVER_MS, conflictText } from './address-conflicts.ts'

type Ports = {
  readonly events: EventSink
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Log
}

/** What of a Service is needed to tell of it. */
export type AboutService = {
  readonly facts: Pick<ServiceFacts, 'namespace' | 'name' | 'uid' | 'statusIps'>
  /** Where its advertisements want it announced. */
  readonly interfaces: 'all' | readonly string[]
}

type Report<T extends ReflexReport['type']> = ReflexReport & { readonly type: T }

/** Kept of each, newest first. */
const MOVES_MAX = 100
const GROUPS_MAX = 20
/** Addresses named of a move of many. */
const NAMED_MAX = 3
/** Moves for the same cause are one while no more time than this lies between two of them. */
const GROUP_WITHIN_MS = 2000
const CONFLICTS_MAX = 1000
/** A fifth of the patience by default. */
const LATE_MS = 16
const LATE_AGAIN_MS = 60_000
const ADAPTED_AGAIN_MS = 60_000
const LEVELS: readonly Level[] = ['up', 'probation', 'down', 'left']

/** Tells people and Prometheus what the reflex thread did: one log line, Event and count for each thing that happened. */
export class SpeakerReports {
  readonly #node: string
  readonly #ports: Ports
  readonly #serviceOf: (key: string) => AboutService | undefined
  readonly #moves: SpeakerMove[] = []
  readonly #groups: { key: string; lastAt: number; moves: SpeakerMoves }[] = []
  /** When each was last heard; who was heard longest ago is first. */
  readonly #conflicts = new Map<string, number>()
  /** The last cause of which the time to its confirmation was counted. */
  #confirmed = ''
  readonly #adaptedAt = new Map<string, number>()
  /** Why the kernel refused real-time scheduling, until that was said with the lateness that it means. */
  #notRealtime: string | undefined
  #lateAt = Number.NEGATIVE_INFINITY

  constructor(node: string, ports: Ports, serviceOf: (key: string) => AboutService | undefined) {
    this.#node = node
    this.#ports = ports
    this.#serviceOf = serviceOf
  }

  /** Single addresses, newest first. */
  get moves(): readonly SpeakerMove[] {
    return this.#moves
  }

  /** Addresses that moved together, newest first. */
  get groups(): readonly SpeakerMoves[] {
    return this.#groups.map(({ moves }) => moves)
  }

  /** `before`: the Services by which this node owned the address until now. */
  owned(change: OwnedChange, before: readonly string[]): void {
    const { ip, services, owned, atWallMs, because, phases } = change
    const at = new Date(atWallMs).toISOString()
    const why = explainCause(because)
    this.#ports.log.info(owned ? 'address-announced' : 'address-released', {
      ip,
      services,
      at,
      because: why,
      ...(phases && { phases: phasesText(phases) }),
    })
    // Told anew because the Services on it changed: it did not move.
    const moved = owned ? before.length === 0 : before.length > 0
    if (moved && because.type !== 'plan' && because.type !== 'interfaces') this.#remember(change, at, why)
    if (owned && phases !== undefined) this.#measure(because, phases)
    if (!owned) return
    for (const key of services) if (!before.includes(key)) this.#tell(key, change)
  }

  node({ node, from, to, silentMs }: Report<'node'>): void {
    const rounded = silentMs === null ? null : Math.round(silentMs)
    this.#ports.log.info('peer-changed', { peer: node, from, to, silentMs: rounded })
  }

  levels(levels: Iterable<Level>): void {
    const counts = new Map<Level, number>(LEVELS.map(level => [level, 0]))
    for (const level of levels) counts.set(level, (counts.get(level) ?? 0) + 1)
    for (const [level, count] of counts) this.#ports.metrics.set('lodestone_peers', { level }, count)
  }

  /** `owns`: addresses that it answers for while it may. */
  standing({ entitled, standing, alone }: Report<'standing'>, owns: number): void {
    const { metrics, log } = this.#ports
    metrics.set('lodestone_entitled', {}, entitled ? 1 : 0)
    metrics.set('lodestone_standing', {}, standing ? 1 : 0)
    metrics.set('lodestone_alone', {}, alone ? 1 : 0)
    if (alone) {
      log.warn('alone', {
        effect: 'addresses are announced after the wire was asked for them',
        hint: 'no other speaker is heard: is UDP between the nodes blocked, or the cluster key another?',
      })
    } else if (!entitled) {
      const effect = 'nothing is answered until a majority of the voters is heard'
      log[owns > 0 ? 'warn' : 'info']('suspended', { owns, effect })
    } else log.info('entitled', { standing })
  }

  lost({ atWallMs }: Report<'lost'>): void {
    this.#ports.metrics.add('lodestone_voted_down_total', {}, 1)
    this.#ports.log.warn('voted-down', {
      at: new Date(atWallMs).toISOString(),
      effect: 'a majority took this node for gone: what it announced is now for others',
    })
  }

  conflict({ ip, services, mac, interfaceName, action }: Report<'conflict'>): void {
    const { clock, events, log, metrics } = this.#ports
    metrics.add('lodestone_address_conflicts_total', { action }, 1)
    const [key, now] = [`${ip} ${mac} ${action}`, clock.now()]
    const heardAt = this.#conflicts.get(key)
    this.#conflicts.delete(key)
    if (this.#conflicts.size >= CONFLICTS_MAX) {
      for (const oldest of this.#conflicts.keys()) {
        this.#conflicts.delete(oldest)
        break
      }
    }
    this.#conflicts.set(key, now)
    // Told once for as long as it lasts.
    if (heardAt !== undefined && now - heardAt < CONFLICT_OVER_MS) return
    log.warn('address-conflict', { ip, services, mac, interface: interfaceName, action })
    const message = conflictText(this.#node, { ip, mac, interfaceName, action })
    for (const service of services) {
      const about = this.#reference(service)
      if (about !== undefined) events.emit(about, 'Warning', 'addressConflict', message)
    }
  }

  takeoverWaits({ node, times }: Report<'takeover-waits'>): void {
    this.#ports.log.warn('takeover-waits', { peer: node, times, because: 'it still answers on the wire' })
  }

  adapted({ node, patienceMs, jitterMs }: Report<'adapted'>): void {
    const [patience, jitter] = [Math.round(patienceMs), Math.round(jitterMs)]
    const now = this.#ports.clock.now()
    // It follows the network many times a minute; the metric shows how far.
    const news = now - (this.#adaptedAt.get(node) ?? Number.NEGATIVE_INFINITY) >= ADAPTED_AGAIN_MS
    if (news) this.#adaptedAt.set(node, now)
    this.#ports.log[news ? 'info' : 'debug']('patience-adapted', {
      peer: node,
      patienceMs: patience,
      jitterMs: jitter,
    })
  }

  notRealtime({ reason }: Report<'not-realtime'>): void {
    this.#notRealtime = reason
  }

  counters({ counters, membership }: Report<'counters'>): void {
    const { clock, metrics, log } = this.#ports
    for (const [reason, count] of Object.entries(counters.dropped)) {
      metrics.set('lodestone_reflex_dropped_total', { reason }, count)
    }
    metrics.set('lodestone_reflex_frames_lost_total', {}, counters.framesLost)
    metrics.set('lodestone_heartbeats_sent_total', {}, counters.heartbeatsSent)
    metrics.set('lodestone_heartbeats_received_total', {}, counters.heartbeatsReceived)
    metrics.set('lodestone_reflex_worst_lateness_seconds', {}, counters.worstLatenessMs / 1000)
    metrics.set('lodestone_wire_questions_total', {}, counters.questionsAsked)
    metrics.set('lodestone_takeovers_delayed_total', {}, counters.takeoversDelayed)
    metrics.set('lodestone_known_neighbours', {}, counters.askers)
    metrics.set('lodestone_voters', {}, membership.voters.length)
    metrics.set('lodestone_round', {}, membership.round)
    const patienceMs = Math.max(0, ...membership.peers.map(peer => peer.patienceMs))
    metrics.set('lodestone_worst_patience_seconds', {}, patienceMs / 1000)
    const worstMs = Math.round(counters.worstLatenessMs * 10) / 10
    if (this.#notRealtime !== undefined) {
      log.warn('no-realtime-scheduling', { reason: this.#notRealtime, worstMs })
      this.#notRealtime = undefined
    }
    if (counters.worstLatenessMs < LATE_MS || clock.now() - this.#lateAt < LATE_AGAIN_MS) return
    this.#lateAt = clock.now()
    log.warn('reflex-late', {
      worstMs,
      hint: 'real-time scheduling (CAP_SYS_NICE) lets the reflex thread go before others',
    })
  }

  #remember({ ip, services, owned, because, phases, atWallMs }: OwnedChange, at: string, why: string): void {
    const shown = phases === undefined ? null : phases
    this.#moves.unshift({ ip, services, owned, at, because: why, phases: shown })
    this.#moves.length = Math.min(this.#moves.length, MOVES_MAX)
    const node = 'node' in because ? because.node : null
    const key = [owned, because.type, node, phases?.confirmedAt].join(' ')
    const [last] = this.#groups
    if (last?.key === key && Math.abs(atWallMs - last.lastAt) <= GROUP_WITHIN_MS) {
      const { moves } = last
      last.lastAt = Math.max(last.lastAt, atWallMs)
      last.moves = {
        ...moves,
        count: moves.count + 1,
        ips: moves.ips.length < NAMED_MAX ? [...moves.ips, ip] : moves.ips,
        until: new Date(last.lastAt).toISOString(),
      }
      return
    }
    this.#groups.unshift({
      key,
      lastAt: atWallMs,
      moves: { owned, count: 1, ips: [ip], at, until: at, because: why, node, phases: shown },
    })
    this.#groups.length = Math.min(this.#groups.length, GROUPS_MAX)
  }

  /** Detection and confirmation once for each loss, the announcement once for each address. */
  #measure(because: Because, phases: FailoverPhases): void {
    const { metrics } = this.#ports
    const observe = (phase: string, ms: number) =>
      metrics.observe('lodestone_failover_phase_seconds', { phase }, Math.max(0, ms) / 1000)
    const { lastHeardAt, suspectedAt, confirmedAt, announcedAt } = phases
    observe('announcement', announcedAt - confirmedAt)
    const cause = `${'node' in because ? because.node : ''} ${confirmedAt}`
    if (cause === this.#confirmed) return
    this.#confirmed = cause
    if (lastHeardAt !== null) observe('detection', (suspectedAt ?? confirmedAt) - lastHeardAt)
    if (suspectedAt !== null) observe('confirmation', confirmedAt - suspectedAt)
  }

  #tell(key: string, { ip, interfaces, because, phases }: OwnedChange): void {
    const { events } = this.#ports
    const service = this.#serviceOf(key)
    const about = this.#reference(key)
    // One Event for a Service, not one for each of its addresses.
    if (service === undefined || about === undefined || service.facts.statusIps[0] !== ip) return
    if (interfaces.length > 0) {
      const how = phases === undefined ? '' : `: ${explainCause(because)} (${phasesText(phases)})`
      const message = `announcing from node "${this.#node}" with protocol "layer2"${how}`
      events.emit(about, 'Normal', 'nodeAssigned', message)
      return
    }
    const wanted = service.interfaces
    const missing = wanted === 'all' ? 'no interface that may announce' : `none of ${wanted.join(', ')}`
    events.emit(about, 'Warning', 'announceFailed', `node "${this.#node}" has ${missing} up with a carrier`)
  }

  #reference(key: string) {
    const service = this.#serviceOf(key)
    if (service === undefined) return undefined
    const { namespace, name, uid } = service.facts
    return { apiVersion: 'v1', kind: 'Service', namespace, name, ...(uid === undefined ? {} : { uid }) }
  }
}

/** `last heard 84 ms before the first announcement, suspected 43 ms, confirmed 2 ms`. */
export function phasesText({ lastHeardAt, suspectedAt, confirmedAt, announcedAt }: FailoverPhases): string {
  const before = (at: number) => `${Math.round(announcedAt - at)} ms`
  return [
    ...(lastHeardAt === null ? [] : [`last heard ${before(lastHeardAt)} before the first announcement`]),
    ...(suspectedAt === null ? [] : [`suspected ${before(suspectedAt)}`]),
    lastHeardAt === null && suspectedAt === null
      ? `confirmed ${before(confirmedAt)} before the first announcement`
      : `confirmed ${before(confirmedAt)}`,
  ].join(', ')
}

/** For people. */
export function explainCause(because: Because): string {
  switch (because.type) {
    case 'plan':
      return 'the plan says so'
    case 'interfaces':
      return 'an interface changed'
    case 'drain':
      return 'this speaker stops'
    case 'standing':
      return 'this node became entitled, or proved stable'
    case 'lost':
      return 'this node was voted down while it was away'
    case 'claim':
      return `node ${because.node} claimed it`
    case 'seen':
      return `${because.mac} announced it`
    case 'node':
      break
  }
  const { node, level, silentMs } = because
  const what = { up: 'is back', probation: 'is back, on probation', down: 'is silent', left: 'leaves' }[level]
  return `node ${node} ${what}${silentMs === null ? '' : `, last heard ${Math.round(silentMs)} ms before`}`
}

/** By address and Service: what `metallb_speaker_announced` counts. */
export function announcedLabels(service: string, node: string, ip: Ip) {
  return { service, protocol: 'layer2', node, ip }
}
