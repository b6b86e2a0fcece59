import { createInterface } from 'node:readline'
import { isIpv4, parseIpv4 } from '../../addr/ip.ts'
import { openLinks } from '../../sys/links.ts'
import { LinuxPacketSockets } from '../../sys/packet-sockets.ts'
import { arpRequest, decodeArpFrame, encodeArpFrame } from '../../wire/arp.ts'
import { Runs, type Span } from './answers.ts'
import { monotonicMs } from './probe.ts'
import type { WatchLine, WatchTask } from './watch.ts'

// Asks who has the addresses, on eth0 of the host that it runs on, and notes who says that it has them.
/** A tick later than this is a stall: timers of a healthy process are within about 2 ms. */
const STALL_AFTER_MS = 5
const LISTEN_TICK_MS = 5

const { ips, everyMs } = JSON.parse(process.argv[2] ?? '') as WatchTask
const links = await openLinks()
const link = [...links.current().values()].find(({ name }) => name === 'eth0')
links.close()
if (link?.mac === undefined) throw new Error('there is no eth0 here')
const { index: interfaceIndex, mac, addresses } = link
const own = addresses.map(({ ip }) => ip).find(isIpv4)
if (own === undefined) throw new Error('eth0 has no IPv4 address to ask from')
const heard = new Map<string, Runs>(ips.map(ip => [ip, new Runs()]))
const questions = ips.map(text => {
  const ip = parseIpv4(text)
  if (ip === undefined) throw new Error(`${text} is no IPv4 address`)
  return encodeArpFrame(arpRequest({ mac, ip: own }, ip))
})
let stalls: Span[] = []

const socket = new LinuxPacketSockets().open({
  interfaceIndex,
  protocol: 'arp',
  onFrame(frame) {
    const { arp } = decodeArpFrame(frame)
    heard.get(arp.senderIp)?.add(arp.senderMac, monotonicMs())
  },
  onError: error => {
    throw error
  },
})

const tickMs = everyMs === 0 ? LISTEN_TICK_MS : everyMs
let lastTick = monotonicMs()
function tick(): void {
  const now = monotonicMs()
  if (now - lastTick > tickMs + STALL_AFTER_MS) stalls.push({ fromMs: lastTick, toMs: now })
  lastTick = now
  if (everyMs > 0) for (const question of questions) socket.send(question)
  setTimeout(tick, tickMs)
}
tick()

function say(line: WatchLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

say({ type: 'started' })
for await (const _ of createInterface({ input: process.stdin })) {
  const all = [...heard].map(([ip, runs]) => [ip, runs.take()] as const).filter(([, runs]) => runs.length > 0)
  say({ type: 'report', heard: Object.fromEntries(all), stalls })
  stalls = []
}
process.exit(0)
