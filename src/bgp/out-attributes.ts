import type { Family, Ip, Ipv6 } from '../addr/ip.ts'
import { type Prefix, prefixFamily } from '../addr/prefix.ts'
import type { PathAttributes } from '../wire/bgp/attributes.ts'
import {
  COMMUNITY,
  type ExtendedCommunity,
  type LargeCommunity,
  type StandardCommunity,
  standardCommunity,
} from '../wire/bgp/communities.ts'
import { AS_TRANS } from '../wire/bgp/open.ts'
import type { Negotiated } from './negotiation.ts'
import type { Route } from './routes.ts'

/** What the plan does not know of a session. */
export type OutSession = {
  readonly negotiated: Pick<Negotiated, 'internal' | 'extendedNextHop' | 'families' | 'fourOctetAs'>
  /** Ours, as this peer sees it. */
  readonly localAs: number
  /** Where the router is to send traffic of each family; one that is missing is not announced. */
  readonly nextHops: Readonly<Partial<Record<Family, NextHop>>>
}

/** Of IPv4 it may be an IPv6 address, if the peer takes that (RFC 8950). */
export type NextHop = { readonly address: Ip; readonly linkLocal?: Ipv6 }

/** What a node adds to a route of the plan. */
export type Emphasis = {
  /** In bytes per second; in proportion to the endpoints here. null: all nodes alike. */
  readonly linkBandwidth: number | null
  /** This node is being drained: routers are to prefer others (RFC 8326). */
  readonly gracefulShutdown: boolean
}

export const NO_EMPHASIS: Emphasis = { linkBandwidth: null, gracefulShutdown: false }

/** Sent within our AS where the plan sets none (RFC 4271 section 5.1.5 demands one). */
const LOCAL_PREF_DEFAULT = 100

/** A route as it goes to a peer. Equal keys have equal attributes, families and next hops: they share UPDATEs. */
export type OutRoute = {
  readonly prefix: Prefix
  readonly key: string
  readonly nextHop: NextHop
  /** Without the next hop. Asked for once for each key. */
  readonly attributes: () => PathAttributes
}

/** What the last route had, and so often has the next: its key, whose making costs most. */
type Memo = {
  readonly family: Family
  readonly localPref: number | null
  readonly communities: Route['communities']
  readonly emphasis: Emphasis
  readonly key: string
}

/**
 * Turns the routes of the plan into those of one session. The function gives undefined for a prefix that the session does not carry,
 * or for which there is no next hop that the peer takes.
 */
export function outRoutes(session: OutSession): (route: Route, emphasis: Emphasis) => OutRoute | undefined {
  const { internal, families, extendedNextHop } = session.negotiated
  let memo: Memo | undefined
  return (route, emphasis) => {
    const family = prefixFamily(route.prefix)
    const nextHop = session.nextHops[family]
    if (nextHop === undefined || !families.includes(family)) return undefined
    if (family === 'IPv4' && nextHop.address.includes(':') && !extendedNextHop) return undefined
    // RFC 8326 section 4.1: within our AS the preference says it as well, to those who do not look at the community.
    const localPref = !internal
      ? null
      : emphasis.gracefulShutdown
        ? 0
        : (route.localPref ?? LOCAL_PREF_DEFAULT)
    const { communities } = route
    if (memo === undefined || !isSame(memo, family, localPref, communities, emphasis)) {
      memo = {
        family,
        localPref,
        communities,
        emphasis,
        key: keyOf(family, localPref, communities, emphasis),
      }
    }
    return {
      prefix: route.prefix,
      key: memo.key,
      nextHop,
      attributes: () => attributesOf(route, session, emphasis, localPref),
    }
  }
}

function isSame(
  memo: Memo,
  family: Family,
  localPref: number | null,
  communities: Route['communities'],
  { linkBandwidth, gracefulShutdown }: Emphasis,
): boolean {
  return (
    memo.family === family &&
    memo.localPref === localPref &&
    memo.emphasis.linkBandwidth === linkBandwidth &&
    memo.emphasis.gracefulShutdown === gracefulShutdown &&
    memo.communities.length === communities.length &&
    // Those of one advertisement are the same objects in every route.
    communities.every((community, i) => community === memo.communities[i])
  )
}

function keyOf(
  family: Family,
  localPref: number | null,
  communities: Route['communities'],
  { linkBandwidth, gracefulShutdown }: Emphasis,
): string {
  const texts = communities.map(({ text }) => text)
  return [family, localPref, linkBandwidth, gracefulShutdown, ...texts].join(' ')
}

function attributesOf(
  route: Route,
  { negotiated, localAs }: OutSession,
  { linkBandwidth, gracefulShutdown }: Emphasis,
  localPref: number | null,
): PathAttributes {
  const standard: StandardCommunity[] = gracefulShutdown ? [COMMUNITY.gracefulShutdown] : []
  const large: LargeCommunity[] = []
  for (const community of route.communities) {
    if (community.kind === 'large') large.push(community.parts)
    else standard.push(standardCommunity(...community.parts))
  }
  // Ascending and without repetition, as routers show them.
  const communities = [...new Set(standard)].sort((a, b) => a - b)
  const extended: ExtendedCommunity[] =
    linkBandwidth === null
      ? []
      : [
          {
            type: 'link-bandwidth',
            // As FRR does: a router may drop what is non-transitive when it comes from another AS.
            transitive: !negotiated.internal,
            as: localAs > 0xffff ? AS_TRANS : localAs,
            bytesPerSecond: linkBandwidth,
          },
        ]
  return {
    origin: 'igp',
    // RFC 4271 section 5.1.2.
    asPath: negotiated.internal ? [] : [{ type: 'sequence', asns: [localAs] }],
    ...(localPref === null ? {} : { localPref }),
    ...(communities.length === 0 ? {} : { communities }),
    ...(extended.length === 0 ? {} : { extendedCommunities: extended }),
    ...(large.length === 0 ? {} : { largeCommunities: large }),
  }
}
