import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, ipFromBytes, parseIp } from '../addr/ip.ts'
import type { Mac } from '../addr/mac.ts'
import { ASKERS_BODY_MAX, encodeAskers } from './askers.ts'
import {
  type AskersMessage,
  CLAIMS_MAX,
  type ClaimsMessage,
  decodeHeartbeat,
  encodeHeartbeat,
  type Heartbeat,
  hashKey,
  nodeHash,
  readVotes,
  VOTE_LENGTH,
  VOTES_MAX,
  voteEntry,
} from './heartbeat.ts'
import { DecodeError } from './io.ts'

const KEY = new TextEncoder().encode('documentation-key')

function votes(...entries: ['node3' | 'node4', 'probation' | 'down'][]): Uint8Array {
  const bytes = new Uint8Array(entries.length * VOTE_LENGTH)
  for (const [i, [node, vote]] of entries.entries()) voteEntry(bytes, i, nodeHash(node), vote)
  return bytes
}

const ENVELOPE = {
  sender: 'node1',
  recipient: 'node2',
  epoch: 1798761600000,
  counter: 7,
  heardEpoch: 1798761599000,
}
const BEAT: Heartbeat = {
  kind: 'alive',
  ...ENVELOPE,
  heardCounter: 41,
  round: 3,
  standing: true,
  quorate: true,
  granting: true,
  voting: true,
  wanted: true,
  intervalMs: 20,
  patienceMs: 80,
  promiseMs: 120,
  votedRound: 2,
  votes: votes(['node3', 'down'], ['node4', 'probation']),
}
const CLAIMS: ClaimsMessage = {
  kind: 'claims',
  ...ENVELOPE,
  counter: 8,
  claims: [
    { ip: ip('192.0.2.80'), term: 5 },
    { ip: ip('2001:db8::80'), term: 4294967295 },
  ],
}
const ASKERS: AskersMessage = {
  kind: 'askers',
  ...ENVELOPE,
  counter: 9,
  body:
    encodeAskers(ip('192.0.2.80'), [{ ip: ip('192.0.2.9'), mac: '00:00:5e:00:53:01' as Mac }])[0] ??
    new Uint8Array(),
}
// Made by Python's struct, hashlib and hmac modules.
const GOLDEN = [
  {
    name: 'a heartbeat',
    message: BEAT,
    bytes: Buffer.from(
      '4c53484202000505000001a2ce8bd4000000000000000007000001a2ce8bd0180000000000000029000000031f02001400500078000000026e6f6465316e6f6465323b5bb1c6e7b76dab02d2b8f62a7e335bbd01d1dd60e045d19a14836a7aeee7fe9b3db5d52e88b02199c8ad6445df5bf17bad',
      'hex',
    ),
  },
  {
    name: 'claims',
    message: CLAIMS,
    bytes: Buffer.from(
      '4c53484202020505000001a2ce8bd4000000000000000008000001a2ce8bd01800026e6f6465316e6f64653204c0000250000000050620010db8000000000000000000000080ffffffff9c628064a1128db6b6331ba63d49745f41e2fb4403f904172ca32f4740d04d2b',
      'hex',
    ),
  },
  {
    name: 'askers',
    message: ASKERS,
    bytes: Buffer.from(
      '4c53484202030505000001a2ce8bd4000000000000000009000001a2ce8bd0186e6f6465316e6f64653204c000025001c000020900005e0053013f66157348fd8bb872f50eb19bffa7176f64aaee8f051e8d754f29f1bfd4ed38',
      'hex',
    ),
  },
] as const

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

for (const { name, message, bytes } of GOLDEN) {
  test(`${name}: bytes as another implementation makes them`, () => {
    assert.deepEqual(Buffer.from(encodeHeartbeat(message, KEY)), bytes)
    assert.deepEqual(decodeHeartbeat(Uint8Array.from(bytes), KEY), message)
  })

  test(`${name}: every flipped bit and every truncation is refused`, () => {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const bent = Uint8Array.from(bytes)
      bent[bit >> 3] = (bent[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      assert.throws(() => decodeHeartbeat(bent, KEY), { name: 'DecodeError', code: 'bad-checksum' })
    }
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decodeHeartbeat(bytes.subarray(0, length), KEY), DecodeError)
    }
  })

  test(`${name}: another key is refused`, () => {
    assert.throws(() => decodeHeartbeat(bytes, new Uint8Array(16)), { code: 'bad-checksum' })
  })
}

const nodeName = fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme-ascii' })
const envelope = {
  sender: nodeName,
  recipient: nodeName,
  epoch: fc.maxSafeNat(),
  counter: fc.maxSafeNat(),
  heardEpoch: fc.maxSafeNat(),
}
const u16 = fc.nat(0xffff)
const u32 = fc.nat(0xffffffff)
const beats = fc.record(
  {
    kind: fc.constantFrom('alive' as const, 'leaving' as const),
    ...envelope,
    heardCounter: fc.maxSafeNat(),
    round: u32,
    standing: fc.boolean(),
    quorate: fc.boolean(),
    granting: fc.boolean(),
    voting: fc.boolean(),
    wanted: fc.boolean(),
    intervalMs: fc.integer({ min: 1, max: 0xffff }),
    patienceMs: u16,
    promiseMs: u16,
    votedRound: u32,
    votes: fc
      .array(fc.tuple(nodeName, fc.constantFrom('probation', 'down', 'left', 'unknown' as const)), {
        maxLength: VOTES_MAX,
      })
      .map(entries => {
        const bytes = new Uint8Array(entries.length * VOTE_LENGTH)
        for (const [i, [node, vote]] of entries.entries()) voteEntry(bytes, i, nodeHash(node), vote)
        return bytes
      }),
  },
  { noNullPrototype: true },
)
const ips = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map(ipFromBytes),
  fc
    .uint8Array({ minLength: 15, maxLength: 15 })
    .map(bytes => ipFromBytes(Uint8Array.from([0x20, ...bytes]))),
)
const claims = fc.record(
  {
    kind: fc.constant('claims' as const),
    ...envelope,
    claims: fc.array(fc.record({ ip: ips, term: u32 }, { noNullPrototype: true }), { maxLength: CLAIMS_MAX }),
  },
  { noNullPrototype: true },
)
const askers = fc.record(
  {
    kind: fc.constant('askers' as const),
    ...envelope,
    body: fc.uint8Array({ maxLength: ASKERS_BODY_MAX }),
  },
  { noNullPrototype: true },
)
const messages = fc.oneof(beats, claims, askers)

test('decode inverts encode', () => {
  fc.assert(
    fc.property(messages, fc.uint8Array({ maxLength: 80 }), (message, key) => {
      assert.deepEqual(decodeHeartbeat(encodeHeartbeat(message, key), key), message)
    }),
  )
})

test('the longest messages fit one packet', () => {
  const long = { sender: 's'.repeat(253), recipient: 'r'.repeat(253) }
  const many = Array.from({ length: CLAIMS_MAX }, () => ({ ip: ip('2001:db8::1'), term: 1 }))
  assert.ok(encodeHeartbeat({ ...CLAIMS, ...long, claims: many }, KEY).length <= 1300)
  const body = new Uint8Array(ASKERS_BODY_MAX)
  assert.ok(encodeHeartbeat({ ...ASKERS, ...long, body }, KEY).length <= 1300)
  const all = new Uint8Array(VOTES_MAX * VOTE_LENGTH)
  const usual = { sender: 's'.repeat(63), recipient: 'r'.repeat(63) }
  assert.ok(encodeHeartbeat({ ...BEAT, ...usual, votes: all }, KEY).length <= 1300)
})

test('votes by the hash of the name; the bytes are those of sha256sum', () => {
  // printf node3 | sha256sum
  assert.equal(Buffer.from(nodeHash('node3')).toString('hex'), '3b5bb1c6e7b76dab')
  const read = readVotes(BEAT.votes)
  assert.equal(read.size, 2)
  assert.equal(read.get(hashKey(nodeHash('node3'))), 'down')
  assert.equal(read.get(hashKey(nodeHash('node4'))), 'probation')
})

test('whoever has the key and lies about lengths is refused too', () => {
  let refused = 0
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 120 }),
      messages,
      fc.nat(60),
      fc.nat(255),
      (junk, message, at, value) => {
        const bytes = Uint8Array.from(encodeHeartbeat(message, KEY))
        const body = bytes.subarray(0, bytes.length - 32)
        body[at % body.length] = value
        for (const lie of [body, junk]) {
          const signed = sign(lie)
          try {
            decodeHeartbeat(signed, KEY)
          } catch (error) {
            refused++
            assert.ok(error instanceof DecodeError, String(error))
          }
        }
      },
    ),
  )
  assert.ok(refused > 100, `${refused} refused`)
})

const REFUSED: readonly [string, (bytes: Uint8Array) => Uint8Array, string][] = [
  ['a version before', bytes => bytes.with(4, 1), 'unsupported'],
  ['an unknown kind', bytes => bytes.with(5, 4), 'unsupported'],
  ['an epoch past 2^53', bytes => bytes.with(8, 0x20), 'bad-value'],
  ['no sender', bytes => bytes.with(6, 0).with(7, 10), 'bad-value'],
  ['more votes than bytes', bytes => bytes.with(45, 3), 'bad-length'],
  ['fewer votes than bytes', bytes => bytes.with(45, 1), 'bad-length'],
  ['too many votes', bytes => bytes.with(45, 101), 'too-many'],
  ['a vote that there is not', bytes => bytes.with(56 + 10 + 8, 9), 'bad-value'],
  ['an interval of nothing', bytes => bytes.with(47, 0), 'bad-value'],
]
for (const [name, bend, code] of REFUSED) {
  test(`refuses ${name}`, () => {
    const body = Uint8Array.from(encodeHeartbeat(BEAT, KEY)).subarray(0, -32)
    assert.throws(() => decodeHeartbeat(sign(bend(body)), KEY), { name: 'DecodeError', code })
  })
}

function sign(body: Uint8Array): Uint8Array {
  const code = createHmac('sha256', KEY).update(body).digest()
  return Uint8Array.from([...body, ...code])
}
