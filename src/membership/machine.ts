import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'
import { decodeHeartbeat, encodeHeartbeat, type Heartbeat } from '../wire/heartbeat.ts'
import { DecodeError } from '../wire/io.ts'

/**
 * Who is alive, as one node sees it: authenticated UDP heartbeats between the speakers, one machine per node.
 *
 *   presumed ──heard──► alive ──silent for deadAfterMs──► dead ──heard──► alive
 *      │                  └──────────says leaving───────► left ──heard (new epoch)──► alive
 *      └──silent for deadAfterMs since start──► dead
 *   alive, dead ──our own link lost or back, we ourselves were away──► presumed
 *   (a node that appears while we run) ──► dead: nobody gives anything up for a speaker that has not spoken yet
 *
 * Nothing expires before a key is known: who can hear nobody must not conclude that all others are gone.
 *
 * A heartbeat proves life only if it is authentic, newer than all before (epoch, then counter), and answers the epoch
 * that we chose at our start: so a recording of an earlier time, from this peer or to this node, proves nothing.
 */
export type PeerStatus = 'presumed' | 'alive' | 'dead' | 'left'

export type Peer = {
  readonly name: string
  readonly ip: Ip
  status: PeerStatus
  /** When the last proof of life came; when we began to wait, while there was none. */
  lastHeardAt: Ms
  /** Highest epoch and, in it, counter heard: all that is not above is old. */
  epoch: number
  counter: number
  /** The run in which it said that it leaves; only a later one brings it back. */
  leftEpoch: number
  nextSendAt: Ms
  /** Heartbeats that still have to say that we leave. */
  leavesOwed: number
  /** It has spoken with the present key, so the one before is no longer good for it. */
  hasNewKey: boolean
}

/** What is kept of a peer whose Node was deleted, so that recordings of it stay old when it is made again. */
type Remembered = Pick<Peer, 'epoch' | 'counter' | 'leftEpoch'>

export type MembershipOptions = {
  readonly self: string
  /** Of this run of this node: wall-clock milliseconds at start. Raised when a peer remembers a higher one. */
  readonly epoch: number
  readonly intervalMs: Ms
  /** Silence after which a peer is dead. At least two intervals. */
  readonly deadAfterMs: Ms
}

export type Drop =
  | 'undecodable'
  | 'not-authentic'
  | 'unknown-sender'
  | 'not-for-us'
  | 'old'
  | 'not-fresh'
  | 'no-key'

export type Effect =
  | { readonly type: 'send'; readonly to: Ip; readonly payload: Uint8Array }
  | {
      readonly type: 'peer-changed'
      readonly node: string
      readonly from: PeerStatus
      readonly to: PeerStatus
      readonly lastHeardAt: Ms
      readonly at: Ms
    }
  | { readonly type: 'dropped'; readonly why: Drop }
  /**
   * We ourselves were away (paused, starved) for this long: nothing was concluded from that silence. `missed`: long enough for
   * the others to take us for dead.
   */
  | { readonly type: 'was-away'; readonly forMs: Ms; readonly missed: boolean; readonly at: Ms }

export type Event =
  | { readonly type: 'peers'; readonly peers: readonly { name: string; ip: Ip }[]; readonly now: Ms }
  | { readonly type: 'key'; readonly key: Uint8Array | undefined; readonly now: Ms }
  | { readonly type: 'datagram'; readonly payload: Uint8Array; readonly now: Ms }
  | { readonly type: 'tick'; readonly now: Ms }
  /** Whether the interface towards the peers has a carrier. Without one, their silence says nothing about them. */
  | { readonly type: 'link'; readonly usable: boolean; readonly now: Ms }
  /** Tells all peers, several times over the next intervals, that this node gives up what it owns. */
  | { readonly type: 'leave'; readonly now: Ms }

/** How many heartbeats say that we leave, so that one lost datagram does not turn an orderly leave into a failure. */
const LEAVE_REPEATS = 3
/** A new key reaches the speakers one after the other: so long both are good, but for a peer that has shown the new one. */
const OLD_KEY_FOR_MS = 600_000
const REMEMBERED_MAX = 1000

/** Owned by one driver; `step` changes it in place because a datagram must not cost a copy of the table of peers. */
export type Membership = {
  readonly options: MembershipOptions
  epoch: number
  counter: number
  key: Uint8Array | undefined
  oldKey: { readonly key: Uint8Array; readonly until: Ms } | undefined
  leaving: boolean
  linkUsable: boolean
  /** The peers were told once: those that come later are new to the cluster. */
  started: boolean
  lastTickAt: Ms | undefined
  readonly peers: Map<string, Peer>
  readonly remembered: Map<string, Remembered>
}

export function createMembership(options: MembershipOptions): Membership {
  return {
    options,
    epoch: options.epoch,
    counter: 0,
    key: undefined,
    oldKey: undefined,
    leaving: false,
    linkUsable: true,
    started: false,
    lastTickAt: undefined,
    peers: new Map(),
    remembered: new Map(),
  }
}

/** Deterministic: the same machine and event give the same machine and effects. */
export function step(m: Membership, event: Event): Effect[] {
  switch (event.type) {
    case 'peers':
      return onPeers(m, event.peers, event.now)
    case 'key':
      return onKey(m, event.key, event.now)
    case 'datagram':
      return onDatagram(m, event.payload, event.now)
    case 'tick':
      return onTick(m, event.now)
    case 'link':
      return onLink(m, event.usable, event.now)
    case 'leave':
      break
  }
  m.leaving = true
  return sendAll(m, event.now)
}

/** When the driver owes the next tick. */
export function nextDeadline(m: Membership): Ms {
  let next = Number.POSITIVE_INFINITY
  for (const peer of m.peers.values()) {
    next = Math.min(next, peer.nextSendAt)
    if (!expires(m, peer)) continue
    const due = peer.lastHeardAt + m.options.deadAfterMs
    // What was due at the last tick and did not happen waits for the second patience: see `deaf`.
    const waited = m.lastTickAt !== undefined && m.lastTickAt >= due
    next = Math.min(next, waited ? due + m.options.deadAfterMs : due)
  }
  return next
}

/**
 * Several peers, and none of them heard for so long that they would count as dead: rather this node is hard of hearing
 * than all others are gone at once, so it waits twice as long before it believes that.
 */
function deaf(m: Membership, now: Ms): boolean {
  let silent = 0
  for (const peer of m.peers.values()) {
    if (!expires(m, peer)) continue
    if (now - peer.lastHeardAt < m.options.deadAfterMs) return false
    silent++
  }
  return silent > 1
}

function onPeers(m: Membership, peers: readonly { name: string; ip: Ip }[], now: Ms): Effect[] {
  const wanted = new Map(peers.filter(peer => peer.name !== m.options.self).map(peer => [peer.name, peer.ip]))
  // Without peers there are no ticks, so the time since the last one says nothing.
  if (m.peers.size === 0) m.lastTickAt = undefined
  for (const [name, peer] of m.peers) {
    if (!wanted.has(name)) forget(m, peer)
    else if (wanted.get(name) !== peer.ip) m.peers.set(name, { ...peer, ip: wanted.get(name) ?? peer.ip })
  }
  const effects: Effect[] = []
  for (const [name, ip] of wanted) {
    if (m.peers.has(name)) continue
    const { epoch, counter, leftEpoch } = m.remembered.get(name) ?? { epoch: 0, counter: 0, leftEpoch: -1 }
    m.remembered.delete(name)
    const peer: Peer = {
      name,
      ip,
      status: 'presumed',
      lastHeardAt: now,
      epoch,
      counter,
      leftEpoch,
      nextSendAt: now,
      leavesOwed: LEAVE_REPEATS,
      hasNewKey: false,
    }
    m.peers.set(name, peer)
    if (m.started) effects.push(change(peer, 'dead', now))
  }
  m.started = true
  return effects
}

function forget(m: Membership, { name, epoch, counter, leftEpoch }: Peer): void {
  m.peers.delete(name)
  m.remembered.set(name, { epoch, counter, leftEpoch })
  for (const oldest of m.remembered.keys()) {
    if (m.remembered.size <= REMEMBERED_MAX) break
    m.remembered.delete(oldest)
  }
}

function onKey(m: Membership, key: Uint8Array | undefined, now: Ms): Effect[] {
  const before = m.key
  if (before !== undefined && key !== undefined && sameBytes(before, key)) return []
  m.key = key
  m.oldKey = before === undefined ? undefined : { key: before, until: now + OLD_KEY_FOR_MS }
  for (const peer of m.peers.values()) {
    peer.hasNewKey = false
    // Until now there was nothing to hear.
    if (before === undefined) peer.lastHeardAt = now
  }
  return key === undefined ? [] : sendAll(m, now)
}

function oldKeyFor(m: Membership, peer: Peer | undefined, now: Ms): Uint8Array | undefined {
  if (m.oldKey === undefined || now >= m.oldKey.until || peer?.hasNewKey === true) return undefined
  return m.oldKey.key
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

function onTick(m: Membership, now: Ms): Effect[] {
  const effects: Effect[] = []
  const { intervalMs, deadAfterMs } = m.options
  if (m.peers.size === 0) {
    // Nothing of ours is due, so ticks come when others want them: their distance says nothing, and nobody could take over.
    m.lastTickAt = undefined
    return effects
  }
  const awayMs = m.lastTickAt === undefined ? 0 : now - m.lastTickAt - intervalMs
  m.lastTickAt = now
  if (awayMs > deadAfterMs / 2) {
    // Our own pause looks like everybody's silence: start waiting anew instead of taking what is not ours.
    for (const peer of m.peers.values()) {
      if (peer.status === 'alive' || peer.status === 'presumed') peer.lastHeardAt = now
    }
    const missed = awayMs + intervalMs >= deadAfterMs
    if (missed) {
      // Others have our addresses by now, and those of the nodes that were dead before are theirs as well.
      for (const peer of m.peers.values()) {
        if (peer.status !== 'dead') continue
        peer.lastHeardAt = now
        effects.push(change(peer, 'presumed', now))
      }
    }
    effects.push({ type: 'was-away', forMs: awayMs, missed, at: now })
  }
  const patienceMs = deaf(m, now) ? 2 * deadAfterMs : deadAfterMs
  for (const peer of m.peers.values()) {
    if (expires(m, peer) && now - peer.lastHeardAt >= patienceMs) effects.push(change(peer, 'dead', now))
    if (now >= peer.nextSendAt) effects.push(...send(m, peer, now))
  }
  return effects
}

function expires(m: Membership, peer: Peer): boolean {
  return m.key !== undefined && m.linkUsable && (peer.status === 'alive' || peer.status === 'presumed')
}

/**
 * A node whose own link is cut hears nobody: it is the one that is gone. It gives way to everybody (all are presumed
 * alive again), and when the link returns it waits for them as at its start, before it takes anything.
 */
function onLink(m: Membership, usable: boolean, now: Ms): Effect[] {
  if (m.linkUsable === usable) return []
  m.linkUsable = usable
  const effects: Effect[] = []
  for (const peer of m.peers.values()) {
    peer.lastHeardAt = now
    peer.nextSendAt = now
    if (peer.status === 'dead' || peer.status === 'alive') effects.push(change(peer, 'presumed', now))
  }
  return effects
}

function sendAll(m: Membership, now: Ms): Effect[] {
  return [...m.peers.values()].flatMap(peer => send(m, peer, now))
}

function send(m: Membership, peer: Peer, now: Ms): Effect[] {
  // A late tick skips the beats it missed: sending them now would tell nobody anything.
  peer.nextSendAt = Math.max(peer.nextSendAt + m.options.intervalMs, now + m.options.intervalMs / 2)
  if (m.key === undefined || (m.leaving && peer.leavesOwed === 0)) return []
  if (m.leaving) peer.leavesOwed--
  const effects: Effect[] = []
  for (const key of [m.key, oldKeyFor(m, peer, now)]) {
    if (key === undefined) continue
    m.counter++
    const payload = encodeHeartbeat(
      {
        kind: m.leaving ? 'leaving' : 'alive',
        sender: m.options.self,
        recipient: peer.name,
        epoch: m.epoch,
        counter: m.counter,
        heardEpoch: peer.epoch,
      },
      key,
    )
    effects.push({ type: 'send', to: peer.ip, payload })
  }
  return effects
}

/** With the present key or, where that is still good, the one before. @throws DecodeError */
function decode(m: Membership, key: Uint8Array, payload: Uint8Array, now: Ms): Heartbeat {
  try {
    const beat = decodeHeartbeat(payload, key)
    const peer = m.peers.get(beat.sender)
    if (peer !== undefined && beat.recipient === m.options.self) peer.hasNewKey = true
    return beat
  } catch (error) {
    const old = oldKeyFor(m, undefined, now)
    if (!(error instanceof DecodeError) || error.code !== 'bad-checksum' || old === undefined) throw error
    const beat = decodeHeartbeat(payload, old)
    if (oldKeyFor(m, m.peers.get(beat.sender), now) === undefined) throw error
    return beat
  }
}

function onDatagram(m: Membership, payload: Uint8Array, now: Ms): Effect[] {
  if (m.key === undefined) return [{ type: 'dropped', why: 'no-key' }]
  let beat: Heartbeat
  try {
    beat = decode(m, m.key, payload, now)
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error
    return [{ type: 'dropped', why: error.code === 'bad-checksum' ? 'not-authentic' : 'undecodable' }]
  }
  if (beat.recipient !== m.options.self) return [{ type: 'dropped', why: 'not-for-us' }]
  const peer = m.peers.get(beat.sender)
  if (peer === undefined) return [{ type: 'dropped', why: 'unknown-sender' }]
  if (beat.epoch < peer.epoch || (beat.epoch === peer.epoch && beat.counter <= peer.counter)) {
    return [{ type: 'dropped', why: 'old' }]
  }
  const newEpoch = beat.epoch > peer.epoch
  if (beat.heardEpoch !== m.epoch) {
    // It has not heard this run of ours yet, or remembers one that our clock now puts in the future.
    if (beat.heardEpoch > m.epoch) {
      m.epoch = beat.heardEpoch + 1
      m.counter = 0
    }
    if (newEpoch) {
      peer.epoch = beat.epoch
      peer.counter = beat.counter
    }
    return [{ type: 'dropped', why: 'not-fresh' }, ...(newEpoch ? send(m, peer, now) : [])]
  }
  peer.epoch = beat.epoch
  peer.counter = beat.counter
  if (deaf(m, now)) {
    // It was us: the others get the time to be heard again, too.
    for (const each of m.peers.values()) if (expires(m, each)) each.lastHeardAt = now
  }
  peer.lastHeardAt = now
  const effects: Effect[] = newEpoch ? send(m, peer, now) : []
  const status = beat.kind === 'leaving' ? 'left' : 'alive'
  if (status === 'left') peer.leftEpoch = beat.epoch
  else if (beat.epoch <= peer.leftEpoch) return effects
  if (peer.status !== status) effects.push(change(peer, status, now))
  return effects
}

function change(peer: Peer, to: PeerStatus, now: Ms): Effect {
  const from = peer.status
  peer.status = to
  return { type: 'peer-changed', node: peer.name, from, to, lastHeardAt: peer.lastHeardAt, at: now }
}
