import type { Ms } from '../ports/clock.ts'
import { VOTE_LENGTH, VOTES_MAX, type Vote, voteEntry } from '../wire/heartbeat.ts'
import {
  basePatience,
  type Effect,
  hasLeft,
  isVoting,
  type Level,
  longestPatience,
  MARGIN,
  type Membership,
  type Peer,
  patienceWith,
  type Voters,
  votersMax,
} from './state.ts'
import { chooseVoters, majorityOf, reachedBy } from './voters.ts'
import { askDue, isPair, supportOf, witnessFor, witnessUntil } from './witness.ts'

/**
 * Who may own, and who is down. Both are majorities of the same voters, and no voter is on both sides at once:
 *
 *   V promises X not to vote it down for p after it heard counter c     X counts on that for 0.9 p after it sent c
 *   S believes a vote of V for 0.9 r after it sent what V acknowledged  V grants X again only r after it voted X down last
 *
 * Each side measures with its own clock from the earlier of two events, so delays, pauses and full queues only shorten what it
 * counts on. Hence: who holds a node for down, by a majority, and is entitled itself, knows that the node is not.
 */

/** So long the voters before a change have to agree as well. */
const JOINT_MS = 10_000
const NEVER = Number.NEGATIVE_INFINITY
const FOREVER = Number.POSITIVE_INFINITY

/** Chooses the voters anew from who is registered and has not left. */
export function chooseAgain(m: Membership, now: Ms): void {
  const { self } = m.options
  const names = [...m.peers.values()].filter(peer => peer.member).map(peer => peer.name)
  const chosen = chooseVoters([self, ...names], votersMax(m.options))
  const before = m.voters[0]
  if (before === undefined || !sameNames(before.names, chosen)) {
    const next: Voters = {
      names: chosen,
      majority: majorityOf(chosen.length),
      until: FOREVER,
      self: chosen.includes(self),
      peers: [],
    }
    // One who leaves has said that it votes for nobody any more; every other change is learned by one node after the other.
    const left = before?.names.filter(name => !chosen.includes(name)) ?? []
    const only = chosen.every(name => before?.names.includes(name))
    const leave = only && left.length === 1 && left.every(name => isLeaving(m, name))
    if (before !== undefined && !leave) before.until = now + JOINT_MS
    m.voters = before === undefined || leave ? [next, ...m.voters.slice(1)] : [next, ...m.voters]
    m.voters.length = Math.min(m.voters.length, 8)
  }
  for (const voters of m.voters) {
    voters.peers = voters.names.map(name => m.peers.get(name)).filter(peer => peer !== undefined)
  }
  const voter = m.voters.some(each => each.self)
  if (!voter) m.votingFrom = undefined
  // A run before this one may have promised what this one does not know of.
  else m.votingFrom ??= now + longestPatience(m)
  // Those who are new count as voters only once they vote, but to vote they have to be heard.
  const everybody = chooseVoters([self, ...m.peers.keys()], votersMax(m.options))
  const selfNeeds = voter || everybody.includes(self)
  for (const peer of m.peers.values()) {
    const needed =
      selfNeeds || everybody.includes(peer.name) || m.voters.some(({ names }) => names.includes(peer.name))
    if (needed && !peer.needed) {
      peer.silentSince = now
      if (peer.heardAt === undefined && m.votingFrom !== undefined && peer.vote !== 'down')
        peer.vote = 'unknown'
    }
    peer.needed = needed
  }
  m.dirty = true
}

function isLeaving(m: Membership, name: string): boolean {
  const peer = m.peers.get(name)
  return peer !== undefined && hasLeft(peer)
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i])
}

export function talks(peer: Peer, now: Ms): boolean {
  return peer.needed || now < peer.wantedUntil
}

/** Our own vote on a peer, from what we hear of it. A voter that leaves changes its mind about nobody any more. */
export function voteOn(m: Membership, peer: Peer, now: Ms): void {
  const vote = wantedVote(m, peer, now)
  if (vote === peer.vote) return
  if (vote === 'down') {
    if (m.leaving) return
    if (isVoting(m, now)) peer.votedRound = Math.max(peer.votedRound, peer.round)
  } else if ((peer.vote === 'down' || peer.vote === 'left') && isVoting(m, now)) {
    // Whoever believed our vote believes it no more before we let it own again.
    for (const each of m.peers.values()) {
      if (each !== peer) peer.grantFrom = Math.max(peer.grantFrom, each.reliesUntil)
    }
  }
  peer.vote = vote
  m.dirty = true
}

function wantedVote(m: Membership, peer: Peer, now: Ms): Vote {
  if (hasLeft(peer)) return 'left'
  if (!talks(peer, now)) return 'unknown'
  // While we cannot hear, or just began to, silence says nothing.
  if (m.listeningSince === undefined) return peer.vote
  const patience = patienceWith(m, peer)
  const silent = now >= peer.silentSince + patience
  if (peer.heardAt === undefined) return silent || peer.vote === 'down' ? 'down' : 'unknown'
  if (now >= peer.promisedUntil) {
    if (silent) return 'down'
    // It speaks to us, but has no majority: were we to wait for its silence, nobody could take its place.
    if (peer.cutOffSince !== undefined && now >= peer.cutOffSince + patience) return 'down'
  }
  // Voted down and silent since: nothing has changed.
  if (peer.vote === 'down' && peer.silentSince !== peer.heardAt) return 'down'
  return peer.standing && peer.round > peer.votedRound ? 'up' : 'probation'
}

/** Whether the next heartbeat to the peer promises it something. */
export function grants(m: Membership, peer: Peer, now: Ms): boolean {
  if (!isVoting(m, now) || !m.linkUsable || peer.heardAt === undefined) return false
  if (peer.vote !== 'up' && peer.vote !== 'probation') return false
  if (peer.cutOffSince !== undefined && now >= peer.cutOffSince + patienceWith(m, peer) / 2) return false
  // One of a pair grants a third node nothing that it may not have itself: the other, with its witness, may be the one who owns.
  if (now >= m.entitledUntil && m.voters.some(each => isPair(each) && !each.peers.includes(peer)))
    return false
  return now >= peer.grantFrom
}

/** The voters before a change that have had their time. A pair stays until we are entitled by it: see `grants`. */
export function isOver(m: Membership, voters: Voters, now: Ms): boolean {
  return now >= voters.until && (!isPair(voters) || now < m.entitledUntil)
}

/** An acknowledgement by a voter: until when its promise holds, and until when its votes are news. */
export function acknowledged(peer: Peer, sentAt: Ms, relianceMs: Ms, granted: boolean, promiseMs: Ms): void {
  if (granted) peer.grantUntil = Math.max(peer.grantUntil, sentAt + MARGIN * promiseMs)
  peer.freshUntil = Math.max(peer.freshUntil, sentAt + MARGIN * relianceMs)
}

/** The bytes that tell our votes. */
export function votesToTell(m: Membership, now: Ms): Uint8Array {
  if (!isVoting(m, now)) return NO_VOTES
  const room = new Uint8Array(Math.min(VOTES_MAX, m.peers.size) * VOTE_LENGTH)
  let count = 0
  for (const peer of m.peers.values()) {
    if (peer.vote === 'up' || count === VOTES_MAX) continue
    voteEntry(room, count++, peer.hash, peer.vote)
  }
  return room.subarray(0, count * VOTE_LENGTH)
}

const NO_VOTES = new Uint8Array()

/** Our entitlement by the latest promises. Cheap: for each heartbeat that changed nothing else. */
export function renew(m: Membership, now: Ms, effects: Effect[]): void {
  supportNow(m, now)
  // As of the last look at the votes: they have become younger since, not older.
  m.entitledUntil = Math.min(m.entitledUntil, m.provenUntil)
  entitle(m, now, effects)
}

/** Filled and read at once: this runs for every heartbeat. */
const support: Ms[] = []
const fresh: Ms[] = []

function supportNow(m: Membership, now: Ms): void {
  const single = m.peers.size === 0
  let until = FOREVER
  let quorate = FOREVER
  if (!m.started || (!single && (m.listeningSince === undefined || m.key === undefined)))
    until = quorate = NEVER
  else if (!single) {
    for (const voters of m.voters) {
      support.length = 0
      fresh.length = 0
      const silent = witnessFor(m, voters, now)
      const pair = isPair(voters)
      if (voters.self) {
        // Of a pair, one that has just started lends its weight to the other: see supportOf.
        if (!pair || isVoting(m, now)) support.push(FOREVER)
        fresh.push(FOREVER)
      }
      for (const peer of voters.peers) {
        const witness = silent === peer ? witnessUntil(m, now) : NEVER
        // One who leaves votes nobody down any more, so its last word stands until the voters do without it.
        const frozen = hasLeft(peer) && peer.granting ? FOREVER : NEVER
        support.push(Math.max(frozen, witness, supportOf(peer, pair)))
        fresh.push(Math.max(frozen, witness, peer.freshUntil))
      }
      until = Math.min(until, reachedBy(support, voters.majority))
      quorate = Math.min(quorate, reachedBy(fresh, voters.majority))
    }
  }
  m.quorateUntil = quorate
  m.entitledUntil = until
}

/** Looks at everything anew: everybody's level, and our entitlement. */
export function evaluate(m: Membership, now: Ms, effects: Effect[]): void {
  m.dirty = false
  m.provenUntil = FOREVER
  // Without a majority that answers nothing can be concluded about anybody, and we may not own either.
  supportNow(m, now)
  if (now < m.quorateUntil) {
    const content = nobodyAccuses(m)
    for (const peer of m.peers.values()) {
      if (content && peer.level === 'up' && peer.vote === 'up' && !hasLeft(peer)) {
        suspect(m, peer, false, now, effects)
      } else m.provenUntil = Math.min(m.provenUntil, judge(m, peer, now, effects))
    }
  }
  m.entitledUntil = Math.min(m.entitledUntil, m.provenUntil)
  entitle(m, now, effects)
}

/** The usual case: all voters vote, and hold everybody for up. */
function nobodyAccuses(m: Membership): boolean {
  return m.voters.every(({ peers }) => peers.every(({ voting, votesRead }) => voting && votesRead.size === 0))
}

/** The level of one node by the votes, and until when they hold it for down (Infinity when it does not matter). */
function judge(m: Membership, peer: Peer, now: Ms, effects: Effect[]): Ms {
  let best: Level | undefined
  let anyLeft = false
  let down = true
  let mayStay = peer.level === 'down' || peer.level === 'left'
  let provenUntil = FOREVER
  // Its own word, until all have heard it. Later the votes say as well whether it came back, also where we do not hear it.
  const alreadyLeft = hasLeft(peer) && now < ownWordUntil(m, peer)
  let accused = false
  for (const voters of m.voters) {
    const against: Ms[] = []
    let downs = 0
    // Index -1 is ourselves.
    for (let i = voters.self ? -1 : 0; i < voters.peers.length; i++) {
      const voter = voters.peers[i]
      let vote: Vote
      let holdsUntil: Ms
      if (voter === undefined) {
        vote = isVoting(m, now) ? peer.vote : 'unknown'
        holdsUntil = FOREVER
        // The witness stands in for the other of a pair, and that is whom this is about.
        if (vote === 'down' && witnessFor(m, voters, now) === peer) {
          const witness = witnessUntil(m, now)
          if (now < witness) {
            downs++
            against.push(witness)
          }
        }
      } else {
        holdsUntil = hasLeft(voter) ? FOREVER : voter.freshUntil
        if (now >= holdsUntil) continue
        // What it said before it left says nothing for it: it would be up again with its own vote, for as long as it is a voter.
        if (voter === peer && hasLeft(peer)) vote = 'left'
        else if (voter === peer) vote = peer.standing && peer.round > peer.votedRound ? 'up' : 'probation'
        else
          vote = voter.voting
            ? (voter.votesRead.get(peer.hashKey) ?? (now < peer.unknownUntil ? 'unknown' : 'up'))
            : 'unknown'
      }
      switch (vote) {
        case 'up':
          best = 'up'
          break
        case 'probation':
          best ??= 'probation'
          peer.unknownUntil = NEVER
          break
        case 'left':
          anyLeft = true
          downs++
          against.push(holdsUntil)
          break
        case 'down':
          downs++
          accused = true
          against.push(holdsUntil)
          break
        case 'unknown':
          against.push(holdsUntil)
          break
      }
    }
    if (downs < voters.majority) down = false
    const reached = reachedBy(against, voters.majority)
    if (reached === NEVER) mayStay = false
    provenUntil = Math.min(provenUntil, reached)
  }
  suspect(m, peer, accused, now, effects)
  if (alreadyLeft) change(peer, 'left', now, effects)
  else if (down) change(peer, anyLeft || peer.level === 'left' ? 'left' : 'down', now, effects)
  else if (!mayStay && best !== undefined) change(peer, best, now, effects)
  return !alreadyLeft && (peer.level === 'down' || peer.level === 'left') ? provenUntil : FOREVER
}

function ownWordUntil(m: Membership, peer: Peer): Ms {
  return peer.leftAt + 2 * basePatience(m)
}

export function change(peer: Peer, to: Level, now: Ms, effects: Effect[]): void {
  const from = peer.level
  if (from === to) return
  peer.level = to
  effects.push({
    type: 'node',
    node: peer.name,
    from,
    to,
    lastHeardAt: peer.heardAt,
    suspectedAt: peer.suspectedAt,
    at: now,
  })
  if (to === 'down' || to === 'left') peer.suspectedAt = undefined
}

/** For the record only: nothing is decided by a suspicion. */
function suspect(m: Membership, peer: Peer, accused: boolean, now: Ms, effects: Effect[]): void {
  const counts = peer.level === 'up' || peer.level === 'probation'
  const silent =
    m.listeningSince !== undefined &&
    peer.heardAt !== undefined &&
    talks(peer, now) &&
    now >= peer.silentSince + patienceWith(m, peer) / 2
  const suspected = counts && (silent || accused)
  if (suspected === (peer.suspectedAt !== undefined)) return
  peer.suspectedAt = suspected ? now : undefined
  if (suspected) effects.push({ type: 'suspect', node: peer.name, lastHeardAt: peer.heardAt, at: now })
  else if (counts) effects.push({ type: 'unsuspect', node: peer.name, at: now })
}

function entitle(m: Membership, now: Ms, effects: Effect[]): void {
  const entitled = now < m.entitledUntil
  if (entitled) {
    const lapsed = !m.entitled
    // A breath without entitlement is no interruption: nobody is voted down within it.
    if (lapsed && !(now - m.lapsedAt < basePatience(m))) m.entitledSince = now
    answerFlags(m, lapsed, now, effects)
    if (!m.proven && (m.peers.size === 0 || now >= m.entitledSince + m.options.returnAfterMs)) {
      m.proven = true
      m.provenAt = now
      m.broadcastOwed = true
    }
    if (m.proven && !m.standing && provenKnown(m, now)) {
      m.standing = true
      effects.push({ type: 'standing', standing: true, at: now })
    }
  } else if (m.entitled) m.lapsedAt = now
  const isAlone = aloneAt(m) <= now
  if (isAlone && !m.alone) {
    for (const peer of m.peers.values()) if (peer.level !== 'left') change(peer, 'down', now, effects)
  }
  if (entitled === m.entitled && isAlone === m.alone) return
  m.entitled = entitled
  m.alone = isAlone
  effects.push({ type: 'entitlement', entitled, alone: isAlone, at: now })
}

/**
 * Who becomes first takes from one who is second now. That one has to know: it says so itself, or it hears a voter that has
 * heard us. Were we to act before, we might be cut off already.
 */
function provenKnown(m: Membership, now: Ms): boolean {
  if (m.peers.size === 0) return true
  // One that does not say so may just have been cut off from us, and what it was granted has to run out first, or it is down.
  if (now < m.provenAt + longestPatience(m)) {
    for (const peer of m.peers.values()) {
      const mayOwn = peer.level === 'up' || peer.level === 'probation'
      if (mayOwn && !peer.knowsProven && talks(peer, now)) return false
    }
  }
  return m.voters.every(voters => {
    const silent = witnessFor(m, voters, now)
    let known = voters.self ? 1 : 0
    for (const peer of voters.peers) {
      if (peer.knowsProven || hasLeft(peer) || (peer === silent && now < witnessUntil(m, now))) known++
    }
    return known >= voters.majority
  })
}

const ALONE_AFTER_MS = 3000

/** From when on nobody was heard in this run for so long that there may be nobody. */
export function aloneAt(m: Membership): Ms {
  if (m.heardAnybody || m.peers.size === 0 || m.listeningSince === undefined || m.key === undefined) {
    return FOREVER
  }
  return m.listeningSince + ALONE_AFTER_MS
}

/**
 * Voters that voted our present round down say so until they see the next one. Were we entitled all the time, then it was no
 * majority and we go on. After a lapse it may have been one, if those who said so and those whom we do not hear make one.
 */
function answerFlags(m: Membership, lapsed: boolean, now: Ms, effects: Effect[]): void {
  const voters = m.voters[0]
  if (voters === undefined) return
  let flags = 0
  let unheard = 0
  for (const peer of voters.peers) {
    if (peer.votedUs === m.round) flags++
    else if (now >= peer.freshUntil) unheard++
  }
  if (flags === 0) return
  const enough = isPair(voters) ? 1 : voters.majority
  const taken = lapsed ? flags + unheard >= enough : flags >= voters.majority
  m.round++
  m.broadcastOwed = true
  if (!taken) return
  effects.push({ type: 'lost', at: now })
  m.entitledSince = now
  m.proven = false
  for (const peer of m.peers.values()) {
    peer.provenCounter = 0
    peer.knowsProven = false
  }
  if (!m.standing) return
  m.standing = false
  effects.push({ type: 'standing', standing: false, at: now })
}

/** The earliest time after `now` at which `evaluate` or a vote could come out differently without anything being heard. */
export function nextCheck(m: Membership, now: Ms): Ms {
  let next = FOREVER
  const consider = (at: Ms) => {
    if (at > now && at < next) next = at
  }
  consider(m.entitledUntil)
  consider(m.quorateUntil)
  consider(aloneAt(m))
  consider(m.witnessUntil)
  consider(askDue(m, now))
  if (m.proven && !m.standing) consider(m.provenAt + longestPatience(m))
  if (m.entitled && !m.proven) consider(m.entitledSince + m.options.returnAfterMs)
  if (m.votingFrom !== undefined && m.peers.size > 0) consider(m.votingFrom)
  for (const voters of m.voters) consider(voters.until)
  for (const peer of m.peers.values()) {
    consider(peer.freshUntil)
    if (hasLeft(peer)) {
      if (peer.member) consider(m.nextRemovalAt)
      consider(ownWordUntil(m, peer))
      continue
    }
    if (!peer.listed) consider(peer.silentSince + UNLISTED_FOR_MS)
    if (m.listeningSince === undefined || !talks(peer, now)) continue
    const patience = patienceWith(m, peer)
    if (peer.vote !== 'down') {
      consider(peer.silentSince + patience / 2)
      consider(Math.max(peer.silentSince + patience, peer.promisedUntil))
      if (peer.cutOffSince !== undefined) consider(Math.max(peer.cutOffSince + patience, peer.promisedUntil))
    }
  }
  return next
}

/** A peer that was heard stays registered for so long although the list does not name it any more, unless it left. */
export const UNLISTED_FOR_MS = 60_000
