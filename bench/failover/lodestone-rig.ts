import { createKube } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import { type Lab, startLab } from '../../src/lab/lab.ts'
import { measureFailover } from '../../src/lab/scenarios/failover.ts'
import { observe } from '../../src/lab/scenarios/observer.ts'
import { APPS } from '../../src/lab/workload/resources.ts'
import { type KubeObject, RESOURCES, type Resource } from '../../src/ports/kube.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { createLog } from '../../src/sys/log.ts'
import { systemRandom } from '../../src/sys/random.ts'
import type { Scope } from '../frame.ts'
import type { Rig } from './rig.ts'

const PORT = 8080
const SERVICE = 'default/echo'
const SETTLE_WITHIN_MS = 30_000
/** Longer than the interval of heartbeats, so that the failure meets every phase of it. */
const DELAY_MAX_MS = 200

/**
 * Three nodes of a lab with a speaker and an echo on each, and one Service whose traffic the node that gets it serves itself: what
 * keepalived with a server on each host does.
 */
export async function openLodestone(scope: Scope): Promise<Rig> {
  const { signal } = scope
  const lab = await startLab({ name: `bench-${process.pid}`, nodes: 3, signal })
  scope.defer(() => lab.down())
  await createObjects(lab)
  const observer = await observe(lab)
  scope.defer(() => observer.close())
  await observer.settled({ withinMs: SETTLE_WITHIN_MS, signal })
  return {
    async measure(how) {
      const result = await measureFailover(lab, {
        service: SERVICE,
        how,
        port: PORT,
        steadyMs: 200 + Math.random() * DELAY_MAX_MS,
        afterMs: 300,
        settleWithinMs: SETTLE_WITHIN_MS,
        observer,
        signal,
      })
      if (result.nodeAfter === undefined)
        throw new Error(`nobody took over from ${result.nodeBefore} (${how})`)
      if (result.unsettled !== undefined) throw new Error(`after ${how}: ${result.unsettled}`)
      return { ms: result.outageMs, lost: result.lost }
    },
  }
}

async function createObjects(lab: Lab): Promise<void> {
  const clock = new SystemClock()
  const kube = createKube({
    config: await loadKubeConfig({ clock, kubeconfig: lab.kubeconfigPath }),
    clock,
    random: systemRandom,
    log: createLog({ level: 'error', to: 2 }),
    userAgent: 'lodestone-bench',
  })
  try {
    for (const [resource, object] of OBJECTS) await kube.create(resource, object)
  } finally {
    kube.close()
  }
}

const metallb = (name: string) => ({ name, namespace: 'metallb-system' })
const LABELS = { app: 'echo' }

const OBJECTS: readonly (readonly [Resource, KubeObject])[] = [
  [
    RESOURCES.ipAddressPools,
    {
      apiVersion: 'metallb.io/v1beta1',
      kind: 'IPAddressPool',
      metadata: metallb('lan'),
      spec: { addresses: ['192.0.2.100-192.0.2.199'] },
    },
  ],
  [
    RESOURCES.l2Advertisements,
    { apiVersion: 'metallb.io/v1beta1', kind: 'L2Advertisement', metadata: metallb('lan'), spec: {} },
  ],
  [
    RESOURCES.services,
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'echo', namespace: 'default' },
      spec: {
        type: 'LoadBalancer',
        externalTrafficPolicy: 'Local',
        selector: LABELS,
        ports: [{ name: 'echo', port: PORT, protocol: 'UDP', targetPort: PORT }],
      },
    },
  ],
  [
    APPS.deployments,
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'echo', namespace: 'default' },
      spec: {
        replicas: 3,
        selector: { matchLabels: LABELS },
        template: {
          metadata: { labels: LABELS },
          spec: { containers: [{ name: 'echo', image: 'lodestone.dev/lab/web' }] },
        },
      },
    },
  ],
]
