import assert from 'node:assert/strict'
import type { Ms } from '../ports/clock.ts'
import type { BfdKey, BfdState } from '../wire/bfd.ts'

/** How one session is to be run. Times in microseconds, as on the wire, 1 to 2^32 - 1. */
export type BfdConfig = {
  /** How often we would send at most. Until the session is up it is a second at least (RFC 5880 section 6.8.3). */
  readonly desiredMinTxUs: number
  /** How often we can receive. */
  readonly requiredMinRxUs: number
  /** 1 to 255: after so many missing packets the peer takes us for dead. */
  readonly detectMultiplier: number
  /** How often we loop echo packets of the peer; 0: not at all. */
  readonly requiredMinEchoRxUs: number
  /** How often we send echo packets of our own, if the peer loops them; null: never. Not over several hops (RFC 5883 section 3). */
  readonly echoIntervalUs: number | null
  /** Wait for the peer to speak first (RFC 5880 section 6.1). One of both has to. */
  readonly passive: boolean
  /** null: no authentication, and none is accepted. */
  readonly key: BfdKey | null
}

/**
 * One session. The names are those of RFC 5880 section 6.8.1 without the prefix; the machine changes it in place.
 */
export type BfdSession = {
  config: BfdConfig
  readonly localDiscriminator: number

  state: BfdState
  /** See DIAGNOSTIC of the codec. */
  localDiagnostic: number
  remoteState: BfdState
  remoteDiagnostic: number
  /** 0: the peer has not been heard for a detection time. */
  remoteDiscriminator: number
  remoteDemandMode: boolean
  /** 1 until the peer has said something, so that it does not slow us down. */
  remoteMinRxUs: number
  remoteMinEchoRxUs: number
  remoteDesiredMinTxUs: number
  remoteDetectMultiplier: number

  /** What our packets say. */
  desiredMinTxUs: number
  requiredMinRxUs: number
  /** What we go by: until the peer has confirmed a change for the worse, that is what was said before (section 6.8.3). */
  activeTxUs: number
  activeRxUs: number

  /** A poll sequence of ours waits for its F. */
  polling: boolean
  /** Something changed again since the poll began, so another has to follow it (section 6.5). */
  pollAgain: boolean

  transmitSequence: number
  /** null: any number is accepted next. */
  receiveSequence: number | null

  /** When a packet was sent last, Final ones not counted. */
  sentAt: Ms
  /** The share of the interval that passes until the next one, 0.75 to 1 (section 6.8.7). */
  share: number
  /** When the peer was last heard; null: never, or forgotten. */
  heardAt: Ms | null

  /** Of all echo packets of this session, so that none of before an outage counts after it. */
  echoSequence: number
  /** null: none are sent. */
  echo: {
    /** Of the one sent last. */
    sequence: number
    /** Of the one that came back last. */
    returned: number
    sentAt: Ms
    share: number
    /** When one came back last, or when we began to send them. */
    returnedAt: Ms
  } | null

  /** In AdminDown: when the peer has had time enough to learn it; null once that was told. */
  finishAt: Ms | null
}

/** RFC 5880 section 6.8.3: not faster than this until the session is up, and what is received at least while echo is active. */
export const SLOW_US = 1_000_000

/**
 * A session in Down. An active one owes its first packet at once.
 * @param discriminator ours, not 0, of no other session (section 6.8.1)
 * @param sequence a random number of 32 bits, with which the authenticated packets begin
 */
export function createBfd(
  config: BfdConfig,
  { discriminator, sequence }: { readonly discriminator: number; readonly sequence: number },
): BfdSession {
  assertConfig(config)
  assert(discriminator > 0 && discriminator <= 0xffffffff, `a discriminator of ${discriminator}`)
  return {
    config,
    localDiscriminator: discriminator,
    state: 'Down',
    localDiagnostic: 0,
    remoteState: 'Down',
    remoteDiagnostic: 0,
    remoteDiscriminator: 0,
    remoteDemandMode: false,
    remoteMinRxUs: 1,
    remoteMinEchoRxUs: 0,
    remoteDesiredMinTxUs: 0,
    remoteDetectMultiplier: 0,
    desiredMinTxUs: Math.max(SLOW_US, config.desiredMinTxUs),
    requiredMinRxUs: config.requiredMinRxUs,
    activeTxUs: Math.max(SLOW_US, config.desiredMinTxUs),
    activeRxUs: config.requiredMinRxUs,
    polling: false,
    pollAgain: false,
    transmitSequence: sequence >>> 0,
    receiveSequence: null,
    sentAt: Number.NEGATIVE_INFINITY,
    share: 1,
    heardAt: null,
    echoSequence: 0,
    echo: null,
    finishAt: null,
  }
}

export function assertConfig(config: BfdConfig): void {
  const { desiredMinTxUs, requiredMinRxUs, detectMultiplier } = config
  for (const interval of [desiredMinTxUs, requiredMinRxUs, config.echoIntervalUs ?? 1]) {
    assert(interval >= 1 && interval <= 0xffffffff, `an interval of ${interval} us`)
  }
  assert(detectMultiplier >= 1 && detectMultiplier <= 255, `a detect multiplier of ${detectMultiplier}`)
}

/** The interval between our packets before jitter; Infinity: the peer wants none (section 6.8.7). */
export function transmitIntervalUs(s: BfdSession): number {
  return s.remoteMinRxUs === 0 ? Number.POSITIVE_INFINITY : Math.max(s.activeTxUs, s.remoteMinRxUs)
}

/** After so long without a packet the peer is dead (section 6.8.4); 0 while it has never been heard. */
export function detectionTimeUs(s: BfdSession): number {
  return s.remoteDetectMultiplier * Math.max(s.activeRxUs, s.remoteDesiredMinTxUs)
}

/** The interval between echo packets before jitter (section 6.8.9): never faster than the peer can. */
export function echoIntervalUs(s: BfdSession): number {
  return Math.max(s.config.echoIntervalUs ?? 0, s.remoteMinEchoRxUs)
}

/** Whether the peer has asked for silence, and gets it (section 6.6). */
export function demandIsActive(s: BfdSession): boolean {
  return s.remoteDemandMode && s.state === 'Up' && s.remoteState === 'Up'
}
