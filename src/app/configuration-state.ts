import { fieldsOf, itemsOf, textOf } from '../config/fields.ts'
import type { Problem } from '../config/model.ts'
import type { Clock } from '../ports/clock.ts'
import {
  type Informer,
  type Kube,
  KubeError,
  type KubeObject,
  RESOURCES,
  type Resource,
} from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Random } from '../ports/random.ts'
import { WriteQueue } from './write-queue.ts'

/** The status kind that says whether a process could use the configuration (1.1). */
export const CONFIGURATION_STATES: Resource = {
  group: 'metallb.io',
  version: 'v1beta1',
  plural: 'configurationstates',
  kind: 'ConfigurationState',
  namespaced: true,
}

export type ConfigurationStateOptions = {
  readonly kube: Kube
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly namespace: string
  /** The Node's name for a speaker; undefined: the controller. */
  readonly node: string | undefined
  /** Our own Pod, which then owns the object; undefined outside of a Pod. */
  readonly podName: string | undefined
}

/** How long a cluster without the custom resource definition is left alone before the next try. */
const MISSING_RETRY_MS = 300_000
/** Problems named in the object; all of them are in the log and in Events. */
const PROBLEMS_MAX = 20

type Wanted = { readonly status: 'True' | 'False'; readonly reason: string; readonly message: string }

/**
 * Keeps the ConfigurationState of one process in step with what it found: made when it is missing, made again when
 * somebody deletes it, written only when something changes. `lastTransitionTime` moves when the status does and not
 * before (Q-32).
 *
 * Never fails its process: what cannot be written is tried again, and a cluster without the definition is told of once.
 */
export class ConfigurationState {
  readonly #options: ConfigurationStateOptions
  readonly #name: string
  readonly #queue: WriteQueue
  readonly #informer: Informer<true>
  readonly #stop = new AbortController()
  #watching = false
  #wanted: Wanted | undefined
  #toldMissing = false
  #cancelRetry: () => void = () => {}

  constructor(options: ConfigurationStateOptions) {
    this.#options = options
    this.#name = options.node === undefined ? 'controller' : `speaker-${options.node}`
    const { kube, clock, random, log, namespace } = options
    this.#informer = kube.informer(CONFIGURATION_STATES, {
      namespace,
      fieldSelector: `metadata.name=${this.#name}`,
      convert: () => true as const,
    })
    this.#informer.onChange(() => this.#look())
    this.#queue = new WriteQueue({
      clock,
      random,
      concurrency: 1,
      write: () => this.#write(),
      onFailure: (name, error) => {
        log.warn('configuration-state-write-failed', { object: name, error })
        return 'retry'
      },
    })
  }

  /** All that is wrong with the configuration now; warnings do not count. */
  report(problems: readonly Problem[]): void {
    const wanted = wantedFor(problems.filter(({ severity }) => severity !== 'warning'))
    if (JSON.stringify(wanted) === JSON.stringify(this.#wanted)) return
    this.#wanted = wanted
    this.#look()
  }

  /** Writes nothing more; resolves when what is on its way has ended. */
  async close(): Promise<void> {
    this.#stop.abort()
    this.#cancelRetry()
    await this.#queue.stop()
  }

  #look(): void {
    if (this.#wanted !== undefined && !this.#stop.signal.aborted) this.#queue.add(this.#name)
  }

  async #write(): Promise<void> {
    const { kube, clock, namespace } = this.#options
    const wanted = this.#wanted
    if (wanted === undefined) return
    const object = { namespace, name: this.#name }
    const current = await kube.get(CONFIGURATION_STATES, object)
    if (current === undefined && !(await this.#create())) return
    this.#watch()
    const { type, manager } = this.#reconciler
    const status = fieldsOf(current?.['status'])
    const before = itemsOf(status['conditions'])
      .map(fieldsOf)
      .find(condition => condition['type'] === type)
    const since = before?.['status'] === wanted.status ? textOf(before['lastTransitionTime']) : undefined
    const now = new Date(clock.wallNow()).toISOString().replace(/\.\d+Z$/, 'Z')
    const next = {
      result: wanted.status === 'True' ? 'Valid' : 'Invalid',
      ...(wanted.status === 'True' ? {} : { errorSummary: wanted.message }),
      conditions: [{ type, ...wanted, lastTransitionTime: since ?? now }],
    }
    if (isWritten(status, before, next)) return
    await kube.patch(
      CONFIGURATION_STATES,
      object,
      { apiVersion: 'metallb.io/v1beta1', kind: 'ConfigurationState', metadata: object, status: next },
      { type: 'apply', subresource: 'status', fieldManager: manager },
    )
  }

  /** False when the API server does not know the kind. */
  async #create(): Promise<boolean> {
    const { kube, clock, log, namespace, node, podName } = this.#options
    const pod =
      podName === undefined ? undefined : await kube.get(RESOURCES.pods, { namespace, name: podName })
    const uid = pod?.metadata.uid
    const object: KubeObject = {
      apiVersion: 'metallb.io/v1beta1',
      kind: 'ConfigurationState',
      metadata: {
        namespace,
        name: this.#name,
        labels: {
          'metallb.io/component-type': node === undefined ? 'controller' : 'speaker',
          ...(node === undefined ? {} : { 'metallb.io/node-name': node }),
        },
        ...(uid === undefined
          ? {}
          : { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: podName, uid }] }),
      },
    }
    try {
      await kube.create(CONFIGURATION_STATES, object)
    } catch (error) {
      if (!(error instanceof KubeError)) throw error
      if (error.code === 'already-exists') return true
      if (error.code !== 'not-found') throw error
      if (!this.#toldMissing) {
        log.warn('configuration-state-unknown', {
          effect: 'the cluster does not know the kind ConfigurationState (deploy/crds): none is written',
          error,
        })
      }
      this.#toldMissing = true
      this.#cancelRetry()
      this.#cancelRetry = clock.after(MISSING_RETRY_MS, () => this.#look())
      return false
    }
    return true
  }

  /** Only once the kind is known to exist: an informer would ask for it again and again. */
  #watch(): void {
    if (this.#watching) return
    this.#watching = true
    // Rejects only when it is stopped before it has seen anything.
    this.#informer.start(this.#stop.signal).catch(() => {})
  }

  /** Which condition is ours, and under which name it is applied. */
  get #reconciler(): { readonly type: string; readonly manager: string } {
    return this.#options.node === undefined
      ? { type: 'poolReconcilerValid', manager: 'poolReconciler' }
      : { type: 'configReconcilerValid', manager: 'configReconciler' }
  }
}

function wantedFor(problems: readonly Problem[]): Wanted {
  if (problems.length === 0) {
    return { status: 'True', reason: 'Reconciled', message: 'the configuration is in use' }
  }
  const lines = problems.slice(0, PROBLEMS_MAX).map(describeProblem)
  if (problems.length > PROBLEMS_MAX) lines.push(`and ${problems.length - PROBLEMS_MAX} more`)
  return { status: 'False', reason: 'ConfigurationError', message: lines.join('\n') }
}

/** `IPAddressPool metallb-system/lan spec.addresses[1]: the sentence`. */
export function describeProblem({ object, field, message }: Problem): string {
  const name = object.namespace === '' ? object.name : `${object.namespace}/${object.name}`
  return `${object.kind} ${name}${field === '' ? '' : ` ${field}`}: ${message}`
}

function isWritten(
  status: Readonly<Record<string, unknown>>,
  before: Readonly<Record<string, unknown>> | undefined,
  next: { readonly result: string; readonly errorSummary?: string; readonly conditions: readonly object[] },
): boolean {
  const [wanted] = next.conditions
  return (
    status['result'] === next.result &&
    (textOf(status['errorSummary']) ?? '') === (next.errorSummary ?? '') &&
    before !== undefined &&
    Object.entries(wanted ?? {}).every(([field, value]) => before[field] === value)
  )
}
