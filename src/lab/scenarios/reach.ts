import type { Ip } from '../../addr/ip.ts'
import { endpointsFromSlice } from '../../config/endpointslice.ts'
import type { Kube } from '../../ports/kube.ts'
import { objectKey, RESOURCES } from '../../ports/kube.ts'
import type { Lab } from '../lab.ts'
import { startProbe } from '../probe/probe.ts'
import { type Observer, ownersOf, servicesOf } from './observer.ts'
import { probeSpawner } from './spawn.ts'

/** Each from a port of its own: with three nodes, one of them is missed by chance once in 10^11 times. */
const PROBES = 64

/**
 * By which address does a client not reach whom it should reach: a pod on every node that has one ready, or under
 * externalTrafficPolicy Local those of the owner? In words; undefined when there is none such.
 */
export async function notReached(
  { lab, speakers }: Observer,
  kube: Kube,
  from: { readonly client: string; readonly port: number },
): Promise<string | undefined> {
  const [status, slices, objects, states] = await Promise.all([
    lab.status(),
    kube.list(RESOURCES.endpointSlices),
    kube.list(RESOURCES.services),
    speakers.readAll(),
  ])
  const owners = ownersOf(states)
  const checks = servicesOf(status).flatMap(({ service, ips }) => {
    const spec = objects.find(({ metadata }) => objectKey(metadata) === service)?.['spec']
    const local = (spec as { externalTrafficPolicy?: unknown } | undefined)?.externalTrafficPolicy === 'Local'
    const endpoints = slices
      .map(endpointsFromSlice)
      .flatMap(slice => (slice.serviceKey === service ? slice.endpoints : []))
    const nodes = new Set(endpoints.flatMap(({ nodeName, ready }) => (ready && nodeName ? [nodeName] : [])))
    return ips.map(async ip => {
      const wanted = [...nodes].filter(node => !local || owners.get(ip)?.includes(node) === true)
      const seen = await nodesThatAnswer(lab, { ...from, target: ip })
      const missing = wanted.filter(node => !seen.has(node))
      return missing.length === 0 ? undefined : `${ip} does not lead to the pods on ${missing.join(' and ')}`
    })
  })
  return (await Promise.all(checks)).find(problem => problem !== undefined)
}

async function nodesThatAnswer(
  lab: Lab,
  to: { readonly client: string; readonly target: Ip; readonly port: number },
): Promise<Set<string>> {
  const { client, target, port } = to
  const probe = startProbe(probeSpawner(lab, client), {
    target,
    port,
    flows: PROBES,
    count: PROBES,
  })
  return new Set((await probe.report).answerers.map(({ node }) => node))
}
