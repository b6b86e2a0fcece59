import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ip, parseIp } from '../addr/ip.ts'
import { parseMac } from '../addr/mac.ts'
import type { Link } from '../ports/links.ts'
import {
  isOnLink,
  LINKS_ANNOTATION,
  type SpeakerFacts,
  speakerFromLease,
  speakerLease,
  speakerLeaseName,
  speakerLinks,
} from './speakers.ts'

const ip = (text: string): Ip => {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined)
  return parsed
}
const MAC = parseMac('00:00:5e:00:53:01')
const LINK: Link = {
  index: 2,
  name: 'eth0',
  mac: MAC,
  up: true,
  carrier: true,
  loopback: false,
  broadcast: true,
  noArp: false,
  master: undefined,
  addresses: [
    { ip: ip('192.0.2.7'), prefixLength: 24, tentative: false },
    { ip: ip('192.0.2.8'), prefixLength: 24, tentative: false },
    { ip: ip('2001:db8::7'), prefixLength: 64, tentative: false },
    { ip: ip('2001:db8:1::7'), prefixLength: 64, tentative: true },
    { ip: ip('fe80::1'), prefixLength: 64, tentative: false },
  ],
}

test('a speaker tells the networks of the interfaces that may announce', () => {
  const links = speakerLinks([LINK, { ...LINK, name: 'docker0' }], new Set(['eth0']))
  assert.deepEqual(links, [{ name: 'eth0', mac: MAC, prefixes: ['192.0.2.0/24', '2001:db8::/64'] }])
  assert.equal(isOnLink(links, ip('192.0.2.200')), true)
  assert.equal(isOnLink(links, ip('198.51.100.1')), false)
  assert.equal(isOnLink(links, ip('2001:db8::5')), true)
})

test('what the Lease says is read back', () => {
  const facts: SpeakerFacts = { node: 'node-a', links: speakerLinks([LINK], new Set(['eth0'])) }
  assert.deepEqual(speakerFromLease(speakerLease(facts, 'metallb-system', 0)), facts)
})

test('a node name of 253 characters still has a Lease of its own', () => {
  const node = 'n'.repeat(253)
  assert.ok(speakerLeaseName(node).length <= 253)
  assert.notEqual(speakerLeaseName(node), speakerLeaseName(`${'n'.repeat(252)}m`))
  assert.equal(speakerFromLease(speakerLease({ node, links: [] }, 'metallb-system', 0))?.node, node)
})

test('a Lease that does not speak for its holder is none of a speaker', () => {
  const lease = speakerLease({ node: 'node-a', links: [] }, 'metallb-system', 0)
  const named = (name: string) => ({ ...lease, metadata: { ...lease.metadata, name } })
  assert.equal(speakerFromLease(named('lodestone-speaker.node-b')), undefined)
  assert.equal(speakerFromLease(named('lodestone-controller')), undefined)
  assert.equal(speakerFromLease({ ...lease, spec: {} }), undefined)
})

for (const [what, text] of [
  ['no JSON', '{'],
  ['no list', '{}'],
  ['links without a name', '[{"mac":"00:00:5e:00:53:01"},3,null]'],
] as const) {
  test(`links that are malformed count as none: ${what}`, () => {
    const lease = speakerLease({ node: 'node-a', links: [] }, 'metallb-system', 0)
    const written = {
      ...lease,
      metadata: { ...lease.metadata, annotations: { [LINKS_ANNOTATION]: text } },
    }
    assert.deepEqual(speakerFromLease(written), { node: 'node-a', links: [] })
  })
}
