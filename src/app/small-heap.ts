import { setFlagsFromString } from 'node:v8'

/**
 * How much garbage may be added to what lives before the heap is collected, in percent of that. V8's own choice is up to three times
 * what lives, which at ten thousand Services is 40 MB more at the peak, for a tenth of a second of processor time less.
 */
const HEAP_GROWING_PERCENT = 60

/** To be called when the process starts, and before its threads do. */
export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`)
}
