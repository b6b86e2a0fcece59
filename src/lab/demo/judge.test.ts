import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KillWay } from '../../api/lab.ts'
import type { FailoverResult } from '../scenarios/failover.ts'
import { ADDRESS, failover, SERVICES } from './fixtures.ts'
import { judge, proof } from './judge.ts'
import type { DemoService } from './report.ts'
import { DEMO_KILLS } from './report.ts'

const GOOD = {
  services: SERVICES,
  failovers: SERVICES.flatMap(({ service }) => DEMO_KILLS.map(how => failover({ service, how }))),
}

/** The good case, with one failover of web-cluster changed. */
function with1(how: KillWay, change: Partial<FailoverResult>, address: object = {}): typeof GOOD {
  return {
    ...GOOD,
    failovers: GOOD.failovers.map(each =>
      each.how === how && each.service === 'default/web-cluster'
        ? { ...each, ...change, addresses: each.addresses.map(one => ({ ...one, ...address })) }
        : each,
    ),
  }
}

/** The good case, with the first address of one Service changed. */
function withAddress(service: string, change: object): typeof GOOD {
  const changed = (each: DemoService): DemoService => ({
    ...each,
    addresses: each.addresses.map((address, i) => (i === 0 ? { ...address, ...change } : address)),
  })
  return { ...GOOD, services: GOOD.services.map(each => (each.service === service ? changed(each) : each)) }
}

test('where all holds there is no problem, and the proof has the numbers', () => {
  assert.deepEqual(judge(GOOD), [])
  assert.equal(
    proof({ ...GOOD, durationMs: 31_449 }),
    'proven: 4 addresses of 2 Services answered 80 of 80 requests; 6 kills, and another node took over each time: outage at ' +
      'most 251 ms after a link cut, 0 ms after SIGKILL (limit 1000 ms), 0 of 2400 probes lost in orderly drains; ' +
      'every address returned to its first owner; 31.4 s',
  )
})

test('nothing seen, nothing proven', () => {
  assert.deepEqual(judge({ services: [], failovers: [] }), ['there is no Service'])
})

const { fetched } = ADDRESS
const CASES: readonly [string, typeof GOOD, RegExp][] = [
  [
    'a way that was not tried',
    { ...GOOD, failovers: GOOD.failovers.slice(1) },
    /^default\/web-cluster, link cut: not measured$/,
  ],
  [
    'a family that is missing',
    { ...GOOD, services: GOOD.services.map(each => ({ ...each, addresses: each.addresses.slice(0, 1) })) },
    /^default\/web-cluster has no IPv6 address$/,
  ],
  [
    'a request without an answer',
    withAddress('default/web-cluster', { fetched: { ...fetched, answered: 19, errors: { timeout: 1 } } }),
    /^default\/web-cluster: 19 of 20 requests to 192\.0\.2\.100 were answered \(1 timeout\)$/,
  ],
  [
    'no request at all',
    withAddress('default/web-cluster', { fetched: { ...fetched, requests: 0, answered: 0 } }),
    /0 of 0 requests/,
  ],
  [
    'one node alone behind Cluster',
    withAddress('default/web-cluster', { fetched: { ...fetched, answerers: fetched.answerers.slice(0, 1) } }),
    /reached pods on 1 node, not on several$/,
  ],
  [
    'a masqueraded client behind Local',
    withAddress('default/web-local', {
      fetched: {
        ...fetched,
        answerers: [
          { pod: 'a', node: 'node1', client: '192.0.2.11', answers: 10 },
          { pod: 'b', node: 'node2', client: '192.0.2.201', answers: 10 },
        ],
      },
    }),
    /^default\/web-local: behind 192\.0\.2\.100, a saw 192\.0\.2\.11 and not the client's 192\.0\.2\.201$/,
  ],
  [
    'the owner alone behind Local',
    withAddress('default/web-local', {
      fetched: { ...fetched, answerers: [{ pod: 'b', node: 'node1', client: '192.0.2.201', answers: 20 }] },
    }),
    /^default\/web-local: requests to 192\.0\.2\.100 reached pods on 1 node, not on several$/,
  ],
  [
    'a long outage',
    with1('link', {}, { outageMs: 1000, certainOutageMs: 1000 }),
    /192\.0\.2\.100 did not answer for 1000 ms, the limit is 1000 ms$/,
  ],
  [
    'an outage without end',
    with1(
      'process',
      {},
      { outageMs: 300, phases: { ...failover({}).addresses[0]?.phases, firstAnswerMs: undefined } },
    ),
    /speaker SIGKILLed: 192\.0\.2\.100 did not answer any more$/,
  ],
  [
    'a probe lost in a drain',
    with1('drain', {}, { lost: 1 }),
    /orderly drain: 1 of 600 probes to 192\.0\.2\.100 were lost$/,
  ],
  ['no takeover', with1('link', { nodeAfter: undefined }), /link cut: no other node took over from node1$/],
  [
    'a takeover by the dead node',
    with1('link', { nodeAfter: 'node1' }, { nodeAfterForClient: 'node1' }),
    /no other node took over from node1$/,
  ],
  [
    'a client that still sends to the dead node',
    with1('link', {}, { nodeAfterForClient: 'node1' }),
    /the client sends to node1 for 192\.0\.2\.100, which belongs to node3$/,
  ],
  [
    'another owner after the revival',
    with1('link', { nodeBack: 'node3' }),
    /belongs to node3 and not to node1 again$/,
  ],
  [
    'a lab that does not settle',
    with1('link', { nodeBack: undefined, unsettled: 'node1 is dead' }),
    /link cut: node1 is dead$/,
  ],
]
for (const [name, seen, problem] of CASES) {
  test(`does not hold: ${name}`, () => {
    const problems = judge(seen)
    assert.ok(problems.length > 0)
    assert.match(problems[0] ?? '', problem)
  })
}

test('a time in which the machine did not run the probe is no outage', () => {
  assert.deepEqual(judge(with1('link', {}, { outageMs: 1527, certainOutageMs: 70 })), [])
})

test('what is lost after a link cut is told, not judged', () => {
  assert.deepEqual(judge(with1('link', {}, { lost: 500, lostBeside: 250 })), [])
})
