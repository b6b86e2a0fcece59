import type { Clock, Ms } from '../ports/clock.ts'
import { type Conntrack, ConntrackError, type FlowSelector } from '../ports/conntrack.ts'
import type { Log } from '../ports/log.ts'
import type { Nft } from '../ports/nft.ts'
import { plan, removal, staleFlows } from './plan.ts'
import type { ProxyInput } from './service.ts'
import { flowKey, type ProxyState, wantedState } from './tables.ts'

/** Changes that come within this time share one transaction. */
const COALESCE_MS: Ms = 5
const RETRY_FIRST_MS: Ms = 100
const RETRY_LAST_MS: Ms = 30_000
/** From here on one look at the whole connection table is cheaper than a process for each selector. */
const FLUSH_ONE_BY_ONE_MAX = 32

/**
 * Keeps the nftables of one node in step with the input: one transaction at a time, a burst of updates as one. What is installed is
 * remembered, not read back; after a start or a failure it counts as unknown and the next transaction replaces everything.
 */
export class ServiceProxy {
  readonly #ports: { nft: Nft; conntrack: Conntrack; clock: Clock; log: Log }
  #input: ProxyInput | undefined
  #installed: ProxyState | undefined
  /** Conntrack may hold flows that no plan knows about. */
  #flowsUnknown = true
  #dirty = false
  #closed = false
  #retryMs = RETRY_FIRST_MS
  #cancelTimer: (() => void) | undefined
  #running: Promise<void> | undefined
  #idle: (() => void)[] = []
  #conntrackMissing = false

  constructor(ports: { nft: Nft; conntrack: Conntrack; clock: Clock; log: Log }) {
    this.#ports = ports
  }

  /** What shall hold from now on. Returns at once; {@link settled} tells when it does. After `close` it is ignored. */
  update(input: ProxyInput): void {
    if (this.#closed) return
    this.#input = input
    this.#dirty = true
    // While a retry waits, the news waits with it: the reason of the failure is unlikely to be in the input.
    if (this.#running === undefined && this.#cancelTimer === undefined) this.#arm(COALESCE_MS)
  }

  /** Resolves once the last update is installed and stale flows are gone (or the proxy closed). */
  settled(): Promise<void> {
    if (this.#closed || (!this.#dirty && this.#running === undefined)) return Promise.resolve()
    return new Promise(resolve => this.#idle.push(resolve))
  }

  /**
   * Stops. The rules stay, so that a restart leaves no gap, unless `remove` asks to take the tables away.
   * @throws NftError when the removal is refused
   */
  async close(options: { readonly remove: boolean }): Promise<void> {
    this.#closed = true
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    await this.#running
    this.#resolveIdle()
    if (!options.remove) return
    await this.#ports.nft.apply(removal())
    this.#ports.log.info('service-proxy-removed')
  }

  #arm(delayMs: Ms): void {
    this.#cancelTimer = this.#ports.clock.after(delayMs, () => {
      this.#cancelTimer = undefined
      this.#running = this.#pass().finally(() => {
        this.#running = undefined
        if (this.#closed) return
        if (!this.#dirty) this.#resolveIdle()
        else if (this.#cancelTimer === undefined) this.#arm(COALESCE_MS)
      })
    })
  }

  #resolveIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Never rejects. */
  async #pass(): Promise<void> {
    const { nft, clock, log } = this.#ports
    if (this.#input === undefined) return
    this.#dirty = false
    const started = clock.now()
    try {
      const wanted = wantedState(this.#input)
      const { transaction, flushConntrack } = plan(wanted, this.#installed)
      const whole = this.#installed === undefined
      if (transaction !== '') await nft.apply(transaction)
      this.#installed = wanted
      if (transaction !== '') {
        log.debug('service-proxy-applied', {
          services: this.#input.services.length,
          whole,
          bytes: transaction.length,
          ms: clock.now() - started,
        })
      }
      await this.#forget(wanted, flushConntrack)
      this.#retryMs = RETRY_FIRST_MS
    } catch (error) {
      if (!(error instanceof ConntrackError)) this.#installed = undefined
      this.#flowsUnknown = true
      this.#dirty = true
      log.error('service-proxy-failed', { error, retryInMs: this.#retryMs })
      if (!this.#closed) this.#arm(this.#retryMs)
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_LAST_MS)
    }
  }

  async #forget(state: ProxyState, known: readonly FlowSelector[]): Promise<void> {
    const { conntrack, log } = this.#ports
    if (this.#conntrackMissing) return
    try {
      let selectors = known
      if (this.#flowsUnknown || known.length > FLUSH_ONE_BY_ONE_MAX) {
        const protocols = new Set([...state.flows.values()].map(flow => flow.protocol))
        for (const { protocol } of known) protocols.add(protocol)
        const flows = (await Promise.all([...protocols].map(protocol => conntrack.list(protocol)))).flat()
        // Destinations that are no longer served are in the plan only.
        const held = new Set(flows.map(flow => flowKey(flow.protocol, flow.originalDestination)))
        const rest = known.filter(({ protocol, originalDestination }) => {
          const key = flowKey(protocol, originalDestination)
          return held.has(key) && !state.flows.has(key)
        })
        selectors = [...staleFlows(state, flows), ...rest]
      }
      let forgotten = 0
      for (const selector of selectors) forgotten += await conntrack.flush(selector)
      this.#flowsUnknown = false
      if (forgotten > 0) log.info('stale-flows-forgotten', { flows: forgotten })
    } catch (error) {
      if (!(error instanceof ConntrackError) || error.code !== 'not-installed') throw error
      this.#conntrackMissing = true
      log.warn('conntrack-missing', { error })
    }
  }
}
