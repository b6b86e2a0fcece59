import type { Ipv4 } from '../addr/ip.ts'
import { BROADCAST_MAC, type Mac, ZERO_MAC } from '../addr/mac.ts'
import { decodeEthernet, ETHERTYPE, type EthernetHeader, encodeEthernet } from './ethernet.ts'
import { DecodeError, Reader, Writer } from './io.ts'

/** ARP for IPv4 over Ethernet: the 28 bytes that follow the Ethernet header (RFC 826). */
export type Arp = {
  readonly operation: 'request' | 'reply'
  readonly senderMac: Mac
  readonly senderIp: Ipv4
  /** Means nothing in a request: it is what the sender asks for. Zero is usual, iputils writes the broadcast address. */
  readonly targetMac: Mac
  readonly targetIp: Ipv4
}

export type ArpFrame = { readonly ethernet: EthernetHeader; readonly arp: Arp }

const UNSPECIFIED = '0.0.0.0' as Ipv4

/**
 * Bytes past the 28th are Ethernet padding and are ignored. Other hardware, protocols and operations (RARP, InARP) are 'unsupported'.
 * @throws DecodeError
 */
export function decodeArp(bytes: Uint8Array): Arp {
  const r = new Reader(bytes, 'RFC 826')
  r.expectU16('hardware type', 1, 'unsupported')
  r.expectU16('protocol type', ETHERTYPE.ipv4, 'unsupported')
  r.expectU8('hardware address length', 6)
  r.expectU8('protocol address length', 4)
  const operation = r.u16('operation')
  if (operation !== 1 && operation !== 2) throw r.error('unsupported', 'operation', `${operation}`)
  return {
    operation: operation === 1 ? 'request' : 'reply',
    senderMac: r.mac('sender hardware address'),
    senderIp: r.ipv4('sender protocol address'),
    targetMac: r.mac('target hardware address'),
    targetIp: r.ipv4('target protocol address'),
  }
}

export function encodeArp(arp: Arp): Uint8Array {
  return new Writer(28)
    .u16(1)
    .u16(ETHERTYPE.ipv4)
    .u8(6)
    .u8(4)
    .u16(arp.operation === 'request' ? 1 : 2)
    .mac(arp.senderMac)
    .ip(arp.senderIp)
    .mac(arp.targetMac)
    .ip(arp.targetIp)
    .finish()
}

/**
 * The whole frame. Frames of another type than ARP are 'unsupported'.
 * @throws DecodeError
 */
export function decodeArpFrame(frame: Uint8Array): ArpFrame {
  const { destination, source, tags, etherType, payload } = decodeEthernet(frame)
  if (etherType !== ETHERTYPE.arp) {
    throw new DecodeError('unsupported', 'type', 'RFC 826', `0x${etherType.toString(16)} is not ARP`)
  }
  return { ethernet: { destination, source, tags }, arp: decodeArp(payload) }
}

/** 42 bytes without tags: padding to 60 is the interface's business. */
export function encodeArpFrame(frame: ArpFrame): Uint8Array {
  const { destination, source, tags } = frame.ethernet
  return encodeEthernet({
    destination,
    source,
    tags,
    etherType: ETHERTYPE.arp,
    payload: encodeArp(frame.arp),
  })
}

/** Broadcast: who has `targetIp`? */
export function arpRequest(from: { readonly mac: Mac; readonly ip: Ipv4 }, targetIp: Ipv4): ArpFrame {
  return broadcast({
    operation: 'request',
    senderMac: from.mac,
    senderIp: from.ip,
    targetMac: ZERO_MAC,
    targetIp,
  })
}

/**
 * The answer to a request: `mac` has the address that was asked for. Sent to the asker alone, in its VLAN (RFC 826, packet
 * reception: the asker's addresses become the target's). So the answer to a probe has the target address 0.0.0.0.
 */
export function arpReply(request: ArpFrame, mac: Mac): ArpFrame {
  const { senderMac, senderIp, targetIp } = request.arp
  return {
    ethernet: { destination: senderMac, source: mac, tags: request.ethernet.tags },
    arp: { operation: 'reply', senderMac: mac, senderIp: targetIp, targetMac: senderMac, targetIp: senderIp },
  }
}

/** Does anybody have `ip`? Asks without claiming: the sender address is 0.0.0.0, so nobody learns from it (RFC 5227 section 2.1.1). */
export function arpProbe(mac: Mac, ip: Ipv4): ArpFrame {
  return arpRequest({ mac, ip: UNSPECIFIED }, ip)
}

/**
 * `mac` has `ip`, told to everybody in a request: the ARP Announcement of RFC 5227 section 2.3. One of the two forms by which Linux
 * moves an existing entry to another MAC.
 */
export function gratuitousRequest(mac: Mac, ip: Ipv4): ArpFrame {
  return arpRequest({ mac, ip }, ip)
}

/**
 * `mac` has `ip`, told to everybody in a reply (RFC 5227 section 3 on why both forms exist). The target MAC is the sender's: with the
 * broadcast address there Linux does not take the frame for gratuitous, and while the entry is fresh keeps the old MAC.
 */
export function gratuitousReply(mac: Mac, ip: Ipv4): ArpFrame {
  return broadcast({ operation: 'reply', senderMac: mac, senderIp: ip, targetMac: mac, targetIp: ip })
}

/** RFC 5227 section 1.1: a request from 0.0.0.0. */
export function isArpProbe(arp: Arp): boolean {
  return arp.operation === 'request' && arp.senderIp === UNSPECIFIED
}

/** Request or reply whose sender and target are the same address: says who has it and asks nothing. */
export function isGratuitousArp(arp: Arp): boolean {
  return arp.senderIp === arp.targetIp && arp.senderIp !== UNSPECIFIED
}

function broadcast(arp: Arp): ArpFrame {
  return { ethernet: { destination: BROADCAST_MAC, source: arp.senderMac, tags: [] }, arp }
}
