import { fileURLToPath } from 'node:url'
import { createKube, type KubeClient } from '../../kube/client.ts'
import { loadKubeConfig } from '../../kube/config.ts'
import { objectKey, RESOURCES } from '../../ports/kube.ts'
import { SystemClock } from '../../sys/clock.ts'
import { createLog } from '../../sys/log.ts'
import { systemRandom } from '../../sys/random.ts'
import type { Lab } from '../lab.ts'
import { APPS } from '../workload/resources.ts'
import { applyManifests, type Manifest, readManifests } from './manifests.ts'
import { type Observer, servicesOf } from './observer.ts'
import { notReached } from './reach.ts'
import { waitUntil } from './wait.ts'

/** The manifests that come with this package. */
export const EXAMPLES_FOLDER = fileURLToPath(new URL('../../../../examples', import.meta.url))

/** A client of the lab's API server, from the host. */
export async function kubeOf(lab: Lab): Promise<KubeClient> {
  const clock = new SystemClock()
  return createKube({
    config: await loadKubeConfig({ clock, kubeconfig: lab.kubeconfigPath }),
    clock,
    random: systemRandom,
    // What goes wrong rejects the request that it concerns; there is no informer whose retries would be of interest.
    log: createLog({ level: 'error', to: 2 }),
    userAgent: 'lodestone-lab-scenario',
  })
}

/**
 * Applies the manifests of a folder and waits until they work: all pods ready, every Service of type LoadBalancer with an address
 * of each of its families, the lab settled with these addresses, and a client reaching every pod that it should reach by each of
 * them. Every such Service is expected to select pods on all the nodes that run any, and to have UDP echo on `port`.
 * @throws LabError
 */
export async function deploy(
  observer: Observer,
  options: {
    readonly folder?: string
    readonly client?: string
    readonly port?: number
    readonly withinMs?: number
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: (text: string) => void
  } = {},
): Promise<readonly Manifest[]> {
  const { lab, speakers } = observer
  const { folder = EXAMPLES_FOLDER, client = 'client1', port = 80, withinMs = 30_000, signal } = options
  const onProgress = options.onProgress ?? (() => undefined)
  const manifests = readManifests(folder)
  const kube = await kubeOf(lab)
  try {
    await applyManifests(kube, manifests, 'lodestone-lab')
    onProgress(
      `applied ${manifests.map(({ object }) => `${object.kind} ${object.metadata.name}`).join(', ')}`,
    )
    const podsWanted = manifests
      .filter(({ resource }) => resource === APPS.deployments)
      .reduce((sum, { object }) => sum + replicasOf(object['spec']), 0)
    const missing = async (): Promise<string | undefined> => {
      const status = await lab.status()
      const ready = status.pods.filter(pod => pod.ready)
      if (ready.length < podsWanted) return `${ready.length} of ${podsWanted} pods are ready`
      const services = servicesOf(status)
      for (const { object } of manifests.filter(each => each.resource === RESOURCES.services)) {
        const key = objectKey({ namespace: 'default', ...object.metadata })
        const families = status.services.find(each => objectKey(each) === key)?.clusterIps.length
        const ips = services.find(each => each.service === key)?.ips.length
        if (ips !== undefined && (families === undefined || ips < families))
          return `${ips} of ${families ?? '?'} addresses of ${key} are allocated`
      }
      // The speakers hear of ready endpoints a moment later, and elect anew.
      const nodes = new Set(ready.map(pod => pod.node)).size
      for (const [node, status] of await speakers.readAll()) {
        const late = status?.services.find(({ candidates }) => candidates.length < nodes)
        if (late !== undefined) return `the speaker of ${node} does not know all pods of ${late.service} yet`
      }
      return undefined
    }
    await waitUntil('what was applied works', missing, { withinMs, signal })
    await observer.settled({ withinMs, signal })
    // The service proxies hear of new pods last.
    const reach = (): Promise<string | undefined> => notReached(observer, kube, { client, port })
    await waitUntil('clients reach all pods', reach, { withinMs, signal })
    return manifests
  } finally {
    kube.close()
  }
}

function replicasOf(spec: unknown): number {
  const replicas = typeof spec === 'object' && spec !== null && 'replicas' in spec ? spec.replicas : undefined
  return typeof replicas === 'number' ? replicas : 1
}
