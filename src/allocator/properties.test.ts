import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Config } from '../config/model.ts'
import type { ServiceFacts } from '../config/services.ts'
import { Allocator, plan } from './allocator.ts'
import type { Decision } from './decision.ts'
import { applied, applyAll, configOf, DUAL, type PoolSpec, service, V4, V6 } from './fixtures.ts'
import { canShare, claimOf } from './sharing.ts'

const poolSpec = fc.record(
  {
    autoAssign: fc.boolean(),
    avoidBuggyIPs: fc.boolean(),
    serviceAllocation: fc.option(
      fc.constantFrom<Record<string, unknown>>(
        {},
        { priority: 5 },
        { priority: 1, namespaces: ['red'] },
        { priority: 5, serviceSelectors: [{ matchLabels: { tier: 'web' } }] },
        { namespaces: ['blue'], serviceSelectors: [{ matchLabels: { tier: 'web' } }] },
      ),
      { nil: undefined },
    ),
  },
  { noNullPrototype: true },
)

/** Small pools out of blocks that do not overlap, so that exhaustion and sharing happen all the time. */
const config: fc.Arbitrary<Config> = fc.array(poolSpec, { minLength: 1, maxLength: 3 }).chain(specs =>
  fc.array(fc.nat(specs.length), { minLength: BLOCKS.length, maxLength: BLOCKS.length }).map(owners => {
    const pools: Record<string, PoolSpec> = {}
    for (const [index, spec] of specs.entries()) {
      const addresses = BLOCKS.filter((_, block) => owners[block] === index)
      const { serviceAllocation, ...rest } = spec
      if (addresses.length === 0) continue
      pools[`pool-${index}`] = { ...rest, addresses, ...(serviceAllocation && { serviceAllocation }) }
    }
    return configOf(pools, { red: {}, blue: {} })
  }),
)
const BLOCKS = ['10.0.0.254/31', '10.0.1.0/30', '10.0.2.1-10.0.2.3', '2001:db8::/126', '2001:db8:1::/127']

const IPS = ['10.0.0.255', '10.0.1.0', '10.0.1.1', '10.0.2.2', '2001:db8::', '2001:db8:1::1', '192.0.2.77']

const anyService = (status: fc.Arbitrary<readonly string[]>) =>
  fc
    .record(
      {
        name: fc.nat(11),
        namespace: fc.constantFrom('red', 'blue'),
        created: fc.nat(5),
        cluster: fc.constantFrom(V4, V6, DUAL),
        policy: fc.constantFrom('SingleStack', 'PreferDualStack', 'RequireDualStack'),
        web: fc.boolean(),
        sharing: fc.constantFrom('', '', 'a', 'b'),
        local: fc.boolean(),
        app: fc.constantFrom('x', 'y'),
        port: fc.constantFrom('TCP/80', 'TCP/81', 'UDP/80'),
        request: fc.constantFrom('', '', '', ...IPS, '10.0.1.1,2001:db8::', 'nonsense'),
        pool: fc.constantFrom('', '', '', 'pool-0', 'pool-1', 'missing'),
        type: fc.constantFrom('LoadBalancer', 'LoadBalancer', 'LoadBalancer', 'LoadBalancer', 'ClusterIP'),
        status,
      },
      { noNullPrototype: true },
    )
    .map(s =>
      service(`s${s.name}`, {
        namespace: s.namespace,
        created: s.created,
        clusterIPs: s.cluster,
        policy: s.cluster.length > 1 && s.policy === 'SingleStack' ? 'RequireDualStack' : s.policy,
        labels: s.web ? { tier: 'web' } : {},
        ports: [s.port],
        annotations: { 'allow-shared-ip': s.sharing, loadBalancerIPs: s.request, 'address-pool': s.pool },
        status: s.status,
        spec: {
          type: s.type,
          externalTrafficPolicy: s.local ? 'Local' : 'Cluster',
          selector: { app: s.app },
        },
      }),
    )

const NO_STATUS = fc.constant<readonly string[]>([])
const ANY_STATUS = fc.oneof(
  NO_STATUS,
  fc.subarray(IPS, { maxLength: 2 }).map(ips => ips as readonly string[]),
)
const services = (status: fc.Arbitrary<readonly string[]>) =>
  fc.uniqueArray(anyService(status), { selector: ({ key }) => key, maxLength: 12 })

const outcome = ({ service: key, ips, pool, pending, write }: Decision) => ({
  key,
  ips,
  pool,
  pending: pending?.code,
  write,
})

function assertNoAddressTwice(all: readonly ServiceFacts[], decisions: readonly Decision[]): void {
  const byKey = new Map(all.map(facts => [facts.key, facts]))
  const holders = new Map<string, ServiceFacts[]>()
  for (const { service: key, ips } of decisions) {
    for (const ip of ips) {
      const facts = byKey.get(key) as ServiceFacts
      for (const other of holders.get(ip) ?? []) {
        assert.ok(canShare(claimOf(facts), claimOf(other)), `${ip} is held by ${key} and ${other.key}`)
      }
      holders.set(ip, [...(holders.get(ip) ?? []), facts])
    }
  }
}

test('property: a plan, applied, needs no second plan', () => {
  fc.assert(
    fc.property(config, services(ANY_STATUS), (pools, before) => {
      const first = plan(pools, before)
      assertNoAddressTwice(before, first)
      const after = applyAll(before, first)
      const second = plan(pools, after)
      assert.ok(second.every(({ write, cleared }) => !write && cleared.length === 0))
      const settled = new Map(second.map(decision => [decision.service, decision.ips]))
      for (const { service: key, ips } of first) assert.deepEqual(settled.get(key) ?? [], ips)
    }),
    { numRuns: 400 },
  )
})

test('property: the order of the input changes nothing', () => {
  const shuffled = services(ANY_STATUS).chain(all =>
    fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
  )
  fc.assert(
    fc.property(config, shuffled, (pools, [one, other]) => {
      assert.deepEqual(plan(pools, one), plan(pools, other))
    }),
    { numRuns: 200 },
  )
})

test('property: nobody loses an address because somebody else arrived', () => {
  fc.assert(
    fc.property(config, services(NO_STATUS), fc.nat(12), (pools, all, split) => {
      const early = all.slice(0, split)
      const settled = applyAll(early, plan(pools, early))
      const together = plan(pools, [...settled, ...all.slice(split)])
      const after = new Map(together.map(decision => [decision.service, decision]))
      for (const { key, statusIps } of settled) {
        assert.deepEqual(after.get(key)?.cleared ?? [], [])
        for (const ip of statusIps) assert.ok(after.get(key)?.ips.includes(ip), `${key} lost ${ip}`)
      }
    }),
    { numRuns: 300 },
  )
})

type Step =
  | { readonly type: 'change'; readonly services: readonly ServiceFacts[] }
  | { readonly type: 'remove'; readonly name: number }
  | { readonly type: 'config'; readonly config: Config }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: services(NO_STATUS).map((all): Step => ({ type: 'change', services: all.slice(0, 3) })),
  },
  { weight: 3, arbitrary: fc.nat(11).map((name): Step => ({ type: 'remove', name })) },
  { weight: 1, arbitrary: config.map((c): Step => ({ type: 'config', config: c })) },
)

test('property: step by step ends where a plan from nothing would stay', () => {
  fc.assert(
    fc.property(config, fc.array(step, { maxLength: 15 }), (first, steps) => {
      const allocator = new Allocator()
      const cluster = new Map<string, ServiceFacts>()
      let current = first
      const write = (decisions: readonly Decision[]) => {
        const written: ServiceFacts[] = []
        for (const decision of decisions) {
          if (!decision.write) continue
          const facts = applied(cluster.get(decision.service) as ServiceFacts, decision)
          cluster.set(decision.service, facts)
          written.push(facts)
        }
        // The API shows our own writes: nothing may come of that.
        for (const decision of allocator.reconcile({ changed: written })) assert.ok(!decision.write)
      }
      write(allocator.reconcile({ config: first }))
      for (const one of steps) {
        if (one.type === 'config') {
          current = one.config
          write(allocator.reconcile({ config: current }))
        } else if (one.type === 'remove') {
          const removed = [...cluster.keys()].filter(key => key.endsWith(`/s${one.name}`))
          for (const key of removed) cluster.delete(key)
          write(allocator.reconcile({ removed }))
        } else {
          // An edit keeps the status that the object has.
          const changed = one.services.map(facts => {
            const known = cluster.get(facts.key)
            if (known === undefined) return facts
            const { allocatedFromPool } = known.annotations
            const annotations = { ...facts.annotations, allocatedFromPool }
            return { ...facts, statusIps: known.statusIps, annotations }
          })
          for (const facts of changed) cluster.set(facts.key, facts)
          write(allocator.reconcile({ changed }))
        }
        const scratch = plan(current, cluster.values())
        assertNoAddressTwice([...cluster.values()], scratch)
        for (const decision of scratch) {
          const known = allocator.get(decision.service)
          assert.deepEqual(outcome(decision), {
            key: decision.service,
            ips: known?.ips,
            pool: known?.pool,
            pending: known?.pending?.code,
            write: false,
          })
        }
      }
    }),
    { numRuns: 200 },
  )
})
