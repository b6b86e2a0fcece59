import { isInstalled } from '../src/lab/preflight.ts'
import { openKeepalived } from './failover/keepalived-rig.ts'
import { openLodestone } from './failover/lodestone-rig.ts'
import { type Rig, WAYS, type Way } from './failover/rig.ts'
import type { Bench, Subject } from './frame.ts'

const KEEPALIVED_MISSING = 'keepalived is not installed: apt-get install keepalived'

/** What a client sees when the node that serves an address is lost: the same network, probe and echo for every subject. */
export const bench: Bench = {
  title: 'what a client sees when the node that serves an address is lost, probed every millisecond',
  runs: 10,
  warmUp: 1,
  async open(scope) {
    scope.progress('starting the labs')
    const lodestone = await openLodestone(scope)
    const keepalived = isInstalled('keepalived')
    const rigs: (readonly [string, Rig | undefined])[] = [['lodestone', lodestone]]
    for (const seconds of [1, 0.1]) {
      rigs.push([`keepalived ${seconds} s`, keepalived ? await openKeepalived(scope, seconds) : undefined])
    }
    return (Object.keys(WAYS) as Way[]).flatMap(way => rigs.map(([name, rig]) => subject(name, rig, way)))
  },
}

function subject(name: string, rig: Rig | undefined, way: Way): Subject {
  const outage = WAYS[way]
  const lost = `${outage}, lost probes`
  return {
    subject: name,
    cases: { [outage]: 'ms', [lost]: 'count' },
    ...(rig === undefined ? { missing: KEEPALIVED_MISSING } : {}),
    async run() {
      if (rig === undefined) return {}
      const seen = await rig.measure(way)
      return { [outage]: seen.ms, [lost]: seen.lost }
    },
  }
}
