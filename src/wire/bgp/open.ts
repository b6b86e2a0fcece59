import assert from 'node:assert/strict'
import type { Ipv4 } from '../../addr/ip.ts'
import { Reader, Writer } from '../io.ts'
import { type Capability, decodeCapabilities, writeCapability } from './capabilities.ts'
import { answering, BgpError } from './error.ts'
import { type AfiSafi, sameAfiSafi } from './family.ts'
import { NOTIFICATION, notification } from './notification.ts'

/** The first message of each side (RFC 4271 section 4.2). */
export type Open = {
  readonly type: 'open'
  /** The field of two octets; {@link AS_TRANS} where the AS number has four. See {@link asOf}. */
  readonly myAs: number
  /** In seconds; 0: no keepalives and no hold timer. Never 1 or 2. */
  readonly holdTimeS: number
  /** Not 0.0.0.0 (RFC 6286). */
  readonly bgpIdentifier: Ipv4
  readonly capabilities: readonly Capability[]
}

/** Stands where an AS number of four octets has no room (RFC 6793). */
export const AS_TRANS = 23456

const VERSION = 4
const SOURCE = 'RFC 4271 section 4.2'
const CAPABILITIES = 2
/** As length and as type of the first parameter: the real lengths follow, with two octets each (RFC 9072). */
const EXTENDED = 255

/** The AS number of the sender, whatever its size. */
export function asOf(open: Open): number {
  return capability(open, 'four-octet-as')?.as ?? open.myAs
}

/** The capability of a type that can be there once; of several the last counts (RFC 4724 section 3, RFC 5492 section 4). */
export function capability<T extends Capability['type']>(
  open: Open,
  type: T,
): Extract<Capability, { type: T }> | undefined {
  return open.capabilities.findLast((each): each is Extract<Capability, { type: T }> => each.type === type)
}

/** Whether the sender carries the family: without any multiprotocol capability it is IPv4 unicast (RFC 4760 section 8). */
export function carriesFamily(open: Open, family: AfiSafi): boolean {
  const families = open.capabilities.filter(each => each.type === 'multiprotocol')
  if (families.length === 0) return family.afi === 1 && family.safi === 1
  return families.some(each => sameAfiSafi(each.family, family))
}

/** The refusals are those of RFC 4271 section 6.2 and RFC 7607 (AS 0). @param body what follows the header. @throws BgpError */
export function decodeOpen(body: Uint8Array): Open {
  return answering(notification(NOTIFICATION.open.code), () => {
    const r = new Reader(body, SOURCE)
    const version = r.u8('version')
    if (version !== VERSION) {
      // The data is the largest version that we speak.
      throw refused(
        'unsupported',
        'version',
        `${version}`,
        NOTIFICATION.open.unsupportedVersion,
        Uint8Array.of(0, VERSION),
      )
    }
    const myAs = r.u16('my autonomous system')
    const holdTimeS = r.u16('hold time')
    const bgpIdentifier = r.ipv4('BGP identifier')
    const parametersLength = r.u8('optional parameters length')
    const capabilities = decodeParameters(r.rest(), parametersLength)
    const open: Open = { type: 'open', myAs, holdTimeS, bgpIdentifier, capabilities }
    if (myAs === 0 || asOf(open) === 0) {
      throw refused('bad-value', 'my autonomous system', '0', NOTIFICATION.open.badPeerAs)
    }
    if (holdTimeS === 1 || holdTimeS === 2) {
      throw refused('bad-value', 'hold time', `${holdTimeS} s`, NOTIFICATION.open.unacceptableHoldTime)
    }
    if (bgpIdentifier === '0.0.0.0') {
      throw refused('bad-value', 'BGP identifier', bgpIdentifier, NOTIFICATION.open.badBgpIdentifier)
    }
    return open
  })
}

/** @param length that of the fixed part, which counts for nothing if the first byte marks the extended form */
function decodeParameters(bytes: Uint8Array, length: number): readonly Capability[] {
  const r = new Reader(bytes, SOURCE)
  // RFC 9072 section 2: the mark stands where the first parameter's type would.
  const extended = length > 0 && bytes[0] === EXTENDED
  if (extended) r.skip('extended mark', 1)
  const wanted = extended ? r.u16('extended optional parameters length') : length
  if (r.remaining !== wanted) {
    throw r.error('bad-length', 'optional parameters length', `${wanted}, but ${r.remaining} bytes follow`)
  }
  const capabilities: Capability[] = []
  while (r.remaining > 0) {
    const type = r.u8('optional parameter type')
    const value = r.view('parameter value', extended ? r.u16('parameter length') : r.u8('parameter length'))
    // Type 1, authentication, is gone since RFC 4271 (its appendix A).
    if (type !== CAPABILITIES) {
      const { unsupportedOptionalParameter } = NOTIFICATION.open
      throw refused('unsupported', 'optional parameter type', `${type}`, unsupportedOptionalParameter)
    }
    capabilities.push(...decodeCapabilities(value))
  }
  return capabilities
}

function refused(
  code: 'bad-value' | 'unsupported',
  field: string,
  what: string,
  subcode: number,
  data?: Uint8Array,
): BgpError {
  return new BgpError(code, field, SOURCE, what, notification(NOTIFICATION.open.code, subcode, data))
}

/**
 * All capabilities go into one parameter (RFC 5492 section 4); if it has more than 253 bytes, in the form of RFC 9072, which peers that
 * do not know it refuse.
 */
export function writeOpen(w: Writer, open: Open): void {
  const { myAs, holdTimeS, bgpIdentifier, capabilities } = open
  assert(holdTimeS !== 1 && holdTimeS !== 2, `a hold time of ${holdTimeS} s`)
  const values = new Writer(128)
  for (const each of capabilities) writeCapability(values, each)
  w.u8(VERSION).u16(myAs).u16(holdTimeS).ip(bgpIdentifier)
  if (values.length === 0) w.u8(0)
  else if (values.length <= EXTENDED - 2) {
    w.u8(values.length + 2)
      .u8(CAPABILITIES)
      .u8(values.length)
  } else {
    w.u8(EXTENDED)
      .u8(EXTENDED)
      .u16(values.length + 3)
      .u8(CAPABILITIES)
      .u16(values.length)
  }
  w.bytes(values.written())
}
