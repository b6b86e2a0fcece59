import { type Ip, isIpv4, isIpv6 } from '../addr/ip.ts'
import { isMulticastMac, type Mac } from '../addr/mac.ts'
import {
  type ArpFrame,
  arpReply,
  decodeArpFrame,
  encodeArpFrame,
  gratuitousReply,
  gratuitousRequest,
  isGratuitousArp,
} from '../wire/arp.ts'
import { DecodeError } from '../wire/io.ts'
import {
  decodeNdFrame,
  encodeNdFrame,
  linkAddressOf,
  type NdFrame,
  solicitedAdvertisement,
  unsolicitedAdvertisement,
} from '../wire/nd.ts'
import type { Nic } from './machine.ts'

/** What a frame means to a node that answers for addresses. */
export type Heard =
  /** Somebody asks who has `target`. */
  | {
      readonly type: 'question'
      readonly target: Ip
      /** Destination of the frame; a question may also be put to one node alone. */
      readonly destination: Mac
      readonly toEverybody: boolean
      /** undefined: the asker does not say where to answer (duplicate address detection by NDP). */
      readonly askerMac: Mac | undefined
      /** A gratuitous request: it asks nothing, it tells that the asker has the address. */
      readonly tells: boolean
      readonly frame:
        | { readonly protocol: 'arp'; readonly asked: ArpFrame }
        | { readonly protocol: 'nd'; readonly asked: NdFrame }
    }
  /** Somebody tells everybody that `mac` has `ip`. */
  | { readonly type: 'announcement'; readonly ip: Ip; readonly mac: Mac }
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
  // L-22: a gratuitous request for an address of ours is answered like any other, so a question comes before an announcement.
  if (arp.operation === 'request') {
    return {
      type: 'question',
      target: arp.targetIp,
      destination: ethernet.destination,
      toEverybody: isMulticastMac(ethernet.destination),
      askerMac: arp.senderMac,
      tells: isGratuitousArp(arp),
      frame: { protocol: 'arp', asked },
    }
  }
  return isGratuitousArp(arp)
    ? { type: 'announcement', ip: arp.senderIp, mac: arp.senderMac }
    : { type: 'other' }
}

function hearNd(frame: Uint8Array): Heard {
  const asked = decodeNdFrame(frame)
  const { nd, ethernet } = asked
  if (nd.type === 'neighbor-solicitation') {
    return {
      type: 'question',
      target: nd.target,
      destination: ethernet.destination,
      toEverybody: isMulticastMac(ethernet.destination),
      askerMac: linkAddressOf(nd, 'source-link-address'),
      tells: false,
      frame: { protocol: 'nd', asked },
    }
  }
  const mac = linkAddressOf(nd, 'target-link-address')
  return mac !== undefined && !nd.solicited && nd.override
    ? { type: 'announcement', ip: nd.target, mac }
    : { type: 'other' }
}

/** The answer to a question heard on this interface (L-22; L-23: solicited, without override). */
export function answerFrame(nic: Nic, question: Heard & { type: 'question' }): Uint8Array {
  const { frame } = question
  return frame.protocol === 'arp'
    ? encodeArpFrame(arpReply(frame.asked, nic.mac))
    : encodeNdFrame(solicitedAdvertisement(frame.asked, nic.mac, { override: false }))
}

/** One round of announcements on one interface (L-25): both forms of gratuitous ARP, or one unsolicited advertisement. */
export function announcementFrames(nic: Nic, ip: Ip): Uint8Array[] {
  if (isIpv4(ip)) {
    return [encodeArpFrame(gratuitousRequest(nic.mac, ip)), encodeArpFrame(gratuitousReply(nic.mac, ip))]
  }
  return isIpv6(ip) ? [encodeNdFrame(unsolicitedAdvertisement(nic.mac, ip))] : []
}
