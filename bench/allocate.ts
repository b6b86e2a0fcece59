import { performance } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Allocator } from '../src/allocator/allocator.ts'
import type { Config } from '../src/config/model.ts'
import { parseConfig } from '../src/config/parse.ts'
import { type ServiceFacts, serviceFromObject } from '../src/config/services.ts'

export type Result = { case: string; subject: string; unit: string; values: number[] }

const SIZES = [10, 1000, 10_000, 100_000]

/**
 * How fast addresses are given out: a plan from nothing, one more Service in a large cluster, the last address of a
 * nearly full pool, and what all of it takes in memory. Pure computation; nothing talks to an API server.
 */
export async function run(context: { readonly runs: number }): Promise<Result[]> {
  const results = new Map<string, Result>()
  function record(name: string, unit: string, value: number): void {
    let result = results.get(name)
    if (result === undefined) {
      result = { case: name, subject: 'lodestone', unit, values: [] }
      results.set(name, result)
    }
    result.values.push(value)
  }
  // One round unmeasured: the compiler has to see the code first.
  for (let round = 0; round <= context.runs; round++) {
    const keep = round === 0 ? () => {} : record
    for (const size of SIZES) {
      if (round === 0 && size > 1000) continue
      measurePlan(size, keep)
      await breathe()
    }
    measureLastAddress(keep)
    measureChange(keep)
    await breathe()
  }
  return [...results.values()]
}

type Record = (name: string, unit: string, value: number) => void

function measurePlan(size: number, record: Record): void {
  const config = configOf(['10.0.0.0/8', '2001:db8::/64'])
  const services = servicesFor(size)
  const before = heapUsed()
  const start = performance.now()
  const allocator = new Allocator()
  allocator.reconcile({ config, changed: services })
  const elapsed = performance.now() - start
  record(`plan of ${size} services`, 'ms', elapsed)
  record(`rate at ${size} services`, 'allocations/s', (size / elapsed) * 1000)
  record(`memory for ${size} services`, 'MB', Math.max(0, heapUsed() - before) / 1e6)
  // What the numbers are about must not be collected before they were taken.
  if (allocator.get(services[0]?.key ?? '')?.ips.length !== 1) throw new Error('nothing was allocated')
}

/** 65,536 Services hold a whole /16; one of them leaves and another one comes, at the far end. */
function measureLastAddress(record: Record): void {
  const config = configOf(['10.1.0.0/16'])
  const services = servicesFor(65_536)
  const allocator = new Allocator()
  allocator.reconcile({ config, changed: services })
  const rounds = 1000
  let last = services.find(({ key }) => allocator.get(key)?.ips[0] === '10.1.255.255')?.key ?? ''
  const newcomers = servicesFor(rounds, 'newcomer')
  const start = performance.now()
  for (const service of newcomers) {
    allocator.reconcile({ removed: [last] })
    allocator.reconcile({ changed: [service] })
    last = service.key
  }
  const elapsed = performance.now() - start
  if (allocator.get(last)?.ips[0] !== '10.1.255.255') throw new Error('the last address was not found')
  record('last free address of a full /16', 'ms', elapsed / rounds)
}

/** The same change to one Service among few and among many: the cost must not follow the cluster. */
function measureChange(record: Record): void {
  for (const size of [1000, 100_000]) {
    const allocator = new Allocator()
    allocator.reconcile({ config: configOf(['10.0.0.0/8']), changed: servicesFor(size) })
    const rounds = 1000
    const changed = servicesFor(rounds)
    const start = performance.now()
    for (const service of changed) allocator.reconcile({ changed: [service] })
    record(`one change among ${size} services`, 'ms', (performance.now() - start) / rounds)
  }
  const services = servicesFor(10_000)
  const allocator = new Allocator()
  const config = configOf(['10.2.0.0/24'])
  allocator.reconcile({ config, changed: services })
  const rounds = 200
  const start = performance.now()
  for (const service of services.slice(0, rounds)) allocator.reconcile({ removed: [service.key] })
  record('address freed with 9,744 services waiting', 'ms', (performance.now() - start) / rounds)
}

function configOf(addresses: readonly string[]): Config {
  const pool = { metadata: { name: 'bench', namespace: 'metallb-system' }, spec: { addresses } }
  const parsed = parseConfig({ pools: [pool], l2Advertisements: [], nodes: [], namespaces: [] })
  if (!('config' in parsed)) throw new Error(parsed.problems.map(({ message }) => message).join('\n'))
  return parsed.config
}

function servicesFor(count: number, prefix = 'service'): ServiceFacts[] {
  return Array.from({ length: count }, (_, index) =>
    serviceFromObject({
      metadata: {
        name: `${prefix}-${index}`,
        namespace: `team-${index % 50}`,
        uid: `${prefix}-${index}`,
        creationTimestamp: new Date(Date.UTC(2026, 0, 1) + index * 1000).toISOString(),
      },
      spec: {
        type: 'LoadBalancer',
        clusterIPs: ['10.96.0.1'],
        ipFamilies: ['IPv4'],
        ipFamilyPolicy: 'SingleStack',
        ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
      },
    }),
  )
}

function heapUsed(): number {
  collect?.()
  return process.memoryUsage().heapUsed
}

/** The collector on demand, so that memory figures do not depend on when it last ran. */
const collect: (() => void) | undefined = (() => {
  setFlagsFromString('--expose-gc')
  const gc: unknown = runInNewContext('gc')
  return typeof gc === 'function' ? (gc as () => void) : undefined
})()

function breathe(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
