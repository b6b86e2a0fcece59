import { type Family, familyOf, type Ip } from '../addr/ip.ts'
import { addon, hasCode, type NativeSocket, SOCK_DGRAM } from './native.ts'
import { domainOf } from './sockaddr.ts'
import { joinMulticast, leaveMulticast } from './socket-options.ts'

/**
 * Memberships in multicast groups for their own sake: the kernel reports them (MLD, RFC 3810; IGMP, RFC 3376), so that switches which
 * snoop on those reports let through what is sent to the group, e.g. neighbour solicitations to a solicited-node group. Nothing is received
 * here. Two addresses may share a group: the last of them to go leaves it.
 */
export class MulticastGroups {
  readonly #members = new Map<string, { socket: NativeSocket; users: number }>()
  /** The kernel bounds the memberships of one socket (igmp_max_memberships, optmem_max): there may be several. */
  readonly #sockets = new Map<Family, NativeSocket[]>()

  /**
   * @returns the way to leave; leaving twice is harmless
   * @throws when the interface is missing (ENODEV) or `group` is not a multicast address (EINVAL)
   */
  joinGroup(interfaceIndex: number, group: Ip): { close(): void } {
    const key = `${interfaceIndex} ${group}`
    let member = this.#members.get(key)
    if (member === undefined) {
      member = { socket: this.#join(interfaceIndex, group), users: 0 }
      this.#members.set(key, member)
    }
    member.users++
    const joined = member
    let left = false
    return {
      close: () => {
        if (left) return
        left = true
        joined.users--
        if (joined.users > 0 || this.#members.get(key) !== joined) return
        this.#members.delete(key)
        try {
          leaveMulticast(joined.socket, group, interfaceIndex)
        } catch (error) {
          // The interface went away, and its memberships with it.
          if (!hasCode(error, 'ENODEV') && !hasCode(error, 'EADDRNOTAVAIL')) throw error
        }
      },
    }
  }

  /** Leaves everything. */
  close(): void {
    this.#members.clear()
    for (const sockets of this.#sockets.values()) for (const socket of sockets) addon().close(socket)
    this.#sockets.clear()
  }

  #join(interfaceIndex: number, group: Ip): NativeSocket {
    const family = familyOf(group)
    const sockets = this.#sockets.get(family) ?? []
    this.#sockets.set(family, sockets)
    const newest = sockets.at(-1)
    if (newest !== undefined) {
      try {
        joinMulticast(newest, group, interfaceIndex)
        return newest
      } catch (error) {
        if (!hasCode(error, 'ENOBUFS') && !hasCode(error, 'ENOMEM')) throw error
      }
    }
    const socket = addon().open(domainOf(family), SOCK_DGRAM, 0)
    try {
      joinMulticast(socket, group, interfaceIndex)
    } catch (error) {
      addon().close(socket)
      throw error
    }
    sockets.push(socket)
    return socket
  }
}
