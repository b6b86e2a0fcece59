import {
  type L2StatusAction,
  type L2StatusFacts,
  l2StatusFromObject,
  l2StatusObject,
  planL2Statuses,
} from '../layer2/status.ts'
import { type Informer, type Kube, KubeError, type KubeObject, objectKey, RESOURCES } from '../ports/kube.ts'
import { same } from './speaker-same.ts'

type Options = { readonly node: string; readonly namespace: string; readonly podName: string | undefined }

/** Requests at the same time: a node that takes over thousands of Services tells so within seconds. */
const WRITES_MAX = 8

/** Keeps one ServiceL2Status for each Service that this node announces. */
export class SpeakerStatuses {
  readonly #options: Options
  readonly #kube: Kube
  readonly #informer: Informer<L2StatusFacts>
  /** Objects as this speaker wrote them, until the informer shows the same: a slow one must not bring doubles. */
  readonly #written = new Map<string, L2StatusFacts>()
  #pod: Promise<KubeObject | undefined> | undefined

  constructor(options: Options, kube: Kube, informer: Informer<L2StatusFacts>) {
    this.#options = options
    this.#kube = kube
    this.#informer = informer
    informer.onChange(({ key, after }) => {
      if (after === undefined || same(after, this.#written.get(key))) this.#written.delete(key)
    })
  }

  /**
   * `announced`: Services and the interfaces they are announced on, none for all.
   * @throws KubeError the first failure; what could be done without it is done
   */
  async write(announced: ReadonlyMap<string, readonly string[]>): Promise<void> {
    if (!this.#informer.synced) return
    const existing = new Map(this.#informer.items)
    for (const [key, facts] of this.#written) existing.set(key, facts)
    let failure: unknown
    const actions = planL2Statuses(this.#options.node, announced, existing.values()).values()
    /** False: the server is away, and would refuse the others too. */
    const perform = async (action: L2StatusAction): Promise<boolean> => {
      try {
        if (action.type === 'delete') {
          await this.#kube.delete(RESOURCES.serviceL2Statuses, action.status)
          this.#written.delete(objectKey(action.status))
        } else await this.#create(action.service, action.interfaces)
        return true
      } catch (error) {
        failure ??= error
        // One object that is refused must not keep the others waiting.
        return error instanceof KubeError && !error.transient
      }
    }
    // One by itself: a server that is away is asked once. Then one iterator for all: each takes the next action.
    const first = actions.next()
    const goesOn = first.done !== true && (await perform(first.value))
    const work = async () => {
      for (const action of actions) if (!(await perform(action))) return
    }
    if (goesOn) await Promise.all(Array.from({ length: WRITES_MAX }, work))
    if (failure !== undefined) throw failure
  }

  async #create(service: string, interfaces: readonly string[]): Promise<void> {
    const { node, namespace } = this.#options
    const pod = await this.#ownPod()
    const { labels, ...content } = l2StatusObject(node, service, interfaces)
    const created = await this.#kube.create(RESOURCES.serviceL2Statuses, {
      apiVersion: 'metallb.io/v1beta1',
      kind: 'ServiceL2Status',
      metadata: {
        name: '',
        generateName: 'l2-',
        namespace,
        labels,
        ...(pod === undefined
          ? {}
          : {
              ownerReferences: [
                { apiVersion: 'v1', kind: 'Pod', name: pod.metadata.name, uid: pod.metadata.uid ?? '' },
              ],
            }),
      },
      spec: {},
    })
    const whole = { ...created, ...content }
    await this.#kube.update(RESOURCES.serviceL2Statuses, whole, { subresource: 'status' })
    const key = objectKey(created.metadata)
    const facts = l2StatusFromObject(whole)
    if (!same(this.#informer.items.get(key), facts)) this.#written.set(key, facts)
  }

  /** Asked for once; again after a failure. */
  async #ownPod(): Promise<KubeObject | undefined> {
    const { namespace, podName } = this.#options
    if (podName === undefined) return undefined
    this.#pod ??= this.#kube.get(RESOURCES.pods, { namespace, name: podName })
    try {
      return await this.#pod
    } catch (error) {
      this.#pod = undefined
      throw error
    }
  }
}
