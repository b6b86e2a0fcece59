import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '../ports/kube.ts'
import { Store } from './store.ts'

function object(name: string, resourceVersion: string, uid = `uid-${name}`): KubeObject {
  return { metadata: { name, namespace: 'n', uid, resourceVersion } }
}

function store(): { store: Store<string>; converted: string[] } {
  const converted: string[] = []
  const convert = ({ metadata }: KubeObject): string => {
    converted.push(metadata.name)
    return `${metadata.uid}@${metadata.resourceVersion}`
  }
  return { store: new Store(convert, () => assert.fail('nothing fails here')), converted }
}

test('a list replaces the store as a whole: nothing is visible before, then the differences are told', () => {
  const { store: subject, converted } = store()
  subject.addPage([object('a', '1'), object('b', '2')])
  assert.equal(subject.items.size, 0)
  subject.commitPages()
  converted.length = 0
  subject.addPage([object('a', '1')])
  subject.addPage([object('c', '3')])
  assert.deepEqual([...subject.items.keys()], ['n/a', 'n/b'])
  assert.deepEqual(subject.commitPages(), [
    { key: 'n/c', before: undefined, after: 'uid-c@3' },
    { key: 'n/b', before: 'uid-b@2', after: undefined },
  ])
  assert.deepEqual([...subject.items.keys()], ['n/a', 'n/c'])
  assert.deepEqual(converted, ['c'], 'what is known is not converted again')
})

test('pages thrown away leave no trace', () => {
  const { store: subject } = store()
  subject.addPage([object('a', '1')])
  subject.discardPages()
  subject.addPage([object('b', '2')])
  assert.deepEqual(
    subject.commitPages().map(change => change.key),
    ['n/b'],
  )
})

test('a version that is known is no change; the same version of another object is', () => {
  const { store: subject } = store()
  assert.deepEqual(subject.put(object('a', '1')), { key: 'n/a', before: undefined, after: 'uid-a@1' })
  assert.equal(subject.put(object('a', '1')), undefined)
  assert.deepEqual(subject.put(object('a', '1', 'other')), {
    key: 'n/a',
    before: 'uid-a@1',
    after: 'other@1',
  })
  assert.equal(subject.drop(object('b', '2')), undefined)
  assert.deepEqual(subject.drop(object('a', '3')), { key: 'n/a', before: 'other@1', after: undefined })
  assert.deepEqual(subject.put(object('a', '1')), { key: 'n/a', before: undefined, after: 'uid-a@1' })
})
