import type { Family, Ip, Ipv6 } from '../../addr/ip.ts'
import { isIpv4 } from '../../addr/ip.ts'
import type { Prefix } from '../../addr/prefix.ts'
import { Writer } from '../io.ts'
import { ATTRIBUTE, FLAG, type PathAttributes, type UpdateContext } from './attributes.ts'
import { writeAttributeHeader, writeAttributes } from './attributes-writer.ts'
import { unicast } from './family.ts'
import { HEADER_LENGTH, writeHeader } from './message.ts'
import { mpReachFixedBytes, writeMpReach } from './multiprotocol.ts'
import { prefixBytes, writePrefix } from './nlri.ts'

/** What many prefixes of one family have in common, written once. */
export type AnnouncementTemplate = {
  readonly family: Family
  readonly nextHop: Ip
  readonly linkLocal: Ipv6 | undefined
  /** All attributes but MP_REACH_NLRI. */
  readonly attributes: Uint8Array
  /** The prefixes go into MP_REACH_NLRI: they are IPv6, or their next hop is (RFC 8950). */
  readonly multiprotocol: boolean
}

export type Packed = {
  readonly bytes: Uint8Array
  /** Those that found room, from the beginning of what was offered. */
  readonly prefixes: readonly Prefix[]
}

/** The two lengths of an UPDATE. */
const FIXED_LENGTH = HEADER_LENGTH + 4
/** A prefix of IPv6 in full. */
const PREFIX_MAX = 17

/**
 * @param attributes without next hop and prefixes
 * @returns undefined if there would be no room for a single prefix in a message of `lengthMax` bytes
 */
export function announcementTemplate(
  about: {
    readonly family: Family
    readonly nextHop: Ip
    readonly linkLocal?: Ipv6
    readonly attributes: PathAttributes
  },
  context: UpdateContext,
  lengthMax: number,
): AnnouncementTemplate | undefined {
  const { family, nextHop, linkLocal } = about
  const multiprotocol = !(family === 'IPv4' && isIpv4(nextHop))
  const w = new Writer(128)
  writeAttributes(
    w,
    isIpv4(nextHop) && !multiprotocol ? { ...about.attributes, nextHop } : about.attributes,
    context,
  )
  const template = { family, nextHop, linkLocal, attributes: w.finish(), multiprotocol }
  return roomIn(template, lengthMax) >= PREFIX_MAX ? template : undefined
}

function roomIn(template: AnnouncementTemplate, lengthMax: number): number {
  const reach = template.multiprotocol ? 4 + mpReachFixedBytes(fixedOf(template)) : 0
  return lengthMax - FIXED_LENGTH - template.attributes.length - reach
}

function fixedOf({ nextHop, linkLocal }: AnnouncementTemplate): { nextHop: Ip; linkLocal?: Ipv6 } {
  return linkLocal === undefined ? { nextHop } : { nextHop, linkLocal }
}

/** One UPDATE with as many prefixes as have room in it. */
export function packAnnouncement(
  prefixes: Iterable<Prefix>,
  template: AnnouncementTemplate,
  lengthMax: number,
): Packed {
  const { taken, size } = take(prefixes, roomIn(template, lengthMax))
  const { attributes, multiprotocol, family } = template
  const w = new Writer(FIXED_LENGTH + attributes.length + size + 64)
  writeHeader(w, 'update')
  w.u16(0)
  if (!multiprotocol) {
    w.u16(attributes.length).bytes(attributes)
    for (const prefix of taken) writePrefix(w, prefix)
    return { bytes: finished(w), prefixes: taken }
  }
  const at = w.length
  w.u16(0)
  const fixed = fixedOf(template)
  writeAttributeHeader(w, FLAG.optional, ATTRIBUTE.mpReach, mpReachFixedBytes(fixed) + size)
  writeMpReach(w, { type: 'unicast', family, ...fixed, prefixes: taken })
  w.bytes(attributes)
  w.patchU16(at, w.length - at - 2)
  return { bytes: finished(w), prefixes: taken }
}

/** One UPDATE that withdraws as many prefixes as have room in it. @param multiprotocol as they were announced */
export function packWithdrawal(
  prefixes: Iterable<Prefix>,
  family: Family,
  multiprotocol: boolean,
  lengthMax: number,
): Packed {
  const { taken, size } = take(prefixes, lengthMax - FIXED_LENGTH - (multiprotocol ? 7 : 0))
  const w = new Writer(FIXED_LENGTH + size + 7)
  writeHeader(w, 'update')
  if (!multiprotocol) {
    w.u16(size)
    for (const prefix of taken) writePrefix(w, prefix)
    w.u16(0)
    return { bytes: finished(w), prefixes: taken }
  }
  const { afi, safi } = unicast(family)
  w.u16(0)
  const at = w.length
  w.u16(0)
  writeAttributeHeader(w, FLAG.optional, ATTRIBUTE.mpUnreach, 3 + size)
  w.u16(afi).u8(safi)
  for (const prefix of taken) writePrefix(w, prefix)
  w.patchU16(at, w.length - at - 2)
  return { bytes: finished(w), prefixes: taken }
}

function take(prefixes: Iterable<Prefix>, room: number): { taken: Prefix[]; size: number } {
  const taken: Prefix[] = []
  let size = 0
  for (const prefix of prefixes) {
    const more = prefixBytes(prefix)
    if (size + more > room) break
    size += more
    taken.push(prefix)
  }
  return { taken, size }
}

function finished(w: Writer): Uint8Array {
  w.patchU16(HEADER_LENGTH - 3, w.length)
  return w.finish()
}
