import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { SpeakerMoves, SpeakerPeer, SpeakerStatus } from './speaker.ts'
import { decodeSummary, encodeSummary, SUMMARY_BYTES_MAX } from './speaker-summary.ts'

const T = Date.UTC(2026, 0, 1)
const MOVES: SpeakerMoves = {
  owned: true,
  count: 3,
  ips: ['192.0.2.1', '192.0.2.2', '192.0.2.3'],
  at: new Date(T).toISOString(),
  until: new Date(T + 12).toISOString(),
  because: 'node a is silent, last heard 84 ms before',
  node: 'a',
  phases: { lastHeardAt: T - 84.04, suspectedAt: null, confirmedAt: T - 2, announcedAt: T },
}

type Own = Omit<SpeakerStatus, 'services' | 'moves' | 'shared' | 'steering'>

function status(change: Partial<Own> = {}): Own {
  return {
    node: 'b',
    ready: true,
    hasKey: true,
    entitled: true,
    standing: true,
    alone: false,
    round: 2,
    voters: ['a', 'b', 'c'],
    majority: 2,
    realtime: true,
    worstLatenessMs: 1.26,
    peers: [peer('a', 'down', 80), peer('c', 'up', 96.4)],
    failovers: [MOVES],
    ...change,
  }
}

function peer(node: string, level: string, patienceMs: number): SpeakerPeer {
  return { node, status: level, voter: true, heardMsAgo: 7, intervalMs: 20, patienceMs, jitterMs: 1 }
}

test('a summary says how many, who is not up, the longest timers, and the phases before the announcement', () => {
  assert.deepEqual(decodeSummary(encodeSummary(status(), 3)), {
    owned: 3,
    ready: true,
    entitled: true,
    standing: true,
    alone: false,
    round: 2,
    voters: ['a', 'b', 'c'],
    majority: 2,
    peers: { a: 'down' },
    intervalMs: 20,
    patienceMs: 96,
    worstLatenessMs: 1.3,
    moves: [
      {
        at: '2026-01-01T00:00:00.000Z',
        owned: true,
        count: 3,
        ips: ['192.0.2.1', '192.0.2.2', '192.0.2.3'],
        because: 'node a is silent, last heard 84 ms before',
        lastMs: 12,
        heardMs: 84,
        suspectedMs: null,
        confirmedMs: 2,
      },
    ],
  })
})

test('a summary has its bound: old moves go first, then peers, then voters', () => {
  const long = (i: number) => `${i}${'n'.repeat(200)}`
  const voters = Array.from({ length: 7 }, (_, i) => long(i))
  const peers = Array.from({ length: 6 }, (_, i) => peer(long(i), 'down', 80))
  const at = (text: string) => decodeSummary(text)
  const few = at(encodeSummary(status({ failovers: Array.from({ length: 20 }, () => MOVES) }), 1))
  assert.equal(few?.moves.length, 5)
  const text = encodeSummary(status({ voters, peers, failovers: [MOVES, MOVES] }), 1)
  assert.ok(text.length <= SUMMARY_BYTES_MAX)
  const cut = at(text)
  assert.equal(cut?.moves.length, 0)
  assert.equal(cut.voters.length, 7)
  assert.ok(Object.keys(cut.peers).length < 6)
  const many = encodeSummary(status({ voters: [...voters, ...voters], peers }), 1)
  assert.ok(many.length <= SUMMARY_BYTES_MAX && at(many)?.owned === 1)
})

test('reading is total', () => {
  for (const text of [undefined, '', 'nonsense', 'null', '[]', '7'])
    assert.equal(decodeSummary(text), undefined)
  const malformed = decodeSummary(
    '{"owned":"many","voters":[1,"a"],"peers":{"a":7,"b":"down"},"moves":[{"at":"then"},7]}',
  )
  assert.deepEqual(malformed?.owned, 0)
  assert.deepEqual(malformed.voters, ['a'])
  assert.deepEqual(malformed.peers, { b: 'down' })
  assert.deepEqual(malformed.moves, [])
  fc.assert(fc.property(fc.json(), text => void decodeSummary(text)))
})

test('the hashes of steering are told, and give way before the last move does', () => {
  const names = Array.from(
    { length: 20 },
    (_, i) => `a-namespace-with-a-rather-long-name/service-with-a-number-${i + 10}`,
  )
  const steering = (count: number) => ({
    count: 4000,
    hash: '0123456789abcdef',
    tables: Object.fromEntries(names.slice(0, count).map(name => [name, 'fedcba98'])),
  })
  assert.deepEqual(decodeSummary(encodeSummary(status(), 0, steering(3)))?.steering, steering(3))
  const failovers = Array.from({ length: 20 }, () => MOVES)
  const text = encodeSummary(status({ failovers }), 0, steering(20))
  assert.ok(text.length <= SUMMARY_BYTES_MAX)
  const told = decodeSummary(text)
  const tables = Object.keys(told?.steering?.tables ?? {})
  assert.equal(told?.moves.length, 1)
  assert.ok(tables.length > 10)
  assert.deepEqual(tables, names.slice(0, tables.length))
  assert.equal(told.steering?.count, 4000)
  const odd = decodeSummary('{"steering": {"count": "x", "hash": 1, "tables": {"a": 1, "b": "c"}}}')
  assert.deepEqual(odd?.steering, { count: 0, hash: '', tables: { b: 'c' } })
})
