import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { Hosts } from './hosts.ts'

const IP = parseIp('192.0.2.11') as Ip

test('a host that does not answer is dead with its speaker', () => {
  const hosts = new Hosts()
  hosts.suspect('node-a', IP, 0)
  assert.deepEqual(hosts.down('node-a'), { node: 'node-a', alive: false })
})

test('a host that answers after its speaker was suspected lives on, until it answers no more', () => {
  const hosts = new Hosts()
  hosts.suspect('node-a', IP, 0)
  assert.equal(hosts.answered(IP, 1), undefined)
  assert.deepEqual(hosts.down('node-a'), { node: 'node-a', alive: true })
  assert.deepEqual(hosts.tick(249), { ask: [], changes: [] })
  for (let now = 250; now <= 750; now += 250) {
    assert.deepEqual(hosts.tick(now), { ask: [IP], changes: [] })
  }
  assert.deepEqual(hosts.tick(1000), { ask: [IP], changes: [{ node: 'node-a', alive: false }] })
  assert.deepEqual(hosts.answered(IP, 1100), { node: 'node-a', alive: true })
  assert.equal(hosts.answered(IP, 1101), undefined)
})

test('a speaker that is heard again ends the watch', () => {
  const hosts = new Hosts()
  hosts.suspect('node-a', IP, 0)
  assert.equal(hosts.nextDeadline(), 250)
  hosts.forget('node-a')
  assert.equal(hosts.nextDeadline(), Number.POSITIVE_INFINITY)
  assert.deepEqual(hosts.down('node-a'), { node: 'node-a', alive: false })
})

test('an answer from before the suspicion proves nothing', () => {
  const hosts = new Hosts()
  hosts.answered(IP, 0)
  hosts.suspect('node-a', IP, 1)
  assert.equal(hosts.down('node-a').alive, false)
})
