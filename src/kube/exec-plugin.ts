import { spawn } from 'node:child_process'
import { basename } from 'node:path'
import type { Clock } from '../ports/clock.ts'
import { excerpt, isRecord } from './answers.ts'
import { KubeConfigError } from './config-error.ts'

/** A credential plugin as a kubeconfig names it (client.authentication.k8s.io, v1 and v1beta1). */
export type ExecPlugin = {
  readonly apiVersion: string
  /** Absolute, or a name to be found in PATH. */
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly installHint: string | undefined
  readonly interactiveMode: 'Never' | 'IfAvailable' | 'Always'
  /** What the plugin is told of the cluster; undefined unless `provideClusterInfo`. */
  readonly cluster: Readonly<Record<string, unknown>> | undefined
  /** Which user of which file, for messages. */
  readonly source: string
}

export type ExecResult = {
  readonly token: string | undefined
  readonly clientCertificate: { readonly cert: string; readonly key: string } | undefined
  /** Wall clock milliseconds; Infinity when the plugin names no end. */
  readonly expiresAt: number
}

export const EXEC_API_VERSIONS: readonly string[] = [
  'client.authentication.k8s.io/v1',
  'client.authentication.k8s.io/v1beta1',
]

const OUTPUT_MAX = 1 << 20
const STDERR_KEPT = 2048
/** Long enough for a plugin that asks a slow identity provider; a person at a terminal gets the time they need. */
const UNATTENDED_TIMEOUT_MS = 60_000

/** @throws KubeConfigError 'exec-failed' or 'unsupported' */
export async function runExecPlugin(plugin: ExecPlugin, clock: Clock): Promise<ExecResult> {
  const interactive = plugin.interactiveMode !== 'Never' && process.stdin.isTTY
  if (plugin.interactiveMode === 'Always' && !interactive)
    throw new KubeConfigError(
      'unsupported',
      `${plugin.source}: the credential plugin ${plugin.command} needs a terminal (interactiveMode: Always) and there is none; use a service account token instead`,
    )
  const info = {
    apiVersion: plugin.apiVersion,
    kind: 'ExecCredential',
    spec: { interactive, ...(plugin.cluster === undefined ? {} : { cluster: plugin.cluster }) },
  }
  const stdout = await output(plugin, interactive, clock, {
    ...process.env,
    ...plugin.env,
    KUBERNETES_EXEC_INFO: JSON.stringify(info),
  })
  return parseExecCredential(plugin, stdout)
}

/** @throws KubeConfigError 'exec-failed' */
export function parseExecCredential(plugin: ExecPlugin, stdout: string): ExecResult {
  const fail = (problem: string, cause?: unknown): never => {
    throw new KubeConfigError(
      'exec-failed',
      `${plugin.source}: the credential plugin ${plugin.command} printed ${problem}; run it by hand to see what it does`,
      { cause },
    )
  }
  let value: unknown
  try {
    value = JSON.parse(stdout)
  } catch (cause) {
    // What it printed may be half a secret: it is not quoted.
    return fail('no JSON', cause)
  }
  if (!isRecord(value) || value['kind'] !== 'ExecCredential') return fail('no ExecCredential')
  if (value['apiVersion'] !== plugin.apiVersion)
    return fail(`apiVersion ${JSON.stringify(value['apiVersion'])} where ${plugin.apiVersion} is configured`)
  const status = value['status']
  if (!isRecord(status)) return fail('an ExecCredential without status')
  const { token, clientCertificateData: cert, clientKeyData: key, expirationTimestamp: expires } = status
  const hasToken = typeof token === 'string' && token !== ''
  const hasCert = typeof cert === 'string' && cert !== ''
  if (hasCert !== (typeof key === 'string' && key !== ''))
    return fail('only one of clientCertificateData and clientKeyData')
  if (!hasToken && !hasCert) return fail('neither a token nor a client certificate')
  let expiresAt = Number.POSITIVE_INFINITY
  if (expires !== undefined && expires !== null) {
    expiresAt = typeof expires === 'string' ? Date.parse(expires) : Number.NaN
    if (Number.isNaN(expiresAt))
      return fail(`expirationTimestamp ${JSON.stringify(expires)}, which is no time`)
  }
  return {
    token: hasToken ? token : undefined,
    clientCertificate: hasCert ? { cert, key: key as string } : undefined,
    expiresAt,
  }
}

function output(
  plugin: ExecPlugin,
  interactive: boolean,
  clock: Clock,
  env: Record<string, string | undefined>,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const hint = plugin.installHint === undefined ? '' : `\n${plugin.installHint}`
    const failed = (problem: string, cause?: unknown): void =>
      reject(
        new KubeConfigError(
          'exec-failed',
          `${plugin.source}: the credential plugin ${plugin.command} ${problem}${hint}`,
          {
            cause,
          },
        ),
      )
    const child = spawn(plugin.command, plugin.args, {
      env,
      stdio: [interactive ? 'inherit' : 'ignore', 'pipe', interactive ? 'inherit' : 'pipe'],
    })
    const cancel = interactive
      ? () => {}
      : clock.after(UNATTENDED_TIMEOUT_MS, () => {
          child.kill('SIGKILL')
          failed(`did not end within ${UNATTENDED_TIMEOUT_MS / 1000} s`)
        })
    let stdout = ''
    let stderr = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      if (stdout.length > OUTPUT_MAX) {
        child.kill('SIGKILL')
        failed(`printed more than ${OUTPUT_MAX} bytes`)
      }
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_KEPT)
    })
    child.on('error', (cause: NodeJS.ErrnoException) => {
      cancel()
      failed(
        cause.code === 'ENOENT'
          ? `is not there: install ${basename(plugin.command)} or correct the kubeconfig`
          : `cannot be started: ${cause.message}`,
        cause,
      )
    })
    child.on('close', (code, signal) => {
      cancel()
      if (code === 0) resolve(stdout)
      else
        failed(
          `ended with ${signal ?? `status ${code}`}${stderr === '' ? '' : `: ${excerpt(stderr.trim())}`}`,
        )
    })
  })
}
