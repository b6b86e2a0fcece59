/** nftables of one network namespace. */
export interface Nft {
  /**
   * Runs the text as one transaction: all of it or nothing.
   * @throws NftError
   */
  apply(transaction: string): Promise<void>
  /** The text of one table as `nft list table` prints it, or undefined where there is none. */
  listTable(
    family: 'ip' | 'ip6' | 'inet' | 'netdev' | 'bridge',
    name: string,
    options?: ListTableOptions,
  ): Promise<string | undefined>
}

export type ListTableOptions = {
  /**
   * The only maps whose elements are asked for, where listing all takes long: the table then comes without any, and after it these maps once
   * more, with theirs.
   */
  readonly elementsOf?: readonly string[]
}

export class NftError extends Error {
  override readonly name = 'NftError'
  readonly code: 'not-installed' | 'not-permitted' | 'refused'

  constructor(code: NftError['code'], message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** Remembers the transactions; refuses on demand. */
export class FakeNft implements Nft {
  readonly transactions: string[] = []
  /** What {@link listTable} tells, by `family name`. */
  readonly tables = new Map<string, string>()
  refuse: NftError | undefined

  apply(transaction: string): Promise<void> {
    if (this.refuse !== undefined) return Promise.reject(this.refuse)
    this.transactions.push(transaction)
    return Promise.resolve()
  }

  listTable(family: string, name: string): Promise<string | undefined> {
    if (this.refuse !== undefined) return Promise.reject(this.refuse)
    return Promise.resolve(this.tables.get(`${family} ${name}`))
  }
}
