export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** One line per event: a name in kebab-case, then the object and the numbers. */
export interface Log {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
}

/** `error` may hold an Error: its message, code and cause chain are written. */
export type LogFields = Readonly<Record<string, unknown>>

/** Keeps what it is told, for tests. */
export class FakeLog implements Log {
  readonly lines: { level: LogLevel; event: string; fields: LogFields }[] = []

  debug(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'debug', event, fields })
  }

  info(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'info', event, fields })
  }

  warn(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'warn', event, fields })
  }

  error(event: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'error', event, fields })
  }
}
