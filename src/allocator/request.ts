import { type Family, familyOf, type Ip, parseIp } from '../addr/ip.ts'
import type { ServiceFacts } from '../config/services.ts'

/** The families of a set of addresses; undefined for no combination that a Service can have. */
export type FamilySet = 'IPv4' | 'IPv6' | 'dual'

/** C-7: one address, or exactly two of different families. */
export function familySetOf(ips: readonly Ip[]): FamilySet | undefined {
  const [first, second] = ips
  if (first === undefined || ips.length > 2) return undefined
  if (second === undefined) return familyOf(first)
  return familyOf(first) === familyOf(second) ? undefined : 'dual'
}

/** IPv4 first: the order of a fresh dual-stack allocation whatever ipFamilies says. */
export function familiesIn(set: FamilySet): readonly Family[] {
  return set === 'dual' ? ['IPv4', 'IPv6'] : [set]
}

/** What the Service asks for by address: nothing, addresses, or the sentence that says what is wrong (A-2, C-11). */
export function requestedIps(service: ServiceFacts): readonly Ip[] | string {
  const { loadBalancerIps } = service.annotations
  if (loadBalancerIps === undefined) {
    if (service.loadBalancerIp === undefined) return []
    const ip = parseIp(service.loadBalancerIp)
    return ip === undefined
      ? `spec.loadBalancerIP ${JSON.stringify(service.loadBalancerIp)} is no IP address`
      : [ip]
  }
  if (service.loadBalancerIp !== undefined) {
    return 'the annotation metallb.io/loadBalancerIPs and spec.loadBalancerIP are both set; keep one of them'
  }
  const ips: Ip[] = []
  for (const text of loadBalancerIps.split(',')) {
    const ip = parseIp(text.trim())
    if (ip === undefined)
      return `metallb.io/loadBalancerIPs holds ${JSON.stringify(text.trim())}, which is no IP address`
    ips.push(ip)
  }
  return familySetOf(ips) === undefined
    ? `metallb.io/loadBalancerIPs holds ${ips.join(', ')}; it takes one address, or one of each family`
    : ips
}
