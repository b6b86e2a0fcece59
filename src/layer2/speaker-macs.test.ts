import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, type Ipv4, parseIp } from '../addr/ip.ts'
import { type Mac, parseMac } from '../addr/mac.ts'
import { arpRequest, encodeArpFrame } from '../wire/arp.ts'
import { SpeakerMacs } from './speaker-macs.ts'

const [A, B, C] = ['00:00:5e:00:53:0a', '00:00:5e:00:53:0b', '00:00:5e:00:53:0c'].map(text => {
  const mac = parseMac(text)
  assert.ok(mac !== undefined)
  return mac
}) as [Mac, Mac, Mac]
const ip = (text: string) => parseIp(text) as Ip
const frame = (mac: Mac, from: string) =>
  encodeArpFrame(arpRequest({ mac, ip: from as Ipv4 }, '192.0.2.254' as Ipv4))

test('registered MACs are known at once, the others when they speak', () => {
  const macs = new SpeakerMacs()
  assert.ok(macs.complete, 'nobody is missing')
  macs.set([
    { name: 'a', ip: ip('192.0.2.11'), macs: [A] },
    { name: 'b', ip: ip('192.0.2.12') },
  ])
  assert.deepEqual([macs.complete, [...macs.of]], [false, [[A, 'a']]])
  assert.equal(macs.learn(frame(C, '192.0.2.99')), false, 'a stranger')
  assert.equal(macs.learn(frame(C, '192.0.2.11')), false, 'what is registered is not learned')
  assert.ok(macs.learn(frame(B, '192.0.2.12')))
  assert.deepEqual([macs.complete, macs.of.get(B)], [true, 'b'])
  assert.equal(macs.learn(frame(B, '192.0.2.12')), false, 'no news')
})

test('a MAC that changes is learned anew, and remembered when the list is told again', () => {
  const macs = new SpeakerMacs()
  const peers = [{ name: 'b', ip: ip('192.0.2.12') }]
  macs.set(peers)
  macs.learn(frame(B, '192.0.2.12'))
  assert.ok(macs.learn(frame(C, '192.0.2.12')))
  assert.deepEqual([...macs.of], [[C, 'b']])
  macs.set(peers)
  assert.deepEqual([macs.complete, [...macs.of]], [true, [[C, 'b']]])
  macs.set([])
  macs.set(peers)
  assert.equal(macs.complete, false, 'one that was gone is asked anew')
})

test('frames cut short and addresses of the other family teach nothing', () => {
  const macs = new SpeakerMacs()
  macs.set([{ name: 'b', ip: ip('2001:db8::12') }])
  assert.equal(macs.learn(frame(B, '192.0.2.12')), false)
  macs.set([{ name: 'b', ip: ip('192.0.2.12') }])
  assert.equal(macs.learn(frame(B, '192.0.2.12').subarray(0, 41)), false)
})
