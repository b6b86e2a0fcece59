import type { Random } from '../ports/random.ts'

/** For jitter; not for keys. */
export const systemRandom: Random = { next: () => Math.random() }
