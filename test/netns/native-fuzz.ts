// Calls every function of the addon with thousands of argument lists that make no sense, from a seed. Run by native-fuzz.test.ts in a
// process and namespace of its own: node native-fuzz.js SEED CALLS. What a call does: it returns or throws; it never ends the process.
import assert from 'node:assert/strict'
import { SeededRandom } from '../../src/ports/random.ts'
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  addon,
  type NativeSocket,
  SOCK_DGRAM,
  SOCK_RAW,
} from '../../src/sys/native.ts'

const seed = Number(process.argv[2])
const calls = Number(process.argv[3])
const random = new SeededRandom(seed)
const native = addon()
type AnyFunction = (...args: unknown[]) => unknown
const functions = Object.entries(native as unknown as Record<string, AnyFunction>)
assert.ok(functions.length >= 15)

function below(limit: number): number {
  return Math.floor(random.next() * limit)
}

function pick<T>(from: readonly T[]): T {
  return from[below(from.length)] as T
}

function detached(): Uint8Array {
  const bytes = new Uint8Array(64)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

function randomBytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, () => below(256))
}

/** A descriptor that is nobody's: with others the calls could harm the process by what they rightly do. */
const NO_DESCRIPTOR = 1_000_000

const sockets: NativeSocket[] = []
const kinds = [
  () => native.open(AF_INET, SOCK_DGRAM, 0),
  () => native.open(AF_INET6, SOCK_DGRAM, 0),
  () => native.open(AF_PACKET, SOCK_RAW, below(65536)),
  () => native.open(AF_NETLINK, SOCK_RAW, 0),
  () => native.open(AF_INET, SOCK_RAW, 1 + below(255)),
]
const held: ResizableBuffer[] = []

function socket(): NativeSocket {
  if (sockets.length < 30) sockets.push(pick(kinds)())
  return pick(sockets)
}

/** ES2024; Node.js 20 has it, the language level of this project does not. */
type ResizableBuffer = ArrayBuffer & { resize(length: number): void }
const Resizable = ArrayBuffer as unknown as new (
  length: number,
  options: { maxByteLength: number },
) => ResizableBuffer

/** Lent to receive() and taken away later. */
function lendable(): Uint8Array {
  const bytes = new Uint8Array(new Resizable(pick([0, 1, 64, 4096]), { maxByteLength: 8192 }))
  held.push(bytes.buffer)
  return bytes
}

const VALUES: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => pick([0, 1, 2, 3, 6, 8, 10, 16, 17, 25, 28, 41, 263]),
  () => pick([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, -0, 2 ** 31, 2 ** 32, 2 ** 53, -1e308]),
  () => below(2 ** 31),
  () => 10n,
  () => pick(['', 'lo', 'x'.repeat(10_000)]),
  () => Symbol('fuzz'),
  () => ({}),
  () => [],
  () => new Proxy({}, { get: () => assert.fail('no property is read') }),
  () => () => {},
  () => () => {
    throw new Error('from a callback')
  },
  () => randomBytes(below(200)),
  () => Buffer.from(randomBytes(28)),
  () => new Uint8Array(below(100_000)),
  () => new Uint8Array(new SharedArrayBuffer(64)),
  () => detached(),
  () => lendable(),
  () => new Int32Array(below(100)),
  () => new Uint32Array(below(100)),
  () => Uint32Array.from({ length: 5 }, () => below(50)),
  () => new Float64Array(8),
  () => new DataView(new ArrayBuffer(16)),
  () => new ArrayBuffer(16),
  () => socket(),
  () => socket(),
  () => NO_DESCRIPTOR,
]

/** Now and then arguments that come close, so that the calls get past the first check. */
const CLOSE: Record<string, () => unknown[]> = {
  receive: () => [socket(), lendable(), 1 + below(64), new Int32Array(below(64)), 1 + below(8), () => {}],
  send: () => [socket(), randomBytes(below(64)), pick([undefined, randomBytes(2 + below(27))])],
  sendBatch: () => [
    socket(),
    randomBytes(60),
    Uint32Array.from([below(20), 20 + below(20), 40 + below(30)]),
    pick([undefined, randomBytes(84), randomBytes(83)]),
  ],
  bind: () => [socket(), randomBytes(2 + below(27))],
  connect: () => [socket(), randomBytes(2 + below(27))],
  setOption: () => [
    socket(),
    pick([0, 1, 6, 41, 263]),
    below(80),
    pick([below(1000), randomBytes(below(200))]),
  ],
  getOption: () => [socket(), pick([0, 1, 6, 41, 263]), below(80)],
  attachFilter: () => [socket(), randomBytes(8 * (1 + below(12)))],
  setScheduler: () => [7, below(100)],
}

process.on('uncaughtException', error => {
  // The only errors that may come from the loop are those that our own callbacks throw.
  if (error.message !== 'from a callback') {
    console.error(error)
    process.exit(1)
  }
})

let returned = 0
let threw = 0
for (let i = 0; i < calls; i++) {
  const [name, call] = pick(functions)
  const close = CLOSE[name]
  const args =
    close !== undefined && random.next() < 0.5
      ? close()
      : Array.from({ length: below(8) }, () => pick(VALUES)())
  try {
    const result = call(...args)
    returned++
    if (name === 'release') assert.ok(typeof result === 'number' && result > 2)
  } catch (error) {
    threw++
    assert.ok(error instanceof Error, `${name} threw ${String(error)}`)
    assert.ok('code' in error, `${name}: ${error.message}`)
  }
  if (random.next() < 0.05 && sockets.length > 0) {
    const [gone] = sockets.splice(below(sockets.length), 1)
    if (gone !== undefined && random.next() < 0.7) native.close(gone)
  }
  if (random.next() < 0.05 && held.length > 0) {
    const [buffer] = held.splice(below(held.length), 1)
    if (buffer !== undefined && random.next() < 0.5) buffer.resize(below(4096))
    else if (buffer !== undefined) structuredClone(buffer, { transfer: [buffer] })
  }
  if (i % 50 === 0) await new Promise(resolve => setImmediate(resolve))
}
console.log(JSON.stringify({ returned, threw }))
process.exit(0)
