import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ipv4, type Ipv6, parseIp } from '../addr/ip.ts'
import { parseMac } from '../addr/mac.ts'
import { announcementFrames, answerFrame, hear, questionFrame, repairFrame } from './frames.ts'

const V4 = parseIp('192.0.2.80') as Ipv4
const V6 = parseIp('2001:db8::80') as Ipv6
const MAC = parseMac('00:00:5e:00:53:01')
const CLIENT = parseMac('00:00:5e:53:00:c1')
assert.ok(MAC !== undefined && CLIENT !== undefined)

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
  assert.equal(shown(answerFrame(MAC, heard)), shown(ANSWER))
})

test('L-25: a round is both forms of gratuitous ARP', () => {
  const [request, reply, ...more] = announcementFrames(MAC, V4)
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
  const [frame, ...more] = announcementFrames(MAC, V6)
  assert.deepEqual(more, [])
  const text = shown(frame)
  assert.ok(text.startsWith('33330000000100005e00530186dd'), 'to the MAC of ff02::1 (RFC 2464 section 7)')
  // Neighbor Advertisement, flags with only O set, target, target link-layer option (RFC 4861 section 4.4).
  assert.match(text, /8800....2000000020010db80000000000000000000000800201/)
  const heard = hear(frame ?? new Uint8Array())
  assert.deepEqual(heard, { type: 'answer', ip: V6, mac: MAC, toEverybody: true })
})

test('what tells who has an address is heard as that', () => {
  const [request, reply] = announcementFrames(MAC, V4)
  const asked = hear(request ?? new Uint8Array())
  assert.ok(asked.type === 'question' && asked.tells)
  assert.deepEqual(hear(reply ?? new Uint8Array()), { type: 'answer', ip: V4, mac: MAC, toEverybody: true })
  assert.deepEqual(hear(ANSWER), { type: 'answer', ip: V4, mac: MAC, toEverybody: false })
})

test('RFC 4861 section 7.2.4: who probes for duplicates is answered in front of all, with override', () => {
  const probe = questionFrame({ mac: MAC, ipv4: undefined, ipv6: undefined }, V6)
  const heard = hear(probe ?? new Uint8Array())
  assert.ok(heard.type === 'question' && heard.probes)
  assert.deepEqual(heard.asker, { ip: '::', mac: undefined })
  const text = shown(answerFrame(MAC, heard))
  assert.ok(text.startsWith('33330000000100005e00530186dd'), 'to the MAC of ff02::1')
  assert.match(text, /ff0200000000000000000000000000018800....20000000/, 'only O is set')
})

test('RFC 5227 section 2.1: a probe for an IPv4 address is a question of nobody', () => {
  const heard = hear(questionFrame({ mac: MAC, ipv4: undefined, ipv6: undefined }, V4) ?? new Uint8Array())
  assert.ok(heard.type === 'question' && heard.probes && !heard.tells)
  assert.deepEqual(heard.asker, { ip: '0.0.0.0', mac: MAC })
})

test('a question to the wire is that of an ordinary host', () => {
  const from = { mac: CLIENT, ipv4: parseIp('192.0.2.201') as Ipv4, ipv6: undefined }
  assert.equal(shown(questionFrame(from, V4)), shown(QUESTION))
})

test('a neighbour is told alone, in the form that replaces what it knows', () => {
  const neighbour = { ip: V4, mac: CLIENT }
  assert.equal(
    shown(repairFrame(MAC, V4, neighbour)),
    shown(
      hex('00005e5300c1 00005e005301 0806 0001 0800 06 04 0002 00005e005301 c0000250 00005e005301 c0000250'),
    ),
  )
  assert.equal(repairFrame(MAC, V6, neighbour), undefined)
  const client6 = { ip: parseIp('2001:db8::c1') as Ipv6, mac: CLIENT }
  const text = shown(repairFrame(MAC, V6, client6))
  assert.ok(text.startsWith('00005e5300c100005e00530186dd'))
  assert.match(text, /20010db80000000000000000000000c18800....20000000/, 'not solicited, override')
})

test('any bytes are heard as something', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      assert.ok(['question', 'answer', 'other', 'undecodable'].includes(hear(bytes).type))
    }),
  )
  for (let length = 0; length < QUESTION.length; length++) {
    assert.equal(hear(QUESTION.subarray(0, length)).type, 'undecodable', `${length} bytes`)
  }
})
