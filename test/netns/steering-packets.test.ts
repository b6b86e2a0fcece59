// Which node keeps which packet: frames made by hand go in at one node, and counters behind the steering of each node say what stayed there.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Ipv4, Ipv6 } from '../../src/addr/ip.ts'
import type { Mac } from '../../src/addr/mac.ts'
import { flowOwner } from '../../src/dataplane/flow-hash.ts'
import { type SteeredService, serviceTable } from '../../src/dataplane/steering.ts'
import { ETHERTYPE, encodeEthernet, type VlanTag } from '../../src/wire/ethernet.ts'
import { encodeIpv4, type Ipv4Packet } from '../../src/wire/ipv4.ts'
import { encodeIpv6, type Ipv6Extension } from '../../src/wire/ipv6.ts'
import { inside, ip, run } from './service-proxy-lab.ts'
import {
  buildTopology,
  inputOf,
  type LabNode,
  labNode,
  NODES,
  type NodeName,
  outside,
  steeredService,
  type Version,
  vip,
} from './steering-lab.ts'

/** Sees what steering left to this node, for it has a later priority at the same hook; `marked` is what must not be. */
const OBSERVER = `
  table netdev observer {
    counter stayed { }
    counter marked { }
    chain behind {
      type filter hook ingress device "eth0" priority 10; policy accept;
      meta pkttype != host accept
      ip daddr 203.0.113.0/24 counter name stayed
      ip6 daddr 2001:db8:f::/64 counter name stayed
      ip daddr 203.0.113.0/24 meta mark != 0 counter name marked
      ip6 daddr 2001:db8:f::/64 meta mark != 0 counter name marked
      ip daddr 203.0.113.0/24 meta priority != none counter name marked
      ip6 daddr 2001:db8:f::/64 meta priority != none counter name marked
    }
  }`

/** A process on the client's wire. */
async function frameSender() {
  const index = inside('client', 'cat', '/sys/class/net/eth0/ifindex').trim()
  const program = fileURLToPath(new URL('./steering-sender.js', import.meta.url))
  const child = spawn('ip', ['netns', 'exec', 'client', process.execPath, program, index], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  return {
    send: async (frames: readonly Uint8Array[]) => {
      const sent = once(child.stdout, 'data')
      child.stdin.write(`${frames.map(frame => `${Buffer.from(frame).toString('hex')}\n`).join('')}\n`)
      await sent
    },
    end: () => child.kill('SIGKILL'),
  }
}

if (!outside('steering packet by packet', import.meta.url)) {
  const nodes = {} as Record<NodeName, LabNode>
  const macs = {} as Record<NodeName | 'client', Mac>

  before(async () => {
    buildTopology()
    sender = await frameSender()
    for (const node of NODES) nodes[node] = labNode(node)
    for (const name of [...NODES, 'client'] as const) {
      macs[name] = inside(name, 'cat', '/sys/class/net/eth0/address').trim() as Mac
    }
    for (const node of NODES) run('ip', 'netns', 'exec', node, 'nft', OBSERVER)
    // A node asks for the others' link addresses when it first hands a packet on; that is not what these tests are about.
    for (const node of NODES) {
      for (const other of NODES) {
        if (other === node) continue
        for (const version of ['v4', 'v6'] as const) {
          const address = version === 'v4' ? `192.0.2.1${other[1]}` : `2001:db8::1${other[1]}`
          run('ip', '-n', node, 'neigh', 'replace', address, 'lladdr', macs[other], 'dev', 'eth0')
        }
      }
    }
  })

  let sender: Awaited<ReturnType<typeof frameSender>>
  after(() => sender.end())

  const received = (node: NodeName) =>
    Number(inside(node, 'cat', '/sys/class/net/eth0/statistics/rx_packets'))

  /** Packets that stayed, and those with marks, since the observer was last asked. */
  const look = (what: 'list' | 'reset'): Record<NodeName, { stayed: number; marked: number }> => {
    const each = NODES.map(node => `ip netns exec ${node} nft ${what} counters table netdev observer`)
    const counts = [...run('sh', '-ec', each.join('\n')).matchAll(/packets (\d+)/g)].map(match =>
      Number(match[1]),
    )
    assert.equal(counts.length, NODES.length * 2)
    return Object.fromEntries(
      NODES.map((node, i) => [node, { stayed: counts[i * 2] ?? 0, marked: counts[i * 2 + 1] ?? 0 }]),
    ) as Record<NodeName, { stayed: number; marked: number }>
  }

  /** Sends the frames and tells how many packets stayed at each node. */
  const send = async (frames: readonly Uint8Array[]): Promise<Record<NodeName, number>> => {
    look('reset')
    await sender.send(frames)
    // A frame is handed on within the system call that sends it, but for what a busy processor puts off: until nothing changes.
    for (let last = ''; ; ) {
      const now = look('list')
      if (JSON.stringify(now) !== last) {
        last = JSON.stringify(now)
        continue
      }
      for (const node of NODES) assert.equal(now[node].marked, 0, `${node} left marks behind`)
      return Object.fromEntries(NODES.map(node => [node, now[node].stayed])) as Record<NodeName, number>
    }
  }

  const install = async (service: SteeredService, macsKnown = false) => {
    for (const self of NODES) nodes[self].steering.update(inputOf(self, [service], { macs: macsKnown }))
    await Promise.all(NODES.map(self => nodes[self].steering.settled()))
  }
  const WEIGHTS = { n1: 1, n2: 2, n3: 1 }
  const SERVICE = { ...steeredService(1, WEIGHTS), slots: 1009 } as const
  const TABLE = serviceTable(SERVICE.weights, new Set(), 1009)
  const clients = { v4: (n: number) => `198.51.100.${n}`, v6: (n: number) => `2001:db8:9::${n}` }
  const PORTS = Array.from({ length: 60 }, (_, i) => 20_000 + i * 331)
  const MANY = Array.from({ length: 40 }, (_, i) => i + 1)

  const expected = (owners: readonly (string | undefined)[]): Record<NodeName, number> =>
    Object.fromEntries(NODES.map(node => [node, owners.filter(owner => owner === node).length])) as Record<
      NodeName,
      number
    >
  const byFlow = (client: string, ports: readonly number[]) =>
    expected(ports.map(port => flowOwner(TABLE, ip(client), port)))
  const byClient = (addresses: readonly string[]) =>
    expected(addresses.map(client => flowOwner(TABLE, ip(client), undefined)))

  type More = {
    ttl?: number
    tags?: VlanTag[]
    to?: Mac
    options?: Uint8Array
    extensions?: Ipv6Extension[]
    v4?: Partial<Ipv4Packet>
  }
  /** To the Service, in at n1 unless `to` says another link address. */
  const frame = (
    version: Version,
    client: string,
    protocol: number,
    payload: Uint8Array,
    more: More = {},
  ) => {
    const { ttl = 64, tags = [], to = macs.n1, options = new Uint8Array(), extensions = [] } = more
    return encodeEthernet({
      destination: to,
      source: macs.client,
      tags,
      etherType: version === 'v4' ? ETHERTYPE.ipv4 : ETHERTYPE.ipv6,
      payload: packet(version, client, vip(1)[version], protocol, payload, {
        ttl,
        options,
        extensions,
        ...more,
      }),
    })
  }
  const packet = (
    version: Version,
    source: string,
    destination: string,
    protocol: number,
    payload: Uint8Array,
    more: More = {},
  ) => {
    const common = { trafficClass: 0, protocol, payload }
    if (version === 'v6') {
      return encodeIpv6({
        ...common,
        flowLabel: 0,
        hopLimit: more.ttl ?? 64,
        source: ip(source) as Ipv6,
        destination: ip(destination) as Ipv6,
        extensions: more.extensions ?? [],
      })
    }
    return encodeIpv4({
      ...common,
      identification: 77,
      dontFragment: false,
      moreFragments: false,
      fragmentOffset: 0,
      ttl: more.ttl ?? 64,
      source: ip(source) as Ipv4,
      destination: ip(destination) as Ipv4,
      options: more.options ?? new Uint8Array(),
      ...more.v4,
    })
  }
  /** The beginning of a TCP, UDP or SCTP header is the same: two ports. */
  const transport = (source: number, destination: number) => {
    const bytes = new Uint8Array(24)
    const view = new DataView(bytes.buffer)
    view.setUint16(0, source)
    view.setUint16(2, destination)
    bytes[12] = 0x50
    return bytes
  }
  /** An ICMP error (RFC 792, RFC 4443) about a packet that the Service sent to a client. */
  const error = (type: number, code: number, about: Uint8Array) =>
    Uint8Array.of(type, code, 0, 0, 0, 0, 5, 0, ...about)
  const ICMP = { v4: 1, v6: 58 } as const
  const ERRORS = {
    v4: [
      [3, 4],
      [3, 1],
      [11, 0],
      [12, 0],
    ],
    v6: [
      [2, 0],
      [1, 4],
      [3, 0],
      [4, 1],
    ],
  } as const

  for (const version of ['v4', 'v6'] as const) {
    const client = clients[version](7)
    const fragment = (offset: number, more: boolean): More =>
      version === 'v4'
        ? { v4: { fragmentOffset: offset, moreFragments: more } }
        : { extensions: [{ type: 'fragment', offset, more, identification: 5 }] }

    for (const [name, protocol] of [
      ['TCP', 6],
      ['UDP', 17],
      ['SCTP', 132],
    ] as const) {
      test(`${version}: ${name} goes where the table says`, async () => {
        await install(SERVICE)
        const frames = PORTS.map(port => frame(version, client, protocol, transport(port, 80)))
        const wanted = byFlow(client, PORTS)
        assert.ok(NODES.every(node => wanted[node] > 0))
        assert.deepEqual(await send(frames), wanted)
      })
    }

    test(`${version}: affinity 'client' ignores the port`, async () => {
      await install({ ...SERVICE, affinity: 'client' })
      const addresses = MANY.map(clients[version])
      const frames = addresses.map((address, i) => frame(version, address, 6, transport(2000 + i, 80)))
      assert.deepEqual(await send(frames), byClient(addresses))
    })

    test(`${version}: fragments, first and later, go by the client's address`, async () => {
      await install(SERVICE)
      const addresses = MANY.map(clients[version])
      const wanted = byClient(addresses)
      for (const [offset, more] of [
        [0, true],
        [1480, true],
        [2960, false],
      ] as const) {
        const frames = addresses.map((address, i) =>
          frame(version, address, 17, transport(2000 + i, 80), fragment(offset, more)),
        )
        assert.deepEqual(await send(frames), wanted, `offset ${offset}`)
      }
    })

    test(`${version}: options and extension headers before the ports do not hide them`, async () => {
      await install(SERVICE)
      const wanted = byFlow(client, PORTS)
      const variants: More[] =
        version === 'v4'
          ? [{ options: Uint8Array.of(1, 1, 1, 0) }]
          : [
              { extensions: [{ type: 'destination', bytes: Uint8Array.of(1, 4, 0, 0, 0, 0) }] },
              // An atomic fragment is a whole packet (RFC 6946).
              fragment(0, false),
            ]
      for (const variant of variants) {
        assert.deepEqual(
          await send(PORTS.map(port => frame(version, client, 17, transport(port, 80), variant))),
          wanted,
        )
      }
    })

    test(`${version}: ICMP errors go to the node that has the flow`, async () => {
      for (const affinity of ['flow', 'client'] as const) {
        await install({ ...SERVICE, affinity })
        const frames: Uint8Array[] = []
        const owners: (string | undefined)[] = []
        for (const protocol of [6, 17, 132]) {
          for (const [type, code] of ERRORS[version]) {
            for (const [i, port] of PORTS.entries()) {
              const address = clients[version](i + 1)
              const about = packet(version, vip(1)[version], address, protocol, transport(80, port))
              frames.push(frame(version, clients[version](200), ICMP[version], error(type, code, about)))
              owners.push(flowOwner(TABLE, ip(address), affinity === 'flow' ? port : undefined))
            }
          }
        }
        assert.deepEqual(await send(frames), expected(owners), affinity)
      }
    })

    test(`${version}: what is no flow of the Service stays where it came in`, async () => {
      await install(SERVICE)
      const about = (protocol: number, payload: Uint8Array, more: More = {}) =>
        packet(version, vip(1)[version], client, protocol, payload, more)
      const [[type, code]] = ERRORS[version]
      const strange = [
        // Another port; another address of the range; a protocol without ports; an echo request; errors of what we cannot read.
        ...PORTS.map(port => frame(version, client, 6, transport(port, 82))),
        ...PORTS.map(() => frame(version, client, 50, new Uint8Array(40))),
        ...PORTS.map(port =>
          frame(
            version,
            client,
            ICMP[version],
            Uint8Array.of(version === 'v4' ? 8 : 128, 0, 0, 0, port >> 8, port & 255, 0, 1),
          ),
        ),
        ...PORTS.map(port =>
          frame(version, client, ICMP[version], error(type, code, about(6, transport(82, port)))),
        ),
        ...PORTS.map(port =>
          frame(
            version,
            client,
            ICMP[version],
            error(type, code, about(6, transport(80, port), fragment(1480, true))),
          ),
        ),
        ...(version === 'v4'
          ? PORTS.map(port =>
              frame(
                version,
                client,
                1,
                error(3, 4, about(6, transport(80, port), { options: Uint8Array.of(1, 1, 1, 0) })),
              ),
            )
          : []),
      ]
      assert.deepEqual(await send(strange), { n1: strange.length, n2: 0, n3: 0 })
    })

    test(`${version}: with the last hop used up a packet goes no further`, async () => {
      await install(SERVICE)
      const { n1 } = byFlow(client, PORTS)
      const frames = PORTS.map(port => frame(version, client, 6, transport(port, 80), { ttl: 1 }))
      assert.deepEqual(await send(frames), { n1, n2: 0, n3: 0 })
    })

    test(`${version}: a copy for somebody else's link address is left alone`, async () => {
      await install(SERVICE)
      const before = NODES.map(received)
      const to = '02:00:5e:00:53:99' as Mac
      assert.deepEqual(
        await send(PORTS.map(port => frame(version, client, 6, transport(port, 80), { to }))),
        {
          n1: 0,
          n2: 0,
          n3: 0,
        },
      )
      // The bridge does send it to everybody, and nobody sends it on.
      for (const [i, node] of NODES.entries()) {
        const more = received(node) - (before[i] ?? 0)
        assert.ok(more >= PORTS.length && more < PORTS.length * 2, `${node} received ${more}`)
      }
    })

    test(`${version}: frames of a VLAN are left to its interface, a priority tag is none`, async () => {
      await install(SERVICE)
      const tag = (id: number, type: VlanTag['type'] = 'c-tag'): VlanTag => ({
        type,
        priority: 3,
        dropEligible: false,
        id,
      })
      const tagged = (tags: VlanTag[]) =>
        PORTS.map(port => frame(version, client, 6, transport(port, 80), { tags }))
      assert.deepEqual(await send(tagged([tag(7)])), { n1: PORTS.length, n2: 0, n3: 0 })
      assert.deepEqual(await send(tagged([tag(7, 's-tag')])), { n1: PORTS.length, n2: 0, n3: 0 })
      assert.deepEqual(await send(tagged([tag(0)])), byFlow(client, PORTS))
    })

    test(`${version}: two nodes of different opinion: the hop limit ends it, a known link address at once`, async () => {
      for (const macsKnown of [false, true]) {
        for (const self of NODES) {
          const weights = new Map([[self === 'n1' ? 'n2' : 'n1', 1]])
          nodes[self].steering.update(inputOf(self, [{ ...SERVICE, weights }], { macs: macsKnown }))
        }
        await Promise.all(NODES.map(self => nodes[self].steering.settled()))
        const before = received('n2')
        const stayed = await send([frame(version, client, 6, transport(4000, 80))])
        const passed = received('n2') - before
        if (macsKnown) {
          // n2 would send it back to where it came from, and keeps it instead.
          assert.deepEqual(stayed, { n1: 0, n2: 1, n3: 0 })
          assert.ok(passed < 10, `n2 received ${passed}`)
        } else {
          assert.deepEqual(stayed, { n1: 0, n2: 0, n3: 0 })
          assert.ok(passed >= 31 && passed < 50, `n2 received ${passed}`)
        }
      }
    })
  }
}
