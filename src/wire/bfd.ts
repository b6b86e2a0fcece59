import assert from 'node:assert/strict'
import { createHash, timingSafeEqual } from 'node:crypto'
import { Reader, Writer } from './io.ts'

/** A BFD control packet: the payload of a UDP datagram (RFC 5880 section 4.1). */
export type BfdControl = {
  /** Why the sender's session last left Up: see {@link DIAGNOSTIC}. 0 to 31. */
  readonly diagnostic: number
  readonly state: BfdState
  readonly poll: boolean
  readonly final: boolean
  /** The sender's BFD lives on when its control plane does not. */
  readonly controlPlaneIndependent: boolean
  readonly demand: boolean
  /** 1 to 255. */
  readonly detectMultiplier: number
  /** Not 0. */
  readonly myDiscriminator: number
  /** 0 while the sender does not know ours, and only if it is Down or AdminDown. */
  readonly yourDiscriminator: number
  /** Microseconds, 32 bits. */
  readonly desiredMinTxUs: number
  /** 0: we are to send nothing unasked. */
  readonly requiredMinRxUs: number
  /** 0: the sender does not loop echo packets. */
  readonly requiredMinEchoRxUs: number
  /** null: there is none, the A bit is clear. */
  readonly authentication: BfdAuthentication | null
}

export type BfdState = (typeof STATES)[number]
/** By their numbers. */
const STATES = ['AdminDown', 'Down', 'Init', 'Up'] as const

/** RFC 5880 sections 4.2 to 4.4. */
export type BfdAuthentication =
  | { readonly type: 'simple-password'; readonly keyId: number; readonly password: Uint8Array }
  | {
      readonly type: BfdDigestType
      readonly keyId: number
      /** 32 bits, which wrap around. */
      readonly sequence: number
      /** 16 bytes of MD5, 20 of SHA-1. */
      readonly digest: Uint8Array
    }

export type BfdDigestType = 'keyed-md5' | 'meticulous-keyed-md5' | 'keyed-sha1' | 'meticulous-keyed-sha1'
export type BfdAuthenticationType = 'simple-password' | BfdDigestType

/** A secret that both ends know. */
export type BfdKey = {
  readonly id: number
  readonly type: BfdAuthenticationType
  /** 1 to 16 bytes, for SHA-1 1 to 20. */
  readonly secret: Uint8Array
}

/** RFC 5880 section 4.1. */
export const DIAGNOSTIC = {
  none: 0,
  detectionTimeExpired: 1,
  echoFailed: 2,
  neighborDown: 3,
  forwardingPlaneReset: 4,
  pathDown: 5,
  concatenatedPathDown: 6,
  administrativelyDown: 7,
  reverseConcatenatedPathDown: 8,
} as const

/** RFC 5881 section 4, RFC 5883 section 5. */
export const BFD_PORT = { control: 3784, echo: 3785, multihop: 4784 } as const

const SOURCE = 'RFC 5880'
const VERSION = 1
const HEADER_LENGTH = 24
const FLAG = {
  poll: 0x20,
  final: 0x10,
  independent: 0x08,
  authentication: 0x04,
  demand: 0x02,
  multipoint: 0x01,
}
const AUTHENTICATION_CODE = {
  'simple-password': 1,
  'keyed-md5': 2,
  'meticulous-keyed-md5': 3,
  'keyed-sha1': 4,
  'meticulous-keyed-sha1': 5,
} as const satisfies Record<BfdAuthenticationType, number>
const TYPES = [
  'simple-password',
  'keyed-md5',
  'meticulous-keyed-md5',
  'keyed-sha1',
  'meticulous-keyed-sha1',
] as const

/**
 * Refuses all that section 6.8.6 discards without looking at a session. Bytes past the packet's own length are ignored.
 * @throws DecodeError
 */
export function decodeBfdControl(bytes: Uint8Array): BfdControl {
  const r = new Reader(bytes, SOURCE)
  const first = r.u8('version and diagnostic')
  r.check(first >> 5, 'version', VERSION, 'unsupported')
  const second = r.u8('state and flags')
  const detectMultiplier = r.u8('detect mult')
  const length = r.u8('length')
  const authenticated = (second & FLAG.authentication) !== 0
  if (length < HEADER_LENGTH + (authenticated ? 2 : 0)) throw r.error('bad-length', 'length', `${length}`)
  if (length > bytes.length)
    throw r.error('truncated', 'length', `${length}, but ${bytes.length} bytes are there`)
  if (detectMultiplier === 0) throw r.error('bad-value', 'detect mult', '0')
  if ((second & FLAG.multipoint) !== 0) throw r.error('bad-value', 'multipoint', '1')
  const state = STATES[second >> 6] ?? 'AdminDown'
  const myDiscriminator = r.u32('my discriminator')
  if (myDiscriminator === 0) throw r.error('bad-value', 'my discriminator', '0')
  const yourDiscriminator = r.u32('your discriminator')
  if (yourDiscriminator === 0 && (state === 'Init' || state === 'Up')) {
    throw r.error('bad-value', 'your discriminator', `0 in ${state}`)
  }
  return {
    diagnostic: first & 0x1f,
    state,
    poll: (second & FLAG.poll) !== 0,
    final: (second & FLAG.final) !== 0,
    controlPlaneIndependent: (second & FLAG.independent) !== 0,
    demand: (second & FLAG.demand) !== 0,
    detectMultiplier,
    myDiscriminator,
    yourDiscriminator,
    desiredMinTxUs: r.u32('desired min TX interval'),
    requiredMinRxUs: r.u32('required min RX interval'),
    requiredMinEchoRxUs: r.u32('required min echo RX interval'),
    authentication: authenticated ? readAuthentication(bytes.subarray(HEADER_LENGTH, length)) : null,
  }
}

function readAuthentication(section: Uint8Array): BfdAuthentication {
  const r = new Reader(section, `${SOURCE} sections 4.2 to 4.4`)
  const code = r.u8('auth type')
  const length = r.u8('auth len')
  const type = TYPES[code - 1]
  if (type === undefined) throw r.error('unsupported', 'auth type', `${code}`)
  if (length !== section.length) throw r.error('bad-length', 'auth len', `${length} of ${section.length}`)
  const keyId = r.u8('auth key ID')
  if (type === 'simple-password') {
    if (r.remaining < 1 || r.remaining > 16) throw r.error('bad-length', 'password', `${r.remaining} bytes`)
    return { type, keyId, password: r.bytes('password', r.remaining) }
  }
  r.skip('reserved', 1)
  const sequence = r.u32('sequence number')
  const size = digestLength(type)
  if (r.remaining !== size) throw r.error('bad-length', 'digest', `${r.remaining} bytes instead of ${size}`)
  return { type, keyId, sequence, digest: r.bytes('digest', size) }
}

export function encodeBfdControl(packet: BfdControl): Uint8Array {
  const { authentication } = packet
  const w = new Writer(HEADER_LENGTH + authenticationLength(authentication))
  writeHeader(w, packet, authenticationLength(authentication))
  if (authentication === null) return w.finish()
  w.u8(AUTHENTICATION_CODE[authentication.type])
    .u8(authenticationLength(authentication))
    .u8(authentication.keyId)
  if (authentication.type === 'simple-password') return w.bytes(authentication.password).finish()
  assert.equal(authentication.digest.length, digestLength(authentication.type), 'length of the digest')
  return w.u8(0).u32(authentication.sequence).bytes(authentication.digest).finish()
}

function writeHeader(w: Writer, packet: BfdControl, authenticationLength: number): void {
  const { detectMultiplier, diagnostic, myDiscriminator } = packet
  assert(
    detectMultiplier !== 0 && myDiscriminator !== 0 && diagnostic <= 31,
    'a packet that everybody would discard',
  )
  w.u8((VERSION << 5) | diagnostic)
  w.u8(
    (STATES.indexOf(packet.state) << 6) |
      (packet.poll ? FLAG.poll : 0) |
      (packet.final ? FLAG.final : 0) |
      (packet.controlPlaneIndependent ? FLAG.independent : 0) |
      (authenticationLength > 0 ? FLAG.authentication : 0) |
      (packet.demand ? FLAG.demand : 0),
  )
  w.u8(detectMultiplier).u8(HEADER_LENGTH + authenticationLength)
  w.u32(myDiscriminator).u32(packet.yourDiscriminator)
  w.u32(packet.desiredMinTxUs).u32(packet.requiredMinRxUs).u32(packet.requiredMinEchoRxUs)
}

function authenticationLength(authentication: BfdAuthentication | null): number {
  if (authentication === null) return 0
  return authentication.type === 'simple-password'
    ? 3 + authentication.password.length
    : 8 + digestLength(authentication.type)
}

function digestLength(type: BfdDigestType): number {
  return type.endsWith('md5') ? 16 : 20
}

/**
 * The packet with an authentication section made with `key` (sections 6.7.2 to 6.7.4); that of `packet` does not count.
 * @param sequence of the digest types; a simple password has none
 */
export function signBfdControl(packet: BfdControl, key: BfdKey, sequence: number): Uint8Array {
  const { id: keyId, type, secret } = key
  assert(secret.length >= 1, 'an empty secret')
  if (type === 'simple-password') {
    assert(secret.length <= 16, `a password of ${secret.length} bytes`)
    return encodeBfdControl({ ...packet, authentication: { type, keyId, password: secret } })
  }
  const size = digestLength(type)
  const bytes = encodeBfdControl({
    ...packet,
    authentication: { type, keyId, sequence, digest: padded(secret, size) },
  })
  bytes.set(digestOf(bytes, type), bytes.length - size)
  return bytes
}

/**
 * Whether the packet's authentication section was made with the key, as far as the packet alone tells: whether its sequence number is
 * one that may come now is for the session to say.
 * @param bytes as they were received
 * @param packet what they decode to
 */
export function bfdControlIsSigned(bytes: Uint8Array, packet: BfdControl, key: BfdKey): boolean {
  const { authentication } = packet
  if (authentication === null || authentication.type !== key.type || authentication.keyId !== key.id)
    return false
  if (authentication.type === 'simple-password') {
    return (
      authentication.password.length === key.secret.length &&
      timingSafeEqual(authentication.password, key.secret)
    )
  }
  const size = digestLength(authentication.type)
  const whole = Uint8Array.from(bytes.subarray(0, bytes[3]))
  whole.set(padded(key.secret, size), whole.length - size)
  return timingSafeEqual(digestOf(whole, authentication.type), authentication.digest)
}

/** The secret stands in the place of the digest, filled up with zeros, while the digest is made. */
function padded(secret: Uint8Array, size: number): Uint8Array {
  assert(secret.length <= size, `a secret of ${secret.length} bytes`)
  const filled = new Uint8Array(size)
  filled.set(secret)
  return filled
}

function digestOf(bytes: Uint8Array, type: BfdDigestType): Uint8Array {
  return createHash(type.endsWith('md5') ? 'md5' : 'sha1')
    .update(bytes)
    .digest()
}
