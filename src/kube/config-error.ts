export type KubeConfigErrorCode =
  | 'not-found' // no configuration where one was named, or nowhere
  | 'unreadable' // a file that is named cannot be read
  | 'invalid' // it does not say what it must
  | 'unsupported' // it asks for what this client does not do
  | 'exec-failed' // the credential plugin gave no credentials

/** The way to the API server is not described well enough to take it. */
export class KubeConfigError extends Error {
  override readonly name = 'KubeConfigError'
  readonly code: KubeConfigErrorCode

  constructor(code: KubeConfigErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
  }
}
