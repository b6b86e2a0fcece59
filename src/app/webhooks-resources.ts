import { type NamespaceFacts, type NodeFacts, namespaceFromObject, nodeFromObject } from '../config/nodes.ts'
import { type Informer, type Kube, type KubeObject, type ObjectMeta, RESOURCES } from '../ports/kube.ts'
import { REVIEWED, type ReviewedKind, type ReviewResources } from '../webhook/decide.ts'
import { CONFIG_KINDS } from './config-kinds.ts'

type ConfigLists = Record<(typeof REVIEWED)[ReviewedKind], readonly KubeObject[]>

/** What reviews are decided from: local copies, and a fresh look where those may lag behind. */
export class WebhookResources {
  readonly #kube: Kube
  readonly #namespace: string
  readonly #configs: readonly (readonly [ReviewedKind, Informer<KubeObject>])[]
  readonly #nodes: Informer<NodeFacts>
  readonly #namespaces: Informer<NamespaceFacts>
  #running: Promise<ReviewResources> | undefined
  #next: Promise<ReviewResources> | undefined

  constructor(kube: Kube, namespace: string) {
    this.#kube = kube
    this.#namespace = namespace
    this.#configs = (Object.keys(CONFIG_KINDS) as ReviewedKind[]).map(kind => [
      kind,
      kube.informer(CONFIG_KINDS[kind], { namespace, convert: withoutBookkeeping }),
    ])
    this.#nodes = kube.informer(RESOURCES.nodes, { convert: nodeFromObject })
    this.#namespaces = kube.informer(RESOURCES.namespaces, { convert: namespaceFromObject })
  }

  /** Resolves when everything was read once. Rejects on abort before that. */
  async start(signal: AbortSignal): Promise<void> {
    const informers = [...this.#configs.map(([, informer]) => informer), this.#nodes, this.#namespaces]
    await Promise.all(informers.map(informer => informer.start(signal)))
  }

  current(): ReviewResources {
    return this.#with(this.#configs.map(([kind, informer]) => [kind, [...informer.items.values()]]))
  }

  /**
   * The configuration as the API server has it now. However many ask, one look is on its way and one waits, which all who came
   * meanwhile share: who asks us questions cannot make us ask many.
   * @throws KubeError
   */
  fresh(): Promise<ReviewResources> {
    if (this.#running === undefined) {
      this.#running = this.#list().finally(() => {
        this.#running = undefined
      })
      return this.#running
    }
    this.#next ??= this.#running.then(
      () => this.#startNext(),
      () => this.#startNext(),
    )
    return this.#next
  }

  #startNext(): Promise<ReviewResources> {
    this.#next = undefined
    return this.fresh()
  }

  async #list(): Promise<ReviewResources> {
    const lists = this.#configs.map(
      async ([kind]) =>
        [kind, await this.#kube.list(CONFIG_KINDS[kind], { namespace: this.#namespace })] as const,
    )
    return this.#with(await Promise.all(lists))
  }

  #with(lists: readonly (readonly [ReviewedKind, readonly KubeObject[]])[]): ReviewResources {
    const configs = Object.fromEntries(
      lists.map(([kind, objects]) => [REVIEWED[kind], objects]),
    ) as ConfigLists
    return {
      ...configs,
      nodes: [...this.#nodes.items.values()],
      namespaces: [...this.#namespaces.items.values()],
    }
  }
}

/** Memory is for what is read: status and the ownership of fields are not. */
function withoutBookkeeping({ status: _status, metadata, ...rest }: KubeObject): KubeObject {
  const { managedFields: _managed, ...kept } = metadata as ObjectMeta & { readonly managedFields?: unknown }
  return { ...rest, metadata: kept }
}
