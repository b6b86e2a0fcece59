import assert from 'node:assert/strict'
import { Reader, type Writer } from '../io.ts'
import type { AfiSafi } from './family.ts'

/** What a speaker can do, as it says in its OPEN (RFC 5492). */
export type Capability =
  /** Carries routes of a family (RFC 4760 section 8). */
  | { readonly type: 'multiprotocol'; readonly family: AfiSafi }
  /** Answers ROUTE-REFRESH (RFC 2918). */
  | { readonly type: 'route-refresh' }
  /** Takes the next hop of a family's routes in another family (RFC 8950 section 4). */
  | {
      readonly type: 'extended-next-hop'
      readonly families: readonly { readonly family: AfiSafi; readonly nextHopAfi: number }[]
    }
  /** Takes messages of up to 65,535 bytes (RFC 8654). */
  | { readonly type: 'extended-messages' }
  | GracefulRestart
  /** AS numbers of four octets, and the sender's own (RFC 6793). */
  | { readonly type: 'four-octet-as'; readonly as: number }
  /** Marks the begin and end of an answer to ROUTE-REFRESH (RFC 7313). */
  | { readonly type: 'enhanced-route-refresh' }
  | LongLivedGracefulRestart
  /** The sender's names (draft-walton-bgp-hostname-capability); FRR and BIRD send it. */
  | { readonly type: 'fqdn'; readonly host: string; readonly domain: string }
  /** Neither understood nor refused (RFC 5492 section 3). */
  | { readonly type: 'unknown'; readonly code: number; readonly value: Uint8Array }

/** RFC 4724 section 3. */
export type GracefulRestart = {
  readonly type: 'graceful-restart'
  /** The R bit: the sender has just restarted, so nobody is to wait for its End-of-RIB before sending. */
  readonly restarting: boolean
  /** The N bit: NOTIFICATIONs and hold timers leave the forwarding state as well (RFC 8538). */
  readonly notifications: boolean
  /** How long the sender's restart takes at most, in seconds, 0 to 4095. */
  readonly restartTimeS: number
  /** May be empty: then it only sends End-of-RIB markers. */
  readonly families: readonly {
    readonly family: AfiSafi
    /** The F bit: the sender forwarded on while it restarted. */
    readonly forwardingPreserved: boolean
  }[]
}

/** RFC 9494 section 3.1. */
export type LongLivedGracefulRestart = {
  readonly type: 'long-lived-graceful-restart'
  readonly families: readonly {
    readonly family: AfiSafi
    readonly forwardingPreserved: boolean
    /** How long stale routes are kept, in seconds, 0 to 2^24 - 1. */
    readonly staleTimeS: number
  }[]
}

const CODE = {
  multiprotocol: 1,
  'route-refresh': 2,
  'extended-next-hop': 5,
  'extended-messages': 6,
  'graceful-restart': 64,
  'four-octet-as': 65,
  'enhanced-route-refresh': 70,
  'long-lived-graceful-restart': 71,
  fqdn: 73,
} as const satisfies Record<Exclude<Capability['type'], 'unknown'>, number>

/**
 * The capabilities of one Capabilities parameter, in its order. Known ones of a wrong length are refused (RFC 4271 section 6.2: a
 * recognised parameter that is malformed), but the names of 'fqdn', on which nothing depends: those become 'unknown'.
 * @throws DecodeError
 */
export function decodeCapabilities(bytes: Uint8Array): readonly Capability[] {
  const r = new Reader(bytes, 'RFC 5492')
  const capabilities: Capability[] = []
  while (r.remaining > 0) {
    const code = r.u8('capability code')
    capabilities.push(decodeCapability(code, r.bytes('capability value', r.u8('capability length'))))
  }
  return capabilities
}

function decodeCapability(code: number, value: Uint8Array): Capability {
  switch (code) {
    case CODE.multiprotocol: {
      const r = exactly(value, 4, 'RFC 4760 section 8')
      const afi = r.u16('AFI')
      r.skip('reserved', 1)
      return { type: 'multiprotocol', family: { afi, safi: r.u8('SAFI') } }
    }
    case CODE['route-refresh']:
      exactly(value, 0, 'RFC 2918')
      return { type: 'route-refresh' }
    case CODE['extended-next-hop']: {
      const r = multipleOf(value, 6, 'RFC 8950 section 4')
      const families = []
      while (r.remaining > 0) {
        // The SAFI has two octets here, the first of which is reserved.
        const family = { afi: r.u16('NLRI AFI'), safi: r.u16('NLRI SAFI') & 0xff }
        families.push({ family, nextHopAfi: r.u16('next hop AFI') })
      }
      return { type: 'extended-next-hop', families }
    }
    case CODE['extended-messages']:
      exactly(value, 0, 'RFC 8654')
      return { type: 'extended-messages' }
    case CODE['graceful-restart']:
      return decodeGracefulRestart(value)
    case CODE['four-octet-as']:
      return { type: 'four-octet-as', as: exactly(value, 4, 'RFC 6793').u32('AS number') }
    case CODE['enhanced-route-refresh']:
      exactly(value, 0, 'RFC 7313')
      return { type: 'enhanced-route-refresh' }
    case CODE['long-lived-graceful-restart']: {
      const r = multipleOf(value, 7, 'RFC 9494 section 3.1')
      const families = []
      while (r.remaining > 0) {
        const family = { afi: r.u16('AFI'), safi: r.u8('SAFI') }
        const forwardingPreserved = (r.u8('flags') & 0x80) !== 0
        const staleTimeS = (r.u8('long-lived stale time') << 16) | r.u16('long-lived stale time')
        families.push({ family, forwardingPreserved, staleTimeS })
      }
      return { type: 'long-lived-graceful-restart', families }
    }
    case CODE.fqdn:
      return decodeFqdn(value) ?? { type: 'unknown', code, value }
    default:
      return { type: 'unknown', code, value }
  }
}

function decodeGracefulRestart(value: Uint8Array): GracefulRestart {
  const r = new Reader(value, 'RFC 4724 section 3')
  const first = r.u16('restart flags and time')
  if (r.remaining % 4 !== 0) throw r.error('bad-length', 'address families', `${r.remaining} bytes`)
  const families = []
  while (r.remaining > 0) {
    const family = { afi: r.u16('AFI'), safi: r.u8('SAFI') }
    families.push({ family, forwardingPreserved: (r.u8('flags') & 0x80) !== 0 })
  }
  return {
    type: 'graceful-restart',
    restarting: (first & 0x8000) !== 0,
    notifications: (first & 0x4000) !== 0,
    restartTimeS: first & 0x0fff,
    families,
  }
}

/** undefined: not two texts, each behind its length, with nothing after them. */
function decodeFqdn(value: Uint8Array): Capability | undefined {
  const hostLength = value[0] ?? 0
  const domainLength = value[1 + hostLength]
  if (domainLength === undefined || value.length !== 2 + hostLength + domainLength) return undefined
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    const host = text.decode(value.subarray(1, 1 + hostLength))
    return { type: 'fqdn', host, domain: text.decode(value.subarray(2 + hostLength)) }
  } catch {
    // Not UTF-8. The value is kept as it is.
    return undefined
  }
}

function exactly(value: Uint8Array, length: number, source: string): Reader {
  const r = new Reader(value, source)
  r.check(value.length, 'capability length', length, 'bad-length')
  return r
}

function multipleOf(value: Uint8Array, unit: number, source: string): Reader {
  const r = new Reader(value, source)
  if (value.length % unit !== 0) {
    throw r.error('bad-length', 'capability length', `${value.length} is no multiple of ${unit}`)
  }
  return r
}

/** Code, length and value of one capability. A value of more than 255 bytes is a broken invariant. */
export function writeCapability(w: Writer, capability: Capability): void {
  const start = w.length
  w.u8(codeOf(capability)).u8(0)
  writeValue(w, capability)
  const length = w.length - start - 2
  assert(length <= 255, `a capability of ${length} bytes`)
  w.patchU16(start, (codeOf(capability) << 8) | length)
}

function writeValue(w: Writer, capability: Capability): void {
  switch (capability.type) {
    case 'multiprotocol':
      w.u16(capability.family.afi).u8(0).u8(capability.family.safi)
      break
    case 'extended-next-hop':
      for (const { family, nextHopAfi } of capability.families) {
        w.u16(family.afi).u16(family.safi).u16(nextHopAfi)
      }
      break
    case 'graceful-restart': {
      const { restarting, notifications, restartTimeS, families } = capability
      assert(restartTimeS <= 0xfff, `a restart time of ${restartTimeS} s`)
      w.u16((restarting ? 0x8000 : 0) | (notifications ? 0x4000 : 0) | restartTimeS)
      for (const { family, forwardingPreserved } of families) {
        w.u16(family.afi)
          .u8(family.safi)
          .u8(forwardingPreserved ? 0x80 : 0)
      }
      break
    }
    case 'four-octet-as':
      w.u32(capability.as)
      break
    case 'long-lived-graceful-restart':
      for (const { family, forwardingPreserved, staleTimeS } of capability.families) {
        w.u16(family.afi)
          .u8(family.safi)
          .u8(forwardingPreserved ? 0x80 : 0)
        w.u8(staleTimeS >>> 16).u16(staleTimeS & 0xffff)
      }
      break
    case 'fqdn': {
      const [host, domain] = [capability.host, capability.domain].map(name => new TextEncoder().encode(name))
      for (const name of [host, domain]) w.u8(name?.length ?? 0).bytes(name ?? new Uint8Array(0))
      break
    }
    case 'unknown':
      w.bytes(capability.value)
      break
    case 'route-refresh':
    case 'extended-messages':
    case 'enhanced-route-refresh':
      break
  }
}

function codeOf(capability: Capability): number {
  return capability.type === 'unknown' ? capability.code : CODE[capability.type]
}
