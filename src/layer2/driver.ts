import { type Ip, isIpv6, solicitedNodeGroup } from '../addr/ip.ts'
import * as membership from '../membership/machine.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import type { Links } from '../ports/links.ts'
import type { Log } from '../ports/log.ts'
import type { MulticastGroups } from '../ports/multicast.ts'
import type { PacketSocket, PacketSockets } from '../ports/packet-socket.ts'
import * as layer2 from './machine.ts'
import { announcingNics, canHearPeers } from './nics.ts'
import type { Because, OwnedChange, ReflexCommand, ReflexReport } from './reflex.ts'

export type ReflexPorts = {
  readonly clock: Clock
  readonly log: Log
  readonly links: Links
  readonly packetSockets: PacketSockets
  readonly groups: MulticastGroups
  /** Best effort and at once, to IPv4 and IPv6 peers alike. */
  readonly sendHeartbeat: (payload: Uint8Array, to: Ip) => void
  readonly report: (report: ReflexReport) => void
}

export type ReflexOptions = membership.MembershipOptions & { readonly excludedInterfaces: readonly RegExp[] }

/** An interface whose sockets could not be opened is tried again after this time. */
const REOPEN_AFTER_MS = 1000

/**
 * Runs the membership and the layer-2 machine over the ports: frames, heartbeats, interface changes and deadlines in;
 * frames, heartbeats and reports out. All of it in one thread that never waits.
 */
export class Reflex {
  readonly #ports: ReflexPorts
  readonly #excluded: readonly RegExp[]
  readonly #membership: membership.Membership
  readonly #layer2 = layer2.createLayer2()
  readonly #sockets = new Map<string, PacketSocket>()
  /** By interface and address, the way to leave the address's group. */
  readonly #groups = new Map<number, Map<Ip, () => void>>()
  readonly #addressCounters = new Map<Ip, { requests: number; replies: number; announcements: number }>()
  readonly #dropped = new Map<string, number>()
  #heartbeatsSent = 0
  #heartbeatsReceived = 0
  #framesLostBefore = 0
  #worstLatenessMs: Ms = 0
  #self: Ip | undefined
  #cancelTimer: () => void = () => {}
  /** Without an address, so without heartbeats. */
  #unreachable: ReadonlySet<string> = new Set()
  /** Addresses whose counters changed since the last report. */
  readonly #counted = new Set<Ip>()
  #cancelReopen: (() => void) | undefined
  #closed = false

  constructor(options: ReflexOptions, ports: ReflexPorts) {
    this.#ports = ports
    this.#excluded = options.excludedInterfaces
    this.#membership = membership.createMembership(options)
    ports.links.onChange(() => this.#linksChanged())
    this.#linksChanged()
  }

  command(command: ReflexCommand): void {
    if (this.#closed) return
    const now = this.#ports.clock.now()
    switch (command.type) {
      case 'peers':
        this.#self = command.self
        this.#tellUnreachable(new Set(command.unreachable), now)
        this.#runMembership({ type: 'peers', peers: command.peers, now })
        this.#tellLink(now)
        break
      case 'key':
        this.#runMembership({ type: 'key', key: command.key, now })
        break
      case 'plan':
        this.#runLayer2({ type: 'plan', set: command.set, remove: command.remove, now }, { type: 'plan' })
        for (const ip of command.remove) {
          this.#addressCounters.delete(ip)
          this.#counted.delete(ip)
        }
        break
      case 'drain':
        this.#runMembership({ type: 'leave', now })
        this.#runLayer2({ type: 'drain', patienceMs: command.patienceMs, now }, { type: 'drain' })
        break
      case 'count':
        this.#reportCounters()
        return
    }
    this.#arm()
  }

  datagram(payload: Uint8Array): void {
    if (this.#closed) return
    this.#heartbeatsReceived++
    const effects = this.#runMembership({ type: 'datagram', payload, now: this.#ports.clock.now() })
    // What is only heard, or dropped, makes nothing due earlier than it was.
    if (effects.some(effect => effect.type !== 'dropped')) this.#arm()
  }

  close(): void {
    this.#closed = true
    this.#cancelTimer()
    this.#cancelReopen?.()
    for (const socket of this.#sockets.values()) socket.close()
    for (const interfaceIndex of this.#groups.keys()) this.#leaveAll(interfaceIndex)
    this.#sockets.clear()
  }

  #arm(): void {
    this.#cancelTimer()
    const due = Math.min(membership.nextDeadline(this.#membership), layer2.nextDeadline(this.#layer2))
    if (due === Number.POSITIVE_INFINITY) return
    const { clock } = this.#ports
    this.#cancelTimer = clock.after(due - clock.now(), () => {
      const now = clock.now()
      this.#worstLatenessMs = Math.max(this.#worstLatenessMs, now - due)
      this.#runMembership({ type: 'tick', now })
      this.#runLayer2({ type: 'tick', now }, { type: 'drain' })
      this.#arm()
    })
  }

  #runMembership(event: membership.Event): readonly membership.Effect[] {
    const effects = membership.step(this.#membership, event)
    for (const effect of effects) {
      switch (effect.type) {
        case 'send':
          this.#heartbeatsSent++
          this.#ports.sendHeartbeat(effect.payload, effect.to)
          break
        case 'peer-changed': {
          const silentMs = effect.at - effect.lastHeardAt
          const down = effect.to === 'dead' || effect.to === 'left'
          this.#runLayer2(
            { type: 'peer', node: effect.node, down, now: effect.at },
            { type: 'peer', node: effect.node, status: effect.to, silentMs },
          )
          this.#ports.report({ type: 'peer', node: effect.node, from: effect.from, to: effect.to, silentMs })
          break
        }
        case 'was-away':
          this.#ports.log.warn('reflex-was-away', { forMs: Math.round(effect.forMs), missed: effect.missed })
          if (effect.missed) this.#runLayer2({ type: 'back', now: effect.at }, { type: 'plan' })
          break
        case 'dropped':
          this.#countDrop(`heartbeat-${effect.why}`)
          break
      }
    }
    return effects
  }

  #runLayer2(event: layer2.Event, because: Because): void {
    const changes: OwnedChange[] = []
    for (const effect of layer2.step(this.#layer2, event)) {
      switch (effect.type) {
        case 'send':
          this.#send(effect)
          break
        case 'request':
          this.#counters(effect.ip).requests++
          break
        case 'owned': {
          const { ip, services, owned } = effect
          const interfaces = owned ? layer2.interfacesOf(this.#layer2, ip) : []
          changes.push({ ip, services, owned, interfaces, atWallMs: this.#ports.clock.wallNow(), because })
          break
        }
        case 'join':
          this.#join(effect.interfaceIndex, effect.ip)
          break
        case 'leave':
          this.#leave(effect.interfaceIndex, effect.ip)
          break
        case 'drained':
          this.#ports.report({ type: 'drained' })
          break
        case 'dropped':
          this.#countDrop(`frame-${effect.why}`)
          break
      }
    }
    if (changes.length > 0) this.#ports.report({ type: 'owned', changes })
  }

  #send(effect: layer2.Effect & { type: 'send' }): void {
    const protocol = isIpv6(effect.ip) ? 'nd' : 'arp'
    if (this.#sockets.get(`${effect.interfaceIndex} ${protocol}`)?.send(effect.frame) !== true) return
    const counters = this.#counters(effect.ip)
    if (effect.kind === 'reply') counters.replies++
    else counters.announcements++
  }

  #linksChanged(): void {
    if (this.#closed) return
    const links = [...this.#ports.links.current().values()]
    const now = this.#ports.clock.now()
    this.#tellLink(now)
    const nics = announcingNics(links, this.#excluded)
    this.#openSockets(nics)
    this.#runLayer2({ type: 'nics', nics, now }, { type: 'interfaces' })
    this.#arm()
  }

  #tellLink(now: Ms): void {
    const usable = canHearPeers(this.#ports.links.current().values(), this.#self)
    this.#runMembership({ type: 'link', usable, now })
  }

  /** A node that nobody can reach answers for nothing; once it has an address, its heartbeats count. */
  #tellUnreachable(unreachable: ReadonlySet<string>, now: Ms): void {
    for (const node of unreachable) {
      if (this.#unreachable.has(node)) continue
      this.#runLayer2(
        { type: 'peer', node, down: true, now },
        { type: 'peer', node, status: 'dead', silentMs: 0 },
      )
    }
    this.#unreachable = unreachable
  }

  /** One ARP and one NDP socket for each interface that needs it; those of interfaces that went away are closed. */
  #openSockets(nics: readonly layer2.Nic[]): void {
    const wanted = new Map<string, { index: number; protocol: 'arp' | 'nd' }>()
    for (const nic of nics) {
      if (nic.arp) wanted.set(`${nic.index} arp`, { index: nic.index, protocol: 'arp' })
      if (nic.linkLocal !== undefined) wanted.set(`${nic.index} nd`, { index: nic.index, protocol: 'nd' })
    }
    for (const [key, socket] of this.#sockets) {
      if (wanted.has(key)) continue
      this.#framesLostBefore += socket.stats().dropped
      socket.close()
      this.#sockets.delete(key)
    }
    const present = new Set(nics.map(nic => nic.index))
    // Every Pod that comes or goes is a link: with nothing to leave, the groups are not looked at.
    for (const index of this.#groups.keys()) if (!present.has(index)) this.#leaveAll(index)
    for (const [key, { index, protocol }] of wanted) {
      if (this.#sockets.has(key)) continue
      try {
        const socket = this.#ports.packetSockets.open({
          interfaceIndex: index,
          protocol,
          onFrame: frame => this.#frame(index, frame),
          onError: error => {
            this.#sockets.delete(key)
            this.#ports.log.warn('packet-socket-failed', { interfaceIndex: index, protocol, error })
            this.#reopenLater()
          },
        })
        this.#sockets.set(key, socket)
      } catch (error) {
        this.#ports.log.warn('packet-socket-refused', { interfaceIndex: index, protocol, error })
        this.#reopenLater()
      }
    }
  }

  #reopenLater(): void {
    this.#cancelReopen ??= this.#ports.clock.after(REOPEN_AFTER_MS, () => {
      this.#cancelReopen = undefined
      if (!this.#closed)
        this.#openSockets(announcingNics(this.#ports.links.current().values(), this.#excluded))
    })
  }

  #frame(interfaceIndex: number, frame: Uint8Array): void {
    const before = layer2.nextDeadline(this.#layer2)
    this.#runLayer2({ type: 'frame', interfaceIndex, frame, now: this.#ports.clock.now() }, { type: 'drain' })
    // A claim that must be answered to; most frames change nothing.
    if (layer2.nextDeadline(this.#layer2) < before) this.#arm()
  }

  /** Several addresses may share one solicited-node group; the port counts them. */
  #join(interfaceIndex: number, ip: Ip): void {
    if (!isIpv6(ip)) return
    let groups = this.#groups.get(interfaceIndex)
    if (groups?.has(ip) === true) return
    const group = solicitedNodeGroup(ip)
    try {
      const joined = this.#ports.groups.joinGroup(interfaceIndex, group)
      if (groups === undefined) this.#groups.set(interfaceIndex, (groups = new Map()))
      groups.set(ip, () => joined.close())
    } catch (error) {
      this.#ports.log.warn('group-join-refused', { interfaceIndex, group, error })
    }
  }

  #leave(interfaceIndex: number, ip: Ip): void {
    const groups = this.#groups.get(interfaceIndex)
    groups?.get(ip)?.()
    groups?.delete(ip)
  }

  #leaveAll(interfaceIndex: number): void {
    for (const leave of this.#groups.get(interfaceIndex)?.values() ?? []) leave()
    this.#groups.delete(interfaceIndex)
  }

  #counters(ip: Ip): { requests: number; replies: number; announcements: number } {
    this.#counted.add(ip)
    let counters = this.#addressCounters.get(ip)
    if (counters === undefined) {
      counters = { requests: 0, replies: 0, announcements: 0 }
      this.#addressCounters.set(ip, counters)
    }
    return counters
  }

  #countDrop(why: string): void {
    this.#dropped.set(why, (this.#dropped.get(why) ?? 0) + 1)
  }

  #reportCounters(): void {
    let framesLost = this.#framesLostBefore
    for (const socket of this.#sockets.values()) framesLost += socket.stats().dropped
    this.#ports.report({
      type: 'counters',
      counters: {
        addresses: [...this.#counted].map(ip => ({ ip, ...this.#counters(ip) })),
        dropped: Object.fromEntries(this.#dropped),
        heartbeatsSent: this.#heartbeatsSent,
        heartbeatsReceived: this.#heartbeatsReceived,
        framesLost,
        worstLatenessMs: this.#worstLatenessMs,
      },
    })
    this.#worstLatenessMs = 0
    this.#counted.clear()
  }
}
