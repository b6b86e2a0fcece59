import type { Family } from '../addr/ip.ts'
import { type Prefix, prefixFamily } from '../addr/prefix.ts'
import { type AfiSafi, unicastFamily } from '../wire/bgp/family.ts'
import { NOTIFICATION, type Notification, notification } from '../wire/bgp/notification.ts'
import type { RouteChanges } from '../wire/bgp/update.ts'

/**
 * What a peer has told us, which is counted and not used: a node is no router. The prefixes themselves are kept, without attributes,
 * for the count is of those that the peer has announced and not withdrawn; the limit bounds them.
 *
 * Lives from 'up' to 'down' of a session. Changed in place.
 */
export type Received = {
  readonly prefixes: Readonly<Record<Family, Set<Prefix>>>
  /** Per family; 0: none. */
  readonly limit: number
}

export function createReceived(limit: number): Received {
  return { prefixes: { IPv4: new Set(), IPv6: new Set() }, limit }
}

/**
 * Takes an UPDATE's changes in.
 * @returns the NOTIFICATION to end the session with if the peer has told more than the limit (RFC 4486 section 4); null if all is well
 */
export function receive(received: Received, changes: RouteChanges): Notification | null {
  const { prefixes, limit } = received
  for (const family of changes.disabled) clear(received, family)
  for (const prefix of changes.withdrawn) prefixes[prefixFamily(prefix)].delete(prefix)
  for (const prefix of changes.announced) {
    const family = prefixFamily(prefix)
    prefixes[family].add(prefix)
    if (limit > 0 && prefixes[family].size > limit) return tooMany(family, limit)
  }
  return null
}

function clear(received: Received, family: AfiSafi): void {
  const known = unicastFamily(family)
  if (known !== undefined) received.prefixes[known].clear()
}

/** The data is AFI, SAFI and the limit. */
function tooMany(family: Family, limit: number): Notification {
  const { code, maximumPrefixes } = NOTIFICATION.cease
  const data = new Uint8Array(7)
  data[1] = family === 'IPv4' ? 1 : 2
  data[2] = 1
  new DataView(data.buffer).setUint32(3, limit)
  return notification(code, maximumPrefixes, data)
}
