import { type Ip, isIpv4, isIpv6, solicitedNodeGroup } from '../addr/ip.ts'
import { prefixContains, prefixOf } from '../addr/prefix.ts'
import * as membership from '../membership/machine.ts'
import { membershipView } from '../membership/view.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import type { Gateway, Link, Links } from '../ports/links.ts'
import type { Log } from '../ports/log.ts'
import type { MulticastGroups } from '../ports/multicast.ts'
import type { PacketSocket, PacketSockets } from '../ports/packet-socket.ts'
import { hear, questionFrame } from './frames.ts'
import { Hosts } from './hosts.ts'
import * as layer2 from './machine.ts'
import { announcingNics, canHearPeers } from './nics.ts'
import { OwnershipReports } from './ownership-reports.ts'
import type { ReflexCommand, ReflexReport } from './reflex.ts'
import { sharedAddresses } from './sharing.ts'
import { SpeakerMacs } from './speaker-macs.ts'
import { Witness } from './witness.ts'

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

export type ReflexOptions = membership.MembershipOptions & {
  readonly excludedInterfaces: readonly RegExp[]
  /** Owned addresses are announced anew at this interval; 0, or absent: only when something changed. */
  readonly announceIntervalMs?: Ms
  /** Who tells one of two speakers that it is not cut off; absent: the gateway. */
  readonly witness?: Ip | undefined
}

/** An interface whose sockets could not be opened is tried again after this time. */
const REOPEN_AFTER_MS = 1000
/** Routes are looked up so often, and a gateway that has not answered yet is asked. */
const GATEWAY_EVERY_MS = 30_000

/**
 * Runs the membership and the layer-2 machine over the ports: frames, heartbeats, interface changes and deadlines in;
 * frames, heartbeats and reports out. All of it in one thread that never waits.
 */
export class Reflex {
  readonly #ports: ReflexPorts
  readonly #options: ReflexOptions
  readonly #membership: membership.Membership
  readonly #layer2: layer2.Layer2
  readonly #reports: OwnershipReports
  readonly #macs = new SpeakerMacs()
  readonly #witness = new Witness()
  readonly #sockets = new Map<string, PacketSocket>()
  /** Of one step, by socket: they are sent together. */
  readonly #announcements = new Map<PacketSocket, Uint8Array[]>()
  /** By interface and address, the way to leave the address's group. */
  readonly #groups = new Map<number, Map<Ip, () => void>>()
  readonly #addressCounters = new Map<Ip, { requests: number; replies: number; announcements: number }>()
  readonly #dropped = new Map<string, number>()
  #heartbeatsSent = 0
  #heartbeatsReceived = 0
  #framesLostBefore = 0
  #questionsAsked = 0
  #takeoversDelayed = 0
  #worstLatenessMs: Ms = 0
  /** Effects of the membership are being performed, one after the other. */
  #settling = 0
  readonly #hosts = new Hosts()
  #self: Ip | undefined
  /** The registered speakers but this one. */
  #peers: ReadonlyMap<string, Ip> = new Map()
  #cancelTimer: () => void = () => {}
  #armedFor: Ms = Number.POSITIVE_INFINITY
  #cancelGateway: () => void = () => {}
  /** Addresses whose counters changed since the last report. */
  readonly #counted = new Set<Ip>()
  #cancelReopen: (() => void) | undefined
  #closed = false

  constructor(options: ReflexOptions, ports: ReflexPorts) {
    this.#ports = ports
    this.#options = options
    this.#membership = membership.createMembership(options)
    this.#layer2 = layer2.createLayer2({
      self: options.self,
      announceIntervalMs: options.announceIntervalMs ?? 0,
    })
    this.#reports = new OwnershipReports(ports.clock)
    ports.links.onChange(() => this.#linksChanged())
    this.#linksChanged()
    this.#watchGateway()
  }

  command(command: ReflexCommand): void {
    if (this.#closed) return
    const now = this.#ports.clock.now()
    switch (command.type) {
      case 'peers':
        this.#setPeers(command, now)
        break
      case 'key':
        this.#runMembership({ type: 'key', key: command.key, now })
        break
      case 'plan':
        this.#runLayer2({ ...command, now })
        for (const ip of command.remove) {
          this.#addressCounters.delete(ip)
          this.#counted.delete(ip)
        }
        break
      case 'drain':
        this.#runMembership({ type: 'leave', now })
        this.#runLayer2({ type: 'drain', patienceMs: command.patienceMs, now })
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
    this.#runMembership({ type: 'datagram', payload, now: this.#ports.clock.now() })
    this.#armIfSooner()
  }

  close(): void {
    this.#closed = true
    this.#cancelTimer()
    this.#cancelGateway()
    this.#cancelReopen?.()
    for (const socket of this.#sockets.values()) socket.close()
    for (const interfaceIndex of this.#groups.keys()) this.#leaveAll(interfaceIndex)
    this.#sockets.clear()
  }

  /** Most of what is heard makes nothing due earlier than it was; a tick that comes too early does nothing. */
  #armIfSooner(): void {
    if (this.#nextDeadline() < this.#armedFor) this.#arm()
  }

  #nextDeadline(): Ms {
    return Math.min(
      membership.nextDeadline(this.#membership),
      layer2.nextDeadline(this.#layer2),
      this.#hosts.nextDeadline(),
    )
  }

  #arm(): void {
    this.#cancelTimer()
    const due = this.#nextDeadline()
    this.#armedFor = due
    if (due === Number.POSITIVE_INFINITY) return
    const { clock } = this.#ports
    this.#cancelTimer = clock.after(due - clock.now(), () => {
      const now = clock.now()
      this.#worstLatenessMs = Math.max(this.#worstLatenessMs, now - due)
      this.#runMembership({ type: 'tick', now })
      this.#runLayer2({ type: 'tick', now })
      this.#watchHosts(now)
      this.#arm()
    })
  }

  #setPeers({ peers, self }: ReflexCommand & { type: 'peers' }, now: Ms): void {
    this.#self = self
    const others = peers.filter(({ name }) => name !== this.#options.self)
    const before = this.#peers
    this.#peers = new Map(others.map(({ name, ip }) => [name, ip]))
    for (const node of before.keys()) if (!this.#peers.has(node)) this.#hosts.forget(node)
    this.#macs.set(others)
    this.#tellMacs(now)
    this.#runMembership({ type: 'peers', peers: others.map(({ name, ip }) => ({ name, ip })), now })
    // Levels change with an effect; this is where they begin.
    for (const node of new Set([...before.keys(), ...this.#peers.keys()])) {
      this.#runLayer2({ type: 'node', node, level: membership.levelOf(this.#membership, node), now })
    }
    this.#tellLink(now)
    this.#findGateway()
  }

  #tellMacs(now: Ms): void {
    this.#runLayer2({ type: 'macs', of: new Map(this.#macs.of), complete: this.#macs.complete, now })
  }

  #runMembership(event: membership.Event): void {
    const effects = membership.step(this.#membership, event)
    let changed = false
    this.#settling++
    try {
      for (const effect of effects) {
        this.#perform(effect, event.now)
        changed ||= effect.type === 'standing' || effect.type === 'entitlement'
      }
    } finally {
      this.#settling--
    }
    if (!changed) return
    this.#runLayer2({ type: 'tick', now: event.now })
    const { entitled, probation, alone } = membership.standing(this.#membership, event.now)
    this.#ports.report({ type: 'standing', entitled, standing: !probation, alone })
  }

  #perform(effect: membership.Effect, now: Ms): void {
    const { log, report } = this.#ports
    switch (effect.type) {
      case 'send':
        this.#heartbeatsSent++
        this.#ports.sendHeartbeat(effect.payload, effect.to)
        break
      case 'node': {
        const { node, from, to, lastHeardAt } = effect
        this.#reports.nodeChanged(effect)
        this.#runLayer2({ type: 'node', node, level: to, now })
        this.#hostOf(node, from, to, now)
        const silentMs = lastHeardAt === undefined ? null : effect.at - lastHeardAt
        report({ type: 'node', node, from, to, silentMs })
        break
      }
      case 'suspect':
        this.#suspect(effect.node, now)
        break
      case 'unsuspect':
        this.#hosts.forget(effect.node)
        this.#runLayer2({ type: 'unsuspect', node: effect.node, now })
        break
      case 'lost':
        this.#runLayer2({ type: 'lost', now })
        report({ type: 'lost', atWallMs: this.#ports.clock.wallNow() })
        break
      case 'standing':
      case 'entitlement':
        // Counts when all else that came with it is known: see #standing.
        break
      case 'was-away':
        log.warn('reflex-was-away', { forMs: Math.round(effect.forMs), missed: effect.missed })
        break
      case 'adapted': {
        const { node, patienceMs, jitterMs } = effect
        report({ type: 'adapted', node, patienceMs, jitterMs })
        break
      }
      case 'ask-witness':
        this.#askWitness(now)
        break
      case 'askers':
        this.#runLayer2({ type: 'askers', node: effect.node, body: effect.body, now })
        break
      case 'claimed':
        this.#runLayer2({ type: 'claimed', node: effect.node, claims: effect.claims, now })
        break
      case 'dropped':
        this.#countDrop(`heartbeat-${effect.why}`)
        break
    }
  }

  /**
   * What this node may do now. Less takes effect at once; more, when everything that the membership said in the same breath has been
   * heard: who is entitled again must know first that it was voted down, and who owns now.
   */
  #standing(now: Ms): layer2.Standing {
    const { entitledUntil, probation, alone } = membership.standing(this.#membership, now)
    if (this.#settling === 0) return { entitledUntil, probation, alone }
    const before = this.#layer2
    if (!before.entitled) return { entitledUntil: Number.NEGATIVE_INFINITY, probation: true, alone: false }
    return { entitledUntil, probation: probation || before.probation, alone }
  }

  /** Asks the wire for what the node would lose, and for the node itself: its kernel answers though its speaker is dead. */
  #suspect(node: string, now: Ms): void {
    const view = membershipView(this.#membership, now).peers.find(peer => peer.node === node)
    this.#runLayer2({ type: 'suspect', node, patienceMs: view?.patienceMs ?? this.#options.intervalMs, now })
    const ip = this.#peers.get(node)
    if (ip === undefined) return
    this.#hosts.suspect(node, ip, now)
    this.#askNear(ip)
  }

  /** Whether a node went down with its host, which no longer forwards then, or only with its speaker. */
  #hostOf(node: string, from: membership.Level, to: membership.Level, now: Ms): void {
    const ip = this.#peers.get(node)
    if (to !== 'down') {
      this.#hosts.forget(node)
      if (from === 'down') this.#ports.report({ type: 'host', node, alive: true })
      return
    }
    if (ip !== undefined) this.#hosts.suspect(node, ip, now)
    this.#ports.report({ type: 'host', ...this.#hosts.down(node) })
  }

  #watchHosts(now: Ms): void {
    const { ask, changes } = this.#hosts.tick(now)
    for (const ip of ask) this.#askNear(ip)
    for (const change of changes) this.#ports.report({ type: 'host', ...change })
  }

  /** Of a node: over the interface towards the other speakers. */
  #askNear(ip: Ip): void {
    const link = this.#ownLink()
    if (link !== undefined) this.#ask(link.index, ip)
  }

  #runLayer2(event: layer2.Event): void {
    const standing = this.#standing(event.now)
    const { report } = this.#ports
    for (const effect of layer2.step(this.#layer2, event, standing)) {
      switch (effect.type) {
        case 'send':
          this.#send(effect)
          break
        case 'ask':
          this.#ask(effect.interfaceIndex, effect.ip)
          break
        case 'request':
          this.#counters(effect.ip).requests++
          break
        case 'owned':
          this.#reports.owned(effect, effect.owned ? layer2.interfacesOf(this.#layer2, effect.ip) : [])
          break
        case 'claim': {
          const { claims, to } = effect
          // Sent with what the membership sends next anyway, or at once: it decides.
          this.#runMembership({ type: 'claims', claims, ...(to === undefined ? {} : { to }), now: event.now })
          break
        }
        case 'introduce':
          this.#runMembership({ type: 'askers', to: effect.to, bodies: effect.bodies, now: event.now })
          break
        case 'conflict': {
          const { ip, mac, services, action } = effect
          const interfaceName = this.#ports.links.current().get(effect.interfaceIndex)?.name ?? ''
          const atWallMs = this.#ports.clock.wallNow()
          report({ type: 'conflict', ip, services, mac, interfaceName, action, atWallMs })
          break
        }
        case 'takeover-waits':
          this.#takeoversDelayed++
          report({ type: 'takeover-waits', node: effect.node, times: effect.times })
          break
        case 'suspended':
          // Told by the membership, as `standing`.
          break
        case 'join':
          this.#join(effect.interfaceIndex, effect.ip)
          break
        case 'leave':
          this.#leave(effect.interfaceIndex, effect.ip)
          break
        case 'drained':
          this.#flush()
          report({ type: 'drained' })
          break
        case 'dropped':
          this.#countDrop(`frame-${effect.why}`)
          break
      }
    }
    this.#flush()
  }

  #send(effect: layer2.Effect & { type: 'send' }): void {
    const { ip, kind, frame, interfaceIndex } = effect
    if (kind === 'announcement') this.#reports.announced(ip)
    const socket = this.#socket(interfaceIndex, ip)
    if (socket === undefined) return
    if (kind === 'reply') {
      if (socket.send(frame)) this.#counters(ip).replies++
      return
    }
    this.#counters(ip).announcements++
    const frames = this.#announcements.get(socket)
    if (frames === undefined) this.#announcements.set(socket, [frame])
    else frames.push(frame)
  }

  /** The announcements of a step go out before anybody is told of it. */
  #flush(): void {
    if (this.#announcements.size > 0) {
      const all = [...this.#announcements]
      this.#announcements.clear()
      for (const [socket, frames] of all) socket.sendBatch(frames)
    }
    const changes = this.#reports.take()
    if (changes.length > 0) this.#ports.report({ type: 'owned', changes })
  }

  #socket(interfaceIndex: number, ip: Ip): PacketSocket | undefined {
    return this.#sockets.get(`${interfaceIndex} ${isIpv6(ip) ? 'nd' : 'arp'}`)
  }

  /** Who has this address? Asked as any host asks, with an address of our own in its subnet. */
  #ask(interfaceIndex: number, target: Ip): void {
    const link = this.#ports.links.current().get(interfaceIndex)
    if (link?.mac === undefined) return
    const own = link.addresses.filter(({ tentative, ip }) => !tentative && !this.#layer2.vips.has(ip))
    const near = own.filter(({ ip, prefixLength }) => prefixContains(prefixOf(ip, prefixLength), target))
    const sources = [...near, ...own].map(({ ip }) => ip)
    const from = { mac: link.mac, ipv4: sources.find(isIpv4), ipv6: sources.find(isIpv6) }
    const frame = questionFrame(from, target)
    if (frame !== undefined && this.#socket(interfaceIndex, target)?.send(frame) === true)
      this.#questionsAsked++
  }

  /** The interface towards the other speakers. */
  #ownLink(): Link | undefined {
    for (const link of this.#ports.links.current().values()) {
      if (link.addresses.some(({ ip }) => ip === this.#self)) return link
    }
    return undefined
  }

  #askWitness(now: Ms): void {
    const answer = this.#witness.need(now)
    const { gateway } = this.#witness
    if (gateway !== undefined) this.#ask(gateway.interfaceIndex, gateway.ip)
    const link = this.#ownLink()
    if (link !== undefined) for (const ip of this.#witness.others) this.#ask(link.index, ip)
    if (answer === 'nobody') this.#runMembership({ type: 'witness', sentAt: now, now })
  }

  #watchGateway(): void {
    this.#cancelGateway = this.#ports.clock.after(GATEWAY_EVERY_MS, () => {
      this.#findGateway()
      this.#watchGateway()
    })
  }

  /** Where there are two speakers, learns ahead of time whether there is a gateway that answers. */
  #findGateway(): void {
    if (this.#peers.size !== 1) return
    const found = this.#gatewayOf(this.#ownLink())
    this.#witness.setGateway(found)
    if (found === undefined || this.#witness.answers) return
    this.#witness.asked(this.#ports.clock.now())
    this.#ask(found.interfaceIndex, found.ip)
  }

  #gatewayOf(link: Link | undefined): Gateway | undefined {
    if (link === undefined) return undefined
    const { witness } = this.#options
    if (witness !== undefined) return { interfaceIndex: link.index, ip: witness }
    const found = this.#ports.links.gateways().filter(each => each.interfaceIndex === link.index)
    const isIpv4Self = this.#self !== undefined && isIpv4(this.#self)
    return found.find(({ ip }) => isIpv4(ip) === isIpv4Self) ?? found[0]
  }

  #linksChanged(): void {
    if (this.#closed) return
    const links = [...this.#ports.links.current().values()]
    const now = this.#ports.clock.now()
    this.#tellLink(now)
    const nics = announcingNics(links, this.#options.excludedInterfaces)
    this.#openSockets(nics)
    this.#runLayer2({ type: 'nics', nics, now })
    this.#findGateway()
    this.#arm()
  }

  #tellLink(now: Ms): void {
    const usable = canHearPeers(this.#ports.links.current().values(), this.#self)
    this.#runMembership({ type: 'link', usable, now })
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
        this.#openSockets(
          announcingNics(this.#ports.links.current().values(), this.#options.excludedInterfaces),
        )
    })
  }

  #frame(interfaceIndex: number, frame: Uint8Array): void {
    const now = this.#ports.clock.now()
    if (frame[13] === 0x06 && this.#macs.learn(frame)) this.#tellMacs(now)
    this.#runLayer2({ type: 'frame', interfaceIndex, frame, now })
    if (this.#witness.curious(now)) this.#testify(frame, now)
    if (this.#hosts.waiting) this.#hearHost(frame, now)
    // Of a flood each frame has to be cheap: what it made due is in one of these two, or came with a heartbeat.
    if (Math.min(layer2.nextDeadline(this.#layer2), this.#hosts.nextDeadline()) < this.#armedFor) this.#arm()
  }

  #hearHost(frame: Uint8Array, now: Ms): void {
    const heard = hear(frame)
    const change = heard.type === 'answer' ? this.#hosts.answered(heard.ip, now) : undefined
    if (change !== undefined) this.#ports.report({ type: 'host', ...change })
  }

  #testify(frame: Uint8Array, now: Ms): void {
    const heard = hear(frame)
    if (heard.type !== 'question' && heard.type !== 'answer') return
    const { ip, mac } = heard.type === 'question' ? heard.asker : heard
    if (mac === undefined) return
    const ours = [...this.#layer2.nics.values()].some(nic => nic.mac === mac)
    const stranger = !ours && this.#macs.complete && !this.#macs.of.has(mac)
    const since = this.#witness.heard(ip, stranger, now)
    if (since === undefined) return
    this.#runMembership({ type: 'witness', sentAt: since, now })
    this.#armIfSooner()
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
    const shared = sharedAddresses(this.#layer2, this.#ports.clock.now())
    this.#ports.report({
      type: 'counters',
      counters: {
        addresses: [...this.#counted].map(ip => ({ ip, ...this.#counters(ip) })),
        dropped: Object.fromEntries(this.#dropped),
        heartbeatsSent: this.#heartbeatsSent,
        heartbeatsReceived: this.#heartbeatsReceived,
        framesLost,
        worstLatenessMs: this.#worstLatenessMs,
        questionsAsked: this.#questionsAsked,
        takeoversDelayed: this.#takeoversDelayed,
        askers: this.#layer2.askers.size,
        ...(shared.length > 0 && { shared }),
      },
      membership: membershipView(this.#membership, this.#ports.clock.now()),
    })
    this.#worstLatenessMs = 0
    this.#counted.clear()
  }
}
