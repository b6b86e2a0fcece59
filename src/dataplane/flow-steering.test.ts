import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../ports/clock.ts'
import { FakeLog } from '../ports/log.ts'
import { NftError } from '../ports/nft.ts'
import { FlowSteering } from './flow-steering.ts'
import { FakeKernel, steered, steeringInput } from './steering-fixtures.ts'

function start(nft = new FakeKernel()) {
  const ports = { nft, clock: new FakeClock(), log: new FakeLog() }
  return { ...ports, steering: new FlowSteering(ports) }
}
const turn = () => new Promise<void>(resolve => setImmediate(resolve))
const ONE = [steered(1, { n1: 1, n2: 1, n3: 1 })]

test('a burst is one pass; what is installed already is not written again', async () => {
  const { steering, nft, clock } = start()
  steering.update(steeringInput([]))
  steering.update(steeringInput(ONE))
  assert.equal(steering.status().installed, false)
  clock.advance(5)
  await steering.settled()
  assert.equal(steering.status().installed, true)
  const count = nft.transactions.length
  steering.update(steeringInput(ONE))
  clock.advance(5)
  await steering.settled()
  assert.equal(nft.transactions.length, count)
})

test('status: hash, shares and reach', async () => {
  const { steering, clock } = start()
  const input = steeringInput(ONE, { dead: new Set(['n3']) })
  steering.update({ ...input, nodes: new Map([...input.nodes, ['far', {}]]) })
  clock.advance(5)
  await steering.settled()
  const { services, nodes, interfaces } = steering.status()
  const [service] = services
  assert.equal(service?.size, 1009)
  assert.match(service?.tableHash ?? '', /^[0-9a-f]{16}$/)
  assert.deepEqual(
    service?.nodes.map(({ node, slots }) => [node, slots > 400]),
    [
      ['n1', true],
      ['n2', true],
      ['n3', false],
    ],
  )
  assert.equal(
    service?.nodes.reduce((sum, { share }) => sum + share, 0),
    1,
  )
  assert.deepEqual(interfaces, [{ name: 'eth0' }])
  assert.equal(nodes.length, 9)
  assert.deepEqual(
    nodes.find(({ node }) => node === 'n3'),
    {
      node: 'n3',
      dead: true,
      reach: [
        { family: 'IPv4', interface: 'eth0' },
        { family: 'IPv6', interface: 'eth0' },
      ],
    },
  )
  assert.deepEqual(
    nodes.find(({ node }) => node === 'far')?.reach.map(({ why }) => why),
    ['the node has no address of this family', 'the node has no address of this family'],
  )
})

test('a death waits for nothing, and its first transaction is enough', async () => {
  const { steering, nft, clock } = start()
  steering.update(steeringInput(ONE))
  clock.advance(5)
  await steering.settled()
  const before = nft.paths('203.0.113.1', 1009)
  const count = nft.transactions.length
  let after: ReturnType<FakeKernel['paths']> | undefined
  nft.onApply = () => {
    if (nft.transactions.length === count + 1) after = nft.paths('203.0.113.1', 1009)
  }
  steering.update(steeringInput(ONE, { dead: new Set(['n3']) }))
  clock.advance(0)
  await steering.settled()
  assert.ok(typeof before === 'object')
  assert.equal(new Set(before).size, 3)
  assert.ok(typeof after === 'object')
  assert.equal(new Set(after).size, 2)
  assert.deepEqual(nft.paths('203.0.113.1', 1009), after)
})

test('a death in the middle of a long change does not wait for its end', async () => {
  const { steering, nft, clock } = start()
  const services = [steered(1, { n1: 1, n2: 1, n3: 1 }, { slots: 10_007 })]
  const changed = [steered(1, { n1: 5, n2: 1, n3: 1 }, { slots: 10_007 })]
  steering.update(steeringInput(services))
  clock.advance(5)
  await steering.settled()
  const count = nft.transactions.length
  nft.onApply = () => {
    if (nft.transactions.length === count) steering.update(steeringInput(changed, { dead: new Set(['n3']) }))
  }
  steering.update(steeringInput(changed))
  clock.advance(5)
  await turn()
  clock.advance(5)
  await steering.settled()
  const news = nft.transactions.slice(count)
  const death = news.findIndex(text => text.includes('goto second4'))
  assert.equal(death, 1)
  assert.ok(news.length > 3, `${news.length} transactions`)
  const paths = nft.paths('203.0.113.1', 10_007)
  assert.equal(new Set(paths).size, 2)
  assert.equal(steering.status().services[0]?.nodes[2]?.slots, 0)
})

test('a process that starts acts on a death before it has read the slots', async () => {
  const first = start()
  first.steering.update(steeringInput(ONE))
  first.clock.advance(5)
  await first.steering.settled()
  await first.steering.close({ remove: false })

  const { steering, nft, clock } = start(first.nft)
  let before: ReturnType<FakeKernel['paths']> | undefined
  nft.onList = elementsOf => {
    if (elementsOf === undefined) before = nft.paths('203.0.113.1', 1009)
  }
  steering.update(steeringInput(ONE, { dead: new Set(['n3']) }))
  clock.advance(5)
  await steering.settled()
  assert.ok(typeof before === 'object')
  assert.equal(new Set(before).size, 2)
  assert.deepEqual(nft.paths('203.0.113.1', 1009), before)
})

test('after a refusal it reads again what is there, later each time', async () => {
  const { steering, nft, clock, log } = start()
  nft.onApply = () => {
    throw new NftError('refused', 'no')
  }
  steering.update(steeringInput(ONE))
  for (const wait of [5, 100, 200]) {
    clock.advance(wait - 1)
    await turn()
    const failures = log.lines.length
    clock.advance(1)
    await turn()
    assert.equal(log.lines.length, failures + 1)
  }
  assert.equal(steering.status().error, 'no')
  assert.equal(steering.status().installed, false)
  nft.onApply = () => {}
  clock.advance(400)
  await steering.settled()
  assert.equal(steering.status().error, undefined)
  assert.equal(new Set(nft.paths('203.0.113.1', 1009)).size, 3)
})

test('an interface that is refused is told, and tried again', async () => {
  const { steering, nft, clock } = start()
  nft.onApply = text => {
    if (text.includes('device "eth1" priority')) throw new NftError('refused', 'no such device')
  }
  const input = steeringInput(ONE)
  steering.update({ ...input, interfaces: [...input.interfaces, { name: 'eth1', index: 3, prefixes: [] }] })
  clock.advance(5)
  await turn()
  assert.deepEqual(steering.status().interfaces, [
    { name: 'eth0' },
    { name: 'eth1', problem: 'no such device' },
  ])
  assert.ok(nft.chains?.has('in-eth0-2'))
  nft.onApply = () => {}
  clock.advance(100)
  await steering.settled()
  assert.deepEqual(steering.status().interfaces, [{ name: 'eth0' }, { name: 'eth1' }])
  assert.ok(nft.chains?.has('in-eth1-3'))
})

test('a next process goes on from there; closing leaves the rules or removes them', async () => {
  const first = start()
  first.steering.update(steeringInput(ONE))
  first.clock.advance(5)
  await first.steering.settled()
  await first.steering.close({ remove: false })
  first.steering.update(steeringInput([]))
  first.clock.advance(1000)
  assert.equal(new Set(first.nft.paths('203.0.113.1', 1009)).size, 3)

  const next = start(first.nft)
  const count = first.nft.transactions.length
  next.steering.update(steeringInput(ONE))
  next.clock.advance(5)
  await next.steering.settled()
  assert.equal(first.nft.transactions.length, count)
  await next.steering.close({ remove: true })
  assert.equal(await first.nft.listTable('netdev', 'lodestone_steering'), undefined)
})
