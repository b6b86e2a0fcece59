import type { EndpointNodes } from '../config/endpointslice.ts'
import { endpointsFromSlice } from '../config/endpointslice.ts'
import type { ObjectRef } from '../config/model.ts'
import { namespaceFromObject, nodeFromObject } from '../config/nodes.ts'
import { type ParsedConfig, parseConfig } from '../config/parse.ts'
import { type ServiceFacts, serviceFromObject } from '../config/services.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventReference } from '../ports/events.ts'
import { type Informer, type Kube, type KubeObject, objectKey, RESOURCES } from '../ports/kube.ts'
import { CONFIG_KINDS } from './config-kinds.ts'
import { type Condition, conditionsFrom } from './service-conditions.ts'

type ConfigKind = keyof typeof CONFIG_KINDS

/** A Service with what is needed to write conditions into its status. */
export type WatchedService = ServiceFacts & {
  /** metadata.generation, where the API server counts it. */
  readonly generation: number | undefined
  /** Of everybody: a merge patch writes the whole list. */
  readonly conditions: readonly Condition[]
}

/** A custom resource without what the server keeps for itself; status is left out, or our own writes would count as changes. */
type Custom = { readonly uid: string | undefined; readonly object: KubeObject }

/** An EndpointSlice, as far as a controller needs it: tens of thousands of them must be cheap to keep. */
type Slice = EndpointNodes & { readonly serviceKey: string | undefined }

export type ViewListener = {
  readonly serviceChanged: (key: string) => void
  /** Something that the configuration is made of, or the nodes that may announce. */
  readonly configChanged: () => void
  readonly endpointsChanged: (serviceKey: string) => void
}

/** How long the copy may lag behind before what the server holds is asked for again. */
const CATCH_UP_MS = 2000

/** What a controller knows of its cluster, kept in step whether it leads or stands by. */
export class ControllerView {
  readonly #kube: Kube
  readonly #clock: Clock
  readonly #services: Informer<WatchedService>
  readonly #slices: Informer<Slice>
  readonly #custom: Readonly<Record<ConfigKind, Informer<Custom>>>
  readonly #nodes
  readonly #namespaces
  readonly #slicesOf = new Map<string, Set<string>>()
  #caughtUp: (key: string) => void = () => {}

  constructor(kube: Kube, clock: Clock, namespace: string, listener: ViewListener) {
    this.#kube = kube
    this.#clock = clock
    const names = new Map<string, string>()
    this.#services = kube.informer(RESOURCES.services, { convert: watchedService })
    this.#slices = kube.informer(RESOURCES.endpointSlices, { convert: object => sliceFrom(object, names) })
    const custom = (kind: ConfigKind) => kube.informer(CONFIG_KINDS[kind], { namespace, convert: customFrom })
    this.#custom = {
      IPAddressPool: custom('IPAddressPool'),
      L2Advertisement: custom('L2Advertisement'),
      BGPAdvertisement: custom('BGPAdvertisement'),
      BGPPeer: custom('BGPPeer'),
      BFDProfile: custom('BFDProfile'),
      Community: custom('Community'),
    }
    this.#nodes = kube.informer(RESOURCES.nodes, { convert: nodeFromObject })
    this.#namespaces = kube.informer(RESOURCES.namespaces, { convert: namespaceFromObject })
    this.#services.onChange(({ key }) => {
      this.#caughtUp(key)
      listener.serviceChanged(key)
    })
    this.#slices.onChange(({ key, before, after }) => {
      this.#index(key, before, after)
      for (const service of new Set([before?.serviceKey, after?.serviceKey])) {
        if (service !== undefined) listener.endpointsChanged(service)
      }
    })
    const configFrom = <T>(informer: Informer<T>, alike: (a: T, b: T) => boolean) =>
      informer.onChange(({ before, after }) => {
        if (before === undefined || after === undefined || !alike(before, after)) listener.configChanged()
      })
    for (const informer of Object.values(this.#custom)) configFrom(informer, same)
    configFrom(this.#namespaces, same)
    // The kubelet writes its Node every few seconds; only what advertisements and the election read counts.
    configFrom(
      this.#nodes,
      (a, b) => a.networkUnavailable === b.networkUnavailable && same(a.labels, b.labels),
    )
  }

  get services(): ReadonlyMap<string, WatchedService> {
    return this.#services.items
  }

  get nodes() {
    return this.#nodes.items
  }

  /** For the log. */
  get size() {
    return {
      services: this.#services.items.size,
      pools: this.#custom.IPAddressPool.items.size,
      nodes: this.#nodes.items.size,
    }
  }

  /** Resolves when every list was read whole; rejects when the signal aborts before. */
  async start(signal: AbortSignal): Promise<void> {
    const informers = [
      this.#services,
      this.#slices,
      this.#nodes,
      this.#namespaces,
      ...Object.values(this.#custom),
    ]
    await Promise.all(informers.map(informer => informer.start(signal)))
  }

  /**
   * Resolves when the Services here are at least as new as those of the API server at the time of the call: nothing
   * that another controller wrote before is overlooked then. Rejects when the signal aborts.
   */
  async catchUp(signal: AbortSignal): Promise<void> {
    for (;;) {
      const versions = await this.#currentVersions(signal)
      const behind = new Set([...versions.keys()].filter(key => this.#isBehind(key, versions)))
      await new Promise<void>((resolve, reject) => {
        const done = () => {
          this.#caughtUp = () => {}
          cancel()
          signal.removeEventListener('abort', stopped)
        }
        const stopped = () => {
          done()
          reject(signal.reason as Error)
        }
        const check = (key: string) => {
          if (!this.#isBehind(key, versions) || !this.#services.items.has(key)) behind.delete(key)
          if (behind.size > 0) return
          done()
          resolve()
        }
        // Gone before the watch ever showed it: then the next list does not have it either.
        const cancel = this.#clock.after(CATCH_UP_MS, () => {
          done()
          resolve()
        })
        signal.addEventListener('abort', stopped)
        this.#caughtUp = check
        check('')
      })
      if (behind.size === 0) return
    }
  }

  /** A list of versions alone, page by page: reading all Services at once would take memory for each of them twice. */
  async #currentVersions(signal: AbortSignal): Promise<ReadonlyMap<string, bigint | undefined>> {
    const stop = new AbortController()
    const informer = this.#kube.informer(RESOURCES.services, {
      convert: object => versionNumber(object.metadata.resourceVersion ?? ''),
    })
    try {
      await informer.start(AbortSignal.any([signal, stop.signal]))
      return new Map(informer.items)
    } finally {
      stop.abort()
    }
  }

  #isBehind(key: string, versions: ReadonlyMap<string, bigint | undefined>): boolean {
    const wanted = versions.get(key)
    if (wanted === undefined) return false
    const known = versionNumber(this.#services.items.get(key)?.resourceVersion ?? '')
    return known === undefined || known < wanted
  }

  /** Where the endpoints of a Service are, all of its slices together. */
  endpoints(serviceKey: string): EndpointNodes {
    const keys = this.#slicesOf.get(serviceKey)
    if (keys === undefined) return NO_ENDPOINTS
    // Nearly every Service has one slice, and this is asked for at each look at each of them.
    if (keys.size === 1) {
      for (const key of keys) return this.#slices.items.get(key) ?? NO_ENDPOINTS
    }
    const slices = [...keys].flatMap(key => this.#slices.items.get(key) ?? [])
    return {
      any: slices.some(({ any }) => any),
      nodes: new Set(slices.flatMap(({ nodes }) => [...nodes])),
    }
  }

  /** The whole configuration, or what addresses are given by: pools and the advertisements at layer 2. */
  parse(part: 'whole' | 'without BGP'): ParsedConfig {
    const objects = (kind: ConfigKind) => [...this.#custom[kind].items.values()].map(({ object }) => object)
    return parseConfig({
      pools: objects('IPAddressPool'),
      l2Advertisements: objects('L2Advertisement'),
      ...(part === 'whole' && {
        bgpAdvertisements: objects('BGPAdvertisement'),
        bgpPeers: objects('BGPPeer'),
        bfdProfiles: objects('BFDProfile'),
        communities: objects('Community'),
      }),
      nodes: [...this.#nodes.items.values()],
      namespaces: [...this.#namespaces.items.values()],
    })
  }

  /** A configuration object, as Events name it. */
  reference(object: ObjectRef): EventReference {
    const kind = Object.hasOwn(CONFIG_KINDS, object.kind) ? (object.kind as ConfigKind) : undefined
    const uid = kind && this.#custom[kind].items.get(objectKey(object))?.uid
    const version = kind === undefined ? 'v1beta1' : CONFIG_KINDS[kind].version
    return { apiVersion: `metallb.io/${version}`, ...object, ...(uid === undefined ? {} : { uid }) }
  }

  #index(key: string, before: Slice | undefined, after: Slice | undefined): void {
    if (before?.serviceKey === after?.serviceKey) return
    if (before?.serviceKey !== undefined) {
      const keys = this.#slicesOf.get(before.serviceKey)
      keys?.delete(key)
      if (keys?.size === 0) this.#slicesOf.delete(before.serviceKey)
    }
    if (after?.serviceKey !== undefined) {
      const keys = this.#slicesOf.get(after.serviceKey)
      if (keys === undefined) this.#slicesOf.set(after.serviceKey, new Set([key]))
      else keys.add(key)
    }
  }
}

const NO_ENDPOINTS: EndpointNodes = { any: false, nodes: new Set() }

function watchedService(object: KubeObject): WatchedService {
  return {
    ...serviceFromObject(object),
    generation: object.metadata.generation,
    conditions: conditionsFrom(object['status']),
  }
}

/** Slices with the same nodes share nothing, but names of nodes are kept once. */
function sliceFrom(object: KubeObject, names: Map<string, string>): Slice {
  const { serviceKey, endpoints } = endpointsFromSlice(object)
  const nodes = new Set<string>()
  let any = false
  for (const { ready, nodeName } of endpoints) {
    if (!ready) continue
    any = true
    if (nodeName === undefined) continue
    const known = names.get(nodeName)
    if (known === undefined) names.set(nodeName, nodeName)
    nodes.add(known ?? nodeName)
  }
  return { serviceKey, any, nodes: nodes.size === 0 ? NO_ENDPOINTS.nodes : nodes }
}

function customFrom(object: KubeObject): Custom {
  const { name, namespace, labels, uid } = object.metadata
  const metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(labels === undefined ? {} : { labels }),
  }
  return { uid, object: { metadata, spec: object['spec'] } }
}

/** Numbers are how API servers write versions; where one is none, nothing is waited for. */
export function versionNumber(text: string): bigint | undefined {
  return /^\d+$/.test(text) ? BigInt(text) : undefined
}

export function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
