import { type Family, familyOf, type Ip } from '../../addr/ip.ts'
import type { KillWay } from '../../api/lab.ts'
import type { SpeakerStatus } from '../../api/speaker.ts'
import { LabError } from '../error.ts'
import type { Lab } from '../lab.ts'
import { longestOutageMs, outagesAfterMark } from '../probe/analysis.ts'
import type { ProbeReport, RunningProbe } from '../probe/probe.ts'
import { monotonicMs, startProbe } from '../probe/probe.ts'
import type { Observer } from './observer.ts'
import { observe, ownersOf } from './observer.ts'
import { probeSpawner } from './spawn.ts'
import { pause, waitUntil } from './wait.ts'

export type FailoverOptions = {
  /** `namespace/name`, or the name alone in the namespace `default`. It must have addresses, and UDP echo on `port`. */
  readonly service: string
  readonly how: KillWay
  /** Who probes. Default: `client1`. */
  readonly client?: string
  /** Default: 80. */
  readonly port?: number
  /** Probes before the kill. Default: 300 ms. */
  readonly steadyMs?: number
  /** Probes after the takeover, and again after the return. Default: 500 ms. */
  readonly afterMs?: number
  /** How long to wait for another node to take over. Default: 10,000. */
  readonly takeoverWithinMs?: number
  /** How long the lab may take to be whole again after the revival. Default: 30,000. */
  readonly settleWithinMs?: number
  /** Saves the three processes that looking costs, when many failovers follow each other. It stays open. */
  readonly observer?: Observer
  readonly signal?: AbortSignal
  readonly onProgress?: (text: string) => void
}

/** Milliseconds since the kill began; undefined: it did not happen, or nobody knows when. */
export type FailoverPhases = {
  /** The kill was done: the link is down, the process gone. */
  readonly killedMs: number
  /** The first probe was sent that got no answer. */
  readonly firstLostMs: number | undefined
  /** The new owner announced the address, by its own account; to the millisecond. */
  readonly announcedMs: number | undefined
  /** Why it did: whom it missed, and how long that had been silent. */
  readonly because: string | undefined
  /** The first answer after the outage. */
  readonly firstAnswerMs: number | undefined
}

/** What a client saw of one address of the Service. */
export type AddressFailover = {
  readonly ip: Ip
  readonly family: Family
  /** The longest time without any answer after the kill and before the revival; 0: there was none. */
  readonly outageMs: number
  /** The same without the time in which the machine did not run the probe itself: so long nobody was answered for certain. */
  readonly certainOutageMs: number
  /** Probes sent from the kill until the revival. */
  readonly sent: number
  /** Those never answered: `lostInOutage` in times without any answer, `lostBeside` while others were answered. */
  readonly lost: number
  readonly lostInOutage: number
  readonly lostBeside: number
  /** Probes sent between the end of the longest outage and the revival: `lostBeside` is a share of these. */
  readonly sentAfterOutage: number
  /** Where the client sends to at the end of that time, by its neighbour table. */
  readonly nodeAfterForClient: string | undefined
  readonly phases: FailoverPhases
  /** The same from the revival on, until the first owner has the address back and a while longer. */
  readonly back: { readonly outageMs: number; readonly sent: number; readonly lost: number }
  readonly report: ProbeReport
}

export type FailoverResult = {
  /** `namespace/name` */
  readonly service: string
  readonly how: KillWay
  /** Who owned the addresses, and was killed. */
  readonly nodeBefore: string
  /** Who had taken over all addresses, just before the revival; undefined: nobody in time. */
  readonly nodeAfter: string | undefined
  /** Who owned them when the lab had settled after the revival; undefined: it did not settle in time. */
  readonly nodeBack: string | undefined
  /** Why it did not settle. */
  readonly unsettled?: string
  /** The longest of any of its addresses. */
  readonly outageMs: number
  /** Over all addresses, from the kill until the revival. */
  readonly lost: number
  /** Pods that answered, and those of them that were on the killed node. */
  readonly pods: { readonly all: number; readonly onKilledNode: number }
  /** From the revival until the first owner had the addresses back and the lab was whole. */
  readonly settledAfterMs: number | undefined
  readonly addresses: readonly AddressFailover[]
}

const KILL = 'kill'
const REVIVE = 'revive'

/**
 * Kills the owner of a Service and tells what a client saw: probes every address of it each millisecond, kills, waits until
 * another node has taken over, revives, waits until the lab is whole again. The lab must be settled before, and is afterwards.
 * @throws LabError when the Service cannot be probed at all, or has no single owner to kill
 */
export async function measureFailover(lab: Lab, options: FailoverOptions): Promise<FailoverResult> {
  const observer = options.observer ?? (await observe(lab))
  try {
    return await measure(observer, options)
  } finally {
    if (options.observer === undefined) observer.close()
  }
}

async function measure(observer: Observer, options: FailoverOptions): Promise<FailoverResult> {
  const { lab } = observer
  const { how, client = 'client1', port = 80, steadyMs = 300, afterMs = 500, signal } = options
  const progress = options.onProgress ?? (() => undefined)
  const { service, ips } = await observer.service(options.service)
  const nodeBefore = await soleOwner(observer, service, ips)
  const probes: [Ip, RunningProbe][] = ips.map(target => [
    target,
    startProbe(probeSpawner(lab, client), { target, port }),
  ])
  const mark = (name: string): void => {
    for (const [, probe] of probes) probe.mark(name)
  }
  let killed = false
  const revive = async (): Promise<void> => {
    killed = false
    await lab.revive(nodeBefore)
  }
  try {
    await Promise.all(probes.map(([, probe]) => probe.answered))
    await pause(steadyMs, signal)

    progress(`${service}: ${nodeBefore} ${DYING[how]}`)
    const killAt = monotonicMs()
    const wallOfMonotonic = Date.now() - killAt
    mark(KILL)
    killed = true
    await lab.kill(nodeBefore, how)
    const killedMs = round(monotonicMs() - killAt)
    const taken = await takeover(observer, nodeBefore, ips, options)
    await pause(afterMs, signal)
    // On a machine that stalls, the address may have moved once more meanwhile.
    const nodeAfter =
      taken === undefined ? undefined : (await takeover(observer, nodeBefore, ips, options))?.node
    const seenAfter = await observer.neighbours.ownersSeenBy(client)

    mark(REVIVE)
    const reviveAt = monotonicMs()
    await revive()
    let unsettled: string | undefined
    try {
      await observer.settled({ withinMs: options.settleWithinMs ?? 30_000, signal })
    } catch (error) {
      if (!(error instanceof LabError)) throw error
      unsettled = error.message
    }
    const settledAfterMs = unsettled === undefined ? round(monotonicMs() - reviveAt) : undefined
    await pause(afterMs, signal)
    const nodeBack = unsettled === undefined ? await soleOwner(observer, service, ips) : undefined

    const addresses = await Promise.all(
      probes.map(async ([ip, probe]) =>
        addressFailover(ip, await probe.stop(), {
          nodeAfterForClient: seenAfter.get(ip),
          killAt,
          killedMs,
          move: taken?.moves.get(ip),
          wallOfMonotonic,
        }),
      ),
    )
    return {
      service,
      how,
      nodeBefore,
      nodeAfter,
      nodeBack,
      ...(unsettled === undefined ? {} : { unsettled }),
      outageMs: Math.max(...addresses.map(each => each.outageMs)),
      lost: addresses.reduce((sum, each) => sum + each.lost, 0),
      pods: countPods(
        addresses.map(each => each.report),
        nodeBefore,
      ),
      settledAfterMs,
      addresses,
    }
  } finally {
    // Twice is no error; a probe that could not start has said so already.
    for (const [, probe] of probes) probe.stop().catch(() => {})
    if (killed) await revive()
  }
}

const DYING: Readonly<Record<KillWay, string>> = {
  link: 'loses its link',
  blackhole: 'is cut off silently',
  process: 'loses its speaker (SIGKILL)',
  freeze: 'has its speaker frozen (SIGSTOP)',
  drain: 'is drained',
}

async function soleOwner(observer: Observer, service: string, ips: readonly Ip[]): Promise<string> {
  const owners = ownersOf(await observer.speakers.readAll())
  const nodes = new Set(ips.flatMap(ip => owners.get(ip) ?? []))
  const [node] = nodes
  if (node === undefined || nodes.size > 1) {
    throw new LabError('refused', `Service ${service} belongs to ${[...nodes].join(' and ') || 'nobody'}`)
  }
  return node
}

type Move = { readonly atWallMs: number; readonly because: string }
type Takeover = { readonly node: string; readonly moves: ReadonlyMap<Ip, Move> }

/** Waits until one other node owns all the addresses. A node that is cut off still believes that it does, too. */
async function takeover(
  observer: Observer,
  killed: string,
  ips: readonly Ip[],
  options: FailoverOptions,
): Promise<Takeover | undefined> {
  const others = observer.nodes.filter(node => node !== killed)
  let found: Takeover | undefined
  try {
    await waitUntil(
      'takeover',
      async () => {
        for (const node of others) {
          const status = await observer.speakers.read(node)
          if (status === undefined || !owns(status, ips)) continue
          found = { node, moves: new Map(ips.flatMap(ip => latestMove(status, ip))) }
          return undefined
        }
        return 'no other node owns all addresses'
      },
      { withinMs: options.takeoverWithinMs ?? 10_000, signal: options.signal },
    )
  } catch (error) {
    // That nobody took over is a result.
    if (!(error instanceof LabError)) throw error
  }
  return found
}

function owns(status: SpeakerStatus, ips: readonly Ip[]): boolean {
  const owned = new Set(status.services.flatMap(service => service.owned))
  return ips.every(ip => owned.has(ip))
}

function latestMove(status: SpeakerStatus, ip: Ip): [Ip, Move][] {
  const move = status.moves.find(each => each.ip === ip && each.owned)
  return move === undefined ? [] : [[ip, { atWallMs: Date.parse(move.at), because: move.because }]]
}

type Context = {
  readonly nodeAfterForClient: string | undefined
  /** Monotonic. */
  readonly killAt: number
  readonly killedMs: number
  readonly move: Move | undefined
  readonly wallOfMonotonic: number
}

/** What the report says of the time after the kill. */
function addressFailover(ip: Ip, report: ProbeReport, context: Context): AddressFailover {
  const { killAt, killedMs, move, nodeAfterForClient, wallOfMonotonic } = context
  const outages = outagesAfterMark(report, KILL)
  const longest = outages.toSorted((a, b) => b.durationMs - a.durationMs)[0]
  const back = outagesAfterMark(report, REVIVE).filter(outage => !outages.includes(outage))
  const dead = report.sections.find(section => section.mark === KILL)
  const alive = report.sections.find(section => section.mark === REVIVE)
  const lost = dead?.lost ?? 0
  const lostInOutage = Math.min(
    lost,
    outages.reduce((sum, outage) => sum + outage.lost, 0),
  )
  const endMs = longest?.toMs ?? dead?.fromMs ?? 0
  const sinceKill = (probeMs: number): number => round(report.startedMonotonicMs + probeMs - killAt)
  return {
    ip,
    family: familyOf(ip),
    outageMs: longestOutageMs(outages),
    certainOutageMs: round(
      Math.max(0, ...outages.map(({ durationMs, stalledMs }) => durationMs - stalledMs)),
    ),
    sent: dead?.sent ?? 0,
    lost,
    lostInOutage,
    lostBeside: lost - lostInOutage,
    sentAfterOutage: Math.max(0, Math.round(((dead?.toMs ?? 0) - endMs) / report.intervalMs)),
    nodeAfterForClient,
    phases: {
      killedMs,
      firstLostMs: longest === undefined ? undefined : sinceKill(longest.fromMs),
      announcedMs: move === undefined ? undefined : Math.round(move.atWallMs - wallOfMonotonic - killAt),
      because: move?.because,
      firstAnswerMs:
        longest === undefined || longest.firstAnswerBy === null ? undefined : sinceKill(longest.toMs),
    },
    back: { outageMs: longestOutageMs(back), sent: alive?.sent ?? 0, lost: alive?.lost ?? 0 },
    report,
  }
}

function countPods(reports: readonly ProbeReport[], node: string): FailoverResult['pods'] {
  const nodeOf = new Map(reports.flatMap(report => report.answerers.map(each => [each.pod, each.node])))
  return { all: nodeOf.size, onKilledNode: [...nodeOf.values()].filter(each => each === node).length }
}

/** To the microsecond: more digits are noise. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
