import type { Ip } from '../addr/ip.ts'
import type { Ms } from '../ports/clock.ts'
import {
  decodeHeartbeat,
  encodeHeartbeat,
  hashKey,
  type Message,
  nodeHash,
  type Vote,
} from '../wire/heartbeat.ts'
import { createJitter, type Jitter, PATIENCE_FACTOR_MAX } from './jitter.ts'

/**
 * What the cluster holds of a node, worst last: `up` it may own, `probation` it speaks but has not proven stable yet, `down`
 * a majority of the voters has not heard it for their patience, `left` it said so itself.
 */
export type Level = 'up' | 'probation' | 'down' | 'left'

export type MembershipOptions = {
  readonly self: string
  /** Of this run of this node: wall-clock milliseconds at start. Raised when a peer remembers a higher one. */
  readonly epoch: number
  /** Between two heartbeats to one peer; longer in clusters of more than 2.5 nodes a millisecond of it. Default flag: 20. */
  readonly intervalMs: Ms
  /** Intervals of silence after which a voter votes a node down, where its jitter does not ask for more. Default flag: 4. */
  readonly misses: number
  /** Uninterrupted entitlement after which a node that came back is `up` again. */
  readonly returnAfterMs: Ms
  /** 7 unless given. Odd numbers make sense. */
  readonly votersMax?: number
}

/** A term of an address, as its owner claims it. */
export type AddressTerm = { readonly ip: Ip; readonly term: number }

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
  /** Another node changed its level. All nodes of the first list start as `up`, those that join later as `down`. */
  | {
      readonly type: 'node'
      readonly node: string
      readonly from: Level
      readonly to: Level
      /** By ourselves; undefined when we never heard it (two nodes that are no voters do not talk). */
      readonly lastHeardAt: Ms | undefined
      /** When the suspicion began that this confirms; undefined when there was none. */
      readonly suspectedAt: Ms | undefined
      readonly at: Ms
    }
  /** Silent towards us for more than half our patience, or a first voter voted it down. Nothing is decided yet. */
  | {
      readonly type: 'suspect'
      readonly node: string
      readonly lastHeardAt: Ms | undefined
      readonly at: Ms
    }
  | { readonly type: 'unsuspect'; readonly node: string; readonly at: Ms }
  /** A majority voted us down while we were away: others own what we owned. Release all; we are on probation. */
  | { readonly type: 'lost'; readonly at: Ms }
  | { readonly type: 'standing'; readonly standing: boolean; readonly at: Ms }
  /**
   * We ourselves were away (paused, starved) for this long: nothing was concluded from that silence. `missed`: long enough for
   * the others to take us for dead.
   */
  | { readonly type: 'was-away'; readonly forMs: Ms; readonly missed: boolean; readonly at: Ms }
  /** The patience with a node was raised or lowered by the jitter of its heartbeats. */
  | { readonly type: 'adapted'; readonly node: string; readonly patienceMs: Ms; readonly jitterMs: Ms }
  /**
   * Two voters, and the other is silent: ask the gateway (ARP or NS) and tell the answer as `witness` with the time of the
   * question; a frame of somebody else than the other voter, heard after this, counts as well, with the time it was heard.
   * With no gateway known and nobody ever heard on the wire: tell `witness` at once. Comes again as long as it matters.
   */
  | { readonly type: 'ask-witness'; readonly at: Ms }
  | { readonly type: 'claimed'; readonly node: string; readonly claims: readonly AddressTerm[] }
  /** What layer 2 of the node says about who asked; its own to decode. */
  | { readonly type: 'askers'; readonly node: string; readonly body: Uint8Array }
  | { readonly type: 'dropped'; readonly why: Drop }
  /** Changed, as seen at an event. Frames must not wait for it: they ask `standing` with their own time. */
  | { readonly type: 'entitlement'; readonly entitled: boolean; readonly alone: boolean; readonly at: Ms }

export type Event =
  /** The registered speakers; this node may be among them. */
  | { readonly type: 'peers'; readonly peers: readonly { name: string; ip: Ip }[]; readonly now: Ms }
  | { readonly type: 'key'; readonly key: Uint8Array | undefined; readonly now: Ms }
  | { readonly type: 'datagram'; readonly payload: Uint8Array; readonly now: Ms }
  | { readonly type: 'tick'; readonly now: Ms }
  /** Whether the interface towards the peers has a carrier. Without one, their silence says nothing about them. */
  | { readonly type: 'link'; readonly usable: boolean; readonly now: Ms }
  /** Tells all peers that this node gives up what it owns. It speaks and votes on until the process ends. */
  | { readonly type: 'leave'; readonly now: Ms }
  /** Somebody outside proved that we are connected: see `ask-witness`. */
  | { readonly type: 'witness'; readonly sentAt: Ms; readonly now: Ms }
  /** Tells our terms to one node or to all registered ones, three times at the interval. */
  | {
      readonly type: 'claims'
      readonly claims: readonly AddressTerm[]
      readonly to?: string
      readonly now: Ms
    }
  /** Tells each body to the node, once. */
  | {
      readonly type: 'askers'
      readonly to: string
      readonly bodies: readonly Uint8Array[]
      readonly now: Ms
    }

export type Standing = {
  /** May own. Exactly `now < entitledUntil`. */
  readonly entitled: boolean
  /** Infinity for the only node of a cluster. */
  readonly entitledUntil: Ms
  readonly probation: boolean
  /** Nobody was heard in this run: may own after having asked the wire. */
  readonly alone: boolean
}

/** Of what was promised or said, so much is counted on: see quorum.ts. */
export const MARGIN = 0.9
/** Our messages to one peer that it may still acknowledge: far more than the longest patience has room for. */
const SENT_RING = 256
const VOTERS_MAX = 7
/** The list of registered speakers reaches one node so much later than another. */
const LISTS_DIFFER_FOR_MS = 5000
/** So many heartbeats a second may come to one voter; in larger clusters everybody speaks more seldom. */
const HEARTBEATS_PER_MS_MAX = 2.5

export type Peer = {
  readonly name: string
  readonly hash: Uint8Array
  readonly hashKey: string
  ip: Ip
  level: Level
  suspectedAt: Ms | undefined
  /** It joined while we ran, and until then voters that do not name it may not know it. */
  unknownUntil: Ms
  /** In the latest list of registered speakers. */
  listed: boolean
  /** Counts where the voters are chosen. */
  member: boolean
  /** One of us is a voter, so we talk. */
  needed: boolean
  /** It says so; until then. */
  wantedUntil: Ms

  /** Highest epoch and, in it, counter heard: all that is not above is old. */
  epoch: number
  counter: number
  /** The run in which it said that it leaves; only a later one brings it back. */
  leftEpoch: number
  /** When we heard that from itself last. */
  leftAt: Ms
  /** It has spoken with the present key, so the one before is no longer good for it. */
  hasNewKey: boolean

  /** The last proof of life of its present run. */
  heardAt: Ms | undefined
  /** Silence is counted from here: the last proof of life of any run, or when we began to listen. */
  silentSince: Ms
  intervalMs: Ms
  readonly jitter: Jitter
  /** The patience that it measured to need with us. */
  toldPatienceMs: Ms
  round: number
  standing: boolean
  /** Since when it says that it has no majority; undefined while it has. */
  cutOffSince: Ms | undefined

  /** What we hold of it, and the round of it that we voted down. */
  vote: Vote
  votedRound: number
  /** We told it that we will not vote it down before. */
  promisedUntil: Ms
  /** Others may believe our former vote against it until then, so we grant it nothing. */
  grantFrom: Ms
  /** It may rely until then on what we said. */
  reliesUntil: Ms

  /** As a voter: what it grants us, until when what it says is news, which of our rounds it voted down, and its votes. */
  voting: boolean
  granting: boolean
  grantUntil: Ms
  freshUntil: Ms
  votedUs: number
  votes: Uint8Array
  votesRead: ReadonlyMap<string, Vote>

  /** Counter of its last heartbeat: of what we acknowledge, since nothing is promised for other messages. */
  beatCounter: number

  /** Counter of our last message to it; by counter, when it was sent and how long we rely on the answer. */
  counterOut: number
  readonly sentAt: Float64Array
  readonly reliance: Float64Array
  /** The first message that told it that we have proven stable, 0 for none; and whether it heard that. */
  provenCounter: number
  knowsProven: boolean
  /** Terms that it still has to be told. */
  readonly claims: Map<Ip, { readonly term: number; repeats: number }>
}

/** What is kept of a peer that is registered no more, so that recordings of it stay old when it is made again. */
export type Remembered = Pick<Peer, 'epoch' | 'counter' | 'leftEpoch'>

/** Those who vote. After a change the ones before have to agree as well for a while: not everybody hears of it at once. */
export type Voters = {
  readonly names: readonly string[]
  readonly majority: number
  until: Ms
  /** Whether we are one, and the others that are registered. */
  readonly self: boolean
  peers: readonly Peer[]
}

/** How messages become datagrams. `decode` throws a DecodeError, 'bad-checksum' for another key. */
export type Codec = {
  readonly encode: (message: Message, key: Uint8Array) => Uint8Array
  readonly decode: (bytes: Uint8Array, key: Uint8Array) => Message
}

/** Owned by one driver; `step` changes it in place because a datagram must not cost a copy of the table of peers. */
export type Membership = {
  readonly options: MembershipOptions
  readonly codec: Codec
  epoch: number
  /** Ours, as told: see Heartbeat. */
  round: number
  /** We have proven stable, and say so. */
  proven: boolean
  provenAt: Ms
  /** A majority of the voters has heard that, so all who are entitled know it: we act on it. */
  standing: boolean
  intervalMs: Ms
  readonly peers: Map<string, Peer>
  readonly remembered: Map<string, Remembered>
  /** The first is the present one. */
  voters: Voters[]
  /** Since when we are a voter; undefined while we are none. Votes count from `votingFrom` on. */
  votingFrom: Ms | undefined
  /** One leave at a time shrinks the voters. */
  nextRemovalAt: Ms

  key: Uint8Array | undefined
  oldKey: { readonly key: Uint8Array; readonly until: Ms } | undefined
  /** When silence began to mean that nobody is there: the key is known and the link is up. */
  listeningSince: Ms | undefined
  heardAnybody: boolean
  leaving: boolean
  linkUsable: boolean
  /** The peers were told once: those that come later are new to the cluster. */
  started: boolean
  lastTickAt: Ms | undefined

  entitledUntil: Ms
  quorateUntil: Ms
  /** As of the last look at all votes: until when they prove that those who are down are down. */
  provenUntil: Ms
  /** As last seen by an event. */
  entitled: boolean
  alone: boolean
  entitledSince: Ms
  /** When the entitlement ended that is not there now. */
  lapsedAt: Ms
  witnessSince: Ms
  witnessUntil: Ms
  nextAskAt: Ms

  nextSendAt: Ms
  lastBroadcastAt: Ms
  /** Something that all should hear before the next heartbeat is due. */
  broadcastOwed: boolean
  /** Levels and votes have to be looked at anew. */
  dirty: boolean
  votes: Uint8Array
  /** The earliest time at which something expires; too early does no harm. */
  checkAt: Ms
}

/** @param codec another one only where millions of heartbeats are simulated */
export function createMembership(
  options: MembershipOptions,
  codec: Codec = { encode: encodeHeartbeat, decode: decodeHeartbeat },
): Membership {
  return {
    options,
    codec,
    epoch: options.epoch,
    round: 1,
    proven: false,
    provenAt: 0,
    standing: false,
    intervalMs: options.intervalMs,
    peers: new Map(),
    remembered: new Map(),
    voters: [],
    votingFrom: undefined,
    nextRemovalAt: Number.NEGATIVE_INFINITY,
    key: undefined,
    oldKey: undefined,
    listeningSince: undefined,
    heardAnybody: false,
    leaving: false,
    linkUsable: true,
    started: false,
    lastTickAt: undefined,
    entitledUntil: Number.NEGATIVE_INFINITY,
    quorateUntil: Number.NEGATIVE_INFINITY,
    provenUntil: Number.POSITIVE_INFINITY,
    entitled: false,
    alone: false,
    entitledSince: Number.POSITIVE_INFINITY,
    lapsedAt: Number.NEGATIVE_INFINITY,
    witnessSince: Number.POSITIVE_INFINITY,
    witnessUntil: Number.NEGATIVE_INFINITY,
    nextAskAt: Number.NEGATIVE_INFINITY,
    nextSendAt: Number.POSITIVE_INFINITY,
    lastBroadcastAt: Number.NEGATIVE_INFINITY,
    broadcastOwed: false,
    dirty: false,
    votes: new Uint8Array(),
    checkAt: Number.POSITIVE_INFINITY,
  }
}

export function createPeer(
  m: Membership,
  name: string,
  ip: Ip,
  { epoch, counter, leftEpoch }: Remembered,
  now: Ms,
): Peer {
  const hash = nodeHash(name)
  const { intervalMs } = m
  return {
    name,
    hash,
    hashKey: hashKey(hash),
    ip,
    // Who is new while we run is nobody's owner yet; before that, it may be.
    level: m.started ? 'down' : 'up',
    suspectedAt: undefined,
    unknownUntil: m.started ? now + LISTS_DIFFER_FOR_MS : Number.NEGATIVE_INFINITY,
    listed: true,
    member: !m.started,
    needed: false,
    wantedUntil: Number.NEGATIVE_INFINITY,
    epoch,
    counter,
    leftEpoch,
    leftAt: Number.NEGATIVE_INFINITY,
    hasNewKey: false,
    heardAt: undefined,
    silentSince: now,
    intervalMs,
    jitter: createJitter(m.options.misses * intervalMs),
    toldPatienceMs: 0,
    round: 0,
    standing: false,
    cutOffSince: undefined,
    vote: m.started ? 'down' : 'unknown',
    votedRound: 0,
    promisedUntil: Number.NEGATIVE_INFINITY,
    grantFrom: Number.NEGATIVE_INFINITY,
    reliesUntil: Number.NEGATIVE_INFINITY,
    voting: false,
    granting: false,
    grantUntil: Number.NEGATIVE_INFINITY,
    freshUntil: Number.NEGATIVE_INFINITY,
    votedUs: 0,
    votes: new Uint8Array(),
    votesRead: new Map(),
    counterOut: 0,
    beatCounter: 0,
    sentAt: new Float64Array(SENT_RING).fill(Number.NEGATIVE_INFINITY),
    reliance: new Float64Array(SENT_RING),
    provenCounter: 0,
    knowsProven: false,
    claims: new Map(),
  }
}

/** Its acknowledgements so far are worth nothing. */
export function forgetSent(peer: Peer): void {
  peer.provenCounter = 0
  peer.knowsProven = false
  peer.sentAt.fill(Number.NEGATIVE_INFINITY)
  peer.granting = false
  peer.grantUntil = Number.NEGATIVE_INFINITY
  peer.freshUntil = Number.NEGATIVE_INFINITY
}

/** The silence of the peer after which we vote against it: what either of us measured that the pair needs. */
export function patienceWith(m: Membership, peer: Peer): Ms {
  const most = PATIENCE_FACTOR_MAX * m.options.misses * peer.intervalMs
  return Math.min(most, Math.max(peer.jitter.patienceMs, peer.toldPatienceMs), 0xffff)
}

/** The shortest patience that there is. */
export function basePatience(m: Membership): Ms {
  return m.options.misses * m.intervalMs
}

/** No promise is longer, and nobody relies on anything for longer. */
export function longestPatience(m: Membership): Ms {
  let longest = m.intervalMs
  for (const peer of m.peers.values()) longest = Math.max(longest, peer.intervalMs)
  return PATIENCE_FACTOR_MAX * m.options.misses * longest
}

export function intervalFor(options: MembershipOptions, peers: number): Ms {
  return Math.min(0xffff, Math.max(options.intervalMs, Math.ceil(peers / HEARTBEATS_PER_MS_MAX)))
}

export function votersMax(options: MembershipOptions): number {
  return options.votersMax ?? VOTERS_MAX
}

export function hasLeft(peer: Peer): boolean {
  return peer.leftEpoch >= peer.epoch
}

export function isVoting(m: Membership, now: Ms): boolean {
  return m.votingFrom !== undefined && now >= m.votingFrom
}
