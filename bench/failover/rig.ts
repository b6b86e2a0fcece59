import type { Outage } from './outage.ts'

/** The ways in which the node that serves is lost, and what the table calls them. */
export const WAYS = {
  link: 'link cut',
  blackhole: 'black hole',
  carrier: 'interface down at the owner',
  process: 'process killed',
  frozen: 'process frozen for 2 s',
  drain: 'orderly drain',
} as const

export type Way = keyof typeof WAYS

export const FROZEN_FOR_MS = 2000

/** Who serves on the bridge, where a client probes and another one watches who answers for the address. */
export const CLIENTS = { count: 2, probes: 'client1', watches: 'client2' } as const

/** One program that keeps an address up on the nodes of a lab, ready to lose the first of them again and again. */
export type Rig = {
  /** Waits until all is well, loses the node that serves, resolves to what a client saw. */
  measure(way: Way): Promise<Outage>
}
