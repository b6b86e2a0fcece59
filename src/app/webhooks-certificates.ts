import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fieldsOf, itemsOf, textOf } from '../config/fields.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import {
  type Informer,
  type Kube,
  KubeError,
  type KubeObject,
  objectKey,
  RESOURCES,
  type Resource,
} from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import {
  type CertificateFacts,
  type Certified,
  isPair,
  isSignedFor,
  makeAuthority,
  makeServerCertificate,
  readCertificates,
} from '../sys/certificates.ts'
import { type Material, nextStep, type RotationOptions, type RotationStep } from '../webhook/rotation.ts'
import { Coalesced } from './coalesced.ts'

export type CertificateKeeperOptions = {
  readonly namespace: string
  readonly secretName: string
  /** The Service through which the API server reaches the webhooks. */
  readonly serviceName: string
  readonly rotation: RotationOptions
  /** Called with each certificate to serve, the first one too. */
  readonly onServing: (certificate: Certified, untilMs: number) => void
}

/** As MetalLB's controller names them, so that its Secret goes on being used. */
const KEYS = { bundle: 'ca.crt', authorityKey: 'ca.key', certificate: 'tls.crt', key: 'tls.key' } as const

const CONFIGURATIONS: Resource = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingwebhookconfigurations',
  kind: 'ValidatingWebhookConfiguration',
  namespaced: false,
}
const DEFINITIONS: Resource = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
}
const CONFIGURATION_NAME = 'metallb-webhook-configuration'
const DEFINITION_NAME = 'bgppeers.metallb.io'

const RETRY_MS: Ms = 1000
/** Time that a suspended machine or a corrected clock may be off unnoticed. */
const LOOK_AGAIN_MS: Ms = 6 * 3_600_000

type Data = Readonly<Record<string, string>>

/** A Secret's text, decoded. */
type SecretState = { readonly resourceVersion: string; readonly data: Data }

/** Who calls us, and whom they are told to trust: PEM texts, one for each place. */
type Target = { readonly object: KubeObject; readonly bundles: readonly string[] }

const CONVERT_PATH = '/convert'

/**
 * Keeps the Secret with the authority and the serving certificate good, tells clients of the authority, and hands out what is to
 * be served. Any number of replicas may run it: each step is one write of the Secret under its resourceVersion, and who comes
 * second takes what the first one wrote.
 */
export class CertificateKeeper {
  readonly #kube: Kube
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: CertificateKeeperOptions
  readonly #secrets: Informer<SecretState>
  readonly #configurations: Informer<Target>
  readonly #definitions: Informer<Target>
  readonly #passes: Coalesced
  #cancelTimer: (() => void) | undefined
  #served: string | undefined
  #told = new Set<string>()

  constructor(ports: { kube: Kube; clock: Clock; log: Log }, options: CertificateKeeperOptions) {
    const { kube, clock } = ports
    this.#kube = kube
    this.#clock = clock
    this.#log = ports.log
    this.#options = options
    const only = (name: string) => ({ fieldSelector: `metadata.name=${name}` })
    this.#secrets = kube.informer(RESOURCES.secrets, {
      namespace: options.namespace,
      ...only(options.secretName),
      convert: secretState,
    })
    this.#configurations = kube.informer(CONFIGURATIONS, {
      ...only(CONFIGURATION_NAME),
      convert: configurationTarget,
    })
    this.#definitions = kube.informer(DEFINITIONS, { ...only(DEFINITION_NAME), convert: definitionTarget })
    this.#passes = new Coalesced(clock, () => this.#pass(), {
      retryAfterMs: RETRY_MS,
      onError: error => this.#tellOnce('webhook-certificate-failed', error),
    })
  }

  /** Starts; goes on until the signal aborts. Resolves when the Secret was read. Rejects on abort before that. */
  async start(signal: AbortSignal): Promise<void> {
    signal.addEventListener(
      'abort',
      () => {
        this.#passes.close()
        this.#cancelTimer?.()
      },
      { once: true },
    )
    for (const informer of [this.#secrets, this.#configurations, this.#definitions]) {
      informer.onChange(() => this.#passes.request())
    }
    // Without them the webhooks serve all the same; reading them may be forbidden, or the kinds unknown.
    for (const [informer, name] of [
      [this.#configurations, CONFIGURATION_NAME],
      [this.#definitions, DEFINITION_NAME],
    ] as const) {
      informer.start(signal).then(
        () => {
          if (informer.items.size === 0) this.#log.info('webhook-client-absent', { name })
          this.#passes.request()
        },
        () => undefined, // Aborted.
      )
    }
    await this.#secrets.start(signal)
    this.#passes.request()
  }

  get #key(): string {
    return objectKey({ namespace: this.#options.namespace, name: this.#options.secretName })
  }

  get #names(): string[] {
    const { namespace, serviceName } = this.#options
    return [`${serviceName}.${namespace}.svc`, `${serviceName}.${namespace}.svc.cluster.local`]
  }

  async #pass(): Promise<void> {
    // Not known is not absent.
    if (!this.#secrets.synced) return
    const now = this.#clock.wallNow()
    const secret = this.#secrets.items.get(this.#key)
    const held = hold(secret?.data ?? {}, this.#names)
    const certificate = held.serving
    if (certificate !== undefined && certificate.certPem !== this.#served && now < certificate.untilMs) {
      this.#served = certificate.certPem
      this.#options.onServing(certificate, certificate.untilMs)
    }
    const step = nextStep(held.material, this.#isPublished(held.authority), now, this.#options.rotation)
    if (step.do === 'wait') this.#lookAgainAt(step.untilMs - now)
    else await this.#write(step.do, secret, advance(step, held, this.#names, now, this.#options.rotation))
    await this.#publish(held.bundle)
  }

  #lookAgainAt(delayMs: Ms): void {
    this.#cancelTimer?.()
    this.#cancelTimer = this.#clock.after(Math.min(delayMs, LOOK_AGAIN_MS), () => this.#passes.request())
  }

  async #write(what: string, before: SecretState | undefined, data: Data): Promise<void> {
    const { namespace, secretName: name } = this.#options
    const encoded = Object.fromEntries(
      Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
    )
    try {
      if (before === undefined) {
        const object = { metadata: { namespace, name }, type: 'Opaque', data: encoded }
        await this.#kube.create(RESOURCES.secrets, object)
      } else {
        const metadata = { resourceVersion: before.resourceVersion }
        await this.#kube.patch(
          RESOURCES.secrets,
          { namespace, name },
          { metadata, data: encoded },
          { type: 'merge' },
        )
      }
      this.#log.info('webhook-certificate-written', { step: what, secret: `${namespace}/${name}` })
    } catch (error) {
      const lost =
        error instanceof KubeError &&
        (error.code === 'conflict' || error.code === 'already-exists' || error.code === 'not-found')
      if (!lost) throw error
      // Another replica was first: its Secret is on its way here.
      this.#log.debug('webhook-certificate-superseded', { step: what })
    }
    // The informer asks for the next pass; should it have done so before the answer came, this one does.
    this.#lookAgainAt(RETRY_MS)
  }

  /** Whether all that call us trust the authority; true when nobody does. */
  #isPublished(authority: CertificateFacts | undefined): boolean {
    if (!this.#configurations.synced || !this.#definitions.synced) return false
    return (
      authority !== undefined &&
      this.#targets().every(([, { bundles }]) =>
        bundles.every(bundle => bundle.includes(authority.pem.trim())),
      )
    )
  }

  #targets(): (readonly [Resource, Target])[] {
    return [
      ...[...this.#configurations.items.values()].map(target => [CONFIGURATIONS, target] as const),
      ...[...this.#definitions.items.values()]
        // Our own definition says nothing of webhooks: with them installed, its versions are converted by them.
        .filter(({ object }) => object['converts'] === true || this.#configurations.items.size > 0)
        .map(target => [DEFINITIONS, target] as const),
    ]
  }

  #conversion(definition: KubeObject, caBundle: string): object {
    if (definition['converts'] === true) return { webhook: { clientConfig: { caBundle } } }
    const { namespace, serviceName: name } = this.#options
    const service = { namespace, name, path: CONVERT_PATH, port: 443 }
    return {
      strategy: 'Webhook',
      webhook: { conversionReviewVersions: ['v1'], clientConfig: { service, caBundle } },
    }
  }

  async #publish(bundle: string): Promise<void> {
    if (bundle === '') return
    for (const [resource, { object, bundles }] of this.#targets()) {
      if (bundles.every(present => present === bundle)) continue
      const { name, resourceVersion = '' } = object.metadata
      const caBundle = Buffer.from(bundle).toString('base64')
      const change =
        resource === CONFIGURATIONS
          ? { webhooks: itemsOf(object['webhooks']).map(webhook => withBundle(webhook, caBundle)) }
          : { spec: { conversion: this.#conversion(object, caBundle) } }
      try {
        await this.#kube.patch(
          resource,
          { namespace: '', name },
          { metadata: { resourceVersion }, ...change },
          { type: 'merge' },
        )
        this.#log.info('webhook-authority-published', { kind: resource.kind, name })
      } catch (error) {
        // Somebody changed it meanwhile, and the informer will show what.
        if (error instanceof KubeError && (error.code === 'conflict' || error.code === 'not-found')) {
          this.#lookAgainAt(RETRY_MS)
          continue
        }
        throw error
      }
    }
  }

  #tellOnce(event: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    if (this.#told.has(message)) return
    if (this.#told.size > 100) this.#told.clear()
    this.#told.add(message)
    this.#log.warn(event, { error })
  }
}

type Held = {
  readonly material: Material
  /** The newest authority whose key is there. */
  readonly authority: (CertificateFacts & Certified) | undefined
  readonly others: readonly CertificateFacts[]
  readonly serving: (Certified & { readonly untilMs: number }) | undefined
  /** What clients shall trust. */
  readonly bundle: string
}

/** What of a Secret can be used. Whatever it holds, this is a value. */
function hold(data: Data, names: readonly string[]): Held {
  const authorities = (readCertificates(data[KEYS.bundle] ?? '') ?? []).filter(
    ({ isAuthority }) => isAuthority,
  )
  const keyPem = data[KEYS.authorityKey] ?? ''
  const found = authorities.find(({ pem }) => isPair({ certPem: pem, keyPem }))
  const authority = found && { ...found, certPem: found.pem, keyPem }
  const others = authorities.filter(other => other !== found)

  const served = { certPem: data[KEYS.certificate] ?? '', keyPem: data[KEYS.key] ?? '' }
  const facts = readCertificates(served.certPem)?.[0]
  const signer = authorities.find(({ pem }) => isSignedFor(served.certPem, pem, names.slice(0, 1)))
  const usable = facts !== undefined && signer !== undefined && isPair(served)
  return {
    material: {
      authority,
      others,
      serving: usable ? { ...facts, signedByAuthority: signer === found } : undefined,
    },
    authority,
    others,
    serving: usable ? { ...served, untilMs: facts.untilMs } : undefined,
    bundle: authorities.map(({ pem }) => pem).join(''),
  }
}

/** What the Secret holds after the step. */
function advance(
  step: Exclude<RotationStep, { do: 'wait' }>,
  { authority, others }: Held,
  names: readonly string[],
  nowMs: number,
  { authorityLifeMs, backdateMs, servingLifeMs }: RotationOptions,
): Data {
  const span = (lifeMs: number) => ({ fromMs: nowMs - backdateMs, untilMs: nowMs + lifeMs })
  const present = authority === undefined ? others : [authority, ...others]
  const trusted = present.filter(({ untilMs }) => nowMs < untilMs).map(({ pem }) => pem)
  const add = () => makeAuthority('lodestone-webhook', span(authorityLifeMs))
  const serve = (signer: Certified): Data => {
    const { certPem, keyPem } = makeServerCertificate(names, signer, span(servingLifeMs))
    return { [KEYS.certificate]: certPem, [KEYS.key]: keyPem }
  }
  const signing = ({ certPem, keyPem }: Certified): Data => ({
    [KEYS.bundle]: [certPem, ...trusted].join(''),
    [KEYS.authorityKey]: keyPem,
  })
  if (step.do === 'start-over' || authority === undefined) {
    const fresh = add()
    return step.do === 'add-authority' ? signing(fresh) : { ...signing(fresh), ...serve(fresh) }
  }
  if (step.do === 'add-authority') return signing(add())
  if (step.do === 'renew-serving') return serve(authority)
  return { [KEYS.bundle]: authority.pem }
}

function secretState({ metadata, data }: KubeObject): SecretState {
  const texts = Object.entries(fieldsOf(data)).map(([key, value]) => [
    key,
    Buffer.from(textOf(value) ?? '', 'base64').toString(),
  ])
  return {
    resourceVersion: metadata.resourceVersion ?? '',
    data: Object.fromEntries(texts) as Record<string, string>,
  }
}

function configurationTarget({ metadata, webhooks }: KubeObject): Target {
  const { name, resourceVersion } = metadata
  return {
    object: { metadata: { name, ...(resourceVersion === undefined ? {} : { resourceVersion }) }, webhooks },
    bundles: itemsOf(webhooks).map(bundleOf),
  }
}

function definitionTarget({ metadata, spec }: KubeObject): Target {
  const { name, resourceVersion } = metadata
  const conversion = fieldsOf(fieldsOf(spec)['conversion'])
  const converts = conversion['strategy'] === 'Webhook'
  return {
    object: { metadata: { name, ...(resourceVersion === undefined ? {} : { resourceVersion }) }, converts },
    bundles: [converts ? bundleOf(conversion['webhook']) : ''],
  }
}

function bundleOf(webhook: unknown): string {
  const { caBundle } = fieldsOf(fieldsOf(webhook)['clientConfig'])
  return Buffer.from(textOf(caBundle) ?? '', 'base64').toString()
}

function withBundle(webhook: unknown, caBundle: string): unknown {
  const fields = fieldsOf(webhook)
  return { ...fields, clientConfig: { ...fieldsOf(fields['clientConfig']), caBundle } }
}

export type CertificateFilesOptions = {
  readonly directory: string
  readonly onServing: (certificate: Certified, untilMs: number) => void
}

const FILES_POLL_MS: Ms = 10_000

/**
 * Serves tls.crt and tls.key of a directory, for those who make certificates themselves (--disable-cert-rotation). Read again
 * every ten seconds, since a mounted Secret changes under our feet; half a change is waited out. Ends by the signal.
 */
export function watchCertificateFiles(
  { clock, log }: { clock: Clock; log: Log },
  { directory, onServing }: CertificateFilesOptions,
  signal: AbortSignal,
): void {
  let served = ''
  let told = ''
  const tell = (message: string) => {
    if (message !== told) log.warn('webhook-certificate-unusable', { directory, message })
    told = message
  }
  const look = async (): Promise<void> => {
    try {
      const [certPem, keyPem] = await Promise.all(
        [KEYS.certificate, KEYS.key].map(name => readFile(join(directory, name), 'utf8')),
      )
      const certificate = { certPem: certPem ?? '', keyPem: keyPem ?? '' }
      const facts = readCertificates(certificate.certPem)?.[0]
      if (facts === undefined || !isPair(certificate)) {
        tell(`${KEYS.key} is not the key of ${KEYS.certificate}`)
      } else if (certificate.certPem !== served) {
        served = certificate.certPem
        told = ''
        onServing(certificate, facts.untilMs)
      }
    } catch (error) {
      tell(error instanceof Error ? error.message : String(error))
    }
  }
  let cancel = () => {}
  const poll = (): void => {
    void look().then(() => {
      if (!signal.aborted) cancel = clock.after(FILES_POLL_MS, poll)
    })
  }
  signal.addEventListener('abort', () => cancel(), { once: true })
  poll()
}
