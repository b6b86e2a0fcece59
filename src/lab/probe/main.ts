import { parseArgs } from 'node:util'
import { analyse } from './analysis.ts'
import { monotonicMs, type ProbeLine, type ProbeProtocol, type ProbeReport } from './probe.ts'
import { Recorder } from './recorder.ts'
import { type Sender, tcpSender, udpSender } from './senders.ts'
import { reportText } from './text.ts'

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    port: { type: 'string' },
    protocol: { type: 'string', default: 'udp' },
    'interval-ms': { type: 'string' },
    flows: { type: 'string', default: '32' },
    'duration-ms': { type: 'string' },
    count: { type: 'string' },
    'late-after-ms': { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})

function number(name: string, text: string | undefined, min: number, max: number): number {
  const value = Number(text)
  if (text === undefined || text === '' || !(value >= min && value <= max)) {
    console.error(`probe: --${name} must be a number from ${min} to ${max}, not ${text ?? 'absent'}`)
    process.exit(2)
  }
  return value
}

/** How long after the last probe an answer is still waited for. */
const LINGER_MS = 1000
/** The probe looks at its clock at least this often, so that it notices when it was not run. */
const TICK_MAX_MS = 5
/** A tick later than this is a stall: timers of a healthy process are within about 2 ms. */
const STALL_AFTER_MS = 5

const target = values.target ?? ''
if (target === '' || (values.protocol !== 'udp' && values.protocol !== 'tcp')) {
  console.error(
    'usage: probe --target IP --port PORT [--protocol udp|tcp] [--interval-ms N] [--flows N] [--json]',
  )
  process.exit(2)
}
const protocol: ProbeProtocol = values.protocol
const port = number('port', values.port, 1, 65535)
const intervalMs = number(
  'interval-ms',
  values['interval-ms'] ?? (protocol === 'udp' ? '1' : '20'),
  0.1,
  60_000,
)
const flows = protocol === 'udp' ? number('flows', values.flows, 1, 1024) : 1
const lateAfterMs = number(
  'late-after-ms',
  values['late-after-ms'] ?? (protocol === 'udp' ? '100' : '250'),
  1,
  60_000,
)
const durationMs =
  values['duration-ms'] === undefined ? Infinity : number('duration-ms', values['duration-ms'], 1, 86_400_000)
const count = values.count === undefined ? Infinity : number('count', values.count, 1, 1e9)

function say(line: ProbeLine): void {
  if (values.json) process.stdout.write(`${JSON.stringify(line)}\n`)
}

const startedAt = new Date().toISOString()
const startedMonotonicMs = monotonicMs()
const now = (): number => monotonicMs() - startedMonotonicMs
const recorder = new Recorder(intervalMs)
let seen = false
let sender: Sender
try {
  sender = await (protocol === 'udp' ? udpSender : tcpSender)(
    { target, port, flows },
    {
      answered: (sequence, identity) => {
        recorder.answered(sequence, now(), identity)
        if (seen) return
        seen = true
        say({ type: 'answered', atMs: now() })
      },
      failed: code => recorder.failed(code),
    },
  )
} catch (error) {
  console.error(`probe: ${target} port ${port}: ${error instanceof Error ? error.message : String(error)}`)
  process.exit(1)
}

// The sockets took a moment: the schedule begins only now.
recorder.begin(now())
let stopped = false
let sent = 0
let lastTick = now()
function tick(): void {
  const at = now()
  if (at - lastTick > STALL_AFTER_MS + TICK_MAX_MS) recorder.stalled(lastTick, at)
  lastTick = at
  if (stopped) return
  if (at >= durationMs) {
    void stop()
    return
  }
  // What fell due since the last tick goes out at once: a late probe is better than one that was never sent.
  while (sent < count && recorder.nextPlannedMs <= at) {
    const sequence = recorder.sent(now())
    sent++
    sender.send(sequence)
  }
  if (sent >= count) {
    void stop()
    return
  }
  setTimeout(tick, Math.min(TICK_MAX_MS, Math.max(1, recorder.nextPlannedMs - now())))
}
tick()
say({ type: 'started', startedMonotonicMs })

let rest = ''
process.stdin.setEncoding('utf8')
process.stdin.on('data', (text: string) => {
  const lines = (rest + text).split('\n')
  rest = lines.pop() ?? ''
  for (const line of lines) {
    const match = /^mark(?:@([0-9.]+))? (.+)$/.exec(line)
    const name = match?.[2]
    if (name === undefined) continue
    // The driver's own reading of the shared clock is nearer the deed than the arrival of the line.
    recorder.mark(name, match?.[1] === undefined ? now() : Number(match[1]) - startedMonotonicMs)
  }
})
// With a duration or a count given the probe ends by that, so that `< /dev/null` works.
process.stdin.on('end', () => {
  if (durationMs === Infinity && count === Infinity) void stop()
})
process.on('SIGTERM', () => void stop())
process.on('SIGINT', () => void stop())

async function stop(): Promise<void> {
  if (stopped) return
  stopped = true
  const endedMs = now()
  // Timely answers to the last probes are still on their way.
  while (recorder.awaited(endedMs - lateAfterMs) && now() - endedMs < Math.min(LINGER_MS, lateAfterMs)) {
    await new Promise(done => setTimeout(done, 5))
  }
  sender.close()
  process.stdin.destroy()
  const report: ProbeReport = {
    protocol,
    target,
    port,
    intervalMs,
    flows,
    lateAfterMs,
    startedAt,
    startedMonotonicMs,
    durationMs: Math.round(endedMs),
    ...analyse(recorder.observation({ flows, lateAfterMs })),
    errors: recorder.errors(),
  }
  if (values.json) say({ type: 'report', report })
  else process.stdout.write(reportText(report))
}
