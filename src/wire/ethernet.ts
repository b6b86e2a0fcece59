import assert from 'node:assert/strict'
import type { Mac } from '../addr/mac.ts'
import { Reader, Writer } from './io.ts'

export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const

const TAG_PROTOCOLS = { 'c-tag': 0x8100, 's-tag': 0x88a8 } as const

/** A VLAN tag: IEEE 802.1Q customer tag or 802.1ad service tag. */
export type VlanTag = {
  readonly type: keyof typeof TAG_PROTOCOLS
  /** 0 (lowest but background) to 7. */
  readonly priority: number
  readonly dropEligible: boolean
  /** 0 to 4095; 0 means that the frame is in no VLAN and the tag carries only the priority. */
  readonly id: number
}

export type EthernetHeader = {
  readonly destination: Mac
  readonly source: Mac
  /** Outermost first; at most two. Empty on packet sockets, where the kernel takes tags off before it hands frames out. */
  readonly tags: readonly VlanTag[]
}

/** An Ethernet II frame (IEEE 802.3 clause 3 with type interpretation), without the frame check sequence. */
export type EthernetFrame = EthernetHeader & {
  /** 0x0600 to 0xffff, that of the payload and not that of a tag. */
  readonly etherType: number
  /** As received, so it may end with padding to 46 bytes. A view on the frame. */
  readonly payload: Uint8Array
}

/**
 * None, one or two VLAN tags are decoded; a third is refused as 'too-many', 802.3 frames with a length instead of a type as 'unsupported'.
 * @throws DecodeError
 */
export function decodeEthernet(frame: Uint8Array): EthernetFrame {
  const r = new Reader(frame, 'IEEE 802.3')
  const destination = r.mac('destination address')
  const source = r.mac('source address')
  const tags: VlanTag[] = []
  let etherType = r.u16('type')
  for (;;) {
    const type = tagType(etherType)
    if (type === undefined) break
    if (tags.length === 2) throw r.error('too-many', 'VLAN tag', 'more than two tags')
    const control = r.u16('tag control information')
    tags.push({
      type,
      priority: control >> 13,
      dropEligible: (control & 0x1000) !== 0,
      id: control & 0x0fff,
    })
    etherType = r.u16('type')
  }
  if (etherType < 0x0600) throw r.error('unsupported', 'type', `${etherType} is a length, not a type`)
  return { destination, source, tags, etherType, payload: r.rest() }
}

/** No padding is added: the network interface does that. */
export function encodeEthernet(frame: EthernetFrame): Uint8Array {
  assert(frame.etherType >= 0x0600, 'a length is not a type')
  assert(tagType(frame.etherType) === undefined, 'tags are written from the tags')
  assert(frame.tags.length <= 2, 'at most two VLAN tags')
  const w = new Writer(14 + 4 * frame.tags.length + frame.payload.length)
  w.mac(frame.destination).mac(frame.source)
  for (const tag of frame.tags) {
    assert(tag.priority >= 0 && tag.priority <= 7 && tag.id >= 0 && tag.id <= 4095, 'VLAN tag out of range')
    w.u16(TAG_PROTOCOLS[tag.type])
    w.u16((tag.priority << 13) | (tag.dropEligible ? 0x1000 : 0) | tag.id)
  }
  return w.u16(frame.etherType).bytes(frame.payload).finish()
}

function tagType(etherType: number): VlanTag['type'] | undefined {
  if (etherType === TAG_PROTOCOLS['c-tag']) return 'c-tag'
  return etherType === TAG_PROTOCOLS['s-tag'] ? 's-tag' : undefined
}
