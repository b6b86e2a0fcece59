import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ip } from '../addr/ip.ts'
import { Witness } from './witness.ts'

const GATEWAY = { interfaceIndex: 2, ip: '192.0.2.254' as Ip }
const HOST = '192.0.2.201' as Ip
const PEER = '192.0.2.12' as Ip

test('with no gateway that ever answered and nobody heard, nobody can be asked', () => {
  const witness = new Witness()
  assert.equal(witness.need(100), 'nobody')
  witness.setGateway(GATEWAY)
  assert.equal(witness.need(200), 'nobody', 'it is configured, but may not be there')
})

test('an answer of the gateway proves the time of the question', () => {
  const witness = new Witness()
  witness.setGateway(GATEWAY)
  witness.asked(0)
  assert.equal(witness.heard(GATEWAY.ip, true, 5), undefined, 'nobody wanted to know')
  assert.ok(witness.answers)
  assert.equal(witness.need(1000), 'asked')
  assert.equal(witness.heard(GATEWAY.ip, true, 1003), 1000)
})

test('of several questions the first one of late counts', () => {
  const witness = new Witness()
  witness.setGateway(GATEWAY)
  for (const now of [1000, 1020, 1040]) witness.need(now)
  assert.equal(witness.heard(GATEWAY.ip, true, 1050), 1000)
  witness.need(2000)
  witness.need(2500)
  assert.equal(witness.heard(GATEWAY.ip, true, 2501), 2500, 'the question of half a second ago is forgotten')
})

test('a frame of a stranger counts when it is heard; one of the other speaker never', () => {
  const witness = new Witness()
  assert.equal(witness.heard(HOST, true, 10), undefined)
  assert.deepEqual(witness.others, [HOST])
  assert.equal(witness.need(1000), 'asked')
  assert.equal(witness.heard(PEER, false, 1001), undefined)
  assert.equal(witness.heard(HOST, true, 1002), 1002)
  assert.equal(witness.heard(HOST, true, 5000), undefined, 'long after the need')
})

test('the last three hosts are asked, and a probe without an address is none of them', () => {
  const witness = new Witness()
  for (const ip of ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4', '0.0.0.0', '::'])
    witness.heard(ip as Ip, true, 0)
  assert.deepEqual(witness.others, ['192.0.2.2', '192.0.2.3', '192.0.2.4'])
})

test('another gateway has to answer first', () => {
  const witness = new Witness()
  witness.setGateway(GATEWAY)
  witness.asked(0)
  witness.heard(GATEWAY.ip, false, 1)
  witness.setGateway(GATEWAY)
  assert.ok(witness.answers)
  witness.setGateway({ ...GATEWAY, ip: '192.0.2.253' as Ip })
  assert.equal(witness.answers, false)
})
