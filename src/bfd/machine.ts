import type { Ms } from '../ports/clock.ts'
import {
  type BfdControl,
  type BfdState,
  bfdControlIsSigned,
  DIAGNOSTIC,
  encodeBfdControl,
  signBfdControl,
} from '../wire/bfd.ts'
import type { BfdEcho } from '../wire/bfd-echo.ts'
import {
  assertConfig,
  type BfdConfig,
  type BfdSession,
  demandIsActive,
  detectionTimeUs,
  echoIntervalUs,
  SLOW_US,
  transmitIntervalUs,
} from './session.ts'

/**
 * One BFD session as a pure step (RFC 5880 section 6.8): asynchronous mode, a peer's demand mode answered, echo, authentication.
 * Whose session a packet is, by its discriminator or addresses, and the rules for addresses, ports and TTL are the driver's: see
 * transport.ts.
 *
 *                              +--+
 *                              |  | UP, ADMIN DOWN, TIMER
 *                              |  V
 *                      DOWN  +------+  INIT
 *               +------------|      |------------+
 *               |            | DOWN |            |
 *               |  +-------->|      |<--------+  |
 *               |  |         +------+         |  |
 *               |  | ADMIN DOWN,  ADMIN DOWN, |  |
 *               |  | TIMER             DOWN,  |  |
 *               V  |                   TIMER  |  V
 *             +------+                      +------+
 *        +----|      |                      |      |----+
 *    DOWN|    | INIT |--------------------->|  UP  |    |INIT, UP
 *        +--->|      | INIT, UP             |      |<---+
 *             +------+                      +------+
 */
export type Event = (
  | {
      readonly type: 'packet'
      readonly packet: BfdControl
      /** What it was decoded from: the digest covers it. */
      readonly bytes: Uint8Array
    }
  /** An echo packet of ours that came back. */
  | { readonly type: 'echo'; readonly echo: BfdEcho }
  | { readonly type: 'tick' }
  | { readonly type: 'configure'; readonly config: BfdConfig }
  /** Takes the session down without a failure: the peer is told so, until 'finished' and beyond. */
  | { readonly type: 'disable' }
  | { readonly type: 'enable' }
) & {
  readonly now: Ms
  /** Uniform in [0, 1), fresh with each event: the jitter of what it sends. */
  readonly random: number
}

export type Drop =
  | 'not-our-discriminator'
  | 'not-authentic'
  /** Its sequence number was there before, or is too far ahead. */
  | 'replayed'
  /** We are AdminDown. */
  | 'disabled'
  /** An echo packet of another session, of one before, or one that came back already. */
  | 'unexpected-echo'

export type Effect =
  | { readonly type: 'send'; readonly bytes: Uint8Array }
  | { readonly type: 'send-echo'; readonly echo: BfdEcho }
  | {
      readonly type: 'state-changed'
      readonly from: BfdState
      readonly to: BfdState
      /** Why, as our packets say from now on. */
      readonly diagnostic: number
      /**
       * The way to the peer is broken: who depends on it acts at once. False when either side was disabled by its people, which says
       * nothing about the way (RFC 5882 section 3.2).
       */
      readonly failure: boolean
    }
  /** After 'disable': the peer had a detection time to hear of it, the session may go. */
  | { readonly type: 'finished' }
  | { readonly type: 'dropped'; readonly why: Drop }

/** Our state, then what the peer says. RFC 5880 section 6.8.6. AdminDown is left by 'enable' alone. */
export const NEXT = {
  Down: { AdminDown: 'Down', Down: 'Init', Init: 'Up', Up: 'Down' },
  Init: { AdminDown: 'Down', Down: 'Init', Init: 'Up', Up: 'Up' },
  Up: { AdminDown: 'Down', Down: 'Down', Init: 'Up', Up: 'Up' },
} as const satisfies Record<'Down' | 'Init' | 'Up', Record<BfdState, BfdState>>

/** Deterministic: the same session and event give the same session and effects. The session is changed in place. */
export function step(s: BfdSession, event: Event): Effect[] {
  const effects: Effect[] = []
  switch (event.type) {
    case 'packet':
      onPacket(s, event, effects)
      break
    case 'echo':
      onEcho(s, event.echo, event.now, effects)
      break
    case 'configure':
      onConfigure(s, event.config)
      break
    case 'disable':
      if (s.state !== 'AdminDown') {
        moveTo(s, 'AdminDown', DIAGNOSTIC.administrativelyDown, false, event, effects)
        // The peer goes by our interval and by what it can receive, whichever is longer (section 6.8.16).
        const interval = Math.max(s.activeTxUs, s.remoteMinRxUs)
        s.finishAt = event.now + (s.config.detectMultiplier * interval) / 1000
      }
      break
    case 'enable':
      if (s.state === 'AdminDown') {
        s.finishAt = null
        moveTo(s, 'Down', DIAGNOSTIC.none, false, event, effects)
      }
      break
    case 'tick':
      break
  }
  onTime(s, event, effects)
  return effects
}

/** When the driver owes a tick; Infinity if never. Asked after every event: whatever the peer says may change it. */
export function nextDeadline(s: BfdSession): Ms {
  return Math.min(
    transmitAt(s),
    detectAt(s),
    forgetSequenceAt(s),
    echoAt(s),
    echoFailsAt(s),
    s.finishAt ?? Number.POSITIVE_INFINITY,
  )
}

/** Section 6.8.6, from the session's discriminator on. */
function onPacket(s: BfdSession, event: Extract<Event, { type: 'packet' }>, effects: Effect[]): void {
  const { packet, now } = event
  // Looked at before what has expired: when this process is late, a packet that waited in the socket still shows the peer alive.
  if (packet.yourDiscriminator !== 0 && packet.yourDiscriminator !== s.localDiscriminator) {
    effects.push({ type: 'dropped', why: 'not-our-discriminator' })
    return
  }
  const wrong = authenticationProblem(s, event)
  if (wrong !== null) {
    effects.push({ type: 'dropped', why: wrong })
    return
  }
  s.remoteDiscriminator = packet.myDiscriminator
  s.remoteState = packet.state
  s.remoteDiagnostic = packet.diagnostic
  s.remoteDemandMode = packet.demand
  s.remoteMinRxUs = packet.requiredMinRxUs
  s.remoteMinEchoRxUs = packet.requiredMinEchoRxUs
  s.remoteDesiredMinTxUs = packet.desiredMinTxUs
  s.remoteDetectMultiplier = packet.detectMultiplier
  s.heardAt = now
  if (packet.final && s.polling) finishPoll(s)
  if (s.state === 'AdminDown') {
    effects.push({ type: 'dropped', why: 'disabled' })
    return
  }
  const next = NEXT[s.state][packet.state]
  if (next !== s.state) {
    const diagnostic = next === 'Down' ? DIAGNOSTIC.neighborDown : DIAGNOSTIC.none
    moveTo(s, next, diagnostic, next === 'Down' && packet.state !== 'AdminDown', event, effects)
  }
  updateEcho(s, event)
  if (packet.poll) transmit(s, event, effects, true)
}

/** Section 6.7: null if the packet may be believed. Remembers its sequence number if so. */
function authenticationProblem(s: BfdSession, event: Extract<Event, { type: 'packet' }>): Drop | null {
  const { packet, bytes } = event
  const { key, detectMultiplier } = s.config
  if (key === null) return packet.authentication === null ? null : 'not-authentic'
  if (!bfdControlIsSigned(bytes, packet, key)) return 'not-authentic'
  const { authentication } = packet
  if (authentication === null || authentication.type === 'simple-password') return null
  if (s.receiveSequence !== null) {
    const least = authentication.type.startsWith('meticulous') ? 1 : 0
    const ahead = (authentication.sequence - s.receiveSequence) >>> 0
    if (ahead < least || ahead > 3 * detectMultiplier) return 'replayed'
  }
  s.receiveSequence = authentication.sequence
  return null
}

function onEcho(s: BfdSession, echo: BfdEcho, now: Ms, effects: Effect[]): void {
  const ours = s.echo
  if (
    ours === null ||
    echo.discriminator !== s.localDiscriminator ||
    ((echo.sequence - ours.returned) | 0) <= 0 ||
    ((ours.sequence - echo.sequence) | 0) < 0
  ) {
    effects.push({ type: 'dropped', why: 'unexpected-echo' })
    return
  }
  ours.returned = echo.sequence
  ours.returnedAt = now
}

function onConfigure(s: BfdSession, config: BfdConfig): void {
  assertConfig(config)
  // Another kind of authentication begins with numbers of its own.
  if (config.key?.type !== s.config.key?.type) s.receiveSequence = null
  s.config = config
  if (s.echo !== null && config.echoIntervalUs === null) s.echo = null
  announceIntervals(s)
}

/** What is due, in the order in which it would have fallen due in a process that is never late: silence first. */
function onTime(s: BfdSession, event: Event, effects: Effect[]): void {
  const { now } = event
  expire(s, event, effects)
  if (s.finishAt !== null && now >= s.finishAt) {
    s.finishAt = null
    effects.push({ type: 'finished' })
  }
  updateEcho(s, event)
  if (now >= transmitAt(s)) transmit(s, event, effects, false)
  const { echo } = s
  if (echo !== null && now >= echoAt(s)) {
    s.echoSequence = (s.echoSequence + 1) >>> 0
    echo.sequence = s.echoSequence
    echo.sentAt = now
    echo.share = shareOf(s, event.random)
    effects.push({
      type: 'send-echo',
      echo: { discriminator: s.localDiscriminator, sequence: echo.sequence },
    })
  }
}

function expire(s: BfdSession, event: Event, effects: Effect[]): void {
  const { now } = event
  // First, for without echo packets the detection time is shorter.
  if (now >= echoFailsAt(s)) moveTo(s, 'Down', DIAGNOSTIC.echoFailed, true, event, effects)
  if (now >= forgetSequenceAt(s)) {
    s.receiveSequence = null
    s.heardAt = null
  }
  if (now >= detectAt(s)) {
    // Section 6.8.1: so that a peer that starts anew with another discriminator is listened to.
    s.remoteDiscriminator = 0
    if (s.receiveSequence === null) s.heardAt = null
    if (s.state === 'Init' || s.state === 'Up') {
      moveTo(s, 'Down', DIAGNOSTIC.detectionTimeExpired, true, event, effects)
    }
  }
}

/** The peer learns of it at once, not with the next packet that is due (section 6.8.7). */
function moveTo(
  s: BfdSession,
  to: BfdState,
  diagnostic: number,
  failure: boolean,
  event: Event,
  effects: Effect[],
): void {
  const from = s.state
  s.state = to
  s.localDiagnostic = diagnostic
  if (to !== 'Up') s.echo = null
  announceIntervals(s)
  effects.push({ type: 'state-changed', from, to, diagnostic, failure: failure && from === 'Up' })
  if (maySend(s)) transmit(s, event, effects, false)
}

/**
 * What our packets are to say from now on, section 6.8.3. Of a session that is up a change asks for a poll sequence; what would make
 * either side miss packets waits for its end, everything else holds at once.
 */
function announceIntervals(s: BfdSession): void {
  const up = s.state === 'Up'
  const desired = up ? s.config.desiredMinTxUs : Math.max(SLOW_US, s.config.desiredMinTxUs)
  // Echo packets do the watching, so that the others may be few.
  const required = s.echo === null ? s.config.requiredMinRxUs : Math.max(SLOW_US, s.config.requiredMinRxUs)
  if (desired === s.desiredMinTxUs && required === s.requiredMinRxUs) return
  s.desiredMinTxUs = desired
  s.requiredMinRxUs = required
  if (!up || desired < s.activeTxUs) s.activeTxUs = desired
  if (!up || required > s.activeRxUs) s.activeRxUs = required
  if (!up) {
    s.polling = false
    s.pollAgain = false
  } else if (s.polling) s.pollAgain = true
  else s.polling = true
}

function finishPoll(s: BfdSession): void {
  s.polling = s.pollAgain
  if (s.pollAgain) {
    s.pollAgain = false
    return
  }
  s.activeTxUs = s.desiredMinTxUs
  s.activeRxUs = s.requiredMinRxUs
}

/** Sections 6.4 and 6.8.8: echo packets are sent in Up only, and only if the peer says that it loops them. */
function updateEcho(s: BfdSession, event: Event): void {
  const wanted = s.state === 'Up' && s.config.echoIntervalUs !== null && s.remoteMinEchoRxUs !== 0
  if (wanted === (s.echo !== null)) return
  const fresh = {
    sequence: 0,
    returned: 0,
    sentAt: Number.NEGATIVE_INFINITY,
    share: 1,
    returnedAt: event.now,
  }
  s.echo = wanted ? fresh : null
  announceIntervals(s)
}

/** Section 6.8.7. */
function maySend(s: BfdSession): boolean {
  if (s.config.passive && s.remoteDiscriminator === 0) return false
  if (s.remoteMinRxUs === 0) return false
  return !demandIsActive(s) || s.polling
}

function transmitAt(s: BfdSession): Ms {
  if (!maySend(s)) return Number.POSITIVE_INFINITY
  return s.sentAt + (s.share * transmitIntervalUs(s)) / 1000
}

function detectAt(s: BfdSession): Ms {
  if (s.heardAt === null || s.remoteDiscriminator === 0) return Number.POSITIVE_INFINITY
  return s.heardAt + detectionTimeUs(s) / 1000
}

/** Section 6.8.1, AuthSeqKnown: twice the detection time. */
function forgetSequenceAt(s: BfdSession): Ms {
  if (s.heardAt === null || s.receiveSequence === null) return Number.POSITIVE_INFINITY
  return s.heardAt + (2 * detectionTimeUs(s)) / 1000
}

function echoAt(s: BfdSession): Ms {
  if (s.echo === null) return Number.POSITIVE_INFINITY
  return s.echo.sentAt + (s.echo.share * echoIntervalUs(s)) / 1000
}

function echoFailsAt(s: BfdSession): Ms {
  if (s.echo === null) return Number.POSITIVE_INFINITY
  return s.echo.returnedAt + (s.config.detectMultiplier * echoIntervalUs(s)) / 1000
}

/** Section 6.8.7: 75 to 100 % of the interval; with a multiplier of 1, where nothing may come late, 75 to 90 %. */
function shareOf(s: BfdSession, random: number): number {
  return 0.75 + random * (s.config.detectMultiplier === 1 ? 0.15 : 0.25)
}

/** @param final the answer to a poll, which has its own time and never polls itself (section 6.5) */
function transmit(s: BfdSession, event: Event, effects: Effect[], final: boolean): void {
  const { key } = s.config
  const packet: BfdControl = {
    diagnostic: s.localDiagnostic,
    state: s.state,
    poll: s.polling && !final,
    final,
    // A process whose BFD dies with it does not claim otherwise.
    controlPlaneIndependent: false,
    demand: false,
    detectMultiplier: s.config.detectMultiplier,
    myDiscriminator: s.localDiscriminator,
    yourDiscriminator: s.remoteDiscriminator,
    desiredMinTxUs: s.desiredMinTxUs,
    requiredMinRxUs: s.requiredMinRxUs,
    requiredMinEchoRxUs: s.config.requiredMinEchoRxUs,
    authentication: null,
  }
  const bytes = key === null ? encodeBfdControl(packet) : signBfdControl(packet, key, s.transmitSequence)
  s.transmitSequence = (s.transmitSequence + 1) >>> 0
  if (!final) {
    s.sentAt = event.now
    s.share = shareOf(s, event.random)
  }
  effects.push({ type: 'send', bytes })
}
