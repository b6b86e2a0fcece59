import { closeSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'

/** A log file that never grows past twice its limit: when full it becomes FILE.old, in place of the one before. */
export class BoundedLog {
  readonly path: string
  readonly #limitBytes: number
  #fd: number
  #size = 0

  constructor(path: string, limitBytes = 1024 * 1024) {
    this.path = path
    this.#limitBytes = limitBytes
    this.#fd = openSync(path, 'w', 0o600)
  }

  write(bytes: Uint8Array): void {
    if (this.#size > 0 && this.#size + bytes.length > this.#limitBytes) {
      closeSync(this.#fd)
      renameSync(this.path, `${this.path}.old`)
      this.#fd = openSync(this.path, 'w', 0o600)
      this.#size = 0
    }
    this.#size += writeSync(this.#fd, bytes)
  }

  close(): void {
    closeSync(this.#fd)
  }
}

/** The last lines of a log file; empty when there is none. */
export function tail(path: string, lines = 10): string {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return '' // A process that never started has no log: there is nothing to show.
  }
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}
