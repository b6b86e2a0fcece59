import { fileURLToPath } from 'node:url'
import type { Ip } from '../../addr/ip.ts'
import type { Container, EnvVar, Pod } from './resources.ts'

/** The image whose program is part of Lodestone: no registry is needed. */
export const WEB_IMAGE = 'lodestone.dev/lab/web'

/** What the kubelet knows about where the pod runs. */
export type Placement = {
  readonly node: string
  readonly hostIps: readonly Ip[]
  readonly podIps: readonly Ip[]
}

export type PodCommand =
  | {
      readonly type: 'run'
      readonly argv: readonly string[]
      readonly env: Readonly<Record<string, string>>
      readonly workingDirectory: string | undefined
    }
  /** The container cannot start; words as `kubectl get pods` shows them. */
  | { readonly type: 'refused'; readonly reason: string; readonly message: string }

const WEB_MAIN = fileURLToPath(new URL('../web/main.js', import.meta.url))
/** Many of them run on one machine: a small young generation keeps each at about the size of an idle Node.js. */
const NODE_FLAGS = ['--max-semi-space-size=1', '--max-old-space-size=64']

/**
 * What to run for a container. Its command and args run as given, on the machine's own file system; without a command only the
 * built-in image is known.
 */
export function podCommand(pod: Pod, container: Container, placement: Placement): PodCommand {
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOSTNAME: pod.metadata.name,
    POD_NAME: pod.metadata.name,
    POD_NAMESPACE: pod.metadata.namespace ?? '',
    NODE_NAME: placement.node,
  }
  for (const variable of container.env ?? []) {
    const value = valueOf(variable, pod, placement)
    if (value === undefined) {
      return {
        type: 'refused',
        reason: 'CreateContainerConfigError',
        message: `env ${variable.name}: the lab knows value and valueFrom.fieldRef only`,
      }
    }
    env[variable.name] = expand(value, env)
  }
  const args = (container.args ?? []).map(arg => expand(arg, env))
  const run = (argv: readonly string[]): PodCommand => ({
    type: 'run',
    argv,
    env,
    workingDirectory: container.workingDir,
  })
  const command = container.command ?? []
  if (command.length > 0) return run([...command.map(part => expand(part, env)), ...args])
  const image = (container.image ?? '').replace(/@.*$/, '').replace(/:[^/:]*$/, '')
  if (image === WEB_IMAGE) return run([process.execPath, ...NODE_FLAGS, WEB_MAIN, ...args])
  return {
    type: 'refused',
    reason: 'ErrImagePull',
    message: `image ${container.image ?? '(none)'}: the lab pulls no images; it runs a container's own command on this machine, or the built-in image ${WEB_IMAGE}`,
  }
}

function valueOf(variable: EnvVar, pod: Pod, placement: Placement): string | undefined {
  if (variable.valueFrom === undefined) return variable.value ?? ''
  const path = variable.valueFrom.fieldRef?.fieldPath
  if (path === undefined) return undefined
  const { metadata, spec } = pod
  const key = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path)
  if (key !== null) return metadata[key[1] as 'labels' | 'annotations']?.[key[2] ?? ''] ?? ''
  const fields: Record<string, string> = {
    'metadata.name': metadata.name,
    'metadata.namespace': metadata.namespace ?? '',
    'metadata.uid': metadata.uid ?? '',
    'spec.nodeName': spec.nodeName ?? '',
    'spec.serviceAccountName': spec.serviceAccountName ?? 'default',
    'status.hostIP': placement.hostIps[0] ?? '',
    'status.hostIPs': placement.hostIps.join(','),
    'status.podIP': placement.podIps[0] ?? '',
    'status.podIPs': placement.podIps.join(','),
  }
  return fields[path]
}

/** `$(NAME)` becomes the variable's value where there is one, `$$` a dollar sign: as Kubernetes documents for command and args. */
function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([A-Za-z_.-][\w.-]*)\)/g, (whole, name: string | undefined) =>
    name === undefined ? '$' : (env[name] ?? whole),
  )
}
