import { accessSync, constants, statSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Ip } from '../../addr/ip.ts'
import { familyOf, parseIp } from '../../addr/ip.ts'
import type { LabStatus } from '../../api/lab.ts'
import { objectKey, RESOURCES } from '../../ports/kube.ts'
import { LabError } from '../error.ts'
import { startLab } from '../lab.ts'
import { ProbeError } from '../probe/probe.ts'
import { deploy } from '../scenarios/deploy.ts'
import type { FailoverResult } from '../scenarios/failover.ts'
import { measureFailover } from '../scenarios/failover.ts'
import { fetchMany } from '../scenarios/fetch.ts'
import type { Manifest } from '../scenarios/manifests.ts'
import { type Observer, observe, ownersOf, servicesOf } from '../scenarios/observer.ts'
import { judge, proof } from './judge.ts'
import type { DemoReport, DemoService } from './report.ts'
import { DEMO_KILLS } from './report.ts'
import type { Style } from './style.ts'
import { paint } from './style.ts'
import { renderTimeline } from './timeline.ts'
import { failoverLine, failoverTable, nodesByIp, notes, servicesTable, timelineGroups } from './words.ts'

export type DemoOptions = {
  /** The lab's name. */
  readonly name: string
  /** Where the report goes as JSON; absent: nowhere. */
  readonly json?: string
  readonly style: Style
  /** Takes one line. */
  readonly print: (line: string) => void
  readonly signal: AbortSignal
}

const CLIENT = 'client1'
const PORT = 80
const REQUESTS = 20

/**
 * Shows the main job: a cluster comes up, Services get addresses, a client reaches them, their owners are killed in each way, and
 * the client still reaches them. The lab is gone afterwards, however this ends.
 * @throws LabError when the lab does not come up; the signal's reason
 */
export async function runDemo(options: DemoOptions): Promise<DemoReport> {
  const { json, name, print, signal, style } = options
  checkWritable(json)
  const startedAt = new Date().toISOString()
  const begin = performance.now()
  const say = (text: string): void =>
    print(
      `${paint(style, 'dim', `${((performance.now() - begin) / 1000).toFixed(1).padStart(5)} s`)}  ${text}`,
    )
  const headline = (text: string): void => {
    print('')
    print(paint(style, 'bold', text))
  }

  say('a lab of three nodes and a client, IPv4 and IPv6')
  const lab = await startLab({
    name,
    nodes: 3,
    clients: 1,
    ipv6: true,
    signal,
    onProgress: text => say(`  ${text}`),
  })
  let nodes: DemoReport['nodes'] = []
  let services: DemoService[] = []
  const failovers: FailoverResult[] = []
  const problems: string[] = []
  try {
    const observer = await observe(lab)
    try {
      const manifests = await deploy(observer, { signal, onProgress: say })
      nodes = (await lab.status()).nodes.map(({ name, ips }) => ({ name, ips }))
      say(`${REQUESTS} requests from the client to each address`)
      services = await fetchAll(observer, manifests)
      headline('Services, their addresses and owners')
      for (const line of servicesTable(services)) print(`  ${line}`)
      headline('Killing the owners, with probes from the client each millisecond')
      await killAll(observer, services, failovers, { say, signal })
    } finally {
      observer.close()
    }
  } catch (error) {
    // Whatever else failed then, failed because of that: the terminal interrupts commands in the lab, too.
    signal.throwIfAborted()
    // What was seen so far is shown all the same.
    if (!(error instanceof LabError || error instanceof ProbeError)) throw error
    problems.push(error.message)
  } finally {
    await lab.down()
  }

  if (failovers.length > 0) {
    headline('What the client saw around each kill')
    const groups = timelineGroups(failovers)
    const names = nodes.map(node => node.name)
    for (const line of renderTimeline(groups, { style, nodes: names, nodeOf: nodesByIp(nodes) })) print(line)
    print('')
    for (const line of failoverTable(failovers)) print(`  ${line}`)
    const steered = services.filter(({ policy }) => policy === 'Local').map(({ service }) => service)
    for (const note of notes(failovers, new Set(steered))) {
      print('')
      for (const line of wrap(note, style.columns - 2)) print(`  ${line}`)
    }
  }
  problems.push(...judge({ services, failovers }))
  const durationMs = Math.round(performance.now() - begin)
  const summary =
    problems.length === 0
      ? proof({ services, failovers, durationMs })
      : `failed: ${problems.length} of the things that must hold did not, see above`
  const report: DemoReport = { startedAt, durationMs, nodes, services, failovers, problems, summary }
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, undefined, 2)}\n`)
  print('')
  for (const problem of problems) print(paint(style, 'red', `did not hold: ${problem}`))
  print(paint(style, problems.length === 0 ? 'green' : 'red', summary))
  return report
}

/** Before half a minute of work. @throws LabError 'bad-argument' */
function checkWritable(json: string | undefined): void {
  if (json === undefined) return
  const known = statSync(json, { throwIfNoEntry: false })
  if (known?.isDirectory() === true) throw new LabError('bad-argument', `--json ${json}: this is a folder`)
  const target = known === undefined ? dirname(resolve(json)) : json
  try {
    accessSync(target, constants.W_OK)
  } catch (cause) {
    throw new LabError('bad-argument', `--json ${json}: ${target} cannot be written to`, { cause })
  }
}

async function fetchAll(observer: Observer, manifests: readonly Manifest[]): Promise<DemoService[]> {
  const { lab, speakers } = observer
  const status = await lab.status()
  const owners = ownersOf(await speakers.readAll())
  const services: DemoService[] = []
  for (const { service, ips } of servicesOf(status)) {
    const addresses = []
    for (const ip of ips) {
      const owner = owners.get(ip)?.[0] ?? ''
      const clientIp = clientAddress(status, ip)
      const fetched = await fetchMany(lab, { client: CLIENT, target: ip, port: PORT, requests: REQUESTS })
      addresses.push({ ip, family: familyOf(ip), owner, clientIp, fetched })
    }
    services.push({ service, policy: policyOf(manifests, service), addresses })
  }
  return services
}

function clientAddress(status: LabStatus, like: Ip): Ip {
  const ips = status.hosts.find(({ name }) => name === CLIENT)?.ips ?? []
  const found = ips.map(parseIp).find(ip => ip !== undefined && familyOf(ip) === familyOf(like))
  if (found === undefined) throw new LabError('refused', `${CLIENT} has no ${familyOf(like)} address`)
  return found
}

function policyOf(manifests: readonly Manifest[], service: string): DemoService['policy'] {
  const manifest = manifests.find(
    ({ resource, object }) =>
      resource === RESOURCES.services && objectKey({ namespace: 'default', ...object.metadata }) === service,
  )
  const spec = manifest?.object['spec'] as { readonly externalTrafficPolicy?: unknown } | undefined
  return spec?.externalTrafficPolicy === 'Local' ? 'Local' : 'Cluster'
}

async function killAll(
  observer: Observer,
  services: readonly DemoService[],
  failovers: FailoverResult[],
  to: { readonly say: (text: string) => void; readonly signal: AbortSignal },
): Promise<void> {
  for (const how of DEMO_KILLS) {
    for (const { service } of services) {
      const result = await measureFailover(observer.lab, {
        service,
        how,
        client: CLIENT,
        port: PORT,
        observer,
        signal: to.signal,
      })
      failovers.push(result)
      to.say(failoverLine(result))
      // The next kill would only show the same again.
      if (result.unsettled !== undefined) return
    }
  }
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}
