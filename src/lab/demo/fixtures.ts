import type { Family, Ip } from '../../addr/ip.ts'
import type { TimelineEntry } from '../probe/analysis.ts'
import type { ProbeReport } from '../probe/probe.ts'
import type { AddressFailover, FailoverResult } from '../scenarios/failover.ts'
import type { DemoAddress, DemoService } from './report.ts'

// What the tests of the demo's parts start from: all is well.

export const ADDRESS: DemoAddress = {
  ip: '192.0.2.100' as Ip,
  family: 'IPv4',
  owner: 'node1',
  clientIp: '192.0.2.201' as Ip,
  fetched: {
    requests: 20,
    answered: 20,
    answerers: [
      { pod: 'a', node: 'node1', client: '192.0.2.11', answers: 12 },
      { pod: 'b', node: 'node2', client: '192.0.2.11', answers: 8 },
    ],
    errors: {},
  },
}

const ADDRESS6: DemoAddress = {
  ...ADDRESS,
  ip: '2001:db8:0:1::100' as Ip,
  family: 'IPv6',
  clientIp: '2001:db8:0:1::201' as Ip,
}

/** Behind Local: pods on several nodes as well, which see the client. */
function local(address: DemoAddress): DemoAddress {
  const client = address.clientIp
  const answerers = [
    { pod: 'a', node: 'node1', client, answers: 12 },
    { pod: 'b', node: 'node2', client, answers: 8 },
  ]
  return { ...address, fetched: { ...address.fetched, answerers } }
}

export const SERVICES: readonly DemoService[] = [
  { service: 'default/web-cluster', policy: 'Cluster', addresses: [ADDRESS, ADDRESS6] },
  { service: 'default/web-local', policy: 'Local', addresses: [local(ADDRESS), local(ADDRESS6)] },
]

/** Answered by node1 until the kill at 300 ms, by nobody for 250 ms, then by node3. */
export const LINK_TIMELINE: readonly TimelineEntry[] = [
  { fromMs: 0, toMs: 300, sent: 300, lost: 0, nodes: { node1: 300 }, clients: { '192.0.2.201': 300 } },
  { fromMs: 300, toMs: 550, sent: 250, lost: 250, nodes: {}, clients: {} },
  { fromMs: 550, toMs: 1200, sent: 650, lost: 0, nodes: { node3: 650 }, clients: { '192.0.2.201': 650 } },
]

const DRAIN_TIMELINE: readonly TimelineEntry[] = [
  { fromMs: 0, toMs: 300, sent: 300, lost: 0, nodes: { node1: 300 }, clients: { '192.0.2.201': 300 } },
  { fromMs: 300, toMs: 1200, sent: 900, lost: 0, nodes: { node3: 900 }, clients: { '192.0.2.201': 900 } },
]

export function failover(change: Partial<FailoverResult>): FailoverResult {
  const how = change.how ?? 'link'
  const outageMs = how === 'link' ? 250.4 : 0
  const addresses = (['IPv4', 'IPv6'] as const).map(family => addressFailover(family, outageMs))
  return {
    service: 'default/web-cluster',
    how,
    nodeBefore: 'node1',
    nodeAfter: 'node3',
    nodeBack: 'node1',
    outageMs,
    lost: addresses.reduce((sum, each) => sum + each.lost, 0),
    pods: { all: 3, onKilledNode: 1 },
    settledAfterMs: 340.5,
    addresses,
    ...change,
  }
}

function addressFailover(family: Family, outageMs: number): AddressFailover {
  const lost = Math.floor(outageMs)
  const timeline = outageMs > 0 ? LINK_TIMELINE : DRAIN_TIMELINE
  return {
    ip: (family === 'IPv4' ? ADDRESS : ADDRESS6).ip,
    family,
    outageMs,
    certainOutageMs: outageMs,
    sent: 600,
    lost,
    lostInOutage: lost,
    lostBeside: 0,
    sentAfterOutage: 600 - lost,
    nodeAfterForClient: 'node3',
    phases: {
      killedMs: 10,
      firstLostMs: outageMs > 0 ? 9 : undefined,
      announcedMs: 258,
      because: 'node node1 is silent, last heard 250 ms before',
      firstAnswerMs: outageMs > 0 ? 259.4 : undefined,
    },
    back: { outageMs: 0, sent: 800, lost: 0 },
    report: reportWith(timeline),
  }
}

function reportWith(timeline: readonly TimelineEntry[]): ProbeReport {
  return {
    protocol: 'udp',
    target: '192.0.2.100',
    port: 80,
    intervalMs: 1,
    flows: 32,
    lateAfterMs: 100,
    startedAt: '2026-01-02T03:04:05.678Z',
    startedMonotonicMs: 1000,
    durationMs: 1200,
    errors: {},
    sent: 1200,
    answered: 1200,
    lost: 0,
    late: 0,
    outages: [],
    lostSingles: 0,
    flowOutages: { flows: 0, longestMs: 0 },
    latencyMs: { p50: 0.1, p99: 0.4, max: 2 },
    maxSendLatenessMs: 1,
    stalledMs: 0,
    answerers: [],
    timeline,
    marks: [
      { name: 'kill', atMs: 300 },
      { name: 'revive', atMs: 900 },
    ],
    sections: [],
  }
}
