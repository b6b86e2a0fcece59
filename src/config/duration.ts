const UNITS_MS = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const

/** A duration as Go's time.ParseDuration reads it (`90s`, `1m30s`, `1.5s`, `0`), in milliseconds; undefined when it is none. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)$/.exec(text)
  const body = match?.[2]
  if (body === undefined) return undefined
  if (body === '0') return 0
  let total = 0
  for (const [, amount, unit] of body.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    total += Number(amount) * UNITS_MS[unit as keyof typeof UNITS_MS]
  }
  return match?.[1] === '-' ? -total : total
}
