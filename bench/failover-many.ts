import { manyAddresses } from './failover/many.ts'
import type { Bench } from './frame.ts'

const ADDRESSES = 1000
const FIRST = `first of ${ADDRESSES} addresses announced by another node`
const LAST = `last of ${ADDRESSES} addresses announced by another node`
const RATIO = 'last by first'

/** Whether a node that has many addresses is replaced as fast as one that has a single one. */
export const bench: Bench = {
  title: `how long after the switch drops the frames of a node its ${ADDRESSES} addresses are announced by others`,
  runs: 20,
  warmUp: 1,
  async open(scope) {
    const lose = await manyAddresses(scope, ADDRESSES)
    return [
      {
        subject: 'lodestone',
        cases: { [FIRST]: 'ms', [LAST]: 'ms', [RATIO]: 'count' },
        async run() {
          const { firstMs, lastMs } = await lose()
          return { [FIRST]: firstMs, [LAST]: lastMs, [RATIO]: lastMs / firstMs }
        },
      },
    ]
  },
}
