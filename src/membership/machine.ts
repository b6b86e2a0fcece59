import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'
import { type Heartbeat, type Message, readVotes } from '../wire/heartbeat.ts'
import { DecodeError } from '../wire/io.ts'
import { createJitter, forgetArrival, observe } from './jitter.ts'
import {
  acknowledged,
  change,
  chooseAgain,
  evaluate,
  isOver,
  nextCheck,
  renew,
  UNLISTED_FOR_MS,
  voteOn,
  votesToTell,
} from './quorum.ts'
import { oldKeyFor, queueClaims, speak, speakAskers, speakClaims, speakToAll } from './speech.ts'
import {
  type AddressTerm,
  basePatience,
  createPeer,
  type Drop,
  type Effect,
  type Event,
  forgetSent,
  hasLeft,
  intervalFor,
  type Level,
  longestPatience,
  type Membership,
  type Peer,
  patienceWith,
  type Standing,
} from './state.ts'
import { askDue, asked, onWitness } from './witness.ts'

export type {
  AddressTerm,
  Drop,
  Effect,
  Event,
  Level,
  Membership,
  MembershipOptions,
  Standing,
} from './state.ts'
export { createMembership } from './state.ts'

/** A new key reaches the speakers one after the other: so long both are good, but for a peer that has shown the new one. */
const OLD_KEY_FOR_MS = 600_000
const REMEMBERED_MAX = 1000
/** Changes that all should hear at once are gathered for this share of the interval. */
const BROADCAST_SHARE = 0.025
/** Of the heartbeats of a peer that needs us although we do not need it: how many may be lost. */
const WANTED_INTERVALS = 20

/** Deterministic: the same machine and event give the same machine and effects. */
export function step(m: Membership, event: Event): Effect[] {
  const effects: Effect[] = []
  const { now } = event
  noticeAbsence(m, now, effects)
  switch (event.type) {
    case 'peers':
      onPeers(m, event.peers, now, effects)
      break
    case 'key':
      onKey(m, event.key, now, effects)
      break
    case 'datagram':
      onDatagram(m, event.payload, now, effects)
      break
    case 'tick':
      onTick(m, now, effects)
      break
    case 'link':
      onLink(m, event.usable, now)
      break
    case 'leave':
      m.leaving = true
      m.broadcastOwed = true
      break
    case 'witness':
      onWitness(m, event.sentAt, now)
      break
    case 'claims':
      onClaims(m, event.claims, event.to, now, effects)
      break
    case 'askers': {
      const peer = m.peers.get(event.to)
      if (peer === undefined || peer.level === 'left') break
      for (const body of event.bodies) speakAskers(m, peer, body, now, effects)
      break
    }
  }
  if (m.dirty) {
    tellVotes(m, now)
    evaluate(m, now, effects)
    // What is overdue already stays so until the tick.
    m.checkAt = Math.min(m.checkAt, nextCheck(m, now))
  }
  if (m.broadcastOwed && now >= broadcastDue(m)) speakToAll(m, now, effects)
  return effects
}

/** When the driver owes the next tick. */
export function nextDeadline(m: Membership): Ms {
  const next = Math.min(m.nextSendAt, m.checkAt)
  return m.broadcastOwed ? Math.min(next, broadcastDue(m)) : next
}

/** O(1): asked for every frame. */
export function standing(m: Membership, now: Ms): Standing {
  const { entitledUntil } = m
  return { entitled: now < entitledUntil, entitledUntil, probation: !m.standing, alone: m.alone }
}

/** `down` for a node that is not registered; our own is never `down`. */
export function levelOf(m: Membership, node: string): Level {
  if (node !== m.options.self) return m.peers.get(node)?.level ?? 'down'
  if (m.leaving) return 'left'
  return m.standing ? 'up' : 'probation'
}

function broadcastDue(m: Membership): Ms {
  return m.lastBroadcastAt + BROADCAST_SHARE * m.intervalMs
}

function tellVotes(m: Membership, now: Ms): void {
  const votes = votesToTell(m, now)
  if (sameBytes(votes, m.votes)) return
  m.votes = votes
  m.broadcastOwed = true
}

function onPeers(
  m: Membership,
  listed: readonly { name: string; ip: Ip }[],
  now: Ms,
  effects: Effect[],
): void {
  const wanted = new Map(
    listed.filter(peer => peer.name !== m.options.self).map(peer => [peer.name, peer.ip]),
  )
  // Without peers there are no ticks, so the time since the last one says nothing.
  if (m.peers.size === 0) m.lastTickAt = undefined
  m.intervalMs = intervalFor(m.options, wanted.size)
  for (const [name, ip] of wanted) {
    const peer = m.peers.get(name)
    if (peer !== undefined) {
      peer.ip = ip
      peer.listed = true
      continue
    }
    const remembered = m.remembered.get(name) ?? { epoch: 0, counter: 0, leftEpoch: -1 }
    m.remembered.delete(name)
    const made = createPeer(m, name, ip, remembered, now)
    m.peers.set(name, made)
    m.nextSendAt = now
    if (made.level === 'down') {
      made.level = 'up'
      change(made, 'down', now, effects)
    }
  }
  for (const peer of m.peers.values()) peer.listed = wanted.has(peer.name)
  m.started = true
  listen(m, now)
  dropUnlisted(m, now)
  chooseAgain(m, now)
  if (m.peers.size === 0) m.nextSendAt = Number.POSITIVE_INFINITY
}

/**
 * Who is registered no more is gone once it left, or is down and silent for long: a list that was lost must not make everybody
 * alone. Two nodes that do not talk know this of each other by the votes only.
 */
function dropUnlisted(m: Membership, now: Ms): boolean {
  let dropped = false
  for (const peer of m.peers.values()) {
    if (peer.listed || stays(m, peer, now)) continue
    forget(m, peer)
    dropped = true
  }
  return dropped
}

function stays(m: Membership, peer: Peer, now: Ms): boolean {
  if (peer.level === 'left') return peer.member
  if ((peer.member || peer.heardAt !== undefined) && now < peer.silentSince + UNLISTED_FOR_MS) return true
  return peer.level !== 'down' && now < m.quorateUntil
}

function forget(m: Membership, { name, epoch, counter, leftEpoch }: Peer): void {
  m.peers.delete(name)
  m.remembered.set(name, { epoch, counter, leftEpoch })
  for (const oldest of m.remembered.keys()) {
    if (m.remembered.size <= REMEMBERED_MAX) break
    m.remembered.delete(oldest)
  }
}

function onKey(m: Membership, key: Uint8Array | undefined, now: Ms, effects: Effect[]): void {
  const before = m.key
  if (before !== undefined && key !== undefined && sameBytes(before, key)) return
  m.key = key
  m.oldKey = before === undefined ? undefined : { key: before, until: now + OLD_KEY_FOR_MS }
  for (const peer of m.peers.values()) peer.hasNewKey = false
  listen(m, now)
  m.dirty = true
  if (key !== undefined) speakToAll(m, now, effects)
}

function onLink(m: Membership, usable: boolean, now: Ms): void {
  if (m.linkUsable === usable) return
  m.linkUsable = usable
  m.dirty = true
  m.witnessUntil = Number.NEGATIVE_INFINITY
  // What was promised before says nothing about a cable that may be in another switch by now.
  for (const peer of m.peers.values()) forgetSent(peer)
  listen(m, now)
  if (m.peers.size > 0) m.nextSendAt = now
}

/** Silence counts from the moment at which something could have been heard. */
function listen(m: Membership, now: Ms): void {
  const can = m.started && m.linkUsable && m.key !== undefined
  if (can === (m.listeningSince !== undefined)) return
  m.listeningSince = can ? now : undefined
  if (can) waitAnew(m, now)
}

function waitAnew(m: Membership, now: Ms): void {
  for (const peer of m.peers.values()) {
    forgetArrival(peer.jitter)
    if (peer.vote !== 'down') peer.silentSince = now
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** Our own pause looks like everybody's silence: it is noticed before anything else, and nobody is judged by it. */
function noticeAbsence(m: Membership, now: Ms, effects: Effect[]): void {
  if (m.lastTickAt === undefined) return
  const awayMs = now - m.lastTickAt - m.intervalMs
  const patienceMs = basePatience(m)
  if (awayMs <= patienceMs / 2) return
  m.lastTickAt = now
  waitAnew(m, now)
  m.dirty = true
  effects.push({ type: 'was-away', forMs: awayMs, missed: awayMs + m.intervalMs >= patienceMs, at: now })
}

function onTick(m: Membership, now: Ms, effects: Effect[]): void {
  m.lastTickAt = m.peers.size === 0 ? undefined : now
  if (m.voters.length > 1 && m.voters.some(each => isOver(m, each, now))) {
    m.voters = m.voters.filter(each => !isOver(m, each, now))
    chooseAgain(m, now)
  }
  if (dropUnlisted(m, now)) chooseAgain(m, now)
  removeLeavers(m, now)
  for (const peer of m.peers.values()) voteOn(m, peer, now)
  tellVotes(m, now)
  evaluate(m, now, effects)
  if (askDue(m, now) <= now) {
    asked(m, now)
    effects.push({ type: 'ask-witness', at: now })
  }
  if (now >= m.nextSendAt) {
    speakToAll(m, now, effects)
    for (const peer of m.peers.values()) speakClaims(m, peer, now, effects)
    // A late tick skips the beats it missed: sending them now would tell nobody anything.
    m.nextSendAt = Math.max(m.nextSendAt + m.intervalMs, now + m.intervalMs / 2)
  }
  m.checkAt = nextCheck(m, now)
}

/** Voters that left are done without, one at a time: each such step keeps a voter that is in the majorities before and after. */
function removeLeavers(m: Membership, now: Ms): void {
  if (now < m.nextRemovalAt) return
  for (const peer of m.peers.values()) {
    if (!peer.member || !hasLeft(peer)) continue
    peer.member = false
    m.nextRemovalAt = now + longestPatience(m)
    chooseAgain(m, now)
    if (dropUnlisted(m, now)) chooseAgain(m, now)
    return
  }
}

function onClaims(
  m: Membership,
  claims: readonly AddressTerm[],
  to: string | undefined,
  now: Ms,
  effects: Effect[],
): void {
  for (const peer of m.peers.values()) {
    if ((to !== undefined && to !== peer.name) || peer.level === 'left') continue
    queueClaims(peer, claims)
    speakClaims(m, peer, now, effects)
  }
}

/** With the present key or, where that is still good, the one before. @throws DecodeError */
function decode(m: Membership, key: Uint8Array, payload: Uint8Array, now: Ms): Message {
  try {
    const message = m.codec.decode(payload, key)
    if (m.oldKey !== undefined && message.recipient === m.options.self) {
      const peer = m.peers.get(message.sender)
      if (peer !== undefined) peer.hasNewKey = true
    }
    return message
  } catch (error) {
    const old = oldKeyFor(m, undefined, now)
    if (!(error instanceof DecodeError) || error.code !== 'bad-checksum' || old === undefined) throw error
    const message = m.codec.decode(payload, old)
    if (oldKeyFor(m, m.peers.get(message.sender), now) === undefined) throw error
    return message
  }
}

function onDatagram(m: Membership, payload: Uint8Array, now: Ms, effects: Effect[]): void {
  const drop = (why: Drop): void => void effects.push({ type: 'dropped', why })
  if (m.key === undefined) return drop('no-key')
  let message: Message
  try {
    message = decode(m, m.key, payload, now)
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error
    return drop(error.code === 'bad-checksum' ? 'not-authentic' : 'undecodable')
  }
  if (message.recipient !== m.options.self) return drop('not-for-us')
  const peer = m.peers.get(message.sender)
  if (peer === undefined) return drop('unknown-sender')
  if (message.epoch < peer.epoch || (message.epoch === peer.epoch && message.counter <= peer.counter)) {
    return drop('old')
  }
  const newEpoch = message.epoch > peer.epoch
  if (newEpoch) beginRun(m, peer, message.epoch)
  if (message.heardEpoch !== m.epoch) {
    // It has not heard this run of ours yet, or remembers one that our clock now puts in the future.
    if (message.heardEpoch > m.epoch) goOnAbove(m, message.heardEpoch)
    if (newEpoch) {
      peer.counter = message.counter
      acknowledge(peer, message)
      speak(m, peer, now, effects)
    }
    return drop('not-fresh')
  }
  const after = peer.counter
  peer.counter = message.counter
  acknowledge(peer, message)
  const first = !m.heardAnybody
  m.heardAnybody = true
  peer.heardAt = now
  peer.unknownUntil = Number.NEGATIVE_INFINITY
  peer.silentSince = now
  if (first || peer.suspectedAt !== undefined) m.dirty = true
  const node = peer.name
  if (message.kind === 'claims') effects.push({ type: 'claimed', node, claims: message.claims })
  else if (message.kind === 'askers')
    effects.push({ type: 'askers', node, body: Uint8Array.from(message.body) })
  else onHeartbeat(m, peer, message, after, now, effects)
  voteOn(m, peer, now)
  if (newEpoch) speak(m, peer, now, effects)
  if (!m.dirty) renew(m, now, effects)
}

function acknowledge(peer: Peer, message: Message): void {
  if (message.kind === 'alive' || message.kind === 'leaving') peer.beatCounter = message.counter
}

/** A later run of the peer: nothing of the one before holds, but what it promised. */
function beginRun(m: Membership, peer: Peer, epoch: number): void {
  peer.epoch = epoch
  peer.counter = 0
  peer.beatCounter = 0
  peer.round = 0
  peer.votedRound = 0
  peer.standing = false
  peer.cutOffSince = undefined
  peer.voting = false
  peer.votedUs = 0
  peer.votes = new Uint8Array()
  peer.votesRead = new Map()
  forgetArrival(peer.jitter)
  m.dirty = true
}

function goOnAbove(m: Membership, epoch: number): void {
  m.epoch = epoch + 1
  for (const peer of m.peers.values()) {
    peer.counterOut = 0
    forgetSent(peer)
  }
}

function onHeartbeat(
  m: Membership,
  peer: Peer,
  beat: Heartbeat,
  after: number,
  now: Ms,
  effects: Effect[],
): void {
  adapt(m, peer, beat, after, now, effects)
  peer.toldPatienceMs = beat.patienceMs
  peer.reliesUntil = Math.max(peer.reliesUntil, now + beat.promiseMs)
  if (beat.wanted) peer.wantedUntil = now + WANTED_INTERVALS * beat.intervalMs
  if (beat.round !== peer.round || beat.standing !== peer.standing) m.dirty = true
  peer.round = beat.round
  peer.standing = beat.standing
  if (beat.quorate) peer.cutOffSince = undefined
  else if (peer.cutOffSince === undefined) {
    peer.cutOffSince = now
    m.checkAt = Math.min(m.checkAt, now + patienceWith(m, peer))
  }
  if (beat.voting !== peer.voting || beat.votedRound !== peer.votedUs) m.dirty = true
  peer.voting = beat.voting
  peer.votedUs = beat.votedRound
  peer.granting = beat.granting
  if (!sameBytes(beat.votes, peer.votes)) {
    peer.votes = Uint8Array.from(beat.votes)
    peer.votesRead = readVotes(beat.votes)
    m.dirty = true
  }
  const { heardCounter } = beat
  if (
    heardCounter > 0 &&
    heardCounter <= peer.counterOut &&
    peer.counterOut - heardCounter < peer.sentAt.length
  ) {
    const slot = heardCounter % peer.sentAt.length
    if (now >= peer.freshUntil) m.dirty = true
    if (peer.provenCounter > 0 && heardCounter >= peer.provenCounter) peer.knowsProven = true
    acknowledged(peer, peer.sentAt[slot] ?? 0, peer.reliance[slot] ?? 0, beat.granting, beat.promiseMs)
  }
  if (beat.kind === 'leaving') peer.leftAt = now
  if (beat.kind === 'leaving' && !hasLeft(peer)) {
    peer.leftEpoch = beat.epoch
    change(peer, 'left', now, effects)
    removeLeavers(m, now)
    m.dirty = true
  }
  // Who is new counts as a voter once it votes; at once where we were the only one, or it would own beside us.
  const only = m.voters[0]?.names.length === 1 && m.voters[0].self
  if (!peer.member && (peer.voting || only) && !hasLeft(peer)) {
    peer.member = true
    chooseAgain(m, now)
  }
}

function adapt(m: Membership, peer: Peer, beat: Heartbeat, after: number, now: Ms, effects: Effect[]): void {
  const baseMs = m.options.misses * beat.intervalMs
  if (beat.intervalMs !== peer.intervalMs) {
    peer.intervalMs = beat.intervalMs
    Object.assign(peer.jitter, createJitter(baseMs))
  }
  const { jitter } = peer
  if (after === 0) forgetArrival(jitter)
  const before = jitter.patienceMs
  if (!observe(jitter, beat.counter, beat.intervalMs, baseMs, now)) return
  const { patienceMs, peakMs } = jitter
  if (patienceMs !== before) effects.push({ type: 'adapted', node: peer.name, patienceMs, jitterMs: peakMs })
}
