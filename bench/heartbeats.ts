import type { Bench, Subject } from './frame.ts'
import type { Cost } from './heartbeats/cost.ts'
import { speakerCost } from './heartbeats/lab.ts'
import { membershipCost } from './heartbeats/membership.ts'

const IN_LAB = [3, 10] as const
const ALONE = [10, 50] as const

/** What it costs a speaker to notice within a few dozen milliseconds that another one is gone. */
export const bench: Bench = {
  title: 'heartbeats and processor time of one speaker, in a second, by the number of speakers',
  runs: 3,
  warmUp: 0,
  open: scope =>
    Promise.resolve([
      ...IN_LAB.map(nodes => subject(`${nodes} speakers in a lab`, () => speakerCost(scope, nodes))),
      ...ALONE.flatMap(nodes => [
        subject(`one of 7 voters among ${nodes}, over the loopback`, () =>
          membershipCost(scope, nodes, true),
        ),
        subject(`no voter among ${nodes}, over the loopback`, () => membershipCost(scope, nodes, false)),
      ]),
    ]),
}

function subject(what: string, measure: () => Promise<Cost>): Subject {
  const [sent, received, cpu] = ['sent', 'received', 'processor time of the reflex thread'].map(
    each => `${what}: ${each}`,
  ) as [string, string, string]
  return {
    subject: 'lodestone',
    cases: { [sent]: '1/s', [received]: '1/s', [cpu]: 'ms' },
    async run() {
      const cost = await measure()
      return { [sent]: cost.sent, [received]: cost.received, [cpu]: cost.cpuMs }
    },
  }
}
