// Three nodes with a pod each and a client on one wire; a second client behind a router whose link is narrow; a second wire that two of
// the nodes and a third client share. In network namespaces below the one that this process has for itself.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Ipv4, Ipv6 } from '../../src/addr/ip.ts'
import { FlowSteering } from '../../src/dataplane/flow-steering.ts'
import { ServiceProxy } from '../../src/dataplane/proxy.ts'
import type { ProxyService } from '../../src/dataplane/service.ts'
import type {
  SteeredService,
  SteeringInput,
  SteeringInterface,
  SteeringNode,
} from '../../src/dataplane/steering.ts'
import { FakeLog } from '../../src/ports/log.ts'
import type { ListTableOptions, Nft } from '../../src/ports/nft.ts'
import { ConntrackTool } from '../../src/sys/conntrack.ts'
import { createNft } from '../../src/sys/nft.ts'
import { clock, inside, ip, prefix, run } from './service-proxy-lab.ts'

const INSIDE = 'LODESTONE_INSIDE_NAMESPACES'

/**
 * True in the process that the runner started: there, one test runs the file again inside private network, mount and process namespaces,
 * with a user namespace too when it is not root, so that nothing of it can stay behind.
 */
export function outside(title: string, url: string): boolean {
  if (process.env[INSIDE] !== undefined) return false
  test(`${title}, inside namespaces`, () => {
    const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user']
    // /run as a whole: without root nobody may create /run/netns in the one that is there.
    const script = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"'
    const node = [process.execPath, '--enable-source-maps', '--test-reporter=spec', fileURLToPath(url)]
    const { NODE_TEST_CONTEXT: _, ...environment } = process.env
    const result = spawnSync(
      'unshare',
      [...user, '--net', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', script, 'sh', ...node],
      { encoding: 'utf8', env: { ...environment, [INSIDE]: 'yes' }, timeout: 240_000 },
    )
    assert.equal(result.status, 0, `${String(result.error ?? '')}\n${result.stdout}\n${result.stderr}`)
    assert.match(result.stdout, /pass [1-9]/, 'the tests ran')
  })
  return true
}

export const NODES = ['n1', 'n2', 'n3'] as const
export type NodeName = (typeof NODES)[number]
export type PodName = 'p1' | 'p2' | 'p3'
export type Version = 'v4' | 'v6'

export const CLIENT = { v4: '192.0.2.100', v6: '2001:db8::100' }
export const ROUTER = { v4: '192.0.2.200', v6: '2001:db8::200' }
/** Behind the router, over a link that carries 1,300 bytes. */
export const FAR = { v4: '198.51.100.2', v6: '2001:db8:2::2' }
/** On the second wire. */
export const SIDE = { v4: '198.18.0.100', v6: '2001:db8:3::100' }
export const vip = (n: number) => ({ v4: `203.0.113.${n}`, v6: `2001:db8:f::${n}` })
export const nodeAddress = (node: NodeName) => ({ v4: `192.0.2.1${node[1]}`, v6: `2001:db8::1${node[1]}` })
export const sideAddress = (node: NodeName) => ({ v4: `198.18.0.1${node[1]}`, v6: `2001:db8:3::1${node[1]}` })
const podAddress = (node: NodeName) => ({ v4: `10.244.${node[1]}.11`, v6: `fd00:244:${node[1]}::11` })
const VIPS = { v4: '203.0.113.0/24', v6: '2001:db8:f::/64' }
/** Addresses that the client may bind besides its own. */
export const clientAlias = (n: number) => ({ v4: `192.0.2.${100 + n}`, v6: `2001:db8::1:${n}` })
export const ALIASES = 12

/** A shell script of `ip` lines is ten times faster than a process each from here. */
export function buildTopology(): void {
  const lines = [
    'set -e',
    'ip link set lo up',
    'for b in br0 br1; do ip link add $b type bridge forward_delay 0 mcast_snooping 0; ip link set $b up; done',
  ]
  const namespace = (name: string) =>
    lines.push(
      `ip netns add ${name}`,
      `ip -n ${name} link set lo up`,
      `ip netns exec ${name} sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0`,
    )
  const plug = (name: string, device: string, bridge: string, at: { v4: string; v6: string }) =>
    lines.push(
      `ip link add ${device}-${name} type veth peer name ${device} netns ${name}`,
      `ip link set ${device}-${name} master ${bridge} up`,
      `ip -n ${name} link set ${device} up`,
      `ip -n ${name} addr add ${at.v4}/24 dev ${device}`,
      `ip -n ${name} addr add ${at.v6}/64 dev ${device} nodad`,
    )
  const forward = (name: string) =>
    lines.push(`ip netns exec ${name} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
  const route = (name: string, to: string, via: { v4: string; v6: string }, version: Version) =>
    lines.push(`ip -n ${name} ${version === 'v6' ? '-6 ' : ''}route add ${to} via ${via[version]}`)

  namespace('client')
  plug('client', 'eth0', 'br0', CLIENT)
  for (let n = 1; n <= ALIASES; n++) {
    lines.push(
      `ip -n client addr add ${clientAlias(n).v4}/24 dev eth0`,
      // Deprecated: not chosen as a source by itself.
      `ip -n client addr add ${clientAlias(n).v6}/64 dev eth0 nodad preferred_lft 0`,
    )
  }
  namespace('router')
  forward('router')
  plug('router', 'eth0', 'br0', ROUTER)
  namespace('far')
  lines.push(
    'ip -n router link add far type veth peer name eth0 netns far',
    'ip -n router link set far mtu 1300 up',
    'ip -n router addr add 198.51.100.1/24 dev far',
    'ip -n router addr add 2001:db8:2::1/64 dev far nodad',
    'ip -n far link set eth0 up',
    `ip -n far addr add ${FAR.v4}/24 dev eth0`,
    `ip -n far addr add ${FAR.v6}/64 dev eth0 nodad`,
    'ip -n far route add default via 198.51.100.1',
    'ip -n far -6 route add default via 2001:db8:2::1',
  )
  namespace('side')
  plug('side', 'eth1', 'br1', SIDE)
  for (const node of NODES) {
    namespace(node)
    forward(node)
    plug(node, 'eth0', 'br0', nodeAddress(node))
    plug(node, 'eth1', 'br1', sideAddress(node))
    lines.push(
      `ip -n ${node} route add 198.51.100.0/24 via ${ROUTER.v4}`,
      `ip -n ${node} -6 route add 2001:db8:2::/64 via ${ROUTER.v6}`,
    )
    const pod = `p${node[1]}`
    const at = podAddress(node)
    namespace(pod)
    lines.push(
      `ip -n ${node} link add ${pod} type veth peer name eth0 netns ${pod}`,
      `ip -n ${node} link set ${pod} up`,
      `ip -n ${node} addr add 169.254.1.1/32 scope link dev ${pod}`,
      `ip -n ${node} addr add fe80::1/64 dev ${pod} nodad`,
      `ip -n ${node} route add ${at.v4}/32 dev ${pod}`,
      `ip -n ${node} -6 route add ${at.v6}/128 dev ${pod}`,
      `ip -n ${pod} link set eth0 up`,
      `ip -n ${pod} addr add ${at.v4}/32 dev eth0`,
      `ip -n ${pod} addr add ${at.v6}/128 dev eth0 nodad`,
      `ip -n ${pod} route add 169.254.1.1 dev eth0`,
      `ip -n ${pod} route add default via 169.254.1.1`,
      `ip -n ${pod} -6 route add default via fe80::1 dev eth0`,
    )
  }
  for (const version of ['v4', 'v6'] as const) {
    for (const name of ['client', 'router']) route(name, VIPS[version], nodeAddress('n1'), version)
    route('side', VIPS[version], sideAddress('n1'), version)
  }
  run('sh', '-c', lines.join('\n'))
}

/** Where the client and the router find Service addresses from now on: as when another node answers for them. */
export function enterAt(node: NodeName): void {
  const { v4, v6 } = nodeAddress(node)
  const lines = ['client', 'router'].flatMap(name => [
    `ip -n ${name} route replace ${VIPS.v4} via ${v4}`,
    `ip -n ${name} -6 route replace ${VIPS.v6} via ${v6}`,
  ])
  run('sh', '-ec', lines.join('\n'))
}

export const plugOut = (node: NodeName) => run('ip', 'link', 'set', `eth0-${node}`, 'down')
export const plugIn = (node: NodeName) => run('ip', 'link', 'set', `eth0-${node}`, 'up')

const children = new Set<ChildProcess>()

export function stopChildren(): void {
  for (const child of children) child.kill('SIGKILL')
}

function start(namespace: string, script: string, ...args: string[]): ChildProcess {
  const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, '-e', script, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.add(child)
  child.on('exit', () => children.delete(child))
  return child
}

async function answer(namespace: string, script: string, ...args: string[]): Promise<unknown> {
  const child = start(namespace, script, ...args)
  let text = ''
  child.stdout?.on('data', data => {
    text += String(data)
  })
  await once(child, 'close')
  return JSON.parse(text)
}

/**
 * 8080, TCP: a line "name client", then everything comes back. 8080, UDP: "name client length" and then what came. 8081, TCP: a line, then
 * as many bytes as asked for in a line.
 */
const SERVER = `
const name = process.argv[1]
const seen = address => name + ' ' + address.replace(/^::ffff:/, '')
const net = require('node:net')
const echo = net.createServer(socket => {
  socket.on('error', () => {})
  socket.write(seen(socket.remoteAddress) + '\\n')
  socket.pipe(socket)
})
const send = net.createServer(socket => {
  socket.on('error', () => {})
  socket.once('data', data => {
    socket.write(seen(socket.remoteAddress) + '\\n')
    socket.end(Buffer.alloc(Number(data), 'x'))
  })
})
const udp = require('node:dgram').createSocket('udp6')
udp.on('message', (message, from) => {
  udp.send(Buffer.concat([Buffer.from(seen(from.address) + ' ' + message.length + ' '), message]), from.port, from.address)
})
echo.listen(8080, '::', 1024, () => send.listen(8081, '::', () => udp.bind(8080, '::', () => console.log('ready'))))
`

export async function startPods(): Promise<void> {
  await Promise.all(
    (['p1', 'p2', 'p3'] as const).map(async pod => {
      const child = start(pod, SERVER, pod)
      if (child.stdout !== null) await once(child.stdout, 'data')
    }),
  )
}

/** One flow: which pod and which client address that saw, blocks that came back unaltered, what went wrong. */
export type Flow = { pod: string; seen: string; blocks: number; problem: string }

/**
 * argv: address, port, count. Each connection sends a block of random bytes, waits for it to come back, compares, pauses, and again.
 * A line in: a report of all. An empty file: ends.
 */
const FLOWS = `
const [host, port, count] = process.argv.slice(1)
const { randomBytes } = require('node:crypto')
const flows = Array.from({ length: Number(count) }, () => {
  const flow = { pod: '', seen: '', blocks: 0, problem: '' }
  let held = Buffer.alloc(0), block
  const socket = require('node:net').connect({ host, port: Number(port) })
  const next = () => socket.write(block = randomBytes(1200))
  socket.on('error', error => { flow.problem ||= error.code })
  socket.on('close', () => { flow.problem ||= 'closed' })
  socket.on('data', data => {
    held = Buffer.concat([held, data])
    if (flow.pod === '') {
      const end = held.indexOf(10)
      if (end < 0) return
      ;[flow.pod, flow.seen] = held.subarray(0, end).toString().split(' ')
      held = held.subarray(end + 1)
      next()
    }
    if (held.length < 1200 || !block) return
    if (!held.equals(block)) flow.problem ||= 'altered'
    held = Buffer.alloc(0)
    block = undefined
    flow.blocks++
    setTimeout(next, 20)
  })
  return flow
})
require('node:readline').createInterface({ input: process.stdin })
  .on('line', () => console.log(JSON.stringify(flows)))
  .on('close', () => process.exit())
`

export type Flows = { report(): Promise<Flow[]>; end(): void }

export function flows(from: string, to: string, count: number, port = 80): Flows {
  const child = start(from, FLOWS, to, String(port), String(count))
  if (child.stdout === null) throw new Error('no output')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    report: async () => {
      child.stdin?.write('\n')
      return JSON.parse(String((await lines.next()).value)) as Flow[]
    },
    end: () => child.stdin?.end(),
  }
}

/** argv: address, port, count. The first line of each connection, or what went wrong with it. */
const CONNECT = `
const [host, port, count] = process.argv.slice(1)
const one = () => new Promise(resolve => {
  const socket = require('node:net').connect({ host, port: Number(port) })
  const done = value => { clearTimeout(timer); socket.destroy(); resolve(value) }
  const timer = setTimeout(() => done('TIMEOUT'), 2500)
  socket.on('data', data => done(String(data).split('\\n')[0])).on('error', error => done(error.code))
})
Promise.all(Array.from({ length: Number(count) }, one)).then(all => console.log(JSON.stringify(all)))
`

/** 'pod client' for each of some connections, all at once. */
export async function connect(from: string, to: string, count: number, port = 80): Promise<string[]> {
  return (await answer(from, CONNECT, to, String(port), String(count))) as string[]
}

/** argv: address, port, length of the datagrams, source addresses. Two from each, one socket for each. */
const DATAGRAMS = `
const [host, port, length, ...sources] = process.argv.slice(1)
const results = []
const sockets = sources.map((source, i) => {
  const socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4')
  socket.on('message', message => {
    const [pod, seen, size] = message.subarray(0, 100).toString('latin1').split(' ')
    const body = message.subarray(pod.length + seen.length + size.length + 3)
    const whole = body.length === Number(length) && body.every(byte => byte === 97 + i)
    results.push([source, pod, seen, whole].join(' '))
    if (results.length === sources.length * 2) finish()
  })
  socket.bind(0, source, () => {
    for (let n = 0; n < 2; n++) socket.send(Buffer.alloc(Number(length), 97 + i), Number(port), host)
  })
})
setTimeout(finish, 4000)
function finish() { console.log(JSON.stringify(results)); process.exit() }
`

/** 'source pod seen whole' for each answer that came. */
export async function datagrams(
  from: string,
  to: string,
  length: number,
  sources: readonly string[],
): Promise<string[]> {
  return (await answer(from, DATAGRAMS, to, '80', String(length), ...sources)) as string[]
}

/** argv: address, bytes, count, patience. 'pod bytes' of downloads one after the other on new connections. */
const DOWNLOAD = `
const [host, bytes, count, patience] = process.argv.slice(1)
const one = () => new Promise(resolve => {
  let got = 0, pod = ''
  const socket = require('node:net').connect({ host, port: 81 }, () => socket.write(bytes))
  const done = () => { clearTimeout(timer); socket.destroy(); resolve(pod + ' ' + got) }
  const timer = setTimeout(done, Number(patience))
  socket.on('data', data => {
    got += data.length
    if (pod === '') {
      const line = String(data).split('\\n')[0]
      pod = line.split(' ')[0]
      got -= line.length + 1
    }
  }).on('end', done).on('error', done)
})
Promise.all(Array.from({ length: Number(count) }, one)).then(all => console.log(JSON.stringify(all)))
`

export async function downloads(
  from: string,
  to: string,
  bytes: number,
  count: number,
  patienceMs: number,
): Promise<string[]> {
  return (await answer(from, DOWNLOAD, to, String(bytes), String(count), String(patienceMs))) as string[]
}

/** nft in the namespace of one node; remembers what it was given. */
export class NodeNft implements Nft {
  readonly transactions: string[] = []
  readonly #nft: Nft

  constructor(node: string) {
    this.#nft = createNft({ netns: node })
  }

  async apply(transaction: string): Promise<void> {
    this.transactions.push(transaction)
    await this.#nft.apply(transaction)
  }

  listTable(family: 'netdev', name: string, options?: ListTableOptions): Promise<string | undefined> {
    return this.#nft.listTable(family, name, options)
  }
}

export type LabNode = { proxy: ServiceProxy; steering: FlowSteering; nft: NodeNft; log: FakeLog }

export function labNode(node: NodeName): LabNode {
  const log = new FakeLog()
  const conntrack = new ConntrackTool(['ip', 'netns', 'exec', node])
  return {
    ...newSteering(node),
    proxy: new ServiceProxy({ nft: createNft({ netns: node }), conntrack, clock, log }),
  }
}

export function newSteering(node: NodeName): Omit<LabNode, 'proxy'> {
  const nft = new NodeNft(node)
  const log = new FakeLog()
  return { nft, log, steering: new FlowSteering({ nft, clock, log }) }
}

/** The Service number n: TCP and UDP on 80, and 81 of TCP, under Local, served by the pods of these nodes. */
export function proxyService(n: number, nodes: readonly NodeName[]): ProxyService {
  const { v4, v6 } = vip(n)
  const port = (protocol: 'TCP' | 'UDP', number: number, target: number) => ({
    name: `${protocol.toLowerCase()}-${number}`,
    protocol,
    port: number,
    endpoints: nodes.flatMap(node =>
      Object.values(podAddress(node)).map(address => ({
        ip: ip(address),
        port: target,
        node,
        ready: true,
        serving: true,
        terminating: false,
      })),
    ),
  })
  return {
    key: `test/s${n}`,
    clusterIps: [ip(`10.96.0.${n}`), ip(`fd00:96::${n}`)],
    externalIps: [ip(v4), ip(v6)],
    ports: [port('TCP', 80, 8080), port('UDP', 80, 8080), port('TCP', 81, 8081)],
    externalTrafficPolicy: 'Local',
    internalTrafficPolicy: 'Cluster',
  }
}

export function steeredService(
  n: number,
  weights: Readonly<Partial<Record<NodeName, number>>>,
  affinity: 'flow' | 'client' = 'flow',
): SteeredService {
  const { v4, v6 } = vip(n)
  return {
    service: `test/s${n}`,
    vips: [ip(v4), ip(v6)],
    ports: [
      { protocol: 'TCP', port: 80 },
      { protocol: 'UDP', port: 80 },
      { protocol: 'SCTP', port: 80 },
      { protocol: 'TCP', port: 81 },
    ],
    affinity,
    weights: new Map(Object.entries(weights)),
    slots: 1009,
  }
}

export function inputOf(
  self: NodeName,
  services: readonly SteeredService[],
  more: { dead?: readonly NodeName[]; devices?: readonly string[]; macs?: boolean } = {},
): SteeringInput {
  const { dead = [], devices = ['eth0', 'eth1'], macs = false } = more
  const nodes = NODES.map((node): [string, SteeringNode] => {
    const { v4, v6 } = nodeAddress(node)
    const known = macs ? { macs: [macOf(node)] } : {}
    return [node, { ip: ip(v4) as Ipv4, ip6: ip(v6) as Ipv6, ...known }]
  })
  return {
    self,
    interfaces: devices.map(device => interfaceOf(self, device)),
    nodes: new Map(nodes),
    services,
    dead: new Set(dead),
  }
}

function macOf(node: NodeName) {
  return inside(node, 'cat', '/sys/class/net/eth0/address').trim() as NonNullable<
    SteeringNode['macs']
  >[number]
}

const SUBNETS: Readonly<Record<string, readonly string[]>> = {
  eth0: ['192.0.2.0/24', '2001:db8::/64'],
  eth1: ['198.18.0.0/24', '2001:db8:3::/64'],
}

function interfaceOf(node: NodeName, name: string): SteeringInterface {
  const index = Number(inside(node, 'cat', `/sys/class/net/${name}/ifindex`))
  return { name, index, prefixes: (SUBNETS[name] ?? []).map(prefix) }
}
