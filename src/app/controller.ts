import { setMaxListeners } from 'node:events'
import { runLeaderElection } from '../kube/lease.ts'
import { aborted } from './aborted.ts'
import type { ControllerDeps, ControllerFlags, LeaderElectionFlags } from './controller-options.ts'
import { ControllerTerm } from './controller-term.ts'
import { ControllerView } from './controller-view.ts'

/**
 * Gives Services of type LoadBalancer their addresses: reads everything and, while it leads, plans, writes what differs,
 * looks again (ControllerTerm). One that does not lead stands by: it keeps its copy of the cluster warm and acts
 * within moments when it is its turn.
 *
 * Keeps no state but in Service status: killed at any moment, the next one goes on from what is written.
 * `docs/adr/0004-one-leading-controller.md` says what keeps two of them from giving one address twice.
 * @returns when the signal aborted, the writes on their way ended and the Lease is given back
 */
export async function runController(
  deps: ControllerDeps,
  flags: ControllerFlags,
  signal: AbortSignal,
): Promise<void> {
  if (!signal.aborted) await new Controller(deps, flags).run(signal)
}

class Controller {
  readonly #deps: ControllerDeps
  readonly #flags: ControllerFlags
  readonly #view: ControllerView
  /** Aborts when we do not lead any more; undefined while another one leads. */
  #leading: AbortSignal | undefined
  #term: ControllerTerm | undefined
  #synced = false

  constructor(deps: ControllerDeps, flags: ControllerFlags) {
    this.#deps = deps
    this.#flags = flags
    this.#view = new ControllerView(deps.kube, deps.clock, flags.namespace, {
      serviceChanged: key => this.#term?.serviceChanged(key),
      configChanged: () => this.#term?.configChanged(),
      endpointsChanged: key => this.#term?.endpointsChanged(key),
    })
  }

  async run(signal: AbortSignal): Promise<void> {
    const { log, onReady } = this.#deps
    const { leaderElection } = this.#flags
    // Each informer listens for the end, and they are many.
    setMaxListeners(0, signal)
    // The Lease first: what is listed after it was won holds all that others wrote, and need not be read again.
    const election = leaderElection === undefined ? undefined : this.#elect(leaderElection, signal)
    if (election === undefined) this.#leading = signal
    else await Promise.race([election.known, election.ended])
    const ledBefore = this.#leading
    try {
      await Promise.race([this.#view.start(signal), ...(election === undefined ? [] : [election.ended])])
    } catch (error) {
      if (!signal.aborted) throw error
    }
    if (!signal.aborted) {
      this.#synced = true
      log.info('controller-synced', this.#view.size)
      if (this.#leading !== undefined) {
        if (this.#leading === ledBefore) this.#begin()
        else void this.#takeOver(this.#leading)
      }
      onReady?.()
    }
    if (election === undefined) {
      await aborted(signal)
      await this.#standBy()
    } else await election.ended
  }

  /** `known` resolves when it is clear, for the first time, whether we lead. */
  #elect(
    { name, identity, leaseDurationMs }: LeaderElectionFlags,
    signal: AbortSignal,
  ): { readonly known: Promise<void>; readonly ended: Promise<void> } {
    const { kube, clock, random, log } = this.#deps
    let isKnown = () => {}
    const known = new Promise<void>(resolve => {
      isKnown = resolve
    })
    const ended = runLeaderElection(
      {
        kube,
        clock,
        random,
        log,
        lease: { namespace: this.#flags.namespace, name },
        identity,
        // As Kubernetes' own: 15, 10 and 2 seconds.
        leaseDurationMs,
        renewDeadlineMs: (leaseDurationMs * 2) / 3,
        retryPeriodMs: (leaseDurationMs * 2) / 15,
        onStarted: leading => {
          this.#leading = leading
          isKnown()
          if (this.#synced) void this.#takeOver(leading)
        },
        onStopped: () => this.#standBy(),
        onOther: holder => {
          log.info('controller-stands-by', { identity, leader: holder })
          isKnown()
        },
      },
      signal,
    )
    return { known, ended }
  }

  /** What the one before wrote last may not have reached us yet: its addresses must not be given again. */
  async #takeOver(leading: AbortSignal): Promise<void> {
    try {
      await this.#view.catchUp(leading)
    } catch (error) {
      if (leading.aborted) return
      throw error
    }
    if (!leading.aborted) this.#begin()
  }

  #begin(): void {
    this.#term = new ControllerTerm(this.#deps, this.#flags, this.#view)
    this.#term.begin()
  }

  async #standBy(): Promise<void> {
    const term = this.#term
    this.#term = undefined
    this.#leading = undefined
    await term?.end()
  }
}
