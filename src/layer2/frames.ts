import { type Ip, type Ipv4, type Ipv6, isIpv4, isIpv6 } from '../addr/ip.ts'
import { isMulticastMac, type Mac } from '../addr/mac.ts'
import {
  type ArpFrame,
  arpProbe,
  arpReply,
  arpRequest,
  decodeArpFrame,
  encodeArpFrame,
  gratuitousReply,
  gratuitousRequest,
  isArpProbe,
  isGratuitousArp,
} from '../wire/arp.ts'
import { DecodeError } from '../wire/io.ts'
import {
  decodeNdFrame,
  duplicateProbe,
  encodeNdFrame,
  linkAddressOf,
  type NdFrame,
  neighborSolicitation,
  solicitedAdvertisement,
  unsolicitedAdvertisement,
} from '../wire/nd.ts'

/** What a frame means to a node that answers for addresses. */
export type Heard =
  /** Somebody asks who has `target`. */
  | {
      readonly type: 'question'
      readonly target: Ip
      /** Destination of the frame; a question may also be put to one node alone. */
      readonly destination: Mac
      readonly toEverybody: boolean
      readonly asker: {
        /** Unspecified in a duplicate address probe of either protocol. */
        readonly ip: Ip
        /** undefined: a multicast question that does not say where to answer. */
        readonly mac: Mac | undefined
      }
      /** A gratuitous request: it asks nothing, it tells that the asker has the address. */
      readonly tells: boolean
      /** The asker has no address yet and wants to know whether this one is free (RFC 5227 section 2.1, RFC 4862 section 5.4). */
      readonly probes: boolean
      readonly frame:
        | { readonly protocol: 'arp'; readonly asked: ArpFrame }
        | { readonly protocol: 'nd'; readonly asked: NdFrame }
    }
  /** Somebody says that `mac` has `ip`: to everybody, or to one that asked. */
  | { readonly type: 'answer'; readonly ip: Ip; readonly mac: Mac; readonly toEverybody: boolean }
  /** Well-formed, and none of the above. */
  | { readonly type: 'other' }
  | { readonly type: 'undecodable'; readonly error: DecodeError }

/** Total: whatever the bytes are. */
export function hear(frame: Uint8Array): Heard {
  try {
    // The type, where no VLAN tag is in front of it; packet sockets hand frames out without tags.
    return frame[12] === 0x08 && frame[13] === 0x06 ? hearArp(frame) : hearNd(frame)
  } catch (error) {
    if (error instanceof DecodeError) return { type: 'undecodable', error }
    throw error
  }
}

function hearArp(frame: Uint8Array): Heard {
  const asked = decodeArpFrame(frame)
  const { arp, ethernet } = asked
  const toEverybody = isMulticastMac(ethernet.destination)
  // L-22: a gratuitous request for an address of ours is answered like any other, so it is a question.
  if (arp.operation === 'request') {
    return {
      type: 'question',
      target: arp.targetIp,
      destination: ethernet.destination,
      toEverybody,
      asker: { ip: arp.senderIp, mac: arp.senderMac },
      tells: isGratuitousArp(arp),
      probes: isArpProbe(arp),
      frame: { protocol: 'arp', asked },
    }
  }
  return { type: 'answer', ip: arp.senderIp, mac: arp.senderMac, toEverybody }
}

function hearNd(frame: Uint8Array): Heard {
  const asked = decodeNdFrame(frame)
  const { nd, ethernet, ipv6 } = asked
  const toEverybody = isMulticastMac(ethernet.destination)
  if (nd.type === 'neighbor-solicitation') {
    const probes = ipv6.source === '::'
    // A question to one node alone may leave the option out: who asks is known already (RFC 4861 section 4.3).
    const known = toEverybody ? undefined : ethernet.source
    return {
      type: 'question',
      target: nd.target,
      destination: ethernet.destination,
      toEverybody,
      asker: { ip: ipv6.source, mac: linkAddressOf(nd, 'source-link-address') ?? known },
      tells: false,
      probes,
      frame: { protocol: 'nd', asked },
    }
  }
  const mac = linkAddressOf(nd, 'target-link-address')
  return mac === undefined ? { type: 'other' } : { type: 'answer', ip: nd.target, mac, toEverybody }
}

/**
 * The answer to a question heard on this interface: to the asker alone (L-22; L-23: solicited, without override), or to all nodes and
 * with override when the asker only wants to know whether the address is free (RFC 4861 section 7.2.4).
 */
export function answerFrame(nic: Mac, question: Heard & { type: 'question' }): Uint8Array {
  const { frame, probes } = question
  return frame.protocol === 'arp'
    ? encodeArpFrame(arpReply(frame.asked, nic))
    : encodeNdFrame(solicitedAdvertisement(frame.asked, nic, { override: probes }))
}

/** One round of announcements on one interface (L-25): both forms of gratuitous ARP, or one unsolicited advertisement. */
export function announcementFrames(nic: Mac, ip: Ip): Uint8Array[] {
  if (isIpv4(ip))
    return [encodeArpFrame(gratuitousRequest(nic, ip)), encodeArpFrame(gratuitousReply(nic, ip))]
  return isIpv6(ip) ? [encodeNdFrame(unsolicitedAdvertisement(nic, ip))] : []
}

/**
 * Tells one neighbour alone that `nic` has `ip`, so that it replaces what it knows. ARP: the gratuitous form, which Linux takes also
 * within a second after the last change of the entry. undefined: they are of different families.
 */
export function repairFrame(
  nic: Mac,
  ip: Ip,
  neighbour: { readonly ip: Ip; readonly mac: Mac },
): Uint8Array | undefined {
  if (isIpv4(ip)) {
    const { ethernet, arp } = gratuitousReply(nic, ip)
    return encodeArpFrame({ ethernet: { ...ethernet, destination: neighbour.mac }, arp })
  }
  if (!isIpv6(ip) || !isIpv6(neighbour.ip)) return undefined
  const { ethernet, ipv6, nd } = unsolicitedAdvertisement(nic, ip)
  return encodeNdFrame({
    ethernet: { ...ethernet, destination: neighbour.mac },
    ipv6: { ...ipv6, destination: neighbour.ip },
    nd,
  })
}

/**
 * Asks everybody who has `target`, as any host would. Without an address of ours of that family it asks as one that looks for
 * duplicates: both are answered by who has the address.
 */
export function questionFrame(
  from: { readonly mac: Mac; readonly ipv4: Ipv4 | undefined; readonly ipv6: Ipv6 | undefined },
  target: Ip,
): Uint8Array | undefined {
  const { mac, ipv4, ipv6 } = from
  if (isIpv4(target)) {
    return encodeArpFrame(ipv4 === undefined ? arpProbe(mac, target) : arpRequest({ mac, ip: ipv4 }, target))
  }
  if (!isIpv6(target)) return undefined
  return encodeNdFrame(
    ipv6 === undefined ? duplicateProbe(mac, target) : neighborSolicitation({ mac, ip: ipv6 }, target),
  )
}
