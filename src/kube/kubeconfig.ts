import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, resolve } from 'node:path'
import type { Clock } from '../ports/clock.ts'
import { isRecord } from './answers.ts'
import type { KubeConfig } from './config.ts'
import { KubeConfigError } from './config-error.ts'
import {
  type Credential,
  type Credentials,
  execCredentials,
  fixedCredentials,
  messageOf,
  tokenFileCredentials,
} from './credentials.ts'
import { EXEC_API_VERSIONS, type ExecPlugin } from './exec-plugin.ts'

type Json = Readonly<Record<string, unknown>>

/** One cluster, user or context, and the file that says so: its relative paths start there. */
type Entry = { readonly fields: Json; readonly file: string; readonly where: string }

/** The files laid over each other: whoever names a thing first wins, as kubectl does it. */
type Merged = {
  readonly currentContext: string | undefined
  readonly clusters: ReadonlyMap<string, Entry>
  readonly users: ReadonlyMap<string, Entry>
  readonly contexts: ReadonlyMap<string, Entry>
}

/** @throws KubeConfigError */
export async function loadKubeconfigFiles(
  files: readonly string[],
  options: { readonly clock: Clock; readonly context?: string | undefined },
): Promise<KubeConfig> {
  const merged = merge(await Promise.all(files.map(async file => ({ file, root: await parseFile(file) }))))
  const all = files.join(', ')
  const contextName = options.context ?? merged.currentContext
  if (contextName === undefined || contextName === '')
    throw new KubeConfigError(
      'invalid',
      `${all}: no current-context; pass --context or run kubectl config use-context`,
    )
  const context = merged.contexts.get(contextName)
  if (context === undefined)
    throw new KubeConfigError(
      'invalid',
      `${all}: no context "${contextName}"; there are: ${names(merged.contexts)}`,
    )
  const cluster = referred(merged.clusters, context, 'cluster')
  const userName = text(context, 'user')
  const user = userName === undefined ? undefined : referred(merged.users, context, 'user')
  return build(
    cluster,
    user,
    text(context, 'namespace') ?? 'default',
    `${context.file}, context ${contextName}`,
    options.clock,
  )
}

async function build(
  cluster: Entry,
  user: Entry | undefined,
  namespace: string,
  source: string,
  clock: Clock,
): Promise<KubeConfig> {
  const address = text(cluster, 'server')
  if (address === undefined || !URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol))
    throw new KubeConfigError(
      'invalid',
      `${cluster.where}: server ${JSON.stringify(address)} is no http or https address`,
    )
  const server = new URL(address)
  if (text(cluster, 'proxy-url') !== undefined)
    throw new KubeConfigError(
      'unsupported',
      `${cluster.where}: proxy-url is not supported; reach the API server directly or through a tunnel`,
    )
  const insecureSkipTlsVerify = flag(cluster, 'insecure-skip-tls-verify')
  const ca = await pem(cluster, 'certificate-authority')
  if (insecureSkipTlsVerify && ca !== undefined)
    throw new KubeConfigError(
      'invalid',
      `${cluster.where}: insecure-skip-tls-verify contradicts certificate-authority; remove one of them`,
    )
  const tlsServerName = text(cluster, 'tls-server-name')
  return {
    server,
    ca,
    insecureSkipTlsVerify,
    tlsServerName,
    namespace,
    credentials:
      user === undefined
        ? fixedCredentials({ headers: {}, clientCertificate: undefined })
        : await credentialsOf(user, clock, () => ({
            server: address,
            ...(tlsServerName === undefined ? {} : { 'tls-server-name': tlsServerName }),
            ...(insecureSkipTlsVerify ? { 'insecure-skip-tls-verify': true } : {}),
            ...(ca === undefined ? {} : { 'certificate-authority-data': Buffer.from(ca).toString('base64') }),
            ...execExtension(cluster),
          })),
    source,
  }
}

async function credentialsOf(user: Entry, clock: Clock, clusterInfo: () => Json): Promise<Credentials> {
  if (user.fields['auth-provider'] !== undefined)
    throw new KubeConfigError(
      'unsupported',
      `${user.where}: auth-provider was removed from Kubernetes 1.26; use the provider's exec plugin`,
    )
  const headers = impersonation(user)
  const cert = await pem(user, 'client-certificate')
  const key = await pem(user, 'client-key')
  if ((cert === undefined) !== (key === undefined))
    throw new KubeConfigError(
      'invalid',
      `${user.where}: client-certificate and client-key come together, one is missing`,
    )
  const clientCertificate = cert !== undefined && key !== undefined ? { cert, key } : undefined
  const exec = user.fields['exec']
  const tokenFile = text(user, 'tokenFile')
  const token = text(user, 'token')
  const username = text(user, 'username')
  if (exec !== undefined && exec !== null) {
    if (
      clientCertificate !== undefined ||
      tokenFile !== undefined ||
      token !== undefined ||
      username !== undefined
    )
      throw new KubeConfigError(
        'invalid',
        `${user.where}: exec stands beside other credentials; keep one of them`,
      )
    return execCredentials(execPlugin(user, exec, clusterInfo), clock, headers)
  }
  // kubectl too prefers the file, and takes the token only when there is none.
  if (tokenFile !== undefined)
    return tokenFileCredentials(pathFrom(user, tokenFile), clock, { headers, clientCertificate })
  const authorization =
    token !== undefined
      ? `Bearer ${token}`
      : username !== undefined
        ? `Basic ${Buffer.from(`${username}:${text(user, 'password') ?? ''}`).toString('base64')}`
        : undefined
  const credential: Credential = {
    headers: authorization === undefined ? headers : { ...headers, authorization },
    clientCertificate,
  }
  return fixedCredentials(credential)
}

function execPlugin(user: Entry, exec: unknown, clusterInfo: () => Json): ExecPlugin {
  const where = `${user.where}: exec`
  const invalid = (problem: string): KubeConfigError => new KubeConfigError('invalid', `${where}: ${problem}`)
  if (!isRecord(exec)) throw invalid('is no map')
  const entry: Entry = { ...user, fields: exec, where }
  const apiVersion = text(entry, 'apiVersion')
  if (apiVersion === undefined || !EXEC_API_VERSIONS.includes(apiVersion))
    throw new KubeConfigError(
      'unsupported',
      `${where}: apiVersion ${JSON.stringify(apiVersion)} is not one of ${EXEC_API_VERSIONS.join(', ')}; update the plugin`,
    )
  const command = text(entry, 'command')
  if (command === undefined) throw invalid('command is missing')
  const args = exec['args'] ?? []
  if (!Array.isArray(args) || !args.every(arg => typeof arg === 'string'))
    throw invalid('args is no list of strings')
  const env: Record<string, string> = {}
  const variables = exec['env'] ?? []
  if (!Array.isArray(variables)) throw invalid('env is no list')
  for (const variable of variables as unknown[]) {
    const name = isRecord(variable) ? variable['name'] : undefined
    const value = isRecord(variable) ? variable['value'] : undefined
    if (typeof name !== 'string' || typeof value !== 'string')
      throw invalid('env holds more than name and value')
    env[name] = value
  }
  const mode = text(entry, 'interactiveMode') ?? 'IfAvailable'
  if (mode !== 'Never' && mode !== 'IfAvailable' && mode !== 'Always')
    throw invalid(`interactiveMode ${mode} is not one of Never, IfAvailable, Always`)
  return {
    apiVersion,
    command: command.includes('/') ? pathFrom(user, command) : command,
    args,
    env,
    installHint: text(entry, 'installHint'),
    interactiveMode: mode,
    cluster: flag(entry, 'provideClusterInfo') ? clusterInfo() : undefined,
    source: where,
  }
}

/** What the cluster keeps for the plugin under this well-known extension name. */
function execExtension(cluster: Entry): Json {
  const extensions = cluster.fields['extensions']
  if (!Array.isArray(extensions)) return {}
  for (const item of extensions as unknown[])
    if (isRecord(item) && item['name'] === 'client.authentication.k8s.io/exec')
      return { config: item['extension'] }
  return {}
}

function impersonation(user: Entry): Record<string, string | readonly string[]> {
  const headers: Record<string, string | readonly string[]> = {}
  const as = text(user, 'as')
  const uid = text(user, 'as-uid')
  const groups = user.fields['as-groups']
  if (as !== undefined) headers['impersonate-user'] = as
  if (uid !== undefined) headers['impersonate-uid'] = uid
  if (Array.isArray(groups)) headers['impersonate-group'] = groups.map(String)
  if (user.fields['as-user-extra'] !== undefined)
    throw new KubeConfigError('unsupported', `${user.where}: as-user-extra is not supported; remove it`)
  return headers
}

/** `NAME-data` (base64) before `NAME` (a path). */
async function pem(entry: Entry, name: string): Promise<string | undefined> {
  const data = text(entry, `${name}-data`)
  if (data !== undefined) {
    const decoded = Buffer.from(data, 'base64').toString('utf8')
    if (!decoded.includes('-----BEGIN '))
      throw new KubeConfigError('invalid', `${entry.where}: ${name}-data is no base64 of PEM`)
    return decoded
  }
  const path = text(entry, name)
  if (path === undefined) return undefined
  const file = pathFrom(entry, path)
  let content: string
  try {
    content = await readFile(file, 'utf8')
  } catch (cause) {
    throw new KubeConfigError('unreadable', `${entry.where}: cannot read ${name}: ${messageOf(cause)}`, {
      cause,
    })
  }
  if (!content.includes('-----BEGIN '))
    throw new KubeConfigError('invalid', `${entry.where}: ${name} ${file} holds no PEM`)
  return content
}

async function parseFile(file: string): Promise<Json> {
  let content: string
  try {
    content = await readFile(file, 'utf8')
  } catch (cause) {
    throw new KubeConfigError('unreadable', `cannot read the kubeconfig: ${messageOf(cause)}`, { cause })
  }
  let root: unknown
  try {
    // JSON is YAML; daemons in a pod never come here, and so never load the YAML library.
    root = content.trimStart().startsWith('{') ? JSON.parse(content) : (await import('yaml')).parse(content)
  } catch (cause) {
    throw new KubeConfigError('invalid', `${file} is no YAML: ${messageOf(cause)}`, { cause })
  }
  if (root === null || root === undefined) return {}
  if (!isRecord(root) || (root['kind'] !== undefined && root['kind'] !== 'Config'))
    throw new KubeConfigError('invalid', `${file} is no kubeconfig (kind: Config)`)
  return root
}

function merge(files: readonly { readonly file: string; readonly root: Json }[]): Merged {
  let currentContext: string | undefined
  const maps = {
    clusters: new Map<string, Entry>(),
    users: new Map<string, Entry>(),
    contexts: new Map<string, Entry>(),
  }
  for (const { file, root } of files) {
    const current = root['current-context']
    if (typeof current === 'string' && current !== '') currentContext ??= current
    for (const [list, field] of [
      ['clusters', 'cluster'],
      ['users', 'user'],
      ['contexts', 'context'],
    ] as const) {
      const items = root[list] ?? []
      if (!Array.isArray(items)) throw new KubeConfigError('invalid', `${file}: ${list} is no list`)
      for (const item of items as unknown[]) {
        const name = isRecord(item) ? item['name'] : undefined
        const fields = isRecord(item) ? (item[field] ?? {}) : undefined
        if (typeof name !== 'string' || !isRecord(fields))
          throw new KubeConfigError('invalid', `${file}: ${list} holds an entry without name or ${field}`)
        if (!maps[list].has(name))
          maps[list].set(name, { fields, file, where: `${file}: ${field} "${name}"` })
      }
    }
  }
  return { currentContext, ...maps }
}

function referred(entries: ReadonlyMap<string, Entry>, context: Entry, field: 'cluster' | 'user'): Entry {
  const name = text(context, field)
  const entry = name === undefined ? undefined : entries.get(name)
  if (entry === undefined)
    throw new KubeConfigError(
      'invalid',
      `${context.where}: ${field} ${JSON.stringify(name)} is not defined; there are: ${names(entries)}`,
    )
  return entry
}

function names(entries: ReadonlyMap<string, Entry>): string {
  return entries.size === 0 ? 'none' : [...entries.keys()].join(', ')
}

function pathFrom(entry: Entry, path: string): string {
  return isAbsolute(path) ? path : resolve(dirname(entry.file), path)
}

/** undefined for absent and empty alike. */
function text(entry: Entry, name: string): string | undefined {
  const value = entry.fields[name]
  if (value === undefined || value === null || value === '') return undefined
  if (typeof value === 'string') return value
  // A token of digits is a number to YAML.
  if (typeof value === 'number') return String(value)
  throw new KubeConfigError('invalid', `${entry.where}: ${name} is no string`)
}

function flag(entry: Entry, name: string): boolean {
  const value = entry.fields[name]
  if (value === undefined || value === null) return false
  if (typeof value !== 'boolean')
    throw new KubeConfigError('invalid', `${entry.where}: ${name} is neither true nor false`)
  return value
}
