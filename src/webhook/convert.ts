import { BGP_PEER_VERSIONS, convertBgpPeer } from '../config/conversion.ts'
import { type Fields, fieldsOf } from '../config/fields.ts'
import type { KubeObject } from '../ports/kube.ts'
import type { ConversionRequest } from './envelope.ts'

/**
 * Where a v1beta1 BGPPeer carries the fields of v1beta2 that its own version has no place for, as JSON: a client that reads the
 * old version and writes it back loses nothing. A conversion may touch labels and annotations only.
 */
export const V1BETA2_FIELDS_ANNOTATION = 'lodestone.dev/v1beta2-fields'

/** All objects in the version that is asked for, or why that cannot be. */
export function convert({ desiredApiVersion, objects }: ConversionRequest): readonly KubeObject[] | string {
  const version = BGP_PEER_VERSIONS.find(known => desiredApiVersion === `metallb.io/${known}`)
  if (version === undefined) return `${desiredApiVersion} is no version that a BGPPeer has`
  const known: readonly unknown[] = BGP_PEER_VERSIONS.map(known => `metallb.io/${known}`)
  const stranger = objects.find(object => object.kind !== 'BGPPeer' || !known.includes(object.apiVersion))
  if (stranger !== undefined) {
    return `${String(stranger.kind)} of ${String(stranger.apiVersion)} cannot be converted to ${desiredApiVersion}`
  }
  return objects.map(object => {
    if (object.apiVersion === desiredApiVersion) return object
    const converted = convertBgpPeer(object, version)
    return version === 'v1beta1' ? withDropped(converted, object) : withRestored(converted)
  })
}

function withDropped(converted: KubeObject, original: KubeObject): KubeObject {
  const kept = fieldsOf(converted['spec'])
  const dropped = Object.entries(fieldsOf(original['spec'])).filter(([name]) => !Object.hasOwn(kept, name))
  return withAnnotation(
    converted,
    dropped.length === 0 ? undefined : JSON.stringify(Object.fromEntries(dropped)),
  )
}

/** What the object says itself counts more than what it carries along. */
function withRestored(converted: KubeObject): KubeObject {
  const carried = fieldsOf(converted.metadata.annotations)[V1BETA2_FIELDS_ANNOTATION]
  if (carried === undefined) return converted
  const spec = { ...parsed(carried), ...fieldsOf(converted['spec']) }
  return withAnnotation({ ...converted, spec }, undefined)
}

function parsed(text: unknown): Fields {
  try {
    return fieldsOf(JSON.parse(String(text)))
  } catch {
    // Somebody edited it: then it carries nothing.
    return {}
  }
}

function withAnnotation(object: KubeObject, value: string | undefined): KubeObject {
  const { annotations: before, ...metadata } = object.metadata
  const { [V1BETA2_FIELDS_ANNOTATION]: _, ...others } = fieldsOf(before) as Record<string, string>
  const annotations = value === undefined ? others : { ...others, [V1BETA2_FIELDS_ANNOTATION]: value }
  const any = Object.keys(annotations).length > 0
  return { ...object, metadata: any ? { ...metadata, annotations } : metadata }
}
