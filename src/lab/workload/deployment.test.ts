import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { KubeObject } from '../../ports/kube.ts'
import { type Action, canonical } from './actions.ts'
import { limitsOf, planDeployments, templateHash } from './deployment.ts'
import { planReplicaSets } from './replicaset.ts'
import { conditionOf, type Deployment, isReady, type Pod, type ReplicaSet } from './resources.ts'

const START = Date.UTC(2026, 0, 1)

function web(spec: Partial<Deployment['spec']> = {}): Deployment {
  return {
    metadata: { name: 'web', namespace: 'default', uid: 'd1', generation: 1 },
    spec: {
      replicas: 3,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'a' }] } },
      ...spec,
    },
  }
}

/** A cluster in which actions happen at once and pods become ready when told to. */
class Model {
  readonly objects = new Map<string, KubeObject>()
  #uids = 0
  now = START

  constructor(deployment: Deployment) {
    this.objects.set('Deployment default/web', deployment)
  }

  all<T>(kind: string): T[] {
    return [...this.objects].filter(([key]) => key.startsWith(`${kind} `)).map(([, object]) => object as T)
  }

  get deployment(): Deployment {
    return this.objects.get('Deployment default/web') as Deployment
  }

  change(spec: Partial<Deployment['spec']>): void {
    const { deployment } = this
    this.objects.set('Deployment default/web', {
      ...deployment,
      metadata: { ...deployment.metadata, generation: (deployment.metadata.generation ?? 0) + 1 },
      spec: { ...deployment.spec, ...spec },
    })
  }

  plan(): Action[] {
    this.now += 1000
    const replicaSets = this.all<ReplicaSet>('ReplicaSet')
    const pods = this.all<Pod>('Pod')
    return [
      ...planDeployments({ deployments: this.all('Deployment'), replicaSets, pods, now: this.now }),
      ...planReplicaSets({ replicaSets, pods, now: this.now }),
    ]
  }

  /** Plans once and does it; false when there was nothing to do. */
  pass(): boolean {
    const actions = this.plan()
    for (const action of actions) this.apply(action)
    return actions.length > 0
  }

  apply(action: Action): void {
    if (action.type === 'create') {
      const { metadata } = action.object
      const key = `${action.resource.kind} ${metadata.namespace}/${metadata.name}`
      assert.ok(!this.objects.has(key), `${key} is there already`)
      const uid = `u${this.#uids++}`
      this.objects.set(key, { ...action.object, metadata: { ...metadata, uid, generation: 1 } })
      return
    }
    const key = `${action.resource.kind} ${action.name.namespace}/${action.name.name}`
    const before = this.objects.get(key)
    assert.ok(before !== undefined, `${key} is not there`)
    if (action.type === 'delete') this.objects.delete(key)
    if (action.type === 'patch') this.objects.set(key, merge(before, action.patch) as KubeObject)
  }

  /** The first `count` pods that are not ready become so. */
  readyUp(count: number): void {
    for (const [key, object] of this.objects) {
      if (count === 0) return
      if (!key.startsWith('Pod ') || isReady(object as Pod)) continue
      count--
      const since = new Date(this.now).toISOString()
      this.objects.set(key, {
        ...object,
        spec: { ...(object['spec'] as object), nodeName: 'n1' },
        status: {
          phase: 'Running',
          conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: since }],
        },
      })
    }
  }

  settle(): void {
    for (let i = 0; i < 200; i++) {
      this.readyUp(100)
      if (!this.pass()) return
    }
    assert.fail(`never settled: ${canonical(this.plan())}`)
  }
}

function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const result: Record<string, unknown> = { ...(target as Record<string, unknown> | undefined) }
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name]
    else result[name] = merge(result[name], value)
  }
  return result
}

const NEW_TEMPLATE = {
  metadata: { labels: { app: 'web' } },
  spec: { containers: [{ name: 'web', image: 'b' }] },
}

test('a Deployment gets a ReplicaSet named by its template, and pods with its hash', () => {
  const model = new Model(web())
  model.settle()
  const hash = templateHash(web())
  const [replicaSet] = model.all<ReplicaSet>('ReplicaSet')
  assert.equal(replicaSet?.metadata.name, `web-${hash}`)
  assert.equal(replicaSet?.spec.selector.matchLabels?.['pod-template-hash'], hash)
  const pods = model.all<Pod>('Pod')
  assert.equal(pods.length, 3)
  assert.ok(pods.every(pod => pod.metadata.labels?.['pod-template-hash'] === hash))
  assert.ok(pods.every(pod => pod.metadata.ownerReferences?.[0]?.['uid'] === replicaSet?.metadata.uid))
})

// What `kubectl rollout status` looks at: pkg/polymorphichelpers/rollout_status.go of kubectl.
function rolledOut({ metadata, spec, status = {} }: Deployment): boolean {
  const desired = spec.replicas ?? 1
  return (
    status.observedGeneration === metadata.generation &&
    (status.updatedReplicas ?? 0) >= desired &&
    (status.replicas ?? 0) <= (status.updatedReplicas ?? 0) &&
    (status.availableReplicas ?? 0) >= (status.updatedReplicas ?? 0)
  )
}

test('the status lets kubectl wait for the roll-out and then says it is done', () => {
  const model = new Model(web())
  model.pass()
  assert.ok(!rolledOut(model.deployment))
  model.settle()
  assert.ok(rolledOut(model.deployment))
  const { status } = model.deployment
  assert.equal(status?.readyReplicas, 3)
  assert.equal(status?.unavailableReplicas, undefined)
  assert.equal(conditionOf(status?.conditions, 'Available')?.status, 'True')
  assert.equal(conditionOf(status?.conditions, 'Progressing')?.reason, 'NewReplicaSetAvailable')
  model.change({ template: NEW_TEMPLATE })
  assert.ok(!rolledOut(model.deployment))
  model.pass()
  assert.ok(!rolledOut(model.deployment))
  model.settle()
  assert.ok(rolledOut(model.deployment))
  assert.equal(model.deployment.metadata.annotations?.['deployment.kubernetes.io/revision'], '2')
})

test('going back to an earlier template uses its ReplicaSet again, as the newest revision', () => {
  const model = new Model(web())
  model.settle()
  model.change({ template: NEW_TEMPLATE })
  model.settle()
  model.change({ template: web().spec.template })
  model.settle()
  assert.equal(model.all('ReplicaSet').length, 2)
  assert.equal(model.deployment.metadata.annotations?.['deployment.kubernetes.io/revision'], '3')
})

test('old ReplicaSets beyond the history limit are deleted', () => {
  const model = new Model(web({ revisionHistoryLimit: 1 }))
  for (const image of ['a', 'b', 'c', 'd']) {
    model.change({ template: { ...NEW_TEMPLATE, spec: { containers: [{ name: 'web', image }] } } })
    model.settle()
  }
  assert.equal(model.all('ReplicaSet').length, 2)
})

test('Recreate ends all old pods before it makes a new one', () => {
  const model = new Model(web({ strategy: { type: 'Recreate' } }))
  model.settle()
  const old = new Set(model.all<Pod>('Pod').map(pod => pod.metadata.name))
  model.change({ template: NEW_TEMPLATE })
  for (let i = 0; i < 20; i++) {
    model.readyUp(100)
    model.pass()
    const names = model.all<Pod>('Pod').map(pod => pod.metadata.name)
    const left = names.filter(name => old.has(name)).length
    assert.ok(left === 0 || left === names.length, `${left} old ones of ${names.length}`)
  }
  assert.ok(rolledOut(model.deployment))
})

test('a paused Deployment scales but does not roll', () => {
  const model = new Model(web())
  model.settle()
  model.change({ paused: true, template: NEW_TEMPLATE, replicas: 5 })
  model.settle()
  assert.equal(model.all('ReplicaSet').length, 1)
  assert.equal(model.all('Pod').length, 5)
})

test('a roll-out that makes no progress for the deadline says so', () => {
  const model = new Model(web({ progressDeadlineSeconds: 10 }))
  for (let i = 0; i < 5; i++) model.pass()
  assert.equal(conditionOf(model.deployment.status?.conditions, 'Progressing')?.status, 'True')
  for (let i = 0; i < 20; i++) model.pass()
  const progressing = conditionOf(model.deployment.status?.conditions, 'Progressing')
  assert.equal(progressing?.reason, 'ProgressDeadlineExceeded')
  assert.equal(progressing?.status, 'False')
})

test('what a deleted Deployment owned goes', () => {
  const model = new Model(web())
  model.settle()
  model.objects.delete('Deployment default/web')
  for (let i = 0; i < 3; i++) model.pass()
  assert.equal(model.objects.size, 0)
})

test('percentages: surge rounds up, unavailable down, never both zero', () => {
  const limits = (replicas: number, maxSurge?: string | number, maxUnavailable?: string | number) =>
    limitsOf(
      web({
        replicas,
        strategy: {
          rollingUpdate: {
            ...(maxSurge === undefined ? {} : { maxSurge }),
            ...(maxUnavailable === undefined ? {} : { maxUnavailable }),
          },
        },
      }),
    )
  assert.deepEqual(limits(3), { maxSurge: 1, maxUnavailable: 0 })
  assert.deepEqual(limits(10), { maxSurge: 3, maxUnavailable: 2 })
  assert.deepEqual(limits(3, 0, 0), { maxSurge: 0, maxUnavailable: 1 })
  assert.deepEqual(limits(3, 2, '50%'), { maxSurge: 2, maxUnavailable: 1 })
})

test('a rolling update keeps its bounds in every step and ends, however slowly pods get ready', () => {
  fc.assert(
    fc.property(
      fc.record(
        {
          replicas: fc.integer({ min: 1, max: 6 }),
          maxSurge: fc.integer({ min: 0, max: 3 }),
          maxUnavailable: fc.integer({ min: 0, max: 3 }),
          readyPerPass: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 30 }),
        },
        { noNullPrototype: true },
      ),
      ({ replicas, maxSurge, maxUnavailable, readyPerPass }) => {
        const model = new Model(web({ replicas, strategy: { rollingUpdate: { maxSurge, maxUnavailable } } }))
        model.settle()
        model.change({ template: NEW_TEMPLATE })
        const limits = limitsOf(model.deployment)
        for (const count of readyPerPass) {
          model.readyUp(count)
          model.pass()
          const pods = model.all<Pod>('Pod')
          assert.ok(pods.length <= replicas + limits.maxSurge, `${pods.length} pods`)
          const ready = pods.filter(isReady).length
          assert.ok(ready >= replicas - limits.maxUnavailable, `${ready} ready`)
        }
        model.settle()
        assert.ok(rolledOut(model.deployment))
        assert.deepEqual(model.plan(), [])
      },
    ),
    { numRuns: 60 },
  )
})
