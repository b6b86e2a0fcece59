import { createKube } from '../../src/kube/client.ts'
import { loadKubeConfig } from '../../src/kube/config.ts'
import type { Lab } from '../../src/lab/lab.ts'
import { APPS } from '../../src/lab/workload/resources.ts'
import { type KubeObject, RESOURCES, type Resource } from '../../src/ports/kube.ts'
import { SystemClock } from '../../src/sys/clock.ts'
import { createLog } from '../../src/sys/log.ts'
import { systemRandom } from '../../src/sys/random.ts'

export const ECHO_PORT = 8080
/** Each line that is sent comes back, over TCP. */
export const STREAM_PORT = 8081
export const ECHO_SERVICE = 'default/echo'

export type EchoOptions = { readonly replicas: number; readonly ipv6: boolean }

/** A Deployment of echoes in a lab, and a Service with an address of its own whose traffic the node that gets it serves itself. */
export async function createEchoService(lab: Lab, options: EchoOptions): Promise<void> {
  const clock = new SystemClock()
  const kube = createKube({
    config: await loadKubeConfig({ clock, kubeconfig: lab.kubeconfigPath }),
    clock,
    random: systemRandom,
    log: createLog({ level: 'error', to: 2 }),
    userAgent: 'lodestone-bench',
  })
  try {
    for (const [resource, object] of objects(options)) await kube.create(resource, object)
  } finally {
    kube.close()
  }
}

function objects({ replicas, ipv6 }: EchoOptions): (readonly [Resource, KubeObject])[] {
  const metadata = { name: 'lan', namespace: 'metallb-system' }
  const apiVersion = 'metallb.io/v1beta1'
  const labels = { app: 'echo' }
  const echo = { name: 'echo', namespace: 'default' }
  const pool = {
    apiVersion,
    kind: 'IPAddressPool',
    metadata,
    spec: {
      addresses: ['192.0.2.100-192.0.2.199', ...(ipv6 ? ['2001:db8:0:1::100-2001:db8:0:1::1ff'] : [])],
    },
  }
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: echo,
    spec: {
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
      ...(ipv6 ? { ipFamilyPolicy: 'RequireDualStack' } : {}),
      selector: labels,
      ports: [
        { name: 'echo', port: ECHO_PORT, protocol: 'UDP', targetPort: ECHO_PORT },
        { name: 'stream', port: STREAM_PORT, protocol: 'TCP', targetPort: STREAM_PORT },
      ],
    },
  }
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: echo,
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { containers: [{ name: 'echo', image: 'lodestone.dev/lab/web' }] },
      },
    },
  }
  return [
    [RESOURCES.ipAddressPools, pool],
    [RESOURCES.l2Advertisements, { apiVersion, kind: 'L2Advertisement', metadata, spec: {} }],
    [RESOURCES.services, service],
    [APPS.deployments, deployment],
  ]
}
