export type LabErrorCode =
  | 'bad-argument'
  | 'missing-program'
  | 'not-permitted'
  | 'already-running'
  | 'not-running'
  | 'not-ready'
  | 'refused' // the lab's daemon said no
  | 'command-failed' // ip, bridge or mount said no

/** What went wrong with a lab, as one sentence that says what to do where that is known. */
export class LabError extends Error {
  override readonly name = 'LabError'
  readonly code: LabErrorCode

  constructor(code: LabErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}
