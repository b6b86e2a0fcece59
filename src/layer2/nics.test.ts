import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { parseMac } from '../addr/mac.ts'
import type { Link } from '../ports/links.ts'
import { announcingNics, canHearPeers, DEFAULT_EXCLUDED_INTERFACES } from './nics.ts'

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}

function link(change: Partial<Link> = {}): Link {
  return {
    index: 2,
    name: 'eth0',
    mac: parseMac('00:00:5e:00:53:01'),
    up: true,
    carrier: true,
    loopback: false,
    broadcast: true,
    noArp: false,
    master: undefined,
    addresses: [
      { ip: ip('192.0.2.11'), prefixLength: 24, tentative: false },
      { ip: ip('fe80::1'), prefixLength: 64, tentative: false },
    ],
    ...change,
  }
}

const names = (links: readonly Link[]) =>
  announcingNics(links, DEFAULT_EXCLUDED_INTERFACES).map(nic => nic.name)

test('L-20: an interface that is up, of its own and broadcasts, answers for both families', () => {
  assert.deepEqual(announcingNics([link()], DEFAULT_EXCLUDED_INTERFACES), [
    { index: 2, name: 'eth0', mac: '00:00:5e:00:53:01', arp: true, linkLocal: 'fe80::1' },
  ])
})

for (const [what, change] of [
  ['down', { up: false }],
  ['without a carrier', { carrier: false }],
  ['loopback', { loopback: true }],
  ['without ARP', { noArp: true }],
  ['enslaved', { master: 7 }],
  ['without a MAC', { mac: undefined }],
] as const) {
  test(`L-20: an interface that is ${what} is left out`, () => {
    assert.deepEqual(names([link(change)]), [])
  })
}

test('L-20: interfaces of containers and tunnels are left out by name', () => {
  const excluded = ['docker0', 'cbr0', 'veth12', 'lo', 'cali1', 'flannel.1', 'kube-ipvs0', 'cni0', 'lxc9']
  assert.deepEqual(names(excluded.map((name, i) => link({ name, index: i + 1 }))), [])
  const kept = ['bond0', 'ens3', 'eth0.100', 'wlan0', 'loop0']
  assert.deepEqual(names(kept.map((name, i) => link({ name, index: i + 1 }))), kept)
})

test('L-20: no ARP without broadcast, no NDP without a link-local address that may be used', () => {
  const [nic] = announcingNics([link({ broadcast: false, addresses: [] })], [])
  assert.deepEqual([nic?.arp, nic?.linkLocal], [false, undefined])
  const tentative = { ip: ip('fe80::1'), prefixLength: 64, tentative: true }
  const global = { ip: ip('2001:db8::1'), prefixLength: 64, tentative: false }
  const [waiting] = announcingNics([link({ addresses: [tentative, global] })], [])
  assert.equal(waiting?.linkLocal, undefined)
})

test('interfaces come in the order of their index', () => {
  assert.deepEqual(names([link({ index: 9, name: 'b' }), link({ index: 3, name: 'a' })]), ['a', 'b'])
})

test('a node hears its peers while the interface with its own address has a carrier', () => {
  const other = link({ index: 3, name: 'eth1', addresses: [] })
  assert.equal(canHearPeers([link(), other], ip('192.0.2.11')), true)
  assert.equal(canHearPeers([link({ carrier: false }), other], ip('192.0.2.11')), false)
  assert.equal(canHearPeers([link({ up: false }), other], ip('192.0.2.11')), false)
  // The address is nowhere to be seen, e.g. behind NAT: any interface will do.
  assert.equal(canHearPeers([link({ carrier: false }), other], ip('192.0.2.99')), true)
  assert.equal(canHearPeers([link({ carrier: false })], undefined), false)
  assert.equal(canHearPeers([link({ loopback: true })], undefined), false)
})
