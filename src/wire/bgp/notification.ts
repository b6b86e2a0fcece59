import assert from 'node:assert/strict'
import { Reader, type Writer } from '../io.ts'

/** Why the sender closes the session (RFC 4271 section 4.5). */
export type Notification = {
  readonly type: 'notification'
  /** Any, also those without a name here: nothing forbids a peer to use them. */
  readonly code: number
  readonly subcode: number
  /** What it means depends on code and subcode. */
  readonly data: Uint8Array
}

/** Codes and their subcodes. Subcode 0 is "unspecific" everywhere. */
export const NOTIFICATION = {
  messageHeader: { code: 1, connectionNotSynchronized: 1, badMessageLength: 2, badMessageType: 3 },
  open: {
    code: 2,
    unsupportedVersion: 1,
    badPeerAs: 2,
    badBgpIdentifier: 3,
    unsupportedOptionalParameter: 4,
    unacceptableHoldTime: 6,
    unsupportedCapability: 7, // RFC 5492
    roleMismatch: 11, // RFC 9234
  },
  update: {
    code: 3,
    malformedAttributeList: 1,
    unrecognizedWellKnownAttribute: 2,
    missingWellKnownAttribute: 3,
    attributeFlags: 4,
    attributeLength: 5,
    invalidOrigin: 6,
    invalidNextHop: 8,
    optionalAttribute: 9,
    invalidNetworkField: 10,
    malformedAsPath: 11,
  },
  holdTimerExpired: { code: 4 },
  // RFC 6608
  finiteStateMachine: { code: 5, inOpenSent: 1, inOpenConfirm: 2, inEstablished: 3 },
  cease: {
    code: 6,
    maximumPrefixes: 1, // 1 to 8: RFC 4486
    administrativeShutdown: 2,
    peerDeconfigured: 3,
    administrativeReset: 4,
    connectionRejected: 5,
    otherConfigurationChange: 6,
    connectionCollision: 7,
    outOfResources: 8,
    hardReset: 9, // RFC 8538
    bfdDown: 10, // RFC 9384
  },
  routeRefresh: { code: 7, invalidMessageLength: 1 }, // RFC 7313
  sendHoldTimerExpired: { code: 8 }, // RFC 9687
} as const

const NAMES: Readonly<Record<number, readonly [string, Readonly<Record<number, string>>]>> = {
  1: [
    'Message Header Error',
    { 1: 'Connection Not Synchronized', 2: 'Bad Message Length', 3: 'Bad Message Type' },
  ],
  2: [
    'OPEN Message Error',
    {
      1: 'Unsupported Version Number',
      2: 'Bad Peer AS',
      3: 'Bad BGP Identifier',
      4: 'Unsupported Optional Parameter',
      5: 'Authentication Failure',
      6: 'Unacceptable Hold Time',
      7: 'Unsupported Capability',
      11: 'Role Mismatch',
    },
  ],
  3: [
    'UPDATE Message Error',
    {
      1: 'Malformed Attribute List',
      2: 'Unrecognized Well-known Attribute',
      3: 'Missing Well-known Attribute',
      4: 'Attribute Flags Error',
      5: 'Attribute Length Error',
      6: 'Invalid ORIGIN Attribute',
      7: 'AS Routing Loop',
      8: 'Invalid NEXT_HOP Attribute',
      9: 'Optional Attribute Error',
      10: 'Invalid Network Field',
      11: 'Malformed AS_PATH',
    },
  ],
  4: ['Hold Timer Expired', {}],
  5: [
    'Finite State Machine Error',
    {
      1: 'Receive Unexpected Message in OpenSent State',
      2: 'Receive Unexpected Message in OpenConfirm State',
      3: 'Receive Unexpected Message in Established State',
    },
  ],
  6: [
    'Cease',
    {
      1: 'Maximum Number of Prefixes Reached',
      2: 'Administrative Shutdown',
      3: 'Peer De-configured',
      4: 'Administrative Reset',
      5: 'Connection Rejected',
      6: 'Other Configuration Change',
      7: 'Connection Collision Resolution',
      8: 'Out of Resources',
      9: 'Hard Reset',
      10: 'BFD Down',
    },
  ],
  7: ['ROUTE-REFRESH Message Error', { 1: 'Invalid Message Length' }],
  8: ['Send Hold Timer Expired', {}],
}

const NO_DATA = new Uint8Array(0)
const SHUTDOWN_MAX = 255

export function notification(code: number, subcode = 0, data: Uint8Array = NO_DATA): Notification {
  return { type: 'notification', code, subcode, data }
}

/**
 * Cease with a text for the people at the other end: the Shutdown Communication of RFC 9003, with which Administrative Shutdown and
 * Administrative Reset may go. A text of more than 255 bytes of UTF-8 is cut between two characters.
 */
export function ceaseWithText(
  subcode: typeof NOTIFICATION.cease.administrativeShutdown | typeof NOTIFICATION.cease.administrativeReset,
  text: string,
): Notification {
  const data = new Uint8Array(1 + SHUTDOWN_MAX)
  // encodeInto writes whole characters only.
  const { written } = new TextEncoder().encodeInto(text, data.subarray(1))
  data[0] = written
  return notification(NOTIFICATION.cease.code, subcode, data.slice(0, 1 + written))
}

/**
 * The text that came with an Administrative Shutdown or Reset; undefined if there is none, or if its length or UTF-8 is wrong. Control
 * characters and those that turn the direction of writing are replaced, for it ends up in logs and on terminals (RFC 9003 section 6).
 */
export function shutdownText({ code, subcode, data }: Notification): string | undefined {
  const { cease } = NOTIFICATION
  if (code !== cease.code) return undefined
  if (subcode !== cease.administrativeShutdown && subcode !== cease.administrativeReset) return undefined
  const length = data[0] ?? 0
  if (length === 0 || data.length < 1 + length) return undefined
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(data.subarray(1, 1 + length))
    return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd')
  } catch {
    // Not UTF-8: RFC 9003 section 4 lets the receiver do without the text.
    return undefined
  }
}

/** In words, for status and logs: `Cease / Administrative Shutdown: "maintenance"`. */
export function describeNotification(message: Notification): string {
  const { code, subcode } = message
  const [name, subcodes] = NAMES[code] ?? [`code ${code}`, {}]
  // RFC 8538 section 3.1: a Hard Reset carries the NOTIFICATION that it stands for.
  const inner = hardResetReason(message)
  if (inner !== undefined) return `${name} / Hard Reset: ${describeNotification(inner)}`
  const part = subcode === 0 ? '' : ` / ${subcodes[subcode] ?? `subcode ${subcode}`}`
  const text = shutdownText(message)
  return `${name}${part}${text === undefined ? '' : `: ${JSON.stringify(text)}`}`
}

/** Cease/Hard Reset, which a peer with graceful restart for notifications does not ride out (RFC 8538 section 3.1). */
export function hardReset(reason: Notification): Notification {
  const { code, hardReset: subcode } = NOTIFICATION.cease
  return notification(code, subcode, Uint8Array.from([reason.code, reason.subcode, ...reason.data]))
}

/** The NOTIFICATION within a Hard Reset. undefined if this is none, has nothing within, or has another Hard Reset within. */
export function hardResetReason({ code, subcode, data }: Notification): Notification | undefined {
  const { cease } = NOTIFICATION
  if (code !== cease.code || subcode !== cease.hardReset || data.length < 2) return undefined
  const inner = notification(data[0] ?? 0, data[1], data.slice(2))
  return inner.code === cease.code && inner.subcode === cease.hardReset ? undefined : inner
}

/** @param body what follows the header. @throws DecodeError */
export function decodeNotification(body: Uint8Array): Notification {
  const r = new Reader(body, 'RFC 4271 section 4.5')
  const code = r.u8('error code')
  const subcode = r.u8('error subcode')
  return notification(code, subcode, r.bytes('data', r.remaining))
}

export function writeNotification(w: Writer, { code, subcode, data }: Notification): void {
  assert(data.length <= 4096 - 21, `a NOTIFICATION with ${data.length} bytes of data`)
  w.u8(code).u8(subcode).bytes(data)
}
