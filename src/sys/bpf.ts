import { LITTLE_ENDIAN } from './endian.ts'

/** One instruction of classic BPF as `tcpdump -dd` prints it: code, jump if true, jump if false, constant. */
export type BpfInstruction = readonly [code: number, jt: number, jf: number, k: number]

/** BPF_LD|BPF_ABS|BPF_H, ...|BPF_B, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K (linux/bpf_common.h). */
const LOAD_U16 = 0x28
const LOAD_U8 = 0x30
const JUMP_IF_EQUAL = 0x15
const RETURN = 0x06

const WHOLE = 0x40000
const NOTHING = 0

/**
 * Ethernet frames with IPv6 whose next header is ICMPv6 and whose type is a neighbour solicitation (135) or advertisement (136).
 * A frame with an extension header in front is passed by: hosts send these messages without one, and a fragment header is forbidden
 * (RFC 6980 section 5).
 */
export const NEIGHBOUR_DISCOVERY_FILTER: readonly BpfInstruction[] = [
  [LOAD_U16, 0, 0, 12],
  [JUMP_IF_EQUAL, 0, 6, 0x86dd],
  [LOAD_U8, 0, 0, 20],
  [JUMP_IF_EQUAL, 0, 4, 58],
  [LOAD_U8, 0, 0, 54],
  [JUMP_IF_EQUAL, 1, 0, 135],
  [JUMP_IF_EQUAL, 0, 1, 136],
  [RETURN, 0, 0, WHOLE],
  [RETURN, 0, 0, NOTHING],
]

/** struct sock_filter, 8 bytes each, in the machine's byte order. */
export function encodeBpf(program: readonly BpfInstruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8)
  const view = new DataView(bytes.buffer)
  for (const [i, [code, jt, jf, k]] of program.entries()) {
    view.setUint16(i * 8, code, LITTLE_ENDIAN)
    view.setUint8(i * 8 + 2, jt)
    view.setUint8(i * 8 + 3, jf)
    view.setUint32(i * 8 + 4, k, LITTLE_ENDIAN)
  }
  return bytes
}
