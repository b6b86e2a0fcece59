import { createInterface } from 'node:readline'
import { type Ip, isIpv4, isIpv6, parseIp } from '../../src/addr/ip.ts'
import type { FrameHandler, PacketSocket } from '../../src/ports/packet-socket.ts'
import { openLinks } from '../../src/sys/links.ts'
import { LinuxPacketSockets } from '../../src/sys/packet-sockets.ts'
import { arpRequest, encodeArpFrame } from '../../src/wire/arp.ts'
import { encodeNdFrame, neighborSolicitation } from '../../src/wire/nd.ts'
import { isAnswer } from './answer.ts'
import type { Outcome, Task } from './messages.ts'

// Asks who has an address, over packet sockets of its own, on eth0 of the host that it runs on.
const LOST_AFTER_MS = 1000

const links = await openLinks()
const link = [...links.current().values()].find(({ name }) => name === 'eth0')
if (link?.mac === undefined) throw new Error('there is no eth0 here')
const { index: interfaceIndex, mac, addresses } = link
const own4 = addresses.map(({ ip }) => ip).find(isIpv4)
const own6 = addresses.map(({ ip }) => ip).find(ip => isIpv6(ip) && !ip.startsWith('fe80:'))

let onFrame: FrameHandler = () => {}
const sockets = new LinuxPacketSockets()
const open = (protocol: 'arp' | 'nd'): PacketSocket =>
  sockets.open({
    interfaceIndex,
    protocol,
    onFrame: (frame, kind) => onFrame(frame, kind),
    onError: error => {
      throw error
    },
  })
const arp = open('arp')
const nd = open('nd')

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await ask(JSON.parse(line) as Task))}\n`)
}
process.exit(0)

function question(target: Ip): Uint8Array {
  if (isIpv4(target)) {
    if (own4 === undefined) throw new Error('eth0 has no IPv4 address to ask from')
    return encodeArpFrame(arpRequest({ mac, ip: own4 }, target))
  }
  if (own6 === undefined || !isIpv6(own6) || !isIpv6(target)) {
    throw new Error('eth0 has no IPv6 address to ask from')
  }
  return encodeNdFrame(neighborSolicitation({ mac, ip: own6 }, target))
}

function ask({ target: text, requests, outstanding }: Task): Promise<Outcome> {
  const target = parseIp(text)
  if (target === undefined) throw new Error(`${text} is no address`)
  const frame = question(target)
  const answered = isAnswer(target)
  const socket = isIpv4(target) ? arp : nd
  const latenciesUs: number[] = []
  let sent = 0
  let open = 0
  let lost = 0
  let lastSentAt = 0n
  let lastHeardAt = process.hrtime.bigint()
  const startedAt = lastHeardAt
  return new Promise(resolve => {
    const fill = (): void => {
      for (; open < outstanding && sent < requests; open++, sent++) {
        lastSentAt = process.hrtime.bigint()
        socket.send(frame)
      }
      if (open > 0) return
      clearInterval(watch)
      onFrame = () => {}
      resolve({ elapsedMs: Number(lastHeardAt - startedAt) / 1e6, latenciesUs, lost })
    }
    onFrame = heard => {
      if (open === 0 || !answered(heard)) return
      lastHeardAt = process.hrtime.bigint()
      if (outstanding === 1) latenciesUs.push(Math.round(Number(lastHeardAt - lastSentAt) / 100) / 10)
      open--
      fill()
    }
    const watch = setInterval(() => {
      const silentMs =
        Number(process.hrtime.bigint() - (lastHeardAt > lastSentAt ? lastHeardAt : lastSentAt)) / 1e6
      if (silentMs < LOST_AFTER_MS) return
      lost += open
      open = 0
      fill()
    }, 100)
    fill()
  })
}
