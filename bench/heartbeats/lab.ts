import { type Lab, startLab } from '../../src/lab/lab.ts'
import { observe } from '../../src/lab/scenarios/observer.ts'
import { sleep } from '../failover/outage.ts'
import type { Scope } from '../frame.ts'
import { createEchoService } from '../support/echo-service.ts'
import { ownCommands } from '../support/program.ts'
import { type Cost, MEASURE_MS } from './cost.ts'

const NODE = 'node1'
/** Ten nodes are a lot of processes for two processors. */
const SETTLE_WITHIN_MS = 180_000
/** SCHED_FIFO, as the kernel counts (sched(7)): what the reflex thread has, and no other one. */
const FIFO = '1'

/** One real speaker of a lab, with one Service. */
export async function speakerCost(scope: Scope, nodes: number): Promise<Cost> {
  const { signal } = scope
  const name = `bench-${process.pid}-${nodes}`
  const lab = await startLab({ name, nodes, commands: ownCommands(), signal })
  scope.defer(() => lab.down())
  try {
    await createEchoService(lab, { replicas: 1, ipv6: false })
    const observer = await observe(lab)
    try {
      await observer.settled({ withinMs: SETTLE_WITHIN_MS, signal })
    } finally {
      // Nobody looks while it is measured.
      observer.close()
    }
    const pid = (await lab.status()).nodes.find(each => each.name === NODE)?.speaker?.pid
    if (pid === undefined) throw new Error(`no speaker on ${NODE}`)
    const before = await look(lab, pid)
    const since = performance.now()
    await sleep(MEASURE_MS)
    const after = await look(lab, pid)
    const seconds = (performance.now() - since) / 1000
    return {
      sent: (after.sent - before.sent) / seconds,
      received: (after.received - before.received) / seconds,
      cpuMs: (after.cpuMs - before.cpuMs) / seconds,
    }
  } finally {
    await lab.down()
  }
}

/** A node's only datagrams are the heartbeats. */
async function look(lab: Lab, pid: number): Promise<Cost> {
  const script = `for t in /proc/${pid}/task/*; do echo "$(cat $t/schedstat) $(cat $t/stat)"; done; grep ^Udp: /proc/net/snmp`
  const { stdout } = await lab.exec(NODE, ['sh', '-c', script])
  const lines = stdout.trim().split('\n')
  const reflex = lines.filter(
    line => line.slice(line.lastIndexOf(')') + 2).split(' ')[38] === FIFO && !line.startsWith('Udp:'),
  )
  const [line] = reflex
  if (line === undefined || reflex.length > 1)
    throw new Error(`${reflex.length} threads of the speaker have real-time scheduling, one was expected`)
  const [titles = [], values = []] = lines
    .filter(each => each.startsWith('Udp:'))
    .map(each => each.split(' '))
  const count = (title: string) => Number(values[titles.indexOf(title)])
  return {
    sent: count('OutDatagrams'),
    received: count('InDatagrams'),
    // The first of schedstat: nanoseconds on a processor.
    cpuMs: Number(line.split(' ')[0]) / 1e6,
  }
}
