import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Ipv4, parseIp } from '../src/addr/ip.ts'
import { parsePrefix } from '../src/addr/prefix.ts'
import { FlowSteering } from '../src/dataplane/flow-steering.ts'
import type { SteeredService, SteeringInput } from '../src/dataplane/steering.ts'
import { FakeLog } from '../src/ports/log.ts'
import type { Nft } from '../src/ports/nft.ts'
import { SystemClock } from '../src/sys/clock.ts'
import { createNft } from '../src/sys/nft.ts'
import type { Bench, Scope, Subject } from './frame.ts'

const IPERF_SECONDS = 2
const CONNECT_MS = 2000
const CONNECT_AT_ONCE = 32
const SERVICES = [1, 10] as const

/**
 * A client, the node that packets come in at, and the node with the endpoint, on one bridge. Steered: the client's route leads to the
 * first, which hands on. Unsteered: it leads to the second. The endpoint's node has the addresses itself: the service proxy, the same
 * either way, is left out.
 */
export const bench: Bench = {
  title: 'flow steering: what the extra hop costs, and how long a change takes',
  runs: 5,
  warmUp: 1,
  async open(scope) {
    if (process.getuid?.() !== 0) return [missing('must be root to make network namespaces')]
    const rig = await buildRig(scope)
    const iperf = hasProgram('iperf3')
    if (iperf) await startServer(scope, rig.endpoint, ['iperf3', '-s', '--forceflush'], /Server listening/)
    await startServer(scope, rig.endpoint, [process.execPath, '-e', ACCEPT], /ready/)
    return [
      traffic('lodestone', rig.client, STEERED, iperf),
      traffic('unsteered', rig.client, DIRECT, iperf),
      ...SERVICES.map(count => changes(rig.spare, count)),
    ]
  },
}

const STEERED = '203.0.113.1'
const DIRECT = '203.0.113.2'
const NODES = ['entry', 'endpoint', 'third'] as const
const addressOf = (node: (typeof NODES)[number]) => `192.0.2.1${NODES.indexOf(node)}`

function missing(why: string): Subject {
  return { subject: 'lodestone', cases: { steering: 'ms' }, missing: why, run: () => Promise.resolve({}) }
}

function hasProgram(name: string): boolean {
  try {
    execFileSync(name, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

type Rig = { readonly client: string; readonly endpoint: string; readonly spare: string }

async function buildRig(scope: Scope): Promise<Rig> {
  const name = (part: string) => `ldsteer${process.pid}${part}`
  const [wire, client, entry, endpoint, spare] = ['w', 'c', 'n', 'e', 's'].map(name) as [
    string,
    string,
    string,
    string,
    string,
  ]
  const all = [wire, client, entry, endpoint, spare]
  scope.defer(() => {
    for (const namespace of all) execFileSync('ip', ['netns', 'delete', namespace], { stdio: 'ignore' })
  })
  const hosts = [
    [client, '192.0.2.100'],
    [entry, addressOf('entry')],
    [endpoint, addressOf('endpoint')],
    [spare, '192.0.2.99'],
  ] as const
  const script = [
    ...all.flatMap(namespace => [`ip netns add ${namespace}`, `ip -n ${namespace} link set lo up`]),
    `ip -n ${wire} link add br0 type bridge forward_delay 0`,
    `ip -n ${wire} link set br0 up`,
    ...hosts.flatMap(([namespace, address], i) => [
      `ip -n ${wire} link add port${i} type veth peer name eth0 netns ${namespace}`,
      `ip -n ${wire} link set port${i} master br0 up`,
      `ip -n ${namespace} link set eth0 up`,
      `ip -n ${namespace} addr add ${address}/24 dev eth0`,
    ]),
    `ip -n ${endpoint} addr add ${STEERED}/32 dev lo`,
    `ip -n ${endpoint} addr add ${DIRECT}/32 dev lo`,
    `ip -n ${client} route add ${STEERED} via ${addressOf('entry')}`,
    `ip -n ${client} route add ${DIRECT} via ${addressOf('endpoint')}`,
  ]
  execFileSync('sh', ['-ec', script.join('\n')])
  const steering = createSteering(createNft({ netns: entry }))
  steering.update(inputOf(entry, 'entry', [service(1, { endpoint: 1 })]))
  await steering.settled()
  scope.defer(() => steering.close({ remove: false }))
  return { client, endpoint, spare }
}

function createSteering(nft: Nft): FlowSteering {
  return new FlowSteering({ nft, clock: new SystemClock(), log: new FakeLog() })
}

function service(n: number, weights: Readonly<Record<string, number>>): SteeredService {
  const vip = parseIp(n < 256 ? `203.0.113.${n}` : '203.0.113.255')
  if (vip === undefined) throw new Error(`no address for Service ${n}`)
  return {
    service: `bench/s${n}`,
    vips: [vip],
    ports: [
      { protocol: 'TCP', port: 5201 },
      { protocol: 'TCP', port: 8080 },
    ],
    affinity: 'flow',
    weights: new Map(Object.entries(weights)),
  }
}

function inputOf(
  namespace: string,
  self: string,
  services: readonly SteeredService[],
  dead: readonly string[] = [],
): SteeringInput {
  const index = execFileSync('ip', ['netns', 'exec', namespace, 'cat', '/sys/class/net/eth0/ifindex'])
  const prefix = parsePrefix('192.0.2.0/24')
  return {
    self,
    interfaces: [{ name: 'eth0', index: Number(index), prefixes: prefix === undefined ? [] : [prefix] }],
    nodes: new Map(NODES.map(node => [node, { ip: addressOf(node) as Ipv4 }])),
    services,
    dead: new Set(dead),
  }
}

async function startServer(
  scope: Scope,
  namespace: string,
  command: readonly string[],
  ready: RegExp,
): Promise<void> {
  const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, '--', ...command], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  scope.defer(async () => {
    child.kill()
    await ended
  })
  let said = ''
  while (!ready.test(said)) said += String((await once(child.stdout, 'data'))[0])
}

const ACCEPT = `
require('node:net').createServer(socket => {
  socket.on('error', () => {})
  socket.end('x')
}).listen(8080, '::', 1024, () => console.log('ready'))
`

/** argv: address, milliseconds, connections at once. Prints how many were opened, answered and closed in a second. */
const CONNECT = `
const [host, ms, atOnce] = process.argv.slice(1).map((text, i) => i === 0 ? text : Number(text))
const end = performance.now() + ms
const start = performance.now()
let done = 0, failed = 0
const one = () => new Promise(resolve => {
  let answered = false
  require('node:net').connect({ host, port: 8080 })
    .on('data', () => { answered = true })
    .on('error', () => {})
    .on('close', () => { answered ? done++ : failed++; resolve() })
})
const work = async () => { while (performance.now() < end) await one() }
Promise.all(Array.from({ length: atOnce }, work)).then(() => {
  console.log(JSON.stringify({ rate: done / ((performance.now() - start) / 1000), failed }))
})
`

async function outputOf(namespace: string, command: readonly string[]): Promise<unknown> {
  const child: ChildProcess = spawn('nsenter', [`--net=/run/netns/${namespace}`, '--', ...command], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout?.setEncoding('utf8').on('data', (more: string) => {
    text += more
  })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}: ${text.slice(-500)}`)
  return JSON.parse(text)
}

/** What a client gets through one address. */
function traffic(name: string, client: string, address: string, iperf: boolean): Subject {
  const megabits = 'megabits, one TCP flow'
  const connections = 'TCP connections opened and closed'
  return {
    subject: name,
    cases: { ...(iperf ? { [megabits]: '1/s' as const } : {}), [connections]: '1/s' },
    async run() {
      const opened = (await outputOf(client, [
        process.execPath,
        '-e',
        CONNECT,
        address,
        String(CONNECT_MS),
        String(CONNECT_AT_ONCE),
      ])) as { rate: number; failed: number }
      // A connection that fails or waits for a packet to be sent again would spoil the rate without a word.
      if (opened.failed > 0) throw new Error(`${opened.failed} connections to ${address} failed`)
      if (!iperf) return { [connections]: opened.rate }
      const report = (await outputOf(client, [
        'iperf3',
        '-c',
        address,
        '-t',
        String(IPERF_SECONDS),
        '-J',
      ])) as {
        end: { sum_received: { bits_per_second: number } }
      }
      return { [megabits]: report.end.sum_received.bits_per_second / 1e6, [connections]: opened.rate }
    },
  }
}

/** What the kernel is told, on a node that carries nothing, for so many Services with endpoints on three nodes. */
function changes(namespace: string, count: number): Subject {
  const of = (what: string) => `${what}, ${count} ${count === 1 ? 'Service' : 'Services'}`
  const [install, adopt, death, whole] = [
    of('first installation'),
    of('adoption by the next process'),
    of('a node dies: nothing leads to it'),
    of('a node dies: tables rewritten'),
  ] as [string, string, string, string]
  return {
    subject: 'lodestone',
    cases: { [install]: 'ms', [adopt]: 'ms', [death]: 'ms', [whole]: 'ms' },
    async run() {
      const services = Array.from({ length: count }, (_, i) =>
        service(i + 1, { entry: 1, endpoint: 1, third: 1 }),
      )
      const alive = inputOf(namespace, 'entry', services)
      const nft = createNft({ netns: namespace })
      const timed = async (steering: FlowSteering, input: SteeringInput) => {
        const start = performance.now()
        steering.update(input)
        await steering.settled()
        return performance.now() - start
      }
      const first = createSteering(nft)
      const installMs = await timed(first, alive)
      await first.close({ remove: false })

      let firstDone = 0
      const steering = createSteering({
        apply: async transaction => {
          await nft.apply(transaction)
          firstDone ||= performance.now()
        },
        listTable: (family, name, options) => nft.listTable(family, name, options),
      })
      const adoptMs = await timed(steering, alive)
      firstDone = 0
      const start = performance.now()
      const wholeMs = await timed(steering, { ...alive, dead: new Set(['third']) })
      const deathMs = firstDone - start
      await steering.close({ remove: true })
      return { [install]: installMs, [adopt]: adoptMs, [death]: deathMs, [whole]: wholeMs }
    },
  }
}
