import { isInstalled } from '../../src/lab/preflight.ts'
import type { Bench, Subject } from '../frame.ts'
import { openKeepalived } from './keepalived-rig.ts'
import { openLodestone } from './lodestone-rig.ts'
import { type Rig, WAYS, type Way } from './rig.ts'

export const KEEPALIVED_MISSING = 'keepalived is not installed: apt-get install keepalived'
/** Seconds between two adverts: as it comes, what RFC 5798 implementations commonly allow, and the shortest that VRRPv3 can say. */
export const ADVERT_INTERVALS = [1, 0.1, 0.01] as const

/** What a client sees when the node that serves an address is lost: the same network, probe and echo for every subject. */
export function failoverBench(nodes: 3 | 5): Bench {
  return {
    title: `what a client sees when one of ${nodes} nodes, the one that serves an address, is lost, probed every millisecond`,
    runs: 20,
    warmUp: 1,
    async open(scope) {
      scope.progress('starting the labs')
      const keepalived = isInstalled('keepalived')
      const rigs: (readonly [string, Rig | undefined])[] = [['lodestone', await openLodestone(scope, nodes)]]
      for (const seconds of ADVERT_INTERVALS) {
        const rig = keepalived ? await openKeepalived(scope, seconds, nodes) : undefined
        rigs.push([`keepalived ${seconds} s`, rig])
      }
      return (Object.keys(WAYS) as Way[]).flatMap(way => rigs.map(([name, rig]) => subject(name, rig, way)))
    },
  }
}

function subject(name: string, rig: Rig | undefined, way: Way): Subject {
  const outage = WAYS[way]
  const lost = `${outage}, lost probes`
  const overlap = `${outage}, two nodes answered`
  const watched = way === 'frozen'
  return {
    subject: name,
    cases: { [outage]: 'ms', [lost]: 'count', ...(watched ? { [overlap]: 'ms' } : {}) },
    ...(rig === undefined ? { missing: KEEPALIVED_MISSING } : {}),
    async run() {
      if (rig === undefined) return {}
      const seen = await rig.measure(way)
      return { [outage]: seen.ms, [lost]: seen.lost, ...(watched ? { [overlap]: seen.overlapMs } : {}) }
    },
  }
}
