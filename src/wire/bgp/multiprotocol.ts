import assert from 'node:assert/strict'
import { type Family, type Ip, type Ipv6, isIpv4 } from '../../addr/ip.ts'
import type { Prefix } from '../../addr/prefix.ts'
import type { Reader, Writer } from '../io.ts'
import { type AfiSafi, unicast, unicastFamily } from './family.ts'
import { prefixBytes, readPrefixes, writePrefix } from './nlri.ts'

/** MP_REACH_NLRI (RFC 4760 section 3): prefixes of any family, with the next hop for them. */
export type MpReach =
  | {
      readonly type: 'unicast'
      readonly family: Family
      /** Of IPv4 prefixes it may be an IPv6 address (RFC 8950). GoBGP writes the IPv4 next hop of IPv6 prefixes as `::ffff:a.b.c.d`. */
      readonly nextHop: Ip
      /** The router's link-local address, where it has told both (RFC 2545 section 3). */
      readonly linkLocal?: Ipv6
      readonly prefixes: readonly Prefix[]
    }
  /** Everything else: what follows AFI and SAFI. */
  | { readonly type: 'other'; readonly family: AfiSafi; readonly bytes: Uint8Array }

/** MP_UNREACH_NLRI (RFC 4760 section 4). Without prefixes it is the End-of-RIB marker of its family (RFC 4724 section 2). */
export type MpUnreach =
  | { readonly type: 'unicast'; readonly family: Family; readonly prefixes: readonly Prefix[] }
  | { readonly type: 'other'; readonly family: AfiSafi; readonly bytes: Uint8Array }

/** @throws DecodeError, also for a length of the next hop that the family does not have (RFC 7606 section 7.11) */
export function readMpReach(r: Reader): MpReach {
  const afiSafi = { afi: r.u16('AFI'), safi: r.u8('SAFI') }
  const family = unicastFamily(afiSafi)
  if (family === undefined) {
    // Whatever the family, a length, that many bytes, and a reserved one.
    const bytes = Uint8Array.from(r.rest())
    const nextHopLength = bytes[0] ?? 0
    if (bytes.length < nextHopLength + 2) throw r.error('bad-length', 'next hop length', `${nextHopLength}`)
    return { type: 'other', family: afiSafi, bytes }
  }
  const length = r.u8('next hop length')
  if (!(length === 16 || length === 32 || (length === 4 && family === 'IPv4'))) {
    throw r.error('bad-length', 'next hop length', `${length} in ${family}`)
  }
  const nextHop = length === 4 ? r.ipv4('next hop') : r.ipv6('next hop')
  const linkLocal = length === 32 ? { linkLocal: r.ipv6('link-local next hop') } : {}
  r.skip('reserved', 1)
  return { type: 'unicast', family, nextHop, ...linkLocal, prefixes: readPrefixes(r, family) }
}

/** @throws DecodeError */
export function readMpUnreach(r: Reader): MpUnreach {
  const afiSafi = { afi: r.u16('AFI'), safi: r.u8('SAFI') }
  const family = unicastFamily(afiSafi)
  if (family === undefined) return { type: 'other', family: afiSafi, bytes: Uint8Array.from(r.rest()) }
  return { type: 'unicast', family, prefixes: readPrefixes(r, family) }
}

/** How many bytes the attribute's value has. */
export function mpReachBytes(reach: MpReach): number {
  if (reach.type === 'other') return 3 + reach.bytes.length
  return mpReachFixedBytes(reach) + totalBytes(reach.prefixes)
}

/** The same without the prefixes. */
export function mpReachFixedBytes({
  nextHop,
  linkLocal,
}: {
  readonly nextHop: Ip
  readonly linkLocal?: Ipv6
}): number {
  return 5 + (isIpv4(nextHop) ? 4 : 16) + (linkLocal === undefined ? 0 : 16)
}

export function mpUnreachBytes(unreach: MpUnreach): number {
  return 3 + (unreach.type === 'other' ? unreach.bytes.length : totalBytes(unreach.prefixes))
}

function totalBytes(prefixes: readonly Prefix[]): number {
  let sum = 0
  for (const prefix of prefixes) sum += prefixBytes(prefix)
  return sum
}

export function writeMpReach(w: Writer, reach: MpReach): void {
  if (reach.type === 'other') {
    w.u16(reach.family.afi).u8(reach.family.safi).bytes(reach.bytes)
    return
  }
  const { family, nextHop, linkLocal, prefixes } = reach
  const { afi, safi } = unicast(family)
  const v4 = isIpv4(nextHop)
  assert(
    v4 ? family === 'IPv4' && linkLocal === undefined : true,
    `the next hop ${nextHop} of ${family} prefixes`,
  )
  w.u16(afi).u8(safi)
  w.u8(v4 ? 4 : linkLocal === undefined ? 16 : 32).ip(nextHop)
  if (linkLocal !== undefined) w.ip(linkLocal)
  w.u8(0)
  for (const prefix of prefixes) writePrefix(w, prefix)
}

export function writeMpUnreach(w: Writer, unreach: MpUnreach): void {
  if (unreach.type === 'other') {
    w.u16(unreach.family.afi).u8(unreach.family.safi).bytes(unreach.bytes)
    return
  }
  const { afi, safi } = unicast(unreach.family)
  w.u16(afi).u8(safi)
  for (const prefix of unreach.prefixes) writePrefix(w, prefix)
}
