import type { Ipv6 } from '../addr/ip.ts'

/** Membership of IPv6 multicast groups, reported by MLD so that snooping switches forward the group (RFC 2710, RFC 3810). */
export interface MulticastGroups {
  /**
   * Memberships are counted: the group is left when all who joined it have closed.
   * @throws when the kernel refuses, for example because the interface is gone
   */
  joinGroup(interfaceIndex: number, group: Ipv6): { close(): void }
}

/** Remembers who is in which group: `interfaceIndex group`. */
export class FakeMulticastGroups implements MulticastGroups {
  readonly joined: string[] = []

  joinGroup(interfaceIndex: number, group: Ipv6): { close(): void } {
    const entry = `${interfaceIndex} ${group}`
    this.joined.push(entry)
    return {
      close: () => {
        const at = this.joined.indexOf(entry)
        if (at >= 0) this.joined.splice(at, 1)
      },
    }
  }
}
