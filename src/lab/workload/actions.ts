import { createHash } from 'node:crypto'
import type { KubeObject, ObjectName, RESOURCES, Resource } from '../../ports/kube.ts'

/** One write that a plan wants. Plans never read: they see a snapshot and return these. */
export type Action =
  | { readonly type: 'create'; readonly resource: Resource; readonly object: KubeObject }
  /** A merge patch (RFC 7386). */
  | {
      readonly type: 'patch'
      readonly resource: Resource
      readonly name: ObjectName
      readonly patch: Readonly<Record<string, unknown>>
      readonly subresource?: 'status'
    }
  /** Gives a pod its node: the one change of its spec that the API server allows, and only in this way. */
  | {
      readonly type: 'bind'
      readonly resource: typeof RESOURCES.pods
      readonly name: ObjectName
      readonly node: string
    }
  | {
      readonly type: 'delete'
      readonly resource: Resource
      readonly name: ObjectName
      readonly uid: string | undefined
    }

export function nameOf(object: KubeObject): ObjectName {
  return { namespace: object.metadata.namespace ?? '', name: object.metadata.name }
}

export function deletion(resource: Resource, object: KubeObject): Action {
  return { type: 'delete', resource, name: nameOf(object), uid: object.metadata.uid }
}

/** A merge patch of `fields`, or nothing when the object says so already. Fields must be whole values, not partial objects. */
export function statusPatch(
  resource: Resource,
  object: KubeObject,
  fields: Readonly<Record<string, unknown>>,
): Action[] {
  const before = (object['status'] ?? {}) as Record<string, unknown>
  const changed = Object.entries(fields).filter(
    ([name, value]) => canonical(before[name]) !== canonical(value ?? undefined),
  )
  if (changed.length === 0) return []
  return [
    {
      type: 'patch',
      resource,
      name: nameOf(object),
      patch: { status: Object.fromEntries(changed.map(([name, value]) => [name, value ?? null])) },
      subresource: 'status',
    },
  ]
}

/** JSON with sorted keys, so that equal values have equal texts. */
export function canonical(value: unknown): string {
  return (
    JSON.stringify(value, (_, inner: unknown) =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
        : inner,
    ) ?? 'undefined'
  )
}

/** Without vowels and look-alikes, as the suffixes of Kubernetes names. */
const ALPHABET = 'bcdfghjklmnpqrstvwxz2456789'

/** A short text that is always the same for the same input, fit for names and label values. */
export function shortHash(input: string, length: number): string {
  const digest = createHash('sha256').update(input).digest()
  return Array.from({ length }, (_, i) => ALPHABET[(digest[i] ?? 0) % ALPHABET.length]).join('')
}
