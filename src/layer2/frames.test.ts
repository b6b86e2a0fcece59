import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ipv4, type Ipv6, parseIp } from '../addr/ip.ts'
import { parseMac } from '../addr/mac.ts'
import { announcementFrames, answerFrame, hear } from './frames.ts'
import type { Nic } from './machine.ts'

const V4 = parseIp('192.0.2.80') as Ipv4
const V6 = parseIp('2001:db8::80') as Ipv6
const MAC = parseMac('00:00:5e:00:53:01')
assert.ok(MAC !== undefined)
const NIC: Nic = { index: 2, name: 'eth0', mac: MAC, arp: true, linkLocal: undefined }

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replace(/#.*|\s/g, ''), 'hex'))
const shown = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex')

/** Laid out by hand from RFC 826. */
const QUESTION = hex(`
  ffffffffffff 00005e5300c1 0806
  0001 0800 06 04 0001
  00005e5300c1 c00002c9   # 192.0.2.201 asks
  000000000000 c0000250   # who has 192.0.2.80?
`)
const ANSWER = hex(`
  00005e5300c1 00005e005301 0806
  0001 0800 06 04 0002
  00005e005301 c0000250
  00005e5300c1 c00002c9
`)

test('L-22: the question of RFC 826 and its answer, byte for byte', () => {
  const heard = hear(QUESTION)
  assert.ok(heard.type === 'question')
  assert.deepEqual([heard.target, heard.toEverybody, heard.tells], [V4, true, false])
  assert.equal(shown(answerFrame(NIC, heard)), shown(ANSWER))
})

test('L-25: a round is both forms of gratuitous ARP', () => {
  const [request, reply, ...more] = announcementFrames(NIC, V4)
  const body = (operation: string, targetMac: string) =>
    shown(
      hex(
        `ffffffffffff 00005e005301 0806 0001 0800 06 04 ${operation} 00005e005301 c0000250 ${targetMac} c0000250`,
      ),
    )
  assert.equal(shown(request), body('0001', '000000000000'))
  assert.equal(shown(reply), body('0002', '00005e005301'))
  assert.deepEqual(more, [])
})

test('L-25: a round for IPv6 is one advertisement to all nodes, which overrides and answers nobody', () => {
  const [frame, ...more] = announcementFrames(NIC, V6)
  assert.deepEqual(more, [])
  const text = shown(frame)
  assert.ok(text.startsWith('33330000000100005e00530186dd'), 'to the MAC of ff02::1 (RFC 2464 section 7)')
  // Neighbor Advertisement, flags with only O set, target, target link-layer option (RFC 4861 section 4.4).
  assert.match(text, /8800....2000000020010db80000000000000000000000800201/)
  const heard = hear(frame ?? new Uint8Array())
  assert.deepEqual(heard, { type: 'announcement', ip: V6, mac: MAC })
})

test('what tells who has an address is heard as that', () => {
  const [request, reply] = announcementFrames(NIC, V4)
  const asked = hear(request ?? new Uint8Array())
  assert.ok(asked.type === 'question' && asked.tells)
  assert.deepEqual(hear(reply ?? new Uint8Array()), { type: 'announcement', ip: V4, mac: MAC })
  assert.deepEqual(hear(ANSWER), { type: 'other' })
})

test('any bytes are heard as something', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      assert.ok(['question', 'announcement', 'other', 'undecodable'].includes(hear(bytes).type))
    }),
  )
  for (let length = 0; length < QUESTION.length; length++) {
    assert.equal(hear(QUESTION.subarray(0, length)).type, 'undecodable', `${length} bytes`)
  }
})
