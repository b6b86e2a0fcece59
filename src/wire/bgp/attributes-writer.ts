import assert from 'node:assert/strict'
import type { Writer } from '../io.ts'
import { needsAs4, writeAsPath } from './as-path.ts'
import { ATTRIBUTE, FLAG, ORIGINS, type PathAttributes, type UpdateContext } from './attributes.ts'
import { writeExtendedCommunity } from './communities.ts'
import { mpReachBytes, mpUnreachBytes, writeMpReach, writeMpUnreach } from './multiprotocol.ts'
import { AS_TRANS } from './open.ts'

const WELL_KNOWN = FLAG.transitive
const OPTIONAL = FLAG.optional
const OPTIONAL_TRANSITIVE = FLAG.optional | FLAG.transitive

/** Those of the families come first (RFC 7606 section 5.1), the others in the order of their types (RFC 4271 section 5). */
export function writeAttributes(w: Writer, attributes: PathAttributes, context: UpdateContext): void {
  const { mpReach, mpUnreach } = attributes
  if (mpReach !== undefined) {
    writeAttributeHeader(w, OPTIONAL, ATTRIBUTE.mpReach, mpReachBytes(mpReach))
    writeMpReach(w, mpReach)
  }
  if (mpUnreach !== undefined) {
    writeAttributeHeader(w, OPTIONAL, ATTRIBUTE.mpUnreach, mpUnreachBytes(mpUnreach))
    writeMpUnreach(w, mpUnreach)
  }
  const unknown = [...(attributes.unknown ?? [])].sort((a, b) => a.code - b.code)
  const writeUnknownBelow = (code: number): void => {
    for (let first = unknown[0]; first !== undefined && first.code < code; first = unknown[0]) {
      const flags = OPTIONAL | (first.transitive ? FLAG.transitive : 0) | (first.partial ? FLAG.partial : 0)
      writeAttributeHeader(w, flags, first.code, first.value.length)
      w.bytes(first.value)
      unknown.shift()
    }
  }
  writeLowAttributes(w, attributes, context)
  writeUnknownBelow(ATTRIBUTE.extendedCommunities)
  writeHighAttributes(w, attributes, context)
  writeUnknownBelow(ATTRIBUTE.largeCommunities)
  const { largeCommunities } = attributes
  if (largeCommunities !== undefined) {
    writeAttributeHeader(w, OPTIONAL_TRANSITIVE, ATTRIBUTE.largeCommunities, 12 * largeCommunities.length)
    for (const [global, local1, local2] of largeCommunities) w.u32(global).u32(local1).u32(local2)
  }
  writeUnknownBelow(Number.POSITIVE_INFINITY)
}

/** Types 1 to 10. */
function writeLowAttributes(w: Writer, attributes: PathAttributes, context: UpdateContext): void {
  const { origin, asPath, nextHop, med, localPref, aggregator, communities } = attributes
  if (origin !== undefined) {
    writeAttributeHeader(w, WELL_KNOWN, ATTRIBUTE.origin, 1)
    w.u8(ORIGINS.indexOf(origin))
  }
  if (asPath !== undefined) {
    const size = context.fourOctetAs ? 4 : 2
    const length = asPath.reduce((sum, { asns }) => sum + 2 + size * asns.length, 0)
    writeAttributeHeader(w, WELL_KNOWN, ATTRIBUTE.asPath, length)
    writeAsPath(w, asPath, context.fourOctetAs)
  }
  if (nextHop !== undefined) {
    writeAttributeHeader(w, WELL_KNOWN, ATTRIBUTE.nextHop, 4)
    w.ip(nextHop)
  }
  if (med !== undefined) {
    writeAttributeHeader(w, OPTIONAL, ATTRIBUTE.med, 4)
    w.u32(med)
  }
  if (localPref !== undefined) {
    // RFC 4271 section 5.1.5.
    assert(context.internal, 'LOCAL_PREF for a peer of another AS')
    writeAttributeHeader(w, WELL_KNOWN, ATTRIBUTE.localPref, 4)
    w.u32(localPref)
  }
  if (attributes.atomicAggregate) writeAttributeHeader(w, WELL_KNOWN, ATTRIBUTE.atomicAggregate, 0)
  if (aggregator !== undefined) {
    const { as, ip } = aggregator
    writeAttributeHeader(w, OPTIONAL_TRANSITIVE, ATTRIBUTE.aggregator, context.fourOctetAs ? 8 : 6)
    if (context.fourOctetAs) w.u32(as)
    else w.u16(as > 0xffff ? AS_TRANS : as)
    w.ip(ip)
  }
  if (communities !== undefined) {
    writeAttributeHeader(w, OPTIONAL_TRANSITIVE, ATTRIBUTE.communities, 4 * communities.length)
    for (const community of communities) w.u32(community)
  }
  const { originatorId, clusterList } = attributes
  if (originatorId !== undefined) {
    writeAttributeHeader(w, OPTIONAL, ATTRIBUTE.originatorId, 4)
    w.ip(originatorId)
  }
  if (clusterList !== undefined) {
    writeAttributeHeader(w, OPTIONAL, ATTRIBUTE.clusterList, 4 * clusterList.length)
    for (const cluster of clusterList) w.ip(cluster)
  }
}

/** Types 16 to 18. */
function writeHighAttributes(w: Writer, attributes: PathAttributes, context: UpdateContext): void {
  const { extendedCommunities, asPath, aggregator } = attributes
  if (extendedCommunities !== undefined) {
    const length = 8 * extendedCommunities.length
    writeAttributeHeader(w, OPTIONAL_TRANSITIVE, ATTRIBUTE.extendedCommunities, length)
    for (const community of extendedCommunities) writeExtendedCommunity(w, community)
  }
  if (context.fourOctetAs) return
  if (asPath !== undefined && needsAs4(asPath)) {
    const length = asPath.reduce((sum, { asns }) => sum + 2 + 4 * asns.length, 0)
    writeAttributeHeader(w, OPTIONAL_TRANSITIVE, ATTRIBUTE.as4Path, length)
    writeAsPath(w, asPath, true)
  }
  if (aggregator !== undefined && aggregator.as > 0xffff) {
    writeAttributeHeader(w, OPTIONAL_TRANSITIVE, ATTRIBUTE.as4Aggregator, 8)
    w.u32(aggregator.as).ip(aggregator.ip)
  }
}

/** The length has two octets only where it needs them. */
export function writeAttributeHeader(w: Writer, flags: number, code: number, length: number): void {
  if (length > 255)
    w.u8(flags | FLAG.extendedLength)
      .u8(code)
      .u16(length)
  else w.u8(flags).u8(code).u8(length)
}
