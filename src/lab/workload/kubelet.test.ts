import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { test } from 'node:test'
import type { Ip } from '../../addr/ip.ts'
import { type Prefix, parsePrefix } from '../../addr/prefix.ts'
import { FakeClock } from '../../ports/clock.ts'
import { FakeLog } from '../../ports/log.ts'
import type { Action } from './actions.ts'
import { FINALIZER, Kubelet } from './kubelet.ts'
import type { Lease, Node, Pod } from './resources.ts'

function kubelet(): {
  kubelet: Kubelet
  clock: FakeClock
  started: string[]
  killed: string[]
  attached: Set<string>
} {
  const clock = new FakeClock()
  const started: string[] = []
  const killed: string[] = []
  const attached = new Set<string>()
  return {
    clock,
    started,
    killed,
    attached,
    kubelet: new Kubelet({
      node: {
        name: 'n1',
        ips: ['192.0.2.1' as Ip],
        podCidrs: [parsePrefix('198.51.100.0/28') as Prefix, parsePrefix('2001:db8:1::/64') as Prefix],
      },
      network: {
        attachPod: ({ podName, ips }) => {
          attached.add(`${podName} ${ips.join(' ')}`)
          return Promise.resolve({ namespace: podName })
        },
        detachPod: podName => {
          for (const entry of attached) if (entry.startsWith(podName)) attached.delete(entry)
          return Promise.resolve()
        },
        spawnIn: (): ChildProcess => assert.fail('not used here'),
      },
      processes: {
        start: ({ namespace }) => {
          started.push(namespace)
          let exit = (): void => {}
          const exited = new Promise<{ code: number; signal: undefined }>(done => {
            exit = () => done({ code: 0, signal: undefined })
          })
          return {
            pid: started.length,
            exited,
            signal: signal => {
              killed.push(`${namespace} ${signal}`)
              exit()
            },
          }
        },
      },
      prober: { check: () => Promise.resolve({ ok: true, message: '' }), close: () => {} },
      clock,
      log: new FakeLog(),
      logDirectory: 'logs',
      leaseRenewalMs: 10_000,
      onChange: () => {},
    }),
  }
}

function pod(name: string, meta: Partial<Pod['metadata']> = {}): Pod {
  return {
    metadata: { name, namespace: 'default', uid: name, finalizers: [FINALIZER], ...meta },
    spec: { nodeName: 'n1', containers: [{ name: 'c', command: ['run'] }] },
  }
}

const DELETED = { deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 5 }

async function settled(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve()
}

function described(actions: Action[]): string[] {
  return actions.map(action => {
    if (action.type !== 'patch') return action.type
    const { finalizers } = (action.patch['metadata'] ?? {}) as { finalizers?: string[] }
    return finalizers === undefined
      ? `patch ${action.subresource ?? ''}`
      : `finalizers [${finalizers.join(' ')}]`
  })
}

test('a pod is held, started with an address of each family, and ended before it is let go', async () => {
  const { kubelet: k, started, killed, attached } = kubelet()
  assert.deepEqual(described(k.sync([pod('p', { finalizers: ['other'] })])), [
    `finalizers [other ${FINALIZER}]`,
    'patch status',
  ])
  await settled()
  assert.deepEqual(started, ['p'])
  assert.deepEqual([...attached], ['p 198.51.100.2 2001:db8:1::2'])
  const deleted = pod('p', { ...DELETED, finalizers: ['other', FINALIZER] })
  assert.ok(!described(k.sync([deleted])).some(text => text.startsWith('finalizers')))
  await settled()
  assert.deepEqual(killed[0], 'p SIGTERM')
  assert.equal(attached.size, 0)
  assert.deepEqual(described(k.sync([deleted])), ['finalizers [other]'])
  assert.deepEqual(started, ['p'])
})

test('a pod deleted before it was seen never starts; without our finalizer it is taken away', () => {
  const { kubelet: k, started } = kubelet()
  assert.deepEqual(described(k.sync([pod('p', DELETED)])), ['finalizers []'])
  assert.deepEqual(described(k.sync([pod('q', { ...DELETED, finalizers: [] })])), ['patch status', 'delete'])
  assert.deepEqual(described(k.sync([pod('r', { ...DELETED, finalizers: ['other'] })])), [])
  assert.deepEqual(started, [])
})

test('a pod that vanished from the API is ended', async () => {
  const { kubelet: k, killed, attached } = kubelet()
  k.sync([pod('p')])
  await settled()
  k.sync([])
  await settled()
  assert.equal(killed[0], 'p SIGTERM')
  assert.equal(attached.size, 0)
  assert.deepEqual(k.processIds(), [])
})

test('pods get different addresses', async () => {
  const { kubelet: k, attached } = kubelet()
  k.sync([pod('p'), pod('q')])
  await settled()
  assert.deepEqual([...attached], ['p 198.51.100.2 2001:db8:1::2', 'q 198.51.100.3 2001:db8:1::3'])
})

test('the node registers, says that it is ready and renews its Lease', () => {
  const { kubelet: k, clock } = kubelet()
  assert.deepEqual(described(k.report(undefined, undefined)), ['create'])
  const node: Node = { metadata: { name: 'n1' } }
  const [status, lease] = k.report(node, undefined)
  assert.ok(status?.type === 'patch' && lease?.type === 'create')
  const ready: Node = { ...node, status: status.patch['status'] as NonNullable<Node['status']> }
  const held: Lease = { metadata: { name: 'n1' } }
  assert.deepEqual(k.report(ready, held), [])
  clock.advance(10_000)
  assert.deepEqual(described(k.report(ready, held)), ['patch '])
  const lost: Node = {
    ...ready,
    status: { ...ready.status, conditions: [{ type: 'Ready', status: 'Unknown' }] },
  }
  assert.deepEqual(described(k.report(lost, held)), ['patch status', 'patch '])
})
