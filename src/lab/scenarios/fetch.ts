import type { Ip } from '../../addr/ip.ts'
import type { Lab } from '../lab.ts'
import type { Answerer } from '../probe/datagram.ts'
import { startProbe } from '../probe/probe.ts'
import { probeSpawner } from './spawn.ts'

/** What came of many requests to one address. */
export type Fetched = {
  readonly requests: number
  readonly answered: number
  /** By pod and by the client address that the pod saw. */
  readonly answerers: readonly (Answerer & { readonly answers: number })[]
  /** Codes of the failures, and how often. */
  readonly errors: Readonly<Record<string, number>>
}

/** HTTP GETs from a client of the lab, each over a connection of its own, so that each may meet another pod. */
export async function fetchMany(
  lab: Lab,
  options: { readonly client: string; readonly target: Ip; readonly port: number; readonly requests: number },
): Promise<Fetched> {
  const { client, requests, ...to } = options
  const probe = startProbe(probeSpawner(lab, client), {
    ...to,
    protocol: 'tcp',
    intervalMs: 10,
    count: requests,
    // How long they take is not the question here.
    lateAfterMs: 1000,
  })
  const { sent, answered, answerers, errors } = await probe.report
  return { requests: sent, answered, answerers, errors }
}
