import { DecodeError, type DecodeErrorCode } from '../io.ts'
import type { Notification } from './notification.ts'

/**
 * What came from the peer ends the session. Carries the NOTIFICATION that RFC 4271 section 6 wants sent before the connection is
 * closed; null where none may be sent, which is when the peer's own NOTIFICATION is what is wrong (section 6.4).
 */
export class BgpError extends DecodeError {
  readonly notification: Notification | null

  constructor(
    code: DecodeErrorCode,
    field: string,
    source: string,
    what: string,
    notification: Notification | null,
  ) {
    super(code, field, source, what)
    this.notification = notification
  }
}

/** Runs a decoder; a plain DecodeError of it, such as that of a Reader at the end of its bytes, gets `notification` as its answer. */
export function answering<T>(notification: Notification | null, decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    if (error instanceof DecodeError && !(error instanceof BgpError)) {
      throw new BgpError(error.code, error.field, error.source, error.message, notification)
    }
    throw error
  }
}
