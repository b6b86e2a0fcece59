import { type Ip, ipToBytes, isIpv4 } from '../../src/addr/ip.ts'

/** Offsets in an Ethernet frame without tags: RFC 826, RFC 8200 section 3 and RFC 4861 section 4.4. */
const ARP = { operation: 21, senderIp: 28 } as const
const ND = { type: 54, target: 62 } as const
const ARP_REPLY = 2
const NEIGHBOR_ADVERTISEMENT = 136

/** Does a frame say who has the target? Looks at those bytes only: decoding whole frames would be part of what is measured. */
export function isAnswer(target: Ip): (frame: Uint8Array) => boolean {
  const address = ipToBytes(target)
  const [at, kindAt, kind] = isIpv4(target)
    ? [ARP.senderIp, ARP.operation, ARP_REPLY]
    : [ND.target, ND.type, NEIGHBOR_ADVERTISEMENT]
  return frame => {
    if (frame[kindAt] !== kind) return false
    for (let i = 0; i < address.length; i++) if (frame[at + i] !== address[i]) return false
    return true
  }
}
