import { type Registry } from './registry.ts'
import type { ResourceType } from './resource-type.ts'

/** A request for objects, taken from its path. */
export type ResourcePath = {
  readonly type: ResourceType
  /** Undefined: all namespaces, or a cluster-scoped kind. */
  readonly namespace: string | undefined
  /** Undefined: the collection. */
  readonly name: string | undefined
  /** '' for the object itself. */
  readonly subresource: string
  /** The old `/watch/` form. */
  readonly watch: boolean
}

export type VirtualPath = {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly namespace: string | undefined
}

type Segments = { group: string; version: string; rest: string[] }

function split(segments: readonly string[]): Segments | undefined {
  const [root, ...rest] = segments
  if (root === 'api' && rest[0] !== undefined) return { group: '', version: rest[0], rest: rest.slice(1) }
  if (root === 'apis' && rest[0] !== undefined && rest[1] !== undefined) {
    return { group: rest[0], version: rest[1], rest: rest.slice(2) }
  }
  return undefined
}

/** The segments of a path, decoded; undefined for what no object can be called (dots, empty parts, bad escapes). */
export function segmentsOf(path: string): string[] | undefined {
  const parts = path.split('/').slice(1)
  if (parts.at(-1) === '') parts.pop()
  const out: string[] = []
  for (const part of parts) {
    let decoded: string
    try {
      decoded = part.includes('%') ? decodeURIComponent(part) : part
    } catch {
      return undefined
    }
    if (
      decoded === '' ||
      decoded === '.' ||
      decoded === '..' ||
      decoded.includes('/') ||
      decoded.includes('\0')
    ) {
      return undefined
    }
    out.push(decoded)
  }
  return out
}

export function resourcePath(segments: readonly string[], registry: Registry): ResourcePath | undefined {
  const found = split(segments)
  if (found === undefined) return undefined
  let { rest } = found
  const watch = rest[0] === 'watch'
  if (watch) rest = rest.slice(1)
  const { group, version } = found
  if (
    rest[0] === 'namespaces' &&
    rest.length > 2 &&
    !(rest.length === 3 && isNamespaceSubresource(rest[2]))
  ) {
    const [, namespace, plural = '', name, ...subresource] = rest
    const type = registry.find(group, version, plural)
    if (type === undefined || !type.namespaced || subresource.length > 1) return undefined
    return { type, namespace, name, subresource: subresource[0] ?? '', watch }
  }
  const [plural = '', name, ...subresource] = rest
  const type = registry.find(group, version, plural)
  if (type === undefined || subresource.length > 1) return undefined
  if (type.namespaced && name !== undefined) return undefined
  return { type, namespace: undefined, name, subresource: subresource[0] ?? '', watch }
}

function isNamespaceSubresource(word: string | undefined): boolean {
  return word === 'status' || word === 'finalize'
}

export function virtualPath(segments: readonly string[]): VirtualPath | undefined {
  const found = split(segments)
  if (found === undefined) return undefined
  const { group, version, rest } = found
  if (rest.length === 1) return { group, version, plural: rest[0] ?? '', namespace: undefined }
  if (rest.length === 3 && rest[0] === 'namespaces') {
    return { group, version, plural: rest[2] ?? '', namespace: rest[1] }
  }
  return undefined
}
