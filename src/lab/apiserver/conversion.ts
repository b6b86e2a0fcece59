import { randomUUID } from 'node:crypto'
import { type ApiObject, at, clone, isRecord, type JsonObject, list, record, text } from './objects.ts'
import type { Registry } from './registry.ts'
import { apiVersionOf, type ResourceType } from './resource-type.ts'
import { dropNulls, prune } from './schema.ts'
import { ApiError } from './status.ts'
import type { WebhookCaller } from './webhook-call.ts'

/** What a conversion may change, and with it everything that depends on it. */
type Converted = { readonly rest: JsonObject; readonly labels: unknown; readonly annotations: unknown }

const CACHE_MAX = 20_000
const TIMEOUT_MS = 10_000

/**
 * Versions of custom objects by conversion webhooks. Asking takes time and everything that reads or writes objects does not wait:
 * so requests first prepare what they will need, and find it here by content.
 */
export class Conversions {
  readonly #caller: WebhookCaller
  #registry: Registry | undefined
  readonly #converted = new Map<string, Converted>()

  constructor(caller: WebhookCaller) {
    this.#caller = caller
  }

  /** The registry is made of kinds that know this. */
  attach(registry: Registry): void {
    this.#registry = registry
  }

  /**
   * Makes stored objects known in the version of the type; for the stored version, in all others as far as the webhook answers.
   * @throws ApiError 500 when the webhook cannot be asked
   */
  async prepare(type: ResourceType, objects: readonly ApiObject[]): Promise<void> {
    if (type.conversion === undefined) return
    if (type.fromStored !== undefined) {
      await this.#ask(type, objects, apiVersionOf(type))
      return
    }
    for (const other of this.#registry?.all() ?? []) {
      if (other.storageKey !== type.storageKey || other.fromStored === undefined) continue
      try {
        await this.#ask(other, objects, apiVersionOf(other))
      } catch {
        // Nobody asked for that version now; who does is told.
      }
    }
  }

  /** Makes what a client sent known in the stored version. @throws ApiError 500 */
  async prepareIncoming(type: ResourceType, body: unknown): Promise<void> {
    if (type.conversion === undefined || type.toStored === undefined || !isRecord(body)) return
    const stored = this.#registry?.stored(type.storageKey)
    if (stored === undefined) return
    // As the writer does it before it looks the object up.
    const copy = clone({ ...body, apiVersion: apiVersionOf(type), kind: type.kind })
    prune(copy, type.schema, '', () => undefined)
    const metadata = record((copy as JsonObject)['metadata'])
    dropNulls(metadata, type.schema.properties?.['metadata'])
    await this.#ask(type, [{ ...copy, metadata } as unknown as ApiObject], apiVersionOf(stored))
  }

  /** @throws ApiError 500 when nobody prepared it */
  convert(object: ApiObject, apiVersion: string): ApiObject {
    if (object.apiVersion === apiVersion) return object
    const found = this.#converted.get(keyOf(object, apiVersion))
    if (found === undefined) {
      throw new ApiError(
        500,
        'InternalError',
        `conversion of ${object.kind} ${object.metadata.name} to ${apiVersion} is not available`,
      )
    }
    const { labels: _labels, annotations: _annotations, ...metadata } = object.metadata
    return {
      ...clone(found.rest),
      apiVersion,
      kind: object.kind,
      metadata: {
        ...metadata,
        ...(found.labels === undefined ? {} : { labels: clone(found.labels) as Record<string, string> }),
        ...(found.annotations === undefined
          ? {}
          : { annotations: clone(found.annotations) as Record<string, string> }),
      },
    }
  }

  async #ask(type: ResourceType, objects: readonly ApiObject[], apiVersion: string): Promise<void> {
    const missing = objects.filter(
      object => object.apiVersion !== apiVersion && !this.#converted.has(keyOf(object, apiVersion)),
    )
    if (missing.length === 0) return
    const uid = randomUUID()
    try {
      const answer = await this.#caller.call(
        type.conversion?.clientConfig,
        {
          apiVersion: 'apiextensions.k8s.io/v1',
          kind: 'ConversionReview',
          request: { uid, desiredAPIVersion: apiVersion, objects: missing },
        },
        TIMEOUT_MS,
      )
      const response = record(at(answer, 'response'))
      if (response['uid'] !== uid) throw new Error('expected response.uid of the request')
      if (at(response, 'result', 'status') !== 'Success')
        throw new Error(text(at(response, 'result', 'message')))
      const converted = list(response['convertedObjects']).map(record)
      if (converted.length !== missing.length) {
        throw new Error(`${converted.length} objects came back for ${missing.length}`)
      }
      if (this.#converted.size > CACHE_MAX) this.#converted.clear()
      missing.forEach((object, i) => {
        const { apiVersion: version, kind: _kind, metadata, ...rest } = converted[i] ?? {}
        if (version !== apiVersion) throw new Error(`an object came back as ${String(version)}`)
        const { labels, annotations } = record(metadata)
        this.#converted.set(keyOf(object, apiVersion), { rest, labels, annotations })
      })
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new ApiError(
        500,
        'InternalError',
        `conversion webhook for ${type.group}, Kind=${type.kind} failed: ${why}`,
      )
    }
  }
}

function keyOf({ apiVersion: from, kind, metadata, ...rest }: ApiObject, to: string): string {
  return JSON.stringify([from, to, kind, metadata.labels, metadata.annotations, rest])
}
