import type { Ms } from '../ports/clock.ts'
import { basePatience, MARGIN, type Membership, type Peer, patienceWith, type Voters } from './state.ts'

/**
 * Two voters are no majority without each other. When one is silent, a witness stands in for it: the gateway that answers, or
 * anybody else on the wire. Who is cut off hears none.
 */
export function isPair(voters: Voters): boolean {
  return voters.names.length === 2 && voters.self
}

/** Of a witness: asked at every interval at first, more seldom when the other has been silent for long. */
const FAST_ASKS_FOR_MS = 1000
const SLOW_ASK_INTERVALS = 10
const SLOW_WITNESS_INTERVALS = 30

const NEVER = Number.NEGATIVE_INFINITY
const FOREVER = Number.POSITIVE_INFINITY

/** A pair of voters, one of them silent: the gateway, or anybody else on the wire, stands in for it. */
export function witnessFor(m: Membership, voters: Voters, now: Ms): Peer | undefined {
  if (!isPair(voters)) return undefined
  const other = voters.peers[0]
  if (other === undefined || m.listeningSince === undefined) return undefined
  return now >= missedFrom(m, other) ? other : undefined
}

/** From when on the other of a pair is too silent to be counted on, or grants nothing yet because it only just came back. */
function missedFrom(m: Membership, other: Peer): Ms {
  return Math.min(other.silentSince + patienceWith(m, other) / 4, supportOf(other, true))
}

/** Until when a voter supports us. Of a pair, one that has just started lends its weight: it may not own before it votes. */
export function supportOf(peer: Peer, pair: boolean): Ms {
  return Math.min(pair && !peer.voting ? FOREVER : peer.grantUntil, peer.freshUntil)
}

export function onWitness(m: Membership, sentAt: Ms, now: Ms): void {
  const voters = m.voters.find(each => witnessFor(m, each, now) !== undefined)
  const other = voters === undefined ? undefined : witnessFor(m, voters, now)
  if (other === undefined || sentAt > now) return
  const slow = sentAt - other.silentSince > FAST_ASKS_FOR_MS
  const until =
    sentAt +
    (slow
      ? SLOW_WITNESS_INTERVALS * m.intervalMs
      : Math.max(m.intervalMs, MARGIN * patienceWith(m, other) - other.intervalMs))
  if (sentAt > m.witnessUntil) m.witnessSince = sentAt
  m.witnessUntil = Math.max(m.witnessUntil, until)
  m.dirty = true
}

/** When a witness is to be asked next; Infinity when none is needed. */
export function askDue(m: Membership, now: Ms): Ms {
  for (const voters of m.voters) {
    if (!isPair(voters)) continue
    const [other] = voters.peers
    if (other === undefined || m.listeningSince === undefined) continue
    const from = missedFrom(m, other)
    return now < from ? from : Math.max(from, m.nextAskAt)
  }
  return FOREVER
}

export function asked(m: Membership, now: Ms): void {
  let silent = 0
  for (const peer of m.peers.values()) silent = Math.max(silent, now - peer.silentSince)
  m.nextAskAt = now + (silent > FAST_ASKS_FOR_MS ? SLOW_ASK_INTERVALS : 1) * m.intervalMs
}

/**
 * Until when the witness counts. Who lost its entitlement waits until an old witness of the other has run out: both may have
 * been cut from each other only.
 */
export function witnessUntil(m: Membership, now: Ms): Ms {
  if (now >= m.witnessUntil) return NEVER
  const lapsed = !m.entitled && now - m.lapsedAt > basePatience(m)
  const waitMs = SLOW_WITNESS_INTERVALS * m.intervalMs + 2 * basePatience(m)
  return !lapsed || now - m.witnessSince >= waitMs ? m.witnessUntil : NEVER
}
