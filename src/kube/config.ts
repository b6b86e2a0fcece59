import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Clock } from '../ports/clock.ts'
import { KubeConfigError } from './config-error.ts'
import { type Credentials, messageOf, tokenFileCredentials } from './credentials.ts'
import { loadKubeconfigFiles } from './kubeconfig.ts'

/** Where the API server is, how to know it, and how to be known by it. */
export type KubeConfig = {
  /** http or https, may have a path in front of /api. */
  readonly server: URL
  /** PEM; undefined: the authorities that Node trusts. */
  readonly ca: string | undefined
  readonly insecureSkipTlsVerify: boolean
  /** The name to look for in the server's certificate, where it is not the host of `server`. */
  readonly tlsServerName: string | undefined
  /** What commands use when none is named. */
  readonly namespace: string
  readonly credentials: Credentials
  /** Where this came from, for messages: a file and context, or "in-cluster". */
  readonly source: string
}

export type LoadOptions = {
  readonly clock: Clock
  /** From --kubeconfig: then nothing else is looked at. */
  readonly kubeconfig?: string | undefined
  /** From --context; otherwise current-context. */
  readonly context?: string | undefined
  /** Default: the process's own. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Default: the user's own. */
  readonly home?: string
  readonly serviceAccountDirectory?: string
}

const SERVICE_ACCOUNT_DIRECTORY = '/var/run/secrets/kubernetes.io/serviceaccount'

/**
 * In this order: the file of --kubeconfig; the files of $KUBECONFIG, merged; ~/.kube/config; the service account of the pod.
 * @throws KubeConfigError
 */
export async function loadKubeConfig(options: LoadOptions): Promise<KubeConfig> {
  const env = options.env ?? process.env
  const { clock, context } = options
  if (options.kubeconfig !== undefined) {
    if (!existsSync(options.kubeconfig))
      throw new KubeConfigError('not-found', `${options.kubeconfig}: there is no such kubeconfig`)
    return loadKubeconfigFiles([options.kubeconfig], { clock, context })
  }
  const named = env['KUBECONFIG']
  const candidates =
    named !== undefined && named !== ''
      ? named.split(delimiter).filter(path => path !== '')
      : [join(options.home ?? env['HOME'] ?? homedir(), '.kube', 'config')]
  // As with kubectl, files of the list that do not exist are passed over.
  const files = candidates.filter(path => existsSync(path))
  if (files.length > 0) return loadKubeconfigFiles(files, { clock, context })
  const host = env['KUBERNETES_SERVICE_HOST']
  const port = env['KUBERNETES_SERVICE_PORT']
  if (host !== undefined && host !== '' && port !== undefined && port !== '')
    return loadInCluster(host, port, options.serviceAccountDirectory ?? SERVICE_ACCOUNT_DIRECTORY, clock)
  throw new KubeConfigError(
    'not-found',
    `no way to an API server: ${candidates.join(' and ')} ${candidates.length > 1 ? 'do' : 'does'} not exist, and this is no pod ` +
      '(KUBERNETES_SERVICE_HOST is not set); pass --kubeconfig or set KUBECONFIG',
  )
}

async function loadInCluster(
  host: string,
  port: string,
  directory: string,
  clock: Clock,
): Promise<KubeConfig> {
  const read = async (name: string, what: string): Promise<string> => {
    const path = join(directory, name)
    try {
      return await readFile(path, 'utf8')
    } catch (cause) {
      throw new KubeConfigError(
        'unreadable',
        `cannot read the ${what} from ${path}: ${messageOf(cause)}; does the pod have automountServiceAccountToken: false?`,
        { cause },
      )
    }
  }
  const ca = await read('ca.crt', "cluster's certificate authority")
  const namespace = (await read('namespace', 'namespace')).trim()
  const address = `https://${host.includes(':') ? `[${host}]` : host}:${port}`
  if (!URL.canParse(address))
    throw new KubeConfigError(
      'invalid',
      `KUBERNETES_SERVICE_HOST ${host} and KUBERNETES_SERVICE_PORT ${port} make no address`,
    )
  const credentials = tokenFileCredentials(join(directory, 'token'), clock, {
    headers: {},
    clientCertificate: undefined,
  })
  // A missing token shows at start, not at the first request.
  await credentials.current()
  return {
    server: new URL(address),
    ca,
    insecureSkipTlsVerify: false,
    tlsServerName: undefined,
    namespace: namespace === '' ? 'default' : namespace,
    credentials,
    source: 'in-cluster',
  }
}
