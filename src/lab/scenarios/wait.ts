import { LabError } from '../error.ts'

export type WaitOptions = {
  readonly withinMs: number
  /** Default: 25. */
  readonly everyMs?: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Looks again and again until `missing` finds nothing missing any more.
 * @throws LabError 'not-ready' with what was missing at last; the reason of the signal
 */
export async function waitUntil(
  what: string,
  missing: () => Promise<string | undefined>,
  options: WaitOptions,
): Promise<void> {
  const { withinMs, everyMs = 25, signal } = options
  const deadline = performance.now() + withinMs
  for (;;) {
    signal?.throwIfAborted()
    const why = await missing()
    if (why === undefined) return
    if (performance.now() > deadline) {
      throw new LabError('not-ready', `${what}: not within ${withinMs / 1000} s: ${why}`)
    }
    await pause(everyMs, signal)
  }
}

/** Rejects with the signal's reason when that aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      clearTimeout(timer)
      reject(signal?.reason as Error)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }, ms)
    if (signal?.aborted === true) aborted()
    else signal?.addEventListener('abort', aborted, { once: true })
  })
}
