import { randomBytes } from 'node:crypto'
import { KubeError, RESOURCES, type Resource } from '../ports/kube.ts'
import type { ControllerDeps, ControllerFlags } from './controller-options.ts'

const DEPLOYMENTS: Resource = {
  group: 'apps',
  version: 'v1',
  plural: 'deployments',
  kind: 'Deployment',
  namespaced: true,
}

/** When the key in the Secret was made: RFC 3339. A Secret without it is somebody's own, and never written. */
export const KEY_MADE_AT = 'lodestone.dev/key-made-at'
/** Looked at so often, that a clock which jumps cannot make a key live for ever. */
const LOOK_EVERY_MS = 3_600_000

type Deps = Pick<ControllerDeps, 'kube' | 'clock' | 'random' | 'log'>
type Flags = Pick<
  ControllerFlags,
  'namespace' | 'memberlistSecretName' | 'deployment' | 'memberlistKeyLifetimeMs'
>

/**
 * Keeps the key that speakers share (1.0): 16 random bytes as unpadded base64 text, owned by the controller's Deployment where
 * that is known (1.6). A key that we made is replaced when it has reached its lifetime; speakers take the old one along with
 * the new until all have it. A Secret made by somebody else is left as it is. Runs until the signal aborts.
 */
export async function keepMemberlistSecret(deps: Deps, flags: Flags, signal: AbortSignal): Promise<void> {
  const { namespace, memberlistSecretName: name } = flags
  const { clock, random, log } = deps
  if (name === '') return
  let failures = 0
  while (!signal.aborted) {
    let delay: number
    try {
      delay = await lookAfterSecret(deps, flags, signal)
      failures = 0
    } catch (error) {
      // Somebody else was faster: look at what it wrote.
      const lost =
        error instanceof KubeError && (error.code === 'already-exists' || error.code === 'conflict')
      if (!lost) log.warn('secret-failed', { namespace, name, error })
      delay = Math.min(30_000, 500 * 2 ** failures++) * (0.5 + random.next())
    }
    await pause(clock, delay, signal)
  }
}

/** @returns milliseconds until it should be looked at again */
async function lookAfterSecret(deps: Deps, flags: Flags, signal: AbortSignal): Promise<number> {
  const { namespace, memberlistSecretName: name, memberlistKeyLifetimeMs: lifetimeMs = 0 } = flags
  const { kube, clock, log } = deps
  const secret = await kube.get(RESOURCES.secrets, { namespace, name })
  const madeAt = new Date(clock.wallNow()).toISOString()
  const data = { secretkey: Buffer.from(newKey()).toString('base64') }
  if (secret === undefined) {
    const ownerReferences = await ownersFor(deps, flags)
    if (signal.aborted) return 0
    await kube.create(RESOURCES.secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        namespace,
        name,
        annotations: { [KEY_MADE_AT]: madeAt },
        ...(ownerReferences.length === 0 ? {} : { ownerReferences }),
      },
      type: 'Opaque',
      data,
    })
    log.info('secret-created', { namespace, name })
    return LOOK_EVERY_MS
  }
  const made = Date.parse(secret.metadata.annotations?.[KEY_MADE_AT] ?? '')
  if (lifetimeMs <= 0 || Number.isNaN(made)) return LOOK_EVERY_MS
  const leftMs = made + lifetimeMs - clock.wallNow()
  if (leftMs > 0) return Math.min(leftMs, LOOK_EVERY_MS)
  if (signal.aborted) return 0
  const annotations = { ...secret.metadata.annotations, [KEY_MADE_AT]: madeAt }
  await kube.update(RESOURCES.secrets, { ...secret, metadata: { ...secret.metadata, annotations }, data })
  log.info('secret-rotated', { namespace, name, ageMs: lifetimeMs - leftMs })
  return Math.min(lifetimeMs, LOOK_EVERY_MS)
}

function newKey(): string {
  return randomBytes(16).toString('base64').replace(/=+$/, '')
}

function pause(clock: Deps['clock'], ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const cancel = clock.after(signal.aborted ? 0 : ms, done)
    signal.addEventListener('abort', done)
  })
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
