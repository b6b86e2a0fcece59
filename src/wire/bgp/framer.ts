import assert from 'node:assert/strict'
import { checkHeader, HEADER_LENGTH } from './message.ts'

const NONE = new Uint8Array(0)

/**
 * Cuts the byte stream of a connection into messages. Holds at most the beginning of one message and the chunk that was pushed last:
 * whoever pushes takes messages until there is none, and only then pushes again.
 */
export class Framer {
  /** The beginning of a message that is not complete. */
  #kept: Uint8Array = NONE
  #keptLength = 0
  #chunk: Uint8Array = NONE
  #at = 0

  /** Bytes that are held. */
  get buffered(): number {
    return this.#keptLength + this.#chunk.length - this.#at
  }

  /** Takes the next bytes of the stream, of any number. The chunk is not copied and not changed: it must stay until `next` gives undefined. */
  push(chunk: Uint8Array): void {
    assert(this.#at === this.#chunk.length, 'pushed before the messages of the last chunk were taken')
    this.#chunk = chunk
    this.#at = 0
  }

  /**
   * The next whole message with its header, good until the next call; undefined when more bytes are needed.
   * @param lengthMax asked anew for each message: what an OPEN says may change it for the very next bytes
   * @throws BgpError for a wrong header, as soon as that is there; the stream means nothing from then on
   */
  next(lengthMax: number): Uint8Array | undefined {
    if (this.#keptLength > 0) return this.#nextKept(lengthMax)
    const left = this.#chunk.length - this.#at
    const length = left < HEADER_LENGTH ? undefined : checkHeader(this.#chunk, this.#at, lengthMax)
    if (length === undefined || length > left) {
      this.#keep(left, length ?? HEADER_LENGTH)
      return undefined
    }
    this.#at += length
    return this.#chunk.subarray(this.#at - length, this.#at)
  }

  /** A message whose beginning came with an earlier chunk. */
  #nextKept(lengthMax: number): Uint8Array | undefined {
    if (this.#keptLength < HEADER_LENGTH) {
      this.#keep(HEADER_LENGTH - this.#keptLength, HEADER_LENGTH)
      if (this.#keptLength < HEADER_LENGTH) return undefined
    }
    const length = checkHeader(this.#kept, 0, lengthMax)
    this.#keep(length - this.#keptLength, length)
    if (this.#keptLength < length) return undefined
    this.#keptLength = 0
    return this.#kept.subarray(0, length)
  }

  /** Moves up to `count` bytes of the chunk behind those that are kept, with room for `room` in all. */
  #keep(count: number, room: number): void {
    const taken = this.#chunk.subarray(this.#at, this.#at + count)
    this.#at += taken.length
    if (this.#kept.length < room) {
      const larger = new Uint8Array(room)
      larger.set(this.#kept.subarray(0, this.#keptLength))
      this.#kept = larger
    }
    this.#kept.set(taken, this.#keptLength)
    this.#keptLength += taken.length
    if (this.#at === this.#chunk.length) this.#release()
  }

  /** So that a large chunk does not live on for as long as the connection is silent. */
  #release(): void {
    this.#chunk = NONE
    this.#at = 0
  }
}
