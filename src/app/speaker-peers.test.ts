import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMac } from '../addr/mac.ts'
import { type NodeFacts, nodeFromObject } from '../config/nodes.ts'
import { reachablePeers } from './speaker-peers.ts'

function node(name: string, addresses: readonly string[]): [string, NodeFacts] {
  const status = { addresses: addresses.map(address => ({ type: 'InternalIP', address })) }
  return [name, nodeFromObject({ metadata: { name }, status })]
}

test('peers are the registered speakers of other nodes that have an address, with the MACs that they told', () => {
  const nodes = new Map([
    node('a', ['192.0.2.1']),
    node('b', ['192.0.2.2']),
    node('c', []),
    node('d', ['192.0.2.4']),
  ])
  const mac = parseMac('00:00:5e:00:53:02')
  const links = [
    { name: 'eth0', mac, prefixes: [] },
    { name: 'tun0', mac: undefined, prefixes: [] },
  ]
  const speakers = [
    { node: 'gone', links: [] },
    { node: 'd', links: [] },
    { node: 'c', links: [] },
    { node: 'b', links },
    { node: 'a', links: [] },
  ]
  assert.deepEqual(reachablePeers('a', nodes, speakers), {
    self: '192.0.2.1',
    peers: [
      { name: 'b', ip: '192.0.2.2', macs: ['00:00:5e:00:53:02'] },
      { name: 'd', ip: '192.0.2.4' },
    ],
  })
})

test('of a node with both families the one that this node has too; none in common is better than nothing', () => {
  const nodes = new Map([
    node('a', ['2001:db8::1']),
    node('b', ['192.0.2.2', '2001:db8::2']),
    node('c', ['192.0.2.3']),
  ])
  const speakers = ['b', 'c'].map(name => ({ node: name, links: [] }))
  assert.deepEqual(
    reachablePeers('a', nodes, speakers).peers.map(({ ip }) => ip),
    ['2001:db8::2', '192.0.2.3'],
  )
})
