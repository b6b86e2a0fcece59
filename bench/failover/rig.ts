import type { Outage } from './outage.ts'

/** The ways in which the node that serves is lost, and what the table calls them. */
export const WAYS = {
  link: 'link cut',
  blackhole: 'black hole',
  process: 'process killed',
  drain: 'orderly drain',
} as const

export type Way = keyof typeof WAYS

/** One program that keeps an address up on three nodes of a lab, ready to lose the first of them again and again. */
export type Rig = {
  /** Waits until all is well, loses the node that serves, resolves to what a client saw. */
  measure(way: Way): Promise<Outage>
}
