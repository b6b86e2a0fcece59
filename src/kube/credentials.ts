import { readFile } from 'node:fs/promises'
import type { Clock, Ms } from '../ports/clock.ts'
import { KubeConfigError } from './config-error.ts'
import { type ExecPlugin, type ExecResult, runExecPlugin } from './exec-plugin.ts'

/** How one request proves who sends it. */
export type Credential = {
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  /** PEM; a change of these needs a new connection. */
  readonly clientCertificate: { readonly cert: string; readonly key: string } | undefined
}

export interface Credentials {
  /** @throws KubeConfigError when they cannot be had */
  current(): Promise<Credential>
  /** The server answered 401 to `used`. True when asking again may give something else. */
  rejected(used: Credential): boolean
}

export function fixedCredentials(credential: Credential): Credentials {
  return { current: () => Promise.resolve(credential), rejected: () => false }
}

const TOKEN_FILE_MAX_AGE_MS: Ms = 60_000

/** A bearer token that someone else renews in a file: read again at most every minute, and after a 401. */
export function tokenFileCredentials(
  path: string,
  clock: Clock,
  base: Pick<Credential, 'clientCertificate' | 'headers'>,
): Credentials {
  let read: { at: Ms; credential: Credential } | undefined
  return {
    async current() {
      if (read !== undefined && clock.now() - read.at < TOKEN_FILE_MAX_AGE_MS) return read.credential
      let token: string
      try {
        token = (await readFile(path, 'utf8')).trim()
        if (token === '') throw new Error('the file is empty')
      } catch (cause) {
        // While a renewed token is not there the old one may still do.
        if (read !== undefined) return read.credential
        throw new KubeConfigError('unreadable', `cannot read the token from ${path}: ${messageOf(cause)}`, {
          cause,
        })
      }
      const same = read?.credential.headers['authorization'] === `Bearer ${token}`
      const credential =
        read !== undefined && same
          ? read.credential
          : { ...base, headers: { ...base.headers, authorization: `Bearer ${token}` } }
      read = { at: clock.now(), credential }
      return credential
    },
    rejected(used) {
      if (read?.credential === used) read = { ...read, at: Number.NEGATIVE_INFINITY }
      return true
    },
  }
}

/** Asks the plugin when there is nothing yet, when what it gave expired, and after a 401; concurrent askers share one run. */
export function execCredentials(
  plugin: ExecPlugin,
  clock: Clock,
  headers: Credential['headers'],
  run: (plugin: ExecPlugin, clock: Clock) => Promise<ExecResult> = runExecPlugin,
): Credentials {
  let known: { credential: Credential; expiresAt: number } | undefined
  let asking: Promise<Credential> | undefined
  const ask = async (): Promise<Credential> => {
    const result = await run(plugin, clock)
    const credential: Credential = {
      headers: result.token === undefined ? headers : { ...headers, authorization: `Bearer ${result.token}` },
      clientCertificate: result.clientCertificate,
    }
    known = { credential, expiresAt: result.expiresAt }
    return credential
  }
  return {
    async current() {
      if (known !== undefined && clock.wallNow() < known.expiresAt) return known.credential
      asking ??= ask().finally(() => {
        asking = undefined
      })
      return asking
    },
    rejected(used) {
      if (known?.credential === used) known = undefined
      return true
    },
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
