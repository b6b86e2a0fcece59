import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { BFD_PACKETS, BFD_SIGNED } from '../../test/golden/bfd.ts'
import { hex } from '../../test/golden/frames.ts'
import {
  type BfdAuthenticationType,
  type BfdControl,
  type BfdKey,
  bfdControlIsSigned,
  DIAGNOSTIC,
  decodeBfdControl,
  encodeBfdControl,
  signBfdControl,
} from './bfd.ts'
import { decodeBfdEcho, encodeBfdEcho } from './bfd-echo.ts'
import { DecodeError } from './io.ts'

const BIRD: BfdControl = {
  diagnostic: 0,
  state: 'Down',
  poll: false,
  final: false,
  controlPlaneIndependent: false,
  demand: false,
  detectMultiplier: 5,
  myDiscriminator: 0x23eaf945,
  yourDiscriminator: 0,
  desiredMinTxUs: 300_000,
  requiredMinRxUs: 100_000,
  requiredMinEchoRxUs: 0,
  authentication: null,
}
const FRR: BfdControl = {
  ...BIRD,
  state: 'Init',
  detectMultiplier: 3,
  myDiscriminator: 0x63c7203f,
  yourDiscriminator: 0x23eaf945,
  desiredMinTxUs: 1_000_000,
  requiredMinRxUs: 1_000_000,
  requiredMinEchoRxUs: 50_000,
}
const UP = { state: 'Up', desiredMinTxUs: 100_000, requiredMinRxUs: 100_000 } as const

const VALUES: Readonly<Record<keyof typeof BFD_PACKETS, BfdControl>> = {
  birdDown: BIRD,
  frrInit: FRR,
  birdPollUp: { ...BIRD, ...UP, poll: true, yourDiscriminator: 0x63c7203f },
  frrFinalUp: { ...FRR, ...UP, final: true },
  frrUp: { ...FRR, ...UP },
  frrAdminDown: { ...FRR, ...UP, state: 'AdminDown' },
  birdNeighborDown: {
    ...BIRD,
    diagnostic: DIAGNOSTIC.neighborDown,
    poll: true,
    yourDiscriminator: 0x63c7203f,
  },
}
for (const [name, bytes] of Object.entries(BFD_PACKETS)) {
  test(`the packet ${name}`, () => {
    const value = VALUES[name as keyof typeof BFD_PACKETS]
    assert.deepEqual(decodeBfdControl(bytes), value)
    assert.deepEqual(encodeBfdControl(value), bytes)
  })
}

const SECRET = new TextEncoder().encode('lodestone')
for (const [name, bytes] of Object.entries(BFD_SIGNED)) {
  const type = name as BfdAuthenticationType
  const key: BfdKey = { id: 7, type, secret: SECRET }

  test(`${type}: what BIRD signs is good with the key, and what we sign is what BIRD signs`, () => {
    const packet = decodeBfdControl(bytes)
    assert.equal(packet.authentication?.type, type)
    assert(bfdControlIsSigned(bytes, packet, key))
    const { authentication } = packet
    const sequence = authentication.type === 'simple-password' ? 0 : authentication.sequence
    assert.deepEqual(signBfdControl(packet, key, sequence), bytes)
    assert.deepEqual(encodeBfdControl(packet), bytes)
    // Bytes behind the packet do not count.
    const longer = Uint8Array.from([...bytes, 1, 2, 3])
    assert(bfdControlIsSigned(longer, decodeBfdControl(longer), key))
  })

  test(`${type}: another key, another type, another byte`, () => {
    const packet = decodeBfdControl(bytes)
    const other = type === 'keyed-sha1' ? 'meticulous-keyed-sha1' : 'keyed-sha1'
    assert(!bfdControlIsSigned(bytes, packet, { ...key, id: 8 }))
    assert(!bfdControlIsSigned(bytes, packet, { ...key, type: other }))
    assert(!bfdControlIsSigned(bytes, packet, { ...key, secret: hex('6c6f646573746f6e66') }))
    assert(!bfdControlIsSigned(bytes, packet, { ...key, secret: hex('6c6f') }))
    const unsigned = { ...packet, authentication: null }
    assert(!bfdControlIsSigned(encodeBfdControl(unsigned), unsigned, key))
    if (type === 'simple-password') return
    const changed = Uint8Array.from(bytes)
    changed[2] = 4
    assert(!bfdControlIsSigned(changed, decodeBfdControl(changed), key))
  })
}

/** What section 6.8.6 discards before it looks at a session. */
const REFUSED: readonly (readonly [string, string, string])[] = [
  ['version 0', '00 40 03 18 00000001 00000000 00000000 00000000 00000000', 'unsupported'],
  ['version 2', '40 40 03 18 00000001 00000000 00000000 00000000 00000000', 'unsupported'],
  ['a length below 24', '20 40 03 17 00000001 00000000 00000000 00000000 00000000', 'bad-length'],
  [
    'a length below 26 with authentication',
    '20 44 03 19 00000001 00000000 00000000 00000000 00000000 01',
    'bad-length',
  ],
  ['a length beyond the datagram', '20 40 03 19 00000001 00000000 00000000 00000000 00000000', 'truncated'],
  ['a detect multiplier of 0', '20 40 00 18 00000001 00000000 00000000 00000000 00000000', 'bad-value'],
  ['multipoint', '20 41 03 18 00000001 00000000 00000000 00000000 00000000', 'bad-value'],
  ['my discriminator 0', '20 40 03 18 00000000 00000000 00000000 00000000 00000000', 'bad-value'],
  ['your discriminator 0 in Init', '20 80 03 18 00000001 00000000 00000000 00000000 00000000', 'bad-value'],
  ['your discriminator 0 in Up', '20 c0 03 18 00000001 00000000 00000000 00000000 00000000', 'bad-value'],
  [
    'an unknown authentication',
    '20 44 03 1b 00000001 00000000 00000000 00000000 00000000 060300',
    'unsupported',
  ],
  [
    'a section shorter than it says',
    '20 44 03 1c 00000001 00000000 00000000 00000000 00000000 01030061',
    'bad-length',
  ],
  [
    'a section longer than the packet',
    '20 44 03 1c 00000001 00000000 00000000 00000000 00000000 01050061',
    'bad-length',
  ],
  ['an empty password', '20 44 03 1b 00000001 00000000 00000000 00000000 00000000 010300', 'bad-length'],
  [
    'a password of 17 bytes',
    `20 44 03 2c 00000001 00000000 00000000 00000000 00000000 011400${'61'.repeat(17)}`,
    'bad-length',
  ],
  [
    'a digest of 15 bytes',
    `20 44 03 2f 00000001 00000000 00000000 00000000 00000000 0217000000000001${'61'.repeat(15)}`,
    'bad-length',
  ],
]
for (const [name, bytes, code] of REFUSED) {
  test(`refuses ${name}`, () => {
    assert.throws(() => decodeBfdControl(hex(bytes)), { name: 'DecodeError', code })
  })
}

function total(bytes: Uint8Array, again = true): void {
  try {
    const value = decodeBfdControl(bytes)
    // Takes longest.
    if (!again) return
    assert.deepEqual(decodeBfdControl(encodeBfdControl(value)), value)
    for (const type of ['simple-password', 'keyed-md5', 'keyed-sha1'] as const) {
      bfdControlIsSigned(bytes, value, { id: 7, type, secret: SECRET })
    }
  } catch (error) {
    if (!(error instanceof DecodeError)) throw new Error(Buffer.from(bytes).toString('hex'), { cause: error })
  }
}

test('total: every length, every byte changed, random bytes', () => {
  for (const sample of [...Object.values(BFD_PACKETS), ...Object.values(BFD_SIGNED)]) {
    for (let length = 0; length < sample.length; length++) {
      assert.throws(() => decodeBfdControl(sample.slice(0, length)), {
        name: 'DecodeError',
        code: 'truncated',
      })
    }
    for (let i = 0; i < sample.length; i++) {
      for (let change = 1; change < 256; change++) {
        const changed = Uint8Array.from(sample)
        changed[i] = (changed[i] ?? 0) ^ change
        total(changed, (change & (change - 1)) === 0)
      }
    }
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), bytes => total(bytes)))
})

test('echo packets come back as they were sent, and nobody else can make one', () => {
  const key = hex('00112233445566778899aabbccddeeff')
  const echo = { discriminator: 0xdeadbeef, sequence: 7 }
  const bytes = encodeBfdEcho(echo, key)
  assert.deepEqual(decodeBfdEcho(bytes, key), echo)
  assert.throws(() => decodeBfdEcho(bytes, SECRET), { name: 'DecodeError', code: 'bad-checksum' })
  for (let i = 0; i < bytes.length; i++) {
    const changed = Uint8Array.from(bytes)
    changed[i] = (changed[i] ?? 0) ^ 1
    assert.throws(() => decodeBfdEcho(changed, key), { name: 'DecodeError' })
    assert.throws(() => decodeBfdEcho(bytes.slice(0, i), key), { name: 'DecodeError', code: 'truncated' })
  }
  assert.throws(() => decodeBfdEcho(hex('00'.repeat(21)), key), {
    name: 'DecodeError',
    code: 'bad-length',
  })
})
