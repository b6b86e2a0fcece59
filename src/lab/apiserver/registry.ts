import type { ApiObject } from './objects.ts'
import { apiVersionOf, type ResourceType } from './resource-type.ts'

/** Every kind that is served now. CustomResourceDefinitions come and go; the rest is fixed. */
export class Registry {
  readonly #builtIn: readonly ResourceType[]
  /** By name of the CustomResourceDefinition. */
  readonly #custom = new Map<string, readonly ResourceType[]>()
  #byPath = new Map<string, ResourceType>()
  #byStorage = new Map<string, ResourceType>()
  #all: readonly ResourceType[] = []
  #generation = 0

  constructor(builtIn: readonly ResourceType[]) {
    this.#builtIn = builtIn
    this.#rebuild()
  }

  /** Grows whenever the served kinds change: for caches of discovery and OpenAPI. */
  get generation(): number {
    return this.#generation
  }

  all(): readonly ResourceType[] {
    return this.#all
  }

  find(group: string, version: string, plural: string): ResourceType | undefined {
    return this.#byPath.get(`${group}/${version}/${plural}`)
  }

  /** The version in which objects of a collection are kept. */
  stored(storageKey: string): ResourceType | undefined {
    return this.#byStorage.get(storageKey)
  }

  hasVersion(group: string, version: string): boolean {
    return this.#all.some(type => type.group === group && type.version === version)
  }

  setCustom(crd: ApiObject, types: readonly ResourceType[]): void {
    this.#custom.set(crd.metadata.name, types)
    this.#rebuild()
  }

  removeCustom(name: string): void {
    this.#custom.delete(name)
    this.#rebuild()
  }

  /** A kind by what an object says it is. */
  byKind(apiVersion: string, kind: string): ResourceType | undefined {
    return this.#all.find(type => type.kind === kind && apiVersionOf(type) === apiVersion)
  }

  #rebuild(): void {
    this.#all = [...this.#builtIn, ...[...this.#custom.values()].flat()]
    this.#byPath = new Map(this.#all.map(type => [`${type.group}/${type.version}/${type.plural}`, type]))
    this.#byStorage = new Map(
      this.#all.filter(type => type.toStored === undefined).map(type => [type.storageKey, type]),
    )
    this.#generation++
  }
}
