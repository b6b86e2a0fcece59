import type { Ms } from '../ports/clock.ts'
import type { KubeErrorCode } from '../ports/kube.ts'

/**
 * When to list, when to watch and when to wait, so that a local copy follows the API server.
 *
 * ```
 *            page (more)              events
 *             ┌────┐                 ┌─────┐
 *             ▼    │   last page     ▼     │
 *  start ──► listing ───────────► watching ┘
 *             ▲ ▲   failed            │ │ closed, failed
 *     relist  │ └───────────┐         │ │
 *             └──────── waiting ◄─────┘ └──► watching again, from the last resourceVersion
 * ```
 *
 * Nothing repeats without a pause: only a watch that lasted `settledMs` may be followed at once by the next, and one
 * "gone" (410) may be followed at once by a list; what fails again waits, longer each time.
 */
export type ReflectorState =
  | { readonly phase: 'new' }
  | ({ readonly phase: 'listing' } & Listing & Trouble)
  | ({ readonly phase: 'watching'; readonly openedAt: Ms; readonly progressed: boolean } & Position & Trouble)
  | ({
      readonly phase: 'waiting'
      readonly next: ({ readonly to: 'list' } & Listing) | ({ readonly to: 'watch' } & Position)
    } & Trouble)

type Listing = {
  /** Where the next page starts; undefined for the first. */
  readonly continue: string | undefined
  /** Objects per page; 0 for all at once, when the server compacts faster than we can page. */
  readonly limit: number
  /** How often "gone" ended this list midway. */
  readonly expired: number
}
type Position = { readonly resourceVersion: string }
/** Failures in a row, since a watch last proved good. */
type Trouble = { readonly failures: number }

export type ReflectorEvent =
  | { readonly type: 'start' }
  | { readonly type: 'page'; readonly resourceVersion: string; readonly continue: string | undefined }
  /** An object or a bookmark came through the watch. */
  | { readonly type: 'watched'; readonly resourceVersion: string }
  /** The server ended the watch in an orderly way, or it was silent for too long. */
  | { readonly type: 'closed' }
  /** The list or the watch failed, or the watch delivered an ERROR event or something we do not understand. */
  | { readonly type: 'failed'; readonly code: KubeErrorCode; readonly retryAfterMs: Ms | undefined }
  /** The wait is over. */
  | { readonly type: 'waited' }

export type ReflectorEffect =
  | { readonly type: 'list'; readonly continue: string | undefined; readonly limit: number }
  /** The pages of this list are all there: they are the store now. */
  | { readonly type: 'replace' }
  /** The pages gathered so far are worth nothing. */
  | { readonly type: 'discard' }
  | { readonly type: 'watch'; readonly resourceVersion: string; readonly timeoutSeconds: number }
  | { readonly type: 'wait'; readonly ms: Ms }

/** `random` is uniform in [0, 1). */
export type StepInput = { readonly now: Ms; readonly random: number; readonly pageLimit: number }

export type StepResult = { readonly state: ReflectorState; readonly effects: readonly ReflectorEffect[] }

const BACKOFF_MIN_MS = 800
const BACKOFF_MAX_MS = 30_000
/** A server may ask for more than our longest back-off, but not for ever. */
const RETRY_AFTER_MAX_MS = 120_000
/** A watch that lasted this long is followed by the next at once. */
const SETTLED_MS = 10_000
/** Watches end by themselves after 5 to 10 minutes, spread so that a fleet does not come back all at once. */
const WATCH_MIN_SECONDS = 300
const PAGE_LIMIT_MIN = 20
/** A server that answers watches with errors this often in a row may not know our resourceVersion (restored, too new): list. */
const RELIST_AFTER_FAILURES = 3

export const INITIAL: ReflectorState = { phase: 'new' }

/** @throws when the event cannot follow the state: a mistake of the driver. */
export function step(state: ReflectorState, event: ReflectorEvent, input: StepInput): StepResult {
  switch (state.phase) {
    case 'new':
      if (event.type === 'start') return list(firstPage(input.pageLimit), 0)
      break
    case 'listing':
      if (event.type === 'page') {
        if (event.continue !== undefined) return list({ ...state, continue: event.continue }, state.failures)
        const { state: next, effects } = watch(event, state.failures, input)
        return { state: next, effects: [{ type: 'replace' }, ...effects] }
      }
      if (event.type === 'failed') return listFailed(state, event, input)
      break
    case 'watching':
      if (event.type === 'watched')
        return {
          state: {
            ...state,
            resourceVersion: event.resourceVersion,
            progressed: state.progressed || event.resourceVersion !== state.resourceVersion,
          },
          effects: [],
        }
      if (event.type === 'closed' || event.type === 'failed') return watchEnded(state, event, input)
      break
    case 'waiting':
      if (event.type === 'waited')
        return state.next.to === 'list'
          ? list(state.next, state.failures)
          : watch(state.next, state.failures, input)
      break
  }
  throw new Error(`reflector: ${event.type} while ${state.phase}`)
}

/** Between 800 ms and 30 s: doubles with each failure in a row, and its upper half is random. */
export function backoffMs(failures: number, random: number): Ms {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.max(1, failures))
  return (ceiling / 2) * (1 + random)
}

function firstPage(limit: number, expired = 0): Listing {
  return { continue: undefined, limit, expired }
}

function list(listing: Listing, failures: number): StepResult {
  const { limit, expired } = listing
  return {
    state: { phase: 'listing', continue: listing.continue, limit, expired, failures },
    effects: [{ type: 'list', continue: listing.continue, limit }],
  }
}

function watch(position: Position, failures: number, input: StepInput): StepResult {
  const { resourceVersion } = position
  const timeoutSeconds = WATCH_MIN_SECONDS + Math.floor(input.random * WATCH_MIN_SECONDS)
  return {
    state: { phase: 'watching', resourceVersion, openedAt: input.now, progressed: false, failures },
    effects: [{ type: 'watch', resourceVersion, timeoutSeconds }],
  }
}

function wait(
  next: Extract<ReflectorState, { phase: 'waiting' }>['next'],
  failures: number,
  retryAfterMs: Ms | undefined,
  input: StepInput,
): StepResult {
  const asked = Math.min(RETRY_AFTER_MAX_MS, retryAfterMs ?? 0) * (1 + input.random / 10)
  return {
    state: { phase: 'waiting', next, failures },
    effects: [{ type: 'wait', ms: Math.max(asked, backoffMs(failures, input.random)) }],
  }
}

function listFailed(
  state: Extract<ReflectorState, { phase: 'listing' }>,
  event: Extract<ReflectorEvent, { type: 'failed' }>,
  input: StepInput,
): StepResult {
  const failures = state.failures + 1
  const discard = { type: 'discard' } as const
  let next: Listing
  if (event.code === 'gone' && state.continue !== undefined) {
    // Compacted between two pages. Once may be bad luck; twice means the list does not fit between two compactions.
    const expired = state.expired + 1
    next = firstPage(expired >= 2 ? 0 : input.pageLimit, expired)
    if (expired === 1 && event.retryAfterMs === undefined) {
      const restarted = list(next, failures)
      return { ...restarted, effects: [discard, ...restarted.effects] }
    }
  } else if (event.code === 'bad-answer') {
    // Perhaps too large: ask for less at a time.
    next = firstPage(
      state.limit === 0 ? input.pageLimit : Math.max(PAGE_LIMIT_MIN, Math.floor(state.limit / 5)),
    )
  } else if (state.continue !== undefined && event.code !== 'gone' && event.code !== 'invalid') {
    // A page may be asked for again; what was gathered stays.
    return wait(
      { to: 'list', continue: state.continue, limit: state.limit, expired: state.expired },
      failures,
      event.retryAfterMs,
      input,
    )
  } else next = firstPage(state.limit, state.expired)
  const waiting = wait({ to: 'list', ...next }, failures, event.retryAfterMs, input)
  return { ...waiting, effects: [discard, ...waiting.effects] }
}

function watchEnded(
  state: Extract<ReflectorState, { phase: 'watching' }>,
  event: Extract<ReflectorEvent, { type: 'closed' | 'failed' }>,
  input: StepInput,
): StepResult {
  const settled = input.now - state.openedAt >= SETTLED_MS
  const before = settled || state.progressed ? 0 : state.failures
  if (event.type === 'closed') {
    if (settled) return watch(state, 0, input)
    return wait({ to: 'watch', resourceVersion: state.resourceVersion }, before + 1, undefined, input)
  }
  const failures = before + 1
  const relist =
    event.code === 'gone' ||
    event.code === 'bad-answer' ||
    event.code === 'invalid' ||
    event.code === 'not-found' ||
    (event.code === 'server-error' && failures >= RELIST_AFTER_FAILURES)
  if (!relist)
    return wait({ to: 'watch', resourceVersion: state.resourceVersion }, failures, event.retryAfterMs, input)
  // A first "gone" is the ordinary end of a long absence; one that follows another waits.
  const ordinary = settled || (state.failures === 0 && !state.progressed)
  if (event.code === 'gone' && ordinary && event.retryAfterMs === undefined)
    return list(firstPage(input.pageLimit), failures)
  return wait({ to: 'list', ...firstPage(input.pageLimit) }, failures, event.retryAfterMs, input)
}
