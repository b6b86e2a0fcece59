import type { Ms } from '../ports/clock.ts'
import type { AfiSafi } from '../wire/bgp/family.ts'
import type { Notification } from '../wire/bgp/notification.ts'
import type { Open } from '../wire/bgp/open.ts'
import type { Negotiated, OpenConfig } from './negotiation.ts'

/** One peer, as the machine is to treat it. */
export type SessionConfig = OpenConfig & {
  /** At most the hold time; null: a third of it (RFC 4271 section 10). */
  readonly keepaliveMs: Ms | null
  /** Between attempts to connect, and how long one may take. */
  readonly connectRetryMs: Ms
  /** How long to wait for the peer's OPEN before sending ours; 0: not at all (section 8.1.1, DelayOpen). */
  readonly delayOpenMs: Ms
  /** Wait for the peer to connect. */
  readonly passive: boolean
  /** The pause after a failure doubles from one failure to the next (section 8.1.1, DampPeerOscillations). */
  readonly idleHold: {
    readonly firstMs: Ms
    readonly maxMs: Ms
    /** A session that was up for so long is no oscillation: the next pause is the first again. */
    readonly forgetAfterMs: Ms
  }
  /** How long a peer may read nothing while bytes wait for it (RFC 9687); 0: for ever. */
  readonly sendHoldMs: Ms
}

/** Whatever has to be told apart in section 8.2.2. */
export type SessionState = 'Idle' | 'Connect' | 'Active' | 'OpenSent' | 'OpenConfirm' | 'Established'

/** A TCP connection with the peer. Timers are points in time; Infinity: not running. */
export type Connection = {
  /** The driver's name for it, never used again. */
  readonly id: number
  readonly direction: 'outgoing' | 'incoming'
  /** 'DelayOpen': it waits for the peer's OPEN before it sends ours, which the RFC counts as Connect or Active. */
  phase: 'DelayOpen' | 'OpenSent' | 'OpenConfirm' | 'Established'
  theirs: Open | null
  negotiated: Negotiated | null
  delayOpenAt: Ms
  holdAt: Ms
  keepaliveAt: Ms
  sendHoldAt: Ms
  establishedAt: Ms
  /** Whose routes are ignored, because one of its attributes was malformed (RFC 7606 section 2, AFI/SAFI disable). */
  readonly disabled: AfiSafi[]
}

/** One peer. The machine changes it in place. */
export type Session = {
  readonly config: SessionConfig
  /** Wanted by those who run it. */
  running: boolean
  /** One, or two until it is clear which (section 6.8). */
  connections: readonly Connection[]
  /** The driver is connecting. */
  dialing: boolean
  connectRetryAt: Ms
  /** Idle until then, because of a failure. */
  idleHoldAt: Ms
  /** The next pause. */
  idleHoldMs: Ms
  /** Failures since the start or the last order to stop. */
  connectRetryCounter: number
  /** Our OPEN has the R bit: until the session has been up once. */
  restarting: boolean
  /** In words, for status: why the session last left Established, or did not get there. */
  lastError: string | null
}

/** @param restarting the process before this one left routes with the peer, which wait for us (RFC 4724) */
export function createSession(config: SessionConfig, restarting: boolean): Session {
  return {
    config,
    running: false,
    connections: [],
    dialing: false,
    connectRetryAt: Number.POSITIVE_INFINITY,
    idleHoldAt: Number.POSITIVE_INFINITY,
    idleHoldMs: config.idleHold.firstMs,
    connectRetryCounter: 0,
    restarting: restarting && config.gracefulRestart !== null,
    lastError: null,
  }
}

/** RFC 4271 has a machine for each connection; with two of them the one that is further counts. */
export function stateOf(s: Session): SessionState {
  for (const phase of ['Established', 'OpenConfirm', 'OpenSent'] as const) {
    if (s.connections.some(connection => connection.phase === phase)) return phase
  }
  if (!s.running || s.idleHoldAt !== Number.POSITIVE_INFINITY) return 'Idle'
  const [waiting] = s.connections
  return s.dialing || waiting?.direction === 'outgoing' ? 'Connect' : 'Active'
}

export function established(s: Session): (Connection & { readonly negotiated: Negotiated }) | undefined {
  return s.connections.find(
    (connection): connection is Connection & { readonly negotiated: Negotiated } =>
      connection.phase === 'Established' && connection.negotiated !== null,
  )
}

/** What the peer does with our routes when the session ends. */
export type RoutesLeft =
  /** It drops them. */
  | 'dropped'
  /** It keeps them for its restart time, as agreed in graceful restart. */
  | 'kept'

export type Ended = {
  readonly why: string
  readonly sent: Notification | null
  readonly received: Notification | null
  readonly routes: RoutesLeft
}
