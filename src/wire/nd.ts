import assert from 'node:assert/strict'
import { type Ipv6, isMulticastIp, solicitedNodeGroup } from '../addr/ip.ts'
import { type Mac, multicastMac } from '../addr/mac.ts'
import { decodeEthernet, ETHERTYPE, type EthernetHeader, encodeEthernet } from './ethernet.ts'
import { decodeIcmpv6, encodeIcmpv6 } from './icmpv6.ts'
import { DecodeError, Reader, Writer } from './io.ts'
import { PROTOCOL } from './ipv4.ts'
import { decodeIpv6, encodeIpv6, type Ipv6Header, type Ipv6Packet } from './ipv6.ts'

/** RFC 4861 section 4.6, link-layer addresses as RFC 2464 section 6 has them. */
export type NdOption =
  | { readonly type: 'source-link-address' | 'target-link-address'; readonly mac: Mac }
  | {
      readonly type: 'unknown'
      readonly code: number
      /** What follows the length: 6 bytes more than a multiple of 8. */
      readonly bytes: Uint8Array
    }

/** Who has `target`? (RFC 4861 section 4.3) */
export type NeighborSolicitation = {
  readonly type: 'neighbor-solicitation'
  readonly target: Ipv6
  /** In the order of the packet; unknown ones are kept. */
  readonly options: readonly NdOption[]
}

/** RFC 4861 section 4.4. */
export type NeighborAdvertisement = {
  readonly type: 'neighbor-advertisement'
  readonly router: boolean
  /** An answer to a unicast sender, so a proof that the way there works. */
  readonly solicited: boolean
  /** Replaces the link-layer address that the receiver knows. */
  readonly override: boolean
  readonly target: Ipv6
  readonly options: readonly NdOption[]
}

export type NdMessage = NeighborSolicitation | NeighborAdvertisement

export type NdFrame = {
  readonly ethernet: EthernetHeader
  /** The hop limit is always 255. */
  readonly ipv6: Pick<Ipv6Header, 'source' | 'destination' | 'trafficClass' | 'flowLabel'>
  readonly nd: NdMessage
}

const SOLICITATION = 135
const ADVERTISEMENT = 136
const SOURCE_LINK_ADDRESS = 1
const TARGET_LINK_ADDRESS = 2
const UNSPECIFIED = '::' as Ipv6
const ALL_NODES = 'ff02::1' as Ipv6
const RFC = 'RFC 4861'

/**
 * The neighbour solicitation or advertisement in a packet, valid as sections 7.1.1 and 7.1.2 of RFC 4861 demand: hop limit 255, a
 * right checksum, code 0, at least 24 bytes, a target that is no multicast address, no option of length zero, the rules of
 * duplicate address detection; and not fragmented (RFC 6980 section 5). Reserved bits are ignored. Every other packet, other ICMPv6
 * types among them, is 'unsupported'.
 * @throws DecodeError
 */
export function decodeNd(packet: Ipv6Packet): NdMessage {
  if (packet.protocol !== PROTOCOL.icmpv6) {
    throw new DecodeError('unsupported', 'next header', RFC, `${packet.protocol} is not ICMPv6`)
  }
  if (packet.extensions.some(each => each.type === 'fragment')) {
    throw new DecodeError('bad-value', 'fragment header', 'RFC 6980', 'neighbour discovery in a fragment')
  }
  const { type, code, body } = decodeIcmpv6(packet.payload, packet)
  const r = new Reader(body, RFC)
  if (type !== SOLICITATION && type !== ADVERTISEMENT) throw r.error('unsupported', 'type', `${type}`)
  r.check(packet.hopLimit, 'hop limit', 255)
  r.check(code, 'code', 0)
  const flags = r.u32('flags') >>> 29
  const target = r.ipv6('target address')
  if (isMulticastIp(target)) throw r.error('bad-value', 'target address', `${target} is multicast`)
  const options = decodeOptions(r)
  if (type === ADVERTISEMENT) {
    const solicited = (flags & 2) !== 0
    if (solicited && isMulticastIp(packet.destination)) {
      throw r.error('bad-value', 'S flag', `set in an advertisement to ${packet.destination}`)
    }
    const router = (flags & 4) !== 0
    const override = (flags & 1) !== 0
    return { type: 'neighbor-advertisement', router, solicited, override, target, options }
  }
  if (packet.source === UNSPECIFIED) {
    if (!isSolicitedNodeGroup(packet.destination)) {
      throw r.error('bad-value', 'destination address', `${packet.destination} in a duplicate probe`)
    }
    if (options.some(each => each.type === 'source-link-address')) {
      throw r.error('bad-value', 'source link-layer address', 'present in a duplicate probe')
    }
  }
  return { type: 'neighbor-solicitation', target, options }
}

/** The payload of an IPv6 packet between these addresses; the sender sees to the hop limit of 255. */
export function encodeNd(
  message: NdMessage,
  ip: { readonly source: Ipv6; readonly destination: Ipv6 },
): Uint8Array {
  let size = 20
  for (const option of message.options) size += option.type === 'unknown' ? option.bytes.length + 2 : 8
  const w = new Writer(size)
  const advertisement = message.type === 'neighbor-advertisement' ? message : undefined
  const flags =
    (advertisement?.router === true ? 4 : 0) |
    (advertisement?.solicited === true ? 2 : 0) |
    (advertisement?.override === true ? 1 : 0)
  w.u32((flags << 29) >>> 0).ip(message.target)
  for (const option of message.options) {
    if (option.type === 'unknown') {
      assert(option.bytes.length % 8 === 6, `${option.bytes.length} bytes of option ${option.code}`)
      w.u8(option.code)
        .u8((option.bytes.length + 2) / 8)
        .bytes(option.bytes)
    } else {
      w.u8(option.type === 'source-link-address' ? SOURCE_LINK_ADDRESS : TARGET_LINK_ADDRESS)
        .u8(1)
        .mac(option.mac)
    }
  }
  const type = advertisement === undefined ? SOLICITATION : ADVERTISEMENT
  return encodeIcmpv6({ type, code: 0, body: w.finish() }, ip)
}

/**
 * The whole Ethernet frame. Other frames than IPv6 are 'unsupported'.
 * @throws DecodeError
 */
export function decodeNdFrame(frame: Uint8Array): {
  readonly ethernet: EthernetHeader
  readonly ipv6: Ipv6Header
  readonly nd: NdMessage
} {
  const { destination, source, tags, etherType, payload } = decodeEthernet(frame)
  if (etherType !== ETHERTYPE.ipv6) {
    throw new DecodeError('unsupported', 'type', 'RFC 2464', `0x${etherType.toString(16)} is not IPv6`)
  }
  const packet = decodeIpv6(payload)
  const { trafficClass, flowLabel, hopLimit, source: from, destination: to, extensions } = packet
  const ipv6 = { trafficClass, flowLabel, hopLimit, source: from, destination: to, extensions }
  return { ethernet: { destination, source, tags }, ipv6, nd: decodeNd(packet) }
}

/** With hop limit 255 and without extension headers. */
export function encodeNdFrame(frame: NdFrame): Uint8Array {
  const { trafficClass, flowLabel, source, destination } = frame.ipv6
  const payload = encodeIpv6({
    trafficClass,
    flowLabel,
    hopLimit: 255,
    source,
    destination,
    extensions: [],
    protocol: PROTOCOL.icmpv6,
    payload: encodeNd(frame.nd, { source, destination }),
  })
  const { destination: to, source: from, tags } = frame.ethernet
  return encodeEthernet({ destination: to, source: from, tags, etherType: ETHERTYPE.ipv6, payload })
}

/** The link-layer address that the message tells; the first where there are several, as Linux has it. */
export function linkAddressOf(
  message: NdMessage,
  type: 'source-link-address' | 'target-link-address',
): Mac | undefined {
  for (const option of message.options) if (option.type === type) return option.mac
  return undefined
}

/** Who has `target`? To its solicited-node group, with our link-layer address (RFC 4861 section 7.2.2). */
export function neighborSolicitation(from: { readonly mac: Mac; readonly ip: Ipv6 }, target: Ipv6): NdFrame {
  const options: NdOption[] = [{ type: 'source-link-address', mac: from.mac }]
  return multicast(from.mac, from.ip, solicitedNodeGroup(target), {
    type: 'neighbor-solicitation',
    target,
    options,
  })
}

/** Does anybody have `target`? Asks without claiming: from `::`, without our link-layer address (RFC 4862 section 5.4.2). */
export function duplicateProbe(mac: Mac, target: Ipv6): NdFrame {
  const nd: NdMessage = { type: 'neighbor-solicitation', target, options: [] }
  return multicast(mac, UNSPECIFIED, solicitedNodeGroup(target), nd)
}

/**
 * The answer to a solicitation: `mac` has the target. To the asker alone with the solicited flag, or to all nodes without it when
 * the asker is still looking for duplicates (RFC 4861 section 7.2.4). Comes from the target address itself unless `source` is given.
 */
export function solicitedAdvertisement(
  asked: Pick<NdFrame, 'ethernet' | 'nd'> & { readonly ipv6: { readonly source: Ipv6 } },
  mac: Mac,
  how: { readonly override: boolean; readonly router?: boolean; readonly source?: Ipv6 },
): NdFrame {
  const target = asked.nd.target
  const probe = asked.ipv6.source === UNSPECIFIED
  const destination = probe ? ALL_NODES : asked.ipv6.source
  return {
    ethernet: {
      destination: probe
        ? multicastMac(ALL_NODES)
        : (linkAddressOf(asked.nd, 'source-link-address') ?? asked.ethernet.source),
      source: mac,
      tags: asked.ethernet.tags,
    },
    ipv6: { source: how.source ?? target, destination, trafficClass: 0, flowLabel: 0 },
    nd: {
      type: 'neighbor-advertisement',
      router: how.router ?? false,
      solicited: !probe,
      override: how.override,
      target,
      options: [{ type: 'target-link-address', mac }],
    },
  }
}

/**
 * `mac` has `target` from now on, told to all nodes with the override flag (RFC 4861 section 7.2.6). It changes the entries that
 * exist and makes none. Comes from the target address itself unless `source` is given.
 */
export function unsolicitedAdvertisement(
  mac: Mac,
  target: Ipv6,
  how: { readonly router?: boolean; readonly source?: Ipv6 } = {},
): NdFrame {
  return multicast(mac, how.source ?? target, ALL_NODES, {
    type: 'neighbor-advertisement',
    router: how.router ?? false,
    solicited: false,
    override: true,
    target,
    options: [{ type: 'target-link-address', mac }],
  })
}

function multicast(mac: Mac, source: Ipv6, group: Ipv6, nd: NdMessage): NdFrame {
  return {
    ethernet: { destination: multicastMac(group), source: mac, tags: [] },
    ipv6: { source, destination: group, trafficClass: 0, flowLabel: 0 },
    nd,
  }
}

function decodeOptions(r: Reader): NdOption[] {
  const options: NdOption[] = []
  while (r.remaining > 0) {
    const code = r.u8('option type')
    const length = r.u8('option length')
    if (length === 0) throw r.error('bad-length', 'option length', 'zero')
    if (code !== SOURCE_LINK_ADDRESS && code !== TARGET_LINK_ADDRESS) {
      options.push({ type: 'unknown', code, bytes: r.bytes('option', length * 8 - 2) })
      continue
    }
    const type = code === SOURCE_LINK_ADDRESS ? 'source-link-address' : 'target-link-address'
    // RFC 2464 section 6: on Ethernet this option always has eight bytes.
    r.check(length, 'option length', 1, 'bad-length')
    options.push({ type, mac: r.mac(type) })
  }
  return options
}

/** ff02::1:ff00:0/104: the 24 bits that differ are those that the group takes over from an address. */
function isSolicitedNodeGroup(ip: Ipv6): boolean {
  return solicitedNodeGroup(ip) === ip
}
