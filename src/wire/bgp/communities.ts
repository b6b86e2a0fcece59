import type { Ipv4 } from '../../addr/ip.ts'
import { Reader, type Writer } from '../io.ts'

/** A community of RFC 1997, as the number of four octets that it is: `high * 65536 + low`. */
export type StandardCommunity = number

/** Communities that mean something by themselves (RFC 1997, 7999, 8326, 9494). */
export const COMMUNITY = {
  gracefulShutdown: 0xffff0000,
  llgrStale: 0xffff0006,
  noLlgr: 0xffff0007,
  blackhole: 0xffff029a,
  noExport: 0xffffff01,
  noAdvertise: 0xffffff02,
  noExportSubconfed: 0xffffff03,
} as const

export function standardCommunity(high: number, low: number): StandardCommunity {
  return high * 0x10000 + low
}

/** RFC 8092: whose it is, and two numbers that he gives meaning. Each has four octets. */
export type LargeCommunity = readonly [global: number, local1: number, local2: number]

/** RFC 4360 and RFC 5668: eight octets, those of a form that is known here taken apart. */
export type ExtendedCommunity =
  /** `as` has two octets in 'two-octet-as' and four in 'four-octet-as'; `value` has what is left of six. Subtype 2: route target. */
  | {
      readonly type: 'two-octet-as' | 'four-octet-as'
      readonly transitive: boolean
      readonly subtype: number
      readonly as: number
      readonly value: number
    }
  | {
      readonly type: 'ipv4-address'
      readonly transitive: boolean
      readonly subtype: number
      readonly ip: Ipv4
      readonly value: number
    }
  /**
   * What the link to the next hop carries, for the shares of a weighted multipath (draft-ietf-idr-link-bandwidth). In bytes per second,
   * finite, not negative, with the precision of a float of four octets. The draft's is non-transitive; routers read both.
   */
  | {
      readonly type: 'link-bandwidth'
      readonly transitive: boolean
      readonly as: number
      readonly bytesPerSecond: number
    }
  | { readonly type: 'unknown'; readonly bytes: Uint8Array }

const TWO_OCTET_AS = 0
const IPV4_ADDRESS = 1
const FOUR_OCTET_AS = 2
const NON_TRANSITIVE = 0x40
const LINK_BANDWIDTH = 4

/** Eight octets. @throws DecodeError if there are fewer */
export function readExtendedCommunity(r: Reader): ExtendedCommunity {
  const bytes = r.bytes('extended community', 8)
  const v = new Reader(bytes, 'RFC 4360')
  const type = v.u8('type')
  const subtype = v.u8('subtype')
  const transitive = (type & NON_TRANSITIVE) === 0
  switch (type & ~NON_TRANSITIVE) {
    case TWO_OCTET_AS: {
      const as = v.u16('AS number')
      const value = v.u32('value')
      if (subtype !== LINK_BANDWIDTH) return { type: 'two-octet-as', transitive, subtype, as, value }
      const bytesPerSecond = floatOf(value)
      // Infinite, negative and not a number: no bandwidth.
      if (!(bytesPerSecond >= 0) || bytesPerSecond === Number.POSITIVE_INFINITY || value === 0x80000000) break
      return { type: 'link-bandwidth', transitive, as, bytesPerSecond }
    }
    case IPV4_ADDRESS:
      return { type: 'ipv4-address', transitive, subtype, ip: v.ipv4('address'), value: v.u16('value') }
    case FOUR_OCTET_AS:
      return { type: 'four-octet-as', transitive, subtype, as: v.u32('AS number'), value: v.u16('value') }
    default:
      break
  }
  return { type: 'unknown', bytes }
}

export function writeExtendedCommunity(w: Writer, community: ExtendedCommunity): void {
  if (community.type === 'unknown') {
    w.bytes(community.bytes)
    return
  }
  const flag = community.transitive ? 0 : NON_TRANSITIVE
  switch (community.type) {
    case 'two-octet-as':
      w.u8(TWO_OCTET_AS | flag).u8(community.subtype)
      w.u16(community.as).u32(community.value)
      break
    case 'four-octet-as':
      w.u8(FOUR_OCTET_AS | flag).u8(community.subtype)
      w.u32(community.as).u16(community.value)
      break
    case 'ipv4-address':
      w.u8(IPV4_ADDRESS | flag).u8(community.subtype)
      w.ip(community.ip).u16(community.value)
      break
    case 'link-bandwidth':
      w.u8(TWO_OCTET_AS | flag).u8(LINK_BANDWIDTH)
      w.u16(community.as).u32(bitsOf(community.bytesPerSecond))
      break
  }
}

const view = new DataView(new ArrayBuffer(4))

function floatOf(bits: number): number {
  view.setUint32(0, bits)
  return view.getFloat32(0)
}

function bitsOf(value: number): number {
  view.setFloat32(0, value)
  return view.getUint32(0)
}
