import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseIpv4, parseIpv6 } from '../../src/addr/ip.ts'
import { parseMac } from '../../src/addr/mac.ts'
import { arpReply, arpRequest, encodeArpFrame } from '../../src/wire/arp.ts'
import { encodeNdFrame, neighborSolicitation, solicitedAdvertisement } from '../../src/wire/nd.ts'
import { isAnswer } from './answer.ts'

function present<T>(value: T | undefined): T {
  assert(value !== undefined)
  return value
}
const ASKER = present(parseMac('00:00:5e:00:53:01'))
const OWNER = present(parseMac('00:00:5e:00:53:02'))

test('an ARP reply for the target is the answer; a question, and a reply for another address, are not', () => {
  const [asker, target, other] = ['192.0.2.1', '192.0.2.80', '192.0.2.81'].map(text =>
    present(parseIpv4(text)),
  )
  const request = arpRequest({ mac: ASKER, ip: present(asker) }, present(target))
  const reply = encodeArpFrame(arpReply(request, OWNER))
  assert.equal(isAnswer(present(target))(reply), true)
  assert.equal(isAnswer(present(other))(reply), false)
  assert.equal(isAnswer(present(target))(encodeArpFrame(request)), false)
})

test('a neighbour advertisement for the target is the answer; a solicitation, and one for another address, are not', () => {
  const texts = ['2001:db8::1', '2001:db8::80', '2001:db8::81']
  const [asker, target, other] = texts.map(text => present(parseIpv6(text)))
  const asked = neighborSolicitation({ mac: ASKER, ip: present(asker) }, present(target))
  const answer = encodeNdFrame(solicitedAdvertisement(asked, OWNER, { override: true }))
  assert.equal(isAnswer(present(target))(answer), true)
  assert.equal(isAnswer(present(other))(answer), false)
  assert.equal(isAnswer(present(target))(encodeNdFrame(asked)), false)
})
