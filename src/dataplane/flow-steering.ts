import type { Family, Ip } from '../addr/ip.ts'
import type { Clock, Ms } from '../ports/clock.ts'
import type { Log } from '../ports/log.ts'
import type { Nft } from '../ports/nft.ts'
import {
  onLink,
  type ServiceSteering,
  ServiceTables,
  type SteeringInput,
  type SteeringPlan,
  type SteeringState,
  steeringState,
  steeringVerdicts,
  VERDICT_MAPS,
} from './steering.ts'
import { parseSteering } from './steering-listing.ts'
import {
  createTable,
  EMPTY_STATE,
  planDeaths,
  planSteering,
  removeSteering,
  replaceSteering,
  STEERING_TABLE,
} from './steering-text.ts'

/** Changes that come within this time share one pass. A death does not wait. */
const COALESCE_MS: Ms = 5
const RETRY_FIRST_MS: Ms = 100
const RETRY_LAST_MS: Ms = 30_000

export type SteeringStatus = {
  /** Whether the kernel has what the last update wants. */
  readonly installed: boolean
  /** Why not, where the last attempt failed. */
  readonly error?: string
  readonly services: readonly ServiceStatus[]
  readonly nodes: readonly NodeStatus[]
  readonly interfaces: readonly { readonly name: string; readonly problem?: string }[]
}

export type ServiceStatus = {
  readonly service: string
  readonly vips: readonly Ip[]
  /** Slots in all; of the table, or 0 where there is nobody to steer to. */
  readonly size: number
  /** Equal on all nodes that steer alike. */
  readonly tableHash: string
  /** `share` is a part of 1. */
  readonly nodes: readonly { readonly node: string; readonly slots: number; readonly share: number }[]
  readonly problems: readonly string[]
}

export type NodeStatus = {
  readonly node: string
  readonly dead: boolean
  /** For each family that the node has an address of, or both where it has none. */
  readonly reach: readonly {
    readonly family: Family
    readonly interface?: string
    /** Why packets for this node are not handed to it. */
    readonly why?: string
  }[]
}

/** What the kernel holds: 'unknown' until it was read. */
type Observed = SteeringState | 'unknown' | 'absent' | 'foreign'

/**
 * Keeps the steering of one node in step with the input. At the start, and after a failure, it reads what the kernel has and changes only
 * the difference; packets flow meanwhile as the rules that are there say. What it leaves behind goes on without it.
 */
export class FlowSteering {
  readonly #ports: { nft: Nft; clock: Clock; log: Log }
  readonly #tables = new ServiceTables()
  #input: SteeringInput | undefined
  #observed: Observed = 'unknown'
  #plan: SteeringPlan | undefined
  #error: string | undefined
  readonly #interfaceProblems = new Map<string, string>()
  #dirty = false
  #closed = false
  #retryMs = RETRY_FIRST_MS
  #cancelTimer: (() => void) | undefined
  #retrying = false
  #running: Promise<void> | undefined
  #idle: (() => void)[] = []

  constructor(ports: { nft: Nft; clock: Clock; log: Log }) {
    this.#ports = ports
  }

  /** What shall hold from now on. Returns at once; {@link settled} tells when it does. After `close` it is ignored. */
  update(input: SteeringInput): void {
    if (this.#closed) return
    const before = this.#input?.dead
    this.#input = input
    this.#dirty = true
    // A pass that runs looks for deaths between its transactions, and begins anew at its end.
    if (this.#running !== undefined || this.#retrying) return
    const died = [...input.dead].some(name => before?.has(name) !== true)
    if (this.#cancelTimer !== undefined && !died) return
    this.#cancelTimer?.()
    this.#arm(died ? 0 : COALESCE_MS)
  }

  /** Resolves once the last update is installed (or this is closed). */
  settled(): Promise<void> {
    if (this.#closed || (!this.#dirty && this.#running === undefined)) return Promise.resolve()
    return new Promise(resolve => this.#idle.push(resolve))
  }

  status(): SteeringStatus {
    const input = this.#input
    return {
      installed: !this.#dirty && this.#running === undefined && this.#plan !== undefined,
      ...(this.#error === undefined ? {} : { error: this.#error }),
      services: this.#plan?.services.map(serviceStatus) ?? [],
      nodes: input === undefined ? [] : nodeStatuses(input),
      interfaces: (input?.interfaces ?? []).map(({ name }) => {
        const problem = this.#interfaceProblems.get(name)
        return problem === undefined ? { name } : { name, problem }
      }),
    }
  }

  /** Of each Service, by name: the hash of its table. Cheap, unlike {@link status}, which counts slots. */
  tableHashes(): ReadonlyMap<string, string> {
    const hashes = this.#plan?.services.map(({ service, table }) => [service, table.hash] as const) ?? []
    return new Map(hashes.sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  /**
   * Stops. The rules stay and steer on, so that a restart leaves no gap, unless `remove` asks to take the table away.
   * @throws NftError when the removal is refused
   */
  async close(options: { readonly remove: boolean }): Promise<void> {
    this.#closed = true
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    await this.#running
    this.#resolveIdle()
    if (!options.remove) return
    await this.#ports.nft.apply(removeSteering())
    this.#ports.log.info('steering-removed')
  }

  #arm(delayMs: Ms): void {
    this.#cancelTimer = this.#ports.clock.after(delayMs, () => {
      this.#cancelTimer = undefined
      this.#retrying = false
      this.#running = this.#pass().finally(() => {
        this.#running = undefined
        if (this.#closed) return
        if (!this.#dirty) this.#resolveIdle()
        else if (this.#cancelTimer === undefined) this.#arm(0)
      })
    })
  }

  #resolveIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Never rejects. */
  async #pass(): Promise<void> {
    const { clock, log } = this.#ports
    const input = this.#input
    if (input === undefined) return
    this.#dirty = false
    const started = clock.now()
    try {
      const { observed, replaced } = await this.#start(input)
      const plan = steeringState(input, this.#tables)
      this.#plan = plan
      let transactions = 0
      if (observed === 'foreign') {
        transactions = await this.#replace(plan.state)
      } else if (observed !== 'absent') {
        transactions = await this.#change(plan.state, observed)
      }
      if (transactions > 0 || replaced) {
        log.debug('steering-applied', {
          services: input.services.length,
          transactions,
          ms: clock.now() - started,
        })
      }
      this.#error = undefined
      if (this.#interfaceProblems.size > 0) this.#retryLater()
      else this.#retryMs = RETRY_FIRST_MS
    } catch (error) {
      this.#observed = 'unknown'
      this.#error = error instanceof Error ? error.message : String(error)
      log.error('steering-failed', { error, retryInMs: this.#retryMs })
      this.#retryLater()
    }
  }

  #retryLater(): void {
    this.#dirty = true
    if (!this.#closed) {
      this.#retrying = true
      this.#arm(this.#retryMs)
    }
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_LAST_MS)
  }

  /** What there is to begin with: read where it is not known, without the dead, and with a table if one is needed. */
  async #start(input: SteeringInput): Promise<{ observed: Exclude<Observed, 'unknown'>; replaced: boolean }> {
    const { nft, log } = this.#ports
    if (this.#observed === 'unknown') {
      const state = await this.#read(input)
      this.#observed = state
      if (state === 'foreign') log.warn('steering-of-another-release')
      else if (state !== 'absent') log.info('steering-adopted', { tables: state.slots.size })
    }
    if (this.#observed === 'absent' && input.services.length > 0) {
      await nft.apply(createTable())
      this.#observed = EMPTY_STATE
      return { observed: EMPTY_STATE, replaced: true }
    }
    if (typeof this.#observed === 'object') await this.#removeDead(input)
    return { observed: this.#observed, replaced: false }
  }

  /** Listing the slots takes long; what leads to the dead does not wait for that. */
  async #read(input: SteeringInput): Promise<Exclude<Observed, 'unknown'>> {
    const { nft } = this.#ports
    if (input.dead.size > 0) {
      const outline = await nft.listTable('netdev', STEERING_TABLE, { elementsOf: VERDICT_MAPS })
      const state = outline === undefined ? undefined : parseSteering(outline)
      const text = state === undefined ? '' : planDeaths(steeringVerdicts(input).maps, state).text
      if (text !== '') await nft.apply(text)
    }
    const listing = await nft.listTable('netdev', STEERING_TABLE)
    if (listing === undefined) return 'absent'
    return parseSteering(listing) ?? 'foreign'
  }

  async #replace(state: SteeringState): Promise<number> {
    await this.#ports.nft.apply(replaceSteering(state))
    this.#observed = state
    this.#interfaceProblems.clear()
    return 1
  }

  /** Takes what leads to dead nodes out of the observed state. */
  async #removeDead(input: SteeringInput): Promise<void> {
    if (typeof this.#observed !== 'object') return
    const { nft, log } = this.#ports
    const { text, state } = planDeaths(steeringVerdicts(input).maps, this.#observed)
    if (text === '') return
    await nft.apply(text)
    this.#observed = state
    log.info('steering-without-dead', { dead: [...input.dead].sort() })
  }

  async #change(wanted: SteeringState, observed: SteeringState): Promise<number> {
    const { nft, log } = this.#ports
    const planned = this.#input
    const transactions = planSteering(wanted, observed)
    const hooked = new Map(wanted.interfaces)
    this.#interfaceProblems.clear()
    // What holds once all is done; deaths that come in between are written into it.
    let after = wanted
    for (const [index, transaction] of transactions.entries()) {
      const news = this.#input
      if (index > 0 && news !== undefined && news !== planned) {
        const { text, state } = planDeaths(steeringVerdicts(news).maps, after)
        if (text !== '') await nft.apply(text)
        after = state
      }
      try {
        await nft.apply(transaction.text)
      } catch (error) {
        if (transaction.interface === undefined) throw error
        const { chain, device } = transaction.interface
        const problem = error instanceof Error ? error.message : String(error)
        hooked.delete(chain)
        this.#interfaceProblems.set(device, problem)
        log.warn('steering-interface-failed', { interface: device, error })
      }
    }
    this.#observed = { ...after, interfaces: hooked }
    return transactions.length
  }
}

function serviceStatus({ service, vips, table, problems }: ServiceSteering): ServiceStatus {
  const slots = table.nodes.map(() => 0)
  for (const index of table.owners) slots[index] = (slots[index] ?? 0) + 1
  const size = table.owners.length
  return {
    service,
    vips,
    size,
    tableHash: table.hash,
    nodes: table.nodes.map((node, index) => ({
      node,
      slots: slots[index] ?? 0,
      share: size === 0 ? 0 : (slots[index] ?? 0) / size,
    })),
    problems,
  }
}

function nodeStatuses(input: SteeringInput): NodeStatus[] {
  const others = [...input.nodes].filter(([name]) => name !== input.self)
  return others
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([node, { ip, ip6 }]) => ({
      node,
      dead: input.dead.has(node),
      reach: (
        [
          ['IPv4', ip],
          ['IPv6', ip6],
        ] as const
      ).flatMap(([family, address]) => {
        if (address === undefined && (ip ?? ip6) !== undefined) return []
        const link = onLink(address, input.interfaces)
        return [link.onLink ? { family, interface: link.interface.name } : { family, why: link.why }]
      }),
    }))
}
