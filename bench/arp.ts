import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Lab, startLab } from '../src/lab/lab.ts'
import { observe } from '../src/lab/scenarios/observer.ts'
import type { Outcome, Task } from './arp/messages.ts'
import type { Bench, Subject } from './frame.ts'
import { createEchoService, ECHO_SERVICE } from './support/echo-service.ts'

const NODE = 'node1'
const CLIENT = 'client1'
const LATENCY_REQUESTS = 3000
const RATE_REQUESTS = 20_000
const RATE_OUTSTANDING = 64
const SETTLE_WITHIN_MS = 30_000

const REQUESTER = fileURLToPath(new URL('arp/requester-main.js', import.meta.url))

/** The same client asks the same node for two of its addresses: one that the speaker answers for, and one that the kernel has. */
export const bench: Bench = {
  title: 'questions of ARP and neighbour discovery, answered by the speaker and by the kernel',
  runs: 5,
  warmUp: 1,
  async open(scope) {
    const { signal } = scope
    scope.progress('starting the lab')
    const lab = await startLab({ name: `bench-${process.pid}`, nodes: 1, ipv6: true, signal })
    scope.defer(() => lab.down())
    await createEchoService(lab, { replicas: 1, ipv6: true })
    const observer = await observe(lab)
    scope.defer(() => observer.close())
    await observer.settled({ withinMs: SETTLE_WITHIN_MS, signal })
    const { ips: shared } = await observer.service(ECHO_SERVICE)
    const own = (await lab.status()).nodes.find(node => node.name === NODE)?.ips ?? []
    const ask = startRequester(lab)
    const of = (ips: readonly string[], v6: boolean): string => {
      const ip = ips.find(each => each.includes(':') === v6)
      if (ip === undefined)
        throw new Error(`no ${v6 ? 'IPv6' : 'IPv4'} address among ${ips.join(', ') || 'none'}`)
      return ip
    }
    const pairs = [
      ['ARP', of(shared, false), of(own, false)],
      ['neighbour discovery', of(shared, true), of(own, true)],
    ] as const
    return pairs.flatMap(([protocol, speaker, kernel]) => [
      subject('lodestone', protocol, speaker, ask),
      subject('kernel', protocol, kernel, ask),
    ])
  },
}

type Ask = (task: Task) => Promise<Outcome>

function subject(name: string, protocol: string, target: string, ask: Ask): Subject {
  const latency = `${protocol}, one question at a time`
  const rate = `${protocol}, answers with ${RATE_OUTSTANDING} questions open`
  return {
    subject: name,
    cases: { [latency]: 'us', [rate]: '1/s' },
    async run() {
      const single = await ask({ target, requests: LATENCY_REQUESTS, outstanding: 1 })
      const many = await ask({ target, requests: RATE_REQUESTS, outstanding: RATE_OUTSTANDING })
      const lost = single.lost + many.lost
      // A question that waits a second for nothing would spoil the rate without a word.
      if (lost > 0)
        throw new Error(`${lost} questions for ${target} (${protocol}, ${name}) were not answered`)
      return {
        [latency]: single.latenciesUs,
        [rate]: Math.round(RATE_REQUESTS / (many.elapsedMs / 1000)),
      }
    },
  }
}

/** A process on the client that asks; it ends with the lab. */
function startRequester(lab: Lab): Ask {
  const child = lab.spawn(CLIENT, [process.execPath, REQUESTER], { stdio: 'pipe', detached: true })
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2000)
  })
  child.stdin?.on('error', () => {}) // It has ended: who waits for its answer is told.
  let waiting: { resolve: (outcome: Outcome) => void; reject: (error: Error) => void } | undefined
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on('line', line => waiting?.resolve(JSON.parse(line) as Outcome))
  }
  let over: Error | undefined
  const end = (why: string): void => {
    over ??= new Error(`the requester ended (${why}): ${errors.trim()}`)
    waiting?.reject(over)
  }
  child.on('error', error => end(error.message))
  child.on('close', (code, signal) => end(signal ?? `exit ${code}`))
  return task =>
    new Promise((resolve, reject) => {
      if (over !== undefined) {
        reject(over)
        return
      }
      waiting = { resolve, reject }
      child.stdin?.write(`${JSON.stringify(task)}\n`)
    })
}
