import type { Clock, Ms } from '../ports/clock.ts'
import { type Kube, KubeError, type KubeObject, RESOURCES } from '../ports/kube.ts'
import type { Log } from '../ports/log.ts'
import type { Random } from '../ports/random.ts'
import { isRecord } from './answers.ts'

/**
 * Leader election over a coordination.k8s.io Lease, with the rules of Kubernetes' own controllers, so that both may share a Lease.
 *
 * Whether a Lease ran out is judged by our own clock, from when we last saw it change; the times written in it are for people.
 * Clocks that differ between nodes therefore do no harm, clocks that run at different speeds do only when one is faster by
 * leaseDuration / renewDeadline.
 */
export type LeaseTiming = {
  /** Others take a Lease that did not change for so long. */
  readonly leaseDurationMs: Ms
  /** A leader that could not renew for so long stops leading; less than leaseDurationMs. */
  readonly renewDeadlineMs: Ms
  /** Between two tries. */
  readonly retryPeriodMs: Ms
}

export const DEFAULT_TIMING: LeaseTiming = {
  leaseDurationMs: 15_000,
  renewDeadlineMs: 10_000,
  retryPeriodMs: 2_000,
}

export type LeaseState = {
  readonly leading: boolean
  /** When our last write that succeeded was sent. */
  readonly renewedAt: Ms
  /** The version of the Lease that we saw last, and since when. */
  readonly observed: { readonly resourceVersion: string; readonly since: Ms } | undefined
}

export const NOT_LEADING: LeaseState = { leading: false, renewedAt: 0, observed: undefined }

export type LeaseAction =
  | { readonly write: 'create' | 'update'; readonly lease: KubeObject }
  | { readonly write: 'nothing'; readonly holder: string }

export type LeaseInput = {
  readonly namespace: string
  readonly name: string
  readonly identity: string
  readonly timing: LeaseTiming
  readonly now: Ms
  readonly wallNow: number
}

/** What to do about the Lease as just read. */
export function decide(
  state: LeaseState,
  lease: KubeObject | undefined,
  input: LeaseInput,
): { state: LeaseState; action: LeaseAction } {
  const { identity, timing, now } = input
  const time = microTime(input.wallNow)
  const seconds = Math.ceil(timing.leaseDurationMs / 1000)
  if (lease === undefined)
    return {
      state: { ...state, observed: undefined },
      action: {
        write: 'create',
        lease: {
          metadata: { name: input.name, namespace: input.namespace },
          spec: {
            holderIdentity: identity,
            leaseDurationSeconds: seconds,
            acquireTime: time,
            renewTime: time,
            leaseTransitions: 0,
          },
        },
      },
    }
  const resourceVersion = lease.metadata.resourceVersion ?? ''
  const observed =
    state.observed?.resourceVersion === resourceVersion ? state.observed : { resourceVersion, since: now }
  const spec = isRecord(lease['spec']) ? lease['spec'] : {}
  const holder = typeof spec['holderIdentity'] === 'string' ? spec['holderIdentity'] : ''
  const ours = holder === identity
  const named = spec['leaseDurationSeconds']
  // The holder says how long it may be silent; it knows its own renew deadline.
  const validMs = typeof named === 'number' && named > 0 ? named * 1000 : timing.leaseDurationMs
  if (!ours && holder !== '' && now - observed.since < validMs)
    return { state: { ...state, leading: false, observed }, action: { write: 'nothing', holder } }
  const transitions = typeof spec['leaseTransitions'] === 'number' ? spec['leaseTransitions'] : 0
  return {
    state: { ...state, observed },
    action: {
      write: 'update',
      lease: {
        ...lease,
        spec: {
          ...spec,
          holderIdentity: identity,
          leaseDurationSeconds: seconds,
          acquireTime: ours ? (spec['acquireTime'] ?? time) : time,
          renewTime: time,
          leaseTransitions: ours ? transitions : transitions + 1,
        },
      },
    },
  }
}

/** Our write succeeded: we lead until `sentAt` + renewDeadlineMs. */
export function written(state: LeaseState, lease: KubeObject, sentAt: Ms, now: Ms): LeaseState {
  return {
    ...state,
    leading: true,
    renewedAt: sentAt,
    observed: { resourceVersion: lease.metadata.resourceVersion ?? '', since: now },
  }
}

/** Since when a leader must no longer act; Infinity for who does not lead. */
export function leadsUntil(state: LeaseState, timing: LeaseTiming): Ms {
  return state.leading ? state.renewedAt + timing.renewDeadlineMs : Number.POSITIVE_INFINITY
}

/** The Lease as we leave it, so that the next one need not wait; undefined when it is not ours. */
export function released(lease: KubeObject, identity: string, wallNow: number): KubeObject | undefined {
  const spec = isRecord(lease['spec']) ? lease['spec'] : {}
  if (spec['holderIdentity'] !== identity) return undefined
  const time = microTime(wallNow)
  return {
    ...lease,
    spec: { ...spec, holderIdentity: '', leaseDurationSeconds: 1, acquireTime: time, renewTime: time },
  }
}

export type LeaderElectionOptions = Partial<LeaseTiming> & {
  readonly kube: Kube
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly lease: { readonly namespace: string; readonly name: string }
  /** Unique per process: the pod's name, or the host's with a random part. */
  readonly identity: string
  /** We lead now; the signal aborts the moment we do not any more. Not waited for. */
  readonly onStarted: (leading: AbortSignal) => void
  /** We do not lead any more. On an orderly stop the Lease is released after what this returns has settled. */
  readonly onStopped: () => void | Promise<void>
  /** Another holds the Lease, as seen at the first look or since the last one. */
  readonly onOther?: (holder: string) => void
}

/**
 * Takes part in the election until the signal aborts, then releases the Lease if it is ours, and resolves. A leader that lost the
 * Lease takes part again: `onStarted` and `onStopped` may be called many times, always in turn. Never rejects for what the API
 * server does.
 */
export async function runLeaderElection(options: LeaderElectionOptions, signal: AbortSignal): Promise<void> {
  await new LeaderElection(options).run(signal)
}

class LeaderElection {
  #state: LeaseState = NOT_LEADING
  /** Our name may stand in the Lease: a write was sent, and nobody else was seen since. */
  #mayHold = false
  #leading: AbortController | undefined
  #stopped: Promise<void> = Promise.resolve()
  #cancelDeadline: () => void = () => {}
  #other: string | undefined
  readonly #options: LeaderElectionOptions
  readonly #timing: LeaseTiming

  constructor(options: LeaderElectionOptions) {
    this.#options = options
    this.#timing = {
      leaseDurationMs: options.leaseDurationMs ?? DEFAULT_TIMING.leaseDurationMs,
      renewDeadlineMs: options.renewDeadlineMs ?? DEFAULT_TIMING.renewDeadlineMs,
      retryPeriodMs: options.retryPeriodMs ?? DEFAULT_TIMING.retryPeriodMs,
    }
    const { leaseDurationMs, renewDeadlineMs, retryPeriodMs } = this.#timing
    if (!(retryPeriodMs > 0 && retryPeriodMs < renewDeadlineMs && renewDeadlineMs < leaseDurationMs))
      throw new RangeError(
        `leader election: retryPeriodMs ${retryPeriodMs} < renewDeadlineMs ${renewDeadlineMs} < leaseDurationMs ${leaseDurationMs} must hold`,
      )
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options
    const { retryPeriodMs } = this.#timing
    while (!signal.aborted) {
      await this.#try(signal)
      // Candidates spread out; a leader keeps its beat.
      const pause = this.#state.leading ? retryPeriodMs : retryPeriodMs * (1 + random.next())
      await settledWithin(clock, pause, signal)
    }
    this.#stopLeading('stop')
    await this.#stopped
    if (this.#mayHold) await this.#release()
  }

  async #try(signal: AbortSignal): Promise<void> {
    const { kube, clock, log, lease, identity } = this.#options
    const limit = this.#timing.renewDeadlineMs / 2
    try {
      const current = await within(clock, limit, kube.get(RESOURCES.leases, lease), signal)
      const { state, action } = decide(this.#state, current, {
        ...lease,
        identity,
        timing: this.#timing,
        now: clock.now(),
        wallNow: clock.wallNow(),
      })
      if (action.write === 'nothing') {
        if (this.#state.leading) this.#stopLeading(`the Lease was taken by ${action.holder}`)
        this.#state = state
        this.#mayHold = false
        if (action.holder !== this.#other) this.#options.onOther?.(action.holder)
        this.#other = action.holder
        return
      }
      this.#state = state
      const sentAt = clock.now()
      this.#mayHold = true
      const write =
        action.write === 'create'
          ? kube.create(RESOURCES.leases, action.lease)
          : kube.update(RESOURCES.leases, action.lease)
      const result = await within(clock, limit, write, signal)
      this.#other = undefined
      const wasLeading = this.#state.leading
      this.#state = written(this.#state, result, sentAt, clock.now())
      this.#armDeadline()
      if (!wasLeading && this.#state.leading) await this.#startLeading(signal)
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof KubeError)) throw error
      // Losing the race for a write is how candidates meet.
      const race = error.code === 'conflict' || error.code === 'already-exists'
      log[race ? 'debug' : 'warn']('leader-election-try-failed', {
        lease,
        leading: this.#state.leading,
        error,
      })
    }
  }

  async #startLeading(signal: AbortSignal): Promise<void> {
    // What the last term left running has the say until it is done.
    await this.#stopped
    if (signal.aborted || !this.#state.leading) return
    const { log, lease, identity, onStarted } = this.#options
    log.info('leader-election-won', { lease, identity })
    this.#leading = new AbortController()
    onStarted(this.#leading.signal)
  }

  #armDeadline(): void {
    this.#cancelDeadline()
    const { clock } = this.#options
    this.#cancelDeadline = clock.after(leadsUntil(this.#state, this.#timing) - clock.now(), () =>
      this.#stopLeading(`could not be renewed for ${this.#timing.renewDeadlineMs} ms`),
    )
  }

  #stopLeading(why: string): void {
    this.#cancelDeadline()
    this.#state = { ...this.#state, leading: false }
    if (this.#leading === undefined) return
    const { log, lease, identity, onStopped } = this.#options
    log[why === 'stop' ? 'info' : 'error']('leader-election-lost', { lease, identity, why })
    this.#leading.abort()
    this.#leading = undefined
    this.#stopped = Promise.resolve(onStopped())
  }

  async #release(): Promise<void> {
    const { kube, clock, log, lease, identity } = this.#options
    const limit = this.#timing.retryPeriodMs
    // A renewal that was on its way when we stopped may come in between, once.
    for (let tries = 2; tries > 0; tries--) {
      try {
        const current = await within(clock, limit, kube.get(RESOURCES.leases, lease))
        const free = current === undefined ? undefined : released(current, identity, clock.wallNow())
        if (free === undefined) return
        await within(clock, limit, kube.update(RESOURCES.leases, free))
        log.info('leader-election-released', { lease, identity })
        return
      } catch (error) {
        if (tries > 1 && error instanceof KubeError && error.code === 'conflict') continue
        // The others wait leaseDuration, as after a crash.
        log.warn('leader-election-release-failed', { lease, error })
        return
      }
    }
  }
}

/** What a promise gives; KubeError 'unreachable' after `ms`, or at once when the signal aborts. What comes later is dropped. */
function within<R>(clock: Clock, ms: Ms, promise: Promise<R>, signal?: AbortSignal): Promise<R> {
  return new Promise<R>((resolve, reject) => {
    const giveUp = (why: string) => () => {
      done()
      reject(new KubeError('unreachable', why))
    }
    const done = (): void => {
      cancel()
      signal?.removeEventListener('abort', aborted)
    }
    const aborted = giveUp('stopped')
    const cancel = clock.after(ms, giveUp(`the API server did not answer within ${ms} ms`))
    signal?.addEventListener('abort', aborted)
    promise.finally(done).then(resolve, reject)
    if (signal?.aborted === true) aborted()
  })
}

/** Waits so long, or until the abort. */
function settledWithin(clock: Clock, ms: Ms, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) return resolve()
    const done = (): void => {
      cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const cancel = clock.after(ms, done)
    signal.addEventListener('abort', done)
  })
}

/** metav1.MicroTime: RFC 3339 with six digits. */
function microTime(wall: number): string {
  return new Date(wall).toISOString().replace('Z', '000Z')
}
