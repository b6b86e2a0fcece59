import { ApiError } from './status.ts'

/** What the client wants back. `version` is that of meta.k8s.io. */
export type Wanted =
  | { readonly as: 'object' }
  | { readonly as: 'table' | 'partial'; readonly version: 'v1' | 'v1beta1' }
  | { readonly as: 'discovery'; readonly version: 'v2' | 'v2beta1' }

/**
 * The first media type of Accept that can be answered. JSON is the only encoding; protobuf is passed over for what follows it.
 * @throws ApiError 406 when none can
 */
export function negotiate(accept: string | undefined): Wanted {
  if (accept === undefined || accept === '') return { as: 'object' }
  for (const part of accept.split(',')) {
    const [media = '', ...parameters] = part.split(';').map(word => word.trim())
    if (media !== 'application/json' && media !== '*/*' && media !== 'application/*') continue
    const values = new Map(
      parameters.map(p => {
        const eq = p.indexOf('=')
        return [p.slice(0, eq), p.slice(eq + 1)] as const
      }),
    )
    const as = values.get('as')
    const version = values.get('v')
    if (as === undefined) return { as: 'object' }
    if (as === 'Table' || as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList') {
      if (values.get('g') !== 'meta.k8s.io' || (version !== 'v1' && version !== 'v1beta1')) continue
      return { as: as === 'Table' ? 'table' : 'partial', version }
    }
    if (as === 'APIGroupDiscoveryList' && (version === 'v2' || version === 'v2beta1')) {
      return { as: 'discovery', version }
    }
  }
  throw new ApiError(406, 'NotAcceptable', 'only the following media types are accepted: application/json')
}
