import type { KillWay } from '../../api/lab.ts'
import type { FailoverResult } from '../scenarios/failover.ts'
import type { DemoAddress, DemoReport, DemoService } from './report.ts'
import { DEMO_KILLS, KILL_TITLES } from './report.ts'

/** A client is without any answer for less than this when an owner dies without a word. */
export const OUTAGE_LIMIT_MS = 1000

/** What did not hold, a sentence each. Pure. */
export function judge(seen: Pick<DemoReport, 'services' | 'failovers'>): string[] {
  const problems: string[] = []
  if (seen.services.length === 0) problems.push('there is no Service')
  for (const service of seen.services) {
    problems.push(...judgeService(service))
    for (const how of DEMO_KILLS) {
      const result = seen.failovers.find(each => each.service === service.service && each.how === how)
      if (result === undefined) problems.push(`${service.service}, ${KILL_TITLES[how]}: not measured`)
      else
        problems.push(
          ...judgeFailover(result).map(what => `${service.service}, ${KILL_TITLES[how]}: ${what}`),
        )
    }
  }
  return problems
}

function judgeService({ service, policy, addresses }: DemoService): string[] {
  const families = addresses.map(({ family }) => family)
  const problems = (['IPv4', 'IPv6'] as const)
    .filter(family => !families.includes(family))
    .map(family => `${service} has no ${family} address`)
  for (const address of addresses) {
    const { answered, requests, errors } = address.fetched
    if (answered < requests || requests === 0) {
      const why = Object.entries(errors).map(([code, count]) => `${count} ${code}`)
      problems.push(
        `${service}: ${answered} of ${requests} requests to ${address.ip} were answered (${why.join(', ')})`,
      )
    }
    problems.push(...(policy === 'Local' ? judgeLocal : judgeCluster)(service, address))
  }
  return problems
}

/** Any pod answers, wherever it is. */
function judgeCluster(service: string, { ip, fetched }: DemoAddress): string[] {
  const nodes = new Set(fetched.answerers.map(({ node }) => node))
  return nodes.size >= 2
    ? []
    : [`${service}: requests to ${ip} reached pods on ${nodes.size} node, not on several`]
}

/** One node receives, pods of several answer, and all of them see who asks. */
function judgeLocal(service: string, address: DemoAddress): string[] {
  const { ip, clientIp, fetched } = address
  return [
    ...judgeCluster(service, address),
    ...fetched.answerers
      .filter(({ client }) => client !== clientIp)
      .map(
        ({ pod, client }) =>
          `${service}: behind ${ip}, ${pod} saw ${client} and not the client's ${clientIp}`,
      ),
  ]
}

function judgeFailover(result: FailoverResult): string[] {
  const { how, nodeBefore, nodeAfter, nodeBack, unsettled, addresses } = result
  const problems: string[] = []
  for (const { ip, outageMs, certainOutageMs, lost, sent, phases, nodeAfterForClient } of addresses) {
    if (outageMs > 0 && phases.firstAnswerMs === undefined) problems.push(`${ip} did not answer any more`)
    // While the probe itself was not run, nobody knows whether the address would have answered.
    if (certainOutageMs >= OUTAGE_LIMIT_MS) {
      problems.push(
        `${ip} did not answer for ${Math.round(certainOutageMs)} ms, the limit is ${OUTAGE_LIMIT_MS} ms`,
      )
    }
    if (losesNothing(how) && lost > 0) problems.push(`${lost} of ${sent} probes to ${ip} were lost`)
    if (nodeAfter !== undefined && nodeAfterForClient !== nodeAfter) {
      problems.push(
        `the client sends to ${nodeAfterForClient ?? 'nobody'} for ${ip}, which belongs to ${nodeAfter}`,
      )
    }
  }
  if (nodeAfter === undefined || nodeAfter === nodeBefore)
    problems.push(`no other node took over from ${nodeBefore}`)
  if (unsettled !== undefined) problems.push(unsettled)
  else if (nodeBack !== nodeBefore) {
    problems.push(`after the revival it belongs to ${nodeBack ?? 'nobody'} and not to ${nodeBefore} again`)
  }
  return problems
}

function losesNothing(how: KillWay): boolean {
  return how === 'drain'
}

/** The last line for a report without problems: what was proven, with the numbers. */
export function proof(seen: Pick<DemoReport, 'services' | 'failovers' | 'durationMs'>): string {
  const addresses = seen.services.flatMap(service => service.addresses)
  const requests = addresses.reduce((sum, { fetched }) => sum + fetched.requests, 0)
  const of = (how: KillWay): FailoverResult[] => seen.failovers.filter(result => result.how === how)
  const worst = (how: KillWay): number =>
    Math.ceil(Math.max(0, ...of(how).flatMap(result => result.addresses.map(each => each.certainOutageMs))))
  const drained = of('drain').flatMap(result => result.addresses)
  const sent = drained.reduce((sum, each) => sum + each.sent, 0)
  return (
    `proven: ${addresses.length} addresses of ${seen.services.length} Services answered ${requests} of ${requests} requests; ` +
    `${seen.failovers.length} kills, and another node took over each time: outage at most ${worst('link')} ms after a link cut, ` +
    `${worst('process')} ms after SIGKILL (limit ${OUTAGE_LIMIT_MS} ms), 0 of ${sent} probes lost in orderly drains; ` +
    `every address returned to its first owner; ${(seen.durationMs / 1000).toFixed(1)} s`
  )
}
