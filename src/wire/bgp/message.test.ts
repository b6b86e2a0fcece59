// The whole codec: whatever the bytes, a value or a BgpError; and a value that is written and read again is the same.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import {
  BGP_KEEPALIVE,
  BGP_NOTIFICATIONS,
  BGP_OPENS,
  BGP_REFRESHES,
  BGP_UPDATES,
} from '../../../test/golden/bgp.ts'
import { hex } from '../../../test/golden/frames.ts'
import type { UpdateContext } from './attributes.ts'
import { BgpError } from './error.ts'
import {
  decodeMessage,
  EXTENDED_MESSAGE_MAX,
  encodeMessage,
  HEADER_LENGTH,
  KEEPALIVE_BYTES,
} from './message.ts'
import { REFRESH } from './route-refresh.ts'
import { routeChanges } from './update.ts'

const CONTEXTS: readonly UpdateContext[] = [true, false].flatMap(fourOctetAs =>
  [true, false].map(internal => ({ fourOctetAs, internal })),
)
const SAMPLES = [
  ...Object.values(BGP_OPENS),
  ...Object.values(BGP_UPDATES),
  ...Object.values(BGP_NOTIFICATIONS),
  ...Object.values(BGP_REFRESHES),
  BGP_KEEPALIVE,
]

/** A value that is whole can be written, and is read again as the same. Everything but a BgpError fails the test. */
function run(bytes: Uint8Array, context: UpdateContext, again: boolean): 'value' | 'refused' {
  try {
    const value = decodeMessage(bytes, context)
    if (value.type === 'update') {
      routeChanges(value)
      if (value.problems.length > 0) return 'value'
    }
    if (again)
      assert.deepEqual(
        decodeMessage(encodeMessage(value, context, EXTENDED_MESSAGE_MAX), context, EXTENDED_MESSAGE_MAX),
        value,
      )
    return 'value'
  } catch (error) {
    if (error instanceof BgpError) return 'refused'
    throw new Error(`on ${Buffer.from(bytes).toString('hex')}`, { cause: error })
  }
}

test('every message cut at every length is refused', () => {
  for (const sample of SAMPLES) {
    for (let length = 0; length < sample.length; length++) {
      for (const context of CONTEXTS) assert.equal(run(sample.slice(0, length), context, false), 'refused')
    }
  }
})

test('every message, cut at every length with a header that says so: a value or a BgpError', () => {
  for (const sample of SAMPLES) {
    for (let length = HEADER_LENGTH; length < sample.length; length++) {
      const cut = sample.slice(0, length)
      cut[16] = length >> 8
      cut[17] = length & 255
      for (const context of CONTEXTS) run(cut, context, true)
    }
  }
})

/** The two with most in them are changed to every value, which takes longest; the others in one bit, in two, and in all. */
const THOROUGH: readonly Uint8Array[] = [BGP_OPENS.bird, BGP_UPDATES.gobgpRoute]
const CHANGES = Array.from({ length: 255 }, (_, i) => i + 1)
const FEW_CHANGES = CHANGES.filter(change => change === 0xff || bits(change) <= 2)

function bits(value: number): number {
  return value.toString(2).replaceAll('0', '').length
}

test('every message with every byte changed: a value or a BgpError', () => {
  let seen = 0
  for (const [number, sample] of SAMPLES.entries()) {
    const context = CONTEXTS[number % CONTEXTS.length] ?? { fourOctetAs: true, internal: false }
    for (let i = HEADER_LENGTH - 3; i < sample.length; i++) {
      const kept = sample[i] ?? 0
      for (const change of THOROUGH.includes(sample) ? CHANGES : FEW_CHANGES) {
        sample[i] = kept ^ change
        run(sample, context, bits(change) === 1)
        seen++
      }
      sample[i] = kept
    }
  }
  assert(seen > 80_000, `${seen}`)
})

test('random bodies of every type, also behind a good beginning', () => {
  const random = fc.uint8Array({ maxLength: 200 })
  const grafted = fc
    .tuple(fc.constantFrom(...SAMPLES), fc.nat(), random)
    .map(([sample, cut, tail]) =>
      Uint8Array.from([...sample.subarray(HEADER_LENGTH, HEADER_LENGTH + (cut % sample.length)), ...tail]),
    )
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 6 }),
      fc.oneof(random, grafted),
      fc.constantFrom(...CONTEXTS),
      (type, body, context) => {
        const bytes = new Uint8Array(HEADER_LENGTH + body.length).fill(0xff, 0, 16)
        bytes[16] = bytes.length >> 8
        bytes[17] = bytes.length & 255
        bytes[18] = type
        bytes.set(body, HEADER_LENGTH)
        run(bytes, context, true)
      },
    ),
    { numRuns: 1000 },
  )
})

test('a KEEPALIVE is the header alone', () => {
  assert.deepEqual(KEEPALIVE_BYTES, BGP_KEEPALIVE)
  assert.deepEqual(decodeMessage(BGP_KEEPALIVE, { fourOctetAs: true, internal: false }), {
    type: 'keepalive',
  })
})

test('ROUTE-REFRESH of FRR and BIRD (RFC 2918, RFC 7313)', () => {
  const got = Object.values(BGP_REFRESHES).map(bytes => {
    const message = decodeMessage(bytes, { fourOctetAs: true, internal: false })
    assert(message.type === 'route-refresh')
    assert.deepEqual(encodeMessage(message), bytes)
    return [message.family.afi, message.subtype]
  })
  assert.deepEqual(got, [
    [1, REFRESH.request],
    [1, REFRESH.begin],
    [1, REFRESH.end],
    [2, REFRESH.request],
    [2, REFRESH.begin],
    [2, REFRESH.end],
  ])
})

test('a mark of RFC 7313 that is too long is quoted in the answer, a request keeps its filters', () => {
  const marker = 'ff'.repeat(16)
  const bytes = hex(`${marker} 0018 05 0001 01 01 00`)
  assert.throws(
    () => decodeMessage(bytes, { fourOctetAs: true, internal: false }),
    (error: unknown) => {
      assert(error instanceof BgpError)
      assert.deepEqual(error.notification, { type: 'notification', code: 7, subcode: 1, data: bytes })
      return true
    },
  )
  const filters = decodeMessage(hex(`${marker} 0018 05 0001 00 01 aa`), {
    fourOctetAs: true,
    internal: false,
  })
  assert.deepEqual(filters, {
    type: 'route-refresh',
    family: { afi: 1, safi: 1 },
    subtype: 0,
    filters: hex('aa'),
  })
})
