import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type Ip, parseIp } from '../addr/ip.ts'
import { type Prefix, parsePrefix } from '../addr/prefix.ts'
import { plan, removal, staleFlows } from './plan.ts'
import type { ProxyEndpoint, ProxyInput, ProxyService } from './service.ts'
import { affinityIds, type ProxyState, wantedState } from './tables.ts'

const ip = (text: string): Ip => parseIp(text) ?? assert.fail(text)
const prefix = (text: string): Prefix => parsePrefix(text) ?? assert.fail(text)

function endpoint(address: string, node: string, more: Partial<ProxyEndpoint> = {}): ProxyEndpoint {
  return { ip: ip(address), port: 8080, node, ready: true, serving: true, terminating: false, ...more }
}

const LOCAL = endpoint('10.244.1.5', 'n1')
const REMOTE = endpoint('10.244.2.5', 'n2')

function service(endpoints: readonly ProxyEndpoint[], more: Partial<ProxyService> = {}): ProxyService {
  return {
    key: 'default/web',
    clusterIps: [ip('10.96.0.1')],
    externalIps: [ip('203.0.113.1')],
    ports: [{ name: 'http', protocol: 'TCP', port: 80, endpoints }],
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ...more,
  }
}

function input(...services: ProxyService[]): ProxyInput {
  return {
    node: 'n1',
    podPrefixes: [prefix('10.244.1.0/24')],
    clusterPrefixes: [prefix('10.244.0.0/16'), prefix('fd00:244::/32')],
    nodeAddresses: [ip('192.0.2.11'), ip('2001:db8::11')],
    services,
  }
}

const elements = (state: ProxyState, set: keyof ProxyState['tables']['ip']['sets']) =>
  Object.fromEntries(state.tables.ip.sets[set])

const CLUSTER_KEY = '10.96.0.1 . tcp . 80'
const VIP_KEY = '203.0.113.1 . tcp . 80'

const VERDICTS: readonly [
  name: string,
  service: ProxyService,
  services: Record<string, string>,
  externalLocal: Record<string, string>,
][] = [
  ['Cluster', service([LOCAL, REMOTE]), { [CLUSTER_KEY]: 'goto pick-2', [VIP_KEY]: 'goto pick-2' }, {}],
  [
    'Local, one of two here',
    service([LOCAL, REMOTE], { externalTrafficPolicy: 'Local' }),
    { [CLUSTER_KEY]: 'goto pick-2', [VIP_KEY]: 'goto pick-2' },
    { [VIP_KEY]: 'goto local-pick-1' },
  ],
  [
    'Local, none here',
    service([REMOTE], { externalTrafficPolicy: 'Local' }),
    { [CLUSTER_KEY]: 'goto pick-1', [VIP_KEY]: 'goto pick-1' },
    { [VIP_KEY]: 'drop' },
  ],
  [
    'Local, none anywhere',
    service([], { externalTrafficPolicy: 'Local' }),
    { [CLUSTER_KEY]: 'goto refuse', [VIP_KEY]: 'goto refuse' },
    {},
  ],
  [
    'internal Local, none here',
    service([REMOTE], { internalTrafficPolicy: 'Local' }),
    { [CLUSTER_KEY]: 'drop', [VIP_KEY]: 'goto pick-1' },
    {},
  ],
  [
    'not ready counts for nothing',
    service([LOCAL, endpoint('10.244.2.6', 'n2', { ready: false, serving: false })]),
    { [CLUSTER_KEY]: 'goto pick-1', [VIP_KEY]: 'goto pick-1' },
    {},
  ],
  [
    'terminating endpoints serve while none is ready',
    service([
      endpoint('10.244.1.5', 'n1', { ready: false, terminating: true }),
      endpoint('10.244.1.6', 'n1', { ready: false, serving: false, terminating: true }),
    ]),
    { [CLUSTER_KEY]: 'goto pick-1', [VIP_KEY]: 'goto pick-1' },
    {},
  ],
  [
    'Local with only a terminating endpoint here and a ready one elsewhere',
    service([endpoint('10.244.1.5', 'n1', { ready: false, terminating: true }), REMOTE], {
      externalTrafficPolicy: 'Local',
    }),
    { [CLUSTER_KEY]: 'goto pick-1', [VIP_KEY]: 'goto pick-1' },
    { [VIP_KEY]: 'goto local-pick-1' },
  ],
  [
    'affinity',
    service([LOCAL, REMOTE], { sessionAffinityTimeoutSeconds: 30 }),
    { [CLUSTER_KEY]: 'goto sticky-2-30', [VIP_KEY]: 'goto sticky-2-30' },
    {},
  ],
]

for (const [name, given, services, externalLocal] of VERDICTS) {
  test(`verdicts: ${name}`, () => {
    const state = wantedState(input(given))
    assert.deepEqual(elements(state, 'services'), services)
    assert.deepEqual(elements(state, 'external-local'), externalLocal)
  })
}

test('a node port is served on each node address, of the family of its endpoints', () => {
  const given = service([LOCAL], {
    ports: [{ name: '', protocol: 'UDP', port: 53, nodePort: 30053, endpoints: [LOCAL] }],
  })
  const state = wantedState(input(given))
  assert.equal(elements(state, 'services')['192.0.2.11 . udp . 30053'], 'goto pick-1')
  assert.equal(state.tables.ip6.sets.services.get('2001:db8::11 . udp . 30053'), 'goto refuse')
})

test('source ranges: overlaps are folded, another family stays open, extra addresses too', () => {
  const state = wantedState(
    input(
      service([LOCAL], {
        externalIps: [ip('203.0.113.1'), ip('2001:db8:f::1')],
        extraIps: [ip('203.0.113.2')],
        sourceRanges: [prefix('10.1.0.0/16'), prefix('10.0.0.0/8'), prefix('192.0.2.7/32')],
      }),
    ),
  )
  assert.deepEqual(elements(state, 'restricted'), { [VIP_KEY]: '' })
  assert.deepEqual(elements(state, 'allowed-sources'), {
    [`${VIP_KEY} . 10.0.0.0/8`]: '',
    [`${VIP_KEY} . 192.0.2.7`]: '',
  })
  assert.equal(state.tables.ip6.sets.restricted.size, 0)
})

test('where the node has no pod range of its own, those of the cluster say who is a pod', () => {
  const state = wantedState(input())
  assert.deepEqual(elements(state, 'pods'), { '10.244.1.0/24': '' })
  assert.deepEqual([...state.tables.ip6.sets.pods.keys()], ['fd00:244::/32'])
})

test('of two claims to one address and port the lower key wins, in any order of input', () => {
  const a = service([LOCAL], { key: 'default/a', clusterIps: [ip('10.96.0.2')] })
  const b = service([LOCAL, REMOTE], { key: 'default/b', clusterIps: [ip('10.96.0.3')] })
  const state = wantedState(input(b, a))
  assert.equal(elements(state, 'services')[VIP_KEY], 'goto pick-1')
  assert.deepEqual(state, wantedState(input(a, b)))
})

test('a change of one endpoint, as text', () => {
  const before = wantedState(input(service([LOCAL, REMOTE])))
  const after = wantedState(input(service([LOCAL])))
  assert.equal(
    plan(after, before).transaction,
    `add chain ip lodestone-proxy pick-1
add rule ip lodestone-proxy pick-1 ip saddr != @pods meta mark set meta mark or 0x4000
add rule ip lodestone-proxy pick-1 meta priority set numgen random mod 1
add rule ip lodestone-proxy pick-1 meta l4proto { tcp, udp, sctp } dnat to ip daddr . meta l4proto . th dport . meta priority map @endpoints
delete element ip lodestone-proxy services { ${CLUSTER_KEY}, ${VIP_KEY} }
delete element ip lodestone-proxy endpoints { ${CLUSTER_KEY} . 0:1, ${VIP_KEY} . 0:1 }
add element ip lodestone-proxy services { ${CLUSTER_KEY} : goto pick-1, ${VIP_KEY} : goto pick-1 }
flush chain ip lodestone-proxy pick-2
delete chain ip lodestone-proxy pick-2
`,
  )
})

test('a whole replacement removes and declares both tables in one text', () => {
  const { transaction } = plan(wantedState(input(service([LOCAL]))), undefined)
  const lines = transaction.split('\n')
  for (const family of ['ip', 'ip6']) {
    const at = lines.indexOf(`table ${family} lodestone-proxy {`)
    assert.deepEqual(lines.slice(at - 2, at), [
      `add table ${family} lodestone-proxy`,
      `delete table ${family} lodestone-proxy`,
    ])
  }
  assert.ok(
    lines.includes(
      `add element ip lodestone-proxy services { ${CLUSTER_KEY} : goto pick-1, ${VIP_KEY} : goto pick-1 }`,
    ),
  )
  assert.equal(
    removal()
      .split('\n')
      .filter(line => line.startsWith('delete table')).length,
    2,
  )
})

const udp = (endpoints: readonly ProxyEndpoint[]) =>
  service(endpoints, { externalIps: [], ports: [{ name: '', protocol: 'UDP', port: 53, endpoints }] })
const DNS = { ip: ip('10.96.0.1'), port: 53 }
const end = ({ ip, port }: ProxyEndpoint) => ({ ip, port })

test('flows to endpoints that went are flushed; those from before the first endpoint too; TCP never', () => {
  const flush = (after: ProxyService[], before: ProxyService[]) =>
    plan(wantedState(input(...after)), wantedState(input(...before))).flushConntrack
  const lost = { protocol: 'UDP', originalDestination: DNS, replySource: end(REMOTE) }
  assert.deepEqual(flush([udp([LOCAL])], [udp([LOCAL, REMOTE])]), [lost])
  assert.deepEqual(flush([], [udp([REMOTE])]), [lost])
  assert.deepEqual(flush([udp([])], [udp([REMOTE])]), [lost])
  assert.deepEqual(flush([udp([LOCAL])], [udp([])]), [{ protocol: 'UDP', originalDestination: DNS }])
  assert.deepEqual(flush([udp([LOCAL])], []), [{ protocol: 'UDP', originalDestination: DNS }])
  assert.deepEqual(flush([udp([LOCAL, REMOTE])], [udp([LOCAL])]), [])
  assert.deepEqual(flush([service([LOCAL])], [service([REMOTE])]), [])
})

test('stale among the flows that conntrack holds: ours, going elsewhere, each once', () => {
  const state = wantedState(input(udp([LOCAL])))
  const flow = (port: number, replySource: { ip: Ip; port: number }, to = DNS) => ({
    protocol: 'UDP' as const,
    originalSource: { ip: ip('10.244.1.9'), port },
    originalDestination: to,
    replySource,
  })
  const stranger = { ip: ip('192.0.2.53'), port: 53 }
  assert.deepEqual(
    staleFlows(state, [
      flow(1, end(LOCAL)),
      flow(2, end(REMOTE)),
      flow(3, end(REMOTE)),
      flow(4, DNS),
      flow(5, stranger, stranger),
    ]),
    [
      { protocol: 'UDP', originalDestination: DNS, replySource: end(REMOTE) },
      { protocol: 'UDP', originalDestination: DNS, replySource: DNS },
    ],
  )
})

test('affinity names: stable for an endpoint when others leave, never 0, never twice', () => {
  const all = Array.from({ length: 2000 }, (_, i) => ({ ip: ip(`10.0.${i >> 8}.${i & 255}`), port: 80 }))
  const ids = affinityIds(all)
  assert.equal(new Set(ids).size, all.length)
  assert.ok(ids.every(id => id > 0 && id <= 0xffff))
  const few = all.slice(0, 5)
  assert.deepEqual(affinityIds(few.slice(1)), affinityIds(few).slice(1))
})

/** The tables as nft text leaves them, for text of the forms that plan() writes. Refuses what the kernel would refuse. */
class Model {
  readonly chains = new Map<string, string[]>()
  readonly sets = new Map<string, Map<string, string>>()

  run(text: string): void {
    for (const line of text.split('\n').filter(line => line !== '')) this.#line(line)
    for (const [name, set] of this.sets) {
      for (const data of set.values()) {
        const target = /^goto (?<chain>.*)$/.exec(data)?.groups?.['chain']
        if (target !== undefined && target !== 'refuse') {
          assert.ok(this.chains.has(`${name.split(' ')[0]} ${target}`), `${data} leads nowhere`)
        }
      }
    }
  }

  #line(line: string): void {
    const [verb, what, family = '', , name = ''] = line.split(' ')
    const key = `${family} ${name}`
    if (what === 'chain') {
      if (verb === 'add') this.chains.set(key, [])
      else assert.ok(verb === 'flush' ? this.chains.has(key) : this.chains.delete(key), line)
    } else if (what === 'rule') {
      const rules = this.chains.get(key) ?? assert.fail(line)
      rules.push(line.split(' ').slice(5).join(' '))
    } else {
      assert.equal(what, 'element')
      const set = this.sets.get(key) ?? new Map<string, string>()
      this.sets.set(key, set)
      for (const element of line.slice(line.indexOf('{') + 2, -2).split(', ')) {
        const [k = '', data = ''] = element.split(' : ')
        if (verb === 'delete') assert.ok(set.delete(k), `no element ${k}`)
        else {
          assert.ok(!set.has(k), `element ${k} twice`)
          set.set(k, data)
        }
      }
    }
  }

  /** Without order, which means nothing to the kernel, and without empty sets. */
  value() {
    const sorted = <T>(map: ReadonlyMap<string, T>) =>
      [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    return {
      chains: sorted(this.chains),
      sets: sorted(this.sets)
        .filter(([, set]) => set.size > 0)
        .map(([name, set]) => [name, sorted(set)]),
    }
  }
}

const ENDPOINTS = fc.uniqueArray(
  fc.record(
    {
      ip: fc.constantFrom('10.244.1.5', '10.244.1.6', '10.244.2.5', 'fd00:244:1::5', 'fd00:244:2::5').map(ip),
      port: fc.constantFrom(80, 8080),
      node: fc.constantFrom('n1', 'n2'),
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
    },
    { noNullPrototype: true },
  ),
  { maxLength: 5, selector: item => `${item.ip} ${item.port}` },
)
const SERVICE = fc.record(
  {
    key: fc.constantFrom('a/a', 'a/b', 'a/c'),
    clusterIps: fc.uniqueArray(fc.constantFrom('10.96.0.1', '10.96.0.2', 'fd00:96::1').map(ip), {
      minLength: 1,
    }),
    externalIps: fc.uniqueArray(fc.constantFrom('203.0.113.1', '203.0.113.2', '2001:db8:f::1').map(ip)),
    ports: fc.array(
      fc.record(
        {
          name: fc.constant('p'),
          protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
          port: fc.constantFrom(53, 80),
          nodePort: fc.constantFrom(30053, 30080),
          endpoints: ENDPOINTS,
        },
        { noNullPrototype: true },
      ),
      { maxLength: 3 },
    ),
    externalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
    internalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
    sourceRanges: fc.uniqueArray(fc.constantFrom('10.0.0.0/8', '10.1.0.0/16', 'fd00::/8').map(prefix)),
    sticky: fc.constantFrom(0, 10, 20),
  },
  { noNullPrototype: true },
)
const SERVICES = fc
  .uniqueArray(SERVICE, { maxLength: 3, selector: item => item.key })
  .map(list =>
    list.map(({ sticky, ...rest }) =>
      sticky === 0 ? rest : { ...rest, sessionAffinityTimeoutSeconds: sticky },
    ),
  )

test('deltas, one after the other, lead to the same tables as each state written anew', () => {
  fc.assert(
    fc.property(fc.array(SERVICES, { minLength: 2, maxLength: 4 }), sequence => {
      const model = new Model()
      const empty = wantedState({ ...input(), podPrefixes: [], clusterPrefixes: [] })
      let observed = empty
      for (const services of sequence) {
        const wanted = wantedState(input(...services))
        model.run(plan(wanted, observed).transaction)
        const anew = new Model()
        anew.run(plan(wanted, empty).transaction)
        assert.deepEqual(model.value(), anew.value())
        // The same elements as in the text of a whole replacement.
        const whole = plan(wanted, undefined)
          .transaction.split('\n')
          .filter(line => line.startsWith('add element'))
        const elements = new Model()
        for (const [name, rules] of anew.chains) elements.chains.set(name, rules)
        elements.run(whole.join('\n'))
        assert.deepEqual(elements.value().sets, anew.value().sets)
        assert.deepEqual(plan(wanted, wanted), { transaction: '', flushConntrack: [] })
        observed = wanted
      }
    }),
    { numRuns: 150 },
  )
})

test('ten thousand services: one endpoint more is a few lines', () => {
  const many = Array.from({ length: 10_000 }, (_, i) =>
    service([LOCAL, REMOTE, endpoint('10.244.2.6', 'n2')], {
      key: `many/s${i}`,
      clusterIps: [ip(`10.97.${i >> 8}.${i & 255}`)],
      externalIps: [],
    }),
  )
  const before = wantedState(input(...many))
  assert.equal(before.tables.ip.sets.endpoints.size, 30_000)
  assert.ok(plan(before, undefined).transaction.includes('10.97.39.15 . tcp . 80 : goto pick-3'))
  const [first, ...rest] = many
  assert.ok(first !== undefined)
  const grown = {
    ...first,
    ports: service([LOCAL, REMOTE, endpoint('10.244.2.6', 'n2'), endpoint('10.244.2.7', 'n2')]).ports,
  }
  const { transaction } = plan(wantedState(input(grown, ...rest)), before)
  assert.ok(transaction.split('\n').length < 10, transaction)
})
