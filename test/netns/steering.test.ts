// Flow steering in real namespaces with real connections, beside the lab's service proxy.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { SteeredService } from '../../src/dataplane/steering.ts'
import { inside } from './service-proxy-lab.ts'
import {
  buildTopology,
  CLIENT,
  clientAlias,
  connect,
  datagrams,
  downloads,
  enterAt,
  type Flow,
  flows,
  inputOf,
  type LabNode,
  labNode,
  NODES,
  type NodeName,
  newSteering,
  outside,
  plugIn,
  plugOut,
  proxyService,
  startPods,
  steeredService,
  stopChildren,
  vip,
} from './steering-lab.ts'

if (!outside('flow steering', import.meta.url)) {
  const nodes = {} as Record<NodeName, LabNode>

  before(async () => {
    buildTopology()
    for (const node of NODES) nodes[node] = labNode(node)
    await startPods()
    await serve(1, NODES)
  })
  after(() => stopChildren())

  /** The service proxies of all nodes serve this one Service. */
  const serve = async (n: number, on: readonly NodeName[]) => {
    for (const self of NODES) {
      nodes[self].proxy.update({
        node: self,
        podPrefixes: [],
        clusterPrefixes: [],
        nodeAddresses: [],
        services: [proxyService(n, on)],
      })
    }
    await Promise.all(NODES.map(self => nodes[self].proxy.settled()))
  }
  type More = NonNullable<Parameters<typeof inputOf>[2]>
  const steer = async (
    services: readonly SteeredService[],
    more: More & { on?: readonly NodeName[] } = {},
  ) => {
    const { on = NODES, ...rest } = more
    for (const self of on) nodes[self].steering.update(inputOf(self, services, rest))
    await Promise.all(on.map(settled))
  }
  /** Steering tries for ever; the first failure ends the test. */
  const settled = async (self: NodeName) => {
    const { steering, log } = nodes[self]
    const state = { done: false }
    const end = steering.settled().then(() => {
      state.done = true
    })
    while (!state.done) {
      assert.deepEqual(
        log.lines.filter(line => line.level === 'error' || line.level === 'warn'),
        [],
      )
      await Promise.race([end, new Promise(resolve => setTimeout(resolve, 20))])
    }
  }
  const EVEN = { n1: 1, n2: 1, n3: 1 }
  const pods = (results: readonly string[]) =>
    [...new Set(results.map(text => text.split(' ')[0] ?? ''))].sort()
  const report = (all: readonly Flow[]) => all.map(({ pod, problem }) => `${pod} ${problem}`)

  /** Waits until each of these flows has done some more blocks. */
  const progress = async (running: ReturnType<typeof flows>, which: (flow: Flow) => boolean, blocks = 5) => {
    const start = await running.report()
    const deadline = performance.now() + 20_000
    for (;;) {
      const now = await running.report()
      const behind = now.filter(
        (flow, i) => which(flow) && flow.problem === '' && flow.blocks < (start[i]?.blocks ?? 0) + blocks,
      )
      if (behind.length === 0 || performance.now() > deadline) {
        assert.deepEqual(report(behind), [], 'flows that stand still')
        return now
      }
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }

  for (const version of ['v4', 'v6'] as const) {
    const address = vip(1)[version]

    test(`${version}: without steering, Local serves what the entry node has; with it, every pod, and all see the client`, async () => {
      await steer([])
      assert.deepEqual(pods(await connect('client', address, 30)), ['p1'])
      await steer([steeredService(1, EVEN)])
      const results = await connect('client', address, 120)
      assert.deepEqual(pods(results), ['p1', 'p2', 'p3'])
      assert.deepEqual([...new Set(results.map(text => text.split(' ')[1]))], [CLIENT[version]])
      for (const pod of ['p1', 'p2', 'p3']) {
        // 40 expected, standard deviation 5: six of them to either side.
        const share = results.filter(text => text.startsWith(pod)).length
        assert.ok(share > 10 && share < 70, `${pod} got ${share} of 120`)
      }
    })

    test(`${version}: weights count, and a node without endpoints gets nothing`, async () => {
      await steer([steeredService(1, { n2: 3, n3: 1 })])
      const results = await connect('client', address, 160)
      assert.deepEqual(pods(results), ['p2', 'p3'])
      // 120 expected, standard deviation 5.5.
      const share = results.filter(text => text.startsWith('p2')).length
      assert.ok(share > 87 && share < 153, `p2 got ${share} of 160`)
    })

    test(`${version}: affinity 'client' sends all of one client to one node`, async () => {
      await steer([steeredService(1, EVEN, 'client')])
      assert.equal(pods(await connect('client', address, 20)).length, 1)
    })

    test(`${version}: established flows go on when packets come in at another node`, async () => {
      await steer([steeredService(1, EVEN)])
      const running = flows('client', address, 60)
      try {
        const before = await progress(running, () => true)
        assert.deepEqual(pods(before.map(({ pod }) => pod)), ['p1', 'p2', 'p3'])
        for (const entry of ['n2', 'n3', 'n1'] as const) {
          enterAt(entry)
          const now = await progress(running, () => true)
          assert.deepEqual(report(now), report(before))
        }
      } finally {
        running.end()
        enterAt('n1')
      }
    })

    test(`${version}: the entry node dies: every flow whose pod lives goes on, new ones avoid it`, async () => {
      await steer([steeredService(1, EVEN)])
      const running = flows('client', address, 60)
      try {
        const before = await progress(running, () => true)
        plugOut('n1')
        enterAt('n2')
        await steer([steeredService(1, EVEN)], { dead: ['n1'], on: ['n2', 'n3'] })
        const now = await progress(running, ({ pod }) => pod !== 'p1')
        assert.deepEqual(
          report(now).filter(text => !text.startsWith('p1')),
          report(before).filter(text => !text.startsWith('p1')),
        )
        assert.deepEqual(pods(await connect('client', address, 40)), ['p2', 'p3'])
      } finally {
        running.end()
        plugIn('n1')
        enterAt('n1')
      }
    })
  }

  test('a node that died and came back gets exactly the flows that it had', async () => {
    const status = () => nodes.n2.steering.status().services.map(({ tableHash }) => tableHash)
    await steer([steeredService(1, EVEN)])
    const before = status()
    await steer([steeredService(1, EVEN)], { dead: ['n3'] })
    assert.notDeepEqual(status(), before)
    assert.deepEqual(
      status(),
      nodes.n1.steering.status().services.map(({ tableHash }) => tableHash),
    )
    await steer([steeredService(1, EVEN)])
    assert.deepEqual(status(), before)
  })

  for (const version of ['v4', 'v6'] as const) {
    test(`${version}: all fragments of a datagram reach the same pod`, async () => {
      await steer([steeredService(1, EVEN)])
      const sources = Array.from({ length: 12 }, (_, i) => clientAlias(i + 1)[version])
      const small = await datagrams('client', vip(1)[version], 100, sources)
      assert.deepEqual(pods(small.map(text => text.split(' ')[1] ?? '')), ['p1', 'p2', 'p3'])
      const large = await datagrams('client', vip(1)[version], 6000, sources)
      assert.equal(large.length, 24)
      assert.ok(
        large.every(text => text.endsWith('true')),
        large.join('\n'),
      )
      assert.deepEqual(pods(large.map(text => text.split(' ')[1] ?? '')), ['p1', 'p2', 'p3'])
      // By client address: the two of one source went the same way.
      assert.equal(new Set(large).size, 12)
    })

    test(`${version}: "too big" finds the pod that sent, and the download goes on`, async () => {
      await steer([steeredService(1, { n2: 1, n3: 1 })])
      const maps = version === 'v4' ? 'errors4' : 'errors6'
      inside('n1', 'nft', 'flush', 'map', 'netdev', 'lodestone_steering', maps)
      const stuck = await downloads('far', vip(1)[version], 300_000, 4, 1500)
      assert.ok(
        stuck.every(text => Number(text.split(' ')[1]) < 300_000),
        `without: ${stuck.join(', ')}`,
      )
      // Its state is not what it was thought to be: as another process would, read it again.
      await nodes.n1.steering.close({ remove: false })
      nodes.n1 = { ...nodes.n1, ...newSteering('n1') }
      await steer([steeredService(1, { n2: 1, n3: 1 })])
      const results = await downloads('far', vip(1)[version], 300_000, 8, 20_000)
      assert.deepEqual([...new Set(results)].sort(), ['p2 300000', 'p3 300000'])
    })
  }
}
