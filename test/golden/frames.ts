// Whole Ethernet frames of other implementations, captured with tcpdump 4.99.3 at the receiving end of a veth pair between two fresh
// network namespaces: host 1 is 00:00:5e:00:53:01, 192.0.2.1, 2001:db8::1; host 2 is 00:00:5e:00:53:02, 192.0.2.2, 2001:db8::2. Each
// tells which program made it. Destination, source and type stand apart; a veth does not pad.

/** Bytes from hexadecimal digits; blanks and `# comments` are for the reader. */
export function hex(text: string): Uint8Array {
  const digits = text.replaceAll(/#.*|\s/g, '')
  if (!/^(?:[0-9a-f]{2})*$/.test(digits)) throw new Error(`not hexadecimal: ${text}`)
  return Uint8Array.from(digits.match(/../g) ?? [], pair => Number.parseInt(pair, 16))
}

/** RFC 826 and RFC 5227. */
export const ARP_FRAMES = {
  /** Linux 6.18, interface going up with arp_notify=1. */
  kernelAnnouncement: hex(`
    ffffffffffff 00005e005301 0806
    000108000604000100005e005301c0000201000000000000c0000201
  `),
  /** Linux 6.18, first packet to a neighbour. */
  kernelRequest: hex(`
    ffffffffffff 00005e005301 0806
    000108000604000100005e005301c0000201000000000000c0000202
  `),
  /** Linux 6.18, answer to kernelRequest. */
  kernelReply: hex(`
    00005e005301 00005e005302 0806
    000108000604000200005e005302c000020200005e005301c0000201
  `),
  /** Linux 6.18, probe of a known neighbour. */
  kernelUnicastRequest: hex(`
    00005e005301 00005e005302 0806
    000108000604000100005e005302c0000202000000000000c0000201
  `),
  /** iputils arping 20221126. */
  arpingRequest: hex(`
    ffffffffffff 00005e005301 0806
    000108000604000100005e005301c0000201ffffffffffffc0000202
  `),
  /** iputils arping 20221126, -U. */
  arpingGratuitousRequest: hex(`
    ffffffffffff 00005e005301 0806
    000108000604000100005e005301c0000201ffffffffffffc0000201
  `),
  /** iputils arping 20221126, -A. */
  arpingGratuitousReply: hex(`
    ffffffffffff 00005e005301 0806
    000108000604000200005e005301c000020100005e005301c0000201
  `),
  /** iputils arping 20221126, -D for 192.0.2.80. */
  arpingProbe: hex(`
    ffffffffffff 00005e005301 0806
    000108000604000100005e00530100000000ffffffffffffc0000250
  `),
  /** iputils arping 20221126, -D for 192.0.2.2. */
  arpingProbeOfTaken: hex(`
    ffffffffffff 00005e005301 0806
    000108000604000100005e00530100000000ffffffffffffc0000202
  `),
  /** Linux 6.18, answer to arpingProbeOfTaken. */
  kernelReplyToProbe: hex(`
    00005e005301 00005e005302 0806
    000108000604000200005e005302c000020200005e00530100000000
  `),
  /** keepalived 2.2.7 becoming master. */
  keepalivedGratuitous: hex(`
    ffffffffffff 00005e005301 0806
    000108000604000100005e005301c0000250ffffffffffffc0000250
  `),
} as const

/** Neighbour solicitations and advertisements, RFC 4861. */
export const ND_FRAMES = {
  /** Linux 6.18, duplicate address detection with a nonce (RFC 7527). */
  kernelDuplicateProbe: hex(`
    3333ff000001 00005e005301 86dd
    6000000000203aff00000000000000000000000000000000ff0200000000000000000001ff000001
    87006b9f0000000020010db80000000000000000000000010e01b66ca63b769c
  `),
  /** Linux 6.18, duplicate address detection for an address of the other host. */
  kernelDuplicateProbeOfTaken: hex(`
    3333ff000001 00005e005302 86dd
    6000000000203aff00000000000000000000000000000000ff0200000000000000000001ff000001
    8700ac3d0000000020010db80000000000000000000000010e016160eb234622
  `),
  /** Linux 6.18, answer to kernelDuplicateProbeOfTaken. */
  kernelDefence: hex(`
    333300000001 00005e005301 86dd
    6000000000203aff20010db8000000000000000000000001ff020000000000000000000000000001
    88004a2a2000000020010db8000000000000000000000001020100005e005301
  `),
  /** Linux 6.18, first packet to a neighbour. */
  kernelSolicitation: hex(`
    3333ff000001 00005e005302 86dd
    6000000000203aff20010db8000000000000000000000002ff0200000000000000000001ff000001
    87006d260000000020010db8000000000000000000000001010100005e005302
  `),
  /** Linux 6.18, answer to kernelSolicitation. */
  kernelAdvertisement: hex(`
    00005e005302 00005e005301 86dd
    6000000000203aff20010db800000000000000000000000120010db8000000000000000000000002
    8800db726000000020010db8000000000000000000000001020100005e005301
  `),
  /** Linux 6.18, probe of a known neighbour. */
  kernelUnicastSolicitation: hex(`
    00005e005301 00005e005302 86dd
    6000000000203afffe8000000000000002005efffe00530220010db8000000000000000000000001
    8700baa90000000020010db8000000000000000000000001010100005e005302
  `),
  /** Linux 6.18, answer to kernelUnicastSolicitation. */
  kernelAdvertisementWithoutOption: hex(`
    00005e005302 00005e005301 86dd
    6000000000183aff20010db8000000000000000000000001fe8000000000000002005efffe005302
    88002bb54000000020010db8000000000000000000000001
  `),
  /** Linux 6.18, new address with ndisc_notify=1. */
  kernelUnsolicited: hex(`
    333300000001 00005e005301 86dd
    6000000000203aff20010db8000000000000000000000001ff020000000000000000000000000001
    88004a2a2000000020010db8000000000000000000000001020100005e005301
  `),
  /** ndisc6 1.0.5. */
  ndisc6Solicitation: hex(`
    3333ff000001 00005e005302 86dd
    600e430700203afffe8000000000000002005efffe005302ff0200000000000000000001ff000001
    8700ea5d0000000020010db8000000000000000000000001010100005e005302
  `),
  /** Linux 6.18, answer to ndisc6Solicitation. */
  kernelAdvertisementToNdisc6: hex(`
    00005e005302 00005e005301 86dd
    6000000000203aff20010db8000000000000000000000001fe8000000000000002005efffe005302
    880058aa6000000020010db8000000000000000000000001020100005e005301
  `),
  /** keepalived 2.2.7 becoming master. */
  keepalivedUnsolicited: hex(`
    333300000001 00005e005301 86dd
    6000000000203aff20010db8000000000000000000000080ff020000000000000000000000000001
    8800492c2000000020010db8000000000000000000000080020100005e005301
  `),
} as const

/** UDP, and what shows IPv4 options and IPv6 extension headers. */
export const IP_FRAMES = {
  /** Linux 6.18, transmit checksum offload off. */
  udp4: hex(`
    00005e005302 00005e005301 0800
    450000251e6c400040119858c0000201c00002021b591b5800112c5f6c6f646573746f6e65
  `),
  /** Linux 6.18, SO_NO_CHECK. */
  udp4WithoutChecksum: hex(`
    00005e005302 00005e005301 0800
    450000271e6d400040119855c0000201c00002021b591b58001300006e6f20636865636b73756d
  `),
  /** Linux 6.18, transmit checksum offload off. */
  udp6: hex(`
    00005e005302 00005e005301 86dd
    600320b30011114020010db800000000000000000000000120010db8000000000000000000000002
    1b591b58001154ee6c6f646573746f6e65
  `),
  /** Linux 6.18, IP_OPTIONS with a record route option. */
  udp4WithOptions: hex(`
    00005e005302 00005e005301 0800
    4700002b1e6e400040118587c0000201c0000202070708c0000201008e831b58000f0ba86f707469
    6f6e73
  `),
  /** Linux 6.18, IGMPv3 report with the router alert option. */
  igmp: hex(`
    01005e000016 00005e005301 0800
    46c0002800004000010241f8c0000201e0000016940400002200f9eb0000000104000000e0000012
  `),
  /** Linux 6.18, MLDv2 report behind a hop-by-hop header. */
  mld: hex(`
    333300000016 00005e005302 86dd
    6000000000240001fe8000000000000002005efffe005302ff020000000000000000000000000016
    3a000502000001008f00c0050000000103000000ff0200000000000000000001ff000001
  `),
} as const
