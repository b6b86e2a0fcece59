import type { JsonObject } from './objects.ts'
import type { Registry } from './registry.ts'
import type { ResourceType } from './resource-type.ts'
import { VIRTUAL_RESOURCES } from './reviews.ts'

type GroupVersions = { readonly group: string; readonly versions: readonly string[] }

/** v2 before v1, v1 before v1beta2, betas before alphas, higher before lower: Kubernetes' order of versions. */
export function compareVersions(a: string, b: string): number {
  const rank = (version: string): [number, number, number] => {
    const found = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version)
    if (found === null) return [-1, 0, 0]
    const stage = found[2] === undefined ? 2 : found[2] === 'beta' ? 1 : 0
    return [stage, Number(found[1]), Number(found[3] ?? 0)]
  }
  const [x, y] = [rank(a), rank(b)]
  return y[0] - x[0] || y[1] - x[1] || y[2] - x[2] || (a < b ? -1 : 1)
}

function groups(registry: Registry): GroupVersions[] {
  const found = new Map<string, Set<string>>()
  for (const { group, version } of [...registry.all(), ...VIRTUAL_RESOURCES]) {
    const versions = found.get(group) ?? new Set()
    found.set(group, versions.add(version))
  }
  return [...found].map(([group, versions]) => ({ group, versions: [...versions].sort(compareVersions) }))
}

export function apiVersions(): JsonObject {
  return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }
}

function apiGroup({ group, versions }: GroupVersions): JsonObject {
  const named = versions.map(version => ({ groupVersion: `${group}/${version}`, version }))
  return { name: group, versions: named, preferredVersion: named[0] }
}

export function apiGroupList(registry: Registry): JsonObject {
  return {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: groups(registry)
      .filter(g => g.group !== '')
      .map(apiGroup),
  }
}

export function apiGroupOf(registry: Registry, group: string): JsonObject | undefined {
  const found = groups(registry).find(g => g.group === group && group !== '')
  return found === undefined ? undefined : { kind: 'APIGroup', apiVersion: 'v1', ...apiGroup(found) }
}

function typesOf(registry: Registry, group: string, version: string): ResourceType[] {
  return registry.all().filter(type => type.group === group && type.version === version)
}

const SUBRESOURCE_VERBS = ['get', 'patch', 'update']

/** The resources of one version, or undefined when it is not served. */
export function apiResourceList(registry: Registry, group: string, version: string): JsonObject | undefined {
  const types = typesOf(registry, group, version)
  const virtual = VIRTUAL_RESOURCES.filter(v => v.group === group && v.version === version)
  if (types.length + virtual.length === 0) return undefined
  const resources: JsonObject[] = []
  for (const type of types) {
    resources.push({
      name: type.plural,
      singularName: type.singular,
      namespaced: type.namespaced,
      kind: type.kind,
      verbs: type.verbs,
      ...(type.shortNames.length === 0 ? {} : { shortNames: type.shortNames }),
      ...(type.categories.length === 0 ? {} : { categories: type.categories }),
      storageVersionHash: '',
    })
    for (const sub of subresourcesOf(type)) {
      resources.push({
        name: `${type.plural}/${sub.subresource}`,
        singularName: '',
        namespaced: type.namespaced,
        kind: sub.kind,
        ...(sub.group === undefined ? {} : { group: sub.group, version: sub.version }),
        verbs: sub.verbs,
      })
    }
  }
  for (const v of virtual) {
    resources.push({
      name: v.plural,
      singularName: v.kind.toLowerCase(),
      namespaced: v.namespaced,
      kind: v.kind,
      verbs: ['create'],
    })
  }
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: group === '' ? version : `${group}/${version}`,
    resources,
  }
}

type Sub = {
  subresource: string
  kind: string
  group?: string
  version?: string
  verbs: readonly string[]
}

function subresourcesOf(type: ResourceType): Sub[] {
  const out: Sub[] = []
  if (type.subresources.has('status')) {
    out.push({ subresource: 'status', kind: type.kind, verbs: SUBRESOURCE_VERBS })
  }
  if (type.subresources.has('scale')) {
    out.push({
      subresource: 'scale',
      kind: 'Scale',
      group: 'autoscaling',
      version: 'v1',
      verbs: SUBRESOURCE_VERBS,
    })
  }
  if (type.storageKey === '/pods') {
    out.push({ subresource: 'binding', kind: 'Binding', verbs: ['create'] })
  }
  return out
}

/** Aggregated discovery (apidiscovery.k8s.io), of the core group or of all others. */
export function aggregated(registry: Registry, core: boolean, version: 'v2' | 'v2beta1'): JsonObject {
  const items = groups(registry)
    .filter(g => (g.group === '') === core)
    .map(({ group, versions }) => ({
      metadata: { name: group, creationTimestamp: null },
      versions: versions.map(v => ({
        version: v,
        freshness: 'Current',
        resources: [
          ...typesOf(registry, group, v).map(type => ({
            resource: type.plural,
            responseKind: { group, version: v, kind: type.kind },
            scope: type.namespaced ? 'Namespaced' : 'Cluster',
            singularResource: type.singular,
            verbs: type.verbs,
            shortNames: type.shortNames,
            categories: type.categories,
            subresources: subresourcesOf(type).map(sub => ({
              subresource: sub.subresource,
              responseKind: { group: sub.group ?? group, version: sub.version ?? v, kind: sub.kind },
              verbs: sub.verbs,
            })),
          })),
          ...VIRTUAL_RESOURCES.filter(r => r.group === group && r.version === v).map(r => ({
            resource: r.plural,
            responseKind: { group, version: v, kind: r.kind },
            scope: r.namespaced ? 'Namespaced' : 'Cluster',
            singularResource: r.kind.toLowerCase(),
            verbs: ['create'],
          })),
        ],
      })),
    }))
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items,
  }
}
