import type { Family, Ipv4 } from '../addr/ip.ts'
import type { UpdateContext } from '../wire/bgp/attributes.ts'
import type { Capability, GracefulRestart } from '../wire/bgp/capabilities.ts'
import { unicast, unicastFamily } from '../wire/bgp/family.ts'
import { EXTENDED_MESSAGE_MAX, MESSAGE_MAX } from '../wire/bgp/message.ts'
import { NOTIFICATION, type Notification, notification } from '../wire/bgp/notification.ts'
import { AS_TRANS, asOf, capability, carriesFamily, type Open } from '../wire/bgp/open.ts'

/** What our OPEN says, and what we accept of the peer's. */
export type OpenConfig = {
  /** 1 to 2^32 - 1, as this peer is to see it. */
  readonly localAs: number
  readonly localIdentifier: Ipv4
  /** 'internal': our own; 'external': any other. */
  readonly peerAs: number | 'internal' | 'external'
  /** Which unicast routes the session shall carry. At least one; without any that the peer has as well there is no session. */
  readonly families: readonly Family[]
  /** 0 or from 3 on; 0: neither keepalives nor a hold timer, if the peer wants none either. */
  readonly holdTimeS: number
  /** null: none. Our forwarding state outlives the process: the data path is in the kernel. */
  readonly gracefulRestart: { readonly restartTimeS: number } | null
  /** IPv4 prefixes may have an IPv6 next hop (RFC 8950): what a session over link-local addresses needs. */
  readonly extendedNextHop: boolean
  /** The node, for whoever looks at the router; null: not told. */
  readonly hostName: string | null
}

/** What two OPENs settle. */
export type Negotiated = {
  readonly peerAs: number
  readonly peerIdentifier: Ipv4
  readonly internal: boolean
  /** Those that both carry, in our order. */
  readonly families: readonly Family[]
  /** The shorter of both, 0: none. */
  readonly holdTimeS: number
  readonly fourOctetAs: boolean
  readonly routeRefresh: boolean
  /** Answers to ROUTE-REFRESH are marked at begin and end (RFC 7313). */
  readonly enhancedRouteRefresh: boolean
  /** Of an UPDATE, in bytes. */
  readonly messageMax: number
  /** Both take IPv4 prefixes with an IPv6 next hop. */
  readonly extendedNextHop: boolean
  /** The peer's, if we offered it too. */
  readonly gracefulRestart: GracefulRestart | null
  /** NOTIFICATIONs leave the routes of both alone, but a Hard Reset (RFC 8538). */
  readonly notificationsKeepRoutes: boolean
  /** As the peer calls itself. */
  readonly peerHostName: string | null
}

/** @param restarting this process has just begun, and its predecessor left routes with the peer: the R bit (RFC 4724 section 4.1) */
export function ourOpen(config: OpenConfig, restarting: boolean): Open {
  const families = config.families.map(unicast)
  const capabilities: Capability[] = families.map(family => ({ type: 'multiprotocol', family }))
  capabilities.push({ type: 'route-refresh' })
  if (config.extendedNextHop && config.families.includes('IPv4')) {
    capabilities.push({ type: 'extended-next-hop', families: [{ family: unicast('IPv4'), nextHopAfi: 2 }] })
  }
  capabilities.push({ type: 'extended-messages' })
  const { gracefulRestart } = config
  if (gracefulRestart !== null) {
    capabilities.push({
      type: 'graceful-restart',
      restarting,
      notifications: true,
      restartTimeS: gracefulRestart.restartTimeS,
      // True whether this is a restart or not: what forwards is the kernel.
      families: families.map(family => ({ family, forwardingPreserved: true })),
    })
  }
  capabilities.push({ type: 'four-octet-as', as: config.localAs }, { type: 'enhanced-route-refresh' })
  if (config.hostName !== null) capabilities.push({ type: 'fqdn', host: config.hostName, domain: '' })
  return {
    type: 'open',
    myAs: config.localAs > 0xffff ? AS_TRANS : config.localAs,
    holdTimeS: config.holdTimeS,
    bgpIdentifier: config.localIdentifier,
    capabilities,
  }
}

/** What the two agree on, or why they cannot (RFC 4271 section 6.2, RFC 6286 section 2.2, RFC 5492 section 5). */
export function negotiate(config: OpenConfig, theirs: Open): Negotiated | Notification {
  const { code, badPeerAs, badBgpIdentifier, unsupportedCapability } = NOTIFICATION.open
  const peerAs = asOf(theirs)
  const internal = peerAs === config.localAs
  const expected =
    config.peerAs === 'internal'
      ? internal
      : config.peerAs === 'external'
        ? !internal
        : peerAs === config.peerAs
  if (!expected) return notification(code, badPeerAs)
  if (internal && theirs.bgpIdentifier === config.localIdentifier) return notification(code, badBgpIdentifier)
  const families = config.families.filter(family => carriesFamily(theirs, unicast(family)))
  if (families.length === 0) {
    // The data are the capabilities that we miss.
    const wanted = config.families.flatMap(family => {
      const { afi, safi } = unicast(family)
      return [1, 4, 0, afi, 0, safi]
    })
    return notification(code, unsupportedCapability, Uint8Array.from(wanted))
  }
  const ours = ourOpen(config, false)
  const both = (type: Capability['type']): boolean =>
    capability(ours, type) !== undefined && capability(theirs, type) !== undefined
  const holdTimes = [config.holdTimeS, theirs.holdTimeS]
  const gracefulRestart =
    config.gracefulRestart === null ? null : (capability(theirs, 'graceful-restart') ?? null)
  return {
    peerAs,
    peerIdentifier: theirs.bgpIdentifier,
    internal,
    families,
    holdTimeS: Math.min(...holdTimes),
    fourOctetAs: both('four-octet-as'),
    routeRefresh: both('route-refresh'),
    enhancedRouteRefresh: both('enhanced-route-refresh'),
    messageMax: both('extended-messages') ? EXTENDED_MESSAGE_MAX : MESSAGE_MAX,
    extendedNextHop:
      both('extended-next-hop') &&
      (capability(theirs, 'extended-next-hop')?.families.some(
        each => unicastFamily(each.family) === 'IPv4' && each.nextHopAfi === 2,
      ) ??
        false),
    gracefulRestart,
    notificationsKeepRoutes: gracefulRestart?.notifications ?? false,
    peerHostName: capability(theirs, 'fqdn')?.host ?? null,
  }
}

export function updateContext({ fourOctetAs, internal }: Negotiated): UpdateContext {
  return { fourOctetAs, internal }
}
