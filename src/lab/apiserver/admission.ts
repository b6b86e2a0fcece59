import { randomUUID } from 'node:crypto'
import type { Conversions } from './conversion.ts'
import { VALIDATING_WEBHOOK_CONFIGURATION } from './kinds/webhook.ts'
import { type ApiObject, at, isRecord, type JsonObject, list, record, text } from './objects.ts'
import { shown } from './reads.ts'
import type { Registry } from './registry.ts'
import type { ResourceType } from './resource-type.ts'
import type { User } from './reviews.ts'
import { matchesLabels } from './selectors.ts'
import { ApiError } from './status.ts'
import type { Store } from './store.ts'
import type { WebhookCaller } from './webhook-call.ts'
import type { Subresource, WriteOptions, Written } from './writer.ts'

export type Operation = 'CREATE' | 'UPDATE' | 'DELETE'

export type AdmissionRequest = {
  readonly type: ResourceType
  readonly operation: Operation
  readonly subresource: Subresource
  readonly user: User
  readonly dryRun: boolean
  /** As they would be stored. */
  readonly object: ApiObject | undefined
  readonly oldObject: ApiObject | undefined
}

type Rule = { readonly group: string; readonly version: string; readonly plural: string }

/** Asks the webhooks of all ValidatingWebhookConfigurations before an object is written. */
export class Admission {
  readonly #store: Store
  readonly #registry: Registry
  readonly #caller: WebhookCaller
  readonly #conversions: Conversions

  constructor(store: Store, registry: Registry, caller: WebhookCaller, conversions: Conversions) {
    this.#store = store
    this.#registry = registry
    this.#caller = caller
    this.#conversions = conversions
  }

  /**
   * A write that every webhook agreed to: tried first without effect, to have what would be stored, and then done. Without a webhook
   * that asks for it, only done. `write` must make its own copy of the body when it is told to keep it.
   * @throws ApiError of the write, of a webhook that denies it, 500 when one cannot be asked
   */
  async write(
    request: Pick<AdmissionRequest, 'type' | 'subresource' | 'user'> & {
      readonly before: ApiObject | undefined
    },
    options: WriteOptions,
    write: (options: WriteOptions, keepBody: boolean) => Written,
  ): Promise<Written> {
    const { before, type, subresource } = request
    const operation = before === undefined ? 'CREATE' : 'UPDATE'
    if (!this.isAsked(type, subresource, operation) && type.conversion === undefined)
      return write(options, false)
    const { object } = write({ ...options, dryRun: true, warnings: [] }, true)
    await this.admit(
      { ...request, operation, dryRun: options.dryRun, object, oldObject: before },
      options.warnings,
    )
    // Watches in other versions are told of it at once.
    await this.#conversions.prepare(type, [object])
    return write(options, false)
  }

  /** @throws ApiError when a webhook denies it, or cannot be asked and must be */
  async admit(request: AdmissionRequest, warnings: string[]): Promise<void> {
    const asked = this.#webhooks().flatMap(webhook => {
      const rule = this.#matches(webhook, request)
      return rule === undefined ? [] : [{ webhook, rule }]
    })
    await Promise.all(asked.map(({ webhook, rule }) => this.#ask(webhook, rule, request, warnings)))
  }

  #webhooks(): readonly unknown[] {
    const configurations = this.#store.collection(VALIDATING_WEBHOOK_CONFIGURATION.storageKey)
    return configurations.all().flatMap(({ object }) => list(object['webhooks']))
  }

  /** Whether a webhook wants to know of such writes. */
  isAsked(type: ResourceType, subresource: Subresource, operation: Operation): boolean {
    return this.#webhooks().some(
      webhook => this.#ruleFor(webhook, type, subresource, operation) !== undefined,
    )
  }

  /** In which version a webhook wants to be asked about this, if at all. */
  #ruleFor(
    webhook: unknown,
    type: ResourceType,
    subresource: Subresource,
    operation: Operation,
  ): Rule | undefined {
    // Nobody may lock themselves out of changing the configuration.
    if (type.group === VALIDATING_WEBHOOK_CONFIGURATION.group) return undefined
    const has = (values: unknown, value: string) => list(values).some(item => item === '*' || item === value)
    const resource = subresource === '' ? type.plural : `${type.plural}/${subresource}`
    const scope = type.namespaced ? 'Namespaced' : 'Cluster'
    for (const rule of list(at(webhook, 'rules')).map(record)) {
      const { operations, apiGroups, apiVersions, resources } = rule
      const named =
        list(resources).includes('*/*') ||
        has(subresource === '' ? resources : list(resources).filter(item => item !== '*'), resource)
      const scoped = rule['scope'] === undefined || rule['scope'] === '*' || rule['scope'] === scope
      if (!named || !scoped || !has(operations, operation) || !has(apiGroups, type.group)) continue
      if (has(apiVersions, type.version)) return type
      if (at(webhook, 'matchPolicy') === 'Exact') continue
      const version = list(apiVersions)
        .map(text)
        .find(version => this.#registry.find(type.group, version, type.plural) !== undefined)
      if (version !== undefined) return { group: type.group, version, plural: type.plural }
    }
    return undefined
  }

  #matches(webhook: unknown, request: AdmissionRequest): Rule | undefined {
    const { type, subresource, operation, object, oldObject } = request
    const rule = this.#ruleFor(webhook, type, subresource, operation)
    if (rule === undefined) return undefined
    const objectSelector = at(webhook, 'objectSelector')
    const selected = [object, oldObject].some(
      side => side !== undefined && matchesLabels(objectSelector, side.metadata.labels ?? {}),
    )
    if (isRecord(objectSelector) && !selected) return undefined
    const namespaceSelector = at(webhook, 'namespaceSelector')
    const namespace = (object ?? oldObject)?.metadata.namespace
    if (isRecord(namespaceSelector) && namespace !== undefined) {
      const found = this.#store.collection('/namespaces').get(namespace)
      if (!matchesLabels(namespaceSelector, found?.object.metadata.labels ?? {})) return undefined
    }
    return rule
  }

  async #ask(webhook: unknown, rule: Rule, request: AdmissionRequest, warnings: string[]): Promise<void> {
    const name = text(at(webhook, 'name'))
    const seconds = at(webhook, 'timeoutSeconds')
    let response: JsonObject
    try {
      const review = await this.#review(rule, request)
      const answer = await this.#caller.call(
        at(webhook, 'clientConfig'),
        review,
        (typeof seconds === 'number' ? seconds : 10) * 1000,
      )
      response = record(at(answer, 'response'))
      if (response['uid'] !== at(review, 'request', 'uid'))
        throw new Error('expected response.uid of the request')
      if (typeof response['allowed'] !== 'boolean') throw new Error('the answer has no response.allowed')
    } catch (error) {
      if (at(webhook, 'failurePolicy') === 'Ignore') return
      const why = error instanceof Error ? error.message : String(error)
      throw new ApiError(
        500,
        'InternalError',
        `Internal error occurred: failed calling webhook "${name}": failed to call webhook: ${why}`,
        { causes: [{ reason: '', message: why, field: '' }] },
      )
    }
    warnings.push(...list(response['warnings']).map(text))
    if (response['allowed']) return
    const { code, reason, message } = record(response['status'])
    throw new ApiError(
      typeof code === 'number' && code >= 400 ? code : 400,
      text(reason) || 'Forbidden',
      `admission webhook "${name}" denied the request: ${text(message) || 'without explanation'}`,
    )
  }

  async #review(rule: Rule, request: AdmissionRequest): Promise<object> {
    const { type, operation, subresource, user, dryRun, object, oldObject } = request
    const asked = this.#registry.find(rule.group, rule.version, rule.plural) ?? type
    const sides = [object, oldObject].filter(side => side !== undefined)
    await this.#conversions.prepare(asked, sides)
    const meta = (object ?? oldObject)?.metadata
    const kindOf = ({ group, version, kind }: ResourceType) => ({ group, version, kind })
    const resourceOf = ({ group, version, plural }: ResourceType) => ({ group, version, resource: plural })
    return {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      request: {
        uid: randomUUID(),
        kind: kindOf(asked),
        resource: resourceOf(asked),
        requestKind: kindOf(type),
        requestResource: resourceOf(type),
        ...(subresource === '' ? {} : { subResource: subresource, requestSubResource: subresource }),
        name: meta?.name ?? '',
        ...(meta?.namespace === undefined ? {} : { namespace: meta.namespace }),
        operation,
        userInfo: { username: user.user, groups: user.groups },
        object: object === undefined ? null : shown(asked, object),
        oldObject: oldObject === undefined ? null : shown(asked, oldObject),
        dryRun,
        options: {
          apiVersion: 'meta.k8s.io/v1',
          kind: `${operation.charAt(0)}${operation.slice(1).toLowerCase()}Options`,
        },
      },
    }
  }
}
