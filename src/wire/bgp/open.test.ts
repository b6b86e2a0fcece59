import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BGP_OPENS } from '../../../test/golden/bgp.ts'
import { hex } from '../../../test/golden/frames.ts'
import type { Ipv4 } from '../../addr/ip.ts'
import type { Capability } from './capabilities.ts'
import { BgpError } from './error.ts'
import { IPV4_UNICAST, IPV6_UNICAST } from './family.ts'
import { decodeMessage, encodeMessage } from './message.ts'
import { asOf, capability, carriesFamily, decodeOpen, type Open } from './open.ts'

const CONTEXT = { fourOctetAs: true, internal: false }
const both = [IPV4_UNICAST, IPV6_UNICAST]

function decoded(bytes: Uint8Array): Open {
  const message = decodeMessage(bytes, CONTEXT)
  assert(message.type === 'open')
  return message
}

test('the OPEN of BIRD, all that it can do', () => {
  assert.deepEqual(decoded(BGP_OPENS.bird), {
    type: 'open',
    myAs: 23456,
    holdTimeS: 9,
    bgpIdentifier: '192.0.2.2',
    capabilities: [
      { type: 'multiprotocol', family: IPV4_UNICAST },
      { type: 'multiprotocol', family: IPV6_UNICAST },
      { type: 'route-refresh' },
      { type: 'extended-next-hop', families: [{ family: IPV4_UNICAST, nextHopAfi: 2 }] },
      { type: 'extended-messages' },
      {
        type: 'graceful-restart',
        restarting: false,
        notifications: false,
        restartTimeS: 120,
        families: both.map(family => ({ family, forwardingPreserved: false })),
      },
      { type: 'four-octet-as', as: 4200000002 },
      { type: 'enhanced-route-refresh' },
      {
        type: 'long-lived-graceful-restart',
        families: both.map(family => ({ family, forwardingPreserved: false, staleTimeS: 3600 })),
      },
      { type: 'fqdn', host: 'lodebird', domain: '' },
    ],
  })
})

test('the OPEN of FRR: a parameter for each capability, some of which are unknown here and kept', () => {
  const open = decoded(BGP_OPENS.frr)
  assert.equal(asOf(open), 64500)
  const restart = capability(open, 'graceful-restart')
  assert.deepEqual(restart, {
    type: 'graceful-restart',
    restarting: true,
    notifications: true,
    restartTimeS: 120,
    families: both.map(family => ({ family, forwardingPreserved: false })),
  })
  assert.deepEqual(
    open.capabilities.flatMap(each => (each.type === 'unknown' ? [each.code] : [])),
    // Route refresh by its code of before the RFC, add-path, and outbound route filters by both of theirs.
    [128, 69, 130, 3],
  )
  assert.deepEqual(capability(open, 'fqdn'), { type: 'fqdn', host: 'lodefrr', domain: '' })
})

test('GoBGP and BIRD write what we would write', () => {
  for (const bytes of [BGP_OPENS.bird, BGP_OPENS.gobgp, BGP_OPENS.birdInternal, BGP_OPENS.birdTwoOctetAs]) {
    assert.deepEqual(encodeMessage(decoded(bytes)), bytes)
  }
})

test('the AS number and the families of a speaker that says little', () => {
  const plain: Open = {
    type: 'open',
    myAs: 64500,
    holdTimeS: 0,
    bgpIdentifier: '192.0.2.1' as Ipv4,
    capabilities: [],
  }
  assert.deepEqual(encodeMessage(plain), hex(`${'ff'.repeat(16)} 001d 01 04 fbf4 0000 c0000201 00`))
  assert.equal(asOf(plain), 64500)
  assert(carriesFamily(plain, IPV4_UNICAST))
  assert(!carriesFamily(plain, IPV6_UNICAST))
  const v6 = { ...plain, capabilities: [{ type: 'multiprotocol', family: IPV6_UNICAST }] } as const
  assert(!carriesFamily(v6, IPV4_UNICAST))
  assert(carriesFamily(v6, IPV6_UNICAST))
})

test('of a capability that is there twice the last counts (RFC 4724 section 3)', () => {
  const restart = (restartTimeS: number): Capability => ({
    type: 'graceful-restart',
    restarting: false,
    notifications: false,
    restartTimeS,
    families: [],
  })
  const open = { ...decoded(BGP_OPENS.birdTwoOctetAs), capabilities: [restart(1), restart(2)] }
  assert.equal(capability(open, 'graceful-restart')?.restartTimeS, 2)
})

test('more capabilities than 253 bytes have the form of RFC 9072', () => {
  const value = new Uint8Array(100).fill(7)
  const capabilities = [1, 2, 3].map(code => ({ type: 'unknown', code: 200 + code, value }) as const)
  const open = { ...decoded(BGP_OPENS.birdTwoOctetAs), capabilities }
  const bytes = encodeMessage(open)
  assert.equal(Buffer.from(bytes.subarray(28, 35)).toString('hex'), 'ffff0135020132')
  assert.deepEqual(decoded(bytes), open)
})

/** Each with the NOTIFICATION that RFC 4271 section 6.2 wants. Bodies, so without the header. */
const REFUSED: readonly (readonly [string, string, number, string])[] = [
  ['version 3', '03 fbf4 005a c0000201 00', 1, '0004'],
  ['AS 0', '04 0000 005a c0000201 00', 2, ''],
  ['AS 0 in four octets (RFC 7607)', '04 5ba0 005a c0000201 08 0206 4104 00000000', 2, ''],
  ['a hold time of 1 s', '04 fbf4 0001 c0000201 00', 6, ''],
  ['a hold time of 2 s', '04 fbf4 0002 c0000201 00', 6, ''],
  ['no identifier', '04 fbf4 005a 00000000 00', 3, ''],
  ['authentication, which is gone', '04 fbf4 005a c0000201 03 0101 00', 4, ''],
  ['parameters longer than the message', '04 fbf4 005a c0000201 05 0202', 0, ''],
  ['parameters shorter than the message', '04 fbf4 005a c0000201 00 0200', 0, ''],
  ['a parameter longer than all', '04 fbf4 005a c0000201 02 0203', 0, ''],
  ['a capability longer than its parameter', '04 fbf4 005a c0000201 04 0202 0204', 0, ''],
  ['multiprotocol of 3 bytes', '04 fbf4 005a c0000201 07 0205 0103 000100', 0, ''],
  ['route refresh of 1 byte', '04 fbf4 005a c0000201 05 0203 0201 00', 0, ''],
  ['graceful restart with half a family', '04 fbf4 005a c0000201 08 0206 4004 0078 0001', 0, ''],
  ['extended form without a length', '04 fbf4 005a c0000201 ff ff01', 0, ''],
]
for (const [name, bytes, subcode, data] of REFUSED) {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => decodeOpen(hex(bytes)),
      (error: unknown) => {
        assert(error instanceof BgpError)
        assert.deepEqual(error.notification, { type: 'notification', code: 2, subcode, data: hex(data) })
        return true
      },
    )
  })
}

test('names that are wrong do no harm', () => {
  for (const value of ['05 6c', '01 ff 00', '00', '01 6c 00 00']) {
    const bytes = hex(value)
    const length = bytes.length.toString(16).padStart(2, '0')
    const all = (bytes.length + 4).toString(16).padStart(2, '0')
    const inner = (bytes.length + 2).toString(16).padStart(2, '0')
    const open = decodeOpen(hex(`04 fbf4 005a c0000201 ${all} 02${inner} 49${length} ${value}`))
    assert.deepEqual(open.capabilities, [{ type: 'unknown', code: 73, value: bytes }])
  }
})
