import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hex } from '../../test/golden/frames.ts'
import type { Prefix } from '../addr/prefix.ts'
import { IPV4_UNICAST, IPV6_UNICAST } from '../wire/bgp/family.ts'
import type { RouteChanges } from '../wire/bgp/update.ts'
import { createReceived, receive } from './received.ts'

function changes(announced: readonly string[], withdrawn: readonly string[] = []): RouteChanges {
  return { announced: announced as Prefix[], withdrawn: withdrawn as Prefix[], disabled: [], endOfRib: null }
}

test('counts what is announced and not withdrawn, each prefix once', () => {
  const received = createReceived(0)
  receive(received, changes(['10.0.0.0/8', '10.0.0.0/8', '2001:db8::/32']))
  receive(received, changes(['10.0.0.0/8', '192.0.2.0/24'], ['198.51.100.0/24', '2001:db8::/32']))
  assert.deepEqual([received.prefixes.IPv4.size, received.prefixes.IPv6.size], [2, 0])
})

test('one more than the limit ends the session, and says of which family and how many (RFC 4486 section 4)', () => {
  const received = createReceived(2)
  assert.equal(receive(received, changes(['10.0.0.0/8', '11.0.0.0/8', '2001:db8::/32'])), null)
  assert.equal(receive(received, changes(['12.0.0.0/8'], ['10.0.0.0/8'])), null)
  const many = Array.from({ length: 1000 }, (_, i) => `2001:db8:${i.toString(16)}::/48`)
  assert.deepEqual(receive(received, changes(many)), {
    type: 'notification',
    code: 6,
    subcode: 1,
    data: hex('0002 01 00000002'),
  })
  assert.equal(received.prefixes.IPv6.size, 3, 'nothing is kept beyond it')
})

test('a family that was disabled is forgotten', () => {
  const received = createReceived(0)
  receive(received, changes(['10.0.0.0/8', '2001:db8::/32']))
  receive(received, { ...changes([]), disabled: [IPV6_UNICAST, { afi: 25, safi: 70 }] })
  assert.deepEqual([received.prefixes.IPv4.size, received.prefixes.IPv6.size], [1, 0])
  receive(received, { ...changes([]), disabled: [IPV4_UNICAST] })
  assert.equal(received.prefixes.IPv4.size, 0)
})
