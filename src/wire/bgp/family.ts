import type { Family } from '../../addr/ip.ts'

/** An address family and what its routes are for (RFC 4760; numbers by IANA). Those that nobody knows here survive as numbers. */
export type AfiSafi = { readonly afi: number; readonly safi: number }

export const AFI = { ipv4: 1, ipv6: 2 } as const
export const SAFI = { unicast: 1 } as const

export const IPV4_UNICAST: AfiSafi = { afi: AFI.ipv4, safi: SAFI.unicast }
export const IPV6_UNICAST: AfiSafi = { afi: AFI.ipv6, safi: SAFI.unicast }

export function unicast(family: Family): AfiSafi {
  return family === 'IPv4' ? IPV4_UNICAST : IPV6_UNICAST
}

/** The family whose unicast routes it means, or undefined for everything else. */
export function unicastFamily({ afi, safi }: AfiSafi): Family | undefined {
  if (safi !== SAFI.unicast) return undefined
  return afi === AFI.ipv4 ? 'IPv4' : afi === AFI.ipv6 ? 'IPv6' : undefined
}

export function sameAfiSafi(a: AfiSafi, b: AfiSafi): boolean {
  return a.afi === b.afi && a.safi === b.safi
}
