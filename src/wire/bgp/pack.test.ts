import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BGP_UPDATES } from '../../../test/golden/bgp.ts'
import type { Ip } from '../../addr/ip.ts'
import type { Prefix } from '../../addr/prefix.ts'
import type { PathAttributes, UpdateContext } from './attributes.ts'
import { decodeMessage, encodeMessage } from './message.ts'
import { announcementTemplate, packAnnouncement, packWithdrawal } from './pack.ts'

const CONTEXT: UpdateContext = { fourOctetAs: true, internal: false }
const ATTRIBUTES: PathAttributes = { origin: 'igp', asPath: [{ type: 'sequence', asns: [4200000002] }] }
const prefixes = (...texts: string[]): Prefix[] => texts as Prefix[]

test('one prefix is what BIRD sends', () => {
  const about = { family: 'IPv4', nextHop: '192.0.2.2' as Ip, attributes: ATTRIBUTES } as const
  const template = announcementTemplate(about, CONTEXT, 4096)
  assert(template !== undefined)
  const packed = packAnnouncement(prefixes('203.0.113.64/26'), template, 4096)
  assert.deepEqual(packed.bytes, BGP_UPDATES.birdPlainRoute)
})

test('withdrawals are what GoBGP and FRR send', () => {
  const v4 = packWithdrawal(prefixes('203.0.113.64/26', '203.0.113.128/25'), 'IPv4', false, 4096)
  assert.deepEqual(v4.bytes, BGP_UPDATES.frrWithdrawal)
  const v6 = packWithdrawal(prefixes('2001:db8:3::/48'), 'IPv6', true, 4096)
  assert.deepEqual(v6.bytes, BGP_UPDATES.gobgpIpv6Withdrawal)
})

test('families with attributes of their own: the same bytes as a message that is written whole', () => {
  const nextHop = '2001:db8::1' as Ip
  const template = announcementTemplate({ family: 'IPv6', nextHop, attributes: ATTRIBUTES }, CONTEXT, 4096)
  assert(template !== undefined)
  for (const count of [1, 10, 100]) {
    const some = Array.from({ length: count }, (_, i) => `2001:db8:${i.toString(16)}::/48` as Prefix)
    const packed = packAnnouncement(some, template, 4096)
    const mpReach = { type: 'unicast', family: 'IPv6', nextHop, prefixes: some } as const
    const whole = {
      type: 'update',
      withdrawn: [],
      announced: [],
      attributes: { ...ATTRIBUTES, mpReach },
    } as const
    assert.deepEqual(packed.bytes, encodeMessage(whole, CONTEXT))
  }
})

test('a message is filled to the last byte and never beyond', () => {
  const about = { family: 'IPv4', nextHop: '192.0.2.2' as Ip, attributes: ATTRIBUTES } as const
  const some = Array.from({ length: 5000 }, (_, i) => `10.0.${i >> 8}.${i & 255}/32` as Prefix)
  for (let lengthMax = 200; lengthMax < 210; lengthMax++) {
    const template = announcementTemplate(about, CONTEXT, lengthMax)
    assert(template !== undefined)
    const { bytes, prefixes: taken } = packAnnouncement(some, template, lengthMax)
    assert(bytes.length <= lengthMax && bytes.length > lengthMax - 5, `${bytes.length} of ${lengthMax}`)
    const message = decodeMessage(bytes, CONTEXT)
    assert(message.type === 'update')
    assert.deepEqual(message.announced, taken)
    const gone = packWithdrawal(some, 'IPv4', true, lengthMax)
    // Room is kept for the length of two octets that a longer attribute has.
    assert(gone.bytes.length <= lengthMax && gone.bytes.length > lengthMax - 6)
  }
  assert.equal(announcementTemplate(about, CONTEXT, 59), undefined)
})
