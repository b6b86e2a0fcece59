import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { chooseVoters } from '../../src/membership/voters.ts'
import { sleep } from '../failover/outage.ts'
import type { Scope } from '../frame.ts'
import type { Cost } from './cost.ts'
import { MEASURE_MS } from './cost.ts'
import type { MembershipTask, MembershipUsage } from './messages.ts'

const MAIN = fileURLToPath(new URL('./membership-main.js', import.meta.url))
const PORT = 17_946
const VOTERS = 7
const ENTITLED_WITHIN_MS = 20_000
/** Until all code that matters is compiled. */
const WARM_UP_MS = 3000

/** One of `nodes` speakers without addresses: the heartbeats alone, over the loopback. */
export async function membershipCost(scope: Scope, nodes: number, voter: boolean): Promise<Cost> {
  const measured = findNode(nodes, voter)
  const start = (role: MembershipTask['role']) => startProcess(scope, { nodes, measured, role, port: PORT })
  const crowd = start('crowd')
  const one = start('measured')
  try {
    const deadline = performance.now() + ENTITLED_WITHIN_MS
    while (!(await one.ask()).entitled) {
      if (performance.now() > deadline) throw new Error(`one of ${nodes} speakers was never entitled`)
      await sleep(100)
    }
    await sleep(WARM_UP_MS)
    const before = await one.ask()
    const since = performance.now()
    await sleep(MEASURE_MS)
    const after = await one.ask()
    if (!after.entitled) throw new Error(`the crowd of ${nodes} speakers does not keep up`)
    const seconds = (performance.now() - since) / 1000
    return {
      sent: (after.sent - before.sent) / seconds,
      received: (after.received - before.received) / seconds,
      cpuMs: (after.cpuMs - before.cpuMs) / seconds,
    }
  } finally {
    one.end()
    crowd.end()
  }
}

/** The first that is one of the voters, or is none. */
function findNode(nodes: number, voter: boolean): number {
  const names = Array.from({ length: nodes }, (_, i) => `node${i}`)
  const voters = chooseVoters(names, VOTERS)
  const found = names.findIndex(name => voters.includes(name) === voter)
  if (found < 0) throw new Error(`of ${nodes} speakers each is a voter`)
  return found
}

function startProcess(scope: Scope, task: MembershipTask) {
  const child = spawn(process.execPath, [MAIN, JSON.stringify(task)], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.on('error', () => {})
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const end = (): void => void child.kill('SIGTERM')
  scope.defer(end)
  return {
    end,
    async ask(): Promise<MembershipUsage> {
      child.stdin.write('\n')
      const { value, done } = await lines.next()
      if (done === true) throw new Error(`the ${task.role} of ${task.nodes} speakers ended`)
      return JSON.parse(value) as MembershipUsage
    },
  }
}
