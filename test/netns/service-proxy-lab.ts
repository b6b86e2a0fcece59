// Two nodes with two pods each and a client on one wire, in network namespaces below the one that this process has for itself.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { parseIp } from '../../src/addr/ip.ts'
import { parsePrefix } from '../../src/addr/prefix.ts'
import { ServiceProxy } from '../../src/dataplane/proxy.ts'
import type { ProxyEndpoint, ProxyInput, ProxyService } from '../../src/dataplane/service.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { type Nft, NftError } from '../../src/ports/nft.ts'
import { ConntrackTool } from '../../src/sys/conntrack.ts'

export const ip = (text: string) => parseIp(text) ?? fail(text)
export const prefix = (text: string) => parsePrefix(text) ?? fail(text)
function fail(text: string): never {
  throw new Error(`not an address: ${text}`)
}

export type NodeName = 'n1' | 'n2'
export const NODES = ['n1', 'n2'] as const
export const PODS = ['p11', 'p12', 'p21', 'p22'] as const
export type PodName = (typeof PODS)[number]
export const CLIENT = { v4: '192.0.2.100', v6: '2001:db8::100' }
export const nodeAddress = (node: NodeName) => ({
  v4: `192.0.2.1${node[1]}`,
  v6: `2001:db8::1${node[1]}`,
})
export const nodeOf = (pod: PodName): NodeName => (pod[1] === '1' ? 'n1' : 'n2')
export const podAddress = (pod: PodName) => ({
  v4: `10.244.${pod[1]}.1${pod[2]}`,
  v6: `fd00:244:${pod[1]}::1${pod[2]}`,
})

export function run(...command: string[]): string {
  const [program = '', ...args] = command
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}
export const inside = (namespace: string, ...command: string[]) =>
  run('ip', 'netns', 'exec', namespace, ...command)

/** A shell script of `ip` lines is ten times faster than a process each from here. */
export function buildTopology(): void {
  const lines = [
    'set -e',
    'ip link set lo up',
    'ip link add br0 type bridge forward_delay 0',
    'ip link set br0 up',
  ]
  const host = (name: string, v4: string, v6: string) => {
    lines.push(
      `ip netns add ${name}`,
      `ip link add port-${name} type veth peer name eth0 netns ${name}`,
      `ip link set port-${name} master br0 up`,
      `ip -n ${name} link set lo up`,
      `ip netns exec ${name} sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0`,
      `ip -n ${name} link set eth0 up`,
      `ip -n ${name} addr add ${v4}/24 dev eth0`,
      `ip -n ${name} addr add ${v6}/64 dev eth0 nodad`,
    )
  }
  host('client', CLIENT.v4, CLIENT.v6)
  for (const node of NODES) {
    const { v4, v6 } = nodeAddress(node)
    host(node, v4, v6)
    lines.push(
      `ip netns exec ${node} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`,
      `ip netns exec ${node} sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0`,
      `ip -n ${node} route add default via ${CLIENT.v4}`,
      `ip -n ${node} -6 route add default via ${CLIENT.v6}`,
    )
    const other = nodeAddress(node === 'n1' ? 'n2' : 'n1')
    const n = node === 'n1' ? 2 : 1
    lines.push(`ip -n ${node} route add 10.244.${n}.0/24 via ${other.v4}`)
    lines.push(`ip -n ${node} -6 route add fd00:244:${n}::/64 via ${other.v6}`)
  }
  for (const pod of PODS) {
    const node = nodeOf(pod)
    const { v4, v6 } = podAddress(pod)
    lines.push(
      `ip netns add ${pod}`,
      `ip -n ${pod} link set lo up`,
      `ip -n ${node} link add ${pod} type veth peer name eth0 netns ${pod}`,
      `ip -n ${node} link set ${pod} up`,
      `ip -n ${node} addr add 169.254.1.1/32 scope link dev ${pod}`,
      `ip -n ${node} addr add fe80::1/64 dev ${pod} nodad`,
      `ip -n ${node} route add ${v4}/32 dev ${pod}`,
      `ip -n ${node} -6 route add ${v6}/128 dev ${pod}`,
      `ip -n ${pod} link set eth0 up`,
      `ip -n ${pod} addr add ${v4}/32 dev eth0`,
      `ip -n ${pod} addr add ${v6}/128 dev eth0 nodad`,
      `ip -n ${pod} route add 169.254.1.1 dev eth0`,
      `ip -n ${pod} route add default via 169.254.1.1`,
      `ip -n ${pod} -6 route add default via fe80::1 dev eth0`,
    )
  }
  // Service addresses are on no interface: the client finds them behind a node, as it would by the speaker's answer.
  lines.push(
    `ip -n client route add 203.0.113.0/24 via ${nodeAddress('n1').v4}`,
    `ip -n client -6 route add 2001:db8:f::/64 via ${nodeAddress('n1').v6}`,
  )
  run('sh', '-c', lines.join('\n'))
}

const children = new Set<ChildProcess>()

function start(namespace: string, script: string, ...args: string[]): ChildProcess {
  const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, '-e', script, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.add(child)
  child.on('exit', () => children.delete(child))
  return child
}

export function stopChildren(): void {
  for (const child of children) child.kill('SIGKILL')
}

/** Answers every connection and every datagram with its own name and the address it sees. */
const SERVER = `
const name = process.argv[1]
const seen = address => name + ' ' + address.replace(/^::ffff:/, '')
const tcp = require('node:net').createServer(socket => {
  socket.on('error', () => {})
  socket.end(seen(socket.remoteAddress))
})
const udp = require('node:dgram').createSocket('udp6')
udp.on('message', (message, from) => udp.send(message + ' ' + seen(from.address), from.port, from.address))
tcp.listen(8080, '::', () => udp.bind(8080, '::', () => console.log('ready')))
`

export async function startPods(): Promise<void> {
  await Promise.all(
    PODS.map(async pod => {
      const child = start(pod, SERVER, pod)
      if (child.stdout !== null) await once(child.stdout, 'data')
    }),
  )
}

/** argv: address, port, count, source ('' any). Prints what came back from each of `count` connections, eight at a time. */
const TCP_CLIENT = `
const [host, port, count, source] = process.argv.slice(1)
const one = () => new Promise(resolve => {
  let text = ''
  const socket = require('node:net').connect({ host, port: Number(port), ...(source ? { localAddress: source } : {}) })
  const timer = setTimeout(() => { socket.destroy(); resolve('TIMEOUT') }, 1500)
  const done = value => { clearTimeout(timer); resolve(value) }
  socket.on('data', data => { text += data }).on('end', () => done(text)).on('error', error => done(error.code))
})
let left = Number(count)
const results = []
const work = async () => { while (left-- > 0) results.push(await one()) }
Promise.all(Array.from({ length: 8 }, work)).then(() => console.log(JSON.stringify(results)))
`

/** argv: address, port. As TCP_CLIENT, one datagram on a connected socket. */
const UDP_CLIENT = `
const [host, port] = process.argv.slice(1)
const socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4')
const done = value => { console.log(JSON.stringify([value])); process.exit() }
socket.on('message', message => done(String(message).slice(2)))
socket.on('error', error => done(error.code))
setTimeout(() => done('TIMEOUT'), 1500)
socket.connect(Number(port), host, () => socket.send('x', () => setTimeout(() => socket.send('x', () => {}), 50)))
`

/** 'pod address' of each answer, or the name of the failure. */
export async function tcp(from: string, to: string, port: number, count = 1, source = ''): Promise<string[]> {
  return answers(start(from, TCP_CLIENT, to, String(port), String(count), source))
}

export async function udp(from: string, to: string, port: number): Promise<string> {
  return (await answers(start(from, UDP_CLIENT, to, String(port))))[0] ?? ''
}

async function answers(child: ChildProcess): Promise<string[]> {
  let text = ''
  child.stdout?.on('data', data => {
    text += String(data)
  })
  await once(child, 'close')
  return JSON.parse(text) as string[]
}

/** One UDP socket that stays: each line in is a datagram out, each answer a line. */
const UDP_TALKER = `
const [host, port] = process.argv.slice(1)
const socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4')
let waiting
socket.on('message', message => { clearTimeout(waiting); console.log(String(message).slice(2)) })
require('node:readline').createInterface({ input: process.stdin }).on('line', () => {
  waiting = setTimeout(() => console.log('TIMEOUT'), 1500)
  socket.send('x', Number(port), host)
})
`

export function talker(from: string, to: string, port: number): { say(): Promise<string>; end(): void } {
  const child = start(from, UDP_TALKER, to, String(port))
  if (child.stdout === null) throw new Error('no output')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    say: async () => {
      child.stdin?.write('\n')
      return String((await lines.next()).value)
    },
    end: () => child.kill(),
  }
}

/**
 * One datagram each millisecond until a line comes in, each tenth from a new socket, so that established and new flows are both on the
 * way. Prints how many were sent and answered.
 */
const UDP_STREAM = `
const [host, port] = process.argv.slice(1)
let sent = 0, socket
const answered = new Set()
const timer = setInterval(() => {
  if (sent % 10 === 0) {
    socket = require('node:dgram').createSocket('udp4')
    socket.on('message', message => answered.add(String(message).split(' ')[0]))
  }
  socket.send(String(sent++), Number(port), host)
  if (sent === 20) console.log('going')
}, 1)
process.stdin.once('data', () => {
  clearInterval(timer)
  const end = setTimeout(finish, 2000)
  const look = setInterval(() => answered.size === sent && finish(), 10)
  function finish() { clearTimeout(end); clearInterval(look); console.log(sent + ' ' + answered.size); process.exit() }
})
`

export async function stream(from: string, to: string, port: number, during: () => Promise<void>) {
  const child = start(from, UDP_STREAM, to, String(port))
  if (child.stdout === null) throw new Error('no output')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  await lines.next()
  await during()
  child.stdin?.write('\n')
  const [sent = 0, answered = 0] = String((await lines.next()).value)
    .split(' ')
    .map(Number)
  return { sent, answered }
}

/** nft in the namespace of one node, one process for each transaction. */
export class NodeNft implements Nft {
  readonly transactions: string[] = []
  readonly #node: NodeName

  constructor(node: NodeName) {
    this.#node = node
  }

  async apply(transaction: string): Promise<void> {
    this.transactions.push(transaction)
    const child = spawn('ip', ['netns', 'exec', this.#node, 'nft', '-f', '-'], {
      stdio: ['pipe', 'ignore', 'pipe'],
    })
    let said = ''
    child.stderr.on('data', data => {
      said += String(data)
    })
    child.stdin.end(transaction)
    const [code] = (await once(child, 'close')) as [number]
    if (code !== 0) throw new NftError('refused', said.slice(0, 2000))
  }

  listTable(family: string, name: string): Promise<string | undefined> {
    try {
      return Promise.resolve(inside(this.#node, 'nft', 'list', 'table', family, name))
    } catch {
      // nft says only in words that there is no such table.
      return Promise.resolve(undefined)
    }
  }
}

export const clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after: (delayMs: number, callback: () => void) => {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
}

export type NodeProxy = { proxy: ServiceProxy; nft: NodeNft; log: FakeLog }

export function nodeProxy(node: NodeName): NodeProxy {
  const nft = new NodeNft(node)
  const log = new FakeLog()
  const conntrack = new ConntrackTool(['ip', 'netns', 'exec', node])
  return { nft, log, proxy: new ServiceProxy({ nft, conntrack, clock, log }) }
}

export function inputOf(node: NodeName, services: readonly ProxyService[]): ProxyInput {
  const n = node[1]
  return {
    node,
    podPrefixes: [prefix(`10.244.${n}.0/24`), prefix(`fd00:244:${n}::/64`)],
    clusterPrefixes: [prefix('10.244.0.0/16'), prefix('fd00:244::/32')],
    nodeAddresses: Object.values(nodeAddress(node)).map(ip),
    services,
  }
}

/** Both addresses of these pods, ready, on the port that they serve. */
export function endpoints(pods: readonly PodName[], port = 8080): ProxyEndpoint[] {
  return pods.flatMap(pod =>
    Object.values(podAddress(pod)).map(address => ({
      ip: ip(address),
      port,
      node: nodeOf(pod),
      ready: true,
      serving: true,
      terminating: false,
    })),
  )
}

/** A Service number n with the addresses 10.96.0.n and fd00:96::n in the cluster, 203.0.113.n and 2001:db8:f::n outside, TCP and UDP on 80. */
export function service(
  n: number,
  pods: readonly PodName[],
  more: Partial<ProxyService> & { targetPort?: number; nodePort?: number } = {},
): ProxyService {
  const { targetPort, nodePort, ...rest } = more
  const port = (protocol: 'TCP' | 'UDP') => ({
    name: protocol.toLowerCase(),
    protocol,
    port: 80,
    ...(nodePort === undefined ? {} : { nodePort }),
    endpoints: endpoints(pods, targetPort),
  })
  return {
    key: `test/s${n}`,
    clusterIps: [ip(`10.96.0.${n}`), ip(`fd00:96::${n}`)],
    externalIps: [ip(`203.0.113.${n}`), ip(`2001:db8:f::${n}`)],
    ports: [port('TCP'), port('UDP')],
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ...rest,
  }
}
