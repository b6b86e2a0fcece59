/** A line was longer than allowed: the stream cannot be followed any further. */
export class LineTooLongError extends Error {
  override readonly name = 'LineTooLongError'
}

/** Cuts a byte stream at line feeds, however it was split on its way. At most `lineMax` bytes of an unfinished line are held. */
export class LineSplitter {
  #parts: Buffer[] = []
  #held = 0
  readonly #lineMax: number

  constructor(lineMax: number) {
    this.#lineMax = lineMax
  }

  /** Bytes of a line whose end has not come. */
  get pending(): number {
    return this.#held
  }

  /** The lines that this chunk completes, decoded, without their line feed; empty lines are left out. @throws LineTooLongError */
  *push(chunk: Buffer): Generator<string> {
    let from = 0
    for (;;) {
      const end = chunk.indexOf(0x0a, from)
      const piece = chunk.subarray(from, end < 0 ? undefined : end)
      if (this.#held + piece.length > this.#lineMax)
        throw new LineTooLongError(`a line of more than ${this.#lineMax} bytes`)
      if (end < 0) {
        if (piece.length > 0) this.#parts.push(piece)
        this.#held += piece.length
        return
      }
      let line: string
      if (this.#parts.length === 0) line = piece.toString('utf8')
      else {
        this.#parts.push(piece)
        line = Buffer.concat(this.#parts).toString('utf8')
        this.#parts = []
        this.#held = 0
      }
      from = end + 1
      if (line !== '' && line !== '\r') yield line
    }
  }
}
