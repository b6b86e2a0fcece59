import { type Ip, type Ipv4, ipFromBigint } from '../src/addr/ip.ts'
import { type Prefix, prefixOf } from '../src/addr/prefix.ts'
import { type AdjRibOut, announce, createAdjRibOut, nextMessage, withdraw } from '../src/bgp/adj-rib-out.ts'
import type { Negotiated } from '../src/bgp/negotiation.ts'
import { NO_EMPHASIS, type OutRoute, type OutSession, outRoutes } from '../src/bgp/out-attributes.ts'
import type { Route } from '../src/bgp/routes.ts'
import type { UpdateContext } from '../src/wire/bgp/attributes.ts'
import { Framer } from '../src/wire/bgp/framer.ts'
import { decodeMessage, encodeMessage, MESSAGE_MAX } from '../src/wire/bgp/message.ts'
import { announcementTemplate, packAnnouncement } from '../src/wire/bgp/pack.ts'
import { routeChanges, type Update } from '../src/wire/bgp/update.ts'
import type { Bench, Subject, Unit } from './frame.ts'

const PREFIXES = 100_000
const MESSAGES = 20_000
const CONTEXT: UpdateContext = { fourOctetAs: true, internal: false }

/** Pure computation, in CPU time of this process: nothing is sent. */
export const bench: Bench = {
  title: 'BGP messages and the outbound view, per core (CPU time, nothing is sent)',
  runs: 10,
  warmUp: 2,
  open: () => Promise.resolve(subjects()),
}

function subjects(): Subject[] {
  const v4 = prefixesFrom('IPv4', 0x0a000000n, 32)
  const v6 = prefixesFrom('IPv6', 0x20010db8000000000000000000000000n, 128)
  const packed4 = packAll(v4, 'IPv4')
  const packed6 = packAll(v6, 'IPv6')
  const single = encodeMessage(SINGLE, CONTEXT)
  const rate = (count: number, work: () => void): number => count / cpuSeconds(work)
  const ours = (name: string, unit: Unit, measure: () => number): Subject => ({
    subject: 'lodestone',
    cases: { [name]: unit },
    run: () => new Promise(resolve => setImmediate(() => resolve({ [name]: measure() }))),
  })
  return [
    ours('UPDATEs of one prefix and 3 communities, written', '1/s', () =>
      rate(MESSAGES, () => {
        for (let i = 0; i < MESSAGES; i++) encodeMessage(SINGLE, CONTEXT)
      }),
    ),
    ours('UPDATEs of one prefix and 3 communities, read', '1/s', () =>
      rate(MESSAGES, () => {
        for (let i = 0; i < MESSAGES; i++) decodeMessage(single, CONTEXT)
      }),
    ),
    ours('IPv4 prefixes written in full UPDATEs', '1/s', () => rate(PREFIXES, () => packAll(v4, 'IPv4'))),
    ours('IPv6 prefixes written in full UPDATEs', '1/s', () => rate(PREFIXES, () => packAll(v6, 'IPv6'))),
    ours('IPv4 prefixes read from a stream', '1/s', () => rate(PREFIXES, () => readAll(packed4))),
    ours('IPv6 prefixes read from a stream', '1/s', () => rate(PREFIXES, () => readAll(packed6))),
    ours('outbound view, prefixes from nothing to bytes', '1/s', () =>
      rate(PREFIXES, () => drain(viewOf(v4.map(toOut)))),
    ),
    ours('outbound view, one change among 10,000', 'us', () => oneChange(v4.slice(0, 10_000))),
  ]
}

const COMMUNITIES = [100, 200, 300]
const SINGLE: Update = {
  type: 'update',
  withdrawn: [],
  announced: ['198.51.100.7/32' as Prefix],
  attributes: {
    origin: 'igp',
    asPath: [{ type: 'sequence', asns: [64500] }],
    nextHop: '192.0.2.1' as Ipv4,
    communities: COMMUNITIES.map(low => 64500 * 65536 + low),
  },
}

function prefixesFrom(family: 'IPv4' | 'IPv6', first: bigint, length: number): Prefix[] {
  return Array.from({ length: PREFIXES }, (_, i) => prefixOf(ipFromBigint(family, first + BigInt(i)), length))
}

function packAll(prefixes: readonly Prefix[], family: 'IPv4' | 'IPv6'): Uint8Array[] {
  const nextHop = (family === 'IPv4' ? '192.0.2.1' : '2001:db8::1') as Ip
  const { nextHop: _, ...attributes } = SINGLE.attributes
  const template = announcementTemplate({ family, nextHop, attributes }, CONTEXT, MESSAGE_MAX)
  if (template === undefined) throw new Error('no room')
  const messages: Uint8Array[] = []
  for (let at = 0; at < prefixes.length; ) {
    const packed = packAnnouncement(prefixes.slice(at, at + 1000), template, MESSAGE_MAX)
    messages.push(packed.bytes)
    at += packed.prefixes.length
  }
  return messages
}

/** As they come from a socket: in chunks of 64 KiB that end anywhere. */
function readAll(messages: readonly Uint8Array[]): void {
  const stream = Buffer.concat(messages)
  const framer = new Framer()
  let count = 0
  for (let at = 0; at < stream.length; at += 65_536) {
    framer.push(stream.subarray(at, at + 65_536))
    for (let bytes = framer.next(MESSAGE_MAX); bytes !== undefined; bytes = framer.next(MESSAGE_MAX)) {
      const message = decodeMessage(bytes, CONTEXT)
      if (message.type === 'update') count += routeChanges(message).announced.length
    }
  }
  if (count !== PREFIXES) throw new Error(`${count} prefixes came`)
}

const NEGOTIATED: Negotiated = {
  peerAs: 64501,
  peerIdentifier: '192.0.2.2' as Ipv4,
  internal: false,
  families: ['IPv4', 'IPv6'],
  holdTimeS: 90,
  fourOctetAs: true,
  routeRefresh: true,
  enhancedRouteRefresh: false,
  messageMax: MESSAGE_MAX,
  extendedNextHop: false,
  gracefulRestart: null,
  notificationsKeepRoutes: false,
  peerHostName: null,
}
const SESSION: OutSession = {
  negotiated: NEGOTIATED,
  localAs: 64500,
  nextHops: { IPv4: { address: '192.0.2.1' as Ip } },
}

const ROUTE_COMMUNITIES = COMMUNITIES.map(low => ({
  kind: 'standard' as const,
  text: `64500:${low}`,
  parts: [64500, low] as const,
}))
const toOutRoute = outRoutes(SESSION)

function toOut(prefix: Prefix): OutRoute {
  const route: Route = { prefix, communities: ROUTE_COMMUNITIES, localPref: null, services: ['default/web'] }
  const out = toOutRoute(route, NO_EMPHASIS)
  if (out === undefined) throw new Error('not announced')
  return out
}

function viewOf(routes: readonly OutRoute[]): AdjRibOut {
  const rib = createAdjRibOut(NEGOTIATED)
  for (const route of routes) announce(rib, route)
  return rib
}

function drain(rib: AdjRibOut): number {
  let bytes = 0
  for (let next = nextMessage(rib); next !== undefined; next = nextMessage(rib)) bytes += next.length
  return bytes
}

/** A Service goes and another one comes. */
function oneChange(prefixes: readonly Prefix[]): number {
  const rib = viewOf(prefixes.map(toOut))
  drain(rib)
  const [first] = prefixes
  if (first === undefined) throw new Error('no prefixes')
  const turns = 2000
  const seconds = cpuSeconds(() => {
    for (let i = 0; i < turns; i++) {
      withdraw(rib, first)
      const gone = drain(rib)
      announce(rib, toOut(first))
      // Bytes in proportion to the change, whatever else is announced.
      if (gone + drain(rib) > 100) throw new Error('more was sent than had changed')
    }
  })
  return (seconds / turns) * 1e6
}

function cpuSeconds(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1e6
}
