import assert from 'node:assert/strict'
import type { Ms } from '../ports/clock.ts'
import { type AfiSafi, sameAfiSafi, unicast } from '../wire/bgp/family.ts'
import { encodeMessage, KEEPALIVE_BYTES, type ReceivedMessage } from '../wire/bgp/message.ts'
import {
  ceaseWithText,
  describeNotification,
  hardReset,
  NOTIFICATION,
  type Notification,
  notification,
} from '../wire/bgp/notification.ts'
import { asOf, type Open } from '../wire/bgp/open.ts'
import { REFRESH } from '../wire/bgp/route-refresh.ts'
import { type RouteChanges, routeChanges } from '../wire/bgp/update.ts'
import type { Effect, Event } from './events.ts'
import { type Negotiated, negotiate, ourOpen } from './negotiation.ts'
import { type Connection, type Session, stateOf } from './session.ts'

/** Section 8.2.2: until the OPEN is there. */
export const OPEN_HOLD_MS = 240_000

const NEVER = Number.POSITIVE_INFINITY
const CEASE = NOTIFICATION.cease

/**
 * The finite state machine of RFC 4271 section 8, for one peer and all connections with it. What arrives is an event, what is to be
 * done is an effect; sockets, framing and the routes themselves are the driver's. Deterministic: the same session and event give the
 * same session and effects. The session is changed in place.
 */
export function step(s: Session, event: Event): Effect[] {
  const effects: Effect[] = []
  const before = stateOf(s)
  const run: Run = { event, effects, why: event.type }
  perform(s, run)
  if (event.type !== 'tick') onTick(s, run)
  const after = stateOf(s)
  if (after !== before) effects.push({ type: 'state', from: before, to: after, why: run.why })
  return effects
}

/** One step while it is under way. */
type Run = {
  readonly event: Event
  readonly effects: Effect[]
  /** What the change of state will say. */
  why: string
}

/** When the driver owes a tick; Infinity if never. */
export function nextDeadline(s: Session): Ms {
  let next = Math.min(s.connectRetryAt, s.idleHoldAt)
  for (const { delayOpenAt, holdAt, keepaliveAt, sendHoldAt } of s.connections) {
    next = Math.min(next, delayOpenAt, holdAt, keepaliveAt, sendHoldAt)
  }
  return next
}

function perform(s: Session, run: Run): void {
  const { event } = run
  switch (event.type) {
    case 'start':
      if (s.running) return
      s.running = true
      s.connectRetryCounter = 0
      s.idleHoldMs = s.config.idleHold.firstMs
      begin(s, run)
      return
    case 'stop':
      stop(s, event.how, event.text, run)
      return
    case 'reset':
      run.why = describeNotification(event.notification)
      for (const connection of s.connections) end(s, connection, event.notification, null, run)
      if (s.running && s.idleHoldAt === NEVER) idle(s, run)
      return
    case 'connected':
      if (!s.dialing) {
        // It came although it was called off.
        run.effects.push({ type: 'close', connection: event.connection })
        return
      }
      s.dialing = false
      opened(s, event.connection, 'outgoing', run)
      return
    case 'connect-failed':
      if (!s.dialing) return
      s.dialing = false
      s.lastError = event.why
      run.why = event.why
      // The RFC would go to Idle and hear nobody for a while; everybody listens on, and so do we.
      if (s.connections.length === 0) armConnectRetry(s, run)
      return
    case 'accepted':
      accepted(s, event.connection, run)
      return
    case 'tick':
      onTick(s, run)
      return
    case 'closed':
    case 'message':
    case 'malformed':
    case 'update-sent':
    case 'backlog': {
      const connection = s.connections.find(({ id }) => id === event.connection)
      // It was closed by us meanwhile.
      if (connection !== undefined) onConnection(s, connection, event, run)
      return
    }
  }
}

function onConnection(
  s: Session,
  connection: Connection,
  event: Extract<Event, { connection: number }>,
  run: Run,
): void {
  switch (event.type) {
    case 'closed':
      run.why = event.why
      onClosed(s, connection, event.why, run)
      return
    case 'malformed': {
      run.why = event.error.message
      // Before our OPEN it would be the first message that the peer gets (section 8.2.1.5).
      const answer = connection.phase === 'DelayOpen' ? null : event.error.notification
      fail(s, connection, answer, null, run)
      return
    }
    case 'update-sent':
      if (connection.phase === 'Established') armKeepalive(s, connection, run)
      return
    case 'backlog':
      if (!event.waiting) connection.sendHoldAt = NEVER
      else if (s.config.sendHoldMs > 0) connection.sendHoldAt = run.event.now + s.config.sendHoldMs
      return
    case 'message':
      onMessage(s, connection, event.message, run)
      return
    case 'connected':
    case 'accepted':
      return
  }
}

/** Idle's start: Connect, or Active for who waits. */
function begin(s: Session, run: Run): void {
  s.idleHoldAt = NEVER
  armConnectRetry(s, run)
  if (!s.config.passive) dial(s, run)
}

function dial(s: Session, run: Run): void {
  s.dialing = true
  run.effects.push({ type: 'connect' })
}

function stopDialing(s: Session, run: Run): void {
  if (!s.dialing) return
  s.dialing = false
  run.effects.push({ type: 'stop-connecting' })
}

function stop(s: Session, how: 'shutdown' | 'restart', text: string | undefined, run: Run): void {
  run.why = how
  s.running = false
  stopDialing(s, run)
  for (const connection of s.connections) {
    if (how === 'restart') {
      end(s, connection, null, null, run)
      continue
    }
    const cease =
      text === undefined
        ? notification(CEASE.code, CEASE.administrativeShutdown)
        : ceaseWithText(CEASE.administrativeShutdown, text)
    // Else a peer with the N bit would go on sending traffic here (RFC 8538 section 3.1).
    const final = connection.negotiated?.notificationsKeepRoutes ? hardReset(cease) : cease
    end(s, connection, final, null, run)
  }
  s.connectRetryCounter = 0
  s.connectRetryAt = NEVER
  s.idleHoldAt = NEVER
}

/** A connection of the peer's own. At most one of them at a time waits for its OPEN: the latest, for a peer starts anew by connecting. */
function accepted(s: Session, id: number, run: Run): void {
  if (!s.running || s.idleHoldAt !== NEVER) {
    run.effects.push({ type: 'close', connection: id })
    return
  }
  const rejected = notification(CEASE.code, CEASE.connectionCollision)
  for (const connection of s.connections) {
    if (connection.direction === 'incoming' && connection.phase !== 'Established') {
      end(s, connection, connection.phase === 'DelayOpen' ? null : rejected, null, run)
    }
  }
  // There is one of each kind already, one of them established: a third is none too many for a peer that means well.
  if (s.connections.length >= 2) {
    run.effects.push({ type: 'close', connection: id })
    return
  }
  opened(s, id, 'incoming', run)
}

function opened(s: Session, id: number, direction: Connection['direction'], run: Run): void {
  const connection: Connection = {
    id,
    direction,
    phase: 'DelayOpen',
    theirs: null,
    negotiated: null,
    delayOpenAt: NEVER,
    holdAt: NEVER,
    keepaliveAt: NEVER,
    sendHoldAt: NEVER,
    establishedAt: NEVER,
    disabled: [],
  }
  s.connections = [...s.connections, connection]
  s.connectRetryAt = NEVER
  run.why = direction === 'outgoing' ? 'connected' : 'the peer has connected'
  if (s.config.delayOpenMs > 0) connection.delayOpenAt = run.event.now + s.config.delayOpenMs
  else sendOpen(s, connection, run)
}

function sendOpen(s: Session, connection: Connection, run: Run): void {
  connection.delayOpenAt = NEVER
  connection.phase = 'OpenSent'
  connection.holdAt = run.event.now + OPEN_HOLD_MS
  const bytes = encodeMessage(ourOpen(s.config, s.restarting))
  run.effects.push({ type: 'send', connection: connection.id, bytes })
}

function onMessage(s: Session, connection: Connection, message: ReceivedMessage, run: Run): void {
  if (message.type === 'notification') {
    run.why = `received ${describeNotification(message)}`
    fail(s, connection, null, message, run)
    return
  }
  switch (connection.phase) {
    case 'DelayOpen':
    case 'OpenSent':
      if (message.type === 'open') onOpen(s, connection, message, run)
      else unexpected(s, connection, message, run)
      return
    case 'OpenConfirm':
      if (message.type === 'keepalive') establish(s, connection, run)
      else unexpected(s, connection, message, run)
      return
    case 'Established':
      onRoutes(s, connection, message, run)
      return
  }
}

/** RFC 6608 tells in which state. */
function unexpected(s: Session, connection: Connection, message: ReceivedMessage, run: Run): void {
  const { code, inOpenSent, inOpenConfirm, inEstablished } = NOTIFICATION.finiteStateMachine
  const { phase } = connection
  run.why = `${message.type} in ${phase}`
  const subcode = {
    DelayOpen: 0,
    OpenSent: inOpenSent,
    OpenConfirm: inOpenConfirm,
    Established: inEstablished,
  }[phase]
  fail(s, connection, phase === 'DelayOpen' ? null : notification(code, subcode), null, run)
}

function onOpen(s: Session, connection: Connection, open: Open, run: Run): void {
  // While DelayOpen runs the peer is answered with our OPEN first (20), also if its own is then refused.
  if (connection.phase === 'DelayOpen') sendOpen(s, connection, run)
  const settled = negotiate(s.config, open)
  if ('type' in settled) {
    run.why = `${describeNotification(settled)} (AS ${asOf(open)}, identifier ${open.bgpIdentifier})`
    fail(s, connection, settled, null, run)
    return
  }
  connection.theirs = open
  connection.negotiated = settled
  if (!survivesCollision(s, connection, settled, run)) return
  run.why = 'received OPEN'
  connection.phase = 'OpenConfirm'
  run.effects.push({ type: 'send', connection: connection.id, bytes: KEEPALIVE_BYTES })
  armHold(connection, run)
  armKeepalive(s, connection, run)
}

/** Section 6.8: at most one connection gets past OpenSent. False if it is not this one. */
function survivesCollision(s: Session, fresh: Connection, settled: Negotiated, run: Run): boolean {
  const other = s.connections.find(each => each !== fresh && each.negotiated !== null)
  if (other === undefined) return true
  const dump = notification(CEASE.code, CEASE.connectionCollision)
  if (other.phase === 'Established') {
    // RFC 4724 section 5: a peer that restarts may have lost the old connection without a word.
    if (other.negotiated?.gracefulRestart === null || other.negotiated?.gracefulRestart === undefined) {
      run.why = 'there is an established connection'
      end(s, fresh, dump, null, run)
      return false
    }
    run.why = 'the peer has begun anew'
    end(s, other, null, null, run)
    return true
  }
  const ours = { identifier: s.config.localIdentifier, as: s.config.localAs }
  const winner = isHigher(ours, { identifier: settled.peerIdentifier, as: settled.peerAs })
    ? 'outgoing'
    : 'incoming'
  const loser = fresh.direction === winner ? other : fresh
  run.why = 'collision of two connections'
  end(s, loser, dump, null, run)
  return loser !== fresh
}

/** RFC 6286 section 2.3: the connection of the side with the higher identifier stays, of equal ones that of the higher AS. */
function isHigher(a: Side, b: Side): boolean {
  const [left, right] = [identifierValue(a.identifier), identifierValue(b.identifier)]
  return left === right ? a.as > b.as : left > right
}

type Side = { readonly identifier: string; readonly as: number }

function identifierValue(identifier: string): number {
  return identifier.split('.').reduce((value, part) => value * 256 + Number(part), 0)
}

function establish(s: Session, connection: Connection, run: Run): void {
  const { negotiated } = connection
  assert(negotiated !== null, 'OpenConfirm without an OPEN')
  run.why = 'received KEEPALIVE'
  connection.phase = 'Established'
  connection.establishedAt = run.event.now
  armHold(connection, run)
  stopDialing(s, run)
  s.restarting = false
  s.lastError = null
  run.effects.push({ type: 'up', connection: connection.id, negotiated })
}

function onRoutes(s: Session, connection: Connection, message: ReceivedMessage, run: Run): void {
  const { negotiated } = connection
  assert(negotiated !== null, 'Established without an OPEN')
  const { id } = connection
  const carried = (family: AfiSafi): boolean =>
    negotiated.families.some(each => sameAfiSafi(unicast(each), family)) &&
    !connection.disabled.some(each => sameAfiSafi(each, family))
  switch (message.type) {
    case 'keepalive':
      armHold(connection, run)
      return
    case 'update': {
      armHold(connection, run)
      const changes = carriedChanges(routeChanges(message), carried)
      connection.disabled.push(...changes.disabled)
      run.effects.push({ type: 'routes', connection: id, changes, problems: message.problems })
      return
    }
    case 'route-refresh':
      // RFC 2918 section 4: unless both have said that they know it, and for families that are not carried, it is ignored.
      if (negotiated.routeRefresh && message.subtype === REFRESH.request && carried(message.family)) {
        run.effects.push({ type: 'refresh', connection: id, family: message.family })
      }
      return
    case 'open':
    case 'notification':
      unexpected(s, connection, message, run)
      return
  }
}

function carriedChanges(changes: RouteChanges, carried: (family: AfiSafi) => boolean): RouteChanges {
  const kept = { IPv4: carried(unicast('IPv4')), IPv6: carried(unicast('IPv6')) }
  const isKept = (prefix: string): boolean => (prefix.includes(':') ? kept.IPv6 : kept.IPv4)
  const { announced, withdrawn, disabled, endOfRib } = changes
  return {
    announced: announced.filter(isKept),
    withdrawn: withdrawn.filter(isKept),
    disabled: disabled.filter(carried),
    endOfRib: endOfRib !== null && carried(endOfRib) ? endOfRib : null,
  }
}

function onClosed(s: Session, connection: Connection, why: string, run: Run): void {
  // Section 8.2.2, OpenSent with event 18: Active, and no failure that would be damped. So does Connect while DelayOpen runs.
  const active =
    connection.phase === 'OpenSent' ||
    (connection.phase === 'DelayOpen' && connection.direction === 'outgoing')
  if (!active) {
    fail(s, connection, null, null, run)
    return
  }
  drop(s, connection)
  s.lastError = why
  if (s.connections.length === 0) armConnectRetry(s, run)
}

/** The machine of one connection goes to Idle; if there is another connection, that goes on. */
function fail(
  s: Session,
  connection: Connection,
  sent: Notification | null,
  received: Notification | null,
  run: Run,
): void {
  const now = run.event.now
  // A session that has long been up is no oscillation.
  if (now - connection.establishedAt >= s.config.idleHold.forgetAfterMs)
    s.idleHoldMs = s.config.idleHold.firstMs
  end(s, connection, sent, received, run)
  if (s.connections.length === 0) idle(s, run)
}

/** Idle with a pause (events 6 and 13). */
function idle(s: Session, run: Run): void {
  stopDialing(s, run)
  s.connectRetryCounter++
  s.connectRetryAt = NEVER
  s.idleHoldAt = run.event.now + jittered(s.idleHoldMs, run)
  s.idleHoldMs = Math.min(s.config.idleHold.maxMs, 2 * s.idleHoldMs)
}

function end(
  s: Session,
  connection: Connection,
  sent: Notification | null,
  received: Notification | null,
  run: Run,
): void {
  const { id, phase, negotiated } = connection
  if (sent !== null && phase !== 'DelayOpen')
    run.effects.push({ type: 'send', connection: id, bytes: encodeMessage(sent) })
  // The driver knows already that it is gone.
  const known = run.event.type === 'closed' && run.event.connection === id
  if (!known) run.effects.push({ type: 'close', connection: id })
  drop(s, connection)
  s.lastError = run.why
  if (phase !== 'Established') return
  const kept = negotiated !== null && keepsRoutes(s, negotiated, sent ?? received)
  run.effects.push({
    type: 'down',
    connection: id,
    why: run.why,
    sent,
    received,
    routes: kept ? 'kept' : 'dropped',
  })
}

/** Whether the peer keeps our routes for our restart time: RFC 4724 section 4.2, RFC 8538 section 4. */
function keepsRoutes(s: Session, negotiated: Negotiated, last: Notification | null): boolean {
  if (s.config.gracefulRestart === null || negotiated.gracefulRestart === null) return false
  if (last === null) return true
  return negotiated.notificationsKeepRoutes && !(last.code === CEASE.code && last.subcode === CEASE.hardReset)
}

function drop(s: Session, connection: Connection): void {
  s.connections = s.connections.filter(each => each !== connection)
}

function onTick(s: Session, run: Run): void {
  const { now } = run.event
  for (const connection of s.connections) {
    if (s.connections.includes(connection)) onConnectionTimers(s, connection, run)
  }
  if (now >= s.idleHoldAt) {
    run.why = 'the pause is over'
    begin(s, run)
  } else if (now >= s.connectRetryAt) {
    run.why = 'connect retry timer'
    armConnectRetry(s, run)
    stopDialing(s, run)
    dial(s, run)
  }
}

function onConnectionTimers(s: Session, connection: Connection, run: Run): void {
  const { now } = run.event
  if (now >= connection.holdAt) {
    run.why = 'hold timer expired'
    fail(s, connection, notification(NOTIFICATION.holdTimerExpired.code), null, run)
    return
  }
  if (now >= connection.sendHoldAt) {
    // A NOTIFICATION would wait behind all that the peer does not read; the RFC has it tried nevertheless.
    run.why = 'send hold timer expired'
    fail(s, connection, notification(NOTIFICATION.sendHoldTimerExpired.code), null, run)
    return
  }
  if (now >= connection.delayOpenAt) {
    run.why = 'delay open timer'
    sendOpen(s, connection, run)
  }
  if (now >= connection.keepaliveAt) {
    run.effects.push({ type: 'send', connection: connection.id, bytes: KEEPALIVE_BYTES })
    armKeepalive(s, connection, run)
  }
}

/** Who waits for the peer never connects, so there is nothing to try again. */
function armConnectRetry(s: Session, run: Run): void {
  s.connectRetryAt = s.config.passive ? NEVER : run.event.now + jittered(s.config.connectRetryMs, run)
}

function armHold(connection: Connection, run: Run): void {
  const holdTimeS = connection.negotiated?.holdTimeS ?? 0
  connection.holdAt = holdTimeS === 0 ? NEVER : run.event.now + 1000 * holdTimeS
}

function armKeepalive(s: Session, connection: Connection, run: Run): void {
  const holdTimeS = connection.negotiated?.holdTimeS ?? 0
  const third = (1000 * holdTimeS) / 3
  const interval = Math.min(third, s.config.keepaliveMs ?? third)
  connection.keepaliveAt = holdTimeS === 0 ? NEVER : run.event.now + jittered(interval, run)
}

/** Section 10: 75 to 100 % of it. */
function jittered(ms: Ms, run: Run): Ms {
  return ms * (0.75 + 0.25 * run.event.random)
}
