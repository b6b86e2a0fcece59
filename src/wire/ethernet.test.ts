import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { ARP_FRAMES, hex, IP_FRAMES, ND_FRAMES } from '../../test/golden/frames.ts'
import { type Mac, macFromBytes } from '../addr/mac.ts'
import { decodeEthernet, type EthernetFrame, encodeEthernet } from './ethernet.ts'

const MACS = '0000 5e00 5302 0000 5e00 5301'
const CASES: readonly (readonly [string, Uint8Array, EthernetFrame])[] = [
  [
    'untagged',
    hex(`${MACS} 0806 0102`),
    frame({ tags: [], etherType: 0x0806, payload: Uint8Array.of(1, 2) }),
  ],
  [
    'with one tag, IEEE 802.1Q',
    hex(`${MACS} 8100 a00a 86dd`),
    frame({
      tags: [{ type: 'c-tag', priority: 5, dropEligible: false, id: 10 }],
      etherType: 0x86dd,
      payload: new Uint8Array(0),
    }),
  ],
  [
    'with two tags, IEEE 802.1ad',
    hex(`${MACS} 88a8 1fff 8100 e000 0800 ff`),
    frame({
      tags: [
        { type: 's-tag', priority: 0, dropEligible: true, id: 4095 },
        { type: 'c-tag', priority: 7, dropEligible: false, id: 0 },
      ],
      etherType: 0x0800,
      payload: Uint8Array.of(0xff),
    }),
  ],
]

function frame(part: Pick<EthernetFrame, 'tags' | 'etherType' | 'payload'>): EthernetFrame {
  return { destination: '00:00:5e:00:53:02' as Mac, source: '00:00:5e:00:53:01' as Mac, ...part }
}

for (const [name, bytes, value] of CASES) {
  test(`a frame ${name}`, () => {
    assert.deepEqual(decodeEthernet(bytes), value)
    assert.deepEqual(encodeEthernet(value), bytes)
  })
}

const REFUSED: readonly (readonly [string, Uint8Array, string])[] = [
  ['three tags', hex(`${MACS} 8100 0001 8100 0002 8100 0003 0800`), 'too-many'],
  ['an 802.3 length', hex(`${MACS} 0026 4242 03`), 'unsupported'],
  ['a cut tag', hex(`${MACS} 8100 00`), 'truncated'],
  ['a tag without a type', hex(`${MACS} 8100 0001`), 'truncated'],
  ['nothing', new Uint8Array(0), 'truncated'],
]
for (const [name, bytes, code] of REFUSED) {
  test(`refuses a frame with ${name}`, () => {
    assert.throws(() => decodeEthernet(bytes), { name: 'DecodeError', code, source: 'IEEE 802.3' })
  })
}

test('captured frames come out as they went in', () => {
  const frames = Object.values({ ...ARP_FRAMES, ...ND_FRAMES, ...IP_FRAMES })
  assert(frames.length >= 20)
  for (const bytes of frames) assert.deepEqual(encodeEthernet(decodeEthernet(bytes)), bytes)
})

test('frames that cannot be on the wire break an invariant', () => {
  const good = frame({ tags: [], etherType: 0x0800, payload: new Uint8Array(0) })
  const tag = { type: 'c-tag', priority: 0, dropEligible: false, id: 1 } as const
  for (const bad of [
    { ...good, etherType: 46 },
    { ...good, etherType: 0x8100 },
    { ...good, tags: [tag, tag, tag] },
    { ...good, tags: [{ ...tag, id: 4096 }] },
    { ...good, tags: [{ ...tag, priority: 8 }] },
  ]) {
    assert.throws(() => encodeEthernet(bad), { name: 'AssertionError' })
  }
})

const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(bytes => macFromBytes(bytes))
const anyFrame: fc.Arbitrary<EthernetFrame> = fc.record(
  {
    destination: mac,
    source: mac,
    tags: fc.array(
      fc.record(
        {
          type: fc.constantFrom('c-tag', 's-tag'),
          priority: fc.nat({ max: 7 }),
          dropEligible: fc.boolean(),
          id: fc.nat({ max: 4095 }),
        },
        { noNullPrototype: true },
      ),
      { maxLength: 2 },
    ),
    etherType: fc.integer({ min: 0x0600, max: 0xffff }).filter(value => value !== 0x8100 && value !== 0x88a8),
    payload: fc.uint8Array({ maxLength: 60 }),
  },
  { noNullPrototype: true },
)

test('decoding inverts encoding', () => {
  fc.assert(fc.property(anyFrame, value => assert.deepEqual(decodeEthernet(encodeEthernet(value)), value)))
})
