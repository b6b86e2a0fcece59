// Runs one session machine and its outbound view over real connections: what a test needs, and no more.
import { createServer, type Server, Socket } from 'node:net'
import type { Family, Ip, Ipv4, Ipv6 } from '../../src/addr/ip.ts'
import type { Prefix } from '../../src/addr/prefix.ts'
import {
  type AdjRibOut,
  complete,
  createAdjRibOut,
  nextMessage,
  refresh,
  replaceAll,
} from '../../src/bgp/adj-rib-out.ts'
import type { Effect, Event } from '../../src/bgp/events.ts'
import { nextDeadline, step } from '../../src/bgp/machine.ts'
import { updateContext } from '../../src/bgp/negotiation.ts'
import { type Emphasis, NO_EMPHASIS, outRoutes } from '../../src/bgp/out-attributes.ts'
import type { Route } from '../../src/bgp/routes.ts'
import {
  createSession,
  type Ended,
  type Session,
  type SessionConfig,
  type SessionState,
  stateOf,
} from '../../src/bgp/session.ts'
import { BgpError } from '../../src/wire/bgp/error.ts'
import { unicastFamily } from '../../src/wire/bgp/family.ts'
import { Framer } from '../../src/wire/bgp/framer.ts'
import { decodeMessage, MESSAGE_MAX } from '../../src/wire/bgp/message.ts'
import { OURS, THEIRS } from './routers.ts'

export const CONFIG: SessionConfig = {
  localAs: 64500,
  localIdentifier: OURS.v4 as Ipv4,
  peerAs: 64501,
  families: ['IPv4', 'IPv6'],
  holdTimeS: 9,
  gracefulRestart: { restartTimeS: 60 },
  extendedNextHop: false,
  hostName: 'node-1',
  keepaliveMs: null,
  connectRetryMs: 300,
  delayOpenMs: 0,
  passive: false,
  idleHold: { firstMs: 100, maxMs: 400, forgetAfterMs: 60_000 },
  sendHoldMs: 10_000,
}

type WithoutTime<T> = T extends unknown ? Omit<T, 'now' | 'random'> : never
type Peer = { readonly socket: Socket; readonly framer: Framer }

export class BgpRunner {
  readonly session: Session
  readonly received = new Map<Prefix, true>()
  readonly endsOfRib = new Set<Family>()
  readonly downs: Ended[] = []
  readonly states: SessionState[] = []
  readonly refreshed: Family[] = []
  updatesSent = 0
  /** How often there were two connections at once. */
  collisions = 0
  /** Of the session that is up. */
  rib: AdjRibOut | undefined
  #routes: readonly Route[] = []
  #emphasis: Emphasis = NO_EMPHASIS
  #complete = false
  readonly #peers = new Map<number, Peer>()
  readonly #server: Server
  readonly #nextHops: Readonly<Partial<Record<Family, { address: Ip; linkLocal?: Ipv6 }>>>
  #dialing: Socket | undefined
  readonly #crossing: boolean
  #ids = 0
  #timer: NodeJS.Timeout | undefined

  constructor(
    config: Partial<SessionConfig> = {},
    options: {
      readonly restarting?: boolean
      readonly nextHops?: Readonly<Partial<Record<Family, { address: Ip }>>>
      /** Connects only when the peer has just connected, so that the two connections cross. */
      readonly crossing?: boolean
    } = {},
  ) {
    this.session = createSession({ ...CONFIG, ...config }, options.restarting ?? false)
    this.#nextHops = options.nextHops ?? {
      IPv4: { address: OURS.v4 as Ip },
      IPv6: { address: OURS.v6 as Ip },
    }
    this.#crossing = options.crossing ?? false
    this.#server = createServer(socket => {
      const accept = () => this.#run({ type: 'accepted', connection: this.#adopt(socket) })
      if (this.#crossing && this.session.dialing && this.#dialing === undefined) this.#dial(accept)
      else accept()
    })
  }

  async start(): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(179, OURS.v4, resolve))
    this.#run({ type: 'start' })
  }

  get state(): SessionState {
    return stateOf(this.session)
  }

  /** What the peer is to have; with `complete` it is told that this is all. */
  announce(
    routes: readonly Route[],
    options: { readonly complete?: boolean; readonly emphasis?: Emphasis } = {},
  ): void {
    this.#routes = routes
    this.#emphasis = options.emphasis ?? NO_EMPHASIS
    if (options.complete === true && !this.#complete) {
      this.#complete = true
      if (this.rib !== undefined) complete(this.rib)
    }
    this.#fill()
  }

  async stop(how: 'shutdown' | 'restart', text?: string): Promise<void> {
    this.#run(text === undefined ? { type: 'stop', how } : { type: 'stop', how, text })
    clearTimeout(this.#timer)
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  #adopt(socket: Socket): number {
    const id = this.#ids++
    this.#peers.set(id, { socket, framer: new Framer() })
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#read(id, chunk))
    socket.on('error', error => this.#lost(id, error.message))
    socket.on('close', () => this.#lost(id, 'closed'))
    socket.on('drain', () => {
      this.#run({ type: 'backlog', connection: id, waiting: false })
      this.#pump(id)
    })
    return id
  }

  #lost(id: number, why: string): void {
    if (this.#peers.delete(id)) this.#run({ type: 'closed', connection: id, why })
  }

  #read(id: number, chunk: Uint8Array): void {
    const peer = this.#peers.get(id)
    if (peer === undefined) return
    peer.framer.push(chunk)
    try {
      while (this.#peers.has(id)) {
        const settled = this.session.connections.find(each => each.id === id)?.negotiated ?? undefined
        const lengthMax = settled?.messageMax ?? MESSAGE_MAX
        const bytes = peer.framer.next(lengthMax)
        if (bytes === undefined) return
        const context =
          settled === undefined ? { fourOctetAs: true, internal: false } : updateContext(settled)
        this.#run({ type: 'message', connection: id, message: decodeMessage(bytes, context, lengthMax) })
      }
    } catch (error) {
      if (!(error instanceof BgpError)) throw error
      this.#run({ type: 'malformed', connection: id, error })
    }
  }

  #run(event: WithoutTime<Event>): void {
    const effects = step(this.session, { ...event, now: performance.now(), random: Math.random() })
    for (const effect of effects) this.#perform(effect)
    if (this.session.connections.length > 1) this.collisions++
    clearTimeout(this.#timer)
    const wait = nextDeadline(this.session) - performance.now()
    if (Number.isFinite(wait)) this.#timer = setTimeout(() => this.#run({ type: 'tick' }), Math.max(0, wait))
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case 'connect':
        if (!this.#crossing) this.#dial()
        return
      case 'stop-connecting':
        this.#dialing?.removeAllListeners()
        this.#dialing?.on('error', () => {}).destroy()
        this.#dialing = undefined
        return
      case 'send':
        this.#peers.get(effect.connection)?.socket.write(effect.bytes)
        return
      case 'close': {
        const peer = this.#peers.get(effect.connection)
        this.#peers.delete(effect.connection)
        peer?.socket.destroySoon()
        return
      }
      case 'state':
        this.states.push(effect.to)
        return
      case 'up':
        this.rib = createAdjRibOut(effect.negotiated)
        if (this.#complete) complete(this.rib)
        this.#fill()
        return
      case 'down':
        this.rib = undefined
        this.received.clear()
        this.endsOfRib.clear()
        this.downs.push(effect)
        return
      case 'routes': {
        const { announced, withdrawn, endOfRib } = effect.changes
        for (const prefix of announced) this.received.set(prefix, true)
        for (const prefix of withdrawn) this.received.delete(prefix)
        const family = endOfRib === null ? undefined : unicastFamily(endOfRib)
        if (family !== undefined) this.endsOfRib.add(family)
        return
      }
      case 'refresh': {
        const family = unicastFamily(effect.family)
        if (family === undefined || this.rib === undefined) return
        this.refreshed.push(family)
        refresh(this.rib, family)
        this.#pump(effect.connection)
        return
      }
    }
  }

  /** @param then right after the connection is there */
  #dial(then = (): void => {}): void {
    const socket = new Socket()
    this.#dialing = socket
    socket.once('connect', () => {
      socket.removeAllListeners('error')
      this.#dialing = undefined
      this.#run({ type: 'connected', connection: this.#adopt(socket) })
      then()
    })
    socket.once('error', error => {
      this.#dialing = undefined
      this.#run({ type: 'connect-failed', why: error.message })
    })
    socket.connect({ host: THEIRS.v4, port: 179, localAddress: OURS.v4 })
  }

  #fill(): void {
    const { rib, session } = this
    const connection = session.connections.find(({ phase }) => phase === 'Established')
    if (rib === undefined || connection === undefined) return
    const out = { negotiated: rib.negotiated, localAs: session.config.localAs, nextHops: this.#nextHops }
    const toOut = outRoutes(out)
    replaceAll(
      rib,
      this.#routes.flatMap(route => toOut(route, this.#emphasis) ?? []),
    )
    this.#pump(connection.id)
  }

  #pump(id: number): void {
    const socket = this.#peers.get(id)?.socket
    if (socket === undefined) return
    let sent = false
    while (!socket.writableNeedDrain) {
      const bytes = this.rib === undefined ? undefined : nextMessage(this.rib)
      if (bytes === undefined) break
      sent = true
      this.updatesSent++
      socket.write(bytes)
    }
    if (sent) this.#run({ type: 'update-sent', connection: id })
    if (socket.writableNeedDrain) this.#run({ type: 'backlog', connection: id, waiting: true })
  }
}
