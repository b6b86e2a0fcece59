import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type L2StatusFacts, l2StatusFromObject, l2StatusObject, planL2Statuses } from './status.ts'

function facts(
  name: string,
  node: string,
  service: string,
  rest: Partial<L2StatusFacts> = {},
): L2StatusFacts {
  return { namespace: 'metallb-system', name, node, service, interfaces: [], written: true, ...rest }
}

const plan = (announced: Record<string, readonly string[]>, existing: readonly L2StatusFacts[]) =>
  planL2Statuses('a', new Map(Object.entries(announced)), existing).map(action =>
    action.type === 'create' ? `create ${action.service}` : `delete ${action.status.name}`,
  )

test('what is announced and has no object gets one; what is right is left alone', () => {
  assert.deepEqual(plan({ 'x/web': [] }, []), ['create x/web'])
  assert.deepEqual(plan({ 'x/web': [] }, [facts('l2-1', 'a', 'x/web')]), [])
})

test('the new owner removes the object of the old one, the old one only its own', () => {
  const [mine, theirs] = [facts('l2-1', 'a', 'x/web'), facts('l2-2', 'b', 'x/web')]
  assert.deepEqual(plan({ 'x/web': [] }, [mine, theirs]), ['delete l2-2'])
  assert.deepEqual(plan({}, [mine, theirs]), ['delete l2-1'])
})

test('who shares a Service keeps its object, and of one that does no more it goes', () => {
  const existing = [
    facts('l2-1', 'a', 'x/web'),
    facts('l2-2', 'b', 'x/web'),
    facts('l2-3', 'c', 'x/web'),
    facts('l2-4', 'b', 'x/single'),
  ]
  const announced = new Map([
    ['x/web', []],
    ['x/single', []],
  ])
  const shares = (node: string, service: string) => service === 'x/web' && node === 'b'
  assert.deepEqual(
    planL2Statuses('a', announced, existing, shares).map(action =>
      action.type === 'create' ? `create ${action.service}` : `delete ${action.status.name}`,
    ),
    ['delete l2-3', 'delete l2-4', 'create x/single'],
  )
})

test('doubles, other interfaces and objects whose status was never written are replaced', () => {
  assert.deepEqual(plan({ 'x/web': [] }, [facts('l2-1', 'a', 'x/web'), facts('l2-2', 'a', 'x/web')]), [
    'delete l2-2',
  ])
  assert.deepEqual(plan({ 'x/web': ['eth0'] }, [facts('l2-1', 'a', 'x/web')]), [
    'delete l2-1',
    'create x/web',
  ])
  assert.deepEqual(plan({ 'x/web': [] }, [facts('l2-1', 'a', 'x/web', { written: false })]), [
    'delete l2-1',
    'create x/web',
  ])
})

test('what is written is read again; without a status the labels say whose it is', () => {
  const { labels, ...content } = l2StatusObject('a', 'x/web', ['eth0', 'eth1'])
  const metadata = { namespace: 'metallb-system', name: 'l2-1', labels }
  assert.deepEqual(
    l2StatusFromObject({ metadata, ...content }),
    facts('l2-1', 'a', 'x/web', { interfaces: ['eth0', 'eth1'] }),
  )
  assert.deepEqual(l2StatusFromObject({ metadata }), facts('l2-1', 'a', 'x/web', { written: false }))
})

test('any object at all is survived', () => {
  fc.assert(
    fc.property(fc.anything(), fc.anything(), (status, labels) => {
      const object = { metadata: { name: 'n', labels: labels as never }, status }
      assert.equal(typeof l2StatusFromObject(object).service, 'string')
    }),
  )
})

test('a plan, carried out, needs no second one', () => {
  const nodes = fc.constantFrom('a', 'b', 'c')
  const services = fc.constantFrom('x/1', 'x/2', 'x/3')
  const existing = fc.array(fc.tuple(nodes, services, fc.boolean()), { maxLength: 12 })
  fc.assert(
    fc.property(fc.uniqueArray(services), existing, (announced, objects) => {
      const wanted = new Map(announced.map(service => [service, [] as string[]]))
      let present = objects.map(([node, service, written], i) => facts(`l2-${i}`, node, service, { written }))
      for (const action of planL2Statuses('a', wanted, present)) {
        present =
          action.type === 'delete'
            ? present.filter(each => each !== action.status)
            : [...present, facts(`new-${action.service}`, 'a', action.service)]
      }
      assert.deepEqual(planL2Statuses('a', wanted, present), [])
    }),
  )
})
