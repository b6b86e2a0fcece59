// Real speakers, killed in each way while a client probes. What is asserted of times is only that they are not absurd.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { KillWay } from '../../src/api/lab.ts'
import { KILL_WAYS } from '../../src/api/lab.ts'
import type { Lab } from '../../src/lab/lab.ts'
import { startLab } from '../../src/lab/lab.ts'
import { deploy } from '../../src/lab/scenarios/deploy.ts'
import type { FailoverResult } from '../../src/lab/scenarios/failover.ts'
import { measureFailover } from '../../src/lab/scenarios/failover.ts'
import { fetchMany } from '../../src/lab/scenarios/fetch.ts'
import type { Observer } from '../../src/lab/scenarios/observer.ts'
import { observe } from '../../src/lab/scenarios/observer.ts'

/** On a machine that does other things, too. Without a takeover an outage would last until the revival, which waits 10 s for it. */
const OUTAGE_BOUND_MS = 5000

let lab: Lab
let observer: Observer
before(async () => {
  lab = await startLab({ name: `failover-${process.pid}`, nodes: 3, clients: 1, ipv6: true })
  observer = await observe(lab)
  await deploy(observer)
})
after(async () => {
  observer.close()
  await lab.down()
})

/** The node is dead for the network, and its pods with it. */
const CUT_OFF: readonly KillWay[] = ['link', 'blackhole']

for (const service of ['web-cluster', 'web-local']) {
  for (const how of KILL_WAYS) {
    test(`${service} survives its owner: ${how}`, async () => {
      const result = await measureFailover(lab, { service, how, observer })
      assert.equal(result.service, `default/${service}`)
      assert.deepEqual(
        result.addresses.map(({ family }) => family),
        ['IPv4', 'IPv6'],
      )
      assert.equal(result.unsettled, undefined)
      assert.ok(result.nodeAfter !== undefined, 'nobody took over')
      assert.notEqual(result.nodeAfter, result.nodeBefore)
      assert.equal(result.nodeBack, result.nodeBefore, 'L-9: the first candidate has it again')
      for (const address of result.addresses) {
        assert.equal(address.nodeAfterForClient, result.nodeAfter)
        assert.ok(address.phases.announcedMs !== undefined)
        assert.ok(address.sent > 100, `only ${address.sent} probes`)
        assert.ok(address.outageMs < OUTAGE_BOUND_MS, `outage of ${address.outageMs} ms`)
        assert.equal(address.lost, address.lostInOutage + address.lostBeside)
      }
      if (how === 'drain') assert.equal(result.lost, 0)
      if (CUT_OFF.includes(how)) assertCutOff(result)
    })
  }
}

/** Nothing of the node can have been seen after the kill, so there was an outage, and its end was another node's. */
function assertCutOff({ addresses, nodeBefore, pods, service }: FailoverResult): void {
  assert.equal(pods.onKilledNode, 1)
  for (const { lostBeside, lostInOutage, outageMs, phases, report, sentAfterOutage } of addresses) {
    assert.ok(outageMs > 0)
    assert.ok(lostInOutage > 0)
    const { firstAnswerMs, firstLostMs } = phases
    assert.ok(firstLostMs !== undefined && firstAnswerMs !== undefined && firstAnswerMs > firstLostMs)
    const end = report.outages.find(({ durationMs }) => durationMs === outageMs)
    assert.ok(end !== undefined && end.firstAnswerBy !== null)
    assert.notEqual(end.firstAnswerBy.node, nodeBefore)
    // Under Local packets are steered, and a dead node leaves the tables when its silence is noticed.
    if (service.endsWith('web-local')) assert.ok(lostBeside < sentAfterOutage / 10, `${lostBeside} lost`)
  }
}

test('Local keeps the address of the client, Cluster reaches pods everywhere, by both families', async () => {
  for (const [service, policy] of [
    ['web-cluster', 'Cluster'],
    ['web-local', 'Local'],
  ]) {
    const { ips } = await observer.service(service ?? '')
    assert.equal(ips.length, 2)
    const status = await lab.status()
    const clientIps = status.hosts.find(({ name }) => name === 'client1')?.ips ?? []
    for (const target of ips) {
      const fetched = await fetchMany(lab, { client: 'client1', target, port: 80, requests: 60 })
      assert.equal(fetched.requests, 60)
      assert.equal(fetched.answered, 60, JSON.stringify(fetched.errors))
      const nodes = new Set(fetched.answerers.map(({ node }) => node))
      // Under Local as well: packets are steered to the nodes of the pods.
      assert.equal(nodes.size, 3)
      for (const { client } of fetched.answerers) assert.equal(clientIps.includes(client), policy === 'Local')
    }
  }
})

test('what cannot be measured is refused', async () => {
  await assert.rejects(measureFailover(lab, { service: 'nothing', how: 'link' }), {
    code: 'refused',
    message: /no Service default\/nothing/,
  })
})
