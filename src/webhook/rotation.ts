/** When a certificate was made to be good from and until; wall clock milliseconds. */
export type Span = { readonly fromMs: number; readonly untilMs: number }

/** What the Secret holds, as far as it can be used. */
export type Material = {
  /** The newest authority whose key is there: it signs what is made next. */
  readonly authority: Span | undefined
  /** Undefined also when it is not for our names, does not go with its key, or was signed by nobody in the bundle. */
  readonly serving: (Span & { readonly signedByAuthority: boolean }) | undefined
  /** Further authorities that clients are told to trust. */
  readonly others: readonly Span[]
}

export type RotationOptions = {
  readonly servingLifeMs: number
  readonly authorityLifeMs: number
  /** How long a certificate is good before it was made, for clocks that disagree. */
  readonly backdateMs: number
  /** From telling clients of a new authority to using it, and from its first use to forgetting the old one. */
  readonly overlapMs: number
}

/** Made anew after this part of its life: before two thirds of it are over. */
const RENEW_AFTER = 0.6

/** Waited for at most until this part of a life when clients cannot be told of the new authority. */
const URGENT_AFTER = 0.9

/**
 * Certificates for a life of the serving certificate. The authority lives four times as long; steps are an hour apart, or a
 * twentieth of the life where that is shorter.
 */
export function rotationOptions(servingLifeMs: number): RotationOptions {
  return {
    servingLifeMs,
    authorityLifeMs: 4 * servingLifeMs,
    backdateMs: Math.min(3_600_000, servingLifeMs / 10),
    overlapMs: Math.min(3_600_000, servingLifeMs / 20),
  }
}

export type RotationStep =
  /** A new authority and a serving certificate of it at once: there is nothing to carry over. */
  | { readonly do: 'start-over' }
  /** A new authority beside the present ones; the serving certificate stays. */
  | { readonly do: 'add-authority' }
  /** A new serving certificate, signed by the authority. */
  | { readonly do: 'renew-serving' }
  /** Keep only the authority. */
  | { readonly do: 'drop-others' }
  /** Nothing before that time; look again then. */
  | { readonly do: 'wait'; readonly untilMs: number }

/**
 * The next step. One at a time, each a write of the Secret that all replicas see, so that at every moment the certificate
 * that any of them serves is signed by an authority that clients have been told of for a while:
 *
 *   add-authority ── clients trust old and new ──► renew-serving ── replicas serve the new one ──► drop-others
 *
 * @param published whether clients (the webhook configuration and the CRD) are told to trust the authority by now
 */
export function nextStep(
  { authority, serving, others }: Material,
  published: boolean,
  nowMs: number,
  options: RotationOptions,
): RotationStep {
  const { backdateMs, overlapMs } = options
  const authorityIsGood = authority !== undefined && isGood(authority, nowMs)
  if (serving === undefined || !isGood(serving, nowMs)) {
    return { do: authorityIsGood && nowMs < renewAt(authority) ? 'renew-serving' : 'start-over' }
  }
  if (!authorityIsGood || nowMs >= renewAt(authority)) return { do: 'add-authority' }
  if (!serving.signedByAuthority) {
    const settledMs = authority.fromMs + backdateMs + overlapMs
    const latestMs = at(serving, URGENT_AFTER)
    if (nowMs >= latestMs || (published && nowMs >= settledMs)) return { do: 'renew-serving' }
    return { do: 'wait', untilMs: published ? Math.min(settledMs, latestMs) : latestMs }
  }
  if (nowMs >= renewAt(serving)) return { do: 'renew-serving' }
  const next = Math.min(renewAt(serving), renewAt(authority))
  if (others.length === 0) return { do: 'wait', untilMs: next }
  const settledMs = serving.fromMs + backdateMs + overlapMs
  return nowMs >= settledMs ? { do: 'drop-others' } : { do: 'wait', untilMs: Math.min(settledMs, next) }
}

function isGood({ fromMs, untilMs }: Span, nowMs: number): boolean {
  return fromMs <= nowMs && nowMs < untilMs
}

function renewAt(span: Span): number {
  return at(span, RENEW_AFTER)
}

function at({ fromMs, untilMs }: Span, part: number): number {
  return fromMs + (untilMs - fromMs) * part
}
