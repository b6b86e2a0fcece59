import { type Ip, isIpv6 } from '../addr/ip.ts'
import type { Link } from '../ports/links.ts'
import type { Nic } from './machine.ts'

/** Names of interfaces that never announce, as MetalLB's excludel2.yaml has them (metallb.md 1.7). */
export const DEFAULT_EXCLUDED_INTERFACES: readonly RegExp[] = [
  /^docker.*/,
  /^cbr.*/,
  /^dummy.*/,
  /^virbr.*/,
  /^lxcbr.*/,
  /^veth.*/,
  /^lo$/,
  /^cali.*/,
  /^tunl.*/,
  /^flannel.*/,
  /^kube-ipvs.*/,
  /^cni.*/,
  /^nodelocaldns.*/,
  /^lxc.*/,
]

/** The interfaces that may carry announcements (L-20), in the order of their index. Without a carrier there is nobody to tell. */
export function announcingNics(links: Iterable<Link>, excluded: readonly RegExp[]): Nic[] {
  const nics: Nic[] = []
  for (const link of links) {
    if (!link.up || !link.carrier || link.loopback || link.noArp || link.master !== undefined) continue
    if (link.mac === undefined || excluded.some(pattern => pattern.test(link.name))) continue
    const linkLocal = link.addresses.find(
      ({ ip, tentative }) => isIpv6(ip) && ip.startsWith('fe80:') && !tentative,
    )?.ip
    nics.push({
      index: link.index,
      name: link.name,
      mac: link.mac,
      arp: link.broadcast,
      linkLocal: linkLocal !== undefined && isIpv6(linkLocal) ? linkLocal : undefined,
    })
  }
  return nics.sort((a, b) => a.index - b.index)
}

/**
 * Whether this node can hear its peers at all: the interface that holds its own address has a carrier.
 * Where the address is on no interface that we see, any interface with a carrier will do.
 */
export function canHearPeers(links: Iterable<Link>, self: Ip | undefined): boolean {
  let any = false
  for (const link of links) {
    if (link.loopback) continue
    const working = link.up && link.carrier
    if (self !== undefined && link.addresses.some(address => address.ip === self)) return working
    any ||= working
  }
  return any
}
