import { isDeepStrictEqual } from 'node:util'
import type { Gateway, Link, LinkAddress, Links } from '../ports/links.ts'
import { AF_NETLINK, addon, type NativeSocket, SOCK_RAW } from './native.ts'
import {
  decodeNetlink,
  encodeDumpRequest,
  IFF_BROADCAST,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_NOARP,
  IFF_UP,
  LINK_AND_ADDRESS_GROUPS,
  type NetlinkAddress,
  type NetlinkLink,
  type NetlinkMessage,
  NLM_F_DUMP_INTR,
  RTM_GETADDR,
  RTM_GETLINK,
} from './netlink.ts'
import { receive } from './receiver.ts'
import { readGateways } from './routes.ts'
import { encodeSockaddrNetlink } from './sockaddr.ts'
import { setReceiveBuffer } from './socket-options.ts'

const NETLINK_ROUTE = 0
/** The kernel fills dumps up to this size when the reader offers it. */
const SLOT_SIZE = 32 * 1024
const RETRY_MS = 200

export type OpenLinksOptions = {
  /** Bytes that notifications may wait in; when they do not fit, everything is asked for again. */
  readonly receiveBuffer?: number
}

/** Resolves once all interfaces and addresses of this network namespace are known. */
export async function openLinks(options: OpenLinksOptions = {}): Promise<NetlinkLinks> {
  const links = new NetlinkLinks(options.receiveBuffer ?? 1024 * 1024)
  await links.ready
  return links
}

/** What one pass over the kernel's tables found; addresses by interface, then by text. */
type Tables = {
  readonly links: Map<number, NetlinkLink>
  readonly addresses: Map<number, Map<string, NetlinkAddress>>
}

/**
 * {@link Links} over rtnetlink: one dump of links and one of addresses, then notifications. When some were lost (ENOBUFS) or a dump was
 * inconsistent, both dumps are made again beside what is known, and replace it when complete.
 */
export class NetlinkLinks implements Links {
  /** Resolves after the first complete pass. */
  readonly ready: Promise<void>
  readonly #socket: NativeSocket
  readonly #closeSocket: () => void
  readonly #listeners: (() => void)[] = []
  #announceReady: () => void = () => {}
  #tables: Tables = { links: new Map(), addresses: new Map() }
  #view: ReadonlyMap<number, Link> = new Map()
  #dump: { readonly tables: Tables; readonly sequence: number; kind: 'links' | 'addresses' } | undefined
  #sequence = 0
  #resyncs = 0
  #again = false
  #complete = false
  #dirty = false
  #told: NodeJS.Immediate | undefined
  #retry: NodeJS.Timeout | undefined
  #closed = false

  constructor(receiveBuffer: number) {
    const native = addon()
    this.ready = new Promise(resolve => {
      this.#announceReady = resolve
    })
    this.#socket = native.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    try {
      setReceiveBuffer(this.#socket, receiveBuffer)
      native.bind(this.#socket, encodeSockaddrNetlink(LINK_AND_ADDRESS_GROUPS))
      this.#closeSocket = receive(this.#socket, {
        slotSize: SLOT_SIZE,
        slots: 8,
        onMessage: message => {
          const { messages, malformed } = decodeNetlink(message.bytes)
          for (const one of messages) this.#take(one)
          if (malformed || message.truncated) this.#resync()
        },
        // ENOBUFS: notifications were lost. Nothing else is known to happen; looking anew is right for it too.
        onError: () => this.#resync(),
        onTurn: () => this.#publish(),
      })
    } catch (error) {
      native.close(this.#socket)
      throw error
    }
    this.#startDump()
  }

  current(): ReadonlyMap<number, Link> {
    return this.#view
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  gateways(): readonly Gateway[] {
    return readGateways([...this.#view.values()])
  }

  /** How often everything had to be asked for again because notifications were lost. */
  get resyncs(): number {
    return this.#resyncs
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#retry)
    clearImmediate(this.#told)
    this.#listeners.length = 0
    this.#closeSocket()
  }

  #resync(): void {
    this.#resyncs++
    if (this.#dump === undefined) this.#startDump()
    else this.#again = true
  }

  #startDump(): void {
    this.#again = false
    this.#dump = {
      tables: { links: new Map(), addresses: new Map() },
      sequence: ++this.#sequence,
      kind: 'links',
    }
    this.#request(RTM_GETLINK)
  }

  #request(type: number): void {
    if (!addon().send(this.#socket, encodeDumpRequest(type, this.#sequence))) this.#startLater()
  }

  /** The kernel refused the request (a dump is under way, no memory): soon again. */
  #startLater(): void {
    this.#dump = undefined
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => this.#startDump(), RETRY_MS)
  }

  #take(message: NetlinkMessage): void {
    const dump = this.#dump
    const ofDump = dump !== undefined && message.sequence === dump.sequence
    if (ofDump && (message.flags & NLM_F_DUMP_INTR) !== 0) this.#again = true
    switch (message.type) {
      case 'done':
        if (ofDump) this.#dumpDone()
        return
      case 'error':
        if (ofDump && message.errno !== 0) this.#startLater()
        return
      case 'overrun':
        this.#resync()
        return
      case 'other':
        return
      case 'new-link':
      case 'deleted-link':
      case 'new-address':
      case 'deleted-address':
        // An answer belongs to the new tables; a notification changes what is known now and what is being gathered.
        if (dump !== undefined) change(dump.tables, message)
        if (!ofDump) {
          change(this.#tables, message)
          this.#dirty = true
        }
    }
  }

  #dumpDone(): void {
    const dump = this.#dump
    if (dump === undefined) return
    if (dump.kind === 'links') {
      this.#dump = { tables: dump.tables, sequence: ++this.#sequence, kind: 'addresses' }
      this.#request(RTM_GETADDR)
      return
    }
    this.#dump = undefined
    if (this.#again) {
      this.#startDump()
      return
    }
    this.#complete = true
    this.#tables = dump.tables
    this.#dirty = true
  }

  /** Makes the values of what changed, tells the listeners later in this turn of the loop: once for a burst. */
  #publish(): void {
    // Before the first pass is complete nobody is told of half of it.
    if (!this.#dirty || !this.#complete) return
    this.#dirty = false
    const view = new Map<number, Link>()
    let same = this.#tables.links.size === this.#view.size
    for (const link of this.#tables.links.values()) {
      const made = linkOf(link, this.#tables.addresses.get(link.index))
      const before = this.#view.get(link.index)
      const equal = isDeepStrictEqual(made, before)
      view.set(link.index, equal && before !== undefined ? before : made)
      if (!equal) same = false
    }
    if (same) return
    this.#view = view
    this.#announceReady()
    this.#told ??= setImmediate(() => {
      this.#told = undefined
      for (const listener of this.#listeners) listener()
    })
  }
}

type Change = Extract<
  NetlinkMessage,
  { type: 'new-link' | 'deleted-link' | 'new-address' | 'deleted-address' }
>

function change(tables: Tables, message: Change): void {
  switch (message.type) {
    case 'new-link':
      tables.links.set(message.link.index, message.link)
      return
    case 'deleted-link':
      tables.links.delete(message.index)
      tables.addresses.delete(message.index)
      return
    case 'new-address':
    case 'deleted-address': {
      const { address } = message
      const key = `${address.ip}/${address.prefixLength}`
      const ofInterface = tables.addresses.get(address.interfaceIndex) ?? new Map<string, NetlinkAddress>()
      if (message.type === 'new-address') ofInterface.set(key, address)
      else ofInterface.delete(key)
      tables.addresses.set(address.interfaceIndex, ofInterface)
    }
  }
}

function linkOf(link: NetlinkLink, addresses: ReadonlyMap<string, NetlinkAddress> | undefined): Link {
  const has = (flag: number): boolean => (link.flags & flag) !== 0
  return {
    index: link.index,
    name: link.name,
    mac: link.mac,
    up: has(IFF_UP),
    carrier: has(IFF_LOWER_UP),
    loopback: has(IFF_LOOPBACK),
    broadcast: has(IFF_BROADCAST),
    noArp: has(IFF_NOARP),
    master: link.master,
    addresses: [...(addresses?.values() ?? [])].map(
      ({ ip, prefixLength, tentative }): LinkAddress => ({ ip, prefixLength, tentative }),
    ),
  }
}
