import { createHash, randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import type { StreamsReport, StreamsTask } from './messages.ts'

// Connections that stay: on each a line of random bytes and their checksum every now and then, which the lab's web pod sends back.
const EVERY_MS = 100
const CHECKSUM_CHARS = 16
const { target, port, count } = JSON.parse(process.argv[2] ?? '') as StreamsTask
let cut = 0
let corrupt = 0
let answers = 0

function checksum(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, CHECKSUM_CHARS)
}

function open(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: target, port, noDelay: true })
    let timer: NodeJS.Timeout | undefined
    let over = false
    const end = (error?: Error): void => {
      if (over) return
      over = true
      clearInterval(timer)
      if (timer === undefined) reject(error ?? new Error('closed before it was open'))
      else cut++
    }
    socket.on('connect', () => {
      timer = setInterval(() => {
        const body = randomBytes(96).toString('hex')
        socket.write(`${body} ${checksum(body)}\n`)
      }, EVERY_MS)
      resolve()
    })
    // What is in order and complete: an answer repeats the line, and adds who answers.
    const lines = createInterface({ input: socket })
    lines.on('error', () => {}) // The socket's own, which is counted below.
    lines.on('line', line => {
      answers++
      const [body = '', sum] = line.split(' ')
      if (checksum(body) !== sum) corrupt++
    })
    socket.on('error', end)
    socket.on('close', () => end())
  })
}

const say = (): void => {
  const report: StreamsReport = { cut, corrupt, answers }
  process.stdout.write(`${JSON.stringify(report)}\n`)
}
await Promise.all(Array.from({ length: count }, open))
say()
for await (const _ of createInterface({ input: process.stdin })) say()
process.exit(0)
