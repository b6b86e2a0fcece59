import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { type Ip, parseIp } from '../../src/addr/ip.ts'
import {
  createMembership,
  type Event,
  type Membership,
  nextDeadline,
  standing,
  step,
} from '../../src/membership/machine.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { setRealtimeScheduling } from '../../src/sys/native.ts'
import { openDatagram } from '../../src/sys/udp.ts'
import { decodeHeartbeat, encodeHeartbeat, type Message } from '../../src/wire/heartbeat.ts'
import { DecodeError } from '../../src/wire/io.ts'
import type { MembershipTask, MembershipUsage } from './messages.ts'

// One speaker with the real machine, timers, datagrams and keys; and, in another process, all the others, who hand each other their
// messages as they are: the loopback and the codes of all pairs would take more than a machine has.
const { nodes, measured, role, port } = JSON.parse(process.argv[2] ?? '') as MembershipTask
const KEY = new Uint8Array(32).fill(7)
const OPTIONS = { intervalMs: 20, misses: 4, returnAfterMs: 1000 }
const REALTIME_PRIORITY = 10
const LOOPBACK = address('127.0.0.1')
const clock = new SystemClock()
const nameOf = (index: number): string => `node${index}`
const peers = Array.from({ length: nodes }, (_, i) => ({ name: nameOf(i), ip: address(`192.0.2.${i + 1}`) }))
const theirs = new Map(peers.map(({ name, ip }) => [ip, name]))

function address(text: string): Ip {
  const ip = parseIp(text)
  assert(ip !== undefined)
  return ip
}

/** A message that never leaves the process, where the machine expects bytes. */
type Sealed = { readonly message: Message }
const SEALING = {
  encode: (message: Message): Uint8Array => ({ message }) as unknown as Uint8Array,
  decode(bytes: Uint8Array): Message {
    const { message } = bytes as unknown as Partial<Sealed>
    if (message === undefined) throw new DecodeError('bad-checksum', 'message', 'benchmark', 'is not sealed')
    return message
  },
}

function run(m: Membership, send: (payload: Uint8Array, to: Ip) => void): (event: Event) => void {
  let cancel = (): void => {}
  let armedFor = Number.POSITIVE_INFINITY
  const arm = (): void => {
    cancel()
    armedFor = nextDeadline(m)
    if (armedFor === Number.POSITIVE_INFINITY) return
    cancel = clock.after(armedFor - clock.now(), () => {
      act({ type: 'tick', now: clock.now() })
      arm()
    })
  }
  const act = (event: Event): void => {
    for (const effect of step(m, event)) if (effect.type === 'send') send(effect.payload, effect.to)
    // A timer that fires too early finds nothing to do.
    if (nextDeadline(m) < armedFor) arm()
  }
  return act
}

function begin(act: (event: Event) => void): void {
  const now = clock.now()
  act({ type: 'key', key: KEY, now })
  act({ type: 'peers', peers, now })
}

const failed = (error: Error): never => {
  throw error
}

async function runMeasured(): Promise<void> {
  let sent = 0
  let received = 0
  const m = createMembership({ ...OPTIONS, self: nameOf(measured), epoch: Date.now() })
  const socket = openDatagram({
    ip: LOOPBACK,
    port,
    onDatagram(payload) {
      received++
      act({ type: 'datagram', payload, now: clock.now() })
    },
    onError: failed,
  })
  const act = run(m, payload => {
    sent++
    socket.send(payload, { ip: LOOPBACK, port: port + 1 })
  })
  begin(act)
  for await (const _ of createInterface({ input: process.stdin })) {
    const { user, system } = process.cpuUsage()
    const { entitled } = standing(m, clock.now())
    const usage: MembershipUsage = { cpuMs: (user + system) / 1000, sent, received, entitled }
    process.stdout.write(`${JSON.stringify(usage)}\n`)
  }
}

async function runCrowd(): Promise<void> {
  const acts = new Map<string, (event: Event) => void>()
  // Not at once: the sender is in the middle of its own step.
  const queue: (readonly [to: string, payload: Uint8Array])[] = []
  const drain = (): void => {
    const now = clock.now()
    for (const [to, payload] of queue.splice(0)) acts.get(to)?.({ type: 'datagram', payload, now })
  }
  const deliver = (to: string, payload: Uint8Array): void => {
    if (queue.push([to, payload]) === 1) setImmediate(drain)
  }
  const socket = openDatagram({
    ip: LOOPBACK,
    port: port + 1,
    onDatagram(payload) {
      const message = decodeHeartbeat(payload, KEY)
      // It looks into the buffer, which is valid now only.
      deliver(message.recipient, SEALING.encode(structuredClone(message)))
    },
    onError: failed,
  })
  for (const { name } of peers) {
    if (name === nameOf(measured)) continue
    const m = createMembership({ ...OPTIONS, self: name, epoch: Date.now() }, SEALING)
    const act = run(m, (payload, to) => {
      const recipient = theirs.get(to) ?? ''
      if (recipient !== nameOf(measured)) deliver(recipient, payload)
      else socket.send(encodeHeartbeat(SEALING.decode(payload), KEY), { ip: LOOPBACK, port })
    })
    acts.set(name, act)
  }
  for (const act of acts.values()) begin(act)
  for await (const _ of createInterface({ input: process.stdin })) process.stdout.write('{}\n')
}

// As the reflex thread of a speaker has it, where that is permitted; the crowd has only what is left.
if (role === 'measured') setRealtimeScheduling(REALTIME_PRIORITY)
await (role === 'measured' ? runMeasured : runCrowd)()
process.exit(0)
