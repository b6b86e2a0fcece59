/** The object an Event is about, enough for `kubectl describe` to find it. */
export type EventReference = {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  /** Absent or empty for cluster-scoped kinds: their events live in `default`. */
  readonly namespace?: string
  readonly uid?: string
  readonly resourceVersion?: string
}

export type EventType = 'Normal' | 'Warning'

/** Tells people what happened to an object, through `kubectl describe`. */
export interface EventSink {
  /**
   * Best effort: never throws and never waits. `reason` is one CamelCase word, `message` a sentence (at most 1024 bytes are kept).
   * Equal events within a while become one with a count; too many on one object are dropped.
   */
  emit(about: EventReference, type: EventType, reason: string, message: string): void
}

/** Keeps what it is told, for tests. */
export class FakeEventSink implements EventSink {
  readonly events: {
    readonly about: EventReference
    readonly type: EventType
    readonly reason: string
    readonly message: string
  }[] = []

  emit(about: EventReference, type: EventType, reason: string, message: string): void {
    this.events.push({ about, type, reason, message })
  }
}

/** The reference for an object as the API server gave it. */
export function referenceTo(
  resource: { readonly group: string; readonly version: string; readonly kind: string },
  metadata: {
    readonly name: string
    readonly namespace?: string
    readonly uid?: string
    readonly resourceVersion?: string
  },
): EventReference {
  return {
    apiVersion: resource.group === '' ? resource.version : `${resource.group}/${resource.version}`,
    kind: resource.kind,
    name: metadata.name,
    ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
    ...(metadata.uid === undefined ? {} : { uid: metadata.uid }),
    ...(metadata.resourceVersion === undefined ? {} : { resourceVersion: metadata.resourceVersion }),
  }
}
