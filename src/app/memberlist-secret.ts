import { randomBytes } from 'node:crypto'
import { KubeError, RESOURCES, type Resource } from '../ports/kube.ts'
import { aborted } from './aborted.ts'
import type { ControllerDeps, ControllerFlags } from './controller-options.ts'

const DEPLOYMENTS: Resource = {
  group: 'apps',
  version: 'v1',
  plural: 'deployments',
  kind: 'Deployment',
  namespaced: true,
}

/**
 * Makes the key that speakers share (1.0): 16 random bytes as unpadded base64 text, owned by the controller's Deployment
 * where that is known (1.6). Never replaced. Tries until it is there or the signal aborts.
 */
export async function ensureMemberlistSecret(
  deps: Pick<ControllerDeps, 'kube' | 'clock' | 'random' | 'log'>,
  flags: Pick<ControllerFlags, 'namespace' | 'memberlistSecretName' | 'deployment'>,
  signal: AbortSignal,
): Promise<void> {
  const { namespace, memberlistSecretName: name } = flags
  const { kube, clock, random, log } = deps
  if (name === '') return
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      if ((await kube.get(RESOURCES.secrets, { namespace, name })) !== undefined) return
      const ownerReferences = await ownersFor(deps, flags)
      if (signal.aborted) return
      const text = randomBytes(16).toString('base64').replace(/=+$/, '')
      await kube.create(RESOURCES.secrets, {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { namespace, name, ...(ownerReferences.length === 0 ? {} : { ownerReferences }) },
        type: 'Opaque',
        data: { secretkey: Buffer.from(text).toString('base64') },
      })
      log.info('secret-created', { namespace, name })
      return
    } catch (error) {
      if (error instanceof KubeError && error.code === 'already-exists') return
      log.warn('secret-failed', { namespace, name, error })
    }
    const delay = Math.min(30_000, 500 * 2 ** attempt) * (0.5 + random.next())
    await Promise.race([new Promise<void>(resolve => clock.after(delay, resolve)), aborted(signal)])
  }
}

async function ownersFor(
  { kube, log }: Pick<ControllerDeps, 'kube' | 'log'>,
  { namespace, deployment }: Pick<ControllerFlags, 'namespace' | 'deployment'>,
): Promise<Readonly<Record<string, unknown>>[]> {
  if (deployment === undefined || deployment === '') return []
  const owner = await kube.get(DEPLOYMENTS, { namespace, name: deployment })
  if (owner === undefined) {
    // A Secret without an owner works; one that waits for a mistyped name leaves every speaker silent.
    log.warn('deployment-unknown', { namespace, name: deployment, effect: 'the Secret has no owner' })
    return []
  }
  return [{ apiVersion: 'apps/v1', kind: 'Deployment', name: deployment, uid: owner.metadata.uid }]
}
