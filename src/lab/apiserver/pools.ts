import { type Family, familyOf, type Ip, ipFromBigint, ipToBigint, parseIp } from '../../addr/ip.ts'
import { parsePrefix, prefixFirst, prefixSize } from '../../addr/prefix.ts'
import { ApiError, type Cause, invalidValue } from './status.ts'

/** A refusal that names a field; the handler puts the object's name to it. */
export class PoolError extends Error {
  override readonly name = 'PoolError'
  readonly field: Cause

  constructor(field: Cause) {
    super(field.message)
    this.field = field
  }
}

/** Cluster IPs of one family. The network address and, for IPv4, the broadcast address are never given. */
export class ClusterIpPool {
  readonly family: Family
  readonly #cidr: string
  readonly #first: bigint
  readonly #last: bigint
  readonly #taken = new Set<string>()
  #cursor: bigint

  /** @throws Error when the text is no prefix. */
  constructor(cidr: string) {
    const prefix = parsePrefix(cidr)
    if (prefix === undefined) throw new Error(`${cidr} is not an IP prefix`)
    this.#cidr = cidr
    const network = prefixFirst(prefix)
    this.family = familyOf(network)
    const base = ipToBigint(network)
    this.#first = base + 1n
    this.#last = base + prefixSize(prefix) - (this.family === 'IPv4' ? 2n : 1n)
    // The first addresses are left for those who ask by number (the API's own Service, DNS).
    this.#cursor = this.#last - this.#first > 64n ? this.#first + 15n : this.#first
  }

  get firstAddress(): string {
    return ipFromBigint(this.family, this.#first)
  }

  /** The given address, in canonical form. @throws PoolError outside the range or taken */
  take(wanted: string, field: string): string {
    const ip: Ip | undefined = parseIp(wanted)
    const value = ip === undefined || familyOf(ip) !== this.family ? undefined : ipToBigint(ip)
    if (ip === undefined || value === undefined || value < this.#first || value > this.#last) {
      throw new PoolError(
        invalidValue(
          field,
          [wanted],
          `failed to allocate IP ${wanted}: the provided IP (${wanted}) is not in the valid range ${this.#cidr}`,
        ),
      )
    }
    if (this.#taken.has(ip)) {
      throw new PoolError(
        invalidValue(field, [wanted], `failed to allocate IP ${wanted}: provided IP is already allocated`),
      )
    }
    this.#taken.add(ip)
    return ip
  }

  /** @throws ApiError 500 when all are taken */
  next(): string {
    const size = this.#last - this.#first + 1n
    for (let tried = 0n; tried < size; tried++) {
      if (this.#cursor > this.#last) this.#cursor = this.#first
      const ip = ipFromBigint(this.family, this.#cursor++)
      if (!this.#taken.has(ip)) {
        this.#taken.add(ip)
        return ip
      }
    }
    throw new ApiError(500, 'InternalError', `failed to allocate a serviceIP: range ${this.#cidr} is full`)
  }

  free(ip: string): void {
    this.#taken.delete(ip)
  }
}

/** Node ports. */
export class PortPool {
  readonly #first: number
  readonly #last: number
  readonly #taken = new Set<number>()
  #cursor: number

  constructor(first = 30000, last = 32767) {
    this.#first = first
    this.#last = last
    this.#cursor = first
  }

  /** @throws PoolError outside the range or taken */
  take(port: number, field: string): void {
    if (port < this.#first || port > this.#last) {
      throw new PoolError(
        invalidValue(
          field,
          port,
          `provided port is not in the valid range. The range of valid ports is ${this.#first}-${this.#last}`,
        ),
      )
    }
    if (this.#taken.has(port))
      throw new PoolError(invalidValue(field, port, 'provided port is already allocated'))
    this.#taken.add(port)
  }

  /** @throws ApiError 500 when all are taken */
  next(): number {
    for (let tried = this.#first; tried <= this.#last; tried++) {
      if (this.#cursor > this.#last) this.#cursor = this.#first
      const port = this.#cursor++
      if (!this.#taken.has(port)) {
        this.#taken.add(port)
        return port
      }
    }
    throw new ApiError(
      500,
      'InternalError',
      `failed to allocate a nodePort: range ${this.#first}-${this.#last} is full`,
    )
  }

  free(port: number): void {
    this.#taken.delete(port)
  }
}
