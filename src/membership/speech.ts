import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'
import { CLAIMS_MAX, type Message } from '../wire/heartbeat.ts'
import { grants, talks } from './quorum.ts'
import { type Effect, isVoting, type Membership, type Peer, patienceWith } from './state.ts'

/** Claims are told so often, so that one lost datagram does no harm. */
const CLAIM_REPEATS = 3

export function oldKeyFor(m: Membership, peer: Peer | undefined, now: Ms): Uint8Array | undefined {
  if (m.oldKey === undefined || now >= m.oldKey.until || peer?.hasNewKey === true) return undefined
  return m.oldKey.key
}

/** A heartbeat to everybody we talk to; to all registered peers that we leave. */
export function speakToAll(m: Membership, now: Ms, effects: Effect[]): void {
  m.broadcastOwed = false
  m.lastBroadcastAt = now
  for (const peer of m.peers.values()) {
    if (talks(peer, now) || m.leaving) speak(m, peer, now, effects)
  }
}

/** One heartbeat; two while the peer may not have the present key yet. */
export function speak(m: Membership, peer: Peer, now: Ms, effects: Effect[]): void {
  const promiseMs = Math.round(patienceWith(m, peer))
  const granting = grants(m, peer, now)
  const voting = isVoting(m, now)
  if (granting && peer.heardAt !== undefined) {
    peer.promisedUntil = Math.max(peer.promisedUntil, peer.heardAt + promiseMs)
  }
  if (m.proven && peer.provenCounter === 0) peer.provenCounter = peer.counterOut + 1
  send(m, peer, now, promiseMs, effects, counter => ({
    kind: m.leaving ? 'leaving' : 'alive',
    sender: m.options.self,
    recipient: peer.name,
    epoch: m.epoch,
    counter,
    heardEpoch: peer.epoch,
    heardCounter: peer.beatCounter,
    round: m.round,
    standing: m.proven,
    quorate: now < m.quorateUntil,
    granting,
    voting,
    wanted: peer.needed,
    intervalMs: m.intervalMs,
    patienceMs: Math.min(0xffff, Math.round(peer.jitter.patienceMs)),
    promiseMs,
    votedRound: voting ? peer.votedRound : 0,
    votes: m.votes,
  }))
}

export function queueClaims(peer: Peer, claims: readonly { ip: Ip; term: number }[]): void {
  for (const { ip, term } of claims) peer.claims.set(ip, { term, repeats: CLAIM_REPEATS })
}

/** Whatever terms the peer has to be told still. */
export function speakClaims(m: Membership, peer: Peer, now: Ms, effects: Effect[]): void {
  if (peer.claims.size === 0 || m.key === undefined) return
  const due = [...peer.claims].map(([ip, { term }]) => ({ ip, term }))
  for (let at = 0; at < due.length; at += CLAIMS_MAX) {
    const claims = due.slice(at, at + CLAIMS_MAX)
    send(m, peer, now, 0, effects, counter => ({
      kind: 'claims',
      sender: m.options.self,
      recipient: peer.name,
      epoch: m.epoch,
      counter,
      heardEpoch: peer.epoch,
      claims,
    }))
  }
  for (const [ip, claim] of peer.claims) if (--claim.repeats <= 0) peer.claims.delete(ip)
}

export function speakAskers(m: Membership, peer: Peer, body: Uint8Array, now: Ms, effects: Effect[]): void {
  send(m, peer, now, 0, effects, counter => ({
    kind: 'askers',
    sender: m.options.self,
    recipient: peer.name,
    epoch: m.epoch,
    counter,
    heardEpoch: peer.epoch,
    body,
  }))
}

/** @param relianceMs how long we rely on what an acknowledgement of this says */
function send(
  m: Membership,
  peer: Peer,
  now: Ms,
  relianceMs: Ms,
  effects: Effect[],
  message: (counter: number) => Message,
): void {
  if (m.key === undefined) return
  const old = oldKeyFor(m, peer, now)
  for (const key of old === undefined ? [m.key] : [m.key, old]) {
    const counter = ++peer.counterOut
    const slot = counter % peer.sentAt.length
    peer.sentAt[slot] = now
    peer.reliance[slot] = relianceMs
    effects.push({ type: 'send', to: peer.ip, payload: m.codec.encode(message(counter), key) })
  }
}
