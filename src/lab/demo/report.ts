import type { Family, Ip } from '../../addr/ip.ts'
import type { KillWay } from '../../api/lab.ts'
import type { FailoverResult } from '../scenarios/failover.ts'
import type { Fetched } from '../scenarios/fetch.ts'

/** The ways in which the demo kills, in this order. */
export const DEMO_KILLS = ['link', 'process', 'drain'] as const satisfies readonly KillWay[]

export const KILL_TITLES: Readonly<Record<KillWay, string>> = {
  link: 'link cut',
  blackhole: 'frames dropped',
  process: 'speaker SIGKILLed',
  freeze: 'speaker frozen',
  drain: 'orderly drain',
}

export type DemoAddress = {
  readonly ip: Ip
  readonly family: Family
  /** The node that answers for it. */
  readonly owner: string
  /** The client's own address of that family. */
  readonly clientIp: Ip
  readonly fetched: Fetched
}

export type DemoService = {
  /** `namespace/name` */
  readonly service: string
  readonly policy: 'Cluster' | 'Local'
  readonly addresses: readonly DemoAddress[]
}

/** All that the demo saw; `--json` writes this. */
export type DemoReport = {
  /** RFC 3339. */
  readonly startedAt: string
  readonly durationMs: number
  readonly nodes: readonly { readonly name: string; readonly ips: readonly string[] }[]
  readonly services: readonly DemoService[]
  readonly failovers: readonly FailoverResult[]
  /** What did not hold, a sentence each. Empty: all of it did. */
  readonly problems: readonly string[]
  /** The last line. */
  readonly summary: string
}
