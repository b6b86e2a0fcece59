import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type L2StatusFacts, l2StatusFromObject } from '../layer2/status.ts'
import { type Informer, KubeError, RESOURCES } from '../ports/kube.ts'
import { FakeKube } from '../ports/kube-fake.ts'
import { SpeakerStatuses } from './speaker-statuses.ts'

const NAMESPACE = 'metallb-system'
const OPTIONS = { node: 'node1', namespace: NAMESPACE, podName: undefined }

/** A pass of a speaker that announces these Services and no other; it looks at them and at `default/web` anew. */
function pass(statuses: SpeakerStatuses, ...services: readonly string[]): Promise<void> {
  for (const service of ['default/web', ...services]) statuses.touch(service)
  return statuses.write(service => (services.includes(service) ? [] : undefined))
}

/** Shows what is in the API server only when told to. */
class SlowInformer implements Informer<L2StatusFacts> {
  readonly items = new Map<string, L2StatusFacts>()
  readonly synced = true
  readonly #listeners: Parameters<Informer<L2StatusFacts>['onChange']>[0][] = []

  onChange(listener: Parameters<Informer<L2StatusFacts>['onChange']>[0]): void {
    this.#listeners.push(listener)
  }

  start(): Promise<void> {
    return Promise.resolve()
  }

  catchUp(kube: FakeKube): void {
    const now = new Map(
      kube
        .objects(RESOURCES.serviceL2Statuses)
        .map(object => [`${NAMESPACE}/${object.metadata.name}`, l2StatusFromObject(object)]),
    )
    for (const key of new Set([...this.items.keys(), ...now.keys()])) {
      const [before, after] = [this.items.get(key), now.get(key)]
      if (after === undefined) this.items.delete(key)
      else this.items.set(key, after)
      for (const listener of this.#listeners) listener({ key, before, after })
    }
  }
}

function cluster() {
  const kube = new FakeKube()
  for (const name of ['default', NAMESPACE]) kube.seed(RESOURCES.namespaces, { metadata: { name } })
  return { kube, informer: new SlowInformer() }
}

test('an informer that lags behind brings no doubles', async () => {
  const { kube, informer } = cluster()
  const statuses = new SpeakerStatuses(OPTIONS, kube, informer)
  await pass(statuses, 'default/web')
  const [first] = kube.objects(RESOURCES.serviceL2Statuses)
  await pass(statuses, 'default/web')
  informer.catchUp(kube)
  await pass(statuses, 'default/web')
  assert.deepEqual(
    kube.objects(RESOURCES.serviceL2Statuses).map(object => object.metadata.name),
    [first?.metadata.name],
  )
  await pass(statuses)
  assert.deepEqual(kube.objects(RESOURCES.serviceL2Statuses), [])
  // It still shows the old one: deleting what is not there is no error.
  await pass(statuses)
  informer.catchUp(kube)
  await pass(statuses, 'default/web')
  assert.equal(kube.objects(RESOURCES.serviceL2Statuses).length, 1)
})

test('the objects belong to the Pod; it is asked for again after a failure', async () => {
  const { kube, informer } = cluster()
  kube.seed(RESOURCES.pods, { metadata: { namespace: NAMESPACE, name: 'speaker-x', uid: 'u-1' } })
  let asked = 0
  const get = kube.get.bind(kube)
  kube.get = (...all) => {
    if (asked++ === 0) return Promise.reject(new KubeError('unreachable', 'no connection'))
    return get(...all)
  }
  const statuses = new SpeakerStatuses({ ...OPTIONS, podName: 'speaker-x' }, kube, informer)
  await assert.rejects(pass(statuses, 'default/web'), { code: 'unreachable' })
  await pass(statuses, 'default/web')
  const [object] = kube.objects(RESOURCES.serviceL2Statuses)
  assert.equal(object?.metadata.ownerReferences?.[0]?.['name'], 'speaker-x')
  assert.equal(asked, 2)
})

for (const [code, written] of [
  ['invalid', ['b']],
  ['unreachable', []],
] as const) {
  test(`a failure "${code}" of the first of two: ${written.length === 0 ? 'the other waits' : 'the other is written'}`, async () => {
    const { kube, informer } = cluster()
    const create = kube.create.bind(kube)
    kube.create = (resource, object) => {
      const name = object.metadata.labels?.['metallb.io/service-name']
      return name === 'a' ? Promise.reject(new KubeError(code, 'no')) : create(resource, object)
    }
    const statuses = new SpeakerStatuses(OPTIONS, kube, informer)
    await assert.rejects(pass(statuses, 'default/a', 'default/b'), { code })
    const names = kube
      .objects(RESOURCES.serviceL2Statuses)
      .map(object => object.metadata.labels?.['metallb.io/service-name'])
    assert.deepEqual(names, written)
    // Nothing is forgotten: the next pass does the rest, and only that.
    kube.create = create
    informer.catchUp(kube)
    await statuses.write(() => [])
    const all = kube.objects(RESOURCES.serviceL2Statuses).map(object => l2StatusFromObject(object).service)
    assert.deepEqual(all.sort(), ['default/a', 'default/b'])
  })
}

test('whoever changes an object, its Service is looked at in the next pass', async () => {
  const { kube, informer } = cluster()
  const statuses = new SpeakerStatuses(OPTIONS, kube, informer)
  const next = () => statuses.write(service => (service === 'default/web' ? [] : undefined))
  const objects = () => kube.objects(RESOURCES.serviceL2Statuses)
  await pass(statuses, 'default/web')
  informer.catchUp(kube)
  await next()
  const [first] = objects()
  assert.ok(first !== undefined)
  kube.remove(RESOURCES.serviceL2Statuses, { namespace: NAMESPACE, name: first.metadata.name })
  informer.catchUp(kube)
  await next()
  const [second] = objects()
  assert.ok(second !== undefined && second.metadata.name !== first.metadata.name, 'deleted: made again')
  informer.catchUp(kube)
  const status = { node: 'node1', serviceName: 'other', serviceNamespace: 'default' }
  kube.seed(RESOURCES.serviceL2Statuses, { ...second, status })
  informer.catchUp(kube)
  await next()
  assert.deepEqual(
    objects().map(object => l2StatusFromObject(object).service),
    ['default/web'],
    'rewritten for another Service: replaced',
  )
  informer.catchUp(kube)
  const writes = kube.writes.length
  await next()
  assert.equal(kube.writes.length, writes, 'nothing is left to do')
})
