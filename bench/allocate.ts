import { performance } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Allocator, plan } from '../src/allocator/allocator.ts'
import type { Config } from '../src/config/model.ts'
import { parseConfig } from '../src/config/parse.ts'
import { type ServiceFacts, serviceFromObject } from '../src/config/services.ts'
import type { Bench, Subject, Unit } from './frame.ts'

const SIZES = [10, 1000, 10_000, 100_000]

/** Pure computation: nothing talks to an API server. */
export const bench: Bench = {
  title:
    'giving addresses to Services: from nothing, one change in a large cluster, nearly full pools, memory',
  runs: 5,
  warmUp: 1,
  open: () => Promise.resolve(subjects()),
}

function subjects(): Subject[] {
  const all = servicesFor(100_000)
  const ours = (name: string, unit: Unit, measure: () => number): Subject => ({
    subject: 'lodestone',
    cases: { [name]: unit },
    // A turn of the event loop between two measurements, so that one does not pay for the other's leftovers.
    run: () => new Promise(resolve => setImmediate(() => resolve({ [name]: measure() }))),
  })
  return [
    ...SIZES.map(size => ours(`plan of ${size} Services`, 'ms', () => planTime(all.slice(0, size)))),
    ...SIZES.map(size =>
      ours(`allocations at ${size} Services`, '1/s', () => (size / planTime(all.slice(0, size))) * 1000),
    ),
    ...SIZES.map(size => ours(`memory for ${size} Services`, 'MB', () => planMemory(all.slice(0, size)))),
    ours('last free address of a full /16', 'ms', () => lastAddressTime(all)),
    ...[1000, 100_000].map(size =>
      ours(`one change among ${size} Services`, 'ms', () => changeTime(all.slice(0, size))),
    ),
    ours('address freed with 9,744 Services waiting', 'ms', () => freedTime(all.slice(0, 10_000))),
  ]
}

const LARGE = configOf(['10.0.0.0/8', '2001:db8::/64'])

function planTime(services: readonly ServiceFacts[]): number {
  const start = performance.now()
  const decisions = plan(LARGE, services)
  const elapsed = performance.now() - start
  if (decisions.some(({ ips }) => ips.length !== 1)) throw new Error('not everybody got an address')
  return elapsed
}

/** What the allocator keeps, beside the Services themselves. */
function planMemory(services: readonly ServiceFacts[]): number {
  const before = heapUsed()
  const allocator = new Allocator()
  allocator.reconcile({ config: LARGE, changed: services })
  const after = heapUsed()
  // What the numbers are about must not be collected before they were taken.
  if (allocator.get(services[0]?.key ?? '')?.ips.length !== 1) throw new Error('nothing was allocated')
  return Math.max(0, after - before) / 1e6
}

/** 65,536 Services hold a whole /16; again and again the one at the far end leaves and another one comes. */
function lastAddressTime(all: readonly ServiceFacts[]): number {
  const services = all.slice(0, 65_536)
  const allocator = new Allocator()
  allocator.reconcile({ config: configOf(['10.1.0.0/16']), changed: services })
  let last = services.find(({ key }) => allocator.get(key)?.ips[0] === '10.1.255.255')?.key ?? ''
  const newcomers = all.slice(65_536, 66_536)
  const start = performance.now()
  for (const service of newcomers) {
    allocator.reconcile({ removed: [last] })
    allocator.reconcile({ changed: [service] })
    last = service.key
  }
  const elapsed = performance.now() - start
  if (allocator.get(last)?.ips[0] !== '10.1.255.255') throw new Error('the last address was not found')
  return elapsed / newcomers.length
}

/** The same change to one Service among few and among many: the cost must not follow the cluster. */
function changeTime(services: readonly ServiceFacts[]): number {
  const allocator = new Allocator()
  allocator.reconcile({ config: LARGE, changed: services })
  const changed = services.slice(0, 1000).map(facts => ({ ...facts, labels: { changed: 'yes' } }))
  const start = performance.now()
  for (const service of changed) allocator.reconcile({ changed: [service] })
  return (performance.now() - start) / changed.length
}

function freedTime(services: readonly ServiceFacts[]): number {
  const allocator = new Allocator()
  allocator.reconcile({ config: configOf(['10.2.0.0/24']), changed: services })
  const leaving = services.filter(({ key }) => allocator.get(key)?.ips.length === 1).slice(0, 50)
  const start = performance.now()
  for (const service of leaving) {
    if (allocator.reconcile({ removed: [service.key] }).length !== 1)
      throw new Error('nobody took the address')
  }
  return (performance.now() - start) / leaving.length
}

function configOf(addresses: readonly string[]): Config {
  const pool = { metadata: { name: 'bench', namespace: 'metallb-system' }, spec: { addresses } }
  const parsed = parseConfig({ pools: [pool], l2Advertisements: [], nodes: [], namespaces: [] })
  if (!('config' in parsed)) throw new Error(parsed.problems.map(({ message }) => message).join('\n'))
  return parsed.config
}

function servicesFor(count: number): ServiceFacts[] {
  return Array.from({ length: count }, (_, index) =>
    serviceFromObject({
      metadata: {
        name: `service-${index}`,
        namespace: `team-${index % 50}`,
        uid: `service-${index}`,
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
