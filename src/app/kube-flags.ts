import { readFileSync } from 'node:fs'
import { createKube, type KubeClient, type KubeClientOptions } from '../kube/client.ts'
import { loadKubeConfig } from '../kube/config.ts'
import type { Clock } from '../ports/clock.ts'
import type { Log } from '../ports/log.ts'
import type { Random } from '../ports/random.ts'

/** How a process finds its API server, and the namespace of the metallb.io resources in it. */
export type KubeFlags = {
  /** undefined: $KUBECONFIG, in-cluster credentials, then ~/.kube/config. */
  readonly kubeconfig: string | undefined
  readonly namespace: string
}

/** @throws ConfigError that says which file or variable is missing or wrong */
export async function createKubeFromFlags(
  flags: KubeFlags,
  component: string,
  ports: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  options: Pick<KubeClientOptions, 'pageLimit' | 'transport'> = {},
): Promise<KubeClient> {
  const config = await loadKubeConfig({ clock: ports.clock, kubeconfig: flags.kubeconfig })
  return createKube({ config, ...ports, ...options, userAgent: `${component}/${version()}` })
}

export function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
