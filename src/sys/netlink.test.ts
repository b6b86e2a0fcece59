import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { LITTLE_ENDIAN } from './endian.ts'
import {
  decodeNetlink,
  encodeDumpRequest,
  IFF_LOWER_UP,
  IFF_UP,
  type NetlinkMessage,
  RTM_GETADDR,
  RTM_GETLINK,
} from './netlink.ts'

// Sent by Linux 6.18 (x86-64) to a socket in the groups LINK, IPV4_IFADDR and IPV6_IFADDR, in a namespace where a veth device
// 00:00:5e:00:53:01 was a port of a bridge, was set up, got addresses, left the bridge and was removed. `00*20`: twenty zero bytes.
const NEW_LINK = hex(`
  3c07000010 00*13 01000400000003100000010000000a000300766574683000000008000d00e803
  000005001000030000000500110000000000050043000000000008000400dc05
  0000080032004400000008003300ffff000008001b000000000008001e000100
  000008003d000100000008001f000200000008002800ffff0000080029000000
  010008003a000000010008003f0000000100080040000000010008003b00f8ff
  070008003c00ffff00000800420000000000080020000200000008000a000200
  00000500210000000000080023000100000008002f0000000000080030000100
  00000600440000000000060045000000000005002700000000000a0001000000
  5e00530100000a000200ffffffffffff0000cc0017 00*201 640007 00*97
  0c002b0005000200000000006c0112000900010076657468000000000b000400
  6272696467650000500105000500010000000000060002002000000008000300
  0200000005000400000000000500050000000000050006000000000005000700
  0000000005001c00000000000500080001000000050009000100000005001b00
  0100000005001e000100000005000a000000000005000c00000000000c000d00
  800000005e0053010c000e00800000005e00530106000f000180000006001000
  0000000006001100018000000600120001000000050013000000000005001400
  0000000005001d000000000006001f0000000000050020000000000005002300
  0000000005002400000000000500210000000000050027000000000005002800
  0000000005002b00000000000c00150000000000000000000c00160000000000
  000000000c001700000000000000000005001900010000000800250000020000
  0800260000000000080029000000000008002a00000000000800050003000000
  0c0006006e6f71756575650030031a008c000200880001 00*13 010000000100000001000000010000000000000001
  00*71 10270000e803 00*18 01000000a0020a00080001000000000014000500ffff0000c6fa0200a47a0000
  e8030000f40002000000000040000000dc050000010000000100000001000000
  01000000ffffffffa00f0000e803000000000000803a09008051010003000000
  58020000100000000000000001000000010000000100000060ea 00*26
  01000000000000000000000010270000e8030000010000000000000000000000 01000000000000000000000001 00*19
  80ee3600000000000000000001 00*24 04000000000000ffff0000ffffffff01 00*15 3401030026 00*303 3c00060007
  00*55 140007 00*17 050008000000000024000e 00*33 04003e8004004180
`)
const NEW_LINK_OF_BRIDGE = hex(`
  a801000010000000000000000000000007000100040000000310000000000000
  0a000300766574683000000008000a000200000008000400dc05000005001000
  030000000a00010000005e0053010000080005000300000050010c8005000100
  0000000006000200200000000800030002000000050004000000000005000500
  000000000500060000000000050007000000000005001c000000000005000800
  01000000050009000100000005001b000100000005001e000100000005000a00
  0000000005000c00000000000c000d00800000005e0053010c000e0080000000
  5e00530106000f00018000000600100000000000060011000180000006001200
  010000000500130000000000050014000000000005001d000000000006001f00
  0000000005002000000000000500230000000000050024000000000005002100
  000000000500270000000000050028000000000005002b00000000000c001500
  00000000000000000c00160000000000000000000c0017000000000000000000
  0500190001000000080025000002000008002600000000000800290000000000 08002a0000000000
`)
const NEW_ADDRESS = hex(`
  50000000140000005d1b026b9b380000021880000400000008000100c000020a
  08000200c000020a0a0003007665746830000000080008008000000014000600 ffffffffffffffffc8fa0200c8fa0200
`)
const NEW_ADDRESS_6 = hex(`
  480000001400000000000000000000000a40c000040000001400010020010db8
  00000000000000000000001014000600ffffffffffffffffc8fa0200c8fa0200 08000800c0000000
`)
const DELETED_ADDRESS = hex(`
  50000000150000005d1b026b9d380000021880000400000008000100c000020a
  08000200c000020a0a0003007665746830000000080008008000000014000600 ffffffffffffffffc8fa0200c8fa0200
`)
const DELETED_LINK_OF_BRIDGE = hex(`
  5800000011000000000000000000000007000100040000000310000000000000
  0a000300766574683000000008000a000200000008000400dc05000005001000
  030000000a00010000005e00530100000800050003000000
`)
const DELETED_LINK = hex(`
  ac02000011 00*13 01000400000002100000ffffffff0a000300766574683000000008000d00e803
  000005001000020000000500110000000000050043000000000008000400dc05
  0000080032004400000008003300ffff000008001b000000000008001e000000
  000008003d000000000008001f000200000008002800ffff0000080029000000
  010008003a000000010008003f0000000100080040000000010008003b00f8ff
  070008003c00ffff000008004200000000000800200002000000050021000000
  0000080023000100000008002f00000000000800300001000000060044000000
  0000060045000000000005002700000000000a00010000005e00530100000a00 0200ffffffffffff0000cc0017 00*201
  640007 00*97 0c002b0005000200000000001000120009000100766574680000000008000500
  00000000090006006e6f6f700000000004001a0024000e 00*33 04003e8004004180
`)

function hex(text: string): Uint8Array {
  const full = text.replaceAll(/00\*(\d+)/g, (_, count: string) => '00'.repeat(Number(count)))
  return Uint8Array.from(Buffer.from(full.replaceAll(/\s/g, ''), 'hex'))
}

const skip = LITTLE_ENDIAN ? false : 'the captured bytes are those of a little-endian machine'

function one(bytes: Uint8Array): NetlinkMessage {
  const { messages, malformed } = decodeNetlink(bytes)
  assert.equal(malformed, false)
  const [message] = messages
  assert.ok(message !== undefined)
  return message
}

test('an interface: index, name, MAC, flags and master', { skip }, () => {
  const { messages, malformed } = decodeNetlink(NEW_LINK)
  assert.equal(malformed, false)
  const message = messages[0]
  assert.ok(message?.type === 'new-link')
  const { flags, ...link } = message.link
  assert.deepEqual(link, { index: 4, name: 'veth0', mac: '00:00:5e:00:53:01', master: 2 })
  assert.deepEqual([flags & IFF_UP, flags & IFF_LOWER_UP], [IFF_UP, 0])
})

test('an interface that went away', { skip }, () => {
  const message = one(DELETED_LINK)
  assert.ok(message.type === 'deleted-link')
  assert.equal(message.index, 4)
})

test('what a bridge tells of its ports is not about the interface', { skip }, () => {
  for (const [bytes, code] of [
    [NEW_LINK_OF_BRIDGE, 16],
    [DELETED_LINK_OF_BRIDGE, 17],
  ] as const) {
    const message = one(bytes)
    assert.ok(message.type === 'other')
    assert.equal(message.code, code)
  }
})

test('addresses of both families; duplicate address detection makes one tentative', { skip }, () => {
  const added = one(NEW_ADDRESS)
  assert.ok(added.type === 'new-address')
  const ipv4 = { interfaceIndex: 4, ip: '192.0.2.10', prefixLength: 24, tentative: false }
  assert.deepEqual(added.address, ipv4)
  const added6 = one(NEW_ADDRESS_6)
  assert.ok(added6.type === 'new-address')
  assert.deepEqual(added6.address, {
    interfaceIndex: 4,
    ip: '2001:db8::10',
    prefixLength: 64,
    tentative: true,
  })
  const gone = one(DELETED_ADDRESS)
  assert.ok(gone.type === 'deleted-address')
  assert.deepEqual(gone.address, ipv4)
})

test('several messages in one datagram, and the end of a dump', { skip }, () => {
  const done = hex('14000000 0300 0200 05000000 b4010000 00000000')
  const { messages, malformed } = decodeNetlink(Buffer.concat([NEW_ADDRESS, NEW_ADDRESS_6, done]))
  assert.equal(malformed, false)
  assert.deepEqual(messages.map(({ type, sequence }) => [type, sequence]).slice(2), [['done', 5]])
  assert.equal(messages.length, 3)
})

test('a refusal carries its errno', { skip }, () => {
  // -EBUSY (16) for the request with sequence 7, which follows in the message.
  const message = one(
    hex('24000000 0200 0000 07000000 00000000 f0ffffff 14000000 1600 0103 07000000 00000000'),
  )
  assert.ok(message.type === 'error')
  assert.deepEqual([message.errno, message.sequence], [16, 7])
})

test('dump requests as ip(8) sends them but for the extension mask', { skip }, () => {
  assert.deepEqual(
    encodeDumpRequest(RTM_GETLINK, 9),
    hex('20000000 1200 0103 09000000 00000000 00000000 00000000 00000000 00000000'),
  )
  assert.deepEqual(
    encodeDumpRequest(RTM_GETADDR, 10),
    hex('18000000 1600 0103 0a000000 00000000 00000000 00000000'),
  )
})

test('property: decoding is total, over any bytes and over damaged messages', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      decodeNetlink(bytes)
    }),
  )
  const messages = fc.constantFrom(NEW_LINK, NEW_ADDRESS, NEW_ADDRESS_6, DELETED_LINK)
  const damage = fc.array(fc.tuple(fc.nat(1800), fc.nat(255)), { maxLength: 8 })
  fc.assert(
    fc.property(messages, damage, fc.nat(1900), (original, changes, cut) => {
      const bytes = original.slice(0, cut)
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
      const { messages, malformed } = decodeNetlink(bytes)
      assert.ok(malformed || bytes.length === 0 || messages.length > 0)
    }),
  )
})

test('a message cut off anywhere is malformed', { skip }, () => {
  for (let length = 1; length < NEW_ADDRESS.length; length++) {
    assert.equal(decodeNetlink(NEW_ADDRESS.subarray(0, length)).malformed, true, `at ${length}`)
  }
})
