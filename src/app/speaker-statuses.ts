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

/**
 * Keeps one ServiceL2Status for each Service that this node announces. Each pass looks only at the Services of which something
 * changed since the pass before: the caller says when this node announces one otherwise, and the watch says when an object
 * came, changed or went, whoever did it. So no pass over everything is needed to repair what somebody else broke.
 */
export class SpeakerStatuses {
  readonly #options: Options
  readonly #kube: Kube
  readonly #informer: Informer<L2StatusFacts>
  /** Objects as this speaker wrote them, until the informer shows the same: a slow one must not bring doubles. */
  readonly #written = new Map<string, L2StatusFacts>()
  /** By Service, its objects of all nodes: as written, otherwise as the informer shows them. Mostly one. */
  readonly #objects = new Map<string, L2StatusFacts[]>()
  /** Services to look at in the next pass. */
  readonly #touched = new Set<string>()
  #pod: Promise<KubeObject | undefined> | undefined

  constructor(options: Options, kube: Kube, informer: Informer<L2StatusFacts>) {
    this.#options = options
    this.#kube = kube
    this.#informer = informer
    for (const facts of informer.items.values()) this.#replace(undefined, facts)
    informer.onChange(({ key, before, after }) => {
      const written = this.#written.get(key)
      if (after === undefined || same(after, written)) this.#written.delete(key)
      this.#replace(written ?? before, this.#written.get(key) ?? after)
    })
  }

  /** This node may announce the Service otherwise than before: the next pass looks at it. */
  touch(service: string): void {
    this.#touched.add(service)
  }

  /**
   * One pass. `announced` gives the interfaces that a Service is announced on, none for all, undefined when this node does
   * not announce it; `announcesToo` says whether another node does beside this one. What fails stays to be done in the next pass.
   * @throws KubeError the first failure; what could be done without it is done
   */
  async write(
    announced: (service: string) => readonly string[] | undefined,
    announcesToo?: (node: string, service: string) => boolean,
  ): Promise<void> {
    if (!this.#informer.synced) return
    const wanted = new Map<string, readonly string[]>()
    const existing: L2StatusFacts[] = []
    for (const service of this.#touched) {
      const interfaces = announced(service)
      if (interfaces !== undefined) wanted.set(service, interfaces)
      existing.push(...(this.#objects.get(service) ?? []))
    }
    this.#touched.clear()
    let failure: unknown
    const actions = planL2Statuses(this.#options.node, wanted, existing, announcesToo).values()
    /** False: the server is away, and would refuse the others too. */
    const perform = async (action: L2StatusAction): Promise<boolean> => {
      try {
        if (action.type === 'delete') await this.#delete(action.status)
        else await this.#create(action.service, action.interfaces)
        return true
      } catch (error) {
        failure ??= error
        this.#touched.add(serviceOf(action))
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
    for (const action of actions) this.#touched.add(serviceOf(action))
    if (failure !== undefined) throw failure
  }

  async #delete(status: L2StatusFacts): Promise<void> {
    await this.#kube.delete(RESOURCES.serviceL2Statuses, status)
    const key = objectKey(status)
    const written = this.#written.get(key)
    // From here on it is there for as long as the informer shows it.
    if (written !== undefined && this.#written.delete(key)) {
      this.#replace(written, this.#informer.items.get(key))
    }
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
    const shown = this.#informer.items.get(key)
    if (same(shown, facts)) return
    this.#written.set(key, facts)
    this.#replace(shown, facts)
  }

  /** `before` is what this object was in `#objects`. */
  #replace(before: L2StatusFacts | undefined, after: L2StatusFacts | undefined): void {
    if (before !== undefined) {
      this.#touched.add(before.service)
      const others = this.#objects.get(before.service)?.filter(each => !sameObject(each, before)) ?? []
      if (others.length > 0) this.#objects.set(before.service, others)
      else this.#objects.delete(before.service)
    }
    if (after !== undefined) {
      this.#touched.add(after.service)
      const objects = this.#objects.get(after.service)
      if (objects === undefined) this.#objects.set(after.service, [after])
      else objects.push(after)
    }
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

function serviceOf(action: L2StatusAction): string {
  return action.type === 'delete' ? action.status.service : action.service
}

function sameObject(a: L2StatusFacts, b: L2StatusFacts): boolean {
  return a.name === b.name && a.namespace === b.namespace
}
