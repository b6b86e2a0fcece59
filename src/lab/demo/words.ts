import type { FailoverResult } from '../scenarios/failover.ts'
import type { DemoReport, DemoService } from './report.ts'
import { DEMO_KILLS, KILL_TITLES } from './report.ts'
import { table } from './table.ts'
import type { Group } from './timeline.ts'

/** Less than this makes no difference to what the picture says. */
const NOT_RUN_TOLD_MS = 50

/** The table of Services, addresses and owners. */
export function servicesTable(services: readonly DemoService[]): string[] {
  return table(
    ['SERVICE', 'POLICY', 'ADDRESS', 'OWNER', 'ANSWERED', 'BY PODS ON', 'PODS SAW'],
    services.flatMap(({ service, policy, addresses }) =>
      addresses.map(({ ip, owner, fetched, clientIp }) => [
        service,
        policy,
        ip,
        owner,
        `${fetched.answered} of ${fetched.requests}`,
        distinct(fetched.answerers.map(({ node }) => node)).join(' '),
        distinct(fetched.answerers.map(({ client }) => (client === clientIp ? 'the client' : client))).join(
          ' ',
        ),
      ]),
    ),
  )
}

/** Who owned what, and what a client missed. */
export function failoverTable(failovers: readonly FailoverResult[]): string[] {
  return table(
    ['KILL', 'SERVICE', 'OWNER', 'ANNOUNCED', 'ADDRESS', 'OUTAGE', 'LOST', 'OWNER AGAIN'],
    failovers.flatMap(({ how, service, nodeBefore, nodeAfter, nodeBack, settledAfterMs, addresses }) =>
      addresses.map(({ ip, outageMs, lostInOutage, lostBeside, sent, phases }, i) => [
        i === 0 ? KILL_TITLES[how] : '',
        i === 0 ? shortName(service) : '',
        i === 0 ? `${nodeBefore} -> ${nodeAfter ?? 'nobody'}` : '',
        phases.announcedMs === undefined ? '-' : `after ${phases.announcedMs} ms`,
        ip,
        `${Math.round(outageMs)} ms`,
        `${lostInOutage}${lostBeside > 0 ? ` + ${lostBeside}` : ''} of ${sent}`,
        i > 0
          ? ''
          : settledAfterMs === undefined
            ? '-'
            : `${nodeBack} after ${Math.round(settledAfterMs)} ms`,
      ]),
    ),
    [5],
  )
}

/** One line when a failover has been measured. */
export function failoverLine(result: FailoverResult): string {
  const { how, service, nodeBefore, nodeAfter, nodeBack, addresses } = result
  const outages = addresses.map(({ family, outageMs }) => `${Math.round(outageMs)} ms ${family}`)
  return (
    `${shortName(service)}, ${KILL_TITLES[how]}: outage ${outages.join(', ')}; ` +
    `${nodeBefore} -> ${nodeAfter ?? 'nobody'} -> ${nodeBack ?? 'nobody'}`
  )
}

/** What the numbers alone would not tell. `steered`: Services whose packets go to the nodes of their endpoints. */
export function notes(
  failovers: readonly FailoverResult[],
  steered: ReadonlySet<string> = new Set(),
): string[] {
  const lines: string[] = []
  for (const { how, service, pods, addresses, nodeBefore } of failovers) {
    const beside = addresses.reduce((sum, each) => sum + each.lostBeside, 0)
    if (beside === 0 || (how !== 'link' && how !== 'blackhole')) continue
    const after = addresses.reduce((sum, each) => sum + each.sentAfterOutage, 0)
    if (steered.has(service)) {
      lines.push(
        `${shortName(service)}, ${KILL_TITLES[how]}: ${pods.onKilledNode} of ${pods.all} pods died with ${nodeBefore}. Its packets are ` +
          `steered to the nodes of its pods, and a dead node leaves the tables when its silence is noticed, not after the 40 s of ` +
          `Kubernetes: ${beside} of ${after} probes after the takeover were lost until then.`,
      )
      continue
    }
    lines.push(
      `${shortName(service)}, ${KILL_TITLES[how]}: ${pods.onKilledNode} of ${pods.all} pods died with ${nodeBefore}. ` +
        `Until Kubernetes notices after 40 s, its share of new connections still goes there, as with every load balancer ` +
        `in front of kube-proxy: ${Math.round((beside / Math.max(1, after)) * 100)} % of the probes after the takeover ` +
        `were lost that way. They are the second number under LOST, and no part of OUTAGE.`,
    )
  }
  for (const { how, service, addresses } of failovers) {
    const notRun = Math.max(...addresses.map(each => each.outageMs - each.certainOutageMs))
    if (notRun < NOT_RUN_TOLD_MS) continue
    lines.push(
      `${shortName(service)}, ${KILL_TITLES[how]}: for ${Math.round(notRun)} ms of OUTAGE the machine had no time for the probe ` +
        `itself, so nobody knows what a client would have seen. The limit is for the rest.`,
    )
  }
  const silent = failovers.filter(({ how, outageMs }) => how === 'process' && outageMs === 0)
  if (silent.length > 0) {
    lines.push(
      'speaker SIGKILLed: the kernel of that node goes on forwarding, so a client that knows the way notices nothing; ' +
        'one that asks for it anew waits until the next owner has announced the address.',
    )
  }
  return lines
}

/** What there is to draw. */
export function timelineGroups(failovers: readonly FailoverResult[]): Group[] {
  return DEMO_KILLS.map(how => ({
    title: KILL_TITLES[how],
    rows: failovers
      .filter(result => result.how === how)
      .flatMap(({ service, addresses }) =>
        addresses.map(({ family, outageMs, phases, report }) => ({
          label: `${shortName(service)} ${family}`,
          timeline: report.timeline,
          killAtMs: report.marks[0]?.atMs ?? 0,
          interestingMs: Math.max(phases.announcedMs ?? 0, phases.firstAnswerMs ?? 0),
          tail: `${Math.round(outageMs)} ms`,
        })),
      ),
  })).filter(group => group.rows.length > 0)
}

/** Nodes by their addresses. */
export function nodesByIp(nodes: DemoReport['nodes']): Map<string, string> {
  return new Map(nodes.flatMap(({ name, ips }) => ips.map(ip => [ip, name] as const)))
}

function shortName(service: string): string {
  return service.replace(/^default\//, '')
}

function distinct(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort()
}
