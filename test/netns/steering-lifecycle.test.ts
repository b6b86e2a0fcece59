// Start, crash, adoption, removal of flow steering, and interfaces that come and go.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { FlowSteering } from '../../src/dataplane/flow-steering.ts'
import { type SteeredService, type SteeringInput, steeringState } from '../../src/dataplane/steering.ts'
import { parseSteering } from '../../src/dataplane/steering-listing.ts'
import { STEERING_TABLE } from '../../src/dataplane/steering-text.ts'
import { FakeLog } from '../../src/ports/log.ts'
import { type Nft, NftError } from '../../src/ports/nft.ts'
import { clock, inside, run } from './service-proxy-lab.ts'
import {
  buildTopology,
  connect,
  flows,
  inputOf,
  labNode,
  NODES,
  type NodeName,
  NodeNft,
  newSteering,
  outside,
  proxyService,
  SIDE,
  startPods,
  steeredService,
  stopChildren,
  vip,
} from './steering-lab.ts'

if (!outside('life of flow steering', import.meta.url)) {
  const EVEN = steeredService(1, { n1: 1, n2: 1, n3: 1 })
  const BOTH: readonly SteeredService[] = [
    { ...EVEN, slots: 1009 },
    { ...steeredService(2, { n2: 5, n3: 1 }, 'client'), slots: 1009 },
  ]

  before(async () => {
    buildTopology()
    await startPods()
    await Promise.all(
      NODES.map(async self => {
        const { proxy } = labNode(self)
        proxy.update({
          node: self,
          podPrefixes: [],
          clusterPrefixes: [],
          nodeAddresses: [],
          services: [proxyService(1, NODES)],
        })
        await proxy.settled()
      }),
    )
  })
  after(() => stopChildren())

  const listing = (node: NodeName) => new NodeNft(node).listTable('netdev', STEERING_TABLE)
  /** What the kernel of this node holds must be what the input wants. */
  const assertHolds = async (input: SteeringInput) => {
    const held = parseSteering((await listing(input.self as NodeName)) ?? '')
    const { state } = steeringState(input)
    assert.ok(held !== undefined)
    assert.deepEqual(held.interfaces, state.interfaces)
    assert.deepEqual([...held.handovers.keys()].sort(), [...state.handovers.keys()].sort())
    assert.deepEqual(held.maps, state.maps)
    assert.deepEqual(new Set(held.slots.keys()), new Set(state.slots.keys()))
    for (const [mark, slots] of state.slots) {
      assert.deepEqual(held.slots.get(mark)?.slice(0, slots.length), slots)
    }
  }
  const waitFor = async (condition: () => boolean | Promise<boolean>) => {
    const deadline = performance.now() + 20_000
    while (!(await condition())) {
      assert.ok(performance.now() < deadline, 'waited for 20 s')
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  }
  const remove = async (node: NodeName) => newSteering(node).steering.close({ remove: true })
  const pods = (results: readonly string[]) =>
    [...new Set(results.map(text => text.split(' ')[0] ?? ''))].sort()

  test('the next process adopts what is there and changes nothing; removal takes it away', async () => {
    const input = inputOf('n1', BOTH)
    const first = newSteering('n1')
    first.steering.update(input)
    await first.steering.settled()
    await first.steering.close({ remove: false })
    await assertHolds(input)
    const running = flows('client', vip(1).v4, 20)
    try {
      const next = newSteering('n1')
      next.steering.update(input)
      await next.steering.settled()
      assert.deepEqual(next.nft.transactions, [])
      assert.deepEqual(next.steering.status().services, first.steering.status().services)
      assert.deepEqual(pods(await connect('client', vip(1).v4, 30)), ['p1', 'p2', 'p3'])
      assert.deepEqual(
        (await running.report()).filter(({ problem }) => problem !== ''),
        [],
      )
      // Told of a death at its start, the next one reads in two steps; the slots come last.
      await next.steering.close({ remove: false })
      const third = newSteering('n1')
      third.steering.update(inputOf('n1', BOTH, { dead: ['n3'] }))
      await third.steering.settled()
      assert.match(third.nft.transactions[0] ?? '', /^delete element netdev lodestone_steering nodes4/)
      await assertHolds(inputOf('n1', BOTH, { dead: ['n3'] }))
      third.steering.update(input)
      await third.steering.settled()
      await third.steering.close({ remove: true })
    } finally {
      running.end()
    }
    assert.equal(await listing('n1'), undefined)
    assert.deepEqual(pods(await connect('client', vip(1).v4, 30)), ['p1'])
    await remove('n1')
  })

  test('a process that dies in the middle of any change is followed by one that completes it', async () => {
    const from = inputOf('n1', BOTH)
    const to = inputOf(
      'n1',
      [
        { ...steeredService(1, { n1: 4, n2: 1 }), slots: 1009 },
        { ...steeredService(3, { n3: 1 }), slots: 1009 },
      ],
      { dead: ['n3'], devices: ['eth0'], macs: true },
    )
    let steps = 0
    for (; ; steps++) {
      const start = newSteering('n1')
      start.steering.update(from)
      await start.steering.settled()
      // Allows so many transactions, then nothing, as if it were gone.
      const real = new NodeNft('n1')
      let left = steps
      const dying: Nft = {
        apply: text => (left-- > 0 ? real.apply(text) : Promise.reject(new NftError('refused', 'died'))),
        listTable: (family, name, options) => real.listTable(family as 'netdev', name, options),
      }
      const dead = new FlowSteering({ nft: dying, clock, log: new FakeLog() })
      dead.update(to)
      await waitFor(() => dead.status().error !== undefined || dead.status().installed)
      const completed = dead.status().installed
      await dead.close({ remove: false })
      const next = newSteering('n1')
      next.steering.update(to)
      await next.steering.settled()
      assert.deepEqual(
        next.log.lines.filter(({ level }) => level === 'error' || level === 'warn'),
        [],
      )
      await assertHolds(to)
      if (completed) break
    }
    assert.ok(steps >= 4, `${steps} transactions were cut`)
    await remove('n1')
  })

  test('a table of another release is replaced in one transaction', async () => {
    inside(
      'n1',
      'nft',
      `table netdev ${STEERING_TABLE} {\n chain old {\n }\n map slots {\n type mark : mark\n }\n}`,
    )
    const { steering, nft } = newSteering('n1')
    const input = inputOf('n1', BOTH)
    steering.update(input)
    await steering.settled()
    assert.equal(nft.transactions.length, 1)
    await assertHolds(input)
    await steering.close({ remove: true })
  })

  test('without a Service nothing is installed', async () => {
    const { steering, nft } = newSteering('n1')
    steering.update(inputOf('n1', []))
    await steering.settled()
    assert.deepEqual(nft.transactions, [])
    assert.equal(await listing('n1'), undefined)
    await steering.close({ remove: false })
  })

  test('packets that come in on one interface leave on the one where the node is', async () => {
    const { steering } = newSteering('n1')
    steering.update(inputOf('n1', BOTH))
    await steering.settled()
    for (const version of ['v4', 'v6'] as const) {
      const results = await connect('side', vip(1)[version], 40)
      assert.deepEqual(pods(results), ['p1', 'p2', 'p3'])
      assert.deepEqual([...new Set(results.map(text => text.split(' ')[1]))], [SIDE[version]])
    }
    // Without the interface, what comes in there is served as without steering.
    steering.update(inputOf('n1', BOTH, { devices: ['eth0'] }))
    await steering.settled()
    assert.deepEqual(pods(await connect('side', vip(1).v4, 30)), ['p1'])
    await steering.close({ remove: true })
  })

  test('an interface that does not exist hinders no other, and is hooked once it is there', async () => {
    const { steering, log } = newSteering('n1')
    const input = inputOf('n1', BOTH)
    const late = { name: 'late0', index: 99, prefixes: [] }
    const withLate = { ...input, interfaces: [...input.interfaces, late] }
    steering.update(withLate)
    const problem = () => steering.status().interfaces[2]?.problem
    await waitFor(() => problem() !== undefined || steering.status().installed)
    // Kernels since 6.16 take the name and hook the chain when the interface comes.
    if (!steering.status().installed) {
      assert.match(problem() ?? '', /nft refused/)
      assert.ok(log.lines.some(({ level }) => level === 'warn'))
    }
    assert.deepEqual(pods(await connect('client', vip(1).v4, 30)), ['p1', 'p2', 'p3'])
    run('ip', '-n', 'n1', 'link', 'add', 'late0', 'type', 'bridge')
    await steering.settled()
    assert.equal(problem(), undefined)
    await assertHolds(withLate)

    // It goes, comes back with another number, and goes for good.
    run('ip', '-n', 'n1', 'link', 'delete', 'late0')
    run('ip', '-n', 'n1', 'link', 'add', 'late0', 'type', 'bridge')
    const again = { ...input, interfaces: [...input.interfaces, { ...late, index: 100 }] }
    steering.update(again)
    await steering.settled()
    await assertHolds(again)
    run('ip', '-n', 'n1', 'link', 'delete', 'late0')
    steering.update(input)
    await steering.settled()
    await assertHolds(input)
    await steering.close({ remove: true })
  })

  test('while nodes die and return and weights change, the flows of others go on', async () => {
    const { steering } = newSteering('n1')
    const service = (n3: number) => [{ ...steeredService(1, { n1: 1, n2: 1, n3 }), slots: 1009 } as const]
    steering.update(inputOf('n1', service(1)))
    await steering.settled()
    const running = flows('client', vip(1).v4, 40)
    try {
      let first = await running.report()
      await waitFor(async () => {
        first = await running.report()
        return first.every(({ blocks }) => blocks > 0)
      })
      for (let round = 0; round < 5; round++) {
        steering.update(inputOf('n1', service(1), { dead: ['n3'] }))
        await steering.settled()
        steering.update(inputOf('n1', service(1)))
        await steering.settled()
      }
      await waitFor(async () => {
        const now = await running.report()
        const broken = now.filter(({ pod, problem }) => pod !== 'p3' && problem !== '')
        assert.deepEqual(broken, [])
        return now.every(({ pod, blocks }, i) => pod === 'p3' || blocks > (first[i]?.blocks ?? 0) + 5)
      })
    } finally {
      running.end()
    }
    await steering.close({ remove: true })
  })
}
