import type { Ms } from '../ports/clock.ts'
import type { BgpError } from '../wire/bgp/error.ts'
import type { AfiSafi } from '../wire/bgp/family.ts'
import type { ReceivedMessage } from '../wire/bgp/message.ts'
import type { Notification } from '../wire/bgp/notification.ts'
import type { ReceivedUpdate, RouteChanges } from '../wire/bgp/update.ts'
import type { Negotiated } from './negotiation.ts'
import type { Ended, SessionState } from './session.ts'

/**
 * What happens to a session. The numbers are those of RFC 4271 section 8.1. Invalid requests to connect (15), from nobody who is
 * configured, never get here.
 */
export type Event =
  /** ManualStart (1), or with `passive` ManualStart_with_PassiveTcpEstablishment (4). */
  (
    | { readonly type: 'start' }
    /**
     * ManualStop (2). 'shutdown': the peer is told, with the text if there is one, and drops our routes. 'restart': the connection just
     * ends, so that a peer with graceful restart keeps them until we are back.
     */
    | { readonly type: 'stop'; readonly how: 'shutdown' | 'restart'; readonly text?: string }
    /** AutomaticStop (8), such as BFD down, too many prefixes, a changed configuration. Starts again after a pause (6). */
    | { readonly type: 'reset'; readonly notification: Notification }
    /** Tcp_CR_Acked (16): the connection that we asked for is there. */
    | { readonly type: 'connected'; readonly connection: number }
    /** TcpConnectionFails (18), of one that we asked for. */
    | { readonly type: 'connect-failed'; readonly why: string }
    /** TcpConnectionConfirmed (17): the peer has connected. */
    | { readonly type: 'accepted'; readonly connection: number }
    /** TcpConnectionFails (18). */
    | { readonly type: 'closed'; readonly connection: number; readonly why: string }
    /** BGPOpen (19, 20), NotifMsgVerErr (24), NotifMsg (25), KeepAliveMsg (26), UpdateMsg (27). */
    | { readonly type: 'message'; readonly connection: number; readonly message: ReceivedMessage }
    /** BGPHeaderErr (21), BGPOpenMsgErr (22), UpdateMsgErr (28). */
    | { readonly type: 'malformed'; readonly connection: number; readonly error: BgpError }
    /** The driver has sent an UPDATE: no keepalive is needed for a while (section 4.4). */
    | { readonly type: 'update-sent'; readonly connection: number }
    /** Bytes wait because the peer does not read, or some of them have gone (true); none wait any more (false). RFC 9687. */
    | { readonly type: 'backlog'; readonly connection: number; readonly waiting: boolean }
    /** Timers (9 to 13). */
    | { readonly type: 'tick' }
  ) & {
    readonly now: Ms
    /** Uniform in [0, 1), fresh with each event: the jitter of the timers that it starts (section 10). */
    readonly random: number
  }

export type Effect =
  /** Answered by 'connected' or 'connect-failed', unless 'stop-connecting' comes first. */
  | { readonly type: 'connect' }
  | { readonly type: 'stop-connecting' }
  | { readonly type: 'send'; readonly connection: number; readonly bytes: Uint8Array }
  /** After what was sent has gone, but without waiting for a peer that does not read. Nothing of it comes to the machine any more. */
  | { readonly type: 'close'; readonly connection: number }
  | { readonly type: 'state'; readonly from: SessionState; readonly to: SessionState; readonly why: string }
  /** Our routes may be told, all of them, and an End-of-RIB for each family. */
  | { readonly type: 'up'; readonly connection: number; readonly negotiated: Negotiated }
  /** The end of what 'up' began. */
  | ({ readonly type: 'down'; readonly connection: number } & Ended)
  /** The peer's routes, of families that the session carries. */
  | {
      readonly type: 'routes'
      readonly connection: number
      readonly changes: RouteChanges
      readonly problems: ReceivedUpdate['problems']
    }
  /** All our routes of a family once more (RFC 2918). */
  | { readonly type: 'refresh'; readonly connection: number; readonly family: AfiSafi }
