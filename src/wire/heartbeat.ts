import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { type Ip, ipFromBytes, ipToBytes } from '../addr/ip.ts'
import { ASKERS_BODY_MAX } from './askers.ts'
import { Reader, Writer } from './io.ts'

/**
 * What one speaker says to one other. Our own protocol (docs/protocols/heartbeat.md), version 2:
 *
 *    0       4  5  6  7  8        16         24           32
 *   | LSHB  |v2|k |s |r | epoch   | counter  | heardEpoch | body | HMAC-SHA256 (32) |
 *
 *   k = 0 alive, 1 leaving:
 *   32             40      44     45     46         48         50        52           56
 *   | heardCounter | round | flags| count| interval | patience | promise | votedRound | sender | recipient | votes |
 *   k = 2 claims:
 *   32      34
 *   | count | sender (s bytes) | recipient (r bytes) | count of: family (4 or 6), address, term (4) |
 *   k = 3 askers:
 *   | sender (s bytes) | recipient (r bytes) | what askers.ts makes |
 *
 * The code covers everything before it, the recipient's name included, so that a message is good for one node only.
 */
export type Message = Heartbeat | ClaimsMessage | AskersMessage

type Envelope = {
  /** Node names, 1 to 253 bytes of UTF-8. */
  readonly sender: string
  readonly recipient: string
  /** Of the sender's run, in milliseconds since 1970: each run has a higher one than all before. */
  readonly epoch: number
  /** Rises with every message of a run to this recipient; the first has 1. */
  readonly counter: number
  /** The highest epoch that the sender has heard from the recipient; 0 for none. */
  readonly heardEpoch: number
}

export type Heartbeat = Envelope & {
  readonly kind: 'alive' | 'leaving'
  /** The highest counter in that epoch; 0 for none. */
  readonly heardCounter: number
  /** Counts from 1 in each run. The sender moves on when it was, or could have been, voted down in the one before. */
  readonly round: number
  /** Proven stable: before those in probation where owners are chosen. */
  readonly standing: boolean
  /** The sender has answers from a majority of the voters. */
  readonly quorate: boolean
  /** The sender will not vote the recipient down before `promiseMs` after it heard `heardCounter`. */
  readonly granting: boolean
  /** `votes` are votes. Where not: the sender grants nobody anything and holds nobody for down. */
  readonly voting: boolean
  /** The sender takes itself or the recipient for a voter, so they have to talk. */
  readonly wanted: boolean
  /** Of the sender's heartbeats, milliseconds, up to 65,535. */
  readonly intervalMs: number
  /** The silence of the recipient that the sender measured it needs, by itself, milliseconds. */
  readonly patienceMs: number
  /** Length of the promise, and how long the sender relies on what the answer to this heartbeat says; milliseconds. */
  readonly promiseMs: number
  /** The round of the recipient, in `heardEpoch`, that the sender has voted down; 0 for none. */
  readonly votedRound: number
  /** VOTE_LENGTH bytes for each node that is not `up`: see `voteEntry`, `readVotes`. Raw, because it rarely changes. */
  readonly votes: Uint8Array
}

export type ClaimsMessage = Envelope & {
  readonly kind: 'claims'
  readonly claims: readonly { readonly ip: Ip; readonly term: number }[]
}

/** Who asked for addresses, told to a node that was not there to hear it. */
export type AskersMessage = Envelope & {
  readonly kind: 'askers'
  /** Up to ASKERS_BODY_MAX bytes, for `decodeAskers`. */
  readonly body: Uint8Array
}

/** What a voter holds of a node. `unknown`: it has not listened for long enough, and grants it nothing. */
export type Vote = (typeof VOTES)[number]

const VOTES = ['up', 'probation', 'down', 'left', 'unknown'] as const
const MAGIC = 0x4c534842
const VERSION = 2
const KINDS = ['alive', 'leaving', 'claims', 'askers'] as const
const SOURCE = 'Lodestone heartbeat'
const MAC_LENGTH = 32
const NAME_MAX = 253
const HASH_LENGTH = 8
export const VOTE_LENGTH = HASH_LENGTH + 1
/** In one heartbeat, so that it stays in one packet. */
export const VOTES_MAX = 100
/** With IPv6 addresses and the longest names that a Node may have, below 1300 bytes. */
export const CLAIMS_MAX = 32
export const TERM_MAX = 0xffffffff

const STANDING = 1
const QUORATE = 2
const GRANTING = 4
const VOTING = 8
const WANTED = 16

/** The first eight bytes of the SHA-256 of a node's name: as it stands in votes, and what voters are chosen by. */
export function nodeHash(name: string): Uint8Array {
  return createHash('sha256').update(name).digest().subarray(0, HASH_LENGTH)
}

/** A hash as text, for a Map. */
export function hashKey(hash: Uint8Array, at = 0): string {
  let key = ''
  for (let i = at; i < at + HASH_LENGTH; i++) key += String.fromCharCode(hash[i] ?? 0)
  return key
}

/** Writes one vote at `index` of the bytes. */
export function voteEntry(into: Uint8Array, index: number, hash: Uint8Array, vote: Vote): void {
  into.set(hash, index * VOTE_LENGTH)
  into[index * VOTE_LENGTH + HASH_LENGTH] = VOTES.indexOf(vote)
}

/** The votes by `hashKey` of the node; who is not in it is `up`. Takes what `decodeHeartbeat` has let through. */
export function readVotes(votes: Uint8Array): Map<string, Vote> {
  const read = new Map<string, Vote>()
  for (let at = 0; at < votes.length; at += VOTE_LENGTH) {
    read.set(hashKey(votes, at), VOTES[votes[at + HASH_LENGTH] ?? 0] ?? 'up')
  }
  return read
}

export function encodeHeartbeat(message: Message, key: Uint8Array): Uint8Array {
  const sender = Buffer.from(message.sender)
  const recipient = Buffer.from(message.recipient)
  assert(sender.length >= 1 && sender.length <= NAME_MAX, `node name of ${sender.length} bytes`)
  assert(recipient.length >= 1 && recipient.length <= NAME_MAX, `node name of ${recipient.length} bytes`)
  const body = bodyLength(message)
  const w = new Writer(32 + body + sender.length + recipient.length + MAC_LENGTH)
  w.u32(MAGIC).u8(VERSION).u8(KINDS.indexOf(message.kind)).u8(sender.length).u8(recipient.length)
  number64(w, message.epoch)
  number64(w, message.counter)
  number64(w, message.heardEpoch)
  if (message.kind === 'claims') {
    w.u16(message.claims.length).bytes(sender).bytes(recipient)
    for (const { ip, term } of message.claims) {
      const bytes = ipToBytes(ip)
      w.u8(bytes.length === 4 ? 4 : 6)
        .bytes(bytes)
        .u32(term)
    }
  } else if (message.kind === 'askers') {
    assert(message.body.length <= ASKERS_BODY_MAX, `askers of ${message.body.length} bytes`)
    w.bytes(sender).bytes(recipient).bytes(message.body)
  } else {
    const count = message.votes.length / VOTE_LENGTH
    assert(Number.isInteger(count) && count <= VOTES_MAX, `votes of ${message.votes.length} bytes`)
    number64(w, message.heardCounter)
    w.u32(message.round).u8(flagsOf(message)).u8(count)
    w.u16(message.intervalMs).u16(message.patienceMs).u16(message.promiseMs).u32(message.votedRound)
    w.bytes(sender).bytes(recipient).bytes(message.votes)
  }
  return w.bytes(Buffer.from(authenticationCode(w.written(), key), 'latin1')).finish()
}

function bodyLength(message: Message): number {
  if (message.kind === 'askers') return message.body.length
  return message.kind === 'claims' ? 2 + 21 * message.claims.length : 24 + message.votes.length
}

function flagsOf(beat: Heartbeat): number {
  return (
    (beat.standing ? STANDING : 0) |
    (beat.quorate ? QUORATE : 0) |
    (beat.granting ? GRANTING : 0) |
    (beat.voting ? VOTING : 0) |
    (beat.wanted ? WANTED : 0)
  )
}

/**
 * The code is checked before anything else is looked at. `votes` and `body` are views of the bytes.
 * @throws DecodeError 'bad-checksum' when the code is not that of the key
 */
export function decodeHeartbeat(bytes: Uint8Array, key: Uint8Array): Message {
  const r = new Reader(bytes, SOURCE)
  if (bytes.length < MAC_LENGTH)
    throw r.error('truncated', 'authentication code', `${bytes.length} bytes in all`)
  const end = bytes.length - MAC_LENGTH
  if (!sameCode(authenticationCode(bytes.subarray(0, end), key), bytes, end)) {
    throw r.error('bad-checksum', 'authentication code', 'not made with our key')
  }
  r.check(r.u32('magic'), 'magic', MAGIC)
  r.expectU8('version', VERSION, 'unsupported')
  const kind = KINDS[r.u8('kind')]
  if (kind === undefined) throw r.error('unsupported', 'kind', 'unknown')
  const senderLength = r.u8('sender length')
  const recipientLength = r.u8('recipient length')
  const epoch = safeNumber(r, 'epoch')
  const counter = safeNumber(r, 'counter')
  const heardEpoch = safeNumber(r, 'heard epoch')
  if (kind === 'claims') {
    const count = r.u16('count')
    const sender = nameOf(r, 'sender', senderLength)
    const recipient = nameOf(r, 'recipient', recipientLength)
    const claims: { ip: Ip; term: number }[] = []
    for (let i = 0; i < count; i++) {
      const family = r.u8('family')
      if (family !== 4 && family !== 6) throw r.error('bad-value', 'family', `${family}`)
      const ip = ipFromBytes(r.view('address', family === 4 ? 4 : 16))
      claims.push({ ip, term: r.u32('term') })
    }
    checkEnd(r)
    return { kind, sender, recipient, epoch, counter, heardEpoch, claims }
  }
  if (kind === 'askers') {
    const sender = nameOf(r, 'sender', senderLength)
    const recipient = nameOf(r, 'recipient', recipientLength)
    const length = r.remaining - MAC_LENGTH
    if (length < 0 || length > ASKERS_BODY_MAX) throw r.error('bad-length', 'askers', `${length} bytes`)
    return { kind, sender, recipient, epoch, counter, heardEpoch, body: r.view('askers', length) }
  }
  const heardCounter = safeNumber(r, 'heard counter')
  const round = r.u32('round')
  const flags = r.u8('flags')
  const count = r.u8('count')
  if (count > VOTES_MAX) throw r.error('too-many', 'count', `${count} votes`)
  const intervalMs = r.u16('interval')
  const patienceMs = r.u16('patience')
  const promiseMs = r.u16('promise')
  const votedRound = r.u32('voted round')
  const sender = nameOf(r, 'sender', senderLength)
  const recipient = nameOf(r, 'recipient', recipientLength)
  checkEnd(r, count * VOTE_LENGTH)
  const votes = r.view('votes', count * VOTE_LENGTH)
  for (let at = HASH_LENGTH; at < votes.length; at += VOTE_LENGTH) {
    if (VOTES[votes[at] ?? 0] === undefined) throw r.error('bad-value', 'vote', `${votes[at]}`)
  }
  if (intervalMs === 0) throw r.error('bad-value', 'interval', '0')
  return {
    kind,
    sender,
    recipient,
    epoch,
    counter,
    heardEpoch,
    heardCounter,
    round,
    standing: (flags & STANDING) !== 0,
    quorate: (flags & QUORATE) !== 0,
    granting: (flags & GRANTING) !== 0,
    voting: (flags & VOTING) !== 0,
    wanted: (flags & WANTED) !== 0,
    intervalMs,
    patienceMs,
    promiseMs,
    votedRound,
    votes,
  }
}

function nameOf(r: Reader, field: string, length: number): string {
  const bytes = r.view(field, length)
  if (length === 0) throw r.error('bad-value', field, 'an empty name')
  return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('utf8')
}

function checkEnd(r: Reader, follow = 0): void {
  if (r.remaining !== MAC_LENGTH + follow) throw r.error('bad-length', 'end', `${r.remaining} bytes follow`)
}

/**
 * 32 bytes as latin1 text, which costs half of what a Buffer does. The key may have any length: HMAC (RFC 2104) brings it to
 * its block size.
 */
function authenticationCode(bytes: Uint8Array, key: Uint8Array): string {
  return createHmac('sha256', key).update(bytes).digest('binary')
}

/** Looks at every byte whatever the ones before were. */
function sameCode(code: string, bytes: Uint8Array, at: number): boolean {
  let difference = 0
  for (let i = 0; i < MAC_LENGTH; i++) difference |= code.charCodeAt(i) ^ (bytes[at + i] ?? 0)
  return difference === 0
}

function number64(w: Writer, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, `not a number for 64 bits: ${value}`)
  w.u32(Math.floor(value / 0x100000000)).u32(value % 0x100000000)
}

function safeNumber(r: Reader, field: string): number {
  const value = r.u32(field) * 0x100000000 + r.u32(field)
  if (value > Number.MAX_SAFE_INTEGER) throw r.error('bad-value', field, `${value} is too large`)
  return value
}
