import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, parseIp } from '../addr/ip.ts'
import { type Prefix, parsePrefix, prefixContains, prefixesOverlap } from '../addr/prefix.ts'
import { planPod, planTopology } from './topology.ts'

const SHAPES = fc.record(
  { nodes: fc.integer({ min: 1, max: 80 }), clients: fc.integer({ min: 0, max: 50 }), ipv6: fc.boolean() },
  { noNullPrototype: true },
)

test('the addresses of a small dual-stack lab', () => {
  const { hosts, serviceCidrs } = planTopology({ nodes: 2, clients: 1, ipv6: true })
  const shown = hosts.map(host => [host.name, host.role, ...host.ips, ...host.podCidrs].join(' '))
  assert.deepEqual(shown, [
    'switch switch',
    'control control 192.0.2.2 2001:db8:0:1::2',
    'router router 192.0.2.1 2001:db8:0:1::1',
    'node1 node 192.0.2.11 2001:db8:0:1::11 10.244.1.0/24 2001:db8:244:1::/64',
    'node2 node 192.0.2.12 2001:db8:0:1::12 10.244.2.0/24 2001:db8:244:2::/64',
    'client1 client 192.0.2.201 2001:db8:0:1::201',
    'remote remote 203.0.113.11 2001:db8:0:2::11',
  ])
  assert.deepEqual(serviceCidrs, ['10.96.0.0/16', '2001:db8:96::/112'])
})

test('a node knows the way to the pods of the others, not to its own', () => {
  const { hosts } = planTopology({ nodes: 2, clients: 0, ipv6: true })
  const routes = hosts.find(host => host.name === 'node1')?.commands.filter(line => line.startsWith('route'))
  assert.deepEqual(routes, [
    'route add default via 192.0.2.1',
    'route add default via 2001:db8:0:1::1',
    'route add 10.244.2.0/24 via 192.0.2.12',
    'route add 2001:db8:244:2::/64 via 2001:db8:0:1::12',
  ])
})

test('without IPv6 no command speaks of an IPv6 address', () => {
  const { create, hosts } = planTopology({ nodes: 3, clients: 2, ipv6: false })
  const lines = [...create, ...hosts.flatMap(host => host.commands)]
  assert.ok(lines.length > 30)
  assert.deepEqual(
    lines.filter(line => line.includes('2001:db8')),
    [],
  )
})

test('in every lab names and addresses are unique and canonical, pods and Services have ranges of their own', () => {
  fc.assert(
    fc.property(SHAPES, shape => {
      const { create, hosts, serviceCidrs } = planTopology(shape)
      const ips = hosts.flatMap(host => host.ips)
      assert.equal(new Set(ips).size, ips.length)
      for (const ip of ips) {
        assert.equal(parseIp(ip), ip)
        assert.doesNotMatch(ip, /^(192\.0\.2\.|2001:db8:0:1::)1\d\d$/, 'left for Services')
      }
      const prefixes: Prefix[] = [...serviceCidrs, ...hosts.flatMap(host => host.podCidrs)]
      assert.equal(prefixes.length, (shape.nodes + 1) * (shape.ipv6 ? 2 : 1))
      for (const [i, prefix] of prefixes.entries()) {
        assert.equal(parsePrefix(prefix), prefix)
        assert.ok(!ips.some(ip => prefixContains(prefix, ip)))
        assert.ok(prefixes.slice(i + 1).every(other => !prefixesOverlap(prefix, other)))
      }
      const names = create.filter(line => line.startsWith('netns')).map(line => line.split(' ')[2])
      assert.deepEqual(
        names,
        hosts.map(host => host.name),
      )
      // The kernel's limit for names of interfaces.
      for (const [, name = ''] of create.join('\n').matchAll(/(?:name|add) (\S+) netns/g)) {
        assert.ok(name.length <= 15, name)
      }
    }),
  )
})

for (const [shape, message] of [
  [{ nodes: 0, clients: 1 }, 'a lab has 1 to 80 nodes, not 0'],
  [{ nodes: 81, clients: 1 }, 'a lab has 1 to 80 nodes, not 81'],
  [{ nodes: 1.5, clients: 1 }, 'a lab has 1 to 80 nodes, not 1.5'],
  [{ nodes: 1, clients: 51 }, 'a lab has 0 to 50 clients, not 51'],
] as const) {
  test(`refuses ${shape.nodes} nodes and ${shape.clients} clients`, () => {
    assert.throws(() => planTopology({ ...shape, ipv6: false }), { code: 'bad-argument', message })
  })
}

test('a pod has routes for the families of its addresses only', () => {
  const ips = ['10.244.1.5', '2001:db8:244:1::5'] as Ip[]
  const link = { namespace: 'pod7', node: 'node1', interfaceName: 'pod7' }
  const dual = planPod({ ...link, ips })
  assert.deepEqual(dual.nodeCommands, [
    'link set pod7 up',
    'route replace 10.244.1.5 dev pod7',
    'route replace 2001:db8:244:1::5 dev pod7',
  ])
  const v4 = planPod({ ...link, ips: ips.slice(0, 1) })
  const defaults = (commands: readonly string[]) =>
    commands.filter(line => line.startsWith('route add default'))
  assert.deepEqual(defaults(v4.host.commands), ['route add default via 169.254.1.1 dev eth0'])
  assert.deepEqual(defaults(dual.host.commands), [
    'route add default via 169.254.1.1 dev eth0',
    'route add default via fe80::1 dev eth0',
  ])
})
