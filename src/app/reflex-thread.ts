import assert from 'node:assert/strict'
import { parentPort, workerData } from 'node:worker_threads'
import { type Ip, isIpv4, parseIp } from '../addr/ip.ts'
import { Reflex } from '../layer2/driver.ts'
import type { ReflexCommand, ReflexReport } from '../layer2/reflex.ts'
import type { LogLevel } from '../ports/log.ts'
import { SystemClock } from '../sys/clock.ts'
import { openLinks } from '../sys/links.ts'
import { createLog } from '../sys/log.ts'
import { MulticastGroups } from '../sys/multicast-groups.ts'
import { AF_PACKET, addon, SOCK_RAW, setRealtimeScheduling } from '../sys/native.ts'
import { LinuxPacketSockets } from '../sys/packet-sockets.ts'
import { openDatagram, type UdpSocket } from '../sys/udp.ts'

/** What the main thread hands to the reflex thread at its start. */
export type ReflexThreadData = {
  readonly self: string
  readonly epoch: number
  readonly intervalMs: number
  readonly misses: number
  readonly returnAfterMs: number
  readonly announceIntervalMs: number
  readonly witness: Ip | undefined
  readonly heartbeatPort: number
  /** Sources of regular expressions. */
  readonly excludedInterfaces: readonly string[]
  readonly logLevel: LogLevel
}

/** Low among the real-time ones: enough to go before every ordinary process. */
const REALTIME_PRIORITY = 10

const port = parentPort
assert(port !== null, 'the reflex thread is started by the speaker')
const data = workerData as ReflexThreadData
const log = createLog({ level: data.logLevel, always: { node: data.self, thread: 'reflex' } })
const report = (message: ReflexReport): void => port.postMessage(message)

// Before anything is promised to others: a speaker that may not answer must not be heard as alive.
checkPrivileges()
const refused = setRealtimeScheduling(REALTIME_PRIORITY)
if (refused !== undefined) report({ type: 'not-realtime', reason: refused })

let started: Reflex | undefined
/** One socket for each family; a host without IPv6 has only the first. */
const sockets = new Map<'IPv4' | 'IPv6', UdpSocket>()
for (const [family, any] of [
  ['IPv4', '0.0.0.0'],
  ['IPv6', '::'],
] as const) {
  const ip = parseIp(any)
  assert(ip !== undefined)
  try {
    const socket = openDatagram({
      ip,
      port: data.heartbeatPort,
      onDatagram: payload => started?.datagram(payload),
      onError: error => report({ type: 'failed', message: error.message }),
    })
    sockets.set(family, socket)
  } catch (error) {
    if (family === 'IPv4') throw error
    log.warn('no-ipv6-heartbeats', { error })
  }
}

const links = await openLinks()
const reflex = new Reflex(
  { ...data, excludedInterfaces: data.excludedInterfaces.map(source => new RegExp(source)) },
  {
    clock: new SystemClock(),
    log,
    links,
    packetSockets: new LinuxPacketSockets(),
    groups: new MulticastGroups(),
    sendHeartbeat: (payload: Uint8Array, to: Ip) =>
      sockets.get(isIpv4(to) ? 'IPv4' : 'IPv6')?.send(payload, { ip: to, port: data.heartbeatPort }),
    report,
  },
)
started = reflex
port.on('message', (command: ReflexCommand) => reflex.command(command))

/** @throws an error that names the capability which is missing (CAP_NET_RAW) */
function checkPrivileges(): void {
  const native = addon()
  native.close(native.open(AF_PACKET, SOCK_RAW, 0))
}
