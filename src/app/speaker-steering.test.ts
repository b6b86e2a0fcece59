import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SteeredService } from '../dataplane/steering.ts'
import { FakeKernel, steered, steeringInput } from '../dataplane/steering-fixtures.ts'
import { FakeClock } from '../ports/clock.ts'
import { FakeLog } from '../ports/log.ts'
import { SpeakerSteering, steeringSummary, tablesHash } from './speaker-steering.ts'

/** What a node shows of these Services, told in this order. */
async function shown(self: string, services: readonly SteeredService[], dead: readonly string[] = []) {
  const clock = new FakeClock()
  const steering = new SpeakerSteering(self, { nft: new FakeKernel(), clock, log: new FakeLog() })
  const { interfaces, nodes } = steeringInput([])
  steering.setTopology(interfaces, nodes)
  for (const service of services) steering.setService(service.service, service)
  for (const node of dead) steering.setDead(node, true)
  steering.apply()
  clock.advance(5)
  for (let i = 0; i < 100 && !steering.status().installed; i++) await new Promise<void>(setImmediate)
  const status = steering.status()
  assert.ok(status.installed)
  assert.equal(status.hash, tablesHash(steering.tableHashes()))
  assert.deepEqual(
    [...status.services].map(each => each.tableHash).sort(),
    [...steering.tableHashes().values()].sort(),
  )
  return steeringSummary(steering.tableHashes())
}

const A = steered(1, { n1: 1, n2: 1, n3: 1 })
const B = steered(2, { n2: 2, n3: 1 })

test('nodes that steer alike show the same hashes, whatever they heard first', async () => {
  const told = await shown('n1', [A, B])
  assert.equal(told.count, 2)
  assert.deepEqual(Object.keys(told.tables), ['test/s1', 'test/s2'])
  assert.deepEqual(await shown('n2', [B, A]), told)
  assert.deepEqual(await shown('n3', [A, B]), told)
})

test('other endpoints, another Service, or a node that only one holds for dead: another hash', async () => {
  const told = await shown('n1', [A, B])
  for (const other of [
    await shown('n2', [A, steered(2, { n2: 1, n3: 1 })]),
    await shown('n2', [A]),
    await shown('n2', [A, B], ['n3']),
  ]) {
    assert.notEqual(other.hash, told.hash)
    assert.notDeepEqual(other.tables, told.tables)
  }
})

test('of many Services twenty are told by name, and one hash over all', () => {
  const names = Array.from({ length: 30 }, (_, i) => `default/s${i + 10}`)
  const hashes = new Map(names.map(name => [name, '0123456789abcdef']))
  const told = steeringSummary(hashes)
  assert.deepEqual(Object.keys(told.tables), names.slice(0, 20))
  assert.equal(told.count, 30)
  assert.notEqual(steeringSummary(hashes.set('default/s39', 'ffffffffffffffff')).hash, told.hash)
})
