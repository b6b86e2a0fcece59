import assert from 'node:assert/strict'
import { type Ip, type Ipv4, type Ipv6, ipv4At, ipv6At, isIpv4, writeIp } from '../addr/ip.ts'
import { type Mac, macAt, writeMac } from '../addr/mac.ts'

export type DecodeErrorCode =
  | 'truncated' // the bytes end before the field does
  | 'bad-length' // a length that its own field or the frame contradicts
  | 'bad-value' // a value that the source forbids here
  | 'bad-checksum'
  | 'too-many' // more repetitions than our bound
  | 'unsupported' // legal, but nothing that we speak

/**
 * What came off the wire is not what `source` describes. Carries no stack trace: field and document say where, strangers can cause
 * it at line rate, and taking the trace would be most of its cost.
 */
export class DecodeError extends Error {
  override readonly name = 'DecodeError'
  readonly code: DecodeErrorCode
  /** The field as the source names it. */
  readonly field: string
  /** The document, such as 'RFC 826'. */
  readonly source: string

  constructor(code: DecodeErrorCode, field: string, source: string, what: string) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(`${source}, ${field}: ${what}`)
    Error.stackTraceLimit = limit
    this.code = code
    this.field = field
    this.source = source
  }
}

/**
 * Reads big-endian fields one after the other, each by its name. Reading past the end is a DecodeError 'truncated', never a short
 * value.
 */
export class Reader {
  readonly source: string
  readonly #bytes: Uint8Array
  #offset = 0

  /** @param source the document that describes the bytes, for the errors */
  constructor(bytes: Uint8Array, source: string) {
    this.#bytes = bytes
    this.source = source
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  u8(field: string): number {
    const at = this.#take(field, 1)
    return this.#bytes[at] ?? 0
  }

  u16(field: string): number {
    const at = this.#take(field, 2)
    const b = this.#bytes
    return ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0)
  }

  u32(field: string): number {
    const at = this.#take(field, 4)
    const b = this.#bytes
    return (
      (((b[at] ?? 0) << 24) | ((b[at + 1] ?? 0) << 16) | ((b[at + 2] ?? 0) << 8) | (b[at + 3] ?? 0)) >>> 0
    )
  }

  u64(field: string): bigint {
    return (BigInt(this.u32(field)) << 32n) | BigInt(this.u32(field))
  }

  mac(field: string): Mac {
    const at = this.#take(field, 6)
    return macAt(this.#bytes, at)
  }

  ipv4(field: string): Ipv4 {
    const at = this.#take(field, 4)
    return ipv4At(this.#bytes, at)
  }

  ipv6(field: string): Ipv6 {
    const at = this.#take(field, 16)
    return ipv6At(this.#bytes, at)
  }

  /** A copy, which outlives the receive buffer. */
  bytes(field: string, length: number): Uint8Array {
    // Not slice(): that of a Buffer is a view.
    return Uint8Array.from(this.view(field, length))
  }

  /** The bytes themselves: valid as long as the buffer that they came in. */
  view(field: string, length: number): Uint8Array {
    const at = this.#take(field, length)
    return this.#bytes.subarray(at, at + length)
  }

  /** All that remains, as a view. */
  rest(): Uint8Array {
    const at = this.#offset
    this.#offset = this.#bytes.length
    return this.#bytes.subarray(at)
  }

  skip(field: string, length: number): void {
    this.#take(field, length)
  }

  /** Refuses every other value as 'bad-value', or as the given code. */
  expectU8(field: string, wanted: number, code: DecodeErrorCode = 'bad-value'): void {
    this.check(this.u8(field), field, wanted, code)
  }

  expectU16(field: string, wanted: number, code: DecodeErrorCode = 'bad-value'): void {
    this.check(this.u16(field), field, wanted, code)
  }

  check(value: number, field: string, wanted: number, code: DecodeErrorCode = 'bad-value'): void {
    if (value !== wanted) throw this.error(code, field, `${value} instead of ${wanted}`)
  }

  /** The error, for the caller to throw. */
  error(code: DecodeErrorCode, field: string, what: string): DecodeError {
    return new DecodeError(code, field, this.source, what)
  }

  #take(field: string, length: number): number {
    const at = this.#offset
    if (at + length > this.#bytes.length) {
      throw this.error('truncated', field, `needs ${length} bytes, ${this.#bytes.length - at} are left`)
    }
    this.#offset = at + length
    return at
  }
}

/** Writes big-endian fields into a buffer that grows. A number that its field cannot hold is a broken invariant. */
export class Writer {
  #bytes: Uint8Array
  #length = 0

  /** @param expected how many bytes will be written; exact is fastest, wrong does no harm */
  constructor(expected = 64) {
    this.#bytes = new Uint8Array(expected)
  }

  get length(): number {
    return this.#length
  }

  u8(value: number): this {
    assertUnsigned(value, 0xff)
    const at = this.#grow(1)
    this.#bytes[at] = value
    return this
  }

  u16(value: number): this {
    const at = this.#grow(2)
    this.patchU16(at, value)
    return this
  }

  u32(value: number): this {
    assertUnsigned(value, 0xffffffff)
    const at = this.#grow(4)
    this.#bytes[at] = value >>> 24
    this.#bytes[at + 1] = value >>> 16
    this.#bytes[at + 2] = value >>> 8
    this.#bytes[at + 3] = value
    return this
  }

  u64(value: bigint): this {
    if (value < 0n || value >= 1n << 64n) assert.fail(`not an unsigned 64-bit number: ${value}`)
    return this.u32(Number(value >> 32n)).u32(Number(value & 0xffffffffn))
  }

  mac(mac: Mac): this {
    const at = this.#grow(6)
    writeMac(mac, this.#bytes, at)
    return this
  }

  ip(ip: Ip): this {
    const at = this.#grow(isIpv4(ip) ? 4 : 16)
    writeIp(ip, this.#bytes, at)
    return this
  }

  bytes(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length)
    this.#bytes.set(bytes, at)
    return this
  }

  zeros(count: number): this {
    this.#grow(count)
    return this
  }

  /** Overwrites two bytes that were written before: lengths and checksums. */
  patchU16(at: number, value: number): void {
    assertUnsigned(value, 0xffff)
    if (at < 0 || at + 2 > this.#length) assert.fail(`patch at ${at} of ${this.#length} bytes`)
    this.#bytes[at] = value >>> 8
    this.#bytes[at + 1] = value
  }

  /** A view on what was written from `start` on, valid until the next write. */
  written(start = 0): Uint8Array {
    // A view costs more than the writing of a small packet, so none is made of the whole.
    if (start === 0 && this.#length === this.#bytes.length) return this.#bytes
    return this.#bytes.subarray(start, this.#length)
  }

  /** The bytes. Nothing may be written afterwards. */
  finish(): Uint8Array {
    return this.written()
  }

  #grow(count: number): number {
    const at = this.#length
    const needed = at + count
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(16, needed, 2 * this.#bytes.length))
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    this.#length = needed
    return at
  }
}

function assertUnsigned(value: number, max: number): void {
  // The message is built only where it is needed: this runs several times for every packet.
  if (!(Number.isInteger(value) && value >= 0 && value <= max)) {
    assert.fail(`not an integer from 0 to ${max}: ${value}`)
  }
}
