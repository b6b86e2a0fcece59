import type { Ip } from '../addr/ip.ts'
import { fieldsOf, itemsOf, textOf } from '../config/fields.ts'
import type { ServiceFacts } from '../config/services.ts'
import type { ReflexReport } from '../layer2/reflex.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import { type Kube, KubeError, type KubeObject, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import { Coalesced } from './coalesced.ts'
import { ADDRESS_CONFLICT, timestamp } from './service-conditions.ts'

/** The condition as a Service has it. */
export type ShownConflict = { readonly status: string; readonly message: string; readonly since: string }

type About = Pick<ServiceFacts, 'namespace' | 'name' | 'statusIps'> & { readonly conflict?: ShownConflict }
type Heard = Pick<ReflexReport & { type: 'conflict' }, 'ip' | 'services' | 'mac' | 'interfaceName' | 'action'>
type Cause = Omit<Heard, 'services'> & { readonly text: string; heardAt: Ms }

/** A host that was not heard for so long does not have the address any more. */
export const CONFLICT_OVER_MS = 300_000
const LOOK_EVERY_MS = 15_000
/** Hosts that are named. Whoever forges a thousand MACs causes no more writes than this. */
const NAMED_MAX = 3
const CAUSES_MAX = 16
const SERVICES_MAX = 1000
const FIELD_MANAGER = 'lodestone-speaker'

export function shownConflict(object: KubeObject): ShownConflict | undefined {
  const condition = itemsOf(fieldsOf(object['status'])['conditions'])
    .map(fieldsOf)
    .find(fields => fields['type'] === ADDRESS_CONFLICT)
  return (
    condition && {
      status: textOf(condition['status']) ?? '',
      message: textOf(condition['message']) ?? '',
      since: textOf(condition['lastTransitionTime']) ?? '',
    }
  )
}

export function conflictText(
  node: string,
  { mac, interfaceName, ip, action }: Omit<Heard, 'services'>,
): string {
  const done = { defended: 'it is announced again', yielded: 'it is left to that host' }[action]
  return `node "${node}": ${mac} on ${interfaceName} has ${ip} as well; ${done}`
}

/**
 * Says in the status of a Service that a host which is no speaker has its address: True when that begins, False when the host
 * was not heard for five minutes or the address left. Written when a cause comes or goes, never for a frame, and by
 * server-side apply, which leaves the conditions of others alone. What an earlier run said, or a node that is gone, is taken
 * back by whoever is named in it or has the address now.
 */
export class AddressConflicts {
  readonly #node: string
  readonly #kube: Kube
  readonly #clock: Clock
  readonly #log: Log
  readonly #serviceOf: (key: string) => About | undefined
  readonly #owns: (key: string) => boolean
  /** By Service; without causes, what others said and nobody was heard for. */
  readonly #services = new Map<string, { since: Ms; readonly causes: Map<string, Cause> }>()
  readonly #dirty = new Set<string>()
  readonly #write: Coalesced
  #cancelLook: (() => void) | undefined
  #closed = false

  constructor(
    node: string,
    ports: { readonly kube: Kube; readonly clock: Clock; readonly log: Log },
    serviceOf: (key: string) => About | undefined,
    owns: (key: string) => boolean,
  ) {
    this.#node = node
    this.#kube = ports.kube
    this.#clock = ports.clock
    this.#log = ports.log
    this.#serviceOf = serviceOf
    this.#owns = owns
    this.#write = new Coalesced(ports.clock, () => this.#writeAll(), {
      retryAfterMs: 2000,
      onError: error => ports.log.warn('conflict-condition-failed', { error }),
    })
  }

  heard({ services, ip, mac, interfaceName, action }: Heard): void {
    const now = this.#clock.now()
    const text = conflictText(this.#node, { ip, mac, interfaceName, action })
    for (const key of services) {
      const causes = this.#entry(key)?.causes
      const id = `${ip} ${mac}`
      const before = causes?.get(id)
      if (causes === undefined || (before === undefined && causes.size >= CAUSES_MAX)) continue
      if (before?.text === text) before.heardAt = now
      else {
        causes.set(id, { ip, mac, interfaceName, action, text, heardAt: now })
        this.#request(key)
      }
    }
  }

  /** The Service is another, or this node announces it since now. */
  changed(key: string): void {
    const about = this.#serviceOf(key)
    const entry = this.#services.get(key)
    if (about === undefined) {
      this.#services.delete(key)
      return
    }
    if (entry !== undefined && entry.causes.size > 0) this.#expire(key, about.statusIps)
    else if (entry === undefined && this.#isOurs(key, about)) {
      this.#entry(key)
      if (about.statusIps.length === 0) this.#expire(key, [])
    }
  }

  close(): void {
    this.#closed = true
    this.#cancelLook?.()
    this.#write.close()
  }

  #isOurs(key: string, { conflict }: About): boolean {
    const named = conflict?.message.startsWith(`node "${this.#node}":`) === true
    return conflict?.status === 'True' && (named || this.#owns(key))
  }

  #entry(key: string) {
    let entry = this.#services.get(key)
    if (entry === undefined && this.#services.size < SERVICES_MAX) {
      entry = { since: this.#clock.now(), causes: new Map() }
      this.#services.set(key, entry)
      this.#lookLater()
    }
    return entry
  }

  #lookLater(): void {
    if (this.#closed) return
    this.#cancelLook ??= this.#clock.after(LOOK_EVERY_MS, () => {
      this.#cancelLook = undefined
      for (const key of this.#services.keys()) this.#expire(key, this.#serviceOf(key)?.statusIps ?? [])
      if (this.#services.size > 0) this.#lookLater()
    })
  }

  #expire(key: string, ips: readonly Ip[]): void {
    const entry = this.#services.get(key)
    if (entry === undefined) return
    const over = this.#clock.now() - CONFLICT_OVER_MS
    const before = entry.causes.size
    for (const [id, { ip, heardAt }] of entry.causes) {
      if (heardAt <= over || !ips.includes(ip)) entry.causes.delete(id)
    }
    if (entry.causes.size < before || (before === 0 && (entry.since <= over || ips.length === 0)))
      this.#request(key)
  }

  #request(key: string): void {
    this.#dirty.add(key)
    this.#write.request()
  }

  /** @throws KubeError what could not be written is written the next time */
  async #writeAll(): Promise<void> {
    for (const key of this.#dirty) {
      if (this.#closed) return
      this.#dirty.delete(key)
      try {
        await this.#writeOne(key)
      } catch (error) {
        // The Service is gone.
        if (error instanceof KubeError && error.code === 'not-found') continue
        this.#dirty.add(key)
        throw error
      }
    }
  }

  async #writeOne(key: string): Promise<void> {
    const about = this.#serviceOf(key)
    const causes = [...(this.#services.get(key)?.causes.values() ?? [])]
    if (causes.length === 0) this.#services.delete(key)
    if (about === undefined || (causes.length === 0 && !this.#isOurs(key, about))) return
    const { namespace, name, conflict } = about
    const status = causes.length > 0 ? 'True' : 'False'
    const named = causes.slice(0, NAMED_MAX).map(({ text }) => text)
    const more = causes.length > NAMED_MAX ? ['more hosts have it, too'] : []
    const message =
      causes.length > 0
        ? `${[...named, ...more].join('; ')}. Find that host and give it another address, or exclude this one from the pool`
        : `node "${this.#node}": no other host was heard to have its addresses for ${CONFLICT_OVER_MS / 60_000} minutes`
    if (conflict?.status === status && conflict.message === message) return
    const yielded = causes.some(({ action }) => action === 'yielded')
    const condition = {
      type: ADDRESS_CONFLICT,
      status,
      reason: causes.length === 0 ? 'NoConflict' : yielded ? 'Yielded' : 'Defended',
      message,
      lastTransitionTime:
        conflict?.status === status && conflict.since !== ''
          ? conflict.since
          : timestamp(this.#clock.wallNow()),
    }
    await this.#kube.patch(
      RESOURCES.services,
      { namespace, name },
      { metadata: { namespace, name }, status: { conditions: [condition] } },
      { type: 'apply', fieldManager: FIELD_MANAGER, subresource: 'status' },
    )
    this.#log.debug('conflict-condition-written', { service: key, status })
  }
}
