// A stranger on the wire. Run inside a client's namespace with a task as JSON in its first argument; prints one JSON value.
import assert from 'node:assert/strict'
import { randomBytes, randomInt } from 'node:crypto'
import { type Ip, type Ipv4, isIpv4, parseIp } from '../../src/addr/ip.ts'
import { BROADCAST_MAC, type Mac } from '../../src/addr/mac.ts'
import type { FrameKind } from '../../src/ports/packet-socket.ts'
import { openLinks } from '../../src/sys/links.ts'
import { LinuxPacketSockets } from '../../src/sys/packet-sockets.ts'
import { openDatagram } from '../../src/sys/udp.ts'
import {
  arpRequest,
  decodeArpFrame,
  encodeArpFrame,
  gratuitousReply,
  gratuitousRequest,
} from '../../src/wire/arp.ts'
import { encodeHeartbeat } from '../../src/wire/heartbeat.ts'
import { encodeNdFrame, neighborSolicitation, unsolicitedAdvertisement } from '../../src/wire/nd.ts'

type Task =
  /** Frames that no decoder should like: cut short, too long, random bytes behind each type. */
  | {
      readonly type: 'garbage'
      readonly ips: readonly string[]
      readonly count: number
      readonly longest: number
    }
  /** ARP requests for the addresses, as many a second as asked for. */
  | { readonly type: 'flood'; readonly ips: readonly string[]; readonly rate: number; readonly forMs: number }
  /** Asks every `everyMs` and says which MACs answered, how often. */
  | { readonly type: 'ask'; readonly ip: string; readonly everyMs: number; readonly forMs: number }
  /** Says that it has the addresses itself. */
  | { readonly type: 'claim'; readonly ips: readonly string[]; readonly count: number }
  /** Asks in the name of a group. */
  | { readonly type: 'group-asker'; readonly ip: string; readonly count: number }
  /** Heartbeats with another key, in the name of a node, and such as leave. */
  | {
      readonly type: 'heartbeats'
      readonly from: string
      readonly to: string
      readonly ip: string
      readonly count: number
    }

const task = JSON.parse(process.argv[2] ?? '{}') as Task
const links = await openLinks()
const link = [...links.current().values()].find(each => each.name === 'eth0')
links.close()
assert.ok(link?.mac !== undefined)
const mac: Mac = link.mac
const own = link.addresses.find(address => isIpv4(address.ip))?.ip
assert.ok(own !== undefined && isIpv4(own))
const me = { mac, ip: own }
let heard: (frame: Uint8Array, kind: FrameKind) => void = () => {}
const socket = new LinuxPacketSockets().open({
  interfaceIndex: link.index,
  protocol: 'arp',
  onFrame: (frame, kind) => heard(frame, kind),
  onError: error => {
    throw error
  },
})

function ip(text: string): Ip {
  const parsed = parseIp(text)
  assert.ok(parsed !== undefined, text)
  return parsed
}

function ip4(text: string): Ipv4 {
  const parsed = ip(text)
  assert.ok(isIpv4(parsed))
  return parsed
}

function question(target: Ip): Uint8Array {
  if (isIpv4(target)) return encodeArpFrame(arpRequest(me, target))
  return encodeNdFrame(neighborSolicitation({ mac, ip: ip('2001:db8:0:1::eeee') as never }, target))
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

async function run(): Promise<unknown> {
  switch (task.type) {
    case 'garbage': {
      const frames: Uint8Array[] = []
      const headers = [Uint8Array.of(8, 6), Uint8Array.of(0x86, 0xdd), Uint8Array.of(0x81, 0, 0, 1, 8, 6)]
      for (let i = 0; i < task.count; i++) {
        const base = question(ip(task.ips[i % task.ips.length] ?? ''))
        switch (i % 4) {
          case 0:
            frames.push(base.subarray(0, randomInt(14, base.length)))
            break
          case 1:
            frames.push(Uint8Array.from([...base, ...randomBytes(task.longest - base.length)]))
            break
          case 2: {
            const header = headers[i % headers.length] ?? new Uint8Array()
            frames.push(
              Uint8Array.from([...base.subarray(0, 12), ...header, ...randomBytes(randomInt(0, 1400))]),
            )
            break
          }
          default: {
            const bent = Uint8Array.from(base)
            for (let n = 0; n < 3; n++) bent[randomInt(12, bent.length)] = randomInt(256)
            frames.push(bent)
          }
        }
      }
      let sent = 0
      for (let at = 0; at < frames.length; at += 256) {
        sent += socket.sendBatch(frames.slice(at, at + 256))
        await pause(1)
      }
      return { sent }
    }
    case 'flood': {
      const frames = task.ips.map(text => question(ip(text)))
      const batch = Array.from({ length: 512 }, (_, i) => frames[i % frames.length] ?? new Uint8Array())
      const start = performance.now()
      let sent = 0
      for (;;) {
        const elapsed = performance.now() - start
        if (elapsed >= task.forMs) return { sent, forMs: elapsed }
        while (sent < (elapsed * task.rate) / 1000) sent += Math.max(1, socket.sendBatch(batch))
        await pause(1)
      }
    }
    case 'ask': {
      const answers: Record<string, number> = {}
      const target = ip4(task.ip)
      let asked = 0
      let answered = 0
      let waiting = false
      heard = frame => {
        const { arp } = decodeArpFrame(frame)
        if (arp.operation !== 'reply' || arp.senderIp !== target || arp.targetIp === target) return
        answers[arp.senderMac] = (answers[arp.senderMac] ?? 0) + 1
        if (waiting) answered++
        waiting = false
      }
      const request = question(target)
      const end = performance.now() + task.forMs
      while (performance.now() < end) {
        socket.send(request)
        asked++
        waiting = true
        await pause(task.everyMs)
      }
      return { asked, answered, answers }
    }
    case 'claim': {
      for (let i = 0; i < task.count; i++) {
        for (const text of task.ips) {
          const target = ip(text)
          if (isIpv4(target)) {
            socket.send(encodeArpFrame(gratuitousRequest(mac, target)))
            socket.send(encodeArpFrame(gratuitousReply(mac, target)))
          } else socket.send(encodeNdFrame(unsolicitedAdvertisement(mac, target)))
        }
        await pause(20)
      }
      return {}
    }
    case 'group-asker': {
      let replies = 0
      const target = ip4(task.ip)
      heard = frame => {
        const { arp, ethernet } = decodeArpFrame(frame)
        if (arp.operation === 'reply' && ethernet.destination === BROADCAST_MAC && arp.targetIp !== target)
          replies++
      }
      const asked = arpRequest(me, target)
      const frame = encodeArpFrame({ ...asked, arp: { ...asked.arp, senderMac: BROADCAST_MAC } })
      for (let i = 0; i < task.count; i++) {
        socket.send(frame)
        await pause(2)
      }
      await pause(100)
      return { replies }
    }
    case 'heartbeats':
      break
  }
  const datagrams = openDatagram({
    ip: ip('0.0.0.0'),
    port: 0,
    onDatagram: () => {},
    onError: error => {
      throw error
    },
  })
  const now = Date.now()
  for (let i = 0; i < task.count; i++) {
    const beat = encodeHeartbeat(
      {
        kind: i % 2 === 0 ? 'leaving' : 'alive',
        sender: task.from,
        recipient: task.to,
        epoch: now + i,
        counter: 1,
        heardEpoch: now - i,
        heardCounter: i,
        round: 1,
        standing: true,
        quorate: true,
        granting: true,
        voting: true,
        wanted: true,
        intervalMs: 20,
        patienceMs: 80,
        promiseMs: 80,
        votedRound: i % 4,
        votes: new Uint8Array(),
      },
      Buffer.from('a key that is not theirs'),
    )
    const payload = i % 3 === 2 ? Uint8Array.from(randomBytes(randomInt(0, 1400))) : beat
    datagrams.send(payload, { ip: ip(task.ip), port: 7946 })
    if (i % 64 === 0) await pause(1)
  }
  datagrams.close()
  return {}
}

const result = await run()
socket.close()
process.stdout.write(JSON.stringify(result))
