import { Reader, type Writer } from '../io.ts'
import { BgpError } from './error.ts'
import type { AfiSafi } from './family.ts'
import { NOTIFICATION, notification } from './notification.ts'

/** Asks for all routes of a family again (RFC 2918), or marks begin and end of the answer (RFC 7313). */
export type RouteRefresh = {
  readonly type: 'route-refresh'
  readonly family: AfiSafi
  /** See {@link REFRESH}; others are to be ignored (RFC 7313 section 5). */
  readonly subtype: number
  /** Outbound route filters of a request (RFC 5291), which we never offer to apply: bytes as they came, mostly none. */
  readonly filters: Uint8Array
}

export const REFRESH = { request: 0, begin: 1, end: 2 } as const

/** @param message with its header, which the NOTIFICATION for a wrong length has to quote. @throws DecodeError */
export function decodeRouteRefresh(message: Uint8Array, headerLength: number): RouteRefresh {
  const r = new Reader(message.subarray(headerLength), 'RFC 7313')
  const afi = r.u16('AFI')
  const subtype = r.u8('subtype')
  const safi = r.u8('SAFI')
  if ((subtype === REFRESH.begin || subtype === REFRESH.end) && r.remaining > 0) {
    const { code, invalidMessageLength } = NOTIFICATION.routeRefresh
    throw new BgpError(
      'bad-length',
      'ROUTE-REFRESH',
      'RFC 7313 section 5',
      `${r.remaining} bytes after the SAFI`,
      notification(code, invalidMessageLength, message.slice(0, 4096 - 21)),
    )
  }
  return {
    type: 'route-refresh',
    family: { afi, safi },
    subtype,
    filters: r.bytes('outbound route filters', r.remaining),
  }
}

export function writeRouteRefresh(w: Writer, { family, subtype, filters }: RouteRefresh): void {
  w.u16(family.afi).u8(subtype).u8(family.safi).bytes(filters)
}
