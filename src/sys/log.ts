import { destination, pino } from 'pino'
import type { Log, LogFields, LogLevel } from '../ports/log.ts'

export type LogOptions = {
  /** What is less than this is not written. */
  readonly level: LogLevel
  /** A descriptor (1 by default: standard output) or a file to append to. */
  readonly to?: number | string
  /** Fields of every line, e.g. the node. */
  readonly always?: LogFields
}

/** Ours in every line; a field of that name is written as `field.NAME`. */
const RESERVED = new Set(['ts', 'level', 'event'])
const CAUSES_MAX = 8

/**
 * One JSON object per line: `ts` (RFC 3339, milliseconds), `level`, `event`, then the fields. Each line is written with a system call of its own
 * before the function returns, from whichever thread: a worker's lines are not lost when the process exits.
 */
export function createLog(options: LogOptions): Log {
  const logger = pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"ts":"${new Date().toISOString()}"`,
      formatters: { level: label => ({ level: label }) },
    },
    destination({ dest: options.to ?? 1, sync: true }),
  )
  const always = addPlain({}, options.always ?? {})
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      if (logger.isLevelEnabled(level)) logger[level](addPlain({ event, ...always }, fields))
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** Adds them to the line as they are written. A burst of writes is a burst of lines: nothing is copied twice. */
function addPlain(line: Record<string, unknown>, fields: LogFields): Record<string, unknown> {
  for (const name of Object.keys(fields)) {
    const value = fields[name]
    line[RESERVED.has(name) ? `field.${name}` : name] =
      value instanceof Error ? plainError(value, CAUSES_MAX) : value
  }
  return line
}

function plainError(error: Error, causesMax: number): Record<string, unknown> {
  const out: Record<string, unknown> = { message: error.message }
  if ('code' in error) out['code'] = error.code
  if (error.cause instanceof Error) {
    if (causesMax > 0) out['cause'] = plainError(error.cause, causesMax - 1)
  } else if (error.cause !== undefined) {
    out['cause'] = error.cause
  }
  return out
}
